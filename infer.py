"""How right and how fast an exported model is, on any data set of the suite.

    python infer.py --task_name tnews --model_path best_models/TNEWS/compress/inference/infer
    python infer.py --task_name tnews --model_path best_models/TNEWS/compress/0.75/float --perf
    python infer.py --task_name tnews --model_path best_models/TNEWS/compress/0.75/hist16/int8 --precision int8
    python infer.py --task_name tnews --model_path best_models/TNEWS/compress/0.75/hist16/int8 --precision int8 \\
        --engine auto --perf
    python infer.py --task_name msra_ner --model_path best_models/MSRA_NER/export --use_onnxruntime --num_threads 12
    python infer.py --dataset "clue cmrc2018" --model_path best_models/CMRC2018/export --device gpu --use_trt

Prints the metrics of the data set (and with --perf the speed, by the method of the published figures and by ours, and
how long a single text takes), and writes them beside the model.
"""

import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable, Dict, Generic, Iterable, Iterator, List, Tuple, TypeVar, Union

from ernie_suite.analysis.base import Report
from ernie_suite.analysis.run import (
    Analyzed,
    analyze,
    described_temperature,
    header,
    keep_temperature,
    temperature_of,
    write_report,
)
from ernie_suite.answered_split import AnsweredSplit
from ernie_suite.data import find_dataset
from ernie_suite.figures import figures_file
from ernie_suite.reading import Example
from ernie_suite.tasks import TaskFamily

import numpy as np
from tqdm import tqdm

from ernie_inference.answer_options import CUT, add_answer_flags, answer_options_of
from ernie_inference.batches import run_seconds
from ernie_inference.console import Parser, number_from, print_row, run_command
from ernie_inference.engine_choice import add_engine_flags, engine_of, load_with, without_scores
from ernie_inference.engines.availability import gpu_is_usable
from ernie_inference.engines.backends import OPENVINO
from ernie_inference.errors import InputError
from ernie_inference.files import write_json
from ernie_inference.predictor import ErniePredictor

WARM_UP_BATCHES = 5
PUBLISHED_METHOD = "published method: model only, in order"
SINGLE_TEXTS = 200  # that are timed one by one: enough for p99
PERF_SLICE = 2048  # examples that every way of running does before the next ones: a slower minute hits all alike

Examples = Union[AnsweredSplit, List[Example]]
Item = TypeVar("Item")


def parse_arguments() -> Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--task_name", "--dataset", required=True, help='data set, as tnews or as "clue tnews"')
    parser.add_argument("--model_path", required=True, help="prefix or folder of a model, or a prefix's beginning")
    parser.add_argument("--data_dir", help="folder of your own files in the data set's format")
    parser.add_argument("--split", default="dev", choices=["train", "dev", "test"])
    parser.add_argument("--device", choices=["cpu", "gpu"], help="default: gpu where there is one")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16", "bf16", "int8"])
    parser.add_argument("--use_trt", action="store_true", help="TensorRT, on a GPU")
    add_engine_flags(parser)
    parser.add_argument("--batch_size", type=number_from(1), default=32)
    parser.add_argument("--max_seq_length", type=number_from(1), help="default: as the model was trained")
    parser.add_argument("--num_threads", type=number_from(1), help="default: all processors this process may use")
    parser.add_argument("--max_samples", type=number_from(1), help="use only the first so many examples")
    parser.add_argument("--perf", action="store_true", help="measure the speed too")
    parser.add_argument("--analyze", action="store_true", help="write a page about the mistakes beside the model")
    parser.add_argument(
        "--calibrate", action="store_true", help="with --analyze: keep the temperature it finds in inference.json"
    )
    parser.add_argument("--show", type=number_from(0), default=0, metavar="N", help="print N texts with their answers")
    add_answer_flags(parser)
    args = parser.parse_args()
    args.answer_options = answer_options_of(args)
    # All is answered first, and only then shown: what cannot be shown is refused before.
    find_dataset(args.task_name).family.task_class.answer_options(**args.answer_options.given)
    if (args.top_k, args.threshold) != (None, None) and not args.show:
        raise InputError("--top_k and --threshold are for the answers that --show prints: add it; metrics are without")
    if args.calibrate and not args.analyze:
        raise InputError("--calibrate keeps the temperature that --analyze finds: add it")
    if args.calibrate and args.split == "train":
        raise InputError("--calibrate fits a temperature on texts that the model was not trained on: use --split dev")
    args.engine = engine_of(args)
    if args.device is None:
        # Whoever asks for TensorRT wants a GPU; what is missing for it is then said by name.
        wants_gpu = args.use_trt or (args.engine != OPENVINO and gpu_is_usable())
        args.device = "gpu" if wants_gpu else "cpu"
    return args


def make_predictor(args: Namespace) -> ErniePredictor:
    """The predictor that the flags describe, for the task family of the data set."""
    options: Dict[str, Any] = {
        "task_name": find_dataset(args.task_name).task_name,
        "max_seq_length": args.max_seq_length,
        "long_texts": args.long_texts,
        "device": args.device,
        "precision": args.precision,
        "num_threads": args.num_threads,
        "batch_size": args.batch_size,
    }
    return load_with(args.engine, args.model_path, args.use_trt, **options)


def check_labels(predictor: ErniePredictor, examples: AnsweredSplit, family: TaskFamily, args: Namespace) -> None:
    """Raises InputError where the model is not for the form of the examples, or does not know one of their labels."""
    if type(predictor.task) is not family.task_class:
        one, several = "one label a text", "several labels a text"
        has, needs = (several, one) if predictor.task.thresholds else (one, several)
        raise InputError(f"{args.model_path} was trained for {has}, {args.task_name} has {needs}: give another model")
    if not family.task_class.has_labels:
        return
    unknown = sorted(examples.labels - set(predictor.task.labels))
    if unknown:
        raise InputError(
            f"{args.model_path} does not know the label {unknown[0]!r} of {args.task_name}: "
            f"it was trained for {', '.join(predictor.task.labels)}"
        )


class Timed(Generic[Item]):
    """An iterator, with the seconds that its items took; what is done with them between is not counted."""

    def __init__(self, items: Iterable[Item]):
        self._items, self.seconds = iter(items), 0.0

    def __iter__(self) -> "Timed[Item]":
        return self

    def __next__(self) -> Item:
        started = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - started


class Shown:
    """args.show examples, evenly drawn, with their results."""

    def __init__(self, count: int, most: int):
        self._every, self._most = max(1, count // max(1, most)), most
        self.pairs: List[Tuple[Example, Dict]] = []

    def among(self, pairs: Iterable[Tuple[Example, Dict]]) -> Iterator[Tuple[Example, Dict]]:
        """All these pairs, of which the drawn ones are kept."""
        for number, pair in enumerate(pairs):
            if number % self._every == 0 and len(self.pairs) < self._most:
                self.pairs.append(pair)
            yield pair


def answer_all(predictor: ErniePredictor, examples: Examples, shown: Shown, args: Namespace) -> Dict[str, Any]:
    """The metrics of the answers to all examples, and how many texts a second that was, from text to answer.

    Only a few batches of the answers are held, and of the examples where these are a split.
    """
    computed = predictor.outputs_iter(examples, args.batch_size)
    answered = Timed((each[0], predictor.task.decode(*each)) for each in computed)
    pairs = tqdm(answered, total=len(examples), unit="text")
    metrics = find_dataset(args.task_name).family.metric.of_pairs(shown.among(pairs), examples)
    return {"metrics": metrics, "texts_per_second": len(examples) / answered.seconds}


def analyze_all(predictor: ErniePredictor, examples: List[Example], args: Namespace) -> Tuple[Analyzed, float]:
    """The answers with the report of an analysis, and the speed, in which what that takes counts."""
    started, family = time.perf_counter(), find_dataset(args.task_name).family
    computed = tqdm(predictor.outputs_iter(examples, args.batch_size), total=len(examples), unit="text")
    analyzed = analyze(family, predictor.task, examples, computed)
    return analyzed, len(examples) / (time.perf_counter() - started)


def show(predictor: ErniePredictor, pairs: List[Tuple[Example, Dict]], args: Namespace) -> None:
    """Print some texts with the model's answer, its confidence and the right answer."""
    family, options = find_dataset(args.task_name).family, args.answer_options.given
    examples, results = (list(items) for items in zip(*pairs))
    if options:  # all were answered without, for the metrics
        results = predictor.predict(examples, args.batch_size, **options)
    for example, result in zip(examples, results):
        text, found, wanted = family.shown(example, result)
        mark = "right" if found == wanted else f"wrong, it is {wanted}"
        print(f"\n{shorten(text)}\n    {found or 'nothing'}{confidence(result)}   ({mark})")
        for line in predictor.task.describe(result)[1:] if options else []:
            print(f"    {line}")


def shorten(text: str, width: int = 70) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[:width] + "..."


def confidence(result: Dict) -> str:
    value = result.get("confidence", result.get("score"))
    return "" if value is None else f"   {value:.1%}"


def answer_in_order(predictor: ErniePredictor, examples: List[Example], batch_size: int) -> List[Dict]:
    """Text to answer without any of what predict() does for speed: batch after batch, as the texts come."""
    results: List[Dict] = []
    for begin in range(0, len(examples), batch_size):
        batch = examples[begin : begin + batch_size]
        windows = [predictor.task.windows(example) for example in batch]
        outputs = predictor.run_windows([w for some in windows for w in some], batch_size, sort=False)
        results += predictor.task.answers(batch, windows, outputs)
    return results


def measure(predictor: ErniePredictor, examples: List[Example], batch_size: int) -> Dict[str, Any]:
    """Texts a second: by the method of the published figures (batches in fixed order, inputs prepared before the
    clock starts, total_samples / total_time after a warm-up), and from text to answer, in order and as predict() does.
    And how long single texts take.
    """
    ways: List[Tuple[str, Callable]] = [
        ("text to answer, in order", lambda some: answer_in_order(predictor, some, batch_size)),
        ("text to answer, sorted by length", lambda some: predictor.predict(some, batch_size)),
    ]
    seconds = dict.fromkeys([PUBLISHED_METHOD] + [name for name, _ in ways], 0.0)
    different = 0
    predictor.predict(examples[: WARM_UP_BATCHES * batch_size], batch_size)
    for begin in tqdm(range(0, len(examples), PERF_SLICE), desc="speed", unit="slice"):
        some = examples[begin : begin + PERF_SLICE]
        seconds[PUBLISHED_METHOD] += time_model(predictor, some, batch_size)
        answers = []
        for name, way in ways:
            start = time.perf_counter()
            answers.append(way(some))
            seconds[name] += time.perf_counter() - start
        different += sum(a != b for a, b in zip(*map(without_scores, answers)))
    return {
        "texts_per_second": {name: len(examples) / value for name, value in seconds.items()},
        "different_answers": different,
        "single_texts": time_single_texts(predictor, examples),
    }


def time_single_texts(predictor: ErniePredictor, examples: List[Example]) -> Dict[str, float]:
    """p50 and p99, in milliseconds, of texts one at a time, text to answer; of SINGLE_TEXTS examples, evenly drawn.

    Each is answered once before: what an engine makes when it first sees a length is not counted.
    """
    some = [examples[i] for i in np.linspace(0, len(examples) - 1, min(SINGLE_TEXTS, len(examples))).astype(int)]
    seconds = []
    for counts in (False, True):
        for example in tqdm(some, desc="single texts", unit="text"):
            start = time.perf_counter()
            predictor.predict([example])
            if counts:
                seconds.append(time.perf_counter() - start)
    p50, p99 = 1000 * np.percentile(seconds, (50, 99))
    return {"texts": len(some), "p50_milliseconds": float(p50), "p99_milliseconds": float(p99)}


def time_model(predictor: ErniePredictor, examples: List[Example], batch_size: int) -> float:
    """Seconds that the engine alone takes for batches of windows in fixed order."""
    windows = [window for example in examples for window in predictor.task.windows(example)]
    groups = [windows[begin : begin + batch_size] for begin in range(0, len(windows), batch_size)]
    batches = [predictor.pad(group) for group in groups]
    return run_seconds(predictor.engine, batches)


def report(args: Namespace, predictor: ErniePredictor, count: int, figures: Dict[str, Any]) -> Path:
    """Print the figures as a table and write them beside the model; returns that file."""
    config = predictor.engine.config
    dataset = find_dataset(args.task_name).name
    print_row(
        task=predictor.task.name,
        data=f"{dataset} {args.split}",
        examples=f"{count:,}",
        **{name: f"{value:.4f}" for name, value in figures["metrics"].items()},
        **{"texts/s": f"{figures['texts_per_second']:.0f}"},
        model=str(predictor.engine.prefix),
    )
    rows = []
    if "speed" in figures:
        speeds = figures["speed"]["texts_per_second"]
        first = next(iter(speeds.values()))
        rows += [(name, f"{value:.1f} texts/s   {value / first:.2f}x") for name, value in speeds.items()]
        rows.append(("answers that differ", str(figures["speed"]["different_answers"])))
        single = figures["speed"]["single_texts"]
        latencies = "   ".join(f"{name} {single[f'{name}_milliseconds']:.2f} ms" for name in ("p50", "p99"))
        rows.append(("text to answer, one at a time", latencies))
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}   {value}")
    path = figures_file(
        predictor.engine.prefix,
        dataset,
        (config.backend, config.device, config.precision),
        split=args.split,
        max_samples=args.max_samples,
        max_seq_length=args.max_seq_length,
        long_texts=args.long_texts,
        data_dir=args.data_dir,
    )
    content = {
        "dataset": dataset,
        "data_dir": args.data_dir,
        "split": args.split,
        "examples": count,
        "engine": predictor.engine.describe(),
        "batch_size": args.batch_size,
        "max_seq_length": predictor.task.max_seq_length,
        "long_texts": predictor.task.long_texts or CUT,
        **figures,
    }
    write_json(path, content)
    print(f"wrote {path}")
    return path


def write_analysis(
    args: Namespace, predictor: ErniePredictor, count: int, metrics: Dict[str, float], found: Report, figures: Path
) -> None:
    """Write an analysis beside the file of the figures, as .analysis.html and .json; with --calibrate, keep its
    temperature beside the model."""
    dataset, prefix = find_dataset(args.task_name).name, predictor.engine.prefix
    head = header(
        dataset, args.split, count, metrics,
        model=str(prefix), engine=predictor.engine.describe(), data_dir=args.data_dir,
    )  # fmt: skip
    page = write_report({**head, **found}, figures.with_name(f"{figures.name[: -len('.json')]}.analysis"))
    print(f"analysis: {page}")
    if args.calibrate:
        keep_temperature(prefix.parent, temperature_of(found))
        print(described_temperature(found))


def main() -> None:
    args = parse_arguments()
    predictor = make_predictor(args)
    print(predictor.engine.describe(), flush=True)
    dataset = find_dataset(args.task_name)
    split = AnsweredSplit(dataset, args.split, args.data_dir, args.max_samples)
    check_labels(predictor, split, dataset.family, args)
    held = list(split) if args.analyze or args.perf else []
    shown = Shown(len(split), args.show)
    found: Report = {}
    if args.analyze:
        (results, found), speed = analyze_all(predictor, held, args)
        metrics = dataset.family.metric.of_pairs(shown.among(zip(held, results)), held)
        figures: Dict[str, Any] = {"metrics": metrics, "texts_per_second": speed}
    else:
        figures = answer_all(predictor, held or split, shown, args)
    if args.show:
        show(predictor, shown.pairs, args)
        print()
    if args.perf:
        figures["speed"] = measure(predictor, held, args.batch_size)
    path = report(args, predictor, len(split), figures)
    if args.analyze:
        write_analysis(args, predictor, len(split), figures["metrics"], found, path)


if __name__ == "__main__":
    run_command(main)
