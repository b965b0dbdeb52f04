"""The files and commands of deploy/serving: every option is explained once, and each task's own say what differs."""

import errno
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields

import pytest
import yaml

from benchmarks.serving_process import SERVING
from ernie_inference.engine_choice import AUTO
from ernie_inference.errors import InputError
from ernie_inference.tasks import TASKS
from ernie_serving import service_config
from ernie_serving.client_command import configured_endpoint
from ernie_serving.model_to_serving import convert
from ernie_serving.service_config import ENGINE_NAMES, ServiceConfig, config_file, parse_config, read_config
from tests.support.scripts import ROOT

OPTIONS = SERVING / "options.yml"
DIFFERENT = ("model_dir", "rpc_port", "http_port", "monitor_port")
COMMANDS = [f"{task}_{kind}.py" for task in TASKS for kind in ("service", "rpc_client")]


def test_every_option_is_explained_with_its_default():
    defaults = {each.name: None if each.default is MISSING else each.default for each in fields(ServiceConfig)}
    assert yaml.safe_load(OPTIONS.read_text()) == defaults
    assert defaults["host"] == "127.0.0.1"
    lines = OPTIONS.read_text().splitlines()
    explained = {line.partition(":")[0] for above, line in zip(lines, lines[1:]) if above.startswith("# ")}
    assert set(defaults) <= explained


def test_lines_of_options_yml_can_be_copied(tmp_path):
    """The whole file, with a model, is a config file too, as those were that people may have."""
    text = OPTIONS.read_text().replace("model_dir:", "model_dir: mine")
    (tmp_path / "my.yml").write_text(text.replace("batch_size: 32", "batch_size: 8"))
    flags = ["--config", str(tmp_path / "my.yml"), "--rpc_port", "18000"]
    expected = ServiceConfig("mine", rpc_port=18000, batch_size=8)
    assert parse_config(config_file("seq_cls"), None, flags) == expected


@pytest.mark.parametrize("task", TASKS)
def test_a_config_file_says_only_what_differs(task):
    options = read_config(SERVING / f"{task}_config.yml")
    assert tuple(options) == DIFFERENT
    config = parse_config(config_file(task), None, [])
    assert config == ServiceConfig(**options) and config.host == "127.0.0.1"
    assert "options.yml" in config_file(task).read_text()


def test_the_three_services_can_run_on_one_machine():
    ports = [read_config(config_file(task))[name] for task in TASKS for name in DIFFERENT[1:]]
    assert len(set(ports)) == 9 and min(ports) > 0


@pytest.mark.parametrize("kind", ["config.yml", "service.py", "rpc_client.py"])
def test_the_files_of_the_tasks_are_alike(kind):
    texts = {(SERVING / f"{task}_{kind}").read_text().replace(task, "TASK") for task in TASKS}
    without_values = {re.sub(r"(?m)^(\w+): .*", r"\1", text) for text in texts}
    assert len(without_values) == 1 and len(texts) == (3 if kind == "config.yml" else 1)


@pytest.fixture
def worker(monkeypatch):
    """The module worker, whose first entry of sys.path is its own folder when it is run."""
    monkeypatch.setattr(sys, "path", [str(SERVING / "ernie_serving"), *sys.path])
    return importlib.import_module("ernie_serving.worker")


@pytest.fixture
def serving_folder(tiny, tmp_path):
    return convert(tiny["seq_cls"], tmp_path / "serving")


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_the_engine_is_the_one_that_is_named(worker, serving_folder, engine, capsys):
    config = parse_config(config_file("seq_cls"), None, ["--model_dir", str(serving_folder), "--engine", engine])
    backend = worker.load(config).engine.config.backend
    assert backend == engine or (engine == AUTO and "note: --engine auto: " in capsys.readouterr().err)


def test_a_folder_in_which_the_onnx_file_cannot_be_made(worker, serving_folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match="model.onnx cannot be written .*: make its folder writable"):
        worker.load(ServiceConfig(str(serving_folder), engine="openvino"))
    assert worker.load(ServiceConfig(str(serving_folder))).engine.config.backend == "paddle"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "openvino", "use_trt": True}, "openvino has no TensorRT"),
        ({"engine": "openvino", "device": "gpu"}, "openvino runs on processors only: use --device cpu"),
        ({"engine": "openvino", "precision": "int8"}, "model.onnx is a fp32 model, so it cannot run as int8"),
    ],
)
def test_what_an_engine_cannot_run_is_one_line(worker, serving_folder, options, message):
    with pytest.raises(InputError, match=message):
        worker.load(ServiceConfig(str(serving_folder), **options))


def test_an_engine_that_is_none_is_refused_before_anything_starts(tmp_path):
    line = "engine is 'tvm': give one of paddle, onnxruntime, openvino, auto"
    with pytest.raises(InputError, match=line):
        parse_config(config_file("seq_cls"), None, ["--engine", "tvm"])
    (tmp_path / "my.yml").write_text("model_dir: mine\nengine: tvm\n")
    with pytest.raises(InputError, match=line):
        parse_config(tmp_path / "my.yml", None, [])
    (tmp_path / "my.yml").write_text("model_dir: mine\nengine: 1\n")
    with pytest.raises(InputError, match="engine is 1, which is no str"):
        parse_config(tmp_path / "my.yml", None, [])


@pytest.fixture(scope="module")
def helps():
    """What --help of each command prints."""
    said = {}
    for command in COMMANDS:
        argv = [sys.executable, SERVING / command, "--help"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
        said[command] = done.stdout
    return said


def commands_in(text):
    """The command lines in a help text, as [script, argument, ...]."""
    lines = re.findall(r"^    python (.*)$", re.sub(r"\\\n\s*", "", text), flags=re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_the_commands_in_a_help_are_taken_by_their_parsers(helps):
    lines = [line for text in helps.values() for line in commands_in(text)]
    done = subprocess.run(
        [sys.executable, "tests/support/parse_commands.py"], input=json.dumps(lines), cwd=ROOT,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    problems = json.loads(done.stdout.splitlines()[-1])
    assert len(problems) == 3 * (4 + 4) and set(problems) == {None}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_help_names_its_own_script(helps, command):
    scripts = {line[0] for line in commands_in(helps[command])} - {"deploy/serving/model_to_serving.py"}
    assert scripts == {f"deploy/serving/{command}"}
    assert command.replace("_service.py", "").replace("_rpc_client.py", "") + "_config.yml" in helps[command]


def test_a_help_shows_an_input_of_its_task(helps):
    for task in TASKS:
        (line,) = (line for line in commands_in(helps[f"{task}_rpc_client.py"]) if "--texts" in line)
        text = line[line.index("--texts") + 1]
        given = json.loads(text) if text[0] in "[{" else text
        assert given == TASKS[task].sample_inputs[0]


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("rpc_port: 18090", "127.0.0.1:18090"),
        ("rpc_port: 1\nhost: 10.0.0.1", "10.0.0.1:1"),
        ("rpc_port: 1\nhost: 0.0.0.0", "127.0.0.1:1"),
        ("rpc_port: 1\nhost: '::'", "[::1]:1"),
        ("rpc_port: 1\nhost: 'fe80::1'", "[fe80::1]:1"),
    ],
)
def test_a_client_asks_where_the_config_file_has_the_service(monkeypatch, tmp_path, text, endpoint):
    monkeypatch.setattr(service_config, "FOLDER", tmp_path)
    (tmp_path / "qa_config.yml").write_text(text)
    assert configured_endpoint("qa") == endpoint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "qa_config.yml is missing: name the service with --endpoints"),
        ("host: 127.0.0.1", "qa_config.yml gives no rpc_port: name the service with --endpoints"),
        ("rpc_port: 0", "qa_config.yml gives no rpc_port: name the service with --endpoints"),
        ("rpc_prt: 1", "qa_config.yml: no option 'rpc_prt', did you mean rpc_port"),
    ],
)
def test_a_config_file_that_does_not_say_where(monkeypatch, tmp_path, text, message):
    monkeypatch.setattr(service_config, "FOLDER", tmp_path)
    if text is not None:
        (tmp_path / "qa_config.yml").write_text(text)
    with pytest.raises(InputError, match=message):
        configured_endpoint("qa")
