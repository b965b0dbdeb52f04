"""Examples as features: tokenized once, kept as flat arrays, padded batch by batch."""

from array import array
from bisect import bisect_right
from collections import Counter
from typing import Dict, Iterable, Iterator, List, Sequence, Tuple, Union

from ernie_suite.reading import Example
from ernie_suite.tasks.family import IGNORED_LABEL, TaskFamily

import numpy as np
import paddle

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.tasks.base import Computed, Encoded, Task, token_types


class Features(paddle.io.Dataset):
    """The windows of a list of examples as features, and the way back from the model's outputs to answers.

    Of a family that compares the windows of a question with one another, these are next to each other, and a labelled
    feature says under "questions" which question it is of.

    Examples are tokenized once, here. What is kept is flat arrays of token ids and targets, out of which a window's
    feature is cut when it is asked for: 2 bytes a token (4 with more than 65,536 tokens in the vocabulary), for tagging
    4 more, and about 60 bytes an example. Questions about one text, one after another, share its tokens.

    Args:
        family, task: the task family and its task object.
        examples: what data.load_examples returns.
        by_length: order the features by length, for batches without padding; answers come in the
            order of the examples all the same.
        labelled: whether features carry labels.

    Attributes:
        lengths: tokens of each feature, int32 [len(self)].
        remarks: how many examples teach less than they should, by the reason.
    """

    def __init__(self, family: TaskFamily, task: Task, examples: List[Example], by_length=False, labelled=True):
        self.family, self.task, self.examples, self.labelled = family, task, examples, labelled
        self.remarks: Dict[str, int] = Counter()
        self._ids = array("H" if task.tokenizer.size <= 1 << 16 else "i")
        self._targets = array("i")
        # Of each example, or of each of its choices: where its head and its text begin in _ids, and how long they are.
        self._heads, self._head_lengths = array("q"), array("i")
        self._texts, self._text_lengths = array("q"), array("i")
        # The targets and windows of choice i, and the windows of example i, are those from bounds[i] up to
        # bounds[i + 1].
        self._target_bounds, self._choice_bounds, self._window_bounds = (array("q", [0]) for _ in range(3))
        question_begins = array("q")  # the first window of each question, where a family has such
        lengths = array("i")
        tokens = None
        for example in examples:
            for encoded in task.encodings(example):
                parts = task.parts(len(encoded.head), len(encoded.tokens.ids))
                if family.compares_choices and encoded.choice == 0:
                    question_begins.append(len(lengths))
                lengths.extend([len(encoded.head) + len(part) + 1 for part in parts])
                self._choice_bounds.append(len(lengths))
                self._keep_ids(encoded, is_known=encoded.tokens is tokens)
                if labelled:
                    self._keep_targets(example, encoded, parts)
                tokens = encoded.tokens
            self._window_bounds.append(len(lengths))
        self.lengths = np.array(lengths, dtype=np.int32)
        # What is batched: windows, or the windows of whole questions.
        self.units: Union[Features, Questions] = self
        self._order = np.arange(len(self.lengths))
        if family.compares_choices:
            self.units = Questions(np.array(question_begins, dtype=np.int64), self.lengths)
            if by_length:
                self._order = self.units.sort()
        elif by_length:
            self._order = np.argsort(-self.lengths, kind="stable")
        self.lengths = self.lengths[self._order]

    def _keep_ids(self, encoded: Encoded, is_known: bool) -> None:
        self._texts.append(self._texts[-1] if is_known else len(self._ids))
        self._text_lengths.append(len(encoded.tokens.ids))
        if not is_known:
            self._ids.extend(encoded.tokens.ids)
        self._heads.append(len(self._ids))
        self._head_lengths.append(len(encoded.head))
        self._ids.extend(encoded.head)

    def _keep_targets(self, example: Example, encoded: Encoded, parts: List[range]) -> None:
        targets = self.family.targets(self.task, example, encoded)
        self._targets.extend(targets)
        self._target_bounds.append(len(self._targets))
        remark = self.family.remark(targets, parts) if self.family.remark else None
        if remark is not None:
            self.remarks[remark] += 1

    def print_remarks(self, split: str) -> None:
        """Say how many examples of the split teach less than they should, and why."""
        for remark, count in self.remarks.items():
            print(f"{count:,} of {len(self.examples):,} {split} examples {remark}")

    def __len__(self) -> int:
        return len(self.lengths)

    def indices_of_epoch(self, epoch: int) -> Sequence[int]:
        """The features that a training reads in an epoch, in no order; the same number in each."""
        return range(len(self))

    def features_of(self, indices: Sequence[int]) -> Sequence[int]:
        """The features that some units have; each is one by itself."""
        return indices

    def count_windows(self, examples: Iterable[int]) -> int:
        """How many of the features are windows of some examples, given by their numbers."""
        return sum(self._window_bounds[i + 1] - self._window_bounds[i] for i in examples)

    def __getitem__(self, index: int) -> Dict:
        number = int(self._order[index])
        i = bisect_right(self._choice_bounds, number) - 1
        head = self._ids[self._heads[i] : self._heads[i] + self._head_lengths[i]]
        part = self.task.parts(len(head), self._text_lengths[i])[number - self._choice_bounds[i]]
        text = self._ids[self._texts[i] + part.start : self._texts[i] + part.stop]
        feature: Dict = {
            "input_ids": [*head, *text, self.task.tokenizer.sep_id],
            "token_type_ids": token_types(len(head), len(part)),
        }
        if self.labelled:
            targets = self._targets[self._target_bounds[i] : self._target_bounds[i + 1]]
            feature.update(self.family.features(targets, part, len(head)))
            if isinstance(self.units, Questions):
                feature["questions"] = self.units.question_of(index)
        return feature

    def results(self, outputs: Tuple[np.ndarray, ...], options: AnswerOptions = PLAIN) -> List[Dict]:
        """One answer an example. outputs: one array [len(self), ...] for each output of the model, in feature order."""
        return list(self.iter_results(outputs, options))

    def iter_results(self, outputs: Tuple[np.ndarray, ...], options: AnswerOptions = PLAIN) -> Iterator[Dict]:
        """Like results, one after another."""
        return (self.task.decode(*computed, options) for computed in self.outputs_of_examples(outputs))

    def outputs_of_examples(self, outputs: Tuple[np.ndarray, ...]) -> Iterator[Computed]:
        """What Task.decode takes of each example, from the same outputs."""
        row_of = np.empty_like(self._order)
        row_of[self._order] = np.arange(len(self))
        for example, begin, end in zip(self.examples, self._window_bounds, self._window_bounds[1:]):
            of_windows = [tuple(output[row] for output in outputs) for row in row_of[begin:end]]
            yield example, self.task.windows(example), of_windows


class Questions:
    """The questions of features.Features, each a run of neighbouring features: what is batched of a family that
    compares the choices of a question.

    Args:
        begins: the first feature of each question, ascending; int64 [len(self)].
        of_features: tokens of each feature.

    Attributes:
        lengths: tokens of the longest feature of each question, int32 [len(self)].
    """

    def __init__(self, begins: np.ndarray, of_features: np.ndarray):
        self._bounds = np.append(begins, len(of_features))
        self.lengths = np.maximum.reduceat(of_features, begins) if len(begins) else of_features

    def sort(self) -> np.ndarray:
        """Put the longest questions first; returns the order that this is of the features."""
        order = np.argsort(-self.lengths, kind="stable")
        moved = [np.arange(self._bounds[i], self._bounds[i + 1]) for i in order]
        self.lengths = self.lengths[order]
        self._bounds = np.append(0, np.cumsum([len(features) for features in moved], dtype=np.int64))
        return np.concatenate(moved) if moved else np.arange(0)

    def __len__(self) -> int:
        return len(self.lengths)

    def indices_of_epoch(self, epoch: int) -> Sequence[int]:
        """See Features."""
        return range(len(self))

    def features_of(self, indices: Sequence[int]) -> Sequence[int]:
        """The features of some questions, one question after another."""
        return [feature for i in indices for feature in range(self._bounds[i], self._bounds[i + 1])]

    def question_of(self, feature: int) -> int:
        """The number of the question that a feature belongs to."""
        return bisect_right(self._bounds, feature) - 1


class Collator:
    """Pads features to the longest of a batch: input_ids with [PAD], labels of tokens with IGNORED_LABEL.

    The batch is of arrays, of which the data loader makes tensors: in its worker processes, which are forks, Paddle
    cannot make any.
    """

    def __init__(self, pad_id: int):
        self.fill = {"input_ids": pad_id, "token_type_ids": 0, "labels": IGNORED_LABEL}

    def __call__(self, features: List[Dict]) -> Dict[str, np.ndarray]:
        batch = {}
        for key in features[0]:
            rows = [feature[key] for feature in features]
            if isinstance(rows[0], list):
                length = max(map(len, rows))
                rows = [row + [self.fill[key]] * (length - len(row)) for row in rows]
            batch[key] = np.asarray(rows, dtype="int64")
        return batch
