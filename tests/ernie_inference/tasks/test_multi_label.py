"""Several labels a text: which are given, by which threshold, and how that is said."""

import json

import numpy as np
import pytest

from ernie_inference.engine_choice import without_scores
from ernie_inference.errors import InputError
from ernie_inference.inference_config import InferenceConfig, load_task
from ernie_inference.tasks import TASKS
from ernie_inference.tasks.multi_label import MultiLabelClassification
from ernie_inference.wordpiece import WordPiece
from tests.support.models import make_vocab

TOKENIZER = WordPiece(make_vocab())
PROBABILITIES = [0.2, 0.9, 0.6]


def decode(thresholds=None, **options):
    task = MultiLabelClassification(TOKENIZER, ["a", "b", "c"], 16)
    task.thresholds = thresholds or task.thresholds
    odds = np.array(PROBABILITIES, dtype=np.float32)
    outputs = [(np.log(odds / (1 - odds)),)]
    return task, task.decode({}, task.windows({"text": "好"}), outputs, task.answer_options(**options))


def names(labels):
    return [each["label"] for each in labels]


def test_each_label_has_a_threshold_of_its_own():
    _, answer = decode()
    assert names(answer["labels"]) == ["b", "c"] and answer["truncated"] is False and "scores" not in answer
    assert [each["confidence"] for each in answer["labels"]] == pytest.approx([0.9, 0.6])
    assert names(decode([0.1, 0.95, 0.6])[1]["labels"]) == ["a", "c"]
    assert decode([1, 1, 1])[1]["labels"] == []
    assert without_scores([answer]) == [{"labels": [{"label": "b"}, {"label": "c"}], "truncated": False}]


def test_options_take_the_place_of_the_thresholds():
    fitted = [0.1, 0.95, 0.6]
    assert names(decode(fitted, threshold=0.7)[1]["labels"]) == ["b"]
    assert names(decode(fitted, threshold=0.0)[1]["labels"]) == ["a", "b", "c"]
    answer = decode(fitted, threshold=0.7, top_k=2)[1]
    assert names(answer["labels"]) == ["b"] and names(answer["scores"]) == ["b", "c"]
    assert names(decode(fitted, top_k=9)[1]["scores"]) == ["b", "c", "a"]


def test_answers_are_described_by_the_task_of_their_name():
    """A client knows no more of a service than its task."""
    task, answer = decode(top_k=1)
    assert TASKS["seq_cls"].describe(answer) == task.describe(answer)
    assert task.describe(answer) == ["seq cls result:", "labels: b 0.9000, c 0.6000", "    b   0.9000"]
    nothing = {"labels": [], "truncated": True}
    assert task.describe(nothing)[1] == "labels: none   (the text was truncated)"


def test_engines_are_compared_by_whole_sets():
    task, _ = decode()
    window = task.windows({"text": "好"})[0]
    assert [task.choices(window, (np.array(row),)) for row in ([-1, 1, 1], [-1, -1, -1])] == [[6], [0]]


def saved(folder, **changes):
    content = {"task": "seq_cls", "labels": ["a", "b"], "thresholds": [0.25, 0.5], **changes}
    (folder / "inference.json").write_text(json.dumps(content))
    return folder


def test_thresholds_in_inference_json_make_the_task(tmp_path):
    TOKENIZER.save(tmp_path / "vocab.txt")
    task = load_task(saved(tmp_path))
    assert type(task) is MultiLabelClassification and task.thresholds == [0.25, 0.5] and task.name == "seq_cls"
    InferenceConfig("seq_cls", ["a", "b"]).save(tmp_path)
    assert "thresholds" not in json.loads((tmp_path / "inference.json").read_text())
    assert type(load_task(tmp_path)) is TASKS["seq_cls"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"thresholds": [0.5]}, "thresholds holds 1 numbers for 2 labels"),
        ({"thresholds": [0.5, 1.5]}, "thresholds is not a list of numbers from 0 to 1"),
        ({"thresholds": [0.5, None]}, "thresholds is not a list of numbers from 0 to 1"),
        ({"thresholds": 0.5}, "thresholds is not a list of numbers from 0 to 1"),
        ({"task": "token_cls", "labels": ["B-X", "O"]}, "thresholds are for seq_cls, not for token_cls"),
    ],
)
def test_thresholds_that_cannot_be_are_one_line(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        InferenceConfig.load(saved(tmp_path, **changes))
