"""What a smaller vocabulary changes for a fine-tuned model: files, memory, and, on the dev set, answers.

    python benchmarks/vocabulary.py --model_name_or_path best_models/TNEWS --keep_vocab texts.jsonl

The model is exported, quantized and written as .onnx twice, with all of its vocabulary and with what --keep_vocab
leaves of it, as the compress scripts do it, and both run the dev set by Paddle Inference on the CPU. Memory is what a
process holds that has answered with the model, in which Python and Paddle themselves are. Further flags are those of
the run scripts.
"""

import sys
import tempfile
from pathlib import Path
from typing import Dict, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.compression.config import CompressConfig, PTQConfig

import numpy as np

from benchmarks.finetuned import trainer_of
from ernie_inference.console import Parser, number_from, print_table, run_command
from ernie_inference.predictor import load_predictor

BATCH_SIZE = 32


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model_name_or_path", required=True, help="folder of a fine-tuned model")
    parser.add_argument("--keep_vocab", required=True, help="a file of texts, or how many tokens stay")
    parser.add_argument("--algorithm", default="hist", help="of quantization")
    parser.add_argument("--calibration_texts", type=number_from(1), default=16)
    own, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        trainer, dataset = trainer_of(own.model_name_or_path, "--do_train", folder, others)
        ptq = PTQConfig([own.algorithm], [own.calibration_texts], quantize_embeddings=True)
        for keep_vocab in (None, own.keep_vocab):
            wanted = CompressConfig(quantization_config=ptq, export_onnx=True, keep_vocab=keep_vocab)
            report = trainer.compress(dataset, folder, pruning=False, compress_config=wanted)
        models = report["models"]
        pairs = [(form(row), row, other) for row in models for other in models if form(row) == form(other)]
        rows = [
            {"model": name, **compare(trainer, Path(folder), before, after)}
            for name, before, after in sorted(pairs, key=lambda pair: pair[0])
            if before["vocab_size"] is None and after["vocab_size"] is not None
        ]
    size = next(row["vocab_size"] for row in models if row["vocab_size"])
    print(f"{size:,} of {trainer.model.config.vocab_size:,} tokens, {len(trainer.eval_examples):,} dev examples")
    print_table(rows, right=[column for column in rows[0] if column != "model"])


def form(row: Dict) -> str:
    """What a model is beside the size of its vocabulary."""
    return f"{row['precision'].upper()}{' with INT8 embeddings' if row['int8_embeddings'] else ''}"


def compare(trainer, folder: Path, before: Dict, after: Dict) -> Dict[str, str]:
    """A row of the table: a model, and the same with the smaller vocabulary."""
    answers, logits = zip(*(run(trainer, folder, row) for row in (before, after)))
    same = np.mean([one == other for one, other in zip(*answers)])
    metric = trainer.args.metric_for_best_model
    figures = {
        "MB": [row["bytes"] / 2**20 for row in (before, after)],
        ".onnx MB": [(folder / row["onnx"]).stat().st_size / 2**20 for row in (before, after)],
        "memory MB": [row["memory"] / 2**20 for row in (before, after)],
        metric: [100 * row["metrics"][metric] for row in (before, after)],
    }
    shown = {name: f"{one:.2f} / {other:.2f}" for name, (one, other) in figures.items()}
    of_equal_length = [pair for pair in zip(*logits) if pair[0].shape == pair[1].shape]
    difference = max(np.abs(one - other).max() for one, other in of_equal_length)
    return {**shown, "same answers": f"{same:.2%}", "largest difference of a logit": f"{difference:.1e}"}


def run(trainer, folder: Path, row: Dict) -> Tuple[list, list]:
    """(answers, logits of each window) of the dev set."""
    predictor = load_predictor(folder / row["model"], device="cpu", precision=row["precision"])
    examples = trainer.eval_examples
    windows = [predictor.task.windows(example) for example in examples]
    outputs = predictor.run_windows([window for own in windows for window in own], BATCH_SIZE)
    logits = [np.stack(output) for output in outputs]
    return list(predictor.task.answers(examples, windows, outputs)), logits


if __name__ == "__main__":
    run_command(main)
