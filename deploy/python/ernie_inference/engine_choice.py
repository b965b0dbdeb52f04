"""Which engine runs a model: the one that flags name, or, with --engine auto, the fastest that is installed."""

import time
from argparse import ArgumentParser, Namespace
from operator import eq
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple, Union

from ernie_inference.console import note
from ernie_inference.engines.availability import is_installed
from ernie_inference.engines.backends import BACKENDS, ONNX, ONNX_TENSORRT, OPENVINO, PADDLE, TENSORRT
from ernie_inference.errors import InputError
from ernie_inference.model_files import ONNX_FILE
from ernie_inference.predictor import ErniePredictor, load_predictor
from ernie_inference.tasks.base import Task, Window

AUTO = "auto"
ENGINES = (PADDLE, ONNX, OPENVINO)  # the names that --engine takes, beside auto
WITH_TENSORRT = {PADDLE: TENSORRT, ONNX: ONNX_TENSORRT}
SCORES = ("confidence", "score")  # of an answer: their last digits depend on the engine

PROBE_TEXTS = 64
SHORTEST_PROBE = 8  # characters
PROBE_SECONDS = 1.0  # for each engine, its rests not counted
LEAST_ROUNDS, MOST_ROUNDS = 3, 10  # a round of a small model is over in milliseconds, and then most of it is rest
REST_SECONDS = 0.2  # threads of Paddle and ONNX Runtime wait busily for a while after a run, beside whoever is next
# Of the probe's answers: INT8 of two engines rounds some products otherwise, and a text near a border may change sides.
AGREEING_SHARE = 0.9


def add_engine_flags(parser: ArgumentParser) -> None:
    """The flags that say which engine runs a model."""
    parser.add_argument(
        "--engine",
        choices=[AUTO, *ENGINES],
        help="auto: the fastest one on this machine that is installed; default: paddle, for a .onnx file onnxruntime",
    )
    parser.add_argument("--use_onnxruntime", action="store_true", help="--engine onnxruntime")
    parser.add_argument("--use_openvino", action="store_true", help="--engine openvino")


def engine_of(args: Namespace) -> str:
    """The engine that the flags ask for, one of ENGINES or AUTO.

    Raises:
        InputError: they ask for several.
    """
    asked = {
        **({f"--engine {args.engine}": args.engine} if args.engine else {}),
        **({"--use_onnxruntime": ONNX} if args.use_onnxruntime else {}),
        **({"--use_openvino": OPENVINO} if args.use_openvino else {}),
    }
    if len(set(asked.values())) > 1:
        raise InputError(f"{' and '.join(asked)}: give one of them")
    return next(iter(asked.values()), ONNX if str(args.model_path).endswith(ONNX_FILE) else PADDLE)


def load_with(engine: str, model_path: Union[str, Path], use_trt: bool = False, **options: Any) -> ErniePredictor:
    """load_predictor with the engine of a name, TensorRT within it where that is asked for, or with the fastest one.

    Raises:
        InputError: as load_predictor, or the engine has no TensorRT.
    """
    if engine == AUTO:
        return load_fastest(model_path, use_trt=use_trt, **options)
    return load_predictor(model_path, backend=backend_of(engine, use_trt), **options)


def backend_of(engine: str, use_trt: bool = False) -> str:
    """The backend that the engine of a name is, with or without TensorRT.

    Raises:
        InputError: the engine has no TensorRT.
    """
    if use_trt and engine not in WITH_TENSORRT:
        raise InputError(f"--use_trt: {engine} has no TensorRT, leave it out")
    return WITH_TENSORRT[engine] if use_trt else engine


def load_fastest(model_path: Union[str, Path], use_trt: bool = False, **options: Any) -> ErniePredictor:
    """The predictor with the engine that computes the most texts a second here, of those whose answers agree.

    Each engine that is installed and runs this model so computes the same texts, in turn, for up to a second. What it
    took is noted on stderr, and so is why another engine was left out.

    Raises:
        InputError: no engine can run the model so; the message is that of the first one.
    """
    predictors, refusals = load_installed(model_path, use_trt, **options)
    if not predictors:
        device, precision = options.get("device", "cpu"), options.get("precision", "fp32")
        backends = [BACKENDS[engine] for engine in engines_for(model_path)]
        packages = ", ".join(backend.package for backend in backends)
        advice = "use fp32" if any(map(is_installed, backends)) else f"install one of {packages}"
        raise next(iter(refusals.values()), InputError(f"no installed engine runs {precision} on {device}: {advice}"))
    for engine, refusal in refusals.items():
        note(f"--engine auto leaves out {engine}: {refusal}")
    first = next(iter(predictors.values()))
    # One window of each: a question has one for each of its choices, with which the time would grow.
    windows = [next(first.task.windows_iter(example)) for example in probe_inputs(first.task)]
    for engine, reason in disagreeing(predictors, windows).items():
        note(f"--engine auto leaves out {engine}: {reason}")
        del predictors[engine]
    speeds = time_engines(predictors, windows)
    best = max(speeds, key=speeds.__getitem__)
    note("--engine auto: " + ", ".join(f"{engine} {speed:.0f} inputs/s" for engine, speed in speeds.items()))
    return predictors[best]


def engines_for(model_path: Union[str, Path]) -> List[str]:
    """The engines that may run what a path means: of a .onnx file those that run such files, else all of them."""
    is_onnx = str(model_path).endswith(ONNX_FILE)
    return [engine for engine in ENGINES if not is_onnx or BACKENDS[engine].suffix == ONNX_FILE]


def load_installed(
    model_path: Union[str, Path], use_trt: bool = False, **options: Any
) -> Tuple[Dict[str, ErniePredictor], Dict[str, InputError]]:
    """(predictors, refusals) by engine, of those that are installed and take this device and precision."""
    predictors: Dict[str, ErniePredictor] = {}
    refusals: Dict[str, InputError] = {}
    device, precision = options.get("device", "cpu"), options.get("precision", "fp32")
    for engine in engines_for(model_path):
        backend = BACKENDS[WITH_TENSORRT.get(engine, engine) if use_trt else engine]
        if not is_installed(backend) or precision not in backend.precisions.get(device, ()):
            continue
        try:
            predictors[engine] = load_with(engine, model_path, use_trt, **options)
        except InputError as error:
            refusals[engine] = error
    return predictors, refusals


def disagreeing(predictors: Dict[str, ErniePredictor], windows: Sequence[Window]) -> Dict[str, str]:
    """{engine: how few of its answers are those of the first engine}, where they are too few."""
    choices = {engine: choices_of(predictor, windows) for engine, predictor in predictors.items()}
    reference, first = next(iter(choices.values()), []), next(iter(choices), None)
    shares = {engine: sum(map(eq, found, reference)) / max(len(reference), 1) for engine, found in choices.items()}
    return {
        engine: f"only {share:.0%} of its answers are those of {first}"
        for engine, share in shares.items()
        if share < AGREEING_SHARE
    }


def time_engines(
    predictors: Dict[str, ErniePredictor], windows: Sequence[Window], seconds: float = PROBE_SECONDS
) -> Dict[str, float]:
    """Windows a second of each predictor, by the least time of rounds in which all compute the same windows, in turn.

    Args:
        seconds: after which no further round begins; they are counted for the slowest predictor, without its rests.
    """
    took: Dict[str, List[float]] = {name: [] for name in predictors}
    for predictor in predictors.values():
        predictor.run_windows(windows)  # what is made at the first time is not counted
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and max(map(sum, took.values())) >= seconds:
            break
        for name, predictor in predictors.items():
            time.sleep(REST_SECONDS)
            started = time.perf_counter()
            predictor.run_windows(windows)
            took[name].append(time.perf_counter() - started)
    return {name: len(windows) / min(times) for name, times in took.items()}


def choices_of(predictor: ErniePredictor, windows: Sequence[Window]) -> List[int]:
    """What the model takes for the likeliest in all windows, one after another."""
    outputs = predictor.run_windows(windows)
    return [choice for pair in zip(windows, outputs) for choice in predictor.task.choices(*pair)]


def probe_inputs(task: Task, count: int = PROBE_TEXTS) -> List[Dict]:
    """Examples of lengths from a few characters to a whole window, made of the task's sample inputs."""
    samples = [task.as_example(given, "sample") for given in task.sample_inputs]
    inputs = []
    for number in range(count):
        example = dict(samples[number % len(samples)])
        name = max(example, key=lambda field: len(example[field]))
        length = SHORTEST_PROBE + (task.max_seq_length - SHORTEST_PROBE) * number // count
        value = example[name]
        example[name] = (value * (length // len(value) + 1))[:length]
        inputs.append(example)
    return inputs


def without_scores(answers: Iterable[Dict]) -> List[Dict]:
    """Answers without the figures whose last digits depend on how they were computed."""
    return [_without_scores(answer) for answer in answers]


def _without_scores(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_scores(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_scores(each) for name, each in value.items() if name not in SCORES}
    return value
