"""Model x engine x precision x length, side by side in one run: texts a second in batches, and the latency of one text.

    python benchmarks/speed.py                                    random weights in ERNIE 3.0-Medium's shape
    python benchmarks/speed.py --num_threads 12 --lengths 32,128 --latency_lengths none
    python benchmarks/speed.py --engines onnxruntime,openvino --nncf
    python benchmarks/speed.py --pruned_to 3/4,3/4x1/2,1/2x1/3    shares of the width, and of the layers behind x
    python benchmarks/speed.py --model fp32=best_models/TNEWS/compress/inference/infer \\
        --model int8=best_models/TNEWS/compress/0.75/hist16/int8

Every repetition runs one batch of every row in turn, so whatever else the machine does slows all rows
alike; a row's figure is the median of its repetitions, and its ratio the median of the ratios to the
first row of that length within each repetition. A second table has p50 and p99 of single texts, the rows
in turn too. Prints both tables; writes them as JSON and the first as a plot.

INT8 (fc) and INT8 (QDQ) run a quantized model; INT8 (dynamic) and INT8 (NNCF) are made from the FP32 one.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.compression.config import parse_share

import numpy as np
from tqdm import tqdm

from benchmarks.nncf_engine import NncfEngine, nncf_is_installed
from benchmarks.random_models import build_models
from ernie_inference import engine_choice
from ernie_inference.console import Parser, note, number_from, print_table, run_command
from ernie_inference.engines import ENGINES
from ernie_inference.engines.availability import is_installed, supports_bf16
from ernie_inference.engines.backends import BACKENDS, ONNX, OPENVINO
from ernie_inference.engines.base import Engine
from ernie_inference.engines.config import EngineConfig
from ernie_inference.errors import InputError
from ernie_inference.files import publish, write_json
from ernie_inference.model_files import find_model, inspect_model
from ernie_inference.processors import describe_processor, usable_processors

ROOT = Path(__file__).resolve().parents[1]

WARM_UPS = 2
FIRST_WORD = 5  # ids below are special tokens
NO_LENGTHS = "none"
# Before each turn: after a run, Paddle's threads go on looking for work for 0.1 s and those of ONNX Runtime for 0.03 s,
# and would take the processors from the row that comes next.
REST_SECONDS = 0.2
CALIBRATION = 4  # texts of each length, for NNCF
UNKNOWN_VOCAB = 1000  # tokens that every model has
RUNS_OF_A_TURN = 10  # of single texts, after one that brings the weights into the caches


class Row(NamedTuple):
    """One line of the table: a model with an engine that has it loaded."""

    model: str
    engine: Engine
    length: int


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PREFIX", help="an exported model; repeat")
    parser.add_argument("--engines", help=f"of {', '.join(BACKENDS)}; default: those that are installed")
    parser.add_argument("--precisions", default="fp32,bf16,fp16,int8", help="those that an engine lacks are left out")
    parser.add_argument("--lengths", default="32,128", help="tokens of every text")
    parser.add_argument("--batch_size", type=number_from(1), default=32)
    parser.add_argument("--repeats", type=number_from(1), default=11)
    parser.add_argument(
        "--latency_lengths", default="16,32,128", help=f"tokens of a single text; {NO_LENGTHS}: no latencies"
    )
    parser.add_argument(
        "--latency_repeats", type=number_from(1), default=20, help=f"turns of a row, each of {RUNS_OF_A_TURN} texts"
    )
    parser.add_argument(
        "--nncf", action="store_true", help="OpenVINO's own INT8 of FP32 models too; default: where nncf is installed"
    )
    parser.add_argument("--num_threads", type=number_from(1), default=usable_processors())
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--layers", type=number_from(1), default=6, help="of the random model")
    parser.add_argument("--hidden_size", type=number_from(1), default=768, help="of the random model; a multiple of 12")
    parser.add_argument("--pruned_to", help="WIDTH or WIDTHxDEPTH of the random models, with commas; default: 3/4")
    parser.add_argument("--output_dir", default="speed", help="where speed.json and speed.png go")
    args = parser.parse_args()
    if args.hidden_size % 12:
        raise InputError(f"--hidden_size {args.hidden_size} is no multiple of 12, which is the number of heads")
    args.lengths = parse_lengths("--lengths", args.lengths)
    args.pruned_to = None if args.pruned_to is None else parse_shares(args.pruned_to)
    no_latencies = args.latency_lengths == NO_LENGTHS
    args.latency_lengths = [] if no_latencies else parse_lengths("--latency_lengths", args.latency_lengths)
    if args.engines is None:
        args.engines = ",".join(engine for engine in engine_choice.ENGINES if is_installed(BACKENDS[engine]))
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


def load_engines(models: Dict[str, Path], args: argparse.Namespace) -> List[Tuple[str, Engine]]:
    """Every model on every engine and precision that it and this machine can run."""
    length = max(args.lengths + args.latency_lengths)
    engines: List[Tuple[str, Engine]] = []
    for backend in args.engines.split(","):
        for name, prefix in models.items():
            for precision in args.precisions.split(","):
                config = wanted_config(backend, precision, prefix, args, length)
                if config is not None:
                    engine_class = ENGINES[backend]
                    engines.append((name, engine_class(engine_class.find(prefix, config), config)))
    if not engines:
        raise InputError("no model can run with these --engines, --precisions and --device")
    return engines


def add_nncf(engines: List[Tuple[str, Engine]], args: argparse.Namespace) -> List[Tuple[str, Engine]]:
    """The engines and, behind the others of OpenVINO, the FP32 models in its own INT8."""
    plain = [(name, each) for name, each in engines if runs_as(each, OPENVINO, "fp32")]
    if not nncf_is_installed():
        lack = "nncf is not installed (pip install nncf)"
    elif not plain or "int8" not in args.precisions.split(","):
        lack = "it is made from FP32 models on OpenVINO, so --engines and --precisions must have both"
    else:
        lack = None
    if lack:
        if args.nncf:
            note(f"no row with NNCF's INT8: {lack}")
        return engines
    texts = [ids for length in args.lengths for ids in random_ids([each for _, each in plain], 1, length, CALIBRATION)]
    return engines + [(name, NncfEngine(each, texts)) for name, each in plain]


def rows_of(engines: List[Tuple[str, Engine]], lengths: List[int]) -> List[Row]:
    """A row for every engine and length, as they are given."""
    return [Row(name, engine, length) for length in lengths for name, engine in engines]


def runs_as(engine: Engine, backend: str, precision: str) -> bool:
    return (engine.config.backend, engine.config.precision) == (backend, precision)


def parse_lengths(flag: str, text: str) -> List[int]:
    try:
        lengths = [int(length) for length in text.split(",")]
    except ValueError:
        lengths = []
    if not lengths or min(lengths) < 2:
        raise InputError(f"{flag} {text} are not numbers of tokens from 2 on, with commas between them")
    return lengths


def parse_shares(text: str) -> Dict[str, Tuple[float, float]]:
    """(width, depth) of each WIDTH or WIDTHxDEPTH, by the name of its folder where compression writes it."""
    shares = {}
    for each in text.split(","):
        width, _, depth = each.partition("x")
        width, depth = parse_share(width, "width"), parse_share(depth or "1", "depth")
        shares["x".join(f"{share:.2g}" for share in ((width,) if depth == 1 else (width, depth)))] = (width, depth)
    return shares


def wanted_config(
    backend: str, precision: str, prefix: Path, args: argparse.Namespace, length: int
) -> Optional[EngineConfig]:
    """The EngineConfig of a row; None where there is no such row.

    A quantized model runs as INT8 on every engine. Any other runs in all other precisions, and as INT8 on ONNX Runtime,
    which makes that itself.
    """
    if backend not in BACKENDS:
        raise InputError(f"--engines {backend}: choose of {', '.join(BACKENDS)}")
    runs = BACKENDS[backend].precisions.get(args.device, ())
    engine_is_here = is_installed(BACKENDS[backend])  # else EngineConfig says so
    if precision not in runs or (precision == "bf16" and engine_is_here and not supports_bf16(BACKENDS[backend])):
        return None
    is_int8 = precision == "int8"
    if inspect_model(prefix).quantized != is_int8 and not (is_int8 and backend == ONNX):
        return None
    return EngineConfig(
        device=args.device,
        backend=backend,
        precision=precision,
        num_threads=args.num_threads,
        batch_size=args.batch_size,
        max_seq_length=length,
    )


def random_ids(engines: List[Engine], batch_size: int, length: int, count: int = 1) -> List[np.ndarray]:
    """`count` batches of token ids that all engines know, int64 [batch_size, length]."""
    random = np.random.default_rng(0)
    vocab_size = min((engine.info.vocab_size or UNKNOWN_VOCAB for engine in engines), default=UNKNOWN_VOCAB)
    return [random.integers(FIRST_WORD, vocab_size, (batch_size, length)) for _ in range(count)]


def measure(rows: List[Row], batch_size: int, repeats: int, warm_ups: int = WARM_UPS, runs: int = 1) -> np.ndarray:
    """Seconds of one batch, [repeats x runs, rows].

    Args:
        repeats: turns of each row.
        warm_ups: turns before them that do not count.
        runs: of one turn. Where there are several, another one before them does not count.
    """
    engines = [row.engine for row in rows]
    batches = {length: random_ids(engines, batch_size, length)[0] for length in {row.length for row in rows}}
    seconds = np.zeros((warm_ups + repeats, runs, len(rows)))
    for repeat in tqdm(range(warm_ups + repeats), desc=f"batches of {batch_size}"):
        for number, row in enumerate(rows):
            input_ids = batches[row.length]
            token_type_ids = np.zeros_like(input_ids)
            time.sleep(REST_SECONDS)
            if runs > 1:
                row.engine.run(input_ids, token_type_ids)
            for run in range(runs):
                start = time.perf_counter()
                row.engine.run(input_ids, token_type_ids)
                seconds[repeat, run, number] = time.perf_counter() - start
    return seconds[warm_ups:].reshape(repeats * runs, len(rows))


def summarize(rows: List[Row], seconds: np.ndarray, batch_size: int) -> List[Dict[str, Any]]:
    """texts/s and ratio of every row, with the quartiles of both."""
    first = {}
    for number, row in enumerate(rows):
        first.setdefault(row.length, number)
    results = []
    for number, row in enumerate(rows):
        speeds = batch_size / seconds[:, number]
        ratios = seconds[:, first[row.length]] / seconds[:, number]
        results.append({**described(row), "texts_per_second": quartiles(speeds), "ratio": quartiles(ratios)})
    return results


def summarize_latencies(rows: List[Row], seconds: np.ndarray) -> List[Dict[str, Any]]:
    """p50 and p99 of every row, in milliseconds."""
    percentiles = 1000 * np.percentile(seconds, (50, 99), axis=0)
    return [
        {**described(row), "milliseconds": {"p50": float(p50), "p99": float(p99)}}
        for row, p50, p99 in zip(rows, *percentiles)
    ]


def described(row: Row) -> Dict[str, Any]:
    """What a row is of. The engine says which INT8 it is."""
    config = row.engine.config
    return {
        "model": row.model,
        "engine": row.engine.describe(),
        "backend": config.backend,
        "precision": config.precision,
        "length": row.length,
    }


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


def shown_latency(result: Dict[str, Any]) -> Dict[str, str]:
    return {
        "tokens": str(result["length"]),
        "model": result["model"],
        "engine": result["engine"],
        **{f"{name} ms": f"{value:.2f}" for name, value in result["milliseconds"].items()},
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
            models = build_models(Path(folder), args.layers, args.hidden_size, pruned=args.pruned_to)
        engines = add_nncf(load_engines(models, args), args)
        rows = rows_of(engines, args.lengths)
        results = summarize(rows, measure(rows, args.batch_size, args.repeats), args.batch_size)
        rows = rows_of(engines, args.latency_lengths)
        seconds = measure(rows, 1, args.latency_repeats, runs=RUNS_OF_A_TURN) if rows else np.zeros((1, 0))
        latencies = summarize_latencies(rows, seconds)
    machine = describe_processor(args.num_threads)
    print(f"{machine['processor']} ({', '.join(machine['features'])}), {args.num_threads} threads")
    print_table(list(map(shown, results)), right=("length", "texts/s", "ratio"))
    if latencies:
        print(f"\none text at a time, {args.latency_repeats * RUNS_OF_A_TURN} runs")
        print_table(list(map(shown_latency, latencies)), right=("tokens", "p50 ms", "p99 ms"))
    settings = {"batch_size": args.batch_size, "repeats": args.repeats, "device": args.device}
    latency = {"runs": args.latency_repeats * RUNS_OF_A_TURN, "rows": latencies}
    write_json(Path(args.output_dir) / "speed.json", {**machine, **settings, "rows": results, "latency": latency})
    plot(Path(args.output_dir))
    print(f"wrote {args.output_dir}/speed.json and speed.png")


if __name__ == "__main__":
    run_command(main)
