"""The story of a check: look at every example, split as training does, judge, write.

from jaxcnn.checking.check import check
checked = check(config, "runs/mine-data")
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.builders.data import (
    build_augment,
    build_sources,
    build_splits,
    build_workers,
    check_classes_to_train,
    choose_decoding,
)
from jaxcnn.checking.examples import (
    Copies,
    Examples,
    find_copies,
    find_leaks,
    inspect_sources,
    roles_of,
)
from jaxcnn.checking.findings import Finding, find
from jaxcnn.checking.page import MOST_COPIES, MOST_GROUPS, data_page
from jaxcnn.checking.summary import (
    data_text,
    duplicates_csv,
    groups_csv,
    summarize,
    unreadable_csv,
)
from jaxcnn.core.step import augmented
from jaxcnn.data.decode import Decoding, decode
from jaxcnn.data.load import check_labels, load_crop, load_example, require_content
from jaxcnn.data.resize import crop_draws
from jaxcnn.data.source import Images, Source
from jaxcnn.errors import UserError
from jaxcnn.files.folders import check_writable, write_files
from jaxcnn.files.paths import as_path
from jaxcnn.report.galleries import Gallery, Group, Tile, gallery_png, thumbnail

logger = logging.getLogger(__name__)

# The contact sheet: classes, samples of each, and draws of each sample's augmentation; without
# augmentation more samples fit.
_CLASSES, _SAMPLES, _DRAWS, _SAMPLES_ALONE = 20, 3, 3, 10
# Pixels of samples where images differ in size and the config gives none; on the sheet.
_SAMPLE_SIZE, _TILE = 224, 84


class CheckResult(NamedTuple):
    """What a check found. facts: the content of check.json; text: for a terminal."""

    findings: list[Finding]
    facts: dict[str, Any]
    text: str


def check(config: ConfigDict, output: str | Path) -> CheckResult:
    """Checks all images that a resolved config names, and writes a page and tables into `output`.

    Raises UserError where there are no data to look at, or `output` cannot be written.

    >>> import jaxcnn
    >>> config = jaxcnn.default_config()
    >>> config.num_epochs = 1
    >>> checked = jaxcnn.check(jaxcnn.resolve(config), "digits-data")
    >>> [finding.what for finding in checked.findings if finding.harm]
    []
    """
    output, clock = as_path(output), time.perf_counter()
    check_writable(output, "output")
    sources = build_sources(config)
    check_classes_to_train(config, sources["train"])
    decoding = choose_decoding(config, sources["train"])
    workers = build_workers(config)
    examples = inspect_sources(sources, decoding, workers)
    for part, source in sources.items():
        check_labels(source, examples.label[examples.rows(part)])
    logger.info("looked at %s images (%.1f s)", f"{len(examples):,}", time.perf_counter() - clock)

    roles, refused = _split(config, examples)
    copies, left_out = find_copies(examples, roles), sources["train"].left_out or {}
    grouped = _is_grouped(config, sources)
    leaks = find_leaks(examples, roles) if grouped else []
    findings = refused + find(
        examples,
        roles,
        copies,
        image_size=decoding.image_size,
        on_bad_image=config.data.on_bad_image,
        leaks=leaks,
        left_out=left_out,
    )
    facts = summarize(examples, roles, copies, findings, left_out)
    samples, caption = _samples(config, examples, roles, decoding)
    html = data_page(
        f"Data: {config.data.get('dir') or config.data.get('name') or config.data.source}",
        examples,
        roles,
        copies,
        findings,
        facts,
        samples=samples,
        samples_caption=caption,
        thumbnails=_thumbnails(examples, copies, decoding),
        leaks=leaks,
        left_out=left_out,
    )
    files = {
        "check.json": json.dumps(facts, indent=2).encode() + b"\n",
        "report.html": html.encode(),
        "unreadable.csv": unreadable_csv(examples),
        "duplicates.csv": duplicates_csv(examples, roles, copies),
        "groups.csv": groups_csv(examples, roles, leaks) if grouped else None,
        "samples.png": samples,
    }
    write_files(output, files, "output")
    return CheckResult(findings, facts, data_text(examples, findings, facts))


def _split(config: ConfigDict, examples: Examples) -> tuple[np.ndarray, list[Finding]]:
    """Returns the split of each example in training, and what would stop training there."""
    images = {
        part: Images(
            np.empty((source.size, 0, 0, 0), np.uint8),  # splitting asks for labels only
            examples.label[examples.rows(part)],
            examples.bad_of(part),
        )
        for part, source in examples.sources.items()
    }
    try:
        return roles_of(examples, build_splits(config, examples.sources, images), images), []
    except UserError as error:
        what, _, advice = str(error).partition("; ")
        roles = np.full(len(examples), "", dtype="<U10")
        for part in examples.sources:
            roles[examples.rows(part)] = part
        roles[list(examples.bad)] = ""
        return roles, [Finding("splits", True, what, advice or "training would stop there")]


def _is_grouped(config: ConfigDict, sources: Mapping[str, Source]) -> bool:
    """Whether units are groups; where each file is its own, equal paths in two splits are usual."""
    if config.data.get("group_pattern"):
        return True
    units = [source.unit for source in sources.values() if source.unit is not None]
    return any(len(np.unique(unit)) < len(unit) for unit in units)


def _samples(
    config: ConfigDict, examples: Examples, roles: np.ndarray, decoding: Decoding
) -> tuple[bytes | None, str]:
    """Returns the contact sheet of training images, a PNG or None, and a line about it."""
    varied = bool(config.augment) or config.data.crop_scale is not None
    decoding, number = _sample_decoding(examples, decoding), _SAMPLES if varied else _SAMPLES_ALONE
    present = np.unique(examples.label[roles == "train"])[:_CLASSES].tolist()
    chosen = [
        n
        for k in present
        for n in _spread(np.flatnonzero((roles == "train") & (examples.label == k)), number)
    ]
    original, chosen = _load(examples, chosen, lambda content, n: load_example(content, decoding))
    if not chosen:
        return None, ""
    drawn = [_draw(config, examples, chosen, original, decoding, draw) for draw in range(_DRAWS)]
    rows = []
    for k in present:
        mine = [i for i, n in enumerate(chosen) if examples.label[n] == k]
        groups = [[original[i], *(images[i] for images in drawn)] for i in mine]
        if not varied:
            groups = [[original[i] for i in mine]]
        if mine:
            tiles = [Tile(group, [], side=_TILE) for group in groups]
            rows.append(Group(tiles, examples.class_names[k]))
    height, width = original[0].shape[:2]
    caption = f"Training images as the model sees them, {width}x{height} pixels"
    caption += (
        f"; right of each, {_DRAWS} draws of its augmentation." if varied else "; not augmented."
    )
    if len(examples.class_names) > len(rows):
        caption += f" {len(rows)} of {len(examples.class_names):,} classes."
    title = "Samples, each augmented three times" if varied else "Samples"
    return gallery_png(Gallery(title, rows)), caption


def _sample_decoding(examples: Examples, decoding: Decoding) -> Decoding:
    """`decoding` with a size and channels that suit all samples."""
    size = examples.size[examples.usable]
    if decoding.image_size is None and len(size) and (size != size[0]).any():
        decoding = decoding._replace(image_size=min(_SAMPLE_SIZE, int(np.median(size.min(axis=1)))))
    colour = any("RGB" in mode for mode in examples.mode)
    return decoding if decoding.channels else decoding._replace(channels=3 if colour else 1)


def _spread(numbers: np.ndarray, count: int) -> list[int]:
    """Returns at most `count` of the numbers, evenly spaced."""
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers)), dtype=int)
    return numbers[places].tolist()


def _load(
    examples: Examples,
    numbers: Sequence[int],
    load: Callable[[bytes | np.ndarray, int], np.ndarray],
) -> tuple[np.ndarray, list[int]]:
    """Returns images uint8[n, H, W, C], made by load(content, number), and their numbers; what has
    become unreadable since the check is left out.
    """
    images, kept = [], []
    for n in numbers:
        part, row = examples.part(n)
        contents, _ = examples.sources[part].read(np.array([row]))
        try:
            images.append(load(require_content(contents[0]), n))
            kept.append(n)
        except ValueError:
            continue
    return np.array(images), kept


def _draw(
    config: ConfigDict,
    examples: Examples,
    numbers: list[int],
    original: np.ndarray,
    decoding: Decoding,
    draw: int,
) -> np.ndarray:
    """Returns one draw of images as training may see them, uint8[n, H, W, C]."""
    if config.data.crop_scale is not None and decoding.image_size is not None:
        size, scale = decoding.image_size, config.data.crop_scale

        def crop(content: bytes | np.ndarray, n: int) -> np.ndarray:
            return load_crop(content, decoding, size, scale, crop_draws(config.seed, draw, n, 0))

        cropped, kept = _load(examples, numbers, crop)
        original = cropped if kept == numbers else original
    label, num_classes = examples.label[numbers], len(examples.class_names)
    return _augmented(config, original, label, numbers, num_classes, draw)


def _augmented(
    config: ConfigDict,
    image: np.ndarray,
    label: np.ndarray,
    numbers: list[int],
    num_classes: int,
    draw: int,
) -> np.ndarray:
    """Augments uint8[n, H, W, C] as the config says."""
    index = jnp.asarray(numbers, jnp.int32)
    batch = {
        "image": jnp.asarray(image),
        "label": jnp.asarray(label, jnp.int32),
        "mask": jnp.ones(len(index), bool),
        "index": index,
        "epoch": jnp.full_like(index, draw),
    }
    if len(index) % 2:  # mixing takes pairs
        batch = {name: jnp.concatenate([value, value[:1]]) for name, value in batch.items()}
    height, width, channels = image.shape[1:]
    augment = build_augment(config, num_classes, (height, width, channels), len(batch["index"]))
    changed = augmented(augment, jax.random.key(config.seed), draw, batch)["image"][: len(image)]
    return np.clip(np.rint(np.asarray(changed, np.float32)), 0, 255).astype(np.uint8)


def _thumbnails(
    examples: Examples, copies: Sequence[Copies], decoding: Decoding
) -> dict[int, bytes]:
    """Returns small pictures of identical images by number; one of each group is read."""
    whole = decoding._replace(image_size=None)
    pictures: dict[int, bytes] = {}
    for group in copies[:MOST_GROUPS]:
        images, kept = _load(examples, group.numbers[:1], lambda content, n: decode(content, whole))
        if kept:
            pictures |= dict.fromkeys(group.numbers[:MOST_COPIES], thumbnail(images[0]))
    return pictures
