"""From the command line, config.yml and the defaults to checked arguments, and to the folder of the model."""

import os
import sys
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple, Type

from ernie_suite.arguments import DEFAULT_MODEL, MODELS_FOLDER, DataArguments, FinetuneArguments, ModelArguments
from ernie_suite.compression.flags import CompressionArguments
from ernie_suite.data import DATASETS, DatasetSpec, find_dataset
from ernie_suite.tasks.family import TaskFamily

import yaml
from paddlenlp.trainer import PdArgumentParser

from ernie_inference.console import Parser
from ernie_inference.errors import InputError
from ernie_inference.inference_config import INFERENCE_FILE, InferenceConfig
from ernie_inference.text_files import read_text


class DataclassParser(Parser, PdArgumentParser):
    """PaddleNLP's parser of dataclasses, with the errors of ours."""


def parse_arguments(family: TaskFamily, *more: Type, argv: Optional[List[str]] = None) -> Tuple:
    """(model_args, data_args, training_args, *more) from the command line, config.yml and the defaults, in that order.

    Raises:
        InputError: a flag, the data set or config.yml is wrong.
    """
    argv = sys.argv[1:] if argv is None else argv
    types = (ModelArguments, DataArguments, FinetuneArguments, *more)
    texts = [sys.modules["__main__"].__doc__, *(kind.__doc__ for kind in more)]
    parser = DataclassParser(types, description="\n".join(filter(None, texts)))
    if "-h" in argv or "--help" in argv:
        parser.parse_args(argv)
    known = [setting.name for kind in types for setting in fields(kind)]
    not_here = COMPRESSION_WITHOUT_EFFECT if CompressionArguments in more else {}
    check_flags(argv, known, {**WITHOUT_EFFECT, **not_here})
    data_args = parse(DataclassParser(DataArguments, add_help=False), argv)[0]
    spec = choose_dataset(family, data_args)
    sections = config_sections(family, compresses=CompressionArguments in more)
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
    for own in parsed[3:]:
        if isinstance(own, CompressionArguments):
            own.check_effect(typed_flags(argv))
    trains = parsed[2].do_train and CompressionArguments not in more
    follow_the_model(parsed[0], parsed[1], parsed[2], typed_flags(argv), trains)
    return tuple(parsed)


def parse(parser: DataclassParser, argv: List[str]) -> Tuple:
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
COMPRESSION_WITHOUT_EFFECT = {
    **dict.fromkeys(
        ("do_train", "do_eval", "do_predict", "do_export"), "--no_pruning and --no_quantization say what is left out"
    ),
    "class_weights": "what is pruned learns the answers of the fine-tuned model, not the labels",
    **dict.fromkeys(
        ("rdrop_alpha", "fgm_epsilon", "num_folds"), "it is for fine-tuning; a teacher is learnt from here"
    ),
    **dict.fromkeys(("save_total_limit", "save_on_each_node"), "one state is kept, until what it is for is written"),
    **dict.fromkeys(
        ("report_to", "logging_dir", "logging_first_step", "log_on_each_node", "run_name", "wandb_api_key"),
        "the progress is shown on the screen alone",
    ),
    **dict.fromkeys(("skip_memory_metrics", "skip_profile_timer"), "nothing is measured of the steps"),
    "to_static": "layers are trained as they are",
}

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
    """Without training, what a fine-tuned model brings along comes before config.yml: its folder, its lengths, and
    what it does with long texts.

    Where no model is named, it is the one that was trained before, in output_dir.
    """
    folder = Path(args.output_dir or os.path.join(MODELS_FOLDER, data_args.task_name.upper()))
    if not trains and model_args.model_name_or_path == DEFAULT_MODEL and folder.is_dir():
        model_args.model_name_or_path = str(folder)
    model = Path(model_args.model_name_or_path)
    if not trains and (model / INFERENCE_FILE).exists():
        known = InferenceConfig.load(model)
        for name in ("max_seq_length", "doc_stride", "long_texts"):
            if name not in typed:
                setattr(data_args, name, getattr(known, name))
        folder = Path(args.output_dir or model)
    args.output_dir = str(folder)


def choose_dataset(family: TaskFamily, data_args: DataArguments) -> DatasetSpec:
    named = {find_dataset(name).name for name in (data_args.task_name, data_args.dataset) if name is not None}
    if len(named) == 2:
        raise InputError(
            f"--task_name {data_args.task_name} and --dataset {data_args.dataset}: these are two data sets, give one"
        )
    name = named.pop() if named else family.default_dataset
    ours = ", ".join(name for name, spec in DATASETS.items() if spec.task_name == family.name)
    if name is None:
        raise InputError(f"give the data set with --task_name: one of {ours}")
    spec = find_dataset(name)
    if spec.task_name != family.name:
        raise InputError(f"data set {spec.name} is not for this script, which takes {ours}")
    return spec


def config_sections(family: TaskFamily, compresses: bool) -> List[str]:
    """The sections of a config.yml that count for a task, besides DefaultArgs."""
    return [family.config_section, *(["Compression"] if compresses else [])]


def read_config(path: Path, sections: List[str], dataset: str) -> Dict:
    """DefaultArgs of a config.yml and the data set's own settings in some sections; a later one beats an earlier.

    Raises:
        InputError: it is no such file.
    """
    try:
        content = yaml.safe_load(read_text(path)) or {}
        settings = dict(content.get("DefaultArgs") or {})
        for section in sections:
            settings.update((content.get(section) or {}).get(dataset) or {})
        return settings
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not a config of these scripts ({' '.join(str(error).split())})") from None
