"""What do R-Drop, FGM and folds give where labels are few? The same training with and without each, with several seeds.

    python benchmarks/few_labels.py --task_name tnews --data_dir my_data --num_train_epochs 8
    python benchmarks/few_labels.py --task_name tnews --data_dir my_data --rdrop_alpha 1 4 --fgm_epsilon 1 --num_folds 5

A training is evaluated once, after its last step, so that no state is chosen on the dev set that it is judged on. With
folds the model is the mean of their weights; what the mean of their logits reaches stands beside it.
Further flags are those of the run scripts.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.command_line import parse_arguments
from ernie_suite.data import find_dataset
from ernie_suite.runs import RESULTS_FILE, read_json
from ernie_suite.scripts import build_trainer
from ernie_suite.tasks import TaskFamily

from paddle.utils import unique_name

from ernie_inference.console import Parser, number_above, number_from, print_table, run_command

AT_THE_END = 2**30  # eval_steps of a training that is evaluated after its last step alone
PLAIN = "without"


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--task_name", required=True, help="data set, as tnews")
    parser.add_argument("--seeds", type=number_from(1), default=3, help="trainings of each kind")
    parser.add_argument("--rdrop_alpha", type=number_above(0), nargs="*", default=[4.0])
    parser.add_argument("--fgm_epsilon", type=number_above(0), nargs="*", default=[1.0])
    parser.add_argument("--num_folds", type=number_from(2), nargs="*", default=[])
    own, others = parser.parse_known_args()
    family = find_dataset(own.task_name).family
    shared = ["--task_name", own.task_name, "--disable_tqdm", "1", "--eval_steps", str(AT_THE_END), *others]
    found: Dict[str, List[float]] = {}
    for seed in range(1, own.seeds + 1):
        for name, flags in kinds(own):
            with tempfile.TemporaryDirectory() as folder:
                argv = [*shared, *flags, "--seed", str(seed), "--output_dir", folder, "--do_train", "--do_eval"]
                for kind, score in scores_of(family, argv):
                    found.setdefault(f"{name}{kind}", []).append(score)
                    print(f"seed {seed}, {name}{kind}: {score:.4f}", flush=True)
    print_table([row(name, scores, found[PLAIN]) for name, scores in found.items()], right=("mean", "points"))


def kinds(own) -> Iterator[Tuple[str, List[str]]]:
    """What is tried, by name, with its flags."""
    yield PLAIN, []
    for flag in ("rdrop_alpha", "fgm_epsilon", "num_folds"):
        for value in getattr(own, flag):
            yield f"--{flag} {value:g}", [f"--{flag}", f"{value:g}"]


def scores_of(family: TaskFamily, argv: List[str]) -> Iterator[Tuple[str, float]]:
    """What a training reaches on the dev set by the task's metric, and beside it what else it says of itself."""
    with unique_name.guard():
        trainer = build_trainer(family, *parse_arguments(family, argv=argv))
        trainer.finetune()
        yield "", trainer.evaluate()[f"eval_{family.best_metric}"]
    training = read_json(Path(trainer.args.output_dir) / RESULTS_FILE)["training"]
    if "mean_of_logits" in training:
        yield ", mean of logits", training["mean_of_logits"][family.best_metric]


def row(name: str, scores: List[float], plain: List[float]) -> Dict[str, str]:
    gain = statistics.mean(scores) - statistics.mean(plain)
    return {
        "training": name,
        "each seed": " ".join(f"{score:.4f}" for score in scores),
        "mean": f"{statistics.mean(scores):.4f}",
        "points": f"{100 * gain:+.2f}",
    }


if __name__ == "__main__":
    run_command(main)
