"""What the task families have in common, for training."""

from dataclasses import dataclass
from typing import IO, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Type, Union

from ernie_suite.analysis.base import Analysis
from ernie_suite.reading import Example
from ernie_suite.tasks.metric import Metric

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie_inference.answer_options import AnswerOptions
from ernie_inference.tasks.base import Encoded, Task

IGNORED_LABEL = -100  # a token that counts for nothing in the loss
# Predictions are lines in the order of the examples; lines with ids, for the reader to tell apart; a dict by id.
IDS = ("unused", "told apart", "unique")


class UnlabeledText:
    """How text without answers becomes examples, for a teacher to answer.

    Args:
        task: for the length of its windows.
        labelled: the training set, whose form the examples are to have.
    """

    def __init__(self, task: Task, labelled: List[Example]):
        self.task, self.labelled = task, labelled

    def examples(self, given: Union[str, Dict], place: str) -> Iterator[Example]:
        """The examples of a line of text or of a JSON object, usually one; without their answers.

        Raises:
            InputError: it has not the form of the task; the message begins with the place.
        """
        raise NotImplementedError

    def complete(self, example: Example) -> Example:
        """One of these examples with what takes time to make, for those alone that are used."""
        return example


def cross_entropy(outputs, labels, weights: Optional[np.ndarray] = None):
    """logits [batch, ..., classes] and labels [batch, ...]; IGNORED_LABEL counts for nothing.

    With weights [classes] the loss of each example is weighed by its class, and their sum divided by that of the
    weights.
    """
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    weight = None if weights is None else paddle.to_tensor(weights, dtype=logits.dtype)
    return F.cross_entropy(logits, labels, weight=weight, ignore_index=IGNORED_LABEL)


def soft_cross_entropy(logits, teacher_logits, mask):
    """Cross entropy of softmax(logits) with softmax(teacher_logits) over the last axis, in float32; of a single score,
    whose softmax is always 1, the squared difference.

    logits: [batch, labels], [batch, seq_len, labels], or a tuple of [batch, seq_len] for start and
    end; of [batch, seq_len, labels] only positions where mask [batch, seq_len] is true count.
    """
    if isinstance(logits, tuple):
        losses = [soft_cross_entropy(*pair, mask) for pair in zip(logits, teacher_logits)]
        return sum(losses) / len(losses)
    logits, teacher_logits = logits.astype("float32"), teacher_logits.detach().astype("float32")
    if logits.shape[-1] == 1:
        return F.mse_loss(logits, teacher_logits)
    losses = -(F.softmax(teacher_logits) * F.log_softmax(logits)).sum(axis=-1)
    if losses.ndim == 1:
        return losses.mean()
    return losses[mask].mean()


def symmetric_kl(outputs, labels):
    """How far two passes with different dropout are apart: (KL(P || Q) + KL(Q || P)) / 2, the mean over what has labels
    (R-Drop, Liang et al. 2021, section 2.1).

    PaddleNLP 2.8.1's RDropLoss is of kl_div, which in Paddle 2.6.2 has a gradient for one of the two passes alone.

    Args:
        outputs: logits [2 * batch, ..., classes], or several of them, one for each of the labels; the second pass
            stands after the first one.
        labels: [2 * batch, ...] each; what has IGNORED_LABEL does not count.
    """
    found = []
    for logits, label in zip(outputs if isinstance(outputs, tuple) else (outputs,), labels):
        first, second = F.log_softmax(logits.astype("float32"), axis=-1).chunk(2)
        apart = ((first.exp() - second.exp()) * (first - second)).sum(axis=-1) / 2
        counted = (label.chunk(2)[0] != IGNORED_LABEL).astype("float32")
        found.append((apart * counted).sum() / counted.sum().clip(min=1))
    return sum(found) / len(found)


@dataclass(frozen=True)
class TaskFamily:
    """All in which classification, tagging, reading and multiple choice differ, for training and evaluation.

    Attributes:
        task_class: the same for inference: text to model inputs, logits to answer.
        auto_model: PaddleNLP's class that loads such a model.
        config_section: of config.yml.
        default_dataset: what a script trains on that is told nothing else; None where it has to be told.

        answer_field: of an example of a data set; None stands there where a test split gives no answer.
        texts_of: example to the texts that it is about; examples that share one stand in the same half of a dev set.
        labels_of: example to the labels that its answer names, of which the model must know each.
        check_labels: raises ValueError for labels that are not of the task's kind.
        ids: what predictions need the examples' ids for; one of IDS.

        label_names: the features that are labels, in the order the criterion takes them.
        targets: (task, example, encoded) to what is to be learnt of an example, as numbers; kept for each example, or
            for each of its choices.
        features: (targets, part, offset) to those labels for one window, which holds the tokens of `part` of the text
            from input_ids[offset] on.
        remark: (targets, parts) to why an example teaches less than it should, for a line on the screen; or None.
        criterion: (outputs, labels) to the loss; with a third argument, weights, where class_weights are given.
        divergence: (outputs of two passes, labels) to how far these are apart, for R-Drop; None: it has no R-Drop.
        soft_criterion: (logits, teacher's logits, mask) to the loss of a student; see soft_cross_entropy.
        class_weights: (how many training examples have each label, how many there are) to weights for the criterion.
            The rare weigh more; None where the labels of a task cannot be weighed.
        compares_choices: whether the windows of a question are compared with one another. Then they are learnt in one
            batch, and one of label_names is "questions": for each window the number of its question.

        metric: (examples, results) to figures by name, each of which becomes a column on the screen.
        best_metric: the one that decides which state is best.
        fit: (task, examples, options to the answers to these) fits to the dev set what the task has beside the model's
            weights, such as thresholds; None where there is nothing.
        write_submission: writes (file, examples, results) as the test server asks for it.
        shown: (example, result) to what people compare: the text, what was found in it, what is right.
        classes_of: example to the classes that people count it under; None: labels_of.
        unlabeled: how text without answers becomes examples.
        analysis: what --analyze finds in the answers; None where there is nothing.
    """

    task_class: Type[Task]
    auto_model: Type
    config_section: str
    answer_field: str
    texts_of: Callable[[Example], Iterable[str]]
    labels_of: Callable[[Example], Iterable[str]]
    label_names: List[str]
    targets: Callable[[Task, Example, Encoded], Sequence[int]]
    features: Callable[[Sequence[int], range, int], Dict]
    criterion: Callable
    metric: Metric
    best_metric: str
    write_submission: Callable[[IO[str], List[Example], List[Dict]], None]
    shown: Callable[[Example, Dict], Tuple[str, str, str]]
    unlabeled: Type[UnlabeledText]
    divergence: Optional[Callable] = None
    default_dataset: Optional[str] = None
    check_labels: Callable[[List[str]], None] = lambda labels: None
    ids: str = "told apart"
    classes_of: Optional[Callable[[Example], Iterable[str]]] = None
    remark: Optional[Callable[[Sequence[int], Sequence[range]], Optional[str]]] = None
    compares_choices: bool = False
    soft_criterion: Callable = soft_cross_entropy
    class_weights: Optional[Callable[[np.ndarray, int], np.ndarray]] = None
    fit: Optional[Callable[[Task, List[Example], Callable[[AnswerOptions], Iterable[Dict]]], None]] = None
    analysis: Optional[Type[Analysis]] = None

    def __post_init__(self):
        if self.ids not in IDS:
            raise ValueError(f"ids is {self.ids!r}, not one of {', '.join(IDS)}")

    @property
    def name(self) -> str:
        """As in inference.json and in --task_name of deploy/python."""
        return self.task_class.name

    @property
    def head(self) -> str:
        """How the names of PaddleNLP's classes end that have the head of this task: ForSequenceClassification."""
        return self.auto_model.__name__[len("AutoModel") :]
