"""Confidence against being right: reliability, expected calibration error, and the temperature that mends it."""

import math
import random
import zlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

BINS = 15  # as Guo et al. 2017 have them
SAMPLE = 1000  # answers that a temperature is fitted on, and as many that it is shown on
FEWEST = 50  # answers in each of the two, for a temperature to be fitted
RANGE = (0.05, 20.0)  # of temperatures
TINY = 1e-12

AtTemperature = Callable[[float], float]  # temperature to the confidence of an answer


class Answer(NamedTuple):
    """An answer of a model: whether it is right, and how sure it is at any temperature."""

    right: bool
    confidence: AtTemperature


class Reliability:
    """How often answers of each confidence are right, in bins of equal width."""

    def __init__(self) -> None:
        self.answers, self.right, self.confidence = np.zeros(BINS, dtype=np.int64), np.zeros(BINS), np.zeros(BINS)

    def add(self, right: bool, confidence: float) -> None:
        number = min(int(confidence * BINS), BINS - 1)
        self.answers[number] += 1
        self.right[number] += right
        self.confidence[number] += confidence

    def expected_error(self) -> float:
        """The mean gap between confidence and share of right answers, weighted by how many answers a bin has (ECE,
        Naeini et al. 2015)."""
        return float(np.abs(self.right - self.confidence).sum() / max(self.answers.sum(), 1))

    def bins(self) -> List[Dict[str, float]]:
        """The bins that hold answers."""
        return [
            {
                "from": number / BINS,
                "to": (number + 1) / BINS,
                "answers": int(self.answers[number]),
                "confidence": float(self.confidence[number] / self.answers[number]),
                "right": float(self.right[number] / self.answers[number]),
            }
            for number in np.flatnonzero(self.answers)
        ]


class Calibration:
    """The reliability of all answers, and a temperature: fitted on one half of them, shown on the other.

    Answers about one text are in one half. Of each half a sample of at most SAMPLE answers is kept, drawn evenly from
    all (reservoir sampling), so that memory does not grow with them.

    Args:
        in_use: the temperature that the confidences were made with.
        why_not_scaled: why no temperature is to be fitted; nothing, where one is.
    """

    def __init__(self, in_use: float = 1.0, why_not_scaled: str = ""):
        self.in_use, self.why_not_scaled, self.reliability = in_use, why_not_scaled, Reliability()
        self._halves: Tuple[List[Answer], List[Answer]] = ([], [])
        self._seen = [0, 0]
        self._random = random.Random(0)

    def add(self, text: str, right: bool, confidence: float, at: Optional[Callable[[], AtTemperature]] = None) -> None:
        """Count an answer.

        Args:
            text: that the answer is about.
            at: makes what gives its confidence at any temperature; called only for answers of the sample. None where
                no temperature is to be fitted.
        """
        self.reliability.add(right, confidence)
        if at is None:
            return
        half = half_of(text)
        self._seen[half] += 1
        sample = self._halves[half]
        place = len(sample) if len(sample) < SAMPLE else self._random.randrange(self._seen[half])
        if place < SAMPLE:
            sample[place : place + 1] = [Answer(bool(right), at())]

    def report(self) -> Dict[str, Any]:
        sums = self.reliability
        count = max(int(sums.answers.sum()), 1)
        return {
            "answers": int(sums.answers.sum()),
            "right": float(sums.right.sum() / count),
            "confidence": float(sums.confidence.sum() / count),
            "expected_calibration_error": sums.expected_error(),
            "bins": sums.bins(),
            "temperature_in_use": self.in_use,
            "scaling": self._scaling(),
        }

    def _scaling(self) -> Dict[str, Any]:
        fit, shown = self._halves
        if self.why_not_scaled:
            return {"temperature": None, "reason": self.why_not_scaled}
        if min(map(len, self._halves)) < FEWEST:
            return {"temperature": None, "reason": f"fewer than {FEWEST} answers in one of the halves"}
        if len({answer.right for answer in fit}) == 1:
            return {
                "temperature": None,
                "reason": f"all answers are {'right' if fit[0].right else 'wrong'} in one half",
            }
        temperature = round(fit_temperature(fit), 4)
        return {
            "temperature": temperature,
            "fitted_on": len(fit),
            "shown_on": len(shown),
            "before": quality(shown, 1.0),
            "after": quality(shown, temperature),
        }


def half_of(text: str) -> int:
    """0 or 1, always the same for a text, whatever its white space."""
    return zlib.crc32("".join(text.split()).encode("utf-8", "backslashreplace")) & 1


def fit_temperature(answers: Sequence[Answer]) -> float:
    """The temperature with the least log loss of being right (temperature scaling, Guo et al. 2017, section 4.2).

    They take the negative log likelihood of the label, which for two classes is the same. What is made better here is
    the confidence that users see, also where it is that of several choices together, as of an entity's tags.
    """
    from scipy.optimize import minimize_scalar  # here, as it takes half a second

    low, high = map(math.log, RANGE)
    found = minimize_scalar(
        lambda log: log_loss(answers, math.exp(log)), bounds=(low, high), method="bounded", options={"xatol": 1e-3}
    )
    return math.exp(float(found.x))


def log_loss(answers: Sequence[Answer], temperature: float) -> float:
    confidences = np.clip([answer.confidence(temperature) for answer in answers], TINY, 1 - TINY)
    right = np.array([answer.right for answer in answers])
    return float(-np.log(np.where(right, confidences, 1 - confidences)).mean())


def quality(answers: Sequence[Answer], temperature: float) -> Dict[str, float]:
    reliability = Reliability()
    for answer in answers:
        reliability.add(answer.right, answer.confidence(temperature))
    return {
        "expected_calibration_error": reliability.expected_error(),
        "log_loss": log_loss(answers, temperature),
    }
