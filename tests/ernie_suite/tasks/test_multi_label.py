"""Several labels a text: how files are read, losses, thresholds and figures, each against a library or by hand."""

import json

from ernie_suite.compression.choice import change_intervals
from ernie_suite.data import DATASETS, load_examples, load_labels
from ernie_suite.features import Collator, Features
from ernie_suite.tasks.class_weights import balanced, weights_of
from ernie_suite.tasks.family import IGNORED_LABEL, cross_entropy
from ernie_suite.tasks.multi_label import (
    MULTI_LABEL,
    best_threshold,
    binary_cross_entropy,
    fit_thresholds,
    multi_hot,
    soft_binary_cross_entropy,
    symmetric_binary_kl,
)
from ernie_suite.tasks.seq_cls import SEQ_CLS
from ernie_suite.tasks.token_cls import TOKEN_CLS

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss
from sklearn.utils.class_weight import compute_class_weight

from ernie_inference.errors import InputError
from ernie_inference.tasks.multi_label import MultiLabelClassification
from ernie_inference.wordpiece import WordPiece
from tests.support.models import make_vocab

LABELS = ["甲", "乙", "1"]
TOKENIZER = WordPiece(make_vocab())


def write(folder, *items, split="train", labels=LABELS):
    lines = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
    (folder / f"{split}.json").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return str(folder)


# ---------------------------------------------------------------- files


def test_lists_of_labels_are_read(tmp_path):
    folder = write(
        tmp_path, {"sentence": "好", "labels": ["乙", 1]}, {"sentence1": "好", "sentence2": "坏", "labels": []}
    )
    one, two = load_examples("multi_label", "train", folder)
    assert one == {"id": 0, "text": "好", "text_pair": None, "labels": ("乙", "1")}
    assert (two["text"], two["text_pair"], two["labels"]) == ("好", "坏", ())


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ('"甲"', 'labels is not a list: give one, as ["a", "b"], or [] for a text without a label'),
        ('{"甲": 1}', "labels is not a list: give one"),
        ('["甲", "丙"]', "label '丙' is not one of '甲', '乙', '1': add it to labels.txt"),
        ("[null]", "label 'None' is not one of '甲', '乙', '1': add it to labels.txt"),
        ('[["甲"]]', "label "),
        ('["甲", "乙", "甲"]', "label '甲' is there twice: give it once"),
        ("null", "has no labels (a list, empty for a text without a label), which the train split needs"),
    ],
)
def test_what_is_no_list_of_labels_is_said_with_its_place(tmp_path, labels, said):
    folder = write(tmp_path, {"sentence": "好", "labels": []}, f'{{"sentence": "好", "labels": {labels}}}')
    with pytest.raises(InputError) as error:
        load_examples("multi_label", "train", folder)
    assert str(error.value).startswith(f"{tmp_path / 'train.json'}, line 2") and said in str(error.value)


def test_a_test_split_may_give_no_labels(tmp_path):
    folder = write(tmp_path, {"sentence": "好", "labels": None}, {"sentence": "坏", "labels": []}, split="test")
    assert [example["labels"] for example in load_examples("multi_label", "test", folder)] == [None, ()]


def test_labels_of_ones_own_are_needed(tmp_path):
    write(tmp_path, {"sentence": "好", "labels": []})
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(InputError, match="labels.txt is missing: multi_label takes your labels, one a line"):
        load_labels(DATASETS["multi_label"], str(tmp_path))


def test_the_sample_set_says_which_kinds_of_names_are_in_a_sentence():
    examples = load_examples("sample_entity_types", "dev")
    sets = {example["labels"] for example in examples}
    assert {(), ("PER",), ("LOC",), ("ORG",), ("PER", "LOC"), ("PER", "LOC", "ORG")} <= sets
    assert not {len(example["text"]) for example in examples} - set(range(10, 101))


# ---------------------------------------------------------------- what is learnt


def multi_label_task(labels=LABELS):
    return MultiLabelClassification(TOKENIZER, labels, 32)


def example(*labels):
    return {"id": 0, "text": "好", "text_pair": None, "labels": labels}


def test_a_batch_holds_the_numbers_of_labels():
    features = Features(MULTI_LABEL, multi_label_task(), [example(), example("1", "甲"), example("乙")])
    batch = Collator(0)([features[i] for i in range(3)])
    x = IGNORED_LABEL
    assert batch["labels"].tolist() == [[x, x], [2, 0], [1, x]]
    expected = [[0, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert multi_hot(paddle.to_tensor(batch["labels"]), 3).numpy().tolist() == expected


LOGITS = np.array([[0.5, -2.0, 3.0], [-1.0, 0.0, 1.0], [4.0, -4.0, 0.1]], dtype=np.float32)
NUMBERS = np.array([[IGNORED_LABEL, IGNORED_LABEL], [2, 0], [1, IGNORED_LABEL]])
WANTED = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 0]])


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def test_the_loss_is_that_of_each_label_by_itself():
    logits, labels = paddle.to_tensor(LOGITS), paddle.to_tensor(NUMBERS)
    flat = WANTED.ravel(), sigmoid(LOGITS).ravel()
    assert float(binary_cross_entropy(logits, labels)) == pytest.approx(log_loss(*flat), rel=1e-5)
    weights = np.array([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0]])
    chosen = np.where(WANTED == 1, weights[1], weights[0]).ravel()
    expected = log_loss(*flat, sample_weight=chosen) * chosen.mean()
    assert float(binary_cross_entropy(logits, labels, weights)) == pytest.approx(expected, rel=1e-5)
    one = paddle.to_tensor(np.array([2, 0, 1]))
    by_class = np.array([0.5, 1.0, 2.0])
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    expected = log_loss([2, 0, 1], softmax, sample_weight=by_class[[2, 0, 1]], labels=[0, 1, 2])
    assert float(cross_entropy(logits, one, by_class)) == pytest.approx(expected, rel=1e-5)


def test_a_student_that_answers_as_its_teacher_has_the_least_loss():
    teacher = paddle.to_tensor(LOGITS)
    least = float(soft_binary_cross_entropy(teacher, teacher, None))
    p = sigmoid(LOGITS)
    assert least == pytest.approx(-(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(axis=1).mean(), rel=1e-5)
    for change in (-0.5, 0.5):
        assert float(soft_binary_cross_entropy(teacher + change, teacher, None)) > least


# ---------------------------------------------------------------- class weights


def test_two_passes_are_apart_by_the_symmetric_kl_of_each_label():
    logits = np.random.default_rng(3).normal(size=(2, 4, 5)).astype("float32")
    p, q = 1 / (1 + np.exp(-logits))
    both_ways = sum((a - b) * np.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)))
    found = symmetric_binary_kl(paddle.to_tensor(np.concatenate(logits)), None)
    assert float(found) == pytest.approx(both_ways.mean() / 2, rel=1e-5)


def test_balanced_weights_are_those_of_scikit_learn():
    answers = [0] * 7 + [1] * 2 + [2]
    found = balanced(np.bincount(answers))
    np.testing.assert_allclose(found, compute_class_weight("balanced", classes=np.arange(3), y=answers))
    assert balanced(np.array([3, 0, 1])).tolist() == pytest.approx([4 / 6, 1, 2])


def test_weights_of_a_training_set(capsys):
    examples = [example("甲")] * 3 + [example("甲", "乙")] + [example()] * 4
    weights = weights_of(MULTI_LABEL, examples, LABELS)
    assert weights.tolist() == [[1, pytest.approx(8 / 14), 1], [1, 4, 1]]
    done = capsys.readouterr()
    assert done.out == "class weights: from 0.571 to 4, for 4 to 0 examples of a label among 8\n"
    assert done.err == "note: no training example has the label '1': give some, or take it out of the labels\n"
    single = [{"label": "甲"}] * 3 + [{"label": "乙"}]
    assert weights_of(SEQ_CLS, single, LABELS, str).tolist() == pytest.approx([4 / 6, 2, 1])
    with pytest.raises(InputError, match="^--class_weights balanced: .*leave it out$"):
        weights_of(TOKEN_CLS, [], ["O"])


# ---------------------------------------------------------------- thresholds


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=30))
def test_no_threshold_is_better_than_the_one_that_is_found(texts):
    wanted, scores = np.array([w for w, _ in texts]), np.array([s for _, s in texts]) / 12
    wanted[0] = True
    scores = np.maximum(scores, 0.01)

    def f1(threshold):
        return f1_score(wanted, scores >= threshold, zero_division=0.0)

    best = best_threshold(wanted, scores)
    assert f1(best) >= max(map(f1, np.arange(0, 1.01, 1 / 24))) - 1e-12
    assert abs(scores - best).min() > 1e-3  # between two probabilities: another engine's last digit moves no text


def test_a_label_that_few_texts_have_keeps_an_even_threshold():
    task = multi_label_task(["甲", "乙"])
    examples = [example("甲")] * 6 + [example("乙")] * 4
    probabilities = np.array([[0.3, 0.1]] * 6 + [[0.2, 0.1]] * 4)

    def answers(options):
        return [task.decode({}, task.windows({"text": "好"}), [(row,)], options) for row in logits]

    logits = np.log(probabilities / (1 - probabilities))
    fit_thresholds(task, examples, answers)
    assert task.thresholds == [pytest.approx(0.25), 0.5]


# ---------------------------------------------------------------- figures

SETS = st.sets(st.integers(0, 3))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(SETS, SETS), min_size=1, max_size=12))
def test_figures_are_those_of_scikit_learn(pairs):
    names = "甲乙丙丁"
    wanted, found = ([[number in each for number in range(4)] for each in some] for some in zip(*pairs))
    examples = [{"labels": tuple(names[i] for i in each)} for each, _ in pairs]
    results = [{"labels": [{"label": names[i]} for i in sorted(each)]} for _, each in pairs]
    figures = MULTI_LABEL.metric(examples, results)
    has = [number for number in range(4) if any(number in each for each, _ in pairs)]
    macro = f1_score(wanted, found, average="macro", labels=has, zero_division=0.0) if has else 0.0
    assert figures["micro_f1"] == pytest.approx(f1_score(wanted, found, average="micro", zero_division=0.0))
    assert figures["macro_f1"] == pytest.approx(macro)
    outcomes = MULTI_LABEL.metric.outcomes(examples, results)
    ((low, high),) = change_intervals([outcomes], MULTI_LABEL.metric, "micro_f1", seed=1)
    assert low == high == 0.0
