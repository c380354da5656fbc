"""From an image file to an answer: the one path that predict, serve and export share."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.builders.data import build_image_decoding
from jaxcnn.core.state import PyTree
from jaxcnn.data.decode import Decoding
from jaxcnn.data.load import load_example
from jaxcnn.data.looks import unlike
from jaxcnn.errors import UserError
from jaxcnn.files.folders import local_file
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import EVALUATION, read_json, versions
from jaxcnn.inference.trained import Trained, load_trained

# Images that are answered at once, at most: more would take memory and hardly be faster.
MOST_AT_ONCE = 64


def in_parts(
    run: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    most: int = MOST_AT_ONCE,
    filled: Callable[[int], int] = lambda count: count,
) -> np.ndarray:
    """Returns run(image), computed for `most` images at a time; a part of n is filled up with
    zeros to filled(n), whose answers are left out.
    """
    results = []
    for start in range(0, len(image), most):
        part = image[start : start + most]
        missing = np.zeros((filled(len(part)) - len(part), *part.shape[1:]), part.dtype)
        results.append(run(np.concatenate([part, missing]))[: len(part)])
    return np.concatenate(results)


# What files say of the model in them.
CARD = "model.json"


class Classifier(NamedTuple):
    """A model that answers, wherever it came from.

    card: what `model.json` holds, see `model_card`.
    probabilities: uint8[B, H, W, C] -> float32[B, K], for any B from 1; safe to call from threads.
    trained: the run it came from; None for an exported file.

    >>> import numpy as np, jaxcnn
    >>> classifier = jaxcnn.load_classifier("runs/digits")
    >>> classifier.read(np.zeros((8, 8, 1), np.uint8)).shape
    (8, 8, 1)
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
        values = (self.card["decoding"].get(name) for name in Decoding._fields)
        return Decoding._make(tuple(v) if isinstance(v, list) else v for v in values)

    def read(self, content: bytes | np.ndarray) -> np.ndarray:
        """Returns a file's content, or pixels uint8[h, w, 1 or 3], as the model's uint8[H, W, C];
        ValueError with a reason that continues the file's name.
        """
        image = load_example(content, self.decoding)
        if image.shape != self.image_shape:
            was, wanted = ("x".join(map(str, shape)) for shape in (image.shape, self.image_shape))
            raise ValueError(f"has {was} pixels, and the model takes {wanted} as they are")
        return image

    def warning(self, image: np.ndarray) -> str | None:
        """Why an image, uint8[H, W, C], looks unlike those of training; None where it does not, or
        where the run has not kept how those look.
        """
        usual = self.card.get("looks")
        return unlike(image, usual) if usual else None


def load_classifier(
    path: str | Path, checkpoint: str = "best", threads: int | None = None
) -> Classifier:
    """Reads a run directory or an exported .onnx file; UserError where it is neither.

    checkpoint: of a run, see `load_trained`.
    threads: that one call of an exported file uses; None: as many as there are cores.

    >>> import numpy as np, jaxcnn
    >>> classifier = jaxcnn.load_classifier("runs/digits")
    >>> classifier.probabilities(np.zeros((2, 8, 8, 1), np.uint8)).shape
    (2, 10)
    """
    path = as_path(path)
    if path.suffix == ".onnx":
        return _exported(path, threads)
    return of_trained(load_trained(path, checkpoint))


def of_trained(trained: Trained) -> Classifier:
    """Returns a model as it was trained, in float32; compiled once for each power of two of
    images.
    """
    trained = in_float32(trained)
    compiled = jax.jit(make_probabilities(trained))
    variables = jax.device_put(trained.variables)

    def run(image: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(variables, image))

    # Parts are filled up to powers of two, so that few sizes are compiled.
    probabilities = partial(in_parts, run, filled=lambda count: 1 << (count - 1).bit_length())
    return Classifier(model_card(trained), probabilities, trained)


def in_float32(trained: Trained) -> Trained:
    """Returns the model, computed in float32 whatever it was trained in."""
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
    """Returns what is known of a model besides its parameters, as JSON takes it: the content of
    `model.json` and of what a server tells about it.
    """
    decoding = build_image_decoding(trained.config, trained.image_shape, trained.facts)._asdict()
    tested = read_json(trained.workdir / EVALUATION) or {}
    return {
        "name": trained.workdir.resolve().name,
        "model": trained.config.model.name,
        "class_names": list(trained.class_names),
        "image_shape": list(trained.image_shape),
        "decoding": {k: list(v) if isinstance(v, tuple) else v for k, v in decoding.items()},
        "mean": list(trained.facts["mean"]),
        "std": list(trained.facts["std"]),
        "looks": trained.facts.get("looks"),
        "temperature": trained.temperature or 1.0,
        "checkpoint_step": trained.step,
        "data_identity": trained.facts["identity"],
        "metrics": tested if tested.get("checkpoint_step") == trained.step else {},
        "versions": versions(),
    }


def answer(classifier: Classifier, probabilities: np.ndarray, top: int = 5) -> dict[str, Any]:
    """Returns the answer for one image's float32[K]: {"label", "probability", "top": [the `top`
    likeliest classes, {"label", "probability"}]}.
    """
    names = classifier.class_names
    order = np.argsort(-probabilities, kind="stable")[:top]
    best = [{"label": names[k], "probability": float(probabilities[k])} for k in order.tolist()]
    return {**best[0], "top": best}


def _exported(path: Path, threads: int | None) -> Classifier:
    """Returns the model in an ONNX file, with its card inside or in the `model.json` beside it."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give one that jaxcnn export wrote")
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
        with local_file(path) as file:
            session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
    except Exception as error:  # onnxruntime's errors have no common class but this
        raise UserError(f"{path}: is no ONNX file that can be run ({error})") from error
    card = _card_of(path, session)
    if card is None:
        raise UserError(f"{path}: says nothing of its classes; give one that jaxcnn export wrote")
    batch = _batch(session, card)
    if batch is None:
        raise UserError(
            f"{path}: takes or gives something else than it says; give one that jaxcnn export wrote"
        )

    def run(image: np.ndarray) -> np.ndarray:
        return session.run(["probabilities"], {"image": image})[0]

    if batch == "any":
        return Classifier(card, partial(in_parts, run))
    return Classifier(card, partial(in_parts, run, most=batch, filled=lambda count: batch))


def _card_of(path: Path, session: Any) -> dict[str, Any] | None:
    """Returns what a file says of its model, or the `model.json` beside it that lists just this
    file; None where it is no such card.
    """
    inside = session.get_modelmeta().custom_metadata_map.get("jaxcnn")
    try:
        card: Any = json.loads(inside) if inside else read_json(path.with_name(CARD))
        if not inside:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            if digest not in [facts["sha256"] for facts in card["files"].values()]:
                return None
        names, shape = card["class_names"], card["image_shape"]
        types = [str, dict, list, *[str] * len(names), *[int] * 3]
        parts = [card["name"], card["decoding"], names, *names, *shape]
        right = len(names) > 0 and [type(part) for part in parts] == types
    except (AttributeError, KeyError, TypeError, ValueError, UserError):
        return None
    return card if right else None


def _batch(session: Any, card: dict[str, Any]) -> int | Literal["any"] | None:
    """Returns how many images a file takes at once; None where it is not what the card says."""
    inputs = [(one.name, one.type, *one.shape[1:]) for one in session.get_inputs()]
    outputs = [(one.name, one.type, *one.shape[1:]) for one in session.get_outputs()]
    expected = ("probabilities", "tensor(float)", len(card["class_names"]))
    if inputs != [("image", "tensor(uint8)", *card["image_shape"])] or expected not in outputs:
        return None
    image = session.get_inputs()[0]
    fixed = image.shape[0]  # a number, or the name of one
    return fixed if isinstance(fixed, int) else "any"
