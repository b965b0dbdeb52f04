"""Every setting of Paddle Inference, on processors, on CUDA and in TensorRT."""

from pathlib import Path
from typing import Tuple

import numpy as np

from ernie_inference.engines.backends import PADDLE, TENSORRT_WORKSPACE_BYTES
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.pass_log import without_pass_log
from ernie_inference.errors import InputError, reason_of
from ernie_inference.model_files import PARAMETERS, PROGRAM

GPU_MEMORY_POOL_MB = 256

# Subgraphs smaller than this stay in Paddle: the way into TensorRT and back would cost more than it saves.
TENSORRT_MIN_SUBGRAPH = 5


def create_predictor(prefix: Path, settings):
    from paddle import inference

    try:
        with without_pass_log():
            return inference.create_predictor(settings)
    except (RuntimeError, ValueError, MemoryError, OSError, NotImplementedError) as error:
        raise InputError(f"{prefix}{PROGRAM} cannot be loaded: {reason_of(error)}") from None


def run_predictor(predictor, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Tuple[np.ndarray, ...]:
    predictor.get_input_handle("input_ids").copy_from_cpu(input_ids)
    predictor.get_input_handle("token_type_ids").copy_from_cpu(token_type_ids)
    predictor.run()
    return tuple(predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names())


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
        with without_pass_log():
            settings.enable_mkldnn_bfloat16()
    return settings


def _base_settings(prefix: Path):
    from paddle import inference

    settings = inference.Config(f"{prefix}{PROGRAM}", f"{prefix}{PARAMETERS}")
    settings.switch_ir_optim(True)
    settings.enable_memory_optim()
    settings.disable_glog_info()
    return settings


def shape_info_path(prefix: Path, config: EngineConfig) -> Path:
    """Where the shape ranges for TensorRT are kept; the default name holds what they depend on."""
    return Path(config.shape_info_file or f"{prefix}.shapes-{config.batch_size}x{config.max_seq_length}.pbtxt")
