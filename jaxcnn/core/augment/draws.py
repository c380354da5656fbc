"""Random numbers of operations, each a pure function of its example's key; checks of arguments."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Range = tuple[float, float]


def uniform(keys: jax.Array, count: int) -> jax.Array:
    """keys[B] -> float32[count, B] in [0, 1): `count` independent numbers for each example."""
    return jax.vmap(lambda key: jax.random.uniform(key, (count,), jnp.float32), out_axes=1)(keys)


def random_normal(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """float32[B, *shape] of the standard normal distribution; its largest value is 4.2."""
    return math.sqrt(2) * jax.lax.erf_inv(2 * random_unit(keys, shape) - 1)


def random_unit(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """float32[B, *shape], uniform between 0 and 1, from 16 bits a value.

    Half the time of 32 bits; the steps are too fine for 8-bit images to show.
    """
    levels = random_integers(keys, shape, jnp.uint16).astype(jnp.float32)
    return (levels + 0.5) / 2**16


def random_integers(keys: jax.Array, shape: tuple[int, ...], dtype) -> jax.Array:
    """[B, *shape] of all values of an unsigned dtype (uint8 or uint16) alike.

    `jax.random.bits` would spend 32 random bits on each.
    """
    size, packed = math.prod(shape), 32 // jnp.iinfo(dtype).bits
    words = jax.vmap(lambda key: jax.random.bits(key, (-(-size // packed),), jnp.uint32))(keys)
    values = jax.lax.bitcast_convert_type(words, dtype).reshape(len(words), -1)
    return values[:, :size].reshape(-1, *shape)


def between(unit: jax.Array, low: float, high: float) -> jax.Array:
    """Numbers of [0, 1) stretched to [low, high)."""
    return low + unit * (high - low)


def fresh(keys: jax.Array, number: int) -> jax.Array:
    """Other keys[B], folded with a number, for a second kind of draw in one operation."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def per_image(values: jax.Array) -> jax.Array:
    """[B] -> [B, 1, 1, 1], to broadcast over images."""
    return values[:, None, None, None]


def where_any(
    needed: jax.Array, function: Callable[..., jax.Array], image: jax.Array, *parameters: jax.Array
) -> jax.Array:
    """function(image, *parameters), or the image in the same dtype if no example needs it.

    needed: bool[B]; for other examples the function must change nothing.

    Before a condition XLA:CPU computes the image and the parameters once; in a fused loop it does
    so for each pixel that reads them: RandAugment took about 7 times, resized crop twice as long.
    """
    dtype = jax.eval_shape(function, image, *parameters).dtype
    return jax.lax.cond(
        needed.any(), function, lambda image, *_: image.astype(dtype), image, *parameters
    )


def applies(chance: jax.Array, probability: float) -> jax.Array:
    """bool[B]: whether an operation of this probability is applied, from uniform numbers [B]."""
    check_share("probability", probability)
    return chance < probability


def check_share(name: str, value: float) -> None:
    """ValueError unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r}: expected a share from 0 to 1")


def check_amount(name: str, value: float, expected: str = "a number") -> None:
    """ValueError unless 0 <= value < inf."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={value!r}: expected {expected} from 0")


def check_range(name: str, value: Range, highest: float = math.inf) -> None:
    """ValueError unless value = (low, high) with 0 < low <= high <= highest."""
    if len(value) != 2 or not 0 < value[0] <= value[1] <= highest or math.isinf(value[1]):
        upper = "" if math.isinf(highest) else f" <= {highest:g}"
        raise ValueError(f"{name}={value!r}: expected (low, high) with 0 < low <= high{upper}")
