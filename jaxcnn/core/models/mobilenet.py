"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), MobileNetV3 (Howard et al. 2019,
arXiv:1905.02244).
"""

import flax.linen as nn

from jaxcnn.core.models.inverted_residual import (
    Block,
    InvertedResidualNet,
    Plan,
    StageSizes,
    check_positive,
    make_divisible,
    plan_stages,
)

# Table 2 of the first paper.
V2_STAGES = (
    StageSizes(1, 16, blocks=1, stride=1),
    StageSizes(6, 24, blocks=2, stride=2),
    StageSizes(6, 32, blocks=3, stride=2),
    StageSizes(6, 64, blocks=4, stride=2),
    StageSizes(6, 96, blocks=3, stride=1),
    StageSizes(6, 160, blocks=3, stride=2),
    StageSizes(6, 320, blocks=1, stride=1),
)

# Tables 1 and 2 of the second, a stage a row: hidden and output channels, kernel size, stride,
# squeeze-and-excitation, activation of each block.
LARGE = (
    ((16, 16, 3, 1, False, "relu"),),
    ((64, 24, 3, 2, False, "relu"), (72, 24, 3, 1, False, "relu")),
    ((72, 40, 5, 2, True, "relu"), (120, 40, 5, 1, True, "relu"), (120, 40, 5, 1, True, "relu")),
    (
        (240, 80, 3, 2, False, None),
        (200, 80, 3, 1, False, None),
        (184, 80, 3, 1, False, None),
        (184, 80, 3, 1, False, None),
    ),
    ((480, 112, 3, 1, True, None), (672, 112, 3, 1, True, None)),
    ((672, 160, 5, 2, True, None), (960, 160, 5, 1, True, None), (960, 160, 5, 1, True, None)),
)
SMALL = (
    ((16, 16, 3, 2, True, "relu"),),
    ((72, 24, 3, 2, False, "relu"), (88, 24, 3, 1, False, "relu")),
    ((96, 40, 5, 2, True, None), (240, 40, 5, 1, True, None), (240, 40, 5, 1, True, None)),
    ((120, 48, 5, 1, True, None), (144, 48, 5, 1, True, None)),
    ((288, 96, 5, 2, True, None), (576, 96, 5, 1, True, None), (576, 96, 5, 1, True, None)),
)


class MobileNetV2(InvertedResidualNet):
    """The keywords of `InvertedResidualNet`, and

    width_multiplier: of all channels; the last convolution never has fewer than 1280.
    """

    width_multiplier: float = 1.0

    def plan(self) -> Plan:
        check_positive(width_multiplier=self.width_multiplier)
        stem_width, last_width = (make_divisible(n * self.width_multiplier) for n in (32, 1280))
        stages = plan_stages(V2_STAGES, stem_width, width=self.width_multiplier)
        return Plan(stem_width, stages, max(1280, last_width))


class MobileNetV3(InvertedResidualNet):
    """The keywords of `InvertedResidualNet`, and

    size: "large" or "small".
    width_multiplier: of all channels; the dense layer never has fewer than published.
    activation: of the stem, the later blocks and all after them; earlier blocks have relu.

    Batch norm has TensorFlow's epsilon, as in torchvision, and the momentum of our other models.
    """

    size: str = "large"
    width_multiplier: float = 1.0
    activation: str = "hard_swish"
    norm_epsilon: float = 1e-3

    def plan(self) -> Plan:
        check_positive(width_multiplier=self.width_multiplier)

        def scaled(width: int) -> int:
            return make_divisible(width * self.width_multiplier)

        def block(
            hidden: int, width: int, kernel_size: int, stride: int, squeeze: bool, name: str | None
        ) -> Block:
            hidden = scaled(hidden)
            squeezed = make_divisible(hidden // 4) if squeeze else 0
            return Block(hidden, scaled(width), kernel_size, stride, squeezed, name)

        table, dense_width = {"large": (LARGE, 1280), "small": (SMALL, 1024)}[self.size]
        stages = tuple(tuple(block(*sizes) for sizes in row) for row in table)
        return Plan(
            stem_width=scaled(16),
            stages=stages,
            last_width=6 * stages[-1][-1].width,
            dense_width=max(dense_width, scaled(dense_width)),
            squeeze_activation=nn.relu,
            gate=nn.hard_sigmoid,
        )
