"""EfficientNet (Tan & Le 2019, arXiv:1905.11946), B0 to B4, and the Lite0 of its authors."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from jaxcnn.core.models.inverted_residual import (
    InvertedResidualNet,
    Plan,
    StageSizes,
    make_divisible,
    plan_stages,
)
from jaxcnn.core.models.layers import choose

# Table 1 of the paper: B0.
STAGES = (
    StageSizes(1, 16, blocks=1, stride=1, kernel_size=3),
    StageSizes(6, 24, blocks=2, stride=2, kernel_size=3),
    StageSizes(6, 40, blocks=2, stride=2, kernel_size=5),
    StageSizes(6, 80, blocks=3, stride=2, kernel_size=3),
    StageSizes(6, 112, blocks=3, stride=1, kernel_size=5),
    StageSizes(6, 192, blocks=4, stride=2, kernel_size=5),
    StageSizes(6, 320, blocks=1, stride=1, kernel_size=3),
)


class Scale(NamedTuple):
    """width, depth: what the channels and blocks of B0 are multiplied with."""

    width: float
    depth: float
    dropout: float


# Published with images of 224, 240, 260, 300 and 380 pixels.
SCALES: Mapping[str, Scale] = {
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
        return scaled_plan(choose(dict(SCALES), "scale", self.scale), squeeze_share=0.25)


class EfficientNetLite0(InvertedResidualNet):
    """B0 for integer arithmetic: relu6, no squeeze-and-excitation (the authors' code, 2020)."""

    activation: str = "relu6"
    stochastic_depth: float = 0.2

    def plan(self) -> Plan:
        return scaled_plan(SCALES["b0"], squeeze_share=0.0)


def scaled_plan(scale: Scale, squeeze_share: float) -> Plan:
    """B0 with more channels and blocks."""
    stem_width = make_divisible(32 * scale.width)
    table = [
        sizes._replace(
            width=make_divisible(sizes.width * scale.width),
            blocks=math.ceil(sizes.blocks * scale.depth),
        )
        for sizes in STAGES
    ]
    stages = plan_stages(table, stem_width, squeeze_share)
    return Plan(stem_width, stages, 4 * table[-1].width, dropout=scale.dropout)
