"""How much a fine-tuned model's loss depends on each of its heads, feed-forward neurons and layers."""

from typing import Dict, Iterable, List, Sequence, Tuple

from ernie_suite.compression.subnetworks import keeping_layers

import numpy as np
import paddle
from tqdm import tqdm

Importance = Tuple[np.ndarray, np.ndarray]


def compute_importance(trainer, batches: Iterable[Dict]) -> Importance:
    """How much the loss depends on every head and every feed-forward neuron of trainer.model.

    The first-order change of the loss when one is taken out, its absolute value summed over batches
    (DynaBERT, section 2.1; Molchanov et al. 2017): for a head, the gradient of its mask, which equals
    the product of the output projection's rows that read it with their gradient. Unlike
    paddlenlp.transformers.ofa_utils.compute_neuron_head_importance, gradients do not pile up from
    batch to batch, and dropout is off.

    Returns:
        (heads [layers, heads], neurons [layers, neurons]), float32.
    """
    model = trainer.model
    model.eval()
    layers = model.base_model.encoder.layers
    heads = np.zeros((len(layers), layers[0].self_attn.num_heads), dtype=np.float32)
    neurons = np.zeros((len(layers), layers[0].linear1.weight.shape[1]), dtype=np.float32)
    for batch in tqdm(batches, desc="importance of heads and neurons", leave=False):
        trainer.compute_loss(model, batch).backward()
        for number, layer in enumerate(layers):
            by_row = _weight_times_gradient(layer.self_attn.out_proj.weight).sum(axis=1)
            heads[number] += np.abs(by_row.reshape(heads.shape[1], -1).sum(axis=1))
            into = _weight_times_gradient(layer.linear1.weight).sum(axis=0)
            neurons[number] += np.abs(into + _weight_times_gradient(layer.linear1.bias))
            neurons[number] += np.abs(_weight_times_gradient(layer.linear2.weight).sum(axis=1))
        model.clear_gradients()
    return heads, neurons


def _weight_times_gradient(parameter) -> np.ndarray:
    return parameter.numpy() * parameter.grad.numpy()


def order_by_importance(model, importance: Importance) -> None:
    """Put the most important heads and neurons of each layer first; what the model computes stays the same."""
    for layer, heads, neurons in zip(model.base_model.encoder.layers, *importance):
        attention = layer.self_attn
        of_head = np.arange(attention.embed_dim).reshape(attention.num_heads, attention.head_dim)
        inner = of_head[_most_important_first(heads)].reshape(-1)
        _reorder((attention.q_proj, attention.k_proj, attention.v_proj), attention.out_proj, inner)
        _reorder((layer.linear1,), layer.linear2, _most_important_first(neurons))


def _most_important_first(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")


def _reorder(into, out, order: np.ndarray) -> None:
    """Reorder the outputs of some linear layers and the inputs of the one that reads them."""
    for linear in into:
        linear.weight.set_value(linear.weight.numpy()[:, order])
        linear.bias.set_value(linear.bias.numpy()[order])
    out.weight.set_value(out.weight.numpy()[order])


def find_drop_order(trainer, batches: Sequence[Dict]) -> List[int]:
    """The layers of trainer.model in the order in which they are dropped: each time the one without which, and without
    those before it, the loss is the least. The last one is the layer that stays alone."""
    kept = list(range(len(trainer.model.base_model.encoder.layers)))
    order: List[int] = []
    trainer.model.eval()
    with tqdm(total=len(kept) * (len(kept) + 1) // 2 - 1, desc="importance of layers", leave=False) as bar:
        while len(kept) > 1:
            losses = {}
            for layer in kept:
                with keeping_layers(trainer.model, [other for other in kept if other != layer]):
                    losses[layer] = _mean_loss(trainer, batches)
                bar.update()
            order.append(min(losses, key=losses.__getitem__))
            kept.remove(order[-1])
    return order + kept


@paddle.no_grad()
def _mean_loss(trainer, batches: Sequence[Dict]) -> float:
    """Over inputs, of batches with different numbers of them."""
    sizes = [len(batch["input_ids"]) for batch in batches]
    losses = [float(trainer.compute_loss(trainer.model, dict(batch))) for batch in batches]
    return float(np.average(losses, weights=sizes))
