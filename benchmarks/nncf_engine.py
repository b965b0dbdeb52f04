"""OpenVINO with the INT8 that its own tool, NNCF, makes of an FP32 model: what benchmarks/speed.py compares ours with.

nncf is not among the locked packages: pip install nncf.
"""

import importlib.util
import logging
from typing import List

import numpy as np

from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.openvino_engine import DEVICE, OpenVinoEngine


def nncf_is_installed() -> bool:
    return importlib.util.find_spec("nncf") is not None


class NncfEngine(OpenVinoEngine):
    """Runs the FP32 model of another engine in NNCF's INT8, calibrated with texts of any lengths.

    Args:
        texts: token ids, int64 [1, length] each.
    """

    def __init__(self, plain: OpenVinoEngine, texts: List[np.ndarray]):
        import nncf
        import openvino

        nncf.set_log_level(logging.ERROR)
        self.prefix, self.graph, self.info = plain.prefix, plain.graph, plain.info
        settings = {name: getattr(plain.config, name) for name in ("num_threads", "batch_size", "max_seq_length")}
        self.config = EngineConfig(backend=plain.config.backend, precision="int8", **settings)
        core = openvino.Core()
        inputs = [{"input_ids": ids, "token_type_ids": np.zeros_like(ids)} for ids in texts]
        quantized = nncf.quantize(
            core.read_model(str(plain.file)),
            nncf.Dataset(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(inputs),
        )
        self._model = core.compile_model(quantized, DEVICE, self._properties())
        self._request = self._model.create_infer_request()

    def describe(self) -> str:
        return self.config.describe("NNCF")
