"""--keep_vocab: which tokens stay; texts over them are answered as before, and any other text still is."""

import itertools
import json
import shutil
from pathlib import Path

from ernie_suite.compression import pipeline
from ernie_suite.compression.config import CompressConfig, DynabertConfig, PTQConfig
from ernie_suite.compression.flags import CompressionArguments
from ernie_suite.compression.memory import measure_memory
from ernie_suite.compression.report import compare_engines
from ernie_suite.compression.vocabulary import (
    LookedUp,
    choose_rows,
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

from ernie_inference.engines.backends import ONNX
from ernie_inference.engines.static_program import loaded_program
from ernie_inference.errors import InputError
from ernie_inference.inference_config import load_task
from ernie_inference.model_files import inspect_model
from ernie_inference.predictor import load_predictor
from ernie_inference.wordpiece import WordPiece
from ernie_serving.model_to_serving import convert
from tests.support.models import ANY_TEXT, LATIN, make_vocab
from tests.support.trainers import SPECIAL, tiny_model, tiny_trainer

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


# ---------------------------------------------------------------- the whole run


def kept(trainer, keep_vocab):
    return choose_rows(trainer.task, [trainer.train_dataset.examples, trainer.eval_examples], keep_vocab)


def config(keep_vocab, algorithms=("hist",), **more) -> CompressConfig:
    ptq = PTQConfig(list(algorithms), [2], **{k: more.pop(k) for k in list(more) if hasattr(PTQConfig, k)})
    return CompressConfig(DynabertConfig([0.75]), ptq, keep_vocab=keep_vocab, **more)


@pytest.fixture(autouse=True, scope="module")
def no_processes():
    """Each model's memory is measured in a process of its own; that once, by a test of its own, is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "measure_memory", lambda prefix, precision: {"memory": MEMORY})
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, no_processes):
    """(trainer, folder, report, file of texts) of a run with all that can be made, in a folder that stays as it is."""
    folder = tmp_path_factory.mktemp("vocabulary")
    trainer = tiny_trainer(folder / "state", unused_tokens=(*RARE, *WORDS, *LETTERS))
    texts = folder / "texts.txt"
    texts.write_text(f"{RARE[0]}{RARE[1]} hello\n", encoding="utf-8")
    options = config(str(texts), quantize_embeddings=True, export_onnx=True)
    report = trainer.compress("sample_reviews", folder / "compress", compress_config=options)
    return trainer, folder / "compress", report, texts


@pytest.fixture
def again(made, tmp_path):
    """(trainer, a copy of the finished folder, file of texts)."""
    trainer, folder, _, texts = made
    return trainer, Path(shutil.copytree(folder, tmp_path / "compress")), texts


def rows_of(report):
    return {row["model"]: row for row in report["models"]}


def place_of(made):
    return f"vocab{len(kept(made[0], made[3]).rows)}"


def test_every_model_of_a_run_has_the_smaller_vocabulary(made, tmp_path):
    trainer, folder, report, _ = made
    place, size = place_of(made), len(kept(trainer, made[3]).rows)
    rows = rows_of(report)
    models = ["float32", "0.75/float32", *(f"{p}hist2{e}/int8" for p in ("", "0.75/") for e in ("", "_embeddings"))]
    assert rows.keys() == {"inference/infer", *(f"{place}/{model}" for model in models)}
    full = trainer.task.tokenizer
    assert rows.pop("inference/infer")["vocab_size"] is None
    assert load_task(folder / "inference").tokenizer.vocab == full.vocab
    for model, row in rows.items():
        prefix = folder / model
        tokenizer = load_task(prefix.parent).tokenizer
        assert row["vocab_size"] == tokenizer.size == inspect_model(prefix).vocab_size == size < full.size
        assert tokenizer.vocab.keys() >= {RARE[0], RARE[1], "hello", "##a"} and RARE[2] not in tokenizer.vocab
        theirs = ErnieTokenizer(str(prefix.parent / "vocab.txt"))
        text = trainer.eval_examples[0]["text"]
        assert tokenizer.encode(text).ids == theirs.convert_tokens_to_ids(theirs._tokenize(text))
        served = convert(prefix, tmp_path / model)
        assert load_task(served).tokenizer.vocab == tokenizer.vocab
    assert (folder / place / "float32.record.json").exists() and not (folder / "0.75").exists()


def logits(prefix, examples, **options):
    predictor = load_predictor(prefix, device="cpu", num_threads=1, **options)
    windows = [window for example in examples for window in predictor.task.windows(example)]
    return np.array([output[0] for output in predictor.run_windows(windows)])


def test_answers_are_those_of_the_original_to_the_last_bit(made):
    trainer, folder, report, _ = made
    examples = [*trainer.eval_examples, {"text": f"{RARE[1]}很好 hello，{RARE[0]}"}]
    place, rows = place_of(made), rows_of(report)
    before = logits(folder / "inference/infer", examples)
    assert np.array_equal(logits(folder / place / "float32", examples), before)
    unknown = [{"text": RARE[5]}]
    assert not np.array_equal(logits(folder / place / "float32", unknown), logits(folder / "inference/infer", unknown))
    assert rows[f"{place}/float32"]["metrics"] == rows["inference/infer"]["metrics"]
    onnx = {
        model: logits(folder / row["onnx"], examples, backend=ONNX, precision=row["precision"])
        for model, row in rows.items()
    }
    assert np.array_equal(onnx[f"{place}/float32"], onnx["inference/infer"])


def test_engines_are_compared_on_the_models_own_tokens(made):
    """Those of the original's vocabulary are more than it has rows for."""
    trainer, folder, _, _ = made
    prefix = folder / place_of(made) / "float32"
    assert {"paddle", "onnxruntime"} <= compare_engines(
        prefix, "fp32", trainer.eval_examples[:4], folder / "inference/infer"
    ).keys()


def test_the_report_says_how_much_smaller(made, capsys):
    trainer, folder, report, _ = made
    rows, place = rows_of(report), place_of(made)
    gone = trainer.model.config.vocab_size - rows[f"{place}/float32"]["vocab_size"]
    saved = rows["inference/infer"]["bytes"] - rows[f"{place}/float32"]["bytes"]
    assert abs(saved - 4 * trainer.model.config.hidden_size * gone) < 4096  # Paddle names what was copied at length
    assert rows["inference/infer"]["speedup"] == 1 and report["original"] == "inference/infer"
    assert {row["memory"] for row in rows.values()} == {MEMORY}
    again = trainer.compress("x", folder, False, False)  # without keep_vocab what was measured before is still shown
    assert rows_of(again).keys() == rows.keys() and {row["memory"] for row in again["models"]} == {MEMORY}
    assert "memory MB" in capsys.readouterr().out


def test_memory_is_that_of_a_process(made, tmp_path):
    _, folder, report, _ = made
    reals = [
        measure_memory(folder / name, "fp32")["memory"] for name in ("inference/infer", f"{place_of(made)}/float32")
    ]
    assert all(100 << 20 < real < 4 << 30 for real in reals)
    with pytest.raises(InputError, match="nothing cannot be measured .*holds no .pdmodel file") as refusal:
        measure_memory(tmp_path / "nothing", "fp32")
    assert "\n" not in str(refusal.value)


def test_the_same_run_again_keeps_all_and_other_texts_get_a_folder_of_their_own(again, made, tmp_path, capsys):
    trainer, folder, texts = again
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pd*")}
    report = trainer.compress("x", folder, compress_config=config(str(texts), quantize_embeddings=True))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pd*")} == before
    assert rows_of(report).keys() == rows_of(made[2]).keys()
    more, other = tmp_path / "more.jsonl", tmp_path / "other.txt"
    more.write_text(json.dumps({"text": "".join(RARE[:4]) + "hello"}) + "\n", encoding="utf-8")
    report = trainer.compress("x", folder, False, False, compress_config=config(str(more)))
    size = rows_of(made[2])[f"{place_of(made)}/float32"]["vocab_size"]
    assert rows_of(report).keys() - rows_of(made[2]).keys() == {f"vocab{size + 2}/float32"}
    capsys.readouterr()
    other.write_text(f"{RARE[8]}{RARE[9]} hello\n", encoding="utf-8")  # as many tokens, but others
    trainer.compress("x", folder, False, False, compress_config=config(str(other)))
    assert f"{folder / f'vocab{size}' / 'float32'}: made anew (other vocabulary)" in capsys.readouterr().out
    assert RARE[9] in load_task(folder / f"vocab{size}").tokenizer.vocab


def test_overwrite_output_dir_makes_the_smaller_models_anew(again, made):
    trainer, folder, texts = again
    model = folder / place_of(made) / "float32.pdiparams"
    before = model.stat().st_ino
    trainer.args.overwrite_output_dir = True
    try:
        trainer.compress("x", folder, False, False, compress_config=config(str(texts)))
    finally:
        trainer.args.overwrite_output_dir = False
    assert model.stat().st_ino != before


def test_a_smaller_model_as_input_dir_brings_its_vocabulary(again, made, tmp_path):
    """Also from elsewhere, where no record says what it is; with a vocabulary that is not its own it is refused."""
    trainer, folder, _ = again
    place = place_of(made)
    elsewhere = Path(shutil.copytree(folder / place / "0.75", tmp_path / "elsewhere"))
    for source in (folder / place / "0.75", elsewhere):
        options = config(None, ["abs_max"], input_dir=str(source))
        report = trainer.compress("x", folder, pruning=False, compress_config=options)
    added = rows_of(report).keys() - rows_of(made[2]).keys()
    assert added == {f"{place}/0.75/abs_max2/int8"}
    vocabulary = (folder / place / "vocab.txt").read_bytes()
    assert (folder / place / "0.75/abs_max2/vocab.txt").read_bytes() == vocabulary
    assert rows_of(report)[added.pop()]["vocab_size"] == load_task(folder / place).tokenizer.size
    shutil.copy(folder / "inference" / "vocab.txt", elsewhere)
    with pytest.raises(InputError, match="the vocabulary of --model_name_or_path .*its own vocab.txt") as refusal:
        trainer.compress("x", tmp_path / "none", pruning=False, compress_config=options)
    assert "\n" not in str(refusal.value) and not (tmp_path / "none").exists()


class Killed(Exception):
    """Stands for a kill: whatever is on the disk stays as it is."""


def test_an_interrupted_run_goes_on(made, tmp_path, capsys):
    _, _, _, texts = made
    parameters = {"unused_tokens": RARE, "examples": 12}

    def compress(state, output, killed_at=None):
        trainer = tiny_trainer(tmp_path / state, **parameters)
        evaluations = itertools.count(1)

        def metric(examples, results):
            number = next(evaluations)
            if number == killed_at:
                raise Killed
            return {"accuracy": float(number)}

        trainer.metric = metric
        return trainer.compress("x", tmp_path / output, quantization=False, compress_config=config(str(texts)))

    with pytest.raises(Killed):
        compress("state", "out", killed_at=2)
    rows = rows_of(compress("state", "out"))
    assert "pruning goes on from step 2" in capsys.readouterr().out
    (pruned,) = [model for model in rows if rows[model]["width"]]
    assert rows.keys() == {"inference/infer", pruned, pruned.replace("0.75/", "")} and pruned.startswith("vocab")
    assert not list((tmp_path / "state").glob("compress_state-*"))


def test_the_most_frequent_tokens_stay(tmp_path, made, capsys):
    """So few that the table of positions is the longer one; the INT8 embeddings are the words' all the same."""
    trainer = tiny_trainer(tmp_path / "state", unused_tokens=RARE)
    needed = kept(trainer, 100).needed
    number = needed + 30
    assert number < trainer.model.config.max_position_embeddings
    texts = [example["text"] for example in (*trainer.train_dataset.examples, *trainer.eval_examples)]
    options = config(str(number), ["abs_max"], quantize_embeddings=True)
    report = trainer.compress("x", tmp_path / "out", pruning=False, compress_config=options)
    size = trainer.model.config.vocab_size
    assert (
        f"vocabulary: {number} of {size} tokens stay, {needed} of them for any text; all but "
        in capsys.readouterr().out
    )
    prefix = tmp_path / "out" / f"vocab{number}" / "abs_max2_embeddings" / "int8"
    assert prefix.relative_to(tmp_path / "out").as_posix() in rows_of(report)
    vocab = load_task(prefix.parent).tokenizer.vocab
    count = {char: sum(text.lower().count(char) for text in texts) for char in trainer.task.tokenizer.vocab}
    chinese = [char for char in count if len(char) == 1 and "\u4e00" <= char <= "\u9fff"]
    gone = [char for char in chinese if char not in vocab]
    assert max(count[char] for char in gone) <= min(count[char] for char in chinese if char in vocab)
    with loaded_program(prefix) as model:
        stored = [v for v in model.program.list_vars() if v.persistable and v.name.endswith(".int8")]
    assert [list(variable.shape) for variable in stored] == [[number, trainer.model.config.hidden_size]]


# ---------------------------------------------------------------- what is refused


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return tiny_trainer(tmp_path_factory.mktemp("refused") / "state", unused_tokens=RARE, examples=4)


def refuse(trainer, tmp_path, keep_vocab, match, **more):
    with pytest.raises(InputError, match=match) as refusal:
        trainer.compress("x", tmp_path / "out", pruning=False, compress_config=config(keep_vocab, **more))
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
