"""The analysis of tagging: entities by type, the kinds of errors, and labels that the model contradicts."""

from collections import Counter
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ernie_suite.analysis.base import SHOWN, Analysis, Report, Worst, place_of
from ernie_suite.analysis.calibration import AtTemperature
from ernie_suite.analysis.counts import class_rows, confused_pairs, confusion
from ernie_suite.reading import Example

import numpy as np

from ernie_inference.answer_options import AnswerOptions
from ernie_inference.tasks.base import Window, softmax
from ernie_inference.tasks.token_cls import TokenClassification, bio_spans, join_tokens, text_and_positions

RIGHT, TYPE, BOUNDARY, BOTH, MISSED, INVENTED = "right", "type", "boundary", "type and boundary", "missed", "invented"
KINDS = (RIGHT, TYPE, BOUNDARY, BOTH, MISSED, INVENTED)
NO_ENTITY = "-"  # in the confusion matrix: what a missed entity is taken for, and what an invented one is
CANDIDATES = 10 * SHOWN  # for suspect labels; which of them are suspect is known only at the end
CONTEXT = 40  # tokens shown before and after an entity
EVERY = AnswerOptions(threshold=0.0)  # entities with their confidence


class Span(NamedTuple):
    """An entity: its type and the tokens [first, last]."""

    label: str
    first: int
    last: int

    def overlap(self, other: "Span") -> int:
        return min(self.last, other.last) - max(self.first, other.first) + 1


class Pair(NamedTuple):
    """An entity of the labels and what was found for it; either may be missing."""

    wanted: Optional[Span]
    found: Optional[Span]

    @property
    def kind(self) -> str:
        if self.wanted is None or self.found is None:
            return INVENTED if self.wanted is None else MISSED
        same_place = self.wanted[1:] == self.found[1:]
        if self.wanted.label == self.found.label:
            return RIGHT if same_place else BOUNDARY
        return TYPE if same_place else BOTH

    @property
    def tokens(self) -> range:
        spans = [span for span in self if span is not None]
        return range(min(span.first for span in spans), max(span.last for span in spans) + 1)


def match(wanted: Sequence[Span], found: Sequence[Span]) -> List[Pair]:
    """Each entity in one pair: first those in the same place, then those with the largest overlap, then those alone."""
    candidates = [
        (a[1:] != b[1:], -a.overlap(b), i, j)
        for i, a in enumerate(wanted)
        for j, b in enumerate(found)
        if a.overlap(b) > 0
    ]
    of_wanted: Dict[int, int] = {}
    for _, _, i, j in sorted(candidates):
        if i not in of_wanted and j not in of_wanted.values():
            of_wanted[i] = j
    pairs = [Pair(span, found[of_wanted[i]] if i in of_wanted else None) for i, span in enumerate(wanted)]
    return pairs + [Pair(None, span) for j, span in enumerate(found) if j not in of_wanted.values()]


class Disagreement(NamedTuple):
    """Where labels and model differ: the example, what each says, and how sure the model is.

    Attributes:
        confidence: the least certain of the model's tags there.
        given, likeliest: at the token whose label is the least probable, that label and the likeliest one, as numbers.
        given_probability, probability: theirs.
    """

    example: int
    pair: Pair
    confidence: float
    given: int
    likeliest: int
    given_probability: float
    probability: float

    @property
    def margin(self) -> float:
        return self.given_probability - self.probability


class EntityAnalysis(Analysis[TokenClassification]):
    """Of lists of tokens with a tag each. What it keeps does not grow with the examples.

    Suspect labels are found by confident learning on tokens (suspects.py); an entity is as suspect as the token in it
    whose label is the least probable (Wang and Mueller 2022, "Detecting Label Errors in Token Classification Data").
    """

    def __init__(self, family: Any, task: TokenClassification):
        super().__init__(family, task)
        self._number = {label: number for number, label in enumerate(task.labels)}
        self._kinds: Counter = Counter()  # (kind, type) to how many
        self._taken: Counter = Counter()  # (type, found type) to how many
        self._label_sums, self._label_counts = np.zeros(len(task.labels)), np.zeros(len(task.labels), dtype=np.int64)
        self._mistakes: Worst[Disagreement] = Worst(SHOWN)
        self._candidates: Worst[Disagreement] = Worst(CANDIDATES)

    def add(self, number: int, example: Example, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        entities = self.task.decode(example, windows, outputs, EVERY)["entities"]
        found = [Span(entity["label"], *entity["pos"]) for entity in entities]
        wanted = [Span(label, i, j - 1) for label, i, j in bio_spans(_numbered(example["labels"]))]
        logits, model_token = self._read_tokens(example, windows, outputs)
        probabilities = softmax(logits / self.task.temperature)
        given = self._given_tags(example["labels"], wanted)
        self._count_labels(given, probabilities, model_token)
        for entity, span in zip(entities, found):
            rows = logits[[model_token[i] for i in range(span.first, span.last + 1) if i in model_token]]
            self.calibration.add(
                self.key_of(example), span in wanted, entity["confidence"], partial(least_certain, rows)
            )
        for pair in match(wanted, found):
            kind_of = pair.wanted or pair.found
            self._kinds[pair.kind, kind_of.label if kind_of else ""] += 1
            self._taken[tuple(span.label if span else NO_ENTITY for span in pair)] += 1
            tokens = [i for i in pair.tokens if i in model_token]
            if pair.kind != RIGHT and tokens:
                self._note(number, pair, given[tokens], probabilities[[model_token[i] for i in tokens]])
        return {"entities": [{name: entity[name] for name in ("entity", "label", "pos")} for entity in entities]}

    def report(self, examples: List[Example]) -> Report:
        types = sorted({label for pair in self._taken for label in pair} - {NO_ENTITY})
        names = [*types, NO_ENTITY]
        place = {label: i for i, label in enumerate(names)}
        matrix = confusion(names, {(place[a], place[b]): count for (a, b), count in self._taken.items()})
        right = np.array([self._kinds[RIGHT, label] for label in types], dtype=np.int64)
        wanted, found = (np.array([self._of_type(label, side) for label in types], dtype=np.int64) for side in (0, 1))
        suspects = self._suspects()
        return {
            "classes": class_rows(types, right, found, wanted),
            "kinds": self._kind_rows(types),
            "confusion": matrix,
            "confused": confused_pairs(matrix),
            "mistakes": [self._shown(each, examples) for each in self._mistakes.in_order()],
            "suspects": {"labels": [{**self._shown(each, examples), "margin": each.margin} for each in suspects]},
            "calibration": self.calibration.report(),
        }

    def _read_tokens(self, example, windows, outputs) -> Tuple[np.ndarray, Dict[int, int]]:
        """The logits of the model's tokens, and which of them each token of the list is read from; those that the
        tokenizer drops have none."""
        _, to_input = text_and_positions(example)
        logits, spans = self.task.logits_of_tokens(windows, outputs)
        model_token: Dict[int, int] = {}
        for token, (start, _) in enumerate(spans):
            model_token.setdefault(to_input(start), token)
        return logits, model_token

    def _given_tags(self, tags: Sequence[str], wanted: Sequence[Span]) -> np.ndarray:
        """The number of each token's tag as the model learns it: an entity begins with B-, where there is one."""
        given = [self._number[tag] for tag in tags]
        for span in wanted:
            given[span.first] = self._number.get(f"B-{span.label}", given[span.first])
        return np.array(given, dtype=np.int64)

    def _count_labels(self, given: np.ndarray, probabilities: np.ndarray, model_token: Dict[int, int]) -> None:
        tokens, rows = list(model_token), list(model_token.values())
        np.add.at(self._label_sums, given[tokens], probabilities[rows, given[tokens]])
        np.add.at(self._label_counts, given[tokens], 1)

    def _note(self, number: int, pair: Pair, given: np.ndarray, probabilities: np.ndarray) -> None:
        """Keep a disagreement, if it is among the worst.

        Args:
            given: the tags of its tokens [tokens].
            probabilities: of all tags there [tokens, num_labels].
        """
        of_given = probabilities[np.arange(len(given)), given]
        token, best = int(of_given.argmin()), probabilities.argmax(axis=1)
        found = Disagreement(
            number, pair, float(probabilities.max(axis=1).min()), int(given[token]), int(best[token]),
            float(of_given[token]), float(probabilities[token].max()),
        )  # fmt: skip
        self._mistakes.add(found.confidence, found)
        self._candidates.add(-found.margin, found)

    def _suspects(self) -> List[Disagreement]:
        """The disagreements in which the model's tag has at least the mean probability of that tag."""
        thresholds = np.where(
            self._label_counts > 0, self._label_sums / np.maximum(self._label_counts, 1), np.inf
        )  # as suspects.class_thresholds
        return [
            each
            for each in self._candidates.in_order()
            if each.likeliest != each.given and each.probability >= thresholds[each.likeliest]
        ][:SHOWN]

    def _of_type(self, label: str, side: int) -> int:
        return sum(count for pair, count in self._taken.items() if pair[side] == label)

    def _kind_rows(self, types: Sequence[str]) -> List[Dict[str, Any]]:
        """How many of each type, and of all, are right or wrong in each way; invented ones by what they were taken
        for."""
        rows = [{"label": label, **{kind: self._kinds[kind, label] for kind in KINDS}} for label in types]
        totals = {kind: sum(self._kinds[kind, label] for label in types) for kind in KINDS}
        return [{"label": "all", **totals, "is_mean": True}, *rows]

    def _shown(self, each: Disagreement, examples: List[Example]) -> Dict[str, Any]:
        tokens, inside = examples[each.example]["tokens"], each.pair.tokens
        begin, end = max(0, inside.start - CONTEXT), min(len(tokens), inside.stop + CONTEXT)
        text, starts = join_tokens(tokens[begin:end])
        first, last = inside.start - begin, inside.stop - 1 - begin
        names = [
            f"{join_tokens(tokens[span.first : span.last + 1])[0]} {span.label}" if span else NO_ENTITY
            for span in each.pair
        ]
        return {
            **place_of(each.example, examples[each.example]),
            "kind": each.pair.kind,
            "text": text,
            "mark": [starts[first], starts[last] + len(tokens[begin + last])],
            "label": names[0],
            "predicted": names[1],
            "confidence": each.confidence,
            "label_confidence": each.given_probability,
        }


def least_certain(rows: np.ndarray) -> AtTemperature:
    """The confidence of an entity, from the logits of its tokens [tokens, num_labels], at any temperature."""
    copy = np.array(rows)
    return lambda temperature: float(softmax(copy / temperature).max(axis=-1).min())


def _numbered(tags: Sequence[str]) -> List[Tuple[str, int, int]]:
    return [(tag, i, i + 1) for i, tag in enumerate(tags)]
