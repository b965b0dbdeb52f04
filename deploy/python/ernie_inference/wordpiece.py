"""BERT WordPiece tokenization that knows where every token stands in the text.

Ids are those of `paddlenlp.transformers.ErnieTokenizer` and `BertTokenizer` (tests/ernie_inference/test_wordpiece.py
compares them over the whole sample corpus and on generated text). What this adds is the character
span of every token, also where characters are dropped (control characters), rewritten (accents,
full-width letters, ligatures) or unknown, which neither the Python tokenizer's nor fast_tokenizer's
offset_mapping gets right; fast_tokenizer 1.0.2 also ends the whole process on some texts
(lone surrogates, combining marks). Chinese is one token a character, so looking up most characters
by themselves, and remembering the pieces of every other run of text seen, makes this faster than both.
"""

import math
import re
import unicodedata
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ernie_inference.text_files import decode, read_text

SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
MAX_CHARS_PER_WORD = 100  # longer words are one [UNK], as in BERT
CACHE_SIZE = 160_000  # characters of runs whose pieces are remembered, which take about 100 bytes for each
BEGINNING = 3  # characters of a token by which it is known how long such tokens can be
LONGEST_RUN = 256  # characters that stand alone and are looked up at once: what `most` can be exceeded by

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


# Characters that PaddleNLP counts as symbols beside Unicode's category S.
EXTRA_SYMBOLS = frozenset("\u00ad\u00b2\u00ba\u3007\u00b5\u00d8\u014b\u01b1")


def is_punctuation(char: str) -> bool:
    """Whether BERT makes a token of this character alone: punctuation, symbols, ASCII other than letters and digits."""
    if char < "\x80":
        return "!" <= char <= "~" and not char.isalnum()
    return unicodedata.category(char)[0] in "PS" or char in EXTRA_SYMBOLS


def _stands_alone(char: str) -> bool:
    """Whether a punctuation mark is one token wherever it stands, and changes nothing beside it.

    Some do: lower-casing a sigma looks past an apostrophe or a colon at the next letter.
    """
    return (
        is_punctuation(char)
        and unicodedata.normalize("NFD", char.lower()) == char
        and f"\u0391\u03a3{char}\u0391".lower()[1] == "\u03c2"
    )


CJK = "".join(_assigned(first, last) for first, last in CJK_RANGES)
MARKS = "".join(filter(_stands_alone, map(chr, [*range(0x80), *range(0x2010, 0x2060), *range(0x3001, 0x3040),
                                                *range(0xFF00, 0xFF66)])))  # fmt: skip
ALONE = CJK + re.escape(MARKS)
# \x0b, \x0c and \x1c to \x1f are white space to Python but control characters to BERT: dropped, not split at.
SPACE = "\\t\\n\\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
RUN = re.compile(f"([{ALONE}]{{1,{LONGEST_RUN}}})|[^{ALONE}{SPACE}]+")

CHINESE = re.compile(f"[{CJK}]")
WHITE = frozenset(char for char in map(chr, range(0x3001)) if re.match(f"[{SPACE}]", char))

Piece = Tuple[int, int, int]  # token id, first character, one past the last


def without_dropped(text: str) -> str:
    """A text without the characters that are dropped in any case: control characters and the like."""
    return "".join(char for char in text if char in WHITE or not _is_control(char))


def is_word(char: str) -> bool:
    """Whether WordPiece makes one word of this character and another such one beside it.

    A combining mark counts, though it is dropped where accents are; and so does what is a word in lower case only (Ø).
    """
    firsts = (unicodedata.normalize("NFD", form)[0] for form in (char, char.lower()))
    return char not in WHITE and not CHINESE.match(char) and not all(map(is_punctuation, firsts))


def _is_control(char: str) -> bool:
    return char == "\ufffd" or unicodedata.category(char).startswith("C")


class Tokens(NamedTuple):
    """Token ids of one text, without special tokens, and the characters [start, end) each one covers."""

    ids: List[int]
    starts: List[int]
    ends: List[int]


class CharacterIds(dict):
    """Token ids of characters that stand alone, each looked up when it is first seen."""

    def __init__(self, look_up: Callable[[str], int]):
        super().__init__()
        self._look_up = look_up

    def __missing__(self, char: str) -> int:
        self[char] = token = self._look_up(char)
        return token


class WordPiece:
    """Splits text into WordPiece tokens with character positions.

    Args:
        vocab: token to id; must hold [UNK], [CLS], [SEP] and [PAD].
        lowercase: lower-case and strip accents first, as all Chinese ERNIE models do.
        lines: the vocab.txt that the map was read from; by default vocab_lines(vocab).

    Raises:
        ValueError: a special token is missing, or a vocab.txt cannot hold the map.
    """

    def __init__(self, vocab: Dict[str, int], lowercase: bool = True, lines: Optional[List[str]] = None):
        missing = [token for token in SPECIAL_TOKENS if token not in vocab]
        if missing:
            raise ValueError(f"the vocabulary has no {', '.join(missing)}: is it a WordPiece vocab.txt?")
        self.vocab = vocab
        self.lowercase = lowercase
        self.lines = vocab_lines(vocab) if lines is None else lines
        self.pad_id, self.cls_id, self.sep_id, self.unk_id = (vocab[token] for token in SPECIAL_TOKENS)
        self._longest = longest_from(vocab)
        self._characters = CharacterIds(lambda char: self._pieces(char)[0][0])
        self._cache: Dict[str, List[Piece]] = {}
        self._cached = 0  # characters
        self._last = ("", Tokens([], [], []))

    @classmethod
    def from_file(cls, path, lowercase: bool = True) -> "WordPiece":
        """Read a vocab.txt, one token a line, in UTF-8 with any line ends.

        A token's id is the number of its line, from 0; of equal lines the last one counts, as in PaddleNLP's
        Vocab.load_vocabulary.

        Raises:
            OSError: there is no such file.
            ValueError: it is not a WordPiece vocabulary, or one that is known to be damaged.
        """
        lines = split_lines(read_text(path))
        if _has_lost_its_duplicate(lines):
            raise ValueError(
                "ERNIE 3.0's vocabulary without the first of its two `$`: all ids from 12084 on are one too low; put "
                "the published file there, or a line `$` before line 12085"
            )
        return cls({token: number for number, token in enumerate(lines) if token}, lowercase, lines)

    def save(self, path) -> None:
        """Write a vocab.txt in which every token has its id, for from_file and for PaddleNLP."""
        Path(path).write_bytes(join_lines(self.lines))

    @property
    def size(self) -> int:
        """How many rows an embedding needs for all ids."""
        return max(self.vocab.values()) + 1

    def encode(self, text: str, most: Optional[int] = None) -> Tokens:
        """Tokenize one text of any length. Never raises on a str, whatever it holds.

        Args:
            text: the text.
            most: how many tokens are wanted; what of the text is not needed for them is not looked at.
        """
        if most is not None:
            tokens = self._encode(text, most)
            return tokens if len(tokens.ids) <= most else Tokens(*(numbers[:most] for numbers in tokens))
        last, tokens = self._last
        if text != last:  # questions about one text come one after another
            tokens = self._encode(text, math.inf)
            self._last = (text, tokens)
        return tokens

    def _encode(self, text: str, enough: float) -> Tokens:
        """The tokens of a text from its beginning, all or at least `enough`."""
        ids: List[int] = []
        starts: List[int] = []
        ends: List[int] = []
        token_of = self._characters.__getitem__
        for match in RUN.finditer(text):
            begin, end = match.span()
            if match.lastindex:
                ids += map(token_of, match.group())
                starts += range(begin, end)
                ends += range(begin + 1, end + 1)
            else:
                for token, start, stop in self._pieces_of(match.group()):
                    ids.append(token)
                    starts.append(begin + start)
                    ends.append(begin + stop)
            if len(ids) >= enough:
                break
        return Tokens(ids, starts, ends)

    def _pieces_of(self, run: str) -> List[Piece]:
        """_pieces(run), remembered."""
        pieces = self._cache.get(run)
        if pieces is None:
            pieces = self._pieces(run)
            if len(run) <= MAX_CHARS_PER_WORD:
                if self._cached + len(run) > CACHE_SIZE:
                    self._cache.clear()
                    self._cached = 0
                self._cache[run] = pieces
                self._cached += len(run)
        return pieces

    def _pieces(self, run: str) -> List[Piece]:
        """The tokens of a run that holds no white space, and no character that stands alone but its only one."""
        if run.isascii() and run.isalnum():  # most of what is no Chinese: one word, each of its characters as it is
            return self._word(list(zip(run.lower() if self.lowercase else run, range(len(run)))))
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
        lowered = iter("".join(char for char, _ in kept).lower())
        return [
            (part, i)
            for char, i in ((next(lowered), i) for char, i in kept for _ in char.lower())
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
            longest = self._longest.get(prefix + text[start : start + BEGINNING], BEGINNING)
            for end in range(min(start + longest, len(text)), start, -1):
                token = self.vocab.get(prefix + text[start:end])
                if token is not None:
                    pieces.append((token, word[start][1], word[end - 1][1] + 1))
                    start = end
                    break
            else:
                return unknown
        return pieces


def longest_from(vocab: Iterable[str]) -> Dict[str, int]:
    """How many characters the longest token has that begins with these BEGINNING characters, "##" not counted.

    Where a beginning is missing, no token is longer than that; so few candidates are looked up, whatever a word holds.
    """
    longest: Dict[str, int] = {}
    for token in vocab:
        for prefix in ("", "##"):
            length = len(token) - len(prefix)
            if token.startswith(prefix) and length > BEGINNING:
                beginning = token[: len(prefix) + BEGINNING]
                longest[beginning] = max(length, longest.get(beginning, 0))
    return longest


def split_lines(text: str) -> List[str]:
    """The lines of a file whose line ends are "\\n"; the last line's is not the beginning of another."""
    return (text[:-1] if text.endswith("\n") else text).split("\n")


def join_lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def vocab_lines(vocab: Dict[str, int]) -> List[str]:
    """The lines of a vocab.txt from which this map is read back.

    An id that no token has gets the token of the highest id as its line: of equal lines the last one counts.

    Raises:
        ValueError: a token would come back with another id or not at all.
    """
    if min(vocab.values()) < 0:
        raise ValueError(f"the vocabulary gives {min(vocab, key=vocab.__getitem__)!r} a negative id")
    last = max(vocab, key=vocab.__getitem__)
    lines = [last] * (vocab[last] + 1)
    for token, number in vocab.items():
        lines[number] = token
    try:
        written = split_lines(decode(join_lines(lines), ""))
    except UnicodeEncodeError as error:
        raise ValueError(f"the vocabulary has a token that UTF-8 cannot hold ({error.reason})") from None
    read = {token: number for number, token in enumerate(written) if token}
    lost = next((token for token in vocab if read.get(token) != vocab[token] or "\r" in token), None)
    if lost is not None:
        raise ValueError(
            f"the vocabulary's token {lost!r} cannot keep its id {vocab[lost]} in a vocab.txt: it has that id beside "
            "another token, or is not one line"
        )
    return lines


def _has_lost_its_duplicate(lines: List[str]) -> bool:
    """Whether a file is ERNIE 3.0's published vocabulary written back from a map, as this suite once did.

    It has `$` at 12084 and at 18005, and [UNK] in its last line, 39979. That a file with another duplicate was damaged
    so, nothing in it tells.
    """
    return len(lines) == 39_979 and lines[18_004] == "$" and lines[-1] == "[UNK]" and lines.count("$") == 1
