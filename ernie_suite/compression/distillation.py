"""Training by distillation: its steps, evaluations, best states, and how an interrupted one goes on.

What is trained, and by which losses, is a Students: supernet.SubNetworkStudents trains parts of the teacher itself.
"""

import itertools
import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, NamedTuple, Optional, Protocol, Sequence

from ernie_suite.compression.work import WorkFolder
from ernie_suite.features import Features
from ernie_suite.runs import default_eval_steps, is_resumable_step

import paddle
from paddle import nn
from paddle.distributed.fleet.utils.hybrid_parallel_util import fused_allreduce_gradients
from paddle.distributed.parallel import sync_params_buffers
from tqdm import tqdm

from ernie_inference.errors import InputError


class Students(Protocol):
    """One or more models that learn together from a teacher.

    Attributes:
        names: theirs.
        model: holds all the weights that are trained, by names that stay.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def model(self) -> nn.Layer: ...

    def losses(self, batch: Dict) -> Iterator[paddle.Tensor]:
        """The loss of each student on a batch, which needs no labels; the caller is done with one before the next."""

    def student(self, name: str) -> nn.Layer:
        """A student as it is now, a model alone, to evaluate and to export."""


class Best(NamedTuple):
    """A student's best state so far by the task's metric: where the training was, the metric, the student's weights."""

    step: int
    score: float
    weights: Dict[str, paddle.Tensor]


@dataclass
class TrainingProgress:
    """How far a training is.

    Attributes:
        step: updates of the weights that were made.
        without_better: evaluations since one in which some student became better.
        best: by the student's name.
    """

    step: int = 0
    without_better: int = 0
    best: Dict[str, Best] = field(default_factory=dict)


def train_students(
    trainer, students: Students, work: WorkFolder, dataset: Optional[Features] = None
) -> Dict[str, Best]:
    """Train all students together, and keep the best state of each by the task's metric; returned by its name.

    Evaluates every args.eval_steps steps and at the end, which comes early after args.early_stopping_patience
    evaluations in which no student became better. The whole state goes to the work folder then, at most about
    runs.MOST_RESUMABLE_STATES times; from there an interrupted run goes on to the same result.

    Args:
        dataset: the texts to learn from, with labels or without; None for trainer.train_dataset.

    Raises:
        InputError: the loss is no number any more.
    """
    args = trainer.args
    with training_on(trainer, dataset):
        loader = trainer.get_train_dataloader()
        steps_of_epoch, total = trainer.count_steps()
    eval_steps = args.eval_steps or default_eval_steps(steps_of_epoch, total)
    with using_model(trainer, students.model):
        trainer.optimizer = trainer.lr_scheduler = None
        trainer.create_optimizer_and_scheduler(num_training_steps=total)
    progress = _restore(trainer, students.model, work)
    if args.world_size > 1:
        sync_params_buffers(students.model)  # to the first one's; from there on they average their gradients
    shown = {"desc": f"students {', '.join(students.names)}", "disable": args.disable_tqdm or not args.should_save}
    with tqdm(total=total, initial=progress.step, **shown) as bar:
        for batches in batches_of_steps(loader, args.gradient_accumulation_steps, progress.step, total):
            if args.early_stopping_patience and progress.without_better >= args.early_stopping_patience:
                break
            # A run that goes on draws the same dropout, and each process its own.
            paddle.seed(args.seed + progress.step * args.world_size + args.process_index)
            loss = _take_step(trainer, students, batches, progress.step)
            progress.step += 1
            bar.update()
            if progress.step % args.logging_steps == 0 or progress.step == 1:
                bar.set_postfix(loss=f"{loss:.4f}")
            if progress.step % eval_steps == 0 or progress.step == total:
                _evaluate(trainer, students, progress)
                if is_resumable_step(progress.step, eval_steps, total) or progress.step == total:
                    _save(trainer, students.model, progress, work)
    trainer.optimizer = trainer.lr_scheduler = None
    return progress.best


@contextmanager
def training_on(trainer, dataset: Optional[Features]) -> Iterator[None]:
    """Within the block the trainer's training set is `dataset`, if that is one."""
    before = trainer.train_dataset
    trainer.train_dataset = before if dataset is None else dataset
    try:
        yield
    finally:
        trainer.train_dataset = before


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


def _take_step(trainer, students: Students, batches: List[Dict], step: int) -> float:
    """One update of the weights from the mean of some batches' gradients, those of all processes; returns the mean
    loss of a student in this one."""
    students.model.train()
    mean = 0.0
    for batch in batches:
        # The teacher reads the same masked tokens as the students: its hidden states are their target.
        batch = {**batch, "input_ids": trainer.drop_tokens(batch["input_ids"])}
        for loss in _losses(trainer, students, batch):
            loss = loss / len(batches)
            mean += float(loss) / len(students.names)
            (trainer.scaler.scale(loss) if trainer.do_grad_scaling else loss).backward()
    if not math.isfinite(mean):
        raise InputError(f"the loss of the distillation is {mean} after {step} steps: give a smaller --learning_rate")
    if trainer.args.world_size > 1:
        fused_allreduce_gradients(list(students.model.parameters()), None)
    if trainer.do_grad_scaling:
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update()
    else:
        trainer.optimizer.step()
    trainer.lr_scheduler.step()
    trainer.optimizer.clear_grad()
    return mean


def _losses(trainer, students: Students, batch: Dict) -> Iterator[paddle.Tensor]:
    """The students' losses, each computed in the precision of trainer.args."""
    losses = students.losses(batch)
    for _ in students.names:
        with trainer.autocast_smart_context_manager():
            loss = next(losses)
        yield loss


def _evaluate(trainer, students: Students, progress: TrainingProgress) -> None:
    trainer.state.global_step = progress.step
    progress.without_better += 1
    for name in students.names:
        student = students.student(name)
        if trainer.args.should_save:
            tqdm.write(f"{name}:", file=sys.stderr)
        with using_model(trainer, student):
            score = float(trainer.evaluate()[f"eval_{trainer.args.metric_for_best_model}"])
        if name not in progress.best or score > progress.best[name].score:
            progress.best[name] = Best(progress.step, score, student.state_dict())
            progress.without_better = 0


def _save(trainer, model: nn.Layer, progress: TrainingProgress, work: WorkFolder) -> None:
    if not trainer.args.should_save:
        return
    work.save(
        {
            "step": progress.step,
            "without_better": progress.without_better,
            "best": {name: best._asdict() for name, best in progress.best.items()},
            "model": model.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict() if trainer.do_grad_scaling else {},
            "parameters": [parameter.name for parameter in model.parameters()],
        },
    )


def _restore(trainer, model: nn.Layer, work: WorkFolder) -> TrainingProgress:
    """The progress of the interrupted training, whose state goes into model and optimizer; none without one."""
    say = print if trainer.args.should_save else str  # one process says it
    state = work.load(say)
    if state is None:
        return TrainingProgress()
    model.set_state_dict(state["model"])
    names = [parameter.name for parameter in model.parameters()]
    trainer.optimizer.set_state_dict(_renamed(state["optimizer"], state["parameters"], names))
    if trainer.do_grad_scaling:
        trainer.scaler.load_state_dict(state["scaler"])
    say(f"distillation goes on from step {state['step']}")
    best = {name: Best(**values) for name, values in state["best"].items()}
    return TrainingProgress(state["step"], state["without_better"], best)


def _renamed(optimizer_state: Dict, before: List[str], now: List[str]) -> Dict:
    """An optimizer's state for parameters that had the names `before`: Paddle counts names up within a process."""
    new_names, renamed = dict(zip(before, now)), {}
    for key, value in optimizer_state.items():
        name = max((name for name in before if name in key), key=len, default="")
        renamed[key.replace(name, new_names[name], 1) if name else key] = value
    return renamed
