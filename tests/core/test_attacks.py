"""Attacks stay within their ball and their image, and mislead a net that reads digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.attacks import fgsm, pgd

KEYS = jax.random.split(jax.random.key(0), 256)


@pytest.fixture(scope="module")
def attack(reader):
    """From epsilon to {name: attacked images}; one compiled function for all."""
    image, label = reader.batch["image"], reader.batch["label"]

    @jax.jit
    def attack(epsilon):
        return {
            "fgsm": fgsm(reader.predict, image, label, epsilon),
            "pgd": pgd(KEYS, reader.predict, image, label, epsilon, steps=7),
        }

    return lambda epsilon: jax.device_get(attack(jnp.float32(epsilon)))


def accuracy(reader, image):
    return float((reader.predict(image).argmax(-1) == reader.batch["label"]).mean())


def test_accuracy_falls_the_more_the_stronger_and_pgd_is_no_weaker(reader, attack):
    clean = accuracy(reader, reader.batch["image"])
    assert clean > 0.9
    before = {"fgsm": clean, "pgd": clean}
    for epsilon in (8, 16, 32):
        after = {name: accuracy(reader, image) for name, image in attack(epsilon).items()}
        assert after["pgd"] <= after["fgsm"] < before["fgsm"]
        assert after["pgd"] < before["pgd"]
        before = after
    assert before["fgsm"] < 0.6 and before["pgd"] < 0.4


def test_noise_of_the_same_size_misleads_far_less(reader, attack):
    clean = reader.batch["image"].astype(np.float32)
    signs = np.random.default_rng(0).choice([-32.0, 32.0], clean.shape)
    noisy = accuracy(reader, np.clip(clean + signs, 0, 255))
    assert noisy > accuracy(reader, attack(32)["fgsm"]) + 0.2


@pytest.mark.parametrize("epsilon", [0.5, 16])
@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_changes_stay_in_the_ball_and_pixels_in_their_range(name, epsilon, reader, attack):
    image, clean = attack(epsilon)[name], reader.batch["image"].astype(np.float32)
    assert image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 255
    change = np.abs(image - clean)
    assert change.max() <= epsilon * (1 + 1e-5)
    assert (change > 0.99 * epsilon).any((1, 2, 3)).all(), "an image was not attacked"


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_without_strength_nothing_changes(name, reader, attack):
    np.testing.assert_array_equal(attack(0)[name], reader.batch["image"])


def test_an_example_is_attacked_alike_in_any_batch(reader):
    """Up to rounding: where a gradient is next to 0 its sign may fall either way."""
    image, label = (reader.batch[name][:32] for name in ("image", "label"))
    attack = jax.jit(
        lambda keys, image, label: pgd(keys, reader.predict, image, label, 16, steps=2)
    )
    together, keys = np.asarray(attack(KEYS[:32], image, label)), KEYS[:32]
    backwards = np.asarray(attack(keys[::-1], image[::-1], label[::-1]))[::-1]
    assert (np.abs(together - backwards) > 1e-3).mean() < 0.01
    assert (np.abs(together - np.asarray(attack(keys[::-1], image, label))) > 1e-3).mean() > 0.3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epsilon": -1}, "epsilon=-1: expected"),
        ({"epsilon": float("nan")}, "epsilon=nan: expected"),
        ({"epsilon": 8, "steps": 0}, "steps=0: expected"),
        ({"epsilon": 8, "step_size": -2.0}, r"step_size=-2\.0: expected"),
    ],
)
def test_a_strength_that_makes_no_sense_is_named(given, message, reader):
    image, label = reader.batch["image"], reader.batch["label"]
    with pytest.raises(ValueError, match=message):
        pgd(KEYS, reader.predict, image, label, **given)
