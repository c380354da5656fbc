"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167) in as few passes over the images as
it takes, with the sums of `channel_sums.cc`: for XLA:CPU and one device, float32.

As in `jaxcnn.native.convolution`, reverse mode of any order and `vmap` work, forward mode does not.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def takes(layer: nn.BatchNorm, x: jax.Array) -> bool:
    """Whether `apply_layer` is all that the layer does: it trains, with nothing unusual."""
    params = layer.variables.get("params", {})
    return (
        layer.use_running_average is False
        and not layer.is_initializing()
        and layer.is_mutable_collection("batch_stats")
        and layer.has_variable("batch_stats", "mean")
        and layer.dtype in (None, jnp.float32)
        and all(value.dtype == jnp.float32 for value in (x, *jax.tree.leaves(params)))
        and x.size > 0
        and layer.axis in (-1, x.ndim - 1)
        and layer.axis_name is None
        and layer.use_fast_variance
        and layer.force_float32_reductions
    )


def apply_layer(layer: nn.BatchNorm, x: jax.Array) -> jax.Array:
    """What a layer that trains gives for x, float32[..., C]; it updates its running averages."""
    params = layer.variables.get("params", {})
    scale = params.get("scale", jnp.ones(x.shape[-1], jnp.float32))
    bias = params.get("bias", jnp.zeros(x.shape[-1], jnp.float32))
    y, mean, variance = batch_norm(x, scale, bias, layer.epsilon)
    for name, value in (("mean", mean), ("var", variance)):
        old: Any = layer.get_variable("batch_stats", name)
        new = layer.momentum * old + (1 - layer.momentum) * value
        layer.put_variable("batch_stats", name, new)
    return y


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(normalised float32[..., C], mean float32[C], variance float32[C]) of x, float32[..., C]."""
    count = x.size // x.shape[-1]
    mean, squares = channel_sums(x, x, jnp.zeros_like(scale)) / count
    variance = jnp.maximum(squares - mean**2, 0)  # below 0 by rounding only
    factor = scale * jax.lax.rsqrt(variance + epsilon)
    return (x - mean) * factor + bias, mean, variance


def _forward(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> Any:
    y, mean, variance = batch_norm(x, scale, bias, epsilon)
    return (y, mean, variance), (x, scale, mean, variance)


def _backward(epsilon: float, saved: Any, gradients: Any) -> Any:
    x, scale, mean, variance = saved
    of_y, of_mean, of_variance = gradients
    count = x.size // x.shape[-1]
    root = jax.lax.rsqrt(variance + epsilon)
    of_bias, products = channel_sums(of_y, x, mean)
    # By way of the variance a pixel has twice its distance from the mean; by way of the mean, 1.
    slope = (2 * of_variance - scale * root**3 * products) / count
    constant = (of_mean - scale * root * of_bias) / count
    of_x = scale * root * of_y + (x - mean) * slope + constant
    return of_x, products * root, of_bias


batch_norm.defvjp(_forward, _backward)


@jax.custom_vjp
def channel_sums(a: jax.Array, b: jax.Array, shift: jax.Array) -> jax.Array:
    """The sums of a and of a * (b - shift) over all but the last axis.

    float32[..., C], float32[..., C], float32[C] -> float32[2, C]
    """
    call = jax.ffi.ffi_call(
        "jaxcnn_channel_sums",
        jax.ShapeDtypeStruct((2, shift.shape[0]), jnp.float32),
        vmap_method="sequential",
    )
    return call(a, b, shift)


def _sums_forward(a: jax.Array, b: jax.Array, shift: jax.Array) -> Any:
    sums = channel_sums(a, b, shift)
    return sums, (a, b, shift, sums)


def _sums_backward(saved: Any, gradient: jax.Array) -> Any:
    a, b, shift, sums = saved
    return gradient[0] + gradient[1] * (b - shift), gradient[1] * a, -gradient[1] * sums[0]


channel_sums.defvjp(_sums_forward, _sums_backward)
