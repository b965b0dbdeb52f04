"""Trainings of a tiny model in a folder, as processes of their own, that can be killed and started again."""

import json

from paddle.utils import unique_name
from paddlenlp.trainer import TrainerCallback
from paddlenlp.transformers import ErnieTokenizer

from tests.support.trainers import tiny_trainer


class Killed(Exception):
    pass


class KillBefore(TrainerCallback):
    """Ends a training before its step number `step` + 1, as a kill does: nothing is tidied up."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


class CountSteps(TrainerCallback):
    def __init__(self):
        self.steps = 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1


def trainer_in(folder, kill_before=None, **arguments):
    """A tiny trainer as a process of its own makes it."""
    unique_name.switch()
    trainer = tiny_trainer(folder, **{"max_steps": 40, "save_total_limit": 1, **arguments})
    folder.mkdir(exist_ok=True, parents=True)
    vocab = folder.with_name(f"{folder.name}-vocab.txt")
    ids = trainer.task.tokenizer.vocab
    vocab.write_text("".join(f"{token}\n" for token in sorted(ids, key=ids.get)), encoding="utf-8")
    trainer.tokenizer = ErnieTokenizer(str(vocab))
    trainer.counter = CountSteps()
    trainer.add_callback(trainer.counter)
    if kill_before is not None:
        trainer.add_callback(KillBefore(kill_before))
    return trainer


def finetune(folder, **arguments):
    trainer = trainer_in(folder, **arguments)
    trainer.finetune()
    return trainer


def results(folder):
    return json.loads((folder / "results.json").read_text())["training"]
