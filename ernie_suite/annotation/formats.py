"""The formats of annotation tools: one table, which everything else goes by.

Another one is a file with its reader, and perhaps the writer of pre-annotations, and an entry in FORMATS.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, Optional

from ernie_suite.annotation.columns import DOCUMENT, is_tag, read_columns, split_line
from ernie_suite.annotation.doccano import read_doccano, write_doccano
from ernie_suite.annotation.items import first_character, json_items, open_utf8
from ernie_suite.annotation.label_studio import labeling_config, read_min, read_tasks, write_tasks
from ernie_suite.annotation.prelabels import Names, Prelabel
from ernie_suite.annotation.records import Record, Source
from ernie_suite.annotation.tables import SEPARATORS, read_table
from ernie_suite.texts import TOKEN_MARK

from ernie_inference.errors import InputError
from ernie_inference.text_files import read_lines

LINES_LOOKED_AT = 20
ZIP = b"PK\x03\x04"  # how an Excel workbook begins, and what doccano packs its exports into


@dataclass(frozen=True)
class Head:
    """The beginning of a file, by which its format is known."""

    lines: List[str]
    item: Optional[dict]  # the first object, where it is JSON


@dataclass(frozen=True)
class Format:
    """A format of annotated texts.

    Attributes:
        name: as in --format and --tool.
        about: what it is, for people.
        is_it: whether a file begins so; the first entry of FORMATS counts that says yes.
        read: the records of a file.
        write: answers of a model as what the tool imports, in pieces; None where it imports none.
        config: (labels, whether they are of spans, names) to the configuration of a project that takes these answers.
    """

    name: str
    about: str
    is_it: Callable[[Head], bool]
    read: Callable[[Source], Iterator[Record]]
    write: Optional[Callable[[Iterator[Prelabel], Names], Iterator[bytes]]] = None
    config: Optional[Callable[[Iterable[str], bool, Names], str]] = None


LONGEST_LINE = 200  # characters of a line of columns that is looked for


def _begins_with_tags(path: Path) -> bool:
    """Whether the first line is a bracket with its tag, and no JSON; it is read no further than that takes."""
    with open_utf8(path) as file:
        lines = iter(lambda: file.readline(LONGEST_LINE), "")
        first = next((line for line in lines if line.strip()), "").rstrip("\n")
    return first[-1:] not in tuple('[]{},"') and _has_tags(Head([first], None))


def _is_task(head: Head) -> bool:
    return head.item is not None and isinstance(head.item.get("data"), dict)


def _is_min(head: Head) -> bool:
    return head.item is not None and bool({"annotator", "annotation_id", "lead_time"} & set(head.item))


def _has_tags(head: Head) -> bool:
    cells = [split_line(line) for line in head.lines if not line.startswith((DOCUMENT, "#"))]
    return bool(cells) and len(cells[0]) > 1 and is_tag(cells[0][-1])


def _has_columns(head: Head) -> bool:
    return bool(head.lines) and any(separator in head.lines[0] for separator in SEPARATORS)


FORMATS = {
    found.name: found
    for found in (
        Format("label_studio", "Label Studio's JSON", _is_task, read_tasks, write_tasks, labeling_config),
        Format("label_studio_min", "Label Studio's JSON_MIN", _is_min, read_min),
        Format("doccano", "doccano's JSONL", lambda head: head.item is not None, read_doccano, write_doccano),
        Format("conll", "CoNLL columns: a token and its tag a line", _has_tags, read_columns),
        Format("table", "CSV or TSV with a line of names above", _has_columns, read_table),
    )
}


def find_format(path: Path, name: Optional[str] = None) -> Format:
    """The format of a file, by its name in FORMATS or by how the file begins.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it cannot be read, is empty, or begins like none of them.
    """
    with open(path, "rb") as file:
        if file.read(len(ZIP)) == ZIP:
            raise InputError(f"{path} is an archive or an Excel workbook: unpack it, or save it as CSV in UTF-8")
    if name is not None:
        return FORMATS[name]
    char = first_character(path)
    if not char:
        raise InputError(f"{path} is empty: give an export that holds texts")
    if char in "[{" and not _begins_with_tags(path):
        _, item = next(json_items(path), ("", None))
        if item is None:
            raise InputError(f"{path} holds no items: give an export that holds texts")
        head = Head([], item)
    else:
        lines = (line.rstrip("\n") for line in read_lines(path) if line.strip())
        head = Head(list(islice(lines, LINES_LOOKED_AT)), None)
        if TOKEN_MARK in head.lines[0]:
            raise InputError(f"{path} has MSRA NER's columns, which the scripts read as they are: see --data_dir")
    found = next((found for found in FORMATS.values() if found.is_it(head)), None)
    if found is None:
        listed = "; ".join(f"{each.name} ({each.about})" for each in FORMATS.values())
        raise InputError(f"{path}: its first line is like none of the formats: say which with --format: {listed}")
    return found
