"""Augmentations as a config gives them: a name, or a name with a number or keywords."""

import pytest

from jaxcnn.builders.data import build_augment
from jaxcnn.config.choices import augmentation
from jaxcnn.config.keys import resolve
from jaxcnn.core.augment import AUGMENTATIONS
from jaxcnn.errors import UserError
from tests.configs import given, message_of


@pytest.mark.parametrize(
    ("entry", "name", "given_keywords"),
    [
        ("flip", "flip", {}),
        (("flip", 0.3), "flip", {"probability": 0.3}),
        (("crop", 4), "crop", {"padding": 4}),
        (("crop", {"padding": 4}), "crop", {"padding": 4}),
        (("erasing", {"scale": (0.1, 0.2)}), "erasing", {"scale": (0.1, 0.2)}),
        ("alternating_flip", "alternating_flip", {}),
        (("mixup", 1), "mixup", {"alpha": 1}),
    ],
)
def test_an_augmentation_is_a_name_with_a_number_or_keywords(entry, name, given_keywords):
    assert augmentation(entry) == (AUGMENTATIONS[name], given_keywords)
    resolve(given(augment=(entry,)))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("flop", "did you mean flip?"),
        ("crop", "needs its padding: ('crop', padding)"),
        (("crop", 1.5), "padding is a whole number"),
        (("crop", -4), "padding=-4: expected a number of pixels from 0"),
        (("flip", 1.5), "probability=1.5: expected a share from 0 to 1"),
        (({"name": "crop"},), "expected a name or (name, number)"),
        (("crop", {"paddin": 4}), "padding"),
        (("flip", "often"), "probability is a number"),
        (("flip", 0.5, 3), "expected a name or (name, number)"),
        (4, "expected a name or (name, number)"),
        (("alternating_flip", 0.5), "alternating_flip takes nothing"),
        (("mixup", {"num_classes": 3}), "mixup takes alpha, probability"),  # the data say
        (("mixup", 0.0), "alpha=0.0: expected a number above 0"),
        (("cutmix", {"probability": 2}), "probability=2: expected a share from 0 to 1"),
        (("resized_crop", {"scale": (0.5, 2.0)}), "expected (low, high) with 0 < low <= high <= 1"),
        (("resized_crop", {"scale": (0.5,)}), "expected (low, high)"),
        (("affine", {"shear": 90}), "shear=90: expected an angle from 0 to below 90"),
        (("rotation", float("nan")), "expected an angle from 0"),
        (("hue", 0.6), "amount=0.6: expected a share of the circle from 0 to 0.5"),
        (("blur", 0), "sigma=0: expected a number of pixels from 0.1"),
        (("cutout", 0), "size=0: expected a number of pixels from 1"),
        (("randaugment", {"magnitude": 11}), "magnitude=11: expected a number from 0 to 10"),
        (("randaugment", 0), "num_ops=0: expected a whole number from 1"),
    ],
)
def test_a_wrong_augmentation_is_quoted(entry, told):
    message = message_of(augment=(entry,))
    assert message.startswith(f"config.augment: {entry!r}")
    assert told in message


def test_images_too_small_or_batches_too_odd_for_an_augmentation_are_refused():
    def build(entry, **keys):
        config = resolve(given(augment=(entry,), **keys))
        return build_augment(config, 10, (8, 8, 1), config.batch_size)

    with pytest.raises(UserError, match=r"config\.augment: \('crop', 8\): .* 8x8 pixels"):
        build(("crop", 8))
    with pytest.raises(UserError, match=r"config\.augment: 'mixup': a batch of 63"):
        build("mixup", batch_size=63)
    build(("crop", 7))
