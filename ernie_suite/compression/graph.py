"""The operators of an exported FP32 model by what they make and read, to rewrite it with the same answers."""

from typing import Dict, List, NamedTuple, Optional

import numpy as np
import paddle

from ernie_inference.engines.static_program import LoadedProgram

MATMULS = ("matmul_v2", "mul", "matmul")


class Linear(NamedTuple):
    """A product of an activation with a weight, and the bias that is added to it: the names of the four tensors."""

    activation: str
    weight: str
    bias: str
    output: str


class Graph:
    """The first block of a program, with its parameters, without the dropouts, which do nothing in an exported model.

    Attributes:
        makers: tensor -> the operator that makes it.
        readers: tensor -> the operators that read it. Both are as the program was when this was made.
    """

    def __init__(self, model: LoadedProgram):
        self.scope = model.scope
        self.block = model.program.global_block()
        _take_out_dropouts(self.block)
        self.parameters = {variable.name for variable in model.program.list_vars() if variable.persistable}
        self.makers: Dict[str, paddle.base.framework.Operator] = {}
        self.readers: Dict[str, List[paddle.base.framework.Operator]] = {}
        for op in self.block.ops:
            self.makers.update(dict.fromkeys(op.output_arg_names, op))
            for name in op.input_arg_names:
                self.readers.setdefault(name, []).append(op)

    def values(self, name: str) -> np.ndarray:
        return np.array(self.scope.find_var(name).get_tensor())

    def store(self, name: str, values: np.ndarray) -> None:
        self.scope.var(name).get_tensor().set(np.ascontiguousarray(values, dtype=np.float32), paddle.CPUPlace())

    def products(self) -> List[paddle.base.framework.Operator]:
        """The matmuls with a weight."""
        return [op for op in self.block.ops if op.type in MATMULS and op.input("Y")[0] in self.parameters]

    def linears(self) -> List[Linear]:
        """The products whose weight and bias nothing else reads."""
        found = (self.linear_of(op) for op in self.products())
        return [linear for linear in found if linear is not None]

    def linear_of(self, product) -> Optional[Linear]:
        weight, output = product.input("Y")[0], product.output("Out")[0]
        added = self.only_reader(output)
        if added is None or added.type != "elementwise_add" or added.input("X") != [output]:
            return None
        bias = added.input("Y")[0]
        transposed = any(product.has_attr(name) and product.attr(name) for name in ("trans_x", "trans_y"))
        alone = bias in self.parameters and self.only_reader(weight) and self.only_reader(bias)
        return Linear(product.input("X")[0], weight, bias, added.output("Out")[0]) if alone and not transposed else None

    def only_reader(self, name: str):
        """The operator that reads a tensor; None where there is none, or more than one."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 else None

    def insert_before(self, reader, kind: str, inputs: List[str], output: str, channels: int, **attributes) -> str:
        """Insert an operator of one or two inputs before another one; the result has `channels` channels."""
        shape = self.block.var(inputs[0]).shape[:-1]
        result = self.block.create_var(name=output, shape=[*shape, channels], dtype="float32")
        self.block._insert_op(
            self.block.ops.index(reader),
            type=kind,
            inputs={slot: [self.block.var(name)] for slot, name in zip("XY", inputs)},
            outputs={"Out": [result]},
            attrs=attributes,
        )
        return output

    def add_parameter(self, name: str, values: np.ndarray) -> str:
        self.store(name, values)
        self.block.create_var(name=name, shape=values.shape, dtype="float32", persistable=True)
        return name


def _take_out_dropouts(block) -> None:
    """Let what reads a dropout's result read what it was given, which is the same at inference."""
    idle = [
        op
        for op in block.ops
        if op.type == "dropout" and op.attr("is_test") and op.attr("dropout_implementation") == "upscale_in_train"
    ]
    for dropout in idle:
        given, result = dropout.input("X")[0], dropout.output("Out")[0]
        for op in block.ops:
            if op is not dropout and result in op.input_arg_names:
                op._rename_input(result, given)
    for number in reversed([number for number, op in enumerate(block.ops) if op in idle]):
        block._remove_op(number)
