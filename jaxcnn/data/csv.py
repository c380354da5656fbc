"""A table of images: a CSV file with the columns path and label, and optionally split and group."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from jaxcnn.data.folder import (
    ROLE_NAMES,
    Files,
    check_classes,
    files_source,
    match_groups,
    natural_order,
)
from jaxcnn.data.labels import class_of_labels, merge_spellings
from jaxcnn.data.source import Source
from jaxcnn.errors import UserError, nearest


def load_csv(
    *,
    dir: str,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    group_column: str = "group",
    group_pattern: str | None = None,
) -> dict[str, Source]:
    """Images listed in a CSV file with a header.

    dir: the CSV file; its paths are relative to its folder, or absolute.
    *_column: names of columns. Without the split column, test and validation are held out;
      lines with the same text in the group column are never split.
    group_pattern: see `load_folder`; instead of a group column.
    """
    file = Path(dir).expanduser()
    where = f"config.data.dir={dir!r}"
    if not file.is_file():
        what = "is a folder; give a CSV file" if file.exists() else "no such file"
        raise UserError(f"{where}: {what}")
    columns, rows = _read_table(file, where)
    asked = {
        "path_column": path_column,
        "label_column": label_column,
        # These two need not be there, unless somebody named another.
        "split_column": split_column if split_column != "split" else None,
        "group_column": group_column if group_column != "group" else None,
    }
    for keyword, column in asked.items():
        if column is not None and column not in columns:
            raise UserError(
                f"{where}: has no column {column!r}{nearest(column, columns)}; it has "
                f"{', '.join(columns) or 'none'}; name yours with --config.data.{keyword}"
            )
    needed = [path_column, label_column]
    needed += [column for column in (split_column, group_column) if column in columns]
    _check_fields(rows, needed, where)

    if not rows:
        raise UserError(f"{where}: no rows below the header, and a classifier needs two classes")
    class_of = class_of_labels(where, [row[label_column] for _, row in rows])
    for _, row in rows:
        row[label_column] = class_of[row[label_column]]
    class_names = natural_order(set(class_of.values()))
    splits: dict[str, list[dict[str, str]]] = {}
    for number, row in rows:
        name = row[split_column] if split_column in columns else "train"
        if (role := ROLE_NAMES.get(name.strip().lower())) is None:
            raise UserError(
                f"{where}: line {number} is of split {name!r}; expected train, val or test"
            )
        splits.setdefault(role, []).append(row)
    if "train" not in splits:
        raise UserError(f"{where}: no line is of split train")
    check_classes(where, {row[label_column] for row in splits["train"]}, class_names)

    group_of = merge_spellings(row[group_column] for _, row in rows if group_column in columns)
    number_of = {name: k for k, name in enumerate(class_names)}
    sources: dict[str, Source] = {}
    for role in [role for role in ("train", "validation", "test") if role in splits]:
        mine = splits[role]
        paths = [row[path_column] for row in mine]
        label = np.array([number_of[row[label_column]] for row in mine], np.int32)
        groups = [group_of[row[group_column]] for row in mine] if group_column in columns else None
        if group_pattern is not None:
            groups = match_groups(paths, group_pattern)
        sources[role] = files_source(Files(file.parent, paths, label), class_names, groups)
    return sources


def _read_table(file: Path, where: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """(the columns, (line number, {column: text}) of each row); UserError if it is no table."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines)
            columns = [name.strip() for name in table.fieldnames or ()]
            table.fieldnames = columns
            rows = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where}: not readable as CSV ({error})") from error
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise UserError(f"{where}: has two columns {twice[0]!r}; rename one")
    separator = next((s for s in ";\t|" if len(columns) == 1 and s in columns[0]), None)
    if separator:
        raise UserError(f"{where}: its columns are separated by {separator!r}; write commas")
    return columns, rows


def _check_fields(rows: list[tuple[int, dict[str, str]]], needed: list[str], where: str) -> None:
    """UserError for a row without text in a needed column, or with more fields than columns."""
    for number, row in rows:
        for column in needed:
            if not (row[column] or "").strip():
                raise UserError(f"{where}: line {number} has no {column}")
        if None in row:
            raise UserError(
                f"{where}: line {number} has more fields than the header; quote paths with commas"
            )
