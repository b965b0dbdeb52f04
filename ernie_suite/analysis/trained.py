"""What --analyze of run_*.py does, with the model of a trainer."""

from pathlib import Path
from typing import Any, Iterator, List

from ernie_suite.analysis.flags import AnalysisArguments
from ernie_suite.analysis.run import analyze, described_temperature, header, temperature_of, write_report
from ernie_suite.data import find_dataset, load_answered_examples
from ernie_suite.features import Features
from ernie_suite.folds import FoldedTrainer
from ernie_suite.reading import Example
from ernie_suite.runs import ANALYSIS_FOLDER
from ernie_suite.trainer import FinetuneTrainer

from ernie_inference.tasks.base import Computed

AT_ONCE = 4096  # examples whose logits are held at once
OUT_OF_FOLD = {
    "zh": "每个样本都由没有学过它的模型回答（交叉验证）。",
    "en": "Each example is answered by a model that was trained without it (cross-validation).",
}


def analyze_trained(trainer: FinetuneTrainer, data_args: Any, arguments: AnalysisArguments) -> None:
    """--analyze of run_*.py: write OUTPUT_DIR/analysis/SPLIT.html and .json; with --calibrate, the export that is
    written afterwards has the temperature."""
    split, family = arguments.analyze, trainer.family
    assert split is not None
    examples = examples_of(trainer, split, data_args)
    if split == "train" and isinstance(trainer, FoldedTrainer):
        order: List[int] = []
        results, found = analyze(family, trainer.task, examples, outputs_out_of_fold(trainer, examples, order), order)
        remark = {"remark": OUT_OF_FOLD}
    else:
        results, found = analyze(family, trainer.task, examples, outputs_of(trainer, examples))
        remark = {}
    head = header(
        trainer.inference_config.dataset,
        split,
        len(examples),
        family.metric(examples, results),
        **remark,
        model=str(trainer.args.output_dir),
        data_dir=data_args.data_dir,
    )
    if trainer.args.should_save:
        page = write_report({**head, **found}, Path(trainer.args.output_dir) / ANALYSIS_FOLDER / split)
        print(f"analysis of {len(examples):,} {split} examples: {page}")
    if arguments.calibrate:
        trainer.task = trainer.task.at(temperature_of(found))
        if trainer.args.should_save:
            print(described_temperature(found))


def examples_of(trainer: FinetuneTrainer, split: str, data_args: Any) -> List[Example]:
    """The examples of a split that the trainer was made of, or read now."""
    if split == "dev":
        return trainer.eval_examples
    if split == "train" and trainer.train_dataset is not None:
        return trainer.train_dataset.examples
    most = data_args.max_train_samples if split == "train" else None
    return load_answered_examples(find_dataset(data_args.task_name), split, data_args.data_dir)[:most]


def outputs_of(trainer: FinetuneTrainer, examples: List[Example]) -> Iterator[Computed]:
    """What a trainer's model computes of examples, AT_ONCE at a time."""
    for begin in range(0, len(examples), AT_ONCE):
        some = examples[begin : begin + AT_ONCE]
        dataset = Features(trainer.family, trainer.task, some, by_length=True, labelled=False)
        yield from dataset.outputs_of_examples(trainer.predict_logits(dataset))


def outputs_out_of_fold(trainer: FoldedTrainer, examples: List[Example], order: List[int]) -> Iterator[Computed]:
    """The same of training examples, each by the model that was trained without it.

    Args:
        order: gets the number of each example before it comes.
    """
    for held_out in trainer.models_of_folds(examples):
        order += held_out.tolist()
        yield from outputs_of(trainer, [examples[number] for number in held_out])
