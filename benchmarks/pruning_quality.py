"""Is the importance order better than a random one? Prune without any training, and compare on the dev set.

    python benchmarks/pruning_quality.py --model_name_or_path best_models/TNEWS --width_mult 3/4

For each of five seeds the dev set is cut into two halves: importance is measured on one, both pruned
models on the other. Where hardly anything is right any more, the loss says more than the metric.
Further flags are those of the run scripts.
"""

import random
import sys
from pathlib import Path
from typing import Dict, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.compression.config import parse_share
from ernie_suite.compression.distillation import using_model
from ernie_suite.compression.importance import compute_importance
from ernie_suite.compression.subnetworks import make_grid, narrow_model, shape_of
from ernie_suite.compression.supernet import Supernet
from ernie_suite.features import Features

import numpy as np
from tqdm import tqdm

from benchmarks.finetuned import trainer_of
from ernie_inference.console import Parser, number_from, print_table, run_command

MODELS = ("unpruned", "importance", "random")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model_name_or_path", required=True, help="folder of a fine-tuned model")
    parser.add_argument("--width_mult", default="3/4", help="share of heads and neurons to keep")
    parser.add_argument("--seeds", type=number_from(1), default=5)
    own, others = parser.parse_known_args()
    trainer, _ = trainer_of(own.model_name_or_path, "--do_eval", own.model_name_or_path, others)
    family = trainer.family
    (width,) = make_grid([parse_share(own.width_mult, "width")], [1], shape_of(trainer.model))
    examples = trainer.eval_examples
    found = []
    for seed in tqdm(range(own.seeds), unit="seed"):
        shuffled = random.Random(seed).sample(examples, len(examples))
        halves = shuffled[: len(shuffled) // 2], shuffled[len(shuffled) // 2 :]
        measured, trainer.eval_dataset = (Features(family, trainer.task, half, by_length=True) for half in halves)
        importance = compute_importance(trainer, trainer.get_eval_dataloader(measured))
        rng = np.random.RandomState(seed)
        at_random = tuple(rng.rand(*scores.shape).astype(np.float32) for scores in importance)
        models = [
            narrow_model(trainer.model, width, order_by(trainer.model, scores)) for scores in (importance, at_random)
        ]
        found.append([figures(trainer, model) for model in (trainer.model, *models)])
    print(f"width {width.name}, half of {len(examples):,} dev examples, no training: {family.best_metric} (loss)")
    rows = [row(str(seed), each) for seed, each in enumerate(found)]
    print_table([*rows, row("mean", np.mean(found, axis=0))], right=MODELS)


def order_by(model, importance):
    return Supernet(model, importance).weights()


def figures(trainer, model) -> Tuple[float, float]:
    """(the task's metric, loss) on the dev set."""
    with using_model(trainer, model):
        metrics = trainer.evaluate()
    return metrics[f"eval_{trainer.family.best_metric}"], metrics["eval_loss"]


def row(seed: str, figures_of_models: Sequence[Tuple[float, float]]) -> Dict[str, str]:
    cells = (f"{metric:.4f} ({loss:.4f})" for metric, loss in figures_of_models)
    return {"seed": seed, **dict(zip(MODELS, cells))}


if __name__ == "__main__":
    run_command(main)
