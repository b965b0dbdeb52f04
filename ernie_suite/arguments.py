"""The flags that the scripts have beside those of compression, and what can be wrong with their values.

A new flag of FinetuneArguments decides the result of a run, so that runs begun without it are not gone on with, unless
runs.HARMLESS_ARGUMENTS names it; one of DataArguments does only if runs.deciding_settings names it.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from ernie_suite.data import DATASETS
from ernie_suite.tasks.class_weights import BALANCED

import paddle
from paddlenlp.trainer import TrainingArguments

from ernie_inference.answer_options import LONG_TEXTS
from ernie_inference.engines.availability import cuda_problem
from ernie_inference.errors import InputError

CONFIG_FILE = Path(__file__).resolve().parents[1] / "config.yml"
DEFAULT_MODEL = "ernie-3.0-medium-zh"
MODELS_FOLDER = "best_models"  # where a model goes that is told no --output_dir, under its data set's name


@dataclass
class DataArguments:
    task_name: Optional[str] = field(default=None, metadata={"help": f"data set: {', '.join(DATASETS)}"})
    dataset: Optional[str] = field(default=None, metadata={"help": 'the same, also as "clue tnews"'})
    data_dir: Optional[str] = field(
        default=None, metadata={"help": "folder of your own train, dev and test files in the data set's format"}
    )
    max_seq_length: int = field(default=128, metadata={"help": "most tokens of one model input, [CLS] and [SEP] too"})
    doc_stride: int = field(default=32, metadata={"help": "tokens that neighbouring windows of a long text share"})
    long_texts: Optional[str] = field(
        default=None,
        metadata={
            "help": "classification of what is longer than one window: cut it, or answer all its windows and take the "
            "mean of their probabilities, or the largest; default: cut",
            "choices": list(LONG_TEXTS),
        },
    )
    max_train_samples: Optional[int] = field(default=None, metadata={"help": "use only so many training examples"})
    max_eval_samples: Optional[int] = field(default=None, metadata={"help": "use only so many dev examples"})
    config: str = field(default=str(CONFIG_FILE), metadata={"help": "hyper-parameters per data set"})

    def __post_init__(self):
        check_at_least(self, 1, "max_seq_length", "max_train_samples", "max_eval_samples")
        check_at_least(self, 0, "doc_stride")


@dataclass
class ModelArguments:
    model_name_or_path: str = field(
        default=DEFAULT_MODEL, metadata={"help": "a published model's name, or the folder of a model"}
    )


@dataclass
class FinetuneArguments(TrainingArguments):
    """PaddleNLP's TrainingArguments with the defaults of these scripts."""

    output_dir: Optional[str] = field(
        default=None, metadata={"help": f"folder of the model; {MODELS_FOLDER}/<DATA SET>"}
    )
    device: Optional[str] = field(default=None, metadata={"help": "cpu or gpu; gpu where there is one"})
    eval_steps: Optional[int] = field(
        default=None,
        metadata={"help": "evaluate, and keep the best state, every so many steps; 4 times an epoch, 40 a run at most"},
    )
    save_total_limit: Optional[int] = field(default=1, metadata={"help": "states to go on from that are kept"})
    early_stopping_patience: Optional[int] = field(
        default=None, metadata={"help": "stop after so many evaluations without a better metric"}
    )
    token_dropout: float = field(
        default=0.0, metadata={"help": "share of a training text's tokens that become [MASK], anew at every step"}
    )
    class_weights: Optional[str] = field(
        default=None,
        metadata={"help": f"{BALANCED}: in classification the labels of few training examples weigh more in the loss"},
    )
    rdrop_alpha: Optional[float] = field(
        default=None, metadata={"help": "R-Drop: weight of how far two passes with different dropout are apart"}
    )
    fgm_epsilon: Optional[float] = field(
        default=None, metadata={"help": "FGM: train on word embeddings that are worse by so much, too"}
    )
    num_folds: Optional[int] = field(
        default=None, metadata={"help": "train so many models, each without a part of the training set, and average"}
    )
    logging_steps: int = field(default=10, metadata={"help": "show the loss every so many steps"})
    report_to: Optional[List[str]] = field(default_factory=list, metadata={"help": "e.g. visualdl"})
    skip_profile_timer: Optional[bool] = field(default=True, metadata={"help": "no per-step timers"})

    def __post_init__(self) -> None:
        if not (self.do_train or self.do_eval or self.do_predict or self.do_export):
            for name in ("do_train", "do_eval", "do_export"):
                setattr(self, name, True)
        self._check_numbers()
        self.wants_eval = self.do_eval
        self.device = choose_device(self.device, self.no_cuda)
        check_precision(self)
        self.evaluation_strategy = "steps"
        eval_steps = self.eval_steps
        super().__post_init__()  # would take logging_steps for eval_steps
        self.eval_steps = eval_steps

    def _check_numbers(self) -> None:
        """Raises InputError where a number cannot be meant."""
        check_at_least(self, 1, "per_device_train_batch_size", "per_device_eval_batch_size", "eval_accumulation_steps")
        check_at_least(self, 1, "gradient_accumulation_steps", "eval_steps", "logging_steps", "save_total_limit")
        check_at_least(self, 1, "early_stopping_patience")
        check_at_least(self, 2, "num_folds")
        check_at_least(self, 0, "warmup_steps", "dataloader_num_workers", "weight_decay", "max_grad_norm", "lr_end")
        check_at_least(self, 0, "rdrop_alpha", "fgm_epsilon")
        check_above(self, 0, "learning_rate", "num_train_epochs", "adam_epsilon", "power", "num_cycles", "scale_loss")
        check_share(self, "token_dropout", "adam_beta1", "adam_beta2")
        check_share(self, "warmup_ratio", all_of_it=True)
        if self.lr_scheduler_type == "polynomial" and self.lr_end >= self.learning_rate:
            raise InputError(f"--lr_end {self.lr_end}: give a number below --learning_rate {self.learning_rate}")
        if self.max_steps != -1:  # which says that num_train_epochs decides
            check_at_least(self, 1, "max_steps")
        if self.class_weights not in (None, BALANCED):
            raise InputError(f"--class_weights {self.class_weights}: give {BALANCED}, or leave it out")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"--seed {self.seed}: give a number from 0 to {LARGEST_SEED}")


LARGEST_SEED = 2**31 - 1  # NumPy takes 32 bits, and the number of a step is added


def check_at_least(arguments, least: int, *names: str) -> None:
    """Raises InputError where one of the named values is less than `least`, or no finite number."""
    _check(arguments, names, lambda value: least <= value < math.inf, f"a number from {least} on")


def check_above(arguments, least: int, *names: str) -> None:
    """Raises InputError where one of the named values is not above `least`, or no finite number."""
    _check(arguments, names, lambda value: least < value < math.inf, f"a number above {least}")


def check_share(arguments, *names: str, all_of_it: bool = False) -> None:
    """Raises InputError where one of the named values is no share: from 0 up to 1, but 1 only for all_of_it."""
    wanted = "a share from 0 to 1" if all_of_it else "a share from 0 up to, but not, 1"
    _check(arguments, names, lambda value: 0 <= value < 1 or (all_of_it and value == 1), wanted)


def _check(arguments, names: Tuple[str, ...], is_valid: Callable[[float], bool], wanted: str) -> None:
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not is_valid(value):
            raise InputError(f"--{name} {value}: give {wanted}")


def check_precision(args: TrainingArguments) -> None:
    """Raises InputError where the device cannot train in the precision asked for."""
    if args.fp16 and args.bf16:
        raise InputError("--fp16 and --bf16: give one of them")
    if args.fp16_opt_level not in ("O1", "O2"):
        raise InputError(f"--fp16_opt_level {args.fp16_opt_level}: choose O1 or O2")
    flag = "--fp16" if args.fp16 else "--bf16"
    # On a CPU Paddle 2.6.2 computes in float32 all the same.
    if (args.fp16 or args.bf16) and args.device.split(":")[0] == "cpu":
        raise InputError(f"{flag} needs a GPU: train without it on a CPU")
    if args.bf16 and not paddle.amp.is_bfloat16_supported(args.device):
        raise InputError("--bf16: this GPU cannot compute in bfloat16; use --fp16")


def choose_device(device: Optional[str], no_cuda: bool = False) -> str:
    """gpu where Paddle can use one and nothing else is asked for, else cpu.

    Raises:
        InputError: a GPU is asked for and there is none, or --no_cuda is given too, or the name is unknown.
    """
    if no_cuda:
        if device is not None and device.split(":")[0] != "cpu":
            raise InputError(f"--no_cuda and --device {device}: give one of them")
        device = "cpu"
    kind, _, number = (device or "gpu").partition(":")
    if kind not in ("cpu", "gpu") or not (number or "0").isdigit():
        raise InputError(f"--device {device}: choose cpu or gpu")
    problem = cuda_problem(int(number or 0)) if kind == "gpu" else None
    if device is None:
        return "cpu" if problem else "gpu"
    if problem:
        raise InputError(f"--device {device}: {problem}")
    return device
