"""The table of what parts of a model cost. How long anything takes here is not asserted."""

import json
import re

from ernie_suite.compression import latency
from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.fresh_process import FreshProcess
from ernie_suite.compression.latency import LatencyTable, SpeedTest, measure_latency, measured_numbers
from ernie_suite.compression.pipeline import export
from ernie_suite.compression.quantization import write_quantized
from ernie_suite.compression.report import COMPARED_WINDOWS, compared_sample
from ernie_suite.compression.smoothing import OUTLIERS
from ernie_suite.compression.subnetworks import KeptLayer

import numpy as np
import pytest

from ernie_inference.model_files import inspect_model
from ernie_inference.tasks.base import Window
from tests.support.trainers import HEADS, NEURONS, tiny_trainer

TABLE = LatencyTable(rest=0.1, by_heads={1: 0.02, 2: 0.03, 4: 0.05}, by_neurons={16: 0.02, 64: 0.08}, both=0.02)


@pytest.mark.parametrize(
    ("total", "measured"),
    [(12, [1, 3, 6, 9, 12]), (3072, [192, 768, 1536, 2304, 3072]), (4, [1, 2, 3, 4]), (1, [1])],
)
def test_what_is_measured_goes_from_little_to_all(total, measured):
    assert measured_numbers(total) == measured


def test_a_network_takes_what_its_parts_take():
    assert TABLE.layer(1, 16) == pytest.approx(0.02)
    assert TABLE.layer(3, 40) == pytest.approx(0.04 + 0.05 - 0.02), "halfway between what was measured"
    layers = [KeptLayer(0, 1, 16), KeptLayer(3, 3, 40)]
    assert TABLE.network(layers) == pytest.approx(0.1 + 0.02 + 0.07)


def test_a_table_is_the_same_after_it_was_kept():
    assert LatencyTable.from_json(json.loads(json.dumps(TABLE.to_json()))) == TABLE


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latency")
    trainer = tiny_trainer(folder / "state", examples=200)
    export(trainer, trainer.model, folder / "original" / "model")
    return trainer, folder / "original" / "model"


@pytest.mark.parametrize("count", [1, 63, 64, 100, 127, 1000])
def test_compared_are_windows_of_every_length(count):
    windows = [Window([0] * length, [0] * length, 0, 0, [], []) for length in range(count, 0, -1)]
    lengths = [len(window.input_ids) for window in compared_sample(windows)]
    assert lengths == sorted(set(lengths)) and len(lengths) == min(count, COMPARED_WINDOWS)
    assert {1, count} <= set(lengths), "the shortest and the longest"
    steps = np.diff(lengths)
    assert not len(steps) or steps.max() - steps.min() <= 1, "at even distances"


@pytest.mark.parametrize("quantization", [None, PTQConfig()], ids=["fp32", "int8"])
def test_every_number_of_heads_and_neurons_has_its_time(exported, monkeypatch, quantization):
    """In models of the precision that is asked for."""
    trainer, original = exported
    test = SpeedTest(trainer, trainer.eval_dataset.lengths, original, quantization)
    quantized, shapes = [], []
    compare, least_seconds = test._compare, FreshProcess.least_seconds

    def look(prefixes, what):
        quantized.extend(inspect_model(prefix).quantized for prefix in prefixes)
        return compare(prefixes, what)

    def look_at_batches(self, models, batches, what):
        shapes.extend(ids.shape for ids, _ in batches)
        return least_seconds(self, models, batches, what)

    monkeypatch.setattr(test, "_compare", look)
    monkeypatch.setattr(FreshProcess, "least_seconds", look_at_batches)
    table = measure_latency(test, trainer.model)
    assert list(table.by_heads) == measured_numbers(HEADS)
    assert list(table.by_neurons) == measured_numbers(NEURONS)
    assert table.rest > 0
    assert quantized and set(quantized) == {quantization is not None}
    assert shapes == test.batches, "it is timed in the batches that it names"


def test_what_smoothing_adds_to_a_model_is_timed_with_it(tmp_path, monkeypatch):
    """Here the products of outlier neurons: without them a small model looked a fifth faster than it became.

    They are in every layer, though in one alone before the training: what has some gets more of them by it.
    """
    trainer = tiny_trainer(tmp_path / "state", examples=200)
    linear = trainer.model.base_model.encoder.layers[1].linear1
    bias = linear.bias.numpy()
    bias[5] = 3000
    linear.bias.set_value(bias)
    export(trainer, trainer.model, tmp_path / "original" / "model")
    layers_with_outliers = []

    def write(source, thresholds, config, target):
        write_quantized(source, thresholds, config, target)
        program = target.with_suffix(".pdmodel").read_bytes()
        layers_with_outliers.append(len(set(re.findall(rf"[\w.]+{re.escape(OUTLIERS)}\.gelu".encode(), program))))

    monkeypatch.setattr(latency, "write_quantized", write)
    for quantization in (PTQConfig(), PTQConfig(smoothing=False)):
        test = SpeedTest(trainer, [64], tmp_path / "original" / "model", quantization)
        monkeypatch.setattr(test, "_compare", lambda prefixes, what: prefixes)
        test.shares({"chosen": trainer.model}, "speedup4", smoothed=True)
    test.shares({"of the table": trainer.model}, "latency table")
    assert layers_with_outliers == [trainer.model.config.num_hidden_layers, 0, 0]


def test_where_the_whole_model_has_no_outliers_none_are_timed(exported):
    trainer, original = exported
    test = SpeedTest(trainer, trainer.eval_dataset.lengths, original, PTQConfig())
    assert not test.outliers_expected
