"""Reproduce the published tables: fine-tune, compress and measure, data set by data set and model by model.

    python benchmarks/reproduce.py                                    all eleven data sets, five sizes of ERNIE 3.0
    python benchmarks/reproduce.py --datasets c3 chid --models published --published_hyper_parameters
    python benchmarks/reproduce.py --datasets tnews msra_ner cmrc2018 --models ernie-3.0-medium-zh
    python benchmarks/reproduce.py --samples                          the sample sets, without a network or a GPU
    python benchmarks/reproduce.py --datasets tnews --grid            search hyper-parameters, keep what is best on dev

Every step is a command of this repository and is printed before it runs; its hyper-parameters are those
of config.yml, or, of the models and data sets of table 1, those published with it. `--models published` are
all models of table 1 and the newer ernie-3.0-tiny-*-v2-zh. Results are kept under --output_dir: what is
finished there with the same settings is not run again, and an interrupted step goes on. With other settings
it starts anew, and what was there before gets another name. Ends with tables.md, tables.json,
compression.png and training.png there. Further flags go to the run and compress scripts
(--max_train_samples 500).
"""

import argparse
import itertools
import os
import shlex
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.data import DATASETS, find_dataset

from benchmarks import published
from benchmarks.report import SAMPLE_DATASETS, SMALL_ERNIE, Report
from benchmarks.steps import Runner, Step, parse_flags, put_aside
from benchmarks.subjects import Candidates, Subject, dev_metric, hyper_parameters, int8_metric
from benchmarks.tables import VARIANTS
from ernie_inference.console import Parser, number_above, number_from, run_command
from ernie_inference.engines.availability import gpu_is_usable
from ernie_inference.errors import InputError
from ernie_inference.files import check_writable
from examples import demo

ROOT = Path(__file__).resolve().parents[1]

CLUE_DATASETS = [name for name, spec in DATASETS.items() if spec.builder]
MODELS = [name for name in published.CLUE if name.startswith("ernie-3.0") and name != "ernie-3.0-xbase-zh"]
ALL_MODELS, ALL_OF_TABLE_1 = "published", [*published.CLUE, *published.NEWER_MODELS]
# The published advice: 3/4 for 6 layers, 2/3 for 12.
WIDTHS = {"ernie-3.0-base-zh": "2/3"}
DEFAULT_WIDTH = "3/4"
CONFIG_FILE = "config.yml"  # in ROOT
# Which small ERNIE each sample set is trained from stands in examples/demo.py; how it is trained, in config.yml.
SAMPLE_MODELS = {model.dataset: model for model in (demo.REVIEWS, demo.NAMES, demo.QUESTIONS, demo.CHOICES)}


@dataclass(frozen=True)
class Grid:
    """Hyper-parameters to try; epochs and lengths of None are those of config.yml."""

    learning_rates: List[str]
    batch_sizes: List[int]
    epochs: Sequence[Optional[str]] = (None,)
    max_seq_lengths: Sequence[Optional[int]] = (None,)

    def points(self) -> Iterator[Tuple[str, List[str]]]:
        """(name of its folder, flags) of every combination."""
        axes = (self.learning_rates, self.batch_sizes, self.epochs, self.max_seq_lengths)
        for rate, size, epochs, length in itertools.product(*axes):
            flags = ["--learning_rate", rate, "--per_device_train_batch_size", str(size)]
            name = f"lr{rate}-bs{size}"
            if epochs is not None:
                name, flags = f"{name}-ep{epochs}", [*flags, "--num_train_epochs", epochs]
            if length is not None:
                name, flags = f"{name}-len{length}", [*flags, "--max_seq_length", str(length)]
            yield name, flags


class Reproduction:
    """What was asked for, run step by step."""

    def __init__(self, args: argparse.Namespace, runner: Runner):
        self.args, self.runner = args, runner
        self.folder: Path = args.output_dir
        self.flags = [*args.rest, *(["--device", args.device] if args.device else [])]
        self.use_gpu = args.device == "gpu" if args.device else gpu_is_usable()
        self.infer_flags = ["--num_threads", str(args.num_threads)] if args.num_threads else []
        self.infer_part: Dict[str, Any] = {"max_samples": args.max_eval_samples, "data_dir": args.data_dir}
        self.infer_part = {name: value for name, value in self.infer_part.items() if value}
        for name in ("max_eval_samples", "data_dir", "config"):
            if getattr(args, name):
                self.flags += [f"--{name}", str(getattr(args, name))]
        self.report = Report(self.folder, args.samples, self.use_gpu, args.num_threads)

    def subjects(self) -> Iterator[Subject]:
        for dataset, source in itertools.product(self.args.datasets, self.args.models or [None]):
            model = SMALL_ERNIE if source is None else name_of(source)
            source = source or SAMPLE_MODELS[dataset].ernie
            folder = self.folder / model.replace(" ", "_") / dataset.upper()
            widths = self.args.width_mult_list or [WIDTHS.get(model, DEFAULT_WIDTH)]
            candidates = Candidates(widths, self.args.algo_list, self.args.batch_size_list, self.args.depth_mult_list)
            config_file = ROOT / (self.args.config or CONFIG_FILE)
            flags = [*self.flags, *(self.as_published(model, dataset) if self.args.published_hyper_parameters else [])]
            yield Subject(model, source, dataset, folder, flags, config_file, candidates)

    def as_published(self, model: str, dataset: str) -> List[str]:
        """How a model of table 1 was fine-tuned, as flags; without what is given by hand or by the grid."""
        given = parse_flags(self.flags)
        searched = parse_flags([word for _, flags in self.grid(dataset).points() for word in flags])
        left_out = {*given, *(searched if self.args.grid else ())}
        known = published.hyper_parameters(model, dataset)
        return [word for name, value in known.items() if name not in left_out for word in (f"--{name}", value)]

    def grid(self, dataset: str) -> Grid:
        """The grid that was asked for; by default the one that was searched for table 1."""
        args, searched = self.args, published.GRIDS.get(dataset, published.OF_CLASSIFICATION)
        return Grid(
            args.grid_learning_rates or searched.learning_rates,
            args.grid_batch_sizes or searched.batch_sizes,
            args.grid_epochs or [None],
            args.grid_max_seq_lengths or [None],
        )

    def run(self) -> None:
        subjects = list(self.subjects())
        for number, subject in enumerate(subjects, 1):
            print(f"\n=== {number} of {len(subjects)}: {subject.name}", flush=True)
            self.reproduce(subject)
            self.report.write()

    def reproduce(self, subject: Subject) -> None:
        """Fine-tune, compress and measure; ends at the first step that fails, the others of the list go on."""
        reason = published.why_not(subject.model, subject.dataset)
        if reason:
            print(f"left out: {subject.name} ({reason})", flush=True)
            return
        entry = self.report.entry(subject)
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
            return list(self.report.models)
        return [name_of(model) for model in self.args.compress_models]

    def finetune(self, subject: Subject) -> Optional[Path]:
        """The folder of the fine-tuned model, with --grid that of the best on the dev set; None after a failure."""
        if "fine-tune" not in self.args.grid:
            return subject.folder if self.runner.run(subject.finetune()) else None
        best: Optional[Path] = None
        points = dict(self.grid(subject.dataset).points())
        for point, flags in points.items():
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
            return best if self.runner.run(subject.finetune(point, tuple(points[point]))) else None
        return best

    def compress(self, subject: Subject, finetuned: Path) -> Optional[Path]:
        """The folder of the compressed models, with --grid that with the best pruned INT8 model."""
        widths, algorithms, sizes, depths = subject.candidates
        compression = ["--width_mult_list", *widths, "--algo_list", *algorithms, "--batch_size_list", *map(str, sizes)]
        compression += ["--depth_mult_list", *depths] if depths != ["1"] else []
        compression += ["--quantize_embeddings"] if self.args.quantize_embeddings else []
        metric = partial(int8_metric, candidates=subject.candidates)
        if "compress" not in self.args.grid:
            return finetuned / "compress" if self.runner.run(subject.compress(finetuned, compression)) else None
        best: Optional[Path] = None
        for point, flags in self.grid(subject.dataset).points():
            folder = finetuned.with_name(f"{finetuned.name}-pruned-{point}")
            link_model(finetuned, folder)
            if self.runner.run(subject.compress(folder, compression, point, tuple(flags))):
                report = folder / "compress" / "report.json"
                if best is None or metric(report) > metric(best / "report.json"):
                    best = report.parent
        if best is not None:
            print(f"best compression of {subject.name}: {best.parent.name} ({100 * metric(best / 'report.json'):.2f})")
        return best


def name_of(source: str) -> str:
    """A model's name in the tables: as it is published, or that of its folder."""
    return source if source in ALL_OF_TABLE_1 else Path(source).name


def make_small_ernie(model: demo.Model) -> Step:
    return Step(f"make {model.ernie}", model.make_ernie(), (ROOT / model.ernie / "model_state.pdparams").exists)


def link_model(source: Path, target: Path) -> None:
    """A folder with the files of a model, so that compress/ in it is a compression of its own."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        link = target / file.name
        if file.is_file() and not link.exists():
            link.symlink_to(file.resolve())


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", help="default: all eleven, with --samples the four sample sets")
    parser.add_argument("--models", nargs="+", help=f"names or folders, or {ALL_MODELS}; default: the five sizes")
    parser.add_argument("--compress_models", nargs="+", default=[published.COMPRESSED_MODEL], help="which to compress")
    parser.add_argument("--samples", action="store_true", help="the sample sets, with a small ERNIE made for them")
    parser.add_argument("--output_dir", help="default: reproduce, with --samples reproduce/samples")
    parser.add_argument("--device", choices=["cpu", "gpu"], help="default: gpu where there is one")
    parser.add_argument("--num_threads", type=number_from(1), help="of infer.py; default: all processors")
    parser.add_argument("--max_eval_samples", type=number_from(1), help="use only so many dev examples")
    parser.add_argument("--config", help="hyper-parameters per data set; default: config.yml")
    parser.add_argument("--data_dir", help="folder of your own files in the form of the one data set of --datasets")
    parser.add_argument("--width_mult_list", nargs="+", help="default: 3/4, for 12 layers 2/3")
    parser.add_argument("--depth_mult_list", nargs="+", default=["1"], help="shares of layers, each with each width")
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
        "--grid_learning_rates", nargs="+", type=as_typed(number_above(0)), help="default: those of the publication"
    )
    parser.add_argument("--grid_batch_sizes", nargs="+", type=number_from(1), help="likewise, by the data set")
    parser.add_argument("--grid_epochs", nargs="+", type=as_typed(number_above(0)), help="default: config.yml's")
    parser.add_argument("--grid_max_seq_lengths", nargs="+", type=number_from(1), help="default: config.yml's")
    parser.add_argument(
        "--published_hyper_parameters",
        action="store_true",
        help="fine-tune and compress the models of table 1 as they were fine-tuned for it",
    )
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
    named = [each for name in args.models or [] for each in (ALL_OF_TABLE_1 if name == ALL_MODELS else [name])]
    args.models = [from_root(name) if Path(name).is_dir() else name for name in named]
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
        drawn = reproduction.report.draw(runner)
        print(f"\n{reproduction.report.write_tables()}")
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
