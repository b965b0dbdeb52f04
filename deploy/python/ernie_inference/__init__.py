"""Answers of exported ERNIE models, for programs of your own: text in, answers out, on any of the engines.

    from ernie_inference import load_predictor

    predictor = load_predictor("best_models/TNEWS/export/model", precision="fp32", num_threads=2)
    predictor.predict(["今天股市大涨", "国足又输了"])

It needs numpy, tqdm and a runtime (paddlepaddle, onnxruntime), nothing of the training:

    tasks/                          what a task family means: an example as model inputs, logits as an answer
                                    (for training and evaluation: ernie_suite/tasks)
    engines/                        what computes the logits: the table of backends (backends.py), and every setting of
                                    each; its docstring says what belongs to another engine
    predictor, bulk                 the two put together; a whole file answered
    batches, answer_options         inputs as the engine is given them; what of the answers is wanted
    assignment                      which choice fills which blank
    wordpiece                       text as tokens with character positions
    inference_config, model_files   the files beside a model; the model's own
    derived                         files that are made from a model and kept beside it
    measuring                       a process that times models, for the reports of ernie_suite/compression
    console, commands               what all commands share, and those that answer texts
    errors, files, text_files, text_output, processors, quiet_imports   what all of these need
"""

from ernie_inference.engines.config import EngineConfig
from ernie_inference.errors import InputError
from ernie_inference.inference_config import InferenceConfig, load_task
from ernie_inference.predictor import ErniePredictor, load_onnx_predictor, load_predictor

__all__ = [
    "EngineConfig",
    "ErniePredictor",
    "InferenceConfig",
    "InputError",
    "load_onnx_predictor",
    "load_predictor",
    "load_task",
]
