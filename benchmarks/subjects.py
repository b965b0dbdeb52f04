"""What reproduce.py does with one model on one data set: its steps, and the best of the models it is compressed to."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ernie_suite.command_line import config_sections, read_config
from ernie_suite.compression.choice import score
from ernie_suite.compression.pareto import form_of
from ernie_suite.data import DATASETS
from ernie_suite.figures import figures_file
from ernie_suite.runs import model_identity, read_json

from benchmarks.steps import Step, parse_flags
from ernie_inference.engines.backends import PADDLE, TENSORRT
from ernie_inference.files import digest_of

# What rows of a report say of models that the publication has not.
UNPUBLISHED = ("int8_embeddings", "mixed_precision", "target_speedup", "student", "vocab_size")


class Candidates(NamedTuple):
    """The models of a report that a table is of; a report holds those of earlier calls too."""

    widths: List[str]
    algorithms: List[str]
    sizes: List[int]
    depths: List[str] = ["1"]

    def __contains__(self, row: Dict) -> bool:
        """What is published has none of UNPUBLISHED, and was made from a model of the report."""
        if any(row.get(name) for name in UNPUBLISHED) or Path(row.get("source") or "").is_absolute():
            return False
        if row["width"] is not None and not is_one_of(row["width"], self.widths):
            return False
        if not is_one_of(row.get("depth") or "1", self.depths):
            return False
        quantized_so = row["algorithm"] in self.algorithms and row["calibration_texts"] in self.sizes
        return row["precision"] == "fp32" or quantized_so


def is_one_of(share: str, asked_for: List[str]) -> bool:
    """Of a share as a report has it, rounded."""
    return any(abs(float(share) - Fraction(each)) < 0.01 for each in asked_for)


@dataclass(frozen=True)
class Subject:
    """A model on a data set: what all steps of one row and column of the tables have in common.

    Attributes:
        model: its name in the tables.
        source: what --model_name_or_path is for fine-tuning.
        folder: where everything of it goes.
        flags: further flags of run_*.py and compress_*.py.
        config_file: where their hyper-parameters stand.
        candidates: what it is compressed to.
    """

    model: str
    source: str
    dataset: str
    folder: Path
    flags: List[str]
    config_file: Path
    candidates: Candidates

    @property
    def name(self) -> str:
        return f"{self.dataset}, {self.model}"

    def finetune(self, point: str = "", flags: Tuple[str, ...] = ()) -> Step:
        """Fine-tuning, by config.yml or at a point of the grid."""
        folder = self.finetuned_folder(point)
        # A point of a grid needs no export: only the best one goes on, to be compressed.
        files = [folder / "results.json"] + ([] if point else [folder / "export" / "model.pdiparams"])
        command = [
            f"run_{DATASETS[self.dataset].task_name}.py",
            *("--task_name", self.dataset, "--model_name_or_path", self.source, "--output_dir", str(folder)),
            *(["--do_train", "--do_eval"] if point else []),
            *flags,
            *self.flags,
        ]
        return Step(
            f"fine-tune {self.name}{', ' * bool(point)}{point}",
            command,
            lambda: all(file.exists() for file in files) and "dev" in read_json(files[0]),
            {
                "config": hyper_parameters(self.config_file, self.dataset),
                "model": model_identity(self.source),
                **self.data(),
            },
            owns=folder,
        )

    def data(self) -> Dict[str, str]:
        """The digest of one's own files, where --data_dir names them."""
        folder = parse_flags(self.flags).get("data_dir")
        if folder is None or not Path(folder).is_dir():  # the commands say so
            return {}
        return {"data": digest_of(sorted(path for path in Path(folder).iterdir() if path.is_file()))}

    def finetuned_folder(self, point: str = "") -> Path:
        return self.folder.with_name(f"{self.folder.name}-{point}") if point else self.folder

    def compress(self, folder: Path, compression: List[str], point: str = "", flags: Tuple[str, ...] = ()) -> Step:
        """Pruning and quantization of the fine-tuned model in a folder, likewise."""
        command = [
            f"compress_{DATASETS[self.dataset].task_name}.py",
            *("--task_name", self.dataset, "--model_name_or_path", str(folder), "--output_dir", str(folder)),
            *compression,
            *flags,
            *self.flags,
        ]
        training = read_json(folder / "results.json").get("training", {})
        model = {key: value for key, value in training.items() if key != "history"}
        config = hyper_parameters(self.config_file, self.dataset, compressing=True)
        return Step(
            f"compress {self.name}{', ' * bool(point)}{point}",
            command,
            (folder / "compress" / "report.json").exists,
            {"config": config, "model": model, **self.data()},
        )

    def infer(self, compressed: Path, variant: str, device: str, flags: List[str], part: Dict) -> Optional[Step]:
        """Accuracy and speed of the best model of a variant; None when the report has none."""
        found = best_model(read_json(compressed / "report.json"), variant, self.candidates)
        if found is None:
            return None
        precision = variant.split()[-1].lower()
        prefix = compressed / found["model"]
        result = infer_result(prefix, self.dataset, device, precision, part)
        command = [
            "infer.py",
            *("--task_name", self.dataset, "--model_path", str(prefix), "--device", device),
            *("--precision", precision, "--perf"),
            *(["--use_trt"] if device == "gpu" else []),
            *(word for name, value in part.items() for word in (f"--{name}", str(value))),
            *flags,
        ]
        return Step(
            f"measure {self.name}, {variant} on the {device.upper()}",
            command,
            lambda: "speed" in read_json(result),
            {"model": found},
            owns=result,
        )


def best_model(report: Dict, variant: str, candidates: Candidates) -> Optional[Dict]:
    """The row of the best model of a variant; FP16 runs the FP32 files."""
    wanted = (variant.startswith("pruned"), variant.endswith("INT8"))
    for row in report.get("models", ()):  # the best first
        if form_of(row) == wanted and row in candidates:
            return row
    return None


def infer_result(prefix: Path, dataset: str, device: str, precision: str, part: Dict[str, Any]) -> Path:
    """Where infer.py writes what it measures; `part` are its flags that say on which part of which data."""
    return figures_file(prefix, dataset, (TENSORRT if device == "gpu" else PADDLE, device, precision), **part)


def dev_metric(results: Path) -> float:
    """The metric that decided which state of a run was kept; below all others when there is none."""
    training = read_json(results).get("training")
    return next(iter(training["best"].values())) if training else float("-inf")


def int8_metric(report: Path, candidates: Candidates) -> float:
    """The metric of the best pruned INT8 model of a compression, which is what is compressed for.

    On what models are chosen by: the change is shown on the other half of the dev set, where there is one.
    """
    content = read_json(report)
    row = best_model(content, "pruned + INT8", candidates)
    return score(row, content["metric"]) if row else float("-inf")


def hyper_parameters(config_file: Path, dataset: str, compressing: bool = False) -> Dict[str, Any]:
    """What a config.yml says for a data set: for fine-tuning, or for compression.

    Raises:
        InputError: it is no such file.
    """
    return read_config(config_file, config_sections(DATASETS[dataset].family, compressing), dataset)
