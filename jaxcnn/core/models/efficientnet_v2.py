"""EfficientNetV2-S (Tan & Le 2021, arXiv:2104.00298): full convolutions where images are large."""

from jaxcnn.core.models.inverted_residual import (
    InvertedResidualNet,
    Plan,
    StageSizes,
    plan_stages,
)

# Table 4 of the paper.
FUSED_STAGES = (
    StageSizes(1, 24, blocks=2, stride=1, fused=True),
    StageSizes(4, 48, blocks=4, stride=2, fused=True),
    StageSizes(4, 64, blocks=4, stride=2, fused=True),
)
STAGES = (
    StageSizes(4, 128, blocks=6, stride=2),
    StageSizes(6, 160, blocks=9, stride=1),
    StageSizes(6, 256, blocks=15, stride=2),
)


class EfficientNetV2S(InvertedResidualNet):
    """The keywords are those of `InvertedResidualNet`."""

    activation: str = "silu"
    norm_epsilon: float = 1e-3
    stochastic_depth: float = 0.2

    def plan(self) -> Plan:
        fused = plan_stages(FUSED_STAGES, 24)
        stages = plan_stages(STAGES, FUSED_STAGES[-1].width, squeeze_share=0.25)
        return Plan(24, fused + stages, 1280)
