"""What the scripts share, and what a program of your own imports to train or compress as they do.

It is put together from the package ernie_suite, whose own docstring says what is where. What answers with an exported
model is deploy/python/ernie_inference, and the service is deploy/serving/ernie_serving; theirs say the same of them.
README's section on the layout says where to add what.
"""

from ernie_suite.arguments import DataArguments, FinetuneArguments, ModelArguments
from ernie_suite.command_line import parse_arguments
from ernie_suite.compression.config import CompressConfig, DynabertConfig, PTQConfig
from ernie_suite.compression.flags import CompressionArguments
from ernie_suite.data import DATASETS, find_dataset, load_examples, load_labels
from ernie_suite.features import Collator, Features
from ernie_suite.scripts import build_trainer, compress, finetune
from ernie_suite.tasks import FAMILIES, MULTIPLE_CHOICE, QA, SEQ_CLS, TOKEN_CLS
from ernie_suite.trainer import FinetuneTrainer

__all__ = [
    "DATASETS",
    "FAMILIES",
    "MULTIPLE_CHOICE",
    "QA",
    "SEQ_CLS",
    "TOKEN_CLS",
    "Collator",
    "CompressConfig",
    "CompressionArguments",
    "DataArguments",
    "DynabertConfig",
    "Features",
    "FinetuneArguments",
    "FinetuneTrainer",
    "ModelArguments",
    "PTQConfig",
    "build_trainer",
    "compress",
    "find_dataset",
    "finetune",
    "load_examples",
    "load_labels",
    "parse_arguments",
]
