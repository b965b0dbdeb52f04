"""A quantized Paddle model as ONNX: QuantizeLinear and DequantizeLinear (QDQ) with the same thresholds.

paddle2onnx 1.2.11 ends the process on quantized programs. So the program is taken back to the FP32 one that it was
made from, with the thresholds kept beside it; that is converted; and each product with a weight gets the pair
QuantizeLinear, DequantizeLinear before its activation and DequantizeLinear behind its weight, which is INT8 in the
file with a scale for each column. ONNX Runtime and OpenVINO run such products in INT8. Activations are unsigned there,
around a zero point in the middle, which are the same values: VNNI multiplies unsigned activations with signed weights,
and signed ones take both libraries more time (ONNX Runtime half as much again). Word embeddings that are INT8
become FP32, and stay so: OpenVINO 2025.3 computes wrong values, and may end the process, where it looks up rows of INT8
while it computes in bf16.
"""

from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

from ernie_inference.engines.static_program import loaded_program
from ernie_inference.errors import InputError
from ernie_inference.quiet_imports import import_paddle

LEVELS = 127  # of INT8 on each side of 0
MIDDLE = 128  # of unsigned INT8, what 0 is stored as
SMALLEST_SCALE = 1e-8
QUANTIZE, DEQUANTIZE = "quantize_linear", "dequantize_linear"
MATMULS = ("matmul_v2", "mul", "matmul")
LOOKUP = "lookup_table_v2"


def write_unquantized(prefix: Path, target: Path) -> Dict[str, float]:
    """Write the FP32 program of a quantized one as TARGET.pdmodel.

    Returns {name of a weight: threshold of the activation that it is multiplied with}, for each quantized product.

    Raises:
        InputError: something else than products of activations with weights is quantized.
    """
    with loaded_program(prefix) as model:
        block = model.program.global_block()
        thresholds = _take_out(prefix, block, model.scope)
        _store_whole_tables(block, model.scope)
        inputs = [block.var(name) for name in model.feeds]
        outputs = [block.var(variable.name) for variable in model.fetches]
        static = import_paddle().static
        static.save_inference_model(str(target), inputs, outputs, model.executor, program=model.program)
        return thresholds


def _take_out(prefix: Path, block, scope) -> Dict[str, float]:
    """Remove the quantizing operators of a block: what read their results reads what they read."""
    plain: Dict[str, str] = {}  # a tensor behind such operators -> the one before them
    scales: Dict[str, str] = {}  # that one -> the variable with its scale
    for op in block.ops:
        if op.type in (QUANTIZE, DEQUANTIZE):
            source = op.input("X")[0]
            if op.type == DEQUANTIZE and block.var(source).persistable:
                _dequantize(op, scope)  # a weight that is stored as INT8
            plain[op.output("Y")[0]] = plain.get(source, source)
            scales[plain.get(source, source)] = op.input("Scale")[0]
    thresholds: Dict[str, float] = {}
    for op in block.ops:
        if op.type in (QUANTIZE, DEQUANTIZE):
            continue
        quantized = [name for name in op.input_arg_names if name in plain]
        if not quantized:
            continue
        weight = plain.get(op.input("Y")[0], "") if op.type in MATMULS else ""
        if len(quantized) != 2 or not weight or not block.var(weight).persistable:
            raise InputError(
                f"{prefix} has a quantized {op.type} that is no product of an activation with a weight: "
                "compress without --quantize_activation_matmuls for ONNX"
            )
        thresholds[weight] = float(_values(scope, scales[plain[op.input("X")[0]]]).ravel()[0])
        for name in quantized:
            op._rename_input(name, plain[name])
    for number in reversed(range(len(block.ops))):
        if block.ops[number].type in (QUANTIZE, DEQUANTIZE):
            block._remove_op(number)
    return thresholds


def _values(scope, name: str) -> np.ndarray:
    return np.array(scope.find_var(name).get_tensor())


def _store(scope, name: str, values: np.ndarray) -> None:
    scope.var(name).get_tensor().set(values.astype(np.float32), import_paddle().CPUPlace())


def _dequantize(op, scope) -> None:
    """Put into a weight's place what its dequantize_linear makes of it."""
    name, axis = op.input("X")[0], op.attr("quant_axis")
    values, scales = _values(scope, name), _values(scope, op.input("Scale")[0])
    shape = [1] * values.ndim
    shape[max(axis, 0)] = len(scales)
    _store(scope, name, values * scales.reshape(shape) / LEVELS)


def _store_whole_tables(block, scope) -> None:
    """Make FP32 of the tables that ernie_suite/compression/quantization.py stored as INT8."""
    makers = {name: op for op in block.ops for name in op.output_arg_names}
    for product in [op for op in block.ops if op.type == "elementwise_mul"]:
        cast, factors = (makers.get(product.input(name)[0]) for name in ("X", "Y"))
        rows = makers.get(cast.input("X")[0]) if cast is not None and cast.type == "cast" else None
        if rows is None or rows.type != LOOKUP or factors is None or factors.type != LOOKUP:
            continue
        stored, scales = rows.input("W")[0], factors.input("W")[0]
        values = _values(scope, stored) * _values(scope, scales)
        name = stored.removesuffix(".int8")
        _store(scope, name, values)
        table = block.create_var(name=name, shape=values.shape, dtype="float32", persistable=True)
        ids, output = block.var(rows.input("Ids")[0]), block.var(product.output("Out")[0])
        attributes = {"padding_idx": rows.attr("padding_idx")}
        gone = [number for number, op in enumerate(block.ops) if op in (rows, factors, cast, product)]
        for number in reversed(gone):
            block._remove_op(number)
        inputs = {"W": [table], "Ids": [ids]}
        block._insert_op(gone[0], type=LOOKUP, inputs=inputs, outputs={"Out": [output]}, attrs=attributes)
        for unused in (stored, scales):
            block._remove_var(unused)


def _replace(field, content: List) -> None:
    """Set a repeated field of a protobuf message to messages that may be its own."""
    content = [type(item).FromString(item.SerializeToString()) for item in content]
    del field[:]
    field.extend(content)


def quantize_products(model, thresholds: Dict[str, float]) -> None:
    """Make the products of an FP32 ONNX model INT8, in place.

    Args:
        model: an onnx.ModelProto whose weights are initializers with the names that they had in Paddle.
        thresholds: what write_unquantized returned.

    Raises:
        InputError: a product is not found.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.name in thresholds}
    added: List[onnx.TensorProto] = []
    done: Dict[Tuple[str, float], str] = {}  # (activation, threshold) -> what stands for it
    nodes: List[onnx.NodeProto] = []

    def constant(name: str, values: np.ndarray) -> str:
        added.append(numpy_helper.from_array(values, name))
        return name

    def stand_in(activation: str, threshold: float) -> str:
        """The activation, rounded to INT8."""
        if (activation, threshold) not in done:
            name = f"{activation}.int8.{len(done)}"
            scale = constant(f"{name}.scale", np.array(max(threshold / LEVELS, SMALLEST_SCALE), dtype=np.float32))
            zero = constant(f"{name}.zero", np.array(MIDDLE, dtype=np.uint8))
            nodes.append(helper.make_node("QuantizeLinear", [activation, scale, zero], [name]))
            nodes.append(helper.make_node("DequantizeLinear", [name, scale, zero], [f"{name}.float"]))
            done[activation, threshold] = f"{name}.float"
        return done[activation, threshold]

    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            weight = node.input[1]
            values, scales = columns_to_int8(numpy_helper.to_array(weights.pop(weight)))
            inputs = [
                constant(f"{weight}.int8", values),
                constant(f"{weight}.scale", scales),
                constant(f"{weight}.zero", np.zeros(len(scales), dtype=np.int8)),
            ]
            node.input[0] = stand_in(node.input[0], thresholds[weight])
            nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{weight}.float"], axis=1))
            node.input[1] = f"{weight}.float"
        nodes.append(node)
    if weights:
        raise InputError(
            f"the product with {min(weights)} is not found in the ONNX graph: this model cannot be converted"
        )
    kept = [tensor for tensor in graph.initializer if tensor.name not in thresholds]
    _replace(graph.node, nodes)
    _replace(graph.initializer, kept + added)


def columns_to_int8(weight: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """A weight [rows, columns] as INT8 with a scale for each column, float32 [columns]."""
    scales = np.maximum(np.abs(weight).max(axis=0) / LEVELS, SMALLEST_SCALE).astype(np.float32)
    return np.clip(np.rint(weight / scales), -LEVELS, LEVELS).astype(np.int8), scales
