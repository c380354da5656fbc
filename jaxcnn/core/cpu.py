"""Convolutions and max-pooling in forms that XLA:CPU computes faster, with the same values.

    with nn.intercept_methods(cpu_formulations):
        logits = model.apply(variables, image, train=True)

Convolutions forward are XLA's own. What changes are the derivatives: each is written as a linear
function of the tangents, whose transpose, which reverse mode runs, is the fast form. So forward
mode, `vmap` and second derivatives work as for any function.

`jaxcnn.native` has convolutions that are faster still, for one device.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxcnn.core.models.layers import MaxPool

Pads = tuple[tuple[int, int], tuple[int, int]]


class Window(NamedTuple):
    """How a kernel moves over images: strides and zeros around, rows first, and JAX's precision."""

    strides: tuple[int, int]
    pads: Pads
    precision: Any = None


# (x[B, H, W, C], kernel[h, w, C, D], window) -> [B, H', W', D]
Convolve = Callable[[jax.Array, jax.Array, Window], jax.Array]


def interceptor(convolve: Convolve, depthwise: bool = False) -> Callable[..., Any]:
    """An interceptor for `flax.linen.intercept_methods`: `convolve` computes convolutions and
    `max_pool` 2x2 poolings; other layers, and convolutions with a function of their own, stay.

    depthwise: `convolve` also takes kernels [h, w, 1, C], for each channel by itself.
    """

    def intercepted(next_call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        layer = context.module
        if context.method_name == "__call__" and len(arguments) == 1 and not keywords:
            (x,) = arguments
            if type(layer) is nn.Conv and _is_plain(layer, x, depthwise):
                params = layer.variables["params"]
                arrays = (x, params["kernel"], params.get("bias"))
                promoted: Any = layer.promote_dtype(*arrays, dtype=layer.dtype)
                x, kernel, bias = promoted
                y = convolution(x, kernel, layer.strides, layer.padding, layer.precision, convolve)
                return y if bias is None else y + bias
            if type(layer) is MaxPool and _halves(layer, x):
                return max_pool(x)
        return next_call(*arguments, **keywords)

    return intercepted


def _is_plain(layer: nn.Conv, x: jax.Array, depthwise: bool) -> bool:
    """Whether a layer is no more than `convolution` and a bias."""
    padding, groups = layer.padding, layer.feature_group_count
    return (
        x.ndim == 4
        and not layer.is_initializing()
        and not isinstance(layer.kernel_size, int)
        and len(layer.kernel_size) == 2
        and (not isinstance(padding, str) or padding in ("SAME", "VALID"))
        and _all_ones(layer.input_dilation)
        and _all_ones(layer.kernel_dilation)
        and (groups == 1 or (depthwise and groups == x.shape[-1] == layer.features))
        and layer.mask is None
        and all(
            getattr(layer, name, None) is None
            for name in ("conv_general_dilated", "conv_general_dilated_cls")
        )
    )


def _all_ones(value: int | Sequence[int] | None) -> bool:
    return value in (None, 1) or (not isinstance(value, int) and set(value) == {1})


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: int | Sequence[int] | None = 1,
    padding: str | int | Sequence[int | tuple[int, int]] = "SAME",
    precision: Any = None,
    convolve: Convolve | None = None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` of images [B, H, W, C] with a kernel [h, w, C, D].

    strides, padding: as `flax.linen.Conv` takes them, "SAME", "VALID" or numbers.
    convolve: the function that computes it; None: `convolve_by_xla`.
    """
    steps = (strides or 1,) * 2 if isinstance(strides, int | None) else tuple(strides)
    pads: Any
    if isinstance(padding, str):
        pads = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], steps, padding)
    else:
        sides = (padding,) * 2 if isinstance(padding, int) else padding
        pads = [(side, side) if isinstance(side, int) else side for side in sides]
    window: Any = (steps, tuple(map(tuple, pads)), precision)
    return (convolve or convolve_by_xla)(x, kernel, Window(*window))


def convolve_by_xla(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution by XLA, with faster derivatives."""
    # Without this XLA computes the norms and activations before a convolution again for each group
    # of its kernel's gradient. It needs the compiler's option, see `jaxcnn.runtime.compile`.
    return _convolution(jax.lax.optimization_barrier(x), kernel, window)


def convolve_as_flax(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution by XLA, with its derivatives; in groups if the kernel has fewer channels."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3] // kernel.shape[2],
        precision=window.precision,
    )


_convolution = jax.custom_jvp(convolve_as_flax, nondiff_argnums=(2,))


@partial(_convolution.defjvp, symbolic_zeros=True)
def _derivative(window: Window, primals: Any, tangents: Any) -> tuple[jax.Array, Any]:
    x, kernel = primals
    y = _convolution(x, kernel, window)
    of_x, of_kernel = _forms(x, kernel, window)
    parts = [
        form(*operands, window)
        for form, operands, tangent in (
            (of_x, (tangents[0], kernel), tangents[0]),
            (of_kernel, (x, tangents[1]), tangents[1]),
        )
        if not isinstance(tangent, SymbolicZero)
    ]
    return y, sum(parts[1:], parts[0])


def _forms(x: Any, kernel: Any, window: Window) -> tuple[Callable, Callable]:
    """The forms of the convolution whose transposes give the gradients of x and of the kernel."""
    if kernel.shape[:2] == (1, 1) and not any(map(any, window.pads)):
        return _as_product, _as_product
    of_kernel = _by_group if x.dtype.itemsize >= 4 else _convolution
    if has_blocks(x.shape[1:3], kernel.shape[:2], window.strides, window.pads):
        return _by_blocks, of_kernel
    return _convolution, of_kernel


def _as_product(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """A 1x1 convolution as a matrix product."""
    (rows, columns), _, precision = window
    return jnp.einsum("bhwc,cd->bhwd", x[:, ::rows, ::columns], kernel[0, 0], precision=precision)


def _by_blocks(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """A 3x3 convolution with stride 2 as one of 2x2 blocks of pixels with stride 1: the gradient of
    x is then one convolution, of a kernel 2x2, instead of one with three quarters of zeros.
    """
    kernel = kernel_of_blocks(kernel, window.pads)
    window = Window((1, 1), pads_of_blocks(x.shape[1:3], window.pads), window.precision)
    return _convolution(to_blocks(x), kernel, window)


def has_blocks(
    size: Sequence[int], kernel_size: Sequence[int], strides: tuple[int, int], pads: Pads
) -> bool:
    """Whether a convolution of images [H, W] can be one of 2x2 blocks."""
    halves = strides == (2, 2) and tuple(kernel_size) == (3, 3) and max(map(max, pads)) <= 1
    return halves and not any(length % 2 for length in size)


def to_blocks(x: jax.Array) -> jax.Array:
    """[B, 2H, 2W, C] -> [B, H, W, 4C]"""
    images, height, width, channels = x.shape
    blocks = x.reshape(images, height // 2, 2, width // 2, 2, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(images, height // 2, width // 2, -1)


def from_blocks(blocks: jax.Array) -> jax.Array:
    """[B, H, W, 4C] -> [B, 2H, 2W, C]"""
    images, height, width, channels = blocks.shape
    x = blocks.reshape(images, height, width, 2, 2, channels // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(images, 2 * height, 2 * width, -1)


def kernel_of_blocks(kernel: jax.Array, pads: Pads) -> jax.Array:
    """[3, 3, C, D] -> [2, 2, 4C, D]"""
    # Blocks start with the row or column of zeros that is put before, if there is one.
    kernel = jnp.pad(kernel, [*((low, 1 - low) for low, _ in pads), (0, 0), (0, 0)])
    kernel = kernel.reshape(2, 2, 2, 2, *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(2, 2, -1, kernel.shape[-1])


def pads_of_blocks(size: Sequence[int], pads: Pads) -> Pads:
    """The pads of blocks, for one block more than there are outputs. size: [H, W] of images."""
    ends: Any = tuple(
        (low, (length + low + high - 3) // 2 + 2 - low - length // 2)
        for (low, high), length in zip(pads, size, strict=True)
    )
    return ends


def _by_group(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The images in groups: the gradient of the kernel is then a sum over groups, each of which
    stays in the cache while it is transposed.
    """
    groups = num_groups(x.shape)
    # Every groups-th image, not neighbours: of a batch that is split over devices each holds a part
    # of every group.
    grouped = x.reshape(-1, groups, *x.shape[1:])
    parts = [_convolution(grouped[:, i], kernel, window) for i in range(groups)]
    return jnp.stack(parts, axis=1).reshape(x.shape[0], *parts[0].shape[1:])


def num_groups(shape: Sequence[int]) -> int:
    """The best number of groups for images [B, H, W, C]. Measured for 16 to 512 images on 2 CPU
    cores: less than 8 images a group lose up to 3 times; few pixels or channels win nothing.
    """
    images, height, width, channels = shape
    most = 16 if min(height, width) >= 32 else 8 if min(height, width) >= 16 else 1
    if channels < 8:
        return 1
    fitting = (n for n in (16, 8, 4, 2) if images % n == 0 and images // n >= 8)
    return next((n for n in fitting if n <= most), 1)


def _halves(layer: MaxPool, x: jax.Array) -> bool:
    """Whether the layer is `max_pool` of x."""
    return (
        x.ndim == 4
        and tuple(layer.window_shape) == (2, 2)
        and tuple(layer.strides or ()) == (2, 2)
        and layer.padding in ("VALID", "SAME", ((0, 0), (0, 0)))
        and not any(size % 2 for size in x.shape[1:3])
    )


@jax.custom_jvp
def max_pool(x: jax.Array) -> jax.Array:
    """The maxima of 2x2 pixels, [B, 2H, 2W, C] -> [B, H, W, C]."""
    return jax.tree.reduce(jnp.maximum, _corners(x))


@max_pool.defjvp
def _pool_derivative(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    images, height, width, channels = x.shape
    chosen = _first_maximum(x)[:, :, None, :, None]
    place = jnp.arange(4, dtype=jnp.int8).reshape(2, 1, 2, 1)
    windows = tangent.reshape(images, height // 2, 2, width // 2, 2, channels)
    return max_pool(x), jnp.where(chosen == place, windows, 0).sum((2, 4))


def _first_maximum(x: jax.Array) -> jax.Array:
    """The number of each window's first maximum, int8[B, H, W, C], as XLA chooses: a pixel replaces
    the one chosen so far unless that is greater or equal; a NaN always does.
    """
    first, *others = _corners(x)
    number = jnp.zeros(first.shape, jnp.int8)
    for k, other in enumerate(others, start=1):
        taken = ~(first >= other)
        first, number = jnp.where(taken, other, first), jnp.where(taken, jnp.int8(k), number)
    return number


cpu_formulations = interceptor(convolve_by_xla)


def _corners(x: jax.Array) -> list[jax.Array]:
    """The four pixels of the windows, row by row, each [B, H, W, C]."""
    return [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
