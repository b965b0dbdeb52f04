"""Classification of texts longer than one window: what is read of them, how windows become one answer, what it says."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ernie_inference.answer_options import LONG_TEXTS, AnswerOptions
from ernie_inference.errors import InputError
from ernie_inference.predictor import load_onnx_predictor, load_predictor
from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.tasks.token_cls import TokenClassification
from ernie_inference.wordpiece import WordPiece
from tests.support.models import ANY_TEXT, MAX_SEQ_LENGTH, corpus, make_vocab

TOKENIZER = WordPiece(make_vocab())
WINDOWS = AnswerOptions(long_texts="windows")


def task_of(max_seq_length=16, doc_stride=4, long_texts=None):
    task = SequenceClassification(TOKENIZER, ["a", "b", "c"], max_seq_length, doc_stride)
    task.read_long_texts(long_texts)
    return task


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT, st.none() | ANY_TEXT, st.integers(8, 40), st.integers(0, 40))
@example("一" * 100, "二" * 3, 16, 4)
@example("一" * 3, "二" * 100, 16, 4)
@example("", "", 8, 0)
def test_windows_hold_all_of_the_text_and_cutting_the_first_of_them(text, text_pair, max_seq_length, doc_stride):
    task = task_of(max_seq_length, doc_stride)
    given_example = {"text": text, "text_pair": text_pair}
    windows, (cut,) = task.windows(given_example, WINDOWS), task.windows(given_example, AnswerOptions(long_texts="cut"))
    assert cut == task.windows(given_example)[0] and cut.input_ids == windows[0].input_ids
    ids = TOKENIZER.encode(text if text_pair is None else text_pair).ids
    read = {}
    for window in windows:
        assert len(window.input_ids) <= max_seq_length
        assert window.input_ids[: window.offset] == cut.input_ids[: cut.offset]
        read.update(enumerate(window.input_ids[window.offset : -1], window.begin))
    assert read == dict(enumerate(ids))
    first = TOKENIZER.encode(text).ids or [TOKENIZER.unk_id]
    assert windows[0].truncated == (text_pair is not None and first != windows[0].input_ids[1 : windows[0].offset - 1])


def decode(probabilities, task=None, **options):
    """The answer to a text of as many windows as there are rows."""
    task = task or task_of()
    options, text = task.answer_options(**options), {"text": "一" * (6 + 10 * (len(probabilities) - 1))}
    windows = task.windows(text, options)
    assert len(windows) == len(probabilities)
    return task.decode(text, windows, [(np.log(np.array(row, dtype=np.float32)),) for row in probabilities], options)


ROWS = [[0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.6, 0.4, 0.0001]]


def test_the_answer_is_the_mean_of_the_windows_or_the_most_certain_of_them():
    mean, largest = np.mean(ROWS, axis=0), np.max(ROWS, axis=0)
    by_mean, by_largest = (decode(ROWS, long_texts=kind, top_k=3) for kind in ("windows", "windows_max"))
    assert by_mean["label"] == "b" and by_largest["label"] == "c"
    for answer, expected in ((by_mean, mean), (by_largest, largest)):
        assert answer["confidence"] == pytest.approx(expected.max(), abs=1e-4)
        assert (answer["windows"], answer["truncated"]) == (3, False)
        found = {each["label"]: each["confidence"] for each in answer["scores"]}
        assert [found[label] for label in "abc"] == pytest.approx(expected, abs=1e-4)
    assert decode(ROWS, long_texts="windows", threshold=0.4)["label"] is None
    assert decode(ROWS, long_texts="windows_max", threshold=0.69)["label"] == "c"


def test_an_answer_says_what_was_done_where_somebody_asked():
    assert set(decode(ROWS[:1])) == {"label", "confidence", "truncated"}
    assert decode(ROWS[:1], long_texts="cut") == {**decode(ROWS[:1]), "windows": 1}
    assert decode(ROWS, task_of(long_texts="windows")) == decode(ROWS, long_texts="windows")
    assert decode(ROWS, task_of(long_texts="windows"), long_texts="windows_max")["label"] == "c"
    long = {"text": "一" * 40}
    (cut,) = task_of(long_texts="windows").windows(long, AnswerOptions(long_texts="cut"))
    assert cut.truncated and not task_of(long_texts="windows").windows(long)[0].truncated
    assert SequenceClassification.describe(decode(ROWS, long_texts="windows"))[1] == (
        "label: b   confidence: 0.3667   windows: 3"
    )


@pytest.mark.parametrize("task_class", [TokenClassification, QuestionAnswering])
def test_it_is_for_classification(task_class):
    with pytest.raises(InputError, match="^long_texts is windows: that is for classification, "):
        task_class.answer_options(long_texts="windows")
    with pytest.raises(InputError, match="^long_texts is cut: that is for classification, "):
        task_class(TOKENIZER, ["O", "B-A"], 32).read_long_texts("cut")
    with pytest.raises(InputError, match="^long_texts is a str: give one of cut, windows, windows_max$"):
        SequenceClassification.answer_options(long_texts="mean")


@pytest.mark.parametrize("load", [load_predictor, load_onnx_predictor])
def test_windows_of_a_real_model_are_answered_each_by_itself(tiny, load):
    """Each window as the text of its own that it is, in other batches: their mean is the answer to the whole."""
    predictor = load(tiny["seq_cls"], num_threads=1)
    review = "".join(corpus()[:4])
    text = "".join(char for char in review if "一" <= char <= "龥")[: 3 * MAX_SEQ_LENGTH]
    answers = {kind: predictor.predict(["好", text, "坏" * 99], 2, 2, long_texts=kind)[1] for kind in LONG_TEXTS}
    parts = [text[w.starts[0] : w.ends[-1]] for w in predictor.task.windows({"text": text}, WINDOWS)]
    alone = [{s["label"]: s["confidence"] for s in a["scores"]} for a in predictor.predict(parts, top_k=2)]
    assert len(parts) == answers["windows"]["windows"] == answers["windows_max"]["windows"] > 3
    for kind, pool in {"cut": lambda of_parts: of_parts[0], "windows": np.mean, "windows_max": np.max}.items():
        for score in answers[kind]["scores"]:
            expected = pool([found[score["label"]] for found in alone])
            assert score["confidence"] == pytest.approx(expected, abs=1e-5)
    assert [answers[kind]["truncated"] for kind in LONG_TEXTS] == [True, False, False]
    asked = load(tiny["seq_cls"], num_threads=1, long_texts="windows")
    (found,) = asked.predict([text])
    assert found["windows"] == len(parts) and asked.depends_on()["long_texts"] == "windows"
    assert found["confidence"] == pytest.approx(answers["windows"]["confidence"], abs=1e-5)
