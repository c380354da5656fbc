"""The page about several seeds of one recipe: the mean, how sure it is, and each seed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.analysis.seeds import SeedStatistics, over_seeds
from jaxcnn.report.compare_page import compared_curves
from jaxcnn.report.page import (
    Html,
    Number,
    Section,
    chart,
    command,
    details,
    facts,
    join,
    link,
    note,
    page,
    paragraph,
    table,
)
from jaxcnn.report.style import (
    LIGHT,
    Theme,
    dress,
    dress_legend,
    in_both_themes,
    name_ticks,
    new_figure,
    percent_ticks,
)
from jaxcnn.report.tables import folded, is_share
from jaxcnn.report.verdict import Note, split_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Runs whose curves can be told apart.
_CURVES = 10
# What is shown first; what repeats or refines it is folded.
_FIRST = ("accuracy", "top5_accuracy", "loss", "precision_macro", "recall_macro", "f1_macro")
# Rows of dots that have room for a name each.
_NAMED = 40
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
    seeds = sorted(metrics)
    shown = [seeds[k] for k in _evenly(len(seeds), _CURVES)]
    named = {f"seed {seed}": histories[seed] for seed in shown if seed in histories}
    curves = in_both_themes(lambda theme: compared_curves(named, theme)) if named else None
    dots = in_both_themes(lambda theme: seeds_chart(metrics, theme))
    found = over_seeds(metrics)
    some = f"Curves of {len(shown)} of {len(seeds)} seeds. " * (len(shown) < len(seeds))
    sections = [
        Section(
            "The numbers",
            _metrics_table(found),
            "Standard deviation: how far a single seed is from the mean. Interval: where the mean "
            "of very many seeds is, in 19 cases of 20.",
        ),
        Section(
            "Each seed",
            join([chart(*dots), _seeds_table(found, seeds, link_to)]),
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
            details("Config", table(("key", "value"), list(config.items())))
            if config
            else Html(""),
            "What all seeds share.",
        ),
        Section(
            "Do it again",
            command(command_line) if command_line else Html(""),
            "This command repeats the runs.",
        ),
    ]
    lead = join(
        [
            paragraph(seeds_verdict(metrics).replace(" %", "\u00a0%"), kind="verdict"),
            facts(_facts(metrics, found)),
            *(note("Mind:", n.what, n.advice, n.serious) for n in seeds_notes(metrics)),
        ]
    )
    html = page(title, [s for s in sections if s.body], lead, "Made by jaxcnn.")
    pictures = {"seeds.png": dots.light} | ({"curves.png": curves.light} if curves else {})
    return {"report.html": html.encode(), **pictures}


def seeds_verdict(metrics: Mapping[int, Mapping[str, Any]]) -> str:
    """One sentence: the mean accuracy, its interval, and how far a single seed is from it."""
    found = over_seeds(metrics)["accuracy"]
    count, split = len(found.values), _shared(metrics, "split")
    if found.std is None or found.half_width is None:
        return (
            f"{_percent(found.mean)} of the {split} images are right with one seed; how much of "
            "that is luck is not known."
        )
    if found.std == 0:
        return f"All {count} seeds have {_percent(found.mean)} of the {split} images right."
    half = 100 * found.half_width
    return (
        f"{_percent(found.mean)} ± {half:.2f} of the {split} images are right on average of "
        f"{count} seeds (95 % interval of the mean: {_interval('accuracy', found)}); a single seed "
        f"is typically {100 * found.std:.2f} points away from it."
    )


def seeds_notes(metrics: Mapping[int, Mapping[str, Any]]) -> list[Note]:
    """What to know before the numbers are believed."""
    found, notes = over_seeds(metrics)["accuracy"], []
    if (doubt := split_note(str(_shared(metrics, "split")))) is not None:
        notes.append(doubt)
    if len(found.values) == 1:
        notes.append(
            Note("One seed has no deviation and no interval.", "Train more, --seeds 5 for example.")
        )
        return notes
    if len(found.values) < _FEW:
        notes.append(
            Note(
                f"{len(found.values)} seeds say little about how much seeds differ, so the "
                "interval is wide.",
                "Five or more make it a good deal shorter.",
            )
        )
    if found.std == 0:
        notes.append(
            Note(
                "All seeds have the same accuracy, so the interval has no length.",
                "The loss tells more; so would more test images.",
            )
        )
    notes.append(
        Note(
            "The interval is about the luck of training; all seeds see the same images.",
            "How far other images would move the numbers, each seed's own report says.",
        )
    )
    return notes


def seeds_chart(metrics: Mapping[int, Mapping[str, Any]], theme: Theme = LIGHT) -> "Figure":
    """The accuracy of each seed as a dot, their mean and its interval."""
    seeds, found = sorted(metrics), over_seeds(metrics)["accuracy"]
    rows, split = len(seeds), _shared(metrics, "split")
    told = ", ".join(f"{s} {_percent(v)}" for s, v in zip(seeds, found.values, strict=True))
    height = 1.5 + min(0.26 * rows, 7.0)
    figure = new_figure(theme, 8.4, height, f"Dot plot of the accuracy by seed: {told}.")
    axes = figure.subplots()
    dress(axes, theme, f"Accuracy on {split} images")
    axes.grid(visible=False, axis="y")
    if found.low is not None and found.high is not None and found.low < found.high:
        style: dict[str, Any] = {"color": theme.lines[0], "alpha": 0.16, "linewidth": 0}
        label = "95 % interval of the mean"
        axes.axvspan(found.low, min(found.high, 1.0), label=label, **style)
    axes.axvline(found.mean, color=theme.soft, linewidth=1.4, label=f"mean {_percent(found.mean)}")
    size = 7 if rows <= _NAMED else 4
    axes.plot(found.values, range(rows), "o", color=theme.lines[0], ms=size, label="a seed")
    every = -(-rows // _NAMED)
    name_ticks(axes, "y", {float(k): f"seed {seeds[k]}" for k in range(0, rows, every)})
    axes.set_ylim(rows - 0.4, -0.6)
    spread = max(found.values) - min(found.values)
    if spread == 0:  # else the axis would be of the width of rounding
        axes.set_xlim(found.mean - 0.01, found.mean + 0.01)
    percent_ticks(axes, "x")
    dress_legend(axes, theme, outside="lower center", ncols=3)
    return figure


def _metrics_table(found: Mapping[str, SeedStatistics]) -> Html:
    rows = {
        name: (
            _title(name),
            Number(_value(name, one.mean)),
            Number(_length(name, one.std)),
            Number(_interval(name, one)),
            Number(f"{_value(name, min(one.values))} to {_value(name, max(one.values))}"),
        )
        for name, one in found.items()
    }
    header = ("", "mean", "standard deviation", "95 % interval of the mean", "seeds from, to")
    first = [rows[name] for name in _FIRST if name in rows]
    rest = [row for name, row in rows.items() if name not in _FIRST]
    return join([table(header, first), details("Others", table(header, rest)) if rest else ""])


def _title(name: str) -> str:
    return name.removesuffix("_macro").replace("top5", "top-5").replace("_", " ")


def _seeds_table(found: Mapping[str, SeedStatistics], seeds: Sequence[int], link_to: str) -> Html:
    """A row a seed, with a link to its own report."""
    names = [name for name in _FIRST if name in found]
    rows = [
        (
            link(link_to.format(seed=seed), f"seed {seed}") if link_to else f"seed {seed}",
            *(Number(_value(name, found[name].values[k])) for name in names),
        )
        for k, seed in enumerate(seeds)
    ]
    return folded(("seed", *map(_title, names)), rows, "seeds")


def _facts(
    metrics: Mapping[int, Mapping[str, Any]], found: Mapping[str, SeedStatistics]
) -> dict[str, object]:
    accuracy = found["accuracy"]
    told: dict[str, object] = {"seeds": len(metrics)}
    if (count := _shared(metrics, "num_examples")) is not None:
        told[f"{_shared(metrics, 'split')} images"] = count
    if len(metrics) > 1:
        told["worst seed"] = _percent(min(accuracy.values))
        told["best seed"] = _percent(max(accuracy.values))
    return told


def _shared(metrics: Mapping[int, Mapping[str, Any]], key: str) -> Any:
    """What all seeds have in common."""
    return next(iter(metrics.values())).get(key)


def _evenly(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _value(name: str, value: float) -> str:
    return _percent(value) if is_share(name) else f"{value:.4f}"


def _length(name: str, value: float | None) -> str:
    """A distance: percentage points where the metric is a share."""
    if value is None:
        return "–"
    return f"{100 * value:.2f} points" if is_share(name) else f"{value:.4f}"


def _interval(name: str, one: SeedStatistics) -> str:
    if one.low is None or one.high is None:
        return "–"
    low, high = one.low, one.high
    if is_share(name):  # Student's interval does not know that no mean is above 100 %
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{_value(name, low).removesuffix(' %')} to {_value(name, high)}"
