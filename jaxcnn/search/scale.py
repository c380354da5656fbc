"""Where the trials of a search stand on an axis: numbers, logarithms of numbers, or words."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.report.style import short_name
from jaxcnn.report.tables import is_share
from jaxcnn.search.trial import Search

# Marks on an axis, and of words those that are named.
_TICKS, _WORDS = 5, 12
# So few numbers that are tried again and again are a choice, like words.
_FEW = 6
# A key as short as this is written whole.
_SHORT = 16
# Values further from the best than the median by this factor stand at the edge.
_REACH = 5.0


class Scale(NamedTuple):
    """Places of N trials on an axis from 0 to 1.

    places: float64[N], NaN for a trial that has no value here. ticks: what is written at a place.
    kind: "linear", "log" or "words". outside: bool[N], of trials that stand at the edge because
    they are too far away.
    """

    places: np.ndarray
    ticks: dict[float, str]
    kind: str
    outside: np.ndarray


def parameter_scale(search: Search, key: str) -> Scale:
    """Of a parameter's values, from the least to the largest that was tried; few numbers, each
    tried twice on average or more often, are a choice and stand as words do.
    """
    absent = object()
    values = [trial.params.get(key, absent) for trial in search.trials]
    known = [value for value in values if value is not absent]
    outside = np.zeros(len(values), bool)
    choice = len(set(map(str, known))) <= min(_FEW, len(known) // 2)
    if not known or choice or not all(map(_is_number, known)):
        return _word_scale([None if v is absent else str(v) for v in values])
    numbers = np.array([math.nan if v is absent else v for v in values], np.float64)
    kind = "log" if key in search.log and min(known) > 0 else "linear"
    whole = all(float(value).is_integer() for value in known)
    low, high = float(min(known)), float(max(known))
    marks = _marks(low, high, kind, whole)
    ticks = {_place(mark, low, high, kind): short_number(mark) for mark in marks}
    places = np.array([_place(number, low, high, kind) for number in numbers])
    return Scale(places, ticks, kind, outside)


def value_scale(search: Search) -> Scale:
    """Of the trials' values; those much worse than most stand at the edge, so that the others can
    be told apart.
    """
    values = trial_values(search)
    low, high = value_window(search)
    written = share_text if is_share(search.metric) else short_number
    ticks = {
        _place(mark, low, high, "linear"): written(mark)
        for mark in _marks(low, high, "linear", whole=False)
    }
    clipped = np.clip(values, low, high)
    places = np.array([_place(value, low, high, "linear") for value in clipped])
    return Scale(places, ticks, "linear", (values < low) | (values > high))


def trial_values(search: Search) -> np.ndarray:
    """float64[N], NaN where a trial has no finite value."""
    given = [math.nan if trial.value is None else trial.value for trial in search.trials]
    values = np.array(given, np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def value_window(search: Search) -> tuple[float, float]:
    """The least and the largest value to draw."""
    values = trial_values(search)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    sign = -1 if search.lower_is_better else 1
    best, middle, worst = (sign * f(sign * values) for f in (np.max, np.median, np.min))
    edge = best - _REACH * (best - middle)
    if middle != best and sign * worst < sign * edge:
        worst = edge
    if is_share(search.metric):
        worst = min(max(worst, 0.0), 1.0) if 0 <= best <= 1 else worst
    return float(min(best, worst)), float(max(best, worst))


def short_number(value: float) -> str:
    """Three digits; whole numbers below a million as they are."""
    if float(value).is_integer() and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}"


def share_text(share: float) -> str:
    """A share as a percentage."""
    return f"{round(100 * share, 2):g} %"


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """As much of the ends of long dotted names as tells them apart."""
    shown = {}
    for key in keys:
        if len(key) <= _SHORT:
            shown[key] = key
            continue
        parts = key.split(".")
        ends = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
        others = [other for other in keys if other != key]
        shown[key] = next(
            (end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)),
            key,
        )
    return shown


def _is_number(value: Any) -> bool:
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    return real and math.isfinite(value)


def _place(value: float, low: float, high: float, kind: str) -> float:
    if low == high:
        return 0.5 if not math.isnan(value) else math.nan
    if kind == "log":
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


def _marks(low: float, high: float, kind: str, whole: bool) -> list[float]:
    """Round numbers between the ends; the ends themselves where there are fewer than two."""
    if low == high:
        return [low]
    marks = _decades(low, high) if kind == "log" else _steps(low, high, whole)
    return marks if len(marks) > 1 else [low, high]


def _steps(low: float, high: float, whole: bool) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(_TICKS, steps=[1, 2, 2.5, 5, 10], integer=whole).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [float(mark) for mark in found if low - slack <= mark <= high + slack]


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1,), (1, 3), (1, 2, 5)):
        powers = range(first, last + 1, 1 + (last - first) // (_TICKS + 1))
        marks = [digit * 10.0**power for power in powers for digit in digits]
        marks = [mark for mark in marks if low * (1 - 1e-9) <= mark <= high * (1 + 1e-9)]
        if len(marks) > 2:
            break
    return marks


def _word_scale(values: Sequence[str | None]) -> Scale:
    """Words at equal distances: numbers by size, the others in the order of their first trial."""
    words = sorted({word: None for word in values if word is not None}, key=_order)
    place = {word: (k + 0.5) / len(words) for k, word in enumerate(words)}
    every = -(-len(words) // _WORDS)
    ticks = {place[word]: short_name(word, 16) for word in words[::every]}
    places = np.array([math.nan if word is None else place[word] for word in values])
    return Scale(places, ticks, "words", np.zeros(len(values), bool))


def _order(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.inf
