"""PaddleNLP's Trainer with what fine-tuning here needs besides: batches of like length, answers instead of
logits at evaluation, checkpoints that survive a kill, and models that are whole or not there."""

import math
import os
import shutil
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ernie_suite.callbacks import EvaluationPoints, Progress, is_metric
from ernie_suite.data import find_dataset
from ernie_suite.export import export_static, write_predictions, write_vocab
from ernie_suite.features import Collator, Features
from ernie_suite.regularisation import RegularisedTrainer
from ernie_suite.runs import (
    COMPLETE_FILE,
    PROGRESS_FILE,
    SETTINGS_FILE,
    FoundRun,
    default_eval_steps,
    find_run,
    is_resumable_step,
    model_identity,
    read_json,
    remove_checkpoints,
    remove_derived,
    remove_run,
    remove_superseded,
    settings_of_run,
    update_results,
)
from ernie_suite.sampler import LengthGroupedSampler, WholeQuestions
from ernie_suite.tasks.family import TaskFamily

import numpy as np
import paddle
from paddlenlp.trainer import EarlyStoppingCallback, IntervalStrategy, ProgressCallback
from paddlenlp.trainer.trainer import (
    OPTIMIZER_NAME,
    PADDLE_WEIGHTS_NAME,
    SCALER_NAME,
    SCHEDULER_NAME,
    TRAINER_STATE_NAME,
)
from paddlenlp.trainer.trainer_callback import TrainerControl, TrainerState
from paddlenlp.trainer.trainer_utils import speed_metrics

from ernie_inference.console import print_row
from ernie_inference.errors import InputError
from ernie_inference.files import Unwritable, publish, write_json
from ernie_inference.inference_config import InferenceConfig


class FinetuneTrainer(RegularisedTrainer):
    """Trainer for one task family; `evaluate` returns the task's own metric.

    Args:
        family, task: the task family and its task object.
        inference_config: what export writes beside the model.
        origin: what else decides the result of a run: the model it starts from, where the data are from.
        test_examples: what predict_test answers.
        class_weights: of the criterion; see class_weights.py of tasks/.
        The others are PaddleNLP's; train_dataset and eval_dataset are `features.Features`.
    """

    def __init__(
        self,
        family: TaskFamily,
        task,
        inference_config: InferenceConfig,
        origin: Dict,
        args,
        test_examples=None,
        class_weights: Optional[np.ndarray] = None,
        **kwargs,
    ):
        args.label_names = family.label_names
        args.metric_for_best_model, args.greater_is_better = family.best_metric, True
        collator = Collator(task.tokenizer.pad_id)
        criterion = family.criterion if class_weights is None else partial(family.criterion, weights=class_weights)
        super().__init__(args=args, criterion=criterion, data_collator=collator, **kwargs)
        self.family, self.task, self.origin, self._inference_config = family, task, origin, inference_config
        self.fits_answers = False  # whenever the dev set is answered; see TaskFamily.fit
        self.metric, self.test_examples, self.class_weights = family.metric, test_examples, class_weights
        self.remove_callback(ProgressCallback)
        self.early_stopping = EarlyStoppingCallback(args.early_stopping_patience or sys.maxsize)
        for callback in (Progress, EvaluationPoints, self.early_stopping):
            self.add_callback(callback)

    @property
    def inference_config(self) -> InferenceConfig:
        """With what was fitted to the dev set."""
        temperature = self.task.temperature if self.task.temperature != 1 else None
        return replace(self._inference_config, thresholds=self.task.thresholds, temperature=temperature)

    @property
    def eval_examples(self) -> List[Dict]:
        return self.eval_dataset.examples

    def _get_train_sampler(self):
        args = self.args
        return LengthGroupedSampler(
            self.train_dataset,
            args.per_device_train_batch_size,
            args.seed,
            args.dataset_world_size,
            args.dataset_rank,
            args.dataloader_drop_last,
            args.gradient_accumulation_steps,
        )

    def _get_eval_sampler(self, eval_dataset: Features):
        """Of several processes each has as many windows, wherever a question ends; the loss that is shown is then that
        of the choices which are in one batch."""
        if self.family.compares_choices and self.args.world_size == 1:
            return WholeQuestions(eval_dataset, self.args.per_device_eval_batch_size)
        return super()._get_eval_sampler(eval_dataset)

    # -- evaluation

    def predict_results(self, dataset: Features, metric_key_prefix: str = "eval") -> List[Dict]:
        """The answers to all examples of a data set."""
        predictions = self.predict_logits(dataset, metric_key_prefix)
        if self.fits_answers and self.family.fit:
            self.family.fit(self.task, dataset.examples, partial(dataset.iter_results, predictions))
        return dataset.results(predictions)

    def fit_answers(self) -> None:
        """Fit to the dev set what the task has beside the weights of the model, as it is now; see TaskFamily.fit."""
        self.fits_answers = self.family.fit is not None
        if self.fits_answers:
            self.predict_results(self.eval_dataset)
        self.fits_answers = False

    def predict_logits(self, dataset: Features, metric_key_prefix: str = "eval") -> Tuple[np.ndarray, ...]:
        """One array [len(dataset), ...] for each output of the model."""
        output = self.evaluation_loop(
            self.get_eval_dataloader(dataset), "Prediction", False, metric_key_prefix=metric_key_prefix
        )
        self._loss = output.metrics.get(f"{metric_key_prefix}_loss")
        predictions = output.predictions if isinstance(output.predictions, tuple) else (output.predictions,)
        if not all(np.isfinite(logits).all() for logits in predictions):
            raise self._diverged("the model's logits are not finite")
        return predictions

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None) -> Tuple:
        """(loss, logits, labels) with loss and logits in float32, in whatever precision they were computed.

        PaddleNLP 2.8.1's nested_numpify casts float16 only: NumPy has no bfloat16, and gets its bits as uint16.
        """
        loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        return to_float32(loss), to_float32(logits), labels

    def _diverged(self, what: str) -> InputError:
        if not self.is_in_train:
            return InputError(f"{what} (nan or inf): this model's weights are broken; fine-tune it anew")
        reduced = " --fp16" if self.args.fp16 else " --bf16" if self.args.bf16 else ""
        return InputError(
            f"{what} at step {self.state.global_step}, with --learning_rate {self.args.learning_rate:g}: "
            f"the training has diverged, and nothing of it is kept as a result; give a lower --learning_rate, more "
            f"--warmup_ratio{' or no' + reduced if reduced else ''}, and --overwrite_output_dir to start anew"
        )

    def evaluate(self, eval_dataset: Optional[Features] = None, ignore_keys=None, metric_key_prefix="eval") -> Dict:
        """The task's metric, the loss and the speed on a data set, by default the dev split."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        started = time.time()
        results = self.predict_results(dataset, metric_key_prefix)
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in self.metric(dataset.examples, results).items()}
        metrics[f"{metric_key_prefix}_loss"] = self._loss
        metrics.update(speed_metrics(metric_key_prefix, started, num_samples=len(dataset.examples)))
        self.log(dict(metrics))
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # -- training

    def finetune(self) -> None:
        """Train, or go on where an interrupted run with the same settings stopped; keep the best state.

        Writes the model, tokenizer, inference.json and results.json to args.output_dir. Where they stand there
        already, trained with the same settings, that model is taken.
        """
        folder = Path(self.args.output_dir)
        self._set_eval_steps()
        settings, found = {}, FoundRun()
        if self.args.should_save:
            if self.args.overwrite_output_dir:
                remove_run(folder)
            settings = settings_of_run(self, folder)
            found = find_run(folder, settings, self.args.overwrite_output_dir)
        found = FoundRun(*self.agreed(found))
        if found.finished:
            self._load_weights(folder)
            self.task.thresholds = InferenceConfig.load(folder).thresholds
            self._say(f"{folder} holds the model that this command trains: --overwrite_output_dir would train it anew")
            return
        if self.args.should_save:
            write_json(folder / SETTINGS_FILE, settings)
        self.fits_answers = self.family.fit is not None
        self._train(found.checkpoint)
        self.fit_answers()  # to the best state, which need not be the last one
        if self.args.should_save:
            report = self._report()
            self.save_best(folder)
            report["model"] = model_identity(str(folder))
            update_results(folder, self.inference_config, {**self.origin, **settings}, {"training": report})
        if self.args.world_size > 1:
            paddle.distributed.barrier()  # the others may still be reading the best state
        if self.args.should_save:
            remove_checkpoints(folder)

    def _train(self, checkpoint: Optional[str]) -> None:
        """Train from a checkpoint on to the end; then the model is in its best state."""
        progress = read_json(Path(checkpoint) / PROGRESS_FILE) if checkpoint else {}
        self._started = time.time() - progress.get("seconds", 0.0)
        self._loss_before, self._total_loss_scalar = progress.get("total_loss", 0.0), 0.0
        self.early_stopping.early_stopping_patience_counter = progress.get("evaluations_without_gain", 0)
        if progress:
            self._say(f"going on from {checkpoint}")
        if checkpoint and progress.get("ended"):
            self.state = TrainerState.load_from_json(os.path.join(checkpoint, TRAINER_STATE_NAME))
            self._load_weights(Path(self.state.best_model_checkpoint))
            return
        try:
            self.train(resume_from_checkpoint=checkpoint)
        except OSError as error:
            raise Unwritable(self.args.output_dir, error) from None
        except AssertionError as error:
            # Paddle counts parameters' names up within a process, and finds the optimizer's state by them.
            if checkpoint is None or "Optimizer set error" not in str(error):
                raise
            raise InputError(f"{checkpoint} cannot go on in this process: start a new one, as the scripts do") from None

    def _report(self) -> Dict:
        """What results.json says of the training, also of the part before it was interrupted."""
        return {
            "best": {self.family.best_metric: self.state.best_metric},
            "steps": self.state.global_step,
            "loss": self._total_loss / self.state.global_step,
            "seconds": round(time.time() - self._started, 1),
            "history": [entry for entry in self.state.log_history if "loss" in entry or "eval_loss" in entry],
        }

    @property
    def _total_loss(self) -> float:
        return self._loss_before + self._total_loss_scalar

    def _load_weights(self, folder: Path) -> None:
        self.model.set_state_dict(paddle.load(str(folder / PADDLE_WEIGHTS_NAME), return_numpy=True))

    def _say(self, line: str) -> None:
        if self.args.should_save:
            print(line)

    def log(self, logs: Dict, **kwargs) -> None:
        """Raises InputError where the loss is no number any more: no later state can be a good one."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise self._diverged(f"the loss is {logs['loss']}")
        super().log(logs, **kwargs)

    def save_best(self, folder: Path) -> None:
        """The model with its tokenizer and inference.json, each file whole or not there."""
        self.model.config.id2label = dict(enumerate(self.task.labels)) or self.model.config.id2label
        with publish(folder) as temporary:
            self.model.save_pretrained(str(temporary))
            self.tokenizer.save_pretrained(str(temporary))
            write_vocab(self.task.tokenizer, temporary)
            self.inference_config.save(temporary)
            remove_derived(folder)  # now that its successor is written

    def evaluate_dev(self) -> Dict:
        """Evaluate on the dev split, print the figures and add them to results.json."""
        metrics = self.evaluate()
        figures = {key[len("eval_") :]: value for key, value in metrics.items()}
        if self.args.should_save:
            update_results(Path(self.args.output_dir), self.inference_config, None, {"dev": figures})
            shown = {key: f"{value:.4f}" for key, value in figures.items() if is_metric(f"eval_{key}")}
            print_row(
                task=self.inference_config.task,
                data=f"{self.inference_config.dataset} dev",
                examples=f"{len(self.eval_examples):,}",
                **shown,
                model=self.args.output_dir,
            )
        return metrics

    def predict_test(self) -> Path:
        """Write the answers to test_examples in the form CLUE asks for; returns the file."""
        examples = self.test_examples
        spec = find_dataset(self.inference_config.dataset)
        results = self.answer_test(Features(self.family, self.task, examples, by_length=True, labelled=False))
        path = Path(self.args.output_dir) / spec.submission
        if self.args.should_save:
            write_predictions(path, self.family, examples, results)
            print(f"{len(examples):,} predictions of the test split: {path}")
        return path

    def answer_test(self, dataset: Features) -> List[Dict]:
        return self.predict_results(dataset)

    def export(self, prefix: str = "model") -> Path:
        """Write the static model to output_dir/export with vocabulary and inference.json; returns its prefix."""
        folder = Path(self.args.output_dir) / "export"
        if self.args.should_save:
            export_static(self.model, self.task.tokenizer, self.inference_config, folder, prefix)
            print(f"static model for deployment: {folder / prefix}")
        return folder / prefix

    def compress(self, task_name, output_dir, pruning=True, quantization=True, compress_config=None):
        """Prune and quantize the model; see compression/pipeline.py (paddleslim, which it needs, is slow to import)."""
        from ernie_suite.compression.pipeline import compress

        return compress(self, task_name, output_dir, pruning, quantization, compress_config)

    def count_steps(self) -> Tuple[int, int]:
        """The optimizer's steps of an epoch and of the whole training.

        Raises:
            InputError: there are none.
        """
        args, batches = self.args, len(self.get_train_dataloader())
        if batches == 0:
            raise InputError(
                f"{len(self.train_dataset):,} training inputs fill no batch of {args.per_device_train_batch_size} "
                f"in {args.world_size} process(es), and --dataloader_drop_last drops the rest: give a smaller "
                f"--per_device_train_batch_size or no --dataloader_drop_last"
            )
        of_epoch = max(1, batches // args.gradient_accumulation_steps)
        total = args.max_steps if args.max_steps > 0 else int(of_epoch * args.num_train_epochs)
        if total == 0:
            raise InputError(f"--num_train_epochs {args.num_train_epochs} of {of_epoch} steps is no step: give more")
        return of_epoch, total

    def _set_eval_steps(self) -> None:
        args = self.args
        steps = self.count_steps()
        if args.eval_steps is None:
            args.eval_steps = default_eval_steps(*steps)
        args.evaluation_strategy = args.logging_strategy = IntervalStrategy.STEPS
        args.save_strategy = IntervalStrategy.NO  # EvaluationPoints saves
        args.load_best_model_at_end = True

    def agreed(self, found: Any) -> Any:
        """What the first process found, in all processes."""
        if self.args.world_size > 1:
            agreed = [found]
            paddle.distributed.broadcast_object_list(agreed, src=0)
            return agreed[0]
        return found

    def _save_checkpoint(self, model, metrics=None) -> None:
        """After an evaluation, keep the weights where they are the best so far, now and then all that it takes to go
        on, and at the end how the training went."""
        state = self.state
        checkpoint = Path(self.args.output_dir) / f"checkpoint-{state.global_step}"
        score = metrics[f"eval_{self.args.metric_for_best_model}"]
        is_best = state.best_metric is None or score > state.best_metric
        if is_best:
            state.best_metric, state.best_model_checkpoint = score, str(checkpoint)
        ended = self.control.should_training_stop
        resumable = not ended and is_resumable_step(state.global_step, self.args.eval_steps, state.max_steps)
        if self.args.should_save and (is_best or resumable or ended):
            self._write_checkpoint(checkpoint, weights=is_best or resumable, optimizer=resumable, ended=ended)
            remove_superseded(checkpoint.parent, state.best_model_checkpoint, self.args.save_total_limit)

    def _write_checkpoint(self, checkpoint: Path, weights: bool, optimizer: bool, ended: bool) -> None:
        """The files are PaddleNLP's, which reads them back; COMPLETE_FILE comes last."""
        shutil.rmtree(checkpoint, ignore_errors=True)
        checkpoint.mkdir()
        if weights:
            paddle.save(self.model.state_dict(), str(checkpoint / PADDLE_WEIGHTS_NAME))
        if optimizer:
            paddle.save(self.optimizer.state_dict(), str(checkpoint / OPTIMIZER_NAME))
            paddle.save(self.lr_scheduler.state_dict(), str(checkpoint / SCHEDULER_NAME))
            if self.do_grad_scaling:
                paddle.save(self.scaler.state_dict(), str(checkpoint / SCALER_NAME))
        if optimizer or ended:
            self.state.save_to_json(str(checkpoint / TRAINER_STATE_NAME))
            progress = {
                "ended": ended,
                "seconds": time.time() - self._started,
                "total_loss": self._total_loss,
                "evaluations_without_gain": self.early_stopping.early_stopping_patience_counter,
            }
            write_json(checkpoint / PROGRESS_FILE, progress)
        (checkpoint / COMPLETE_FILE).touch()


def to_float32(outputs):
    """Tensors, in tuples or alone, of any floating type as float32; None stays None."""
    if outputs is None:
        return None
    if isinstance(outputs, (tuple, list)):
        return type(outputs)(map(to_float32, outputs))
    return outputs.astype("float32")
