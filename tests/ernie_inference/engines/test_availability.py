"""What a machine cannot run is refused in one line, before anything is loaded."""

import ctypes

from ernie_suite.arguments import choose_device

import onnxruntime
import paddle
import pytest
from paddle import inference

from ernie_inference.engines.availability import gpu_is_usable
from ernie_inference.engines.config import EngineConfig
from ernie_inference.errors import InputError


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


def test_a_gpu_that_is_not_there(machine):
    assert refusal(device="gpu", device_id=2) == "there is no GPU 2: this machine has 2, counted from 0"
    with pytest.raises(InputError, match="^--device gpu:3: there is no GPU 3"):
        choose_device("gpu:3")


@pytest.mark.parametrize(
    ("capability", "runs"), [((6, 0), False), ((7, 5), True), ((8, 6), True), ((8, 9), True), ((9, 0), False)]
)
def test_a_card_without_machine_code_is_never_chosen(machine, capability, runs):
    """By nobody, and refused in one line where it is asked for; machine code is for a major version."""
    if paddle.version.full_version != "2.6.2":
        pytest.skip("what is compiled into other versions is not known")
    machine.setattr(paddle.device.cuda, "get_device_capability", lambda device_id: capability)
    assert gpu_is_usable() is runs and choose_device(None) == ("gpu" if runs else "cpu")
    if runs:
        assert choose_device("gpu:1") == "gpu:1" and EngineConfig(device="gpu").device == "gpu"
        return
    line = f"GPU 0 has compute capability {capability[0]}.{capability[1]}, and the installed paddlepaddle-gpu has"
    assert refusal(device="gpu").startswith(line) and refusal(device="gpu", backend="tensorrt").startswith(line)
    with pytest.raises(InputError, match="^--device gpu: GPU 0 has compute capability"):
        choose_device("gpu")
    assert EngineConfig(device="gpu", backend="onnxruntime").device == "gpu"  # it brings its own


def test_paddle_without_tensorrt(machine):
    machine.setattr(inference, "get_trt_compile_version", lambda: (0, 0, 0))
    line = "the installed paddlepaddle is built without TensorRT: install one with it, or run without TensorRT"
    assert refusal(device="gpu", backend="tensorrt") == line


def test_tensorrt_is_not_installed(machine):
    def missing(name):
        raise OSError(name)

    machine.setattr(ctypes, "CDLL", missing)
    message = "libnvinfer.so.8 was not found: put TensorRT 8.5.3 on LD_LIBRARY_PATH, or run without TensorRT"
    assert refusal(device="gpu", backend="tensorrt", precision="fp16") == message


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ({"precision": "fp16"}, "use bf16, int8 or --device gpu"),
        ({"precision": "int8", "device": "gpu"}, "INT8 on a GPU needs TensorRT: add --use_trt"),
        ({"precision": "bf16", "device": "gpu"}, "use fp32 or fp16"),
        ({"backend": "tensorrt"}, "use --device gpu, or run without TensorRT"),
        ({"backend": "onnxruntime", "device": "gpu", "precision": "int8"}, "use fp32 or fp16"),
        ({"device": "npu"}, "neither cpu nor gpu"),
        ({"backend": "tflite"}, "not one of paddle, tensorrt, onnxruntime, onnxruntime_tensorrt, openvino"),
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
