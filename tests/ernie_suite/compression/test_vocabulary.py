"""--keep_vocab: which tokens stay; texts over them are answered as before, and any other text still is."""

from ernie_suite.compression.flags import CompressionArguments
from ernie_suite.compression.vocabulary import (
    LookedUp,
    needed_tokens,
    smaller_model,
    smaller_tokenizer,
    with_kept_tokens,
)
from ernie_suite.tasks import FAMILIES

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddlenlp.transformers import ErnieTokenizer

from ernie_inference.errors import InputError
from ernie_inference.wordpiece import WordPiece
from tests.support.models import ANY_TEXT, LATIN, make_vocab
from tests.support.trainers import SPECIAL, tiny_model, tiny_trainer
from tests.support.vocabularies import kept, vocabulary_config

MEMORY = 300 << 20
RARE = tuple(map(chr, range(0x3400, 0x34C8)))  # Chinese characters that the sample reviews do not use
WORDS = ("hello", "##llo", "hell", "2018", "##18", "##lo", "##he", "new", "##s")
LETTERS = tuple(form for char in LATIN for form in (char, f"##{char}"))


# ---------------------------------------------------------------- tokens


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A vocabulary with the traits of the published one: a token that stands twice, a blank line, [UNK] at the end."""
    words = [token for token in dict.fromkeys([*make_vocab(), *WORDS, *LETTERS]) if token not in SPECIAL]
    middle = len(words) // 2
    lines = [*SPECIAL[:4], *words[:middle], "$", "", *words[middle:], "$", "volunteer", "[UNK]"]
    path = tmp_path_factory.mktemp("full") / "vocab.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return WordPiece.from_file(path)


def kept_for(tokenizer, texts):
    """The rows that stay for some texts, and the tokenizer of these rows."""
    looked_up = LookedUp(tokenizer.vocab)
    recording = WordPiece(looked_up, lines=tokenizer.lines)
    for text in texts:
        recording.encode(text)
    rows = sorted(tokenizer.vocab[token] for token in needed_tokens(tokenizer.vocab) | looked_up.found)
    return rows, smaller_tokenizer(tokenizer, rows)


def pieces(tokenizer, text):
    """The tokens of a text and the characters of each."""
    names = {number: token for token, number in tokenizer.vocab.items()}
    return [(names[number], start, end) for number, start, end in zip(*tokenizer.encode(text))]


@settings(max_examples=150, deadline=None)
@given(st.lists(ANY_TEXT, max_size=3), st.randoms(use_true_random=False))
def test_texts_over_the_tokens_that_stay_have_the_same_pieces(full, texts, draw):
    rows, smaller = kept_for(full, texts)
    words = [word for text in texts for word in text.split()]
    draw.shuffle(words)
    for text in (*texts, " ".join(words)):
        assert pieces(smaller, text) == pieces(full, text)
        assert [rows[number] for number in smaller.encode(text).ids] == full.encode(text).ids


@settings(max_examples=150, deadline=None)
@given(st.lists(ANY_TEXT, max_size=2), ANY_TEXT)
def test_any_text_is_still_split_and_by_both_tokenizers_alike(full, tmp_path_factory, texts, other):
    _, smaller = kept_for(full, texts)
    path = tmp_path_factory.mktemp("smaller") / "vocab.txt"
    smaller.save(path)
    assert WordPiece.from_file(path).vocab == smaller.vocab
    assert sorted(smaller.vocab.values()) == list(range(path.read_bytes().count(b"\n")))
    theirs = ErnieTokenizer(str(path))
    for text in (other, *texts):
        ids = smaller.encode(text).ids
        assert ids == theirs.convert_tokens_to_ids(theirs._tokenize(text))
        covered = [any(s <= i < e for _, s, e in pieces(smaller, text)) for i in range(len(text))]
        assert covered == [any(s <= i < e for _, s, e in pieces(full, text)) for i in range(len(text))]


@settings(max_examples=200, deadline=None)
@given(st.text(LATIN + LATIN.upper() + " -.é", max_size=60))
def test_a_latin_word_or_a_number_never_becomes_unknown(full, text):
    _, smaller = kept_for(full, [])
    assert smaller.unk_id not in smaller.encode(text).ids
    assert len(smaller.vocab) < len(full.vocab) / 10


def test_a_rare_character_becomes_unknown_and_a_rare_word_is_split_further(full):
    _, smaller = kept_for(full, ["很好"])
    assert [token for token, *_ in pieces(full, "很坏，hello")] == ["很", "坏", "，", "hello"]
    assert [token for token, *_ in pieces(smaller, "很坏，hello")] == [
        "很",
        "[UNK]",
        "，",
        *("h", "##e", "##l", "##l", "##o"),
    ]


def test_a_word_that_was_unknown_stays_unknown():
    """What WordPiece began such a word with stays: without it, the word could be begun otherwise, and end."""
    tokenizer = WordPiece({token: i for i, token in enumerate([*SPECIAL, "ab", "abc", "##cd"])})
    assert tokenizer.encode("abcd").ids == [tokenizer.unk_id]
    rows, smaller = kept_for(tokenizer, ["abcd ab", "cd"])
    assert smaller.encode("abcd").ids == [smaller.unk_id] and tokenizer.vocab["##cd"] not in rows


def test_what_stays_in_any_case(full):
    needed = needed_tokens(full.vocab)
    assert {*SPECIAL, "$", "a", "##a", "7", "##7", "，", "。", "“", "!"} <= needed
    assert not needed & {"的", "hello", "##llo", "2018", "volunteer"}
    both_ways = {token: i for i, token in enumerate([*SPECIAL, "ж", "##ж", "я", "中", "##中", "★", "。"])}
    assert needed_tokens(both_ways) == {*SPECIAL, "ж", "##ж", "。"}


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("architecture", ["Ernie", "Bert", "Roberta", "Electra"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_only_rows_of_the_word_embeddings_go(architecture, family):
    """No weight of another name has a row for each token, and all others are as they were."""
    rows, size = [0, 1, 2, 3, 7, 8, 90, 210], 211
    model = tiny_model(architecture, family.head, size, 3, 0.0, seed=4)
    smaller = smaller_model(model, rows)
    before, after = model.state_dict(), smaller.state_dict()
    assert before.keys() == after.keys() and (model.config.vocab_size, smaller.config.vocab_size) == (size, len(rows))
    (table,) = [name for name, value in before.items() if size in value.shape]
    assert table == f"{model.base_model_prefix}.embeddings.word_embeddings.weight"
    for name, value in before.items():
        assert np.array_equal(after[name].numpy(), value.numpy()[rows] if name == table else value.numpy()), name
    ids = paddle.to_tensor([[1, 4, 7, 6, 2, 0], [1, 5, 3, 2, 0, 0]])
    both = smaller(ids), model(paddle.to_tensor(np.array(rows)[ids.numpy()]))
    for ours, theirs in zip(*(outputs if isinstance(outputs, tuple) else (outputs,) for outputs in both)):
        assert np.array_equal(ours.numpy(), theirs.numpy())


def test_the_task_types_of_ernie_stay(tmp_path):
    trainer = tiny_trainer(tmp_path, unused_tokens=RARE, examples=4)
    trainer.model.config.use_task_id = True
    model = type(trainer.model)(trainer.model.config)
    types = model.ernie.embeddings.task_type_embeddings.weight.numpy()
    smaller = smaller_model(model, [0, 1, 2, 3, 4])
    assert np.array_equal(smaller.ernie.embeddings.task_type_embeddings.weight.numpy(), types)


# ---------------------------------------------------------------- what is refused


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return tiny_trainer(tmp_path_factory.mktemp("refused") / "state", unused_tokens=RARE, examples=4)


def refuse(trainer, tmp_path, keep_vocab, match, **more):
    with pytest.raises(InputError, match=match) as refusal:
        trainer.compress("x", tmp_path / "out", pruning=False, compress_config=vocabulary_config(keep_vocab, **more))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists(), "something was written"


@pytest.mark.parametrize("keep_vocab", ["missing.txt", "0", "-5", 0, "1.5", True])
def test_what_is_neither_a_file_nor_a_number_is_refused(trainer, tmp_path, keep_vocab):
    refuse(trainer, tmp_path, keep_vocab, f"keep_vocab {keep_vocab}: give a file of texts, or how many")


def test_a_file_without_text_is_refused(trainer, tmp_path):
    for content, said in (("", "is empty"), (" \n\n", "holds no text"), ("\x00\n", "holds no text")):
        (tmp_path / "texts.txt").write_text(content)
        refuse(trainer, tmp_path, str(tmp_path / "texts.txt"), f"texts.txt {said}: give a file with the texts whose")


@pytest.mark.parametrize("keep_vocab", [10, "10", 100_000])
def test_a_number_out_of_range_is_refused(trainer, tmp_path, keep_vocab):
    needed, size = kept(trainer, 100).needed, len(trainer.task.tokenizer.vocab)
    refuse(
        trainer, tmp_path, keep_vocab, f"{needed} tokens must stay .*the vocabulary has {size}: give a number between"
    )


def test_a_vocabulary_of_which_all_is_used_is_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    (tmp_path / "texts.txt").write_text("".join(trainer.task.tokenizer.vocab), encoding="utf-8")
    refuse(trainer, tmp_path, str(tmp_path / "texts.txt"), "all .* tokens of the vocabulary would stay: leave it out")


def test_a_model_that_its_vocabulary_does_not_fit_is_refused(tmp_path):
    for size, pad, said in (
        (20, 0, "word embeddings for 20 tokens"),
        (2000, 3, "masks token 3"),
    ):
        trainer = tiny_trainer(tmp_path / "state", examples=4)
        trainer.model = tiny_model("Ernie", "ForSequenceClassification", size, 2, 0.0, 1)
        trainer.model.config.pad_token_id = pad
        refuse(trainer, tmp_path, 100, said)


def test_input_dir_and_a_training_set_that_is_missing_are_refused(trainer, tmp_path):
    refuse(trainer, tmp_path, 100, "which keep_vocab does not change", input_dir=str(tmp_path))
    train, trainer.train_dataset = trainer.train_dataset, None
    try:
        refuse(trainer, tmp_path, 100, "the training set is empty: keep_vocab keeps the tokens of")
    finally:
        trainer.train_dataset = train


def test_flags_are_checked_before_anything_is_loaded(tmp_path):
    with pytest.raises(InputError, match="keep_vocab nowhere.txt: give a file"):
        CompressionArguments(keep_vocab="nowhere.txt")
    assert CompressionArguments(keep_vocab="5000").config().keep_vocab == "5000"
    with pytest.raises(InputError, match="which keep_vocab does not change"):
        CompressionArguments(keep_vocab="5000", pruning=False, input_dir="compress/0.75")


def test_without_it_the_trainer_is_as_it_was(trainer):
    """A smaller copy shares nothing that it changes."""
    before = trainer.model, trainer.task, trainer.task.tokenizer.vocab.copy(), trainer.model.config.vocab_size
    first = trainer.eval_dataset[0]
    smaller = with_kept_tokens(trainer, 100)
    assert smaller.model.config.vocab_size == smaller.task.tokenizer.size < before[3]
    assert (trainer.model, trainer.task, trainer.task.tokenizer.vocab, trainer.model.config.vocab_size) == before
    assert trainer.eval_dataset[0] == first and len(smaller.eval_dataset) == len(trainer.eval_dataset)
