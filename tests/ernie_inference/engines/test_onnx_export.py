"""deploy/paddle2onnx/export.py: the .onnx files of models and of folders of models."""

import shutil

import pytest

from ernie_inference.engines.onnx_graph import read_graph
from tests.support.scripts import run_here, run_script

EXPORT = "deploy/paddle2onnx/export.py"


def export(*paths):
    return run_here(EXPORT, "--model_path", *paths, check=False)


@pytest.fixture
def models(tiny, tmp_path):
    """A folder of models, as a compression leaves it, without what was made from them."""
    for name, prefix in (("inference", tiny["seq_cls"]), ("hist16", tiny.int8("seq_cls"))):
        shutil.copytree(prefix.parent, tmp_path / name, ignore=shutil.ignore_patterns("*.onnx"))
    return tmp_path


def test_a_folder_is_searched_and_what_is_there_is_kept(models):
    (models / "hist16" / ".writing-1").mkdir()
    (models / "hist16" / ".writing-1" / "int8.pdmodel").write_text("half")
    done = run_script(EXPORT, "--model_path", models, models / "inference" / "mod")
    fp32, int8 = models / "inference" / "model.onnx", models / "hist16" / "int8.onnx"
    assert done.stdout == f"{int8}  INT8 (QDQ)\n{fp32}  FP32\n"
    assert done.stderr == f"wrote {int8}\nwrote {fp32}\n"
    assert (read_graph(fp32).precision, read_graph(int8).precision) == ("fp32", "int8")
    again = export(fp32.with_suffix(""), int8.with_suffix(".pdmodel"))
    assert (again.returncode, again.stderr) == (0, "") and again.stdout.startswith(f"{fp32}  FP32")


def test_a_model_that_cannot_be_converted_does_not_keep_the_others_from_it(models, tiny):
    shutil.copytree(tiny.int8("seq_cls", attention=True).parent, models / "attention")
    done = export(models)
    assert done.returncode == 2 and len(done.stdout.splitlines()) == 2
    assert f"note: no .onnx file of {models / 'attention' / 'int8'}: " in done.stderr
    assert done.stderr.splitlines()[-1] == "error: 1 of 3 models have no .onnx file, for the reasons above"
    alone = export(models / "attention")
    assert alone.returncode == 2 and alone.stderr.startswith("error: ") and len(alone.stderr.splitlines()) == 1


def test_where_there_is_no_model_one_line_says_so(tmp_path):
    done = export(tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "holds no .pdmodel file" in done.stderr
