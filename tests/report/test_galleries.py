"""Galleries show the pictures they are given, in the order they promise."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxcnn.report import (
    Neighbour,
    confidently_wrong,
    feature_maps,
    filters,
    gallery_html,
    gallery_png,
    heat_maps,
    likely_label_errors,
    misclassified,
    nearest_neighbours,
    sample_predictions,
)
from jaxcnn.report.activations import overlaid
from tests.report.predictions import HOSTILE, decode, digit_predictions


@settings(max_examples=50)
@given(arrays(np.float32, (12, 3), elements=st.floats(0, 1, width=32)))
def test_the_confidently_wrong_are_the_wrong_ones_in_order(probabilities):
    label = np.arange(12) % 3
    found = confidently_wrong(label, probabilities, at_most=5)
    wrong = [i for i in range(12) if probabilities[i].argmax() != label[i]]
    expected = sorted(wrong, key=lambda i: -probabilities[i].max())[:5]
    assert found.tolist() == expected


def test_misclassified_holds_the_wrong_ones_the_most_confident_first():
    tiles = misclassified(digit_predictions(12)).groups[0].tiles
    assert [tile.name for tile in tiles] == [f"digit/{i}.png" for i in (9, 6, 3, 0)]
    assert not any(tile.right for tile in tiles)


def test_without_a_mistake_the_gallery_says_so():
    right = [one for one in digit_predictions() if one.right]
    gallery = misclassified(right)
    assert "No image was misclassified." in gallery_html(gallery)
    assert (decode(gallery_png(gallery)) < 200).any()


def test_pictures_are_shown_unchanged_in_whole_pixels():
    one = digit_predictions(2)[1]
    blank = one._replace(image=np.full((8, 8, 3), (10, 200, 90), np.uint8))
    sheet = decode(gallery_png(sample_predictions([blank])))
    assert (sheet == (10, 200, 90)).all(axis=2).sum() == 112 * 112  # each pixel is 14 across


def test_right_and_wrong_differ_by_more_than_colour():
    right, wrong = digit_predictions(2)[1], digit_predictions(1)[0]
    shown = gallery_html(sample_predictions([right, wrong]))
    assert shown.count("✓") == shown.count(">right: <") == 1
    assert shown.count("✗") == shown.count(">wrong: <") == 1
    sheets = [decode(gallery_png(sample_predictions([one]))).astype(int) for one in (right, wrong)]
    coloured = [(sheet.max(axis=2) - sheet.min(axis=2) > 60).sum() for sheet in sheets]
    assert coloured[1] > 1.8 * coloured[0]  # the frame of a wrong one is twice as thick


def test_captions_show_a_path_whole_and_below_the_folder_of_the_data():
    path = "train/n01440764_tench/more of them/ILSVRC2012_val_00000293_from_the_second_camera.JPEG"
    (one,) = digit_predictions(1)
    gallery, short = (sample_predictions([one._replace(name=n)]) for n in (path, "a.png"))
    assert f'<span class="name">{path}</span>' in gallery_html(gallery)
    lines = -(-len(path) // 19)  # a tile is 19 characters wide
    assert len(decode(gallery_png(gallery))) == len(decode(gallery_png(short))) + 14 * (lines - 1)


def test_images_of_any_size_and_names_of_any_kind_are_shown():
    shapes = [(8, 8, 1), (375, 500, 3), (500, 375, 3), (1, 700, 3), (900, 1, 1)]
    predictions = [
        one._replace(image=np.full(shape, 77, np.uint8), name=name, label=name)
        for one, shape, name in zip(digit_predictions(5), shapes, HOSTILE, strict=True)
    ]
    for gallery in (sample_predictions(predictions), likely_label_errors(predictions)):
        sheet = decode(gallery_png(gallery))
        assert sheet.shape[1] == 1128 and (sheet == 77).all(axis=2).any()
        assert "http" not in gallery_html(gallery).replace("&quot;http", "")


def test_neighbours_stand_in_the_row_of_their_image():
    queries = digit_predictions(2)
    near = [Neighbour(q.image, f"near {q.name}", q.label, 0.5) for q in queries]
    gallery = nearest_neighbours(queries, [[near[0]], [near[1]] * 30])
    assert [len(group.tiles) for group in gallery.groups] == [2, 31]
    assert gallery.groups[0].tiles[1].name == "near digit/0.png"
    assert gallery.groups[1].tiles[1].right
    assert decode(gallery_png(gallery)).shape[0] > 5 * 112  # 31 tiles take four lines


def test_filters_have_their_zero_in_the_middle_and_each_its_own_scale():
    kernels = np.zeros((3, 3, 3, 4), np.float32)
    kernels[0, 0, 0, 1], kernels[0, 0, 1, 2], kernels[2, 2, :, 3] = 5, -1e-3, np.nan
    mosaic = filters(kernels).groups[0].tiles[0].images[0]
    assert mosaic.shape == (3, 15, 3)
    assert (mosaic[:, :3] == 128).all() and mosaic[0, 4].tolist() == [255, 128, 128]
    assert mosaic[0, 8].tolist() == [128, 0, 128] and (mosaic[:, 12:] == 128).all()


def test_filters_of_other_inputs_are_grey_and_a_part_of_many_is_said_to_be_one():
    tile = filters(np.ones((5, 5, 16, 100)), at_most=9).groups[0].tiles[0]
    assert tile.images[0].shape[2] == 1 and "9 of 100 filters" in tile.lines[0]


def test_feature_maps_show_the_channels_that_vary_with_one_scale_for_all_images():
    maps = np.zeros((2, 4, 4, 50), np.float32)
    maps[0, 0, 0, 7], maps[1, 0, 0, 7], maps[1, 1, 1, 31] = 1, 3, 9
    stages = {"stage1": maps, "penultimate": np.zeros((2, 10))}
    gallery = feature_maps(digit_predictions(2), stages, at_most=2)
    assert [len(group.tiles) for group in gallery.groups] == [2, 2]
    first, second = (group.tiles[1].images[0].astype(int).sum(axis=2) for group in gallery.groups)
    dark, bright = second.min(), second.max()
    assert dark < first[0, 0] < second[0, 0] == bright  # channel 7: a third of what it can be
    assert (first[:, 58:114] == dark).all() and second[20, 75] == bright  # channel 31
    assert "2 of 50 channels" in gallery.groups[0].tiles[1].lines[0]


def test_heat_is_bright_where_the_map_is_and_survives_maps_without_values():
    image = np.full((32, 48, 3), 90, np.uint8)
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    shown = overlaid(image, heat).astype(int)
    assert shown.shape == (32, 48, 3)
    assert shown[0, 0].sum() > 1.5 * shown[-1, -1].sum()
    assert (overlaid(image, np.full((2, 2), np.nan)) == shown[-1, -1]).all()


def test_each_heat_map_lies_over_its_own_image():
    one, other = digit_predictions(2)
    gallery = heat_maps("Grad-CAM", [one, other], np.stack([np.zeros((8, 8)), np.ones((8, 8))]))
    cold, hot = (tile.images[1].astype(float).mean() for tile in gallery.groups[0].tiles)
    assert hot > cold + 50
    assert len(gallery_png(gallery)) > 1000
