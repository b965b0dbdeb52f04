"""The published name of the predictor: what it is made of is the package ernie_inference, beside this file.

predictor = load_predictor("best_models/TNEWS/export/model", precision="fp32", num_threads=2)
predictor.predict(["今天股市大涨", "国足又输了"])
"""

from ernie_inference import EngineConfig, ErniePredictor, InferenceConfig, InputError, load_predictor, load_task

__all__ = ["EngineConfig", "ErniePredictor", "InferenceConfig", "InputError", "load_predictor", "load_task"]
