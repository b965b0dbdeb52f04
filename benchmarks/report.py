"""What reproduce.py ends with: tables and pictures of all that is finished in its folder."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ernie_suite.data import DATASETS
from ernie_suite.runs import read_json
from ernie_suite.sample_data import WRITERS
from ernie_suite.tasks import FAMILIES

from benchmarks import published
from benchmarks.published import Figures
from benchmarks.steps import Runner
from benchmarks.subjects import Candidates, Subject, best_model, infer_result
from benchmarks.tables import (
    VARIANTS,
    Table,
    clue_table,
    compression_table,
    main_figure,
    percent,
    sample_accuracy_table,
    sample_compression_table,
    speed_table,
)
from ernie_inference.files import publish, write_json
from ernie_inference.processors import describe_processor, usable_processors
from ernie_inference.text_output import open_text

MODELS_FILE = "models.json"
PLOT = Path(__file__).resolve().parent / "plot.py"
PICTURES = ("compression", "training")
PUBLISHED_SPEED = "published method: model only, in order"  # infer.py's name for it
SAMPLE_DATASETS = [name for name in WRITERS if DATASETS[name].family in FAMILIES.values()]  # one of each task family
SMALL_ERNIE = "small ERNIE"  # in the tables, the models that the sample sets are trained from


class Report:
    """The models that are finished in a folder, those of earlier calls with other data sets and models too.

    Attributes:
        models: model to data set to {"finetuned": folder, "compressed": folder, "flags", "measured": which data,
            "candidates"}, as models.json has them.
    """

    def __init__(self, folder: Path, samples: bool, use_gpu: bool, num_threads: Optional[int]):
        self.folder, self.samples, self.use_gpu = folder, samples, use_gpu
        self.num_threads = num_threads or usable_processors()
        self.models: Dict[str, Dict[str, Dict[str, Any]]] = read_json(folder / MODELS_FILE)

    def entry(self, subject: Subject) -> Dict[str, Any]:
        """What is known of a model on a data set, to be filled."""
        return self.models.setdefault(subject.model, {}).setdefault(subject.dataset, {})

    def write(self) -> None:
        """Write models.json and the tables."""
        write_json(self.folder / MODELS_FILE, self.models)
        self.write_tables()

    # -- what was measured

    def finetuned_scores(self) -> Dict[str, Dict[str, Figures]]:
        """Model to data set to metrics of the fine-tuned model, in percent."""
        scores: Dict[str, Dict[str, Figures]] = {}
        for model, dataset, entry in self.entries("finetuned"):
            results = read_json(Path(entry["finetuned"]) / "results.json")
            if "dev" in results:
                scores.setdefault(model, {})[dataset] = percent(results["dev"])
        return scores

    def compressed_scores(self, wanted: str) -> Dict[str, Dict[str, Figures]]:
        """Variant to data set to metrics; FP16 as measured on the GPU, the others as report.json has them."""
        scores: Dict[str, Dict[str, Figures]] = {}
        for variant, dataset, entry, row in self.compressed_rows(wanted, VARIANTS["accuracy"]):
            metrics = row["metrics"]
            if variant.endswith("FP16"):
                metrics = self.measured(dataset, entry, row, "gpu", "fp16").get("metrics")
            if metrics:
                scores.setdefault(variant, {})[dataset] = percent(metrics)
        return scores

    def speeds(self, wanted: str, device: str) -> Dict[str, Dict[str, Figures]]:
        """Variant to data set to (texts/s, main metric in percent), by infer.py --perf."""
        speeds: Dict[str, Dict[str, Figures]] = {}
        for variant, dataset, entry, row in self.compressed_rows(wanted, VARIANTS[device]):
            result = self.measured(dataset, entry, row, device, variant.split()[-1].lower())
            if "speed" in result:
                speed = result["speed"]["texts_per_second"][PUBLISHED_SPEED]
                metric = main_figure(percent(result["metrics"]))
                speeds.setdefault(variant, {})[dataset] = (speed, metric)
        return speeds

    def measured(self, dataset: str, entry: Dict, row: Dict, device: str, precision: str) -> Dict:
        """What infer.py has found of a model of a report; {} where it has not run."""
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

    # -- what is made of it

    def tables(self) -> List[Table]:
        samples = self.samples
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
        machine = describe_processor(self.num_threads)
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
        machine = describe_processor(self.num_threads)
        content = {"command": command, "machine": machine, "tables": [table.to_dict() for table in tables]}
        write_json(self.folder / "tables.json", content)
        return text

    def draw(self, runner: Runner) -> List[str]:
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
                    command = [str(PLOT), kind, str(temporary / f"{kind}.png"), *files]
                    status = subprocess.run([sys.executable, *command]).returncode
                if status:
                    runner.fail(f"draw {kind}.png", f"exit status {status}")
                else:
                    drawn.append(str(self.folder / f"{kind}.png"))
        return drawn
