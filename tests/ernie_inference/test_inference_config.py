"""A task comes back from the files beside its model, and what export did not write is refused."""

import json

import pytest

from ernie_inference.errors import InputError
from ernie_inference.inference_config import InferenceConfig, load_task
from tests.support.models import LABELS


def write_config(folder, content, vocab="[PAD]\n[CLS]\n[SEP]\n[UNK]\n好\n"):
    (folder / "inference.json").write_text(content, encoding="utf-8")
    (folder / "vocab.txt").write_text(vocab, encoding="utf-8")


def test_a_task_comes_back_from_its_files(tmp_path):
    config = InferenceConfig("token_cls", LABELS["token_cls"], max_seq_length=40, doc_stride=10, dataset="msra_ner")
    config.save(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\n[UNK]\n好\n", encoding="utf-8")
    assert InferenceConfig.load(tmp_path) == config
    task = load_task(tmp_path)
    assert (task.name, task.labels, task.max_seq_length, task.doc_stride) == ("token_cls", config.labels, 40, 10)
    assert load_task(tmp_path, max_seq_length=20).max_seq_length == 20


@pytest.mark.parametrize(
    ("content", "vocab", "message"),
    [
        ("", None, "inference.json is not what export writes"),
        ("[1]", None, "inference.json is not what export writes"),
        ('{"no": 1}', None, "inference.json is not what export writes"),
        ('{"task": "poetry"}', None, "task is 'poetry', not one of seq_cls, token_cls, qa"),
        (json.dumps({"task": "qa"}), "hello\n", r"vocab.txt cannot be used .*no \[PAD\]"),
        (json.dumps({"task": "seq_cls", "labels": "ab"}), None, "labels"),
        (json.dumps({"task": "seq_cls", "labels": ["a", "b"], "max_seq_length": "many"}), None, "max_seq_length"),
        (json.dumps({"task": "seq_cls", "labels": []}), None, "labels holds 0 names"),
        (json.dumps({"task": ["seq_cls"]}), None, "task"),
        (json.dumps({"task": "seq_cls", "labels": ["a", "b"], "long_texts": "all"}), None, "long_texts is 'all'"),
        (json.dumps({"task": "qa", "long_texts": "windows"}), None, "long_texts is 'windows'"),
        (json.dumps({"task": "qa", "lowercase": "false"}), None, "lowercase is 'false', not true or false"),
        (json.dumps({"task": "qa", "lowercase": 0}), None, "lowercase is 0, not true or false"),
        (
            json.dumps({"task": "seq_cls", "labels": ["a", "b"], "thresholds": [0.5, 0.5], "temperature": 2}),
            None,
            "temperature and thresholds are both there",
        ),
        ("[" * 100_000, None, "not what export writes"),
    ],
)
def test_files_that_export_did_not_write_are_refused(tmp_path, content, vocab, message):
    write_config(tmp_path, content, *([vocab] if vocab else []))
    with pytest.raises(InputError, match=message) as refusal:
        load_task(tmp_path)
    assert "\n" not in str(refusal.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="inference.json is missing"):
        load_task(tmp_path)
    write_config(tmp_path, '{"task": "qa"}')
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(InputError, match="vocab.txt cannot be used"):
        load_task(tmp_path)
