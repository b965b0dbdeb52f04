"""CSV and TSV with a line of names above, as Excel, doccano and Label Studio write them.

    text,label                 text<TAB>category           question,context,answer
    手机很好用,good            今天股市大涨<TAB>财经       谁在说话？,王小明说话。,王小明

Quoted fields may hold the separator and line ends. A cell that holds a JSON list or object is what Label Studio writes
for spans and for several choices.
"""

import csv
import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from ernie_suite.annotation.doccano import read_item
from ernie_suite.annotation.records import Answer, Record, Source, label_fields

from ernie_inference.errors import InputError
from ernie_inference.text_files import read_lines

NAMED_SEPARATOR = re.compile('"?sep=(.)"?', re.IGNORECASE)  # above the names, for Excel
SEPARATORS = ",\t;"  # ; is Excel's where a comma is the decimal mark
HOLDS_ROWS = (
    "rows with cells that hold tabs and line ends, taken as they are (if these are rows of their own, a text begins "
    "with a quote that is not written as three)"
)
LARGEST_CELL = 8 << 20  # characters: what is longer is a quote that is not closed


def read_table(source: Source) -> Iterator[Record]:
    """The records of a table.

    Raises:
        FileNotFoundError, InputError: the file cannot be read, or a line is not of the table.
    """
    for place, row in table_rows(source.path):
        if any("\t" in cell and "\n" in cell for cell in row.values()):
            source.changes.add(HOLDS_ROWS, place, row=row)
        fields = label_fields(row, source.options, place)
        values = {name: cell_value(cell, name in fields, source.options.label_separator) for name, cell in row.items()}
        answers = [values[name] for name in fields if isinstance(values[name], str)]
        record = read_item(values, place, source)
        if record.question is not None and answers:
            start = row.get("answer_start", "")
            record.answers = [Answer(text, int(start) if start.isdecimal() else -1) for text in answers]
            record.labels = None
        yield record


def cell_value(cell: str, is_label: bool, separator) -> Any:
    """What a cell says: None where it is empty, the labels where it may hold some; else its text."""
    if not is_label:
        return cell
    cell = cell.strip()
    if not cell:
        return None
    if cell[0] in "[{":
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return [label.strip() for label in cell.split(separator) if label.strip()] if separator else cell


def table_rows(path: Path) -> Iterator[Tuple[str, Dict[str, str]]]:
    """(place, cell by name) for each row that is not empty."""
    separator = separator_of(path)
    with _cells_up_to(LARGEST_CELL):
        rows = csv.reader(read_lines(path), delimiter=separator, strict=True)
        names: List[str] = []
        while True:
            place = f"{path}, line {rows.line_num + 1}"
            try:
                row = next(rows, None)
            except csv.Error as error:
                advice = "is it UTF-16? save it as UTF-8" if "NUL" in str(error) else "is a quote not closed?"
                raise InputError(f"{place}: not a row of a table ({error}): {advice}") from None
            if row is None:
                return
            if not any(cell.strip() for cell in row):
                continue
            if not names and NAMED_SEPARATOR.fullmatch(separator.join(row)):
                continue
            if not names:
                names = [name.strip() for name in row]
                _check_names(names, place)
                continue
            if len(row) > len(names):
                raise InputError(
                    f"{place}: {len(row)} cells, but {len(names)} names in the first line: put a text that holds "
                    f"{separator!r} in double quotes"
                )
            yield place, dict(zip(names, [*row, *[""] * (len(names) - len(row))]))


def separator_of(path: Path) -> str:
    """What stands most often in the first line, of SEPARATORS; what the line says, where it is there to say it."""
    first = next((line for line in read_lines(path) if line.strip()), "")
    said = NAMED_SEPARATOR.fullmatch(first.rstrip("\n"))
    return said[1] if said else max(SEPARATORS, key=first.count)


def _check_names(names: List[str], place: str) -> None:
    if len(set(names)) < len(names):
        raise InputError(f"{place}: two columns have one name ({', '.join(names)}): give each its own")


@contextmanager
def _cells_up_to(limit: int) -> Iterator[None]:
    """csv's own limit of 131,072 characters is less than a long text has."""
    before = csv.field_size_limit(limit)
    try:
        yield
    finally:
        csv.field_size_limit(before)
