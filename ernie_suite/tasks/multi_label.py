"""Classification where a text has several labels, or none: what differs from seq_cls.py, of which it is a form."""

import sys
from dataclasses import replace
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from ernie_suite.analysis.label_sets import LabelSetAnalysis
from ernie_suite.reading import Example, Reader, SplitFile, id_field, json_lines
from ernie_suite.tasks.class_weights import balanced
from ernie_suite.tasks.family import IGNORED_LABEL
from ernie_suite.tasks.metric import Metric, micro_f1
from ernie_suite.tasks.seq_cls import SEQ_CLS, label_text, one_or_two_texts, sentence, sentence_pair

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie_inference.answer_options import AnswerOptions
from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Encoded, Task
from ernie_inference.tasks.multi_label import EVEN, MultiLabelClassification
from ernie_inference.text_output import to_json

# ---------------------------------------------------------------- its files


def multi_label_reader() -> Reader:
    """A reader of JSON lines with "labels", a list, and "sentence", or "sentence1" and "sentence2"."""

    def read(file: SplitFile) -> Iterator[Example]:
        known: Dict[Tuple[str, ...], Tuple[str, ...]] = {}  # the same few sets over and over: each is kept once
        for number, (place, item) in enumerate(json_lines(file.path)):
            text, text_pair = (sentence if "sentence1" not in item else sentence_pair)(item, place)
            labels = labels_field(item, file, place)
            labels = labels if labels is None else known.setdefault(labels, labels)
            yield {"id": id_field(item, number, place), "text": text, "text_pair": text_pair, "labels": labels}

    return read


def labels_field(item: Dict, file: SplitFile, place: str) -> Optional[Tuple[str, ...]]:
    """The labels, none of them for an empty list; None where a test split does not give them.

    Raises:
        InputError: they are no list of different ones of the known labels, or missing where they are needed.
    """
    values = item.get("labels")
    if values is None:
        file.check_may_lack("labels (a list, empty for a text without a label)", place)
        return None
    if not isinstance(values, list):
        raise InputError(f'{place}: labels is not a list: give one, as ["a", "b"], or [] for a text without a label')
    labels = []
    for value in values:
        label = sys.intern(label_text(value))
        if label not in file.known_labels:
            raise InputError(f"{place}: label {label!r} is not one of {file.shown_labels()}: add it to labels.txt")
        if label in labels:
            raise InputError(f"{place}: label {label!r} is there twice: give it once")
        labels.append(label)
    return tuple(labels)


def write_labels_lines(file: IO[str], examples: List[Example], results: List[Dict]) -> None:
    """JSON lines of id and labels."""
    for example, result in zip(examples, results):
        file.write(to_json({"id": example["id"], "labels": names_of(result)}).decode("utf-8") + "\n")


def names_of(result: Dict) -> List[str]:
    return [each["label"] for each in result["labels"]]


# ---------------------------------------------------------------- what is learnt


def multi_label_targets(task: Task, example: Example, encoded: Encoded) -> Sequence[int]:
    return [task.labels.index(label) for label in example["labels"]]


def multi_label_features(targets: Sequence[int], part: range, offset: int) -> Dict:
    """The numbers of the labels, at least one number, to be filled up with IGNORED_LABEL in a batch."""
    return {"labels": list(targets) or [IGNORED_LABEL]}


def multi_hot(labels: paddle.Tensor, count: int) -> paddle.Tensor:
    """float32 [batch, count], 1 for each label of a text, from the numbers of labels [batch, most] with IGNORED_LABEL
    where a text has fewer than others."""
    is_label = (labels != IGNORED_LABEL).astype("float32").unsqueeze(-1)
    return (F.one_hot(labels.clip(min=0), count) * is_label).sum(axis=1)


def binary_cross_entropy(outputs, labels, weights: Optional[np.ndarray] = None):
    """The mean over texts and labels of the cross entropy of sigmoid(logits) [batch, labels], in float32.

    With weights [2, labels] each label of a text that has not got it is weighed by the first, of one that has by the
    second.
    """
    logits = (outputs[0] if isinstance(outputs, tuple) else outputs).astype("float32")
    targets = multi_hot(labels, logits.shape[-1])
    if weights is None:
        return F.binary_cross_entropy_with_logits(logits, targets)
    absent, present = (paddle.to_tensor(row, dtype="float32") for row in weights)
    return F.binary_cross_entropy_with_logits(logits, targets, weight=absent * (1 - targets) + present * targets)


def soft_binary_cross_entropy(logits, teacher_logits, mask):
    """Cross entropy of sigmoid(logits) with sigmoid(teacher_logits) [batch, labels], in float32: the mean over texts of
    the sum over labels, for a text's labels are independent answers."""
    logits, taught = logits.astype("float32"), F.sigmoid(teacher_logits.detach().astype("float32"))
    return F.binary_cross_entropy_with_logits(logits, taught, reduction="none").sum(axis=-1).mean()


def symmetric_binary_kl(outputs, labels):
    """symmetric_kl of two passes' sigmoid(logits) [2 * batch, labels], the mean over texts and labels, in float32."""
    logits = (outputs[0] if isinstance(outputs, tuple) else outputs).astype("float32")
    first, second = logits.chunk(2)
    return ((F.sigmoid(first) - F.sigmoid(second)) * (first - second)).mean() / 2


def weights_by_label(counts: np.ndarray, examples: int) -> np.ndarray:
    """[2, labels]: of each label balanced weights of the examples that have it not and of those that have it."""
    return balanced(np.stack([examples - counts, counts]))


# ---------------------------------------------------------------- thresholds

FEWEST_TEXTS = 5  # of a label in the dev set that a threshold is fitted for: of fewer it would be chance
EVERY_LABEL = AnswerOptions(threshold=0.0)


def fit_thresholds(task: Task, examples: List[Example], answers: Callable[[AnswerOptions], Iterable[Dict]]) -> None:
    """Give the task for each label the threshold with the highest F1 of that label on the examples (SCut, Yang 2001).

    A label that fewer than FEWEST_TEXTS of them have keeps an even one.
    """
    rows = (np.array([each["confidence"] for each in answer["labels"]]) for answer in answers(EVERY_LABEL))
    probabilities = np.stack(list(rows))
    thresholds = []
    for number, label in enumerate(task.labels):
        wanted = np.array([label in example["labels"] for example in examples])
        is_fitted = wanted.sum() >= FEWEST_TEXTS
        thresholds.append(best_threshold(wanted, probabilities[:, number]) if is_fitted else EVEN)
    task.thresholds = thresholds


def best_threshold(wanted: np.ndarray, probabilities: np.ndarray) -> float:
    """Of the thresholds between neighbouring probabilities the one with the highest F1, of equals the one next to EVEN.

    Args:
        wanted: whether each text has the label, bool [texts]; at least one has.
        probabilities: that the model gives it, [texts].
    """
    order = np.argsort(-probabilities, kind="stable")
    probabilities = probabilities[order]
    right = np.cumsum(wanted[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + right[-1])  # where so many of the likeliest are given the label
    following = np.append(probabilities[1:], 0.0)
    f1[probabilities == following] = -1.0  # no threshold parts texts of the same probability
    thresholds = (probabilities + following) / 2
    best = np.flatnonzero(f1 == f1.max())
    return float(thresholds[best[np.abs(thresholds[best] - EVEN).argmin()]])


# ---------------------------------------------------------------- how good it is


def labels_of_all(examples: Iterable[Example]) -> List[str]:
    return sorted({label for example in examples for label in example["labels"]})


def counted_labels(example: Example, result: Dict, labels: List[str]) -> Tuple[int, ...]:
    """Of each label whether it is right, found and wanted; and how many are found that none of the examples has."""
    found, wanted = set(names_of(result)), set(example["labels"])
    counts = [count for label in labels for count in (label in found & wanted, label in found, label in wanted)]
    return (*counts, len(found.difference(labels)))


def micro_macro_f1(*counts: Any) -> Dict[str, Any]:
    """F1, precision and recall of all labels together, and the mean of F1 over the labels that the examples have.

    counts: right, found and wanted of each label, and found of others.
    """
    right, found, wanted = (np.array(counts[kind:-1:3], dtype=np.float64) for kind in range(3))
    together = micro_f1(right.sum(axis=0), found.sum(axis=0) + counts[-1], wanted.sum(axis=0))
    of_labels = micro_f1(right, found, wanted)["f1"]
    macro = of_labels.sum(axis=0, where=wanted > 0) / np.maximum((wanted > 0).sum(axis=0), 1)
    return {"micro_f1": together.pop("f1"), "macro_f1": macro, **together}


def shown_labels(example: Example, result: Dict) -> Tuple[str, str, str]:
    found, wanted = (", ".join(sorted(names)) for names in (names_of(result), example["labels"]))
    return one_or_two_texts(example), found, wanted


MULTI_LABEL = replace(
    SEQ_CLS,
    task_class=MultiLabelClassification,
    answer_field="labels",
    labels_of=lambda example: example["labels"],
    targets=multi_label_targets,
    features=multi_label_features,
    criterion=binary_cross_entropy,
    divergence=symmetric_binary_kl,
    soft_criterion=soft_binary_cross_entropy,
    class_weights=weights_by_label,
    fit=fit_thresholds,
    metric=Metric(counted_labels, micro_macro_f1, columns=labels_of_all),
    best_metric="micro_f1",
    write_submission=write_labels_lines,
    shown=shown_labels,
    analysis=LabelSetAnalysis,
)
