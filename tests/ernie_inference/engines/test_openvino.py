"""OpenVINO: the same logits in FP32, the same answers in bf16 and INT8, and one line where it cannot be."""

import importlib.util
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ernie_inference.engine_choice import choices_of, without_scores
from ernie_inference.engines.availability import supports_bf16
from ernie_inference.engines.backends import BACKENDS, OPENVINO
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.onnx_files import export_onnx, in_precision
from ernie_inference.errors import InputError
from ernie_inference.predictor import load_predictor
from ernie_inference.processors import computes_bf16
from tests.support.models import MAX_POSITIONS, TASK_NAMES, corpus, example_inputs


def load(model, precision="fp32", **options):
    return load_predictor(model, backend=OPENVINO, precision=precision, **options)


def windows_of(predictor, inputs):
    examples = [predictor.task.as_example(given, "input") for given in inputs]
    return [window for example in examples for window in predictor.task.windows(example)]


def share_of_equal_choices(one, other, inputs):
    windows = windows_of(one, inputs)
    pairs = list(zip(*(choices_of(predictor, windows) for predictor in (one, other))))
    return sum(a == b for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_fp32_logits_are_those_of_paddle(tiny, task):
    inputs = example_inputs(task, corpus()[:300])
    paddle, openvino = load_predictor(tiny[task]), load(tiny[task])
    assert openvino.engine.describe().startswith("OpenVINO, CPU, FP32")
    windows = windows_of(paddle, inputs)
    for window, ours, theirs in zip(windows, *(predictor.run_windows(windows) for predictor in (openvino, paddle))):
        size = len(window.input_ids)  # what follows is padding, which batches differ in
        for logits, expected in zip(ours, theirs):
            np.testing.assert_allclose(logits[:size], expected[:size], atol=1e-4)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_bf16_answers_agree(tiny, task):
    if not supports_bf16(BACKENDS[OPENVINO]):
        pytest.skip("this processor has no bf16 instructions")
    inputs = example_inputs(task, corpus()[:300])
    assert share_of_equal_choices(load(tiny[task], "bf16"), load_predictor(tiny[task]), inputs) >= 0.95


def test_what_is_not_int8_runs_in_bf16_only_where_the_processor_has_it(tiny):
    hint = load(tiny.int8("seq_cls"), "int8").engine._model.get_property("INFERENCE_PRECISION_HINT")
    assert hint.to_string() == ("bf16" if computes_bf16() else "f32")


@pytest.mark.parametrize("task", TASK_NAMES)
def test_int8_answers_are_those_of_onnx_runtime(tiny, task):
    prefix = tiny.int8(task)
    inputs = example_inputs(task, corpus()[:200])
    ours = load(prefix, "int8")
    assert "INT8 (QDQ)" in ours.engine.describe() and ours.engine.info.quantized
    theirs = load_predictor(prefix, backend="onnxruntime", precision="int8")
    assert share_of_equal_choices(ours, theirs, inputs) >= 0.85  # random weights: many are near a border


def test_threads_answer_as_one_does(tiny):
    predictor = load(tiny["token_cls"], num_threads=1)
    texts = corpus()[:120]
    expected = predictor.predict(texts)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda begin: predictor.predict(texts[begin : begin + 30]), range(0, 120, 30)))
    assert [without_scores(part) for part in answers] == [
        without_scores(expected[i : i + 30]) for i in range(0, 120, 30)
    ]


def test_the_limits_of_the_model_are_known(tiny):
    info = load(tiny["token_cls"]).engine.info
    assert (info.vocab_size, info.max_positions, info.num_labels) == (len(tiny.tokenizer.vocab), MAX_POSITIONS, 7)
    with pytest.raises(InputError, match="max_seq_length 65: the model takes at most 64"):
        load(tiny["token_cls"], max_seq_length=65)


def test_what_it_cannot_run_is_one_line(tiny, tmp_path):
    with pytest.raises(InputError, match="is a fp32 model, so it cannot run as int8: give the int8 model"):
        load(tiny["seq_cls"], "int8")
    with pytest.raises(InputError, match="is a int8 model, so it cannot run as fp32: use int8"):
        load(tiny.int8("seq_cls"))
    with pytest.raises(InputError, match="is quantized at run time, which is for ONNX Runtime"):
        load(in_precision(export_onnx(tiny["seq_cls"]), "int8"), "int8")
    for options, line in (
        ({"precision": "fp16"}, "openvino on cpu does not run fp16: processors have no FP16 kernels: use bf16 or int8"),
        ({"device": "gpu"}, "openvino runs on processors only: use --device cpu"),
    ):
        with pytest.raises(InputError, match=line):
            EngineConfig(backend=OPENVINO, **options)
    folder = shutil.copytree(export_onnx(tiny["seq_cls"]).parent, tmp_path / "m")
    file = folder / "model.onnx"
    for content in (b"", b"\x07", file.read_bytes()[:1000]):
        file.write_bytes(content)
        with pytest.raises(InputError, match="model.onnx (is empty|cannot be loaded)"):
            load(file)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_library_that_is_not_installed_is_one_line(backend, monkeypatch):
    find = importlib.util.find_spec
    missing = BACKENDS[backend].module
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    device = next(iter(BACKENDS[backend].precisions))
    with pytest.raises(InputError, match=f"{missing} is not installed: install {BACKENDS[backend].package}, or "):
        EngineConfig(backend=backend, device=device)
