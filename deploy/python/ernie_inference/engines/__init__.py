"""The engines that run an exported model."""

from pathlib import Path
from typing import Union

from ernie_inference.engines.backends import ONNX, ONNX_TENSORRT, PADDLE, TENSORRT
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.onnx_engine import OnnxEngine
from ernie_inference.engines.paddle_engine import PaddleEngine

ENGINES = {PADDLE: PaddleEngine, TENSORRT: PaddleEngine, ONNX: OnnxEngine, ONNX_TENSORRT: OnnxEngine}


def load_engine(model_path: Union[str, Path], config: EngineConfig) -> Union[PaddleEngine, OnnxEngine]:
    """The engine of config.backend with a model loaded."""
    return ENGINES[config.backend](model_path, config)
