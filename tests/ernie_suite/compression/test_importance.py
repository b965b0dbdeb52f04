"""Importance of heads, neurons and layers."""

from ernie_suite.compression.importance import compute_importance, find_drop_order
from ernie_suite.compression.pipeline import drop_order_batches, importance_batches

import numpy as np
import paddle
import pytest

from tests.support.trainers import HEADS, HIDDEN, LAYERS, tiny_trainer


def test_importance_of_heads_is_the_gradient_of_their_masks(trainer, importance):
    """Against a finite difference: a head's mask is a factor on what the output projection reads of it."""
    batches = list(trainer.get_eval_dataloader(trainer.eval_dataset))

    def losses(layer, head, factor):
        projection = trainer.model.base_model.encoder.layers[layer].self_attn.out_proj.weight
        before = projection.clone()
        rows = slice(head * HIDDEN // HEADS, (head + 1) * HIDDEN // HEADS)
        changed = before.numpy()
        changed[rows] *= factor
        projection.set_value(changed)
        found = [float(trainer.compute_loss(trainer.model, dict(batch))) for batch in batches]
        projection.set_value(before)
        return np.array(found)

    trainer.model.eval()
    for layer in range(LAYERS):
        for head in range(HEADS):
            expected = np.abs((losses(layer, head, 1.01) - losses(layer, head, 0.99)) / 0.02).sum()
            assert importance[0][layer, head] == pytest.approx(expected, rel=0.05, abs=2e-4)


def test_importance_does_not_depend_on_what_came_before(tmp_path):
    """On dropout that was on, and on the gradients of a run before."""
    trainer = tiny_trainer(tmp_path, dropout=0.3)
    loader = trainer.get_eval_dataloader(trainer.eval_dataset)
    first = compute_importance(trainer, loader)
    trainer.model.train()
    second = compute_importance(trainer, loader)
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    half = compute_importance(trainer, list(loader)[:1])
    assert not any(np.allclose(a, b) for a, b in zip(first, half)), "it does not depend on the batches either"


def test_importance_is_of_batches_of_the_training_size(tmp_path):
    """Then --per_device_eval_batch_size changes nothing."""
    trainer = tiny_trainer(tmp_path, per_device_eval_batch_size=5, per_device_train_batch_size=10)
    assert [len(batch["input_ids"]) for batch in importance_batches(trainer)] == [10, 10, 4]


@pytest.mark.parametrize("sizes", [[24], [9, 8, 7]], ids=str)
def test_the_layer_that_is_missed_the_least_is_dropped_first(tmp_path, sizes):
    """Then that of the rest; however the texts lie in batches."""
    trainer = tiny_trainer(tmp_path, layers=3)
    model, layers = trainer.model, trainer.model.ernie.encoder.layers
    whole = next(iter(paddle.io.DataLoader(trainer.eval_dataset, batch_size=24, collate_fn=trainer.data_collator)))

    def loss(*kept):
        model.ernie.encoder.layers = paddle.nn.LayerList([layers[index] for index in kept])
        found = float(trainer.compute_loss(model, dict(whole)))
        model.ernie.encoder.layers = layers
        return found

    first = min(range(3), key=lambda dropped: loss(*(i for i in range(3) if i != dropped)))
    last = min((i for i in range(3) if i != first), key=loss)
    ends = np.cumsum(sizes)
    batches = [{key: value[end - size : end] for key, value in whole.items()} for size, end in zip(sizes, ends)]
    assert find_drop_order(trainer, batches) == [first, 3 - first - last, last]
    assert model.ernie.encoder.layers is layers


def test_layers_are_judged_by_a_part_of_the_dev_set(tmp_path, monkeypatch):
    monkeypatch.setattr("ernie_suite.compression.pipeline.DROP_ORDER_TEXTS", 10)
    batches = drop_order_batches(tiny_trainer(tmp_path))
    assert [len(batch["input_ids"]) for batch in batches] == [8, 2]
    lengths = [int((row != 0).sum()) for batch in batches for row in batch["input_ids"]]
    assert lengths == sorted(lengths)
