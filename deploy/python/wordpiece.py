"""BERT WordPiece tokenization that knows where every token stands in the text.

Ids are those of `paddlenlp.transformers.ErnieTokenizer` and `BertTokenizer` (tests/test_wordpiece.py
compares them over the whole sample corpus and on generated text). What this adds is the character
span of every token, also where characters are dropped (control characters), rewritten (accents,
full-width letters, ligatures) or unknown, which neither the Python tokenizer's nor fast_tokenizer's
offset_mapping gets right; fast_tokenizer 1.0.2 also ends the whole process on some texts
(lone surrogates, combining marks). Chinese is one token a character, so remembering the pieces of
every run of text seen makes this faster than both.
"""

import re
import unicodedata
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

MAX_CHARS_PER_WORD = 100  # longer words are one [UNK], as in BERT
CACHE_SIZE = 20_000

CJK_RANGES = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def _assigned(first: int, last: int) -> str:
    """A regular expression class body of the characters of a range that Unicode has given a meaning.

    BERT drops the others as control characters before it looks for Chinese ones.
    """
    chars = "".join(chr(c) if unicodedata.category(chr(c)) != "Cn" else " " for c in range(first, last + 1))
    return "".join(f"{part[0]}-{part[-1]}" for part in chars.split())


CJK = "".join(_assigned(first, last) for first, last in CJK_RANGES)
# \x0b, \x0c and \x1c to \x1f are white space to Python but control characters to BERT: dropped, not split at.
SPACE = "\\t\\n\\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
RUN = re.compile(f"[{CJK}]|[^{CJK}{SPACE}]+")
# Characters that PaddleNLP counts as symbols beside Unicode's category S.
EXTRA_SYMBOLS = frozenset("\u00ad\u00b2\u00ba\u3007\u00b5\u00d8\u014b\u01b1")

Piece = Tuple[int, int, int]  # token id, first character, one past the last


def without_dropped(text: str) -> str:
    """A text without the characters that are dropped in any case: control characters and the like."""
    return "".join(char for char in text if char in WHITE or not _is_control(char))


def is_word(char: str) -> bool:
    """Whether WordPiece makes one word of this character and another such one beside it.

    A combining mark counts, though it is dropped where accents are.
    """
    first = unicodedata.normalize("NFD", char)[0]
    return char not in WHITE and not CHINESE.match(char) and not is_punctuation(first)


def _is_control(char: str) -> bool:
    return char == "\ufffd" or unicodedata.category(char).startswith("C")


CHINESE = re.compile(f"[{CJK}]")
WHITE = frozenset(char for char in map(chr, range(0x3001)) if re.match(f"[{SPACE}]", char))


class Tokens(NamedTuple):
    """Token ids of one text, without special tokens, and the characters [start, end) each one covers."""

    ids: List[int]
    starts: List[int]
    ends: List[int]


class WordPiece:
    """Splits text into WordPiece tokens with character positions.

    Args:
        vocab: token to id; must hold [UNK], [CLS], [SEP] and [PAD].
        lowercase: lower-case and strip accents first, as all Chinese ERNIE models do.
    """

    def __init__(self, vocab: Dict[str, int], lowercase: bool = True):
        missing = [token for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]") if token not in vocab]
        if missing:
            raise ValueError(f"the vocabulary has no {', '.join(missing)}: is it a WordPiece vocab.txt?")
        self.vocab = vocab
        self.lowercase = lowercase
        self.pad_id, self.cls_id, self.sep_id, self.unk_id = (vocab[t] for t in ("[PAD]", "[CLS]", "[SEP]", "[UNK]"))
        self._cache: Dict[str, List[Piece]] = {}

    @classmethod
    def from_file(cls, path, lowercase: bool = True) -> "WordPiece":
        """Read a vocab.txt, one token a line; a token's id is its line number from 0."""
        lines = Path(path).read_text(encoding="utf-8").split("\n")
        return cls({line.rstrip("\r"): i for i, line in enumerate(lines) if line}, lowercase)

    def encode(self, text: str) -> Tokens:
        """Tokenize one text of any length. Never raises on a str, whatever it holds."""
        ids: List[int] = []
        starts: List[int] = []
        ends: List[int] = []
        cache = self._cache
        for match in RUN.finditer(text):
            run = match.group()
            pieces = cache.get(run)
            if pieces is None:
                pieces = self._pieces(run)
                if len(run) <= MAX_CHARS_PER_WORD:
                    if len(cache) >= CACHE_SIZE:
                        cache.clear()
                    cache[run] = pieces
            begin = match.start()
            for token, start, end in pieces:
                ids.append(token)
                starts.append(begin + start)
                ends.append(begin + end)
        return Tokens(ids, starts, ends)

    def _pieces(self, run: str) -> List[Piece]:
        """The tokens of a run that holds no white space and no CJK character but its only one."""
        pieces: List[Piece] = []
        word: List[Tuple[str, int]] = []
        for char, position in self._normalize(run):
            if is_punctuation(char):
                pieces += self._word(word) + self._word([(char, position)])
                word = []
            elif char.isspace():  # NFD can bring a space out of a compatibility character
                pieces += self._word(word)
                word = []
            else:
                word.append((char, position))
        return pieces + self._word(word)

    def _normalize(self, run: str) -> List[Tuple[str, int]]:
        """The characters BERT looks at, each with the position of the character it came from."""
        kept = [
            (char, i)
            for i, char in enumerate(run)
            if char != "\ufffd" and not unicodedata.category(char).startswith("C")
        ]
        if not self.lowercase:
            return kept
        # Lower-casing can depend on the neighbours (a final sigma) or lengthen the text (a dotted capital I).
        lowered = "".join(char for char, _ in kept).lower()
        if len(lowered) == len(kept):
            kept = [(char, i) for char, (_, i) in zip(lowered, kept)]
        else:
            kept = [(low, i) for char, i in kept for low in char.lower()]
        return [
            (part, i)
            for char, i in kept
            for part in unicodedata.normalize("NFD", char)
            if unicodedata.category(part) != "Mn"
        ]

    def _word(self, word: List[Tuple[str, int]]) -> List[Piece]:
        """Greedy longest-match-first WordPiece; a word with a part outside the vocabulary is one [UNK]."""
        if not word:
            return []
        text = "".join(char for char, _ in word)
        unknown = [(self.unk_id, word[0][1], word[-1][1] + 1)]
        if len(text) > MAX_CHARS_PER_WORD:
            return unknown
        pieces, start = [], 0
        while start < len(text):
            prefix = "##" if start else ""
            for end in range(len(text), start, -1):
                token = self.vocab.get(prefix + text[start:end])
                if token is not None:
                    pieces.append((token, word[start][1], word[end - 1][1] + 1))
                    start = end
                    break
            else:
                return unknown
        return pieces


def is_punctuation(char: str) -> bool:
    """Whether BERT makes a token of this character alone: punctuation, symbols, ASCII other than letters and digits."""
    if char < "\x80":
        return "!" <= char <= "~" and not char.isalnum()
    return unicodedata.category(char)[0] in "PS" or char in EXTRA_SYMBOLS
