"""What happens at the steps of a training: the screen's progress, and when to evaluate and save."""

import sys

from paddlenlp.trainer import ProgressCallback, TrainerCallback
from paddlenlp.trainer.trainer_utils import set_seed
from tqdm import tqdm


class Progress(ProgressCallback):
    """One bar with loss and learning rate, and a line for each evaluation."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=f"{logs['loss']:.4f}", lr=f"{logs['learning_rate']:.1e}")

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        super().on_evaluate(args, state, control, **kwargs)
        if state.is_local_process_zero and metrics:
            figures = "  ".join(
                f"{key[len('eval_') :]} {value:.4f}" for key, value in metrics.items() if is_metric(key)
            )
            tqdm.write(f"step {state.global_step}: {figures}", file=sys.stderr)


def is_metric(key: str) -> bool:
    return key.startswith("eval_") and not key.endswith(("_runtime", "_per_second", "_ppl"))


class EvaluationPoints(TrainerCallback):
    """Every eval_steps steps, and at the last one, the trainer logs, evaluates and keeps what is worth keeping.

    What is drawn at random from there on depends on the seed and the step alone, so that a run that goes on from there
    draws what an undisturbed one draws. PaddleNLP 2.8.1 saves the generators' states instead, but on CPUs Paddle 2.6.2
    does not restore them.
    """

    def on_epoch_begin(self, args, state, control, **kwargs):
        set_seed(args.seed + state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        if control.should_evaluate:
            control.should_log = control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        set_seed(args.seed + state.global_step)
