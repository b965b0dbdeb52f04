"""A process that measures models, and does nothing else.

It reads requests from stdin, each a line of JSON: [name, arguments], with a name of MEASUREMENTS, and answers each by
lines of JSON on stdout: {"answer": ...} any number of times, then {"done": true}; {"error": ...} where there is none.

A process that has trained a model runs others slower than one that has not, and small ones above all: a model that was
4.7 times as fast as the original in processes of their own was 3.7 times as fast there (Paddle 2.6.2).
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from ernie_inference.batches import run_seconds
from ernie_inference.engine_choice import disagreeing, load_installed, time_engines
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.paddle_engine import PaddleEngine
from ernie_inference.errors import InputError
from ernie_inference.predictor import load_predictor
from ernie_inference.tasks.base import Window

Model = Tuple[str, str]  # the prefix of its files, and its precision


def rounds(
    models: Sequence[Model], batches: Sequence, least: int, most: int, seconds: float = 0.0
) -> Iterator[List[List[float]]]:
    """Seconds that each model takes by Paddle on the CPU for each of the same batches, all models in turn, by rounds:
    what else the machine does at the time slows all of them.

    Args:
        batches: (input_ids, token_type_ids), integers [rows, tokens] each.
        least, most: how many rounds there are.
        seconds: between these numbers, after which no further round begins.
    """
    arrays = [(np.asarray(ids, dtype=np.int64), np.asarray(types, dtype=np.int64)) for ids, types in batches]
    engines = [PaddleEngine(prefix, EngineConfig(device="cpu", precision=precision)) for prefix, precision in models]
    for engine in engines:
        _seconds(engine, arrays)  # what is made at the first time is not counted
    started = time.perf_counter()
    for number in range(most):
        if number >= least and time.perf_counter() - started > seconds:
            return
        yield [_seconds(engine, arrays) for engine in engines]


def _seconds(engine: PaddleEngine, batches: Sequence[Tuple[np.ndarray, np.ndarray]]) -> List[float]:
    return [run_seconds(engine, [batch]) for batch in batches]


def engines(model: Model, original: Model, windows: Sequence[Sequence]) -> Iterator[Dict[str, Dict]]:
    """How many times as fast as the original on Paddle a model is with each installed engine, all of them in turn.

    Args:
        windows: the fields of tasks.base.Window.

    Returns:
        {"ratios": by engine, "left_out": {engine: why it cannot run it, or how few of its answers are Paddle's}}.
    """
    reference = load_predictor(original[0], device="cpu", precision=original[1])
    predictors, problems = load_installed(model[0], device="cpu", precision=model[1])
    sample = [Window(*fields) for fields in windows]
    left_out = {**{name: str(problem) for name, problem in problems.items()}, **disagreeing(predictors, sample)}
    agreeing = {name: predictor for name, predictor in predictors.items() if name not in left_out}
    speeds = time_engines({"original": reference, **agreeing}, sample)
    yield {"ratios": {name: speeds[name] / speeds["original"] for name in agreeing}, "left_out": left_out}


def memory(model: Model) -> Iterator[int]:
    """Bytes that this process holds, its resident set, after it has answered by Paddle on the CPU: only then has the
    engine laid out its weights. Python and Paddle themselves are in it, and what else was measured before."""
    predictor = load_predictor(model[0], device="cpu", precision=model[1])
    predictor.predict(predictor.task.sample_inputs)
    yield int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


MEASUREMENTS: Dict[str, Callable[..., Iterator]] = {"rounds": rounds, "engines": engines, "memory": memory}


def main() -> None:
    # What libraries print does not mix with the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def write(content: Dict[str, Any]) -> None:
            print(json.dumps(content), file=answers, flush=True)

        for line in sys.stdin:
            name, arguments = json.loads(line)
            try:
                for answer in MEASUREMENTS[name](**arguments):
                    write({"answer": answer})
                write({"done": True})
            except (InputError, OSError) as error:
                models = " and ".join(str(value[0]) for key, value in arguments.items() if key in ("model", "original"))
                write({"error": f"{models or arguments['models'][-1][0]} cannot be measured: {error}"})
