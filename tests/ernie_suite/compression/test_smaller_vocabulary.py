"""A whole run with --keep_vocab: every model has the smaller vocabulary, and answers as before."""

import itertools
import json
import shutil
from pathlib import Path

from ernie_suite.compression import pipeline
from ernie_suite.compression.fresh_process import FreshProcess, measure_memory
from ernie_suite.compression.halves import on_choosing_half
from ernie_suite.compression.report import compare_engines

import numpy as np
import pytest
from paddlenlp.transformers import ErnieTokenizer

from ernie_inference.engines.backends import ONNX
from ernie_inference.engines.static_program import loaded_program
from ernie_inference.errors import InputError
from ernie_inference.inference_config import load_task
from ernie_inference.model_files import inspect_model
from ernie_inference.predictor import load_predictor
from ernie_serving.model_to_serving import convert
from tests.support.models import LATIN
from tests.support.trainers import tiny_trainer
from tests.support.vocabularies import kept, vocabulary_config

MEMORY = 300 << 20
RARE = tuple(map(chr, range(0x3400, 0x34C8)))  # Chinese characters that the sample reviews do not use
WORDS = ("hello", "##llo", "hell", "2018", "##18", "##lo", "##he", "new", "##s")
LETTERS = tuple(form for char in LATIN for form in (char, f"##{char}"))


# ---------------------------------------------------------------- the whole run


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
    options = vocabulary_config(str(texts), quantize_embeddings=True, export_onnx=True)
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
    with FreshProcess() as process:
        found = compare_engines(prefix, "fp32", trainer.eval_examples[:4], folder / "inference/infer", process)
    assert {"paddle", "onnxruntime"} <= found.keys()


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
    with pytest.raises(InputError, match="holds no .pdmodel file") as refusal:
        measure_memory(tmp_path / "nothing", "fp32")
    assert "\n" not in str(refusal.value)


def test_the_same_run_again_keeps_all_and_other_texts_get_a_folder_of_their_own(again, made, tmp_path, capsys):
    trainer, folder, texts = again
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pd*")}
    report = trainer.compress("x", folder, compress_config=vocabulary_config(str(texts), quantize_embeddings=True))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pd*")} == before
    assert rows_of(report).keys() == rows_of(made[2]).keys()
    more, other = tmp_path / "more.jsonl", tmp_path / "other.txt"
    more.write_text(json.dumps({"text": "".join(RARE[:4]) + "hello"}) + "\n", encoding="utf-8")
    report = trainer.compress("x", folder, False, False, compress_config=vocabulary_config(str(more)))
    size = rows_of(made[2])[f"{place_of(made)}/float32"]["vocab_size"]
    assert rows_of(report).keys() - rows_of(made[2]).keys() == {f"vocab{size + 2}/float32"}
    capsys.readouterr()
    other.write_text(f"{RARE[8]}{RARE[9]} hello\n", encoding="utf-8")  # as many tokens, but others
    trainer.compress("x", folder, False, False, compress_config=vocabulary_config(str(other)))
    assert f"{folder / f'vocab{size}' / 'float32'}: made anew (other vocabulary)" in capsys.readouterr().out
    assert RARE[9] in load_task(folder / f"vocab{size}").tokenizer.vocab


def test_overwrite_output_dir_makes_the_smaller_models_anew(again, made):
    trainer, folder, texts = again
    model = folder / place_of(made) / "float32.pdiparams"
    before = model.stat().st_ino
    trainer.args.overwrite_output_dir = True
    try:
        trainer.compress("x", folder, False, False, compress_config=vocabulary_config(str(texts)))
    finally:
        trainer.args.overwrite_output_dir = False
    assert model.stat().st_ino != before


def test_a_smaller_model_as_input_dir_brings_its_vocabulary(again, made, tmp_path):
    """Also from elsewhere, where no record says what it is; with a vocabulary that is not its own it is refused."""
    trainer, folder, _ = again
    place = place_of(made)
    elsewhere = Path(shutil.copytree(folder / place / "0.75", tmp_path / "elsewhere"))
    for source in (folder / place / "0.75", elsewhere):
        options = vocabulary_config(None, ["abs_max"], input_dir=str(source))
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
        return trainer.compress(
            "x", tmp_path / output, quantization=False, compress_config=vocabulary_config(str(texts))
        )

    with pytest.raises(Killed):
        compress("state", "out", killed_at=2)
    rows = rows_of(compress("state", "out"))
    assert "distillation goes on from step 2" in capsys.readouterr().out
    (pruned,) = [model for model in rows if rows[model]["width"]]
    assert rows.keys() == {"inference/infer", pruned, pruned.replace("0.75/", "")} and pruned.startswith("vocab")
    assert not list((tmp_path / "state").glob("compress_state-*"))


def test_the_most_frequent_tokens_stay(tmp_path, made, capsys):
    """So few that the table of positions is the longer one; the INT8 embeddings are the words' all the same."""
    trainer = tiny_trainer(tmp_path / "state", unused_tokens=RARE)
    needed = kept(trainer, 100).needed
    number = needed + 30
    assert number < trainer.model.config.max_position_embeddings
    choosing = on_choosing_half(trainer).eval_dataset.examples
    texts = [example["text"] for example in (*trainer.train_dataset.examples, *choosing)]
    options = vocabulary_config(str(number), ["abs_max"], quantize_embeddings=True)
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
