"""Writes a trained model as files that other systems load.

    jaxcnn export --workdir runs/digits
    jaxcnn export --workdir runs/digits --format onnx,stablehlo,keras --batch 1
    jaxcnn export --workdir runs/digits --format onnx --int8 --triton

Every file takes images as uint8[B, H, W, C] of the model's size and gives probabilities,
float32[B, K]: normalisation and temperature are inside, computed in float32. It gets its name when
its own runtime has answered real images as JAX does, to 1e-5. model.json beside them holds the
names of the classes and how files become pixels.

onnx         model.onnx, for onnxruntime and others: input `image`, output `probabilities`
stablehlo    model.stablehlo, jax.export: runs wherever JAX does, on CPU, CUDA and TPU
safetensors  model.safetensors: the weights alone
keras, h5    model.keras, model.h5: layers of Keras, for any of its backends
saved_model  saved_model/, for TensorFlow Serving: signature `serving_default`

A format that cannot say what the model does is refused; the others are written, and the command
ends with exit code 2.
"""

import logging
import os
import shlex

from absl import flags

from jaxcnn.cli.parsing import FREE_WHEN_ANSWERING, define_run, trained_from_flags
from jaxcnn.errors import UserError, nearest, printable
from jaxcnn.files.folders import check_writable
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import EXPORT

FORMATS = ("onnx", "stablehlo", "safetensors", "keras", "h5", "saved_model")

define_run(FREE_WHEN_ANSWERING)
_FORMAT = flags.DEFINE_list("format", "onnx,stablehlo", f"Which files: {', '.join(FORMATS)}.")
_BATCH = flags.DEFINE_integer(
    "batch", None, "So many images at once, always. Default: any number.", lower_bound=1
)
_INT8 = flags.DEFINE_bool("int8", False, "Also model_int8.onnx, with the accuracy that it costs.")
_TRITON = flags.DEFINE_bool("triton", False, "Also triton/, a model repository of Triton.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Where the files go. Default: export, in the run directory."
)


def check() -> None:
    _formats()


def main() -> None:
    from jaxcnn.exports.export import export

    workdir = as_path(flags.FLAGS.workdir)
    folder = as_path(_OUTPUT.value) if _OUTPUT.value else workdir / EXPORT
    check_writable(folder, "output")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras warns of .h5, which was asked for
    trained, names = trained_from_flags(), _formats()
    int8, triton = bool(_INT8.value), bool(_TRITON.value)
    exported = export(trained, folder, names, batch=_BATCH.value, int8=int8, triton=triton)
    if exported.lines:
        width = max(len(name) for name, _ in exported.lines)
        print("\n".join(f"{name:{width}}  {details}" for name, details in exported.lines))
        file = folder / "model.onnx"
        model = ["--artifact", str(file)] if file.exists() else ["--workdir", flags.FLAGS.workdir]
        print(f"\nnext: {printable(shlex.join(['jaxcnn', 'serve', *model]))}")
    if exported.refused:
        raise UserError("; ".join(exported.refused))


def _formats() -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in _FORMAT.value if name.strip()))
    for name in names:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise UserError(f"--format={name}: expected some of {known}{nearest(name, FORMATS)}")
    if not names:
        raise UserError(f"--format: is empty; give some of {', '.join(FORMATS)}")
    if (_INT8.value or _TRITON.value) and "onnx" not in names:
        raise UserError("--int8 and --triton: are made of the ONNX file; give --format onnx too")
    return names
