"""PaddleNLP's Trainer with what fine-tuning here needs besides: batches of like length, answers instead of
logits at evaluation, checkpoints that survive a kill, and models that are whole or not there."""

import cpu_speed  # noqa: F401, I001  before paddle

import errno
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import paddle
from paddlenlp.trainer import EarlyStoppingCallback, IntervalStrategy, ProgressCallback, Trainer, TrainerCallback
from paddlenlp.trainer.trainer_utils import set_seed, speed_metrics
from paddlenlp.transformers import AutoTokenizer
from paddlenlp.utils.log import logger
from tqdm import tqdm

from data import DatasetSpec, find_dataset, load_examples, load_labels
from ernie_predictor import INFERENCE_FILE, VOCAB_FILE, InferenceConfig, InputError
from files import check_writable, print_row, publish, unwritable, write_json
from model_files import inspect_model
from runs import (
    COMPLETE_FILE,
    SETTINGS_FILE,
    deciding_settings,
    default_eval_steps,
    remove_checkpoints,
    remove_derived,
    remove_run,
    resumable_checkpoint,
    update_results,
)
from utils import Collator, Features, TaskFamily
from wordpiece import WordPiece

HEAD_OF_TASK = {
    "seq_cls": "ForSequenceClassification",
    "token_cls": "ForTokenClassification",
    "qa": "ForQuestionAnswering",
}


class LengthGroupedSampler(paddle.io.DistributedBatchSampler):
    """Random batches of examples of like length, so that little of a batch is padding.

    Examples are shuffled, cut into pools of `pool` batches, and sorted by length within a pool; the
    batches are then shuffled. The order depends on seed and epoch alone, so a resumed run sees the
    batches that the interrupted one would have seen.
    """

    def __init__(self, dataset: Features, batch_size: int, seed: int, num_replicas: int, rank: int, drop_last=False):
        super().__init__(dataset, batch_size, num_replicas, rank, shuffle=True, drop_last=drop_last)
        self.lengths = [len(feature["input_ids"]) for feature in dataset.features]
        self.seed = seed
        self.pool = 50

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
        for group in groups + ([rest] if rest and not self.drop_last else []):
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


class EvaluateAtEnd(TrainerCallback):
    """The last step is evaluated and saved too, also when it is no multiple of eval_steps."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True


class FinetuneTrainer(Trainer):
    """Trainer for one task family; `evaluate` returns the task's own metric.

    Args:
        family, task: the task family and its task object.
        inference_config: what export writes beside the model.
        origin: what else decides the result of a run: the model it starts from, where the data are from.
        The others are PaddleNLP's; train_dataset and eval_dataset are `utils.Features`.
    """

    def __init__(self, family: TaskFamily, task, inference_config: InferenceConfig, origin: Dict, args, **kwargs):
        args.label_names = family.label_names
        args.metric_for_best_model, args.greater_is_better = family.best_metric, True
        collator = Collator(task.tokenizer.pad_id)
        super().__init__(args=args, criterion=family.criterion, data_collator=collator, **kwargs)
        self.family, self.task, self.inference_config, self.origin = family, task, inference_config, origin
        self.metric = family.metric
        self.remove_callback(ProgressCallback)
        for callback in (Progress, EvaluateAtEnd):
            self.add_callback(callback)
        if args.early_stopping_patience:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

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
        )

    # -- evaluation

    def predict_results(self, dataset: Features, metric_key_prefix: str = "eval") -> List[Dict]:
        """The answers to all examples of a data set."""
        output = self.evaluation_loop(
            self.get_eval_dataloader(dataset), "Prediction", False, metric_key_prefix=metric_key_prefix
        )
        self._loss = output.metrics.get(f"{metric_key_prefix}_loss")
        predictions = output.predictions if isinstance(output.predictions, tuple) else (output.predictions,)
        return dataset.results(predictions)

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

        Writes the model, tokenizer, inference.json and results.json to args.output_dir.
        """
        folder = Path(self.args.output_dir)
        settings = deciding_settings(self)
        checkpoint = None
        if self.args.should_save:
            if self.args.overwrite_output_dir:
                remove_run(folder)
            checkpoint = resumable_checkpoint(folder, settings)
            write_json(folder / SETTINGS_FILE, settings)
        checkpoint = self._agree_on(checkpoint)
        if checkpoint and self.args.should_save:
            print(f"going on from {checkpoint}")
        self._set_eval_steps()
        started = time.time()
        try:
            output = self.train(resume_from_checkpoint=checkpoint)
        except OSError as error:
            raise unwritable(folder, error) from None
        report = {
            "best": {self.family.best_metric: self.state.best_metric},
            "steps": output.global_step,
            "loss": output.training_loss,
            "seconds": round(time.time() - started, 1),
            "history": [entry for entry in self.state.log_history if "loss" in entry or "eval_loss" in entry],
        }
        if self.args.should_save:
            remove_derived(folder)
            self.save_best(folder)
            update_results(folder, self.inference_config, {**self.origin, **settings}, {"training": report})
            remove_checkpoints(folder)

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
        return paddle.where(dropped, paddle.full_like(input_ids, tokenizer.vocab["[MASK]"]), input_ids)

    def save_best(self, folder: Path) -> None:
        """The model with its tokenizer and inference.json, each file whole or not there."""
        self.model.config.id2label = dict(enumerate(self.task.labels)) or self.model.config.id2label
        with publish(folder) as temporary:
            self.model.save_pretrained(str(temporary))
            self.tokenizer.save_pretrained(str(temporary))
            write_vocab(self.task.tokenizer, temporary)
            self.inference_config.save(temporary)

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

    def predict_test(self, examples: List[Dict]) -> Path:
        """Write the answers to the test split in the form CLUE asks for; returns the file."""
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
        """The optimizer's steps of an epoch and of the whole training."""
        args = self.args
        of_epoch = max(1, len(self.get_train_dataloader()) // args.gradient_accumulation_steps)
        return of_epoch, args.max_steps if args.max_steps > 0 else int(of_epoch * args.num_train_epochs)

    def _set_eval_steps(self) -> None:
        args = self.args
        if args.eval_steps is None:
            args.eval_steps = default_eval_steps(*self.count_steps())
        args.save_steps = args.eval_steps
        args.evaluation_strategy = args.save_strategy = IntervalStrategy.STEPS
        args.load_best_model_at_end = True

    def _agree_on(self, checkpoint: Optional[str]) -> Optional[str]:
        """All processes resume from what the first one found."""
        if self.args.world_size > 1:
            found = [checkpoint]
            paddle.distributed.broadcast_object_list(found, src=0)
            return found[0]
        return checkpoint

    def _save_checkpoint(self, model, metrics=None):
        super()._save_checkpoint(model, metrics)
        if self.args.should_save:
            checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            (checkpoint / COMPLETE_FILE).touch()
            if self.args.local_rank == -1:  # PaddleNLP 2.8.1 deletes old checkpoints only under distributed.launch
                self._rotate_checkpoints(output_dir=self.args.output_dir)


# ---------------------------------------------------------------- files


def write_vocab(tokenizer: WordPiece, folder: Path) -> None:
    lines = sorted(tokenizer.vocab, key=tokenizer.vocab.get)
    (Path(folder) / VOCAB_FILE).write_text("".join(f"{token}\n" for token in lines), encoding="utf-8")


def export_static(model, tokenizer: WordPiece, config: InferenceConfig, folder: Path, prefix: str) -> None:
    """Write PREFIX.pdmodel and PREFIX.pdiparams with dynamic batch and length, vocab.txt and inference.json.

    The program takes input_ids and token_type_ids, int64 [batch, seq_len], and masks [PAD] itself.
    """
    specs = [paddle.static.InputSpec([None, None], "int64", name) for name in ("input_ids", "token_type_ids")]
    model.eval()
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
    one object of id to answer."""
    lines = [family.submission(example, result) for example, result in zip(examples, results)]
    with publish(path.parent) as temporary, open(temporary / path.name, "w", encoding="utf-8") as file:
        if spec.task == "qa":
            json.dump({line["id"]: line["answer"] for line in lines}, file, ensure_ascii=False)
        else:
            for line in lines:
                tagged = "tags" in line
                text = "\x02".join(line["tokens"]) + "\t" + "\x02".join(line["tags"]) if tagged else json.dumps(line)
                file.write(text + "\n")


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
    most = {"dev": data_args.max_eval_samples, "train": data_args.max_train_samples}
    splits = ("dev", "train") if args.do_train else ("dev",)
    examples = {split: load_examples(spec.name, split, data_args.data_dir)[: most[split]] for split in splits}
    name = model_args.model_name_or_path
    if finetuned or not args.do_train:
        check_finetuned(name, family.task, labels)
    tokenizer, wordpiece, lowercase = load_tokenizer(name)
    task = family.task(wordpiece, labels, data_args.max_seq_length, data_args.doc_stride)
    check_writable(args.output_dir)

    eval_dataset = Features(family, task, examples["dev"], by_length=True)
    train_dataset = Features(family, task, examples["train"]) if args.do_train else None
    set_seed(args.seed)  # the Trainer does it too late for a new head's weights
    model = load_model(family, name, labels)
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
    )


def load_tokenizer(name: str):
    """PaddleNLP's tokenizer of a model, our WordPiece of the same vocabulary, and whether it lower-cases."""
    is_folder = os.path.isabs(name) or name.startswith(".") or os.path.isdir(name.split(os.sep)[0])
    if is_folder and not os.path.isdir(name):
        raise InputError(f"the model folder {name} does not exist")
    if is_folder and not os.path.isfile(os.path.join(name, VOCAB_FILE)):
        raise InputError(f"{name} has no {VOCAB_FILE}: it is not the folder of a model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        vocab = dict(tokenizer.vocab.token_to_idx)
    except Exception as error:  # whatever a failed download or an unknown name raises
        raise unknown_model(name, error) from None
    lowercase = bool(getattr(tokenizer, "do_lower_case", True))
    try:
        return tokenizer, WordPiece(vocab, lowercase), lowercase
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def load_model(family: TaskFamily, name: str, labels: List[str]):
    if os.path.isdir(name) and not any(Path(name).glob("model_state*.pdparams")):
        raise InputError(f"{name} holds no weights (model_state.pdparams): it is not the folder of a trained model")
    options = {"num_classes": len(labels)} if labels else {}
    logger.set_level("ERROR")  # that the head of a pretrained model is new is no news
    try:
        return family.auto_model.from_pretrained(name, **options)
    except Exception as error:
        raise unknown_model(name, error) from None
    finally:
        logger.set_level("WARNING")


def check_finetuned(folder: str, task_class, labels: List[str]) -> None:
    """Check, before a model is loaded, that a folder holds one fine-tuned for this task and these labels.

    Raises:
        InputError: it does not.
    """
    folder = Path(folder)
    head = HEAD_OF_TASK[task_class.name]
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = config.get("architectures") or [""]
    except (OSError, ValueError, AttributeError):
        raise InputError(f"{folder} is not the folder of a fine-tuned model: give what run_*.py wrote") from None
    if not architectures[0].endswith(head):
        raise InputError(
            f"{folder} holds {architectures[0] or 'no known model'}, not one fine-tuned for {task_class.name}"
        )
    found = len(config.get("id2label") or {}) or config.get("num_labels", 2)
    same = True
    if (folder / INFERENCE_FILE).exists():
        known = InferenceConfig.load(folder).labels
        same, found = known == list(labels), len(known)
    if labels and not (same and found == len(labels)):
        raise InputError(
            f"{folder} was fine-tuned for {found} labels, the data have {len(labels)}"
            f"{' others' if found == len(labels) else ''}: give the data set the model was fine-tuned on"
        )


def unknown_model(name: str, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0][:200]
    return InputError(
        f"model {name} cannot be had ({reason}): give a folder, or a published name and a network; "
        f"`python make_small_ernie.py` makes a small one without"
    )


def versions() -> Dict[str, str]:
    import paddlenlp

    return {"python": sys.version.split()[0], "paddle": paddle.__version__, "paddlenlp": paddlenlp.__version__}
