"""What --analyze and --calibrate do, whatever computes: from a model's outputs to a report, its JSON and its page."""

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

from ernie_suite.analysis.base import Report
from ernie_suite.analysis.flags import check_analyzable
from ernie_suite.analysis.page import render_page
from ernie_suite.reading import Example
from ernie_suite.tasks.family import TaskFamily

from ernie_inference.errors import InputError
from ernie_inference.files import publish
from ernie_inference.inference_config import InferenceConfig
from ernie_inference.tasks.base import Computed, Task
from ernie_inference.text_output import open_text, to_json

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
        computed: of each example, as ErniePredictor.outputs_iter and trained.outputs_of give it; read as it goes.
        order: the numbers of the examples in which `computed` has them, where that is not their own order; it may be
            filled as `computed` goes.

    Raises:
        InputError: the family has no analysis.
    """
    check_analyzable(family)
    assert family.analysis is not None
    analysis = family.analysis(family, task)
    results: List[Dict] = [{}] * len(examples)
    numbers = iter(count() if order is None else order)
    for of_example in computed:
        number = next(numbers)
        results[number] = analysis.add(number, *of_example)
    return Analyzed(results, analysis.report(examples))


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
