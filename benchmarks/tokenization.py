"""Three tokenizers over the whole text of the sample sets: the same ids, and how fast each is on one thread:

    python benchmarks/tokenization.py

deploy/python's WordPiece, which also gives the position of every token; PaddleNLP's ErnieTokenizer (Python); and
fast_tokenizer (C++), with positions, which it always computes, and in batches of 32 texts as PaddleNLP calls it.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.data import DATASETS, load_examples
from ernie_suite.export import write_vocab

import fast_tokenizer
from paddlenlp.transformers import ErnieTokenizer
from tqdm import tqdm

from ernie_inference.console import Parser, number_from, print_table, run_command
from ernie_inference.inference_config import VOCAB_FILE
from ernie_inference.processors import describe_processor
from ernie_inference.tasks.token_cls import text_of
from ernie_inference.wordpiece import WordPiece
from examples.sample_text import build_vocab

BATCH_SIZE = 32

Tokenize = Callable[[List[str]], List[List[int]]]


def sample_texts() -> List[str]:
    """Every text of the sample sets, each once."""
    texts: Dict[str, None] = {}
    for name in ("sample_reviews", "sample_people_daily"):  # sample_reading has the paragraphs of the latter
        for split, _ in DATASETS[name].splits:
            texts.update((text_of(example), None) for example in load_examples(name, split))
    return list(texts)


def tokenizers(vocab: Dict[str, int], folder: Path) -> Dict[str, Tokenize]:
    """By name, what turns a batch of texts into token ids without [CLS] and [SEP]."""
    ours = WordPiece(vocab)
    write_vocab(ours, folder)
    reference = ErnieTokenizer(str(folder / VOCAB_FILE))
    fast_tokenizer.set_thread_num(1)
    fast = fast_tokenizer.ErnieFastTokenizer(vocab)
    fast.disable_padding()
    return {
        "PaddleNLP's ErnieTokenizer": lambda texts: [
            reference.convert_tokens_to_ids(reference._tokenize(text)) for text in texts
        ],
        "fast_tokenizer": lambda texts: [encoding.ids[1:-1] for encoding in fast.encode_batch(texts)],
        "deploy/python's WordPiece": lambda texts: [ours.encode(text).ids for text in texts],
    }


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--rounds", type=number_from(1), default=3, help="times that each tokenizes everything")
    args = parser.parse_args()
    texts = sample_texts()
    batches = [texts[begin : begin + BATCH_SIZE] for begin in range(0, len(texts), BATCH_SIZE)]
    with tempfile.TemporaryDirectory() as folder:
        ways = tokenizers(build_vocab(texts), Path(folder))
    seconds: Dict[str, List[float]] = {name: [] for name in ways}
    ids: Dict[str, List[List[int]]] = {}
    for _ in tqdm(range(args.rounds), unit="round"):
        for name, tokenize in ways.items():
            start = time.perf_counter()
            ids[name] = [each for batch in batches for each in tokenize(batch)]
            seconds[name].append(time.perf_counter() - start)
    reference = next(iter(ways))
    speeds = {name: len(texts) / statistics.median(of_rounds) for name, of_rounds in seconds.items()}
    processor = describe_processor(1)["processor"]
    print(f"{len(texts):,} texts, {sum(map(len, ids[reference])):,} tokens, one thread of {processor}")
    rows = [
        {
            "tokenizer": name,
            "texts/s": f"{speed:,.0f}",
            "ratio": f"{speed / speeds[reference]:.1f}x",
            "texts with other ids": str(sum(ours != theirs for ours, theirs in zip(ids[name], ids[reference]))),
        }
        for name, speed in speeds.items()
    ]
    print_table(rows, right=("texts/s", "ratio", "texts with other ids"))


if __name__ == "__main__":
    run_command(main)
