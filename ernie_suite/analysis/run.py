"""What --analyze does: an analysis from a model's outputs, its JSON and its page; and --calibrate."""

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional

from ernie_suite.analysis.base import Report
from ernie_suite.analysis.flags import AnalysisArguments, check_analyzable
from ernie_suite.analysis.page import render_page
from ernie_suite.data import find_dataset, load_answered_examples
from ernie_suite.features import Features
from ernie_suite.reading import Example
from ernie_suite.tasks.family import TaskFamily
from ernie_suite.trainer import FinetuneTrainer

from ernie_inference.errors import InputError
from ernie_inference.files import publish
from ernie_inference.inference_config import InferenceConfig
from ernie_inference.tasks.base import Computed, Task
from ernie_inference.text_output import open_text, to_json

FOLDER = "analysis"  # in the folder of a model that run_*.py trained
AT_ONCE = 4096  # examples whose logits are held at once
REMARKS = {
    "train": {
        "zh": "这些样本是模型训练过的：指标偏高，错误偏少；可疑标注是模型学过之后仍然相信有误的。",
        "en": "The model was trained on these examples: its figures flatter it. Labels are suspect that it still "
        "contradicts after it has learnt them.",
    },
}
NO_REMARK = {"zh": "", "en": ""}


class Analyzed(NamedTuple):
    """The answers to all examples, and what there is to say of them."""

    results: List[Dict]
    report: Report


def analyze(
    family: TaskFamily,
    task: Task,
    examples: List[Example],
    computed: Iterable[Computed],
    order: Optional[Iterable[int]] = None,
) -> Analyzed:
    """The answers and the report of a model.

    Args:
        computed: of each example, as ErniePredictor.outputs_iter and outputs_of give it; read as it goes.
        order: the numbers of the examples in which `computed` has them, where that is not their own order.

    Raises:
        InputError: the family has no analysis.
    """
    check_analyzable(family)
    assert family.analysis is not None
    analysis = family.analysis(family, task)
    results: List[Dict] = [{}] * len(examples)
    for number, of_example in zip(count() if order is None else order, computed):
        results[number] = analysis.add(number, *of_example)
    return Analyzed(results, analysis.report(examples))


def outputs_of(trainer: FinetuneTrainer, examples: List[Example]) -> Iterator[Computed]:
    """What a trainer's model computes of examples, AT_ONCE at a time."""
    for begin in range(0, len(examples), AT_ONCE):
        some = examples[begin : begin + AT_ONCE]
        dataset = Features(trainer.family, trainer.task, some, by_length=True, labelled=False)
        yield from dataset.outputs_of_examples(trainer.predict_logits(dataset))


def write_report(report: Report, prefix: Path) -> Path:
    """Write PREFIX.json and PREFIX.html; returns the page.

    Raises:
        Unwritable: that cannot be done; neither is there then.
    """
    page = render_page(report)
    with publish(prefix.parent) as temporary:
        (temporary / f"{prefix.name}.json").write_bytes(to_json(report, indent=1) + b"\n")
        with open_text(temporary / f"{prefix.name}.html") as file:
            file.write(page)
    return prefix.parent / f"{prefix.name}.html"


def header(dataset: str, split: str, examples: int, metrics: Dict[str, float], **more: Any) -> Dict[str, Any]:
    """What stands at the head of a report."""
    about = {"dataset": dataset, "split": split, "examples": examples, "metrics": metrics}
    return {**about, "engine": "", "data_dir": None, "remark": REMARKS.get(split, NO_REMARK), **more}


def analyze_trained(trainer: FinetuneTrainer, data_args: Any, arguments: AnalysisArguments) -> None:
    """--analyze of run_*.py: write OUTPUT_DIR/analysis/SPLIT.html and .json; with --calibrate, the export that is
    written afterwards has the temperature."""
    split, family = arguments.analyze, trainer.family
    assert split is not None
    examples = examples_of(trainer, split, data_args)
    results, found = analyze(family, trainer.task, examples, outputs_of(trainer, examples))
    head = header(
        trainer.inference_config.dataset,
        split,
        len(examples),
        family.metric(examples, results),
        model=str(trainer.args.output_dir),
        data_dir=data_args.data_dir,
    )
    if trainer.args.should_save:
        page = write_report({**head, **found}, Path(trainer.args.output_dir) / FOLDER / split)
        print(f"analysis of {len(examples):,} {split} examples: {page}")
    if arguments.calibrate:
        trainer.inference_config = replace(trainer.inference_config, temperature=temperature_of(found))
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


def temperature_of(report: Report) -> float:
    """The temperature that a report found.

    Raises:
        InputError: it found none.
    """
    scaling = report["calibration"]["scaling"]
    if scaling["temperature"] is None:
        raise InputError(f"--calibrate: no temperature can be fitted: {scaling['reason']}")
    return scaling["temperature"]


def described_temperature(report: Report) -> str:
    scaling = report["calibration"]["scaling"]
    before, after = (scaling[when]["expected_calibration_error"] for when in ("before", "after"))
    return (
        f"temperature {scaling['temperature']}, fitted on {scaling['fitted_on']:,} answers: expected calibration error "
        f"{before:.4f} -> {after:.4f} on {scaling['shown_on']:,} others"
    )


def keep_temperature(folder: Path, temperature: Optional[float]) -> None:
    """Write a temperature into the inference.json of a model's folder, in one step; all else in it stays."""
    config = replace(InferenceConfig.load(folder), temperature=temperature)
    with publish(folder) as temporary:
        config.save(temporary)
