"""A quantized Paddle model as ONNX: the same thresholds, INT8 weights by column, the same answers."""

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import numpy_helper

from ernie_inference.engine_choice import choices_of, without_scores
from ernie_inference.engines.onnx_files import export_onnx, in_precision
from ernie_inference.engines.onnx_graph import DYNAMIC_QUANTIZE, QUANTIZE, read_graph
from ernie_inference.engines.onnx_quantized import LEVELS, columns_to_int8, write_unquantized
from ernie_inference.errors import InputError
from ernie_inference.model_files import inspect_model
from ernie_inference.predictor import load_onnx_predictor, load_predictor
from tests.support.models import TASK_NAMES, corpus, example_inputs

PRODUCTS = {
    "seq_cls": 14,
    "token_cls": 13,
    "qa": 13,
    "multiple_choice": 14,
}  # 2 layers of 6, the pooler of classification and choice, the head


@pytest.fixture
def int8(tiny, tmp_path):
    """A copy of a task's quantized model, whose ONNX form is not there yet."""

    def copy(task, **kind):
        folder = shutil.copytree(tiny.int8(task, **kind).parent, tmp_path / "-".join([task, *kind]))
        for file in folder.glob("*.onnx"):
            file.unlink()
        return folder / "int8"

    return copy


@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_product_with_a_weight_is_int8_and_keeps_its_threshold(int8, tmp_path, task):
    prefix = int8(task)
    thresholds = write_unquantized(prefix, tmp_path / "plain" / "model")
    assert not inspect_model(tmp_path / "plain" / "model").quantized
    file = export_onnx(prefix)
    model = onnx.load(str(file))
    onnx.checker.check_model(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = {name[: -len(".int8")]: values for name, values in stored.items() if name.endswith(".int8")}
    assert len(weights) == len(thresholds) == PRODUCTS[task] and set(weights) == set(thresholds)
    assert all(values.dtype == np.int8 for values in weights.values())
    assert not set(thresholds) & set(stored)  # no FP32 copy
    scale_of = {node.output[0]: stored[node.input[1]] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    node_of = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1].endswith(".float") and node.input[1][: -len(".float")] in weights:
            threshold = thresholds.pop(node.input[1][: -len(".float")])
            assert scale_of[node_of[node.input[0]].input[0]] == pytest.approx(threshold / LEVELS, rel=1e-6)
            assert stored[node_of[node.input[0]].input[2]].dtype == np.uint8  # signed ones are slow
    assert not thresholds


@pytest.mark.parametrize("task", TASK_NAMES)
def test_answers_are_those_of_paddle_and_of_no_batch(int8, task):
    prefix = int8(task)
    paddle, onnx_runtime = load_predictor(prefix, precision="int8"), load_onnx_predictor(prefix, precision="int8")
    assert onnx_runtime.engine.describe().startswith("ONNX Runtime, CPU, INT8 (QDQ)")
    inputs = example_inputs(task, corpus()[:200])
    examples = [paddle.task.as_example(given, "input") for given in inputs]
    windows = [window for example in examples for window in paddle.task.windows(example)]
    pairs = list(zip(*(choices_of(predictor, windows) for predictor in (onnx_runtime, paddle))))
    assert sum(a == b for a, b in pairs) >= 0.85 * len(
        pairs
    )  # Paddle's weights have one scale a matrix, a larger error
    ours = onnx_runtime.predict(inputs[:40])
    alone = [answer for given_input in inputs[:40] for answer in onnx_runtime.predict([given_input])]
    assert without_scores(alone) == without_scores(ours)


def test_the_int8_model_is_what_is_run_and_nothing_is_derived_from_it(int8):
    prefix = int8("seq_cls")
    load_onnx_predictor(prefix, precision="int8")
    assert sorted(path.name for path in prefix.parent.glob("*.onnx")) == ["int8.onnx"]
    graph = read_graph(prefix.with_suffix(".onnx"))
    assert graph.precision == "int8" and QUANTIZE in graph.operators and DYNAMIC_QUANTIZE not in graph.operators
    with pytest.raises(InputError, match="int8.onnx is a int8 model, not fp32"):
        load_onnx_predictor(prefix, precision="fp32")


def test_it_is_made_again_when_the_int8_model_is_another(int8, tiny):
    prefix = int8("seq_cls")
    file = export_onnx(prefix)
    before = file.read_bytes()
    assert export_onnx(prefix) == file and file.read_bytes() == before
    program = prefix.with_suffix(".pdiparams")
    content = bytearray(program.read_bytes())
    content[-1] ^= 1
    program.write_bytes(content)
    assert export_onnx(prefix).read_bytes() != before


def logits(predictor, texts):
    windows = [w for text in texts for w in predictor.task.windows(predictor.task.as_example(text, "input"))]
    return np.array([outputs[0] for outputs in predictor.run_windows(windows)])


def test_weights_that_are_stored_as_int8_give_the_same_file_as_others(int8):
    """Paddle misreads the scales of such models; the .onnx file does not."""
    stored = [
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(export_onnx(prefix))).graph.initializer}
        for prefix in (int8("seq_cls"), int8("seq_cls", by_column=True))
    ]
    assert set(stored[0]) == set(stored[1])
    for name, values in stored[0].items():
        np.testing.assert_allclose(stored[1][name], values, rtol=1e-5, atol=0)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_int8_embeddings_become_fp32_of_the_same_values(int8, tiny, backend):
    prefix = int8("seq_cls", embeddings=True)
    texts = corpus()[:100]
    exact = logits(load_predictor(tiny["seq_cls"]), texts)
    paddle, ours = (load_predictor(prefix, precision="int8", backend=name) for name in ("paddle", backend))
    assert ours.engine.info.vocab_size == len(tiny.tokenizer.vocab)
    errors = [np.abs(logits(predictor, texts) - exact).mean() for predictor in (ours, paddle)]
    assert 0 < errors[0] < 1.2 * errors[1] < 0.2 * exact.std(axis=0).mean()


def test_dynamic_int8_is_told_apart(tiny):
    file = in_precision(export_onnx(tiny["seq_cls"]), "int8")
    graph = read_graph(file)
    assert graph.precision == "int8" and DYNAMIC_QUANTIZE in graph.operators and QUANTIZE not in graph.operators
    assert read_graph(export_onnx(tiny["seq_cls"])).precision == "fp32"


def test_quantized_products_of_activations_are_refused_and_leave_nothing(int8):
    prefix = int8("seq_cls", attention=True)
    with pytest.raises(InputError, match="no product of an activation with a weight: compress without"):
        export_onnx(prefix)
    assert not list(prefix.parent.glob("*.onnx")) and not list(prefix.parent.glob(".*"))


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-100, 100, width=32)))
def test_columns_to_int8(weight):
    values, scales = columns_to_int8(weight)
    assert values.shape == weight.shape and scales.shape == weight.shape[1:]
    assert (np.abs(values.astype(int)) <= LEVELS).all()
    assert (np.abs(values * scales - weight) <= scales / 2 * 1.001).all()


@pytest.mark.parametrize("task", TASK_NAMES)
def test_onnx_runtime_runs_every_product_as_int8(int8, tmp_path, monkeypatch, task):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    monkeypatch.setattr(onnxruntime, "SessionOptions", lambda: options)
    load_onnx_predictor(int8(task), precision="int8")
    graph = onnx.load(str(tmp_path / "optimized.onnx")).graph
    weights = {tensor.name for tensor in graph.initializer}
    assert sum(node.op_type == "MatMulIntegerToFloat" for node in graph.node) == PRODUCTS[task]
    assert not [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in weights]
