"""Vocabulary pruning: the rows of the word embeddings go whose tokens the user's texts never use.

Most of a small model is its word embeddings, and most of their rows are of tokens that one kind of text never has. The
rows that stay keep their numbers, so a text over tokens that stay has the same answer as before, to the last bit
(Abdaoui et al., "Load What You Need: Smaller Versions of Multilingual BERT", 2020).

Any other text has a fallback. A word or a number whose token is gone is split further, down to single letters and
digits, which always stay. A Chinese character or a symbol whose token is gone becomes [UNK]: there is no smaller piece
of it.
"""

import copy
import sys
import unicodedata
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Union

from ernie_suite.features import Collator, Features
from ernie_suite.models import MASK_TOKEN
from ernie_suite.reading import Example
from ernie_suite.texts import texts_of

from paddle import nn
from tqdm import tqdm

from ernie_inference.errors import InputError
from ernie_inference.inference_config import VOCAB_FILE
from ernie_inference.model_files import inspect_model
from ernie_inference.tasks.base import Task
from ernie_inference.tasks.multiple_choice import BLANK_TOKENS
from ernie_inference.wordpiece import CHINESE, SPECIAL_TOKENS, WordPiece, is_punctuation

KeepVocab = Union[int, Path]  # how many tokens stay, or a file with the texts whose tokens do


def parse_keep_vocab(given: Union[int, str, Path, None]) -> Optional[KeepVocab]:
    """What keep_vocab means: a number, or a file.

    Raises:
        InputError: it is neither, or a file with nothing in it.
    """
    if given is None:
        return None
    text = str(given)
    is_number = text.lstrip("-").isdecimal()
    if is_number and int(text) > 0:
        return int(text)
    path = Path(text)
    if is_number or not path.is_file():
        raise InputError(f"keep_vocab {given}: give a file of texts, or how many tokens of the vocabulary stay")
    if not path.stat().st_size:
        raise InputError(f"keep_vocab {given} is empty: give a file with the texts whose tokens stay")
    return path


# ---------------------------------------------------------------- which tokens stay


class Kept(NamedTuple):
    """The rows that stay of a model's word embeddings, in their order.

    `needed` is how many of them any text needs, and `others` the share of the tokens of training and dev sets whose
    rows do not stay.
    """

    rows: List[int]
    needed: int
    others: float


class LookedUp(dict):
    """A vocabulary that remembers which of its tokens were found in it.

    WordPiece finds the tokens that it makes of a word, and of one that becomes [UNK] those that it began with: without
    these, it could begin with others and come to an end.
    """

    def __init__(self, vocab: Dict[str, int]):
        super().__init__(vocab)
        self.found: Set[str] = set()

    def get(self, token, default=None):
        number = super().get(token, default)
        if number is not None:
            self.found.add(token)
        return number


def needed_tokens(vocab: Dict[str, int]) -> Set[str]:
    """The tokens that stay whatever the texts hold.

    Special tokens, ASCII characters, punctuation of any script, and the letters and digits that the vocabulary has both
    at the beginning of a word and within one: any word of such letters can be split into them.
    """
    single = [token for token in vocab if len(token) == 1]
    needed = {token for token in (*SPECIAL_TOKENS, MASK_TOKEN, *BLANK_TOKENS) if token in vocab}
    needed.update(char for char in single if char.isascii() or unicodedata.category(char).startswith("P"))
    for char in single:
        if f"##{char}" in vocab and not CHINESE.match(char) and not is_punctuation(char):
            needed |= {char, f"##{char}"}
    return needed


def choose_rows(task: Task, datasets: Sequence[Iterable[Example]], keep: Optional[KeepVocab] = None) -> Kept:
    """The rows that stay for a task: what any text needs, and what the data sets use; with a file, also what its texts
    use; with a number, of what the data sets use the most frequent, until there are so many.

    Raises:
        InputError: `keep` leaves nothing out, or cannot be had.
    """
    vocab = task.tokenizer.vocab
    looked_up = LookedUp(vocab)
    recording = WordPiece(looked_up, task.tokenizer.lowercase, task.tokenizer.lines)
    counts = count_tokens(task, recording, datasets)
    needed = {vocab[token] for token in needed_tokens(vocab)}
    needed |= set(range(task.tokenizer.pad_id + 1))  # [PAD] keeps its id, from which RoBERTa counts positions
    if isinstance(keep, int):
        kept = most_frequent(counts, needed, keep, len(vocab))
    else:
        texts = tqdm(texts_of(keep), desc=f"tokens of {keep}", unit="text", leave=False) if keep else ()
        if keep and not sum(bool(recording.encode(text).ids) for text in texts):
            raise InputError(f"keep_vocab {keep} holds no text: give a file with the texts whose tokens stay")
        kept = needed | {vocab[token] for token in looked_up.found}
    if len(kept) >= len(vocab):
        raise InputError(f"keep_vocab {keep}: all {len(vocab)} tokens of the vocabulary would stay: leave it out")
    others = sum(count for row, count in counts.items() if row not in kept)
    return Kept(sorted(kept), len(needed), others / sum(counts.values()))


def count_tokens(task: Task, tokenizer: WordPiece, datasets: Sequence[Iterable[Example]]) -> Dict[int, int]:
    """How often each token is in the examples, also behind what a model's input has room for."""
    task = copy.copy(task)
    task.tokenizer, task.max_seq_length = tokenizer, sys.maxsize
    counts: Counter[int] = Counter()
    for encoded in chain.from_iterable(map(task.encodings, chain(*datasets))):
        counts.update(encoded.head)
        counts.update(encoded.tokens.ids)
    return counts


def most_frequent(counts: Dict[int, int], needed: Set[int], number: int, available: int) -> Set[int]:
    """The needed tokens and the most frequent others, `number` in all, or fewer where no more were counted.

    Raises:
        InputError: `number` is too small for what is needed, or too large for anything to go.
    """
    if not len(needed) <= number < available:
        raise InputError(
            f"keep_vocab {number}: {len(needed)} tokens must stay (special ones, punctuation, single letters and "
            f"digits), and the vocabulary has {available}: give a number between"
        )
    by_count = sorted(counts.keys() - needed, key=lambda row: (-counts[row], row))
    return needed.union(by_count[: number - len(needed)])


# ---------------------------------------------------------------- what they become


def with_kept_tokens(trainer, keep: KeepVocab):
    """A trainer like this one, whose model has the rows that stay only; the trainer that came in does not change.

    Raises:
        InputError: model, vocabulary and `keep` do not go together.
    """
    tokenizer, before = trainer.task.tokenizer, trainer.model.get_input_embeddings().weight.shape[0]
    masked = trainer.model.config.pad_token_id
    if tokenizer.size > before or masked != tokenizer.pad_id:
        raise InputError(
            f"the model has word embeddings for {before} tokens and masks token {masked}, its vocabulary has "
            f"{tokenizer.size} tokens with [PAD] at {tokenizer.pad_id}: give a model with its own {VOCAB_FILE}"
        )
    if not trainer.train_dataset:
        raise InputError("the training set is empty: keep_vocab keeps the tokens of training and dev sets")
    kept = choose_rows(trainer.task, [trainer.train_dataset.examples, trainer.eval_dataset.examples], keep)
    smaller = with_vocabulary(trainer, smaller_tokenizer(tokenizer, kept.rows))
    smaller.model = smaller.model_wrapped = smaller_model(trainer.model, kept.rows)
    of_the_data = f"all but {kept.others:.2%}" if kept.others else "all"
    print(
        f"vocabulary: {len(kept.rows):,} of {before:,} tokens stay, {kept.needed:,} of them for any text; "
        f"{of_the_data} of the tokens in the training and dev sets are among them"
    )
    return smaller


def smaller_tokenizer(tokenizer: WordPiece, rows: List[int]) -> WordPiece:
    """The tokenizer whose tokens are those of some rows, numbered in their order."""
    number_of = {row: number for number, row in enumerate(rows)}
    vocab = {token: number_of[row] for token, row in tokenizer.vocab.items() if row in number_of}
    return WordPiece(vocab, tokenizer.lowercase)


def smaller_model(model, rows: List[int]):
    """A copy of a model of paddlenlp.transformers with some rows of its word embeddings, in this order.

    Nothing else of these models has a row for each token: no head of this suite's tasks shares the embeddings.
    """
    smaller = copy.deepcopy(model)
    table = smaller.get_input_embeddings()
    padding = None if table._padding_idx == -1 else table._padding_idx  # Paddle's -1 for none
    embeddings = nn.Embedding(len(rows), table.weight.shape[1], padding_idx=padding)
    embeddings.weight.set_value(table.weight.numpy()[rows])
    smaller.set_input_embeddings(embeddings)
    smaller.config.vocab_size = len(rows)
    return smaller


def with_vocabulary(trainer, tokenizer: WordPiece):
    """A trainer like this one whose texts are split by another tokenizer; its model is the same object."""
    other = copy.copy(trainer)
    other.task = copy.copy(trainer.task)
    other.task.tokenizer = tokenizer
    other.data_collator = Collator(tokenizer.pad_id)
    other.eval_dataset = Features(trainer.family, other.task, trainer.eval_dataset.examples, by_length=True)
    if trainer.train_dataset:
        other.train_dataset = Features(trainer.family, other.task, trainer.train_dataset.examples)
    return other


def with_vocabulary_of(trainer, prefix: Path):
    """The trainer for an exported model: where that has fewer tokens, with the vocabulary that lies beside it.

    Raises:
        InputError: there is none, or not one of that model.
    """
    rows, tokenizer = inspect_model(prefix).vocab_size, trainer.task.tokenizer
    if rows is None or rows >= tokenizer.size:
        return trainer
    try:
        own = WordPiece.from_file(prefix.parent / VOCAB_FILE, tokenizer.lowercase)
    except (OSError, ValueError):
        own = tokenizer
    if own.size > rows:
        raise InputError(
            f"{prefix} has {rows} tokens, the vocabulary of --model_name_or_path {tokenizer.size}: "
            f"give a model of the same vocabulary, or one with its own {VOCAB_FILE} beside it"
        )
    return with_vocabulary(trainer, own)
