"""Counts of a data set: classes, lengths, texts that stand there twice, characters that the vocabulary lacks.

Examples are read one by one. Of each a few numbers are kept (some 40 bytes), and no text.
"""

import json
from array import array
from collections import Counter
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from ernie_suite.data import DatasetSpec, load_labels, stream_examples
from ernie_suite.reading import Example
from ernie_suite.same_texts import Digests, digest, repeat_digest, tie_digest
from ernie_suite.tasks.family import TaskFamily

import numpy as np
from tqdm import tqdm

from ernie_inference.bulk import QUIET_SECONDS
from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Task
from ernie_inference.wordpiece import WordPiece

SPLITS = ("train", "dev", "test")
PERCENTILES = (50, 90, 95, 99, 100)
LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 320, 384, 512)  # of which one is suggested
MOST_LONGER = 0.01  # share of the texts that the suggested length may be too short for
WITHOUT_LIMIT = 1 << 20  # tokens, as max_seq_length: no text is longer
MOST_SHOWN = 20  # examples of a kind that are shown
SPECIAL_TOKENS = 2  # [CLS] and [SEP], where lengths are in characters


class SplitCounts:
    """What is counted of one split.

    Attributes:
        examples, answered: how many there are, and how many of them have an answer.
        labels: how often the answers name each of the data set's labels.
        classes: how often each class is there, as people count them: for tagging, the entities.
        lengths: tokens (characters, without a vocabulary) of the model input of each example, were it not cut.
        asked, exact: digests of what is asked, without and with case, punctuation and white space.
        answers: digests of the answers, 0 for none.
        texts: digests of all texts that examples are about.
        characters: how often each stands there.
    """

    def __init__(self, family: TaskFamily, task: Optional[Task]):
        self._family, self._task = family, task
        self.examples = self.answered = 0
        self.labels: Counter = Counter()
        self.classes: Counter = Counter()
        self.lengths = array("I")
        self.asked, self.exact, self.answers, self.texts = Digests(), Digests(), Digests(), Digests()
        self.characters: Counter = Counter()
        self.longest: Tuple[int, Example] = (-1, {})

    def add(self, example: Example) -> None:
        self.examples += 1
        answer = example[self._family.answer_field]
        if answer is not None:
            self.answered += 1
            self.labels.update(self._family.labels_of(example))
            self.classes.update((self._family.classes_of or self._family.labels_of)(example))
        texts = list(self._family.texts_of(example))
        asked = asked_of(self._family, example)
        self.asked.extend([repeat_digest(asked)])
        self.exact.extend([digest(asked)])
        self.answers.extend([0 if answer is None else digest(json.dumps(answer))])
        self.texts.extend(map(tie_digest, texts))
        for text in texts:
            self.characters.update(text)
        length = self.length_of(example, asked)
        self.lengths.append(length)
        if length > self.longest[0]:
            self.longest = (length, example)

    def length_of(self, example: Example, asked: str) -> int:
        if self._task is None:
            return len(asked) + SPECIAL_TOKENS
        return max(len(window.input_ids) for window in self._task.windows(example))

    def share_longer(self, length: int) -> float:
        """The share of examples whose model input is longer."""
        lengths = np.array(self.lengths)
        return float((lengths > length).mean()) if len(lengths) else 0.0

    def percentiles(self) -> Dict[int, int]:
        return {percent: int(np.ceil(np.percentile(np.array(self.lengths), percent))) for percent in PERCENTILES}


def asked_of(family: TaskFamily, example: Example) -> str:
    """All that an example asks about, as one text."""
    given = family.task_class.input_of(example).values()
    return "\n".join("".join(value) if isinstance(value, (list, tuple)) else value for value in given if value)


@dataclass
class Description:
    """What is known of a data set.

    Attributes:
        spec, labels: the data set, and its classes.
        unit: what lengths count, tokens or characters.
        splits: those that are there.
        duplicates: of each split, examples that stand before in it.
        shared: (split, later split) to the examples of the later one that stand in the other too, and to the texts of
            examples that do, one of a pair say.
        contradictions: examples that stand before, in any split, with another answer.
        unknown: characters that the vocabulary lacks, and how often each stands there; None without a vocabulary.
        suggested: a max_seq_length that is enough for all but MOST_LONGER of the texts; the largest of LENGTHS where
            none is.
        is_cut: whether the rest of a longer text is not read; else it goes into several windows.
        shown: a few examples of what is wrong.
    """

    spec: DatasetSpec
    labels: List[str]
    unit: str
    splits: Dict[str, SplitCounts]
    duplicates: Dict[str, int]
    shared: Dict[Tuple[str, str], Tuple[int, int]]
    contradictions: int
    unknown: Optional[Dict[str, int]]
    suggested: int
    is_cut: bool
    shown: Dict[str, List[Dict[str, Any]]]

    @property
    def unseen(self) -> List[str]:
        """The labels that no answer in train names."""
        if "train" not in self.splits:
            return []
        return [label for label in self.labels if label not in self.splits["train"].labels]


def describe(spec: DatasetSpec, data_dir: Optional[str], wordpiece: Optional[WordPiece]) -> Description:
    """Count a data set.

    Args:
        data_dir: the folder of its files; None for its own. Splits that are not there are left out.
        wordpiece: of the model that is to be trained; without one, lengths are characters.

    Raises:
        InputError: there is no split, or a file of one cannot be used.
    """
    labels = load_labels(spec, data_dir)
    task = None if wordpiece is None else spec.family.task_class(wordpiece, labels, WITHOUT_LIMIT)
    splits = {}
    for name in SPLITS:
        counts = SplitCounts(spec.family, task)
        for example in read_split(spec, name, data_dir):
            counts.add(example)
        if counts.examples:
            splits[name] = counts
    if not splits:
        raise InputError(f"{data_dir} has none of {', '.join(f'{name}{spec.suffix}' for name in SPLITS)} with examples")
    again = {name: stand_before(counts.asked.numpy()) for name, counts in splits.items()}
    elsewhere = {
        (first, second): np.isin(splits[second].asked.numpy(), splits[first].asked.numpy())
        for first, second in combinations(splits, 2)
    }
    otherwise = answered_otherwise(splits)
    suggested = suggest_length((splits.get("train") or next(iter(splits.values()))).lengths)
    return Description(
        spec,
        labels,
        "characters" if wordpiece is None else "tokens",
        splits,
        {name: int(marked.sum()) for name, marked in again.items()},
        {pair: (int(marked.sum()), _shared_texts(splits, *pair)) for pair, marked in elsewhere.items()},
        sum(int(marked.sum()) for marked in otherwise.values()),
        None if wordpiece is None else unknown_characters(splits.values(), wordpiece),
        suggested,
        _is_cut(spec, labels, wordpiece, splits.values(), suggested),
        _shown(spec, data_dir, again, elsewhere, otherwise),
    )


def read_split(spec: DatasetSpec, name: str, data_dir: Optional[str]) -> Iterator[Example]:
    """data.stream_examples, with a progress bar."""
    return iter(tqdm(stream_examples(spec, name, data_dir), desc=name, unit=" texts", delay=QUIET_SECONDS, leave=False))


def stand_before(digests: np.ndarray) -> np.ndarray:
    """Of each of these numbers whether it is there before, bool [numbers]."""
    again = np.ones(len(digests), dtype=bool)
    again[np.unique(digests, return_index=True)[1]] = False
    return again


def answered_otherwise(splits: Dict[str, SplitCounts]) -> Dict[str, np.ndarray]:
    """Of each example whether the same stands before with another answer, in its split or an earlier one."""
    exact = np.concatenate([counts.exact.numpy() for counts in splits.values()])
    answers = np.concatenate([counts.answers.numpy() for counts in splits.values()])
    answered = np.flatnonzero(answers)
    _, first, numbers = np.unique(exact[answered], return_index=True, return_inverse=True)
    otherwise = np.zeros(len(exact), dtype=bool)
    otherwise[answered] = answers[answered] != answers[answered][first[numbers]]
    ends = np.cumsum([counts.examples for counts in splits.values()])[:-1]
    return dict(zip(splits, np.split(otherwise, ends)))


def _shared_texts(splits: Dict[str, SplitCounts], first: str, second: str) -> int:
    return len(np.intersect1d(splits[first].texts.numpy(), splits[second].texts.numpy()))


def unknown_characters(splits: Iterable[SplitCounts], wordpiece: WordPiece) -> Dict[str, int]:
    """The characters that become [UNK], the most frequent first."""
    characters: Counter = Counter()
    for counts in splits:
        characters.update(counts.characters)
    return {char: count for char, count in characters.most_common() if wordpiece.unk_id in wordpiece.encode(char).ids}


def suggest_length(lengths: Sequence[int]) -> int:
    """The least of LENGTHS that is enough for all but MOST_LONGER of the lengths; else the largest."""
    values = np.array(lengths)
    return next((length for length in LENGTHS if (values > length).mean() <= MOST_LONGER), LENGTHS[-1])


def _is_cut(
    spec: DatasetSpec,
    labels: List[str],
    wordpiece: Optional[WordPiece],
    splits: Iterable[SplitCounts],
    length: int,
) -> bool:
    """Whether the family reads only the beginning of a text that is longer than `length`: by the longest one."""
    if wordpiece is None:
        return False
    _, example = max((counts.longest for counts in splits), key=lambda longest: longest[0])
    return any(window.truncated for window in spec.family.task_class(wordpiece, labels, length).windows(example))


def _shown(
    spec: DatasetSpec,
    data_dir: Optional[str],
    again: Dict[str, np.ndarray],
    elsewhere: Dict[Tuple[str, str], np.ndarray],
    otherwise: Dict[str, np.ndarray],
) -> Dict[str, List[Dict[str, Any]]]:
    """At most MOST_SHOWN examples of each kind, in a second reading, of which the first has told which they are."""
    kinds = [("duplicates", name, marked) for name, marked in again.items()]
    kinds += [(f"{second} in {first}", second, marked) for (first, second), marked in elsewhere.items()]
    kinds += [("contradictions", name, marked) for name, marked in otherwise.items()]
    wanted: Dict[str, Dict[int, List[str]]] = {}
    found: Dict[str, List[Dict[str, Any]]] = {}
    for kind, name, marked in kinds:
        for number in np.flatnonzero(marked)[:MOST_SHOWN]:
            wanted.setdefault(name, {}).setdefault(int(number), []).append(kind)
    for name, numbers in wanted.items():
        for number, example in enumerate(islice(read_split(spec, name, data_dir), max(numbers) + 1)):
            for kind in numbers.get(number, ()):
                answer = example[spec.family.answer_field]
                shown = {"split": name, "example": number + 1, "text": asked_of(spec.family, example), "answer": answer}
                found.setdefault(kind, []).append(shown)
    return {kind: examples[:MOST_SHOWN] for kind, examples in found.items()}
