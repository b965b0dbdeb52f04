"""The .onnx file beside each compressed model, the speed of each engine, and what the report says of both."""

import json
import shutil
from pathlib import Path

from ernie_suite.compression import config as compression_config
from ernie_suite.compression.config import CompressConfig, DynabertConfig, PTQConfig
from ernie_suite.compression.flags import CompressionArguments
from ernie_suite.compression.fresh_process import FreshProcess
from ernie_suite.compression.report import compare_engines, print_best_engine, print_report, summarize

import numpy as np
import pytest

from ernie_inference import measuring
from ernie_inference.derived import origin_of
from ernie_inference.engine_choice import ENGINES
from ernie_inference.engines import onnx_files
from ernie_inference.engines.onnx_graph import QUANTIZE, read_graph
from ernie_inference.errors import InputError
from ernie_inference.files import digest_of
from ernie_inference.model_files import program_files
from ernie_inference.predictor import load_predictor
from tests.support.trainers import tiny_trainer

ALL = {"inference/infer", "0.75/float32", "0.75/hist2/int8", "hist2/int8"}


def compress(trainer, output, algorithms=("hist",), embeddings=False, **options):
    """{model: row} of the report, which is the one on the disk, and the report."""
    config = CompressConfig(
        DynabertConfig(), PTQConfig(list(algorithms), [2], quantize_embeddings=embeddings), **options
    )
    report = trainer.compress("x", str(output), compress_config=config)
    assert json.loads((output / "report.json").read_text(encoding="utf-8")) == report
    return {row["model"]: row for row in report["models"]}, report


def is_own(prefix):
    """Whether a model's .onnx file is there and was made from the model as it is."""
    file = Path(f"{prefix}.onnx")
    return file.exists() and origin_of(file).digest == digest_of(program_files(prefix))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(trainer, folder) of a compression without .onnx files."""
    folder = tmp_path_factory.mktemp("onnx_files")
    trainer = tiny_trainer(folder / "state")
    rows, report = compress(trainer, folder / "compress")
    assert set(rows) == ALL and "best_engine" not in report
    assert not any({"onnx", "engines"} & set(row) for row in rows.values())
    assert not list((folder / "compress").rglob("*.onnx"))
    return trainer, folder / "compress"


@pytest.fixture
def again(made, tmp_path):
    trainer, folder = made
    return trainer, Path(shutil.copytree(folder, tmp_path / "compress"))


def logits(prefix, precision, trainer, backend="paddle"):
    predictor = load_predictor(prefix, precision=precision, num_threads=1, backend=backend)
    windows = [window for example in trainer.eval_examples for window in predictor.task.windows(example)]
    return np.array([output[0] for output in predictor.run_windows(windows)])


def test_kept_and_new_models_get_their_files(again, capsys):
    trainer, output = again
    rows, _ = compress(trainer, output, ["abs_max"], embeddings=True, export_onnx=True)
    assert set(rows) > ALL | {"abs_max2/int8", "0.75/abs_max2_embeddings/int8"}
    printed = capsys.readouterr().out
    for model, row in rows.items():
        assert row["onnx"] == f"{model}.onnx" and is_own(output / model), model
        graph = read_graph(output / row["onnx"])
        assert graph.precision == row["precision"] and (QUANTIZE in graph.operators) == (row["precision"] == "int8")
        exact = logits(output / (row["source"] or model), "fp32", trainer)
        ours = logits(output / row["onnx"], row["precision"], trainer, "onnxruntime")
        allowed = 1e-4 if row["precision"] == "fp32" else exact.std(axis=0).mean() / 3
        assert np.abs(ours - exact).mean() < allowed, model
    assert f"infer_cpu.py --model_path {output / '0.75/float32.onnx'} --engine auto\n" in printed
    best = json.loads((output / "report.json").read_text())["best_int8"]
    assert f"--model_path {output / best}.onnx --engine auto --precision_mode int8\n" in printed


def test_what_is_up_to_date_is_kept_and_the_rest_is_made(again):
    trainer, output = again
    compress(trainer, output, export_onnx=True)
    times = {model: (output / f"{model}.onnx").stat().st_mtime_ns for model in ALL}
    (output / "hist2" / "int8.onnx").unlink()
    rows, _ = compress(trainer, output)  # does not ask for any, and says which are there
    assert {model for model, row in rows.items() if "onnx" in row} == ALL - {"hist2/int8"}
    rows, _ = compress(trainer, output, export_onnx=True)
    assert {row["onnx"] for row in rows.values()} == {f"{model}.onnx" for model in ALL}
    kept = {model for model in ALL if (output / f"{model}.onnx").stat().st_mtime_ns == times[model]}
    assert kept == ALL - {"hist2/int8"}


def test_a_model_that_is_made_anew_loses_its_old_file_and_gets_another(again, monkeypatch):
    trainer, output = again
    compress(trainer, output, export_onnx=True)
    monkeypatch.setattr(trainer.args, "overwrite_output_dir", True)
    monkeypatch.setattr(trainer.args, "seed", 8)
    rows, _ = compress(trainer, output)
    assert "onnx" not in rows["0.75/float32"] and not is_own(output / "0.75/float32")
    monkeypatch.setattr(trainer.args, "overwrite_output_dir", False)
    rows, _ = compress(trainer, output, export_onnx=True)
    assert rows["0.75/float32"]["onnx"] and is_own(output / "0.75/float32")


def test_every_engine_is_timed_on_every_model_and_once(again, monkeypatch, capsys):
    trainer, output = again
    timed = []

    def pretend(process, model, original, windows):
        found = ask(process, model, original, windows[:4])  # they do run
        timed.append({*found["ratios"], *found["left_out"]})
        return {"ratios": {"paddle": 2, "onnxruntime": 3, "openvino": 4}, "left_out": {}}

    ask = FreshProcess.engines
    monkeypatch.setattr(FreshProcess, "engines", pretend)
    rows, report = compress(trainer, output, compare_engines=True)
    assert timed == [set(ENGINES)] * len(ALL)
    for model in ALL:
        assert rows[model]["engines"] == {"paddle": 2, "onnxruntime": 3, "openvino": 4} and is_own(output / model)
    printed = capsys.readouterr().out
    assert printed.count("openvino 4.00x\n") == len(ALL)
    assert report["best_engine"] == {"model": report["best_int8"], "engine": "openvino", "speedup": 4}
    best = f"best model and engine: {output / report['best_int8']} with --engine openvino, 4.00 times as fast as the"
    assert printed.splitlines()[-1].startswith(best)
    rows, _ = compress(trainer, output, ["abs_max"])  # times nothing, and has what is known
    assert {model for model, row in rows.items() if "engines" in row} == ALL
    compress(trainer, output, ["abs_max"], compare_engines=True)
    assert len(timed) == len(ALL) + 2  # the new ones


def test_an_engine_with_other_answers_is_not_in_the_report(made, monkeypatch, capsys):
    trainer, output = made
    monkeypatch.setattr(
        measuring, "disagreeing", lambda predictors, windows: {"onnxruntime": "only 3% of its answers are so"}
    )
    original = output / "inference" / "infer"

    class Here(FreshProcess):
        def _ask(self, what, **arguments):
            return measuring.MEASUREMENTS[what](**json.loads(json.dumps(arguments)))

    speeds = compare_engines(original, "fp32", trainer.eval_examples[:8], original, Here())
    assert set(speeds) == {"paddle", "openvino"} and all(speed > 0 for speed in speeds.values())
    assert f"note: {original} is not timed with onnxruntime: only 3%" in capsys.readouterr().err
    original.with_suffix(".onnx").unlink()


def test_the_best_engine_is_that_of_the_best_int8_model_or_of_the_best_that_was_timed(tmp_path, capsys):
    def row(model, precision, accuracy, engines=None, width=None):
        return {
            **{"model": model, "precision": precision, "metrics": {"f1": accuracy}, "speedup": 1.0, "bytes": 1},
            **{"texts_per_second": 1.0, "width": width, **({"engines": engines} if engines else {})},
        }

    rows = [
        row("original", "fp32", 0.8, {"paddle": 1.0, "onnxruntime": 1.5}),
        row("pruned", "fp32", 0.8, {"paddle": 1.3, "openvino": 1.2}, width="0.75"),
        row("int8", "int8", 0.7, {"paddle": 2.0, "openvino": 3.5}),
        row("fast", "int8", 0.6, {"openvino": 9.0}),
    ]
    report = summarize(rows, "f1")
    assert report["best_engine"] == {"model": "int8", "engine": "openvino", "speedup": 3.5}
    print_report(report, tmp_path, "x")
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.endswith("best engine") and any(line.endswith("onnxruntime 1.50x") for line in lines)
    print_best_engine(summarize(rows[:2], "f1"), tmp_path)
    assert capsys.readouterr().out.startswith(
        f"best model and engine: {tmp_path / 'pruned'} with --engine paddle, 1.30"
    )
    rows[2].pop("engines")
    assert summarize(rows, "f1")["best_engine"]["model"] == "pruned"
    print_best_engine(summarize([row("original", "fp32", 0.8)], "f1"), tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("flag", ["export_onnx", "compare_engines"])
def test_what_onnx_cannot_hold_is_refused_before_anything_is_loaded(flag, monkeypatch):
    with pytest.raises(InputError, match="quantize_activation_matmuls is for models that ONNX cannot hold"):
        CompressionArguments(quantize_activation_matmuls=True, **{flag: True})
    assert (
        CompressionArguments(quantize_activation_matmuls=True, quantization=False, **{flag: True}).config().wants_onnx
    )
    monkeypatch.setattr(onnx_files, "_is_installed", lambda package: package != "paddle2onnx")
    with pytest.raises(InputError, match="the package paddle2onnx is not installed"):
        CompressionArguments(**{flag: True})
    compression_config.check_onnx(True, CompressConfig())


def test_models_with_quantized_products_of_activations_are_named(again, capsys):
    trainer, output = again
    quantization = PTQConfig(["avg"], [2], quantize_activation_matmuls=True)
    trainer.compress("x", str(output), False, compress_config=CompressConfig(quantization_config=quantization))
    rows, _ = compress(trainer, output, export_onnx=True)
    assert {model for model, row in rows.items() if "onnx" not in row} == {"avg2/int8"}
    assert f"{output / 'avg2/int8'}: no .onnx file" in capsys.readouterr().out
