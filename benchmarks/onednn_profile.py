"""Where the time of a batch goes on a processor, by oneDNN's own log (ONEDNN_VERBOSE=1):

    python benchmarks/onednn_profile.py --model_path best_models/TNEWS/compress/inference/infer
    python benchmarks/onednn_profile.py --model_path best_models/TNEWS/compress/0.75/hist16/int8 --precision int8

Prints milliseconds a batch for each kind of primitive and the kernel oneDNN chose for it, what is
left over (Paddle's own operators: embedding, transposition, dispatch), and for matrix products the
operations a second beside what a large FP32 product of numpy reaches on the same threads.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from math import prod
from pathlib import Path
from typing import Dict, List, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

import numpy as np

from ernie_inference.console import Parser, number_from, print_table, run_command
from ernie_inference.engines import load_engine
from ernie_inference.engines.config import EngineConfig
from ernie_inference.processors import describe_processor, usable_processors

BATCHES = 10
BEGIN, SECONDS = "measuring begins", "measured seconds"
LARGE = 2048  # rows and columns of numpy's product


class Primitive(NamedTuple):
    """One line of oneDNN's log."""

    kind: str
    kernel: str
    operations: float
    milliseconds: float


def parse_line(line: str) -> Primitive:
    """onednn_verbose,exec,cpu,KIND,KERNEL,PROPAGATION,MEMORY,ATTRIBUTES,AUXILIARY,PROBLEM,MILLISECONDS"""
    parts = line.strip().split(",")
    return Primitive(parts[3], parts[4], count_operations(parts[3], parts[-2]), float(parts[-1]))


def count_operations(kind: str, problem: str) -> float:
    """Multiplications and additions of a product: "mb256ic64oc64", or "32x12x128x64:32x12x64x128"."""
    if kind == "inner_product":
        return 2.0 * prod(int(size) for size in re.findall(r"(?:mb|ic|oc|id|ih|iw)(\d+)", problem))
    if kind == "matmul":
        left, right = (shape.split("x") for shape in problem.split(":")[:2])
        return 2.0 * prod(map(int, left)) * int(right[-1])
    return 0.0


def run_batches(args: argparse.Namespace) -> None:
    """What the child process does: some batches, of which the log is read."""
    config = EngineConfig(precision=args.precision, num_threads=args.num_threads)
    engine = load_engine(args.model_path, config)
    input_ids = np.random.default_rng(0).integers(5, engine.info.vocab_size or 1000, (args.batch_size, args.length))
    token_type_ids = np.zeros_like(input_ids)
    for _ in range(2):
        engine.run(input_ids, token_type_ids)
    print(BEGIN, flush=True)
    start = time.perf_counter()
    for _ in range(BATCHES):
        engine.run(input_ids, token_type_ids)
    print(SECONDS, time.perf_counter() - start, flush=True)


def numpy_speed(num_threads: int) -> float:
    """Operations a second of a large FP32 matrix product; numpy must be started with this number of threads."""
    code = (
        f"import numpy as np, time; a = np.ones(({LARGE}, {LARGE}), np.float32); a @ a; t = time.perf_counter()\n"
        "for _ in range(5): a @ a\n"
        f"print(5 * 2 * {LARGE} ** 3 / (time.perf_counter() - t))"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(num_threads), "OMP_NUM_THREADS": str(num_threads)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def table(primitives: List[Primitive], seconds: float, numpys: float) -> List[Dict[str, str]]:
    """A row for each kind of primitive and kernel, the longest first, what is left over, and the whole.

    Args:
        seconds: of all batches together.
        numpys: operations a second of its product.
    """
    groups: Dict[tuple, List[Primitive]] = {}
    for primitive in primitives:
        groups.setdefault((primitive.kind, primitive.kernel), []).append(primitive)
    total = seconds * 1000
    rows = [(" ".join(name), sum(p.milliseconds for p in group), group) for name, group in groups.items()]
    rows.sort(key=lambda row: -row[1])
    rows.append(("outside oneDNN", total - sum(row[1] for row in rows), []))
    rows.append(("together", total, []))
    cells = []
    for name, milliseconds, group in rows:
        speed = sum(p.operations for p in group) / (milliseconds / 1000) if group else 0.0
        cells.append(
            {
                "primitive and kernel": name,
                "ms a batch": f"{milliseconds / BATCHES:.2f}",
                "share": f"{milliseconds / total:.1%}",
                "GOP/s": f"{speed / 1e9:.1f}" if speed else "",
                "of numpy's": f"{speed / numpys:.0%}" if speed else "",
            }
        )
    return cells


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "int8", "bf16"])
    parser.add_argument("--batch_size", type=number_from(1), default=32)
    parser.add_argument("--length", type=number_from(2), default=128, help="tokens of every text")
    parser.add_argument("--num_threads", type=number_from(1), default=usable_processors())
    args = parser.parse_args()
    if os.environ.get("ONEDNN_VERBOSE"):
        run_batches(args)
        return
    environment = {**os.environ, "ONEDNN_VERBOSE": "1"}
    child = subprocess.run([sys.executable, *sys.argv], env=environment, stdout=subprocess.PIPE, text=True)
    if child.returncode:
        sys.exit(child.returncode)  # the child has said why
    log = child.stdout.split(BEGIN)[1].splitlines()
    seconds = next(float(line.split()[-1]) for line in log if line.startswith(SECONDS))
    machine = describe_processor(args.num_threads)
    print(f"{machine['processor']} ({', '.join(machine['features'])}), {args.num_threads} threads")
    primitives = [parse_line(line) for line in log if line.startswith("onednn_verbose,exec")]
    numpys = numpy_speed(args.num_threads)
    print_table(table(primitives, seconds, numpys), right=("ms a batch", "share", "GOP/s", "of numpy's"))
    print(f"numpy's large FP32 product: {numpys / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    run_command(main)
