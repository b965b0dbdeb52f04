"""A split is read as often as it is needed, checked whole at first, and never held."""

import json
import tracemalloc

from ernie_suite.answered_split import AnsweredSplit
from ernie_suite.data import find_dataset, load_examples

import pytest

from ernie_inference.errors import InputError


def write_lines(path, *items):
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")


def test_a_split_is_read_each_time_and_held_never(tmp_path):
    """As often as is wished, also twice at the same time, in the memory that one example takes."""
    lines = [{"sentence": f"第{number}条新闻" + "长" * 500, "label": str(100 + number % 2)} for number in range(4000)]
    write_lines(tmp_path / "dev.json", *lines)
    examples = load_examples("tnews", "dev", str(tmp_path))
    split = AnsweredSplit(find_dataset("tnews"), "dev", str(tmp_path), most=3000)
    assert len(split) == 3000 and split.labels == {"100", "101"}
    assert list(split) == examples[:3000]
    assert all(one == other for one, other in zip(split, split))
    assert len(AnsweredSplit(find_dataset("tnews"), "dev", str(tmp_path))) == 4000
    del examples
    tracemalloc.start()
    try:
        assert sum(1 for _ in AnsweredSplit(find_dataset("tnews"), "dev", str(tmp_path))) == 4000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # the texts alone are four
    finally:
        tracemalloc.stop()


def test_a_split_is_checked_whole_before_anything_is_answered(tmp_path):
    write_lines(tmp_path / "dev.json", {"sentence": "好", "label": "100"}, {"sentence": "坏"})
    with pytest.raises(InputError, match="line 2 has no label"):
        AnsweredSplit(find_dataset("tnews"), "dev", str(tmp_path), most=1)
    write_lines(tmp_path / "test.json", {"sentence": "好"})
    with pytest.raises(InputError, match="the test split of tnews has no answers to compare with"):
        AnsweredSplit(find_dataset("tnews"), "test", str(tmp_path))


def test_a_file_that_loses_examples_meanwhile_is_named(tmp_path):
    write_lines(tmp_path / "dev.json", *[{"sentence": "好", "label": "100"}] * 3)
    split = AnsweredSplit(find_dataset("tnews"), "dev", str(tmp_path))
    write_lines(tmp_path / "dev.json", {"sentence": "好", "label": "100"})
    with pytest.raises(InputError, match="have changed: 3 examples before, now 1"):
        list(split)


def test_a_split_may_have_several_files(tmp_path):
    question = {"question": "谁？", "choice": ["甲", "乙"], "answer": "甲"}
    for part, count in (("d", 2), ("m", 3)):
        content = [[["一段话。"], [question], f"{part}{number}"] for number in range(count)]
        (tmp_path / f"c3-{part}-dev.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "dev.json").unlink(missing_ok=True)
    whole = load_examples("c3", "dev", str(tmp_path))
    assert list(AnsweredSplit(find_dataset("c3"), "dev", str(tmp_path), most=4)) == whole[:4] and len(whole) == 5
