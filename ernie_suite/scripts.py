"""What run_*.py and compress_*.py do: one command for all task families."""

from pathlib import Path
from typing import Dict, List

from ernie_suite.analysis.flags import AnalysisArguments
from ernie_suite.analysis.trained import analyze_trained
from ernie_suite.command_line import parse_arguments
from ernie_suite.compression.flags import CompressionArguments
from ernie_suite.compression.halves import count_calibration_texts
from ernie_suite.data import find_dataset, load_examples, load_labels
from ernie_suite.features import Features
from ernie_suite.folds import FoldedTrainer
from ernie_suite.models import (
    MASK_TOKEN,
    check_finetuned,
    fitted_thresholds,
    head_order,
    load_model,
    load_tokenizer,
    versions,
)
from ernie_suite.regularisation import check_rdrop
from ernie_suite.tasks.class_weights import weights_of
from ernie_suite.tasks.family import TaskFamily
from ernie_suite.trainer import FinetuneTrainer

import paddle
from paddlenlp.trainer.trainer_utils import set_seed

from ernie_inference.console import run_command
from ernie_inference.errors import InputError
from ernie_inference.files import check_writable
from ernie_inference.inference_config import VOCAB_FILE, InferenceConfig

INTERRUPTED = "interrupted: the same command line goes on from the last checkpoint"


def finetune(family: TaskFamily) -> None:
    """The command run_*.py: fine-tune, evaluate, predict, analyze and export, as far as its flags ask for it."""

    def main() -> None:
        model_args, data_args, args, analysis = parse_arguments(family, AnalysisArguments)
        analysis.check(family, args.do_export)
        trainer = build_trainer(family, model_args, data_args, args)
        if args.do_train:
            trainer.finetune()
        if args.wants_eval:
            trainer.evaluate_dev()
        if args.do_predict:
            trainer.predict_test()
        if analysis.analyze:
            analyze_trained(trainer, data_args, analysis)
        if args.do_export:
            trainer.export()

    run_command(main, INTERRUPTED)


def compress(family: TaskFamily) -> None:
    """The command compress_*.py: prune and quantize a fine-tuned model, and say which result is the best."""

    def main() -> None:
        model_args, data_args, args, compression_args = parse_arguments(family, CompressionArguments)
        args.do_train = compression_args.reads_training_set
        trainer = build_trainer(family, model_args, data_args, args, finetuned=True)
        trainer.compress(
            data_args.task_name,
            Path(model_args.model_name_or_path) / "compress",
            pruning=compression_args.pruning,
            quantization=compression_args.quantization,
            compress_config=compression_args.config(count_calibration_texts(trainer)),
        )

    run_command(main, INTERRUPTED)


def build_trainer(family: TaskFamily, model_args, data_args, args, finetuned: bool = False) -> FinetuneTrainer:
    """Data, tokenizer, model and trainer from a script's arguments.

    `finetuned` says that the model must be one that was fine-tuned for this task and these labels, as
    it must without --do_train.

    Raises:
        InputError: the data or the model cannot be used; nothing has been written by then.
    """
    paddle.set_device(args.device)
    spec = find_dataset(data_args.task_name)
    family = spec.family  # the one that was given, or the form of it that the data set has
    labels = load_labels(spec, data_args.data_dir)
    most = {"dev": data_args.max_eval_samples, "train": data_args.max_train_samples, "test": None}
    splits = ["dev", *(["train"] if args.do_train else []), *(["test"] if args.do_predict else [])]
    examples = {split: load_examples(spec.name, split, data_args.data_dir)[: most[split]] for split in splits}
    check_processes(examples, args.world_size)
    name = model_args.model_name_or_path
    if finetuned or not args.do_train:
        check_finetuned(name, family.task_class, labels)
    labels = head_order(name, family.task_class, labels)
    thresholds = fitted_thresholds(name, family.task_class, labels)
    tokenizer, wordpiece, lowercase = load_tokenizer(name)
    if args.token_dropout and MASK_TOKEN not in wordpiece.vocab:
        raise InputError(f"--token_dropout {args.token_dropout} needs {MASK_TOKEN}, which {name}'s vocabulary has not")
    if args.rdrop_alpha and family.divergence is None:
        raise InputError(f"--rdrop_alpha {args.rdrop_alpha}: there is no R-Drop for {family.name}, leave it out")
    task = family.task_class(wordpiece, labels, data_args.max_seq_length, data_args.doc_stride)
    task.thresholds = thresholds or task.thresholds
    task.read_long_texts(data_args.long_texts)
    check_writable(args.output_dir)

    eval_dataset = Features(family, task, examples["dev"], by_length=True)
    train_dataset = Features(family, task, examples["train"]) if args.do_train else None
    if args.should_save:
        for split, dataset in (("training", train_dataset), ("dev", eval_dataset)):
            if dataset is not None:
                dataset.print_remarks(split)
    weighs = args.class_weights is not None and args.do_train
    say = print if args.should_save else str  # one process says it
    class_weights = weights_of(family, examples["train"], labels, say) if weighs else None
    set_seed(args.seed)  # the Trainer does it too late for a new head's weights
    model = load_model(family, name, labels)
    if wordpiece.size > model.config.vocab_size:
        raise InputError(f"{name}: {VOCAB_FILE} has {wordpiece.size} tokens, the model {model.config.vocab_size}")
    if args.rdrop_alpha:
        check_rdrop(model, args.rdrop_alpha, name)
    longest = model.config.max_position_embeddings
    if data_args.max_seq_length > longest:
        raise InputError(f"max_seq_length {data_args.max_seq_length} is more than the model's {longest} positions")
    config = InferenceConfig(
        task=family.name,
        labels=labels,
        max_seq_length=data_args.max_seq_length,
        doc_stride=data_args.doc_stride,
        lowercase=lowercase,
        dataset=spec.name,
        versions=versions(),
        long_texts=data_args.long_texts,
    )
    try:
        return (FoldedTrainer if args.num_folds else FinetuneTrainer)(
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
            class_weights=class_weights,
        )
    except (ValueError, RuntimeError, ImportError) as error:  # e.g. of a --report_to that is not installed
        raise InputError(f"PaddleNLP's Trainer cannot be made: {' '.join(str(error).split())[:200]}") from None


def check_processes(examples: Dict[str, List], processes: int) -> None:
    """Raises InputError where a split has not one example for each process."""
    for split, found in examples.items():
        if len(found) < processes:
            raise InputError(f"{processes} processes for {len(found)} {split} examples: start no more than those")
