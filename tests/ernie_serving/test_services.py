"""Services as a user runs them: three commands to an answer, answers that equal deploy/python's, health and metrics."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from benchmarks.serving_process import wait_until
from ernie_inference.commands import format_answer
from ernie_inference.errors import InputError
from ernie_inference.predictor import load_predictor
from ernie_inference.tasks import TASKS
from ernie_serving.client import Client, target_of
from ernie_serving.messages import load_messages
from ernie_serving.model_to_serving import SERVING_FILE, convert
from tests.support.models import TASK_NAMES, corpus, example_inputs
from tests.support.rpc import health
from tests.support.scripts import ROOT
from tests.support.services import RunningService, unpack

SCORES = {"seq_cls": "confidence", "qa": "score"}


def command(script, *flags):
    argv = [sys.executable, f"deploy/serving/{script}", *map(str, flags)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300)


def assert_same(task, answers, expected):
    """The same answers; scores to the digits that padding leaves alone."""
    name = SCORES.get(task)
    assert len(answers) == len(expected)
    for answer, wanted in zip(answers, expected):
        if task == "multiple_choice":  # a cloze has one for each blank
            assert alike(answer, wanted)
            continue
        if name is not None:
            assert answer[name] == pytest.approx(wanted[name], abs=1e-4)
            answer, wanted = ({k: v for k, v in each.items() if k != name} for each in (answer, wanted))
        assert answer == wanted


@pytest.mark.parametrize("task", TASK_NAMES)
def test_three_commands_from_a_model_to_an_answer(finetuned, tmp_path, task):
    model = finetuned(task) / "export"
    started = time.monotonic()
    done = command("model_to_serving.py", "--model_path", model, "--output_dir", tmp_path / "s")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {tmp_path / 's'}\n", "")
    service = RunningService(task, tmp_path / "s")
    try:
        assert service.lines[0].startswith(f"{task}: {tmp_path / 's'}, Paddle Inference, oneDNN, FP32, ")
        done = command(f"{task}_rpc_client.py", "--endpoints", service.endpoint, "--repeat", 2)
        assert done.returncode == 0, done.stderr
        status, answer = service.post(json.dumps({"texts": TASKS[task].sample_inputs}).encode())
    finally:
        assert service.stop() == 0
    took = time.monotonic() - started
    local = load_predictor(tmp_path / "s").predict(TASKS[task].sample_inputs)
    assert status == 200 and answer["err_no"] == 0
    assert_same(task, answer["results"], local)
    *printed, timing = done.stdout.splitlines()
    answers = [format_answer(TASKS[task], *pair) for pair in zip(TASKS[task].sample_inputs, local)]
    assert printed == "\n".join(answers).splitlines()
    assert timing.startswith("2 texts, 2 times: ") and timing.endswith(" texts/s")
    assert took < 60 and service.errors == []


@pytest.mark.parametrize("task", TASK_NAMES)
def test_answers_equal_those_of_deploy_python(services, serving_dir, task):
    inputs = example_inputs(task, corpus()[::54][:996] + ["", "\ud800 😀", "a\u0000b", "一" * 2000])
    assert len(inputs) == 1000
    service = services(task)
    expected = load_predictor(serving_dir(task)).predict(inputs)
    assert_same(task, list(service.client().predict_iter(inputs, batch_size=50, concurrency=2)), expected)
    over_http = []
    for begin in range(0, 1000, 25):
        status, answer = service.post(json.dumps({"texts": inputs[begin : begin + 25]}).encode())
        assert status == 200, answer
        over_http += answer["results"]
    assert_same(task, over_http, expected)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_options_of_the_answers_over_http_and_grpc(services, serving_dir, task):
    inputs, options = example_inputs(task, corpus()[::2000]), {"top_k": 3, "threshold": 0.3}
    if task == "seq_cls":
        inputs, options = [*inputs, "早餐很丰富，" * 60], {**options, "long_texts": "windows"}
    expected = load_predictor(serving_dir(task)).predict(inputs, **options)
    service, fields = services(task), {"texts": inputs, **options}
    status, answer = service.post(json.dumps(fields).encode())
    assert status == 200 and alike(answer["results"], expected)
    request = load_messages().Request(key=list(fields), value=list(map(json.dumps, fields.values())))
    response = unpack(service.rpc(request.SerializeToString()))
    assert response.err_no == 0 and alike(json.loads(response.value[0]), expected)
    assert task != "seq_cls" or expected[-1]["windows"] > 1
    for wrong in (
        {"top_k": 0},
        {"threshold": 2},
        {"long_texts": "windows" if task != "seq_cls" else "some"},
        {"top_k": "3"},
        {"threshold": None, "top_k": []},
    ):
        status, answer = service.post(json.dumps({"texts": inputs, **wrong}).encode())
        assert status == 400 and answer["err_msg"].startswith(tuple(wrong)), answer


def alike(found, expected):
    """The same JSON, numbers to the digits that padding leaves alone."""
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(alike, found, expected))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(alike(found[key], expected[key]) for key in expected)
    return found == (pytest.approx(expected, abs=1e-4) if isinstance(expected, float) else expected)


def test_lists_of_tokens_and_pairs_are_taken(services, serving_dir):
    tokens = [{"tokens": ["北", "京", "2018", "年"]}, ["上", "海"], {"text": "王小明"}]
    assert_same(
        "token_cls",
        services("token_cls").client().predict(tokens),
        load_predictor(serving_dir("token_cls")).predict(tokens),
    )
    pairs = ["好", ["好", "坏"], {"text": "好", "text_pair": "坏"}, {"text": "好", "text_pair": None}]
    assert_same(
        "seq_cls", services("seq_cls").client().predict(pairs), load_predictor(serving_dir("seq_cls")).predict(pairs)
    )


def test_the_form_of_servings_own_gateway_is_taken(services):
    body = {"key": ["texts"], "value": [json.dumps(["好"])]}
    status, answer = services("seq_cls").post(json.dumps(body).encode())
    assert status == 200 and answer["results"] == services("seq_cls").client().predict(["好"])


@pytest.mark.parametrize(
    ("engine", "described"),
    [("paddle", "Paddle Inference, oneDNN, INT8 (fc), 1 thread"), ("openvino", "OpenVINO, CPU, INT8 (QDQ), 1 thread")],
)
def test_int8_is_served(tiny, tmp_path, engine, described):
    """On OpenVINO a quantized model, of which the .onnx is made in its folder when the service starts."""
    folder = convert(tiny.int8("seq_cls"), tmp_path / "int8")
    texts = corpus()[::3000]
    flags = ("--precision=int8", "--thread_num=1", "--http_port=-1", "--monitor_port=-1")
    service = RunningService("seq_cls", folder, *flags, *([] if engine == "paddle" else [f"--engine={engine}"]))
    try:
        assert service.lines[0] == f"seq_cls: {folder}, {described}\n"
        answers = service.client().predict(texts)
    finally:
        assert service.stop() == 0
    assert service.errors == ([f"wrote {folder}/model.onnx\n"] if engine == "openvino" else [])
    local = load_predictor(folder, backend=engine, precision="int8", num_threads=1)
    assert_same("seq_cls", answers, local.predict(texts))
    assert {path.suffix for path in folder.glob("model.*")} - {".onnx"} == {".pdmodel", ".pdiparams"}
    assert (folder / "model.onnx").exists() == (engine == "openvino")


def test_requests_at_the_same_time_are_batched(services):
    service, texts = services("seq_cls"), corpus()[:200]
    names = ("ernie_batch_windows_count", "ernie_batch_windows_sum", "ernie_texts_total")
    time.sleep(1.5)  # counts of earlier requests arrive within a second
    earlier = service.metric(names[2])
    alone = service.client().predict(texts)
    wait_until(lambda: service.metric(names[2]) >= earlier + 200)
    before = [service.metric(name) for name in names]
    clients = [service.client() for _ in range(4)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda i: clients[i % 4].predict([texts[i]])[0], range(200)))
    assert_same("seq_cls", answers, alone)
    wait_until(lambda: service.metric(names[2]) >= before[2] + 200)
    batches, windows = (service.metric(name) - value for name, value in zip(names, before[:2]))
    assert windows == 200 and batches < 200


def test_several_services_are_asked_in_turn(services, serving_dir):
    other = RunningService("seq_cls", serving_dir("seq_cls"), "--thread_num=1")
    both = [services("seq_cls"), other]
    try:
        before = [service.metric("ernie_texts_total") for service in both]
        client = Client([service.endpoint for service in both])
        wait_until(lambda: client.predict(["好"]) and other.metric("ernie_texts_total") > 0)
        for _ in range(20):
            client.predict(["好"])
        wait_until(lambda: min(each.metric("ernie_texts_total") - value for each, value in zip(both, before)) >= 10)
    finally:
        assert other.stop() == 0
    assert client.predict(["好"]), "the one that is left answers"


def test_a_data_set_is_evaluated_whole(services, serving_dir):
    done = command(
        "seq_cls_rpc_client.py", "--endpoints", services("seq_cls").endpoint, "--task_name", "sample_reviews",
        "--max_samples", 101, "--batch_size", 25,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    local = subprocess.run(
        [sys.executable, "infer.py", "--task_name", "sample_reviews", "--max_samples", "101", "--device", "cpu",
         "--model_path", str(serving_dir("seq_cls"))], cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    served, expected = (out.stdout.splitlines() for out in (done, local))
    row = dict(zip(served[-2].split(), served[-1].replace("sample_reviews dev", "sample_reviews_dev").split()))
    wanted = next(line for line in expected if line.startswith("seq_cls "))
    assert row["examples"] == "101" and row["accuracy"] in wanted


def test_a_file_is_answered_line_for_line(services, tmp_path):
    texts, source, target = corpus()[::2500], tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(text) + "\n" for text in texts))
    flags = ("--endpoints", services("token_cls").endpoint, "--input_file", source, "--output_file", target)
    done = command("token_cls_rpc_client.py", *flags, "--batch_size", 4, "--concurrency", 3)
    assert done.returncode == 0 and done.stdout.startswith(f"wrote {len(texts)} lines to {target}"), done.stderr
    answers = [json.loads(line) for line in target.read_text().splitlines()]
    assert answers == services("token_cls").client().predict(texts)
    again = command("token_cls_rpc_client.py", *flags)
    assert (
        again.returncode == 2
        and again.stderr == f"error: {target} is there already: remove it, or name another --output_file\n"
    )
    target.unlink()
    source.write_text('"好"\n{"text": 1}\n')
    done = command("token_cls_rpc_client.py", *flags)
    assert done.returncode == 2 and "in.jsonl, line 2 is not a text" in done.stderr and done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_health_and_metrics(services):
    service = services("seq_cls")
    service.client().predict(["好"])
    assert service.get("/live") == (200, {"status": "live"})
    assert service.get("/health") == (200, {"ready": 1})
    assert service.get("/health", monitor=False) == (200, {"status": "ready"})
    assert service.get("/else")[0] == 404
    assert health(service.endpoint) == HealthCheckResponse.SERVING
    wait_until(lambda: service.metric("ernie_requests_total", model="seq_cls", err_no="0") >= 1)
    assert service.metric("ernie_workers_ready") == 1 and service.metric("ernie_worker_restarts_total") == 0
    assert service.metric("ernie_request_seconds_bucket", le="+Inf") == service.metric("ernie_request_seconds_count")


def test_replicas_share_the_ports(serving_dir):
    service = RunningService("qa", serving_dir("qa"), "--replicas=2", "--thread_num=1")
    try:
        assert len(service.workers()) == 2 and service.get("/health") == (200, {"ready": 2})
        question = [["谁？", "王小明去北京。"]]
        answers = [service.client().predict(question) for _ in range(8)]
        answers += [service.post(json.dumps({"texts": question}).encode())[1]["results"] for _ in range(8)]
        assert all(answer == answers[0] for answer in answers)
    finally:
        assert service.stop() == 0


def test_what_serving_itself_makes_of_the_folder(serving_dir, tmp_path):
    """Serving's LocalPredictor loads the folder, and has the engine's logits."""
    code = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[2])\n"
        "from paddle_serving_app.local_predict import LocalPredictor\n"
        "from ernie_predictor import load_predictor\n"
        "folder = sys.argv[1]; other = LocalPredictor(); other.load_model_config(folder)\n"
        "ids = np.array([[1, 20, 30, 40, 2]]); types = np.zeros_like(ids)\n"
        "out = other.predict({'input_ids': ids, 'token_type_ids': types}, other.fetch_names_, batch=True)\n"
        "mine = load_predictor(folder).engine.run(ids, types)\n"
        "assert np.allclose(list(out.values())[0], mine[0], atol=1e-4), (out, mine); print('same')\n"
    )
    argv = [sys.executable, "-c", code, str(serving_dir("seq_cls")), str(ROOT / "deploy" / "python")]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("same\n"), done.stderr


def test_a_conversion_is_whole_or_not_there(tiny, tmp_path):
    with pytest.raises(InputError, match="holds no .pdmodel file"):
        convert(tmp_path, tmp_path / "out")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("model.pdmodel", "model.pdiparams", "inference.json"):
        (source / name).write_bytes((tiny["qa"].parent / name).read_bytes())
    with pytest.raises(InputError, match="vocab.txt cannot be used"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="is the model's own folder"):
        convert(tiny["qa"], tiny["qa"].parent)
    folder = convert(tiny["qa"], tmp_path / "out")
    names = ["inference.json", "model.pdiparams", "model.pdmodel", SERVING_FILE, "vocab.txt"]
    assert sorted(path.name for path in folder.iterdir()) == names


@pytest.mark.parametrize(
    ("endpoints", "target"),
    [
        (["127.0.0.1:80"], "dns:///127.0.0.1:80"),
        (["127.0.0.1:80", "127.0.0.2:81"], "ipv4:127.0.0.1:80,127.0.0.2:81"),
        (["[::1]:80", "[::1]:81"], "ipv6:[::1]:80,[::1]:81"),
    ],
)
def test_endpoints(endpoints, target):
    assert target_of(endpoints) == target


@pytest.mark.parametrize(
    "endpoint",
    [
        "here", ":80", "127.0.0.1:x", "127.0.0.1:0", "127.0.0.1:70000", "127.0.0.1:" + "9" * 5000, "127.0.0.1:-1",
        "127.0.0.1:１２", "no.such.host.invalid:80", "a" * 64 + ":80", "a..b:80", "a b:80", "主机:80", "\udcff:80",
        "::1:80", "[::1:80", "[]:80", "[x]:80", "http://127.0.0.1:80", "127.0.0.1:80/x", "unix:/tmp/x", "", "a\0:80",
    ],
)  # fmt: skip
def test_wrong_endpoints(endpoint):
    with pytest.raises(InputError, match="^endpoint ") as error:
        target_of([endpoint])
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_spaces_around_endpoints_do_not_count():
    assert Client([" 127.0.0.1:80", "127.0.0.2:81 "]).endpoints == ["127.0.0.1:80", "127.0.0.2:81"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--endpoints", "127.0.0.1:1", "--retries", "0"], "127.0.0.1:1: "),
        (["--texts", "[1]"], "text 1 is not a text, a pair of texts"),
        (["--input_file", "x"], "--input_file and --output_file belong together"),
        (["--repeat", "0"], "argument --repeat: 0: give a number from 1 on"),
        (["--task_name", "cmrc2018"], "data set cmrc2018 is for qa: use qa_rpc_client.py"),
        (["--nonsense"], "unrecognized arguments: --nonsense; see --help"),
    ],
)
def test_a_client_ends_with_one_line(flags, message):
    done = command("seq_cls_rpc_client.py", *flags)
    assert done.returncode == 2 and done.stdout == "" and message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
