"""The published name of the ONNX predictor: what it is made of is the package ernie_inference, in deploy/python."""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "python"))

from ernie_inference import ErniePredictor, InputError, load_onnx_predictor

__all__ = ["ErniePredictor", "InputError", "load_onnx_predictor"]
