"""The ResNets of He et al. 2016 (arXiv:1512.03385, section 4.2) for CIFAR: 6n + 2 layers."""

from typing import Any

import jax.numpy as jnp

from jaxcnn.core.models.resnet import BasicBlock, ResNet


def cifar_resnet(
    *,
    num_classes: int,
    stage_sizes: tuple[int, ...],
    width: int = 16,
    shortcut: str = "pad",
    activation: str = "relu",
    norm: str = "batch",
    zero_init: bool = False,
    se_ratio: float = 0.0,
    stochastic_depth: float = 0.0,
    dropout: float = 0.0,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> ResNet:
    """A `ResNet` as the paper has it for 32x32 pixels: three stages of basic blocks with 16, 32 and
    64 channels after a 3x3 convolution, and shortcuts without parameters.

    stage_sizes: n blocks in each stage; (3, 3, 3) has 20 layers.
    shortcut: "pad" (option A, the paper's; half of the zero channels on either side) or "conv"
      (option B).
    zero_init: False, as the paper has it; True helps where layers are many.

    The others: see `ResNet`.
    """
    return ResNet(
        num_classes=num_classes,
        stage_sizes=stage_sizes,
        block=BasicBlock,
        width=width,
        stem="cifar",
        shortcut=shortcut,
        activation=activation,
        norm=norm,
        zero_init=zero_init,
        se_ratio=se_ratio,
        stochastic_depth=stochastic_depth,
        dropout=dropout,
        dtype=dtype,
        axis_name=axis_name,
    )
