"""The analysis of reading: answers by the kind of question and of error."""

from collections import Counter, defaultdict
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ernie_suite.analysis.base import SHOWN, Analysis, Report, Worst, place_of
from ernie_suite.reading import Example

import numpy as np

from ernie_inference.tasks.base import Window
from ernie_inference.tasks.qa import QuestionAnswering, ScoredSpan

RIGHT, LONG, SHORT, SHIFTED, ELSEWHERE, NOT_THERE = (
    "right", "too long", "too short", "shifted", "elsewhere", "not in the text"
)  # fmt: skip
KINDS = (RIGHT, LONG, SHORT, SHIFTED, ELSEWHERE, NOT_THERE)
# What a question asks for, by the first of these words that stands in it.
QUESTION_WORDS = (
    ("为什么", "为何", "原因"),
    ("多少", "几", "多大", "多长", "多高", "多远"),
    ("什么时候", "何时", "哪一年", "哪年", "时间"),
    ("哪里", "哪儿", "何处", "何地", "地方", "哪个国家", "哪个城市"),
    ("谁", "何人", "哪位"),
    ("怎么", "怎样", "如何"),
    ("哪",),
    ("什么", "何"),
)
OTHER = "其他"
CONTEXT = 60  # characters shown before and after an answer


class Mistake(NamedTuple):
    """A wrong answer: the example, its kind, the answer with its characters [first, last], and the scores of this and
    of the reference answer."""

    example: int
    kind: str
    answer: str
    pos: Optional[List[int]]
    score: float
    reference_score: float


class AnswerAnalysis(Analysis[QuestionAnswering]):
    """Of questions with reference answers. What it keeps does not grow with the questions.

    A reference is suspect where the model gives another answer with at least the score that it gives references on the
    average: confident learning (suspects.py) with one class.
    """

    def __init__(self, family: Any, task: QuestionAnswering):
        super().__init__(family, task)
        self._kinds: Counter = Counter()
        self._figures: Dict[str, np.ndarray] = defaultdict(lambda: np.zeros(4))  # exact matches, F1, scores, questions
        self._reference_scores = np.zeros(2)  # their sum, and how many there are
        self._mistakes: Worst[Mistake] = Worst(SHOWN)
        self._candidates: Worst[Mistake] = Worst(10 * SHOWN)

    def add(self, number: int, example: Example, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        result = self.task.decode(example, windows, outputs)
        exact, f1, _ = self.family.metric.outcome(example, result)
        score = result["score"]
        kind = RIGHT if exact else kind_of_error(example, result["pos"])
        self._kinds[kind] += 1
        self._figures[question_word(example["question"])] += (exact, f1, score, 1)
        spans = self.task.best_spans(windows, outputs, 1)
        if not spans:  # no text to read
            return result
        self.calibration.add(self.key_of(example), bool(exact), score, lambda: spans[0].score)
        reference = self._reference_score(example, spans[0])
        if reference is not None:
            self._reference_scores += (reference, 1)
        if not exact:
            mistake = Mistake(number, kind, result["answer"], result["pos"], score, reference or 0.0)
            self._mistakes.add(score, mistake)
            if reference is not None:
                self._candidates.add(score - reference, mistake)
        return result

    def report(self, examples: List[Example]) -> Report:
        total, questions = self._reference_scores
        threshold = total / max(questions, 1)
        suspects = [each for each in self._candidates.in_order() if each.score >= threshold > each.reference_score]
        return {
            "questions": self._question_rows(),
            "kinds": [{kind: self._kinds[kind] for kind in KINDS}],
            "mistakes": [self._shown(each, examples) for each in self._mistakes.in_order()],
            "suspects": {
                "labels": [
                    {**self._shown(each, examples), "margin": each.reference_score - each.score}
                    for each in suspects[:SHOWN]
                ]
            },
            "calibration": self.calibration.report(),
        }

    def _reference_score(self, example: Example, best: ScoredSpan) -> Optional[float]:
        """The score of the reference answer; None where it has no tokens in the text."""
        targets = self.family.targets(self.task, example, self.task.encode(example))
        if not targets:
            return None
        first, last = (float(logits[token]) for logits, token in zip(best.among, targets))
        return best._replace(chosen=(first, last)).score(self.task.temperature)

    def _question_rows(self) -> List[Dict[str, Any]]:
        """Exact match and F1 of all questions, then by what is asked for, the lowest F1 first."""
        rows = sorted(self._figures.items(), key=lambda item: item[1][1] / item[1][3])
        everything = ("all", sum(self._figures.values(), np.zeros(4)))
        return [
            {
                "label": word, "exact_match": float(sums[0] / sums[3]), "f1": float(sums[1] / sums[3]),
                "confidence": float(sums[2] / sums[3]), "support": int(sums[3]), "is_mean": word == "all",
            }
            for word, sums in [everything, *rows]
        ]  # fmt: skip

    def _shown(self, each: Mistake, examples: List[Example]) -> Dict[str, Any]:
        example = examples[each.example]
        context = example["context"]
        first, last = each.pos or (0, -1)
        begin = max(0, first - CONTEXT)
        return {
            **place_of(each.example, example),
            "kind": each.kind,
            "question": example["question"],
            "text": context[begin : last + 1 + CONTEXT],
            "mark": [first - begin, last + 1 - begin],
            "label": " / ".join(dict.fromkeys(example["answers"])),
            "predicted": each.answer,
            "confidence": each.score,
            "label_confidence": each.reference_score,
        }


def question_word(question: str) -> str:
    """What the question asks for: the first word of the group of QUESTION_WORDS."""
    return next((words[0] for words in QUESTION_WORDS if any(word in question for word in words)), OTHER)


def kind_of_error(example: Example, pos: Optional[Sequence[int]]) -> str:
    """How a wrong answer lies to that of the references which it shares the most characters with."""
    places = [
        (start, start + len(text))
        for text, start in zip(example["answers"], example["answer_starts"])
        if start is not None and start >= 0
    ]
    if not places:
        return NOT_THERE
    if pos is None:
        return ELSEWHERE
    begin, end = pos[0], pos[1] + 1
    first, last = max(places, key=lambda place: min(end, place[1]) - max(begin, place[0]))
    if min(end, last) <= max(begin, first):
        return ELSEWHERE
    if begin <= first and last <= end:
        return LONG
    return SHORT if first <= begin and end <= last else SHIFTED
