"""The flags of the compress scripts."""

from dataclasses import dataclass, field
from typing import Collection, List, Optional

from ernie_suite.compression.config import (
    ALGORITHMS,
    CALIBRATION_SIZES,
    DROP_RULES,
    CompressConfig,
    DynabertConfig,
    PTQConfig,
    check_keep_vocab,
    check_onnx,
    check_steps,
    check_training_options,
    parse_share,
)

from ernie_inference.errors import InputError

# Flags that do something only where a step is done. fp16 and bf16 are not among those of training, as models are
# evaluated in them, too.
OF_PRUNING = ("width_mult_list", "depth_mult_list", "drop_layers", "target_speedup")
OF_QUANTIZATION = (
    *("algo_list", "batch_size_list", "weight_quantize_type", "quantize_activation_matmuls", "quantize_embeddings"),
    *("smoothing", "mixed_precision", "input_filename_prefix"),
)
OF_TRAINING = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps", "eval_steps"),
    *("learning_rate", "lr_scheduler_type", "warmup_ratio", "warmup_steps", "num_cycles", "lr_end", "power"),
    *("optim", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "recompute"),
    *("dataloader_drop_last", "early_stopping_patience", "token_dropout", "logging_steps"),
)


@dataclass
class CompressionArguments:
    """The flags of the compress scripts (--help shows this too).

    By default one width (--width_mult_list 3/4), and six INT8 models (--algo_list hist mse --batch_size_list 4 8 16)
    each of the pruned model and of the model as it came, to choose from. --target_speedup 4 8 makes models of these
    speeds on this processor instead of the width, or beside the widths that are given; README says how. The models and
    report.json go to compress/ in the model's folder. Results of several commands add up there: what is there already,
    made of the same model, data and settings, is kept, and report.json names every model that is there. --output_dir,
    by default the model's folder, holds the state of pruning until it is done: an interrupted run goes on when its
    command is given again. Models are chosen by one half of the dev set, and their change is shown on the other, with
    its confidence interval. --no_pruning only quantizes, --no_quantization only prunes, --no_smoothing quantizes a
    model as it is. Pruning trains with the hyper-parameters of config.yml unless a flag gives them. --student trains a
    smaller model to answer as the fine-tuned one does, instead of pruning; it goes to student_<its name>/.
    --unlabeled_data adds text without labels to what either trains on.
    """

    pruning: bool = field(default=True, metadata={"help": "prune width and depth"})
    quantization: bool = field(default=True, metadata={"help": "quantize to INT8"})
    width_mult_list: Optional[List[str]] = field(
        default=None, metadata={"help": "shares of heads and neurons to keep, e.g. 3/4 2/3; 3/4 without target_speedup"}
    )
    target_speedup: Optional[List[str]] = field(
        default=None, metadata={"help": "models so many times as fast, with heads and neurons where they matter: 4 8"}
    )
    depth_mult_list: List[str] = field(
        default_factory=lambda: ["1.0"], metadata={"help": "shares of layers to keep, each with each width, e.g. 2/3"}
    )
    drop_layers: str = field(default="every_other", metadata={"help": f"which layers go: {' or '.join(DROP_RULES)}"})
    algo_list: List[str] = field(
        default_factory=lambda: ["hist", "mse"], metadata={"help": f"quantization algorithms: {' '.join(ALGORITHMS)}"}
    )
    batch_size_list: Optional[List[int]] = field(
        default=None, metadata={"help": "numbers of calibration texts; 4 8 16, if half of the dev set has as many"}
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
    student: Optional[str] = field(
        default=None,
        metadata={"help": "train this published model, or the one of this folder, as the model's student, not widths"},
    )
    unlabeled_data: Optional[str] = field(
        default=None, metadata={"help": "file of text without labels to train on too: .txt, .json or .jsonl"}
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
    max_loss: Optional[float] = field(
        default=None, metadata={"help": "name the fastest model that loses at most so many points of the metric"}
    )
    min_speedup: Optional[float] = field(
        default=None, metadata={"help": "name the most accurate model that is at least so many times as fast"}
    )
    keep_vocab: Optional[str] = field(
        default=None,
        metadata={
            "help": "smaller word embeddings: a file with your texts, whose tokens stay beside those of training "
            "and dev sets, or how many tokens stay"
        },
    )

    def __post_init__(self):
        config = self.config()  # what is wrong is refused before anything is loaded
        check_training_options(self.pruning, config)
        check_steps(self.trains_widths, self.quantization, config.quantization_config)
        check_onnx(self.quantization, config)
        check_keep_vocab(config)
        if self.target_speedup and not self.pruning:
            raise InputError("target_speedup is reached by pruning, and --no_pruning is on: leave out one of them")

    def check_effect(self, typed: Collection[str]) -> None:
        """Raises InputError where a flag of the command line is for a step that is not done.

        Args:
            typed: their names, as they stand there. What config.yml says is for all commands alike.
        """
        trains = self.pruning or self.student is not None
        drops_layers = any(parse_share(depth, "depth") < 1 for depth in self.depth_mult_list)
        for names, has_effect, why in (
            (OF_PRUNING, self.trains_widths, "it is for pruning, and nothing is pruned"),
            (OF_TRAINING, trains, "it is for training, and nothing is trained"),
            (OF_QUANTIZATION, self.quantization, "it is for quantization, and --no_quantization is on"),
            (("max_train_samples",), self.reads_training_set, "nothing reads the training set"),
            (
                ("input_filename_prefix",),
                self.input_dir is not None,
                "it names a model in --input_dir, which is missing",
            ),
            (("drop_layers",), drops_layers, "it is for a --depth_mult_list below 1, and no layer is dropped"),
        ):
            idle = [flag for name in names for flag in (name, f"no_{name}") if flag in typed]
            if idle and not has_effect:
                raise InputError(f"--{idle[0]} has no effect here: {why}")

    @property
    def trains_widths(self) -> bool:
        """Whether the model is pruned: a student comes instead."""
        return self.pruning and self.student is None

    @property
    def reads_training_set(self) -> bool:
        return self.pruning or self.student is not None or self.keep_vocab is not None

    def config(self, available: int = CALIBRATION_SIZES[-1]) -> CompressConfig:
        """The config that these flags mean, where there are `available` texts to calibrate with."""
        sizes = self.batch_size_list or sorted({max(1, min(size, available)) for size in CALIBRATION_SIZES})
        return CompressConfig(
            prune_config=DynabertConfig(
                self.width_mult_list,
                self.depth_mult_list,
                self.drop_layers,
                target_speedup_list=self.target_speedup,
            ),
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
            student=self.student,
            unlabeled_data=self.unlabeled_data,
            export_onnx=self.export_onnx,
            compare_engines=self.compare_engines,
            max_loss=self.max_loss,
            min_speedup=self.min_speedup,
            keep_vocab=self.keep_vocab,
        )
