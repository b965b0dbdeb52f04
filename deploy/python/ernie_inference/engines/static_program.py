"""An exported Paddle model as a program, to be run or rewritten operator by operator."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple

import numpy as np

from ernie_inference.quiet_imports import import_paddle

NO_PADDING = -1  # the padding_idx of a lookup without one


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


def write_without_padding_index(prefix: Path, target: Path) -> None:
    """Write a program as TARGET.pdmodel whose embeddings have zeros in the row that is looked up as zeros.

    Of a table with a padding index, paddle2onnx 1.2.11 writes a second constant of its size, of ones and of zeros in
    that row, which the table is multiplied with: ERNIE's word embeddings would be twice in the file.
    """
    paddle = import_paddle()
    with loaded_program(prefix) as model:
        block = model.program.global_block()
        for op in block.ops:
            if op.type != "lookup_table_v2" or op.attr("padding_idx") == NO_PADDING:
                continue
            tensor = model.scope.find_var(op.input("W")[0]).get_tensor()
            table = np.array(tensor)
            table[op.attr("padding_idx")] = 0
            tensor.set(table, paddle.CPUPlace())
            op._set_attr("padding_idx", NO_PADDING)
        inputs, outputs = (
            [block.var(name) for name in names] for names in (model.feeds, [v.name for v in model.fetches])
        )
        paddle.static.save_inference_model(str(target), inputs, outputs, model.executor, program=model.program)
