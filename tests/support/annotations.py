"""Exports of annotation tools, written by a test, and the records that are read from them."""

import json

from ernie_suite.annotation.formats import find_format
from ernie_suite.annotation.records import Changes, ReadOptions, Record, Source


def read(path, changes=None, **options):
    source = Source(path, ReadOptions(**options), changes or Changes())
    return list(find_format(path).read(source))


def written(folder, content, name="export.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def read_one(folder, item, changes=None, **options) -> Record:
    """The record of one object of JSON lines."""
    return read(written(folder, item), changes, **options)[0]
