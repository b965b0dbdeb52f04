"""--analyze and --calibrate, as run_*.py and infer.py have them."""

import json
import shutil

from ernie_suite.analysis.flags import AnalysisArguments
from ernie_suite.analysis.run import analyze, keep_temperature
from ernie_suite.analysis.trained import outputs_of
from ernie_suite.tasks import FAMILIES, QA, SEQ_CLS

import pytest

from ernie_inference.engine_choice import without_scores
from ernie_inference.errors import InputError
from ernie_inference.inference_config import InferenceConfig, load_task
from ernie_inference.predictor import load_predictor
from tests.support.models import TASK_NAMES
from tests.support.scripts import SAMPLES, SCRIPTS, run_here
from tests.support.trainers import tiny_trainer


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_trained_model_is_analyzed_and_its_export_calibrated(finetuned, tmp_path, task):
    """The same figures as infer.py's; the training that is there is kept, and says nothing of the temperature."""
    folder = tmp_path / "model"
    shutil.copytree(finetuned(task), folder)
    command = [
        *(SCRIPTS[task], "--task_name", SAMPLES[task], "--model_name_or_path", folder, "--max_eval_samples", 200),
        "--do_export",
    ]
    done = run_here(*command, "--do_eval", "--analyze", "--calibrate")
    report = json.loads((folder / "analysis" / "dev.json").read_text(encoding="utf-8"))
    dev = json.loads((folder / "results.json").read_text())["dev"]
    assert report["metrics"] == {name: pytest.approx(dev[name]) for name in report["metrics"]}
    page = (folder / "analysis" / "dev.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and f"{SAMPLES[task]} dev" in page
    temperature = report["calibration"]["scaling"]["temperature"]
    assert f"temperature {temperature}, fitted on " in done.stdout and temperature != 1
    assert (
        InferenceConfig.load(folder / "export").temperature == load_task(folder / "export").temperature == temperature
    )
    assert InferenceConfig.load(folder).temperature is None

    done = run_here("infer.py", "--task_name", SAMPLES[task], "--model_path", folder / "export", "--max_samples", 200,
                    "--analyze")  # fmt: skip
    (path,) = (folder / "export").glob("*.analysis.json")
    assert f"analysis: {path.with_suffix('.html')}" in done.stdout
    again = json.loads(path.read_text(encoding="utf-8"))
    assert again["calibration"]["temperature_in_use"] == temperature
    assert again["calibration"]["scaling"]["temperature"] == pytest.approx(temperature, rel=0.01)
    for part in ("classes", "kinds", "confusion"):
        assert again.get(part) == report.get(part)

    run_here(*command)
    assert InferenceConfig.load(folder / "export").temperature is None  # off unless it is asked for


def test_the_training_part_is_analyzed_too(finetuned, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(finetuned("seq_cls"), folder)
    run_here(
        "run_seq_cls.py", "--task_name", "sample_reviews", "--model_name_or_path", folder, "--do_eval",
        "--max_train_samples", 200, "--max_eval_samples", 20, "--analyze", "train",
    )  # fmt: skip
    report = json.loads((folder / "analysis" / "train.json").read_text(encoding="utf-8"))
    assert report["examples"] == 200 and "flatter" in report["remark"]["en"]
    assert not (folder / "analysis" / "dev.json").exists()


def test_infer_keeps_the_temperature_and_all_else(finetuned, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(finetuned("seq_cls") / "export", folder)
    before = json.loads((folder / "inference.json").read_text(encoding="utf-8"))
    run_here("infer.py", "--task_name", "sample_reviews", "--model_path", folder, "--analyze", "--calibrate")
    after = json.loads((folder / "inference.json").read_text(encoding="utf-8"))
    assert {**before, "temperature": after["temperature"]} == after and "temperature" not in before
    texts = ["房间很好", "鱼是凉的，不会再来"]
    scaled, plain = load_predictor(folder), load_predictor(finetuned("seq_cls") / "export")
    pairs = list(zip(scaled.predict(texts, top_k=2), plain.predict(texts, top_k=2)))
    assert all(a["label"] == b["label"] and a["confidence"] != b["confidence"] for a, b in pairs)
    keep_temperature(folder, None)
    assert json.loads((folder / "inference.json").read_text(encoding="utf-8")) == before


@pytest.mark.parametrize("task", TASK_NAMES)
def test_examples_are_computed_some_at_a_time(tmp_path, monkeypatch, task):
    """With the same answers as all at once."""
    trainer = tiny_trainer(tmp_path, FAMILIES[task])
    examples = trainer.eval_examples
    wanted = trainer.predict_results(trainer.eval_dataset)
    monkeypatch.setattr("ernie_suite.analysis.trained.AT_ONCE", 7)
    results = analyze(trainer.family, trainer.task, examples, outputs_of(trainer, examples)).results
    assert without_scores(results) == without_scores(wanted) and len(results) == len(examples) > 7


@pytest.mark.parametrize(
    ("arguments", "exports", "message"),
    [
        ({"calibrate": True}, True, "--calibrate fits a temperature on the dev set: add --analyze"),
        ({"analyze": "train", "calibrate": True}, True, "--calibrate fits a temperature on the dev set"),
        ({"analyze": "dev", "calibrate": True}, False, "--calibrate keeps the temperature in the export: add --do_exp"),
    ],
)
def test_flags_that_lack_what_they_need(arguments, exports, message):
    with pytest.raises(InputError, match=message):
        AnalysisArguments(**arguments).check(SEQ_CLS, exports)
    AnalysisArguments().check(QA, False)


def test_a_family_without_an_analysis_says_so(monkeypatch):
    monkeypatch.setitem(vars(QA), "analysis", None)
    with pytest.raises(InputError, match="--analyze: there is no analysis for qa"):
        AnalysisArguments(analyze="dev").check(QA, True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["infer.py", "--model_path", "m", "--calibrate"], "--calibrate keeps the temperature that --analyze finds"),
        (["infer.py", "--model_path", "m", "--analyze", "--calibrate", "--split", "train"], "use --split dev"),
        (["run_seq_cls.py", "--analyze", "tset"], "invalid choice: 'tset'"),
        (["run_seq_cls.py", "--calibrate"], "--calibrate fits a temperature on the dev set"),
        (["compress_seq_cls.py", "--analyze"], "unknown flag --analyze"),
    ],
)
def test_what_is_wrong_is_one_line(command, message):
    done = run_here(*command, "--task_name", "sample_reviews", check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
