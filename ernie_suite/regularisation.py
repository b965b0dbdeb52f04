"""What keeps a training on few labels from learning them by heart: tokens that are dropped, R-Drop and FGM.

Each is a flag of FinetuneArguments, for all task families alike.
"""

from contextlib import contextmanager
from functools import partial
from typing import Any, Callable, Dict, Iterator

from ernie_suite.models import MASK_TOKEN
from ernie_suite.tasks.family import TaskFamily

import paddle
from paddle import nn
from paddlenlp.trainer import Trainer

from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Task


class RegularisedTrainer(Trainer):
    """PaddleNLP's Trainer, whose steps train with args.token_dropout, args.rdrop_alpha and args.fgm_epsilon."""

    family: TaskFamily
    task: Task

    def training_step(self, model, inputs: Dict[str, paddle.Tensor]) -> paddle.Tensor:
        inputs = {**inputs, "input_ids": self.drop_tokens(inputs["input_ids"])}
        step = partial(super().training_step, model)
        if not self.args.fgm_epsilon:
            return step(inputs)
        weight = self.model.get_input_embeddings().weight
        return adversarial_step(lambda: step(dict(inputs)), weight, self.args.fgm_epsilon)

    def compute_loss(self, model, inputs: Dict[str, paddle.Tensor], return_outputs: bool = False) -> Any:
        divergence = self.family.divergence
        if divergence is None or not (self.args.rdrop_alpha and model.training):
            return super().compute_loss(model, inputs, return_outputs)
        # One run of twice as many rows: under several processes Paddle takes one forward pass for each backward pass.
        twice = {name: paddle.concat([value, value]) for name, value in inputs.items()}
        labels = [twice[name] for name in self.family.label_names]
        loss, outputs = super().compute_loss(model, twice, return_outputs=True)
        loss = loss + self.args.rdrop_alpha * divergence(outputs[1], labels)
        return (loss, outputs) if return_outputs else loss

    def drop_tokens(self, input_ids: paddle.Tensor) -> paddle.Tensor:
        """input_ids [batch, seq_len] with args.token_dropout of its tokens masked, special ones never.

        Against learning a small data set by heart (word dropout, Iyyer et al. 2015, section 2.2).
        """
        if not self.args.token_dropout:
            return input_ids
        tokenizer = self.task.tokenizer
        dropped = paddle.rand(input_ids.shape) < self.args.token_dropout
        for special in (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id):
            dropped &= input_ids != special
        return paddle.where(dropped, paddle.full_like(input_ids, tokenizer.vocab[MASK_TOKEN]), input_ids)


def check_rdrop(model: nn.Layer, alpha: float, name: str) -> None:
    """Raises InputError where R-Drop would compare nothing.

    Args:
        name: the model's, for the message.
    """
    if not has_dropout(model):
        raise InputError(
            f"--rdrop_alpha {alpha}: R-Drop compares two passes with different dropout, and {name} has none: set "
            "hidden_dropout_prob in its config.json, or leave the flag out"
        )


def has_dropout(model: nn.Layer) -> bool:
    """Whether two passes of a batch in training differ."""
    layers = model.sublayers(include_self=True)
    return any(
        (isinstance(layer, nn.Dropout) and layer.p > 0) or (isinstance(layer, nn.MultiHeadAttention) and layer.dropout)
        for layer in layers
    )


def adversarial_step(step: Callable[[], paddle.Tensor], weight: paddle.Tensor, epsilon: float) -> paddle.Tensor:
    """A training step, and a second one where the word embeddings are worse by `epsilon`; their gradients are added up
    (FGM: the adversarial training of Miyato et al. 2017, section 3, as it is done to fine-tune).

    Args:
        step: adds a batch's gradients to those that are there, and returns its loss.

    Returns the loss of the step as it is.
    """
    before = None if weight.grad is None else weight.grad.clone()  # of earlier batches of the same optimizer's step
    loss = step()
    with perturbed(weight, weight.grad if before is None else weight.grad - before, epsilon):
        step()
    return loss


@contextmanager
def perturbed(weight: paddle.Tensor, gradient: paddle.Tensor, epsilon: float) -> Iterator[None]:
    """The weight moved by `epsilon`, in L2 norm, along a gradient; afterwards it is what it was, bit for bit.

    It stays where it is where the gradient is zero or, as --fp16 may have it, no number.
    """
    with paddle.no_grad():
        norm = float(gradient.astype("float32").norm())
        before = weight.clone()
        if 0 < norm < float("inf"):
            weight.set_value(before + (gradient.astype("float32") * (epsilon / norm)).astype(weight.dtype))
    try:
        yield
    finally:
        weight.set_value(before)
