"""PaddleNLP's Trainer with what fine-tuning here needs besides: batches of like length, answers instead of
logits at evaluation, checkpoints that survive a kill, and models that are whole or not there."""

import cpu_speed  # noqa: F401, I001  before paddle

import errno
import json
import math
import os
import random
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Type

import numpy as np
import paddle
from paddlenlp.trainer import EarlyStoppingCallback, IntervalStrategy, ProgressCallback, Trainer, TrainerCallback
from paddlenlp.trainer.trainer import (
    OPTIMIZER_NAME,
    PADDLE_WEIGHTS_NAME,
    SCALER_NAME,
    SCHEDULER_NAME,
    TRAINER_STATE_NAME,
)
from paddlenlp.trainer.trainer_callback import TrainerState
from paddlenlp.trainer.trainer_utils import set_seed, speed_metrics
from paddlenlp.transformers import AutoTokenizer
from paddlenlp.transformers.model_utils import load_state_dict
from paddlenlp.utils.log import logger
from tqdm import tqdm

import deploy_path  # noqa: F401
from data import DatasetSpec, find_dataset, load_examples, load_labels
from ernie_predictor import INFERENCE_FILE, VOCAB_FILE, InferenceConfig, InputError, QuestionAnswering, Task
from files import check_writable, note, print_row, publish, unwritable, write_json
from model_files import inspect_model
from runs import (
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
from text_files import read_text
from text_output import open_text, to_json
from utils import Collator, Features, TaskFamily
from wordpiece import SPECIAL_TOKENS, WordPiece

MASK_TOKEN = "[MASK]"
HEAD_OF_TASK = {
    "seq_cls": "ForSequenceClassification",
    "token_cls": "ForTokenClassification",
    "qa": "ForQuestionAnswering",
}


class LengthGroupedSampler(paddle.io.DistributedBatchSampler):
    """Random batches of examples of like length, so that little of a batch is padding.

    Examples are shuffled, cut into pools of `pool` batches, and sorted by length within a pool; the
    batches are then shuffled. The order depends on seed and epoch alone, so a resumed run sees the
    batches that the interrupted one would have seen. An epoch ends with a whole step of `accumulated` batches: the
    gradients of the rest would leak into the next epoch's first step, and a run resumed there would not have them.
    """

    def __init__(
        self,
        dataset: Features,
        batch_size: int,
        seed: int,
        num_replicas: int,
        rank: int,
        drop_last=False,
        accumulated=1,
    ):
        super().__init__(dataset, batch_size, num_replicas, rank, shuffle=True, drop_last=drop_last)
        self.lengths = dataset.lengths.tolist()
        self.seed, self.accumulated = seed, accumulated
        self.pool = 50

    def __len__(self) -> int:
        batches = super().__len__()
        return batches - batches % self.accumulated if batches >= self.accumulated else batches

    def __iter__(self):
        rng = random.Random(f"{self.seed} {self.epoch}")
        self.epoch += 1
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        order += order[: self.total_size - len(order)]  # every process gets as many
        step = self.batch_size * self.nranks
        pools = [order[i : i + step * self.pool] for i in range(0, len(order), step * self.pool)]
        groups = []
        for pool in pools:
            pool.sort(key=self.lengths.__getitem__, reverse=True)
            groups += [pool[i : i + step] for i in range(0, len(pool), step)]
        # An incomplete batch stays last, so that all processes count the same steps.
        rest = groups.pop() if len(groups[-1]) < step else None
        rng.shuffle(groups)
        groups += [rest] if rest and not self.drop_last else []
        for group in groups[: len(self)]:
            yield group[self.local_rank :: self.nranks]


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


class FinetuneTrainer(Trainer):
    """Trainer for one task family; `evaluate` returns the task's own metric.

    Args:
        family, task: the task family and its task object.
        inference_config: what export writes beside the model.
        origin: what else decides the result of a run: the model it starts from, where the data are from.
        test_examples: what predict_test answers.
        The others are PaddleNLP's; train_dataset and eval_dataset are `utils.Features`.
    """

    def __init__(
        self,
        family: TaskFamily,
        task,
        inference_config: InferenceConfig,
        origin: Dict,
        args,
        test_examples=None,
        **kwargs,
    ):
        args.label_names = family.label_names
        args.metric_for_best_model, args.greater_is_better = family.best_metric, True
        collator = Collator(task.tokenizer.pad_id)
        super().__init__(args=args, criterion=family.criterion, data_collator=collator, **kwargs)
        self.family, self.task, self.inference_config, self.origin = family, task, inference_config, origin
        self.metric, self.test_examples = family.metric, test_examples
        self.remove_callback(ProgressCallback)
        for callback in (Progress, EvaluationPoints):
            self.add_callback(callback)
        self.early_stopping = EarlyStoppingCallback(args.early_stopping_patience or sys.maxsize)
        self.add_callback(self.early_stopping)

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

    # -- evaluation

    def predict_results(self, dataset: Features, metric_key_prefix: str = "eval") -> List[Dict]:
        """The answers to all examples of a data set."""
        output = self.evaluation_loop(
            self.get_eval_dataloader(dataset), "Prediction", False, metric_key_prefix=metric_key_prefix
        )
        self._loss = output.metrics.get(f"{metric_key_prefix}_loss")
        predictions = output.predictions if isinstance(output.predictions, tuple) else (output.predictions,)
        if not all(np.isfinite(logits).all() for logits in predictions):
            raise self._diverged("the model's logits are not finite")
        return dataset.results(predictions)

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
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
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
        found = self._agree_on(found)
        if found.finished:
            self._load_weights(folder)
            self._say(f"{folder} holds the model that this command trains: --overwrite_output_dir would train it anew")
            return
        if self.args.should_save:
            write_json(folder / SETTINGS_FILE, settings)
        self._train(found.checkpoint)
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
        if progress.get("ended"):
            self.state = TrainerState.load_from_json(os.path.join(checkpoint, TRAINER_STATE_NAME))
            self._load_weights(Path(self.state.best_model_checkpoint))
            return
        try:
            self.train(resume_from_checkpoint=checkpoint)
        except OSError as error:
            raise unwritable(self.args.output_dir, error) from None
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

    def training_step(self, model, inputs: Dict):
        return super().training_step(model, {**inputs, "input_ids": self.drop_tokens(inputs["input_ids"])})

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
        results = self.predict_results(Features(self.family, self.task, examples, by_length=True, labelled=False))
        path = Path(self.args.output_dir) / spec.submission
        if self.args.should_save:
            write_predictions(path, self.family, spec, examples, results)
            print(f"{len(examples):,} predictions of the test split: {path}")
        return path

    def export(self, prefix: str = "model") -> Path:
        """Write the static model to output_dir/export with vocabulary and inference.json; returns its prefix."""
        folder = Path(self.args.output_dir) / "export"
        if self.args.should_save:
            export_static(self.model, self.task.tokenizer, self.inference_config, folder, prefix)
            print(f"static model for deployment: {folder / prefix}")
        return folder / prefix

    def compress(self, task_name, output_dir, pruning=True, quantization=True, compress_config=None):
        """Prune and quantize the model; see model_compression.pipeline."""
        from model_compression.pipeline import compress

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

    def _agree_on(self, found: FoundRun) -> FoundRun:
        """All processes go on from what the first one found."""
        if self.args.world_size > 1:
            agreed = [tuple(found)]
            paddle.distributed.broadcast_object_list(agreed, src=0)
            return FoundRun(*agreed[0])
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


# ---------------------------------------------------------------- files


def write_vocab(tokenizer: WordPiece, folder: Path) -> None:
    """vocab.txt as it was read: to be written after PaddleNLP's own save, which copies a file that may have gone."""
    tokenizer.save(Path(folder) / VOCAB_FILE)


def export_static(model, tokenizer: WordPiece, config: InferenceConfig, folder: Path, prefix: str) -> None:
    """Write PREFIX.pdmodel and PREFIX.pdiparams with dynamic batch and length, vocab.txt and inference.json.

    The program takes input_ids and token_type_ids, int64 [batch, seq_len], and masks [PAD] itself.
    """
    specs = [paddle.static.InputSpec([None, None], "int64", name) for name in ("input_ids", "token_type_ids")]
    model.eval()
    for layer in model.sublayers():
        if hasattr(layer, "enable_recompute"):  # set by --recompute; it is for gradients, and cannot be traced
            layer.enable_recompute = False
    static = paddle.jit.to_static(model, input_spec=specs, full_graph=True)
    with publish(folder) as temporary:
        paddle.jit.save(static, str(temporary / prefix))
        check_written(temporary / prefix, folder)
        (temporary / f"{prefix}.pdiparams.info").unlink(missing_ok=True)  # names for debugging; nothing reads it
        write_vocab(tokenizer, temporary)
        config.save(temporary)
    model.forward.rollback()  # the model can be trained and called as before


def check_written(prefix: Path, folder: Path) -> None:
    """Raises InputError where PREFIX's files are not whole: Paddle 2.6.2 says nothing when a disk is full."""
    try:
        inspect_model(prefix)
    except InputError:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise unwritable(folder, full) from None


def write_predictions(path: Path, family: TaskFamily, spec: DatasetSpec, examples, results) -> None:
    """The answers in the form CLUE asks for: JSON lines of id and label; tagging as MSRA NER's columns; reading as
    one object of id to answer. Half a surrogate pair, which UTF-8 cannot hold, is written as an escape."""
    lines = [family.submission(example, result) for example, result in zip(examples, results)]
    with publish(path.parent) as temporary, open_text(temporary / path.name) as file:
        if spec.task == "qa":
            file.write(to_json({line["id"]: line["answer"] for line in lines}).decode("utf-8"))
        else:
            file.writelines(f"{columns(line) if 'tags' in line else to_json(line).decode('utf-8')}\n" for line in lines)


def columns(line: Dict) -> str:
    """Tokens and tags as MSRA NER has them."""
    return "\x02".join(line["tokens"]) + "\t" + "\x02".join(line["tags"])


# ---------------------------------------------------------------- building


def build_trainer(family: TaskFamily, model_args, data_args, args, finetuned: bool = False) -> FinetuneTrainer:
    """Data, tokenizer, model and trainer from a script's arguments.

    `finetuned` says that the model must be one that was fine-tuned for this task and these labels, as
    it must without --do_train.

    Raises:
        InputError: the data or the model cannot be used; nothing has been written by then.
    """
    paddle.set_device(args.device)
    spec = find_dataset(data_args.task_name)
    labels = load_labels(spec, data_args.data_dir)
    most = {"dev": data_args.max_eval_samples, "train": data_args.max_train_samples, "test": None}
    splits = ["dev", *(["train"] if args.do_train else []), *(["test"] if args.do_predict else [])]
    examples = {split: load_examples(spec.name, split, data_args.data_dir)[: most[split]] for split in splits}
    check_processes(examples, args.world_size)
    name = model_args.model_name_or_path
    if finetuned or not args.do_train:
        check_finetuned(name, family.task, labels)
    labels = head_order(name, family.task, labels)
    tokenizer, wordpiece, lowercase = load_tokenizer(name)
    if args.token_dropout and MASK_TOKEN not in wordpiece.vocab:
        raise InputError(f"--token_dropout {args.token_dropout} needs {MASK_TOKEN}, which {name}'s vocabulary has not")
    task = family.task(wordpiece, labels, data_args.max_seq_length, data_args.doc_stride)
    check_writable(args.output_dir)

    eval_dataset = Features(family, task, examples["dev"], by_length=True)
    train_dataset = Features(family, task, examples["train"]) if args.do_train else None
    if args.should_save:
        for split, dataset in (("training", train_dataset), ("dev", eval_dataset)):
            for remark, count in (dataset.remarks if dataset else {}).items():
                print(f"{count:,} of {len(dataset.examples):,} {split} examples {remark}")
    set_seed(args.seed)  # the Trainer does it too late for a new head's weights
    model = load_model(family, name, labels)
    if wordpiece.size > model.config.vocab_size:
        raise InputError(f"{name}: {VOCAB_FILE} has {wordpiece.size} tokens, the model {model.config.vocab_size}")
    longest = model.config.max_position_embeddings
    if data_args.max_seq_length > longest:
        raise InputError(f"max_seq_length {data_args.max_seq_length} is more than the model's {longest} positions")
    config = InferenceConfig(
        task=family.task.name,
        labels=labels,
        max_seq_length=data_args.max_seq_length,
        doc_stride=data_args.doc_stride,
        lowercase=lowercase,
        dataset=spec.name,
        versions=versions(),
    )
    try:
        return FinetuneTrainer(
            family,
            task,
            config,
            {"model_name_or_path": name, "data_dir": data_args.data_dir},
            args,
            model=model,
            tokenizer=tokenizer,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            test_examples=examples.get("test"),
        )
    except (ValueError, RuntimeError, ImportError) as error:  # e.g. of a --report_to that is not installed
        raise InputError(f"PaddleNLP's Trainer cannot be made: {' '.join(str(error).split())[:200]}") from None


def check_processes(examples: Dict[str, List], processes: int) -> None:
    """Raises InputError where a split has not one example for each process."""
    for split, found in examples.items():
        if len(found) < processes:
            raise InputError(f"{processes} processes for {len(found)} {split} examples: start no more than those")


def load_tokenizer(name: str):
    """PaddleNLP's tokenizer of a model, our WordPiece of the same vocabulary, and whether it lower-cases.

    Raises:
        InputError: there is no such model, or a tokenizer whose ids WordPiece cannot give.
    """
    is_folder = os.path.isabs(name) or name.startswith(".") or os.path.isdir(name.split(os.sep)[0])
    if is_folder and not os.path.isdir(name):
        raise InputError(f"the model folder {name} does not exist")
    if is_folder and not os.path.isfile(os.path.join(name, VOCAB_FILE)):
        raise InputError(f"{name} has no {VOCAB_FILE}: it is not the folder of a model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # whatever a failed download or an unknown name raises
        raise unknown_model(name, error) from None
    lowercase = bool(getattr(tokenizer, "do_lower_case", True))
    try:
        wordpiece = WordPiece.from_file(tokenizer.init_kwargs.get("vocab_file", ""), lowercase)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {error}") from None
    check_same_ids(name, tokenizer, wordpiece)
    return tokenizer, wordpiece, lowercase


def check_same_ids(name: str, tokenizer, wordpiece: WordPiece) -> None:
    """Check that PaddleNLP's tokenizer of a model gives a text the ids that WordPiece gives it.

    Raises:
        InputError: it has tokens beside vocab.txt, is no WordPiece tokenizer, or splits otherwise.
    """
    added = sorted(set(tokenizer.added_tokens_encoder) - {*SPECIAL_TOKENS, MASK_TOKEN})
    if added:
        raise InputError(
            f"{name}: the tokens {', '.join(added[:5])} were added to its tokenizer and are not in {VOCAB_FILE}, the "
            f"only file that is read: give them lines in it, as far as the model has embeddings"
        )
    plain = [token for token in wordpiece.lines if not token.startswith(("[", "##"))]
    text = " ".join([*plain[:: len(plain) // 500 + 1], "Äpfel, CAFÉ 2018 中文ＡＢ，1.5%"])
    if tokenizer.convert_tokens_to_ids(tokenizer._tokenize(text)) != wordpiece.encode(text).ids:
        raise InputError(
            f"{name}: its {type(tokenizer).__name__} splits text otherwise than WordPiece as ERNIE 3.0 and BERT have it"
        )


def load_model(family: TaskFamily, name: str, labels: List[str]):
    """The model of a folder or a published name, with a head for these labels, in this order.

    A fine-tuned folder keeps its head where that is for the same task and the same labels, and gets a new one, with a
    note, where it is not. For the order of the labels see head_order.

    Raises:
        InputError: it cannot be had.
    """
    if os.path.isdir(name) and not any(Path(name).glob("model_state*.pdparams")):
        raise InputError(f"{name} holds no weights (model_state.pdparams): it is not the folder of a trained model")
    head = find_head(name)
    options: Dict[str, Any] = {"num_classes": len(labels)} if labels else {}
    logger.set_level("ERROR")  # that the head of a pretrained model is new is no news
    try:
        if head is not None and not head.fits(family.task, labels):
            wanted = Head(family.task.name, len(labels), labels)
            note(f"{name} was fine-tuned for {head.describe()}; it gets a new head for {wanted.describe()}")
            options["state_dict"] = weights_without_head(name)
        return family.auto_model.from_pretrained(name, **options)
    except Exception as error:
        raise unknown_model(name, error) from None
    finally:
        logger.set_level("WARNING")


class Head(NamedTuple):
    """The head of a fine-tuned model: its task, the number of its outputs, and their labels in order where known."""

    task: str
    count: int
    labels: Optional[List[str]]

    def fits(self, task_class: Type[Task], labels: List[str]) -> bool:
        """Whether the head answers this task with these labels, in whatever order."""
        if self.task != task_class.name:
            return False
        if self.labels is None:
            return not labels or self.count == len(labels)
        return sorted(self.labels) == sorted(labels)

    def describe(self) -> str:
        if self.task == QuestionAnswering.name:
            return self.task
        shown = f" ({', '.join(self.labels[:5])}{', ...' if self.count > 5 else ''})" if self.labels else ""
        return f"{self.task} with {self.count} labels{shown}"


def find_head(folder: str) -> Optional[Head]:
    """The head of a fine-tuned model's folder; None for a pretrained model, and for a published name.

    Raises:
        InputError: a file of the folder cannot be read.
    """
    config = read_model_config(Path(folder))
    architecture = (config.get("architectures") or [""])[0]
    task = next((task for task, head in HEAD_OF_TASK.items() if architecture.endswith(head)), None)
    if task is None:
        return None
    if (Path(folder) / INFERENCE_FILE).exists():
        labels = InferenceConfig.load(folder).labels
        return Head(task, len(labels), labels)
    names = config.get("id2label") or {}
    labels = [str(names[key]) for key in sorted(names, key=int)]
    if not labels or labels == [f"LABEL_{i}" for i in range(len(labels))]:  # what PaddleNLP writes for no names
        return Head(task, len(labels) or config.get("num_labels", 2), None)
    return Head(task, len(labels), labels)


def read_model_config(folder: Path) -> Dict:
    """The config.json of a model's folder; empty where there is none.

    Raises:
        InputError: it is not what PaddleNLP writes.
    """
    path = folder / "config.json"
    try:
        config = json.loads(read_text(path))
        names, architectures = config.get("id2label") or {}, config.get("architectures") or []
        named = isinstance(names, dict) and all(map(str.isdigit, names))
        if named and isinstance(architectures, list) and all(isinstance(name, str) for name in architectures):
            return config
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (json.JSONDecodeError, RecursionError, AttributeError, TypeError):
        pass
    raise InputError(f"{path} is not a model's config.json: the model folder is damaged, copy or train it again")


def head_order(name: str, task_class: Type[Task], labels: List[str]) -> List[str]:
    """The labels in the order of the head that a fine-tuned model keeps, else as they are.

    The published orders of OCNLI and CMNLI differ; a model of one goes on, and is evaluated, on the other in its own.
    """
    head = find_head(name)
    keeps = head is not None and head.labels and head.fits(task_class, labels)
    return list(head.labels) if keeps else labels


def weights_without_head(folder: str) -> Dict[str, paddle.Tensor]:
    """The weights of a fine-tuned folder's encoder, by name: heads of different tasks have the same names."""
    weights = load_state_dict(str(Path(folder) / "model_state.pdparams"))
    prefix = f"{read_model_config(Path(folder)).get('model_type')}."
    encoder = {key: value for key, value in weights.items() if key.startswith(prefix)}
    if not encoder:  # PaddleNLP would take random ones and say nothing
        raise ValueError(f"model_state.pdparams holds no weights called {prefix}...")
    return encoder


def check_finetuned(folder: str, task_class: Type[Task], labels: List[str]) -> None:
    """Check, before a model is loaded, that a folder holds one fine-tuned for this task and these labels, in any order.

    Raises:
        InputError: it does not.
    """
    config = read_model_config(Path(folder))
    if not config:
        raise InputError(f"{folder} is not the folder of a fine-tuned model: give what run_*.py wrote")
    head = find_head(folder)
    if head is None or head.task != task_class.name:
        architecture = (config.get("architectures") or ["no known model"])[0]
        raise InputError(f"{folder} holds {architecture}, not one fine-tuned for {task_class.name}")
    if not head.fits(task_class, labels):
        raise InputError(
            f"{folder} was fine-tuned for {head.count} labels, the data have {len(labels)}"
            f"{' others' if head.count == len(labels) else ''}: give the data set the model was fine-tuned on"
        )


WRONG_SHAPE = re.compile(r"(\S+) receives a shape (\[[^]]*\]), but the expected shape is (\[[^]]*\])")


def unknown_model(name: str, error: Exception) -> InputError:
    """What to say of a model that PaddleNLP could not load, by what it raised."""
    reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
    mismatch = WRONG_SHAPE.search(str(error))
    if mismatch:
        weight, found, expected = mismatch.groups()
        return InputError(
            f"the weights of model {name} do not fit its config.json: {weight} is {found}, expected {expected}; "
            f"give a folder whose files belong together"
        )
    if os.path.isdir(name):
        return InputError(f"the model in {name} cannot be loaded ({reason}): its files are damaged or not a model's")
    return InputError(
        f"model {name} cannot be had ({reason}): give a folder, or a published name and a network; "
        f"`python make_small_ernie.py` makes a small one without"
    )


def versions() -> Dict[str, str]:
    import paddlenlp

    return {"python": sys.version.split()[0], "paddle": paddle.__version__, "paddlenlp": paddlenlp.__version__}
