"""Smoothed models answer as before, and lose less as INT8 where there are outliers."""

from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.graph import Graph
from ernie_suite.compression.pipeline import calibration_texts, export
from ernie_suite.compression.quantization import activations, calibrate, write_quantized
from ernie_suite.compression.smoothing import OUTLIERS, find_folds, find_outliers, find_scale, product_error, smooth
from ernie_suite.tasks.qa import QA
from ernie_suite.tasks.seq_cls import SEQ_CLS
from ernie_suite.tasks.token_cls import TOKEN_CLS

import numpy as np
import pytest

from ernie_inference.engines.static_program import loaded_program
from ernie_inference.predictor import load_predictor
from tests.support.trainers import LAYERS, tiny_trainer

CHANNEL, NEURON = 3, 5
SHIFT, SCALE = 30, 20
TEXTS = 8


def plant_outliers(model, in_residual=False):
    """Outliers that hardly change the answers: a channel far off 0 after each attention, one of the attention's result
    far larger than the others, and a neuron far above the others. With in_residual, which does change the answers, also
    a channel after each attention that is far larger than the others."""
    for layer in model.base_model.encoder.layers:
        attention = layer.self_attn
        # What reads the channel that is shifted, and the layer whose output is added to it, take the shift back.
        add(layer.linear1.bias, slice(None), -SHIFT * layer.linear1.weight.numpy()[CHANNEL])
        add(layer.linear2.bias, CHANNEL, -SHIFT)
        add(layer.norm1.bias, CHANNEL, SHIFT)
        multiply(attention.v_proj.weight, (slice(None), CHANNEL), SCALE)
        multiply(attention.v_proj.bias, CHANNEL, SCALE)
        multiply(attention.out_proj.weight, CHANNEL, 1 / SCALE)
        add(layer.linear1.bias, NEURON, 3000)
        multiply(layer.linear2.weight, NEURON, 1e-3)
        if in_residual:
            multiply(layer.norm1.weight, CHANNEL + 1, SCALE)
            multiply(layer.norm1.bias, CHANNEL + 1, SCALE)


def add(parameter, place, value):
    values = parameter.numpy()
    values[place] += value
    parameter.set_value(values)


def multiply(parameter, place, value):
    values = parameter.numpy()
    values[place] *= value
    parameter.set_value(values)


def outputs(prefix, texts):
    with loaded_program(prefix) as model:
        names = [variable.name for variable in model.fetches]
        feeds = [{name: np.asarray([text[name]], dtype=np.int64) for name in model.feeds} for text in texts]
        return [
            value
            for feed in feeds
            for value in model.executor.run(model.program, feed=feed, fetch_list=names, scope=model.scope)
        ]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """(trainer, prefix of its model with outliers, prefix of that one smoothed, texts)."""
    folder = tmp_path_factory.mktemp("planted")
    trainer = tiny_trainer(folder / "state")
    plant_outliers(trainer.model)
    export(trainer, trainer.model, folder / "original" / "infer")
    texts = calibration_texts(trainer, TEXTS)
    smoothed = folder / "smoothed" / "infer"
    export(trainer, trainer.model, smoothed)  # with what it takes to serve it
    smooth(folder / "original" / "infer", texts, smoothed)
    return trainer, folder / "original" / "infer", smoothed, texts


@pytest.mark.parametrize(
    "architecture, family, folds",
    # queries, the attention's result and the feed-forward network of each layer; but not the states of which the
    # pooler reads one, and with what goes into the layers of ELECTRA, which is made wider first.
    [("Ernie", SEQ_CLS, 3), ("Bert", TOKEN_CLS, 3), ("Roberta", QA, 3), ("Electra", SEQ_CLS, 3)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_answers_stay_as_they_were(architecture, family, folds, tmp_path):
    trainer = tiny_trainer(tmp_path / "state", family, architecture, examples=12)
    plant_outliers(trainer.model, in_residual=True)
    export(trainer, trainer.model, tmp_path / "original" / "infer")
    texts = calibration_texts(trainer, TEXTS)
    with loaded_program(tmp_path / "original" / "infer") as model:
        assert len(find_folds(Graph(model))) >= folds * LAYERS
    rows = smooth(tmp_path / "original" / "infer", texts, tmp_path / "smoothed")
    with loaded_program(tmp_path / "smoothed") as model:
        names = {variable.name for variable in model.program.list_vars()}
        assert sum(name.endswith(f"w_0{OUTLIERS}") for name in names) == 2 * LAYERS
        assert any(name.endswith(".scales") for name in names)
        assert set(activations(model.program, False)) == set(rows)
    before, after = outputs(tmp_path / "original" / "infer", texts), outputs(tmp_path / "smoothed", texts)
    assert len(before) == len(after) > 0
    for old, new in zip(before, after):
        assert np.abs(old - new).max() <= 1e-5 * max(1, np.abs(old).max())


def test_the_sample_of_an_activation_is_that_of_the_smoothed_model(planted):
    trainer, original, smoothed, texts = planted
    rows = smooth(original, texts, smoothed.parent / "again")
    with loaded_program(smoothed) as model:
        feed = {name: np.asarray([texts[0][name]], dtype=np.int64) for name in model.feeds}
        names = list(rows)
        values = model.executor.run(model.program, feed=feed, fetch_list=names, scope=model.scope)
    for name, value in zip(names, values):
        first = value.reshape(-1, value.shape[-1])[0]
        assert np.abs(rows[name][0] - first).max() <= 1e-4 * max(1, np.abs(first).max()), name


@pytest.mark.parametrize("algorithm", ["abs_max", "hist", "mse"])
@pytest.mark.parametrize("backend", ["paddle", "onnxruntime"])
def test_outliers_cost_less_with_smoothing(planted, tmp_path, algorithm, backend):
    trainer, original, smoothed, texts = planted
    config = PTQConfig([algorithm], [TEXTS])
    windows = [window for example in trainer.eval_examples for window in load_predictor(original).task.windows(example)]
    exact = np.array([output[0] for output in load_predictor(original, num_threads=1).run_windows(windows)])
    errors = []
    for number, source in enumerate((original, smoothed)):
        target = tmp_path / str(number) / "int8"
        export(trainer, trainer.model, target)
        write_quantized(source, calibrate(source, texts, config)[algorithm, TEXTS], config, target)
        predictor = load_predictor(target, precision="int8", num_threads=1, backend=backend)
        ours = np.array([output[0] for output in predictor.run_windows(windows)])
        errors.append(np.abs(ours - exact).mean())
    assert errors[1] < errors[0] / 2


def test_a_scale_is_taken_only_where_it_is_worth_it():
    random = np.random.default_rng(0)
    rows, weight = random.normal(size=(200, 16)).astype(np.float32), random.normal(size=(16, 8)).astype(np.float32)
    assert (find_scale(rows, [weight], takes_an_operator=True) == 1).all()
    rows[:, 2] *= 40
    scale = find_scale(rows, [weight], takes_an_operator=True)
    assert scale.argmax() == 2
    assert product_error(rows / scale, [weight * scale[:, None]]) < product_error(rows, [weight]) / 2


def test_neurons_are_moved_only_where_there_are_outliers():
    random = np.random.default_rng(0)
    rows, weight = random.normal(size=(200, 64)).astype(np.float32), random.normal(size=(64, 8)).astype(np.float32)
    assert find_outliers(rows, weight).all()
    assert (~find_outliers(rows, weight, outliers_everywhere=True)).sum() == 4
    rows[7, 11] = 200
    assert not find_outliers(rows, weight)[11] and (~find_outliers(rows, weight)).sum() == 4


def test_what_something_else_reads_is_left_as_it_is(planted):
    """The pooler reads the first token's state only, and the last LayerNorm's result in no other way."""
    _, original, _, _ = planted
    with loaded_program(original) as model:
        graph = Graph(model)
        sliced = [op.output("Out")[0] for op in graph.block.ops if op.type == "slice"]
        folded = {fold.activation for fold in find_folds(graph)}
    assert not folded & set(sliced)
    assert len(folded) == 3 * LAYERS
