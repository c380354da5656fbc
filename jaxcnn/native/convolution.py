"""Convolutions by `convolution.cc`, those of each channel by itself by `depthwise.cc`, and their
gradients: for XLA:CPU and one device, float32.

They take and give arrays as `jax.lax.conv_general_dilated` does with NHWC, HWIO, NHWC. Reverse mode
of any order and `vmap` work; forward mode is refused by JAX, as of all that has a gradient of its
own, and so is `shard_map` but with `check_vma=False`. Of what is split over devices each device
would be given all: `jaxcnn.runtime.compile` chooses.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.cpu import (
    Window,
    convolve_as_flax,
    convolve_by_xla,
    from_blocks,
    has_blocks,
    kernel_of_blocks,
)

Size = tuple[int, ...]


class Geometry(NamedTuple):
    """How an output's pixels lie over an input's: strides from one to the next, zeros before the
    first row and column, and the distance between the input's pixels, with zeros in between.

    depthwise: each channel by itself; kernels are [h, w, 1, C].
    """

    strides: tuple[int, int]
    before: tuple[int, int]
    apart: tuple[int, int] = (1, 1)
    depthwise: bool = False


def convolve(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution of images [B, H, W, C] with a kernel [h, w, C, D], or [h, w, 1, C] for each
    channel by itself. XLA computes 1x1 kernels, which are matrix products, types other than
    float32, and pads as wide as the kernel.
    """
    strides, pads, _ = window
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    depthwise = kernel.shape[2] != x.shape[3]
    takes = (
        x.dtype == kernel.dtype == jnp.float32
        and kernel.shape[:2] != (1, 1)
        and min(x.size, kernel.size) > 0
        and all(
            0 <= side < length
            for sides, length in zip(pads, kernel.shape[:2], strict=True)
            for side in sides
        )
    )
    rows, columns = (
        (length + sum(sides) - seen) // stride + 1
        for length, sides, seen, stride in zip(
            x.shape[1:3], pads, kernel.shape[:2], strides, strict=True
        )
    )
    if takes and min(rows, columns) > 0:
        geometry = Geometry(strides, (pads[0][0], pads[1][0]), depthwise=depthwise)
        return convolution(x, kernel, (rows, columns), geometry)
    if depthwise:
        return convolve_as_flax(x, kernel, window)
    return convolve_by_xla(x, kernel, window)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolution(x: jax.Array, kernel: jax.Array, size: Size, geometry: Geometry) -> jax.Array:
    """float32[B, H, W, C], float32[h, w, C, D] -> float32[B, *size, D]"""
    target = "jaxcnn_depthwise" if geometry.depthwise else "jaxcnn_convolve"
    return _call(target, (x.shape[0], *size, kernel.shape[-1]), x, kernel, geometry)


def _forward(x: jax.Array, kernel: jax.Array, size: Size, geometry: Geometry) -> Any:
    return convolution(x, kernel, size, geometry), (x, kernel)


def _backward(size: Size, geometry: Geometry, saved: Any, gradient: jax.Array) -> Any:
    x, kernel = saved
    return (
        input_gradient(kernel, gradient, x.shape[1:3], geometry),
        kernel_gradient(x, gradient, kernel.shape[:2], geometry),
    )


convolution.defvjp(_forward, _backward)


def input_gradient(
    kernel: jax.Array, gradient: jax.Array, size: Size, geometry: Geometry
) -> jax.Array:
    """The gradient of x, of this size, from the output's: float32[B, *size, C].

    It is the convolution with the kernel turned around, in which strides and distances have changed
    places; with stride 2, that of blocks of 2x2 pixels, which has no zeros in between.
    """
    pads: Any = tuple((zeros, zeros) for zeros in geometry.before)
    if not geometry.depthwise and has_blocks(size, kernel.shape[:2], geometry.strides, pads):
        blocks = (size[0] // 2, size[1] // 2)
        of_blocks = geometry._replace(strides=(1, 1))
        return from_blocks(
            input_gradient(kernel_of_blocks(kernel, pads), gradient, blocks, of_blocks)
        )
    turned = kernel[::-1, ::-1]
    before = (kernel.shape[0] - 1 - geometry.before[0], kernel.shape[1] - 1 - geometry.before[1])
    back = geometry._replace(strides=geometry.apart, before=before, apart=geometry.strides)
    return convolution(
        gradient, turned if geometry.depthwise else turned.swapaxes(2, 3), size, back
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def kernel_gradient(x: jax.Array, gradient: jax.Array, size: Size, geometry: Geometry) -> jax.Array:
    """The gradient of a kernel from the output's: float32[*size, C, D], float32[*size, 1, C]"""
    target = "jaxcnn_depthwise_gradient" if geometry.depthwise else "jaxcnn_kernel_gradient"
    inputs = 1 if geometry.depthwise else x.shape[-1]
    return _call(target, (*size, inputs, gradient.shape[-1]), x, gradient, geometry)


def _kernel_forward(x: jax.Array, gradient: jax.Array, size: Size, geometry: Geometry) -> Any:
    return kernel_gradient(x, gradient, size, geometry), (x, gradient)


def _kernel_backward(size: Size, geometry: Geometry, saved: Any, slope: jax.Array) -> Any:
    """It is linear in both: <slope, kernel_gradient(x, g)> = <convolution(x, slope), g>."""
    x, gradient = saved
    return (
        input_gradient(slope, gradient, x.shape[1:3], geometry),
        convolution(x, slope, gradient.shape[1:3], geometry),
    )


kernel_gradient.defvjp(_kernel_forward, _kernel_backward)


def _call(
    target: str, shape: Size, one: jax.Array, other: jax.Array, geometry: Geometry
) -> jax.Array:
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    numbers = {name: np.array(getattr(geometry, name), np.int64) for name in geometry._fields[:3]}
    return jax.ffi.ffi_call(target, result, vmap_method="sequential")(one, other, **numbers)
