"""deploy/python where Paddle is not: another Python, requirements-deploy.txt, copied files and nothing else."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ernie_inference.bulk import answer_file
from ernie_inference.engines import onnx_files
from ernie_inference.engines.backends import ONNX, OPENVINO
from ernie_inference.engines.onnx_files import export_onnx, find_onnx
from ernie_inference.errors import InputError
from ernie_inference.predictor import load_predictor
from tests.support.models import corpus
from tests.support.scripts import ROOT

VERSIONS = ("3.13", "3.12", "3.11", "3.10")  # the suite itself runs on 3.9
PRECISIONS = ("fp32", "int8")
BESIDE = ("inference.json", "vocab.txt")
WITHOUT_OUR_PATHS = {
    name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
}
AGREEING_SHARE = 0.85  # of INT8 labels: the weights are random, and many of them near a border


def pythons():
    """Interpreters of other versions than the suite's own, the newest first."""
    for version in VERSIONS:
        homes = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin"), reverse=True)
        found = [shutil.which(f"python{version}"), *(str(home / f"python{version}") for home in homes)]
        for python in filter(None, found):
            probe = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
            if call(python, "-c", probe).stdout.strip() == version:  # what is on the PATH may be a version manager's
                yield python
                break


class Elsewhere:
    """A machine without Paddle: an environment of another Python, and what a user copies to it."""

    def __init__(self, folder: Path, python: Path):
        self.folder, self.python = folder, python
        shutil.copytree(ROOT / "deploy" / "python", folder / "python", ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, *argv) -> subprocess.CompletedProcess:
        return call(self.python, *argv, cwd=self.folder)

    def infer(self, *flags) -> subprocess.CompletedProcess:
        return self.run("python/infer_cpu.py", "--num_threads", 1, *flags)

    def copy(self, model: Path, name: str, with_paddle_files: bool = False) -> Path:
        """The folder NAME there with the .onnx file of a model."""
        folder = self.folder / name
        folder.mkdir()
        file = export_onnx(model)
        endings = (".onnx", *((".pdmodel", ".pdiparams") if with_paddle_files else ()))
        for source in (*(file.with_suffix(ending) for ending in endings), *(file.parent / n for n in BESIDE)):
            shutil.copy(source, folder)
        return folder


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory, tiny) -> Elsewhere:
    folder = tmp_path_factory.mktemp("elsewhere")
    for python in pythons():
        environment = folder / Path(python).name
        if call(python, "-m", "venv", environment).returncode == 0:
            break
    else:
        pytest.skip(f"no other Python found that makes an environment (of {', '.join(VERSIONS)})")
    pip = (environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    done = call(*pip, "install", "-q", "-r", ROOT / "requirements-deploy.txt")
    if done.returncode:
        if call(*pip, "download", "-q", "--no-deps", "--no-cache-dir", "-d", folder / "probe", "tqdm").returncode:
            pytest.skip(f"the package registry cannot be reached: {done.stderr.strip()[-300:]}")
        pytest.fail(f"requirements-deploy.txt cannot be installed with {python}: {done.stderr.strip()[-1000:]}")
    there = Elsewhere(folder, environment / "bin" / "python")
    for precision in PRECISIONS:
        there.copy(here(tiny, precision), precision)
    return there


def call(*argv, **options) -> subprocess.CompletedProcess:
    command = list(map(str, argv))
    return subprocess.run(command, capture_output=True, text=True, env=WITHOUT_OUR_PATHS, timeout=600, **options)


def here(tiny, precision: str) -> Path:
    return tiny["token_cls"] if precision == "fp32" else tiny.int8("token_cls")


def test_paddle_is_not_there(elsewhere):
    names = ("paddle", "paddlenlp", "paddle2onnx", "onnx", "yaml")
    code = f"from importlib.util import find_spec; print([n for n in {names} if find_spec(n)])"
    assert elsewhere.run("-c", code).stdout == "[]\n"
    installed = json.loads(elsewhere.run("-m", "pip", "list", "--format", "json").stdout)
    assert not [package["name"] for package in installed if "paddle" in package["name"].lower()]
    assert {"numpy", "tqdm", "onnxruntime", "openvino"} <= {package["name"] for package in installed}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("flag", "engines"),
    [("--use_onnxruntime", [ONNX]), ("--use_openvino", [OPENVINO]), ("--engine auto", [ONNX, OPENVINO])],
)
def test_a_file_is_answered_as_here(elsewhere, tiny, tmp_path, precision, flag, engines):
    texts = corpus()[:200]
    inputs, answers = tmp_path / "texts.jsonl", tmp_path / "answers.jsonl"
    inputs.write_text("".join(json.dumps(text) + "\n" for text in texts))
    for model in (precision, next((elsewhere.folder / precision).glob("*.onnx"))):
        answers.unlink(missing_ok=True)
        flags = (*flag.split(), "--precision_mode", precision, "--input_file", inputs, "--output_file", answers)
        done = elsewhere.infer("--model_path", model, *flags)
        assert done.returncode == 0, done.stderr
        names = {ONNX: "ONNX Runtime", OPENVINO: "OpenVINO"}
        (backend,) = [engine for engine in engines if done.stdout.startswith(f"{names[engine]}, CPU, ")]
        found = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
        ours = load_predictor(here(tiny, precision), backend=backend, precision=precision, num_threads=1)
        expected = tmp_path / f"{backend}.jsonl"
        expected.unlink(missing_ok=True)
        assert answer_file(ours, inputs, expected) == len(texts) == len(found)
        wanted = [json.loads(line) for line in expected.read_text(encoding="utf-8").splitlines()]
        if precision == "fp32":
            assert found == wanted
        pairs = [pair for text, a, b in zip(texts, found, wanted) for pair in zip(labels(text, a), labels(text, b))]
        assert len({label for pair in pairs for label in pair}) > 2
        assert sum(a == b for a, b in pairs) >= AGREEING_SHARE * len(pairs)


def labels(text: str, answer: dict) -> list:
    """The label of each character."""
    found = [""] * len(text)
    for entity in answer["entities"]:
        begin, end = entity["pos"]
        found[begin : end + 1] = [entity["label"]] * (end + 1 - begin)
    return found


def test_auto_says_what_each_engine_did(elsewhere):
    done = elsewhere.infer("--model_path", "fp32", "--engine", "auto")
    assert done.returncode == 0 and "The model detects all entities:\n" in done.stdout, done.stderr
    assert "onnxruntime" in done.stderr and "openvino" in done.stderr and "paddle" not in done.stderr


def test_paddle_files_that_were_copied_along_do_no_harm(elsewhere, tiny):
    folder = elsewhere.copy(tiny["token_cls"], "both", with_paddle_files=True)
    for model in ("both", "both/model"):
        for flag in ("--use_onnxruntime", "--use_openvino"):
            done = elsewhere.infer("--model_path", model, flag)
            assert done.returncode == 0, done.stderr
    (folder / "model.pdiparams").unlink()  # half of them
    assert elsewhere.infer("--model_path", "both", "--use_openvino").returncode == 0


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ("--model_path", "fp32"),
            "paddle is not installed: install paddlepaddle, or give a .onnx file and choose the engine "
            "onnxruntime or openvino",
        ),
        (
            ("--model_path", "fp32", "--precision_mode", "int8", "--use_onnxruntime"),
            "the package onnx is not installed, which makes this .onnx file: install it",
        ),
        (
            ("--model_path", "paddle_only", "--use_openvino"),
            "paddle_only/model.onnx is missing, and paddlepaddle and paddle2onnx are not installed to make it: "
            "make it with deploy/paddle2onnx/export.py where they are, and copy it here",
        ),
    ],
)
def test_what_needs_paddle_says_so_in_one_line(elsewhere, tiny, flags, line):
    if not (elsewhere.folder / "paddle_only").exists():
        elsewhere.copy(tiny["token_cls"], "paddle_only", with_paddle_files=True)
        (elsewhere.folder / "paddle_only" / "model.onnx").unlink()
    done = elsewhere.infer(*flags)
    assert (done.returncode, done.stderr) == (2, f"error: {line}\n")


# ---------------------------------------------------------------- in this process, with Paddle hidden


@pytest.fixture
def unconvertible(tiny, tmp_path, monkeypatch):
    """A copy of a model with its .onnx file where nothing can be converted."""
    folder = tmp_path / "model"
    shutil.copytree(export_onnx(tiny["seq_cls"]).parent, folder, ignore=shutil.ignore_patterns("*.*.onnx"))
    monkeypatch.setattr(onnx_files, "_is_installed", lambda package: package not in ("paddle", "paddle2onnx"))
    return folder


def test_a_file_made_by_hand_is_taken_where_nothing_can_be_converted(unconvertible):
    file = unconvertible / "model.onnx"
    file.write_bytes(file.read_bytes() + b"\x72\x00")  # an empty entry of metadata behind the mark
    assert find_onnx(unconvertible) == find_onnx(unconvertible / "model") == file
    other = file.rename(unconvertible / "ner.onnx")
    assert find_onnx(unconvertible) == other


def test_a_file_of_another_model_is_not_taken_for_it(unconvertible):
    parameters = unconvertible / "model.pdiparams"
    content = bytearray(parameters.read_bytes())
    content[-1] ^= 1
    parameters.write_bytes(content)
    with pytest.raises(InputError, match=r"model.onnx was made from another model than .*model.pdmodel, and paddlepad"):
        find_onnx(unconvertible)
    assert find_onnx(unconvertible / "model.onnx") == unconvertible / "model.onnx"
