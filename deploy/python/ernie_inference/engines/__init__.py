"""The engines that run an exported model: which one serves which backend.

    backends                        the table of backends: what each runs where
    availability, config            what this machine can run; how to run a model, checked against both
    base, shapes                    what every engine can do; the shapes of what it is given
    paddle_engine, paddle_runtime   Paddle Inference, and every setting of it
    tensorrt_shapes, pass_log       what its TensorRT must know; what it would write to the screen
    onnx_engine, openvino_engine    ONNX Runtime; OpenVINO
    onnx_base                       what these two have in common
    onnx_files, onnx_graph          the .onnx forms of a model; what such a file says of itself
    onnx_quantized                  a quantized Paddle model as ONNX
    static_program                  an exported Paddle model as a program that is run or rewritten

Another engine is a class in a file of its own, with its backends in backends.py, what a machine needs for them in
availability.py, its place in ENGINES, and the flags that choose it in the commands.
"""

from pathlib import Path
from typing import Dict, Type, Union

from ernie_inference.engines.backends import ONNX, ONNX_TENSORRT, OPENVINO, PADDLE, TENSORRT
from ernie_inference.engines.base import Engine
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.onnx_engine import OnnxEngine
from ernie_inference.engines.openvino_engine import OpenVinoEngine
from ernie_inference.engines.paddle_engine import PaddleEngine

ENGINES: Dict[str, Type[Engine]] = {
    PADDLE: PaddleEngine,
    TENSORRT: PaddleEngine,
    ONNX: OnnxEngine,
    ONNX_TENSORRT: OnnxEngine,
    OPENVINO: OpenVinoEngine,
}


def load_engine(model_path: Union[str, Path], config: EngineConfig) -> Engine:
    """The engine of config.backend with a model loaded: a file of the form that this engine runs."""
    return ENGINES[config.backend](model_path, config)
