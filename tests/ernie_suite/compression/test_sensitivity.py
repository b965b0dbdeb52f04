"""Mixed precision: the products that lose the most stay in FP32, in Paddle's engine and in the ONNX form."""

import re
from contextlib import nullcontext

from ernie_suite.compression.config import CompressConfig, PTQConfig
from ernie_suite.compression.pipeline import calibration_texts, export
from ernie_suite.compression.quantization import calibrate, write_quantized
from ernie_suite.compression.sensitivity import leave_in_fp32, rank_activations

import onnx
import pytest

from ernie_inference.engines import paddle_runtime
from ernie_inference.engines.onnx_files import export_onnx
from ernie_inference.engines.onnx_quantized import write_unquantized
from ernie_inference.errors import InputError
from ernie_inference.predictor import load_predictor
from tests.support.trainers import LAYERS, tiny_trainer

PRODUCTS = 6 * LAYERS + 2  # of a classifier
TEXTS = 4
CONFIG = PTQConfig(["abs_max"], [TEXTS])


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """(trainer, prefix of its model, texts, thresholds, the activation that INT8 is spoilt for by a huge neuron)."""
    folder = tmp_path_factory.mktemp("spoilt")
    trainer = tiny_trainer(folder / "state")
    layer = trainer.model.base_model.encoder.layers[1]
    bias, weight = layer.linear1.bias.numpy(), layer.linear2.weight.numpy()
    bias[5] = 3000
    weight[5] *= 1e-3  # the answers hardly depend on it
    layer.linear1.bias.set_value(bias)
    layer.linear2.weight.set_value(weight)
    prefix = folder / "original" / "infer"
    export(trainer, trainer.model, prefix)
    texts = calibration_texts(trainer, TEXTS)
    thresholds = calibrate(prefix, texts, CONFIG)["abs_max", TEXTS]
    return trainer, prefix, texts, thresholds, max(thresholds, key=thresholds.__getitem__)


def test_what_is_spoilt_comes_first(spoilt):
    _, prefix, texts, thresholds, worst = spoilt
    ranked = rank_activations(prefix, thresholds, texts, CONFIG)
    assert set(ranked) == set(thresholds) and list(ranked)[0] == worst
    assert list(ranked.values()) == sorted(ranked.values(), reverse=True)


@pytest.mark.parametrize("count", [1, 3])
def test_exactly_the_worst_stay_in_fp32_in_every_engine(spoilt, tmp_path, count, monkeypatch, capfd):
    trainer, prefix, texts, thresholds, _ = spoilt
    worst = list(rank_activations(prefix, thresholds, texts, CONFIG))[:count]
    chosen = leave_in_fp32(prefix, thresholds, texts, CONFIG, count)
    assert set(chosen) == set(thresholds) - set(worst)
    target = tmp_path / "mixed" / "int8"
    export(trainer, trainer.model, target)  # with what it takes to serve it
    write_quantized(prefix, chosen, CONFIG, target)
    quantized = write_unquantized(target, tmp_path / "plain")
    file = export_onnx(target)
    in_onnx = {
        tensor.name[: -len(".int8")]
        for tensor in onnx.load(str(file)).graph.initializer
        if tensor.name.endswith(".int8")
    }
    assert in_onnx == set(quantized) and len(quantized) < PRODUCTS

    monkeypatch.setattr(paddle_runtime, "without_pass_log", nullcontext)  # the log says what was quantized
    capfd.readouterr()
    load_predictor(target, precision="int8", num_threads=1)
    printed = capfd.readouterr()
    log = re.search(r"quantized (\d+) fc ops", printed.out + printed.err)
    assert log and int(log[1]) == len(quantized)


def test_mixed_models_are_rows_of_the_report(tmp_path):
    trainer = tiny_trainer(tmp_path / "state")
    config = CompressConfig(quantization_config=PTQConfig(["abs_max"], [2], mixed_precision=[1, 2]))
    report = trainer.compress("x", str(tmp_path / "out"), pruning=False, compress_config=config)
    rows = {row["model"]: row["mixed_precision"] for row in report["models"]}
    assert rows == {
        "inference/infer": 0,
        "abs_max2/int8": 0,
        "abs_max2_mixed1/int8": 1,
        "abs_max2_mixed2/int8": 2,
    }
    left = {
        model: len(write_unquantized(tmp_path / "out" / model, tmp_path / "plain")) for model in rows if "int8" in model
    }
    assert left["abs_max2/int8"] == PRODUCTS
    assert PRODUCTS > left["abs_max2_mixed1/int8"] > left["abs_max2_mixed2/int8"]


def test_as_many_as_all_layers_have_are_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    config = CompressConfig(quantization_config=PTQConfig(["hist"], [2], mixed_precision=[4 * LAYERS]))
    with pytest.raises(InputError, match=f"mixed_precision {4 * LAYERS}: {LAYERS} layers have {4 * LAYERS} groups"):
        trainer.compress("x", str(tmp_path / "out"), pruning=False, compress_config=config)
    assert not (tmp_path / "out").exists()
