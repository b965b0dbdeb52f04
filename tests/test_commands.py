"""What all commands share: how they take numbers and flags, what they print, and what they keep off the screen."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ernie_inference.bulk import read_examples
from ernie_inference.console import Parser, number_above, number_from, print_table
from ernie_inference.errors import InputError
from ernie_inference.files import write_json
from ernie_inference.inference_config import InferenceConfig
from ernie_inference.tasks import TASKS
from ernie_inference.text_output import open_text, to_json
from ernie_serving.protocol import http_body
from ernie_serving.service_config import ModelConfig
from tests.support.scripts import ROOT, SAMPLES, run_here, run_script

# ---------------------------------------------------------------- numbers and flags

CLIENT = "deploy/serving/seq_cls_rpc_client.py"
MODEL = ("--model_path", "m")
DATASET = ("--task_name", "tnews")
# (script, what else it needs, a flag, the first number that is too small, the least: "0" or "1", or "above 0")
NUMBERS = [
    *(
        ("infer.py", (*MODEL, *DATASET), flag, wrong, least)
        for flag, wrong, least in (
            ("max_samples", "0", "from 1"),
            ("max_seq_length", "0", "from 1"),
            ("batch_size", "0", "from 1"),
            ("num_threads", "0", "from 1"),
            ("show", "-1", "from 0"),
        )
    ),
    *(
        (f"deploy/{script}.py", MODEL, flag, "0", "from 1")
        for script in ("python/infer_cpu", "python/infer_gpu", "paddle2onnx/infer")
        for flag in ("batch_size", "max_seq_length", *(["num_threads"] if "gpu" not in script else []))
    ),
    ("deploy/python/infer_gpu.py", MODEL, "device_id", "-1", "from 0"),
    *((CLIENT, DATASET, flag, "0", "from 1") for flag in ("max_samples", "batch_size", "repeat")),
    *((CLIENT, DATASET, "concurrency", number, "from 1 to 1024") for number in ("0", "1025")),
    (CLIENT, (), "timeout", "0", "above 0"),
    (CLIENT, (), "retries", "-1", "from 0"),
    *(
        ("examples/make_small_ernie.py", (), flag, wrong, least)
        for flag, wrong, least in (
            ("num_hidden_layers", "0", "from 1"),
            ("hidden_size", "0", "from 1"),
            ("num_attention_heads", "0", "from 1"),
            ("matching_heads", "-1", "from 0"),
            ("max_seq_length", "2", "from 3"),
            ("num_train_epochs", "-1", "from 0"),
            ("tokens_per_batch", "0", "from 1"),
            ("learning_rate", "0", "above 0"),
            ("seed", "-1", "from 0"),
        )
    ),
    *(
        ("benchmarks/reproduce.py", (), flag, wrong, least)
        for flag, wrong, least in (
            ("max_eval_samples", "0", "from 1"),
            ("num_threads", "0", "from 1"),
            ("batch_size_list", "0", "from 1"),
            ("grid_batch_sizes", "-4", "from 1"),
            ("grid_learning_rates", "0", "above 0"),
            ("grid_epochs", "0", "above 0"),
        )
    ),
    *(
        ("benchmarks/speed.py", (), flag, "0", "from 1")
        for flag in ("batch_size", "repeats", "latency_repeats", "num_threads", "layers")
    ),
    *(("benchmarks/onednn_profile.py", MODEL, flag, "0", "from 1") for flag in ("batch_size", "num_threads")),
    ("benchmarks/onednn_profile.py", MODEL, "length", "1", "from 2"),
    *(
        ("benchmarks/serving_load.py", MODEL, flag, "0", "from 1")
        for flag in ("num_threads", "batch_size", "clients", "texts_per_request", "max_texts")
    ),
    *(("benchmarks/serving_load.py", MODEL, flag, "0", "above 0") for flag in ("duration", "slice")),
    ("benchmarks/pruning_quality.py", ("--model_name_or_path", "m"), "seeds", "0", "from 1"),
    ("benchmarks/loading.py", (), "texts", "0", "from 1"),
    ("benchmarks/loading.py", (), "max_seq_length", "2", "from 3"),
    ("benchmarks/tokenization.py", (), "rounds", "0", "from 1"),
    ("benchmarks/train_step.py", (), "pairs", "0", "from 1"),
]
ABBREVIATIONS = [
    ("infer.py", *MODEL, *DATASET, "--max_seq", "64"),
    ("deploy/python/infer_cpu.py", *MODEL, "--max_seq", "64"),
    (CLIENT, "--max_sample", "3"),
    ("deploy/serving/model_to_serving.py", *MODEL, "--output", "x"),
    ("deploy/serving/seq_cls_service.py", "--thread", "2"),
    ("examples/make_small_ernie.py", "--hidden", "64"),
    ("examples/make_sample_data.py", "--output", "x"),
    ("benchmarks/speed.py", "--batch", "3"),
    ("examples/demo.py", "--fast"),
]


@pytest.fixture(scope="module")
def problem():
    """What a script says of a command line; all are asked in one process."""
    lines = [(script, *more, f"--{flag}", wrong) for script, more, flag, wrong, _ in NUMBERS] + ABBREVIATIONS
    done = subprocess.run(
        [sys.executable, "tests/support/parse_commands.py"],
        input=json.dumps(lines),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, json.loads(done.stdout)))


@pytest.mark.parametrize(("script", "more", "flag", "wrong", "least"), NUMBERS)
def test_a_number_that_is_too_small_is_one_line(problem, script, more, flag, wrong, least):
    least = least + " on" if least.startswith("from") and " to " not in least else least
    said = problem[(script, *more, f"--{flag}", wrong)]
    assert said == f"error: argument --{flag}: {wrong}: give a number {least}; see --help"


@pytest.mark.parametrize("line", ABBREVIATIONS)
def test_the_beginning_of_a_flag_is_no_flag(problem, line):
    assert re.fullmatch(r"error: unrecognized arguments: --.*; see --help", problem[line])


@pytest.mark.parametrize("text", ["x", "1.5", "nan", "inf", "", "-0x1"])
def test_what_is_no_whole_number_is_said(text):
    parser = Parser()
    parser.add_argument("--n", type=number_from(1))
    with pytest.raises(InputError, match=rf"argument --n: '{text}' is no whole number: give a number from 1 on; see"):
        parser.parse_args([f"--n={text}"])


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("kind", [number_from(0, float), number_above(0)])
def test_numbers_are_finite(kind, text):
    parser = Parser()
    parser.add_argument("--n", type=kind)
    with pytest.raises(InputError, match=f"{text}: give a number"):
        parser.parse_args([f"--n={text}"])
    assert parser.parse_args(["--n", "0.5"]).n == 0.5


@pytest.mark.parametrize("name", ["device_id", "thread_num", "batch_size", "max_seq_length", "auto_batching_timeout"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_services_numbers(name, value):
    with pytest.raises(InputError, match=f"{name} is {value}: give a number from [01] on"):
        ModelConfig(model_dir="x", **{name: value})


@pytest.mark.parametrize("script", ["examples/make_small_ernie.py", "examples/make_sample_data.py"])
def test_makers_end_with_status_2_where_nothing_can_be_written(script):
    done = run_here(script, "--output_dir", "/proc/x", check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: /proc/x") and done.stderr.count("\n") == 1


# ---------------------------------------------------------------- tables, and where commands run


def test_numbers_end_below_each_other_where_that_is_asked_for(capsys):
    rows = [
        {"model": "fp32", "texts/s": "70.0", "engine": "Paddle"},
        {"model": "i", "texts/s": "1,227.5", "engine": ""},
    ]
    print_table(rows, right=("texts/s",))
    print_table(rows)
    assert capsys.readouterr().out.splitlines() == [
        "model  texts/s  engine",
        "fp32      70.0  Paddle",
        "i      1,227.5",
        "model  texts/s  engine",
        "fp32   70.0     Paddle",
        "i      1,227.5",
    ]


@pytest.mark.parametrize(
    "script",
    ["benchmarks/plot.py", "benchmarks/pruning_quality.py", "examples/demo.py", "examples/make_sample_data.py"],
)
def test_a_script_runs_in_any_folder(script, tmp_path):
    done = subprocess.run([sys.executable, ROOT / script, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {script.split('/')[1]}"), done.stderr


# ---------------------------------------------------------------- half an emoji

INFERENCE = {"PYTHONPATH": str(ROOT / "deploy" / "python")}
HALF, WHOLE = "\ud83d", "😀"


def test_json_holds_what_utf_8_cannot():
    content = {f"好{HALF}": [f"\\{HALF}ud83d", WHOLE, f'"{HALF}\n']}
    written = to_json(content)
    assert json.loads(written.decode("utf-8")) == content and b"\n" not in written
    assert to_json("好😀") == '"好😀"'.encode()  # what can be read, stays readable


def test_every_json_file_does(tmp_path):
    write_json(tmp_path / "file.json", {"answer": HALF, "good": "好"})
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == {"answer": HALF, "good": "好"}
    assert "好" in (tmp_path / "file.json").read_text(encoding="utf-8")
    InferenceConfig("seq_cls", ["a", HALF]).save(tmp_path)
    assert InferenceConfig.load(tmp_path).labels == ["a", HALF]
    assert json.loads(http_body(0, HALF, to_json([HALF]).decode()))["results"] == [HALF]


def test_a_column_keeps_its_place(tmp_path):
    with open_text(tmp_path / "file.tsv") as file:
        file.write("\x02".join(["好", HALF, "\r"]) + "\t" + "\x02".join("OOO") + "\n")
    tokens, tags = (tmp_path / "file.tsv").read_bytes().decode("utf-8").rstrip("\n").split("\t")
    assert tokens.split("\x02") == ["好", "\\ud83d", "\r"] and tags == "O\x02O\x02O"


@pytest.mark.parametrize(
    ("package", "encoding"),
    [*(("ernie_inference", encoding) for encoding in ("utf-8", "ascii", "gbk")), ("ernie_suite", "gbk")],
)
def test_a_screen_shows_what_its_encoding_lacks_as_an_escape(package, encoding):
    code = (
        f"import {package}\nfrom ernie_inference.console import run_command as run\nrun(lambda: print('好\\ud83d😀'))"
    )
    environment = {**os.environ, **INFERENCE, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding).strip() == "好\ud83d😀".encode(encoding, "backslashreplace").decode(encoding)


def test_infer_shows_texts_that_end_in_half_an_emoji(tiny, tmp_path):
    lines = [{"sentence": f"很好{HALF}{number}", "label": "positive"} for number in range(3)]
    (tmp_path / "dev.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    shutil.copytree(tiny["seq_cls"].parent, tmp_path / "model")
    done = run_script(
        "infer.py", "--task_name", SAMPLES["seq_cls"], "--data_dir", tmp_path, "--model_path", tmp_path / "model",
        "--show", 3,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.stdout.count("很好\\ud83d") == 3


def test_files_of_inputs_may_hold_it(tmp_path):
    (tmp_path / "in.jsonl").write_text('"\\ud83d"\n{"text": "好"}\n')
    assert list(read_examples(TASKS["seq_cls"], tmp_path / "in.jsonl")) == [{"text": HALF}, {"text": "好"}]


# ---------------------------------------------------------------- nothing of the libraries' on the screen


# Those that import different things; tests.support.scripts looks at all that the tests run to their end.
STARTS = [
    *(
        "run_seq_cls.py",
        "infer.py",
        "benchmarks/tokenization.py",
        "benchmarks/pruning_quality.py",
    ),
    *("deploy/python/infer_cpu.py", "deploy/serving/seq_cls_service.py", "deploy/serving/seq_cls_rpc_client.py"),
]
IMPORTS = "import ernie_suite, paddlenlp.datasets, paddleslim"


def test_no_command_begins_with_warnings():
    lines = [(script, "--help") for script in STARTS] + [("-c", IMPORTS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def stderr_of(line):
        return subprocess.run(
            [sys.executable, *line], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        ).stderr

    with ThreadPoolExecutor(2) as pool:
        said = dict(zip(lines, pool.map(stderr_of, lines)))
    assert said == dict.fromkeys(lines, "")


def test_a_user_who_asks_for_all_warnings_gets_those_of_the_libraries_own():
    code = "from ernie_inference.quiet_imports import hide_import_warnings; hide_import_warnings()\n"
    code += "import warnings; import pkg_resources; warnings.warn('mine')"
    environment = {**os.environ, **INFERENCE, "PYTHONWARNINGS": "always"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "mine" in done.stderr and "pkg_resources is deprecated" not in done.stderr
