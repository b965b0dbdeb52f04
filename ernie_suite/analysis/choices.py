"""The analysis of multiple choice: right choices by what is asked for, and answers that the model contradicts."""

from collections import defaultdict
from functools import partial
from typing import Any, Dict, List, NamedTuple, Tuple

from ernie_suite.analysis.answers import question_word
from ernie_suite.analysis.base import SHOWN, Analysis, Report, Worst, place_of, shortened
from ernie_suite.analysis.calibration import AtTemperature
from ernie_suite.reading import Example

import numpy as np

from ernie_inference.answer_options import AnswerOptions
from ernie_inference.tasks.base import Window
from ernie_inference.tasks.multiple_choice import MultipleChoice

CLOZE = "填空"  # what is asked for by a blank
EVERY_CHOICE = AnswerOptions(top_k=MultipleChoice.most_answers)


class Mistake(NamedTuple):
    """A wrong choice: the example, which of its questions or blanks, both choices by number and their confidence."""

    example: int
    question: int
    found: int
    wanted: int
    confidence: float
    wanted_confidence: float

    @property
    def margin(self) -> float:
        return self.wanted_confidence - self.confidence


class ChoiceAnalysis(Analysis[MultipleChoice]):
    """Of questions, or blanks, with one right choice each. What it keeps does not grow with them.

    An answer is suspect where the model prefers another choice with at least the confidence that it has in right ones
    on the average: confident learning (suspects.py) with one class.
    """

    def __init__(self, family: Any, task: MultipleChoice):
        super().__init__(family, task)
        self._figures: Dict[str, np.ndarray] = defaultdict(lambda: np.zeros(4))  # right, sure, sure of right, asked
        self._mistakes: Worst[Mistake] = Worst(SHOWN)
        self._candidates: Worst[Mistake] = Worst(10 * SHOWN)

    def add(self, number: int, example: Example, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        result = self.task.decode(example, windows, outputs)
        every = self.task.decode(example, windows, outputs, EVERY_CHOICE)
        asked = example.get("question")
        kind = CLOZE if asked is None else question_word(asked)
        for place, (each, wanted) in enumerate(zip(parts_of(every), example["answers"])):
            sure = {score["choice"]: score["confidence"] for score in each["scores"]}
            is_right, confidence = each["choice"] == wanted, each["confidence"]
            self._figures[kind] += (is_right, confidence, sure[wanted], 1)
            at = partial(self._confidence_of, example, windows, outputs, place)
            self.calibration.add(self.key_of(example), is_right, confidence, at)
            if not is_right:
                mistake = Mistake(number, place, each["choice"], wanted, confidence, sure[wanted])
                self._mistakes.add(confidence, mistake)
                self._candidates.add(-mistake.margin, mistake)
        return result

    def report(self, examples: List[Example]) -> Report:
        everything = sum(self._figures.values(), np.zeros(4))
        threshold = everything[2] / max(everything[3], 1)
        rows = sorted(self._figures.items(), key=lambda item: item[1][0] / item[1][3])
        suspects = [each for each in self._candidates.in_order() if each.confidence >= threshold and each.margin < 0]
        return {
            "questions": [
                {
                    "label": word, "accuracy": float(sums[0] / sums[3]), "confidence": float(sums[1] / sums[3]),
                    "support": int(sums[3]), "is_mean": word == "all",
                }
                for word, sums in [("all", everything), *rows]
            ],
            "mistakes": [self._shown(each, examples) for each in self._mistakes.in_order()],
            "suspects": {
                "labels": [
                    {**self._shown(each, examples), "margin": each.margin} for each in suspects[:SHOWN]
                ]
            },
            "calibration": self.calibration.report(),
        }  # fmt: skip

    def _confidence_of(self, example: Example, windows: List[Window], outputs: List, place: int) -> AtTemperature:
        copies = [tuple(map(np.array, of_window)) for of_window in outputs]
        return lambda temperature: parts_of(self.task.at(temperature).decode(example, windows, copies))[place][
            "confidence"
        ]

    def _shown(self, each: Mistake, examples: List[Example]) -> Dict[str, Any]:
        example = examples[each.example]
        asked, context = example.get("question"), example["context"]
        text = context if isinstance(context, str) else "\n".join(context)
        return {
            **place_of(each.example, example),
            "question": asked if asked is not None else f"{CLOZE} {each.question + 1}",
            "text": shortened(text),
            "label": example["choices"][each.wanted],
            "predicted": example["choices"][each.found],
            "confidence": each.confidence,
            "label_confidence": each.wanted_confidence,
        }


def parts_of(answer: Dict) -> List[Dict]:
    """What is said of the question, or of each blank."""
    return answer.get("blanks", [answer])
