"""The task families, for inference: one class each, in a file of its own."""

from ernie_inference.tasks.base import Task
from ernie_inference.tasks.multiple_choice import MultipleChoice
from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.tasks.token_cls import TokenClassification

TASKS = {task.name: task for task in (SequenceClassification, TokenClassification, QuestionAnswering, MultipleChoice)}

__all__ = ["TASKS", "MultipleChoice", "QuestionAnswering", "SequenceClassification", "Task", "TokenClassification"]
