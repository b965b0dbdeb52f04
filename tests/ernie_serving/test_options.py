"""The files and commands of deploy/serving: every option is explained once, and each task's own say what differs."""

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import MISSING, asdict

import pytest
import yaml

from benchmarks.serving_process import SERVING
from ernie_inference.engine_choice import AUTO
from ernie_inference.errors import InputError
from ernie_inference.tasks import TASKS
from ernie_serving import descriptors, loading, service_config
from ernie_serving.client_command import configured_endpoint
from ernie_serving.descriptors import descriptors_needed, raise_limit
from ernie_serving.loading import check_model, load
from ernie_serving.model_to_serving import convert
from ernie_serving.service_config import (
    ENGINE_NAMES,
    MODEL_OPTIONS,
    ModelConfig,
    ServiceConfig,
    config_file,
    options_of,
    parse_config,
    read_config,
)
from tests.support.scripts import ROOT
from tests.support.services import toy_config

OPTIONS = SERVING / "options.yml"
MIXTURE = SERVING / "models_config.yml"
DIFFERENT = ("model_dir", "rpc_port", "http_port", "monitor_port")
COMMANDS = [f"{task}_{kind}.py" for task in TASKS for kind in ("service", "rpc_client")]


def test_every_option_is_explained_with_its_default():
    options = [*options_of(ModelConfig), *options_of(ServiceConfig)]
    defaults = {each.name: None if each.default is MISSING else each.default for each in options}
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
    expected = ServiceConfig({"seq_cls": ModelConfig("mine", batch_size=8)}, rpc_port=18000)
    assert parse_config(config_file("seq_cls"), None, flags, "seq_cls") == expected


@pytest.mark.parametrize("task", TASKS)
def test_a_config_file_says_only_what_differs(task):
    options = read_config(SERVING / f"{task}_config.yml")
    assert tuple(options) == DIFFERENT
    config = parse_config(config_file(task), None, [], task)
    models = {task: ModelConfig(options.pop("model_dir"))}
    assert config == ServiceConfig(models, **options) and config.host == "127.0.0.1"
    assert "options.yml" in config_file(task).read_text()


def test_the_services_can_run_on_one_machine():
    files = [*map(config_file, TASKS), MIXTURE]
    ports = [read_config(file)[name] for file in files for name in DIFFERENT[1:]]
    assert len(set(ports)) == 15 and min(ports) > 0


@pytest.mark.parametrize("kind", ["config.yml", "service.py", "rpc_client.py"])
def test_the_files_of_the_tasks_are_alike(kind):
    texts = {(SERVING / f"{task}_{kind}").read_text().replace(task, "TASK") for task in TASKS}
    without_values = {re.sub(r"(?m)^(\w+): .*", r"\1", text) for text in texts}
    assert len(without_values) == 1 and len(texts) == (len(TASKS) if kind == "config.yml" else 1)


@pytest.fixture
def serving_folder(tiny, tmp_path):
    return convert(tiny["seq_cls"], tmp_path / "serving")


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_the_engine_is_the_one_that_is_named(serving_folder, engine, capsys):
    loaded = load(ModelConfig(str(serving_folder), engine=engine))
    assert loaded.predictor.engine.config.backend == loaded.config.engine
    assert loaded.config.engine == engine or (engine == AUTO and "note: --engine auto: " in capsys.readouterr().err)


def test_a_folder_in_which_the_onnx_file_cannot_be_made(serving_folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match="model.onnx cannot be written .*: make its folder writable"):
        load(ModelConfig(str(serving_folder), engine="openvino"))
    assert load(ModelConfig(str(serving_folder))).config.engine == "paddle"


def test_a_folder_that_changes_while_it_is_read(serving_folder, monkeypatch):
    def load_and_change(*args, **options):
        (serving_folder / "model.pdiparams").write_bytes(b"another")

    monkeypatch.setattr(loading, "load_with", load_and_change)
    with pytest.raises(InputError, match="serving was changed while it was read: try again when it is complete"):
        load(ModelConfig(str(serving_folder)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "openvino", "use_trt": True}, "openvino has no TensorRT"),
        ({"engine": "openvino", "device": "gpu"}, "openvino runs on processors only: use --device cpu"),
        ({"device": "tpu"}, "device 'tpu' is neither cpu nor gpu"),
        ({"precision": "fp8"}, "paddle on cpu does not run fp8: use fp32 or int8 or bf16"),
        ({"engine": "auto", "precision": "fp16"}, "processors have no FP16 kernels"),
        ({"precision": "int8"}, "model is not quantized, so it cannot run as INT8: give the int8 model"),
        ({"engine": "openvino", "precision": "int8"}, "model is not quantized, so it cannot run as INT8"),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_loaded(serving_folder, options, message):
    with pytest.raises(InputError, match=message):
        check_model(ModelConfig(str(serving_folder), **options))


def test_what_can_run_is_not_refused(tiny, tmp_path):
    quantized = convert(tiny.int8("seq_cls"), tmp_path / "int8")
    for engine in ENGINE_NAMES:
        check_model(ModelConfig(str(quantized), engine=engine, precision="int8"))
        check_model(ModelConfig("nowhere", engine=engine))


# ---------------------------------------------------------------- several models


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_model_has_what_is_its_own_and_else_what_stands_at_the_top(tmp_path):
    file = write(
        tmp_path / "m.yml",
        "thread_num: 2\nreplicas: 3\ntimeout: 5000\nmodels:\n  a: {model_dir: x}\n"
        "  b.2: {model_dir: y, thread_num: 1, engine: auto}\n",
    )
    config = parse_config(None, None, ["--config", str(file), "--timeout=70"])
    assert config == ServiceConfig(
        {
            "a": ModelConfig("x", thread_num=2, timeout=70),
            "b.2": ModelConfig("y", thread_num=1, timeout=70, engine="auto"),
        },
        replicas=3,
    )
    assert ServiceConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    assert config.queue_size == 512 and config.drain_seconds == 10.07


def test_the_sample_of_several_models_is_all_tasks(tmp_path):
    config = parse_config(None, None, ["--config", str(MIXTURE)])
    folders = {task: read_config(config_file(task))["model_dir"] for task in TASKS}
    assert {name: model.model_dir for name, model in config.models.items()} == folders


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_dir: x", "names no models: write them as models: and, indented, name: with their options"),
        ("models: {}", "names no models"),
        ("models: [a]", "models is no list of names"),
        ("models: {a: x}", "model a: 'x' are no options"),
        ("models: {a: {replicas: 2, model_dir: x}}", "model a: replicas is for the whole service: write it at the top"),
        ("models: {a: {modle_dir: x}}", "model a: no option 'modle_dir', did you mean model_dir"),
        ("models: {a: {thread_num: 1}}", "model a has no model_dir"),
        ("models: {a: {model_dir: x, batch_size: 0}}", "model a: batch_size is 0: give a number from 1 on"),
        *(
            (f"models: {{{name}: {{model_dir: x}}}}", "take letters, digits, - _ and ., 64 at the most")
            for name in ("'a/b'", ".a", "''", "1", "a" * 65, "新闻", "'a b'", '"a\\n"')
        ),
    ],
)
def test_models_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(InputError) as error:
        parse_config(None, None, ["--config", str(write(tmp_path / "m.yml", text))])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_task_s_own_command_has_one_model(tmp_path):
    file = write(tmp_path / "m.yml", "models: {a: {model_dir: x}}")
    with pytest.raises(InputError, match="names models: start it with deploy/serving/service.py"):
        parse_config(file, None, [], "qa")
    with pytest.raises(InputError, match="--config"):
        parse_config(None, None, [])


LEVELS = [f"&a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
BOMB = ["&a0 [x]", *LEVELS]  # 100 million x


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_dir:\n  - " + "\n  - ".join(BOMB), "has 80 aliases (*name), the limit is 16"),
        ("model_dir:\n  - " + "\n  - ".join(BOMB[:2]), "model_dir is a list, which is no str"),
        ("models: {a: {model_dir: &a [*a]}}", "model a: model_dir is a list, which is no str"),
        ("models: {a: [b, c]}", "model a: a list are no options"),
        ("rpc_port: 0x" + "f" * 6_000, "rpc_port is a number of very many digits: give a number up to 65535"),
        ("model_dir: 0x" + "f" * 6_000, "model_dir is a number of very many digits, which is no str"),
        ("? 0x" + "f" * 6_000 + "\n: x", "no option a number of very many digits"),
        ("? " + "k" * 100_000 + "\n: x", "no option 'kkk"),
        ("batch_size: '" + "9" * 100_000 + "'", "batch_size is '999"),
        ("k" * 100_000 + ": x", "is not YAML (mapping values are not allowed here"),
        ("models: {? 0x" + "f" * 6_000 + " : {}}", "model name a number of very many digits: take"),
    ],
    ids=range(11),
)
def test_values_of_any_size_make_a_short_message(tmp_path, text, message):
    file = write(tmp_path / "c.yml", text)
    with pytest.raises(InputError) as error:
        parse_config(file, None, ["--model_dir=x"], "qa")
    said = str(error.value)
    assert message in said and "\n" not in said and len(said) < 400


def test_some_aliases_are_taken(tmp_path):
    text = "models:\n  a: &own {model_dir: x, timeout: 7}\n  b: {<<: *own, timeout: 8}\n  c: *own\n"
    models = parse_config(None, None, ["--config", str(write(tmp_path / "c.yml", text))]).models
    assert [model.timeout for model in models.values()] == [7, 8, 7]


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e400", "1" + "0" * 400, "-1"])
def test_no_number_is_without_bounds(tmp_path, value):
    numbers = [each.name for each in (*options_of(ModelConfig), *options_of(ServiceConfig)) if each.metadata["most"]]
    assert len(numbers) == 22
    for name in numbers:
        if (name, value) in (("http_port", "-1"), ("monitor_port", "-1")):
            continue
        file = write(tmp_path / "m.yml", f"model_dir: x\n{name}: {value}\n")
        with pytest.raises(InputError, match=f"{name} is .*(give a number|is no)") as error:
            parse_config(file, None, [], "qa")
        assert len(str(error.value)) < 250 + len(str(file))


def test_batches_do_not_wait_for_longer_than_requests():
    with pytest.raises(InputError, match="auto_batching_timeout is 200 and timeout 100: batches would wait for longer"):
        ModelConfig("x", timeout=100, auto_batching_timeout=200.0)


def test_every_option_has_its_place():
    """A number has bounds."""
    for each in (*options_of(ModelConfig), *options_of(ServiceConfig)):
        number = service_config.kind_of(each.name) in (int, float)
        assert number == (each.metadata["least"] is not None) == (each.metadata["most"] is not None), each.name
    assert set(asdict(ModelConfig("x"))) == set(MODEL_OPTIONS)


# ---------------------------------------------------------------- open files


@pytest.fixture
def limit(monkeypatch):
    """The limit on open files, (soft, hard), as a list that raise_limit sets."""
    now = [1024, 4096]
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: tuple(now))
    monkeypatch.setattr(descriptors.resource, "setrlimit", lambda _, pair: now.__setitem__(slice(None), pair))
    return now


def test_the_limit_on_open_files_is_raised_as_far_as_it_goes(limit):
    raise_limit(toy_config(max_connections=100))
    assert limit == [1024, 4096]
    raise_limit(toy_config(max_connections=512))
    assert limit == [4096, 4096]


def test_more_connections_than_open_files_are_refused(limit):
    assert descriptors_needed(toy_config(max_connections=2000)) > 4096
    with pytest.raises(InputError, match="max_connections 2000 takes up to .* open files .* the system allows 4096"):
        raise_limit(toy_config(max_connections=2000))
    raise_limit(toy_config(max_connections=2000, http_port=-1))
    assert limit == [4096, 4096]


def test_an_engine_that_is_none_is_refused_before_anything_starts(tmp_path):
    line = "engine is 'tvm': give one of paddle, onnxruntime, openvino, auto"
    with pytest.raises(InputError, match=line):
        parse_config(config_file("seq_cls"), None, ["--engine", "tvm"], "seq_cls")
    (tmp_path / "my.yml").write_text("model_dir: mine\nengine: tvm\n")
    with pytest.raises(InputError, match=line):
        parse_config(tmp_path / "my.yml", None, [], "seq_cls")
    (tmp_path / "my.yml").write_text("model_dir: mine\nengine: 1\n")
    with pytest.raises(InputError, match="engine is 1, which is no str"):
        parse_config(tmp_path / "my.yml", None, [], "seq_cls")


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
    assert len(problems) == len(TASKS) * (4 + 4) and set(problems) == {None}


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
