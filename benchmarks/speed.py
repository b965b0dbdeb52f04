"""Model x engine x precision x length, side by side in one run:

    python benchmarks/speed.py                                    random weights in ERNIE 3.0-Medium's shape
    python benchmarks/speed.py --num_threads 12 --lengths 32,128
    python benchmarks/speed.py --model fp32=best_models/TNEWS/compress/inference/infer \\
        --model int8=best_models/TNEWS/compress/0.75/hist16/int8

Every repetition runs one batch of every row in turn, so whatever else the machine does slows all rows
alike; a row's figure is the median of its repetitions, and its ratio the median of the ratios to the
first row of that length within each repetition. Prints a table; writes it as JSON and as a plot.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

import numpy as np
from tqdm import tqdm

from benchmarks.random_models import build_models
from ernie_inference.console import Parser, number_from, print_table, run_command
from ernie_inference.engines import ENGINES
from ernie_inference.engines.availability import supports_bf16
from ernie_inference.engines.backends import BACKENDS
from ernie_inference.engines.base import Engine
from ernie_inference.engines.config import EngineConfig
from ernie_inference.errors import InputError
from ernie_inference.files import publish, write_json
from ernie_inference.model_files import ONNX_FILE, find_model, inspect_model
from ernie_inference.processors import describe_processor, usable_processors

ROOT = Path(__file__).resolve().parents[1]

WARM_UPS = 2
FIRST_WORD = 5  # ids below are special tokens


class Row(NamedTuple):
    """One line of the table: a model with an engine that has it loaded."""

    model: str
    engine: Engine
    length: int

    def label(self) -> str:
        return f"{self.model}: {self.engine.config.describe()}"


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PREFIX", help="an exported model; repeat")
    parser.add_argument("--engines", default="paddle,onnxruntime", help=f"of {', '.join(BACKENDS)}")
    parser.add_argument("--precisions", default="fp32,bf16,fp16,int8", help="those that an engine lacks are left out")
    parser.add_argument("--lengths", default="32,128", help="tokens of every text")
    parser.add_argument("--batch_size", type=number_from(1), default=32)
    parser.add_argument("--repeats", type=number_from(1), default=11)
    parser.add_argument("--num_threads", type=number_from(1), default=usable_processors())
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--layers", type=number_from(1), default=6, help="of the random model")
    parser.add_argument("--hidden_size", type=number_from(1), default=768, help="of the random model; a multiple of 12")
    parser.add_argument("--output_dir", default="speed", help="where speed.json and speed.png go")
    args = parser.parse_args()
    if args.hidden_size % 12:
        raise InputError(f"--hidden_size {args.hidden_size} is no multiple of 12, which is the number of heads")
    return args


def given_models(pairs: List[str]) -> Dict[str, Path]:
    """Prefixes by name, from NAME=PREFIX each."""
    models = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"--model {pair} is not NAME=PREFIX")
        models[name] = find_model(path)
    return models


def load_rows(models: Dict[str, Path], args: argparse.Namespace) -> List[Row]:
    """Every model on every engine and precision that it and this machine can run, the shortest texts first."""
    lengths = parse_lengths(args.lengths)
    engines = []
    for backend in args.engines.split(","):
        for name, prefix in models.items():
            for precision in args.precisions.split(","):
                config = wanted_config(backend, precision, prefix, args, max(lengths))
                if config is not None:
                    engine_class = ENGINES[backend]
                    engines.append((name, engine_class(engine_class.find(prefix, config), config)))
    if not engines:
        raise InputError("no model can run with these --engines, --precisions and --device")
    return [Row(name, engine, length) for length in lengths for name, engine in engines]


def parse_lengths(text: str) -> List[int]:
    try:
        lengths = [int(length) for length in text.split(",")]
    except ValueError:
        lengths = []
    if not lengths or min(lengths) < 2:
        raise InputError(f"--lengths {text} are not numbers of tokens from 2 on, with commas between them")
    return lengths


def wanted_config(
    backend: str, precision: str, prefix: Path, args: argparse.Namespace, length: int
) -> Optional[EngineConfig]:
    """The EngineConfig of a row; None where there is no such row."""
    if backend not in BACKENDS:
        raise InputError(f"--engines {backend}: choose of {', '.join(BACKENDS)}")
    runs = BACKENDS[backend].precisions.get(args.device, ())
    if precision not in runs or (precision == "bf16" and not supports_bf16()):
        return None
    # Paddle runs INT8 models as INT8 only; ONNX Runtime makes its INT8 from FP32 ones.
    wants_quantized = precision == "int8" and BACKENDS[backend].suffix != ONNX_FILE
    if inspect_model(prefix).quantized != wants_quantized:
        return None
    return EngineConfig(
        device=args.device,
        backend=backend,
        precision=precision,
        num_threads=args.num_threads,
        batch_size=args.batch_size,
        max_seq_length=length,
    )


def measure(rows: List[Row], batch_size: int, repeats: int) -> np.ndarray:
    """Seconds of one batch, [repeats, rows]."""
    random = np.random.default_rng(0)
    vocab_size = min(row.engine.info.vocab_size or sys.maxsize for row in rows)
    vocab_size = vocab_size if vocab_size < sys.maxsize else 1000
    batches = {
        length: random.integers(FIRST_WORD, vocab_size, (batch_size, length)) for length in {row.length for row in rows}
    }
    seconds = np.zeros((repeats, len(rows)))
    for repeat in tqdm(range(-WARM_UPS, repeats), desc="repetitions"):
        for number, row in enumerate(rows):
            input_ids = batches[row.length]
            token_type_ids = np.zeros_like(input_ids)
            start = time.perf_counter()
            row.engine.run(input_ids, token_type_ids)
            if repeat >= 0:
                seconds[repeat, number] = time.perf_counter() - start
    return seconds


def summarize(rows: List[Row], seconds: np.ndarray, batch_size: int) -> List[Dict[str, Any]]:
    """texts/s and ratio of every row, with the quartiles of both."""
    first = {}
    for number, row in enumerate(rows):
        first.setdefault(row.length, number)
    results = []
    for number, row in enumerate(rows):
        speeds = batch_size / seconds[:, number]
        ratios = seconds[:, first[row.length]] / seconds[:, number]
        config = row.engine.config
        results.append(
            {
                "model": row.model,
                "engine": config.describe(),
                "backend": config.backend,
                "precision": config.precision,
                "length": row.length,
                "texts_per_second": quartiles(speeds),
                "ratio": quartiles(ratios),
            }
        )
    return results


def quartiles(values: np.ndarray) -> Dict[str, float]:
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def shown(result: Dict[str, Any]) -> Dict[str, str]:
    """A row of the table on the screen."""
    ratio = result["ratio"]
    return {
        "length": str(result["length"]),
        "model": result["model"],
        "engine": result["engine"],
        "texts/s": f"{result['texts_per_second']['median']:.1f}",
        "ratio": f"{ratio['median']:.2f}x",
        "quartiles": f"{ratio['low']:.2f} to {ratio['high']:.2f}",
    }


def plot(folder: Path) -> None:
    """Draw speed.json as speed.png, in a process of its own.

    paddle 2.6.2 exports the symbols of the zlib inside it, and Pillow 11.3, which writes the file, crashes in those.
    """
    with publish(folder) as temporary:
        command = [ROOT / "benchmarks" / "plot.py", "speed", temporary / "speed.png", folder / "speed.json"]
        subprocess.run([sys.executable, *map(str, command)], check=True)


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        models = given_models(args.model)
        if not models:
            models = build_models(Path(folder), args.layers, args.hidden_size)
        rows = load_rows(models, args)
        results = summarize(rows, measure(rows, args.batch_size, args.repeats), args.batch_size)
    machine = describe_processor(args.num_threads)
    print(f"{machine['processor']} ({', '.join(machine['features'])}), {args.num_threads} threads")
    print_table(list(map(shown, results)), right=("length", "texts/s", "ratio"))
    settings = {"batch_size": args.batch_size, "repeats": args.repeats, "device": args.device}
    write_json(Path(args.output_dir) / "speed.json", {**machine, **settings, "rows": results})
    plot(Path(args.output_dir))
    print(f"wrote {args.output_dir}/speed.json and speed.png")


if __name__ == "__main__":
    run_command(main)
