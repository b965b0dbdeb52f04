"""Three tokenizers over the whole text of the sample sets: the same ids, and how fast each is on one thread:

    python benchmarks/tokenization.py

deploy/python's WordPiece, which also gives the position of every token; PaddleNLP's ErnieTokenizer (Python); and
fast_tokenizer (C++), with positions, which it always computes, and in batches of 32 texts as PaddleNLP calls it.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "deploy" / "python")]

import cpu_speed  # noqa: E402, F401, I001  before paddle

import statistics  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from typing import Callable, Dict, List  # noqa: E402

import fast_tokenizer  # noqa: E402
from paddlenlp.transformers import ErnieTokenizer  # noqa: E402
from tqdm import tqdm  # noqa: E402

from commands import Parser, number_from, run_command  # noqa: E402
from data import DATASETS, load_examples  # noqa: E402
from ernie_predictor import VOCAB_FILE, text_of  # noqa: E402
from make_small_ernie import build_vocab  # noqa: E402
from processors import describe_processor  # noqa: E402
from trainer import write_vocab  # noqa: E402
from wordpiece import WordPiece  # noqa: E402

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
    print(f"{len(texts):,} texts, {sum(map(len, ids[reference])):,} tokens, one thread of {processor_name()}")
    print(f"{'tokenizer':<28}{'texts/s':>10}{'ratio':>9}   texts with other ids")
    for name, speed in speeds.items():
        different = sum(ours != theirs for ours, theirs in zip(ids[name], ids[reference]))
        print(f"{name:<28}{speed:>10,.0f}{speed / speeds[reference]:>8.1f}x   {different}")


def processor_name() -> str:
    return describe_processor(1)["processor"]


if __name__ == "__main__":
    run_command(main)
