"""One set of weights for all sub-networks of a fine-tuned model, distilled from it (DynaBERT, Hou et al. 2020).

Heads and feed-forward neurons are ordered by importance, so that any width of a layer is the leading part of one set of
weights, and any sub-network some of the layers, each with a width of its own.
"""

import copy
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence

from ernie_suite.compression.importance import Importance, order_by_importance
from ernie_suite.compression.subnetworks import SubNetwork, keeping_layers, narrow_model
from ernie_suite.tasks.family import soft_cross_entropy

import paddle
import paddle.nn.functional as F
from paddle import nn

HIDDEN_LOSS_WEIGHT = 0.1  # lambda_2 / lambda_1 of the paper's section 3.1, as PaddleNLP has it


class ElasticLinear(nn.Layer):
    """A linear layer, its parameters by the same names, that can run with their leading part.

    Attributes:
        outputs: how many of its outputs it computes. Of its inputs it takes as many as come.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.outputs = linear.weight.shape[1]

    def forward(self, x):
        return F.linear(x, self.weight[: x.shape[-1], : self.outputs], self.bias[: self.outputs])


class Supernet:
    """A copy of a fine-tuned model that can run as any of its sub-networks.

    Args:
        model: ERNIE, BERT, RoBERTa or ELECTRA of paddlenlp.transformers with a task head; not changed.
        importance: of its heads and neurons; the most important ones come first, in every sub-network.

    Attributes:
        model: the copy, whole outside of running().
    """

    def __init__(self, model, importance: Importance):
        self.model = copy.deepcopy(model)
        order_by_importance(self.model, importance)
        self.layers = self.model.base_model.encoder.layers
        for layer in self.layers:
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                setattr(layer.self_attn, name, ElasticLinear(getattr(layer.self_attn, name)))
            layer.linear1, layer.linear2 = ElasticLinear(layer.linear1), ElasticLinear(layer.linear2)

    @contextmanager
    def running(self, subnetwork: SubNetwork) -> Iterator[nn.Layer]:
        """Within the block the model is a sub-network of it."""
        for kept in subnetwork.layers:
            layer = self.layers[kept.index]
            attention = layer.self_attn
            attention.num_heads = kept.heads
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
                projection.outputs = kept.heads * attention.head_dim
            layer.linear1.outputs = kept.neurons
        with keeping_layers(self.model, [kept.index for kept in subnetwork.layers]):
            yield self.model

    def weights(self) -> Dict[str, paddle.Tensor]:
        """The state of the whole model, by the names of the model that came in."""
        return self.model.state_dict()


class Outputs(NamedTuple):
    """What a model says of a batch.

    Attributes:
        logits: [batch, labels], [batch, seq_len, labels], a tuple of [batch, seq_len] for start and end, or [batch, 1]
            for choices.
        hidden: of the embeddings, then of each layer, [batch, seq_len, hidden].
    """

    logits: paddle.Tensor
    hidden: List[paddle.Tensor]


def run_with_hidden(model, batch: Dict) -> Outputs:
    """Run a model of paddlenlp.transformers on batch["input_ids"] and batch["token_type_ids"] [batch, seq_len]; the
    hidden states come in float32, in whatever precision they were computed."""
    hidden: List[paddle.Tensor] = []

    def keep(_, __, output):
        hidden.append((output[0] if isinstance(output, tuple) else output).astype("float32"))

    base = model.base_model
    hooks = [each.register_forward_post_hook(keep) for each in (base.embeddings, *base.encoder.layers)]
    try:
        logits = model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
    finally:
        for hook in hooks:
            hook.remove()
    return Outputs(logits, hidden)


class SubNetworkStudents:
    """Sub-networks of one supernet that learn together from the fine-tuned model: a distillation.Students.

    Args:
        model: the fine-tuned model, the teacher; not changed.
        net: a supernet of it.
        subnetworks: those that are trained.
        soft_criterion: TaskFamily.soft_criterion, by which the logits are learnt.
    """

    def __init__(
        self, model, net: Supernet, subnetworks: Sequence[SubNetwork], soft_criterion: Callable = soft_cross_entropy
    ):
        self.teacher, self.net, self.soft_criterion = copy.deepcopy(model), net, soft_criterion
        self.teacher.eval()
        self.subnetworks = {subnetwork.name: subnetwork for subnetwork in subnetworks}

    @property
    def names(self) -> List[str]:
        return list(self.subnetworks)

    @property
    def model(self) -> nn.Layer:
        return self.net.model

    def losses(self, batch: Dict) -> Iterator[paddle.Tensor]:
        with paddle.no_grad():
            taught = run_with_hidden(self.teacher, batch)
        for subnetwork in self.subnetworks.values():
            yield self._loss(batch, subnetwork, taught)

    def _loss(self, batch: Dict, subnetwork: SubNetwork, taught: Outputs):
        """The soft criterion of the logits plus mean squared errors of embeddings and hidden states."""
        with self.net.running(subnetwork) as model:
            student = run_with_hidden(model, batch)
        mask = batch["input_ids"] != self.model.config.pad_token_id
        targets = [
            taught.hidden[0],
            *(taught.hidden[1 + index] for index in stood_for(subnetwork, len(self.net.layers))),
        ]
        hidden = sum(F.mse_loss(*pair) for pair in zip(student.hidden, targets))
        return self.soft_criterion(student.logits, taught.logits, mask) + HIDDEN_LOSS_WEIGHT * hidden

    def student(self, name: str) -> nn.Layer:
        return narrow_model(self.teacher, self.subnetworks[name], self.net.weights())


def stood_for(subnetwork: SubNetwork, layers: int) -> List[int]:
    """The layer of the whole model whose output each layer of a sub-network has to give: the last one before the next
    that is kept, for it does the work of those that are dropped after it."""
    return [kept.index - 1 for kept in subnetwork.layers[1:]] + [layers - 1]
