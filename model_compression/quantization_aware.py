"""Quantization-aware training: the weights learn to live with INT8 (Jacob et al. 2018, section 3).

Where post-training quantization loses too much: each Linear computes with its input and its weight rounded
as the INT8 kernel will round them (Paddle's QAT), while the weights go on learning from the fine-tuned
model. The ranges it has learnt then take the place of calibrated thresholds.
"""

import copy
import math
from typing import Dict, NamedTuple

import paddle
from paddle import nn
from paddle.quantization import QAT, BaseQuanter, QuantConfig
from paddle.quantization.factory import QuanterFactory
from tqdm import tqdm

from model_compression.config import QATConfig
from model_compression.pruning import EVALUATIONS_PER_EPOCH, batches_from, soft_cross_entropy, using_model

MOVING_RATE = 0.9
LEVELS = 127  # of INT8 on each side of 0


class Rounding(BaseQuanter):
    """Rounds a tensor to INT8's levels within a range that follows its largest absolute values.

    The gradient goes through as if nothing had been rounded (straight-through estimator). It stands in
    for Paddle 2.6.2's FakeQuanterWithAbsMaxObserver, whose operator is registered for no CPU ("There are no
    kernels which are registered in the fake_quantize_dequantize_moving_average_abs_max operator"), and
    can go when that runs.
    """

    def __init__(self, layer=None):
        super().__init__()
        self.register_buffer("range", paddle.zeros([1]))

    def forward(self, x):
        if self.training:
            largest = x.detach().abs().max().reshape([1])
            known = self.range > 0
            self.range.set_value(paddle.where(known, MOVING_RATE * self.range + (1 - MOVING_RATE) * largest, largest))
        scale = paddle.clip(self.range / LEVELS, min=1e-12)
        rounded = paddle.clip(paddle.round(x / scale), -LEVELS, LEVELS) * scale
        return x + (rounded - x).detach()

    def scales(self):
        return self.range

    def zero_points(self):
        return None

    def quant_axis(self):
        return -1

    def bit_length(self):
        return 8


class RoundingFactory(QuanterFactory):
    """What QuantConfig makes a Rounding with."""

    def _get_class(self):
        return Rounding


class Quantized(NamedTuple):
    """A model trained for INT8.

    Attributes:
        model: of FP32 weights, as ordinary as the one that came in.
        input_ranges: the largest absolute value of each Linear's input, by the name of its weight.
    """

    model: nn.Layer
    input_ranges: Dict[str, float]


def train_quantized(trainer, model: nn.Layer, config: QATConfig) -> Quantized:
    """Train a model with its Linear layers rounded to INT8, distilled from trainer.model; the best state counts.

    Args:
        trainer: with the training data, the arguments, and the fine-tuned model as the teacher.
        model: the FP32 model to start from, of full or of pruned width; not changed.
    """
    args = trainer.args
    start = copy.deepcopy(model)
    start.train()
    only_linear = QuantConfig(activation=None, weight=None)
    only_linear.add_type_config(nn.Linear, activation=RoundingFactory(), weight=RoundingFactory())
    rounded = QAT(only_linear).quantize(start, inplace=True)
    teacher = trainer.model
    teacher.eval()
    loader = trainer.get_train_dataloader()
    total = args.max_steps if args.max_steps > 0 else math.ceil(len(loader) * config.num_train_epochs)
    eval_steps = args.eval_steps or max(1, len(loader) // EVALUATIONS_PER_EPOCH)
    learning_rate = args.learning_rate * config.learning_rate_share
    schedule = paddle.optimizer.lr.PolynomialDecay(learning_rate, max(total, 1), end_lr=0.0)
    optimizer = paddle.optimizer.AdamW(
        schedule,
        parameters=[parameter for parameter in rounded.parameters() if not parameter.stop_gradient],
        weight_decay=args.weight_decay,
        grad_clip=nn.ClipGradByGlobalNorm(args.max_grad_norm),
    )
    paddle.seed(args.seed)
    best_score, best = -math.inf, None
    with tqdm(total=total, desc="quantization-aware training") as bar:
        for step, batch in enumerate(batches_from(loader, args.seed, 0, total), start=1):
            inputs = {name: batch[name] for name in ("input_ids", "token_type_ids")}
            rounded.train()
            with paddle.no_grad():
                teacher_logits = teacher(**inputs)
            mask = inputs["input_ids"] != teacher.config.pad_token_id
            loss = soft_cross_entropy(rounded(**inputs), teacher_logits, mask)
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.clear_grad()
            bar.update()
            if step % args.logging_steps == 0:
                bar.set_postfix(loss=f"{float(loss):.4f}")
            if step % eval_steps == 0 or step == total:
                with using_model(trainer, rounded):
                    score = float(trainer.evaluate()[f"eval_{args.metric_for_best_model}"])
                if score > best_score:
                    best_score, best = score, {name: value.numpy() for name, value in rounded.state_dict().items()}
    rounded.set_state_dict(best)
    return unwrap(rounded, model)


def unwrap(rounded: nn.Layer, model: nn.Layer) -> Quantized:
    """The weights of a model in training as those of an ordinary one like `model`, and the ranges it has learnt."""
    ordinary = copy.deepcopy(model)
    learnt = rounded.state_dict()
    for name, parameter in ordinary.state_dict().items():
        parameter.set_value(learnt[name])
    linears = dict(ordinary.named_sublayers())
    ranges = {}
    for name, layer in rounded.named_sublayers():
        if getattr(layer, "activation_quanter", None) is not None:
            ranges[linears[name].weight.name] = float(layer.activation_quanter.scales())
    return Quantized(ordinary, ranges)
