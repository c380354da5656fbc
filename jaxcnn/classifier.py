"""From an image file to an answer: the one path that predict, serve and export share.

from jaxcnn.classifier import answer, load_classifier
classifier = load_classifier("runs/digits")
image = classifier.read(Path("seven.png").read_bytes())
answer(classifier, classifier.probabilities(image[None])[0])
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.build import build_image_decoding
from jaxcnn.core.state import PyTree
from jaxcnn.data.decode import Decoding
from jaxcnn.data.load import load_example
from jaxcnn.errors import UserError
from jaxcnn.runtime.rundir import read_json, versions
from jaxcnn.trained import Trained, load_trained

# Images that are answered at once, at most: more would take memory and hardly be faster.
MOST_AT_ONCE = 64

# What a file says of the model in it, and what is needed to use it.
CARD = "model.json"
_NEEDED = ("class_names", "image_shape", "decoding")


class Classifier(NamedTuple):
    """A model that answers, wherever it came from.

    card: what `model.json` holds, see `model_card`.
    probabilities: uint8[B, H, W, C] -> float32[B, K], for any B from 1; safe to call from threads.
    trained: the run it came from; None for an exported file.
    """

    card: dict[str, Any]
    probabilities: Callable[[np.ndarray], np.ndarray]
    trained: Trained | None = None

    @property
    def name(self) -> str:
        return self.card["name"]

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.card["class_names"])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.card["image_shape"]
        return height, width, channels

    @property
    def decoding(self) -> Decoding:
        """How files become pixels: as they did when the model was trained."""
        given = {name: self.card["decoding"].get(name) for name in Decoding._fields}
        tuples: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in given.items()
        }
        return Decoding(**tuples)

    def read(self, content: bytes | np.ndarray) -> np.ndarray:
        """A file's content, or pixels uint8[h, w, 1 or 3], as the model's uint8[H, W, C];
        ValueError with a reason that continues the file's name.
        """
        image = load_example(content, self.decoding)
        if image.shape != self.image_shape:
            was, wanted = ("x".join(map(str, shape)) for shape in (image.shape, self.image_shape))
            raise ValueError(f"has {was} pixels, and the model takes {wanted} as they are")
        return image


def load_classifier(
    path: str | Path, checkpoint: str = "best", threads: int | None = None
) -> Classifier:
    """Reads a run directory or an exported .onnx file; UserError where it is neither.

    checkpoint: of a run, see `load_trained`.
    threads: that one call of an exported file uses; None: as many as there are cores.
    """
    path = Path(path).expanduser()
    if path.suffix == ".onnx":
        return _exported(path, threads)
    return of_trained(load_trained(path, checkpoint))


def of_trained(trained: Trained) -> Classifier:
    """A model as it was trained, in float32; compiled once for each power of two of images."""
    trained = in_float32(trained)
    compiled = jax.jit(make_probabilities(trained))
    variables = jax.device_put(trained.state.variables)
    run = partial(_in_powers_of_two, lambda image: np.asarray(compiled(variables, image)))
    return Classifier(model_card(trained), run, trained)


def in_float32(trained: Trained) -> Trained:
    """The model, computed in float32 whatever it was trained in."""
    config = trained.config.copy_and_resolve_references()
    config.dtype = "float32"
    return trained._replace(config=config)


def make_probabilities(trained: Trained) -> Callable[[PyTree, jax.Array], jax.Array]:
    """Returns a pure `(variables, uint8[B, H, W, C]) -> float32[B, K]`: what the model sees is made
    of the pixels inside, and logits are divided by the temperature where one was kept. Products are
    in full float32 on any device, so that predict, serve and exports agree.
    """
    model, normalize, temperature = trained.model, trained.normalize, trained.temperature or 1.0

    def probabilities(variables: PyTree, image: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            logits = jnp.asarray(model.apply(variables, normalize(image), train=False))
        return jax.nn.softmax(logits.astype(jnp.float32) / temperature)

    return probabilities


def model_card(trained: Trained) -> dict[str, Any]:
    """What is known of a model besides its parameters, as JSON takes it: the content of
    `model.json` and of what a server tells about it.
    """
    how = build_image_decoding(trained.config, trained.image_shape)
    tested = read_json(trained.workdir / "eval.json") or {}
    return {
        "name": trained.workdir.resolve().name,
        "model": trained.config.model.name,
        "class_names": list(trained.class_names),
        "image_shape": list(trained.image_shape),
        "decoding": {k: list(v) if isinstance(v, tuple) else v for k, v in how._asdict().items()},
        "mean": list(trained.facts["mean"]),
        "std": list(trained.facts["std"]),
        "temperature": trained.temperature or 1.0,
        "checkpoint_step": trained.step,
        "data_identity": trained.facts["identity"],
        "metrics": tested if tested.get("checkpoint_step") == trained.step else {},
        "versions": versions(),
    }


def answer(classifier: Classifier, probabilities: np.ndarray, top: int = 5) -> dict[str, Any]:
    """What is said of one image, float32[K]: {"label", "probability", "top": [the `top` likeliest
    classes, {"label", "probability"}]}.
    """
    names = classifier.class_names
    best = np.argsort(-probabilities, kind="stable")[:top]
    said = [{"label": names[k], "probability": float(probabilities[k])} for k in best.tolist()]
    return {**said[0], "top": said}


def _exported(path: Path, threads: int | None) -> Classifier:
    """A model in an ONNX file, with its card inside or in the `model.json` beside it."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give one that jaxcnn.export wrote")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: ONNX files take onnxruntime; pip install 'jaxcnn[export]'"
        ) from error
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
        # Threads that wait would keep cores busy which others have work for.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common class but this
        raise UserError(f"{path}: is no ONNX file that can be run ({error})") from error
    inside = session.get_modelmeta().custom_metadata_map.get("jaxcnn")
    card = json.loads(inside) if inside else read_json(path.with_name(CARD))
    if card is None or not card.keys() >= set(_NEEDED):
        raise UserError(f"{path}: says nothing of its classes; give one that jaxcnn.export wrote")

    fixed = session.get_inputs()[0].shape[0]  # a number, or the name of one
    size = fixed if isinstance(fixed, int) else MOST_AT_ONCE

    def run(image: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(image), size):
            part = image[start : start + size]
            missing = fixed - len(part) if isinstance(fixed, int) else 0
            filled = np.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0)))
            found.append(session.run(["probabilities"], {"image": filled})[0][: len(part)])
        return np.concatenate(found)

    return Classifier(card, run)


def _in_powers_of_two(run: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    """run(image) in parts whose sizes are powers of two, filled up, so that few are compiled."""
    found = []
    for start in range(0, len(image), MOST_AT_ONCE):
        part = image[start : start + MOST_AT_ONCE]
        size = 1 << (len(part) - 1).bit_length()
        filled = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
        found.append(run(filled)[: len(part)])
    return np.concatenate(found)
