"""How much faster a training step is with ernie_suite/cpu_settings.py than with the environment as it is:

    python benchmarks/train_step.py

Each row is a process of its own, started in turn (stock, ours, stock, ours, ...), because the settings
must be made before paddle is imported. The model is ERNIE with 4 layers x 312, batch 32 x 64 tokens.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from tqdm import tqdm

from ernie_inference.console import Parser, number_from, print_table, run_command
from ernie_inference.processors import describe_processor, usable_processors

SETTINGS = ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", "FLAGS_use_stride_kernel")
STEPS = 8


def time_step(ours: bool) -> float:
    """Median seconds of a training step in this process."""
    if ours:
        import_module("ernie_suite")
    import paddle
    from paddlenlp.transformers import ErnieConfig, ErnieForSequenceClassification

    paddle.seed(1)
    config = ErnieConfig(
        vocab_size=5000,
        hidden_size=312,
        num_hidden_layers=4,
        num_attention_heads=12,
        intermediate_size=1248,
        type_vocab_size=4,
    )
    model = ErnieForSequenceClassification(config)
    optimizer = paddle.optimizer.AdamW(1e-4, parameters=model.parameters())
    input_ids, labels = paddle.randint(5, 5000, [32, 64]), paddle.randint(0, 2, [32])
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        loss = paddle.nn.functional.cross_entropy(model(input_ids), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        float(loss)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def in_a_process(ours: bool) -> float:
    environment = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    command = [sys.executable, __file__, "--measure", "ours" if ours else "stock"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--pairs", type=number_from(1), default=5, help="times that each is measured")
    parser.add_argument("--measure", choices=["stock", "ours"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(time_step(args.measure == "ours"))
        return
    pairs = [(in_a_process(False), in_a_process(True)) for _ in tqdm(range(args.pairs), unit="pair")]
    stock, ours = zip(*pairs)
    ratios = [before / after for before, after in pairs]
    machine = describe_processor(usable_processors())
    cores = f"{machine['num_threads']} of {os.cpu_count()} cores of {machine['processor']}"
    print(f"training step, ERNIE 4 x 312, batch 32 x 64 tokens, {cores}")
    medians = {"stock": statistics.median(stock), "cpu_settings.py": statistics.median(ours)}
    rows = [{"environment": name, "median s": f"{seconds:.3f}"} for name, seconds in medians.items()]
    print_table(rows, right=("median s",))
    print(f"ratio, pair by pair: median {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    run_command(main)
