"""Confidence against being right, and the temperature that mends it."""

from ernie_suite.analysis.calibration import (
    BINS,
    FEWEST,
    SAMPLE,
    Calibration,
    Reliability,
    half_of,
    log_loss,
)

import numpy as np
import pytest

from ernie_inference.tasks.base import softmax


def overconfident(answers: int, factor: float, seed: int = 0) -> Calibration:
    """Answers that are right as often as softmax(logits) says, with logits that are `factor` times as large."""
    random, calibration = np.random.default_rng(seed), Calibration()
    for number in range(answers):
        logits = random.normal(size=3) * 1.5
        label = random.choice(3, p=softmax(logits))
        given, chosen = logits * factor, logits.argmax()

        def at(given=given, chosen=chosen):
            return lambda temperature: float(softmax(given / temperature)[chosen])

        calibration.add(f"text {number}", chosen == label, at()(1.0), at)
    return calibration


@pytest.mark.parametrize("factor", [3.0, 0.5])
def test_the_temperature_is_found_and_mends_the_other_half(factor):
    report = overconfident(6000, factor).report()
    scaling = report["scaling"]
    assert scaling["temperature"] == pytest.approx(factor, rel=0.15)
    assert scaling["after"]["expected_calibration_error"] < 0.05 < scaling["before"]["expected_calibration_error"]
    assert scaling["after"]["log_loss"] < scaling["before"]["log_loss"]
    assert (scaling["fitted_on"], scaling["shown_on"]) == (SAMPLE, SAMPLE)
    assert report["expected_calibration_error"] == pytest.approx(
        scaling["before"]["expected_calibration_error"], abs=0.05
    )


def test_the_error_is_that_of_the_definition():
    random, sums = np.random.default_rng(1), Reliability()
    confidences, right = random.random(500), random.random(500) < 0.6
    confidences[0] = 1.0
    for pair in zip(right, confidences):
        sums.add(*pair)
    wanted = 0.0
    for number in range(BINS):
        inside = [i for i in range(500) if min(int(confidences[i] * BINS), BINS - 1) == number]
        if inside:
            wanted += len(inside) / 500 * abs(right[inside].mean() - confidences[inside].mean())
    assert sums.expected_error() == pytest.approx(wanted)
    assert sum(each["answers"] for each in sums.bins()) == 500


def test_the_temperature_has_the_least_loss_of_all():
    calibration = overconfident(2000, 2.0)
    fit = calibration._halves[0]
    found = calibration.report()["scaling"]["temperature"]
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 60))
    assert log_loss(fit, found) <= min(log_loss(fit, temperature) for temperature in grid) + 1e-6


def test_a_text_is_in_one_half_and_the_halves_are_alike():
    halves = [half_of(f"文本 {number}") for number in range(1000)]
    assert 400 < sum(halves) < 600 and halves == [half_of(f"文本{number}\n") for number in range(1000)]
    assert half_of("\ud83d") in (0, 1)


def test_the_sample_is_drawn_evenly_from_all_answers():
    calibration, count = Calibration(), 20 * SAMPLE
    for number in range(count):
        calibration.add("one text", True, 0.5, lambda number=number: lambda temperature: number)
    sample = [answer.confidence(1.0) for answer in calibration._halves[half_of("one text")]]
    assert len(sample) == SAMPLE and np.histogram(sample, bins=4, range=(0, count))[0].min() > 0.2 * SAMPLE


def test_without_enough_answers_there_is_no_temperature():
    few = overconfident(FEWEST, 2.0).report()["scaling"]
    assert few == {"temperature": None, "reason": f"fewer than {FEWEST} answers in one of the halves"}
    sure = Calibration()
    for number in range(200):
        sure.add(f"text {number}", True, 0.9, lambda: lambda temperature: 0.9)
    assert sure.report()["scaling"] == {"temperature": None, "reason": "all answers are right in one half"}
