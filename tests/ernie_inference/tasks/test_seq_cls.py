"""Classification: what is cut of a pair, and the confidence."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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
