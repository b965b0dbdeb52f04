"""Classification: what is cut of a pair, and the confidence."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ernie_inference.errors import InputError
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.wordpiece import WordPiece
from tests.support.models import ANY_TEXT, LABELS, make_vocab

TOKENIZER = WordPiece(make_vocab())


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT, st.none() | ANY_TEXT, st.integers(8, 40))
@example("一" * 100, "二" * 3, 16)
@example("一" * 3, "二" * 100, 16)
@example("", "", 8)
def test_a_pair_fits_and_only_the_longer_text_is_cut(text, text_pair, max_seq_length):
    task = SequenceClassification(TOKENIZER, LABELS["seq_cls"], max_seq_length)
    given_example = {"text": text, "text_pair": text_pair}
    (window,) = task.windows(given_example)
    assert len(window.input_ids) <= max_seq_length
    first, second = (len(TOKENIZER.encode(t or "").ids) for t in (text, text_pair))
    truncated = task.decode(given_example, [window], [(np.array([0.0, 1.0]),)])["truncated"]
    if text_pair is None:
        assert truncated == (first + 2 > max_seq_length)
        return
    kept = window.token_type_ids.count(1) - 1
    room = max_seq_length - 3
    assert truncated == (first + second > room or (not first and second + 1 > room))
    if not truncated or first and second <= room // 2:
        assert kept == second


def test_of_two_long_texts_each_has_half():
    task = SequenceClassification(TOKENIZER, LABELS["seq_cls"], 16)
    (window,) = task.windows({"text": "一" * 40, "text_pair": "二" * 40})
    assert window.token_type_ids == [0] * (1 + 6 + 1) + [1] * (7 + 1)


def test_confidence_is_the_softmax():
    task = SequenceClassification(TOKENIZER, LABELS["seq_cls"], 16)
    result = task.decode({"text": "好"}, task.windows({"text": "好"}), [(np.array([1.0, 3.0], dtype=np.float32),)])
    assert result["label"] == "positive" and result["confidence"] == pytest.approx(1 / (1 + np.exp(-2)))


def decode(logits, **options):
    task = SequenceClassification(TOKENIZER, ["a", "b", "c"], 16)
    outputs = [(np.log(np.array(logits, dtype=np.float32)),)]
    return task.decode({"text": "好"}, task.windows({"text": "好"}), outputs, task.answer_options(**options))


def test_the_likeliest_labels_come_first():
    plain, two, many = decode([0.2, 0.5, 0.3]), decode([0.2, 0.5, 0.3], top_k=2), decode([0.2, 0.5, 0.3], top_k=9)
    assert "scores" not in plain and {**two, "scores": None} == {**plain, "scores": None}
    assert [each["label"] for each in two["scores"]] == ["b", "c"]
    assert [each["label"] for each in many["scores"]] == ["b", "c", "a"]
    assert [each["confidence"] for each in many["scores"]] == pytest.approx([0.5, 0.3, 0.2])
    assert many["scores"][0]["confidence"] == plain["confidence"]
    equal = decode([0.25, 0.25, 0.5 - 0.25], top_k=3)
    assert equal["scores"][0]["label"] == equal["label"] == "a"


def test_under_the_threshold_there_is_no_label():
    assert decode([0.2, 0.5, 0.3], threshold=0.49)["label"] == "b"
    none = decode([0.2, 0.5, 0.3], threshold=0.51, top_k=1)
    assert none["label"] is None and none["confidence"] == pytest.approx(0.5) and none["scores"][0]["label"] == "b"
    assert decode([0.2, 0.5, 0.3], threshold=0)["label"] == "b"
    lines = SequenceClassification.describe(none)
    assert lines == ["seq cls result:", "label: none   confidence: 0.5000", "    b   0.5000"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is 0: give a whole number from 1 on"),
        ({"threshold": 1.01}, "threshold is 1.01: give a number from 0 to 1"),
        ({"threshold": float("nan")}, "threshold is nan: give a number from 0 to 1"),
    ],
)
def test_options_that_cannot_be_are_one_line(options, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        decode([0.2, 0.5, 0.3], **options)


def test_a_text_that_is_cut_is_tokenized_once(monkeypatch):
    calls, encode = [], WordPiece._encode
    monkeypatch.setattr(WordPiece, "_encode", lambda self, text, most: calls.append(text) or encode(self, text, most))
    task = SequenceClassification(TOKENIZER, LABELS["seq_cls"], 16)
    examples = [{"text": "一" * 40}, {"text": "二" * 40, "text_pair": "三" * 40}]
    for given_example in examples:
        windows = task.windows(given_example)
        assert task.decode(given_example, windows, [(np.array([0.0, 1.0]),)])["truncated"]
    assert calls == ["一" * 40, "二" * 40, "三" * 40]
