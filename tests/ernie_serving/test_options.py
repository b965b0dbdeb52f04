"""The files and commands of deploy/serving: every option is explained once, and each task's own say what differs."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields

import pytest
import yaml

from benchmarks.serving_process import SERVING
from ernie_inference.errors import InputError
from ernie_inference.tasks import TASKS
from ernie_serving import service_config
from ernie_serving.client_command import configured_endpoint
from ernie_serving.service_config import ServiceConfig, config_file, parse_config, read_config
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
