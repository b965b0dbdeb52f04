"""The folder of a model: whose head is kept, and what is said of one that is damaged or something else."""

import json
import shutil

from ernie_suite.command_line import parse_arguments
from ernie_suite.data import find_dataset, load_labels
from ernie_suite.models import check_finetuned, head_order, load_model
from ernie_suite.scripts import build_trainer
from ernie_suite.tasks import FAMILIES
from ernie_suite.tasks.seq_cls import SEQ_CLS

import numpy as np
import pytest

from ernie_inference.errors import InputError
from ernie_inference.inference_config import InferenceConfig
from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.tasks.seq_cls import SequenceClassification
from tests.support.trainers import tiny_trainer, weights


def test_a_folder_that_is_no_fine_tuned_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="not the folder of a fine-tuned model"):
        check_finetuned(str(tmp_path), SequenceClassification, ["a", "b"])
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    trainer.model.save_pretrained(str(tmp_path))
    check_finetuned(str(tmp_path), SequenceClassification, trainer.task.labels)
    with pytest.raises(InputError, match="fine-tuned for 2 labels, the data have 3"):
        check_finetuned(str(tmp_path), SequenceClassification, ["a", "b", "c"])
    with pytest.raises(InputError, match="not one fine-tuned for qa"):
        check_finetuned(str(tmp_path), QuestionAnswering, [])
    trainer.inference_config.save(tmp_path)
    with pytest.raises(InputError, match="2 others"):
        check_finetuned(str(tmp_path), SequenceClassification, ["a", "b"])


OCNLI, CMNLI = ["entailment", "contradiction", "neutral"], ["contradiction", "entailment", "neutral"]


def fine_tuned(small_ernie, folder, labels, family=FAMILIES["seq_cls"], names_in="inference.json"):
    """A folder as a run leaves it, of a model that always answers "entailment"."""
    shutil.copytree(small_ernie, folder)
    model = family.auto_model.from_pretrained(str(small_ernie), **({"num_classes": len(labels)} if labels else {}))
    if "entailment" in labels:
        model.classifier.bias.set_value(9.0 * np.eye(len(labels), dtype="float32")[labels.index("entailment")])
    if names_in == "config.json":
        model.config.id2label = dict(enumerate(labels))
    model.save_pretrained(str(folder))
    if names_in == "inference.json":
        InferenceConfig(family.name, labels).save(folder)
    return folder


def head_of(model):
    return model.classifier.weight.numpy()


def saved_head(folder):
    return weights(folder)["classifier.weight"]


@pytest.mark.parametrize("names_in", ["inference.json", "config.json"])
@pytest.mark.parametrize("flag", ["--do_train", "--do_eval"])
def test_a_model_goes_on_with_the_same_labels_in_its_own_order(small_ernie, tmp_path, names_in, flag):
    """From OCNLI to CMNLI, whose published orders differ: before any training, the answers are as before."""
    model = fine_tuned(small_ernie, tmp_path / "ocnli", OCNLI, names_in=names_in)
    pair = {"sentence1": "甲", "sentence2": "乙", "label": "entailment"}
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text((json.dumps(pair) + "\n") * 8)
    assert load_labels(find_dataset("cmnli")) == CMNLI != OCNLI
    argv = [
        "--task_name",
        "cmnli",
        "--data_dir",
        tmp_path,
        "--model_name_or_path",
        model,
        "--output_dir",
        tmp_path / "m",
    ]
    trainer = build_trainer(SEQ_CLS, *parse_arguments(SEQ_CLS, argv=[*map(str, argv), "--device", "cpu", flag]))
    assert trainer.evaluate()["eval_accuracy"] == 1.0
    assert trainer.task.labels == trainer.inference_config.labels == OCNLI
    np.testing.assert_array_equal(head_of(trainer.model), saved_head(model))


@pytest.mark.parametrize(
    ("task", "labels", "wanted", "said"),
    [
        (
            "seq_cls",
            ["甲", "乙"],
            ["子", "丑"],
            "seq_cls with 2 labels (甲, 乙); it gets a new head for seq_cls with 2",
        ),
        ("seq_cls", ["甲", "乙"], ["子", "丑", "寅"], "a new head for seq_cls with 3 labels (子, 丑, 寅)"),
        ("token_cls", ["B-X", "I-X", "O"], ["B-X", "I-X", "O"], "fine-tuned for token_cls with 3 labels"),
        ("qa", [], ["甲", "乙"], "was fine-tuned for qa; it gets a new head"),  # two outputs as well
    ],
)
def test_a_head_for_something_else_is_not_reused(small_ernie, tmp_path, capsys, task, labels, wanted, said):
    folder = fine_tuned(small_ernie, tmp_path / "m", labels, FAMILIES[task])
    model = load_model(SEQ_CLS, str(folder), wanted)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert said in line
    assert model.classifier.weight.shape[1] == len(wanted)
    assert len(wanted) != saved_head(folder).shape[1] or not np.allclose(head_of(model), saved_head(folder))
    kept = {key: value.numpy() for key, value in model.state_dict().items() if key.startswith("ernie.encoder")}
    assert kept and all(np.array_equal(value, weights(folder)[key]) for key, value in kept.items())


def test_a_head_whose_labels_have_no_names_goes_by_their_number(small_ernie, tmp_path, capsys):
    folder = fine_tuned(small_ernie, tmp_path / "m", CMNLI, names_in="nothing")
    np.testing.assert_array_equal(head_of(load_model(SEQ_CLS, str(folder), OCNLI)), saved_head(folder))
    assert head_order(str(folder), SEQ_CLS.task_class, OCNLI) == OCNLI
    assert head_of(load_model(SEQ_CLS, str(folder), ["甲", "乙"])).shape[1] == 2
    assert "was fine-tuned for seq_cls with 3 labels; it gets a new head" in capsys.readouterr().err


def cut(folder):
    path = folder / "model_state.pdparams"
    path.write_bytes(path.read_bytes()[:5000])


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "cannot be loaded (.*): its files are damaged"),
        (
            lambda folder: (folder / "model_state.pdparams").write_bytes(b""),
            "cannot be loaded .*: its files are damaged",
        ),
        (lambda folder: (folder / "model_state.pdparams").write_bytes(b"<html>"), "its files are damaged"),
        (lambda folder: (folder / "config.json").write_text('{"archi'), "config.json is not a model's config.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json is not a model's config.json"),
        (lambda folder: (folder / "config.json").write_bytes("{}".encode("utf-16")), "config.json is UTF-16"),
        (lambda folder: change_config(folder, architectures=["Foo"]), "its files are damaged or not a model's"),
        (lambda folder: change_config(folder, model_type="bert"), "damaged or not a model's"),
        (
            lambda folder: change_config(folder, intermediate_size=64),
            r"linear1.weight is \[64, 256\], expected \[64, 64\]",
        ),
    ],
)
def test_a_damaged_model_folder_is_said_to_be_that(small_ernie, tmp_path, damage, said):
    """And no network is asked for, which would not help."""
    folder = fine_tuned(small_ernie, tmp_path / "m", ["甲", "乙"])
    damage(folder)
    with pytest.raises(InputError, match=said) as error:
        load_model(SEQ_CLS, str(folder), ["子", "丑"])
    assert "network" not in str(error.value) and "\n" not in str(error.value)


def test_a_published_name_without_a_network(tmp_path, monkeypatch):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(InputError, match="give a folder, or a published name and a network"):
        load_model(SEQ_CLS, "ernie-0-zh", ["甲", "乙"])
