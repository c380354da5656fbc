"""The page about several seeds of one recipe: the mean, how sure it is, and each seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.analysis.seeds import SeedStatistics, over_seeds
from jaxcnn.report.charts import compared_curves, seeds_chart
from jaxcnn.report.page import (
    Html,
    Note,
    Number,
    Section,
    chart,
    command,
    details,
    join,
    link,
    page,
    summary,
    table,
)
from jaxcnn.report.report_page import split_note
from jaxcnn.report.style import in_both_themes
from jaxcnn.report.tables import folded, is_share, number

# Runs whose curves can be told apart.
_CURVES = 10
# What is shown first; what repeats or refines it is folded.
_FIRST = ("accuracy", "top5_accuracy", "loss", "precision_macro", "recall_macro", "f1_macro")
# With fewer seeds the interval is wide because of their number.
_FEW = 5


def seeds_files(
    metrics: Mapping[int, Mapping[str, Any]],
    histories: Mapping[int, Sequence[Mapping[str, Any]]],
    *,
    title: str,
    config: Mapping[str, object] | None = None,
    command_line: str = "",
    link_to: str = "../seed_{seed}/report/report.html",
) -> dict[str, bytes]:
    """Files by name: report.html, curves.png and seeds.png.

    metrics: the content of `eval.json` by seed. histories: the objects of `metrics.jsonl` by seed.
    config: the flat config that all seeds share. command_line: that repeats the runs.
    link_to: where each seed's own report is, from this page; "" where there are none.
    """
    seeds, statistics = sorted(metrics), over_seeds(metrics)
    # At most so many, with the first and the last.
    places = np.linspace(0, len(seeds) - 1, min(len(seeds), _CURVES)).round().astype(int)
    shown = [seeds[k] for k in np.unique(places)]
    named = {f"seed {seed}": histories[seed] for seed in shown if seed in histories}
    curves = in_both_themes(lambda theme: compared_curves(named, theme)) if named else None
    dots = in_both_themes(lambda theme: seeds_chart(metrics, theme))
    some = f"Curves of {len(shown)} of {len(seeds)} seeds. " * (len(shown) < len(seeds))
    rows = list((config or {}).items())
    sections = [
        Section(
            "The numbers",
            _metrics_table(statistics),
            "Standard deviation: how far a single seed is from the mean. Interval: where the mean "
            "of very many seeds is, in 19 cases of 20.",
        ),
        Section(
            "Each seed",
            join([chart(*dots), _seeds_table(statistics, seeds, link_to)]),
            "The same recipe, data and splits; the first parameters, the order of examples and "
            "all other draws differ.",
        ),
        Section(
            "Training",
            chart(*curves) if curves else Html(""),
            f"{some}Curves far apart mean that training depends on luck: more data, a longer "
            "warm-up or a lower learning rate may calm it.",
        ),
        Section(
            "The config",
            details("Config", table(("key", "value"), rows)) if rows else Html(""),
            "What all seeds share.",
        ),
        Section(
            "Do it again",
            command(command_line) if command_line else Html(""),
            "This command repeats the runs.",
        ),
    ]
    lead = summary(seeds_verdict(metrics), _answers(metrics, statistics), seeds_notes(metrics))
    pictures = {"seeds.png": dots.light} | ({"curves.png": curves.light} if curves else {})
    return {"report.html": page(title, sections, lead, "Made by jaxcnn.").encode(), **pictures}


def seeds_verdict(metrics: Mapping[int, Mapping[str, Any]]) -> str:
    """One sentence: the mean accuracy, its interval, and how far a single seed is from it."""
    accuracy = over_seeds(metrics)["accuracy"]
    count, split = len(accuracy.values), _shared(metrics, "split")
    mean = number("accuracy", accuracy.mean, 2)
    if accuracy.std is None or accuracy.half_width is None:
        return (
            f"{mean} of the {split} images are right with one seed; how much of that is luck is "
            "not known."
        )
    if accuracy.std == 0:
        return f"All {count} seeds have {mean} of the {split} images right."
    half = 100 * accuracy.half_width
    return (
        f"{mean} ± {half:.2f} of the {split} images are right on average of {count} seeds (95 % "
        f"interval of the mean: {_interval('accuracy', accuracy)}); a single seed is typically "
        f"{100 * accuracy.std:.2f} points away from it."
    )


def seeds_notes(metrics: Mapping[int, Mapping[str, Any]]) -> list[Note]:
    """Notes that weaken the numbers."""
    accuracy = over_seeds(metrics)["accuracy"]
    count, doubt = len(accuracy.values), split_note(str(_shared(metrics, "split")))
    notes = [] if doubt is None else [doubt]
    if count == 1:
        what = "One seed has no deviation and no interval."
        return [*notes, Note(what, "Train more, --seeds 5 for example.")]
    if count < _FEW:
        what = f"{count} seeds say little about how much seeds differ, so the interval is wide."
        notes.append(Note(what, "Five or more make it a good deal shorter."))
    if accuracy.std == 0:
        what = "All seeds have the same accuracy, so the interval has no length."
        notes.append(Note(what, "The loss tells more; so would more test images."))
    what = "The interval is about the luck of training; all seeds see the same images."
    return [
        *notes,
        Note(what, "How far other images would move the numbers, each seed's own report says."),
    ]


def _metrics_table(statistics: Mapping[str, SeedStatistics]) -> Html:
    rows = {
        name: (
            _title(name),
            Number(number(name, one.mean, 2)),
            Number(_length(name, one.std)),
            Number(_interval(name, one)),
            Number(f"{number(name, min(one.values), 2)} to {number(name, max(one.values), 2)}"),
        )
        for name, one in statistics.items()
    }
    header = ("", "mean", "standard deviation", "95 % interval of the mean", "seeds from, to")
    first = [rows[name] for name in _FIRST if name in rows]
    rest = [row for name, row in rows.items() if name not in _FIRST]
    return join([table(header, first), details("Others", table(header, rest)) if rest else ""])


def _title(name: str) -> str:
    return name.removesuffix("_macro").replace("top5", "top-5").replace("_", " ")


def _seeds_table(
    statistics: Mapping[str, SeedStatistics], seeds: Sequence[int], link_to: str
) -> Html:
    """A row a seed, with a link to its own report."""
    names = [name for name in _FIRST if name in statistics]
    rows = [
        (
            link(link_to.format(seed=seed), f"seed {seed}") if link_to else f"seed {seed}",
            *(Number(number(name, statistics[name].values[k], 2)) for name in names),
        )
        for k, seed in enumerate(seeds)
    ]
    return folded(("seed", *map(_title, names)), rows, "seeds")


def _answers(
    metrics: Mapping[int, Mapping[str, Any]], statistics: Mapping[str, SeedStatistics]
) -> dict[str, object]:
    """Short answers for under the verdict."""
    values, answers = statistics["accuracy"].values, dict[str, object](seeds=len(metrics))
    if (count := _shared(metrics, "num_examples")) is not None:
        answers[f"{_shared(metrics, 'split')} images"] = count
    if len(metrics) > 1:
        answers["worst seed"] = number("accuracy", min(values), 2)
        answers["best seed"] = number("accuracy", max(values), 2)
    return answers


def _shared(metrics: Mapping[int, Mapping[str, Any]], key: str) -> Any:
    """A value that all seeds have in common."""
    return next(iter(metrics.values())).get(key)


def _length(name: str, value: float | None) -> str:
    """A distance: percentage points where the metric is a share."""
    return "–" if value is None else number(name, value, 2).replace("%", "points")


def _interval(name: str, one: SeedStatistics) -> str:
    if one.low is None or one.high is None:
        return "–"
    low, high = one.low, one.high
    if is_share(name):  # Student's interval does not know that no mean is above 100 %
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{number(name, low, 2).removesuffix(' %')} to {number(name, high, 2)}"
