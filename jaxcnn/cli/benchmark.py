"""How fast a training is on the devices at hand, or what models cost.

    jaxcnn benchmark --config experiments/digits.py --output=a.json
    jaxcnn benchmark --config experiments/digits.py --config.batch_size=32 --output=b.json
    jaxcnn benchmark --compare a.json b.json
    jaxcnn benchmark --models resnet18 efficientnet_b0 --batch-size=64 --dtype=bfloat16

--config times what jaxcnn train runs, part by part in turn: the compiled step without augmentation
and with it, with batches as they come, the whole loop with log lines and checkpoints, evaluation;
and from the return key to the first step, in new processes. Medians and quartiles of the rounds.

--compare puts two of these side by side: ratios, which differences are within the spread of the
rounds, and what else differs (config, versions, devices).

--models prints a line for each model, of those named or of all, as soon as it is known (all of them
take long on a CPU). GFLOPs: of one image forward, as XLA counts them: a multiplication and an
addition are two. MB: what a training step keeps for each image besides parameters, as XLA plans it
for the first device, which is the one that works. Images/s: medians of steps on random images that
are on the device already, in training (SGD with momentum, no augmentation) and in evaluation.
Compiling is timed without a cache. A model that cannot be measured says why, and the others go on.
"""

import shlex
import signal
import sys

from absl import flags

from jaxcnn.cli.parsing import FLAGS, config_from_flags, define_config, experiment_path
from jaxcnn.errors import UserError, command, nearest
from jaxcnn.files.folders import json_file, write_json_file
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import environment
from jaxcnn.runtime.preemption import Interrupted

ARGUMENTS = "[NAME ...]"
MODELS_FILE = "models.json"
DTYPES = ("float32", "bfloat16")

define_config(required=False)
_MODELS = flags.DEFINE_bool("models", False, "Measure models: those named, or all.")
_COMPARE = flags.DEFINE_bool("compare", False, "Compare two files of --output.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Of --config: how often all is timed.", lower_bound=2)
_STARTS = flags.DEFINE_integer(
    "starts", 3, "Of --config: new processes with a warm cache; 0: none, and no cold one.",
    lower_bound=0,
)  # fmt: skip
_BATCH_SIZE = flags.DEFINE_integer("batch-size", 32, "Of --models: images a step.", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image-size", None, "Of --models: pixels of a side. Default: what each was made for.",
    lower_bound=1,
)  # fmt: skip
_DTYPE = flags.DEFINE_enum("dtype", "float32", DTYPES, "Of --models: what they compute in.")
_SECONDS = flags.DEFINE_float(
    "seconds", 2.0, "How long each is timed, about (--config: in each round).", lower_bound=0.0
)
_OUTPUT = flags.DEFINE_string(
    "output", None, f"A .json file, or a folder that speed.json or {MODELS_FILE} goes to."
)
# What each question takes besides.
_TAKES = {
    "--config": ("rounds", "seconds", "starts", "output"),
    "--compare": (),
    "--models": ("batch-size", "image-size", "dtype", "seconds", "output"),
}
_CONFIG_WORDS = ("--config", "--noconfig", "-config", "-noconfig")


def _asked() -> list[str]:
    values = (FLAGS.config, _COMPARE.value, _MODELS.value)
    return [name for name, value in zip(_TAKES, values, strict=True) if value]


def check(*words: str) -> None:
    asked = _asked()
    if len(asked) != 1:
        raise UserError(
            "say what to measure, jaxcnn benchmark --config FILE, --models [NAME ...] "
            "or --compare FILE FILE: one of them"
        )
    for name in dict.fromkeys(name for names in _TAKES.values() for name in names):
        if name not in _TAKES[asked[0]] and FLAGS[name].present:
            raise UserError(f"--{name}: is not for {asked[0]}; --help tells what takes it")
    if asked == ["--config"] and words:
        raise UserError(f"{words[0]!r}: not a flag; flags are written --name=value (see --help)")
    if asked == ["--compare"] and len(words) != 2:
        raise UserError("--compare: give two files, jaxcnn benchmark --compare A B")


def main(*words: str) -> None:
    {"--config": _config, "--compare": _compare, "--models": _models}[_asked()[0]](*words)


def _config() -> None:
    from jaxcnn.timing.speed import measure_first_steps, measure_speed
    from jaxcnn.timing.speed_table import SPEED_FILE, machine_load, report, table

    experiment, load = str(experiment_path()), machine_load()
    file = json_file(_OUTPUT.value, SPEED_FILE, "output")
    # The processes it starts must not outlive it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Before this process takes a share of the devices' memory.
    line = shlex.split(command("train", keep=_CONFIG_WORDS))
    first, parts = measure_first_steps(line[2:], _STARTS.value)
    config = config_from_flags()
    try:
        measured, work = measure_speed(config, _ROUNDS.value, _SECONDS.value)
    except Interrupted as error:
        print("stopped; nothing was written", file=sys.stderr)
        sys.exit(error.exit_code)
    content = report(config, experiment, measured | first, work, load)
    print(table(content))
    if file is not None:
        write_json_file(file, content | {"first_step_parts": parts}, "output")
        print(f"\nmore in {file}")


def _compare(*files: str) -> None:
    from jaxcnn.timing.speed_table import read_report, side_by_side

    a, b = (read_report(as_path(file)) for file in files)
    print(side_by_side(a, b))


def _models(*names: str) -> None:
    import jax

    from jaxcnn.core.models import MODELS
    from jaxcnn.timing.model_cost import HEADINGS, ModelCost, measure_model

    for name in names:
        if name not in MODELS:
            raise UserError(f"{name}: no such model{nearest(name, MODELS)}; --help lists them")
    file = json_file(_OUTPUT.value, MODELS_FILE, "output")
    jax.config.update("jax_enable_compilation_cache", False)
    print(HEADINGS, flush=True)
    found: list[ModelCost] = []
    for name in names or MODELS:
        cost = measure_model(
            name, _BATCH_SIZE.value, _IMAGE_SIZE.value, _DTYPE.value, _SECONDS.value
        )
        print(cost, flush=True)
        found.append(cost)
        if file is not None:  # after each: all of them may take hours
            models = [one._asdict() for one in found]
            content = {"models": models, "environment": environment()}
            write_json_file(file, content, "output")
    if file is not None:
        print(f"\nmore in {file}")
    if failed := [cost.name for cost in found if cost.error is not None]:
        raise UserError(f"{', '.join(failed)}: not measured, see above")
