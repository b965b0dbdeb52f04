"""Reproduce the published tables: fine-tune, compress and measure, data set by data set and model by model.

    python benchmarks/reproduce.py                                    all nine data sets, five sizes of ERNIE 3.0
    python benchmarks/reproduce.py --datasets tnews msra_ner cmrc2018 --models ernie-3.0-medium-zh
    python benchmarks/reproduce.py --samples                          the sample sets, without a network or a GPU
    python benchmarks/reproduce.py --datasets tnews --grid            search hyper-parameters, keep what is best on dev

Every step is a command of this repository and is printed before it runs; its hyper-parameters are those
of config.yml. Results are kept under --output_dir: what is finished there with the same settings is not
run again, and an interrupted step goes on. With other settings it starts anew, and what was there before
gets another name. Ends with tables.md, tables.json, compression.png and training.png there. Further
flags go to the run and compress scripts (--max_train_samples 500).
"""

import argparse
import itertools
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ernie_suite.data import DATASETS, find_dataset
from ernie_suite.results import figures_file
from ernie_suite.runs import model_identity

import published
import yaml
from published import Figures
from steps import Runner, Step, parse_flags, put_aside, read_json
from tables import (
    METRICS,
    VARIANTS,
    Table,
    clue_table,
    compression_table,
    main_figure,
    sample_accuracy_table,
    sample_compression_table,
    speed_table,
)

from ernie_inference.console import Parser, number_above, number_from, run_command
from ernie_inference.engines.availability import gpu_is_usable
from ernie_inference.engines.backends import PADDLE, TENSORRT
from ernie_inference.errors import InputError
from ernie_inference.files import check_writable, digest_of, publish, write_json
from ernie_inference.processors import describe_processor, usable_processors
from ernie_inference.text_files import read_text
from ernie_inference.text_output import open_text
from examples import demo

ROOT = Path(__file__).resolve().parents[1]

CLUE_DATASETS = [name for name, spec in DATASETS.items() if spec.builder]
SAMPLE_DATASETS = [name for name, spec in DATASETS.items() if not spec.builder]
MODELS = [name for name in published.CLUE if name != "ernie-3.0-xbase-zh"]
# The published advice: 3/4 for 6 layers, 2/3 for 12.
WIDTHS = {"ernie-3.0-base-zh": "2/3"}
DEFAULT_WIDTH = "3/4"
CONFIG_FILE = "config.yml"  # in ROOT
PICTURES = ("compression", "training")
PUBLISHED_SPEED = "published method: model only, in order"  # infer.py's name for it
# Which small ERNIE each sample set is trained from stands in examples/demo.py; how it is trained, in config.yml.
SAMPLE_MODELS = {model.dataset: model for model in (demo.REVIEWS, demo.NAMES, demo.QUESTIONS)}
SMALL_ERNIE = "small ERNIE"  # their name in the tables


# ---------------------------------------------------------------- one model on one data set


@dataclass(frozen=True)
class Grid:
    """Hyper-parameters to try; epochs of None are those of config.yml."""

    learning_rates: List[str]
    batch_sizes: List[int]
    epochs: List[Optional[str]]

    def points(self) -> Iterator[Tuple[str, List[str]]]:
        """(name of its folder, flags) of every combination."""
        for rate, size, epochs in itertools.product(self.learning_rates, self.batch_sizes, self.epochs):
            flags = ["--learning_rate", rate, "--per_device_train_batch_size", str(size)]
            name = f"lr{rate}-bs{size}"
            if epochs is not None:
                name, flags = f"{name}-ep{epochs}", [*flags, "--num_train_epochs", epochs]
            yield name, flags


class Candidates(NamedTuple):
    """The models of a report that a table is of; a report holds those of earlier calls too."""

    widths: List[str]
    algorithms: List[str]
    sizes: List[int]

    def __contains__(self, row: Dict) -> bool:
        """What is published has no INT8 embeddings, and is quantized from a model of the report."""
        if row.get("int8_embeddings") or Path(row.get("source") or "").is_absolute():
            return False
        if row["width"] is not None and not any(
            abs(float(row["width"]) - Fraction(width)) < 0.01 for width in self.widths
        ):
            return False
        quantized_so = row["algorithm"] in self.algorithms and row["calibration_texts"] in self.sizes
        return row["precision"] == "fp32" or quantized_so


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
            lambda: all(file.exists() for file in files) and "dev" in (read_json(files[0]) or {}),
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
        training = (read_json(folder / "results.json") or {}).get("training", {})
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
            lambda: "speed" in (read_json(result) or {}),
            {"model": found},
            owns=result,
        )


def best_model(report: Optional[Dict], variant: str, candidates: Candidates) -> Optional[Dict]:
    """The row of the best model of a variant; FP16 runs the FP32 files."""
    wanted = (variant.startswith("pruned"), variant.endswith("INT8"))
    for row in (report or {"models": []})["models"]:  # the best first
        if (row["width"] is not None, row["precision"] == "int8") == wanted and row in candidates:
            return row
    return None


def infer_result(prefix: Path, dataset: str, device: str, precision: str, part: Dict[str, Any]) -> Path:
    """Where infer.py writes what it measures; `part` are its flags that say on which part of which data."""
    return figures_file(prefix, dataset, (TENSORRT if device == "gpu" else PADDLE, device, precision), **part)


def dev_metric(results: Path) -> float:
    """The metric that decided which state of a run was kept; below all others when there is none."""
    training = (read_json(results) or {}).get("training")
    return next(iter(training["best"].values())) if training else float("-inf")


def int8_metric(report: Path, candidates: Candidates) -> float:
    """The metric of the best pruned INT8 model of a compression, which is what is compressed for."""
    content = read_json(report)
    row = best_model(content, "pruned + INT8", candidates)
    return row["metrics"][content["metric"]] if row else float("-inf")


# ---------------------------------------------------------------- all of them


class Reproduction:
    """What was asked for, run step by step, and its tables."""

    def __init__(self, args: argparse.Namespace, runner: Runner):
        self.args, self.runner = args, runner
        self.folder: Path = args.output_dir
        self.flags = [*args.rest, *(["--device", args.device] if args.device else [])]
        self.use_gpu = args.device == "gpu" if args.device else has_gpu(args.num_threads)
        self.infer_flags = ["--num_threads", str(args.num_threads)] if args.num_threads else []
        self.infer_part: Dict[str, Any] = {"max_samples": args.max_eval_samples, "data_dir": args.data_dir}
        self.infer_part = {name: value for name, value in self.infer_part.items() if value}
        for name in ("max_eval_samples", "data_dir", "config"):
            if getattr(args, name):
                self.flags += [f"--{name}", str(getattr(args, name))]
        self.grid = Grid(args.grid_learning_rates, args.grid_batch_sizes, args.grid_epochs or [None])
        # Finished models: model to data set to {"finetuned": folder, "compressed": folder, "flags", "measured": which
        # data, "candidates"}. Kept, so that the tables hold what earlier calls with other data sets and models have
        # finished.
        self.models_file = self.folder / "models.json"
        self.models: Dict[str, Dict[str, Dict[str, Any]]] = read_json(self.models_file) or {}

    def subjects(self) -> Iterator[Subject]:
        for dataset, source in itertools.product(self.args.datasets, self.args.models or [None]):
            model = SMALL_ERNIE if source is None else Path(source).name
            source = source or SAMPLE_MODELS[dataset].ernie
            folder = self.folder / model.replace(" ", "_") / dataset.upper()
            widths = self.args.width_mult_list or [WIDTHS.get(model, DEFAULT_WIDTH)]
            candidates = Candidates(widths, self.args.algo_list, self.args.batch_size_list)
            config_file = ROOT / (self.args.config or CONFIG_FILE)
            yield Subject(model, source, dataset, folder, self.flags, config_file, candidates)

    def run(self) -> None:
        subjects = list(self.subjects())
        for number, subject in enumerate(subjects, 1):
            print(f"\n=== {number} of {len(subjects)}: {subject.name}", flush=True)
            self.reproduce(subject)
            write_json(self.models_file, self.models)
            self.write_tables()

    def reproduce(self, subject: Subject) -> None:
        """Fine-tune, compress and measure; ends at the first step that fails, the others of the list go on."""
        entry = self.models.setdefault(subject.model, {}).setdefault(subject.dataset, {})
        entry["flags"], entry["measured"] = shlex.join(subject.flags), self.infer_part
        if not self.args.models and not self.runner.run(make_small_ernie(SAMPLE_MODELS[subject.dataset])):
            return
        finetuned = self.finetune(subject)
        if finetuned is None:
            return
        entry["finetuned"] = str(finetuned)
        if subject.model not in self.compressed_models():
            return
        compressed = self.compress(subject, finetuned)
        if compressed is None:
            return
        entry["compressed"], entry["candidates"] = str(compressed), list(subject.candidates)
        if self.args.samples or subject.dataset in published.SPEED_DATASETS:
            for device in ("cpu", "gpu") if self.use_gpu else ("cpu",):
                for variant in VARIANTS[device]:
                    step = subject.infer(compressed, variant, device, self.infer_flags, self.infer_part)
                    if step is not None:
                        self.runner.run(step)

    def compressed_models(self) -> List[str]:
        if self.args.samples:
            return list(self.models)
        return [Path(model).name for model in self.args.compress_models]

    def finetune(self, subject: Subject) -> Optional[Path]:
        """The folder of the fine-tuned model, with --grid that of the best on the dev set; None after a failure."""
        if "fine-tune" not in self.args.grid:
            return subject.folder if self.runner.run(subject.finetune()) else None
        best: Optional[Path] = None
        for point, flags in self.grid.points():
            folder = subject.finetuned_folder(point)
            if not self.runner.run(subject.finetune(point, tuple(flags))):
                continue
            if best is None or dev_metric(folder / "results.json") > dev_metric(best / "results.json"):
                best, folder = folder, best
            if folder is not None:  # of the others, results.json is enough
                (folder / "model_state.pdparams").unlink(missing_ok=True)
        if best is None:
            return None
        point = best.name[len(subject.folder.name) + 1 :]
        print(f"best fine-tuning of {subject.name}: {point} ({100 * dev_metric(best / 'results.json'):.2f})")
        if not (best / "model_state.pdparams").exists():  # the best of a smaller grid than before
            put_aside(best)
            return best if self.runner.run(subject.finetune(point, tuple(dict(self.grid.points())[point]))) else None
        return best

    def compress(self, subject: Subject, finetuned: Path) -> Optional[Path]:
        """The folder of the compressed models, with --grid that with the best pruned INT8 model."""
        widths, algorithms, sizes = subject.candidates
        compression = ["--width_mult_list", *widths, "--algo_list", *algorithms, "--batch_size_list", *map(str, sizes)]
        compression += ["--quantize_embeddings"] if self.args.quantize_embeddings else []
        metric = partial(int8_metric, candidates=subject.candidates)
        if "compress" not in self.args.grid:
            return finetuned / "compress" if self.runner.run(subject.compress(finetuned, compression)) else None
        best: Optional[Path] = None
        for point, flags in self.grid.points():
            folder = finetuned.with_name(f"{finetuned.name}-pruned-{point}")
            link_model(finetuned, folder)
            if self.runner.run(subject.compress(folder, compression, point, tuple(flags))):
                report = folder / "compress" / "report.json"
                if best is None or metric(report) > metric(best / "report.json"):
                    best = report.parent
        if best is not None:
            print(f"best compression of {subject.name}: {best.parent.name} ({100 * metric(best / 'report.json'):.2f})")
        return best

    # -- results

    def finetuned_scores(self) -> Dict[str, Dict[str, Figures]]:
        """Model to data set to metrics of the fine-tuned model, in percent."""
        scores: Dict[str, Dict[str, Figures]] = {}
        for model, dataset, entry in self.entries("finetuned"):
            results = read_json(Path(entry["finetuned"]) / "results.json") or {}
            if "dev" in results:
                scores.setdefault(model, {})[dataset] = percent(dataset, results["dev"])
        return scores

    def compressed_scores(self, wanted: str) -> Dict[str, Dict[str, Figures]]:
        """Variant to data set to metrics; FP16 as measured on the GPU, the others as report.json has them."""
        scores: Dict[str, Dict[str, Figures]] = {}
        for variant, dataset, entry, row in self.compressed_rows(wanted, VARIANTS["accuracy"]):
            metrics = row["metrics"]
            if variant.endswith("FP16"):
                result = self.measured(dataset, entry, row, "gpu", "fp16")
                metrics = result and result["metrics"]
            if metrics:
                scores.setdefault(variant, {})[dataset] = percent(dataset, metrics)
        return scores

    def speeds(self, wanted: str, device: str) -> Dict[str, Dict[str, Figures]]:
        """Variant to data set to (texts/s, main metric in percent), by infer.py --perf."""
        speeds: Dict[str, Dict[str, Figures]] = {}
        for variant, dataset, entry, row in self.compressed_rows(wanted, VARIANTS[device]):
            result = self.measured(dataset, entry, row, device, variant.split()[-1].lower()) or {}
            if "speed" in result:
                speed = result["speed"]["texts_per_second"][PUBLISHED_SPEED]
                metric = main_figure(percent(dataset, result["metrics"]))
                speeds.setdefault(variant, {})[dataset] = (speed, metric)
        return speeds

    def measured(self, dataset: str, entry: Dict, row: Dict, device: str, precision: str) -> Optional[Dict]:
        """What infer.py has found of a model of a report."""
        prefix = Path(entry["compressed"]) / row["model"]
        return read_json(infer_result(prefix, dataset, device, precision, entry.get("measured", {})))

    def entries(self, key: str) -> Iterator[Tuple[str, str, Dict[str, Any]]]:
        for model, datasets in self.models.items():
            for dataset, entry in datasets.items():
                if key in entry:
                    yield model, dataset, entry

    def compressed_rows(self, wanted: str, variants: Tuple[str, ...]) -> Iterator[Tuple[str, str, Dict, Dict]]:
        """(variant, data set, entry of self.models, row of the report's best model of it) of a model."""
        for model, dataset, entry in self.entries("compressed"):
            report = read_json(Path(entry["compressed"]) / "report.json")
            candidates = Candidates(*entry["candidates"])
            rows = ((variant, best_model(report, variant, candidates)) for variant in variants)
            yield from ((variant, dataset, entry, row) for variant, row in rows if row and model == wanted)

    def tables(self) -> List[Table]:
        samples = self.args.samples
        tables = [sample_accuracy_table(self.finetuned_scores()) if samples else clue_table(self.finetuned_scores())]
        tables[0].notes += self.limits()
        compressed = dict.fromkeys(model for model, _, _ in self.entries("compressed"))
        for model in compressed or [SMALL_ERNIE if samples else published.COMPRESSED_MODEL]:
            make = sample_compression_table if samples else compression_table
            tables.append(make(model, self.compressed_scores(model)))
            tables[-1].notes += [] if self.use_gpu else ["FP16 needs a GPU and was not run here."]
            for device in ("cpu", "gpu"):
                speeds = self.speeds(model, device)
                datasets = SAMPLE_DATASETS if samples else published.SPEED_DATASETS
                tables.append(speed_table(model, device, speeds, datasets, self.speed_notes(device)))
        return tables

    def limits(self) -> List[str]:
        """What is not as config.yml and whole data sets would have it: further flags, points of a grid."""
        places: Dict[str, List[str]] = {}
        for model, dataset, entry in self.entries("finetuned"):
            if entry["flags"]:
                places.setdefault(entry["flags"], []).append(f"{dataset} ({model})")
        notes = [f"Run with {flags}: {', '.join(where)}." for flags, where in places.items()]
        points = [
            f"{dataset} ({model}) {Path(entry['finetuned']).name[len(dataset) + 1 :]}"
            for model, dataset, entry in self.entries("finetuned")
            if len(Path(entry["finetuned"]).name) > len(dataset)
        ]
        return notes + ([f"Best of a grid on the dev set: {', '.join(points)}."] if points else [])

    def speed_notes(self, device: str) -> List[str]:
        if device == "gpu":
            return [] if self.use_gpu else ["Not run here: there is no GPU that the installed Paddle can use."]
        machine = describe_processor(self.args.num_threads or usable_processors())
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        return [f"Measured: {machine['processor']}, {machine['num_threads']} threads, {versions}."]

    def write_tables(self) -> str:
        """Write tables.md, with the pictures that are there, and tables.json; returns the Markdown."""
        tables = self.tables()
        command = f"python benchmarks/reproduce.py {shlex.join(sys.argv[1:])}".rstrip()
        pictures = [f"![{kind}]({kind}.png)\n" for kind in PICTURES if (self.folder / f"{kind}.png").exists()]
        text = "\n".join([f"`{command}`", "", *(table.markdown() for table in tables), *pictures])
        with publish(self.folder) as temporary, open_text(temporary / "tables.md") as file:
            file.write(text)
        machine = describe_processor(self.args.num_threads or usable_processors())
        content = {"command": command, "machine": machine, "tables": [table.to_dict() for table in tables]}
        write_json(self.folder / "tables.json", content)
        return text

    def draw(self) -> List[str]:
        """compression.png and training.png, of what there is to draw; returns the files."""
        sources: Dict[str, List[str]] = {kind: [] for kind in PICTURES}
        for model, _, entry in self.entries("compressed"):
            sources["compression"].append(f"{model}={Path(entry['compressed']) / 'report.json'}")
        for model, _, entry in self.entries("finetuned"):
            sources["training"].append(f"{model}={Path(entry['finetuned']) / 'results.json'}")
        drawn = []
        for kind, named in sources.items():
            files = [source for source in named if Path(source.partition("=")[2]).exists()]
            if files:
                with publish(self.folder) as temporary:
                    command = [str(ROOT / "benchmarks" / "plot.py"), kind, str(temporary / f"{kind}.png"), *files]
                    status = subprocess.run([sys.executable, *command]).returncode
                if status:
                    self.runner.fail(f"draw {kind}.png", f"exit status {status}")
                else:
                    drawn.append(str(self.folder / f"{kind}.png"))
        return drawn


def hyper_parameters(config_file: Path, dataset: str, compressing: bool = False) -> Dict[str, Any]:
    """What a config.yml says for a data set: for fine-tuning, or for compression.

    Raises:
        InputError: it is no such file.
    """
    try:
        content = yaml.safe_load(read_text(config_file)) or {}
        settings = dict(content.pop("DefaultArgs", None) or {})
        own = (content.pop("Compression", None) or {}).get(dataset) or {}
        for section in content.values():
            settings.update((section or {}).get(dataset) or {})
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        message = " ".join(str(error).split())
        raise InputError(f"--config {config_file} is not a config of these scripts ({message})") from None
    return {**settings, **own} if compressing else settings


def percent(dataset: str, metrics: Dict[str, float]) -> Figures:
    return tuple(100 * metrics[name] for name in METRICS[DATASETS[dataset].task_name])


def make_small_ernie(model: demo.Model) -> Step:
    return Step(f"make {model.ernie}", model.make_ernie(), (ROOT / model.ernie / "model_state.pdparams").exists)


def link_model(source: Path, target: Path) -> None:
    """A folder with the files of a model, so that compress/ in it is a compression of its own."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        link = target / file.name
        if file.is_file() and not link.exists():
            link.symlink_to(file.resolve())


def has_gpu(num_threads: Optional[int]) -> bool:
    """Whether Paddle can use a GPU; paddle is imported only where it is built for one."""
    return "paddlepaddle-gpu" in describe_processor(num_threads or 1)["versions"] and gpu_is_usable()


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", help="default: all nine, with --samples the three sample sets")
    parser.add_argument("--models", nargs="+", help="names or folders; default: the five sizes")
    parser.add_argument("--compress_models", nargs="+", default=[published.COMPRESSED_MODEL], help="which to compress")
    parser.add_argument("--samples", action="store_true", help="the sample sets, with a small ERNIE made for them")
    parser.add_argument("--output_dir", help="default: reproduce, with --samples reproduce/samples")
    parser.add_argument("--device", choices=["cpu", "gpu"], help="default: gpu where there is one")
    parser.add_argument("--num_threads", type=number_from(1), help="of infer.py; default: all processors")
    parser.add_argument("--max_eval_samples", type=number_from(1), help="use only so many dev examples")
    parser.add_argument("--config", help="hyper-parameters per data set; default: config.yml")
    parser.add_argument("--data_dir", help="folder of your own files in the form of the one data set of --datasets")
    parser.add_argument("--width_mult_list", nargs="+", help="default: 3/4, for 12 layers 2/3")
    parser.add_argument("--algo_list", nargs="+", default=["hist", "mse"], help="quantization algorithms")
    parser.add_argument(
        "--batch_size_list", nargs="+", type=number_from(1), default=[4, 8, 16], help="calibration texts"
    )
    parser.add_argument("--quantize_embeddings", action="store_true", help="INT8 models with INT8 embeddings, too")
    parser.add_argument(
        "--grid",
        nargs="*",
        choices=["fine-tune", "compress"],
        help="search for fine-tuning, for pruning, or (without a word) for both; keeps what is best on dev",
    )
    parser.add_argument(
        "--grid_learning_rates", nargs="+", type=as_typed(number_above(0)), default=["1e-5", "2e-5", "3e-5", "5e-5"]
    )
    parser.add_argument("--grid_batch_sizes", nargs="+", type=number_from(1), default=[16, 32, 64])
    parser.add_argument("--grid_epochs", nargs="+", type=as_typed(number_above(0)), help="default: config.yml's")
    args, args.rest = parser.parse_known_args()
    args.grid = [] if args.grid is None else args.grid or ["fine-tune", "compress"]
    args.datasets = [find_dataset(name).name for name in args.datasets or known_datasets(args.samples)]
    wrong = [name for name in args.datasets if name not in known_datasets(args.samples)]
    if wrong:
        where = "is not a sample set: leave --samples out" if args.samples else "is a sample set: give --samples"
        raise InputError(f"--datasets {wrong[0]} {where}")
    taken = {"--task_name", "--dataset", "--model_name_or_path", "--model_path"} & set(args.rest)
    if taken or (args.rest and not args.rest[0].startswith("--")):
        raise InputError(f"{' '.join(taken) or args.rest[0]}: give data sets with --datasets and models with --models")
    args.models = [from_root(name) if Path(name).is_dir() else name for name in args.models or []]
    if not args.models and not args.samples:
        args.models = MODELS
    for name in ("config", "data_dir"):
        if getattr(args, name):
            setattr(args, name, from_root(getattr(args, name)))
    hyper_parameters(ROOT / (args.config or CONFIG_FILE), args.datasets[0])  # it can be read
    if args.data_dir and len(args.datasets) > 1:
        raise InputError("--data_dir holds the files of one data set: name it with --datasets")
    args.output_dir = Path(from_root(args.output_dir or ("reproduce/samples" if args.samples else "reproduce")))
    return args


def as_typed(check: Callable[[str], float]) -> Callable[[str], str]:
    """The numbers that `check` takes, as they were typed: they are parts of names."""

    def parse(text: str) -> str:
        check(text)
        return text

    return parse


def from_root(path: str) -> str:
    """A path as it is typed in the repository's root."""
    absolute = Path(path).resolve()
    return str(absolute.relative_to(ROOT) if ROOT in absolute.parents else absolute)


def known_datasets(samples: bool) -> List[str]:
    return SAMPLE_DATASETS if samples else CLUE_DATASETS


def main() -> None:
    args = parse_arguments()
    os.chdir(ROOT)  # the commands are typed there
    check_writable(args.output_dir)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the command that runs, too
    runner = Runner(args.output_dir / "steps.json")
    reproduction = Reproduction(args, runner)
    try:
        reproduction.run()
        drawn = reproduction.draw()
        print(f"\n{reproduction.write_tables()}")
    except KeyboardInterrupt:
        print("interrupted: the same command line goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    if not runner.ran and not runner.failed:
        print(f"nothing to run: all {len(runner.found)} steps were finished before")
    else:
        print(f"{len(runner.ran)} steps run, {len(runner.found)} finished before, {len(runner.failed)} failed")
    print("wrote " + ", ".join([str(args.output_dir / name) for name in ("tables.md", "tables.json")] + drawn))
    if runner.failed:
        print(f"error: {len(runner.failed)} steps failed: {'; '.join(runner.failed)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
