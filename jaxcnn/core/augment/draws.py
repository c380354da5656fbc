"""What operations draw: numbers per example, each a pure function of that example's key."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Range = tuple[float, float]


def uniform(keys: jax.Array, count: int) -> jax.Array:
    """keys[B] -> float32[count, B] in [0, 1): `count` independent numbers for each example."""
    return jax.vmap(lambda key: jax.random.uniform(key, (count,), jnp.float32), out_axes=1)(keys)


def between(unit: jax.Array, low: float, high: float) -> jax.Array:
    """Numbers of [0, 1) stretched to [low, high)."""
    return low + unit * (high - low)


def fresh(keys: jax.Array, number: int) -> jax.Array:
    """Other keys[B], for a second kind of draw in one operation."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def per_image(values: jax.Array) -> jax.Array:
    """[B] -> [B, 1, 1, 1], to broadcast over images."""
    return values[:, None, None, None]


def where_any(
    needed: jax.Array, function: Callable[..., jax.Array], image: jax.Array, *parameters: jax.Array
) -> jax.Array:
    """function(image, *parameters), or the image as it is where no example needs it.

    needed: bool[B]; for other examples the function must change nothing, so that the result is the
      same either way. Returns the dtype of `function`.

    The condition is also the one place where XLA:CPU computes the image and the parameters once. In
    a fused loop it computes them again for each pixel that reads them: RandAugment took about 7
    times, resized crop twice as long.
    """
    dtype = jax.eval_shape(function, image, *parameters).dtype
    return jax.lax.cond(
        needed.any(), function, lambda image, *_: image.astype(dtype), image, *parameters
    )


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
