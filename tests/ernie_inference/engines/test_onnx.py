"""The ONNX path: conversion by paddle2onnx's own command, the graph's other precisions, and the same answers."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from ernie_inference.derived import origin_of
from ernie_inference.engine_choice import without_scores
from ernie_inference.engines import load_engine, onnx_files
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.onnx_files import export_onnx, find_onnx, in_precision
from ernie_inference.engines.onnx_graph import lookup_tables
from ernie_inference.errors import InputError
from ernie_inference.model_files import inspect_model, table_sizes
from ernie_inference.predictor import load_onnx_predictor, load_predictor
from tests.support.models import MAX_POSITIONS, TASK_NAMES, corpus, example_inputs
from tests.support.scripts import run_here, run_script

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture(scope="module")
def converted(tiny, tmp_path_factory):
    """ner.onnx in a folder of its own, written by the command that the README gives."""
    folder = tmp_path_factory.mktemp("onnx")
    prefix, file = tiny["token_cls"], folder / "ner.onnx"
    command = [
        Path(sys.executable).parent / "paddle2onnx", "--model_dir", prefix.parent, "--model_filename", "model.pdmodel",
        "--params_filename", "model.pdiparams", "--save_file", file, "--opset_version", 13,
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    for name in ("inference.json", "vocab.txt"):
        (folder / name).write_bytes((prefix.parent / name).read_bytes())
    return file


def infer(*flags):
    return run_here("deploy/paddle2onnx/infer.py", *flags, check=False)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_paddle_and_onnx_agree_on_300_texts(tiny, task):
    inputs = example_inputs(task, corpus()[::180][:300])
    paddle_predictor = load_predictor(tiny[task], num_threads=1)
    onnx_predictor = load_onnx_predictor(tiny[task], num_threads=1)
    windows = [w for text in inputs for w in paddle_predictor.task.windows(paddle_predictor.task.as_example(text, ""))]
    for ours, theirs, window in zip(
        paddle_predictor.run_windows(windows), onnx_predictor.run_windows(windows), windows
    ):
        length = len(window.input_ids) if task in ("token_cls", "qa") else None
        for a, b in zip(ours, theirs):
            np.testing.assert_allclose(a[:length], b[:length], atol=1e-4, rtol=0)
    answers = without_scores(paddle_predictor.predict(inputs))
    assert without_scores(onnx_predictor.predict(inputs)) == answers


def test_infer_answers_with_a_converted_model(converted):
    done = run_script("deploy/paddle2onnx/infer.py", "--task_name", "token_cls", "--model_path", converted)
    assert done.stdout.startswith("ONNX Runtime, CPU, FP32, ")
    assert "The model detects all entities:\nentity: " in done.stdout


def test_infer_runs_openvino_too(converted, tiny, tmp_path):
    """The same answers; a quantized Paddle model is converted; what cannot be is one line."""
    engine, *answers = infer("--model_path", converted, "--use_openvino", "--num_threads", 1).stdout.splitlines()
    assert engine == "OpenVINO, CPU, FP32, 1 thread"
    assert answers == infer("--model_path", converted).stdout.splitlines()[1:]
    quantized = tmp_path / "int8"
    shutil.copytree(tiny.int8("token_cls").parent, quantized, ignore=shutil.ignore_patterns("*.onnx"))
    done = infer("--model_path", quantized, "--precision_mode", "int8", "--use_openvino", "--num_threads", 1)
    assert done.stdout.startswith("OpenVINO, CPU, INT8 (QDQ), 1 thread\ninput data: "), done.stderr
    assert done.stderr == f"wrote {quantized}/int8.onnx\n"
    refused = infer("--model_path", converted, "--use_openvino", "--use_trt")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: --use_trt: openvino has no TensorRT, leave it out\n"


def test_int8_quantizes_every_weight_matmul_and_keeps_the_file(converted):
    file = in_precision(converted, "int8")
    assert file == converted.with_name("ner.int8.onnx")
    operators = [node.op_type for node in onnx.load(str(file)).graph.node]
    # Six in each of two layers and the classifier; the attention's two stay as they are.
    assert operators.count("MatMulInteger") == 13 and operators.count("MatMul") == 4
    written = file.stat().st_mtime_ns
    assert in_precision(converted, "int8").stat().st_mtime_ns == written
    fp32, int8 = (load_onnx_predictor(converted, precision=p, num_threads=1) for p in ("fp32", "int8"))
    ids = np.arange(5, 45).reshape(2, 20)
    (a,), (b,) = (predictor.engine.run(ids, np.zeros_like(ids)) for predictor in (fp32, int8))
    assert 0 < abs(a - b).mean() < 0.1 * a.std()


def test_fp16_holds_half_precision_weights_and_takes_and_gives_fp32(converted):
    file = in_precision(converted, "fp16")
    model = onnx.load(str(file))
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) > 1000]
    assert large and all(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in large)
    assert all(out.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for out in model.graph.output)
    assert file.stat().st_size < 0.6 * converted.stat().st_size
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    ids = np.arange(5, 45).reshape(2, 20)
    feed = {"input_ids": ids, "token_type_ids": np.zeros_like(ids)}
    a, b = (
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for path in (converted, file)
    )
    assert 0 < abs(a - b).max() < 0.05


@pytest.mark.skipif(
    not HAS_CUDA, reason="onnxruntime here has no CUDA provider: install onnxruntime-gpu on a GPU machine"
)
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 5e-2)])
def test_gpu_agrees_with_the_processor(converted, precision, tolerance):
    ids = np.arange(5, 45).reshape(2, 20)
    gpu = load_onnx_predictor(converted, device="gpu", precision=precision)
    (a,), (b,) = (p.engine.run(ids, np.zeros_like(ids)) for p in (gpu, load_onnx_predictor(converted)))
    assert gpu.engine.config.describe() == f"ONNX Runtime, CUDA, {precision.upper()}, GPU 0"
    assert abs(a - b).max() < tolerance


@pytest.fixture
def copied(tiny, tmp_path):
    """The prefix of a model's own copy, without what was made from it."""
    for file in tiny["qa"].parent.iterdir():
        if file.suffix != ".onnx":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "model"


def change(file):
    """Change a file's last number, and make it look older than all others."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, (0, 0))


def test_derived_files_are_made_again_when_the_content_of_the_model_changes(copied):
    """By content: copying a model keeps its times or makes them new, and says nothing about what is in it."""

    def made():
        file = export_onnx(copied)
        return [path.stat().st_mtime_ns for path in (file, in_precision(file, "int8"), in_precision(file, "fp16"))]

    first = made()
    copied.with_name("model.pdiparams").touch()
    assert made() == first
    change(copied.with_name("model.pdiparams"))
    assert all(again > before for again, before in zip(made(), first))
    assert sorted(path.name for path in copied.parent.iterdir() if "onnx" in path.name) == [
        "model.fp16.onnx", "model.int8.onnx", "model.onnx",
    ]  # fmt: skip


def test_the_word_embeddings_stand_once_in_a_file_and_the_padding_row_is_looked_up_as_zeros(copied):
    model = onnx.load(str(export_onnx(copied)))
    constants = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    vocab_size = inspect_model(copied).vocab_size
    (table,) = (tensor for tensor in [*model.graph.initializer, *constants] if list(tensor.dims)[:1] == [vocab_size])
    padding, *others = onnx.numpy_helper.to_array(table)
    assert not padding.any() and all(row.any() for row in others)


def test_what_made_a_derived_file_counts_too(copied, monkeypatch):
    file = export_onnx(copied)
    first = file.stat().st_mtime_ns
    monkeypatch.setattr(onnx_files, "_is_installed", lambda package: False)  # where models are only run
    assert export_onnx(copied).stat().st_mtime_ns == first
    with pytest.raises(InputError, match="the package onnx is not installed, which makes this .onnx file: install it"):
        in_precision(file, "int8")
    monkeypatch.undo()
    monkeypatch.setattr(onnx_files, "OPSET_VERSION", 14)
    assert export_onnx(copied).stat().st_mtime_ns > first


def test_the_mark_of_a_derived_file_does_not_change_the_model(copied):
    for file in (export_onnx(copied), in_precision(export_onnx(copied), "int8")):
        model = onnx.load(str(file))
        (origin,) = [entry.value for entry in model.metadata_props if entry.key == "origin"]
        assert origin.startswith(f"made-from:{origin_of(file).digest} by:") and len(origin_of(file).digest) == 64
        onnx.checker.check_model(model)


def test_a_file_of_somebody_else_is_used_by_its_name_and_never_replaced(copied, converted):
    own = copied.with_suffix(".onnx")
    own.write_bytes(converted.read_bytes())
    line = "does not say what it was made from: name it itself to use it as it is, or remove it to have it made from"
    with pytest.raises(InputError, match=line):
        export_onnx(copied)
    assert own.read_bytes() == converted.read_bytes() and find_onnx(own) == own
    int8 = copied.with_name("model.int8.onnx")
    int8.write_bytes(b"made by hand")
    with pytest.raises(InputError, match=line):
        in_precision(own, "int8")
    assert in_precision(int8, "int8") == int8 and int8.read_bytes() == b"made by hand"


def test_a_folder_that_cannot_be_written_is_one_line(copied, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match=r"model.onnx cannot be written \(Read-only file system\): make its folder"):
        export_onnx(copied)
    assert not [path for path in copied.parent.iterdir() if "onnx" in path.name]


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
def test_the_limits_of_the_model_are_found_in_the_graph(converted, tiny, precision):
    """Also in a file that paddle2onnx's own command wrote, and as the Paddle engine finds them."""
    tables = lookup_tables(in_precision(converted, precision))
    info = inspect_model(tiny["token_cls"])
    assert table_sizes(tables) == (info.vocab_size, info.max_positions) == (len(tiny.tokenizer.vocab), MAX_POSITIONS)
    assert tables["token_type_ids"] == 4


def test_what_is_past_the_models_limits_is_refused_as_by_paddle(converted, tiny, tmp_path):
    def refusals(**options):
        lines = []
        for load, file in ((load_predictor, tiny["token_cls"]), (load_onnx_predictor, converted)):
            with pytest.raises(InputError) as refusal:
                load(file, **options)
            lines.append(str(refusal.value).replace(str(Path(file).parent), "FOLDER").replace("/ner", "/model"))
        assert lines[0] == lines[1]
        return lines[0]

    assert refusals(max_seq_length=65) == "max_seq_length 65: the model takes at most 64"
    for name in ("inference.json", "vocab.txt"):
        (tmp_path / name).write_bytes((converted.parent / name).read_bytes())
    with (tmp_path / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("one\ntwo\n")
    assert refusals(config_dir=tmp_path).endswith(": not its own file")
    assert load_onnx_predictor(converted, max_seq_length=64).task.max_seq_length == 64


@pytest.mark.parametrize("kind", ["half", "text", "empty"])
def test_a_graph_that_is_none_is_said(converted, tmp_path, kind):
    content = converted.read_bytes()
    (tmp_path / "x.onnx").write_bytes({"half": content[: len(content) // 2], "text": b"\x07", "empty": b""}[kind])
    with pytest.raises(ValueError):
        lookup_tables(tmp_path / "x.onnx")


def test_what_cannot_be_converted_is_refused_and_leaves_nothing(tiny, tmp_path):
    with_attention = tiny.int8("seq_cls", attention=True)
    with pytest.raises(InputError, match="has a quantized matmul_v2 that is no product of an activation with a weight"):
        load_onnx_predictor(with_attention, precision="int8")
    assert not list(with_attention.parent.glob("*onnx*"))
    (tmp_path / "ner.onnx").write_text("not a model")
    with pytest.raises(InputError, match="ner.onnx is not an ONNX model"):
        in_precision(tmp_path / "ner.onnx", "int8")
    assert [path.name for path in tmp_path.iterdir()] == ["ner.onnx"]


@pytest.mark.parametrize("kind", ["missing", "empty", "half", "text", "other"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_broken_onnx_file_is_one_clear_line(converted, tmp_path, kind, precision, tiny, capfd):
    content = converted.read_bytes()
    broken = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "text": "这不是模型\n".encode(),
        "other": Path(f"{tiny['token_cls']}.pdiparams").read_bytes(),
    }
    if kind in broken:
        (tmp_path / "ner.onnx").write_bytes(broken[kind])
    with pytest.raises(InputError) as refusal:
        load_onnx_predictor(tmp_path / "ner.onnx", config_dir=converted.parent, precision=precision)
    assert "\n" not in str(refusal.value) and (kind == "missing" or "ner.onnx" in str(refusal.value))
    assert capfd.readouterr().err == ""


def test_missing_files_beside_the_model_are_asked_for(converted, tmp_path):
    (tmp_path / "ner.onnx").write_bytes(converted.read_bytes())
    done = infer("--model_path", tmp_path / "ner.onnx")
    assert done.returncode == 2 and done.stdout == ""
    assert (
        "inference.json is missing: copy it from the exported model, or name its folder with --config_dir"
        in done.stderr
    )
    assert done.stderr.count("\n") == 1
    assert infer("--model_path", tmp_path / "ner.onnx", "--config_dir", converted.parent).returncode == 0


def test_a_file_of_another_precision_is_refused(converted):
    file = in_precision(converted, "int8")
    with pytest.raises(InputError, match="ner.int8.onnx is a int8 model, not fp32"):
        load_engine(file, EngineConfig(backend="onnxruntime"))
    with pytest.raises(InputError, match="ner.onnx is a fp32 model, not int8: deploy/paddle2onnx/infer.py makes one"):
        load_engine(converted, EngineConfig(backend="onnxruntime", precision="int8"))


def test_what_onnx_runtime_cannot_do_is_refused():
    with pytest.raises(InputError, match="onnxruntime on cpu does not run fp16: use fp32 or int8"):
        EngineConfig(backend="onnxruntime", precision="fp16")
    with pytest.raises(InputError, match="onnxruntime_tensorrt runs on a GPU only"):
        EngineConfig(backend="onnxruntime_tensorrt")
    if not HAS_CUDA:
        with pytest.raises(InputError, match="no CUDAExecutionProvider: install onnxruntime-gpu, or use --device cpu"):
            EngineConfig(backend="onnxruntime", device="gpu", precision="fp16")
