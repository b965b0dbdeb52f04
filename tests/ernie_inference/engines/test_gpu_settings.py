"""Every GPU option without a card: which settings are made, and when TensorRT's shapes are collected.

The CPU build of Paddle ignores or refuses GPU settings, so there a recorder takes the place of
paddle.inference.Config; it has the real class's methods and no others. Where Paddle is built with
CUDA, the settings are read back from the real class.
"""

import os

import numpy as np
import onnxruntime
import pytest
from paddle import inference

from ernie_inference.derived import origin_of
from ernie_inference.engines import load_engine, paddle_engine, tensorrt_shapes
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.onnx_engine import _onnx_providers
from ernie_inference.engines.onnx_files import export_onnx
from ernie_inference.engines.paddle_engine import PaddleEngine
from ernie_inference.engines.paddle_runtime import (
    GPU_MEMORY_POOL_MB,
    base_gpu_settings,
    paddle_settings,
    shape_info_path,
)
from ernie_inference.engines.tensorrt_shapes import collect_shapes
from ernie_inference.errors import InputError
from ernie_inference.inference_config import load_task
from ernie_inference.predictor import ErniePredictor
from tests.support.gpus import HAS_CUDA_BUILD, Recorder
from tests.support.models import MAX_POSITIONS

Precision = inference.PrecisionType

recorded = pytest.mark.skipif(HAS_CUDA_BUILD, reason="this Paddle has the real settings, which the next tests read")
real = pytest.mark.skipif(not HAS_CUDA_BUILD, reason="the CPU build of Paddle has no GPU settings to read back")


@recorded
@pytest.mark.parametrize(("precision", "of_paddle"), [("fp32", Precision.Float32), ("fp16", Precision.Half)])
def test_cuda(machine, tmp_path, precision, of_paddle):
    config = EngineConfig(device="gpu", precision=precision, device_id=1)
    calls = paddle_settings(tmp_path / "model", config).calls
    assert calls["enable_use_gpu"] == ((GPU_MEMORY_POOL_MB, 1, of_paddle), {})
    assert calls["disable_mkldnn"] == ((), {}) and "enable_mkldnn" not in calls
    assert "enable_tensorrt_engine" not in calls and "collect_shape_range_info" not in calls
    assert config.describe() == f"Paddle Inference, CUDA, {precision.upper()}, GPU 1"


@recorded
@pytest.mark.parametrize(
    ("precision", "of_paddle"), [("fp32", Precision.Float32), ("fp16", Precision.Half), ("int8", Precision.Int8)]
)
def test_tensorrt(machine, tmp_path, precision, of_paddle):
    config = EngineConfig(device="gpu", backend="tensorrt", precision=precision, batch_size=8, max_seq_length=64)
    calls = paddle_settings(tmp_path / "model", config).calls
    # FP16 is TensorRT's own here; what it leaves to Paddle stays FP32.
    assert calls["enable_use_gpu"] == ((GPU_MEMORY_POOL_MB, 0, Precision.Float32), {})
    assert calls["enable_tensorrt_engine"][1] == {
        "workspace_size": 1 << 30,
        "max_batch_size": 8,
        "min_subgraph_size": 5,
        "precision_mode": of_paddle,
        "use_static": False,
        "use_calib_mode": False,
    }
    assert calls["enable_tuned_tensorrt_dynamic_shape"] == ((str(tmp_path / "model.shapes-8x64.pbtxt"), True), {})
    assert config.describe() == f"Paddle Inference, TensorRT, {precision.upper()}, GPU 0"


@real
@pytest.mark.parametrize(("precision", "of_paddle"), [("fp32", Precision.Float32), ("int8", Precision.Int8)])
def test_tensorrt_settings_as_paddle_has_them(machine, tmp_path, precision, of_paddle):
    config = EngineConfig(device="gpu", backend="tensorrt", precision=precision)
    settings = paddle_settings(tmp_path / "model", config)
    assert settings.use_gpu() and settings.tensorrt_engine_enabled()
    assert settings.tensorrt_precision_mode() == of_paddle
    assert settings.tuned_tensorrt_dynamic_shape() and not settings.mkldnn_enabled()


def test_shapes_are_kept_beside_the_model_or_where_asked(machine, tmp_path):
    config = EngineConfig(device="gpu", backend="tensorrt", batch_size=4, max_seq_length=32)
    assert shape_info_path(tmp_path / "model", config) == tmp_path / "model.shapes-4x32.pbtxt"
    config.shape_info_file = "mine.pbtxt"
    assert str(shape_info_path(tmp_path / "model", config)) == "mine.pbtxt"


def test_shapes_of_the_smallest_and_the_largest_batch_are_collected(tiny, tmp_path, monkeypatch):
    """Paddle collects shapes on a processor as well, so all but the device is real here."""
    on_processor = EngineConfig(num_threads=1)
    monkeypatch.setattr(tensorrt_shapes, "base_gpu_settings", lambda prefix, *_: paddle_settings(prefix, on_processor))
    config = EngineConfig(batch_size=4, max_seq_length=16, shape_info_file=tmp_path / "shapes.pbtxt")
    file = collect_shapes(tiny["seq_cls"], config)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes.pbtxt"] and file == tmp_path / "shapes.pbtxt"
    of_input = next(part for part in file.read_text().split("shape_range_info") if '"input_ids"' in part)
    sizes = [int(line.split(":")[1]) for line in of_input.splitlines() if "min_shape" in line or "max_shape" in line]
    assert sizes == [1, 2, 4, 16]


@pytest.fixture
def with_tensorrt(machine, tiny, tmp_path):
    """A copy of a model, and what was collected and created for it; all but the collecting and the card is real."""
    for file in tiny["seq_cls"].parent.glob("*"):
        if file.suffix != ".onnx":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    collected = []

    class Predictor:
        def __init__(self, settings):
            self.file = settings.calls.get("collect_shape_range_info", ((None,),))[0][0]

        def __del__(self):
            if self.file:
                collected.append(self.file)
                with open(self.file, "a") as file:
                    file.write("shape_range_info {\n}\n")

    if HAS_CUDA_BUILD:
        machine.setattr(inference, "Config", Recorder)
    for module in (tensorrt_shapes, paddle_engine):
        machine.setattr(module, "create_predictor", lambda prefix, settings: Predictor(settings))
        machine.setattr(module, "run_predictor", lambda *args: None)
    return tmp_path / "model", collected


def tensorrt_config(max_seq_length=48, **options) -> EngineConfig:
    return EngineConfig(device="gpu", backend="tensorrt", precision="fp16", max_seq_length=max_seq_length, **options)


def test_shapes_are_collected_once_for_a_model_and_again_when_it_changes(with_tensorrt):
    """One command: nothing is run by hand between. A newer model, however old its files say they are, is seen."""
    prefix, collected = with_tensorrt
    for _ in range(2):
        load_engine(prefix, tensorrt_config())
    assert len(collected) == 1
    parameters = prefix.with_name("model.pdiparams")
    content, times = bytearray(parameters.read_bytes()), (0, 0)
    content[-1] ^= 1
    parameters.write_bytes(content)
    os.utime(parameters, times)
    load_engine(prefix, tensorrt_config())
    assert len(collected) == 2
    load_engine(prefix, tensorrt_config(batch_size=8))
    assert len(collected) == 3, "other inputs have other shapes"


def test_a_named_shape_file_is_kept_up_to_date_too_but_not_one_of_the_users_own(with_tensorrt, tmp_path):
    prefix, collected = with_tensorrt
    named = tmp_path / "mine.pbtxt"
    for batch_size in (4, 4, 8):
        load_engine(prefix, tensorrt_config(batch_size=batch_size, shape_info_file=named))
    assert len(collected) == 2 and origin_of(named).recipe.endswith("8x48")
    named.write_text("shape_range_info {\n}\n")
    load_engine(prefix, tensorrt_config(shape_info_file=named))
    assert len(collected) == 2 and named.read_text() == "shape_range_info {\n}\n"
    collect_shapes(prefix, tensorrt_config(shape_info_file=named), always=True)  # --set_dynamic_shape
    assert len(collected) == 3


def test_shapes_that_cannot_be_written_are_one_line_before_any_work(with_tensorrt, tmp_path):
    prefix, collected = with_tensorrt
    with pytest.raises(InputError, match="cannot be written .*: make its folder writable, or name another file with"):
        load_engine(prefix, tensorrt_config(shape_info_file="/proc/shapes.pbtxt"))
    assert collected == []


def test_shapes_longer_than_the_model_are_refused_before_it_runs(with_tensorrt):
    prefix, collected = with_tensorrt
    with pytest.raises(InputError, match=f"max_seq_length 128: the model takes at most {MAX_POSITIONS}"):
        load_engine(prefix, tensorrt_config(max_seq_length=128))
    assert collected == []


def test_tensorrt_takes_no_more_than_it_was_prepared_for(with_tensorrt):
    """By default a predictor runs batches of the engine's own size."""
    prefix, _ = with_tensorrt
    sizes = []

    class Engine(PaddleEngine):
        def run(self, input_ids, token_type_ids):
            sizes.append(input_ids.shape)
            return (np.zeros((len(input_ids), 2), dtype=np.float32),)

    task = load_task(prefix.parent)
    predictor = ErniePredictor(Engine(prefix, tensorrt_config(batch_size=4)), task)
    predictor.predict(["好"] * 10)
    list(predictor.predict_iter(["好"] * 10))
    predictor.run_windows(task.windows({"text": "好"}) * 6)
    assert {rows for rows, _ in sizes} == {4, 2}
    for call in (predictor.predict, lambda *args: list(predictor.predict_iter(*args))):
        with pytest.raises(InputError, match="batch_size is 32, but TensorRT was prepared for 4"):
            call(["好"], 32)
    with pytest.raises(InputError, match="max_seq_length is 48, but TensorRT was prepared for 32 tokens"):
        ErniePredictor(Engine(prefix, tensorrt_config(max_seq_length=32)), task)


def test_collecting_uses_the_gpu_without_tensorrt(machine, tiny, tmp_path):
    if HAS_CUDA_BUILD:
        pytest.skip("the real settings are read in another test")
    calls = base_gpu_settings(tiny["seq_cls"], EngineConfig(device="gpu"), Precision.Float32).calls
    assert "enable_use_gpu" in calls and "enable_tensorrt_engine" not in calls


def test_onnx_providers(machine):
    def names(config):
        return [name for name, _ in _onnx_providers(config)]

    cuda = EngineConfig(device="gpu", backend="onnxruntime", precision="fp16", device_id=2)
    assert names(cuda) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert _onnx_providers(cuda)[0][1] == {"device_id": 2, "use_tf32": 0}
    config = EngineConfig(
        device="gpu", backend="onnxruntime_tensorrt", precision="fp16", batch_size=8, max_seq_length=64
    )
    assert names(config) == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    options = _onnx_providers(config)[0][1]
    assert options["trt_fp16_enable"] is True
    assert not any(name.startswith("trt_profile") for name in options), "they would have to name inner tensors"
    assert _onnx_providers(config)[1][1]["use_tf32"] == 0


class Session(onnxruntime.InferenceSession):
    """A session that says it runs on the GPU, and keeps what it was given."""

    def __init__(self, path, options, providers, **others):
        super().__init__(path, options, providers=["CPUExecutionProvider"], **others)
        self.asked, self.ran = [name for name, _ in providers], []

    def get_providers(self):
        return self.asked

    def run(self, names, feed):
        self.ran.append(feed["input_ids"].shape)
        return super().run(names, feed)


@pytest.mark.parametrize(("backend", "ran"), [("onnxruntime", []), ("onnxruntime_tensorrt", [(1, 2), (4, 16)])])
def test_onnxruntime_keeps_to_its_provider_and_builds_for_all_inputs_when_it_loads(machine, tiny, backend, ran):
    machine.setattr(onnxruntime, "InferenceSession", Session)
    config = EngineConfig(device="gpu", backend=backend, batch_size=4, max_seq_length=16)
    session = load_engine(export_onnx(tiny["seq_cls"]), config)._session
    assert session.ran == ran and session._enable_fallback is False


def test_a_provider_that_cannot_be_loaded_is_said_in_one_line_and_no_more(machine, tiny, capfd):
    """As on a machine whose card is there and whose TensorRT is not."""
    create = onnxruntime.InferenceSession._create_inference_session

    def without_libraries(session, providers, *others):
        session._fallback_providers = ["CPUExecutionProvider"]
        if providers != session._fallback_providers:
            raise RuntimeError("libnvinfer.so.10: cannot open shared object file")
        return create(session, providers, *others)

    machine.setattr(onnxruntime.InferenceSession, "_create_inference_session", without_libraries)
    config = EngineConfig(device="gpu", backend="onnxruntime_tensorrt", batch_size=4, max_seq_length=16)
    with pytest.raises(InputError, match="^TensorrtExecutionProvider could not be loaded [^\n]*: use --device cpu$"):
        load_engine(export_onnx(tiny["seq_cls"]), config)
    printed = capfd.readouterr()
    assert "EP Error" not in printed.out and "Falling back" not in printed.out and "nvinfer" not in printed.err
