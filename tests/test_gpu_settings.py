"""Every GPU option without a card: which settings are made, what is refused and how.

The CPU build of Paddle ignores or refuses GPU settings, so there a recorder takes the place of
paddle.inference.Config; it has the real class's methods and no others. Where Paddle is built with
CUDA, the settings are read back from the real class.
"""

import ctypes
import subprocess
import sys

import onnxruntime
import paddle
import pytest
from engine_fixtures import ROOT, tiny  # noqa: F401
from paddle import inference

import engine
from engine import EngineConfig, base_gpu_settings, collect_shapes, paddle_settings, shape_info_path
from ernie_predictor import InputError

HAS_CUDA_BUILD = paddle.is_compiled_with_cuda()
Precision = inference.PrecisionType


class Recorder:
    """Keeps the calls made on it: name -> (arguments, keyword arguments) of the last."""

    real = inference.Config

    def __init__(self, *files):
        self.files, self.calls = files, {}

    def __getattr__(self, name):
        assert hasattr(self.real, name), f"paddle.inference.Config has no {name}"
        return lambda *args, **kwargs: self.calls.__setitem__(name, (args, kwargs))


@pytest.fixture
def machine(monkeypatch):
    """A machine with one GPU and TensorRT 8.5, as far as questions about it go."""
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(inference, "get_trt_compile_version", lambda: (8, 5, 3))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: name)
    providers = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    if not HAS_CUDA_BUILD:
        monkeypatch.setattr(inference, "Config", Recorder)
    return monkeypatch


recorded = pytest.mark.skipif(HAS_CUDA_BUILD, reason="this Paddle has the real settings, which the next tests read")
real = pytest.mark.skipif(not HAS_CUDA_BUILD, reason="the CPU build of Paddle has no GPU settings to read back")


@recorded
@pytest.mark.parametrize(("precision", "of_paddle"), [("fp32", Precision.Float32), ("fp16", Precision.Half)])
def test_cuda(machine, tmp_path, precision, of_paddle):
    config = EngineConfig(device="gpu", precision=precision, device_id=1)
    calls = paddle_settings(tmp_path / "model", config).calls
    assert calls["enable_use_gpu"] == ((engine.GPU_MEMORY_POOL_MB, 1, of_paddle), {})
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
    assert calls["enable_use_gpu"] == ((engine.GPU_MEMORY_POOL_MB, 0, Precision.Float32), {})
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


def test_shapes_of_the_smallest_and_the_largest_batch_are_collected(tiny, tmp_path, monkeypatch):  # noqa: F811
    """Paddle collects shapes on a processor as well, so all but the device is real here."""
    monkeypatch.setattr(engine, "base_gpu_settings", lambda prefix, config, precision: engine._base_settings(prefix))
    config = EngineConfig(batch_size=4, max_seq_length=16, shape_info_file=tmp_path / "shapes.pbtxt")
    file = collect_shapes(tiny["seq_cls"], config)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes.pbtxt"] and file == tmp_path / "shapes.pbtxt"
    of_input = next(part for part in file.read_text().split("shape_range_info") if '"input_ids"' in part)
    sizes = [int(line.split(":")[1]) for line in of_input.splitlines() if "min_shape" in line or "max_shape" in line]
    assert sizes == [1, 2, 4, 16]


def test_the_first_start_collects_shapes_and_the_next_reuses_them(machine, tiny, tmp_path):  # noqa: F811
    """One command: nothing is run by hand between."""
    collected, created = [], []

    def collect(prefix, config):
        collected.append(config.precision)
        shape_info_path(prefix, config).write_text("shapes")

    machine.setattr(engine, "collect_shapes", collect)
    machine.setattr(engine, "_create_predictor", lambda prefix, settings: created.append(settings))
    config = EngineConfig(device="gpu", backend="tensorrt", precision="fp16", shape_info_file=tmp_path / "shapes.pbtxt")
    for _ in range(2):
        engine.load_engine(tiny["seq_cls"], config)
    assert collected == ["fp16"] and len(created) == 2


def test_collecting_uses_the_gpu_without_tensorrt(machine, tiny, tmp_path):  # noqa: F811
    if HAS_CUDA_BUILD:
        pytest.skip("the real settings are read in another test")
    calls = base_gpu_settings(tiny["seq_cls"], EngineConfig(device="gpu"), Precision.Float32).calls
    assert "enable_use_gpu" in calls and "enable_tensorrt_engine" not in calls


def test_onnx_providers(machine):
    names = lambda config: [name for name, _ in engine._onnx_providers(config)]  # noqa: E731
    cuda = EngineConfig(device="gpu", backend="onnxruntime", precision="fp16", device_id=2)
    assert names(cuda) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert engine._onnx_providers(cuda)[0][1] == {"device_id": 2}
    config = EngineConfig(
        device="gpu", backend="onnxruntime_tensorrt", precision="fp16", batch_size=8, max_seq_length=64
    )
    assert names(config) == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    options = engine._onnx_providers(config)[0][1]
    assert options["trt_fp16_enable"] is True
    assert options["trt_profile_min_shapes"] == "input_ids:1x2,token_type_ids:1x2"
    assert options["trt_profile_max_shapes"] == "input_ids:8x64,token_type_ids:8x64"


# ---------------------------------------------------------------- refusals


def refusal(**options):
    with pytest.raises(InputError) as error:
        EngineConfig(**options)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_cpu_build_of_paddle(machine):
    machine.setattr(paddle, "is_compiled_with_cuda", lambda: False)
    message = "the installed paddlepaddle is the CPU build: install paddlepaddle-gpu, or use --device cpu"
    assert refusal(device="gpu") == refusal(device="gpu", backend="tensorrt", precision="int8") == message


def test_no_card(machine):
    machine.setattr(paddle.device.cuda, "device_count", lambda: 0)
    assert refusal(device="gpu", precision="fp16").startswith("no CUDA device was found: ")


def test_paddle_without_tensorrt(machine):
    machine.setattr(inference, "get_trt_compile_version", lambda: (0, 0, 0))
    assert "built without TensorRT: install one with TensorRT, or leave out --use_trt" in refusal(
        device="gpu", backend="tensorrt"
    )


def test_tensorrt_is_not_installed(machine):
    def missing(name):
        raise OSError(name)

    machine.setattr(ctypes, "CDLL", missing)
    message = "libnvinfer.so.8 was not found: put TensorRT 8.5.3 on LD_LIBRARY_PATH, or leave out --use_trt"
    assert refusal(device="gpu", backend="tensorrt", precision="fp16") == message


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ({"precision": "fp16"}, "use bf16, int8 or --device gpu"),
        ({"precision": "int8", "device": "gpu"}, "INT8 on a GPU needs TensorRT: add --use_trt"),
        ({"precision": "bf16", "device": "gpu"}, "use fp32 or fp16"),
        ({"backend": "tensorrt"}, "use --device gpu, or leave out --use_trt"),
        ({"backend": "onnxruntime", "device": "gpu", "precision": "int8"}, "use fp32 or fp16"),
        ({"device": "npu"}, "neither cpu nor gpu"),
        ({"backend": "openvino"}, "not one of paddle, tensorrt, onnxruntime, onnxruntime_tensorrt"),
    ],
)
def test_what_no_machine_can_do(machine, options, instead):
    assert refusal(**options).endswith(instead)


@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", "TensorrtExecutionProvider"])
def test_onnxruntime_without_a_provider(machine, provider):
    machine.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    backend = "onnxruntime" if provider.startswith("CUDA") else "onnxruntime_tensorrt"
    expected = f"the installed onnxruntime has no {provider}: install onnxruntime-gpu, or use --device cpu"
    assert refusal(device="gpu", backend=backend) == expected


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this machine may have the GPU that is refused here")
@pytest.mark.parametrize("flags", [[], ["--precision_mode", "int8"], ["--use_trt"], ["--set_dynamic_shape"]])
def test_infer_gpu_without_a_gpu_is_one_line(tiny, flags):  # noqa: F811
    command = [sys.executable, "deploy/python/infer_gpu.py", "--model_path", str(tiny["seq_cls"]), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if "OMP_NUM_THREADS" not in line]
    assert lines == [
        "error: the installed paddlepaddle is the CPU build: install paddlepaddle-gpu, or use --device cpu"
    ]


def test_errors_of_cpp_are_cut_to_what_happened():
    trace = "\n\n----\nC++ Traceback\n----\n0 paddle::f()\n\n"
    text = trace + "Error Message Summary:\n-----\nNotFoundError: TensorRT is needed\n"
    assert engine._reason(RuntimeError(text)) == "NotFoundError: TensorRT is needed"
    assert engine._reason(MemoryError()) == "MemoryError"
