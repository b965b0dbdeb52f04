"""The run scripts as a user runs them: results, resuming, several processes, own data, errors."""

import io
import json
import shutil
import signal
import subprocess
import sys
import time

from ernie_suite.data import load_examples
from ernie_suite.features import Collator, Features
from ernie_suite.runs import resumable_checkpoints, step_of
from ernie_suite.tasks import FAMILIES
from ernie_suite.tasks.seq_cls import SEQ_CLS

import numpy as np
import paddle
import pytest

from ernie_inference.inference_config import InferenceConfig, load_task
from ernie_inference.predictor import load_predictor
from tests.support.disk import full_disk
from tests.support.scripts import LEARNING_RATE, MAX_SEQ_LENGTH, ROOT, SAMPLES, SCRIPTS, run_here, run_script
from tests.support.trainers import weights

TASKS = list(SCRIPTS)


def inputs_of(task, examples):
    """What a user would ask the predictor, without the answers."""
    keys = {"seq_cls": ("text",), "token_cls": ("tokens",), "qa": ("question", "context")}
    keys["multiple_choice"] = ("context", "question", "choices")
    return [{key: example[key] for key in keys[task]} for example in examples]


@pytest.mark.parametrize("task", TASKS)
def test_what_a_run_leaves(finetuned, task):
    folder = finetuned(task)
    results = json.loads((folder / "results.json").read_text())
    assert results["training"]["seconds"] > 0 and results["versions"]["paddle"] == paddle.__version__
    assert results["settings"]["learning_rate"] == LEARNING_RATE and results["dataset"] == SAMPLES[task]
    best = results["training"]["best"][FAMILIES[task].best_metric]
    assert results["dev"][FAMILIES[task].best_metric] == pytest.approx(best, abs=1e-9)
    assert best == max(entry.get(f"eval_{FAMILIES[task].best_metric}", 0) for entry in results["training"]["history"])
    names = {path.name for path in folder.iterdir()}
    assert {"model_state.pdparams", "config.json", "vocab.txt", "inference.json", "export"} <= names
    assert not [name for name in names if name.startswith((".writing", "checkpoint", "runs"))]
    assert {path.name for path in (folder / "export").iterdir()} == {
        "model.pdmodel", "model.pdiparams", "vocab.txt", "inference.json",
    }  # fmt: skip
    config = InferenceConfig.load(folder / "export")
    assert (config.task, config.dataset, config.max_seq_length) == (task, SAMPLES[task], MAX_SEQ_LENGTH[task])


def test_it_learns(finetuned):
    assert json.loads((finetuned("seq_cls") / "results.json").read_text())["dev"]["accuracy"] > 0.65


@pytest.mark.parametrize("task", TASKS)
def test_exported_and_dygraph_model_agree(finetuned, task):
    """Logits within 1e-4 on 200 texts, and the same metric."""
    folder, family = finetuned(task), FAMILIES[task]
    examples = load_examples(SAMPLES[task], "dev")[:200]
    features = Features(family, load_task(folder), examples)
    model = family.auto_model.from_pretrained(str(folder))
    model.eval()
    predictor = load_predictor(folder / "export" / "model", device="cpu")
    static = predictor.run_windows([window for example in examples for window in predictor.task.windows(example)])
    collate = Collator(predictor.task.tokenizer.pad_id)
    with paddle.no_grad():
        for begin in range(0, len(features), 25):
            batch = collate([features[i] for i in range(begin, min(begin + 25, len(features)))])
            batch = {key: paddle.to_tensor(value) for key, value in batch.items()}
            outputs = model(batch["input_ids"], batch["token_type_ids"])
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            for row, ours in enumerate(static[begin : begin + 25]):
                length = features.lengths[begin + row]
                for dygraph, exported in zip(outputs, ours):
                    of_tokens = task in ("token_cls", "qa")
                    expected = dygraph[row, :length].numpy() if of_tokens else dygraph[row].numpy()
                    np.testing.assert_allclose(exported[: len(expected)], expected, atol=1e-4)
    dev = load_examples(SAMPLES[task], "dev")[:300]
    figures = FAMILIES[task].metric(dev, predictor.predict(inputs_of(task, dev)))
    recorded = json.loads((folder / "results.json").read_text())["dev"]
    assert {key: round(value, 4) for key, value in figures.items()} == {key: round(recorded[key], 4) for key in figures}


@pytest.mark.parametrize("task", TASKS)
def test_prediction_files(finetuned, task):
    path = finetuned(task) / f"{SAMPLES[task]}_predict.{'tsv' if task == 'token_cls' else 'json'}"
    examples = load_examples(SAMPLES[task], "test")
    text = path.read_text(encoding="utf-8")
    expected = expected_submission(finetuned(task), task, examples[:200])
    if task == "qa":
        answers = json.loads(text)
        assert set(answers) == {example["id"] for example in examples}
        assert all(answers[example["id"]] in example["context"] for example in examples)
        found = [(example["id"], answers[example["id"]]) for example in examples[:200]]
        expected = list(json.loads(expected).items())
    elif task == "token_cls":
        lines = [line.split("\t") for line in text.rstrip("\n").split("\n")]
        assert [tokens.split("\x02") for tokens, _ in lines] == [example["tokens"] for example in examples]
        assert all(len(tokens.split("\x02")) == len(tags.split("\x02")) for tokens, tags in lines)
        found, expected = (of_file.split("\n")[:200] for of_file in (text, expected))
    else:
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["id"] for line in lines] == [example["id"] for example in examples]
        assert {line["label"] for line in lines} == ({"negative", "positive"} if task == "seq_cls" else {0, 1, 2, 3})
        found, expected = lines[:200], list(map(json.loads, expected.splitlines()))
    assert len(found) == len(expected) == 200
    same = sum(ours == theirs for ours, theirs in zip(found, expected))
    assert same >= 0.99 * len(expected)  # the exported model's logits differ in the last digits


def expected_submission(folder, task, examples):
    """What the exported model of a folder answers, as the test server asks for it."""
    predictor, file = load_predictor(folder / "export" / "model", device="cpu"), io.StringIO()
    FAMILIES[task].write_submission(file, examples, predictor.predict(inputs_of(task, examples)))
    return file.getvalue()


TRAINED, EPOCHS, BATCH = 256, 3, 16


def command(small_ernie, folder, *more):
    return [
        "run_seq_cls.py", "--task_name", "sample_reviews", "--model_name_or_path", small_ernie, "--output_dir", folder,
        "--max_train_samples", TRAINED, "--max_eval_samples", 60, "--num_train_epochs", EPOCHS, "--eval_steps", 7,
        "--per_device_train_batch_size", BATCH, "--max_seq_length", 48, "--do_train", *more,
    ]  # fmt: skip


def learnt(folder):
    """What a training computed, without how long it took."""
    keys = ("step", "loss", "learning_rate", "eval_loss", "eval_accuracy")
    history = json.loads((folder / "results.json").read_text())["training"]["history"]
    return [{key: entry.get(key) for key in keys} for entry in history]


def test_killed_and_started_again(small_ernie, tmp_path, monkeypatch):
    """The same command line goes on, and computes after the kill what an undisturbed run computes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # several threads add up in any order
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    argv = [sys.executable, *map(str, command(small_ernie, killed))]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (killed / "checkpoint-21" / "complete").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model_state.pdparams").exists()
    newest = max(step_of(path) for path in resumable_checkpoints(killed))
    killed = killed.rename(tmp_path / "renamed")  # the checkpoints know the folder's old name
    done = run_script(*command(small_ernie, killed, "--per_device_eval_batch_size", 20))
    assert f"going on from {killed / f'checkpoint-{newest}'}" in done.stdout
    run_script(*command(small_ernie, whole))
    resumed, undisturbed = learnt(killed), learnt(whole)
    assert sum(entry["step"] > newest for entry in undisturbed) >= 2
    for ours, theirs in zip(resumed, undisturbed):
        assert ours == pytest.approx(theirs, rel=1e-6)
    assert len(resumed) == len(undisturbed)
    assert max(np.abs(weights(killed)[key] - value).max() for key, value in weights(whole).items()) < 1e-6
    assert not list(killed.glob("checkpoint-*"))


def test_a_training_outlives_a_failed_export(small_ernie, tmp_path):
    """The model is there, its static form has no place yet: the same command then exports, and trains no step."""
    argv = command(small_ernie, tmp_path, "--max_steps", 7, "--do_eval", "--do_export")
    (tmp_path / "export").write_text("in the way")
    assert "export cannot be written to" in refused(*argv)
    (tmp_path / "export").unlink()
    training = json.loads((tmp_path / "results.json").read_text())["training"]
    done = run_here(*argv)
    assert "holds the model that this command trains" in done.stdout and "static model for deployment" in done.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["training"] == training
    dev = load_examples("sample_reviews", "dev")[:60]
    predictor = load_predictor(tmp_path / "export", device="cpu")
    figures = SEQ_CLS.metric(dev, predictor.predict(inputs_of("seq_cls", dev)))
    assert figures["accuracy"] == pytest.approx(results["dev"]["accuracy"]) == training["best"]["accuracy"]


def test_an_interrupted_run_with_other_settings_is_not_mixed(small_ernie, tmp_path):
    checkpoint = tmp_path / "checkpoint-5"
    checkpoint.mkdir()
    (checkpoint / "complete").touch()
    assert "holds checkpoints of another program (checkpoint-5)" in refused(*command(small_ernie, tmp_path))
    (tmp_path / "settings.json").write_text('{"learning_rate": 1.0}')
    assert "holds an interrupted run with other settings" in refused(*command(small_ernie, tmp_path))
    assert checkpoint.exists()


def test_a_new_model_does_not_keep_what_was_made_from_the_old_one(finetuned, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(finetuned("seq_cls"), folder)
    run_here(*command(folder, folder, "--max_steps", 1))
    results = json.loads((folder / "results.json").read_text())
    assert "dev" not in results and not (folder / "export").exists()
    assert results["settings"]["model_name_or_path"] == str(folder)


def test_two_processes_leave_one_copy_of_each_output(small_ernie, tmp_path):
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", 2, "--log_dir", tmp_path / "log"]
    script = command(small_ernie, tmp_path / "model", "--do_eval", "--do_predict", "--do_export", "--device", "cpu")
    done = run_script(*launch, *script)
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert results["training"]["steps"] == EPOCHS * TRAINED // (2 * BATCH) and 0 <= results["dev"]["accuracy"] <= 1
    assert done.stdout.count("static model for deployment") == 1
    predictor = load_predictor(tmp_path / "model" / "export", device="cpu")
    dev = load_examples("sample_reviews", "dev")[:60]
    figures = SEQ_CLS.metric(dev, predictor.predict(inputs_of("seq_cls", dev)))
    assert figures["accuracy"] == pytest.approx(results["dev"]["accuracy"])
    lines = (tmp_path / "model" / "sample_reviews_predict.json").read_text().splitlines()
    assert len(lines) == len(load_examples("sample_reviews", "test"))


def test_early_stopping(small_ernie, tmp_path):
    """The first evaluation is the best so far; the second, of the same weights but for 1e-9, is no better."""
    run_here(*command(small_ernie, tmp_path, "--early_stopping_patience", 1, "--learning_rate", 1e-9))
    assert json.loads((tmp_path / "results.json").read_text())["training"]["steps"] == 14


def test_own_data_with_own_labels(small_ernie, tmp_path):
    """Ten lines of one's own in TNEWS's format."""
    lines = [
        {"sentence": f"第{i}条{word}", "label": label} for i in range(5) for word, label in (("好", "甲"), ("坏", "乙"))
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.json").write_text(text, encoding="utf-8")
    (tmp_path / "labels.txt").write_text("甲\n乙\n", encoding="utf-8")
    folder = tmp_path / "model"
    run_here(
        "run_seq_cls.py", "--task_name", "tnews", "--data_dir", tmp_path, "--model_name_or_path", small_ernie,
        "--output_dir", folder, "--num_train_epochs", 30, "--learning_rate", 3e-3,
    )  # fmt: skip
    answers = load_predictor(folder / "export", device="cpu").predict([line["sentence"] for line in lines])
    assert [answer["label"] for answer in answers] == [line["label"] for line in lines]


# ---------------------------------------------------------------- errors


def refused(*argv):
    """The one line that a script ends with."""
    done = run_here(*argv, check=False)
    assert done.returncode not in (0, 1), done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


BASE = ["run_seq_cls.py", "--task_name", "sample_reviews", "--max_train_samples", 32, "--max_eval_samples", 32]


def test_unknown_task(tmp_path):
    assert "unknown data set 'news'" in refused("run_seq_cls.py", "--task_name", "news", "--output_dir", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_too_short(small_ernie, tmp_path):
    line = refused(*BASE, "--model_name_or_path", small_ernie, "--max_seq_length", 3, "--output_dir", tmp_path / "m")
    assert "max_seq_length 3 leaves no room" in line and not (tmp_path / "m").exists()


def test_model_folder_without_weights(small_ernie, tmp_path):
    for name in ("vocab.txt", "config.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((small_ernie / name).read_bytes())
    assert "holds no weights" in refused(*BASE, "--model_name_or_path", tmp_path, "--output_dir", tmp_path / "m")


def test_a_bad_line_of_own_data(small_ernie, tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text('{"sentence": "好", "label": "100"}\n{"sentence"\n', encoding="utf-8")
    argv = ["run_seq_cls.py", "--task_name", "tnews", "--data_dir", tmp_path, "--model_name_or_path", small_ernie]
    assert "line 2: not JSON" in refused(*argv, "--output_dir", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_unwritable_output_folder(small_ernie):
    line = refused(*BASE, "--model_name_or_path", small_ernie, "--output_dir", "/proc/model")
    assert "/proc/model cannot be written to" in line


def test_full_disk(small_ernie, tmp_path):
    """When the first checkpoint is written."""
    with full_disk(300_000):
        line = refused(*BASE, "--model_name_or_path", small_ernie, "--output_dir", tmp_path / "m")
    assert "cannot be written to" in line
    assert not (tmp_path / "m" / "model_state.pdparams").exists()


def test_full_disk_at_export(finetuned, tmp_path):
    """Paddle itself says nothing, and leaves a part of the file."""
    folder = tmp_path / "m"
    shutil.copytree(finetuned("seq_cls"), folder, ignore=shutil.ignore_patterns("export"))
    with full_disk(300_000):
        assert "export cannot be written to" in refused(*BASE, "--model_name_or_path", folder, "--do_export")
    assert not list((folder / "export").iterdir())


def test_a_missing_test_split_is_said_before_the_training(small_ernie, tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text('{"sentence": "好", "label": "100"}\n', encoding="utf-8")
    argv = ["run_seq_cls.py", "--task_name", "tnews", "--data_dir", tmp_path, "--model_name_or_path", small_ernie]
    line = refused(*argv, "--output_dir", tmp_path / "m", "--do_train", "--do_predict")
    assert "test.json is missing" in line and not (tmp_path / "m").exists()


def test_evaluating_what_was_never_fine_tuned(small_ernie, tmp_path):
    line = refused(*BASE, "--model_name_or_path", small_ernie, "--do_eval", "--output_dir", tmp_path)
    assert "holds ErnieForMaskedLM, not one fine-tuned for seq_cls" in line
