"""The ranges of every tensor's shape, which TensorRT must know to build an engine for any input."""

from pathlib import Path
from typing import Optional, Union

from ernie_inference.derived import Kind, derive, origin_of
from ernie_inference.engines.base import extreme_inputs
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.paddle_runtime import base_gpu_settings, create_predictor, run_predictor, shape_info_path
from ernie_inference.model_files import check_length, inspect_model, program_files
from ernie_inference.quiet_imports import import_paddle

SHAPE_RANGES = Kind(
    mark=lambda text: f"# {text}\n".encode(),  # a comment in protobuf's text format
    instead="make its folder writable, or name another file with --shape_info_file",
    replace_unmarked=True,
)


def is_users_own(shape_info_file: Optional[Union[str, Path]]) -> bool:
    """Whether a file that the user named was made by something else than collect_shapes; it is used as it is."""
    file = Path(shape_info_file) if shape_info_file else None
    return file is not None and file.exists() and origin_of(file) is None


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
        predictor = create_predictor(prefix, settings)
        for ids, token_type_ids in extreme_inputs(config):
            run_predictor(predictor, ids, token_type_ids)
        del predictor
        if file.stat().st_size == 0:  # Paddle says nothing where it cannot write
            raise OSError("nothing was written")

    recipe = f"paddle-{import_paddle().__version__}-{config.batch_size}x{config.max_seq_length}"
    return derive(shape_info_path(prefix, config), program_files(prefix), recipe, collect, SHAPE_RANGES, always)
