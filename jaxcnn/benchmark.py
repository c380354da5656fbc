"""How large models are, what they cost and how fast they are on the devices at hand.

    python -m jaxcnn.benchmark --models
    python -m jaxcnn.benchmark --models resnet18 efficientnet_b0 --batch-size=64 --dtype=bfloat16

A line for each model, of those named or of all, as soon as it is known (all of them take long on a
CPU). GFLOPs: of one image forward, as XLA counts them: a multiplication and an addition are two.
MB: what a training step keeps for each image besides parameters, as XLA plans it for the first
device, which is the one that works. Images/s: medians of steps on random images that are on the
device already, in training (SGD with momentum, no augmentation) and in evaluation. Compiling is
timed without a cache. A model that cannot be measured says why, and the others go on.
"""

import json
from pathlib import Path

import jax
from absl import flags

from jaxcnn import cli
from jaxcnn.core.models import MODELS
from jaxcnn.errors import UserError, nearest
from jaxcnn.model_cost import HEADINGS, ModelCost, measure_model
from jaxcnn.runtime.outdir import check_writable, write_files
from jaxcnn.runtime.rundir import environment

FILE = "models.json"
DTYPES = ("float32", "bfloat16")

_MODELS = flags.DEFINE_bool("models", False, "Measure models: those named, or all.")
_BATCH_SIZE = flags.DEFINE_integer("batch-size", 32, "Images a step.", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image-size", None, "Pixels of a side. Default: what each model was made for.", lower_bound=1
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", DTYPES, "What models compute in.")
_SECONDS = flags.DEFINE_float(
    "seconds", 2.0, "How long each is timed after its first step, at least.", lower_bound=0.0
)
_OUTPUT = flags.DEFINE_string("output", None, f"A folder that {FILE} goes to.")


def main(*names: str) -> None:
    if not _MODELS.value:
        raise UserError("say what to measure, python -m jaxcnn.benchmark --models [NAME ...]")
    for name in names:
        if name not in MODELS:
            raise UserError(f"{name}: no such model{nearest(name, MODELS)}; --help lists them")
    output = None if _OUTPUT.value is None else Path(_OUTPUT.value).expanduser()
    if output is not None:
        check_writable(output, "output")
    jax.config.update("jax_enable_compilation_cache", False)
    print(HEADINGS, flush=True)
    found: list[ModelCost] = []
    for name in names or MODELS:
        cost = measure_model(
            name, _BATCH_SIZE.value, _IMAGE_SIZE.value, _DTYPE.value, _SECONDS.value
        )
        print(cost, flush=True)
        found.append(cost)
        if output is not None:  # after each: all of them may take hours
            models = [one._asdict() for one in found]
            content = {"models": models, "environment": environment()}
            write_files(output, {FILE: json.dumps(content, indent=2).encode()}, "output")
    if output is not None:
        print(f"\nmore in {output / FILE}")
    if failed := [cost.name for cost in found if cost.error is not None]:
        raise UserError(f"{', '.join(failed)}: not measured, see above")


if __name__ == "__main__":
    cli.run(main, usage=__doc__, arguments="[NAME ...]")
