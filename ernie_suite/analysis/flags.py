"""The flags of --analyze for run_*.py."""

from dataclasses import dataclass, field
from typing import Optional

from ernie_suite.tasks.family import TaskFamily

from ernie_inference.errors import InputError


def check_analyzable(family: TaskFamily) -> None:
    """Raises InputError where a task family has no analysis."""
    if family.analysis is None:
        raise InputError(f"--analyze: there is no analysis for {family.name}")


SPLITS = ("dev", "train")  # that run_*.py reads labels of; infer.py has --split


@dataclass
class AnalysisArguments:
    """--analyze writes a page about the mistakes of the model and the labels that may be wrong: analysis/dev.html."""

    analyze: Optional[str] = field(
        default=None,
        metadata={
            "nargs": "?",
            "const": "dev",
            "choices": SPLITS,
            "help": "look at the mistakes on a split, dev unless another is named",
        },
    )
    calibrate: bool = field(
        default=False,
        metadata={"help": "with --analyze and --do_export: confidences of the export are scaled by a temperature"},
    )

    def check(self, family: TaskFamily, exports: bool) -> None:
        """Raises InputError where the family has no analysis, or a flag is without what it needs.

        Args:
            exports: whether the command writes an export.
        """
        if self.analyze:
            check_analyzable(family)
        if self.calibrate and self.analyze != "dev":
            raise InputError("--calibrate fits a temperature on the dev set: add --analyze, or --analyze dev")
        if self.calibrate and not exports:
            raise InputError("--calibrate keeps the temperature in the export: add --do_export")
