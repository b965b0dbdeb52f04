"""Confident learning: the paper's definition, and labels that were flipped."""

from ernie_suite.analysis.labels import LabelAnalysis
from ernie_suite.analysis.suspects import NONE, class_thresholds, rank_labels
from ernie_suite.data import load_examples
from ernie_suite.tasks import SEQ_CLS

import numpy as np
import pytest

from benchmarks.suspect_labels import flip, rank
from ernie_inference.predictor import load_predictor
from tests.support.models import LABELS


def random_probabilities(examples: int, classes: int, seed: int):
    """Labels, and probabilities that mostly agree with them."""
    random = np.random.default_rng(seed)
    given = random.integers(classes, size=examples)
    logits = random.normal(size=(examples, classes)) * 2
    logits[np.arange(examples), given] += random.choice([0.0, 3.0], examples, p=[0.2, 0.8])
    exp = np.exp(logits)
    return given, exp / exp.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_suspects_are_those_of_the_papers_definition(classes):
    """Written out example by example, as the paper has it."""
    given, probabilities = random_probabilities(400, classes, seed=classes)
    own = probabilities[np.arange(400), given]
    likeliest = np.argsort(-probabilities, axis=1)
    ranking = rank_labels(given, own, likeliest, np.take_along_axis(probabilities, likeliest, axis=1), classes)
    thresholds = [np.mean([p[y] for p, y in zip(probabilities, given) if y == j]) for j in range(classes)]
    assert ranking.thresholds == pytest.approx(thresholds)
    suspects = []
    for number, (p, y) in enumerate(zip(probabilities, given)):
        confident = [j for j in range(classes) if p[j] >= thresholds[j]]
        best = max(confident, key=lambda j: p[j], default=y)
        assert ranking.suggested[number] == (NONE if best == y else best)
        assert ranking.margins[number] == pytest.approx(p[y] - max(p[j] for j in range(classes) if j != y))
        if best != y:
            suspects.append(number)
    assert ranking.suspects == len(suspects) > 0
    suspects.sort(key=lambda number: ranking.margins[number])
    assert ranking.order[: len(suspects)].tolist() == suspects and sorted(ranking.order) == list(range(400))


def test_a_class_without_examples_contradicts_nothing():
    thresholds = class_thresholds(np.array([0, 0]), np.array([0.1, 0.3]), 2)
    assert thresholds[0] == pytest.approx(0.2) and np.isinf(thresholds[1])
    likeliest, probabilities = np.array([[1, 0], [1, 0]]), np.array([[0.9, 0.1], [0.7, 0.3]])
    assert rank_labels(np.array([0, 0]), probabilities[:, 1], likeliest, probabilities, 2).suspects == 0


def test_flipped_labels_come_first(finetuned):
    """Of the first 5 % of a small model's ranking, more than twice as many were flipped as of all labels."""
    predictor = load_predictor(finetuned("seq_cls") / "export")
    examples = load_examples("sample_reviews", "dev")
    flipped = flip(examples, LABELS["seq_cls"], 0.05, np.random.default_rng(7))
    assert len(flipped) == 87
    first = rank(predictor, examples, "sample_reviews")[:87]
    assert len(set(first.tolist()) & flipped) > 2 * 0.05 * 87


def test_what_is_kept_of_an_example_is_a_few_numbers(tiny):
    predictor = load_predictor(tiny["seq_cls"])
    analysis = LabelAnalysis(SEQ_CLS, predictor.task)
    example = {"id": 0, "text": "好" * 100, "text_pair": None, "label": "negative"}
    (computed,) = predictor.outputs_iter([example])
    for number in range(3000):
        analysis.add(number, *computed)
    arrays = [value for value in vars(analysis).values() if hasattr(value, "itemsize")]
    assert sum(len(kept) * kept.itemsize for kept in arrays) == 3000 * (4 + 4 + 4 + 2 * 8)
    assert sum(map(len, analysis.calibration._halves)) == 1000  # one text is in one half, of which a sample is kept
