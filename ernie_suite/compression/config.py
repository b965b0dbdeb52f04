"""What compression can be asked for. All of it is checked before any work starts."""

from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

from ernie_inference.engines.onnx_files import check_converters
from ernie_inference.errors import InputError
from ernie_inference.model_files import find_model, inspect_model

ALGORITHMS = ("KL", "abs_max", "min_max", "avg", "hist", "mse")
WEIGHT_QUANTIZE_TYPES = ("abs_max", "channel_wise_abs_max")
CALIBRATION_SIZES = (4, 8, 16)  # which the scripts try
# 0.667 typed for 2/3 of 12 heads means 8 of them.
HEADS_TOLERANCE = 0.02


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


@dataclass
class DynabertConfig:
    """Width pruning (DynaBERT, Hou et al. 2020).

    Attributes:
        width_mult_list: the shares of heads and of feed-forward neurons to keep, as numbers or as
            texts like "3/4"; 3/4 is good for 6 layers, 2/3 for 12.
        output_filename_prefix: file name of the pruned models.
    """

    width_mult_list: Sequence[Union[float, str]] = field(default_factory=lambda: [3 / 4])
    output_filename_prefix: str = "float32"

    def __post_init__(self):
        check_list("width_mult_list", self.width_mult_list, "widths, for example 3/4")
        self.width_mult_list = [parse_width(width) for width in self.width_mult_list]
        check_each_once("width_mult_list", [f"{width:.4g}" for width in self.width_mult_list])
        check_file_name(self.output_filename_prefix)


@dataclass
class PTQConfig:
    """Post-training quantization to INT8.

    Attributes:
        algo_list: how the range of each activation is chosen; one or more of ALGORITHMS.
        batch_size_list: numbers of calibration texts, taken from the dev set.
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
        export_onnx: also write PREFIX.onnx beside every model that the report names; INT8 ones as QDQ.
        compare_engines: also time every installed engine on every model, which takes those files, so they are written.
    """

    prune_config: DynabertConfig = field(default_factory=DynabertConfig)
    quantization_config: PTQConfig = field(default_factory=PTQConfig)
    export_onnx: bool = False
    compare_engines: bool = False

    @property
    def wants_onnx(self) -> bool:
        return self.export_onnx or self.compare_engines

    def to_dict(self) -> Dict:
        return asdict(self)


@dataclass
class CompressionArguments:
    """The flags of the compress scripts (--help shows this too).

    By default one width (--width_mult_list 3/4), and six INT8 models (--algo_list hist mse --batch_size_list 4 8 16)
    each of the pruned model and of the model as it came, to choose from. The models and report.json go to compress/
    in the model's folder. Results of several commands add up there: what is there already, made of the same model, data
    and settings, is kept, and report.json names every model that is there. --output_dir, by default the model's
    folder, holds the state of pruning until it is done: an interrupted run goes on when its command is given again.
    --no_pruning only quantizes, --no_quantization only prunes. Pruning trains with the hyper-parameters of config.yml
    unless a flag gives them.
    """

    pruning: bool = field(default=True, metadata={"help": "prune the width"})
    quantization: bool = field(default=True, metadata={"help": "quantize to INT8"})
    width_mult_list: List[str] = field(
        default_factory=lambda: ["3/4"], metadata={"help": "shares of heads and neurons to keep, e.g. 3/4 2/3"}
    )
    algo_list: List[str] = field(
        default_factory=lambda: ["hist", "mse"], metadata={"help": f"quantization algorithms: {' '.join(ALGORITHMS)}"}
    )
    batch_size_list: Optional[List[int]] = field(
        default=None, metadata={"help": "numbers of calibration texts; 4 8 16, if the dev set has as many"}
    )
    input_dir: Optional[str] = field(
        default=None, metadata={"help": "quantize the exported model in this folder instead"}
    )
    input_filename_prefix: str = field(default="float32", metadata={"help": "its file name, or the beginning of it"})
    weight_quantize_type: str = field(
        default="abs_max", metadata={"help": "scales of weights: abs_max (CPU) or channel_wise_abs_max (TensorRT)"}
    )
    quantize_activation_matmuls: bool = field(
        default=False, metadata={"help": "quantize the attention's products of activations too"}
    )
    quantize_embeddings: bool = field(
        default=False, metadata={"help": "also write INT8 models with INT8 word embeddings: smaller files"}
    )
    smoothing: bool = field(
        default=True, metadata={"help": "take outliers out of the model before it is quantized, its answers unchanged"}
    )
    mixed_precision: List[int] = field(
        default_factory=list,
        metadata={"help": "also write INT8 models with this many of the products that lose the most in FP32, e.g. 2 4"},
    )
    export_onnx: bool = field(
        default=False, metadata={"help": "also write each model's .onnx file, for ONNX Runtime and OpenVINO"}
    )
    compare_engines: bool = field(
        default=False, metadata={"help": "also time each installed engine on each model (writes their .onnx files)"}
    )

    def __post_init__(self):
        config = self.config()  # what is wrong is refused before anything is loaded
        check_steps(self.pruning, self.quantization, config.quantization_config)
        check_onnx(self.quantization, config)

    def config(self, available: int = CALIBRATION_SIZES[-1]) -> CompressConfig:
        """The config that these flags mean, for a dev set with `available` windows to calibrate with."""
        sizes = self.batch_size_list or sorted({max(1, min(size, available)) for size in CALIBRATION_SIZES})
        return CompressConfig(
            prune_config=DynabertConfig(width_mult_list=self.width_mult_list),
            quantization_config=PTQConfig(
                algo_list=self.algo_list,
                batch_size_list=sizes,
                input_dir=self.input_dir,
                input_filename_prefix=self.input_filename_prefix,
                weight_quantize_type=self.weight_quantize_type,
                quantize_activation_matmuls=self.quantize_activation_matmuls,
                quantize_embeddings=self.quantize_embeddings,
                smoothing=self.smoothing,
                mixed_precision=self.mixed_precision,
            ),
            export_onnx=self.export_onnx,
            compare_engines=self.compare_engines,
        )


class Width(NamedTuple):
    """A width that a model can have: `name` is its folder's, `heads` and `neurons` those each layer keeps."""

    name: str
    heads: int
    neurons: int


def parse_width(width: Union[float, str]) -> float:
    """3/4 from 0.75, "0.75" or "3/4".

    Raises:
        InputError: it is no number above 0 and up to 1.
    """
    try:
        value = float(Fraction(width) if isinstance(width, str) else width)
    except (ValueError, TypeError, ZeroDivisionError):
        raise InputError(f"width {width!r} is not a number: give for example 3/4 or 0.75") from None
    if not 0 < value <= 1:
        raise InputError(f"width {width} is not above 0 and up to 1: give for example 3/4")
    return value


def find_widths(width_mult_list: Sequence[float], num_heads: int, num_neurons: int) -> List[Width]:
    """The widths of a model with num_heads heads and num_neurons feed-forward neurons a layer.

    Raises:
        InputError: a width keeps no whole number of heads, or two widths would share a folder.
    """
    widths = []
    for mult in width_mult_list:
        heads = round(mult * num_heads)
        if heads == 0 or abs(mult * num_heads - heads) > HEADS_TOLERANCE:
            below = int(mult * num_heads)
            nearest = " or ".join(f"{n}/{num_heads}" for n in (below, below + 1) if 0 < n <= num_heads)
            kept = f"{mult * num_heads:.4g} of {num_heads} heads"
            raise InputError(f"width {mult:.4g} keeps {kept}, which is no whole number: give {nearest}")
        widths.append(Width(str(round(heads / num_heads, 2)), heads, round(num_neurons * heads / num_heads)))
    names = [width.name for width in widths]
    if len(set(names)) < len(names):
        raise InputError(f"width_mult_list names the same width twice ({', '.join(names)}): give each once")
    return widths


def check_input_dir(config: PTQConfig, task) -> Optional[Path]:
    """The prefix of the model in config.input_dir; None without one.

    Raises:
        InputError: there is no such model, or more than one that input_filename_prefix can mean, or it is not one for
            the labels and the vocabulary of `task`.
    """
    if config.input_dir is None:
        return None

    prefix = find_model(Path(config.input_dir) / config.input_filename_prefix)
    info, tokens = inspect_model(prefix), max(task.tokenizer.vocab.values()) + 1
    if info.quantized:
        raise InputError(f"{prefix} is quantized already: give the FP32 model it was made from")
    if task.labels and info.num_labels not in (None, -1, len(task.labels)):
        raise InputError(f"{prefix} has {info.num_labels} labels, the data have {len(task.labels)}: give one for them")
    if info.vocab_size is not None and info.vocab_size < tokens:
        raise InputError(
            f"{prefix} has {info.vocab_size} tokens, the vocabulary of --model_name_or_path {tokens}: "
            "give a model of the same vocabulary"
        )
    return prefix
