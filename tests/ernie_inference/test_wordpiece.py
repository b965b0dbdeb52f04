"""Token ids equal PaddleNLP's; positions are those of the text that came in."""

import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from paddlenlp.transformers import ErnieTokenizer

from ernie_inference.wordpiece import ALONE, CACHE_SIZE, SPECIAL_TOKENS, WordPiece
from tests.support.models import ANY_TEXT, corpus, make_vocab


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Ours and PaddleNLP's, with one vocabulary."""
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(make_vocab()) + "\n", encoding="utf-8")
    return WordPiece.from_file(path), ErnieTokenizer(str(path))


def reference_ids(tokenizer, text):
    """Without the search for special tokens written in the text ("[MASK]"), which an answer must not depend on."""
    return tokenizer.convert_tokens_to_ids(tokenizer._tokenize(text))


def test_ids_equal_paddlenlps_over_the_corpus(tokenizers):
    ours, reference = tokenizers
    different = [text for text in corpus()[::3] if ours.encode(text).ids != reference_ids(reference, text)]
    assert not different, different[:3]


@settings(max_examples=1500, deadline=None)
@given(ANY_TEXT)
@example("İstanbul ΑΣ ﬁ ①½")
@example("a\u0300\u200b\ufe0f👩‍👩‍👧\ud800")
@example("x" * 150 + "中")
def test_ids_equal_paddlenlps_on_generated_text(tokenizers, text):
    ours, reference = tokenizers
    assert ours.encode(text).ids == reference_ids(reference, text)


@settings(max_examples=500, deadline=None)
@given(ANY_TEXT)
def test_positions_follow_one_another_inside_the_text(tokenizers, text):
    tokens = tokenizers[0].encode(text)
    assert len(tokens.ids) == len(tokens.starts) == len(tokens.ends)
    assert all(0 <= start < end <= len(text) for start, end in zip(tokens.starts, tokens.ends))
    # Two tokens share a character only where one character was rewritten as several ("①" has none, "㍿" has four).
    for end, start in zip(tokens.ends, tokens.starts[1:]):
        assert end <= start or (end - 1 == start and len(unicodedata.normalize("NFD", text[start].lower())) > 1)


def test_a_token_covers_its_characters(tokenizers):
    ours = tokenizers[0]
    names = {number: token for token, number in ours.vocab.items()}
    text = "在 Hello2018\t北京ＡＢ，Café！"
    for number, start, end in zip(*ours.encode(text)):
        piece = names[number].replace("##", "")
        if piece != "[UNK]":
            plain = unicodedata.normalize("NFD", text[start:end].lower())
            assert "".join(char for char in plain if not unicodedata.combining(char)) == piece


def test_nothing_of_an_empty_or_blank_text(tokenizers):
    assert [tokenizers[0].encode(text).ids for text in ("", " \t\n", "\u3000", "\x00\x1f")] == [[], [], [], []]


def test_case_is_kept_if_asked(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[CLS]\n[SEP]\n[UNK]\nA\na\n", encoding="utf-8")
    assert WordPiece.from_file(path, lowercase=False).encode("A a").ids == [4, 5]
    assert WordPiece.from_file(path).encode("A a").ids == [5, 5]


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("hello\nworld\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no \[PAD\], \[CLS\], \[SEP\], \[UNK\]"):
        WordPiece.from_file(path)


def test_memory_of_runs_is_bounded(tokenizers, monkeypatch):
    assert CACHE_SIZE <= 1_000_000
    monkeypatch.setattr("ernie_inference.wordpiece.CACHE_SIZE", 60)
    ours = WordPiece(tokenizers[0].vocab)
    for number in range(50):
        ours.encode(f"word{number}")
        ours.encode("x" * number)
        assert ours._cached == sum(map(len, ours._cache)) <= 60


class CountedVocabulary(dict):
    looked_up = 0

    def get(self, token, default=None):
        self.looked_up += 1
        return super().get(token, default)


@pytest.mark.parametrize("word", ["qzxjkvwy" * 12 + "abc", "0918273645" * 9 + "abcdefghi", "internationally" * 6])
def test_a_long_word_takes_time_that_grows_with_it(tokenizers, word):
    """Not with its square: 99 letters of which each is a piece were 5,000 candidates."""
    ours, reference = tokenizers
    counted = WordPiece(CountedVocabulary(ours.vocab))
    assert counted.encode(word).ids == reference_ids(reference, word)
    longest = max(len(token) for token in ours.vocab)
    assert 0 < counted.vocab.looked_up <= len(word) * min(longest, 12)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text("ab", min_size=1, max_size=9), max_size=30), st.text("abc", max_size=40))
def test_the_longest_piece_is_taken_whatever_the_vocabulary(pieces, word):
    """Tokens of any length that begin alike, against the search through all of them."""
    vocab = {token: number for number, token in enumerate(dict.fromkeys([*SPECIAL_TOKENS, *pieces[:15]]))}
    for piece in pieces[15:]:
        vocab.setdefault(f"##{piece}", len(vocab))
    expected, start = [], 0
    while start < len(word):
        ends = [end for end in range(len(word), start, -1) if ("##" if start else "") + word[start:end] in vocab]
        expected, start = (expected + [vocab[("##" if start else "") + word[start : ends[0]]]], ends[0]) if ends else (
            [vocab["[UNK]"]], len(word))  # fmt: skip
    assert WordPiece(vocab).encode(word).ids == expected


def test_characters_that_stand_alone_are_one_token_each(tokenizers):
    """What is looked up without its neighbours; among them all Chinese characters, also those that are normalized."""
    ours, reference = tokenizers
    alone = [char for char in map(chr, range(0x110000)) if re.fullmatch(f"[{ALONE}]", char)]
    assert len(alone) > 70_000 and {"中", "\uf900", "\U0002f800", "，", "！", "!", "…", "〇"} <= set(alone)
    assert all([piece[1:] for piece in ours._pieces(char)] == [(0, 1)] for char in alone)
    for begin in range(0, len(alone), 5000):
        text = "".join(alone[begin : begin + 5000])
        assert ours.encode(text).ids == reference_ids(reference, text)


def test_punctuation_that_lower_casing_looks_past_does_not_stand_alone(tmp_path):
    """A sigma is another letter at the end of a word, and a word goes on behind an apostrophe or a colon."""
    letters = ["i", "α", "σ", "ς", *map(chr, [*range(0x21, 0x30), *range(0x3A, 0x41)]), *"’‘：，·"]
    path = tmp_path / "vocab.txt"
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", *letters, *(f"##{letter}" for letter in letters[:4])]
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    ours, reference = WordPiece.from_file(path), ErnieTokenizer(str(path))
    places = [*range(0x21, 0x7F), *range(0x2010, 0x2060), *range(0x3001, 0x3040), *range(0xFF00, 0xFF66), 0xB7, 0x130]
    for mark in map(chr, places):
        for text in (f"ΑΣ{mark}Α", f"ΑΣ{mark}", f"{mark}ΑΣ", f"Σ{mark}Σ"):
            assert ours.encode(text).ids == reference_ids(reference, text), text
    assert ours.encode("ΑΣ：Α").ids[1] == ours.vocab["##σ"] and ours.encode("ΑΣ，Α").ids[1] == ours.vocab["##ς"]


@settings(max_examples=500, deadline=None)
@given(ANY_TEXT, st.integers(0, 40))
@example("中" * 1000, 5)
def test_the_first_tokens_of_a_text_are_those_of_the_whole(tokenizers, text, most):
    ours = tokenizers[0]
    assert ours.encode(text, most) == tuple(numbers[:most] for numbers in ours.encode(text))


def test_what_is_not_wanted_of_a_long_text_is_not_looked_at(tokenizers):
    ours = WordPiece(tokenizers[0].vocab)
    long = "".join(f"{number}中" for number in range(100_000))
    assert len(ours.encode(long, most=10).ids) == 10
    assert len(ours._cache) < 20
