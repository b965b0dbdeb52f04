"""Which of the compressed models is the best: each is run on the dev set by Paddle Inference on the CPU.

choice.py says by which part of the dev set it is chosen, and on which its change is shown.
"""

import shlex
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from ernie_suite.compression.choice import (
    CONFIDENCE,
    add_changes,
    by_score,
    choose,
    fastest,
    find_wishes,
    front,
    loss,
    shown_change,
    speeds_of,
)
from ernie_suite.compression.config import CompressConfig
from ernie_suite.compression.fresh_process import FreshProcess
from ernie_suite.compression.halves import FEWEST_EXAMPLES, halves_of
from ernie_suite.compression.pareto import draw_report
from ernie_suite.tasks.metric import Metric

import numpy as np
from tqdm import tqdm

from ernie_inference.console import note, print_table
from ernie_inference.files import write_json
from ernie_inference.inference_config import load_task
from ernie_inference.predictor import ErniePredictor, load_predictor
from ernie_inference.tasks.base import Window

REPORT_FILE = "report.json"
BATCH_SIZE = 32
COMPARED_WINDOWS = 2 * BATCH_SIZE

Row = Dict[str, Any]

FIGURES = ("metrics", "bytes", "texts_per_second", "speedup", "outcomes")


def measure(
    prefix: Path, precision: str, examples: List[Dict], metric: Callable, original: Path, process: FreshProcess
) -> Row:
    """Accuracy and speed of an exported model on the CPU at its real precision.

    Args:
        original: the FP32 model that the speed is compared with.
        process: times them.

    Returns, under the names of FIGURES (records.py keeps them with the model, and measures anew where others are kept):
        {"metrics", "bytes" of program and parameters, what compare_speed returns, "outcomes" that the metrics are sums
        of, for unpack; None of a metric that is a mere function}.
    """
    predictor = load_predictor(prefix, device="cpu", precision=precision)
    task = predictor.task
    windows = [task.windows(example) for example in tqdm(examples, desc="tokenizing", leave=False)]
    flat = [window for of_example in windows for window in of_example]
    results = list(task.answers(examples, windows, predictor.run_windows(flat, BATCH_SIZE)))
    if isinstance(metric, Metric):
        outcomes = metric.outcomes(examples, results)
        figures, packed = metric.of_outcomes(outcomes), pack(outcomes)
    else:
        figures, packed = metric(examples, results), None
    return {
        "metrics": {name: float(value) for name, value in figures.items()},
        "bytes": sum(file.stat().st_size for file in predictor.engine.files),
        **compare_speed(predictor, original, flat, len(examples), process),
        "outcomes": packed,
    }


def pack(outcomes: np.ndarray) -> List[str]:
    """Outcomes [examples, numbers] as JSON keeps them: a text a number, short for thousands of examples."""
    return [" ".join(str(int(x)) if x.is_integer() else repr(x) for x in column) for column in outcomes.T.tolist()]


def unpack(columns: List[str]) -> np.ndarray:
    """What pack has made JSON of, float64 [examples, numbers]."""
    return np.array([column.split() for column in columns], dtype=np.float64).T


def compare_speed(
    predictor: ErniePredictor, original: Path, windows: List[Window], texts: int, process: FreshProcess
) -> Dict[str, float]:
    """How fast a model is, by FreshProcess.least_seconds of the original and it.

    It is the engine alone that is timed, as where models are chosen by their speed (latency.py).

    Args:
        windows: of so many texts.

    Returns:
        {"texts_per_second" at batch size 32, tokenization and decoding left out, "speedup" against the original}.
    """
    sample = compared_sample(windows)
    batches = [batch for _, batch in predictor.batches(sample, BATCH_SIZE)]
    prefix, precision = predictor.engine.prefix, predictor.engine.config.precision
    models = [(original, "fp32")] + ([(prefix, precision)] if prefix != original else [])
    seconds = process.least_seconds(models, batches, "speed")
    return {
        "texts_per_second": len(sample) / seconds[-1] * texts / len(windows),
        "speedup": seconds[0] / seconds[-1],
    }


def compared_sample(windows: Sequence[Window]) -> List[Window]:
    """Of windows those whose speed is compared: COMPARED_WINDOWS at even distances among all, ordered by length."""
    by_length = sorted(windows, key=lambda window: len(window.input_ids))
    kept = np.linspace(0, len(windows) - 1, min(len(windows), COMPARED_WINDOWS)).round().astype(int)
    return [by_length[number] for number in kept]


def compare_engines(
    prefix: Path, precision: str, examples: List[Dict], original: Path, process: FreshProcess
) -> Dict[str, float]:
    """How many times as fast as the original on Paddle a model is with each installed engine, all of them in turn.

    An engine that cannot run it, or whose answers are too often others than Paddle's, is left out, as by --engine auto.
    """
    task = load_task(prefix.parent)  # the model's own, for it may have fewer tokens than the original
    windows = [window for example in examples for window in task.windows(example)]
    sample = compared_sample(windows)
    found = process.engines((prefix, precision), (original, "fp32"), sample)
    for engine, reason in found["left_out"].items():
        note(f"{prefix} is not timed with {engine}: {reason}")
    return found["ratios"]


def make_report(trainer, rows: List[Row], outcomes: Dict[str, Optional[List[str]]], config: CompressConfig) -> Dict:
    """The report on the models of a trainer.

    Args:
        rows: the models with what measure says of them, the original first.
        outcomes: of each model, as measure has them.

    Returns:
        what summarize returns, with "seed" and "dev_halves": {"choosing", "held_out": how many examples of the dev set
        each half has, "calibration": which half INT8 models are calibrated with}. Where none is held out, for there are
        too few examples or the metric is a mere function, "choosing" is all of them; else rows have choice.add_changes.
    """
    name, seed, halves = trainer.args.metric_for_best_model, trainer.args.seed, halves_of(trainer)
    known = {model: unpack(columns) for model, columns in outcomes.items() if columns is not None}
    held_out = len(halves.held_out) if len(known) == len(rows) else 0
    if held_out:
        add_changes(rows, known, halves, trainer.metric, name, seed)
    sizes = {"choosing": len(trainer.eval_examples) - held_out, "held_out": held_out, "calibration": "choosing"}
    return {"seed": seed, "dev_halves": sizes, **summarize(rows, name, config.max_loss, config.min_speedup)}


def summarize(
    rows: List[Row], metric: str, max_loss: Optional[float] = None, min_speedup: Optional[float] = None
) -> Dict:
    """The models in the order of choice.by_score, with what is chosen among them.

    Returns:
        {"metric", "original": the first row's model, "best_int8", "chosen": [choice.choose, for each thing that is
        asked for], "models": the rows, each with its "change" against the original on the whole dev set and with
        "front", whether it is on the Pareto front, and "best_engine" where engines were timed}.
    """
    original = rows[0]
    for row in rows:
        row["change"] = row["metrics"][metric] - original["metrics"][metric]
    on_front = front(rows, speeds_of(rows))
    for row in rows:
        row["front"] = row["model"] in on_front
    ordered = sorted(rows, key=by_score(metric, {row["model"]: row["speedup"] for row in rows}))
    best = next((row["model"] for row in ordered if row["precision"] == "int8"), None)
    chosen = [choose(rows, wish) for wish in find_wishes(rows, metric, max_loss, min_speedup)]
    report = {"metric": metric, "original": original["model"], "best_int8": best, "chosen": chosen, "models": ordered}
    timed = {row["model"]: row["engines"] for row in ordered if row.get("engines")}
    preferred = [*(choice["model"] for choice in chosen), best, best_smaller(ordered, original["model"])]
    subject = next((model for model in [*preferred, original["model"]] if model in timed), None)
    if subject:
        engine = fastest(timed[subject])
        report["best_engine"] = {"model": subject, "engine": engine, "speedup": timed[subject][engine]}
    return report


def best_smaller(rows: List[Row], original: str) -> Optional[str]:
    """The first FP32 model that is not the original."""
    return next((row["model"] for row in rows if row["precision"] == "fp32" and row["model"] != original), None)


def print_report(report: Dict, output_dir: Path, task_name: str, data_dir: Optional[str] = None) -> None:
    """The table, the best INT8 model, what is chosen, and the commands that try it, the model as it came and the best
    pruned one."""
    rows = {row["model"]: row for row in report["models"]}
    if "dev_halves" in report:
        print(how_chosen(report["dev_halves"]))
    right = [report["metric"], "change", "choosing", "held out", "MB", "memory MB", "texts/s", "ratio"]
    print_table(table(report), right=right)
    if report["best_int8"]:
        print(f"best INT8 model: {output_dir / report['best_int8']}")

    def print_command(row: Row, engine: Optional[str] = None) -> None:
        command = ["python", "infer.py", "--task_name", task_name]
        command += ["--data_dir", data_dir] if data_dir else []
        command += ["--model_path", str(output_dir / row["model"])]
        command += ["--precision", "int8"] if row["precision"] == "int8" else []
        command += ["--engine", engine] if engine and engine != "paddle" else []
        print(f"  {shlex.join(command)}")

    for choice in report["chosen"]:
        print(chosen_line(choice, report, output_dir))
        if choice["model"]:
            row = rows[choice["model"]]
            is_by_engine = all(row.get("engines") for row in report["models"])
            print_command(row, fastest(row["engines"]) if is_by_engine else None)
    smaller = best_smaller(report["models"], report["original"])
    named = list(filter(None, (report["original"], smaller, report["best_int8"])))
    print("try them:")
    for model in named:
        print_command(rows[model])
    files = {row["model"]: row["onnx"] for row in report["models"] if row.get("onnx")}
    if files.keys() & set(named):
        print("without Paddle, by their .onnx files (requirements-deploy.txt):")
    for model in [name for name in named if name in files]:
        command = ["python", "deploy/python/infer_cpu.py", "--model_path", str(output_dir / files[model])]
        command += ["--engine", "auto", *(["--precision_mode", "int8"] if model == report["best_int8"] else [])]
        print(f"  {shlex.join(command)}")


def table(report: Dict) -> List[Dict[str, str]]:
    """The models of a report with their figures as people read them; all rows have the same columns."""
    metric, models = report["metric"], report["models"]
    lines = []
    for row in models:
        cells = {
            "model": row["model"],
            metric: f"{100 * row['metrics'][metric]:.2f}",
            "change": f"{100 * row['change']:+.2f}",
        }
        if "held_out" in row:
            cells["choosing"] = f"{100 * row['choosing']['change']:+.2f}"
            cells["held out"] = points_with_interval(row)
        cells["MB"] = f"{row['bytes'] / 2**20:.1f}"
        if any(other.get("memory") for other in models):
            cells["memory MB"] = f"{row['memory'] / 2**20:.0f}" if row.get("memory") else ""
        cells["texts/s"] = f"{row['texts_per_second']:.1f}"
        cells["ratio"] = f"{row['speedup']:.2f}x"
        cells["front"] = "*" if row["front"] else ""
        if any(other.get("engines") for other in models):
            speeds = row.get("engines")
            cells["best engine"] = f"{fastest(speeds)} {max(speeds.values()):.2f}x" if speeds else ""
        lines.append(cells)
    return lines


def points_with_interval(row: Row) -> str:
    """The shown change in points of the metric: "-0.61 [-1.36, +0.20]", without an interval where none is held out."""
    text = f"{100 * shown_change(row):+.2f}"
    if "held_out" in row:
        text += " [{:+.2f}, {:+.2f}]".format(*(100 * end for end in row["held_out"]["interval"]))
    return text


def chosen_line(choice: Dict, report: Dict, output_dir: Path) -> str:
    """Which model is the one that was asked for; or that none is, and which comes nearest."""
    speeds = speeds_of(report["models"])
    row = next((row for row in report["models"] if row["model"] == (choice["model"] or choice["nearest"])), None)
    if row is None:
        return f"chosen: none, as there is no compressed model ({choice['flag']} {choice['limit']:g})"
    facts = f"{speeds[row['model']]:.2f}x, change {points_with_interval(row)}"
    if "held_out" in row:
        facts = f"{facts} held out, {-loss(row):+.2f} choosing"
    if choice["model"]:
        return f"chosen: {output_dir / row['model']}, {choice['best']} that {choice['needs']}: {facts}"
    return f"chosen: none, as no model {choice['needs']}; nearest: {output_dir / row['model']}, {facts}"


def how_chosen(halves: Dict) -> str:
    """In one line, which examples the models are chosen by, and which their change is shown on."""
    choosing, held_out = halves["choosing"], halves["held_out"]
    if held_out:
        return (
            f"dev set: models are chosen by {choosing:,} examples (their change: choosing); on the other {held_out:,} "
            f"(held out) is the change to be expected, with its {100 * CONFIDENCE:.0f} % confidence interval"
        )
    return (
        f"dev set: no half is held out of {choosing:,} examples (that takes {FEWEST_EXAMPLES} texts): the "
        "change is on the examples that models are chosen by, where the best of many looks better than it is"
    )


def print_best_engine(report: Dict, output_dir: Path) -> None:
    """One line that names the best model with the engine that runs it the fastest."""
    best = report.get("best_engine")
    if best:
        print(
            f"best model and engine: {output_dir / best['model']} with --engine {best['engine']}, "
            f"{best['speedup']:.2f} times as fast as the original with paddle"
        )


def write_report(report: Dict, output_dir: Path) -> Path:
    """Write report.json and, beside it, the picture; returns the former."""
    path = output_dir / REPORT_FILE
    write_json(path, report)
    draw_report(report, output_dir)
    return path
