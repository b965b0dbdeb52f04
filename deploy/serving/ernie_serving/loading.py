"""A serving folder -> a predictor, or one line that says why not."""

from dataclasses import replace
from pathlib import Path
from typing import List, NamedTuple

from ernie_inference.engine_choice import AUTO, ENGINES, WITH_TENSORRT, backend_of, load_with
from ernie_inference.engines.config import EngineConfig
from ernie_inference.errors import InputError
from ernie_inference.files import digest_of
from ernie_inference.inference_config import INFERENCE_FILE, VOCAB_FILE
from ernie_inference.model_files import ONNX_FILE, PROGRAM, find_model, program_files, says_quantized
from ernie_inference.predictor import ErniePredictor
from ernie_serving.model_to_serving import check_serving_folder
from ernie_serving.service_config import ModelConfig

DIGEST_CHARS = 6


class Loaded(NamedTuple):
    """What load() gives.

    Attributes:
        predictor: not yet run.
        config: as it was asked for, with the engine that was chosen in the place of `auto`.
        digest: of the model's files.
    """

    predictor: ErniePredictor
    config: ModelConfig
    digest: str

    def version(self, number: int) -> str:
        """What answers name, where this is the so-manieth time that the model is loaded."""
        return f"{number}-{self.digest}"


def digest_in(version: str) -> str:
    """The part of a version that says which files the model is made of."""
    return version.partition("-")[2]


def check_model(config: ModelConfig) -> None:
    """What can be said before a model is loaded.

    Raises:
        InputError: this machine, or the engine, cannot run a model so; or the folder's model is not quantized and INT8
            is asked for.
    """
    problems: List[InputError] = []
    engines = ENGINES if config.engine == AUTO else [config.engine]
    for engine in engines:
        try:
            EngineConfig(
                config.device,
                backend_of(engine, config.use_trt),
                config.precision,
                config.thread_num,
                config.device_id,
                config.batch_size,
            )
        except InputError as problem:
            problems.append(problem)
    if len(problems) == len(engines):
        raise problems[0]
    folder = Path(config.model_dir)
    if config.precision == "int8" and list(folder.glob(f"*{PROGRAM}")):
        prefix = find_model(folder)
        if not says_quantized(Path(f"{prefix}{PROGRAM}")):
            raise InputError(
                f"{prefix} is not quantized, so it cannot run as INT8: "
                "give the int8 model that compress_*.py wrote, or use fp32"
            )


def load(config: ModelConfig) -> Loaded:
    """The predictor of a serving folder.

    What another engine than Paddle runs is made of the model first, and kept in the folder.

    Raises:
        InputError: the model, this machine or the engine does not fit the options.
    """
    folder = check_serving_folder(config.model_dir)
    digest = digest_of_model(folder)
    predictor = load_with(
        config.engine,
        folder,
        use_trt=config.use_trt,
        max_seq_length=config.max_seq_length,
        device=config.device,
        device_id=config.device_id,
        precision=config.precision,
        num_threads=config.thread_num,
        batch_size=config.batch_size,
        few_shapes=config.few_shapes,
    )
    if digest_of_model(folder) != digest:
        raise InputError(f"{folder} was changed while it was read: try again when it is complete")
    backend = predictor.engine.config.backend
    engine = next(name for name in ENGINES if backend in (name, WITH_TENSORRT.get(name)))
    return Loaded(predictor, replace(config, engine=engine), digest)


def digest_of_model(folder: Path) -> str:
    """The beginning of a digest of a serving folder's model, whichever engine runs it.

    Raises:
        InputError: a file cannot be read.
    """
    if list(folder.glob(f"*{PROGRAM}")):
        files = program_files(find_model(folder))  # other engines' files are made of these
    else:
        files = [Path(f"{find_model(folder, ONNX_FILE)}{ONNX_FILE}")]
    return digest_of([*files, folder / INFERENCE_FILE, folder / VOCAB_FILE])[:DIGEST_CHARS]
