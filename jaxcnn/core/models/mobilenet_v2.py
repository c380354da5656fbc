"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381)."""

from jaxcnn.core.models.inverted_residual import (
    InvertedResidualNet,
    Plan,
    StageSizes,
    check_positive,
    make_divisible,
    plan_stages,
)

# Table 2 of the paper.
STAGES = (
    StageSizes(1, 16, blocks=1, stride=1),
    StageSizes(6, 24, blocks=2, stride=2),
    StageSizes(6, 32, blocks=3, stride=2),
    StageSizes(6, 64, blocks=4, stride=2),
    StageSizes(6, 96, blocks=3, stride=1),
    StageSizes(6, 160, blocks=3, stride=2),
    StageSizes(6, 320, blocks=1, stride=1),
)


class MobileNetV2(InvertedResidualNet):
    """The keywords of `InvertedResidualNet`, and

    width_multiplier: of all channels; the last convolution never has fewer than 1280.
    """

    width_multiplier: float = 1.0

    def plan(self) -> Plan:
        check_positive(width_multiplier=self.width_multiplier)

        def scaled(width: int) -> int:
            return make_divisible(width * self.width_multiplier)

        stem_width = scaled(32)
        table = (sizes._replace(width=scaled(sizes.width)) for sizes in STAGES)
        return Plan(stem_width, plan_stages(table, stem_width), max(1280, scaled(1280)))
