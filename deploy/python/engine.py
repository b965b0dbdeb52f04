"""The engines that run an exported model: Paddle Inference (oneDNN, CUDA, TensorRT) and ONNX Runtime.

An engine takes token ids and gives logits; it knows nothing about tasks. Every setting of every
backend is in this file, and what a machine cannot do is refused here, before any work, in one line.
"""

import copy
import ctypes
import math
import os
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple, Union

import numpy as np

from derived import Kind, derive, origin_of
from model_files import (
    INPUTS,
    PARAMETERS,
    PROGRAM,
    InputError,
    ModelInfo,
    find_model,
    import_paddle,
    inspect_model,
    table_sizes,
)
from onnx_graph import lookup_tables
from processors import usable_processors

PADDLE, TENSORRT, ONNX, ONNX_TENSORRT = "paddle", "tensorrt", "onnxruntime", "onnxruntime_tensorrt"

# What each backend can run where; the first precision is the default.
PRECISIONS = {
    (PADDLE, "cpu"): ("fp32", "int8", "bf16"),
    (PADDLE, "gpu"): ("fp32", "fp16"),
    (TENSORRT, "gpu"): ("fp32", "fp16", "int8"),
    (ONNX, "cpu"): ("fp32", "int8"),
    (ONNX, "gpu"): ("fp32", "fp16"),
    (ONNX_TENSORRT, "gpu"): ("fp32", "fp16"),
}
BACKENDS = tuple(dict.fromkeys(backend for backend, _ in PRECISIONS))

# What to do instead of a precision that a backend lacks.
INSTEAD = {
    (PADDLE, "cpu", "fp16"): "processors have no FP16 kernels: use bf16, int8 or --device gpu",
    (PADDLE, "gpu", "int8"): "INT8 on a GPU needs TensorRT: add --use_trt",
    (TENSORRT, "cpu", "fp32"): "TensorRT needs --device gpu",
}

GPU_MEMORY_POOL_MB = 256
TENSORRT_WORKSPACE_BYTES = 1 << 30
# Subgraphs smaller than this stay in Paddle: the way into TensorRT and back would cost more than it saves.
TENSORRT_MIN_SUBGRAPH = 5
SHORTEST_INPUT = 2  # tokens: [CLS] [SEP]
# Compute capabilities of the machine code in published paddlepaddle-gpu packages, by version and CUDA version, as
# read out of them (2.6.2 of the package registry). They hold no PTX, which newer cards could translate.
MACHINE_CODE = {("2.6.2", "11.8"): ((6, 1), (7, 0), (7, 5), (8, 0), (8, 6))}
SHAPE_RANGES = Kind(
    mark=lambda text: f"# {text}\n".encode(),  # a comment in protobuf's text format
    instead="make its folder writable, or name another file with --shape_info_file",
    replace_unmarked=True,
)
# What one more run costs beside its tokens, counted in tokens: a processor reads all weights once more (6 layers x
# 768 took 15 tokens' time in FP32 and 34 in INT8); a GPU hardly gets busy with a small batch, so there batches are
# always filled.
RUN_OVERHEAD_TOKENS = {"cpu": 32, "gpu": math.inf}


@dataclass
class EngineConfig:
    """How to run a model. Checked when it is made: what cannot work raises an InputError of one line.

    Attributes:
        device: "cpu" or "gpu".
        backend: one of BACKENDS.
        precision: "fp32", "bf16", "fp16" or "int8"; PRECISIONS says which goes where.
        num_threads: processor threads of one run.
        device_id: number of the GPU.
        batch_size: rows of one run, unless the caller of a predictor says otherwise.
        max_seq_length: tokens of the longest input. TensorRT builds its engine for inputs of up to batch_size x
            max_seq_length, and takes no larger ones.
        shape_info_file: where Paddle-TensorRT's shape ranges are kept; by default beside the model.
    """

    device: str = "cpu"
    backend: str = PADDLE
    precision: str = "fp32"
    num_threads: Optional[int] = None
    device_id: int = 0
    batch_size: int = 32
    max_seq_length: int = 128
    shape_info_file: Optional[Union[str, Path]] = None

    def __post_init__(self):
        if self.num_threads is None:
            self.num_threads = usable_processors()
        for name, least in (("num_threads", 1), ("batch_size", 1), ("max_seq_length", 1), ("device_id", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: give a number from {least} on")
        self._check_combination()
        if self.device == "gpu":
            problem = _onnx_gpu_problem(self) if self.is_onnx else _paddle_gpu_problem(self)
            if problem:
                raise InputError(problem)
        if self.precision == "bf16" and not supports_bf16():
            raise InputError("this processor has no bf16 instructions (avx512_bf16 or avx512bw): use fp32 or int8")

    @property
    def is_onnx(self) -> bool:
        return self.backend in (ONNX, ONNX_TENSORRT)

    @property
    def is_tensorrt(self) -> bool:
        return self.backend in (TENSORRT, ONNX_TENSORRT)

    @property
    def run_overhead_tokens(self) -> float:
        """What one more run costs beside its tokens, counted in tokens."""
        return RUN_OVERHEAD_TOKENS[self.device]

    def _check_combination(self) -> None:
        if self.backend not in BACKENDS:
            raise InputError(f"backend {self.backend!r} is not one of {', '.join(BACKENDS)}")
        if self.device not in ("cpu", "gpu"):
            raise InputError(f"device {self.device!r} is neither cpu nor gpu")
        allowed = PRECISIONS.get((self.backend, self.device))
        if allowed is None:
            raise InputError(f"{self.backend} runs on a GPU only: use --device gpu, or leave out --use_trt")
        if self.precision not in allowed:
            instead = INSTEAD.get((self.backend, self.device, self.precision), f"use {' or '.join(allowed)}")
            raise InputError(f"{self.backend} on {self.device} does not run {self.precision}: {instead}")

    def describe(self) -> str:
        """One line for people: engine, processor, precision, threads or device."""
        precision = self.precision.upper() if self.precision != "bf16" else "bf16"
        if self.device == "cpu":
            if self.precision == "int8":
                precision += " (dynamic)" if self.is_onnx else " (fc)"
            engine = "ONNX Runtime, CPU" if self.is_onnx else "Paddle Inference, oneDNN"
            return f"{engine}, {precision}, {self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        engine = "ONNX Runtime" if self.is_onnx else "Paddle Inference"
        runner = "TensorRT" if self.is_tensorrt else "CUDA"
        return f"{engine}, {runner}, {precision}, GPU {self.device_id}"


def supports_bf16() -> bool:
    """Whether Paddle has bf16 kernels for this processor."""
    import_paddle()
    from paddle.base import core

    return core.supports_bfloat16()


def gpu_is_usable() -> bool:
    """Whether Paddle can run on a GPU here: what --device chooses by itself."""
    return cuda_problem() is None


def cuda_problem(device_id: int = 0) -> Optional[str]:
    """Why Paddle cannot run on a GPU of this machine, in one line that says what to do; None when it can."""
    paddle = import_paddle()
    if not paddle.is_compiled_with_cuda():
        return "the installed paddlepaddle is the CPU build: install paddlepaddle-gpu, or use --device cpu"
    count = paddle.device.cuda.device_count()
    if count == 0:
        return "no CUDA device was found: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
    if not 0 <= device_id < count:
        return f"there is no GPU {device_id}: this machine has {count}, counted from 0"
    compiled = MACHINE_CODE.get((paddle.version.full_version, paddle.version.cuda()))
    capability = paddle.device.cuda.get_device_capability(device_id) if compiled else None
    if not compiled or _has_code_for(capability, compiled):
        return None
    known = ", ".join(f"{major}.{minor}" for major, minor in compiled)
    return (
        f"GPU {device_id} has compute capability {capability[0]}.{capability[1]}, and the installed paddlepaddle-gpu "
        f"has machine code for {known} only: use --device cpu, or ONNX Runtime on the GPU"
    )


def _has_code_for(capability: Tuple[int, int], compiled: Tuple[Tuple[int, int], ...]) -> bool:
    """Machine code runs on cards of its own major version and the same or a higher minor one."""
    return any(capability[0] == major and capability[1] >= minor for major, minor in compiled)


def _paddle_gpu_problem(config: EngineConfig) -> Optional[str]:
    """Why this machine cannot run a Paddle GPU configuration; None when it can."""
    from paddle import inference

    problem = cuda_problem(config.device_id)
    if problem or config.backend != TENSORRT:
        return problem
    version = inference.get_trt_compile_version()
    if version[0] == 0:
        return "the installed paddlepaddle is built without TensorRT: install one with TensorRT, or leave out --use_trt"
    library = f"libnvinfer.so.{version[0]}"
    try:
        ctypes.CDLL(library)
    except OSError:
        wanted = ".".join(map(str, version))
        return f"{library} was not found: put TensorRT {wanted} on LD_LIBRARY_PATH, or leave out --use_trt"
    return None


def _onnx_gpu_problem(config: EngineConfig) -> Optional[str]:
    import onnxruntime

    provider = _onnx_providers(config)[0][0]
    if provider in onnxruntime.get_available_providers():
        return None
    return f"the installed onnxruntime has no {provider}: install onnxruntime-gpu, or use --device cpu"


class PaddleEngine:
    """Runs PREFIX.pdmodel with Paddle Inference. One engine serves one thread: clone() it for another.

    Raises:
        InputError: a model file is broken, or the model's precision is not the one asked for.
    """

    def __init__(self, model_path: Union[str, Path], config: EngineConfig):
        self.config = config
        self.prefix = find_model(model_path)
        self.info = inspect_model(self.prefix)
        _check_precision(self.prefix, self.info, config.precision)
        if config.device == "cpu" and self.info.scale_per_column:
            _warn_of_scales(self.prefix)
        if config.is_tensorrt:
            check_length(config.max_seq_length, self.info)
            if not _is_users_own(config.shape_info_file):
                collect_shapes(self.prefix, config)
        self._predictor = _create_predictor(self.prefix, paddle_settings(self.prefix, config))

    @property
    def files(self) -> List[Path]:
        """What the model consists of; other files may stand beside it under its name."""
        return program_files(self.prefix)

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Tuple[np.ndarray, ...]:
        """Logits of one batch. Both inputs are int64 [batch, seq_len], where seq_len is one that padded_length gives
        if inputs of several shapes are run; the outputs are float32.
        """
        return _run_predictor(self._predictor, input_ids, token_type_ids)

    def padded_length(self, length: int) -> int:
        """The seq_len to pad a batch to whose longest input has `length` tokens."""
        if self.config.device == "gpu":
            return length
        return min(distinct_length(length), self.info.max_positions or math.inf)

    def clone(self) -> "PaddleEngine":
        """An engine for another thread; it shares this one's weights."""
        other = copy.copy(self)
        other._predictor = self._predictor.clone()
        return other


def distinct_length(length: int) -> int:
    """The next length that no batch of another shape can be mistaken for on a processor; one in four is.

    Paddle 2.6.2 keeps each matmul's oneDNN primitive under a key in which the dimensions of its input stand
    without anything between them: 2 x 88 and 28 x 8 are both "288". The second to come gets the primitive of
    the first, which reads as many rows as that had and then raises "could not reshape a memory descriptor".
    (Where every shape has a cache of its own this does not happen, but see set_mkldnn_cache_capacity below.)
    So lengths of two digits are made odd here and those of three even: where two keys are the same, so are
    their last digits, then how many digits the length has, then both dimensions. (Lengths of four digits are
    odd too, which is enough for batches of up to 99.) This can go when Paddle separates the dimensions
    (phi::funcs::CreateKey). What is kept for a shape is never given back: therefore one in four.
    """
    if length <= 99:
        return max(length, 11) | 3
    if length <= 996:
        return (length + 3) & ~3
    return ((max(length, 1001) + 2) & ~3) + 1


def shape_info_path(prefix: Path, config: EngineConfig) -> Path:
    """Where the shape ranges for TensorRT are kept; the default name holds what they depend on."""
    return Path(config.shape_info_file or f"{prefix}.shapes-{config.batch_size}x{config.max_seq_length}.pbtxt")


def _is_users_own(shape_info_file: Optional[Union[str, Path]]) -> bool:
    """Whether a file that the user named was made by something else than collect_shapes; it is used as it is."""
    return bool(shape_info_file) and Path(shape_info_file).exists() and origin_of(Path(shape_info_file)) is None


def collect_shapes(prefix: Path, config: EngineConfig, always: bool = False) -> Path:
    """Find the range of every tensor's shape, which TensorRT must know to build an engine for any input.

    A predictor without TensorRT runs the smallest and the largest batch; it writes the ranges when it
    is destroyed. Returns the file, which is the one that is there already if it was made from this model
    for inputs of this size, unless `always` is given.

    Raises:
        InputError: the file cannot be written, the model is broken, or it takes no inputs of this size.
    """
    from paddle import inference

    check_length(config.max_seq_length, inspect_model(prefix))

    def collect(file: Path) -> None:
        settings = base_gpu_settings(prefix, config, inference.PrecisionType.Float32)
        settings.collect_shape_range_info(str(file))
        predictor = _create_predictor(prefix, settings)
        for ids, token_type_ids in extreme_inputs(config):
            _run_predictor(predictor, ids, token_type_ids)
        del predictor
        if file.stat().st_size == 0:  # Paddle says nothing where it cannot write
            raise OSError("nothing was written")

    recipe = f"paddle-{import_paddle().__version__}-{config.batch_size}x{config.max_seq_length}"
    return derive(shape_info_path(prefix, config), program_files(prefix), recipe, collect, SHAPE_RANGES, always)


def program_files(prefix: Path) -> List[Path]:
    """The files of a Paddle model."""
    return [Path(f"{prefix}{suffix}") for suffix in (PROGRAM, PARAMETERS)]


def extreme_inputs(config: EngineConfig) -> List[Tuple[np.ndarray, np.ndarray]]:
    """The smallest and the largest batch (input_ids, token_type_ids) that an engine runs, the smallest first."""
    sizes = ((1, SHORTEST_INPUT), (config.batch_size, config.max_seq_length))
    return [(np.ones(size, dtype=np.int64), np.zeros(size, dtype=np.int64)) for size in sizes]


def _create_predictor(prefix: Path, settings):
    from paddle import inference

    try:
        with _without_pass_log():
            return inference.create_predictor(settings)
    except (RuntimeError, ValueError, MemoryError, OSError, NotImplementedError) as error:
        raise InputError(f"{prefix}{PROGRAM} cannot be loaded: {_reason(error)}") from None


# Hands on all that it reads but Paddle's pass log; a process of its own, because one that aborts hands on nothing.
RELAY = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin.buffer:
    if b"---  " not in line and b"support for BFLOAT16" not in line:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""
RELAY_SECONDS = 2.0
_stderr_in_use = threading.Lock()


@contextmanager
def _without_pass_log() -> Iterator[None]:
    """Keep Paddle's "---    quantized 14 fc ops" lines off stderr.

    Paddle 2.6.2 writes about 30 of them for every INT8 or bf16 predictor (and that the processor has
    BFLOAT16), whatever disable_glog_info says. All else it writes meanwhile reaches stderr, also when it ends
    the process. One thread at a time, as stderr is the whole process's.
    """
    with _stderr_in_use:
        relay = _start_relay()
        if relay is None:
            yield
            return
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(relay.stdin.fileno(), 2)
        relay.stdin.close()
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            # It ends when nobody holds the pipe any more; a process that was started meanwhile may hold it on.
            with suppress(subprocess.TimeoutExpired):
                relay.wait(RELAY_SECONDS)


def _start_relay() -> Optional[subprocess.Popen]:
    """A process that runs RELAY from its stdin to our stderr; None where there is no stderr or no interpreter."""
    if sys.stderr is None:  # started with a closed one: what has its number now may be any file
        return None
    try:
        stderr = os.dup(2)  # Popen starts without fork(), which threads of grpc do not survive, if this is above 2
    except OSError:
        return None
    try:
        command = [sys.executable, "-I", "-S", "-c", RELAY]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr, close_fds=False)
    except OSError:
        return None
    finally:
        os.close(stderr)


def _run_predictor(predictor, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Tuple[np.ndarray, ...]:
    predictor.get_input_handle("input_ids").copy_from_cpu(input_ids)
    predictor.get_input_handle("token_type_ids").copy_from_cpu(token_type_ids)
    predictor.run()
    return tuple(predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names())


def check_length(max_seq_length: int, info: ModelInfo) -> None:
    """Raises InputError where inputs can be longer than the model has positions for."""
    if info.max_positions is not None and max_seq_length > info.max_positions:
        raise InputError(f"max_seq_length {max_seq_length}: the model takes at most {info.max_positions}")


def _check_precision(prefix: Path, info: ModelInfo, precision: str) -> None:
    if precision == "int8" and not info.quantized:
        raise InputError(
            f"{prefix} is not quantized, so it cannot run as INT8: give the int8 model that compress_*.py wrote, "
            "or use fp32"
        )
    if precision != "int8" and info.quantized:
        raise InputError(
            f"{prefix} is quantized, and {precision} would only imitate INT8, slower than the original model: "
            "use int8, or give the model before quantization"
        )


def _warn_of_scales(prefix: Path) -> None:
    """Say that answers will be less accurate than the file allows.

    Paddle 2.6.2 on CPUs reads such weights with wrong scales: quant_dequant_mkldnn_pass takes a
    square weight's scales for those of its rows, and compute_propagate_scales_mkldnn_pass computes
    a column's range from elements that are not that column. The error grows about tenfold.
    """
    warnings.warn(
        f"{prefix} has a scale for each column of a weight, which Paddle 2.6 misreads on CPUs; quantize it with "
        'weight_quantize_type "abs_max"',
        stacklevel=4,
    )


def paddle_settings(prefix: Path, config: EngineConfig):
    """The paddle.inference.Config for a model: every setting of the CPU, and those of the GPU by base_gpu_settings."""
    from paddle import inference

    if config.device == "cpu":
        return _cpu_settings(prefix, config)
    precisions = {
        "fp32": inference.PrecisionType.Float32,
        "fp16": inference.PrecisionType.Half,
        "int8": inference.PrecisionType.Int8,
    }
    if config.backend == PADDLE:
        return base_gpu_settings(prefix, config, precisions[config.precision])
    settings = base_gpu_settings(prefix, config, inference.PrecisionType.Float32)
    settings.enable_tensorrt_engine(
        workspace_size=TENSORRT_WORKSPACE_BYTES,
        max_batch_size=config.batch_size,
        min_subgraph_size=TENSORRT_MIN_SUBGRAPH,
        precision_mode=precisions[config.precision],
        use_static=False,
        use_calib_mode=False,  # an INT8 model carries its own scales
    )
    settings.enable_tuned_tensorrt_dynamic_shape(str(shape_info_path(prefix, config)), True)
    return settings


def base_gpu_settings(prefix: Path, config: EngineConfig, precision):
    """Paddle on CUDA without TensorRT; with FP16, operators that have an FP16 kernel use it."""
    from paddle import inference

    if precision == inference.PrecisionType.Float32:
        forbid_tf32()
    settings = _base_settings(prefix)
    settings.disable_mkldnn()
    settings.enable_use_gpu(GPU_MEMORY_POOL_MB, config.device_id, precision)
    return settings


def forbid_tf32() -> None:
    """From now on this process's FP32 products on a GPU are FP32.

    By default Paddle 2.6 lets cuBLAS and cuDNN round what goes into them to TF32's 10 bits, on cards that can.
    """
    from paddle.base import core

    for name in ("set_cublas_switch", "set_cudnn_switch"):  # not in the CPU build
        getattr(core, name, lambda allowed: None)(False)


def _cpu_settings(prefix: Path, config: EngineConfig):
    settings = _base_settings(prefix)
    settings.disable_gpu()
    settings.enable_mkldnn()
    settings.set_cpu_math_library_num_threads(config.num_threads)
    # By default Paddle 2.6 keeps the last 10 input shapes' primitives, each with weights reordered anew:
    # every batch of another length pays for that in time (a whole pass over the weights) and in memory
    # (ten copies of them). With 0 weights are reordered once for all shapes.
    settings.set_mkldnn_cache_capacity(0)
    if config.precision == "int8":
        # Only the weight matmuls: by default Paddle 2.6 also quantizes the attention's matmuls of two
        # activations, for which oneDNN has no fast INT8 kernel (10 to 30 times slower than FP32).
        settings.enable_mkldnn_int8({"fc"})
    elif config.precision == "bf16":
        with _without_pass_log():
            settings.enable_mkldnn_bfloat16()
    return settings


def _base_settings(prefix: Path):
    from paddle import inference

    settings = inference.Config(f"{prefix}{PROGRAM}", f"{prefix}{PARAMETERS}")
    settings.switch_ir_optim(True)
    settings.enable_memory_optim()
    settings.disable_glog_info()
    return settings


class OnnxEngine:
    """Runs a .onnx file with ONNX Runtime. Sessions may be used by several threads at once.

    Raises:
        InputError: the file is broken, was made for another precision, or the GPU cannot be used.
    """

    def __init__(self, model_path: Union[str, Path], config: EngineConfig):
        import onnxruntime

        self.config = config
        self.prefix = find_model(model_path, ".onnx")
        (path,) = self.files
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty: export it again with paddle2onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.num_threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=_onnx_providers(config))
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise InputError(f"{path} cannot be loaded: {_reason(error)}") from None
        self._session.disable_fallback()  # else an error at run time goes on with other providers, at other speed
        self._check(path)
        num_labels = self._session.get_outputs()[0].shape[-1]
        vocab_size, max_positions = table_sizes(lookup_tables(path))
        self.info = ModelInfo(
            quantized=config.precision == "int8",
            scale_per_column=False,
            vocab_size=vocab_size,
            max_positions=max_positions,
            num_labels=num_labels if isinstance(num_labels, int) else None,
        )
        if config.is_tensorrt:
            check_length(config.max_seq_length, self.info)
            self._build_tensorrt_engines()

    def _build_tensorrt_engines(self) -> None:
        """Let the TensorRT provider see the smallest and the largest input.

        It builds an engine for each subgraph that it cuts when that runs first, for the shapes it has seen so far,
        and anew when an input is outside them; so after these two nothing is built any more. Explicit profiles
        (trt_profile_min_shapes ...) would have to name every dynamic input of every subgraph, which only the
        provider knows (ONNX Runtime 1.18: "User needs to provide all the dynamic shape inputs").
        """
        try:
            for input_ids, token_type_ids in extreme_inputs(self.config):
                self.run(input_ids, token_type_ids)
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise InputError(f"TensorRT cannot run {self.prefix}.onnx: {_reason(error)}") from None

    @property
    def files(self) -> List[Path]:
        return [Path(f"{self.prefix}.onnx")]

    def _check(self, path: Path) -> None:
        wanted = _onnx_providers(self.config)[0][0]
        if wanted not in self._session.get_providers():  # ONNX Runtime itself would go on on the CPU
            libraries = "CUDA, cuDNN or TensorRT 10" if self.config.is_tensorrt else "CUDA or cuDNN"
            raise InputError(f"{wanted} could not be loaded ({libraries} libraries missing?): use --device cpu")
        inputs = sorted(node.name for node in self._session.get_inputs())
        if inputs != list(INPUTS):
            raise InputError(f"{path} has the inputs {', '.join(inputs)}, not input_ids and token_type_ids")
        found = self._session.get_modelmeta().custom_metadata_map.get("precision", "fp32")
        needed = "fp32" if self.config.backend == ONNX_TENSORRT else self.config.precision
        if found != needed:
            raise InputError(
                f"{path} is a {found} model, not {needed}: deploy/paddle2onnx/infer.py makes one from FP32"
            )

    def run(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Tuple[np.ndarray, ...]:
        """Logits of one batch. Both inputs are int64 [batch, seq_len]; the outputs are float32."""
        return tuple(self._session.run(None, {"input_ids": input_ids, "token_type_ids": token_type_ids}))

    def padded_length(self, length: int) -> int:
        """The seq_len to pad a batch to: its own, as any shape can be run."""
        return length

    def clone(self) -> "OnnxEngine":
        """This engine itself: a session serves any number of threads."""
        return self


def _onnx_providers(config: EngineConfig) -> List[Tuple[str, dict]]:
    """ONNX Runtime's execution providers with their options, the preferred one first."""
    cpu: List[Tuple[str, dict]] = [("CPUExecutionProvider", {})]
    if config.device == "cpu":
        return cpu
    # FP32 as FP32: by default products run in TF32, with 10 bits of mantissa, on cards from Ampere on.
    gpu = [("CUDAExecutionProvider", {"device_id": config.device_id, "use_tf32": 0})]
    if config.backend == ONNX:
        return gpu + cpu
    tensorrt = {
        "device_id": config.device_id,
        "trt_fp16_enable": config.precision == "fp16",
        "trt_max_workspace_size": TENSORRT_WORKSPACE_BYTES,
    }
    return [("TensorrtExecutionProvider", tensorrt)] + gpu + cpu


ENGINES = {PADDLE: PaddleEngine, TENSORRT: PaddleEngine, ONNX: OnnxEngine, ONNX_TENSORRT: OnnxEngine}


def load_engine(model_path: Union[str, Path], config: EngineConfig) -> Union[PaddleEngine, OnnxEngine]:
    """The engine of config.backend with a model loaded."""
    return ENGINES[config.backend](model_path, config)


def _reason(error: BaseException) -> str:
    """The line of a C++ error that says what happened, without the stack trace around it."""
    text = str(error).split("Error Message Summary:")[-1]
    lines = [line.strip() for line in text.split("\n") if line.strip(" \t\r-")]
    return lines[0] if lines else type(error).__name__
