"""The analysis of classification where a text has several labels, or none."""

from collections import Counter
from typing import Any, Dict, List, NamedTuple, Tuple

from ernie_suite.analysis.base import SHOWN, Analysis, Report, Worst, place_of, shortened
from ernie_suite.analysis.calibration import Calibration
from ernie_suite.analysis.counts import CONFUSED_PAIRS, class_rows
from ernie_suite.reading import Example

import numpy as np

from ernie_inference.answer_options import AnswerOptions
from ernie_inference.tasks.base import Window
from ernie_inference.tasks.multi_label import MultiLabelClassification

RIGHT, MISSED, INVENTED, BOTH = "right", "missed", "invented", "missed and invented"
CANDIDATES = 10 * SHOWN  # for suspect labels; which of them are suspect is known only at the end
EVERY_LABEL = AnswerOptions(threshold=0.0)
FITTED = "a text has the labels whose confidence reaches their thresholds, which were fitted to what it is now"


class Decision(NamedTuple):
    """A label that a text has or not, and the model sees otherwise: the example, the label's number, whether the
    example has it, and the probability that the model gives it."""

    example: int
    label: int
    is_given: bool
    probability: float

    @property
    def self_confidence(self) -> float:
        """The probability of what the example says."""
        return self.probability if self.is_given else 1 - self.probability


class LabelSetAnalysis(Analysis[MultiLabelClassification]):
    """Of texts with a set of labels each. What it keeps does not grow with the texts.

    Suspect labels are found by confident learning (suspects.py) for each label by itself, of the two classes of texts
    that have it and that have it not (Thyagarajan et al. 2022, "Identifying Incorrect Annotations in Multi-Label
    Classification Data").
    """

    def __init__(self, family: Any, task: MultiLabelClassification):
        super().__init__(family, task)
        self.calibration = Calibration(task.temperature, why_not_scaled=FITTED)
        labels = len(task.labels)
        self._right, self._found, self._given = (np.zeros(labels, dtype=np.int64) for _ in range(3))
        self._texts = 0
        self._sums = np.zeros((2, labels))  # of the self-confidences of texts that have not, and that have a label
        self._kinds: Counter = Counter()
        self._taken: Counter = Counter()  # (missed label, invented one of the same text) to how often
        self._mistakes: Worst[Decision] = Worst(SHOWN)
        self._candidates: Worst[Decision] = Worst(CANDIDATES)

    def add(self, number: int, example: Example, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        result = self.task.decode(example, windows, outputs)
        every = self.task.decode(example, windows, outputs, EVERY_LABEL)["labels"]
        probabilities = np.array([each["confidence"] for each in every])
        names = {each["label"] for each in result["labels"]}
        found = np.array([label in names for label in self.task.labels])
        given = np.array([label in example["labels"] for label in self.task.labels])
        self._right += found & given
        self._found += found
        self._given += given
        self._texts += 1
        self._sums[0] += np.where(given, 0, 1 - probabilities)
        self._sums[1] += np.where(given, probabilities, 0)
        missed, invented = np.flatnonzero(given & ~found).tolist(), np.flatnonzero(found & ~given).tolist()
        self._kinds[kind_of(bool(missed), bool(invented))] += 1
        self._taken.update((a, b) for a in missed for b in invented)
        for label in np.flatnonzero(found).tolist():
            self.calibration.add(self.key_of(example), bool(given[label]), float(probabilities[label]))
        for label in range(len(self.task.labels)):
            decision = Decision(number, label, bool(given[label]), float(probabilities[label]))
            if given[label] != found[label]:
                self._mistakes.add(1 - decision.self_confidence, decision)
            if decision.self_confidence < 0.5:
                self._candidates.add(-decision.self_confidence, decision)
        return result

    def report(self, examples: List[Example]) -> Report:
        return {
            "classes": class_rows(self.task.labels, self._right, self._found, self._given),
            "kinds": [{kind: self._kinds[kind] for kind in (RIGHT, MISSED, INVENTED, BOTH)}],
            "confused": [
                {
                    "label": self.task.labels[missed],
                    "predicted": self.task.labels[invented],
                    "count": count,
                    "share": count / int(self._given[missed]),
                }
                for (missed, invented), count in self._taken.most_common(CONFUSED_PAIRS)
            ],
            "mistakes": [self._shown(each, examples) for each in self._mistakes.in_order()],
            "suspects": {
                "labels": [
                    {**self._shown(each, examples), "margin": 2 * each.self_confidence - 1}
                    for each in self._suspects()[:SHOWN]
                ]
            },
            "calibration": self.calibration.report(),
        }

    def _suspects(self) -> List[Decision]:
        """Those that the model contradicts with at least the mean probability of what it says instead."""
        counts = np.stack([self._texts - self._given, self._given])
        thresholds = np.where(counts > 0, self._sums / np.maximum(counts, 1), np.inf)
        return [
            each
            for each in self._candidates.in_order()
            if 1 - each.self_confidence >= thresholds[int(not each.is_given), each.label]
        ]

    def _shown(self, each: Decision, examples: List[Example]) -> Dict[str, Any]:
        example, label = examples[each.example], self.task.labels[each.label]
        text, _, labels = self.family.shown(example, {"labels": []})
        return {
            **place_of(each.example, example),
            "kind": MISSED if each.is_given else INVENTED,
            "text": shortened(text),
            "label": labels or "-",
            "predicted": f"- {label}" if each.is_given else f"+ {label}",
            "confidence": 1 - each.self_confidence,
            "label_confidence": each.self_confidence,
        }


def kind_of(misses: bool, invents: bool) -> str:
    """What is wrong with the labels of a text."""
    if misses and invents:
        return BOTH
    return MISSED if misses else INVENTED if invents else RIGHT
