"""Whole files: a line for each line, going on after a kill, and what does not belong together."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ernie_inference.answer_options import AnswerOptions
from ernie_inference.bulk import answer_file, count_lines
from ernie_inference.commands import ModelAnswerer
from ernie_inference.engine_choice import without_scores
from ernie_inference.errors import InputError
from ernie_inference.files import digest_of
from ernie_inference.predictor import ErniePredictor, load_predictor
from ernie_inference.text_output import to_json
from tests.support.models import TASK_NAMES, corpus, example_inputs
from tests.support.scripts import INFER_CPU, ROOT, infer_cpu, infer_cpu_command, run_here


def write_lines(path, inputs):
    path.write_bytes(b"".join(to_json(text) + b"\n" for text in inputs))
    return path


@pytest.fixture
def files(tmp_path):
    return tmp_path / "in.jsonl", tmp_path / "out.jsonl"


@pytest.fixture(scope="module")
def predictor(tiny):
    return load_predictor(tiny["seq_cls"], num_threads=1)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_file_is_answered_line_for_line(tiny, files, task):
    inputs = example_inputs(task, corpus()[::500] + ["", "\ud800", "😀 "])
    source, target = files
    write_lines(source, inputs)
    flags = ("--model_path", tiny[task], "--input_file", source, "--output_file", target)
    done = run_here(INFER_CPU, *flags, "--batch_size", 8)
    assert done.stdout.endswith(f"wrote {len(inputs)} lines to {target}\n")
    answers = [json.loads(line) for line in target.read_bytes().splitlines()]
    expected = load_predictor(tiny[task]).predict(inputs, batch_size=8)
    assert [list(answer) for answer in answers] == [list(answer) for answer in expected]
    assert without_scores(answers) == without_scores(expected)
    assert sorted(path.name for path in target.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_killed_and_restarted_it_ends_with_each_line_once(tiny, files):
    inputs = [f"第{number}句：{text}" for number, text in enumerate(corpus()[::10][:5000])]
    source, target = files
    write_lines(source, inputs)
    part = target.with_name("out.jsonl.part")
    flags = ("--model_path", tiny["seq_cls"], "--input_file", source, "--output_file", target, "--num_threads", 1)
    kills = 0
    for wanted in (1, 1500):
        process = subprocess.Popen(
            infer_cpu_command(*flags), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (part.exists() and count_lines(part)[0] >= wanted):
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        assert not target.exists()
    assert kills == 2
    before = part.read_bytes()
    complete = before[: before.rindex(b"\n") + 1]
    part.write_bytes(complete + b'{"label": "negat')  # a line that the kill broke off
    Path(f"{tiny['seq_cls']}.tnews.paddle-cpu-fp32.json").write_text("{}")  # what infer.py leaves beside a model
    done = infer_cpu(*flags)
    assert done.returncode == 0, done.stderr
    content = target.read_bytes()
    assert content.startswith(complete) and content.count(b"\n") == len(inputs)
    whole = load_predictor(tiny["seq_cls"], num_threads=1).predict(inputs)
    assert [json.loads(line)["label"] for line in content.splitlines()] == [answer["label"] for answer in whole]
    assert not part.exists()


def test_a_bad_line_is_named_and_what_came_before_is_kept(predictor, files):
    source, target = files
    good = [f"第{number}句" for number in range(200)]
    write_lines(source, good)
    with source.open("ab") as file:
        file.write(b'{"text": 1}\n' + to_json("好") + b"\n")
    with pytest.raises(InputError, match=r"in.jsonl, line 201 is not a text, a pair"):
        answer_file(predictor, source, target, batch_size=4)
    lines, _ = count_lines(target.with_name("out.jsonl.part"))
    assert 128 <= lines <= 200 and not target.exists()
    fixed = source.read_bytes().replace(b'{"text": 1}', b'{"text":"1"}'[:12].ljust(11))
    assert answer_file_after(predictor, source, target, fixed) == 202


def answer_file_after(predictor, source, target, content):
    """The same file mended: the .part of the broken one does not belong to it."""
    source.write_bytes(content)
    with pytest.raises(InputError, match="was begun with another input: remove it to begin again"):
        answer_file(predictor, source, target)
    target.with_name("out.jsonl.part").unlink()
    return answer_file(predictor, source, target)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"text without quotes", "is not JSON"),
        (b"", "is not JSON"),
        (b"[1, 2]", "is not a text"),
    ],
)
def test_lines_that_are_no_input(predictor, files, line, message):
    source, target = files
    source.write_bytes(to_json("好") + b"\n" + line + b"\n")
    with pytest.raises(InputError, match=f"in.jsonl, line 2 {message}") as refusal:
        answer_file(predictor, source, target)
    assert "\n" not in str(refusal.value)


def test_answers_with_options_are_another_run(predictor, files):
    source, target = files
    write_lines(source, ["房间很大", "鱼是凉的", "好"])
    asked = ModelAnswerer(predictor, AnswerOptions(top_k=2, threshold=0.5))
    with pytest.raises(RuntimeError):
        answer_file(Meanwhile(predictor, error=RuntimeError), source, target)  # ends after the answers, without options
    for answerer in (asked, ModelAnswerer(predictor, AnswerOptions(top_k=2))):
        with pytest.raises(InputError, match="part was begun with another top_k(, threshold)?: remove it"):
            answer_file(answerer, source, target)
    target.with_name("out.jsonl.part").unlink()
    assert answer_file(asked, source, target) == 3
    answers = [json.loads(line) for line in target.read_bytes().splitlines()]
    assert answers == predictor.predict(["房间很大", "鱼是凉的", "好"], top_k=2, threshold=0.5)
    target.rename(target.with_name("out.jsonl.part"))
    target.with_name("out.jsonl.part.json").write_bytes(
        to_json({"input": digest_of([source]), **asked.depends_on(), "top_k": 3})
    )
    with pytest.raises(InputError, match="part was begun with another top_k: remove it"):
        answer_file(asked, source, target)
    with pytest.raises(InputError, match="part was begun with another top_k, threshold: remove it"):
        answer_file(predictor, source, target)


def test_what_is_there_is_not_overwritten(predictor, files):
    source, target = files
    write_lines(source, ["好"])
    target.write_text("mine")
    with pytest.raises(InputError, match="out.jsonl is there already"):
        answer_file(predictor, source, target)
    assert target.read_text() == "mine"


@pytest.mark.parametrize("ending", [".part", ".part.json"])
def test_an_input_with_the_name_of_what_is_written_meanwhile_stays(predictor, tmp_path, ending):
    source, target = tmp_path / f"out.jsonl{ending}", tmp_path / "out.jsonl"
    write_lines(source, ["好"])
    (tmp_path / "link.jsonl").symlink_to(source)
    for path in (source, tmp_path / "link.jsonl"):
        with pytest.raises(
            InputError, match="has the name under which answers are kept until all are there: rename it"
        ):
            answer_file(ModelAnswerer(predictor), path, target)
        assert source.read_bytes() == to_json("好") + b"\n" and not target.exists()


def test_the_part_of_another_run_is_refused(predictor, files, tiny):
    source, target = files
    write_lines(source, ["好"] * 3)
    target.with_name("out.jsonl.part").write_text('{"label": "x"}\n')
    with pytest.raises(InputError, match="was begun with another input, model, vocabulary"):
        answer_file(predictor, source, target)


def interrupted_run(tiny, folder, files):
    """A copy of a model in a folder, and the .part of its run that a bad line ended."""
    source, target = files
    shutil.copytree(tiny["seq_cls"].parent, folder)
    write_lines(source, [f"第{number}句" for number in range(100)])
    good = source.read_bytes()
    source.write_bytes(good + b"no JSON\n")
    with pytest.raises(InputError, match="line 101 is not JSON"):
        answer_file(load_predictor(folder, num_threads=1), source, target, batch_size=2)
    assert count_lines(target.with_name("out.jsonl.part"))[0] > 0
    return source, target


def other_labels(folder):
    config = json.loads((folder / "inference.json").read_text())
    (folder / "inference.json").write_text(json.dumps({**config, "labels": config["labels"][::-1]}))


def other_vocabulary(folder):
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    lines[10], lines[11] = lines[11], lines[10]
    (folder / "vocab.txt").write_text("\n".join(lines), encoding="utf-8")


def other_weights(folder):
    content = bytearray((folder / "model.pdiparams").read_bytes())
    content[-1] ^= 1
    stat = (folder / "model.pdiparams").stat()
    (folder / "model.pdiparams").write_bytes(content)
    os.utime(folder / "model.pdiparams", ns=(stat.st_atime_ns, stat.st_mtime_ns))


def other_case(folder):
    config = json.loads((folder / "inference.json").read_text())
    (folder / "inference.json").write_text(json.dumps({**config, "lowercase": False}))


@pytest.mark.parametrize(
    ("change", "named"),
    [(other_labels, "labels"), (other_vocabulary, "vocabulary"), (other_weights, "model"), (other_case, "lowercase")],
)
def test_a_part_of_another_models_answers_is_not_gone_on_with(tiny, tmp_path, files, change, named):
    source, target = interrupted_run(tiny, tmp_path / "model", files)
    change(tmp_path / "model")
    with pytest.raises(InputError, match=f"was begun with another {named}: remove it"):
        answer_file(load_predictor(tmp_path / "model", num_threads=1), source, target)


def test_neither_time_nor_place_of_a_model_decides_its_answers(tiny, tmp_path, files):
    source, target = interrupted_run(tiny, tmp_path / "model", files)
    (tmp_path / "model").rename(tmp_path / "moved")
    for path in (tmp_path / "moved" / "model.pdiparams", source):
        os.utime(path)
    with pytest.raises(InputError, match="line 101 is not JSON"):
        answer_file(load_predictor(tmp_path / "moved", num_threads=1), source, target)


def test_another_device_is_another_run(tiny, tmp_path, files):
    source, target = interrupted_run(tiny, tmp_path / "model", files)
    predictor = load_predictor(tmp_path / "model", num_threads=1)
    predictor.engine.config.device = "gpu"  # as it would be on a machine that has one
    with pytest.raises(InputError, match="was begun with another device: remove it"):
        answer_file(predictor, source, target)


def test_a_second_run_of_a_job_is_refused_while_the_first_is_at_work(tiny, files):
    source, target = files
    inputs = [f"第{number}句：{text}" for number, text in enumerate(corpus()[:1500])]
    write_lines(source, inputs)
    part = target.with_name("out.jsonl.part")
    flags = ("--model_path", tiny["seq_cls"], "--input_file", source, "--output_file", target, "--num_threads", 1)
    first = subprocess.Popen(infer_cpu_command(*flags), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while first.poll() is None and not (part.exists() and part.stat().st_size):
            time.sleep(0.005)
        assert first.poll() is None
        first.send_signal(signal.SIGSTOP)
        second = run_here(INFER_CPU, *flags, check=False)
        assert second.returncode == 2 and f"another run is writing {part}" in second.stderr
        assert second.stderr.startswith("error: ") and second.stderr.count("\n") == 1
        first.send_signal(signal.SIGCONT)
        assert first.wait() == 0
    finally:
        first.kill()
    assert count_lines(target)[0] == len(inputs) and not part.exists()


class Meanwhile(ErniePredictor):
    """A predictor in the middle of whose work something happens."""

    def __init__(self, predictor, happens=None, error=None):
        super().__init__(predictor.engine, predictor.task)
        self.happens = happens
        self.error = error

    def predict_iter(self, inputs, batch_size=32):
        yield from super().predict_iter(inputs, batch_size)
        if self.error is not None:
            raise self.error
        self.happens()


def test_an_input_that_grows_meanwhile_is_not_taken_for_answered(predictor, files):
    source, target = files
    write_lines(source, ["好"] * 3)

    def grow():
        with source.open("ab") as file:
            file.write(to_json("坏") + b"\n")

    with pytest.raises(InputError, match="in.jsonl changed while it was answered: remove .*out.jsonl.part and begin"):
        answer_file(Meanwhile(predictor, grow), source, target)
    assert not target.exists()


def test_a_part_that_another_program_changes_is_not_published(predictor, files):
    source, target = files
    write_lines(source, ["好"] * 3)
    part = target.with_name("out.jsonl.part")
    with pytest.raises(InputError, match="out.jsonl.part was removed or replaced by another program"):
        answer_file(Meanwhile(predictor, part.unlink), source, target)
    with pytest.raises(InputError, match="out.jsonl.part has not one line for each of .*in.jsonl: remove it"):
        answer_file(Meanwhile(predictor, lambda: part.open("ab").write(b"{}\n" * 3)), source, target)
    assert not target.exists()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_byte_order_mark_and_any_line_end(predictor, files, newline):
    source, target = files
    source.write_bytes(b"\xef\xbb\xbf" + newline.join([to_json("房间很大"), to_json("鱼是凉的"), b""]))
    assert answer_file(predictor, source, target) == 2


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "in.jsonl is UTF-16, not UTF-8: save it as UTF-8"),
        ("gbk", r"in.jsonl is not UTF-8 \(line 1\); if it"),
    ],
)
def test_other_encodings_are_named(predictor, files, encoding, message):
    source, target = files
    source.write_bytes('"房间很大"\n"鱼是凉的"\n'.encode(encoding))
    with pytest.raises(InputError, match=message):
        answer_file(predictor, source, target)


def test_the_line_that_is_not_utf_8_is_named(predictor, files):
    source, target = files
    source.write_bytes(to_json("好") * 1 + b"\n" + b'"\xb7\xbf"\n')
    with pytest.raises(InputError, match=r"is not UTF-8 \(line 2\)"):
        answer_file(predictor, source, target)


def test_an_empty_file_gives_an_empty_file(predictor, files):
    source, target = files
    source.touch()
    assert answer_file(predictor, source, target) == 0 and target.read_bytes() == b""


@pytest.mark.parametrize("content", [b"", b"a", b"a\n", b"a\nb", b"a\n\nb\n"])
def test_lines_are_counted_as_python_does(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        assert count_lines(path) == (len(list(file)), content.rfind(b"\n") + 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(predictor, files):
    source, target = files
    write_lines(source, ["好"])
    target.parent.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        answer_file(predictor, source, target)
