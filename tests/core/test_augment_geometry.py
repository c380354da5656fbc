"""Moved, turned and cut pixels lie where they should."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.augment.erase import cutout, random_erasing
from jaxcnn.core.augment.geometry import (
    affine_matrix,
    alternating_flip,
    chain,
    random_resized_crop,
    random_rotation,
    random_translation,
    warp,
)
from tests.core.test_augment_battery import keys_of, make_batch


@pytest.fixture(scope="module")
def image():
    """float32[16, 20, 28, 3]"""
    return make_batch(dtype=np.float32)["image"]


@pytest.fixture(scope="module")
def square():
    """float32[16, 24, 24, 3]"""
    return make_batch(height=24, width=24, dtype=np.float32)["image"]


def each(value, count=16):
    return jnp.full(count, value, jnp.float32)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [24, 23])
def test_a_square_turned_by_quarters_keeps_its_pixels(square, quarters, size):
    square = square[:, :size, :size]
    turned = warp(square, affine_matrix(angle=each(quarters * np.pi / 2)))
    expected = np.rot90(square, quarters, axes=(1, 2))
    np.testing.assert_allclose(turned, expected, atol=0.0 if quarters == 0 else 2e-3)


def test_the_identity_is_exact_for_images_beside_others_that_turn(image):
    angle = each(0.0).at[3].set(0.5)
    turned = np.asarray(warp(image, affine_matrix(angle=angle)))
    kept = np.arange(16) != 3
    np.testing.assert_array_equal(turned[kept], np.asarray(image)[kept])
    assert (turned[3] != image[3]).any()


def test_a_shift_by_whole_pixels_is_exact(image):
    shifted = np.asarray(warp(image, affine_matrix(down=each(2.0), right=each(-3.0)), fill=7.0))
    np.testing.assert_array_equal(shifted[:, 2:, :-3], image[:, :-2, 3:])
    assert (shifted[:, :2] == 7).all() and (shifted[:, :, -3:] == 7).all()


def test_an_affine_map_is_what_opencv_makes_of_it(square):
    import cv2

    numbers = {"angle": 0.3, "down": 1.7, "right": -2.2, "scale": 1.2, "shear_x": 0.2}
    matrix = affine_matrix(**{name: each(value) for name, value in numbers.items()}, shear_y=-0.1)
    ours = np.asarray(warp(square, matrix))
    centre = (24 - 1) / 2
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])
    to_input = swap @ np.vstack([np.asarray(matrix[0], np.float64), [0, 0, 1]]) @ swap
    move = np.array([[1, 0, centre], [0, 1, centre], [0, 0, 1.0]])
    to_input = (move @ to_input @ np.linalg.inv(move))[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for before, after in zip(np.asarray(square), ours, strict=True):
        expected = cv2.warpAffine(before, to_input, (24, 24), flags=flags)
        # OpenCV rounds positions to 1/32 of a pixel.
        assert np.abs(after - expected).mean() < 2
        assert np.abs(after - expected).max() < 25


def test_chained_maps_are_one_map_after_the_other(square):
    first, second = affine_matrix(right=each(2.0)), affine_matrix(angle=each(np.pi / 2))
    one = warp(square, chain(first, second))
    np.testing.assert_allclose(one, warp(warp(square, first), second), atol=1e-2)
    other = warp(square, chain(second, first))
    assert np.abs(np.asarray(other) - np.asarray(one)).max() > 10


def test_a_rotation_stays_within_its_degrees():
    """Seen at a dot 10 pixels right of the centre."""
    dot = np.zeros((500, 31, 31, 1), np.float32)
    dot[:, 15, 25] = 255
    turned = np.asarray(random_rotation(keys_of(0, 500), dot, 30.0))[..., 0]
    y, x = np.mgrid[:31, :31] - 15
    total = turned.sum((1, 2))
    angles = np.degrees(
        np.arctan2(-(turned * y).sum((1, 2)) / total, (turned * x).sum((1, 2)) / total)
    )
    assert -30.5 < angles.min() < -27 and 27 < angles.max() < 30.5


def test_a_translation_moves_whole_pixels_up_to_its_share(image):
    bytes_ = np.asarray(image).astype(np.uint8)
    moved = np.asarray(random_translation(keys_of(), bytes_, 0.2, fill=255))
    padded = np.pad(bytes_, ((0, 0), (4, 4), (5, 5), (0, 0)), constant_values=255)
    for before, after in zip(padded, moved, strict=True):
        windows = [before[i : i + 20, j : j + 28] for i in range(9) for j in range(11)]
        assert any((window == after).all() for window in windows)


def test_a_resized_crop_of_the_whole_image_is_the_image(image):
    kept = random_resized_crop(keys_of(), image, scale=(1.0, 1.0), ratio=(28 / 20, 28 / 20))
    np.testing.assert_allclose(kept, image, atol=1e-2)


def test_a_resized_crop_shows_a_rectangle_of_its_area_and_aspect():
    """An image whose value is its position shows where the crop lies."""
    y, x = np.meshgrid(np.arange(64.0), np.arange(64.0), indexing="ij")
    position = np.broadcast_to(np.stack([y, x], -1), (400, 64, 64, 2)).astype(np.float32)
    scale, ratio = (0.1, 0.4), (0.5, 2.0)
    crop = np.asarray(random_resized_crop(keys_of(0, 400), position, scale, ratio))
    # The slope of the inner part; samples beyond the outermost pixel centres are held.
    rows = (crop[:, 40, 32, 0] - crop[:, 24, 32, 0]) * 4
    columns = (crop[:, 32, 40, 1] - crop[:, 32, 24, 1]) * 4
    area, aspect = rows * columns / 64**2, columns / rows
    assert 0.099 < area.min() < 0.12 and 0.38 < area.max() < 0.401
    assert 0.499 < aspect.min() < 0.55 and 1.9 < aspect.max() < 2.001
    assert abs(np.log(aspect).mean()) < 0.08  # as often high as wide


def test_an_alternating_flip_shows_both_sides_of_each_image_in_turn():
    batch = make_batch()
    shown = []
    for epoch in range(4):
        batch["epoch"] = jnp.full(16, epoch)
        shown.append(np.asarray(alternating_flip(keys_of(epoch), batch)["image"]))
    image = np.asarray(batch["image"])
    first = (shown[0] == image).all((1, 2, 3))
    assert 0 < first.sum() < 16, "the first epoch is not random"
    np.testing.assert_array_equal(shown[1], shown[0][:, :, ::-1])
    np.testing.assert_array_equal(shown[2], shown[0])
    np.testing.assert_array_equal(shown[3], shown[1])


def painted(image, painted_image):
    """(rows, columns) of what was painted over, which must be a filled rectangle; or (0, 0)."""
    where = (np.asarray(image) != np.asarray(painted_image)).any(-1)
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    if not len(rows):
        return 0, 0
    box = where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.all() and where.sum() == box.size
    return box.shape


def test_an_erased_rectangle_has_its_area_and_lies_inside():
    image = np.full((300, 40, 50, 1), 100, np.float32)
    erased = random_erasing(keys_of(0, 300), image, 1.0, (0.1, 0.3), (0.2, 5.0), fill=7.0)
    sizes = np.array([painted(*pair) for pair in zip(image, erased, strict=True)])
    area = sizes.prod(1) / (40 * 50)
    assert 0.09 < area.min() < 0.12 and 0.28 < area.max() < 0.32
    aspect = sizes[:, 0] / sizes[:, 1]
    assert aspect.min() < 0.4 and aspect.max() > 2.5


def test_erasing_paints_random_values_unless_told_otherwise():
    image = np.full((16, 40, 50, 3), 100, np.uint8)
    erased = np.asarray(random_erasing(keys_of(), image, 1.0, (0.4, 0.4), (1.0, 1.0)))
    values = erased[erased != 100]
    assert abs(values.mean() - 127.5) < 2 and abs(values.std() - 256 / np.sqrt(12)) < 2


def test_cutout_paints_one_square_that_the_edges_may_cut():
    image = np.full((300, 40, 50, 1), 100, np.uint8)
    cut = cutout(keys_of(0, 300), image, 9)
    sizes = np.array([painted(*pair) for pair in zip(image, cut, strict=True)])
    assert sizes.max() == 9 and (sizes >= 5 - 1).all()
    assert set(np.unique(cut)) == {100, 128}
    assert (sizes.prod(1) == 81).mean() > 0.5
