"""Sub-networks by budget: the choice against all there are, what is kept, and what cannot be reached."""

import itertools
import json

from ernie_suite.compression import budget
from ernie_suite.compression.budget import BUCKETS, BUDGET_FILE, SPARE, Budgets, choose, neuron_numbers
from ernie_suite.compression.config import CompressConfig, DynabertConfig, PTQConfig
from ernie_suite.compression.damage import Damage
from ernie_suite.compression.fresh_process import FreshProcess
from ernie_suite.compression.importance import compute_importance
from ernie_suite.compression.latency import LatencyTable, SpeedTest, measured_numbers
from ernie_suite.compression.pipeline import export, find_report_lengths, importance_batches
from ernie_suite.compression.records import Exported, Records
from ernie_suite.compression.report import REPORT_FILE
from ernie_suite.compression.subnetworks import KeptLayer

import numpy as np
import pytest

from ernie_inference.errors import InputError
from tests.support.trainers import HEADS, LAYERS, NEURONS, tiny_trainer

PTQ = PTQConfig()


def damage_and_table(layers, heads, neurons, seed):
    random = np.random.default_rng(seed)

    def falling(count):
        found = np.sort(random.random((layers, count)), axis=1)[:, ::-1].copy()
        found[:, -1] = 0
        return found

    numbers = measured_numbers(heads), measured_numbers(neurons)
    costs = (np.sort(random.uniform(0.02, 0.1, len(each))).tolist() for each in numbers)
    by_heads, by_neurons = (dict(zip(each, cost)) for each, cost in zip(numbers, costs))
    damage = Damage(*(falling(len(each)) for each in numbers), random.uniform(0, 2, layers))
    return damage, LatencyTable(0.05, by_heads, by_neurons, 0.02)


@pytest.mark.parametrize("seed", range(20))
def test_no_other_choice_for_the_time_does_less_damage(seed):
    layers, heads, neurons = 3, 2, 4
    damage, table = damage_and_table(layers, heads, neurons, seed)
    share = np.random.default_rng(seed).uniform(0.06, 0.5)
    numbers = measured_numbers(heads), measured_numbers(neurons)

    def total(network):
        kept = {layer.index: layer for layer in network}
        return sum(
            np.interp(kept[i].heads, numbers[0], damage.heads[i])
            + np.interp(kept[i].neurons, numbers[1], damage.neurons[i])
            if i in kept
            else damage.dropped[i]
            for i in range(layers)
        )

    options = [None, *itertools.product(range(1, heads + 1), neuron_numbers(neurons))]
    every = (
        [KeptLayer(i, *option) for i, option in enumerate(chosen) if option]
        for chosen in itertools.product(options, repeat=layers)
    )
    found = choose(damage, table, share, heads, neurons)
    unit = (share - table.rest) / BUCKETS  # each layer's time is rounded up to whole ones
    fitting = [network for network in every if network and table.network(network) + layers * unit <= share]
    used_up = [network for network in fitting if share - table.network(network) <= SPARE * (share - table.rest)]
    if found:
        assert table.network(found) <= share
    if used_up:
        assert share - table.network(found) <= (SPARE + layers / BUCKETS) * (share - table.rest)
        assert total(found) <= min(map(total, used_up)) + 1e-9
    elif fitting:
        assert table.network(found) >= max(map(table.network, fitting)) - 1e-9
    else:
        assert len(found) <= 1


def test_time_that_is_there_is_used():
    """Even where the layers seem to matter nothing."""
    damage, table = damage_and_table(3, 4, 16, seed=1)
    nothing = damage._replace(dropped=np.zeros(3))
    assert choose(nothing, table, 1.0, 4, 16) == tuple(KeptLayer(number, 4, 16) for number in range(3))
    whole = table.network(choose(nothing, table, 1.0, 4, 16))
    for share in (0.3 * whole, 0.6 * whole):
        assert share * 0.95 <= table.network(choose(nothing, table, share, 4, 16)) <= share


def by_size(self, models, what, smoothed=False):
    """Instead of time: parameters of the layers, which are sure to be the same at every call."""
    return {name: 0.02 + layer_parameters(model) / self.whole / self.faster for name, model in models.items()}


def layer_parameters(model):
    return sum(parameter.size for parameter in model.base_model.encoder.parameters())


@pytest.fixture
def exact_times(monkeypatch, trainer):
    """SpeedTest by size: the whole model takes half of the original's time, and runs as INT8 at double speed."""
    monkeypatch.setattr(SpeedTest, "shares", by_size)
    monkeypatch.setattr(SpeedTest, "whole", layer_parameters(trainer.model), raising=False)
    monkeypatch.setattr(SpeedTest, "faster", 2, raising=False)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget")
    trainer = tiny_trainer(folder / "state", examples=16)
    export(trainer, trainer.model, folder / "original" / "model")
    trainer.original = Exported(str(folder / "original" / "model"), "fp32")
    return trainer


def budgets(trainer, folder, quantization=PTQ, importance=None, fine_tuned="its digest", anew=False):
    def computed():
        return compute_importance(trainer, importance_batches(trainer))

    records = Records(folder, fine_tuned, anew)
    lengths = trainer.eval_dataset.lengths
    return Budgets(trainer, lengths, records, trainer.original, quantization, importance or computed)


def never(*_, **__):
    raise AssertionError("it was measured or searched again")


def test_choices_have_the_speed_that_is_asked_for(trainer, tmp_path, exact_times):
    networks = budgets(trainer, tmp_path).networks([3, 6])
    assert [network.name for network in networks] == ["speedup3", "speedup6"]
    kept = json.loads((tmp_path / BUDGET_FILE).read_text())["int8"]
    for target, network in zip((3, 6), networks):
        found = kept[network.name]["found"]
        assert found["measured"] == pytest.approx(target, rel=0.1)
        assert [list(layer) for layer in network.layers] == found["layers"]
    assert sum(layer.neurons for layer in networks[0].layers) > sum(layer.neurons for layer in networks[1].layers)


def test_what_is_known_is_not_measured_again(trainer, tmp_path, exact_times, monkeypatch):
    first = budgets(trainer, tmp_path).networks([4])
    monkeypatch.setattr(budget, "measure_latency", never)
    monkeypatch.setattr(budget, "search", never)
    assert budgets(trainer, tmp_path, importance=never).networks([4]) == first
    with pytest.raises(AssertionError, match="again"):
        budgets(trainer, tmp_path).networks([5])
    with pytest.raises(AssertionError, match="again"):
        budgets(trainer, tmp_path, fine_tuned="another").networks([4])
    with pytest.raises(AssertionError, match="again"):
        budgets(trainer, tmp_path, anew=True).networks([4])
    with pytest.raises(AssertionError, match="again"):
        budgets(trainer, tmp_path, quantization=None).networks([4])


def test_a_choice_that_is_slower_than_the_table_says_is_chosen_again(
    trainer, tmp_path, exact_times, monkeypatch, capsys
):
    """Then it has the speed, here at once, for the table's error is one of all times."""
    shares = SpeedTest.shares

    def slower(self, models, what, smoothed=False):
        assert smoothed == (what == "speedup4"), "what is chosen is timed as it is made"
        return {name: share * (1.25 if what == "speedup4" else 1) for name, share in shares(self, models, what).items()}

    monkeypatch.setattr(SpeedTest, "shares", slower)
    budgets(trainer, tmp_path).networks([4])
    found = json.loads((tmp_path / BUDGET_FILE).read_text())["int8"]["speedup4"]["found"]
    assert found["at_first"] == pytest.approx(4 / 1.25, rel=0.05)
    assert found["measured"] == pytest.approx(4, rel=0.05)
    assert "the first choice 3." in capsys.readouterr().out


@pytest.mark.parametrize("target", [1.5, 1000])
def test_a_speed_that_cannot_be_reached_names_those_that_can(trainer, tmp_path, exact_times, target):
    with pytest.raises(
        InputError, match=rf"target_speedup {target} cannot be reached: int8 models .* 1\.9 .* to "
    ) as e:
        budgets(trainer, tmp_path).networks([4, target])
    assert "\n" not in str(e.value)
    assert "speedup4" not in json.loads((tmp_path / BUDGET_FILE).read_text())["int8"], "searched before it was refused"


def test_budgets_and_widths_are_trained_together_and_reported(tmp_path, exact_times):
    trainer = tiny_trainer(tmp_path / "state")
    config = CompressConfig(prune_config=DynabertConfig(width_mult_list=[0.5], target_speedup_list=[4]))
    trainer.compress("x", str(tmp_path / "out"), compress_config=config)
    report = json.loads((tmp_path / "out" / REPORT_FILE).read_text())
    rows = {row["model"]: row for row in report["models"]}
    assert set(rows) == {
        "inference/infer",
        "hist4/int8",
        "0.5/float32",
        "0.5/hist4/int8",
        "speedup4/float32",
        "speedup4/hist4/int8",
    }
    kept = json.loads((tmp_path / "out" / BUDGET_FILE).read_text())["int8"]["speedup4"]["found"]["layers"]
    assert rows["speedup4/hist4/int8"]["layers"] == rows["speedup4/float32"]["layers"] == kept
    assert report["budgets"]["int8"]["speedup4"]["measured"] == pytest.approx(4, rel=0.1)
    assert rows["0.5/float32"]["layers"] == [[number, HEADS // 2, NEURONS // 2] for number in range(LAYERS)]


def test_lengths_are_those_that_the_models_read(tmp_path):
    """With fewer tokens a word is read as more; here the texts are cut off earlier."""
    trainer, subject = (tiny_trainer(tmp_path / str(length), max_seq_length=length) for length in (64, 16))
    windows = [window for example in trainer.eval_examples for window in subject.task.windows(example)]
    found = find_report_lengths(trainer, subject)
    assert sorted(found) == sorted(len(window.input_ids) for window in windows)
    assert list(found) != list(find_report_lengths(trainer, trainer)) == list(trainer.eval_dataset.lengths)


def test_choices_and_report_are_timed_in_the_same_batches(tmp_path, exact_times, monkeypatch):
    """In those of the whole dev set, though what a choice is made from is one half of it."""
    shapes = []

    def spy(self, models, batches, what):
        shapes.append([list(ids.shape) for ids, _ in batches])
        return least_seconds(self, models, batches, what)

    least_seconds = FreshProcess.least_seconds
    monkeypatch.setattr(FreshProcess, "least_seconds", spy)
    trainer = tiny_trainer(tmp_path / "state", examples=150)
    config = CompressConfig(prune_config=DynabertConfig(target_speedup_list=[4]))
    trainer.compress("x", str(tmp_path / "out"), compress_config=config)
    report = json.loads((tmp_path / "out" / REPORT_FILE).read_text())
    assert report["dev_halves"]["held_out"] > 0
    assert shapes == [report["budgets"]["int8"]["batches"]] * len(report["models"])
    assert len(shapes[0]) > 1
