"""DynaBERT width pruning (Hou et al., "DynaBERT: Dynamic BERT with Adaptive Width and Depth", 2020).

Heads and feed-forward neurons are ordered by importance, so that any width is the leading part of
one set of weights; all widths are then trained together, distilled from the fine-tuned model.

The supernet is paddleslim's OFA, with three choices that keep out of the way of its faults:
only the encoder is converted, because PaddleNLP's models read the weights of the other layers
directly; widths are given to it as exact numbers of channels, not as ratios that are rounded; and a
state is evaluated and exported as an ordinary model of its true, narrower shapes (narrow_model).
"""

import copy
import itertools
import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Dict, Iterable, Iterator, List, NamedTuple, Tuple

from ernie_suite.compression.config import Width
from ernie_suite.compression.work import WorkFolder
from ernie_suite.runs import default_eval_steps, is_resumable_step

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddlenlp.transformers.ofa_utils import reorder_neuron_head
from paddleslim.nas.ofa import OFA, DistillConfig
from paddleslim.nas.ofa.convert_super import Convert, supernet
from paddleslim.nas.ofa.layers import SuperLayerNorm
from paddleslim.nas.ofa.utils.utils import set_state_dict
from tqdm import tqdm

from ernie_inference.errors import InputError

HIDDEN_LOSS_WEIGHT = 0.1  # lambda_2 / lambda_1 of the paper's section 3.1, as PaddleNLP has it

Importance = Tuple[np.ndarray, np.ndarray]


def repair_super_layer_norm() -> None:
    """paddleslim 2.6.0's SuperLayerNorm.forward unpacks three results of paddle._C_ops.layer_norm,
    which has returned one since paddle 2.5 ("too many values to unpack"). This can go when paddleslim
    calls paddle.nn.functional.layer_norm itself.
    """

    def forward(self, input):
        size = int(input.shape[-1])
        self.cur_config = {"prune_dim": size}
        return F.layer_norm(input, size, self.weight[:size], self.bias[:size], self._epsilon)

    SuperLayerNorm.forward = forward


# ---------------------------------------------------------------- importance


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


# ---------------------------------------------------------------- one set of weights for all widths


class Supernet:
    """A fine-tuned model whose encoder can run at any width, and the model itself as its teacher.

    Args:
        model: ERNIE, BERT, RoBERTa or ELECTRA of paddlenlp.transformers with a task head; not changed.
        importance: of its heads and neurons; the most important ones come first, in every width.
    """

    def __init__(self, model, importance: Importance):
        repair_super_layer_norm()
        teacher = copy.deepcopy(model)
        for parameter in teacher.parameters():
            parameter.stop_gradient = True  # OFA runs the teacher without no_grad
        self.model = copy.deepcopy(model)
        self.encoder_name = f"{model.base_model_prefix}.encoder"
        weights = self.model.state_dict()
        Convert(supernet(expand_ratio=[1.0])).convert(self.model.base_model.encoder)
        set_state_dict(self.model, weights)
        heads, neurons = importance
        reorder_neuron_head(self.model, paddle.to_tensor(heads), neurons)
        self.layers = self.model.base_model.encoder.layers
        distilled = [f"{model.base_model_prefix}.embeddings"]
        distilled += [f"{self.encoder_name}.layers.{number}" for number in range(len(self.layers))]
        self.ofa = OFA(
            self.model,
            distill_config=DistillConfig(
                lambda_distill=HIDDEN_LOSS_WEIGHT, teacher_model=teacher, mapping_layers=distilled
            ),
            elastic_order=["width"],
        )

    def distillation_loss(self, batch: Dict, width: Width):
        """Soft cross entropy of the logits plus mean squared errors of embeddings and hidden states."""
        self._set_width(width)
        logits, teacher_logits = self.ofa(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
        mask = batch["input_ids"] != self.model.config.pad_token_id
        return soft_cross_entropy(logits, teacher_logits, mask) + self.ofa.calc_distill_loss()

    def weights(self) -> Dict[str, paddle.Tensor]:
        """The state of full width, by the names of the model that came in."""
        return {name.replace(".fn.", "."): value for name, value in self.model.state_dict().items()}

    def _set_width(self, width: Width) -> None:
        channels: Dict[str, Dict] = {}
        for number, layer in enumerate(self.layers):
            attention = layer.self_attn
            attention.num_heads = width.heads
            name = f"{self.encoder_name}.layers.{number}"
            for projection in ("q_proj", "k_proj", "v_proj"):
                channels[f"{name}.self_attn.{projection}"] = {"channel": width.heads * attention.head_dim}
            channels[f"{name}.linear1"] = {"channel": width.neurons}
            channels[f"{name}.self_attn.out_proj"] = channels[f"{name}.linear2"] = {}
        self.ofa.set_net_config(channels)


def soft_cross_entropy(logits, teacher_logits, mask):
    """Cross entropy of softmax(logits) with softmax(teacher_logits) over the last axis.

    logits: [batch, labels], [batch, seq_len, labels], or a tuple of [batch, seq_len] for start and
    end; of [batch, seq_len, labels] only positions where mask [batch, seq_len] is true count.
    """
    if isinstance(logits, tuple):
        losses = [soft_cross_entropy(*pair, mask) for pair in zip(logits, teacher_logits)]
        return sum(losses) / len(losses)
    losses = -(F.softmax(teacher_logits.detach()) * F.log_softmax(logits)).sum(axis=-1)
    if losses.ndim == 1:
        return losses.mean()
    return losses[mask].mean()


# ---------------------------------------------------------------- one width alone


def narrow_model(model, width: Width, weights: Dict[str, paddle.Tensor]):
    """A model like `model` whose layers have the shapes of a width, with the leading part of `weights`.

    Nothing of the full width is left in it: it is what is evaluated and exported.
    """
    narrow = copy.deepcopy(model)
    for layer in narrow.base_model.encoder.layers:
        attention = layer.self_attn
        hidden, inner = attention.embed_dim, width.heads * attention.head_dim
        attention.num_heads = width.heads
        attention.q_proj, attention.k_proj, attention.v_proj = (nn.Linear(hidden, inner) for _ in range(3))
        attention.out_proj = nn.Linear(inner, hidden)
        layer.linear1, layer.linear2 = nn.Linear(hidden, width.neurons), nn.Linear(width.neurons, hidden)
    for name, parameter in narrow.state_dict().items():
        parameter.set_value(weights[name][tuple(slice(size) for size in parameter.shape)])
    return narrow


# ---------------------------------------------------------------- training


class Best(NamedTuple):
    """A width's best state so far by the task's metric: where the training was, the metric, the narrow weights."""

    step: int
    score: float
    weights: Dict[str, paddle.Tensor]


@dataclass
class TrainingProgress:
    """How far a training of all widths is.

    Attributes:
        step: updates of the weights that were made.
        without_better: evaluations since one in which some width became better.
        best: by the width's name.
    """

    step: int = 0
    without_better: int = 0
    best: Dict[str, Best] = field(default_factory=dict)


def train_widths(trainer, net: Supernet, widths: List[Width], work: WorkFolder) -> Dict[str, Best]:
    """Train all widths together, and keep the best state of each by the task's metric; returned by the width's name.

    Evaluates every args.eval_steps steps and at the end, which comes early after args.early_stopping_patience
    evaluations in which no width became better. The whole state goes to the work folder then, at most about
    runs.MOST_RESUMABLE_STATES times; from there an interrupted run goes on to the same result.

    Raises:
        InputError: the loss is no number any more.
    """
    args = trainer.args
    loader = trainer.get_train_dataloader()
    steps_of_epoch, total = trainer.count_steps()
    eval_steps = args.eval_steps or default_eval_steps(steps_of_epoch, total)
    with using_model(trainer, net.model):
        trainer.optimizer = trainer.lr_scheduler = None
        trainer.create_optimizer_and_scheduler(num_training_steps=total)
    progress = _restore(net, trainer.optimizer, work)
    with tqdm(total=total, initial=progress.step, desc=f"widths {', '.join(w.name for w in widths)}") as bar:
        for batches in batches_of_steps(loader, args.gradient_accumulation_steps, progress.step, total):
            if args.early_stopping_patience and progress.without_better >= args.early_stopping_patience:
                break
            paddle.seed(args.seed + progress.step)  # a run that goes on draws the same dropout
            loss = _take_step(trainer, net, widths, batches, progress.step)
            progress.step += 1
            bar.update()
            if progress.step % args.logging_steps == 0 or progress.step == 1:
                bar.set_postfix(loss=f"{loss:.4f}")
            if progress.step % eval_steps == 0 or progress.step == total:
                _evaluate(trainer, net, widths, progress)
                if is_resumable_step(progress.step, eval_steps, total) or progress.step == total:
                    _save(trainer, net, progress, work)
    trainer.optimizer = trainer.lr_scheduler = None
    return progress.best


def batches_of_steps(loader, accumulation: int, step: int, total: int) -> Iterator[List[Dict]]:
    """The batches of each of the steps step + 1 to total; they depend on the sampler's seed and on the step alone.

    A step has `accumulation` batches, or all of an epoch that has fewer.
    """
    steps_of_epoch = math.ceil(len(loader) / accumulation)
    for epoch in range(step // steps_of_epoch, math.ceil(total / steps_of_epoch)):
        loader.batch_sampler.set_epoch(epoch)
        begin = epoch * steps_of_epoch
        first, last = max(step - begin, 0), min(total - begin, steps_of_epoch)
        batches = itertools.islice(loader, first * accumulation, None)
        for _ in range(first, last):
            yield list(itertools.islice(batches, accumulation))


@contextmanager
def using_model(trainer, model) -> Iterator[None]:
    """Within the block the trainer's model is `model`, which is being trained."""
    before = trainer.model, trainer.model_wrapped, trainer.is_in_train
    trainer.model = trainer.model_wrapped = model
    trainer.is_in_train = True
    try:
        yield
    finally:
        trainer.model, trainer.model_wrapped, trainer.is_in_train = before


def _take_step(trainer, net: Supernet, widths: List[Width], batches: List[Dict], step: int) -> float:
    """One update of the weights from the mean of some batches' gradients; returns the mean loss of a width."""
    net.model.train()
    mean = 0.0
    for batch in batches:
        # The teacher reads the same masked tokens as the student: its hidden states are the student's target.
        batch = {**batch, "input_ids": trainer.drop_tokens(batch["input_ids"])}
        for width in widths:
            loss = net.distillation_loss(batch, width) / len(batches)
            loss.backward()
            mean += float(loss) / len(widths)
    if not math.isfinite(mean):
        raise InputError(f"the loss of pruning is {mean} after {step} steps: give a smaller --learning_rate")
    trainer.optimizer.step()
    trainer.lr_scheduler.step()
    trainer.optimizer.clear_grad()
    return mean


def _evaluate(trainer, net: Supernet, widths: List[Width], progress: TrainingProgress) -> None:
    weights = net.weights()
    trainer.state.global_step = progress.step
    progress.without_better += 1
    for width in widths:
        narrow = narrow_model(trainer.model, width, weights)
        tqdm.write(f"width {width.name}:", file=sys.stderr)
        with using_model(trainer, narrow):
            score = float(trainer.evaluate()[f"eval_{trainer.args.metric_for_best_model}"])
        if width.name not in progress.best or score > progress.best[width.name].score:
            progress.best[width.name] = Best(progress.step, score, narrow.state_dict())
            progress.without_better = 0


def _save(trainer, net: Supernet, progress: TrainingProgress, work: WorkFolder) -> None:
    work.save(
        {
            "step": progress.step,
            "without_better": progress.without_better,
            "best": {name: best._asdict() for name, best in progress.best.items()},
            "model": net.model.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "parameters": [parameter.name for parameter in net.model.parameters()],
        },
    )


def _restore(net: Supernet, optimizer, work: WorkFolder) -> TrainingProgress:
    """The progress of the interrupted training, whose state goes into net and optimizer; none without one."""
    state = work.load()
    if state is None:
        return TrainingProgress()
    net.model.set_state_dict(state["model"])
    names = [parameter.name for parameter in net.model.parameters()]
    optimizer.set_state_dict(_renamed(state["optimizer"], state["parameters"], names))
    print(f"pruning goes on from step {state['step']}")
    best = {name: Best(**values) for name, values in state["best"].items()}
    return TrainingProgress(state["step"], state["without_better"], best)


def _renamed(optimizer_state: Dict, before: List[str], now: List[str]) -> Dict:
    """An optimizer's state for parameters that had the names `before`: Paddle counts names up within a process."""
    new_names, renamed = dict(zip(before, now)), {}
    for key, value in optimizer_state.items():
        name = max((name for name in before if name in key), key=len, default="")
        renamed[key.replace(name, new_names[name], 1) if name else key] = value
    return renamed
