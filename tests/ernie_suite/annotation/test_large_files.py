"""Exports of any size: read in pieces, in memory that does not grow with their texts."""

import json
import tracemalloc

from ernie_suite.annotation import items as items_module
from ernie_suite.annotation.convert import ConvertOptions, convert
from ernie_suite.annotation.items import json_items
from ernie_suite.data import find_dataset
from ernie_suite.description.statistics import describe

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_inference.errors import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), max_size=8), st.booleans(), st.integers(1, 40)
)
def test_an_array_is_read_in_pieces_as_it_is_read_at_once(tmp_path_factory, objects, is_indented, block):
    """Wherever the blocks end."""
    path = tmp_path_factory.mktemp("items") / "a.json"
    path.write_text(json.dumps(objects, ensure_ascii=True, indent=1 if is_indented else None), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items_module, "BLOCK", block)
        assert [item for _, item in json_items(path)] == objects


def test_a_quote_that_is_never_closed_does_not_read_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(items_module, "BLOCK", 1 << 10)
    monkeypatch.setattr(items_module, "LARGEST", 1 << 14)
    path = tmp_path / "a.json"
    path.write_text('[{"text": "' + "一" * 500_000, encoding="utf-8")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="item 1 .*not JSON"):
            list(json_items(path))
        assert tracemalloc.get_traced_memory()[1] < 500_000  # bytes, of 1.5 million in the file
    finally:
        tracemalloc.stop()


def write_export(path, count):
    """Label Studio's JSON on one line, texts of 200 characters, a few of them twice."""
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            text = f"第{number - number % 50 if number % 50 == 1 else number}条" + "这是一条很长的评论" * 22
            result = {"value": {"choices": ["好评" if number % 3 else "差评"]}, "from_name": "s", "type": "choices"}
            item = {"id": number, "annotations": [{"id": number, "result": [result]}], "data": {"text": text}}
            file.write(("[" if not number else ", ") + json.dumps(item, ensure_ascii=False))
        file.write("]")


def peak_of(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_texts(tmp_path, monkeypatch):
    """Some tens of bytes a text are kept, of about 600 that a text has; beside blocks of the file, here small ones."""
    monkeypatch.setattr(items_module, "BLOCK", 1 << 14)
    peaks = {"convert": [], "describe": []}
    counts = (300, 2300)
    for count in counts:
        export, folder = tmp_path / f"{count}.json", tmp_path / str(count)
        write_export(export, count)
        peaks["convert"].append(peak_of(lambda e=export, f=folder: convert([e], f, ConvertOptions())))
        spec = find_dataset("tnews")
        peaks["describe"].append(peak_of(lambda f=folder, s=spec: describe(s, str(f), None)))
    for name, (small, large) in peaks.items():
        assert (large - small) / (counts[1] - counts[0]) < 260, (name, peaks)
