"""Several labels a text from the data to the service, with one small model that is trained once."""

import json
import shutil

from ernie_suite.compression.config import CompressConfig, DynabertConfig, PTQConfig
from ernie_suite.data import load_examples
from ernie_suite.tasks.multi_label import MULTI_LABEL

import numpy as np
import pytest

from ernie_inference.engine_choice import without_scores
from ernie_inference.inference_config import InferenceConfig
from ernie_inference.predictor import load_predictor
from ernie_serving.model_to_serving import convert
from tests.support.scripts import run_here
from tests.support.services import RunningService
from tests.support.trainers import tiny_trainer, weights

NAME, LABELS, EXAMPLES = "sample_entity_types", ["PER", "LOC", "ORG"], 300
DATA = ("--task_name", NAME, "--max_eval_samples", EXAMPLES)


@pytest.fixture(scope="module")
def trained(small_ernie, shared):
    """The folder of a model that finds some of the labels, and what its training printed."""

    def train(folder):
        done = run_here(
            "run_seq_cls.py", *DATA, "--model_name_or_path", small_ernie, "--output_dir", folder, "--max_train_samples",
            1000, "--max_seq_length", 48, "--learning_rate", 2e-3, "--num_train_epochs", 3, "--eval_steps", 60,
            "--class_weights", "balanced", "--do_train", "--do_eval", "--do_predict", "--do_export",
        )  # fmt: skip
        (folder / "printed.txt").write_text(done.stdout, encoding="utf-8")

    return shared.made("finetuned-multi_label", train)


def test_what_a_run_leaves(trained):
    results = json.loads((trained / "results.json").read_text())
    assert list(results["dev"])[:4] == ["micro_f1", "macro_f1", "precision", "recall"]
    assert results["dev"]["micro_f1"] == results["training"]["best"]["micro_f1"] > 0.5
    config = InferenceConfig.load(trained / "export")
    assert (config.task, config.labels, config.dataset) == ("seq_cls", LABELS, NAME)
    assert config.thresholds == InferenceConfig.load(trained).thresholds
    assert len(config.thresholds) == 3 and all(0 < t < 1 for t in config.thresholds) and set(config.thresholds) != {0.5}
    lines = [json.loads(line) for line in (trained / f"{NAME}_predict.json").read_text().splitlines()]
    test = load_examples(NAME, "test")
    assert [line["id"] for line in lines] == [example["id"] for example in test]
    assert {label for line in lines for label in line["labels"]} <= set(LABELS)
    printed = (trained / "printed.txt").read_text(encoding="utf-8")
    assert "class weights: from " in printed and f"{results['dev']['micro_f1']:.4f}" in printed


def test_thresholds_come_back_with_the_model(trained, tmp_path):
    """The same command finds its model; evaluation alone is as it was."""
    shutil.copytree(trained, tmp_path / "m")
    dev = json.loads((trained / "results.json").read_text())["dev"]["micro_f1"]
    done = run_here("run_seq_cls.py", *DATA, "--do_eval", "--output_dir", tmp_path / "m")
    assert f" {dev:.4f} " in done.stdout
    changed = InferenceConfig.load(tmp_path / "m")
    changed.thresholds = [0.999, 0.999, 0.999]
    changed.save(tmp_path / "m")
    done = run_here("run_seq_cls.py", *DATA, "--do_eval", "--output_dir", tmp_path / "m")
    assert f" {dev:.4f} " not in done.stdout


def test_engines_give_the_same_figures(trained, tmp_path):
    shutil.copytree(trained / "export", tmp_path / "export")
    figures = []
    for engine in ("paddle", "onnxruntime", "openvino"):
        run_here(
            "infer.py", "--task_name", NAME, "--model_path", tmp_path / "export", "--max_samples", EXAMPLES,
            "--engine", engine, "--device", "cpu",
        )  # fmt: skip
        written = tmp_path / "export" / f"model.{NAME}-first{EXAMPLES}.{engine}-cpu-fp32.json"
        figures.append(json.loads(written.read_text())["metrics"])
    assert figures[0] == figures[1] == figures[2]
    dev = json.loads((trained / "results.json").read_text())["dev"]
    assert figures[0] == pytest.approx({name: dev[name] for name in figures[0]})


def test_files_are_answered_line_by_line(trained, tmp_path):
    texts = [example["text"] for example in load_examples(NAME, "dev")[:20]]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    files = ("--input_file", tmp_path / "in.jsonl", "--output_file", tmp_path / "out.jsonl")
    infer_cpu = (
        "deploy/python/infer_cpu.py",
        "--task_name",
        "seq_cls",
        "--model_path",
        trained / "export",
        "--top_k",
        2,
    )
    run_here(*infer_cpu, *files)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = load_predictor(trained / "export").predict(texts, top_k=2)
    assert without_scores(found) == without_scores(expected) and all(len(each["scores"]) == 2 for each in found)
    assert run_here(*infer_cpu).stdout.count("labels: ") == 2


def test_a_service_and_its_client(trained, tmp_path):
    service = RunningService("seq_cls", convert(trained / "export", tmp_path / "serving"))
    try:
        client = ("deploy/serving/seq_cls_rpc_client.py", "--endpoints", service.endpoint)
        evaluated = run_here(*client, "--task_name", NAME, "--max_samples", EXAMPLES)
        wrong = run_here(*client, "--task_name", "sample_reviews", "--max_samples", 4, check=False)
        asked = run_here(*client, "--top_k", 1)
        description = service.get("/openapi.json", monitor=False)[1]
    finally:
        assert service.stop() == 0
    dev = json.loads((trained / "results.json").read_text())["dev"]
    assert all(f"{dev[name]:.4f}" in evaluated.stdout for name in ("micro_f1", "macro_f1"))
    assert asked.stdout.count("labels: ") == 2
    assert "error: the service answers otherwise than sample_reviews has it: check --task_name" in wrong.stderr
    schemas = json.dumps(description)
    assert '"labels": {"type": "array", "items": {"type": "object", "required": ["label", "confidence"]' in schemas


def test_compression_keeps_thresholds_and_chooses_by_micro_f1(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "m")
    done = run_here(
        "compress_seq_cls.py", *DATA, "--model_name_or_path", tmp_path / "m", "--output_dir", tmp_path, "--algo_list",
        "hist", "--batch_size_list", 4, "--width_mult_list", "1/2", "--max_train_samples", 64, "--num_train_epochs", 1,
        "--per_device_train_batch_size", 32,
    )  # fmt: skip
    report = json.loads((tmp_path / "m" / "compress" / "report.json").read_text())
    assert report["metric"] == "micro_f1" and "micro_f1" in done.stdout
    rows = {row["model"]: row for row in report["models"]}
    assert set(rows) == {"inference/infer", "0.5/float32", "0.5/hist4/int8", "hist4/int8"}
    assert abs(rows["hist4/int8"]["change"]) < 0.02
    thresholds = InferenceConfig.load(trained).thresholds
    for model in rows:
        assert InferenceConfig.load((tmp_path / "m" / "compress" / model).parent).thresholds == thresholds


def test_budgets_and_unlabeled_text_are_for_several_labels_too(tmp_path, monkeypatch):
    """And nothing compares answers as if one label of several were right: a softmax over them is never taken."""
    monkeypatch.setattr("ernie_suite.compression.budget.TRIALS", 2)
    monkeypatch.setattr("paddle.nn.functional.log_softmax", None)
    trainer = tiny_trainer(tmp_path / "state", MULTI_LABEL, dataset=NAME, examples=24, dropout=0.0)
    trainer.task.thresholds = [0.4, 0.5, 0.6]
    (tmp_path / "more.txt").write_text("".join(f"北京的秋天很美{i}\n" for i in range(20)), encoding="utf-8")
    config = CompressConfig(
        DynabertConfig([0.5], target_speedup_list=[1.3]),
        PTQConfig(["hist"], [2]),
        unlabeled_data=str(tmp_path / "more.txt"),
    )
    report = trainer.compress("x", str(tmp_path / "out"), compress_config=config)
    models = {row["model"] for row in report["models"]}
    assert {"0.5/float32", "speedup1.3/float32"} <= models and report["metric"] == "micro_f1"


def is_one_line(done):
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return done.returncode not in (0, 1) and len(errors) == 1


@pytest.mark.parametrize(
    ("script", "flags", "said"),
    [
        (
            "run_seq_cls.py",
            ("--task_name", "sample_reviews", "--do_eval"),
            "the data are for seq_cls with 2 labels (neg",
        ),
        (
            "compress_seq_cls.py",
            ("--task_name", "sample_reviews"),
            "3 labels of which a text may have several (PER, LOC",
        ),
        ("compress_seq_cls.py", ("--task_name", NAME, "--class_weights", "balanced"), "--class_weights has no effect"),
        ("run_seq_cls.py", ("--task_name", NAME, "--class_weights", "even"), "--class_weights even: give balanced"),
        ("run_seq_cls.py", ("--task_name", "multi_label", "--do_eval"), "give your files with --data_dir"),
    ],
)
def test_what_does_not_go_together_is_one_line(trained, tmp_path, script, flags, said):
    output = () if script.startswith("compress") else ("--output_dir", tmp_path)
    done = run_here(script, *flags, "--model_name_or_path", trained, *output, check=False)
    assert is_one_line(done) and said in done.stderr, done.stderr


def test_a_model_for_one_label_gets_a_new_head(trained, finetuned, tmp_path):
    wrong = run_here(
        "infer.py",
        "--task_name",
        NAME,
        "--model_path",
        finetuned("seq_cls") / "export",
        "--max_samples",
        4,
        check=False,
    )
    assert is_one_line(wrong) and f"was trained for one label a text, {NAME} has several labels a text" in wrong.stderr
    (tmp_path / "labels.txt").write_text("negative\npositive\n")
    for split in ("train", "dev"):
        lines = [{"sentence": "好", "labels": ["positive"]}, {"sentence": "坏", "labels": []}] * 4
        (tmp_path / f"{split}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run_here(
        "run_seq_cls.py", "--task_name", "multi_label", "--data_dir", tmp_path, "--model_name_or_path",
        finetuned("seq_cls"), "--output_dir", tmp_path / "m", "--max_steps", 1, "--do_train",
    )  # fmt: skip
    assert "it gets a new head for seq_cls with 2 labels of which a text may have several (negative, pos" in done.stderr
    before, after = (weights(folder)["classifier.weight"] for folder in (finetuned("seq_cls"), tmp_path / "m"))
    assert np.abs(before - after).max() > 1e-2
    assert InferenceConfig.load(tmp_path / "m").thresholds[0] == 0.5  # no dev text is negative
