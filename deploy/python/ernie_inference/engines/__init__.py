"""The engines that run an exported model: which one serves which backend.

Another engine is a class here in a file of its own, its backends in backends.py, and its place in ENGINES.
"""

from pathlib import Path
from typing import Dict, Type, Union

from ernie_inference.engines.backends import ONNX, ONNX_TENSORRT, PADDLE, TENSORRT
from ernie_inference.engines.base import Engine
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.onnx_engine import OnnxEngine
from ernie_inference.engines.paddle_engine import PaddleEngine

ENGINES: Dict[str, Type[Engine]] = {
    PADDLE: PaddleEngine,
    TENSORRT: PaddleEngine,
    ONNX: OnnxEngine,
    ONNX_TENSORRT: OnnxEngine,
}


def load_engine(model_path: Union[str, Path], config: EngineConfig) -> Engine:
    """The engine of config.backend with a model loaded: a file of the form that this engine runs."""
    return ENGINES[config.backend](model_path, config)
