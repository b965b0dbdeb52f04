"""R-Drop and FGM: what they compute, for every task family, and that nothing of them stays behind."""

from ernie_suite.regularisation import adversarial_step, check_rdrop, perturbed
from ernie_suite.tasks import FAMILIES
from ernie_suite.tasks.family import symmetric_kl

import numpy as np
import paddle
import pytest

from ernie_inference.errors import InputError
from tests.support.trainers import tiny_trainer

pytestmark = pytest.mark.usefixtures("names_of_its_own")


def kl(p, q):
    return (p * np.log(p / q)).sum(axis=-1)


def softmax(logits):
    exp = np.exp(logits)
    return exp / exp.sum(axis=-1, keepdims=True)


def test_the_divergence_is_the_symmetric_kl_of_what_has_a_label():
    first, second = np.random.default_rng(1).normal(size=(2, 3, 4, 5))  # of three texts of four tokens, five labels
    label = np.array([[0, 1, -100, -100], [2, -100, -100, -100], [4, 3, 2, 1]])
    p, q = softmax(first), softmax(second)
    expected = (kl(p, q) + kl(q, p))[label >= 0].mean() / 2
    logits, labels = paddle.to_tensor(np.concatenate([first, second])), paddle.to_tensor(np.concatenate([label, label]))
    assert float(symmetric_kl(logits, [labels])) == pytest.approx(expected, rel=1e-5)
    assert float(symmetric_kl(paddle.concat([logits[:3], logits[:3]]), [labels])) == 0
    of_ends = (kl(p, q) + kl(q, p))[label >= 1].mean() / 2
    ends = paddle.to_tensor(np.concatenate([np.where(label >= 1, label, -100)] * 2))
    both = symmetric_kl((logits, logits), [labels, ends])
    assert float(both) == pytest.approx((expected + of_ends) / 2, rel=1e-5)
    assert float(symmetric_kl(logits, [paddle.full_like(labels, -100)])) == 0  # nothing to learn from


def test_both_passes_get_the_gradient_of_the_divergence():
    first, second = np.random.default_rng(2).normal(size=(2, 1, 3))
    logits = paddle.to_tensor(np.concatenate([first, second]).astype("float32"), stop_gradient=False)
    symmetric_kl(logits, [paddle.to_tensor([0, 0])]).backward()

    def value(at):
        p, q = map(softmax, at)
        return (kl(p, q) + kl(q, p)) / 2

    at, step = np.stack([first[0], second[0]]), 1e-5
    for place in np.ndindex(at.shape):
        move = np.zeros_like(at)
        move[place] = step
        expected = (value(at + move) - value(at - move)) / (2 * step)
        assert float(logits.grad[place]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", filter(lambda each: each.divergence, FAMILIES.values()), ids=lambda each: each.name)
def test_rdrop_adds_the_divergence_of_two_passes_in_training_alone(tmp_path, family):
    trainer = tiny_trainer(tmp_path, family, dropout=0.3, rdrop_alpha=4.0)
    batch = next(iter(trainer.get_train_dataloader()))
    model, seen = trainer.model, []
    model.register_forward_post_hook(lambda layer, inputs, outputs: seen.append(outputs))
    model.eval()
    plain = float(trainer.compute_loss(model, dict(batch)))
    model.train()
    loss = float(trainer.compute_loss(model, dict(batch)))
    rows = [(out[0] if isinstance(out, tuple) else out).shape[0] for out in seen]
    assert rows == [len(batch["input_ids"]), 2 * len(batch["input_ids"])]
    labels = [paddle.concat([batch[name]] * 2) for name in family.label_names]
    mean = float(family.criterion(seen[1], labels if len(labels) > 1 else labels[0]))
    apart = float(family.divergence(seen[1], labels))
    assert apart > 0 and loss == pytest.approx(mean + 4 * apart, rel=1e-5)
    trainer.args.rdrop_alpha = None
    model.eval()
    assert float(trainer.compute_loss(model, dict(batch))) == plain


@pytest.mark.parametrize("family", filter(lambda each: each.divergence, FAMILIES.values()), ids=lambda each: each.name)
def test_rdrop_of_a_model_without_dropout_is_refused(tmp_path, family):
    """Both passes would give the same, and the flag nothing but twice the time."""
    check_rdrop(tiny_trainer(tmp_path / "with", family, dropout=0.1).model, 4.0, "tiny")
    model = tiny_trainer(tmp_path / "without", family, dropout=0.0).model
    with pytest.raises(InputError, match="passes with different dropout, and tiny has none: set hidden_dropout_prob"):
        check_rdrop(model, 4.0, "tiny")
    attention = next(layer for layer in model.sublayers() if isinstance(layer, paddle.nn.MultiHeadAttention))
    attention.dropout = 0.1
    check_rdrop(model, 4.0, "tiny")


def test_fgm_moves_the_weight_by_epsilon_and_back_to_the_last_bit():
    weight = paddle.create_parameter([7, 5], "float32")
    before = weight.numpy()
    gradient = np.random.default_rng(3).normal(size=(7, 5)).astype("float32")
    with perturbed(weight, paddle.to_tensor(gradient), 0.5):
        moved = weight.numpy() - before
    assert np.linalg.norm(moved) == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_allclose(moved, 0.5 * gradient / np.linalg.norm(gradient), atol=1e-6)
    assert (weight.numpy() == before).all()
    with pytest.raises(KeyError), perturbed(weight, paddle.to_tensor(gradient), 0.5):
        raise KeyError
    assert (weight.numpy() == before).all()
    for nothing in (np.zeros_like(gradient), np.full_like(gradient, np.nan)):
        with perturbed(weight, paddle.to_tensor(nothing), 0.5):
            assert (weight.numpy() == before).all()


def test_fgm_adds_the_gradient_at_the_worse_weights():
    """The loss is the sum of squares, whose gradient is twice the weight; there is a gradient of an earlier batch."""
    weight = paddle.create_parameter([2], "float32")
    weight.set_value(np.array([3.0, 4.0], dtype="float32"))

    def step():
        loss = (weight * weight).sum()
        loss.backward()
        return loss

    (weight * paddle.to_tensor([100.0, 0.0])).sum().backward()
    assert float(adversarial_step(step, weight, 5.0)) == 25
    np.testing.assert_allclose(weight.grad.numpy(), [100 + 6 + 12, 8 + 16], rtol=1e-6)  # at (3, 4) and at (6, 8)
    assert (weight.numpy() == [3, 4]).all()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_step_with_fgm_leaves_the_weights_as_they_were_and_another_gradient(tmp_path, family):
    gradients = {}
    for epsilon in (None, 1.0):
        trainer = tiny_trainer(tmp_path, family, dropout=0.0, fgm_epsilon=epsilon)
        before = {name: value.numpy() for name, value in trainer.model.state_dict().items()}
        loss = trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader())))
        assert all((value.numpy() == before[name]).all() for name, value in trainer.model.state_dict().items())
        gradients[epsilon] = (float(loss), trainer.model.get_input_embeddings().weight.grad.numpy())
    (plain_loss, plain), (loss, both) = gradients[None], gradients[1.0]
    assert loss == plain_loss and not np.allclose(both, plain) and not np.allclose(both, 2 * plain)
