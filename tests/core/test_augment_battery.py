"""What every augmentation a config can name promises, whatever it does."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn.datasets import load_sample_images

from jaxcnn.core.augment import AUGMENTATIONS, compose

GIVEN = {"crop": {"padding": 3}, "cutout": {"size": 7}, "erasing": {"probability": 0.9}}
GIVEN |= {name: {"num_classes": 10} for name in ("mixup", "cutmix")}
MIXES = ("mixup", "cutmix")
# What only moves or replaces pixels.
KEEPS_BYTES = {
    "crop", "flip", "vertical_flip", "alternating_flip", "translate", "cutout", "erasing", "cutmix",
}  # fmt: skip
SIZE = 16

MESH = Mesh(np.array(jax.devices()), ("data",))
SPLIT = NamedSharding(MESH, P("data"))

every_operation = pytest.mark.parametrize("name", AUGMENTATIONS)


def operation_of(name, **keywords):
    return partial(AUGMENTATIONS[name], **(GIVEN.get(name, {}) | keywords))


def make_batch(channels=3, height=20, width=28, dtype=np.uint8, size=SIZE):
    """Pieces of a photo of a flower and one of a temple."""
    photos = np.concatenate([p[:400, :616, :channels] for p in load_sample_images().images], 1)
    rows, columns = photos.shape[0] // height, photos.shape[1] // width
    pieces = photos[: rows * height, : columns * width]
    pieces = pieces.reshape(rows, height, columns, width, channels).swapaxes(1, 2)
    pieces = pieces.reshape(-1, height, width, channels)[:: rows * columns // size][:size]
    return {
        "image": jnp.asarray(pieces.astype(dtype)),
        "label": jnp.arange(size, dtype=jnp.int32) % 10,
        "mask": jnp.ones(size, bool),
        "index": jnp.arange(size, dtype=jnp.int32),
        "epoch": jnp.zeros(size, jnp.int32),
        "key": jax.random.split(jax.random.key(99), size),
    }


def keys_of(seed=0, size=SIZE):
    return jax.random.split(jax.random.key(seed), size)


def assert_same(one, other, what=""):
    """Equal but for rounding; values where an operation jumps may fall on either side."""
    for name in ("image", "label"):
        a, b = np.asarray(one[name], np.float32), np.asarray(other[name], np.float32)
        assert one[name].dtype == other[name].dtype, what
        far = np.abs(a - b) > 1e-3
        assert far.mean() < 1e-3, f"{what} {name}: {far.mean():.2%} differ, by {abs(a - b).max()}"


@cache
def compiled(name):
    """One jitted function an operation, so that tests share what they compile."""
    return jax.jit(operation_of(name))


@every_operation
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.float32, 1)])
def test_shape_and_range_stay_and_the_dtype_is_the_declared_one(name, channels, dtype):
    batch = make_batch(channels, dtype=dtype)
    image = compiled(name)(keys_of(), batch)["image"]
    assert image.shape == batch["image"].shape
    colourless = channels == 1 and name in ("saturation", "hue", "greyscale")
    keeps = name in KEEPS_BYTES or colourless
    assert image.dtype == (dtype if keeps else jnp.float32)
    assert image.min() >= 0 and image.max() <= 255 and jnp.isfinite(image).all()
    assert colourless or (np.asarray(image) != np.asarray(batch["image"])).any()


@every_operation
def test_bytes_and_floats_give_the_same(name):
    whole = compiled(name)(keys_of(), make_batch(dtype=np.uint8))
    parts = compiled(name)(keys_of(), make_batch(dtype=np.float32))
    parts = parts | {"image": parts["image"].astype(whole["image"].dtype)}
    assert_same(whole, parts)


@pytest.mark.parametrize("name", ["crop", "affine", "randaugment", "cutmix"])
def test_compiled_or_not_gives_the_same(name):
    batch = make_batch()
    assert_same(operation_of(name)(keys_of(), batch), compiled(name)(keys_of(), batch))


@every_operation
def test_the_same_keys_draw_the_same_and_others_differ(name):
    operation, batch = compiled(name), make_batch()
    once, again, other = (operation(keys_of(seed), batch)["image"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    if name == "alternating_flip":  # which draws from the batch's own keys
        other = operation(keys_of(), batch | {"key": keys_of(5)})["image"]
    assert (np.asarray(once) != np.asarray(other)).any()


@every_operation
def test_an_example_depends_on_its_own_key_and_pixels_alone(name):
    """Mixing: on its pair's."""
    operation, batch, keys = compiled(name), make_batch(), keys_of()
    together = operation(keys, batch)
    order = np.arange(SIZE).reshape(-1, 2)[::-1].ravel()  # other places, the same pairs
    moved = operation(keys[order], {k: v[order] for k, v in batch.items()})
    black = batch | {"image": batch["image"].at[2:].set(0)}
    among_black = operation(keys.at[2:].set(keys_of(1)[2:]), black)
    for part in ("image", "label"):
        np.testing.assert_array_equal(moved[part], together[part][order])
        np.testing.assert_array_equal(among_black[part][:2], together[part][:2])


@pytest.mark.parametrize("how", ["jit", "shard_map"])
def test_eight_devices_give_what_one_gives(how):
    """All operations are compiled together: programs of one each take several times as long."""

    def all_of_them(keys, batch):
        return {name: operation_of(name)(keys, batch) for name in AUGMENTATIONS}

    if how == "shard_map":
        in_parts = {"in_specs": P("data"), "out_specs": P("data")}
        eight = jax.jit(jax.shard_map(all_of_them, mesh=MESH, **in_parts))
    else:
        eight = jax.jit(all_of_them, in_shardings=SPLIT)
    batch, keys = make_batch(), keys_of()
    for name, done in eight(keys, batch).items():
        assert_same(compiled(name)(keys, batch), done, name)


def test_a_chain_of_them_is_the_same_under_pmap_and_under_vmap_over_seeds():
    chained = compose([operation_of(name) for name in ("crop", "trivialaugment", "mixup")])
    batch, keys = make_batch(), keys_of()
    one = jax.jit(chained)(keys, batch)
    shares = jax.tree.map(lambda a: a.reshape(8, -1, *a.shape[1:]), (keys, batch))
    eight = jax.pmap(chained)(*shares)
    assert_same(one, {k: v.reshape(-1, *v.shape[2:]) for k, v in eight.items()})
    seeds = jnp.stack([keys_of(1), keys])
    both = jax.jit(jax.vmap(chained, in_axes=(0, None)))(seeds, batch)
    assert_same(one, {k: v[1] for k, v in both.items()})


@pytest.mark.parametrize(
    "name",
    [
        "translate", "rotation", "affine", "brightness", "contrast", "saturation", "hue",
        "greyscale", "noise", "blur", "cutout", "erasing", "flip", "vertical_flip", "mixup",
        "cutmix",
    ],
)  # fmt: skip
def test_what_probability_passes_over_stays_exactly_as_it_is(name):
    batch = make_batch()
    given = {"alpha": 1.0} if name in MIXES else {}
    done = jax.jit(operation_of(name, probability=0.5, **given))(keys_of(), batch)
    changed = (np.asarray(done["image"]) != np.asarray(batch["image"])).any((1, 2, 3))
    assert 3 <= changed.sum() <= 13
    if name in MIXES:
        labels = np.asarray(jax.nn.one_hot(batch["label"], 10))
        np.testing.assert_array_equal(done["label"][~changed], labels[~changed])
        assert (np.asarray(done["label"])[changed] != labels[changed]).any(1).all()
