"""What is said of each task family's answers, by real models on real text."""

from collections import Counter

from ernie_suite.analysis.answers import (
    ELSEWHERE,
    LONG,
    NOT_THERE,
    OTHER,
    SHIFTED,
    SHORT,
    kind_of_error,
    question_word,
)
from ernie_suite.analysis.base import SHOWN, Worst
from ernie_suite.analysis.entities import (
    BOTH,
    BOUNDARY,
    INVENTED,
    KINDS,
    MISSED,
    RIGHT,
    TYPE,
    Span,
    match,
)
from ernie_suite.analysis.run import analyze
from ernie_suite.data import load_examples
from ernie_suite.tasks import FAMILIES

import numpy as np
import pytest

from ernie_inference.engine_choice import without_scores
from ernie_inference.predictor import load_predictor
from tests.support.models import TASK_NAMES
from tests.support.scripts import SAMPLES

EXAMPLES = 300


@pytest.fixture(scope="module")
def analyzed(finetuned):
    """Predictor, examples, and what analyze() gives for a task; made once."""
    made = {}

    def get(task):
        if task not in made:
            predictor = load_predictor(finetuned(task) / "export")
            examples = load_examples(SAMPLES[task], "dev")[:EXAMPLES]
            computed = predictor.outputs_iter(examples)
            made[task] = predictor, examples, *analyze(FAMILIES[task], predictor.task, examples, computed)
        return made[task]

    return get


@pytest.mark.parametrize("task", TASK_NAMES)
def test_the_answers_are_those_of_predict(analyzed, task):
    predictor, examples, results, _ = analyzed(task)
    assert results == predictor.predict(examples)


def test_examples_come_in_any_order(analyzed):
    predictor, examples, results, report = analyzed("seq_cls")
    order = np.random.default_rng(0).permutation(len(examples)).tolist()
    computed = predictor.outputs_iter([examples[number] for number in order])
    shuffled = analyze(FAMILIES["seq_cls"], predictor.task, examples, computed, order)
    assert without_scores(shuffled.results) == without_scores(results)
    places = {row["example"]: row["predicted"] for row in report["mistakes"]}
    assert {row["example"]: row["predicted"] for row in shuffled.report["mistakes"]} == places
    assert shuffled.report["confusion"] == report["confusion"]


@pytest.mark.parametrize("task", TASK_NAMES)
def test_the_confidence_at_a_temperature_is_what_a_task_of_that_temperature_gives(analyzed, task):
    """Of what was sampled for the temperature: the same numbers as of answers at 1 and at 2."""
    predictor, examples, *_ = analyzed(task)
    family = FAMILIES[task]
    analysis = family.analysis(family, predictor.task)
    wanted = {1.0: Counter(), 2.0: Counter()}
    for number, (example, windows, outputs) in enumerate(predictor.outputs_iter(examples[:50])):
        analysis.add(number, example, windows, outputs)
        for temperature in wanted:
            answer = predictor.task.at(temperature).decode(
                example, windows, outputs, predictor.task.answer_options(threshold=0.0)
            )
            answers = answer["entities"] if task == "token_cls" else [answer]
            figures = [each.get("confidence", each.get("score")) for each in answers]
            wanted[temperature].update(round(figure, 6) for figure in figures)
    sample = [answer for half in analysis.calibration._halves for answer in half]
    assert len(sample) == sum(wanted[1.0].values()) > 10
    for temperature, figures in wanted.items():
        assert Counter(round(answer.confidence(temperature), 6) for answer in sample) == figures


@pytest.mark.parametrize("task", TASK_NAMES)
def test_mistakes_are_the_surest_wrong_answers_and_suspects_come_by_their_margin(analyzed, task):
    _, examples, _, report = analyzed(task)
    mistakes, suspects = report["mistakes"], report["suspects"]["labels"]
    assert mistakes and len(mistakes) <= SHOWN
    sure = [row["confidence"] for row in mistakes]
    assert sure == sorted(sure, reverse=True)
    for row in mistakes + suspects:
        example = examples[row["example"] - 1]
        assert row["id"] == example["id"] and 0 <= row["label_confidence"] <= 1
        if "mark" in row:
            assert 0 <= row["mark"][0] <= row["mark"][1] <= len(row["text"])
    margins = [row["margin"] for row in suspects]
    assert margins == sorted(margins) and all(margin < 0 for margin in margins)
    assert report["calibration"]["answers"] > 0


def test_figures_of_classes_follow_from_the_answers(analyzed):
    _, examples, results, report = analyzed("seq_cls")
    rows = {row["label"]: row for row in report["classes"]}
    pairs = [(example["label"], result["label"]) for example, result in zip(examples, results)]
    for label in ("negative", "positive"):
        right = pairs.count((label, label))
        assert rows[label]["recall"] == pytest.approx(right / sum(given == label for given, _ in pairs))
        assert rows[label]["precision"] == pytest.approx(right / sum(found == label for _, found in pairs))
    accuracy = FAMILIES["seq_cls"].metric(examples, results)["accuracy"]
    assert rows["micro"]["f1"] == pytest.approx(accuracy)
    wrong = [pair for pair in pairs if pair[0] != pair[1]]
    assert sum(count for given, found, count in report["confusion"]["counts"] if given != found) == len(wrong)
    shown = {row["example"]: row for row in report["mistakes"]}
    assert len(shown) == min(len(wrong), SHOWN)
    assert all(row["label"] != row["predicted"] for row in shown.values())
    surest = max((result["confidence"] for (a, b), result in zip(pairs, results) if a != b), default=None)
    assert report["mistakes"][0]["confidence"] == pytest.approx(surest)


def test_figures_of_entities_follow_from_the_answers(analyzed):
    """Precision, recall and F1 of all are the metric's, and each entity is counted in one kind."""
    _, examples, results, report = analyzed("token_cls")
    metric = FAMILIES["token_cls"].metric(examples, results)
    micro = next(row for row in report["classes"] if row["label"] == "micro")
    for name in ("precision", "recall", "f1"):
        assert micro[name] == pytest.approx(metric[name])
    everything = report["kinds"][0]
    found = sum(len(result["entities"]) for result in results)
    assert sum(everything[kind] for kind in KINDS if kind != INVENTED) == micro["support"]
    assert sum(everything[kind] for kind in KINDS if kind != MISSED) == micro["found"] == found
    assert everything[RIGHT] == round(metric["recall"] * micro["support"])


def test_figures_of_reading_follow_from_the_answers(analyzed):
    _, examples, results, report = analyzed("qa")
    metric = FAMILIES["qa"].metric(examples, results)
    everything, *rows = report["questions"]
    assert everything["label"] == "all" and everything["support"] == EXAMPLES == sum(row["support"] for row in rows)
    assert (everything["exact_match"], everything["f1"]) == pytest.approx((metric["exact_match"], metric["f1"]))
    (kinds,) = report["kinds"]
    assert sum(kinds.values()) == EXAMPLES and kinds[RIGHT] == round(metric["exact_match"] * EXAMPLES)


PER, LOC = "PER", "LOC"


@pytest.mark.parametrize(
    ("wanted", "found", "kinds"),
    [
        ([(PER, 0, 1)], [(PER, 0, 1)], [RIGHT]),
        ([(PER, 0, 1)], [(LOC, 0, 1)], [TYPE]),
        ([(PER, 0, 1)], [(PER, 0, 2)], [BOUNDARY]),
        ([(PER, 0, 1)], [(LOC, 1, 2)], [BOTH]),
        ([(PER, 0, 1)], [(PER, 2, 3)], [MISSED, INVENTED]),
        ([], [(PER, 2, 3)], [INVENTED]),
        ([(PER, 2, 3)], [], [MISSED]),
        ([(PER, 0, 4)], [(PER, 0, 1), (PER, 3, 4)], [BOUNDARY, INVENTED]),
        ([(PER, 0, 1), (LOC, 2, 5)], [(LOC, 1, 5)], [MISSED, BOUNDARY]),
        ([(PER, 0, 3), (LOC, 4, 5)], [(LOC, 3, 5), (PER, 0, 2)], [BOUNDARY, BOUNDARY]),
        ([(PER, 0, 1), (LOC, 2, 3)], [(PER, 0, 1), (LOC, 2, 3)], [RIGHT, RIGHT]),
    ],
)
def test_kinds_of_errors_of_entities(wanted, found, kinds):
    pairs = match([Span(*each) for each in wanted], [Span(*each) for each in found])
    assert sorted(pair.kind for pair in pairs) == sorted(kinds)


@pytest.mark.parametrize(
    ("pos", "kind"),
    [([0, 9], LONG), ([4, 9], LONG), ([5, 5], SHORT), ([2, 4], SHIFTED), ([0, 1], ELSEWHERE), (None, ELSEWHERE)],
)
def test_kinds_of_errors_of_answers(pos, kind):
    """The answer is 一二三 at 4 to 6; another one stands nowhere."""
    example = {"answers": ["一二三", "无"], "answer_starts": [4, -1]}
    assert kind_of_error(example, pos) == kind
    assert kind_of_error({"answers": ["无"], "answer_starts": [-1]}, pos) == NOT_THERE


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("谁写了这本书？", "谁"),
        ("大桥有多长？", "多少"),
        ("为什么叫什么名字", "为什么"),
        ("哪年通车", "什么时候"),
        ("？", OTHER),
    ],
)
def test_what_a_question_asks_for(question, word):
    assert question_word(question) == word


def test_the_worst_of_any_number_are_kept():
    random = np.random.default_rng(0)
    keys, worst = random.integers(50, size=500).tolist(), Worst(20)
    for number, key in enumerate(keys):
        worst.add(key, number)
    assert worst.in_order() == sorted(range(500), key=lambda number: (-keys[number], number))[:20]
