"""How far answers move where something is taken out: against models that really lack it."""

from ernie_suite.compression.budget import calibration_batches
from ernie_suite.compression.damage import Answers, measure_damage
from ernie_suite.compression.importance import compute_importance, order_by_importance
from ernie_suite.compression.latency import measured_numbers
from ernie_suite.compression.subnetworks import KeptLayer, SubNetwork, narrow_model
from ernie_suite.tasks import FAMILIES

import numpy as np
import pytest

from tests.support.trainers import HEADS, LAYERS, NEURONS, tiny_trainer

WHOLE = tuple(KeptLayer(number, HEADS, NEURONS) for number in range(LAYERS))


def network(layers):
    return SubNetwork("tried", tuple(layers))


@pytest.fixture(scope="module", params=[("seq_cls", "Ernie"), ("token_cls", "Bert"), ("qa", "Electra")], ids="-".join)
def answers(request, tmp_path_factory):
    family, architecture = request.param
    trainer = tiny_trainer(tmp_path_factory.mktemp("damage"), FAMILIES[family], architecture, dropout=0.3, examples=12)
    importance = compute_importance(trainer, trainer.get_eval_dataloader(trainer.eval_dataset))
    order_by_importance(trainer.model, importance)
    return Answers(trainer.model, calibration_batches(trainer))


def test_damage_is_that_of_models_without_the_part(answers):
    """Of each layer, and of its least important heads and neurons."""
    model = answers.model

    def divergence(layers):
        return answers.divergence(narrow_model(model, network(layers), model.state_dict()))

    damage = measure_damage(answers)
    for number, layer in enumerate(WHOLE):
        others = [each for each in WHOLE if each != layer]
        assert damage.dropped[number] == pytest.approx(divergence(others), rel=1e-3, abs=1e-6)
        for name, numbers in (("heads", measured_numbers(HEADS)), ("neurons", measured_numbers(NEURONS))):
            cut = [layer._replace(**{name: count}) for count in numbers]
            found = [divergence([*WHOLE[:number], each, *WHOLE[number + 1 :]]) for each in cut]
            at_most = np.maximum.accumulate(found[::-1])[::-1]
            assert getattr(damage, name)[number] == pytest.approx(at_most, rel=1e-3, abs=1e-6)
            assert damage.heads[number][-1] == 0 < damage.heads[number][0]


def test_measuring_damage_leaves_the_model_as_it_was(answers):
    before = {name: value.numpy() for name, value in answers.model.state_dict().items()}
    measure_damage(answers)
    after = {name: value.numpy() for name, value in answers.model.state_dict().items()}
    assert list(before) == list(after)
    assert all(np.array_equal(value, after[name]) for name, value in before.items())
    assert answers.divergence(answers.model) == pytest.approx(0, abs=1e-6)
