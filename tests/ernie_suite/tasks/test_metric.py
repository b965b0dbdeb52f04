"""Metrics by sums over examples: of any part of a set, and of resamples of it, what they are of that list itself."""

from ernie_suite.tasks import FAMILIES

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.trainers import DATASETS, sample_examples

EXAMPLES = 30


def answer(task, example, other):
    """What a model might have said to an example: what is right for another one."""
    if task == "seq_cls":
        return {"label": other["label"]}
    if task == "qa":
        return {"answer": other["answers"][0]}
    if task == "multiple_choice":
        return {"choice": other["answers"][0]}
    spans = [(i, tag) for i, tag in enumerate(other["labels"][: len(example["tokens"])]) if tag.startswith("B-")]
    return {"entities": [{"label": tag[2:], "pos": [i, i]} for i, tag in spans]}


@pytest.mark.parametrize("task", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(
    wrong=st.lists(st.booleans(), min_size=EXAMPLES, max_size=EXAMPLES),
    drawn=st.lists(st.lists(st.integers(0, EXAMPLES - 1), min_size=1, max_size=EXAMPLES), min_size=1, max_size=4),
)
def test_resampled_sums_give_the_metric_of_the_resample(task, wrong, drawn):
    metric, examples = FAMILIES[task].metric, sample_examples(DATASETS[task], "dev")[:EXAMPLES]
    results = [answer(task, each, examples[(i + wrong[i]) % EXAMPLES]) for i, each in enumerate(examples)]
    outcomes = metric.outcomes(examples, results)
    assert metric(examples, results) == metric.of_outcomes(outcomes)
    totals = np.array([outcomes[numbers].sum(axis=0) for numbers in drawn])
    at_once = metric.figures(*totals.T)
    for number, numbers in enumerate(drawn):
        alone = metric([examples[i] for i in numbers], [results[i] for i in numbers])
        assert {name: values[number] for name, values in at_once.items()} == pytest.approx(alone)
        assert all(0 <= value <= 1 for value in alone.values())


@pytest.mark.parametrize("task", FAMILIES)
def test_pairs_one_after_another_give_the_metric_of_all(task, monkeypatch):
    monkeypatch.setattr("ernie_suite.tasks.metric.BLOCK", 7)
    metric, examples = FAMILIES[task].metric, sample_examples(DATASETS[task], "dev")[:EXAMPLES]
    results = [answer(task, each, examples[i // 2]) for i, each in enumerate(examples)]
    assert metric.of_pairs(zip(examples, results), iter(examples)) == pytest.approx(metric(examples, results))
