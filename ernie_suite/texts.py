"""The texts in a file of a user's own, whatever its form: what no label or structure is needed of."""

import json
from pathlib import Path
from typing import Any, Iterator

from ernie_inference.errors import InputError
from ernie_inference.tasks.token_cls import join_tokens
from ernie_inference.text_files import read_lines, read_text

JSON_ENDINGS = (".json", ".jsonl", ".ndjson")
# That hold texts in the formats of the data sets and in inputs of exported models.
FIELDS = frozenset(
    ("sentence", "sentence1", "sentence2", "abst", "keyword", "text", "text_pair", "tokens", "question", "context")
)
TOKEN_MARK = "\x02"  # between the tokens of a line, as MSRA NER has it


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a UTF-8 file, one after another; memory does not grow with a file of lines.

    Of a file whose name ends as JSON does: the texts in the value of each line, or in the one value that the whole file
    is, as CMRC 2018 has it; of an object with fields that this suite knows, the texts of these, else all in it. Of any
    other file: its lines, those of MSRA NER's format without their tags.

    Raises:
        InputError: there is no such file, it cannot be read, is not UTF-8, or is not the JSON that its name says.
    """
    try:
        if path.suffix.lower() in JSON_ENDINGS:
            for value in _json_values(path):
                yield from _texts_in(value)
            return
        for line in read_lines(path):
            if TOKEN_MARK in line:
                yield join_tokens(line.partition("\t")[0].split(TOKEN_MARK))[0]
            elif not line.isspace():
                yield line.rstrip("\n")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give a file of texts") from None


def _json_values(path: Path) -> Iterator[Any]:
    is_first = True
    for number, line in enumerate(read_lines(path), 1):
        if line.isspace():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not is_first:
                raise InputError(f"{path}, line {number}: not JSON ({error})") from None
            yield _whole(path)
            return
        is_first = False
        yield value


def _whole(path: Path) -> Any:
    """The one value of a file whose first line is none by itself."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is neither JSON lines nor one JSON value ({error})") from None


def _texts_in(value: Any) -> Iterator[str]:
    """The texts in a JSON value, in their order, without ids and labels beside fields that are known."""
    remaining = [value]
    while remaining:
        item = remaining.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            remaining += reversed(item)
        elif isinstance(item, dict):
            known = FIELDS.intersection(item)
            inside = [item[key] for key in item if not known or key in known or not isinstance(item[key], str)]
            tokens = item.get("tokens")
            if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
                inside[inside.index(tokens)] = join_tokens(tokens)[0]
            remaining += reversed(inside)
