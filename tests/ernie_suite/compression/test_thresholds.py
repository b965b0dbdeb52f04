"""Thresholds equal those of Paddle's own post-training quantization on a real program and real text."""

from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.int8_models import calibration_texts
from ernie_suite.compression.quantization import activations, calibrate, loaded_program
from ernie_suite.compression.thresholds import (
    BINS,
    HIST_SHARE,
    MSE_SHARES,
    ActivationStatistics,
    Histogram,
    kl_threshold,
    quantization_errors,
)
from ernie_suite.compression.training import export

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.static.quantization import PostTrainingQuantization
from paddle.static.quantization.cal_kl_threshold import cal_kl_threshold

from tests.support.trainers import tiny_trainer

SIZES = [2, 5]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(prefix of an exported model, calibration texts)."""
    folder = tmp_path_factory.mktemp("thresholds")
    trainer = tiny_trainer(folder / "state")
    export(trainer, trainer.model, folder / "infer")
    return folder / "infer", calibration_texts(trainer, max(SIZES))


def library_thresholds(prefix, texts, algorithm):
    """What PostTrainingQuantization finds, one text a batch."""
    paddle.enable_static()
    try:
        scope = paddle.static.Scope()
        with paddle.static.scope_guard(scope):
            feeds = [{name: np.array(text[name]) for name in ("input_ids", "token_type_ids")} for text in texts]
            quantization = PostTrainingQuantization(
                executor=paddle.static.Executor(paddle.CPUPlace()),
                model_dir=str(prefix.parent),
                model_filename=f"{prefix.name}.pdmodel",
                params_filename=f"{prefix.name}.pdiparams",
                scope=scope,
                data_loader=paddle.io.DataLoader(feeds, places=[paddle.CPUPlace()], batch_size=1, return_list=True),
                batch_nums=len(texts),
                algo=algorithm,
                hist_percent=HIST_SHARE,
                quantizable_op_type=["matmul_v2"],
            )
            quantization.quantize()
            return {**quantization._quantized_threshold, **quantization._quantized_var_threshold}
    finally:
        paddle.disable_static()


@pytest.mark.parametrize("algorithm", ["abs_max", "hist"])  # the library's avg fails on the program's scalars
def test_the_same_as_the_library(exported, algorithm):
    prefix, texts = exported
    found = calibrate(prefix, texts, PTQConfig(algo_list=["mse", algorithm], batch_size_list=SIZES))
    for size in SIZES:
        expected = library_thresholds(prefix, texts[:size], algorithm)
        ours = found[algorithm, size]
        assert len(ours) >= 9
        for name, threshold in ours.items():
            assert threshold == pytest.approx(expected[name], rel=1e-6), name


def test_kl_is_the_same_as_the_library_on_real_activations(exported):
    """The library's whole KL run takes minutes, so its search is called on the activations' histograms."""
    prefix, texts = exported
    with loaded_program(prefix) as model:
        names = activations(model.program, False)[:4]
        feeds = [{name: np.asarray([text[name]], dtype=np.int64) for name in model.feeds} for text in texts]
        runs = [model.executor.run(model.program, feed=feed, fetch_list=names, scope=model.scope) for feed in feeds]
    ours = calibrate(prefix, texts, PTQConfig(algo_list=["KL"], batch_size_list=SIZES))
    for size in SIZES:
        for name, values in zip(names, zip(*runs)):
            magnitudes = np.abs(np.concatenate([value.ravel() for value in values[:size]])).astype(np.float64)
            counts, edges = np.histogram(magnitudes, BINS, (magnitudes.min(), magnitudes.max()))
            expected = cal_kl_threshold(counts, edges[1] - edges[0], 8)
            assert ours["KL", size][name] == pytest.approx(expected, rel=1e-9), name


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["normal", "heavy", "two peaks", "one value", "zeros"]))
def test_kl_is_the_same_as_the_library_on_any_histogram(seed, kind):
    rng = np.random.RandomState(seed)
    values = {
        "normal": lambda: rng.randn(400),
        "heavy": lambda: rng.standard_t(2, 2000),
        "two peaks": lambda: np.concatenate([rng.randn(300), 40 + rng.randn(20)]),
        "one value": lambda: np.append(np.zeros(50), rng.uniform(1, 9)),
        "zeros": lambda: np.zeros(10),
    }[kind]()
    counts, edges = np.histogram(np.abs(values), BINS, (0, np.abs(values).max()))
    width = float(edges[1] - edges[0])
    assert kl_threshold(Histogram(counts, width)) == pytest.approx(cal_kl_threshold(counts, width, 8), rel=1e-12)


def test_mse_has_the_smallest_error():
    values = np.random.RandomState(0).standard_t(3, 5000).astype(np.float32)
    statistics = ActivationStatistics([1], ["mse"])
    statistics.observe_range(values)
    statistics.observe_values(values)
    chosen = statistics.threshold("mse", 1)

    def error(threshold):
        step = threshold / 127
        return ((np.clip(np.round(values / step), -127, 127) * step - values).astype(np.float64) ** 2).sum()

    candidates = MSE_SHARES * np.abs(values).max()
    assert chosen == pytest.approx(min(candidates, key=error))
    assert quantization_errors(np.abs(values), np.abs(values).max()) == pytest.approx(
        [error(threshold) for threshold in candidates], rel=1e-3
    )


def test_a_size_uses_its_own_texts_only():
    statistics = ActivationStatistics([1, 2], ["abs_max", "avg", "hist"])
    small, large = np.full((3, 4), 1.0), np.full((3, 4), -100.0)
    for observe in (statistics.observe_range, statistics.observe_values):
        observe(small)
        observe(large)
    assert statistics.threshold("abs_max", 1) == 1 and statistics.threshold("abs_max", 2) == 100
    assert statistics.threshold("avg", 2) == pytest.approx(50.5)
    assert statistics.counts[1].sum() == 12 and statistics.counts[2].sum() == 24
