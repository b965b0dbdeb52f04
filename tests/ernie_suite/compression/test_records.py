"""Results of several compressions add up: what is there of the same is kept, and the report says what is there."""

import itertools
import json
import shutil
import time
from pathlib import Path

from ernie_suite.compression import report as compression_report
from ernie_suite.compression.config import CompressConfig, DynabertConfig, PTQConfig
from ernie_suite.compression.pipeline import export

import pytest

from ernie_inference.errors import InputError
from tests.support.trainers import exported_parameters, tiny_trainer

ALL = {"inference/infer", "0.75/float32", "0.75/hist2/int8", "hist2/int8"}


def config(algorithms=("hist",), widths=(0.75,), **quantization) -> CompressConfig:
    return CompressConfig(DynabertConfig(list(widths)), PTQConfig(list(algorithms), [2], **quantization))


def compress(trainer, output, pruning=True, quantization=True, **options):
    """{model: row} of the report, which is the one on the disk."""
    report = trainer.compress("x", str(output), pruning, quantization, config(**options))
    assert json.loads((output / "report.json").read_text(encoding="utf-8")) == report
    return {row["model"]: row for row in report["models"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(trainer, folder) of a finished compression of the default kind; tests work on copies of the folder."""
    folder = tmp_path_factory.mktemp("records")
    trainer = tiny_trainer(folder / "state")
    assert set(compress(trainer, folder / "compress")) == ALL
    return trainer, folder / "compress"


@pytest.fixture
def again(made, tmp_path):
    """(trainer, a copy of the finished folder)."""
    trainer, folder = made
    return trainer, Path(shutil.copytree(folder, tmp_path / "compress"))


def written(output, model):
    """When and as what a model's files were last written; a rename keeps neither inode nor time."""
    return [(file.stat().st_ino, file.stat().st_mtime_ns) for file in output.glob(f"{model}.pd*")]


def is_like(prefix, other):
    return exported_parameters(prefix) == exported_parameters(other)


@pytest.fixture(scope="module")
def other_model(made, tmp_path_factory):
    """The prefix of an exported model of the same task and shape with other weights."""
    trainer, _ = made
    prefix = tmp_path_factory.mktemp("other") / "export" / "model"
    weights = trainer.model.state_dict()
    before = {name: value.clone() for name, value in weights.items()}
    trainer.model.set_state_dict({name: value * 1.1 for name, value in before.items()})
    export(trainer, trainer.model, prefix)
    trainer.model.set_state_dict(before)
    return prefix


def test_a_finished_compression_leaves_models_records_and_report(made):
    trainer, output = made
    files = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    folders = {Path(model).parent for model in ALL}
    expected = {f"{model}{ending}" for model in ALL for ending in (".pdmodel", ".pdiparams", ".record.json")}
    expected |= {(folder / name).as_posix() for folder in folders for name in ("vocab.txt", "inference.json")}
    assert files == expected | {"report.json", "pareto.png"}
    assert not list(Path(trainer.args.output_dir).glob("compress_state-*"))


def test_another_algorithm_is_added_and_the_rest_is_kept(again, capsys):
    trainer, output = again
    before = {model: written(output, model) for model in ALL}
    old_rows = {row["model"]: row for row in json.loads((output / "report.json").read_text())["models"]}
    rows = compress(trainer, output, algorithms=["abs_max"])
    assert {model: written(output, model) for model in ALL} == before
    assert set(rows) == ALL | {"0.75/abs_max2/int8", "abs_max2/int8"}
    # speeds too: nothing was measured again; which models are on the front depends on the others
    assert {model: {**rows[model], "front": old_rows[model]["front"]} for model in ALL} == old_rows
    assert f"{output / '0.75/float32'}: kept" in capsys.readouterr().out


def test_a_width_is_labelled_by_what_was_made_from_it(again):
    trainer, output = again
    rows = compress(trainer, output, algorithms=["abs_max"])
    for model, row in rows.items():
        assert row["width"] == ("0.75" if model.startswith("0.75") else None)
        source = ("0.75/float32" if row["width"] else "inference/infer") if row["precision"] == "int8" else None
        assert row["source"] == source


def test_the_pruned_model_as_input_dir_goes_to_the_pruned_ones(again):
    trainer, output = again
    before = written(output, "hist2/int8")
    rows = compress(trainer, output, pruning=False, algorithms=["abs_max", "hist"], input_dir=str(output / "0.75"))
    assert set(rows) == ALL | {"0.75/abs_max2/int8"}
    assert rows["0.75/abs_max2/int8"]["width"] == "0.75"
    assert written(output, "hist2/int8") == before


def test_a_copy_of_the_model_as_input_dir_is_that_model(again, tmp_path):
    """By content, also where Paddle has named the parameters otherwise."""
    trainer, output = again
    export(trainer, trainer.model, tmp_path / "export" / "model")
    assert (tmp_path / "export/model.pdiparams").exists()
    options = {"input_dir": str(tmp_path / "export"), "input_filename_prefix": "model"}
    rows = compress(trainer, output, pruning=False, algorithms=["abs_max"], **options)
    assert set(rows) == ALL | {"abs_max2/int8"}
    assert rows["abs_max2/int8"]["source"] == "inference/infer"


def test_a_foreign_model_has_a_place_of_its_own_and_says_where_it_is_from(again, other_model):
    trainer, output = again
    before = written(output, "hist2/int8")
    options = {"input_dir": str(other_model.parent), "input_filename_prefix": "model"}
    rows = compress(trainer, output, pruning=False, **options)
    (model,) = set(rows) - ALL
    assert model.startswith("from_export_") and model.endswith("/hist2/int8")
    assert (rows[model]["source"], rows[model]["width"]) == (str(other_model), None)
    assert written(output, "hist2/int8") == before
    both = [dict(exported_parameters(output / name)) for name in (model, "hist2/int8")]
    assert both[0] != both[1], "the trainer's own model was quantized"
    assert set(compress(trainer, output, quantization=False)) == ALL | {model}  # and it stays


def test_a_model_within_without_a_record_is_quantized_beside_itself(again):
    trainer, output = again
    (output / "0.75" / "float32.record.json").unlink()
    rows = compress(trainer, output, pruning=False, algorithms=["abs_max"], input_dir=str(output / "0.75"))
    assert rows["0.75/abs_max2/int8"]["source"] == "0.75/float32" and "abs_max2/int8" not in rows


def test_rows_of_models_that_are_gone_or_changed_disappear(again, capsys):
    trainer, output = again
    shutil.rmtree(output / "hist2")
    with open(output / "0.75/hist2/int8.pdiparams", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    rows = compress(trainer, output, pruning=False, quantization=False)
    assert set(rows) == {"inference/infer", "0.75/float32"}
    printed = capsys.readouterr().out
    assert f"not in the report: 0.75/hist2/int8 in {output} (its files are not those that were written)" in printed


def test_what_is_gone_or_changed_is_made_again_where_it_is_asked_for(again):
    trainer, output = again
    wanted = {model: exported_parameters(output / model) for model in ALL}
    untouched = written(output, "0.75/hist2/int8")
    shutil.rmtree(output / "hist2")
    (output / "inference/infer.pdiparams").write_bytes(b"something else")
    assert set(compress(trainer, output)) == ALL
    assert {model: exported_parameters(output / model) for model in ALL} == wanted
    assert written(output, "0.75/hist2/int8") == untouched


def test_models_of_another_fine_tuned_model_are_not_reported_as_this_ones(again, capsys):
    trainer, output = again
    bias = trainer.model.classifier.bias
    before = bias.clone()
    bias.set_value(before + 0.5)
    try:
        rows = compress(trainer, output, pruning=False)
    finally:
        bias.set_value(before)
    printed = capsys.readouterr().out
    assert set(rows) == {"inference/infer", "hist2/int8"}
    assert "0.75/float32, 0.75/hist2/int8" in printed and "(made from another fine-tuned model)" in printed
    assert f"{output / 'inference/infer'}: made anew (other model)" in printed
    assert f"{output / 'hist2/int8'}: made anew (other source)" in printed


def test_other_hyper_parameters_prune_anew_and_what_was_made_from_the_old_goes(again, tmp_path, capsys):
    trainer, output = again
    compress(trainer, output, algorithms=["abs_max"])
    capsys.readouterr()
    changed = tiny_trainer(tmp_path / "state", learning_rate=2e-3)
    changed.model.set_state_dict(trainer.model.state_dict())
    before = exported_parameters(output / "0.75/float32")
    rows = compress(changed, output)
    printed = capsys.readouterr().out
    assert f"{output / '0.75/float32'}: made anew (learning_rate 0.001 -> 0.002)" in printed
    assert exported_parameters(output / "0.75/float32") != before
    assert set(rows) == ALL | {"abs_max2/int8"}
    assert "0.75/abs_max2/int8 in" in printed and "(made from another 0.75/float32 than is there now)" in printed


@pytest.mark.parametrize("harmless", [{"per_device_eval_batch_size": 3, "logging_steps": 1, "report_to": []}])
def test_harmless_flags_keep_the_pruned_model(again, tmp_path, harmless):
    trainer, output = again
    before = written(output, "0.75/float32")
    same = tiny_trainer(tmp_path / "state", **harmless)
    assert set(compress(same, output)) == ALL
    assert written(output, "0.75/float32") == before


def test_other_dev_examples_measure_every_model_again(again):
    trainer, output = again
    accuracy = compress(trainer, output, algorithms=["abs_max"])["0.75/hist2/int8"]["metrics"]["accuracy"]
    for example in trainer.eval_examples:
        example["label"] = next(label for label in trainer.task.labels if label != example["label"])
    try:
        rows = compress(trainer, output, pruning=False, quantization=False)
    finally:
        for example in trainer.eval_examples:
            example["label"] = next(label for label in trainer.task.labels if label != example["label"])
    assert rows["0.75/hist2/int8"]["metrics"]["accuracy"] == pytest.approx(1 - accuracy)


def test_figures_of_before_are_measured_again_once(again, monkeypatch):
    """Records of a version that kept fewer of them; the models stay."""
    trainer, output = again
    for path in output.rglob("*.record.json"):
        record = json.loads(path.read_text())
        del record["measured"]["figures"]["outcomes"]
        record["measured"]["conditions"]["figures"].remove("outcomes")
        path.write_text(json.dumps(record))
    before = {model: written(output, model) for model in ALL}
    assert all("held_out" in row for row in compress(trainer, output).values())
    assert {model: written(output, model) for model in ALL} == before
    monkeypatch.setattr(compression_report, "load_predictor", None)  # nothing is left to measure
    compress(trainer, output)


def test_models_of_before_there_were_records_are_unknown(again, capsys):
    trainer, output = again
    for record in output.rglob("*.record.json"):
        record.unlink()
    before = written(output, "0.75/float32")
    rows = compress(trainer, output, pruning=False)
    printed = capsys.readouterr().out
    assert set(rows) == {"inference/infer", "hist2/int8"}
    assert "0.75/float32, 0.75/hist2/int8" in printed and "(no record says what it was made from)" in printed
    assert written(output, "0.75/float32") == before, "it was touched"


def test_a_damaged_record_counts_as_none(again):
    trainer, output = again
    for model, content in (("0.75/float32", "{"), ("0.75/hist2/int8", '{"row": {"model": 1, "what": 2}}')):
        (output / f"{model}.record.json").write_text(content)
    assert set(compress(trainer, output, pruning=False)) == {"inference/infer", "hist2/int8"}


def test_overwrite_output_dir_makes_everything_anew(again):
    trainer, output = again
    before = {model: written(output, model) for model in ALL}
    trainer.args.overwrite_output_dir = True
    try:
        compress(trainer, output)
    finally:
        trainer.args.overwrite_output_dir = False
    assert not [model for model in ALL if written(output, model) == before[model]]


# ---------------------------------------------------------------- interrupted


class Killed(Exception):
    """Stands for a kill: whatever is on the disk stays as it is."""


def longer(folder, killed_at=None, **arguments):
    """A trainer whose last state is the best, so one of after the kill; killed at an evaluation where that is given."""
    trainer = tiny_trainer(folder, max_steps=6, **arguments)
    evaluations = itertools.count(1)

    def metric(examples, results):
        number = next(evaluations)
        if number == killed_at:
            raise Killed
        return {"accuracy": time.time()}

    trainer.metric = metric
    return trainer


def interrupted(folder, output, evaluation=2, **arguments):
    with pytest.raises(Killed):
        compress(longer(folder, evaluation, **arguments), output)


@pytest.mark.parametrize("evaluation", [2, 5])  # while it prunes; while it measures, all is written
def test_what_is_removed_after_a_kill_is_made_again(tmp_path, evaluation):
    interrupted(tmp_path / "state", tmp_path / "out", evaluation)
    shutil.rmtree(tmp_path / "out")
    assert set(compress(longer(tmp_path / "state"), tmp_path / "out")) == ALL
    assert not list((tmp_path / "state").glob("compress_state-*"))


def test_harmless_flags_go_on_with_an_interrupted_pruning_to_the_same_result(tmp_path, capsys):
    interrupted(tmp_path / "state", tmp_path / "out")
    flags = {"per_device_eval_batch_size": 3, "logging_steps": 2, "dataloader_num_workers": 2}
    flags.update(report_to=["visualdl"], logging_dir=str(tmp_path / "logs"))
    compress(longer(tmp_path / "state", **flags), tmp_path / "out")
    assert "distillation goes on from step 2" in capsys.readouterr().out
    compress(longer(tmp_path / "whole_state"), tmp_path / "whole", quantization=False)
    assert is_like(tmp_path / "out" / "0.75/float32", tmp_path / "whole" / "0.75/float32")


def test_a_state_of_other_settings_is_kept_and_said_with_what_changed(tmp_path, capsys):
    interrupted(tmp_path / "state", tmp_path / "out")
    compress(longer(tmp_path / "state", weight_decay=0.5), tmp_path / "out")
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if "starts anew" in line]
    assert "(weight_decay 0.0 -> 0.5)" in line and "goes on from" not in printed
    compress(longer(tmp_path / "state"), tmp_path / "out")
    assert "distillation goes on from step 2" in capsys.readouterr().out
    assert not list((tmp_path / "state").glob("compress_state-*"))


def test_a_command_that_has_nothing_to_prune_leaves_another_ones_state(tmp_path, capsys):
    compress(longer(tmp_path / "state"), tmp_path / "out", quantization=False)
    interrupted(tmp_path / "state", tmp_path / "out", weight_decay=0.5)
    compress(longer(tmp_path / "state"), tmp_path / "out", quantization=False)
    capsys.readouterr()
    compress(longer(tmp_path / "state", weight_decay=0.5), tmp_path / "out")
    assert "distillation goes on from step 2" in capsys.readouterr().out


def test_a_damaged_state_starts_anew(tmp_path, capsys):
    interrupted(tmp_path / "state", tmp_path / "out")
    (state,) = (tmp_path / "state").glob("compress_state-*/training-*.pdparams")
    state.write_bytes(state.read_bytes()[:1000])
    assert set(compress(longer(tmp_path / "state"), tmp_path / "out")) == ALL
    assert "cannot be read" in capsys.readouterr().out


def test_quantizing_in_between_leaves_an_interrupted_pruning_its_state(tmp_path, capsys):
    interrupted(tmp_path / "state", tmp_path / "out")
    compress(longer(tmp_path / "state"), tmp_path / "out", pruning=False)
    compress(longer(tmp_path / "state"), tmp_path / "out")
    assert "distillation goes on from step 2" in capsys.readouterr().out


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("steps", "says"), [({}, "pruning does not change"), ({"pruning": False, "quantization": False}, "must not be off")]
)
def test_an_input_dir_without_effect_or_with_pruning_is_refused(made, tmp_path, steps, says):
    trainer, output = made
    with pytest.raises(InputError, match=says) as caught:
        compress(trainer, tmp_path / "out", input_dir=str(output / "0.75"), **steps)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_an_input_dir_of_another_vocabulary_or_labels_is_refused(made, tmp_path):
    trainer, output = made
    other = tiny_trainer(tmp_path / "state", examples=4)  # fewer characters
    export(other, other.model, tmp_path / "other" / "float32")
    (tmp_path / "other" / "vocab.txt").unlink()  # with its own beside it, a smaller one is taken
    with pytest.raises(InputError, match="the vocabulary of --model_name_or_path"):
        compress(trainer, tmp_path / "out", pruning=False, input_dir=str(tmp_path / "other"))
    labels, trainer.task.labels = trainer.task.labels, ["a", "b", "c"]
    trainer.model.config.num_labels = 3
    try:
        with pytest.raises(InputError, match="has 2 labels, the data have 3"):
            compress(trainer, tmp_path / "out", pruning=False, input_dir=str(output / "0.75"))
    finally:
        trainer.task.labels, trainer.model.config.num_labels = labels, 2
    assert not (tmp_path / "out").exists()
