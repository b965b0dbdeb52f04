"""The text that small ERNIEs are made from, their vocabulary, and the text as batches of token ids."""

import random
from collections import Counter
from typing import Dict, Iterator, List

from ernie_suite.data import load_examples

from ernie_inference.tasks.token_cls import join_tokens
from ernie_inference.wordpiece import WordPiece

SPECIAL_TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
MIN_COUNT = 2  # rarer characters are [UNK], so that the model learns what an unknown one is


def sample_texts() -> List[str]:
    """The text of the training splits; nothing of what a model is measured on."""
    reviews = [example["text"] for example in load_examples("sample_reviews", "train")]
    news = [join_tokens(example["tokens"])[0] for example in load_examples("sample_people_daily", "train")]
    return reviews + news


def build_vocab(texts: List[str]) -> Dict[str, int]:
    """The characters that stand at least MIN_COUNT times, lower-cased; those that form words also as ##pieces."""
    counts = Counter(char for text in texts for char in text.lower() if not char.isspace())
    chars = sorted(char for char, count in counts.items() if count >= MIN_COUNT)
    pieces = ["##" + char for char in chars if char.isalnum() and not "\u4e00" <= char <= "\u9fff"]
    return {token: i for i, token in enumerate(SPECIAL_TOKENS + chars + pieces)}


def chunks(texts: List[str], tokenizer: WordPiece, max_seq_length: int) -> List[List[int]]:
    """All texts as lists of at most max_seq_length token ids, [CLS] and [SEP] included."""
    room = max_seq_length - 2
    encoded = (tokenizer.encode(text).ids for text in texts)
    return [ids[i : i + room] for ids in encoded for i in range(0, len(ids), room)]


def batches(sequences: List[List[int]], tokens_per_batch: int, rng: random.Random) -> Iterator[List[int]]:
    """Random batches, as their numbers, of sequences of like length; at most tokens_per_batch tokens with padding."""
    order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i]) // 4, rng.random()))
    groups, group = [], []
    for i in order:
        if group and (len(group) + 1) * (len(sequences[i]) + 2) > tokens_per_batch:
            groups.append(group)
            group = []
        group.append(i)
    groups.append(group)
    rng.shuffle(groups)
    yield from groups
