"""What each part of a model costs on this processor, measured with the engine and in the shapes of the report.

A sub-network's time is that of its embeddings and head and of its layers, and a layer's that of its heads and of its
neurons. So few small models tell what any sub-network takes, as in ZipLM (Kurtic, Frantar and Alistarh, "ZipLM:
Inference-Aware Structured Pruning of Language Models", 2023), whose table is measured on the target device, too.
All times are shares of what the original model takes in the same rounds.
"""

import copy
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.fresh_process import FreshProcess
from ernie_suite.compression.int8_models import calibration_texts
from ernie_suite.compression.quantization import calibrate, write_quantized
from ernie_suite.compression.report import BATCH_SIZE, compared_sample
from ernie_suite.compression.smoothing import TEXTS, has_outliers, prepared
from ernie_suite.compression.subnetworks import KeptLayer, SubNetwork, narrow_model
from ernie_suite.export import export_static

import numpy as np
from tqdm import tqdm

from ernie_inference.predictor import load_predictor
from ernie_inference.tasks.base import Window

# Of heads and of neurons, what is measured; between these the time is a straight line to a few hundredths.
MEASURED_SHARES = (1 / 16, 1 / 4, 1 / 2, 3 / 4, 1)
OTHERS_SHARE = 1 / 4  # of neurons while heads are varied, and the other way round
MEASURED_LAYERS = 2
MEASURED_TOKENS = 1000  # in the vocabulary of a measured model: a lookup takes no longer in a larger one
QUICK_CALIBRATION = {"algo_list": ["abs_max"], "batch_size_list": [1]}  # speed does not depend on thresholds


def measured_numbers(total: int) -> List[int]:
    """The numbers of heads, or of neurons, that are measured of a layer that has `total`, ascending."""
    return sorted({max(1, round(share * total)) for share in MEASURED_SHARES})


class LatencyTable(NamedTuple):
    """What parts of a model take, as shares of the original's time.

    Attributes:
        rest: all but the layers: embeddings, pooler, head.
        by_heads: a layer, by its heads, with OTHERS_SHARE of the neurons.
        by_neurons: a layer, by its neurons, with OTHERS_SHARE of the heads.
        both: a layer with OTHERS_SHARE of both.
    """

    rest: float
    by_heads: Dict[int, float]
    by_neurons: Dict[int, float]
    both: float

    def layer(self, heads, neurons):
        """What a layer takes; heads and neurons are numbers, or arrays that go together."""
        return _between(self.by_heads, heads) + _between(self.by_neurons, neurons) - self.both

    def network(self, layers: Sequence[KeptLayer]) -> float:
        """What a sub-network takes."""
        return self.rest + sum(float(self.layer(layer.heads, layer.neurons)) for layer in layers)

    def to_json(self) -> Dict:
        return self._asdict()

    @classmethod
    def from_json(cls, content: Dict) -> "LatencyTable":
        by_number = {
            name: {int(number): share for number, share in content[name].items()} for name in ("by_heads", "by_neurons")
        }
        return cls(content["rest"], by_number["by_heads"], by_number["by_neurons"], content["both"])


def _between(measured: Dict[int, float], number):
    numbers = sorted(measured)
    return np.interp(number, numbers, [measured[each] for each in numbers])


class SpeedTest:
    """Models of any shapes, timed in turn with the original one.

    Args:
        trainer: a trainer.FinetuneTrainer, for its task.
        report_lengths: tokens of the windows of which the report compares the speed: those of the whole dev set.
        original: prefix of the exported FP32 model.
        quantization: how models are quantized; None where they run in FP32.

    Attributes:
        batches: [rows, tokens] of those in which the report compares the speed.
        smoothed_on: the texts on which models of the task are smoothed before they are quantized; none where they are
            not.
    """

    def __init__(self, trainer, report_lengths: Sequence[int], original: Path, quantization: Optional[PTQConfig]):
        self.tokenizer, self.inference_config = trainer.task.tokenizer, trainer.inference_config
        self.quantization = quantization
        self.tokens = min(trainer.model.config.vocab_size, MEASURED_TOKENS)
        self.precision = "int8" if quantization else "fp32"
        self.original = load_predictor(original, device="cpu")
        windows = compared_sample([_window(int(length)) for length in report_lengths])
        planned = self.original.batches(windows, BATCH_SIZE)
        self.batches = [(len(ids), ids.shape[1]) for _, (ids, _) in planned]
        self.smoothed_on = calibration_texts(trainer, TEXTS) if quantization and quantization.smoothing else []

    @property
    def quantization_speed(self) -> Optional[Dict]:
        """What of the quantization changes the speed; None in FP32."""
        names = ("weight_quantize_type", "quantize_activation_matmuls")
        return {name: getattr(self.quantization, name) for name in names} if self.quantization else None

    @cached_property
    def outliers_expected(self) -> bool:
        """Whether each layer of a trained sub-network is timed with outlier neurons in FP32, as the whole model has
        some: the training makes more of them, in smaller layers above all, than the sub-network began with."""
        with prepared(self.original.engine.prefix, self.smoothed_on, bool(self.smoothed_on)) as smoothed:
            return has_outliers(smoothed)

    def shares(self, models: Mapping, what: str, smoothed: bool = False) -> Dict[Any, float]:
        """What each of some models of paddlenlp.transformers takes, as a share of the original's time.

        Args:
            smoothed: of models that are going to be trained: what smoothing will add to them is timed with them,
                where models of the task are smoothed.
        """
        with TemporaryDirectory() as folder:
            prefixes = [
                self._write(model, Path(folder) / str(number), smoothed)
                for number, model in enumerate(tqdm(models.values(), desc=f"{what}: models", leave=False))
            ]
            return dict(zip(models, self._compare(prefixes, what)))

    def _write(self, model, folder: Path, smoothed: bool) -> Path:
        export_static(model, self.tokenizer, self.inference_config, folder, "fp32")
        prefix = folder / "fp32"
        if self.quantization:
            config = copy.copy(self.quantization)
            for name, value in QUICK_CALIBRATION.items():
                setattr(config, name, value)
            ids, types = _random_batch((1, self.batches[-1][1]), self.tokens)
            smoothing = smoothed and self.quantization.smoothing
            with prepared(prefix, self.smoothed_on, smoothing, smoothing and self.outliers_expected) as source:
                (thresholds,) = calibrate(source, [{"input_ids": ids[0], "token_type_ids": types[0]}], config).values()
                write_quantized(source, thresholds, config, folder / "int8")
        return folder / self.precision

    def _compare(self, prefixes: List[Path], what: str) -> List[float]:
        batches = [_random_batch(shape, self.tokens) for shape in self.batches]
        models = [(self.original.engine.prefix, "fp32"), *((prefix, self.precision) for prefix in prefixes)]
        with FreshProcess() as process:
            original, *seconds = process.least_seconds(models, batches, what)
        return [of_model / original for of_model in seconds]


def _window(length: int) -> Window:
    """One with so many tokens, whichever these are."""
    return Window([0] * length, [0] * length, offset=0, begin=0, starts=[], ends=[])


def _random_batch(shape: Tuple[int, int], tokens: int) -> Tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, tokens, shape)
    return ids, np.zeros_like(ids)


def measure_latency(test: SpeedTest, model) -> LatencyTable:
    """The table for sub-networks of a model of paddlenlp.transformers, by models of its kind with random weights."""
    layer = model.base_model.encoder.layers[0]
    all_heads, all_neurons = layer.self_attn.num_heads, layer.linear1.weight.shape[1]
    few_heads, few_neurons = (max(1, round(OTHERS_SHARE * total)) for total in (all_heads, all_neurons))
    shapes = {(heads, few_neurons) for heads in measured_numbers(all_heads)}
    shapes |= {(few_heads, neurons) for neurons in measured_numbers(all_neurons)} | {(few_heads, few_neurons)}
    whole = _small_model(model, MEASURED_LAYERS)
    models: Dict[Any, Any] = {"rest": _small_model(model, 0)}
    for heads, neurons in sorted(shapes):
        layers = tuple(KeptLayer(number, heads, neurons) for number in range(MEASURED_LAYERS))
        network = SubNetwork(f"{heads}-{neurons}", layers)
        models[heads, neurons] = narrow_model(whole, network, whole.state_dict())
    shares = test.shares(models, "latency table")
    rest = shares.pop("rest")
    of_layer = {shape: (share - rest) / MEASURED_LAYERS for shape, share in shares.items()}
    return LatencyTable(
        rest,
        {heads: of_layer[heads, few_neurons] for heads in measured_numbers(all_heads)},
        {neurons: of_layer[few_heads, neurons] for neurons in measured_numbers(all_neurons)},
        of_layer[few_heads, few_neurons],
    )


def _small_model(model, layers: int):
    """A model of the same kind and widths with so many layers and a small vocabulary, of random weights."""
    config = copy.deepcopy(model.config)
    config.vocab_size, config.num_hidden_layers = min(config.vocab_size, MEASURED_TOKENS), layers
    return type(model)(config)
