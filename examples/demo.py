"""The whole way for three tasks on real Chinese text, without a network; it is what `make demo` runs:

    python examples/demo.py

Writes the sample data, makes small ERNIE models, fine-tunes them on product reviews, on names in news and
on questions about news, exports them, runs the exported models on the dev sets, and shows texts with
their answers. Models and logs go to best_models/DEMO.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_inference.console import Parser, print_table, run_command
from ernie_inference.errors import InputError
from ernie_inference.files import check_writable
from ernie_inference.processors import usable_processors

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("best_models/DEMO")
LOG_LINES_SHOWN = 5


class Model(NamedTuple):
    """What is fine-tuned: on which data, from which small ERNIE, how long, and how many texts are shown of it."""

    name: str
    script: str
    dataset: str
    ernie: str
    ernie_flags: str
    training_flags: str
    shown: int

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def task(self) -> str:
        return self.script[len("run_") : -len(".py")]

    def make_ernie(self) -> List[str]:
        return ["examples/make_small_ernie.py", *self.ernie_flags.split(), "--output_dir", self.ernie]

    def finetune(self) -> List[str]:
        where = ["--model_name_or_path", self.ernie, "--output_dir", str(self.folder), "--overwrite_output_dir"]
        return [self.script, "--task_name", self.dataset, *where, *self.training_flags.split()]

    def infer(self) -> List[str]:
        prefix = str(self.folder / "export" / "model")
        return ["infer.py", "--task_name", self.dataset, "--model_path", prefix, "--show", str(self.shown)]


TAGGING_ERNIE = "--num_hidden_layers 3 --neighbour_heads 6"
READING_ERNIE = f"{TAGGING_ERNIE} --matching_heads 2"
REVIEWS = Model(
    "reviews", "run_seq_cls.py", "sample_reviews", "samples/ernie-sample-zh", "", "--num_train_epochs 2", shown=10
)
# A part of what README.md trains them for: enough to see them work.
QUESTIONS = Model(
    "questions",
    "run_qa.py",
    "sample_reading",
    "samples/ernie-sample-zh-reading",
    READING_ERNIE,
    "--max_steps 480 --eval_steps 480",
    shown=5,
)
CHOICES = Model(  # for benchmarks/reproduce.py
    "choices",
    "run_multiple_choice.py",
    "sample_choice",
    "samples/ernie-sample-zh-reading",
    READING_ERNIE,
    "--max_steps 480 --eval_steps 480",
    shown=5,
)
NAMES = Model(
    "names",
    "run_token_cls.py",
    "sample_people_daily",
    "samples/ernie-sample-zh-tagging",
    TAGGING_ERNIE,
    "--max_steps 800 --eval_steps 800",
    shown=5,
)


def run(command: List[str], env=None) -> None:
    """Print a command of this repository and run it.

    Raises:
        InputError: it failed, and has said why.
    """
    print(f"\n$ python {' '.join(command)}", flush=True)
    if subprocess.run([sys.executable, *command], cwd=ROOT, env=env).returncode:
        raise InputError(f"{command[0]} failed")


def run_to_log(command: List[str], log: Path, env, running: List[subprocess.Popen]) -> None:
    """Run a command whose output goes to a file; its process is added to `running`.

    Raises:
        InputError: it failed; the message ends with its last words.
    """
    with open(ROOT / log, "w", encoding="utf-8") as file:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, stdout=file, stderr=file)
        running.append(process)
        status = process.wait()
    if status:
        words = (ROOT / log).read_text(encoding="utf-8", errors="replace").strip().split("\n")[-LOG_LINES_SHOWN:]
        raise InputError(f"{command[0]} failed, see {log}: {' | '.join(words)}")


def finetune_all() -> None:
    """Fine-tune on the reviews, and beside that on the others.

    Two processes with half of the processors each train more texts a second than one with all of them.
    """
    env = {**os.environ, "OMP_NUM_THREADS": str(max(1, usable_processors() // 2))}
    running: List[subprocess.Popen] = []
    with ThreadPoolExecutor(max_workers=1) as beside:
        others = []
        for model in (QUESTIONS, NAMES):
            log = FOLDER / f"{model.name}.log"
            print(f"beside what follows, log in {log}:\n$ python {' '.join(model.finetune())}", flush=True)
            others.append(beside.submit(run_to_log, model.finetune(), log, env, running))
        try:
            run(REVIEWS.finetune(), env)
            print("\nwaiting for the other two", flush=True)
            for other in others:
                other.result()
        except BaseException:
            beside.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise


def summary(model: Model) -> Dict[str, str]:
    """What infer.py has measured of an exported model, as a row of a table."""
    written = (ROOT / model.folder / "export").glob(f"model.{model.dataset}.*.json")  # of earlier runs, too
    newest = max(written, key=lambda path: path.stat().st_mtime)
    figures = json.loads(newest.read_text(encoding="utf-8"))
    metric, value = next(iter(figures["metrics"].items()))
    return {
        "task": model.task,
        "data": f"{model.dataset} {figures['split']}",
        "examples": f"{figures['examples']:,}",
        "metric": f"{metric.replace('_', ' ')} {value:.4f}",
        "texts/s": f"{figures['texts_per_second']:.0f}",
        "model": str(model.folder / "export" / "model"),
    }


def main() -> None:
    Parser(description=__doc__).parse_args()
    check_writable(ROOT / FOLDER)
    run(["examples/make_sample_data.py"])
    for model in (REVIEWS, NAMES, QUESTIONS):
        run(model.make_ernie())
    finetune_all()
    for model in (NAMES, QUESTIONS, REVIEWS):
        run(model.infer())
    print()
    print_table([summary(model) for model in (REVIEWS, NAMES, QUESTIONS)])


if __name__ == "__main__":
    run_command(main)
