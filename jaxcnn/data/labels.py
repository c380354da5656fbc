"""Names of classes: spellings that mean the same one, names that look wrong, names for numbers."""

import csv
import json
import logging
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from jaxcnn.errors import UserError, first_few

logger = logging.getLogger(__name__)

# Files beside class folders that may name them, where the folders are numbers.
NAME_FILES = tuple(
    f"{stem}{suffix}"
    for stem in ("classes", "class_names", "labels", "names", "label_names", "cat_to_name")
    for suffix in (".txt", ".csv", ".json")
)
# What stands between several labels of one image, as in the files of chest X-rays; and what does so
# too, but may be part of a name.
_BETWEEN, _PERHAPS_BETWEEN = "|;", ",+/&"
_NUMBERED = re.compile(r"\s*(\d+)\s*[\s:,;=\t]\s*(.+)")


def same_name(name: str) -> str:
    """What is equal for spellings of one name: composed (Unicode's NFC), without space around it,
    whole numbers without decimals.
    """
    composed = unicodedata.normalize("NFC", name).strip()
    return (
        re.sub(r"(?<=\d)\.0+$", "", composed) if re.fullmatch(r"-?\d+\.0+", composed) else composed
    )


def merge_spellings(names: Iterable[str]) -> dict[str, str]:
    """{spelling: name} of all names: several spellings of one name become that, see `same_name`;
    what is spelled in one way stays as it is.
    """
    spellings = defaultdict(set)
    for name in names:
        spellings[same_name(name)].add(name)
    return {
        spelling: same if len(those) > 1 else spelling
        for same, those in spellings.items()
        for spelling in those
    }


def class_of_labels(where: str, labels: Iterable[str]) -> dict[str, str]:
    """{label as it is written: class} of the labels of a table or array: without space around it,
    and one class for all its spellings, which a warning tells.
    """
    written = set(labels)
    merged = merge_spellings(label.strip() for label in written)
    classes = {label: merged[label.strip()] for label in written}
    warn_of_spellings(f"{where}: labels", classes)
    return classes


def warn_of_spellings(what: str, names: Mapping[str, str]) -> None:
    """Logs which of {spelling: name} are spelled in another way than the name."""
    pairs = []
    for spelling, name in sorted(names.items()):
        if spelling != name:
            form = unicodedata.normalize("NFC", spelling) == unicodedata.normalize("NFC", name)
            pairs.append(f"{spelling!r} is {name!r}" + " (in another Unicode form)" * form)
    if pairs:
        logger.warning("%s that are spelled in other ways: %s", what, first_few(pairs))


def alike(names: Collection[str]) -> list[list[str]]:
    """Groups of different names that differ only in capitals, width, spaces or punctuation between
    words; single letters are taken for what they are.
    """
    groups = defaultdict(list)
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        key = re.sub(r"[\s_-]+", " ", plain).strip()
        groups[key if len(key) > 1 else name].append(name)
    return [group for group in groups.values() if len(group) > 1]


def several_in_one(names: Collection[str]) -> list[str]:
    """Names that are two or more labels of one image, such as "Effusion|Mass": the parts are names
    themselves, or parts of other such names.
    """
    found = []
    for between in _BETWEEN + _PERHAPS_BETWEEN:
        parts = {name: [part.strip() for part in name.split(between)] for name in names}
        several = {name: p for name, p in parts.items() if len(p) > 1 and all(p)}
        single = set(names) - set(several)
        times = Counter(part for mine in several.values() for part in set(mine))
        for name, mine in several.items():
            known = [part in single or times[part] > 1 for part in mine]
            if any(known) if between in _BETWEEN else all(known):
                found.append(name)
    return list(dict.fromkeys(found))


def warn_of_names(names: Collection[str]) -> None:
    """Logs what is odd about the names of a data set's classes."""
    if groups := alike(names):
        pairs = first_few(" and ".join(map(repr, group)) for group in groups)
        logger.warning("classes that look alike: %s; rename one if they are the same", pairs)
    if several := several_in_one(names):
        logger.warning(
            "%d classes look like several labels in one: %s; jaxcnn learns one label an image, and "
            "takes each such combination for a class of its own",
            len(several),
            first_few(map(repr, several)),
        )


def check_twice(where: str, names: Sequence[str]) -> None:
    """UserError where a name is given to two classes."""
    if len(set(names)) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        places = [k for k, name in enumerate(names) if name == twice]
        raise UserError(
            f"{where}: classes {places[0]} and {places[1]} are both called {twice!r}; give them "
            "different names"
        )


def name_classes(
    numbers: tuple[str, ...], given: Sequence[str] | str | None, folder: Path | None
) -> tuple[str, ...]:
    """The names of classes that the data call `numbers`; these themselves where nothing names them.

    given: names in their order, or a file of names; then UserError where they do not fit.
    folder: where there may be such a file, for class folders that are called by numbers.
    """
    if given is not None:
        where = f"config.data.class_names={given!r}"
        file = Path(given).expanduser() if isinstance(given, str) else None
        if file is not None and not file.is_file():
            raise UserError(f"{where}: no such file; give names, or a file of them")
        known = read_names(file) if file is not None else list(given)
        names = _fitting(numbers, known)
        if names is None:
            raise UserError(
                f"{where}: {len(known):,} names do not fit the {len(numbers):,} classes of the "
                f"data ({first_few(numbers)})"
            )
        check_twice(where, names)
        return names
    if folder is None or not all(name.isdecimal() for name in numbers):
        return numbers
    for file in (folder / name for name in NAME_FILES):
        if not file.is_file():
            continue
        try:
            names = _fitting(numbers, read_names(file))
        except UserError:
            names = None
        if names is None or len(set(names)) < len(names):
            message = "%s: is no list of %d names for the classes, and not used"
            logger.info(message, file, len(numbers))
            continue
        logger.info("names of the classes: %s, from %s", first_few(names), file)
        return names
    return numbers


def read_names(file: Path) -> list[str] | dict[str, str]:
    """The names in a file: a list, or {number: name}. UserError where it is none.

    A text has a name, or a number and a name, in each line; a CSV file the same in its first two
    columns; JSON is a list, or an object of names by number.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".json":
            content = json.loads(text)
            if isinstance(content, dict):
                return {str(key): str(name) for key, name in content.items()}
            return [str(name) for name in content]
        rows = [line.strip() for line in text.splitlines() if line.strip()]
        if file.suffix.lower() == ".csv":
            table = [[field.strip() for field in row] for row in csv.reader(rows)]
            if all(len(row) == 1 for row in table):
                return [row[0] for row in table]
            return {row[0]: row[1] for row in table if row[0].isdecimal()}
    except (OSError, ValueError, TypeError, IndexError, csv.Error) as error:
        raise UserError(f"{file}: not readable as names of classes ({error})") from error
    pairs = [_NUMBERED.fullmatch(row) for row in rows]
    if rows and all(pairs):
        return {pair[1]: pair[2] for pair in pairs if pair is not None}
    return rows


def _fitting(
    numbers: Sequence[str], known: list[str] | Mapping[str, str]
) -> tuple[str, ...] | None:
    """The names of the classes `numbers`; None where they are not all named."""
    if isinstance(known, Mapping):
        by_number = {_plain(number): name.strip() for number, name in known.items()}
        named = [by_number.get(_plain(number), "") for number in numbers]
    else:
        named = [name.strip() for name in known]
    return tuple(named) if len(named) == len(numbers) and all(named) else None


def _plain(number: str) -> str:
    return str(int(number)) if number.isdecimal() else number
