"""From a trained model to files of other systems, compared with it on real images.

from jaxcnn.exporting import export
from jaxcnn.trained import load_trained
export(load_trained("runs/digits"), "runs/digits/export", ["onnx"])
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.assessment import find_data, spread_over
from jaxcnn.classifier import CARD, in_float32, make_probabilities, model_card
from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.source import Split
from jaxcnn.errors import UserError
from jaxcnn.exports import FORMATS
from jaxcnn.exports.int8 import FILE as INT8_FILE
from jaxcnn.exports.int8 import write_int8
from jaxcnn.exports.model import Model
from jaxcnn.exports.triton import write_triton
from jaxcnn.exports.verified import (
    Export,
    entry,
    in_parts,
    put_in_place,
    reference,
    sha256,
    size_of,
    unfinished,
    write_verified,
)
from jaxcnn.runtime.rundir import read_json, write_json
from jaxcnn.trained import Trained

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
    """Writes some of FORMATS, and model.json, into a folder; raises UserError where nothing can be
    written. What one format cannot say is in the `refused` of the answer.

    batch: the number of images the files take; None for any. int8, triton: also those, which are
      made of the ONNX file.
    """
    folder, model = Path(folder).expanduser(), make_model(trained, batch)
    what, image, _ = _images(trained, None, MOST)
    expected = reference(model, image)
    lines: list[tuple[str, str]] = []
    entries: dict[str, dict[str, Any]] = {}
    refused: list[str] = []
    for name in formats:
        try:
            made = write_verified(folder, name, model, image, expected)
        except UserError as error:
            refused.append(str(error))
            continue
        entries[made.path.name] = entry(made, model.card)
        lines.append((made.path.name, _told(made, what)))
    if FORMATS["onnx"].file in entries:
        onnx = folder / FORMATS["onnx"].file
        if int8:
            try:
                entries[INT8_FILE], told = _write_int8(trained, model, onnx)
                lines.append((INT8_FILE, told))
            except UserError as error:
                refused.append(str(error))
        if triton:
            lines.append(("triton/", _write_triton(model, onnx)))
    if entries:
        write_json(folder / CARD, model.card | {"files": _kept(folder, entries) | entries})
        lines.append((CARD, "class names, decoding, metrics and hashes"))
    return Exported(lines, refused)


def make_model(trained: Trained, batch: int | None = None) -> Model:
    """What the writers take, of a run: the averaged weights where it has some, in float32."""
    trained = in_float32(trained)
    return Model(
        make_probabilities(trained),
        trained.state.variables,
        trained.image_shape,
        model_card(trained),
        batch,
    )


def _images(trained: Trained, split: str | None, most: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Images from all over a split, or the test data if that is None, with the split's name and
    labels; of all data where the test data are too few.
    """
    try:
        examined = find_data(trained, split)
        if split is None and sum(map(len, examined.parts)) < LEAST:
            examined = find_data(trained, "all")
    except UserError as error:
        raise UserError(
            f"the images that files are compared on cannot be found ({error}); give others of the "
            "same classes with --config.data.dir=FOLDER"
        ) from error
    parts = list(_spread(examined.parts, most))
    label = np.concatenate([part.label for part in parts])
    found = [b["image"][b["mask"]] for part in parts for b in eval_batches(part, LEAST)]
    image = np.concatenate(found)
    if len(image) < LEAST:
        logger.warning("files are compared on %d images only, as there are no more", len(image))
    return examined.split, image, label


def _spread(parts: Sequence[Split], most: int) -> Any:
    """The parts with at most so many of their examples, from all over."""
    start, chosen = 0, spread_over(sum(map(len, parts)), most)
    for part in parts:
        mine = chosen[(chosen >= start) & (chosen < start + len(part))] - start
        if len(mine):
            yield dataclasses.replace(part, rows=part.rows[mine])
        start += len(part)


def _write_int8(trained: Trained, model: Model, onnx: Path) -> tuple[dict[str, Any], str]:
    """Writes the 8-bit file; what model.json and the last lines say of it."""
    load, final = FORMATS["onnx"].load, onnx.with_name(INT8_FILE)
    _, ranges, _ = _images(trained, "train", _RANGES)
    what, image, label = _images(trained, None, _MEASURED)

    def accuracy(run: Callable[[np.ndarray], np.ndarray]) -> float:
        return float((in_parts(run, image, model.batch).argmax(-1) == label).mean())

    with unfinished(onnx.parent) as temporary:
        path = temporary / INT8_FILE
        try:
            write_int8(path, onnx, ranges, model.batch)
            before, after = accuracy(load(onnx, model)), accuracy(load(path, model))
        except Exception as error:  # onnxruntime's errors have no common class but this
            raise UserError(f"int8: cannot be made ({' '.join(str(error).split())})") from error
        put_in_place(path, final)
    facts = {
        "sha256": sha256(final),
        "bytes": size_of(final),
        "accuracy": after,
        "accuracy_float32": before,
        "num_images": len(image),
        "checkpoint_step": model.card["checkpoint_step"],
    }
    told = f"{_size(facts['bytes'])}  right on {after:.2%} of {len(image):,} {what} images, where "
    return facts, told + f"{onnx.name} is on {before:.2%} ({after - before:+.2%})"


def _write_triton(model: Model, onnx: Path) -> str:
    with unfinished(onnx.parent) as temporary:
        write_triton(temporary / "triton", onnx, model)
        put_in_place(temporary / "triton", onnx.with_name("triton"))
    return f"{_size(size_of(onnx.with_name('triton')))}  a copy of {onnx.name}, with config.pbtxt"


def _kept(folder: Path, new: dict[str, Any]) -> dict[str, Any]:
    """What model.json said of files that were there before and still are as it says."""
    before = (read_json(folder / CARD) or {}).get("files", {})
    return {
        name: facts
        for name, facts in before.items()
        if name not in new and (folder / name).exists() and sha256(folder / name) == facts["sha256"]
    }


def _told(made: Export, what: str) -> str:
    return (
        f"{_size(made.size)}  differs from JAX by {made.difference:.1e} at most on "
        f"{made.num_images} {'images' if what == 'all' else f'{what} images'}"
    )


def _size(size: int) -> str:
    return f"{size / 1e6:7.2f} MB"
