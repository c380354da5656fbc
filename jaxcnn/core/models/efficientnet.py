"""EfficientNet B0 to B4 (Tan & Le 2019, arXiv:1905.11946), its authors' Lite0, and EfficientNetV2-S
(Tan & Le 2021, arXiv:2104.00298), which has full convolutions where images are large.
"""

from typing import NamedTuple

from jaxcnn.core.models import layers
from jaxcnn.core.models.inverted_residual import (
    InvertedResidualNet,
    Plan,
    StageSizes,
    make_divisible,
    plan_stages,
)

# Table 1 of the first paper: B0.
STAGES = (
    StageSizes(1, 16, blocks=1, stride=1, kernel_size=3),
    StageSizes(6, 24, blocks=2, stride=2, kernel_size=3),
    StageSizes(6, 40, blocks=2, stride=2, kernel_size=5),
    StageSizes(6, 80, blocks=3, stride=2, kernel_size=3),
    StageSizes(6, 112, blocks=3, stride=1, kernel_size=5),
    StageSizes(6, 192, blocks=4, stride=2, kernel_size=5),
    StageSizes(6, 320, blocks=1, stride=1, kernel_size=3),
)

# Table 4 of the second.
V2_FUSED_STAGES = (
    StageSizes(1, 24, blocks=2, stride=1, fused=True),
    StageSizes(4, 48, blocks=4, stride=2, fused=True),
    StageSizes(4, 64, blocks=4, stride=2, fused=True),
)
V2_STAGES = (
    StageSizes(4, 128, blocks=6, stride=2),
    StageSizes(6, 160, blocks=9, stride=1),
    StageSizes(6, 256, blocks=15, stride=2),
)


class Scale(NamedTuple):
    """width, depth: factors of B0's channels and numbers of blocks."""

    width: float
    depth: float
    dropout: float


# Published with images of 224, 240, 260, 300 and 380 pixels.
SCALES = {
    "b0": Scale(1.0, 1.0, 0.2),
    "b1": Scale(1.0, 1.1, 0.2),
    "b2": Scale(1.1, 1.2, 0.3),
    "b3": Scale(1.2, 1.4, 0.3),
    "b4": Scale(1.4, 1.8, 0.4),
}


class EfficientNet(InvertedResidualNet):
    """The keywords of `InvertedResidualNet`, and

    scale: a name in `SCALES`.

    Batch norm has PyTorch's epsilon; weights that come from TensorFlow want norm_epsilon=1e-3.
    """

    scale: str = "b0"
    activation: str = "silu"
    stochastic_depth: float = 0.2

    def plan(self) -> Plan:
        return scaled_plan(layers.choose(SCALES, "scale", self.scale), squeeze_share=0.25)


class EfficientNetLite0(InvertedResidualNet):
    """B0 for integer arithmetic: relu6, no squeeze-and-excitation (the authors' code, 2020)."""

    activation: str = "relu6"
    stochastic_depth: float = 0.2

    def plan(self) -> Plan:
        return scaled_plan(SCALES["b0"], squeeze_share=0.0)


class EfficientNetV2S(InvertedResidualNet):
    """The keywords are those of `InvertedResidualNet`."""

    activation: str = "silu"
    norm_epsilon: float = 1e-3
    stochastic_depth: float = 0.2

    def plan(self) -> Plan:
        fused = plan_stages(V2_FUSED_STAGES, 24)
        stages = plan_stages(V2_STAGES, fused[-1][-1].width, squeeze_share=0.25)
        return Plan(24, fused + stages, 1280)


def scaled_plan(scale: Scale, squeeze_share: float) -> Plan:
    """B0 with more channels and blocks."""
    width, depth, dropout = scale
    stem_width = make_divisible(32 * width)
    stages = plan_stages(STAGES, stem_width, squeeze_share, width, depth)
    return Plan(stem_width, stages, 4 * stages[-1][-1].width, dropout=dropout)
