"""The task families, for training and evaluation: one object each, in a file of its own.

A family may have a form for some of its data sets, which they name: MULTI_LABEL of multi_label.py is one of SEQ_CLS.
Another family is a file here and one in ernie_inference/tasks, with a place in both lists; then its data sets in
data.py and config.yml, and its scripts: run_*.py, compress_*.py, and those of deploy/serving.
"""

from ernie_suite.tasks.family import TaskFamily
from ernie_suite.tasks.multiple_choice import MULTIPLE_CHOICE
from ernie_suite.tasks.qa import QA
from ernie_suite.tasks.seq_cls import SEQ_CLS
from ernie_suite.tasks.token_cls import TOKEN_CLS

FAMILIES = {family.name: family for family in (SEQ_CLS, TOKEN_CLS, QA, MULTIPLE_CHOICE)}

__all__ = ["FAMILIES", "MULTIPLE_CHOICE", "QA", "SEQ_CLS", "TOKEN_CLS", "TaskFamily"]
