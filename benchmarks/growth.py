"""How cost grows: images/s against batch size, model width, image size and data set size.

    python benchmarks/growth.py [--rounds 5] [--clock wall|cpu] [--output benchmarks]
    python benchmarks/growth.py --draw benchmarks/growth.json

Writes growth.json and growth.png; --draw only makes the picture again. One of the four is changed
at a time, and the rest is: 128 images of 32x32 pixels a step, of 8,192 images in memory, to the net
and with the augmentation of experiments/cifar10.py. Training is timed on batches as they come,
evaluation with its metrics, both with what `jaxcnn benchmark --config` times them with;
rounds go through all of them in turn. The images are synthetic: cost does not depend on what they
show. --clock=cpu counts how long all threads worked in place of the time that passed, for a CPU
that others use too. It takes minutes on 2 cores, most of them for compiling, and fewer the second
time.
"""

import argparse
import io
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from jaxcnn.config.keys import default_config, resolve
from jaxcnn.files.rundir import versions
from jaxcnn.report.style import LIGHT, MARKERS, dress, dress_legend, name_ticks, new_figure, to_png
from jaxcnn.runtime import huge_pages
from jaxcnn.runtime.compile import enable_compile_cache
from jaxcnn.timing.speed import start_run, time_evaluation, time_steps, with_fewer
from jaxcnn.timing.speed_table import Spread, in_rounds, spread
from jaxcnn.training.loop import load_data

BASE = {"batch_size": 128, "width": 48, "image_size": 32, "training_images": 8192}
GROWTH = {
    "batch_size": (8, 32, 128, 512),
    "width": (12, 24, 48, 96),
    "image_size": (16, 32, 64, 96),
    "training_images": (1024, 8192, 65536),
}
TITLES = {
    "batch_size": "Batch size, images a step",
    "width": "Width, channels of the first convolutions",
    "image_size": "Image size, pixels of a side",
    "training_images": "Data set, training images in memory",
}
LINES = {"training": "training", "evaluation": "evaluation"}
# What images are counted in, by what they are timed with.
CLOCKS = {"wall": "images/s", "cpu": "images a core-second"}
# Seconds that each is timed in a round, about.
SECONDS = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--output", type=Path, default=Path("benchmarks"))
    parser.add_argument("--draw", type=Path, help="a growth.json, to draw it again")
    options = parser.parse_args()
    if options.draw is not None:
        content = json.loads(options.draw.read_text())
        options.draw.with_suffix(".png").write_bytes(draw(content))
        return
    options.output.mkdir(parents=True, exist_ok=True)  # before minutes of work
    enable_compile_cache()
    content = measure(options.rounds, options.clock)
    (options.output / "growth.json").write_text(json.dumps(content, indent=1) + "\n")
    (options.output / "growth.png").write_bytes(draw(content))


def measure(rounds: int, clock: str) -> dict[str, Any]:
    """The content of growth.json."""
    load = os.getloadavg()[0]
    cases = {name: [BASE | {name: value} for value in values] for name, values in GROWTH.items()}
    unlike = {name_of(case): case for listed in cases.values() for case in listed}
    ways = [Case(case, clock).time for case in unlike.values()]
    found = in_rounds(ways, rounds, lambda number: print(f"round {number}", flush=True))
    growth = {
        name: [
            {name: case[name]}
            | {line: summary(spread(found[f"{name_of(case)} {line}"])) for line in LINES}
            for case in listed
        ]
        for name, listed in cases.items()
    }
    return {
        "command": f"python benchmarks/growth.py --rounds {rounds} --clock {clock}",
        "clock": clock,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "versions": {name: versions()[name] for name in ("jaxcnn", "jax", "jaxlib", "flax")},
        "rounds": rounds,
        "base": BASE,
        "growth": growth,
    }


def machine() -> str:
    if jax.default_backend() == "cpu":
        return f"{os.cpu_count()} CPU cores"
    return f"{jax.device_count()} {jax.devices()[0].device_kind}"


def name_of(case: dict[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in case.items())


def summary(found: Spread) -> dict[str, float]:
    return {name: round(getattr(found, name), 1) for name in ("median", "low", "high")}


class Case:
    """A run of one case that is timed now and then."""

    def __init__(self, case: dict[str, int], clock: str):
        config = default_config()
        config.batch_size, config.num_steps = case["batch_size"], 1_000_000
        config.data.source, config.data.num_examples = "synthetic", case["training_images"]
        config.data.image_size, config.data.holdout = case["image_size"], 0.0
        config.data.mode = "memory"
        config.augment = (("crop", 4), "flip")
        width = case["width"]
        config.model.filters, config.model.pool_first = (width, 2 * width, 4 * width), True
        config.optimizer.name, config.optimizer.momentum = "sgd", 0.9
        config.optimizer.learning_rate = 0.01
        config = resolve(config)
        self.name, self.images, self.clock = name_of(case), case["batch_size"], clock
        self.run, self.state, _, compiling = start_run(config, load_data(config))
        self.dispatches = self.run.dispatches(0)
        self.steps, self.evaluated = 1, with_fewer(self.run, "test", self.images)
        self.time()
        took = self.images / self.time()[f"{self.name} training"]
        self.steps = max(1, round(SECONDS / took))
        speed = self.time()[f"{self.name} evaluation"]
        most = self.images * max(1, round(SECONDS * speed / self.images))
        self.evaluated = with_fewer(self.run, "test", most)
        print(f"{self.name}: {1e3 * took:.0f} ms a step, compiled in {compiling:.1f} s", flush=True)

    def time(self) -> dict[str, float]:
        """Images a second, in training and in evaluation."""
        self.state, wall, cpu = time_steps(self.run, self.state, self.dispatches, self.steps)
        worked = time.process_time()
        evaluation = time_evaluation(self.evaluated, self.state, "test")
        worked = time.process_time() - worked
        if self.clock == "cpu":
            wall, evaluation = cpu, len(self.evaluated.dataset.splits["test"]) / worked
        return {
            f"{self.name} training": 1e3 * self.images / wall,
            f"{self.name} evaluation": evaluation,
        }


def draw(content: dict[str, Any]) -> bytes:
    """A PNG of four panels with one scale of images/s."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    theme, unit = LIGHT, CLOCKS[content["clock"]]
    figure = new_figure(theme, 8, 5.9, "Images a second against what a run is made of")
    panels = figure.subplots(2, 2, sharey=True)
    for axes, (name, points) in zip(panels.flat, content["growth"].items(), strict=True):
        dress(axes, theme, TITLES[name], y=unit if axes in panels[:, 0] else "")
        axes.set_xscale("log")
        axes.set_yscale("log")
        values = [point[name] for point in points]
        for line, color, marker in zip(LINES, theme.lines, MARKERS, strict=False):
            median = [point[line]["median"] for point in points]
            low, high = ([point[line][end] for point in points] for end in ("low", "high"))
            axes.fill_between(values, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(values, median, color=color, marker=marker, label=LINES[line])
            for value, number in zip(values, median, strict=True):
                axes.annotate(
                    f"{number:,.0f}", (value, number), (0, 7), textcoords="offset points",
                    ha="center", fontsize=8, color=theme.soft,
                )  # fmt: skip
        name_ticks(axes, "x", {value: f"{value:,}" for value in values})
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
        axes.margins(0.12, 0.12)
    dress_legend(panels[0, 0], theme, loc="lower right")
    figure.supxlabel(caption(content), fontsize=8, color=theme.soft)
    return in_few_colours(to_png(figure))


def in_few_colours(png: bytes) -> bytes:
    """The same with a palette: a third of the bytes, for a file that is kept in git."""
    from PIL import Image

    content = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(64).save(content, "png", optimize=True)
    return content.getvalue()


def caption(content: dict[str, Any]) -> str:
    base, found = content["base"], content["versions"]
    low, high = content["load"]
    return (
        f"The rest is {base['batch_size']} images of {base['image_size']}x{base['image_size']} a "
        f"step, width {base['width']}, {base['training_images']:,} images. Medians of "
        f"{content['rounds']} interleaved rounds, quartiles shaded.\n{content['machine']}, load "
        f"{low}, {high} at the end, float32, jax {found['jax']}, flax {found['flax']}, "
        f"{content['date']}:\n"
        f"{content['command']}"
    )


if __name__ == "__main__":
    huge_pages.start_again()  # as `jaxcnn train` does
    main()
