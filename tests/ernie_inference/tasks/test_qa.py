"""Reading: answers at their exact place, with a score that does not depend on the windows."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ernie_inference.errors import InputError
from ernie_inference.tasks.qa import MAX_QUESTION_TOKENS, QuestionAnswering
from ernie_inference.wordpiece import WordPiece
from tests.support.models import FILLERS, NAMES, make_vocab

TOKENIZER = WordPiece(make_vocab())
STRIDES = st.integers(0, 64)


@settings(max_examples=300, deadline=None)
@given(FILLERS, st.sampled_from(NAMES), FILLERS, st.text("谁什么？的", max_size=80), st.integers(32, 64), STRIDES)
def test_the_answer_is_found_at_its_place_whatever_the_windows(before, name, after, question, max_seq_length, stride):
    context = before * 4 + "，" + name + "，" + after * 4
    start = len(before) * 4 + 1
    tokens = TOKENIZER.encode(context)
    first, last = tokens.starts.index(start), tokens.ends.index(start + len(name))
    task = QuestionAnswering(TOKENIZER, [], max_seq_length, stride)
    given_example = {"question": question, "context": context}
    windows = task.windows(given_example)
    outputs = []
    for window in windows:
        begin, end = (np.full(len(window.input_ids), -10.0, dtype=np.float32) for _ in range(2))
        for logits, token in ((begin, first), (end, last)):
            if 0 <= token - window.begin < len(window.starts):
                logits[window.offset + token - window.begin] = 10.0
        outputs.append((begin, end))
    whole = any(w.begin <= first and last < w.begin + len(w.starts) for w in windows)
    assume(whole)
    result = task.decode(given_example, windows, outputs)
    assert (result["answer"], result["pos"]) == (name, [start, start + len(name) - 1])
    assert 0 < result["score"] <= 1


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 90), st.integers(32, 64), STRIDES, st.integers(0, 2**32 - 1))
def test_the_score_of_an_answer_does_not_depend_on_the_windows(length, max_seq_length, stride, seed):
    """Each token has the same logits in whatever window it stands."""
    context = "".join(chr(0x4E00 + i) for i in range(length))
    of_token = np.random.default_rng(seed).normal(0, 3, (2, length))
    given_example = {"question": "谁？", "context": context}

    def answer(*sizes):
        task = QuestionAnswering(TOKENIZER, [], *sizes)
        windows = task.windows(given_example)
        outputs = []
        for window in windows:
            logits = np.full((2, len(window.input_ids)), -50.0)
            inside = slice(window.begin, window.begin + len(window.starts))
            logits[:, window.offset : window.offset + len(window.starts)] = of_token[:, inside]
            outputs.append(tuple(logits))
        return task.decode(given_example, windows, outputs)

    one, several = answer(128, 0), answer(max_seq_length, stride)
    assume(one["pos"] == several["pos"])  # a long answer need not be whole in a small window
    assert several["score"] == pytest.approx(one["score"], rel=1e-9) and several["score"] <= 1


def test_a_doubtful_token_counts_as_where_it_has_more_context():
    """The edge of the first window is sure of an answer that the second does not see there."""
    task = QuestionAnswering(TOKENIZER, [], 32, 14)
    given_example = {"question": "谁？", "context": "".join(chr(0x4E00 + i) for i in range(40))}
    windows = task.windows(given_example)
    outputs = [tuple(np.zeros((2, len(window.input_ids)))) for window in windows]
    edge, sure = windows[0].offset + len(windows[0].starts) - 1, windows[1].offset + 20
    outputs[0][0][edge] = outputs[0][1][edge] = 8.0
    outputs[1][0][sure] = outputs[1][1][sure] = 9.0
    result = task.decode(given_example, windows, outputs)
    assert windows[0].begin + len(windows[0].starts) - 1 > windows[1].begin, "the edge is in both windows"
    assert result["score"] == pytest.approx((np.exp(9) / (np.exp(9) + 39)) ** 2)
    outputs[0][0][edge] = outputs[0][1][edge] = 10.0  # now the answer is found at the edge itself
    assert task.decode(given_example, windows, outputs)["score"] == pytest.approx(
        (np.exp(10) / (np.exp(10) + np.exp(9) + 38)) ** 2
    )


def test_reading_never_answers_with_the_question():
    task = QuestionAnswering(TOKENIZER, [], 64)
    given_example = {"question": "谁？", "context": "李明。"}
    (window,) = task.windows(given_example)
    logits = np.zeros(len(window.input_ids), dtype=np.float32)
    logits[1] = 100.0  # in the question
    assert task.decode(given_example, [window], [(logits, logits)])["answer"] in "李明。"
    assert task.decode(
        {"question": "谁？", "context": ""}, task.windows({"question": "谁？", "context": ""}), [(logits, logits)]
    ) == {
        "answer": "",
        "score": 0.0,
        "pos": None,
    }


def best_answers(context, start, end, question="谁？", max_seq_length=64, **options):
    """The answer of a model that sees these logits of the context's tokens in whatever window."""
    task = QuestionAnswering(TOKENIZER, [], max_seq_length, 8)
    given_example = {"question": question, "context": context}
    windows = task.windows(given_example)
    outputs = []
    for window in windows:
        logits = np.full((2, len(window.input_ids)), -50.0)
        for row, of_token in enumerate((start, end)):
            inside = of_token[window.begin : window.begin + len(window.starts)]
            logits[row, window.offset : window.offset + len(window.starts)] = inside
        outputs.append(tuple(logits))
    return task.decode(given_example, windows, outputs, task.answer_options(**options))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_the_best_answers_are_those_of_all_spans(length, top_k, seed):
    context = "".join(chr(0x4E00 + i) for i in range(length))
    start, end = np.random.default_rng(seed).normal(0, 3, (2, length))
    probability = np.outer(np.exp(start) / np.exp(start).sum(), np.exp(end) / np.exp(end).sum())
    spans = sorted(((probability[i, j], i, j) for i in range(length) for j in range(i, length)), reverse=True)[:top_k]
    answer = best_answers(context, start, end, top_k=top_k)
    assert [each["pos"] for each in answer["answers"]] == [[i, j] for _, i, j in spans]
    assert [each["score"] for each in answer["answers"]] == pytest.approx([score for score, _, _ in spans])
    assert all(each["answer"] == context[each["pos"][0] : each["pos"][1] + 1] for each in answer["answers"])
    plain = best_answers(context, start, end)
    assert plain == {name: answer[name] for name in plain} == answer["answers"][0] and "answers" not in plain
    windowed = best_answers(context, start, end, max_seq_length=32, top_k=top_k)["answers"]
    assert len({tuple(each["pos"]) for each in windowed}) == len(windowed), "no span twice where windows overlap"


def test_under_the_threshold_there_is_no_answer():
    start, end = np.log([0.6, 0.3, 0.1]), np.log([0.1, 0.3, 0.6])
    answer = best_answers("一二三", start, end, top_k=3, threshold=0.2)
    assert [each["answer"] for each in answer["answers"]] == ["一二三"] and answer["answer"] == "一二三"
    none = best_answers("一二三", start, end, top_k=3, threshold=0.5)
    assert none == {"answer": None, "score": pytest.approx(0.36), "pos": None, "answers": []}
    assert best_answers("", start, end, threshold=0.1) == {"answer": None, "score": 0.0, "pos": None}
    assert QuestionAnswering.describe(none) == ["qa result:", "answer: none   score: 0.3600   pos: None"]
    with pytest.raises(InputError, match="^top_k is 21: qa gives at most 20 answers$"):
        best_answers("一二三", start, end, top_k=21)


def test_a_question_that_is_cut_is_said():
    start = end = np.zeros(3)
    for tokens, max_seq_length in ((MAX_QUESTION_TOKENS, 256), (16, 32)):
        assert "truncated" not in best_answers("一二三", start, end, "谁" * tokens, max_seq_length)
        cut = best_answers("一二三", start, end, "谁" * (tokens + 1), max_seq_length)
        assert cut["truncated"] is True
    assert QuestionAnswering.describe(cut)[1].endswith("   (the question was truncated)")
