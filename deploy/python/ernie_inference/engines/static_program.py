"""An exported Paddle model as a program, to be run or rewritten operator by operator."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple

from ernie_inference.quiet_imports import import_paddle


class LoadedProgram(NamedTuple):
    """A paddle.static.Program with its parameters in a scope of its own, and the executor that runs it."""

    program: Any
    feeds: List[str]
    fetches: list
    scope: Any
    executor: Any


@contextmanager
def loaded_program(prefix: Path) -> Iterator[LoadedProgram]:
    """Within the block Paddle is in static mode and PREFIX.pdmodel is loaded on the CPU."""
    paddle = import_paddle()
    static = paddle.static
    paddle.enable_static()
    try:
        scope = static.Scope()
        with static.scope_guard(scope):
            executor = static.Executor(paddle.CPUPlace())
            program, feeds, fetches = static.load_inference_model(str(prefix), executor)
            yield LoadedProgram(program, feeds, fetches, scope, executor)
    finally:
        paddle.disable_static()
