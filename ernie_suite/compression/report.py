"""Which of the compressed models is the best: each is run on the dev set by Paddle Inference on the CPU."""

import shlex
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from tqdm import tqdm

from ernie_inference.console import note, print_table
from ernie_inference.engine_choice import disagreeing, load_installed, time_engines
from ernie_inference.files import write_json
from ernie_inference.inference_config import load_task
from ernie_inference.predictor import ErniePredictor, load_predictor
from ernie_inference.tasks.base import Window

REPORT_FILE = "report.json"
BATCH_SIZE = 32
WARM_UP_WINDOWS = 2 * BATCH_SIZE
COMPARED_WINDOWS = 2 * BATCH_SIZE
WARM_UP_ROUNDS, COMPARED_ROUNDS = 1, 5

Row = Dict[str, Any]

FIGURES = ("metrics", "bytes", "texts_per_second", "speedup")


def measure(prefix: Path, precision: str, examples: List[Dict], metric: Callable, original: Path) -> Row:
    """Accuracy and speed of an exported model on the CPU at its real precision.

    Args:
        original: the FP32 model that the speed is compared with.

    Returns, under the names of FIGURES (records.py keeps them with the model, and measures anew where others are kept):
        {"metrics", "bytes" of program and parameters, "texts_per_second" of the engine, tokenization
        and decoding left out: texts / seconds at batch size 32 after a warm-up, "speedup" against the
        original, the two in turn}.
    """
    predictor = load_predictor(prefix, device="cpu", precision=precision)
    task = predictor.task
    windows = [task.windows(example) for example in tqdm(examples, desc="tokenizing", leave=False)]
    flat = [window for of_example in windows for window in of_example]
    predictor.run_windows(flat[:WARM_UP_WINDOWS], BATCH_SIZE)
    started = time.perf_counter()
    outputs = predictor.run_windows(flat, BATCH_SIZE)
    seconds = time.perf_counter() - started
    results = list(task.answers(examples, windows, outputs))
    return {
        "metrics": {name: float(value) for name, value in metric(examples, results).items()},
        "bytes": sum(file.stat().st_size for file in predictor.engine.files),
        "texts_per_second": len(examples) / seconds,
        "speedup": 1.0 if prefix == original else compare_speed(predictor, original, flat),
    }


def compare_speed(predictor: ErniePredictor, original: Path, windows: List[Window]) -> float:
    """How many times as fast as the original: the median of rounds in which both run the same windows, in turn.

    What else the machine does at the time slows both alike.
    """
    reference = load_predictor(original, device="cpu")
    sample = sorted(windows, key=lambda window: len(window.input_ids))[:: max(1, len(windows) // COMPARED_WINDOWS)]
    ratios = []
    for compared in range(WARM_UP_ROUNDS + COMPARED_ROUNDS):
        seconds = []
        for each in (reference, predictor):
            started = time.perf_counter()
            each.run_windows(sample[:COMPARED_WINDOWS], BATCH_SIZE)
            seconds.append(time.perf_counter() - started)
        if compared >= WARM_UP_ROUNDS:
            ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)


def compare_engines(prefix: Path, precision: str, examples: List[Dict], original: Path) -> Dict[str, float]:
    """How many times as fast as the original on Paddle a model is with each installed engine, all of them in turn.

    An engine that cannot run it, or whose answers are too often others than Paddle's, is left out, as by --engine auto.
    """
    reference = load_predictor(original, device="cpu")
    predictors, problems = load_installed(prefix, device="cpu", precision=precision)
    task = load_task(prefix.parent)  # the model's own, for it may have fewer tokens than the original
    windows = [window for example in examples for window in task.windows(example)]
    sample = sorted(windows, key=lambda window: len(window.input_ids))[:: max(1, len(windows) // COMPARED_WINDOWS)]
    for engine, reason in {**problems, **disagreeing(predictors, sample)}.items():
        note(f"{prefix} is not timed with {engine}: {reason}")
        predictors.pop(engine, None)
    speeds = time_engines({"original": reference, **predictors}, sample[:COMPARED_WINDOWS])
    return {engine: speeds[engine] / speeds["original"] for engine in predictors}


def summarize(rows: List[Row], metric: str) -> Dict:
    """The report: rows by metric, each with its change against the model as it came (the first row).

    Ties go by speed, to a tenth of the original's, which does not change from one run to the next; then by size.
    """
    original = rows[0]
    for row in rows:
        row["change"] = row["metrics"][metric] - original["metrics"][metric]
    ordered = sorted(rows, key=lambda row: (-row["metrics"][metric], -round(row["speedup"], 1), row["bytes"]))
    best = next((row["model"] for row in ordered if row["precision"] == "int8"), None)
    report = {"metric": metric, "original": original["model"], "best_int8": best, "models": ordered}
    timed = {row["model"]: row["engines"] for row in ordered if row.get("engines")}
    chosen = next((model for model in (best, best_pruned(ordered), original["model"]) if model in timed), None)
    if chosen:
        engine = fastest(timed[chosen])
        report["best_engine"] = {"model": chosen, "engine": engine, "speedup": timed[chosen][engine]}
    return report


def best_pruned(rows: List[Row]) -> Optional[str]:
    """The first pruned FP32 model."""
    return next((row["model"] for row in rows if row.get("width") and row["precision"] == "fp32"), None)


def fastest(speeds: Dict[str, float]) -> str:
    return max(speeds, key=speeds.__getitem__)


def print_report(report: Dict, output_dir: Path, task_name: str, data_dir: Optional[str] = None) -> None:
    """The table, the best INT8 model, and the commands that try it, the model as it came and the best pruned one."""
    metric = report["metric"]
    rows = [
        {
            "model": row["model"],
            metric: f"{100 * row['metrics'][metric]:.2f}",
            "change": f"{100 * row['change']:+.2f}",
            "MB": f"{row['bytes'] / 2**20:.1f}",
            "texts/s": f"{row['texts_per_second']:.1f}",
            "ratio": f"{row['speedup']:.2f}x",
        }
        for row in report["models"]
    ]
    if any(row.get("memory") for row in report["models"]):
        for cells, row in zip(rows, report["models"]):
            cells["memory MB"] = f"{row['memory'] / 2**20:.0f}" if row.get("memory") else ""
    if any(row.get("engines") for row in report["models"]):
        for cells, row in zip(rows, report["models"]):
            speeds = row.get("engines")
            cells["best engine"] = f"{fastest(speeds)} {max(speeds.values()):.2f}x" if speeds else ""
    print_table(rows, right=[column for column in rows[0] if column not in ("model", "best engine")])
    if report["best_int8"]:
        print(f"best INT8 model: {output_dir / report['best_int8']}")
    named = list(filter(None, (report["original"], best_pruned(report["models"]), report["best_int8"])))
    print("try them:")
    for model in named:
        command = ["python", "infer.py", "--task_name", task_name]
        command += ["--data_dir", data_dir] if data_dir else []
        command += ["--model_path", str(output_dir / model)]
        command += ["--precision", "int8"] if model == report["best_int8"] else []
        print(f"  {shlex.join(command)}")
    files = {row["model"]: row["onnx"] for row in report["models"] if row.get("onnx")}
    if files.keys() & set(named):
        print("without Paddle, by their .onnx files (requirements-deploy.txt):")
    for model in [name for name in named if name in files]:
        command = ["python", "deploy/python/infer_cpu.py", "--model_path", str(output_dir / files[model])]
        command += ["--engine", "auto", *(["--precision_mode", "int8"] if model == report["best_int8"] else [])]
        print(f"  {shlex.join(command)}")


def print_best_engine(report: Dict, output_dir: Path) -> None:
    """One line that names the best model with the engine that runs it the fastest."""
    best = report.get("best_engine")
    if best:
        print(
            f"best model and engine: {output_dir / best['model']} with --engine {best['engine']}, "
            f"{best['speedup']:.2f} times as fast as the original with paddle"
        )


def write_report(report: Dict, output_dir: Path) -> Path:
    path = output_dir / REPORT_FILE
    write_json(path, report)
    return path
