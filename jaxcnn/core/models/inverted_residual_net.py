"""The net around inverted residual blocks; a family says in `plan` which blocks."""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.core.models.inverted_residual import (
    Activation,
    Block,
    ConvNorm,
    InvertedResidual,
    SqueezeExcite,
    conv_norm,
    make_divisible,
)
from jaxcnn.core.models.layers import (
    ACTIVATIONS,
    Output,
    Stages,
    at_least_float32,
    check_shares,
    check_sizes,
    choose,
    depth_rates,
    keep,
    norm_layer,
)

STEMS = ("cifar", "imagenet")

GATES: dict[str, Activation] = {"sigmoid": nn.sigmoid, "hard_sigmoid": nn.hard_sigmoid}


class StageSizes(NamedTuple):
    """A stage as the papers' tables give it: the first block has its stride, the others 1."""

    expansion: int
    width: int
    blocks: int
    stride: int
    kernel_size: int = 3
    fused: bool = False


class Plan(NamedTuple):
    """The sizes of a whole net.

    stem_width, last_width: channels of the first and the last convolution.
    dense_width: of the dense layer before the logits; 0: there is none.
    squeeze_activation, gate: of squeeze-and-excitation; the former None for the block's own.
    dropout: the paper's.
    """

    stem_width: int
    stages: tuple[tuple[Block, ...], ...]
    last_width: int
    dense_width: int = 0
    squeeze_activation: str | None = None
    gate: str = "sigmoid"
    dropout: float = 0.2


def check_positive(**values: float) -> None:
    """ValueError for a keyword that is not above 0."""
    for key, value in values.items():
        if not value > 0:
            raise ValueError(f"{key}={value!r}: expected a number above 0")


def plan_stages(
    table: Iterable[StageSizes], before: int, squeeze_share: float = 0.0
) -> tuple[tuple[Block, ...], ...]:
    """The blocks of each stage of a table; `before` channels come in.

    squeeze_share: channels that a block's squeeze-and-excitation squeezes to, as a share of those
      that come into the block (Tan & Le 2019, arXiv:1905.11946); 0: it has none.
    """
    stages = []
    for sizes in table:
        stages.append(_plan_stage(sizes, before, squeeze_share))
        before = sizes.width
    return tuple(stages)


def _plan_stage(sizes: StageSizes, before: int, squeeze_share: float) -> tuple[Block, ...]:
    blocks = []
    for position in range(sizes.blocks):
        blocks.append(
            Block(
                hidden=make_divisible(before * sizes.expansion),
                width=sizes.width,
                kernel_size=sizes.kernel_size,
                stride=1 if position else sizes.stride,
                squeeze=max(1, int(before * squeeze_share)) if squeeze_share else 0,
                fused=sizes.fused,
            )
        )
        before = sizes.width
    return tuple(blocks)


class InvertedResidualNet(nn.Module):
    """A net of inverted residual blocks; its families say in `plan` which.

    Stages are named as in torchvision: "stem", "stage1" to "stageN" of blocks, and as the next the
    last convolution.

    num_classes: K, the number of logits.
    stem: "imagenet" (the image is halved five times) or "cifar" (three times, for images of about
      32 pixels: the first two strides of 2 are 1).
    activation, norm: as in `CNN`.
    norm_epsilon: of batch norm.
    dropout: share of values set to 0 before the logits; None for the paper's.
    stochastic_depth: chance of the last block to be left out in training; earlier ones are left out
      less (see `depth_rates`).
    zero_init: start each block as its shortcut (Goyal et al. 2017, arXiv:1706.02677).
    dtype: of the computation; parameters and logits are float32.
    axis_name: see `norm_layer`.
    """

    num_classes: int
    stem: str = "imagenet"
    activation: str = "relu6"
    norm: str = "batch"
    norm_epsilon: float = 1e-5
    dropout: float | None = None
    stochastic_depth: float = 0.0
    zero_init: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None

    def plan(self) -> Plan:
        raise NotImplementedError

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> Output:
        plan = self.plan()
        dropout = plan.dropout if self.dropout is None else self.dropout
        self._check(dropout)
        activation = choose(ACTIVATIONS, "activation", self.activation)
        convolve = self._conv_norm(train)

        stages = Stages()
        x = image.astype(self.dtype)
        x = activation(convolve(x, "stem", plan.stem_width, 3, 2 if self.stem == "imagenet" else 1))
        x = keep(self, stages, "stem", x)
        x = self._blocks(x, stages, plan, convolve, train)
        x = activation(convolve(x, "last", plan.last_width))
        x = keep(self, stages, f"stage{len(plan.stages) + 1}", x)
        x = x.mean((1, 2))
        if plan.dense_width:
            x = activation(nn.Dense(plan.dense_width, dtype=self.dtype, name="dense")(x))
        x = nn.Dropout(dropout, name="dropout")(x, deterministic=not train)
        x = keep(self, stages, "penultimate", x)
        dtype = at_least_float32(self.dtype)
        logits = nn.Dense(self.num_classes, dtype=dtype, name="head")(x)
        return (logits, stages) if features else logits

    def _check(self, dropout: float) -> None:
        if self.stem not in STEMS:
            raise ValueError(f"stem={self.stem!r}: expected one of {', '.join(STEMS)}")
        check_sizes(num_classes=self.num_classes)
        check_shares(dropout=dropout, stochastic_depth=self.stochastic_depth)
        check_positive(norm_epsilon=self.norm_epsilon)

    def _conv_norm(self, train: bool) -> ConvNorm:
        norm = norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        if self.norm == "batch":
            norm = partial(norm, epsilon=self.norm_epsilon)
        return partial(conv_norm, norm=norm, use_bias=self.norm == "none", dtype=self.dtype)

    def _blocks(
        self, x: jax.Array, stages: Stages, plan: Plan, convolve: ConvNorm, train: bool
    ) -> jax.Array:
        rates = iter(depth_rates(self.stochastic_depth, sum(map(len, plan.stages))))
        full_size = self.stem == "cifar"  # until the first stride among the blocks
        zeros_or_ones = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        for number, blocks in enumerate(plan.stages, start=1):
            for position, block in enumerate(blocks):
                if full_size and block.stride > 1:
                    block, full_size = block._replace(stride=1), False
                name = block.activation or self.activation
                squeeze_excite = partial(
                    SqueezeExcite,
                    activation=ACTIVATIONS[plan.squeeze_activation or name],
                    gate=GATES[plan.gate],
                    dtype=self.dtype,
                )
                x = InvertedResidual(
                    block,
                    convolve,
                    ACTIVATIONS[name],
                    squeeze_excite,
                    drop_rate=next(rates),
                    last_scale_init=zeros_or_ones,
                    name=f"stage{number}_block{position}",
                )(x, train=train)
            x = keep(self, stages, f"stage{number}", x)
        return x
