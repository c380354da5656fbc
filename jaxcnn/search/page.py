"""The page about a search: which config is best, how sure that is, and what was tried."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.analysis.tables import is_share
from jaxcnn.report import page as html
from jaxcnn.report.page import Html, Note, Number, Section
from jaxcnn.report.style import Theme, in_both_themes, short_name
from jaxcnn.report.tables import folded
from jaxcnn.search import charts
from jaxcnn.search.trial import Search, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STATES = ("complete", "pruned", "failed", "running")
# With so many trials a best value near the end of what was tried says something.
_MANY = 10
# Near: the outermost share of an axis.
_NEAR = 0.05
# Trials that are named for a reason, and characters of it in the table of all trials.
_LISTED, _REASON = 10, 60

# Name: (what draws it, the heading above it, what is said of it).
_CHARTS: dict[str, "tuple[Callable[[Search, Theme], Figure], str, str]"] = {
    "history": (
        charts.history_chart,
        "How the search went",
        "A point is a complete trial. The line rises while the search still finds something; "
        "where it has long been flat, more trials of this kind help little.",
    ),
    "importance": (
        charts.importance_chart,
        "What mattered",
        "An estimate from the trials themselves: with few of them it is rough. A parameter "
        "with a short bar may be left as it is.",
    ),
    "slices": (
        charts.slices_chart,
        "Each parameter by itself",
        "Where the {edge} edge of the cloud bends is what matters: the other parameters "
        "differ from point to point; the more colour, the later the trial.",
    ),
    "parallel_coordinates": (
        charts.parallel_coordinates_chart,
        "Parameters together",
        "Follow the strong lines: where they run through one place, good trials agree.",
    ),
    "learning_curves": (
        charts.learning_curves_chart,
        "How each trial learned",
        "Pruned trials end early, because others were better at that step. One that would "
        "have overtaken them late is lost that way.",
    ),
}


def tune_files(search: Search) -> dict[str, bytes]:
    """Files by name: tune.html, and the charts as PNG files; a chart of nothing is left out."""
    ranked = [trial for trial in search.trials if trial.is_ranked]
    parameters = any(trial.params for trial in ranked)
    has_content = {
        "history": bool(ranked),
        "importance": bool(search.importance),
        "slices": parameters,
        "parallel_coordinates": parameters,
        "learning_curves": any(trial.history for trial in search.trials),
    }
    files, sections = {}, []
    for name, (draw, title, intro) in _CHARTS.items():
        if has_content[name]:
            drawn = in_both_themes(partial(draw, search))
            files[f"{name}.png"] = drawn.light
            intro = intro.format(edge="lower" if search.lower_is_better else "upper")
            sections.append(Section(title, html.chart(*drawn), intro))
    return files | {"tune.html": _tune_page(search, sections).encode()}


def shown_value(search: Search, value: float) -> str:
    """A value of the metric as it is read."""
    return f"{round(100 * value, 2):g} %" if is_share(search.metric) else charts.short_number(value)


def search_verdict(search: Search) -> str:
    """Returns the result of a search in a sentence or two."""
    count = Counter(trial.state for trial in search.trials)
    others = ", ".join(f"{count[state]:,} {state}" for state in _STATES[1:] if count[state])
    best = search.best
    if best is None or best.value is None:
        return f"No trial is complete ({others})." if search.trials else "No trial has begun."
    of_others = f" ({others})" * bool(others)
    # A percentage is an accuracy if nothing else is said.
    metric = "" if search.metric == "accuracy" else f"{search.metric.replace('_', ' ')} "
    verdict = (
        f"Trial {best.number} is best of {len(search.trials):,}{of_others}: "
        f"{shown_value(search, best.value)} {metric}on validation"
    )
    tested = None if search.test is None else search.test.get(search.metric)
    if search.test is None or not isinstance(tested, int | float):
        return f"{verdict}; it was not tested."
    if search.test.get("split", "test") != "test":
        return f"{verdict}; there are no test images to check that on."
    size = search.test.get("num_examples")
    images = "test" if size is None else f"{size:,} test images"
    return f"{verdict}, {shown_value(search, float(tested))} on {images}."


def search_notes(search: Search) -> list[Note]:
    """What to know before the numbers are believed."""
    best, notes = search.best, []
    if best is None:
        advice = "The table of trials has the reasons." if search.trials else ""
        return [Note("There is no best config yet.", advice, serious=True)]
    rivals = sum(trial.value is not None for trial in search.trials)
    if rivals > 1:
        notes.append(
            Note(
                f"Validation chose this trial among {rivals:,}, so its number there flatters it.",
                "A number on test is the honest one: no test image had a part in the search. "
                "How much of its lead is luck, several seeds tell (--seeds).",
            )
        )
    equals = [
        str(trial.number)
        for trial in search.trials
        if trial.value == best.value and trial.state == "complete" and trial is not best
    ]
    if equals:
        others = ", ".join(equals[:5])
        more = f" and {len(equals) - 5:,} more" if len(equals) > 5 else ""
        notes.append(Note(f"It is not alone: trial {others}{more} has the same value."))
    notes += filter(None, (_edge_note(search, best, key) for key in search.keys))
    return notes


def _edge_note(search: Search, best: Trial, key: str) -> Note | None:
    """Where the best value of a number is near the end of what was tried."""
    values = [trial.params[key] for trial in search.trials if key in trial.params]
    value = best.params.get(key)
    if len(search.trials) < _MANY or len(set(map(str, values))) <= len(values) // 2:
        return None
    if value is None or not all(isinstance(one, int | float) for one in values):
        return None
    numbers = np.log(values) if key in search.log and min(values) > 0 else np.asarray(values)
    place = (numbers[values.index(value)] - numbers.min()) / np.ptp(numbers)
    if not np.isfinite(place) or _NEAR <= place <= 1 - _NEAR:
        return None
    end = "largest" if place > 0.5 else "smallest"
    what = f"The best {key}, {_shown(value)}, is among the {end} that were tried."
    return Note(what, "A wider range may hold a better one.")


def _tune_page(search: Search, chart_sections: list[Section]) -> str:
    lead = html.summary(search_verdict(search), _facts(search), search_notes(search))
    sections = [
        Section(
            "The best config",
            _best(search),
            "What was searched. All else is as in the experiment that the search began with; "
            "best.py, beside this page, is the whole recipe.",
        ),
        *chart_sections,
        Section(
            "All trials",
            html.join([_failures(search), _trials_table(search)]),
            "In the order of their starts.",
        ),
        Section(
            "Do it again",
            html.command(search.command) if search.command else Html(""),
            "This command goes on with the search; with another folder it repeats it.",
        ),
    ]
    return html.page(search.title, sections, lead, "Made by jaxcnn.")


def _facts(search: Search) -> dict[str, object]:
    count = Counter(trial.state for trial in search.trials)
    times = [trial.seconds for trial in search.trials if trial.seconds is not None]
    ranked = f"{search.metric} on validation, {'lowest' if search.lower_is_better else 'highest'}"
    content: dict[str, object] = {"ranked by": ranked}
    content |= {state: count[state] for state in _STATES if count[state]}
    if times:
        content["time of all trials"] = _duration(sum(times))
    best = search.best
    if best is not None and best.seconds is not None:
        content["time of the best"] = _duration(best.seconds)
    return content


def _best(search: Search) -> Html:
    best = search.best
    if best is None:
        return Html("")
    rows = [(key, _shown(best.params[key])) for key in search.keys if key in best.params]
    parts = [html.table(("key", "value"), rows)] if rows else []
    if search.best_config:
        parts.append(html.details("The experiment file, best.py", html.command(search.best_config)))
    return html.join(parts)


def _failures(search: Search) -> Html:
    """What went wrong, the most frequent reason first."""
    trials: dict[str, list[str]] = {}
    for trial in search.trials:
        if trial.state == "failed":
            trials.setdefault(trial.reason or "not known", []).append(str(trial.number))
    rows = [
        (reason, len(own), ", ".join(own[:_LISTED]) + ", …" * (len(own) > _LISTED))
        for reason, own in sorted(trials.items(), key=lambda item: -len(item[1]))
    ]
    return folded(("why trials failed", "times", "trials"), rows, "reasons") if rows else Html("")


def _trials_table(search: Search) -> Html:
    if not search.trials:
        return Html("")
    keys = search.keys
    reasons = any(trial.reason for trial in search.trials)
    names = charts.short_keys(keys).values()
    header = ["trial", "state", search.metric, *names, "seconds", *["reason"] * reasons]
    rows = []
    for trial in search.trials:
        value = "–" if trial.value is None else f"{trial.value:.4g}"
        if trial.value is not None and is_share(search.metric) and np.isfinite(trial.value):
            value = f"{100 * trial.value:.2f} %"
        rows.append(
            [
                trial.number,
                html.unbroken(f"{trial.state}, best" if trial is search.best else trial.state),
                Number(value),
                *(_cell(trial.params[key]) if key in trial.params else "–" for key in keys),
                Number("–" if trial.seconds is None else f"{trial.seconds:.1f}"),
                *[html.unbroken(short_name(trial.reason, _REASON))] * reasons,
            ]
        )
    return folded(header, rows, "trials")


def _cell(value: Any) -> object:
    """Numbers on the right, words on the left."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Number(_shown(value))
    return html.unbroken(short_name(_shown(value), _REASON))


def _shown(value: Any) -> str:
    """A float is rounded: best.json has all its digits."""
    is_rounded = isinstance(value, float) and np.isfinite(value)
    return charts.short_number(value) if is_rounded else str(value)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
