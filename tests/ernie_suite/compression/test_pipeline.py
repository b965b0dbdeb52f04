"""trainer.compress() from a model to the report, for every architecture and task, and what it refuses."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from ernie_suite.compression.config import ALGORITHMS, CompressConfig, DynabertConfig, PTQConfig
from ernie_suite.compression.int8_models import calibration_texts, export_int8
from ernie_suite.compression.quantization import calibrate, loaded_program
from ernie_suite.compression.report import print_report, summarize
from ernie_suite.compression.training import export
from ernie_suite.tasks.qa import QA
from ernie_suite.tasks.seq_cls import SEQ_CLS
from ernie_suite.tasks.token_cls import TOKEN_CLS

import numpy as np
import pytest

from ernie_inference.errors import InputError
from ernie_inference.predictor import load_predictor
from ernie_inference.tasks.qa import QuestionAnswering
from tests.support.disk import full_disk
from tests.support.scripts import ROOT
from tests.support.trainers import HIDDEN, LAYERS, NEURONS, exported_parameters, tiny_trainer


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
    ids=lambda value: value if isinstance(value, str) else value.name,
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
    assert (
        models["inference/infer"]["bytes"] - models["0.75/float32"]["bytes"] > 0.7 * 4 * gone
    )  # the program names more
    for name, value in trainer.model.state_dict().items():
        assert np.array_equal(before[name], value.numpy()), f"the trainer's model changed: {name}"


def test_depth_is_pruned_too(tmp_path, capsys):
    """Every width with every depth, at its true depth; another choice of layers makes them anew."""
    trainer = tiny_trainer(tmp_path / "state", examples=12)
    widths_and_depths = DynabertConfig([3 / 4, 1], [1, "1/2"])
    report = trainer.compress("x", str(tmp_path / "out"), compress_config=CompressConfig(widths_and_depths))
    rows = {row["model"]: row for row in report["models"]}
    names = {"0.75": ("0.75", None), "0.75x0.5": ("0.75", "0.5"), "1.0x0.5": ("1.0", "0.5")}
    for name, shares in names.items():
        for model in (f"{name}/float32", f"{name}/hist4/int8"):
            assert (rows[model]["width"], rows[model]["depth"]) == shares
    count = {model: parameter_count(tmp_path / "out" / model) for model in ("1.0/float32", "1.0x0.5/float32")}
    layer = 4 * HIDDEN * (HIDDEN + 1) + 2 * HIDDEN * NEURONS + NEURONS + HIDDEN + 4 * HIDDEN
    assert count["1.0/float32"] - count["1.0x0.5/float32"] == LAYERS // 2 * layer
    assert right_answers(tmp_path / "out/0.75x0.5/float32", "fp32", trainer) == pytest.approx(
        rows["0.75x0.5/float32"]["metrics"]["accuracy"]
    )

    config = PTQConfig(input_dir=str(tmp_path / "out" / "1.0x0.5"), batch_size_list=[2])
    config = CompressConfig(quantization_config=config)
    report = trainer.compress("x", str(tmp_path / "out"), pruning=False, compress_config=config)
    (row,) = (row for row in report["models"] if row["model"] == "1.0x0.5/hist2/int8")
    assert (row["width"], row["depth"], row["source"]) == ("1.0", "0.5", "1.0x0.5/float32")

    capsys.readouterr()
    widths_and_depths.drop_layers = "importance"
    config = CompressConfig(widths_and_depths)
    trainer.compress("x", str(tmp_path / "out"), quantization=False, compress_config=config)
    assert capsys.readouterr().out.count("made anew (drop_layers every_other -> importance)") == 4


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    """(trainer, output folder, report) of the whole grid of algorithms at two sizes, quantization only."""
    folder = tmp_path_factory.mktemp("compressed")
    trainer = tiny_trainer(folder / "state")
    config = CompressConfig(quantization_config=PTQConfig(algo_list=list(ALGORITHMS), batch_size_list=[2, 8]))
    report = trainer.compress("sample_reviews", str(folder / "out"), pruning=False, compress_config=config)
    return trainer, folder / "out", report


def test_the_report_names_every_model(compressed):
    trainer, output, report = compressed
    rows = {row["model"]: row for row in report["models"]}
    grid = {f"{algorithm}{size}/int8": (algorithm, size) for algorithm in ALGORITHMS for size in (2, 8)}
    assert set(rows) == {"inference/infer", *grid} and len(report["models"]) == len(rows)
    for model, expected in grid.items():
        assert (rows[model]["algorithm"], rows[model]["calibration_texts"]) == expected
        files = [output / f"{model}{ending}" for ending in (".pdmodel", ".pdiparams")]
        assert rows[model]["bytes"] == sum(file.stat().st_size for file in files)
    exact = {"accuracy": right_answers(output / "inference/infer", "fp32", trainer)}
    assert (report["original"], rows["inference/infer"]["metrics"]) == ("inference/infer", exact)
    assert rows["inference/infer"]["speedup"] == 1 and report["metric"] == "accuracy"
    assert json.loads((output / "report.json").read_text(encoding="utf-8")) == report


def right_answers(prefix, precision, trainer):
    """The share of dev examples that an exported model answers rightly."""
    predictor = load_predictor(prefix, precision=precision, num_threads=1)
    results = predictor.predict([example["text"] for example in trainer.eval_examples])
    return np.mean([result["label"] == example["label"] for result, example in zip(results, trainer.eval_examples)])


def test_the_best_is_the_most_accurate_then_the_fastest_then_the_smallest():
    """A tenth of the speed is no difference: it is another in each run."""

    def row(model, precision, accuracy, speedup, size):
        metrics = {"f1": 1 - accuracy, "accuracy": accuracy}
        return {"model": model, "precision": precision, "metrics": metrics, "speedup": speedup, "bytes": size}

    rows = [
        row("original", "fp32", 0.80, 1.00, 90),
        row("large", "int8", 0.75, 2.04, 80),
        row("slow", "int8", 0.75, 1.50, 10),
        row("pruned", "fp32", 0.85, 1.30, 70),
        row("small", "int8", 0.75, 1.96, 40),
        row("worst", "int8", 0.70, 9.00, 1),
    ]
    report = summarize(rows, "accuracy")
    assert [row["model"] for row in report["models"]] == ["pruned", "original", "small", "large", "slow", "worst"]
    assert (report["original"], report["best_int8"]) == ("original", "small")
    changes = {row["model"]: round(row["change"], 9) for row in report["models"]}
    assert changes == {"pruned": 0.05, "original": 0, "small": -0.05, "large": -0.05, "slow": -0.05, "worst": -0.1}
    assert summarize([rows[0], rows[3]], "accuracy")["best_int8"] is None


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
    """Closer than a quarter of the spread of a logit over the texts, which stored INT8 weights miss tenfold because of
    Paddle's scales."""
    trainer, output, _ = compressed
    exact, found = (
        logits(output / "inference/infer", "fp32", trainer),
        logits(output / f"{algorithm}8/int8", "int8", trainer),
    )
    assert np.abs(found - exact).mean() < exact.std(axis=0).mean() / 4


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
    operators = operator_counts(tmp_path / "hist2" / "int8")
    weights = 6 * LAYERS + 2
    # Of each matrix product its weight is dequantized, and its input quantized and dequantized.
    assert operators["dequantize_linear"] >= weights + operators["quantize_linear"]
    stored = LAYERS * (4 * HIDDEN**2 + 2 * HIDDEN * NEURONS) + HIDDEN**2 + 2 * HIDDEN
    saved = sizes["inference/infer"] - sizes["hist2/int8"]
    assert 0.6 * 3 * stored < saved < 3 * stored, "a byte instead of four; scales and operators take some room again"


def operator_counts(prefix):
    with loaded_program(prefix) as model:
        return Counter(op.type for op in model.program.global_block().ops)


def test_the_attentions_products_are_an_option(tmp_path, compressed):
    trainer, output, _ = compressed
    config = PTQConfig(quantize_activation_matmuls=True, batch_size_list=[2])
    report = trainer.compress(
        "x", str(tmp_path), pruning=False, compress_config=CompressConfig(quantization_config=config)
    )
    assert report["models"][-1]["quantize_activation_matmuls"] or report["models"][0]["quantize_activation_matmuls"]
    more, fewer = (operator_counts(folder / "hist2" / "int8") for folder in (tmp_path, output))
    # Queries, keys, attention weights and values of every layer; the grid is without the option.
    assert more["quantize_linear"] - fewer["quantize_linear"] == 4 * LAYERS


def test_a_model_of_the_users_own_is_quantized(tmp_path, compressed):
    """That model, not the trainer's; it may be named by the beginning of its name."""
    trainer, _, _ = compressed
    theirs = tiny_trainer(tmp_path / "state", model_seed=12)
    export(theirs, theirs.model, tmp_path / "theirs" / "model")
    config = PTQConfig(input_dir=str(tmp_path / "theirs"), input_filename_prefix="mod", batch_size_list=[2])
    config = CompressConfig(quantization_config=config)
    report = trainer.compress("x", str(tmp_path / "out"), pruning=False, compress_config=config)
    found = logits(tmp_path / "out" / report["best_int8"], "int8", trainer)
    expected, ours = (logits(tmp_path / prefix, "fp32", trainer) for prefix in ("theirs/model", "out/inference/infer"))
    assert np.abs(found - expected).mean() < 0.1 * np.abs(found - ours).mean()


def test_full_disk_while_an_int8_model_is_written(tmp_path, compressed):
    """Before the parameters, the larger file, are whole; of that Paddle itself says nothing."""
    trainer, output, _ = compressed
    original, config = output / "inference" / "infer", PTQConfig(batch_size_list=[2])
    thresholds = calibrate(original, calibration_texts(trainer, 2), config)["hist", 2]
    enough = (output / "hist2" / "int8.pdiparams").stat().st_size
    with full_disk(enough - 4096), pytest.raises(InputError, match="hist2 cannot be written to"):
        export_int8(trainer, original, thresholds, config, tmp_path / "hist2" / "int8")
    assert not all_files(tmp_path / "hist2")


def test_the_same_seed_gives_the_same_models_and_another_others(tmp_path):
    parameters = {}
    for name, seed in {"first": 7, "second": 7, "other": 8}.items():
        trainer = tiny_trainer(tmp_path / name / "state", seed=seed)
        report = trainer.compress("x", str(tmp_path / name / "out"))
        models = [row["model"] for row in report["models"]]
        parameters[name] = {model: exported_parameters(tmp_path / name / "out" / model) for model in models}
    assert parameters["first"] == parameters["second"]
    differ = {model for model in parameters["first"] if parameters["first"][model] != parameters["other"][model]}
    assert differ == {"0.75/float32", "0.75/hist4/int8", "hist4/int8"}, "training and calibration are drawn by the seed"


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


@pytest.mark.parametrize(
    ("depths", "says"),
    [([0.1], "keeps 0.2 of 2 layers, which is no whole number: give 1/2"), ([0.5, 0.505], "names 0.5 twice")],
)
def test_a_depth_of_no_whole_layers_is_refused(tmp_path, depths, says):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    refuse(tmp_path, trainer, says, prune_config=DynabertConfig(depth_mult_list=depths))


def test_more_calibration_texts_than_there_are_is_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", examples=4)
    refuse(tmp_path, trainer, "asks for 64", quantization_config=PTQConfig(batch_size_list=[64]))


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
    difference = np.abs(logits["hist4/int8"] - logits["hist4_embeddings/int8"])
    assert 0 < difference.mean() < logits["hist4/int8"].std(axis=0).mean() / 4
