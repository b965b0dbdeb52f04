"""Whether the suspect labels of --analyze are the wrong ones: labels are flipped, and looked for.

    python benchmarks/suspect_labels.py --model_name_or_path samples/ernie-e5-zh --max_steps 700
    python benchmarks/suspect_labels.py --model_name_or_path samples/ernie-e5-zh --share 0.1 --seed 3

Of a share of the training and dev examples, drawn by a seed, the label is replaced by another one. A model is
fine-tuned on that, and ranks the labels of both splits. Of the first so many of each ranking, as many as were flipped,
the table says how many were. Further flags are those of run_seq_cls.py. A training that is finished is not repeated.
"""

import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Set

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.analysis.labels import LabelAnalysis
from ernie_suite.data import find_dataset, load_examples, load_labels
from ernie_suite.reading import Example

import numpy as np

from ernie_inference.console import Parser, number_from, print_table, run_command
from ernie_inference.files import publish
from ernie_inference.predictor import ErniePredictor, load_predictor
from ernie_inference.text_output import to_json

SCRIPT = Path(__file__).resolve().parents[1] / "run_seq_cls.py"
SPLITS = ("dev", "train")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model_name_or_path", required=True, help="model to fine-tune")
    parser.add_argument("--task_name", default="sample_reviews", help="data set of single texts with a label each")
    parser.add_argument("--share", type=number_from(0, float, most=1), default=0.05, help="of labels that are flipped")
    parser.add_argument("--seed", type=number_from(0), default=7)
    parser.add_argument("--output_dir", type=Path, default=Path("suspect_labels"))
    args, others = parser.parse_known_args()
    flipped = write_flipped(args.task_name, args.share, args.seed, args.output_dir / "data")
    folder = args.output_dir / "model"
    command = [
        *(sys.executable, SCRIPT, "--task_name", args.task_name, "--do_train", "--do_eval", "--do_export"),
        *("--data_dir", args.output_dir / "data", "--model_name_or_path", args.model_name_or_path),
        *("--output_dir", folder, *others),
    ]
    subprocess.run(list(map(str, command)), check=True)
    predictor = load_predictor(folder / "export")
    rows = []
    for split in SPLITS:
        examples = load_examples(args.task_name, split, str(args.output_dir / "data"))
        order = rank(predictor, examples, args.task_name)
        first = set(order[: len(flipped[split])].tolist())
        found = len(first & flipped[split])
        rows.append(
            {
                "split": split,
                "labels": f"{len(examples):,}",
                "flipped": f"{len(flipped[split]):,}",
                "among the first": f"{found:,}",
                "share": f"{found / max(len(first), 1):.1%}",
                "by chance": f"{len(first) / len(examples):.1%}",
            }
        )
    print_table(rows, right=("labels", "flipped", "among the first", "share", "by chance"))


def write_flipped(dataset: str, share: float, seed: int, folder: Path) -> Dict[str, Set[int]]:
    """Write the data set's files with flipped labels into a folder; returns the numbers of the flipped examples."""
    labels, random, flipped = load_labels(find_dataset(dataset)), np.random.default_rng(seed), {}
    with publish(folder) as temporary:
        for split in SPLITS:
            examples = load_examples(dataset, split)
            flipped[split] = flip(examples, labels, share, random)
            lines = [to_json({"sentence": each["text"], "label": each["label"]}) + b"\n" for each in examples]
            (temporary / f"{split}.json").write_bytes(b"".join(lines))
        (temporary / "labels.json").write_bytes(b"".join(to_json({"label": label}) + b"\n" for label in labels))
    return flipped


def flip(examples: List[Example], labels: List[str], share: float, random: np.random.Generator) -> Set[int]:
    """Replace a share of the examples' labels by others; returns which ones."""
    chosen = random.choice(len(examples), round(share * len(examples)), replace=False)
    for number in chosen.tolist():
        others = [label for label in labels if label != examples[number]["label"]]
        examples[number]["label"] = others[random.integers(len(others))]
    return set(chosen.tolist())


def rank(predictor: ErniePredictor, examples: List[Example], dataset: str) -> np.ndarray:
    """The numbers of the examples, the most suspect label first."""
    analysis = LabelAnalysis(find_dataset(dataset).family, predictor.task)
    for number, computed in enumerate(predictor.outputs_iter(examples)):
        analysis.add(number, *computed)
    return analysis.ranking().order


if __name__ == "__main__":
    run_command(main)
