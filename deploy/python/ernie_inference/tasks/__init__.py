"""The task families, for inference: one class each, in a file of its own."""

from ernie_inference.tasks.base import Task
from ernie_inference.tasks.multi_label import MultiLabelClassification
from ernie_inference.tasks.multiple_choice import MultipleChoice
from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.tasks.token_cls import TokenClassification

TASKS = {task.name: task for task in (SequenceClassification, TokenClassification, QuestionAnswering, MultipleChoice)}
# The form of a task whose answers are by thresholds, which inference.json holds then.
WITH_THRESHOLDS = {task.name: task for task in (MultiLabelClassification,)}

__all__ = [
    "TASKS",
    "WITH_THRESHOLDS",
    "MultiLabelClassification",
    "MultipleChoice",
    "QuestionAnswering",
    "SequenceClassification",
    "Task",
    "TokenClassification",
]
