"""What the task families have in common, for training."""

from dataclasses import dataclass
from typing import IO, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Type, Union

from ernie_suite.reading import Example
from ernie_suite.tasks.metric import Metric

import paddle

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


def cross_entropy(outputs, labels):
    """logits [batch, ..., classes] and labels [batch, ...]; IGNORED_LABEL counts for nothing."""
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    return paddle.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED_LABEL)


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
        first, second = paddle.nn.functional.log_softmax(logits.astype("float32"), axis=-1).chunk(2)
        apart = ((first.exp() - second.exp()) * (first - second)).sum(axis=-1) / 2
        counted = (label.chunk(2)[0] != IGNORED_LABEL).astype("float32")
        found.append((apart * counted).sum() / counted.sum().clip(min=1))
    return sum(found) / len(found)


@dataclass(frozen=True)
class TaskFamily:
    """All in which classification, tagging and reading differ, for training and evaluation.

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
        targets: (task, example, encoded) to what is to be learnt of an example, as numbers; kept for each example.
        features: (targets, part, offset) to those labels for one window, which holds the tokens of `part` of the text
            from input_ids[offset] on.
        remark: (targets, parts) to why an example teaches less than it should, for a line on the screen; or None.
        criterion: (outputs, labels) to the loss.
        divergence: (outputs of two passes, labels) to how far these are apart, for R-Drop; None: it has no R-Drop.

        metric: (examples, results) to figures by name, each of which becomes a column on the screen.
        best_metric: the one that decides which state is best.
        write_submission: writes (file, examples, results) as the test server asks for it.
        shown: (example, result) to what people compare: the text, what was found in it, what is right.
        unlabeled: how text without answers becomes examples.
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
    remark: Optional[Callable[[Sequence[int], Sequence[range]], Optional[str]]] = None

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
