"""How right and how fast an exported model is, on any data set of the suite.

    python infer.py --task_name tnews --model_path best_models/TNEWS/compress/inference/infer
    python infer.py --task_name tnews --model_path best_models/TNEWS/compress/0.75/float --perf
    python infer.py --task_name tnews --model_path best_models/TNEWS/compress/0.75/hist16/int8 --precision int8
    python infer.py --task_name msra_ner --model_path best_models/MSRA_NER/export --use_onnxruntime --num_threads 12
    python infer.py --dataset "clue cmrc2018" --model_path best_models/CMRC2018/export --device gpu --use_trt

Prints the metrics of the data set (and with --perf the speed, by the method of the published figures and by ours), and
writes them beside the model.
"""

import time
from argparse import Namespace
from typing import Any, Callable, Dict, List, Tuple

from ernie_suite.data import find_dataset, load_answered_examples
from ernie_suite.figures import figures_file
from ernie_suite.reading import Example
from ernie_suite.tasks import TaskFamily

from tqdm import tqdm

from ernie_inference.console import Parser, number_from, print_row, run_command
from ernie_inference.engines.availability import gpu_is_usable
from ernie_inference.engines.backends import PADDLE, TENSORRT
from ernie_inference.errors import InputError
from ernie_inference.files import write_json
from ernie_inference.predictor import ErniePredictor, load_onnx_predictor, load_predictor

WARM_UP_BATCHES = 5
PUBLISHED_METHOD = "published method: model only, in order"
PERF_SLICE = 2048  # examples that every way of running does before the next ones: a slower minute hits all alike


def parse_arguments() -> Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--task_name", "--dataset", required=True, help='data set, as tnews or as "clue tnews"')
    parser.add_argument("--model_path", required=True, help="prefix or folder of a model, or a prefix's beginning")
    parser.add_argument("--data_dir", help="folder of your own files in the data set's format")
    parser.add_argument("--split", default="dev", choices=["train", "dev", "test"])
    parser.add_argument("--device", choices=["cpu", "gpu"], help="default: gpu where there is one")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16", "bf16", "int8"])
    parser.add_argument("--use_trt", action="store_true", help="TensorRT, on a GPU")
    parser.add_argument("--use_onnxruntime", action="store_true", help="a Paddle model is converted first")
    parser.add_argument("--batch_size", type=number_from(1), default=32)
    parser.add_argument("--max_seq_length", type=number_from(1), help="default: as the model was trained")
    parser.add_argument("--num_threads", type=number_from(1), help="default: all processors this process may use")
    parser.add_argument("--max_samples", type=number_from(1), help="use only the first so many examples")
    parser.add_argument("--perf", action="store_true", help="measure the speed too")
    parser.add_argument("--show", type=number_from(0), default=0, metavar="N", help="print N texts with their answers")
    args = parser.parse_args()
    # Whoever asks for TensorRT wants a GPU; what is missing for it is then said by name.
    args.device = args.device or ("gpu" if args.use_trt or gpu_is_usable() else "cpu")
    return args


def make_predictor(args: Namespace) -> ErniePredictor:
    """The predictor that the flags describe, for the task family of the data set."""
    options: Dict[str, Any] = {
        "task_name": find_dataset(args.task_name).task_name,
        "max_seq_length": args.max_seq_length,
        "device": args.device,
        "precision": args.precision,
        "num_threads": args.num_threads,
        "batch_size": args.batch_size,
    }
    if args.use_onnxruntime or args.model_path.endswith(".onnx"):
        return load_onnx_predictor(args.model_path, use_trt=args.use_trt, **options)
    return load_predictor(args.model_path, backend=TENSORRT if args.use_trt else PADDLE, **options)


def check_labels(predictor: ErniePredictor, examples: List[Example], family: TaskFamily, args: Namespace) -> None:
    """Raises InputError where an example's answer is not among the model's labels."""
    if not family.task_class.has_labels:
        return
    unknown = sorted(
        {label for example in examples for label in family.labels_of(example)} - set(predictor.task.labels)
    )
    if unknown:
        raise InputError(
            f"{args.model_path} does not know the label {unknown[0]!r} of {args.task_name}: "
            f"it was trained for {', '.join(predictor.task.labels)}"
        )


def answer_all(predictor: ErniePredictor, examples: List[Example], batch_size: int) -> Tuple[List[Dict], float]:
    """The answers to all examples, and how many texts a second that was, from text to answer."""
    started = time.perf_counter()
    results = list(tqdm(predictor.predict_iter(examples, batch_size), total=len(examples), unit="text"))
    return results, len(examples) / (time.perf_counter() - started)


def show(family: TaskFamily, examples: List[Example], results: List[Dict], count: int) -> None:
    """Print `count` texts, evenly drawn, with the model's answer, its confidence and the right answer."""
    step = max(1, len(examples) // count)
    for example, result in list(zip(examples, results))[::step][:count]:
        text, found, wanted = family.shown(example, result)
        mark = "right" if found == wanted else f"wrong, it is {wanted}"
        print(f"\n{shorten(text)}\n    {found or 'nothing'}{confidence(result)}   ({mark})")


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
        different += sum(strip_scores(a) != strip_scores(b) for a, b in zip(*answers))
    return {
        "texts_per_second": {name: len(examples) / value for name, value in seconds.items()},
        "different_answers": different,
    }


def time_model(predictor: ErniePredictor, examples: List[Example], batch_size: int) -> float:
    """Seconds that the engine alone takes for batches of windows in fixed order."""
    windows = [window for example in examples for window in predictor.task.windows(example)]
    groups = [windows[begin : begin + batch_size] for begin in range(0, len(windows), batch_size)]
    batches = [predictor.pad(group) for group in groups]
    start = time.perf_counter()
    for batch in batches:
        predictor.engine.run(*batch)
    return time.perf_counter() - start


def strip_scores(result: Dict) -> Dict:
    """An answer without the figures whose last digits depend on what else was in the batch."""
    return {name: value for name, value in result.items() if name not in ("confidence", "score")}


def report(args: Namespace, predictor: ErniePredictor, count: int, figures: Dict[str, Any]) -> None:
    """Print the figures as a table and write them beside the model."""
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
        data_dir=args.data_dir,
    )
    content = {
        "dataset": dataset,
        "data_dir": args.data_dir,
        "split": args.split,
        "examples": count,
        "engine": config.describe(),
        "batch_size": args.batch_size,
        "max_seq_length": predictor.task.max_seq_length,
        **figures,
    }
    write_json(path, content)
    print(f"wrote {path}")


def main() -> None:
    args = parse_arguments()
    predictor = make_predictor(args)
    print(predictor.engine.config.describe(), flush=True)
    dataset = find_dataset(args.task_name)
    examples = load_answered_examples(dataset, args.split, args.data_dir)[: args.max_samples]
    check_labels(predictor, examples, dataset.family, args)
    results, speed = answer_all(predictor, examples, args.batch_size)
    if args.show:
        show(dataset.family, examples, results, args.show)
        print()
    figures: Dict[str, Any] = {"metrics": dataset.family.metric(examples, results), "texts_per_second": speed}
    if args.perf:
        figures["speed"] = measure(predictor, examples, args.batch_size)
    report(args, predictor, len(examples), figures)


if __name__ == "__main__":
    run_command(main)
