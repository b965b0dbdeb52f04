"""The files of a model: how they are found, and what is said of broken ones."""

import subprocess
import sys

import paddle
import pytest

from ernie_inference.errors import InputError
from ernie_inference.model_files import find_model
from ernie_inference.predictor import load_predictor
from tests.support.models import MAX_POSITIONS, MAX_SEQ_LENGTH
from tests.support.scripts import ROOT


def test_a_model_is_found_by_prefix_folder_or_beginning(tmp_path):
    for name in ("float32", "int8", "int8_mse"):
        (tmp_path / f"{name}.pdmodel").touch()
    for given_path, found in (("float32", "float32"), ("float", "float32"), ("int8", "int8"), ("int8.pdmodel", "int8")):
        assert find_model(tmp_path / given_path) == tmp_path / found
    assert find_model(tmp_path / "float32.pdiparams") == tmp_path / "float32"
    with pytest.raises(InputError, match="can mean float32, int8, int8_mse"):
        find_model(tmp_path)
    with pytest.raises(InputError, match="can mean int8, int8_mse"):
        find_model(tmp_path / "int")
    with pytest.raises(InputError, match=r"fp16.pdmodel is missing; .* holds float32.pdmodel"):
        find_model(tmp_path / "fp16")
    with pytest.raises(InputError, match="holds no .pdmodel file"):
        find_model(tmp_path / "nowhere" / "model")
    for name in ("ner.onnx", "ner.int8.onnx", "ner.fp16.onnx"):
        (tmp_path / name).touch()
    assert find_model(tmp_path, ".onnx") == tmp_path / "ner"


@pytest.fixture
def broken(tiny, tmp_path):
    """A copy of a good model, to be broken."""
    for file in tiny["seq_cls"].parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def damage(path, kind):
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "half":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "last byte":
        path.write_bytes(content[:-1])
    elif kind == "text":
        path.write_bytes("这不是模型\n".encode())
    elif kind == "zeros":
        path.write_bytes(bytes(len(content)))
    elif kind == "longer":
        path.write_bytes(content + b"more")
    else:
        other = path.with_suffix(".pdmodel" if path.suffix == ".pdiparams" else ".pdiparams")
        path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("kind", ["missing", "empty", "half", "text", "zeros", "other"])
@pytest.mark.parametrize("name", ["model.pdmodel", "model.pdiparams"])
def test_a_broken_model_file_is_one_clear_line(broken, name, kind, capfd):
    damage(broken / name, kind)
    with pytest.raises(InputError) as refusal:
        load_predictor(broken / "model")
    message = str(refusal.value)
    assert "\n" not in message and "C++" not in message and (name in message or kind == "missing")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["last byte", "longer"])
def test_parameters_of_the_wrong_length_are_refused(broken, kind):
    damage(broken / "model.pdiparams", kind)
    with pytest.raises(InputError, match="model.pdiparams"):
        load_predictor(broken / "model")


def test_random_damage_never_ends_the_process(broken):
    """In a process of its own, so that a crash in C++ is a failed test and not the end of the tests."""
    code = (
        "import random, sys; sys.path.insert(0, 'deploy/python')\n"
        "from pathlib import Path\n"
        "from ernie_predictor import InputError, load_predictor\n"
        f"folder = Path({str(broken)!r}); random.seed(1)\n"
        "whole = {name: (folder / name).read_bytes() for name in ('model.pdmodel', 'model.pdiparams')}\n"
        "for attempt in range(60):\n"
        "    name = ('model.pdmodel', 'model.pdiparams')[attempt % 2]\n"
        "    (folder / name).write_bytes(whole[name][: random.randrange(len(whole[name]))])\n"
        "    try:\n"
        "        load_predictor(folder / 'model', num_threads=1)\n"
        "        raise SystemExit(f'{name} cut short was loaded')\n"
        "    except InputError as error:\n"
        "        assert '\\n' not in str(error)\n"
        "    (folder / name).write_bytes(whole[name])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-500:]


def test_files_of_another_model_are_refused(broken):
    vocab = (broken / "vocab.txt").read_text(encoding="utf-8")
    (broken / "vocab.txt").write_text(vocab + "one\ntwo\n", encoding="utf-8")
    with pytest.raises(InputError, match="vocab.txt .* tokens, the model .*: not its own file"):
        load_predictor(broken)
    (broken / "vocab.txt").write_text(vocab, encoding="utf-8")
    config = (broken / "inference.json").read_text(encoding="utf-8")
    (broken / "inference.json").write_text(config.replace('"positive"', '"positive", "neutral"'), encoding="utf-8")
    with pytest.raises(InputError, match="inference.json .* names 3 labels, the model has 2"):
        load_predictor(broken)


def test_flags_are_checked_against_the_model(tiny):
    with pytest.raises(
        InputError, match=f"max_seq_length {MAX_POSITIONS + 1}: the model takes at most {MAX_POSITIONS}"
    ):
        load_predictor(tiny["seq_cls"], max_seq_length=MAX_POSITIONS + 1)
    with pytest.raises(InputError, match="is a seq_cls model, not qa"):
        load_predictor(tiny["seq_cls"], task_name="qa")
    assert load_predictor(tiny["seq_cls"]).task.max_seq_length == MAX_SEQ_LENGTH
    assert load_predictor(tiny["seq_cls"], max_seq_length=20).task.max_seq_length == 20


def test_a_program_with_other_inputs_is_refused(broken):
    class Sum(paddle.nn.Layer):
        def forward(self, x):
            return x.sum(-1)

    spec = paddle.static.InputSpec([None, 4], "float32", "x")
    paddle.jit.save(paddle.jit.to_static(Sum(), input_spec=[spec], full_graph=True), str(broken / "model"))
    (broken / "model.pdiparams").write_bytes(b"")
    with pytest.raises(InputError, match="model.pdiparams is empty|has the inputs x, not input_ids"):
        load_predictor(broken / "model")
