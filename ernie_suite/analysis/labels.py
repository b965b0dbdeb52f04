"""The analysis of classification."""

from array import array
from collections import Counter
from typing import Any, Dict, List, Tuple

from ernie_suite.analysis.base import SHOWN, Analysis, Report, place_of, shortened
from ernie_suite.analysis.calibration import AtTemperature
from ernie_suite.analysis.counts import class_rows, confused_pairs, confusion
from ernie_suite.analysis.suspects import NONE, Ranking, rank_labels
from ernie_suite.reading import Example

import numpy as np

from ernie_inference.answer_options import AnswerOptions
from ernie_inference.tasks.base import Task, Window

LIKELIEST = 5  # classes of each example that are looked at for suspect labels


class LabelAnalysis(Analysis[Task]):
    """Of examples with one label each; keeps 52 bytes an example."""

    def __init__(self, family: Any, task: Task):
        super().__init__(family, task)
        self._number = {label: number for number, label in enumerate(task.labels)}
        self._kept = min(LIKELIEST, len(task.labels))
        self._options = AnswerOptions(top_k=len(task.labels))
        self._examples, self._given, self._self_confidence = array("i"), array("i"), array("f")
        self._likeliest, self._probabilities = array("i"), array("f")

    def add(self, number: int, example: Example, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        result = self.task.decode(example, windows, outputs, self._options)
        scores = result.pop("scores")
        given = example["label"]
        self._examples.append(number)
        self._given.append(self._number[given])
        self._self_confidence.append(next(each["confidence"] for each in scores if each["label"] == given))
        self._likeliest.extend([self._number[each["label"]] for each in scores[: self._kept]])
        self._probabilities.extend([each["confidence"] for each in scores[: self._kept]])

        def at() -> AtTemperature:
            copies = [tuple(map(np.array, of_window)) for of_window in outputs]
            return lambda temperature: self.task.at(temperature).decode(example, windows, copies)["confidence"]

        self.calibration.add(self.key_of(example), result["label"] == given, result["confidence"], at)
        return result

    def ranking(self) -> Ranking:
        """All labels by how suspect they are; its numbers count the examples as they were added."""
        given, self_confidence, likeliest, probabilities = self._arrays()
        return rank_labels(given, self_confidence, likeliest, probabilities, len(self.task.labels))

    def report(self, examples: List[Example]) -> Report:
        labels = self.task.labels
        given, _, likeliest, _ = self._arrays()
        found = likeliest[:, 0]
        matrix = confusion(labels, Counter(zip(given.tolist(), found.tolist())))
        right, wanted, answered = (
            np.bincount(some, minlength=len(labels)) for some in (given[given == found], given, found)
        )
        ranking = self.ranking()
        return {
            "classes": class_rows(labels, right, answered, wanted),
            "confusion": matrix,
            "confused": confused_pairs(matrix),
            "mistakes": self._mistakes(examples),
            "suspects": {
                "estimated": ranking.suspects,
                "share": ranking.suspects / max(len(given), 1),
                "labels": self._suspects(examples, ranking),
            },
            "calibration": self.calibration.report(),
        }

    def _arrays(self) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Labels, their probabilities, and the likeliest classes [examples, some] with theirs."""
        likeliest = np.frombuffer(self._likeliest, dtype=np.int32).reshape(-1, self._kept)
        probabilities = np.frombuffer(self._probabilities, dtype=np.float32).reshape(-1, self._kept)
        self_confidence = np.frombuffer(self._self_confidence, dtype=np.float32)
        return np.frombuffer(self._given, dtype=np.int32), self_confidence, likeliest, probabilities

    def _mistakes(self, examples: List[Example]) -> List[Dict[str, Any]]:
        """The wrong answers that the model is surest of."""
        given, self_confidence, likeliest, probabilities = self._arrays()
        wrong = np.flatnonzero(given != likeliest[:, 0])
        worst = wrong[np.argsort(-probabilities[wrong, 0], kind="stable")][:SHOWN]
        return [
            {
                **self._shown(row, examples),
                "predicted": self.task.labels[likeliest[row, 0]],
                "confidence": float(probabilities[row, 0]),
                "label_confidence": float(self_confidence[row]),
            }
            for row in worst.tolist()
        ]

    def _suspects(self, examples: List[Example], ranking: Ranking) -> List[Dict[str, Any]]:
        _, self_confidence, likeliest, probabilities = self._arrays()
        shown = [row for row in ranking.order[:SHOWN].tolist() if ranking.suggested[row] != NONE]
        return [
            {
                **self._shown(row, examples),
                "suggested": self.task.labels[ranking.suggested[row]],
                "confidence": float(probabilities[row][likeliest[row] == ranking.suggested[row]][0]),
                "label_confidence": float(self_confidence[row]),
                "margin": float(ranking.margins[row]),
            }
            for row in shown
        ]

    def _shown(self, row: int, examples: List[Example]) -> Dict[str, Any]:
        """The example that was the row-th to be added."""
        number = self._examples[row]
        example = examples[number]
        text, _, label = self.family.shown(example, {"label": None})
        return {**place_of(number, example), "text": shortened(text), "label": label}
