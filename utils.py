"""What the scripts share: their arguments and config.yml, and what tells the three task families apart.

Read it in this order: arguments, task families, features. The trainer is in trainer.py.
"""

import cpu_speed  # noqa: F401, I001  before paddle

import math
import os
import sys
import warnings
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Callable, Dict, List, NoReturn, Optional, Tuple, Type

for message in ("Setuptools is replacing distutils", "pkg_resources is deprecated"):
    warnings.filterwarnings("ignore", message=message)

import numpy as np  # noqa: E402
import paddle  # noqa: E402
import yaml  # noqa: E402
from paddlenlp.metrics.squad import squad_evaluate  # noqa: E402
from paddlenlp.trainer import PdArgumentParser, TrainingArguments  # noqa: E402
from paddlenlp.transformers import (  # noqa: E402
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from paddlenlp.utils.log import logger  # noqa: E402
from tqdm import tqdm  # noqa: E402

import deploy_path  # noqa: E402, F401
from data import DATASETS, DatasetSpec, Example, find_dataset  # noqa: E402
from ernie_predictor import (  # noqa: E402
    INFERENCE_FILE,
    InferenceConfig,
    InputError,
    QuestionAnswering,
    SequenceClassification,
    Task,
    TokenClassification,
    Window,
    bio_spans,
    join_tokens,
)
from model_compression.config import CompressConfig, CompressionArguments, DynabertConfig, PTQConfig  # noqa: E402, F401
from text_files import read_text  # noqa: E402

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
    if (args.fp16 or args.bf16) and args.device.split(":")[
        0
    ] == "cpu":  # where Paddle 2.6.2 computes in float32 all the same
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
    has_gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device is None:
        return "gpu" if has_gpu else "cpu"
    if device.split(":")[0] == "gpu" and not has_gpu:
        built = (
            "no CUDA device is visible" if paddle.device.is_compiled_with_cuda() else "this paddle is built for CPUs"
        )
        raise InputError(f"--device gpu: {built}; use --device cpu, or install requirements-gpu.txt on a GPU machine")
    if device.split(":")[0] not in ("cpu", "gpu"):
        raise InputError(f"--device {device}: choose cpu or gpu")
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
    without_effect = {**WITHOUT_EFFECT, **(COMPRESSION_WITHOUT_EFFECT if CompressionArguments in more else {})}
    check_flags(argv, known, without_effect)
    data_args = parse(Parser(DataArguments, add_help=False), argv)[0]
    spec = choose_dataset(family, data_args)
    sections = [family.config_section, *(["Compression"] if CompressionArguments in more else [])]
    settings = config_flags(Path(data_args.config), sections, spec.name, known, without_effect)
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
}
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


def config_flags(
    path: Path, sections: List[str], dataset: str, known: List[str], without_effect: Dict[str, str]
) -> List[str]:
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
        refuse_without_effect(name, f"{path}: {name}", without_effect)
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
        features: (task, example, window) to those labels.
        criterion: (outputs, labels) to the loss.
        metric: (examples, results) to figures; the first named one decides which state is best.
        submission: (example, result) to what the test server asks for; see trainer.write_predictions.
    """

    task: Type[Task]
    auto_model: Type
    config_section: str
    label_names: List[str]
    features: Callable[[Task, Example, Window], Dict]
    criterion: Callable
    metric: Callable[[List[Example], List[Dict]], Dict[str, float]]
    best_metric: str
    submission: Callable[[Example, Dict], Dict]
    default_dataset: Optional[str] = None


def classification_features(task: Task, example: Example, window: Window) -> Dict:
    return {"labels": task.labels.index(example["label"])}


def tagging_features(task: Task, example: Example, window: Window) -> Dict:
    """The tag of a model token is the one of the first character it covers, as decoding reads it back.

    Where the tokenizer splits what carries one tag, only the first piece can begin an entity.
    """
    _, starts = join_tokens(example["tokens"])
    labels = [IGNORED_LABEL] * len(window.input_ids)
    for i, start in enumerate(window.starts):
        token = int(np.searchsorted(starts, start, side="right")) - 1
        tag = example["labels"][token]
        if tag.startswith("B-") and i > 0 and window.starts[i - 1] >= starts[token]:
            tag = "I-" + tag[len("B-") :]
        labels[window.offset + i] = task.labels.index(tag)
    return {"labels": labels}


def reading_features(task: Task, example: Example, window: Window) -> Dict:
    """The first and last token of the answer in this window; both 0, which is [CLS], where it is not all in it."""
    start = example["answer_starts"][0]
    end = start + len(example["answers"][0])
    inside = [i for i, (s, e) in enumerate(zip(window.starts, window.ends)) if s < end and e > start]
    whole = inside and window.starts[inside[0]] <= start and window.ends[inside[-1]] >= end
    first, last = (window.offset + inside[0], window.offset + inside[-1]) if whole else (0, 0)
    return {"start_positions": first, "end_positions": last}


def cross_entropy(outputs, labels):
    """logits [batch, ..., classes] and labels [batch, ...]; IGNORED_LABEL counts for nothing."""
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    return paddle.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED_LABEL)


def span_cross_entropy(outputs, labels):
    """Mean of the losses of the start and the end position; each logits [batch, seq_len]."""
    return sum(paddle.nn.functional.cross_entropy(logits, label) for logits, label in zip(outputs, labels)) / 2


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
    """SQuAD's exact match and character F1, the best over an example's answers, from 0 to 1."""
    gold = [
        {"id": i, "answers": {"text": e["answers"], "answer_start": e["answer_starts"]}} for i, e in enumerate(examples)
    ]
    scores = squad_evaluate(gold, {i: r["answer"] for i, r in enumerate(results)}, is_whitespace_splited=False)
    return {"exact_match": scores["exact"] / 100, "f1": scores["f1"] / 100}


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
    features=reading_features,
    criterion=span_cross_entropy,
    metric=exact_match_f1,
    best_metric="exact_match",
    submission=answer_line,
    default_dataset="cmrc2018",
)
FAMILIES = {family.task.name: family for family in (SEQ_CLS, TOKEN_CLS, QA)}
METRICS = {name: family.metric for name, family in FAMILIES.items()}


# ---------------------------------------------------------------- features


class Features(paddle.io.Dataset):
    """The windows of a list of examples as features, and the way back from the model's outputs to answers.

    Args:
        family, task: the task family and its task object.
        examples: what data.load_examples returns.
        by_length: order the features by length, for batches without padding; answers come in the
            order of the examples all the same.
        labelled: whether features carry labels.
    """

    def __init__(self, family: TaskFamily, task: Task, examples: List[Example], by_length=False, labelled=True):
        self.task, self.examples = task, examples
        self.windows: List[List[Window]] = [task.windows(example) for example in examples]
        self.places = [(i, j) for i, windows in enumerate(self.windows) for j in range(len(windows))]
        if by_length:
            self.places.sort(key=lambda place: len(self.windows[place[0]][place[1]].input_ids), reverse=True)
        self.features = []
        for i, j in self.places:
            window = self.windows[i][j]
            feature = {"input_ids": window.input_ids, "token_type_ids": window.token_type_ids}
            self.features.append({**feature, **(family.features(task, examples[i], window) if labelled else {})})

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Dict:
        return self.features[index]

    def results(self, outputs: Tuple[np.ndarray, ...]) -> List[Dict]:
        """One answer an example. outputs: one array [len(self), ...] for each output of the model, in feature order."""
        of_window: List[List] = [[None] * len(windows) for windows in self.windows]
        for row, (i, j) in enumerate(self.places):
            of_window[i][j] = tuple(output[row] for output in outputs)
        return [self.task.decode(*triple) for triple in zip(self.examples, self.windows, of_window)]


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
    try:
        main()
    except InputError as error:
        tqdm.write(f"error: {error}", file=sys.stderr)  # on a line of its own, also beside a progress bar
        sys.exit(2)
    except KeyboardInterrupt:
        tqdm.write("interrupted: the same command line goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
