"""What the scripts share: their arguments and config.yml, and what tells the three task families apart.

Read it in this order: arguments, task families, features. The trainer is in trainer.py.
"""

import cpu_speed  # noqa: F401, I001  before paddle

import math
import os
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NoReturn, Optional, Sequence, Tuple, Type

import numpy as np
import paddle
import yaml
from paddlenlp.metrics.squad import normalize_answer
from paddlenlp.trainer import PdArgumentParser, TrainingArguments
from paddlenlp.transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from paddlenlp.utils.log import logger
from tqdm import tqdm

import deploy_path  # noqa: F401
from data import DATASETS, DatasetSpec, Example, find_dataset
from engine import cuda_problem
from ernie_predictor import (
    INFERENCE_FILE,
    Encoded,
    InferenceConfig,
    InputError,
    QuestionAnswering,
    SequenceClassification,
    Task,
    TokenClassification,
    bio_spans,
    join_tokens,
    token_types,
)
from model_compression.config import CompressConfig, CompressionArguments, DynabertConfig, PTQConfig  # noqa: F401
from text_files import read_text
from text_output import print_anything

logger.set_level("WARNING")

CONFIG_FILE = Path(__file__).resolve().parent / "config.yml"
IGNORED_LABEL = -100  # a token that counts for nothing in the loss
DEFAULT_MODEL = "ernie-3.0-medium-zh"

# ---------------------------------------------------------------- arguments


@dataclass
class DataArguments:
    task_name: Optional[str] = field(default=None, metadata={"help": f"data set: {', '.join(DATASETS)}"})
    dataset: Optional[str] = field(default=None, metadata={"help": 'the same, also as "clue tnews"'})
    data_dir: Optional[str] = field(
        default=None, metadata={"help": "folder of your own train, dev and test files in the data set's format"}
    )
    max_seq_length: int = field(default=128, metadata={"help": "most tokens of one model input, [CLS] and [SEP] too"})
    doc_stride: int = field(default=32, metadata={"help": "tokens that neighbouring windows of a long text share"})
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

    output_dir: Optional[str] = field(default=None, metadata={"help": "folder of the model; best_models/<DATA SET>"})
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
    logging_steps: int = field(default=10, metadata={"help": "show the loss every so many steps"})
    report_to: Optional[List[str]] = field(default_factory=list, metadata={"help": "e.g. visualdl"})
    skip_profile_timer: Optional[bool] = field(default=True, metadata={"help": "no per-step timers"})

    def __post_init__(self):
        if not (self.do_train or self.do_eval or self.do_predict or self.do_export):
            self.do_train = self.do_eval = self.do_export = True
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
        check_at_least(self, 0, "warmup_steps", "dataloader_num_workers", "weight_decay", "max_grad_norm", "lr_end")
        check_above(self, 0, "learning_rate", "num_train_epochs", "adam_epsilon", "power", "num_cycles", "scale_loss")
        check_share(self, "token_dropout", "adam_beta1", "adam_beta2")
        check_share(self, "warmup_ratio", all_of_it=True)
        if self.lr_scheduler_type == "polynomial" and self.lr_end >= self.learning_rate:
            raise InputError(f"--lr_end {self.lr_end}: give a number below --learning_rate {self.learning_rate}")
        if self.max_steps != -1:  # which says that num_train_epochs decides
            check_at_least(self, 1, "max_steps")
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


class Parser(PdArgumentParser):
    """Its errors are InputError, so that a script ends with one line whatever was wrong; a flag has one spelling."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


def parse_arguments(family: "TaskFamily", *more: Type, argv: Optional[List[str]] = None) -> Tuple:
    """(model_args, data_args, training_args, *more) from the command line, config.yml and the defaults, in that order.

    Raises:
        InputError: a flag, the data set or config.yml is wrong.
    """
    argv = sys.argv[1:] if argv is None else argv
    types = (ModelArguments, DataArguments, FinetuneArguments, *more)
    texts = [sys.modules["__main__"].__doc__, *(kind.__doc__ for kind in more)]
    parser = Parser(types, description="\n".join(filter(None, texts)))
    if "-h" in argv or "--help" in argv:
        parser.parse_args(argv)
    known = [setting.name for kind in types for setting in fields(kind)]
    not_here = COMPRESSION_WITHOUT_EFFECT if CompressionArguments in more else {}
    check_flags(argv, known, {**WITHOUT_EFFECT, **not_here})
    data_args = parse(Parser(DataArguments, add_help=False), argv)[0]
    spec = choose_dataset(family, data_args)
    sections = [family.config_section, *(["Compression"] if CompressionArguments in more else [])]
    settings = config_flags(Path(data_args.config), sections, spec.name, known, not_here)
    try:
        rest = parser.parse_known_args(settings)[1]
    except InputError as error:
        raise InputError(f"{data_args.config}: {error}") from None
    if rest:
        raise InputError(f"{data_args.config}: {rest[0]!r} is one value too many")
    *parsed, rest = parse(parser, settings + argv)  # of a flag given twice the last one counts
    if rest:
        raise InputError(f"unknown argument {rest[0]!r}; see --help")
    parsed[1].task_name = parsed[1].dataset = spec.name
    follow_the_model(*parsed[:3], typed_flags(argv), trains=parsed[2].do_train and CompressionArguments not in more)
    return tuple(parsed)


def parse(parser: Parser, argv: List[str]) -> Tuple:
    """The parser's dataclasses, and what of argv it does not know."""
    try:
        return parser.parse_args_into_dataclasses(argv, return_remaining_strings=True, look_for_args_file=False)
    except (ValueError, TypeError, AssertionError) as error:
        raise InputError(str(error)) from None


# What the trainer sets by itself, and what of PaddleNLP's has no effect on it: taken silently, it would mislead.
WITHOUT_EFFECT = {
    **dict.fromkeys(
        ("save_steps", "save_strategy", "evaluation_strategy", "minimum_eval_times"),
        "--eval_steps says when that is done",
    ),
    "logging_strategy": "--logging_steps says when that is done",
    **dict.fromkeys(
        ("metric_for_best_model", "greater_is_better", "load_best_model_at_end"), "the task's metric decides"
    ),
    **dict.fromkeys(
        ("resume_from_checkpoint", "ignore_data_skip", "ignore_load_lr_and_optim", "ignore_save_lr_and_optim"),
        "an interrupted run goes on when its command is given again",
    ),
    **dict.fromkeys(
        ("unified_checkpoint", "unified_checkpoint_config", "save_sharded_model", "load_sharded_model"),
        "checkpoints are whole files",
    ),
    "max_evaluate_steps": "--max_eval_samples bounds the dev set",
    **dict.fromkeys(("fp16_full_eval", "bf16_full_eval"), "evaluation is in the precision of the training"),
    **dict.fromkeys(
        ("prediction_loss_only", "label_names", "remove_unused_columns", "past_index", "lazy_data_processing"),
        "the task decides",
    ),
    **dict.fromkeys(
        (
            *("sharding", "sharding_degree", "sharding_parallel_degree", "sharding_parallel_config"),
            *("tensor_parallel_degree", "tensor_parallel_config", "pipeline_parallel_degree"),
            *("pipeline_parallel_config", "sep_parallel_degree", "data_parallel_config", "hybrid_parallel_topo_order"),
            *("distributed_dataloader", "force_reshard_pp", "enable_auto_parallel", "use_expert_parallel"),
        ),
        "several processes each hold the whole model and share the batches",
    ),
    "flatten_param_grads": "it is for NPUs",
    "local_rank": "python -m paddle.distributed.launch says which process is which",
}
# What config.yml may say for fine-tuning all the same.
COMPRESSION_WITHOUT_EFFECT = dict.fromkeys(
    ("do_train", "do_eval", "do_predict", "do_export"), "--no_pruning and --no_quantization say what is left out"
)
# What only the command line can say.
NOT_IN_CONFIG = ("task_name", "dataset", "config")


def typed_flags(argv: List[str]) -> List[str]:
    """The names of the flags on a command line."""
    return [word[2:].split("=")[0] for word in argv if word.startswith("--")]


def check_flags(argv: List[str], known: List[str], without_effect: Dict[str, str]) -> None:
    """Raises InputError where a flag is unknown, has no effect, or is given twice."""
    given = set()
    for flag in typed_flags(argv):
        name = flag if flag in known else flag[len("no_") :] if flag.startswith("no_") else flag
        if name not in known:
            near = [other for other in known if flag and other.startswith(flag)] or get_close_matches(flag, known, 1)
            raise InputError(f"unknown flag --{flag}{f' (is --{near[0]} meant?)' if near else ''}; see --help")
        refuse_without_effect(name, f"--{flag}", without_effect)
        if name in given:
            raise InputError(f"--{flag} is given twice: give it once")
        given.add(name)


def refuse_without_effect(name: str, shown: str, without_effect: Dict[str, str]) -> None:
    if name in without_effect:
        raise InputError(f"{shown} has no effect here: {without_effect[name]}")


def config_flags(path: Path, sections: List[str], dataset: str, known: List[str], left_out: Iterable[str]) -> List[str]:
    """The settings of a config.yml for a data set as flags, so that their values are read as those of flags are.

    Raises:
        InputError: one of them is no flag, or no value that a flag can have.
    """
    flags = []
    for name, value in read_config(path, sections, dataset).items():
        if name not in known:
            raise InputError(f"{path}: {name}: no such flag")
        if name in NOT_IN_CONFIG:
            raise InputError(f"{path}: {name}: give it on the command line")
        refuse_without_effect(name, f"{path}: {name}", WITHOUT_EFFECT)
        if name in left_out:
            continue
        values = value if isinstance(value, list) else [value]
        if not values or any(isinstance(item, (dict, list)) for item in values):
            raise InputError(f"{path}: {name}: {value!r} is not a value of this flag")
        if isinstance(value, list):
            flags += [f"--{name}", *map(str, value)]
        elif value is not None:
            flags.append(f"--{name}={value}")
    return flags


def follow_the_model(model_args, data_args, args, typed: List[str], trains: bool) -> None:
    """Without training, what a fine-tuned model brings along comes before config.yml: its folder and its lengths.

    Where no model is named, it is the one that was trained before, in output_dir.
    """
    folder = Path(args.output_dir or os.path.join("best_models", data_args.task_name.upper()))
    if not trains and model_args.model_name_or_path == DEFAULT_MODEL and folder.is_dir():
        model_args.model_name_or_path = str(folder)
    model = Path(model_args.model_name_or_path)
    if not trains and (model / INFERENCE_FILE).exists():
        known = InferenceConfig.load(model)
        for name in ("max_seq_length", "doc_stride"):
            if name not in typed:
                setattr(data_args, name, getattr(known, name))
        folder = Path(args.output_dir or model)
    args.output_dir = str(folder)


def choose_dataset(family: "TaskFamily", data_args: DataArguments) -> DatasetSpec:
    named = {find_dataset(name).name for name in (data_args.task_name, data_args.dataset) if name is not None}
    if len(named) == 2:
        raise InputError(
            f"--task_name {data_args.task_name} and --dataset {data_args.dataset}: these are two data sets, give one"
        )
    name = named.pop() if named else family.default_dataset
    ours = ", ".join(name for name, spec in DATASETS.items() if spec.task == family.task.name)
    if name is None:
        raise InputError(f"give the data set with --task_name: one of {ours}")
    spec = find_dataset(name)
    if spec.task != family.task.name:
        raise InputError(f"data set {spec.name} is not for this script, which takes {ours}")
    return spec


def read_config(path: Path, sections: List[str], dataset: str) -> Dict:
    """DefaultArgs of a config.yml and the data set's own settings in some sections; a later one beats an earlier."""
    try:
        content = yaml.safe_load(read_text(path)) or {}
        settings = dict(content.get("DefaultArgs") or {})
        for section in sections:
            settings.update((content.get(section) or {}).get(dataset) or {})
        return settings
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not a config of these scripts ({' '.join(str(error).split())})") from None


# ---------------------------------------------------------------- task families


@dataclass(frozen=True)
class TaskFamily:
    """All in which classification, tagging and reading differ, for training.

    Attributes:
        task: text to model inputs, logits to answer (deploy/python/ernie_predictor.py).
        auto_model: PaddleNLP's class that loads such a model.
        label_names: the features that are labels, in the order the criterion takes them.
        targets: (task, example, encoded) to what is to be learnt of an example, as numbers; kept for each example.
        features: (targets, part, offset) to those labels for one window, which holds the tokens of `part` of the text
            from input_ids[offset] on.
        remark: (targets, parts) to why an example teaches less than it should, for a line on the screen; or None.
        criterion: (outputs, labels) to the loss.
        metric: (examples, results) to figures; the first named one decides which state is best.
        submission: (example, result) to what the test server asks for; see trainer.write_predictions.
    """

    task: Type[Task]
    auto_model: Type
    config_section: str
    label_names: List[str]
    targets: Callable[[Task, Example, Encoded], Sequence[int]]
    features: Callable[[Sequence[int], range, int], Dict]
    criterion: Callable
    metric: Callable[[List[Example], List[Dict]], Dict[str, float]]
    best_metric: str
    submission: Callable[[Example, Dict], Dict]
    default_dataset: Optional[str] = None
    remark: Optional[Callable[[Sequence[int], Sequence[range]], Optional[str]]] = None


def classification_targets(task: Task, example: Example, encoded: Encoded) -> Sequence[int]:
    return [task.labels.index(example["label"])]


def classification_features(targets: Sequence[int], part: range, offset: int) -> Dict:
    return {"labels": targets[0]}


def tagging_targets(task: Task, example: Example, encoded: Encoded) -> Sequence[int]:
    """The label of every model token of the text, such that decoding reads the entities back.

    A model token is of the list token of the first character it covers. The first model token of an entity is its
    B-, also where the tokenizer drops what carries the B- (white space); the others are its I-. A type without I- in
    the labels has entities of one list token each: its other pieces are ignored, as decoding a list ignores them.
    """
    _, list_starts = join_tokens(example["tokens"])
    tags = example["labels"]
    number = {label: i for i, label in enumerate(task.labels)}
    entity_of = {
        token: (label, begin)
        for label, begin, end in bio_spans([(tag, i, i + 1) for i, tag in enumerate(tags)])
        for token in range(begin, end)
    }
    targets, previous = [], None
    for start in encoded.tokens.starts:
        token = bisect_right(list_starts, start) - 1
        entity = entity_of.get(token)
        if entity is None:
            targets.append(number[tags[token]])
        elif entity != previous:
            targets.append(number.get(f"B-{entity[0]}", number[tags[token]]))
        else:
            targets.append(number.get(f"I-{entity[0]}", IGNORED_LABEL))
        previous = entity
    return targets


def tagging_features(targets: Sequence[int], part: range, offset: int) -> Dict:
    return {"labels": [IGNORED_LABEL] * offset + list(targets[part.start : part.stop]) + [IGNORED_LABEL]}


def reading_targets(task: Task, example: Example, encoded: Encoded) -> Sequence[int]:
    """The numbers of the answer's first and last token among those of the text.

    The answer is the first one given that stands in the text and has tokens: characters at its edges that the
    tokenizer drops (white space, a zero-width space) do not count. Without one: nothing.
    """
    tokens = encoded.tokens
    for answer, start in zip(example["answers"] or (), example["answer_starts"] or ()):
        if start is None or start < 0:
            continue
        first = bisect_right(tokens.ends, start)
        last = bisect_left(tokens.starts, start + len(answer)) - 1
        if first <= last:
            return [first, last]
    return []


def reading_features(targets: Sequence[int], part: range, offset: int) -> Dict:
    """The answer's place in this window; [CLS], which is 0, where it is not all in it; ignored without an answer."""
    if not targets:
        first, last = IGNORED_LABEL, IGNORED_LABEL
    elif is_within(targets, part):
        first, last = (offset + token - part.start for token in targets)
    else:
        first, last = 0, 0
    return {"start_positions": first, "end_positions": last}


def is_within(targets: Sequence[int], part: range) -> bool:
    first, last = targets
    return part.start <= first and last < part.stop


def reading_remark(targets: Sequence[int], parts: Sequence[range]) -> Optional[str]:
    if not targets:
        return "have no answer with a token in their text"
    if not any(is_within(targets, part) for part in parts):
        return "have an answer that no window holds as a whole: a larger --doc_stride or --max_seq_length helps"
    return None


def cross_entropy(outputs, labels):
    """logits [batch, ..., classes] and labels [batch, ...]; IGNORED_LABEL counts for nothing."""
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    return paddle.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED_LABEL)


def span_cross_entropy(outputs, labels):
    """Mean of the losses of the start and the end position; each logits [batch, seq_len]."""
    return sum(cross_entropy(logits, label) for logits, label in zip(outputs, labels)) / 2


def accuracy(examples: List[Example], results: List[Dict]) -> Dict[str, float]:
    """Share of examples whose label is right."""
    return {"accuracy": sum(e["label"] == r["label"] for e, r in zip(examples, results)) / len(examples)}


def entity_f1(examples: List[Example], results: List[Dict]) -> Dict[str, float]:
    """Micro precision, recall and F1 of entities; one counts if its type and both its ends are right (CoNLL 2003)."""
    right = found = wanted = 0
    for example, result in zip(examples, results):
        gold = {
            (label, i, j - 1) for label, i, j in bio_spans([(t, i, i + 1) for i, t in enumerate(example["labels"])])
        }
        predicted = {(entity["label"], *entity["pos"]) for entity in result["entities"]}
        right, found, wanted = right + len(gold & predicted), found + len(predicted), wanted + len(gold)
    precision, recall = right / max(found, 1), right / max(wanted, 1)
    return {"f1": 2 * right / max(found + wanted, 1), "precision": precision, "recall": recall}


def exact_match_f1(examples: List[Example], results: List[Dict]) -> Dict[str, float]:
    """SQuAD's exact match and F1, the best over an example's answers, from 0 to 1; F1 is of characters.

    Both as PaddleNLP's squad_evaluate(is_whitespace_splited=False) has them, which the published figures were made
    with, except that it takes what stands before the first space of an answer for the whole.
    """
    exact = f1 = 0.0
    for example, result in zip(examples, results):
        answers, found = [comparable(text) for text in example["answers"]], comparable(result["answer"])
        exact += found in answers
        f1 += max(character_f1(answer, found) for answer in answers)
    return {"exact_match": exact / len(examples), "f1": f1 / len(examples)}


def comparable(text: str) -> str:
    """An answer in lower case without punctuation, English articles and needless white space.

    One of nothing else (the blood group A) stays as it is: an empty one would be equal to every other such.
    """
    return normalize_answer(text) or " ".join(text.lower().split())


def character_f1(wanted: str, found: str) -> float:
    """F1 of the characters of two answers, each as often as it occurs, in any order; white space counts for nothing."""
    if wanted == found:
        return 1.0
    counts = [Counter("".join(text.split())) for text in (wanted, found)]
    return 2 * sum((counts[0] & counts[1]).values()) / sum(sum(count.values()) for count in counts)


def label_line(example: Example, result: Dict) -> Dict:
    return {"id": example["id"], "label": result["label"]}


def tag_columns(example: Example, result: Dict) -> Dict:
    """One tag for every token that came in."""
    tags = ["O"] * len(example["tokens"])
    for entity in result["entities"]:
        first, last = entity["pos"]
        tags[first : last + 1] = [f"B-{entity['label']}"] + [f"I-{entity['label']}"] * (last - first)
    return {"tokens": example["tokens"], "tags": tags}


def answer_line(example: Example, result: Dict) -> Dict:
    return {"id": example["id"], "answer": result["answer"]}


SEQ_CLS = TaskFamily(
    task=SequenceClassification,
    auto_model=AutoModelForSequenceClassification,
    config_section="SequenceClassification",
    label_names=["labels"],
    targets=classification_targets,
    features=classification_features,
    criterion=cross_entropy,
    metric=accuracy,
    best_metric="accuracy",
    submission=label_line,
)
TOKEN_CLS = TaskFamily(
    task=TokenClassification,
    auto_model=AutoModelForTokenClassification,
    config_section="TokenClassification",
    label_names=["labels"],
    targets=tagging_targets,
    features=tagging_features,
    criterion=cross_entropy,
    metric=entity_f1,
    best_metric="f1",
    submission=tag_columns,
    default_dataset="msra_ner",
)
QA = TaskFamily(
    task=QuestionAnswering,
    auto_model=AutoModelForQuestionAnswering,
    config_section="QuestionAnswering",
    label_names=["start_positions", "end_positions"],
    targets=reading_targets,
    features=reading_features,
    criterion=span_cross_entropy,
    metric=exact_match_f1,
    best_metric="exact_match",
    submission=answer_line,
    default_dataset="cmrc2018",
    remark=reading_remark,
)
FAMILIES = {family.task.name: family for family in (SEQ_CLS, TOKEN_CLS, QA)}
METRICS = {name: family.metric for name, family in FAMILIES.items()}


# ---------------------------------------------------------------- features


class Features(paddle.io.Dataset):
    """The windows of a list of examples as features, and the way back from the model's outputs to answers.

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
        # Of each example: where its head and its text begin in _ids, and how long they are.
        self._heads, self._head_lengths = array("q"), array("i")
        self._texts, self._text_lengths = array("q"), array("i")
        # The targets and windows of example i are those from bounds[i] up to bounds[i + 1].
        self._target_bounds, self._window_bounds = array("q", [0]), array("q", [0])
        lengths = array("i")
        tokens = None
        for example in examples:
            encoded = task.encode(example)
            parts = task.parts(len(encoded.head), len(encoded.tokens.ids))
            lengths.extend([len(encoded.head) + len(part) + 1 for part in parts])
            self._window_bounds.append(len(lengths))
            self._keep_ids(encoded, is_known=encoded.tokens is tokens)
            if labelled:
                self._keep_targets(example, encoded, parts)
            tokens = encoded.tokens
        self.lengths = np.array(lengths, dtype=np.int32)
        self._order = np.argsort(-self.lengths, kind="stable") if by_length else np.arange(len(self.lengths))
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

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Dict:
        number = int(self._order[index])
        i = bisect_right(self._window_bounds, number) - 1
        head = self._ids[self._heads[i] : self._heads[i] + self._head_lengths[i]]
        part = self.task.parts(len(head), self._text_lengths[i])[number - self._window_bounds[i]]
        text = self._ids[self._texts[i] + part.start : self._texts[i] + part.stop]
        feature = {
            "input_ids": [*head, *text, self.task.tokenizer.sep_id],
            "token_type_ids": token_types(len(head), len(part)),
        }
        if self.labelled:
            targets = self._targets[self._target_bounds[i] : self._target_bounds[i + 1]]
            feature.update(self.family.features(targets, part, len(head)))
        return feature

    def results(self, outputs: Tuple[np.ndarray, ...]) -> List[Dict]:
        """One answer an example. outputs: one array [len(self), ...] for each output of the model, in feature order."""
        row_of = np.empty_like(self._order)
        row_of[self._order] = np.arange(len(self))
        results = []
        for example, begin, end in zip(self.examples, self._window_bounds, self._window_bounds[1:]):
            of_windows = [tuple(output[row] for output in outputs) for row in row_of[begin:end]]
            results.append(self.task.decode(example, self.task.windows(example), of_windows))
        return results


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


def run(main: Callable[[], None]) -> None:
    """Call a script's main; a user's mistake ends in one line on stderr and exit status 2."""
    print_anything()
    try:
        main()
    except InputError as error:
        tqdm.write(f"error: {error}", file=sys.stderr)  # on a line of its own, also beside a progress bar
        sys.exit(2)
    except KeyboardInterrupt:
        tqdm.write("interrupted: the same command line goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
