"""A file gets its name when its own runtime has read it and given what the model in JAX gives."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.exports import FORMATS
from jaxcnn.exports.graph import Unsupported
from jaxcnn.exports.model import Model
from jaxcnn.inference.classifier import MOST_AT_ONCE, in_parts

# Between probabilities in float32.
TOLERANCE = 1e-5


class Export(NamedTuple):
    """A file that was written. difference: the largest between its probabilities and JAX's, of
    `num_images` images.
    """

    path: Path
    difference: float
    num_images: int


def write_verified(
    folder: Path, name: str, model: Model, image: np.ndarray, expected: np.ndarray
) -> Export:
    """Writes one of FORMATS into a folder; raises UserError, and leaves a file of before as it was,
    where it cannot be written or answers otherwise.

    image: uint8[N, H, W, C], what is compared; expected: float32[N, K], see `reference`.
    """
    chosen = FORMATS[name]
    with unfinished(folder) as temporary:
        path = temporary / chosen.file
        try:
            with writing(folder):
                chosen.write(path, model)
                result = answers(chosen.load(path, model), image, model.batch)
        except UserError:
            raise
        except Unsupported as error:
            raise UserError(f"{name}: has no way to say {error}") from error
        except ModuleNotFoundError as error:
            extra = "cpu" if error.name == "tensorflow" else "export"
            raise UserError(
                f"{name}: takes the package {error.name}; pip install 'jaxcnn[{extra}]'"
            ) from error
        except Exception as error:  # each runtime has its own kinds
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{name}: is refused by its own runtime ({reason})") from error
        difference = largest_difference(result, expected)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{name}: differs from the model by {difference:.1e} on {len(image)} images, and "
                f"{TOLERANCE:.0e} is allowed; not written (an earlier {chosen.file} is as it was)"
            )
        put_in_place(path, folder / chosen.file)
    return Export(folder / chosen.file, difference, len(image))


def reference(model: Model, image: np.ndarray) -> np.ndarray:
    """What the model in JAX says of images, float32[N, K]."""
    program = jax.jit(model.apply)
    variables = jax.device_put(model.variables)
    return answers(lambda part: np.asarray(program(variables, part)), image, MOST_AT_ONCE)


def answers(
    run: Callable[[np.ndarray], np.ndarray], image: np.ndarray, batch: int | None
) -> np.ndarray:
    """run(image), some at a time: each time `batch` of them, or if any number will do, one and then
    64 each time.
    """
    if batch is None:
        return np.concatenate(list(map(run, np.split(image, range(1, len(image), MOST_AT_ONCE)))))
    return in_parts(run, image, batch, lambda count: batch)


def largest_difference(result: np.ndarray, expected: np.ndarray) -> float:
    """Between two answers; infinite where they differ in shape, NaN where one is no number."""
    if result.shape != expected.shape:
        return float("inf")
    return float(np.abs(result.astype(np.float64) - expected).max())


@contextmanager
def writing(place: Path | str) -> Iterator[None]:
    """UserError where a disk refuses."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror or error})") from error


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A place beside a folder's files for what is not whole yet; gone at the end."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder)
    with temporary as name:
        yield Path(name)


def put_in_place(path: Path, final: Path) -> None:
    """Renames a file or a folder; what had the name before goes."""
    with writing(final):
        if not final.is_dir():
            path.replace(final)
            return
        aside = path.with_name(f"{path.name}.before")
        final.replace(aside)  # a folder does not replace one that has content
        try:
            path.replace(final)
        except BaseException:
            aside.replace(final)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def size_of(path: Path) -> int:
    """In bytes, of a file or of all in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def sha256(path: Path) -> str:
    """Of a file; of a folder, of its files' names and hashes in order."""
    if path.is_file():
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        total.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
    return total.hexdigest()


def facts_of(path: Path, model: Model, **measured: Any) -> dict[str, Any]:
    """What `model.json` says of a file."""
    step = model.card["checkpoint_step"]
    return {"sha256": sha256(path), "bytes": size_of(path), **measured, "checkpoint_step": step}
