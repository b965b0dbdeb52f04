"""What compression can be asked for. All of it is checked before any work starts."""

import math
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Union

from ernie_suite.compression.vocabulary import KeepVocab, parse_keep_vocab

from ernie_inference.engines.onnx_files import check_converters
from ernie_inference.errors import InputError
from ernie_inference.model_files import find_model, inspect_model

ALGORITHMS = ("KL", "abs_max", "min_max", "avg", "hist", "mse")
WEIGHT_QUANTIZE_TYPES = ("abs_max", "channel_wise_abs_max")
CALIBRATION_SIZES = (4, 8, 16)  # which the scripts try
SPEEDUP = "speedup"  # begins the name of a folder
DROP_RULES = ("every_other", "importance")


def check_list(name: str, values, wanted: str) -> None:
    """Raises InputError where `values` is no list, or an empty one."""
    if not isinstance(values, (list, tuple)) or not values:
        raise InputError(f"{name} {values!r}: give a list of {wanted}")


def check_each_once(name: str, values: List) -> None:
    twice = sorted({str(value) for value in values if list(values).count(value) > 1})
    if twice:
        raise InputError(f"{name} names {', '.join(twice)} twice: give each once")


def check_file_name(name: str) -> None:
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise InputError(f"output_filename_prefix {name!r} is not a file's name: give one without folders")


def check_limit(name: str, value: Optional[float], wanted: str) -> None:
    if value is not None and not 0 <= value < math.inf:  # not so for nan either
        raise InputError(f"{name} {value}: give {wanted}")


def check_steps(pruning: bool, quantization: bool, config: "PTQConfig") -> None:
    """Raises InputError where config.input_dir would have no effect, or pruning none on what is quantized."""
    if config.input_dir is None:
        return
    if pruning:
        raise InputError(
            f"input_dir {config.input_dir} gives the model to quantize, which pruning does not change: "
            "add --no_pruning (pruning=False), or leave out input_dir"
        )
    if not quantization:
        raise InputError(f"input_dir {config.input_dir} gives a model to quantize: quantization must not be off")


def check_training_options(pruning: bool, config: "CompressConfig") -> None:
    """Raises InputError where options of training would have no effect."""
    quantizes = config.quantization_config.input_dir
    if config.student is not None and quantizes is not None:
        raise InputError(
            f"input_dir {quantizes} gives the model to quantize, which training a student does not change: "
            "leave out one of input_dir and student"
        )
    for name in ("width_mult_list", "depth_mult_list", "drop_layers"):
        if config.student is not None and getattr(config.prune_config, name) != getattr(DynabertConfig(), name):
            raise InputError(
                f"{name} is for pruning, and student {config.student} is trained instead: leave out one of the two"
            )
    if config.unlabeled_data is not None and not pruning and config.student is None:
        raise InputError(
            f"unlabeled_data {config.unlabeled_data} is text to train on, and nothing is trained: "
            "leave it out, or prune, or give a student"
        )


def check_onnx(quantization: bool, config: "CompressConfig") -> None:
    """Raises InputError where .onnx files are asked for that cannot be made."""
    if not config.wants_onnx:
        return
    if quantization and config.quantization_config.quantize_activation_matmuls:
        raise InputError(
            "quantize_activation_matmuls is for models that ONNX cannot hold: leave it out, or export_onnx "
            "and compare_engines"
        )
    check_converters()


def check_calibration_sizes(config: "PTQConfig", available: int) -> None:
    if max(config.batch_size_list) > available:
        raise InputError(
            f"batch_size_list asks for {max(config.batch_size_list)} calibration texts, the part of the dev set that "
            f"models are chosen by has {available}"
        )


def check_keep_vocab(config: "CompressConfig") -> Optional[KeepVocab]:
    """What config.keep_vocab means; None without.

    Raises:
        InputError: it means nothing, or has no effect on what is quantized, or a student would not have the tokens.
    """
    keep_vocab = parse_keep_vocab(config.keep_vocab)
    if keep_vocab is not None and config.quantization_config.input_dir is not None:
        raise InputError(
            f"input_dir {config.quantization_config.input_dir} gives the model to quantize, which keep_vocab does not "
            "change: leave out one of them, or give the folder of a model that keep_vocab has made"
        )
    if keep_vocab is not None and config.student is not None:
        raise InputError(
            f"the student {config.student} has the whole vocabulary, of which keep_vocab leaves the teacher a part: "
            "leave out one of them, and give keep_vocab where the student is compressed in turn"
        )
    return keep_vocab


@dataclass
class DynabertConfig:
    """Pruning of width and depth (DynaBERT, Hou et al. 2020).

    Attributes:
        width_mult_list: the shares of heads and of feed-forward neurons to keep, as numbers or as
            texts like "3/4"; 3/4 is good for 6 layers, 2/3 for 12. None for 3/4 or, where only
            target_speedup_list is given, for none.
        depth_mult_list: the shares of layers to keep; each width is made at each depth.
        drop_layers: which layers go, one of DROP_RULES: by DynaBERT's rule, or those that the dev set's loss depends on
            the least.
        output_filename_prefix: file name of the pruned models.
        target_speedup_list: how many times as fast as the original models are to be, in the precision that comes last:
            each keeps heads, neurons and layers where they matter the most (budget.py). They are trained together with
            the widths.
    """

    width_mult_list: Optional[Sequence[Union[float, str]]] = None
    depth_mult_list: Sequence[Union[float, str]] = field(default_factory=lambda: [1.0])
    drop_layers: str = "every_other"
    output_filename_prefix: str = "float32"
    target_speedup_list: Optional[Sequence[Union[float, str]]] = None

    def __post_init__(self):
        if self.target_speedup_list is not None:
            check_list("target_speedup", self.target_speedup_list, "speed-ups, for example 4")
        speedups = [parse_speedup(speedup) for speedup in self.target_speedup_list or []]
        check_each_once("target_speedup", [f"{speedup:.4g}" for speedup in speedups])
        self.target_speedup_list = speedups
        only_speedups = self.target_speedup_list and self.width_mult_list is None
        if self.width_mult_list is None:
            self.width_mult_list = [3 / 4]
        for name, what in (("width_mult_list", "width"), ("depth_mult_list", "depth")):
            check_list(name, getattr(self, name), f"{what}s, for example 3/4")
            shares = [parse_share(share, what) for share in getattr(self, name)]
            check_each_once(name, [f"{share:.4g}" for share in shares])
            setattr(self, name, shares)
        if only_speedups and self.depth_mult_list == [1.0]:
            self.width_mult_list = []
        if self.drop_layers not in DROP_RULES:
            raise InputError(f"drop_layers {self.drop_layers}: give one of {', '.join(DROP_RULES)}")
        check_file_name(self.output_filename_prefix)


@dataclass
class PTQConfig:
    """Post-training quantization to INT8.

    Attributes:
        algo_list: how the range of each activation is chosen; one or more of ALGORITHMS.
        batch_size_list: numbers of calibration texts, taken from the half of the dev set that models are chosen by.
        input_dir: folder of an exported model to quantize; None for the trainer's model and, after
            pruning, the pruned ones.
        input_filename_prefix: file name of that model, or the beginning of it.
        output_filename_prefix: file name of the quantized models.
        weight_quantize_type: one scale a weight matrix ("abs_max"), which Paddle Inference on CPUs
            computes exactly, or one a column ("channel_wise_abs_max"), which is stored as INT8 and is
            what TensorRT takes. On CPUs Paddle 2.6 reads the latter with wrong scales; see
            quantization.py.
        quantize_activation_matmuls: also quantize the attention's two products of activations, for
            engines that have a fast INT8 kernel for them. Paddle Inference on CPUs has none and
            leaves them in FP32.
        quantize_embeddings: also write each INT8 model with its word embeddings as INT8, one scale a
            token, beside the one without: a smaller file, for the embeddings are most of a small model.
        smoothing: rewrite the FP32 model first, with the same answers, so that no outliers take the levels of INT8
            from all other values; see smoothing.py. False quantizes it as it is.
        mixed_precision: also write each INT8 model with the products whose quantization changes the answers most left
            in FP32, for each of these numbers of them; see sensitivity.py. Products that read the same tensor, as
            those of queries, keys and values do, count as one.
    """

    algo_list: List[str] = field(default_factory=lambda: ["hist"])
    batch_size_list: List[int] = field(default_factory=lambda: [4])
    input_dir: Optional[str] = None
    input_filename_prefix: str = "float32"
    output_filename_prefix: str = "int8"
    weight_quantize_type: str = "abs_max"
    quantize_activation_matmuls: bool = False
    quantize_embeddings: bool = False
    smoothing: bool = True
    mixed_precision: List[int] = field(default_factory=list)

    def __post_init__(self):
        check_list("algo_list", self.algo_list, f"of {', '.join(ALGORITHMS)}")
        unknown = [algorithm for algorithm in self.algo_list if algorithm not in ALGORITHMS]
        if unknown:
            raise InputError(f"quantization algorithm {', '.join(map(str, unknown))}: give of {', '.join(ALGORITHMS)}")
        check_list("batch_size_list", self.batch_size_list, "numbers of calibration texts from 1 on")
        if any(type(size) is not int or size < 1 for size in self.batch_size_list):
            raise InputError(f"batch_size_list {self.batch_size_list}: give numbers of calibration texts from 1 on")
        if not isinstance(self.mixed_precision, (list, tuple)) or any(
            type(count) is not int or count < 1 for count in self.mixed_precision
        ):
            raise InputError(f"mixed_precision {self.mixed_precision!r}: give a list of numbers of products from 1 on")
        for name in ("algo_list", "batch_size_list", "mixed_precision"):
            check_each_once(name, getattr(self, name))
        check_file_name(self.output_filename_prefix)
        if self.weight_quantize_type not in WEIGHT_QUANTIZE_TYPES:
            raise InputError(
                f"weight_quantize_type {self.weight_quantize_type}: give one of {', '.join(WEIGHT_QUANTIZE_TYPES)}"
            )


@dataclass
class CompressConfig:
    """What trainer.compress() takes: a config for each of its steps.

    Attributes:
        prune_config, quantization_config: of pruning and of quantization.
        student: a published name or the folder of a model to train as the student of the fine-tuned one instead of
            pruning that, as with pruning=False; its files have the pruned models' name. See student.py.
        unlabeled_data: a file of text without labels, which training reads too; see ernie_suite/unlabeled.py.
        export_onnx: also write PREFIX.onnx beside every model that the report names; INT8 ones as QDQ.
        compare_engines: also time every installed engine on every model, which takes those files, so they are written.
        max_loss: name the fastest model that loses at most so many points of the metric; see choice.py.
        min_speedup: name the most accurate model that is at least so many times as fast.
        keep_vocab: compress the model without the word embeddings that are not used: a file with the texts whose tokens
            stay beside those of training and dev sets, or how many tokens stay in all, the most frequent ones of these
            sets beside what any text needs; see vocabulary.py.
    """

    prune_config: DynabertConfig = field(default_factory=DynabertConfig)
    quantization_config: PTQConfig = field(default_factory=PTQConfig)
    student: Optional[str] = None
    unlabeled_data: Optional[str] = None
    export_onnx: bool = False
    compare_engines: bool = False
    max_loss: Optional[float] = None
    min_speedup: Optional[float] = None
    keep_vocab: Union[int, str, None] = None

    def __post_init__(self):
        check_limit("max_loss", self.max_loss, "points of the metric from 0 on, for example 0.5")
        check_limit("min_speedup", self.min_speedup, "how many times as fast, for example 4")

    @property
    def wants_onnx(self) -> bool:
        return self.export_onnx or self.compare_engines

    def to_dict(self) -> Dict:
        return asdict(self)


def parse_share(share: Union[float, str], what: str) -> float:
    """3/4 from 0.75, "0.75" or "3/4"; `what` names it in the error.

    Raises:
        InputError: it is no number above 0 and up to 1.
    """
    try:
        value = float(Fraction(share) if isinstance(share, str) else share)
    except (ValueError, TypeError, ZeroDivisionError):
        raise InputError(f"{what} {share!r} is not a number: give for example 3/4 or 0.75") from None
    if not 0 < value <= 1:
        raise InputError(f"{what} {share} is not above 0 and up to 1: give for example 3/4")
    return value


def parse_speedup(speedup: Union[float, str]) -> float:
    """How many times as fast a model is to be: 4 from 4 or "4".

    Raises:
        InputError: it is no number above 1.
    """
    try:
        value = float(speedup)
    except (ValueError, TypeError):
        raise InputError(f"target_speedup {speedup!r} is not a number: give for example 4 or 2.5") from None
    if not 1 < value < math.inf:
        raise InputError(f"target_speedup {speedup} is not a number above 1: give for example 4")
    return value


def speedup_name(speedup: float) -> str:
    """The folder of the sub-network with this speed-up: speedup4, speedup2.5."""
    return f"{SPEEDUP}{speedup:.4g}"


def speedup_of(model: str) -> Optional[float]:
    """The speed-up that a model was made for, by the folders of its prefix; None where it was made for none."""
    named = [folder for folder in Path(model).parts[:-1] if folder.startswith(SPEEDUP)]
    return float(named[0][len(SPEEDUP) :]) if named else None


def check_input_dir(config: PTQConfig, task) -> Optional[Path]:
    """The prefix of the model in config.input_dir; None without one.

    Raises:
        InputError: there is no such model, or more than one that input_filename_prefix can mean, or it is not one for
            the labels of `task`.
    """
    if config.input_dir is None:
        return None

    prefix = find_model(Path(config.input_dir) / config.input_filename_prefix)
    info = inspect_model(prefix)
    if info.quantized:
        raise InputError(f"{prefix} is quantized already: give the FP32 model it was made from")
    if task.labels and info.num_labels not in (None, -1, len(task.labels)):
        raise InputError(f"{prefix} has {info.num_labels} labels, the data have {len(task.labels)}: give one for them")
    return prefix
