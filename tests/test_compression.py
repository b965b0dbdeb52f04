"""trainer.compress() from a model to the report, for every architecture and task, and what it refuses."""

from compression_fixtures import HIDDEN, LAYERS, NEURONS, exported_parameters, tiny_trainer  # isort: skip  (sets up paddle)

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ernie_predictor import InputError, QuestionAnswering, SequenceClassification, load_predictor
from model_compression import CompressConfig, CompressionArguments, DynabertConfig, PTQConfig
from model_compression.config import ALGORITHMS
from model_compression.pipeline import calibrate, calibration_texts, export_int8
from model_compression.report import print_report
from trainer import check_finetuned
from utils import QA, SEQ_CLS, TOKEN_CLS, parse_arguments

ROOT = Path(__file__).resolve().parent.parent


def all_files(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def parameter_count(prefix):
    return sum(int(np.prod(shape)) for shape, _ in exported_parameters(prefix))


@pytest.mark.parametrize(
    "architecture, family",
    [
        ("Ernie", SEQ_CLS),
        ("Bert", TOKEN_CLS),
        ("Roberta", QA),
        ("Electra", SEQ_CLS),
        ("Ernie", QA),
        ("Electra", TOKEN_CLS),
    ],
    ids=lambda value: value if isinstance(value, str) else value.task.name,
)
def test_every_architecture_is_pruned_quantized_and_served(architecture, family, tmp_path, capsys):
    trainer = tiny_trainer(tmp_path / "state", family, architecture, examples=12)
    before = {name: value.numpy().copy() for name, value in trainer.model.state_dict().items()}
    report = trainer.compress("x", str(tmp_path / "out"))
    printed = capsys.readouterr().out
    for model in ("inference/infer", "0.75/float32", f"{report['best_int8']} --precision int8"):
        assert f"python infer.py --task_name x --model_path {tmp_path / 'out' / model}\n" in printed
    models = {row["model"]: row for row in report["models"]}
    assert set(models) == {"inference/infer", "0.75/float32", "0.75/hist4/int8", "hist4/int8"}
    for model, row in models.items():
        files = {Path(file).name for file in all_files((tmp_path / "out" / model).parent)}
        assert {f"{Path(model).name}.pdmodel", f"{Path(model).name}.pdiparams", "inference.json", "vocab.txt"} <= files
        predictor = load_predictor(tmp_path / "out" / model, precision=row["precision"], num_threads=1)
        results = predictor.predict(trainer.eval_examples)
        assert trainer.metric(trainer.eval_examples, results) == pytest.approx(row["metrics"]), model
    full, pruned = (parameter_count(tmp_path / "out" / model) for model in ("inference/infer", "0.75/float32"))
    gone = LAYERS * ((HIDDEN // 4) * (4 * HIDDEN + 3) + (NEURONS // 4) * (2 * HIDDEN + 1))
    assert full - pruned == gone
    assert models["inference/infer"]["bytes"] - models["0.75/float32"]["bytes"] > 0.8 * 4 * gone
    for name, value in trainer.model.state_dict().items():
        assert np.array_equal(before[name], value.numpy()), f"the trainer's model changed: {name}"


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    """(trainer, output folder, report) of the whole grid of algorithms at two sizes, quantization only."""
    folder = tmp_path_factory.mktemp("compressed")
    trainer = tiny_trainer(folder / "state")
    config = CompressConfig(quantization_config=PTQConfig(algo_list=list(ALGORITHMS), batch_size_list=[2, 8]))
    report = trainer.compress("sample_reviews", str(folder / "out"), pruning=False, compress_config=config)
    return trainer, folder / "out", report


def test_the_report_names_every_model_and_the_best(compressed):
    trainer, output, report = compressed
    assert {row["model"] for row in report["models"]} == {"inference/infer"} | {
        f"{algorithm}{size}/int8" for algorithm in ALGORITHMS for size in (2, 8)
    }
    order = [(-row["metrics"]["accuracy"], -round(row["speedup"], 1), row["bytes"]) for row in report["models"]]
    assert order == sorted(order)
    assert report["best_int8"] == next(row["model"] for row in report["models"] if row["precision"] == "int8")
    original = next(row for row in report["models"] if row["model"] == report["original"])
    assert original["change"] == 0 and original["speedup"] == 1
    assert json.loads((output / "report.json").read_text(encoding="utf-8")) == report
    assert not list(Path(trainer.args.output_dir).glob("compress_state-*"))


def test_the_printed_commands_can_be_typed(compressed, capsys):
    _, output, report = compressed
    print_report(report, output, "clue tnews", "my data")
    printed = f"infer.py --task_name 'clue tnews' --data_dir 'my data' --model_path {output / report['best_int8']}"
    assert printed in capsys.readouterr().out


def logits(prefix, precision, trainer):
    predictor = load_predictor(prefix, precision=precision, num_threads=1)
    windows = [window for example in trainer.eval_examples for window in predictor.task.windows(example)]
    return np.array([output[0] for output in predictor.run_windows(windows)])


@pytest.mark.parametrize("algorithm", ["abs_max", "hist", "mse", "KL"])
def test_int8_is_close_to_fp32(compressed, algorithm):
    """Closer than 3 % of the logits' spread, which stored INT8 weights miss because of Paddle's scales."""
    trainer, output, _ = compressed
    exact, found = (
        logits(output / "inference/infer", "fp32", trainer),
        logits(output / f"{algorithm}8/int8", "int8", trainer),
    )
    assert np.abs(found - exact).mean() < 0.03 * exact.std()


def test_every_weight_matmul_runs_as_int8(compressed):
    """As oneDNN itself reports it."""
    trainer, output, _ = compressed
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from ernie_predictor import load_predictor\n"
        "load_predictor(sys.argv[2], precision='int8', num_threads=1).predict(['很好'])"
    )
    command = [sys.executable, "-c", code, str(ROOT / "deploy" / "python"), str(output / "hist8/int8")]
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", "OMP_NUM_THREADS": "1"}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    products = [line for line in printed.splitlines() if ",exec,cpu,inner_product," in line]
    assert len(products) == 6 * LAYERS + 2
    assert all("src_s8" in line and "wei_s8" in line for line in products)


def test_channel_wise_weights_are_stored_as_int8(tmp_path, compressed):
    trainer, _, _ = compressed
    config = PTQConfig(weight_quantize_type="channel_wise_abs_max", batch_size_list=[2])
    report = trainer.compress(
        "x", str(tmp_path), pruning=False, compress_config=CompressConfig(quantization_config=config)
    )
    sizes = {row["model"]: row["bytes"] for row in report["models"]}
    with open(tmp_path / "hist2" / "int8.pdmodel", "rb") as file:
        assert b"quantize_linear" in file.read()
    params = {m: (tmp_path / f"{m}.pdiparams").stat().st_size for m in ("inference/infer", "hist2/int8")}
    assert sizes and params["inference/infer"] - params["hist2/int8"] > 0.6 * 4 * LAYERS * (
        4 * HIDDEN**2 + 2 * HIDDEN * NEURONS
    )


def test_the_attentions_products_are_an_option(tmp_path, compressed):
    trainer, _, _ = compressed
    config = PTQConfig(quantize_activation_matmuls=True, batch_size_list=[2])
    report = trainer.compress(
        "x", str(tmp_path), pruning=False, compress_config=CompressConfig(quantization_config=config)
    )
    assert report["best_int8"] == "hist2/int8"
    more = (tmp_path / "hist2" / "int8.pdmodel").read_bytes().count(b"quantize_linear")
    config = PTQConfig(batch_size_list=[2])
    trainer.compress("x", str(tmp_path), pruning=False, compress_config=CompressConfig(quantization_config=config))
    assert more > (tmp_path / "hist2" / "int8.pdmodel").read_bytes().count(b"quantize_linear")


def test_a_model_of_the_users_own_is_quantized(tmp_path, compressed):
    trainer, output, _ = compressed
    config = CompressConfig(
        quantization_config=PTQConfig(
            input_dir=str(output / "inference"), input_filename_prefix="inf", batch_size_list=[2]
        )
    )
    report = trainer.compress("x", str(tmp_path), pruning=False, compress_config=config)
    assert report["best_int8"] == "hist2/int8"


def test_full_disk_while_an_int8_model_is_written(tmp_path, compressed):
    """A limit on the size of files stands for a disk that is full before the parameters, the larger file, are whole;
    of that Paddle itself says nothing."""
    trainer, output, _ = compressed
    original, config = output / "inference" / "infer", PTQConfig(batch_size_list=[2])
    thresholds = calibrate(original, calibration_texts(trainer, 2), config)["hist", 2]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    enough = (output / "hist2" / "int8.pdiparams").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (enough - 4096, hard))
    try:
        with pytest.raises(InputError, match="hist2 cannot be written to"):
            export_int8(trainer, original, thresholds, config, tmp_path / "hist2" / "int8")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not all_files(tmp_path / "hist2")


def test_the_same_seed_gives_the_same_models(tmp_path):
    reports = []
    for name in ("first", "second"):
        trainer = tiny_trainer(tmp_path / "state")
        reports.append(trainer.compress("x", str(tmp_path / name)))
    figures = [{row["model"]: (row["metrics"], row["bytes"]) for row in report["models"]} for report in reports]
    assert figures[0] == figures[1]
    for model in figures[0]:
        assert exported_parameters(tmp_path / "first" / model) == exported_parameters(tmp_path / "second" / model)


# ---------------------------------------------------------------- what is refused


def refuse(tmp_path, trainer, match, pruning=True, **config):
    output = tmp_path / "out"
    with pytest.raises(InputError, match=match) as caught:
        trainer.compress("x", str(output), pruning=pruning, compress_config=CompressConfig(**config))
    assert "\n" not in str(caught.value)
    assert not output.exists(), "something was written"


def test_a_model_without_a_head_is_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state")
    trainer.model = trainer.model.ernie
    refuse(tmp_path, trainer, "ErnieModel is not a fine-tuned model")


def test_a_head_of_another_task_is_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    trainer.task = QuestionAnswering(trainer.task.tokenizer, [], 64)
    refuse(tmp_path, trainer, "does not fit the task qa")


def test_labels_that_do_not_match_the_head_are_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    trainer.task.labels = ["one", "two", "three"]
    refuse(tmp_path, trainer, "3 labels, the model's head has 2")


@pytest.mark.parametrize("split", ["eval", "train"])
def test_an_empty_split_is_refused(tmp_path, split):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    setattr(trainer, f"{split}_dataset", [])
    refuse(tmp_path, trainer, "dev set is empty" if split == "eval" else "training set is empty")


def test_a_width_of_no_whole_heads_is_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    refuse(tmp_path, trainer, "2/4 or 3/4", prune_config=DynabertConfig(width_mult_list=[0.6]))


def test_more_calibration_texts_than_there_are_is_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    refuse(tmp_path, trainer, "asks for 64", quantization_config=PTQConfig(batch_size_list=[64]))


@pytest.mark.parametrize("options", [{"algo_list": ["max"]}, {"algo_list": []}, {"batch_size_list": [0]}])
def test_wrong_quantization_settings_are_refused(options):
    with pytest.raises(InputError):
        PTQConfig(**options)


def test_an_input_dir_must_hold_one_fp32_model(tmp_path, compressed):
    trainer, output, _ = compressed

    def config(folder, prefix):
        return {"quantization_config": PTQConfig(input_dir=str(folder), input_filename_prefix=prefix), "pruning": False}

    refuse(tmp_path, trainer, "holds no .pdmodel", **config(tmp_path / "none", "float32"))
    refuse(tmp_path, trainer, "quantized already", **config(output / "hist8", "int8"))
    two = tmp_path / "two"
    two.mkdir()
    for name in ("float32a", "float32b"):
        for suffix in (".pdmodel", ".pdiparams"):
            os.link(output / f"inference/infer{suffix}", two / f"{name}{suffix}")
    refuse(tmp_path, trainer, "float32a, float32b", **config(two, "float"))


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


def test_int8_embeddings_stand_in_the_report_beside_the_rest(tmp_path):
    trainer = tiny_trainer(tmp_path / "state")
    config = CompressConfig(quantization_config=PTQConfig(quantize_embeddings=True))
    report = trainer.compress("x", str(tmp_path / "out"), compress_config=config)
    rows = {row["model"]: row for row in report["models"]}
    assert {"0.75/hist4_embeddings/int8", "hist4_embeddings/int8"} <= set(rows)
    logits = {}
    for model in ("hist4/int8", "hist4_embeddings/int8"):
        predictor = load_predictor(tmp_path / "out" / model, precision=rows[model]["precision"], num_threads=1)
        windows = [window for example in trainer.eval_examples for window in predictor.task.windows(example)]
        logits[model] = np.array([output[0] for output in predictor.run_windows(windows, 8)])
    vocabulary = trainer.model.config.vocab_size
    shrunk = rows["hist4/int8"]["bytes"] - rows["hist4_embeddings/int8"]["bytes"]
    assert 0.8 * vocabulary * (3 * HIDDEN - 4) < shrunk < vocabulary * 3 * HIDDEN
    assert np.abs(logits["hist4/int8"] - logits["hist4_embeddings/int8"]).max() < 0.1


def test_the_compression_section_of_the_config_beats_the_data_sets_own(tmp_path):
    config = tmp_path / "config.yml"
    config.write_text(
        "SequenceClassification:\n  tnews: {num_train_epochs: 3, weight_decay: 0.5}\n"
        "Compression:\n  tnews: {num_train_epochs: 1}\n"
    )
    argv = ["--task_name", "tnews", "--config", str(config), "--device", "cpu", "--model_name_or_path", "m"]
    compressing = parse_arguments(SEQ_CLS, CompressionArguments, argv=argv)[2]
    assert (compressing.num_train_epochs, compressing.weight_decay) == (1, 0.5)
    assert parse_arguments(SEQ_CLS, argv=argv)[2].num_train_epochs == 3
    typed = parse_arguments(SEQ_CLS, CompressionArguments, argv=[*argv, "--num_train_epochs", "7"])[2]
    assert typed.num_train_epochs == 7
