"""How much of the texts to come a smaller vocabulary would touch (compress_*.py --keep_vocab):

    python benchmarks/held_out_tokens.py --vocab_file best_models/TNEWS/vocab.txt --data tnews=my_data
    python benchmarks/held_out_tokens.py --vocab_file best_models/TNEWS/vocab.txt --data tnews=my_data --keep_vocab 5000

What stays is chosen by the training and dev sets of each data set, with --keep_vocab as the compress scripts do it.
What is looked at is its test set, or, where the folder has none, its dev set, which then has no say in what stays. A
token whose row is gone becomes [UNK], if it is a Chinese character or a symbol, or is split further.
"""

import sys
from pathlib import Path
from typing import Dict, List, Optional, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.compression.vocabulary import KeepVocab, choose_rows, parse_keep_vocab, smaller_tokenizer
from ernie_suite.data import DatasetSpec, find_dataset, load_examples, load_labels
from ernie_suite.reading import Example

from ernie_inference.console import Parser, print_table, run_command
from ernie_inference.errors import InputError
from ernie_inference.inference_config import VOCAB_FILE
from ernie_inference.tasks.base import Task
from ernie_inference.wordpiece import WordPiece

LONGER_THAN_ANY = 1 << 30  # tokens of a text


def load_parts(spec: DatasetSpec, folder: str) -> Tuple[List[Example], List[Example]]:
    """(examples that choose what stays, examples that are looked at)."""
    train, dev = (load_examples(spec.name, split, folder) for split in ("train", "dev"))
    if (Path(folder) / f"test{spec.suffix}").exists():
        return train + dev, load_examples(spec.name, "test", folder)
    return train, dev


def ids_of(task: Task, example: Dict) -> List[int]:
    """The tokens of all that is read of an example."""
    return [number for encoded in task.encodings(example) for number in (*encoded.head, *encoded.tokens.ids)]


def touched(spec: DatasetSpec, folder: str, tokenizer: WordPiece, keep: Optional[KeepVocab]) -> Dict[str, str]:
    """A row of the table: what of the held-out texts of a data set would be split otherwise."""
    chosen_by, held_out = load_parts(spec, folder)
    task = spec.family.task_class(tokenizer, load_labels(spec, folder), LONGER_THAN_ANY)
    rows = choose_rows(task, [chosen_by], keep).rows
    smaller = smaller_tokenizer(tokenizer, rows)
    stays, tokens, gone, unknown, texts = set(rows), 0, 0, 0, 0
    for example in held_out:
        ids = ids_of(task, example)
        task.tokenizer = smaller
        after = ids_of(task, example)
        task.tokenizer = tokenizer
        missing = sum(number not in stays for number in ids)
        unknown += after.count(smaller.unk_id) - ids.count(tokenizer.unk_id)
        tokens, gone, texts = tokens + len(ids), gone + missing, texts + bool(missing)
    return {
        "data": spec.name,
        "examples": f"{len(chosen_by):,}",
        "tokens that stay": f"{len(rows):,}",
        "held-out examples": f"{len(held_out):,}",
        "held-out tokens": f"{tokens:,}",
        "become [UNK]": f"{unknown / tokens:.2%}",
        "are split": f"{(gone - unknown) / tokens:.2%}",
        "examples touched": f"{texts / len(held_out):.1%}",
    }


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--vocab_file", required=True, help=f"the {VOCAB_FILE} of a model")
    parser.add_argument("--data", required=True, nargs="+", help="data sets and their folders, as tnews=DIR")
    parser.add_argument("--keep_vocab", help="a file with more texts, or how many tokens stay")
    args = parser.parse_args()
    try:
        tokenizer = WordPiece.from_file(args.vocab_file)
    except (OSError, ValueError) as error:
        raise InputError(f"{args.vocab_file} cannot be used as the vocabulary ({error})") from None
    keep = parse_keep_vocab(args.keep_vocab)
    rows = []
    for item in args.data:
        name, _, folder = item.partition("=")
        if not folder:
            raise InputError(f"--data {item}: give a data set and its folder, as tnews=DIR")
        rows.append(touched(find_dataset(name), folder, tokenizer, keep))
    print_table(rows, right=[column for column in rows[0] if column != "data"])


if __name__ == "__main__":
    run_command(main)
