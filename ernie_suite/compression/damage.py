"""How far a model's answers move where heads, neurons or layers are taken out, without training."""

from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence

from ernie_suite.compression.latency import measured_numbers
from ernie_suite.tasks.family import soft_cross_entropy

import numpy as np
import paddle
from paddle import nn
from tqdm import tqdm


class Damage(NamedTuple):
    """How far the answers move where something is cut down: KL divergence from the whole model's, a mean over windows.

    Attributes:
        heads: [layers, numbers], of a layer that keeps only the most important latency.measured_numbers of its heads.
        neurons: likewise.
        dropped: [layers], of a layer that is left out.
    """

    heads: np.ndarray
    neurons: np.ndarray
    dropped: np.ndarray

    def scaled(self, factors: np.ndarray) -> "Damage":
        """The same with each layer's three parts times factors [3, layers]."""
        return Damage(self.heads * factors[0][:, None], self.neurons * factors[1][:, None], self.dropped * factors[2])


class Answers:
    """A model's batches with the whole model's answers to them.

    Args:
        model: of paddlenlp.transformers with a task head, heads and neurons of each layer by importance, descending.
        batches: of input_ids and token_type_ids, int64 [batch, seq_len].
        soft_criterion: TaskFamily.soft_criterion, by which answers are compared.
    """

    def __init__(self, model, batches: Sequence[Dict], soft_criterion: Callable = soft_cross_entropy):
        self.model, self.batches, self.soft_criterion = model, list(batches), soft_criterion
        self.windows = sum(len(batch["input_ids"]) for batch in self.batches)
        self.logits = [self._logits(model, batch) for batch in self.batches]
        self.entropies = [self._cross_entropy(number, logits) for number, logits in enumerate(self.logits)]

    def divergence(self, model) -> float:
        """The KL divergence of a model's answers from the whole model's."""
        return self.divergence_of(lambda number: self._logits(model, self.batches[number]))

    def divergence_of(self, logits_of: Callable[[int], object]) -> float:
        """Likewise of logits by the number of the batch."""
        total = 0.0
        for number, batch in enumerate(self.batches):
            divergence = self._cross_entropy(number, logits_of(number)) - self.entropies[number]
            total += divergence * len(batch["input_ids"])
        return total / self.windows

    def _cross_entropy(self, number: int, logits) -> float:
        mask = self.batches[number]["input_ids"] != self.model.config.pad_token_id
        return float(self.soft_criterion(logits, self.logits[number], mask))

    @staticmethod
    @paddle.no_grad()
    def _logits(model, batch: Dict):
        model.eval()
        return model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])


def measure_damage(answers: Answers) -> Damage:
    """The damage of each layer's heads, neurons and of the layer, each alone. The model is as before afterwards."""
    encoder = answers.model.base_model.encoder
    layers = list(encoder.layers)
    all_heads, all_neurons = layers[0].self_attn.num_heads, layers[0].linear1.weight.shape[1]
    numbers = measured_numbers(all_heads), measured_numbers(all_neurons)
    heads, neurons = (np.zeros((len(layers), len(each))) for each in numbers)
    dropped = np.zeros(len(layers))
    states = _states_before(answers)

    def divergence(layer: int, cut: bool) -> float:
        """Of the model from a layer on; with `cut` without that layer."""

        def logits(batch: int):
            encoder.layers = nn.LayerList([Known(states[batch][layer]), *layers[layer + cut :]])
            return answers._logits(answers.model, answers.batches[batch])

        return answers.divergence_of(logits)

    try:
        for number, layer in enumerate(tqdm(layers, desc="what heads, neurons and layers matter", leave=False)):
            dropped[number] = divergence(number, cut=True)
            for found, kept, weight in (
                (heads, numbers[0], layer.self_attn.out_proj.weight),
                (neurons, numbers[1], layer.linear2.weight),
            ):
                for position, count in enumerate(kept[:-1]):
                    with only_rows(weight, weight.shape[0] * count // kept[-1]):
                        found[number, position] = divergence(number, cut=False)
    finally:
        encoder.layers = nn.LayerList(layers)
    # What is kept more is no worse, whatever a few windows say.
    heads, neurons = (np.maximum.accumulate(found[:, ::-1], axis=1)[:, ::-1] for found in (heads, neurons))
    return Damage(heads, neurons, dropped)


class Known(nn.Layer):
    """Stands in an encoder for the layers up to one, whose hidden states are known."""

    def __init__(self, states):
        super().__init__()
        self.states = states

    def forward(self, *_, **__):
        return self.states


def _states_before(answers: Answers) -> List[List]:
    """Of each batch the hidden states that go into each layer."""
    found: List[List] = [[] for _ in answers.batches]
    for batch, states in zip(answers.batches, found):
        hooks = [
            layer.register_forward_pre_hook(lambda _, inputs, states=states: states.append(inputs[0]))
            for layer in answers.model.base_model.encoder.layers
        ]
        answers._logits(answers.model, batch)
        for hook in hooks:
            hook.remove()
    return found


@contextmanager
def only_rows(weight, count: int) -> Iterator[None]:
    """Within the block a weight [rows, columns] has zeros but in its first `count` rows: what those read is gone."""
    before = weight.numpy()
    weight.set_value(np.where(np.arange(len(before))[:, None] < count, before, np.float32(0)))
    try:
        yield
    finally:
        weight.set_value(before)
