"""Convolutions by `convolution.cc`, for XLA:CPU and one device, and their gradients: float32.

They take and give arrays as `jax.lax.conv_general_dilated` does with NHWC, HWIO, NHWC. Reverse mode
of any order and `vmap` work; forward mode is refused by JAX, as of all that has a gradient of its
own. Of what is split over devices each device would be given all: see `formulations` of
`jaxcnn.runtime.compile`, which chooses.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.cpu import (
    Pads,
    Strides,
    convolve_by_xla,
    from_blocks,
    has_blocks,
    kernel_of_blocks,
    pads_of_blocks,
    xla_convolution,
)

Size = tuple[int, int]


def convolve(
    x: jax.Array, kernel: jax.Array, strides: Strides, pads: Pads, precision: Any = None
) -> jax.Array:
    """The convolution of images [B, H, W, C] with a kernel [h, w, C, D]; what is left to XLA: 1x1
    kernels, which are matrix products, other types than float32, zeros that no pixel is seen with.
    """
    takes = (
        x.dtype == kernel.dtype == jnp.float32
        and kernel.shape[:2] != (1, 1)
        and min(x.size, kernel.size) > 0
        and all(
            0 <= side < size
            for sides, size in zip(pads, kernel.shape[:2], strict=True)
            for side in sides
        )
    )
    if not takes:
        return convolve_by_xla(x, kernel, strides, pads, precision)
    return convolution(x, kernel, strides, pads)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolution(x: jax.Array, kernel: jax.Array, strides: Strides, pads: Pads) -> jax.Array:
    """float32[B, H, W, C], float32[h, w, C, D] -> float32[B, H', W', D]"""
    rows, columns = (
        (length + sum(sides) - size) // stride + 1
        for length, sides, size, stride in zip(
            x.shape[1:3], pads, kernel.shape[:2], strides, strict=True
        )
    )
    shape = (x.shape[0], rows, columns, kernel.shape[-1])
    return _call("jaxcnn_convolve", shape, x, kernel, strides, pads)


def _forward(x: jax.Array, kernel: jax.Array, strides: Strides, pads: Pads) -> Any:
    return convolution(x, kernel, strides, pads), (x, kernel)


def _backward(strides: Strides, pads: Pads, saved: Any, gradient: jax.Array) -> Any:
    x, kernel = saved
    return (
        input_gradient(kernel, gradient, x.shape[1:3], strides, pads),
        kernel_gradient(x, gradient, kernel.shape[:2], strides, pads),
    )


convolution.defvjp(_forward, _backward)


def input_gradient(
    kernel: jax.Array, gradient: jax.Array, size: Size, strides: Strides, pads: Pads
) -> jax.Array:
    """The gradient of x, of this size, from the output's: float32[B, H, W, C]

    With stride 1 it is the convolution with the kernel turned around; with 2, that of blocks. The
    rest is XLA's: most often of images, which need no gradient.
    """
    if has_blocks(size, kernel.shape[:2], strides, pads):
        blocks = (size[0] // 2, size[1] // 2)
        kernel, ends = kernel_of_blocks(kernel, pads), pads_of_blocks(size, pads)
        return from_blocks(input_gradient(kernel, gradient, blocks, (1, 1), ends))
    if strides != (1, 1):
        x = jax.ShapeDtypeStruct((gradient.shape[0], *size, kernel.shape[2]), gradient.dtype)
        by_xla = partial(xla_convolution, kernel=kernel, strides=strides, pads=pads)
        return jax.linear_transpose(by_xla, x)(gradient)[0]
    around: Any = tuple(
        (length - 1 - low, length - 1 - high)
        for (low, high), length in zip(pads, kernel.shape[:2], strict=True)
    )
    return convolution(gradient, kernel[::-1, ::-1].swapaxes(2, 3), (1, 1), around)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def kernel_gradient(
    x: jax.Array, gradient: jax.Array, size: Size, strides: Strides, pads: Pads
) -> jax.Array:
    """The gradient of a kernel of this size from the output's: float32[h, w, C, D]"""
    shape = (*size, x.shape[-1], gradient.shape[-1])
    return _call("jaxcnn_kernel_gradient", shape, x, gradient, strides, pads)


def _kernel_forward(
    x: jax.Array, gradient: jax.Array, size: Size, strides: Strides, pads: Pads
) -> Any:
    return kernel_gradient(x, gradient, size, strides, pads), (x, gradient)


def _kernel_backward(size: Size, strides: Strides, pads: Pads, saved: Any, slope: jax.Array) -> Any:
    """It is linear in both: <slope, kernel_gradient(x, g)> = <convolution(x, slope), g>."""
    del size
    x, gradient = saved
    return (
        input_gradient(slope, gradient, x.shape[1:3], strides, pads),
        convolution(x, slope, strides, pads),
    )


kernel_gradient.defvjp(_kernel_forward, _kernel_backward)


def _call(
    target: str,
    shape: tuple[int, ...],
    one: jax.Array,
    other: jax.Array,
    strides: Strides,
    pads: Pads,
) -> jax.Array:
    call = jax.ffi.ffi_call(
        target, jax.ShapeDtypeStruct(shape, jnp.float32), vmap_method="sequential"
    )
    before = np.array([low for low, _ in pads], np.int64)
    return call(one, other, strides=np.array(strides, np.int64), before=before)
