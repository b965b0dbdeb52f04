"""How fast training data are loaded and how much memory that takes, from a file to what training asks for:

    python benchmarks/loading.py

Writes a file in TNEWS's format with texts of the sample reviews, each long enough to fill an input, reads it as the
scripts do (data.py and features.py of ernie_suite), on one thread, and prints texts a second, by the clock and by what
the processor spent, and the most memory the process has held, with all that it imports.
"""

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.data import TNEWS_LABELS, load_examples
from ernie_suite.features import Features
from ernie_suite.tasks.seq_cls import SEQ_CLS

from ernie_inference.console import Parser, number_from, print_table, run_command
from ernie_inference.processors import describe_processor
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.wordpiece import WordPiece
from examples.sample_text import build_vocab


def write_texts(path: Path, reviews: List[str], texts: int, chars: int) -> None:
    """JSON lines of texts of so many characters, each put together from reviews drawn at random."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(texts):
            text = ""
            while len(text) < chars:
                text += draw.choice(reviews)
            item = {"id": number, "sentence": text[:chars], "label": draw.choice(TNEWS_LABELS)}
            file.write(json.dumps(item, ensure_ascii=False) + "\n")


def clock() -> Tuple[float, float]:
    """Seconds: time, and what this process has spent on a processor."""
    return time.perf_counter(), time.process_time()


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--texts", type=number_from(1), default=500_000)
    parser.add_argument(
        "--max_seq_length", type=number_from(3), default=128, help="tokens of a text, [CLS] and [SEP] too"
    )
    args = parser.parse_args()
    reviews = [example["text"] for example in load_examples("sample_reviews", "train")]
    tokenizer = WordPiece(build_vocab(reviews))
    task = SequenceClassification(tokenizer, TNEWS_LABELS, args.max_seq_length)
    with tempfile.TemporaryDirectory() as folder:
        write_texts(Path(folder) / "train.json", reviews, args.texts, args.max_seq_length + 10)
        before, clocks = peak_megabytes(), [clock()]
        examples = load_examples("tnews", "train", folder)
        clocks.append(clock())
        features = Features(SEQ_CLS, task, examples)
        clocks.append(clock())
    processor = describe_processor(1)["processor"]
    print(f"{len(features):,} texts of {features.lengths.mean():.0f} tokens, one thread of {processor}")
    ways = {"file to examples": clocks[:2], "examples to features": clocks[1:], "file to features": clocks[::2]}
    by = ("by the clock", "by processor time")
    rows = []
    for name, (begin, end) in ways.items():
        speeds = (f"{len(features) / (after - before):,.0f}" for before, after in zip(begin, end))
        rows.append({"texts/s": name, **dict(zip(by, speeds))})
    print_table(rows, right=by)
    print(f"peak memory {peak_megabytes():,.0f} MB, of which {before:,.0f} before loading")


if __name__ == "__main__":
    run_command(main)
