"""Labelled texts in CSV, TSV or JSON-lines files: columns text, label and, for pairs, text_pair.

Everything that is wrong with a file is said before training starts.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from veilform.distill.examples import Row, Splits, Task, class_names, default_metrics, label_rows
from veilform.errors import InputError

TEXT, PAIR, LABEL = "text", "text_pair", "label"
SUFFIXES = (".csv", ".tsv", ".jsonl")


def read(path: Path) -> list[Row]:
    """The rows of a file, its kind told by its suffix.

    Raises:
        InputError: it cannot be read, is empty, lacks a column, or a row lacks a value.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: the file's name must end in {', '.join(SUFFIXES)}")
    try:
        rows = list(_json_lines(path) if path.suffix == ".jsonl" else _table(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid UTF-8 (byte {error.start})") from None
    except csv.Error as error:
        raise InputError(f"{path} is no well-formed table: {error}") from None
    if not rows:
        raise InputError(f"{path} has no rows")
    return rows


def read_splits(
    train: Path, dev: Path, test: Path | None = None, regression: bool = False,
    labels: tuple[str, ...] | None = None,
) -> Splits:  # fmt: skip
    """Examples of files; the classes are those of the training file.

    Raises:
        InputError: a file cannot be used, or dev or test has a label that training has not.
    """
    rows = read(train)
    known = None if regression else class_names(rows)
    task = Task(train.stem, known, default_metrics(known))
    return Splits(
        task,
        label_rows(rows, known),
        label_rows(read(dev), known),
        label_rows(read(test), known) if test else [],
    )


def _table(path: Path) -> Iterator[Row]:
    csv.field_size_limit(min(sys.maxsize, 1 << 24))
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        columns = [name for name in reader.fieldnames or () if name]
        if not columns:
            raise InputError(f"{path} is empty")
        _require(path, columns)
        for record in reader:
            yield _row(record, f"{path}, line {reader.line_num}", PAIR in columns)


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                record = json.loads(line)
            except ValueError:
                raise InputError(f"{place} is no JSON object") from None
            if not isinstance(record, dict):
                raise InputError(f"{place} is no JSON object")
            _require(place, list(record))
            yield _row(record, place, PAIR in record)


def _require(where: object, columns: list[str]) -> None:
    missing = [name for name in (TEXT, LABEL) if name not in columns]
    if missing:
        raise InputError(
            f"{where} has no column {' and no column '.join(missing)}; "
            f"its columns are: {', '.join(columns)}"
        )


def _row(record: dict[str, object], place: str, paired: bool) -> Row:
    values = {}
    for name in (TEXT, LABEL, *((PAIR,) if paired else ())):
        value = record.get(name)
        if isinstance(value, bool):
            value = int(value)
        if not isinstance(value, str | int | float) or not str(value).strip():
            raise InputError(f"{place}: the column {name} is empty")
        values[name] = str(value).strip()
    return Row(values[TEXT], values[LABEL], place, values.get(PAIR))
