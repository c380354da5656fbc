"""How figures look: a light theme and a dark one, in colours that colour-blind readers tell apart.

The colours are those of Okabe and Ito (2008, "Color Universal Design"), made darker or lighter
where the paper asks for it: each has a contrast of 3 or more with its paper. No figure tells things
apart by colour alone. Matplotlib's Figure objects are used without pyplot, which keeps every figure
alive and wants a window system.
"""

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxcnn.errors import printable
from jaxcnn.report.letters import families, legend, spelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Pixels an inch of a figure in its file, and on a page: files stay sharp on screens of phones.
_DPI, _PAGE_DPI = 150, 96
_FONT_SIZE = 9.0


class Theme(NamedTuple):
    """Colours of a figure. lines: of things told apart; ramp: from nothing (the paper) to most."""

    name: str
    paper: str
    ink: str
    soft: str
    grid: str
    lines: tuple[str, ...]
    ramp: tuple[str, ...]


LIGHT = Theme(
    name="light",
    paper="#ffffff",
    ink="#1d2125",
    soft="#5b646d",
    grid="#e3e7eb",
    lines=("#0072b2", "#d55e00", "#009e73", "#c2609c", "#2b2f33"),
    ramp=("#ffffff", "#cfe2f3", "#7fb3dc", "#2f74b5", "#0b2f63"),
)
DARK = Theme(
    name="dark",
    paper="#15181b",
    ink="#e4e7ea",
    soft="#a3adb6",
    grid="#2d3338",
    lines=("#56b4e9", "#e69f00", "#00a37a", "#d979b0", "#e8ecef"),
    ramp=("#15181b", "#17395c", "#2f74b5", "#7fb9e6", "#eef6ff"),
)

# Shapes of points, one after another; with five colours twenty classes look different.
MARKERS = ("o", "^", "s", "D")


class Chart(NamedTuple):
    """A figure in both themes, as PNG files.

    description: for those who cannot see it; width, height: in pixels of a page.
    legend: what the numbers stand for that are drawn for words without a font, or "".
    """

    light: bytes
    dark: bytes
    description: str
    width: int
    height: int
    legend: str = ""


def in_both_themes(draw: Callable[[Theme], "Figure"]) -> Chart:
    """Draws `draw(theme)` in both themes. Its figure's label becomes the description."""
    light, dark = draw(LIGHT), draw(DARK)
    width, height = light.get_size_inches()
    size = round(width * _PAGE_DPI), round(height * _PAGE_DPI)
    pictures = to_png(light), to_png(dark)
    words = legend([words.get_text() for words in _texts(light)])
    return Chart(*pictures, str(light.get_label()), *size, words)


def _texts(figure: "Figure") -> "list[Text]":
    from matplotlib.text import Text

    return [words for words in figure.findobj(Text) if isinstance(words, Text)]


def to_png(figure: "Figure") -> bytes:
    """A figure as a PNG file's bytes."""
    for words in _texts(figure):
        if not words.get_text().isascii():
            words.set_text(spelled(words.get_text()))
            if fonts := families(words.get_text()):
                words.set_fontfamily(fonts)
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A mark that the font lacks, above a letter that it has.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(content, format="png", dpi="figure")
    return content.getvalue()


def new_figure(theme: Theme, width: float, height: float, description: str) -> "Figure":
    """An empty figure. width, height: inches; description: for those who cannot see it."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=_DPI, facecolor=theme.paper, layout="constrained")
    figure.set_label(description)
    return figure


def dress(axes: "Axes", theme: Theme, title: str = "", *, x: str = "", y: str = "") -> None:
    """Gives axes the theme's colours, a grid behind what is drawn, and their texts.

    Names of classes may be in the texts: `$` starts no formula.
    """
    axes.set_facecolor(theme.paper)
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=theme.soft, labelsize=_FONT_SIZE, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)
    style: dict[str, Any] = {"color": theme.soft, "fontsize": _FONT_SIZE, "parse_math": False}
    axes.set_xlabel(x, **style)
    axes.set_ylabel(y, **style)
    axes.set_title(
        title, loc="left", color=theme.ink, fontsize=_FONT_SIZE + 1.5, parse_math=False, pad=9
    )


def dress_legend(axes: "Axes", theme: Theme, *, outside: str = "", **style: Any) -> None:
    """A legend without a frame, for axes that have labels.

    outside: where it stands beside the axes ("right upper", "lower center"), or "" for inside.
    """
    if handles := axes.get_legend_handles_labels()[0]:
        style |= {"frameon": False, "fontsize": _FONT_SIZE, "labelcolor": theme.ink}
        style |= {"loc": f"outside {outside}"} if outside else {}
        legend = (axes.figure if outside else axes).legend(handles=handles, **style)
        for words in legend.get_texts():
            words.set_parse_math(False)


def percent_ticks(axes: "Axes", which: str) -> None:
    """Shares of the "x" or "y" axis as percentages."""
    from matplotlib.ticker import PercentFormatter

    getattr(axes, f"{which}axis").set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def name_ticks(axes: "Axes", which: str, names: dict[float, str], turn: float = 0) -> None:
    """Writes names at places of the "x" or "y" axis. turn: degrees."""
    look: dict[str, Any] = {"rotation": turn, "parse_math": False}
    if turn not in (0, 90):
        look |= {"rotation_mode": "anchor", "horizontalalignment": "right"}
    getattr(axes, f"set_{which}ticks")(list(names), list(map(spelled, names.values())), **look)


def ink_on(theme: Theme, value: float) -> str:
    """Black or white: what is read best on `color_map(theme)(value)`."""
    red, green, blue, _ = color_map(theme)(value)
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return "#000000" if luminance > 0.18 else "#ffffff"  # where both have a contrast of 4.6


def color_map(theme: Theme) -> "Colormap":
    """Colours of numbers from 0 to 1: 0 is the paper, and more has more contrast with it."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(theme.name, theme.ramp)


def short_name(name: object, length: int = 24) -> str:
    """A name on one line of at most `length` characters: what is too long loses its middle."""
    shown = printable(str(name))
    if len(shown) <= length:
        return shown
    head = (length - 1) * 2 // 3
    tail = length - 1 - head
    return shown[:head] + "…" + shown[len(shown) - tail :]
