"""The supernet, and how its parts learn from the fine-tuned model."""

import copy
import itertools

from ernie_suite.compression.importance import order_by_importance
from ernie_suite.compression.subnetworks import KeptLayer, SubNetwork, make_grid, narrow_model, shape_of
from ernie_suite.compression.supernet import (
    HIDDEN_LOSS_WEIGHT,
    SubNetworkStudents,
    Supernet,
    run_with_hidden,
    soft_cross_entropy,
    stood_for,
)

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddleslim.nas.ofa import OFA, DistillConfig
from paddleslim.nas.ofa.convert_super import Convert, supernet
from paddleslim.nas.ofa.layers import SuperLayerNorm
from paddleslim.nas.ofa.utils.utils import set_state_dict

from tests.support.trainers import HEADS, LAYERS, NEURONS, tiny_trainer

HALF, FULL = make_grid([1 / 2, 1], [1], LAYERS * [(HEADS, NEURONS)])
UNEVEN = SubNetwork("uneven", (KeptLayer(1, 3, 40),))


def logits_of(model, batch):
    model.eval()
    return model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"]).numpy()


def test_reordering_changes_nothing_at_full_width(trainer, importance, batch):
    net = Supernet(trainer.model, importance)
    narrow = narrow_model(trainer.model, FULL, net.weights())
    assert np.allclose(logits_of(narrow, batch), logits_of(trainer.model, batch), atol=1e-5)
    assert not np.allclose(
        net.weights()["ernie.encoder.layers.0.linear1.weight"], trainer.model.ernie.encoder.layers[0].linear1.weight
    )


@pytest.mark.parametrize("subnetwork", [HALF, UNEVEN, FULL], ids=lambda subnetwork: subnetwork.name)
def test_a_narrow_model_is_the_supernet_as_that_sub_network(trainer, importance, batch, subnetwork):
    net = Supernet(trainer.model, importance)
    with net.running(subnetwork) as model:
        inside = logits_of(model, batch)
    narrow = narrow_model(trainer.model, subnetwork, net.weights())
    assert np.allclose(logits_of(narrow, batch), inside, atol=1e-5)


def test_the_most_important_neurons_are_kept(trainer, importance):
    heads, neurons = importance
    net = Supernet(trainer.model, importance)
    kept = net.weights()["ernie.encoder.layers.1.linear1.bias"].numpy()[: HALF.layers[0].neurons]
    original = trainer.model.ernie.encoder.layers[1].linear1
    order = np.argsort(-neurons[1])[: HALF.layers[0].neurons]
    weights = net.weights()["ernie.encoder.layers.1.linear1.weight"].numpy()[:, : HALF.layers[0].neurons]
    assert np.array_equal(np.sort(weights, axis=None), np.sort(original.weight.numpy()[:, order], axis=None))
    assert np.array_equal(kept, original.bias.numpy()[order])


def test_distillation_at_full_width_starts_at_the_teacher(trainer, importance, batch):
    net = Supernet(trainer.model, importance)
    net.model.eval()
    logits = trainer.model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
    entropy = soft_cross_entropy(logits, logits, batch["input_ids"] != 0)
    half, full = map(float, SubNetworkStudents(trainer.model, net, [HALF, FULL]).losses(batch))
    assert full == pytest.approx(float(entropy), abs=1e-5)
    assert half > float(entropy)


def test_soft_cross_entropy_leaves_padding_out():
    teacher, logits = paddle.randn([2, 3, 4]), paddle.randn([2, 3, 4])
    mask = paddle.to_tensor([[True, True, False], [True, False, False]])
    changed = logits.numpy()
    changed[0, 2] += 5
    assert float(soft_cross_entropy(logits, teacher, mask)) == float(
        soft_cross_entropy(paddle.to_tensor(changed), teacher, mask)
    )


def test_a_layer_stands_for_those_that_are_dropped_after_it():
    """Then the last one gives what the teacher's last layer gives, and the next one reads what it was trained to."""
    layers = tuple(KeptLayer(index, 4, 64) for index in (1, 2, 5))
    assert stood_for(SubNetwork("x", layers), 8) == [1, 4, 7]
    assert stood_for(make_grid([1], [1], 3 * [(4, 64)])[0], 3) == [0, 1, 2]


def test_hidden_states_are_matched_with_those_they_stand_for(tmp_path):
    trainer = tiny_trainer(tmp_path, dropout=0.0, layers=4)
    importance = (np.ones([4, HEADS]), np.ones([4, NEURONS]))
    batch = next(iter(trainer.get_eval_dataloader(trainer.eval_dataset)))
    net = Supernet(trainer.model, importance)
    (half,) = make_grid([1 / 2], [1 / 2], shape_of(trainer.model))
    (loss,) = SubNetworkStudents(trainer.model, net, [half]).losses(batch)
    teacher = run_with_hidden(trainer.model, batch)
    student = run_with_hidden(narrow_model(trainer.model, half, net.weights()), batch)
    hidden = sum(F.mse_loss(student.hidden[i], teacher.hidden[j]) for i, j in ((0, 0), (1, 2), (2, 4)))
    entropy = soft_cross_entropy(student.logits, teacher.logits, batch["input_ids"] != 0)
    assert float(loss) == pytest.approx(float(entropy + HIDDEN_LOSS_WEIGHT * hidden), rel=1e-5)


# ---------------------------------------------------------------- against PaddleSlim


def losses_of_paddleslim(teacher, model, subnetworks, batch):
    """The losses of widths of `model` by PaddleSlim's OFA, which runs the teacher for each of them."""
    weights = model.state_dict()
    Convert(supernet(expand_ratio=[1.0])).convert(model.ernie.encoder)
    set_state_dict(model, weights)
    layers = {f"ernie.encoder.layers.{number}": layer for number, layer in enumerate(model.ernie.encoder.layers)}
    distill = DistillConfig(HIDDEN_LOSS_WEIGHT, teacher_model=teacher, mapping_layers=["ernie.embeddings", *layers])
    ofa = OFA(model, distill_config=distill, elastic_order=["width"])
    for subnetwork in subnetworks:
        channels = {}
        for (name, layer), kept in zip(layers.items(), subnetwork.layers):
            layer.self_attn.num_heads = kept.heads
            inner = {"channel": kept.heads * layer.self_attn.head_dim}
            channels.update({f"{name}.self_attn.{each}_proj": inner for each in "qkv"})
            channels[f"{name}.linear1"] = {"channel": kept.neurons}
            channels[f"{name}.self_attn.out_proj"] = channels[f"{name}.linear2"] = {}
        ofa.set_net_config(channels)
        logits, taught = ofa(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
        yield soft_cross_entropy(logits, taught, batch["input_ids"] != 0) + ofa.calc_distill_loss()


def repaired_forward(self, input):
    """PaddleSlim 2.6.0's own unpacks three results of an operator that has had one since paddle 2.5."""
    size = int(input.shape[-1])
    self.cur_config = {"prune_dim": size}
    return F.layer_norm(input, size, self.weight[:size], self.bias[:size], self._epsilon)


def test_losses_and_gradients_are_those_of_paddleslim(tmp_path, monkeypatch, batch):
    """But the teacher runs once a batch, not once for each of its sub-networks."""
    monkeypatch.setattr(SuperLayerNorm, "forward", repaired_forward)
    model = tiny_trainer(tmp_path, dropout=0.0).model
    random = np.random.default_rng(0)
    importance = random.random([LAYERS, HEADS]), random.random([LAYERS, NEURONS])
    students = SubNetworkStudents(model, Supernet(model, importance), [HALF, FULL])
    runs = []
    students.teacher.register_forward_post_hook(lambda *_: runs.append(1))
    theirs, teacher = copy.deepcopy(model), copy.deepcopy(model)
    order_by_importance(theirs, importance)
    for parameter in teacher.parameters():
        parameter.stop_gradient = True
    expected = losses_of_paddleslim(teacher, theirs, [HALF, FULL], batch)
    for ours, reference in itertools.zip_longest(students.losses(batch), expected):
        assert float(ours) == pytest.approx(float(reference), rel=1e-5)
        ours.backward()
        reference.backward()
    assert len(runs) == 1
    gradients = {name.replace(".fn.", "."): value.grad for name, value in theirs.named_parameters()}
    assert gradients.keys() == dict(students.model.named_parameters()).keys()
    for name, parameter in students.model.named_parameters():
        assert (parameter.grad is None) == (gradients[name] is None), name
        assert parameter.grad is None or np.allclose(parameter.grad, gradients[name], rtol=1e-3, atol=1e-6), name
