"""Texts with several labels: figures of each label, the surest wrong decisions, and labels that were flipped."""

from ernie_suite.analysis.base import SHOWN
from ernie_suite.analysis.label_sets import BOTH, INVENTED, MISSED, RIGHT, LabelSetAnalysis
from ernie_suite.analysis.page import render_page
from ernie_suite.analysis.run import header, temperature_of
from ernie_suite.tasks.multi_label import MULTI_LABEL

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Window
from ernie_inference.tasks.multi_label import MultiLabelClassification
from ernie_inference.wordpiece import WordPiece

LABELS, TEXTS, FLIPPED = ["人", "地", "机构", "时间"], 600, 60
WINDOW = Window([1, 2], [0, 0], 1, 0, [], [])


@pytest.fixture(scope="module")
def analyzed():
    """Examples, answers, report, the places (example, label) of flipped labels, and the logits of a model that is
    mostly right."""
    random = np.random.default_rng(3)
    truth = random.random((TEXTS, len(LABELS))) < 0.3
    logits = (np.where(truth, 3.0, -3.0) + random.normal(size=truth.shape) * 2).astype(np.float32)
    given, flipped = truth.copy(), random.choice(TEXTS * len(LABELS), FLIPPED, replace=False)
    given.flat[flipped] ^= True
    examples = [
        {"id": number, "text": f"文本 {number}", "text_pair": None, "labels": tuple(np.array(LABELS)[row])}
        for number, row in enumerate(given)
    ]
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
    task = MultiLabelClassification(WordPiece({token: i for i, token in enumerate(tokens)}), LABELS, 32)
    analysis = LabelSetAnalysis(MULTI_LABEL, task)
    answers = [analysis.add(i, example, [WINDOW], [(logits[i],)]) for i, example in enumerate(examples)]
    places = {(int(place) // len(LABELS) + 1, LABELS[place % len(LABELS)]) for place in flipped}
    return examples, answers, analysis.report(examples), places, logits


def test_figures_are_scikit_learns_and_the_metrics(analyzed):
    examples, answers, report, _, _ = analyzed
    given = np.array([[label in example["labels"] for label in LABELS] for example in examples])
    found = np.array(
        [[label in [each["label"] for each in answer["labels"]] for label in LABELS] for answer in answers]
    )
    rows = {row["label"]: row for row in report["classes"]}
    for average, names in ((None, LABELS), ("macro", ["macro"]), ("micro", ["micro"]), ("weighted", ["weighted"])):
        figures = precision_recall_fscore_support(given, found, average=average, zero_division=0)
        for i, name in enumerate(names):
            for value, column in zip(figures, ("precision", "recall", "f1")):
                assert rows[name][column] == pytest.approx(value[i] if average is None else value)
    metric = MULTI_LABEL.metric(examples, answers)
    assert (rows["micro"]["f1"], rows["macro"]["f1"]) == pytest.approx((metric["micro_f1"], metric["macro_f1"]))
    (kinds,) = report["kinds"]
    assert sum(kinds.values()) == TEXTS and kinds[RIGHT] == (given == found).all(axis=1).sum()
    assert kinds[MISSED] > 0 and kinds[INVENTED] > 0 and kinds[BOTH] > 0


def test_the_suspects_are_mostly_those_that_were_flipped(analyzed):
    _, _, report, places, _ = analyzed
    suspects = report["suspects"]["labels"]
    found = [(row["example"], row["predicted"][2:]) in places for row in suspects]
    assert len(found) >= FLIPPED // 2 and sum(found[: FLIPPED // 2]) > 0.8 * (FLIPPED // 2)
    margins = [row["margin"] for row in suspects]
    assert margins == sorted(margins) and margins[-1] < 0
    sure = [row["confidence"] for row in report["mistakes"]]
    assert sure == sorted(sure, reverse=True) and {row["kind"] for row in report["mistakes"]} == {MISSED, INVENTED}


def test_suspects_are_those_that_confident_learning_names(analyzed):
    """By the definition, for each label alone: what contradicts it is as probable as where it is given, on average."""
    examples, _, report, _, logits = analyzed
    given = np.array([[label in example["labels"] for label in LABELS] for example in examples])
    has = 1 / (1 + np.exp(-logits.astype(np.float64)))
    stated = np.where(given, has, 1 - has)
    mean_of = {kind: np.array([stated[given[:, i] == kind, i].mean() for i in range(len(LABELS))]) for kind in (0, 1)}
    is_suspect = (stated < 0.5) & (1 - stated >= np.where(given, mean_of[0], mean_of[1]))
    wanted = sorted((stated[place], place[0] + 1) for place in zip(*np.nonzero(is_suspect)))[:SHOWN]
    assert 0 < len(wanted) < (stated < 0.5).sum()
    rows = report["suspects"]["labels"]
    assert [row["example"] for row in rows] == [example for _, example in wanted]
    assert [row["margin"] for row in rows] == pytest.approx([2 * value - 1 for value, _ in wanted], abs=1e-4)


def test_no_temperature_is_fitted_beside_thresholds(analyzed):
    _, answers, report, _, _ = analyzed
    assert report["calibration"]["answers"] == sum(len(answer["labels"]) for answer in answers)
    with pytest.raises(InputError, match="no temperature can be fitted: a text has the labels whose"):
        temperature_of(report)
    page = render_page({**header("multi_label", "dev", TEXTS, {"micro_f1": 0.5}, model="m"), **report})
    assert "没有拟合温度" in page and "漏标 missed" in page
