"""The page about a search: which config is best, how sure that is, and what was tried."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.report.page import (
    Html,
    Number,
    Section,
    chart,
    command,
    details,
    facts,
    join,
    note,
    page,
    paragraph,
    table,
    unbroken,
)
from jaxcnn.report.style import Theme, in_both_themes, short_name
from jaxcnn.report.tables import folded, is_share
from jaxcnn.report.verdict import Note
from jaxcnn.search.charts import (
    history_chart,
    importance_chart,
    learning_curves_chart,
    parallel_coordinates_chart,
    searched,
    share_text,
    short_keys,
    short_number,
    slices_chart,
)
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

_CHARTS: dict[str, "Callable[[Search, Theme], Figure]"] = {
    "history": history_chart,
    "importance": importance_chart,
    "parallel_coordinates": parallel_coordinates_chart,
    "slices": slices_chart,
    "learning_curves": learning_curves_chart,
}


def tune_files(search: Search) -> dict[str, bytes]:
    """Files by name: tune.html, and the charts as PNG files; a chart of nothing is left out."""
    charts = {
        name: in_both_themes(lambda theme, draw=draw: draw(search, theme))  # type: ignore[misc]
        for name, draw in _CHARTS.items()
        if name in _drawable(search)
    }
    shown = {name: chart(*drawn) for name, drawn in charts.items()}
    files = {"tune.html": _tune_page(search, shown).encode()}
    return files | {f"{name}.png": drawn.light for name, drawn in charts.items()}


def _drawable(search: Search) -> set[str]:
    """The charts that have something to show."""
    names = {"history"} if search.best is not None else set()
    if search.best is not None and any(trial.params for trial in search.trials if _is_known(trial)):
        names |= {"parallel_coordinates", "slices"}
    if any(trial.history for trial in search.trials):
        names.add("learning_curves")
    if search.importance:
        names.add("importance")
    return names


def _is_known(trial: Trial) -> bool:
    return trial.state == "complete" and trial.value is not None and np.isfinite(trial.value)


def shown_value(search: Search, value: float) -> str:
    """A value of the metric as it is read."""
    return share_text(value) if is_share(search.metric) else short_number(value)


def search_verdict(search: Search) -> str:
    """Returns the result of a search in a sentence or two."""
    best = search.best
    if best is None or best.value is None:
        if not search.trials:
            return "No trial has begun."
        return f"No trial is complete ({_others(search)})."
    value = shown_value(search, best.value)
    verdict = f"Trial {best.number} is best of {len(search.trials):,}"
    if others := _others(search):
        verdict += f" ({others})"
    verdict += f": {value} {_named(search.metric)}on validation"
    tested = None if search.test is None else search.test.get(search.metric)
    if search.test is None or not isinstance(tested, int | float):
        return f"{verdict}; it was not tested."
    if search.test.get("split", "test") != "test":
        return f"{verdict}; there are no test images to check that on."
    count = search.test.get("num_examples")
    images = "test" if count is None else f"{count:,} test images"
    return f"{verdict}, {shown_value(search, float(tested))} on {images}."


def _named(metric: str) -> str:
    """A percentage is an accuracy if nothing else is said."""
    return "" if metric == "accuracy" else f"{metric.replace('_', ' ')} "


def _others(search: Search) -> str:
    """How many trials are not complete: "12 pruned, 1 failed"."""
    count = Counter(trial.state for trial in search.trials)
    return ", ".join(f"{count[state]:,} {state}" for state in _STATES[1:] if count[state])


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
        trial
        for trial in search.trials
        if trial.value == best.value and trial.state == "complete" and trial is not best
    ]
    if equals:
        others = ", ".join(str(trial.number) for trial in equals[:5])
        more = f" and {len(equals) - 5:,} more" if len(equals) > 5 else ""
        notes.append(Note(f"It is not alone: trial {others}{more} has the same value."))
    notes += filter(None, (_edge_note(search, best, key) for key in searched(search)))
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


def _tune_page(search: Search, shown: dict[str, Html]) -> str:
    lead = join(
        [
            paragraph(search_verdict(search).replace(" %", "\u00a0%"), kind="verdict"),
            facts(_facts(search)),
            *(note("Mind:", n.what, n.advice, n.serious) for n in search_notes(search)),
        ]
    )
    sections = [
        Section(
            "The best config",
            _best(search),
            "What was searched. All else is as in the experiment that the search began with; "
            "best.py, beside this page, is the whole recipe.",
        ),
        Section(
            "How the search went",
            shown.get("history", Html("")),
            "A point is a complete trial. The line rises while the search still finds something; "
            "where it has long been flat, more trials of this kind help little.",
        ),
        Section(
            "What mattered",
            shown.get("importance", Html("")),
            "An estimate from the trials themselves: with few of them it is rough. A parameter "
            "with a short bar may be left as it is.",
        ),
        Section(
            "Each parameter by itself",
            shown.get("slices", Html("")),
            "Where the upper edge of the cloud bends is what matters: the other parameters "
            "differ from point to point; the more colour, the later the trial."
            if not search.lower_is_better
            else "Where the lower edge of the cloud bends is what matters: the other parameters "
            "differ from point to point; the more colour, the later the trial.",
        ),
        Section(
            "Parameters together",
            shown.get("parallel_coordinates", Html("")),
            "Follow the strong lines: where they run through one place, good trials agree.",
        ),
        Section(
            "How each trial learned",
            shown.get("learning_curves", Html("")),
            "Pruned trials end early, because others were better at that step. One that would "
            "have overtaken them late is lost that way.",
        ),
        Section(
            "All trials",
            join([_failures(search), _trials_table(search)]),
            "In the order of their starts.",
        ),
        Section(
            "Do it again",
            command(search.command) if search.command else Html(""),
            "This command goes on with the search; with another folder it repeats it.",
        ),
    ]
    return page(search.title, [s for s in sections if s.body], lead, "Made by jaxcnn.")


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
    rows = [(key, _shown(best.params[key])) for key in searched(search) if key in best.params]
    parts = [table(("key", "value"), rows)] if rows else []
    if search.best_config:
        parts.append(details("The experiment file, best.py", command(search.best_config)))
    return join(parts)


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
    keys = searched(search)
    reasons = any(trial.reason for trial in search.trials)
    names = short_keys(keys).values()
    header = ["trial", "state", search.metric, *names, "seconds", *["reason"] * reasons]
    rows = [
        [
            trial.number,
            unbroken(f"{trial.state}, best" if trial is search.best else trial.state),
            _value(search, trial),
            *(_cell(trial.params[key]) if key in trial.params else "–" for key in keys),
            Number("–" if trial.seconds is None else f"{trial.seconds:.1f}"),
            *[unbroken(short_name(trial.reason, _REASON))] * reasons,
        ]
        for trial in search.trials
    ]
    return folded(header, rows, "trials")


def _value(search: Search, trial: Trial) -> Number:
    if trial.value is None:
        return Number("–")
    if not is_share(search.metric) or not np.isfinite(trial.value):
        return Number(f"{trial.value:.4g}")
    return Number(f"{100 * trial.value:.2f} %")


def _cell(value: Any) -> object:
    """Numbers on the right, words on the left."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Number(_shown(value))
    return unbroken(short_name(_shown(value), _REASON))


def _shown(value: Any) -> str:
    """A float is rounded: best.json has all its digits."""
    return short_number(value) if isinstance(value, float) and np.isfinite(value) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
