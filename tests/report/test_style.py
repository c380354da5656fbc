"""Colours that can be told apart, and names that fit."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.report.style import DARK, LIGHT, color_map, ink_on, short_name

# What colour-blind people see of linear RGB: Machado et al. 2009, severity 1.
SIGHT = {
    "usual": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(color):
    if isinstance(color, str):
        color = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    color = np.asarray(color[:3])
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """WCAG 2's ratio of luminances."""
    low, high = sorted(float(linear(c) @ (0.2126, 0.7152, 0.0722)) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(color):
    """CIELAB of linear RGB."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(color, 0, 1) / (0.9505, 1, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_colours_stand_out_from_the_paper(theme):
    assert all(contrast(color, theme.paper) >= 3 for color in theme.lines)
    assert contrast(theme.ink, theme.paper) >= 7 and contrast(theme.soft, theme.paper) >= 4.5


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_colour_blind_readers_tell_the_lines_apart(theme, sight):
    seen = [lab(np.asarray(SIGHT[sight]) @ linear(color)) for color in theme.lines]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 10


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_numbers_in_cells_can_be_read_on_every_colour(theme):
    cells = color_map(theme)
    values = np.linspace(0, 1, 101).tolist()
    assert min(contrast(ink_on(theme, value), cells(value)) for value in values) > 4.5
    brightness = [linear(cells(value)) @ (0.2126, 0.7152, 0.0722) for value in values]
    steps = np.diff(brightness)
    assert (steps < 0).all() or (steps > 0).all()  # more is never mistaken for less


@settings(max_examples=50)
@given(st.text(), st.integers(4, 40))
def test_a_short_name_is_one_printable_line_and_keeps_its_ends(name, length):
    shown = short_name(name, length)
    assert len(shown) <= length and shown.isprintable()
    if name.isprintable():
        assert shown == name if len(name) <= length else name[0] == shown[0]
        assert not name or shown[-1] == name[-1]
