"""From a trained model to files of other systems, compared with it on real images.

from jaxcnn.exports.export import export
from jaxcnn.inference.trained import load_trained
export(load_trained("runs/digits"), "runs/digits/export", ["onnx"])
"""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.pipeline import eval_batches
from jaxcnn.errors import UserError
from jaxcnn.evaluation.assess import find_data, parts_at, spread_over
from jaxcnn.exports import FORMATS
from jaxcnn.exports.derived import INT8, TRITON, write_int8, write_triton
from jaxcnn.exports.model import Model
from jaxcnn.exports.verified import (
    answers,
    facts_of,
    put_in_place,
    reference,
    sha256,
    unfinished,
    write_verified,
    writing,
)
from jaxcnn.files.folders import LocalFolder
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import read_json, write_json
from jaxcnn.inference.classifier import CARD, in_float32, make_probabilities, model_card
from jaxcnn.inference.trained import Trained

logger = logging.getLogger(__name__)

# Images that files are compared on: at least so many, of all data if the test data are fewer.
LEAST, MOST = 64, 257

# Images that the ranges of 8 bits are taken from, and most that accuracy is measured on.
_RANGES, _MEASURED = 512, 5_000


class Exported(NamedTuple):
    """lines: (file, what is known of it). refused: why other files were not written."""

    lines: list[tuple[str, str]]
    refused: list[str]


def export(
    trained: Trained,
    folder: str | Path,
    formats: Sequence[str],
    *,
    batch: int | None = None,
    int8: bool = False,
    triton: bool = False,
) -> Exported:
    """Writes some of FORMATS, and model.json after each, into a folder; raises UserError where
    nothing can be written. What one format cannot say is in the `refused` of the answer.

    batch: the number of images the files take; None for any. int8, triton: also those, which are
      made of the ONNX file; without them, such files of an earlier one go.

    >>> import jaxcnn
    >>> trained = jaxcnn.load_trained("runs/digits")
    >>> [name for name, _ in jaxcnn.export(trained, "exported", ["stablehlo"]).lines]
    ['model.stablehlo', 'model.json']
    """
    place = LocalFolder(as_path(folder))
    try:
        with writing(folder):
            place.fetch()
        try:
            return _export(trained, place.path, formats, batch, int8, triton)
        finally:  # what was verified before one that is refused
            with writing(folder):
                place.keep()
    finally:
        place.drop()


def _export(
    trained: Trained,
    folder: Path,
    formats: Sequence[str],
    batch: int | None,
    int8: bool,
    triton: bool,
) -> Exported:
    """As `export`, into a folder of this machine."""
    model = make_model(trained, batch)
    if "saved_model" in formats:  # in a process there is one backend of Keras, and it takes this
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    split, image, _ = _images(trained, None, MOST, LEAST)
    images = f"{len(image)} {'images' if split == 'all' else f'{split} images'}"
    expected = reference(model, image)
    lines: list[tuple[str, str]] = []
    refused: list[str] = []
    files = _listed(folder)
    of_onnx = ((INT8, int8, _write_int8), (TRITON, triton, _write_triton))

    def keep(name: str, facts: dict[str, Any], details: str) -> None:
        files.pop(name, None)
        files[name] = facts
        write_json(folder / CARD, model.card | {"files": files})
        lines.append((_shown(folder / name), f"{facts['bytes'] / 1e6:7.2f} MB  {details}"))

    for name in formats:
        try:
            made = write_verified(folder, name, model, image, expected)
        except UserError as error:
            refused.append(str(error))
            continue
        if name == "onnx":
            unasked = [derived for derived, asked, _ in of_onnx if not asked]
            lines += _without_derived(folder, files, unasked)
        measured = {"largest_difference": made.difference, "num_images": made.num_images}
        details = f"differs from JAX by {made.difference:.1e} at most on {images}"
        keep(made.path.name, facts_of(made.path, model, **measured), details)
    onnx = folder / FORMATS["onnx"].file
    for name, asked, write in of_onnx:
        if not asked or onnx.name not in dict(lines):
            continue
        try:
            keep(name, *write(trained, model, onnx))
        except UserError as error:
            refused.append(str(error))
            lines += _without_derived(folder, files, [name])
            write_json(folder / CARD, model.card | {"files": files})
    if lines:
        lines.append((CARD, "class names, decoding, metrics and hashes"))
    return Exported(lines, refused)


def make_model(trained: Trained, batch: int | None = None) -> Model:
    """What the writers take, of a run: the averaged weights where it has some, in float32."""
    trained = in_float32(trained)
    return Model(
        make_probabilities(trained),
        trained.variables,
        trained.image_shape,
        model_card(trained),
        batch,
    )


def _images(
    trained: Trained, split: str | None, most: int, least: int = 0
) -> tuple[str, np.ndarray, np.ndarray]:
    """Images from all over a split, or the test data if that is None, with the split's name and
    labels; of all data where the test data are fewer than `least`.
    """
    try:
        data = find_data(trained, split)
        if split is None and sum(map(len, data.parts)) < least:
            data = find_data(trained, "all")
    except UserError as error:
        raise UserError(
            f"the images that files are compared on cannot be found ({error}); give others of the "
            "same classes with --config.data.dir=FOLDER"
        ) from error
    parts = parts_at(data.parts, spread_over(sum(map(len, data.parts)), most))
    label = np.concatenate([part.label for part in parts])
    batches = (batch for part in parts for batch in eval_batches(part, LEAST))
    image = np.concatenate([batch["image"][batch["mask"]] for batch in batches])
    if len(image) < least:
        logger.warning("files are compared on %d images only, as there are no more", len(image))
    return data.split, image, label


def _write_int8(trained: Trained, model: Model, onnx: Path) -> tuple[dict[str, Any], str]:
    """Writes the 8-bit file; what model.json and the last lines say of it."""
    load, final = FORMATS["onnx"].load, onnx.with_name(INT8)
    _, ranges, _ = _images(trained, "train", _RANGES)
    split, image, label = _images(trained, None, _MEASURED)

    def accuracy(run: Callable[[np.ndarray], np.ndarray]) -> float:
        return float((answers(run, image, model.batch).argmax(-1) == label).mean())

    with unfinished(onnx.parent) as temporary:
        path = temporary / INT8
        try:
            write_int8(path, onnx, ranges, model.batch)
            before, after = accuracy(load(onnx, model)), accuracy(load(path, model))
        except Exception as error:  # onnxruntime's errors have no common class but this
            raise UserError(f"int8: cannot be made ({' '.join(str(error).split())})") from error
        put_in_place(path, final)
    facts = facts_of(
        final,
        model,
        accuracy=after,
        accuracy_float32=before,
        num_images=len(image),
        split=split,
        made_of=sha256(onnx),
    )
    details = f"right on {after:.2%} of {len(image):,} {split} images, where {onnx.name} is on"
    return facts, f"{details} {before:.2%} ({after - before:+.2%})"


def _write_triton(trained: Trained, model: Model, onnx: Path) -> tuple[dict[str, Any], str]:
    """Writes the folder for Triton; what model.json and the last lines say of it."""
    final = onnx.with_name(TRITON)
    with unfinished(onnx.parent) as temporary:
        with writing(final):
            write_triton(temporary / TRITON, onnx, model)
        put_in_place(temporary / TRITON, final)
    facts = facts_of(final, model, made_of=sha256(onnx))
    return facts, f"a copy of {onnx.name}, with config.pbtxt"


def _without_derived(
    folder: Path, files: dict[str, Any], names: Sequence[str]
) -> list[tuple[str, str]]:
    """Deletes what was made of an ONNX file that is no more, and takes it from `files`; the lines
    that say so. What model.json does not know, or someone has changed, stays.
    """
    lines = []
    onnx = folder / FORMATS["onnx"].file
    for name in names:
        path = folder / name
        if not path.exists() or files.get(name, {}).get("made_of") == sha256(onnx):
            continue
        shown = _shown(path)
        if files.pop(name, None) is None:
            lines.append((shown, f"stays as it was, and may not be of this {onnx.name}"))
            continue
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            raise UserError(f"{path}: cannot be deleted ({error.strerror})") from error
        lines.append((shown, f"deleted, as it was made of an earlier {onnx.name}"))
    return lines


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    """What model.json says of the files that are as it says; nothing where it is damaged, or not
    ours.
    """
    try:
        files = (read_json(folder / CARD) or {})["files"].items()
    except (UserError, AttributeError, KeyError, TypeError):
        return {}
    return {
        name: facts
        for name, facts in files
        if isinstance(facts, dict)
        and isinstance(facts.get("sha256"), str)
        and (folder / name).exists()
        and sha256(folder / name) == facts["sha256"]
    }


def _shown(path: Path) -> str:
    return f"{path.name}/" if path.is_dir() else path.name
