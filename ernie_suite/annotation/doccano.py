"""doccano: JSON lines (or an array) of a text and its annotation, as all of its versions write them.

The annotation stands under `label` (from 1.5 on, and what it imports), `labels` (before), `entities` (projects with
relations; 2018), `annotations` (1.0 to 1.2) or `cats` (intent detection). The text is under `text`, for a time `data`.
What else was imported with a text comes back beside it: so a question, about a text whose spans are its answers.
"""

from dataclasses import replace
from typing import Any, Dict, Iterator

from ernie_suite.annotation.items import json_items
from ernie_suite.annotation.offsets import UTF16, code_points_to_utf16
from ernie_suite.annotation.prelabels import Names, Prelabel
from ernie_suite.annotation.records import (
    QUESTION_NAMES,
    TEXT_PAIR_NAMES,
    Record,
    Source,
    label_fields,
    text_beside,
    the_id,
    the_text,
    tool_fields,
)
from ernie_suite.annotation.values import add_value

from ernie_inference.text_output import to_json


def read_doccano(source: Source) -> Iterator[Record]:
    """The records of an export.

    Raises:
        FileNotFoundError, InputError: the file cannot be read, or an item is not doccano's.
    """
    source = replace(source, offsets=UTF16)
    for place, item in json_items(source.path):
        yield read_item(item, place, source)


def read_item(item: Dict, place: str, source: Source) -> Record:
    """A record of an object whose fields are a text and what is said of it."""
    options = source.options
    own = item
    if isinstance(item.get("meta"), dict):  # before 1.5
        item = {**item["meta"], **item}
    _, text = the_text(item, options, place)
    question = text_beside(item, QUESTION_NAMES, options.question_column, "--question_column", place)
    pair = text_beside(item, TEXT_PAIR_NAMES, options.text_pair_column, "--text_pair_column", place)
    record = Record(place, text, the_id(item), pair, question)
    # What was imported with a text is its annotation only where the tool says none, or where it was named.
    for field in label_fields(own if tool_fields(own) and options.label_column is None else item, options, place):
        add_value(record, item[field], source)
    if item.get("relations"):
        source.changes.add("texts whose relations are left out: there is no task for them", place)
    return record


def write_doccano(prelabels: Iterator[Prelabel], names: Names) -> Iterator[bytes]:
    """JSON lines that doccano imports with their labels, in the positions that its editor counts; other fields come
    with a text as its metadata."""
    for prelabel in prelabels:
        text = prelabel.text
        spans = [
            [code_points_to_utf16(text, span.start), code_points_to_utf16(text, span.end), span.label]
            for span in prelabel.spans
        ]
        content: Dict[str, Any] = {**prelabel.beside, "text": text}
        content["label"] = spans or prelabel.labels
        if prelabel.score is not None:
            content["score"] = prelabel.score
        yield to_json(content) + b"\n"
