"""Post-training quantization of an exported model to INT8.

PaddleNLP 2.8.1's Trainer.compress cannot do this with paddle 2.6.2 (`data_loader cannot be None`), and
calling Paddle's PostTrainingQuantization once for every algorithm and size repeats its slow part, so
here the FP32 program runs over the calibration texts for the whole grid (thresholds.py), and Paddle's
own pass then writes each quantized program. Only the matmuls with weights are quantized: on a CPU
that is where the time goes, and oneDNN has no fast INT8 kernel for the attention's products of two
activations.
"""

import contextlib
import io
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.graph import MATMULS
from ernie_suite.compression.smoothing import OUTLIERS
from ernie_suite.compression.thresholds import SECOND_RUN, ActivationStatistics, all_thresholds

import numpy as np
import paddle
from paddle import static
from paddle.base.framework import IrGraph
from paddle.framework import core
from paddle.static.quantization import AddQuantDequantPassV2, QuantizationTransformPassV2, QuantWeightPass
from tqdm import tqdm

from ernie_inference.engines.static_program import LoadedProgram, loaded_program
from ernie_inference.errors import InputError

SKIPPED = "skip_quant"  # what Paddle's passes look for in the name scope of an operator

Candidate = Tuple[str, int]  # algorithm, number of calibration texts
Thresholds = Dict[Candidate, Dict[str, float]]


def folder_name(algorithm: str, calibration_texts: int, mixed_precision: int = 0, int8_embeddings: bool = False) -> str:
    """hist16 for "hist" and 16; hist16_mixed2_embeddings with two products in FP32 and INT8 embeddings."""
    mixed = f"_mixed{mixed_precision}" if mixed_precision else ""
    return f"{algorithm}{calibration_texts}{mixed}{'_embeddings' if int8_embeddings else ''}"


# ---------------------------------------------------------------- calibration


def calibrate(prefix: Path, texts: Sequence[Dict], config: PTQConfig) -> Thresholds:
    """The thresholds of every activation for the whole grid of config.algo_list x config.batch_size_list.

    Args:
        prefix: the FP32 model.
        texts: features with input_ids and token_type_ids; the first n are used for size n.
    """
    texts = texts[: max(config.batch_size_list)]
    with loaded_program(prefix) as model:
        names = activations(model.program, config.quantize_activation_matmuls)
        if not names:
            raise InputError(f"{prefix} has no matmul that can be quantized: give an exported model of this suite")
        statistics = {name: ActivationStatistics(config.batch_size_list, config.algo_list) for name in names}
        for name, values in _activations_of(model, names, texts, "ranges"):
            statistics[name].observe_range(values)
        if SECOND_RUN & set(config.algo_list):
            for name, values in _activations_of(model, names, texts, "histograms"):
                statistics[name].observe_values(values)
    return all_thresholds(statistics, config.algo_list, config.batch_size_list)


def activations(program: static.Program, of_activation_matmuls: bool) -> List[str]:
    """The activations that go into matmuls with weights or, if asked for, into any matmul."""
    parameters = _parameters(program)
    names = []
    for op in _matmuls(program):
        inputs = op.input("X") + op.input("Y")
        if op.input("Y")[0].endswith(OUTLIERS):
            continue
        if of_activation_matmuls or set(inputs) & parameters:
            names += [name for name in inputs if name not in parameters]
    return list(dict.fromkeys(names))


def _activations_of(model: LoadedProgram, names: List[str], texts: Sequence[Dict], what: str):
    """(name, values) of every activation for every text, the texts in order."""
    for text in tqdm(texts, desc=f"calibration: {what}", leave=False):
        feed = {name: np.asarray([text[name]], dtype=np.int64) for name in model.feeds}
        yield from zip(names, model.executor.run(model.program, feed=feed, fetch_list=names, scope=model.scope))


def _matmuls(program: static.Program) -> list:
    return [op for op in program.global_block().ops if op.type in MATMULS]


def _parameters(program: static.Program) -> set:
    return {variable.name for variable in program.list_vars() if variable.persistable}


# ---------------------------------------------------------------- writing


def write_quantized(
    prefix: Path, thresholds: Dict[str, float], config: PTQConfig, target: Path, embeddings: bool = False
) -> None:
    """Write the INT8 program of an FP32 model, with the given thresholds of its activations, as TARGET.pdmodel.

    Every quantized matmul gets quantize_linear and dequantize_linear operators before it, which
    Paddle Inference turns into INT8 kernels when it loads the model; products of an activation without
    a threshold stay in FP32. With `embeddings` the word embeddings become INT8 too.

    With weight_quantize_type "abs_max" the weights stay FP32 in the file, behind such operators too,
    and the engine quantizes them when it loads the model, with one scale a matrix. That is not a
    choice of ours: where weights are stored as INT8, Paddle 2.6.2 (compute_propagate_scales_mkldnn_pass,
    GetScales) computes the scale of output column i from elements i * rows to (i + 1) * rows of the
    row-major matrix, which are not that column, and quantizes with that: ten times the error on a
    768 x 768 matrix of normally distributed weights. A weight with its own quantize_linear keeps its
    scale; without one the engine chooses scales of columns itself, in the same wrong way. When that is
    mended in Paddle, channel_wise_abs_max can become the default and the files shrink.
    """
    with loaded_program(prefix) as model:
        program = quantized_program(model, thresholds, config)
        if embeddings:
            _quantize_embeddings(program, model.scope)
        block = program.global_block()
        feeds = [block.var(name) for name in model.feeds]
        fetches = [block.var(variable.name) for variable in model.fetches]
        static.save_inference_model(str(target), feeds, fetches, model.executor, program=program)


def quantized_program(
    model: LoadedProgram, thresholds: Dict[str, float], config: PTQConfig, store_weights: bool = True
) -> static.Program:
    """The INT8 program of a loaded FP32 model, whose own is left as it is.

    Args:
        thresholds: those of activations; products of an activation that has none stay in FP32.
        store_weights: whether to turn the weights into INT8 where config.weight_quantize_type stores them so.
    """
    program = model.program.clone(for_test=True)
    for op in _matmuls(program):
        activation, weight = op.input("X")[0], op.input("Y")[0]
        if activation not in thresholds or weight.endswith(OUTLIERS):
            op._set_attr("op_namescope", SKIPPED)
    graph, place = IrGraph(core.Graph(program.desc), for_test=True), paddle.CPUPlace()
    with contextlib.redirect_stderr(io.StringIO()):  # the passes' own progress bars, which say nothing here
        QuantizationTransformPassV2(
            scope=model.scope,
            place=place,
            activation_quantize_type="range_abs_max",
            weight_quantize_type=config.weight_quantize_type,
            quantizable_op_type=list(MATMULS),
        ).apply(graph)
        if config.quantize_activation_matmuls:
            AddQuantDequantPassV2(scope=model.scope, place=place, quantizable_op_type=list(MATMULS)).apply(graph)
        for name, scale in {**thresholds, **_weight_thresholds(model, config.weight_quantize_type)}.items():
            _set_scale(model.scope, name, scale)
        if config.weight_quantize_type == "channel_wise_abs_max" and store_weights:
            QuantWeightPass(model.scope, place).apply(graph)
    return graph.to_program()


def _quantize_embeddings(program: static.Program, scope: static.Scope) -> None:
    """Store the largest table that ids are looked up in as INT8 with one scale a row.

    Ids look up rows of INT8 and their scales, and the product of the two is what the FP32 table gave, to
    half a step: only looked-up rows are turned into FP32, never the table.
    """
    block = program.global_block()
    lookups = [i for i, op in enumerate(block.ops) if op.type == "lookup_table_v2"]
    words = [i for i in lookups if block.ops[i].input("Ids") == ["input_ids"]] or lookups
    index = max(words, key=lambda i: block.var(block.ops[i].input("W")[0]).shape[0])
    op = block.ops[index]
    table, ids, output = op.input("W")[0], block.var(op.input("Ids")[0]), block.var(op.output("Out")[0])
    weights = np.array(scope.find_var(table).get_tensor())
    scales = np.maximum(np.abs(weights).max(axis=1, keepdims=True) / 127, 1e-12)

    def parameter(name: str, values: np.ndarray):
        scope.var(name).get_tensor().set(values, paddle.CPUPlace())
        return block.create_var(name=name, shape=values.shape, dtype=str(values.dtype), persistable=True)

    def looked_up(name: str, dtype: str, width: int):
        return block.create_var(name=f"{output.name}.{name}", shape=[*output.shape[:-1], width], dtype=dtype)

    rows = parameter(f"{table}.int8", np.round(weights / scales).astype(np.int8))
    row_scales = parameter(f"{table}.scales", scales)
    integers = looked_up("int8", "int8", weights.shape[1])
    floats = looked_up("float", "float32", weights.shape[1])
    factors = looked_up("scales", "float32", 1)
    attributes = {"padding_idx": op.attr("padding_idx")}
    types = {"in_dtype": integers.dtype, "out_dtype": floats.dtype}
    block._remove_op(index)
    for number, (kind, inputs, result, attrs) in enumerate(
        (
            ("lookup_table_v2", {"W": [rows], "Ids": [ids]}, integers, attributes),
            ("lookup_table_v2", {"W": [row_scales], "Ids": [ids]}, factors, attributes),
            ("cast", {"X": [integers]}, floats, types),
            ("elementwise_mul", {"X": [floats], "Y": [factors]}, output, {}),
        )
    ):
        block._insert_op(index + number, type=kind, inputs=inputs, outputs={"Out": [result]}, attrs=attrs)
    block._remove_var(table)


def _weight_thresholds(model: LoadedProgram, quantize_type: str) -> Dict[str, np.ndarray]:
    """The largest absolute value of each matmul's weight, or of each of its columns."""
    parameters = _parameters(model.program)
    thresholds = {}
    for op in _matmuls(model.program):
        name = op.input("Y")[0]
        if name in parameters:
            magnitudes = np.abs(np.array(model.scope.find_var(name).get_tensor()))
            thresholds[name] = magnitudes.max(axis=0 if quantize_type == "channel_wise_abs_max" else None)
    return thresholds


def _set_scale(scope: static.Scope, name: str, scale) -> None:
    """Both passes read a tensor's threshold from a variable of this name."""
    tensor = scope.var(f"{name}@scale").get_tensor()
    tensor.set(np.maximum(np.atleast_1d(np.asarray(scale, dtype=np.float32)), 1e-8), paddle.CPUPlace())
