"""How long it takes to quantize a model of ERNIE 3.0-Medium's shape and to find the best INT8 model on a dev set:

    python benchmarks/quantization_time.py

6 layers x 768, one training step away from random weights, on sample_reviews. Each row is a whole command, from its
start to the report: hist and mse with 4, 8 and 16 calibration texts, then KL with 16. Both run every model that they
make on the whole dev set.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_inference.console import Parser, print_table, run_command
from ernie_inference.errors import InputError
from ernie_inference.processors import describe_processor, usable_processors

ROOT = Path(__file__).resolve().parents[1]

DATASET = "sample_reviews"
SIZE = "--num_hidden_layers 6 --hidden_size 768 --num_attention_heads 12"
ONE_STEP = "--do_train --max_steps 1 --max_train_samples 8 --max_eval_samples 8"
GRIDS = {"hist, mse x 4, 8, 16 texts": ("hist mse", "4 8 16"), "KL x 16 texts": ("KL", "16")}


def run(*command: str) -> float:
    """Seconds that a command of this repository takes.

    Raises:
        InputError: it failed, and has said why.
    """
    print(f"$ python {' '.join(command)}", file=sys.stderr, flush=True)
    started = time.monotonic()
    if subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        raise InputError(f"{command[0]} failed")
    return time.monotonic() - started


def quantize(model: Path, algorithms: str, sizes: str) -> Dict[str, str]:
    """How long the command took, and how many INT8 models it made."""
    shutil.rmtree(model / "compress", ignore_errors=True)  # what is there would be kept
    grid = ["--algo_list", *algorithms.split(), "--batch_size_list", *sizes.split()]
    flags = ["--task_name", DATASET, "--model_name_or_path", str(model), "--no_pruning", *grid]
    seconds = run("compress_seq_cls.py", *flags, "--output_dir", str(model / "state"))
    report = json.loads((model / "compress" / "report.json").read_text(encoding="utf-8"))
    models = sum(row["precision"] == "int8" for row in report["models"])
    return {"whole command": f"{seconds // 60:.0f} min {seconds % 60:.0f} s", "INT8 models": str(models)}


def main() -> None:
    parser = Parser(description=__doc__)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ernie, model = Path(folder, "ernie"), Path(folder, "model")
        run("examples/make_small_ernie.py", *SIZE.split(), "--output_dir", str(ernie))
        flags = ["--task_name", DATASET, "--model_name_or_path", str(ernie), "--output_dir", str(model)]
        run("run_seq_cls.py", *flags, *ONE_STEP.split())
        rows = [{"grid": name, **quantize(model, *grid)} for name, grid in GRIDS.items()]
    threads = usable_processors()
    print(f"6 layers x 768, {threads} threads of {describe_processor(threads)['processor']}")
    print_table(rows, right=("whole command", "INT8 models"))


if __name__ == "__main__":
    run_command(main)
