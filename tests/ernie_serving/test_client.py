"""The client: where it can be used, and files that it answers, or goes on to answer."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.bulk import answer_file, count_lines
from ernie_inference.errors import InputError
from ernie_inference.tasks import TASKS
from ernie_inference.text_output import to_json
from ernie_serving.access import read_api_key
from ernie_serving.client import Client
from ernie_serving.client_command import ServiceAnswerer, main
from tests.support.models import corpus
from tests.support.scripts import ROOT

SEQ_CLS = TASKS["seq_cls"]
BROKEN_PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

# A program of somebody else's, with deploy/serving on its path and none of what training needs.
HOST = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("paddle", "paddlenlp", "paddleslim", "ernie_suite", "utils"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.path.insert(0, sys.argv[1])
from ernie_serving.client import Client

answers = Client([sys.argv[2]]).predict(["好", ["好", "坏"]])
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([answers, sorted(loaded & {"paddle", "paddlenlp", "ernie_suite", "paddle_serving_server", "yaml"})]))
"""


def test_a_program_without_paddle_can_ask(services, tmp_path):
    service = services("seq_cls")
    argv = [sys.executable, "-c", HOST, str(ROOT / "deploy" / "serving"), service.endpoint]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [service.client().predict(["好", ["好", "坏"]]), []]
    assert list(tmp_path.iterdir()) == []


def test_a_copy_of_deploy_is_enough(services, tmp_path):
    """And its own config file says where the service is."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    file, port = tmp_path / "deploy" / "serving" / "seq_cls_config.yml", services("seq_cls").endpoint.split(":")[1]
    file.write_text(file.read_text().replace("rpc_port: 18090", f"rpc_port: {port}"))
    client = [sys.executable, "deploy/serving/seq_cls_rpc_client.py"]
    done = subprocess.run([*client, "--texts", "好"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "input data: 好\nseq cls result:\n" in done.stdout, done.stderr
    done = subprocess.run([*client, "--task_name", "tnews"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (2, "error: --task_name needs the whole suite; ernie_suite is missing\n")


# ---------------------------------------------------------------- files


@pytest.fixture
def files(tmp_path):
    return tmp_path / "in.jsonl", tmp_path / "out.jsonl"


def write_lines(path, inputs):
    path.write_bytes(b"".join(to_json(text) + b"\n" for text in inputs))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_client_goes_on(services, files):
    source, target = files
    inputs = [f"第{number}句：{text}" for number, text in enumerate(corpus()[::10][:4000])]
    write_lines(source, inputs)
    part = target.with_name("out.jsonl.part")
    command = [sys.executable, "deploy/serving/seq_cls_rpc_client.py", "--endpoints", services("seq_cls").endpoint]
    command += ["--input_file", str(source), "--output_file", str(target), "--batch_size", "8", "--concurrency", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (part.exists() and count_lines(part)[0] >= 100):
        time.sleep(0.005)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(target.parent) == ["in.jsonl", "out.jsonl.part", "out.jsonl.part.json"]
    before = part.read_bytes()
    complete = before[: before.rindex(b"\n") + 1]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.startswith(f"wrote 4000 lines to {target}, "), done.stderr
    assert target.read_bytes().startswith(complete) and names(target.parent) == ["in.jsonl", "out.jsonl"]
    labels = [json.loads(line)["label"] for line in target.read_bytes().splitlines()]
    assert labels == [answer["label"] for answer in services("seq_cls").client().predict_iter(inputs, 50)]


class Service:
    """Stands in for a client; each answer has what it was asked in it. One of its answers may be an error."""

    def __init__(self, *endpoints, fails_at=None, model=""):
        self.endpoints = list(endpoints) or ["127.0.0.1:1"]
        self.model = model
        self.fails_at = fails_at
        self.asked = []

    def predict_iter(self, texts, batch_size, concurrency, top_k=None):
        for text in texts:
            if text == self.fails_at:
                raise InputError("nobody answers")
            self.asked.append(text)
            yield {**text, "label": "a", "confidence": 1.0, "truncated": False}


def answer(service, files, task=SEQ_CLS, options=PLAIN):
    return answer_file(ServiceAnswerer(service, task, options, concurrency=1), *files)


@pytest.fixture
def interrupted(files):
    """The files of a run that ended at the third of four texts."""
    texts = [{"text": text} for text in "天地人和"]
    write_lines(files[0], texts)
    with pytest.raises(InputError, match="nobody answers"):
        answer(Service("a:1", "b:2", fails_at=texts[2]), files)
    assert count_lines(files[1].with_name("out.jsonl.part"))[0] == 2
    return files


def test_only_what_is_left_is_asked(interrupted):
    service = Service("b:2", "a:1")  # the same ones
    assert answer(service, interrupted) == 4
    assert service.asked == [{"text": "人"}, {"text": "和"}]
    assert [json.loads(line)["text"] for line in interrupted[1].read_bytes().splitlines()] == list("天地人和")


@pytest.mark.parametrize(
    ("endpoints", "task", "message"),
    [
        (["a:1"], SEQ_CLS, "out.jsonl.part was begun with another endpoints: remove it to begin again"),
        (["a:1", "b:2"], TASKS["token_cls"], "out.jsonl.part was begun with another task: remove it to begin again"),
    ],
)
def test_another_service_is_another_run(interrupted, endpoints, task, message):
    with pytest.raises(InputError, match=message):
        answer(Service(*endpoints), interrupted, task)


@pytest.mark.parametrize(("model", "top_k", "what"), [("news", None, "model"), ("", 2, "top_k")])
def test_another_model_and_other_answers_are_another_run(interrupted, model, top_k, what):
    with pytest.raises(InputError, match=f"was begun with another {what}: remove it to begin again"):
        answer(Service("a:1", "b:2", model=model), interrupted, options=AnswerOptions(top_k))


def test_another_input_is_another_run(interrupted):
    write_lines(interrupted[0], ["天", "地", "人", "我"])
    with pytest.raises(InputError, match="out.jsonl.part was begun with another input: remove it to begin again"):
        answer(Service("a:1", "b:2"), interrupted)


def test_a_run_without_an_answer_leaves_nothing_behind(files):
    write_lines(files[0], ["天"])
    with pytest.raises(InputError, match="nobody answers"):
        answer(Service(fails_at={"text": "天"}), files)
    assert names(files[0].parent) == ["in.jsonl"]
    files[0].unlink()
    with pytest.raises(InputError, match="in.jsonl cannot be read"):
        answer(Service(), files)
    assert names(files[0].parent) == []


def test_a_run_that_another_one_has_just_ended_is_refused(files, monkeypatch):
    """It has opened a .part that the other then removed: its lock is on a file without a name."""
    write_lines(files[0], ["天"])
    part = files[1].with_name("out.jsonl.part")
    monkeypatch.setattr("ernie_inference.bulk.fcntl.flock", lambda *_: part.unlink())
    with pytest.raises(InputError, match="another run has just removed .*out.jsonl.part: begin again"):
        answer(Service(), files)
    assert names(files[0].parent) == ["in.jsonl"]


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_an_error_has_a_line_to_itself(files, capfd, monkeypatch, seconds):
    monkeypatch.setattr("ernie_inference.bulk.QUIET_SECONDS", seconds)
    write_lines(files[0], ["天", "地"])
    with pytest.raises(InputError, match="nobody answers"):
        answer(Service(fails_at={"text": "地"}), files)
    assert capfd.readouterr().err.rpartition("\r")[2] == ""  # nothing, or what was there is wiped out
    answer(Service(), files)
    last = capfd.readouterr().err.rpartition("\r")[2]
    assert last.startswith("out.jsonl: 100%") and last.endswith("]\n") if seconds == 0 else last == ""


# ---------------------------------------------------------------- the command line

TEXT_FLAGS = (
    "endpoints", "input_file", "output_file", "task_name", "data_dir", "model", "request_id", "api_key_file",
    "tls_root", "tls_certificate", "tls_key", "tls_server_name",
)  # fmt: skip
NUMBER_FLAGS = ("batch_size", "concurrency", "repeat", "timeout", "retries", "max_samples", "top_k", "threshold")


def refusal_of(monkeypatch, *flags) -> str:
    """The line with which the command ends, which asks nobody."""
    monkeypatch.setattr(sys, "argv", ["seq_cls_rpc_client.py", *map(str, flags)])
    monkeypatch.setattr(Client, "_ask", None)
    with pytest.raises(InputError) as error:
        main(SEQ_CLS)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_flag_is_looked_at():
    said = subprocess.run(
        [sys.executable, "deploy/serving/seq_cls_rpc_client.py", "--help"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    flags = set(re.findall(r"--([a-z_]+)", said.partition("options:")[2] or said.partition("optional arguments:")[2]))
    assert flags - {"help", "dataset", "texts", "split", "tls", "long_texts"} == {*TEXT_FLAGS, *NUMBER_FLAGS}


@pytest.mark.parametrize("flag", TEXT_FLAGS)
def test_an_empty_value_is_not_a_flag_that_is_not_there(monkeypatch, flag):
    """As of a variable of the shell that is not set: the client would ask another service, or without a key."""
    for empty in ("", " "):
        assert "there is nothing after it: give a value, or leave the flag out" in refusal_of(
            monkeypatch, f"--{flag}", empty
        )


@pytest.mark.parametrize("flag", NUMBER_FLAGS)
@pytest.mark.parametrize("value", ["", "x", "-1", "nan", "1e400", "9" * 5000])
def test_numbers_that_are_none(monkeypatch, flag, value):
    if flag == "top_k" and value == "9" * 5000:
        return  # a number, which the service refuses
    said = refusal_of(monkeypatch, f"--{flag}={value}")
    assert flag in said and ("give a" in said or "invalid" in said)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--concurrency", "1000000"], "give a number from 1 to 1024"),
        *(
            (["--request_id", wrong], "is none: give up to 116 printable ASCII characters without spaces")
            for wrong in ("请求", "x" * 117, "x" * 10_000, "a b", "a\nb", "\udcff")
        ),
        (["--endpoints", "127.0.0.1:1,,127.0.0.1:2"], "endpoint '' is not host:port"),
        (["--endpoints", "127.0.0.1:1,[::1]:2"], "are of IPv4 and IPv6: give one kind"),
        (["--model", "没有"], "is no name of one: those have letters, digits, - _ and ."),
        (["--model", "\udcff"], "is no name of one"),
        (["--api_key_file", "FOLDER"], "cannot be read (Is a directory)"),
        (["--api_key_file", "FOLDER/none"], "none cannot be read (No such file or directory)"),
        (["--api_key_file", "FOLDER/binary"], "is not UTF-8"),
        (["--api_key_file", "FOLDER/empty"], "is empty: write the API key there"),
        (["--api_key_file", "FOLDER/long"], "holds no API key: one is a single line of ASCII"),
        *(
            ([f"--{flag}", value, *others], message)
            for flag, others in (
                ("tls_root", []),
                ("tls_certificate", ["--tls_key", "FOLDER/pem"]),
                ("tls_key", ["--tls_certificate", "FOLDER/pem"]),
            )
            for value, message in (
                ("FOLDER", "cannot be read (Is a directory)"),
                ("FOLDER/none", "cannot be read (No such file or directory)"),
                ("FOLDER/binary", "is not PEM"),
                ("FOLDER/pem", "has no certificate" if flag == "tls_root" else "are no certificate and key"),
            )
        ),
        (["--tls_certificate", "FOLDER/pem"], "belong together: give both or neither"),
        (["--tls_server_name", "主机"], "is none: give the one in the server's certificate"),
        (["--tls_server_name", "x" * 300], "is none: give the one in the server's certificate"),
        (["--output_file", "FOLDER/out"], "--input_file and --output_file belong together"),
        (["--input_file", "FOLDER/none", "--output_file", "FOLDER/out"], "none"),
        (["--input_file", "FOLDER", "--output_file", "FOLDER/out"], "Is a directory"),
        (["--input_file", "FOLDER/binary", "--output_file", "FOLDER"], "is there already"),
        (["--input_file", "FOLDER/binary", "--output_file", "FOLDER/no/out"], "No such file or directory"),
        (["--input_file", "FOLDER/binary", "--output_file", "x" * 300], "File name too long"),
        (["--input_file", "FOLDER/binary", "--output_file", "FOLDER/out"], "binary"),
        (["--task_name", "none"], "unknown data set 'none'"),
        (["--task_name", "tnews", "--data_dir", "FOLDER"], "is missing"),
    ],
)
def test_values_that_cannot_be_are_one_line(monkeypatch, tmp_path, flags, message):
    for name, content in (("binary", b"\xff"), ("empty", b"\n"), ("long", b"k" * 5000), ("pem", BROKEN_PEM)):
        (tmp_path / name).write_bytes(content)
    before = names(tmp_path)
    said = refusal_of(monkeypatch, *(flag.replace("FOLDER", str(tmp_path)) for flag in flags))
    assert message in said and len(said) < 600
    assert names(tmp_path) == before


def test_the_first_key_of_a_file_is_the_one(tmp_path):
    """A service's own file may be given to its clients."""
    file = tmp_path / "keys"
    file.write_bytes(b"\xef\xbb\xbf\r\n one \r\ntwo\n")
    assert read_api_key(file) == "one"


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"retries": -1},
        {"model": "a b"},
        {"api_key": "钥"},
    ],
)
def test_a_program_is_told_too(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Client(["127.0.0.1:1"], **options)
    with pytest.raises(InputError, match="request_id"):
        Client(["127.0.0.1:1"]).predict(["好"], request_id="请求")
