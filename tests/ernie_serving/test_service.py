"""A service with an engine of a few lines: its queue, time limit, batching and errors, and what it makes of Serving."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from benchmarks.serving_process import wait_until
from ernie_inference.engines.config import EngineConfig
from ernie_inference.errors import InputError
from ernie_inference.predictor import ErniePredictor
from ernie_serving.client import Client, RequestError
from ernie_serving.metrics import Metrics
from ernie_serving.pipeline_ops import EXIT_DEAF, Batching, RequestOp, build_pipeline
from ernie_serving.ports import reserve
from ernie_serving.protocol import TEXTS, Accepted, Code, Refusal, fields_of_rpc, parse_json, read_request
from ernie_serving.rpc_front import rpc_server
from ernie_serving.service import Service
from ernie_serving.serving_library import pb2
from ernie_serving.supervisor import Supervisor
from ernie_serving.worker_process import LOST_SECONDS, PROGRAM, SILENT_SECONDS
from tests.support.scripts import ROOT
from tests.support.services import ENDLESS, POISON, SLOW, StandIn, toy_config, toy_models, toy_predictor


def toy_service(seconds=0.5, **options) -> Service:
    return toy_models(seconds, **options)[0].get()


def serve(address: str, seconds=0.5, **options):
    """A gRPC server of a toy service, and its models."""
    models, config = toy_models(seconds, **options)
    return rpc_server(models, config, models.get().metrics, address), models


def ask(service: Service, texts):
    return service.answer(lambda: {TEXTS: texts})


def ask_all(service: Service, requests):
    """The responses to requests that are all made at once, in their order."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda texts: ask(service, texts), requests))


def test_a_full_queue_refuses():
    service = toy_service(seconds=60, queue_size=4)
    with ThreadPoolExecutor(12) as pool:
        responses = [pool.submit(ask, service, [SLOW]) for _ in range(12)]
        wait_until(lambda: sum(response.done() for response in responses) == 8, 30)
        refused = [response.result() for response in responses if response.done()]
        service.toy.gate.set()
    assert {response.err_no for response in refused} == {Code.BUSY}
    assert "4 requests are waiting" in refused[0].err_msg
    assert sorted(response.result().err_no for response in responses) == [Code.OK] * 4 + [Code.BUSY] * 8
    assert ask(service, ["好"]).err_no == Code.OK and service.in_flight == 0


def test_the_time_limit_holds_and_late_answers_do_no_harm():
    service = toy_service(seconds=60, timeout=300)
    started = time.monotonic()
    responses = ask_all(service, [[SLOW], ["好"], ["坏"]])
    assert Code.TIMEOUT in {response.err_no for response in responses} and time.monotonic() - started < 30
    service.toy.gate.set()
    wait_until(lambda: ask(service, ["好"]).err_no == Code.OK, 10)
    assert service.in_flight == 0 and not service.model.executor._cv_pool and not service.model.executor._fetch_buffer


def test_a_request_is_computed_no_further_than_its_client_waits():
    service = toy_service(seconds=0.2, timeout=300, batch_size=1)
    assert ask(service, [SLOW] * 20).err_no == Code.TIMEOUT
    wait_until(lambda: ask(service, ["好"]).err_no == Code.OK, 30)
    assert service.toy.runs < 20


def test_requests_take_turns_a_batch_each():
    """A small request that comes while the first batch of a large one is computed is the next."""
    service = toy_service(seconds=60, batch_size=4)
    runs, run, parts = [], service.toy.run, service.model.executor._in_channel

    def counted(input_ids, token_type_ids):
        runs.append(len(input_ids))
        return run(input_ids, token_type_ids)

    service.toy.run = counted
    large = [SLOW + "好" * (number % 5) for number in range(38)]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, service, large)
        wait_until(lambda: runs == [4], 30)
        second, third = (pool.submit(ask, service, texts) for texts in (["好"], ["坏", "b"]))
        wait_until(lambda: parts.qsize() == 2, 30)
        service.toy.gate.set()
        responses = [each.result() for each in (first, second, third)]
    assert sum(runs) == 41 + 1 and 4 in (runs[1], sum(runs[1:3])), "both small ones, with a padding row, come second"
    assert runs[-1] == 2, "and the large one last"
    predictor = toy_predictor(0)
    for texts, response in zip((large, ["好"], ["坏", "b"]), responses):
        assert json.loads(response.value[0]) == predictor.predict(texts), "in the order of the texts"


def test_a_request_is_read_no_longer_than_its_client_waits():
    service, task = toy_service(), toy_predictor().task
    limits = service.model.limits
    with pytest.raises(Refusal, match="no time is left at text 1 of 2") as refusal:
        read_request(task, {TEXTS: ["好", "坏"]}, limits, time.monotonic())
    assert refusal.value.code == Code.TIMEOUT
    assert service.answer(lambda: {TEXTS: ["好"]}, seconds=0.0).err_no == Code.TIMEOUT
    assert service.toy.runs == 0


def test_the_characters_of_a_whole_request_are_bounded():
    service = toy_service(max_request_chars=20, max_chars=15)
    assert ask(service, ["好" * 15, "好" * 5]).err_no == Code.OK
    response = ask(service, ["好" * 15, "好" * 6])
    assert (response.err_no, response.err_msg) == (
        Code.TOO_LARGE,
        "text 2 brings the request to 21 characters, the limit is 20",
    )


def test_options_of_the_answers():
    service, predictor = toy_service(), toy_predictor(0)
    plain, options = predictor.predict(["好a"]), {"top_k": 2, "threshold": 1}
    response = service.answer(lambda: {TEXTS: ["好a"], **options})
    (answer,) = json.loads(response.value[0])
    assert [answer] == predictor.predict(["好a"], **options) and answer["label"] is None
    assert answer["scores"][0] == {"label": plain[0]["label"], "confidence": plain[0]["confidence"]}
    none_given = service.answer(lambda: {TEXTS: ["好a"], "top_k": None, "threshold": None})
    assert json.loads(none_given.value[0]) == plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is 0: give a whole number from 1 on"),
        ({"top_k": True}, "top_k is a bool: give a whole number from 1 on"),
        ({"top_k": 1.5}, "top_k is 1.5: give a whole number from 1 on"),
        ({"top_k": "3"}, "top_k is a str: give a whole number from 1 on"),
        ({"threshold": -0.1}, "threshold is -0.1: give a number from 0 to 1"),
        ({"threshold": float("inf")}, "threshold is inf: give a number from 0 to 1"),
        ({"threshold": [0.5]}, "threshold is a list: give a number from 0 to 1"),
        ({"long_texts": "all"}, "long_texts is a str: give one of cut, windows, windows_max"),
        ({"top-k": 1}, "unknown field top-k"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    response = toy_service().answer(lambda: {TEXTS: ["好"], **options})
    assert (response.err_no, response.err_msg) == (Code.INVALID, message)


def test_windows_of_a_long_text_count_towards_those_of_a_request():
    """Windows of 32 tokens hold 30 of a text, of which neighbours share 15."""
    service, long = toy_service(max_windows=4), "好a" * 60
    cut = service.answer(lambda: {TEXTS: [long] * 4, "long_texts": "cut"})
    assert [answer["windows"] for answer in json.loads(cut.value[0])] == [1] * 4
    refused = service.answer(lambda: {TEXTS: [long], "long_texts": "windows"})
    assert refused.err_no == Code.TOO_LARGE
    assert refused.err_msg == "text 1 brings the request to at least 5 windows, the limit is 4"


@pytest.mark.parametrize("number", ["9" * 33, "0." + "9" * 500_000, "1e" + "9" * 400_000, "NaN", "-Infinity"])
def test_numbers_are_read_up_to_a_bound(number):
    assert parse_json('{"top_k": 3, "threshold": 0.25}', "the body") == {"top_k": 3, "threshold": 0.25}
    for body in (f'{{"threshold": {number}}}', f"[{number}]", number):
        with pytest.raises(Refusal, match="^the body is not JSON") as refusal:
            parse_json(body, "the body")
        assert len(refusal.value.message) < 150


def test_the_clients_own_deadline_counts():
    service = toy_service(seconds=1.0)
    assert service.answer(lambda: {TEXTS: [SLOW]}, seconds=0.1).err_no == Code.TIMEOUT


def test_a_request_that_fails_leaves_its_batch_alone():
    service = toy_service(auto_batching_timeout=60_000.0, timeout=120_000, batch_size=6)  # all are waited for
    requests = [["好a"], [POISON], ["坏", POISON], ["好", "坏b"]]
    responses = ask_all(service, requests)
    assert [response.err_no for response in responses] == [Code.OK, Code.FAILED, Code.FAILED, Code.OK]
    check_answers(service, requests, responses)


def test_a_request_for_which_the_model_computes_no_numbers_fails_alone():
    service = toy_service(auto_batching_timeout=60_000.0, timeout=120_000, batch_size=6)
    requests = [["好a"], [ENDLESS], ["坏", ENDLESS], ["好", "坏b"]]
    responses = ask_all(service, requests)
    assert [response.err_no for response in responses] == [Code.OK, Code.FAILED, Code.FAILED, Code.OK]
    assert responses[1].err_msg.startswith("the model computed NaN or infinite logits: ") and not responses[1].value
    check_answers(service, requests, responses)
    assert ask(service, ["好"]).err_no == Code.OK and service.in_flight == 0


def check_answers(service, requests, responses):
    """Those that are answered are answered right, and all were computed in one batch."""
    predictor = toy_predictor()
    for texts, response in zip(requests, responses):
        if response.err_no == Code.OK:
            assert json.loads(response.value[0]) == predictor.predict(texts)
    assert service.metrics.value("ernie_batch_windows_count") == 1


@pytest.mark.parametrize(("on", "batches"), [(True, 1), (False, 6)])
def test_batching_can_be_turned_off(on, batches):
    service = toy_service(auto_batching=on, auto_batching_timeout=60_000.0, timeout=120_000, batch_size=12)
    assert {response.err_no for response in ask_all(service, [["好", "坏"]] * 6)} == {Code.OK}
    assert service.metrics.value("ernie_batch_windows_count") == batches
    assert service.metrics.value("ernie_batch_windows_sum") == 12


def test_draining_answers_what_was_accepted():
    service = toy_service()
    with ThreadPoolExecutor(4) as pool:
        accepted = [pool.submit(ask, service, [SLOW]) for _ in range(3)]
        wait_until(lambda: service.in_flight == 3, 10)
        pool.submit(service.drain)
        wait_until(lambda: service.stopping, 10)
        assert ask(service, ["好"]).err_no == Code.STOPPING
        assert {future.result().err_no for future in accepted} == {Code.OK}


def test_more_calls_than_the_queue_takes_are_refused_over_grpc():
    _, address = reserve("127.0.0.1", 0)
    server, _ = serve(address, seconds=1.0, queue_size=2)
    client = Client([address], retries=0)

    def code(_):
        try:
            return Code.OK if client.predict([SLOW]) else None
        except RequestError as error:
            return error.code

    with ThreadPoolExecutor(60) as pool:
        codes = list(pool.map(code, range(60)))
    server.stop(None).wait()
    assert set(codes) == {Code.OK, Code.BUSY} and codes.count(Code.BUSY) >= 30


def test_the_client_asks_again_where_a_server_is_full():
    _, address = reserve("127.0.0.1", 0)
    server, _ = serve(address, seconds=0.3, queue_size=1)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: Client([address], retries=8).predict([SLOW]), range(4)))
    server.stop(None).wait()
    assert answers == [toy_predictor(0).predict([SLOW])] * 4


def test_the_pipeline_takes_only_what_was_read():
    """Serving's own RequestOp would unpickle this."""
    request = pb2.Request(tensors=[pb2.Tensor(name="x", elem_type=13, byte_data=b"x")])
    with pytest.raises(TypeError, match="only what read_request accepted"):
        RequestOp().unpack_request_package(request)
    with pytest.raises(TypeError, match="tensors are not taken"):
        RequestOp().proto_tensor_2_numpy(request.tensors[0])
    with pytest.raises(Exception, match="tensors are not taken"):
        fields_of_rpc(request, most_texts=64)


def test_the_log_folder_of_serving_is_not_left_behind():
    code = "import sys; sys.path.insert(0, 'deploy/serving'); import ernie_serving.pipeline_ops"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not (ROOT / "PipelineServingLogs").exists(), done.stderr


def test_the_logging_of_the_process_is_left_alone():
    code = (
        "import json, logging, sys; sys.path.insert(0, 'deploy/serving')\n"
        "mine, root = logging.getLogger('mine'), logging.getLogger()\n"
        "before = (mine.disabled, mine.level, root.level, list(root.handlers))\n"
        "import ernie_serving.serving_library\n"
        "assert (mine.disabled, mine.level, root.level, root.handlers) == before\n"
        "logging.warning('mine')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "WARNING:root:mine\n")


def test_the_worker_finds_the_packages_and_not_their_modules():
    """It is started as a file, whose folder has modules of names that others have too: metrics, client, service."""
    code = "import json, runpy, sys; runpy.run_path(sys.argv[1]); print(json.dumps(sys.path))"
    folder = PROGRAM.parent
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[0] = {str(folder)!r}; {code}", str(PROGRAM)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    path = json.loads(done.stdout)
    assert path[:2] == [str(folder.parent), str(ROOT / "deploy" / "python")] and str(folder) not in path


def supervisor_of(monkeypatch, workers):
    """A supervisor that has started these, one after another."""
    given = iter(workers)
    monkeypatch.setattr("ernie_serving.replicas.Worker", lambda *_: next(given))
    supervisor = Supervisor(toy_config())
    supervisor.replicas.start(len(workers))
    return supervisor


def test_a_worker_that_hangs_is_not_ready_and_then_killed(monkeypatch):
    hanging = [StandIn(0.1, state="ready"), StandIn(SILENT_SECONDS + 1, state="ready")]
    hanging += [StandIn(LOST_SECONDS + 1, state="ready"), StandIn(LOST_SECONDS + 1)]  # one is still loading
    supervisor = supervisor_of(monkeypatch, hanging)
    assert supervisor.ready == 1 and supervisor.metrics.value("ernie_workers_ready") == 1
    supervisor.replicas.tick()
    assert [bool(worker.killed) for worker in hanging] == [False, False, True, False]


def test_the_second_event_of_a_worker_that_ended_is_nothing_new(monkeypatch):
    ended, successor = StandIn(0, returncode=-9, state="ready"), StandIn(0, state="ready")
    supervisor = supervisor_of(monkeypatch, [ended])
    supervisor._announced = True
    monkeypatch.setattr("ernie_serving.replicas.Worker", lambda *_: successor)
    for _ in range(2):
        supervisor._look_after(ended)
        supervisor.replicas.tick()
    assert supervisor.workers == [successor] and supervisor.metrics.value("ernie_worker_restarts_total") == 1


def test_a_system_without_processes_is_asked_again_while_others_serve(monkeypatch, capsys):
    ended, healthy = StandIn(0, returncode=-9, state="ready"), StandIn(0, state="ready")
    supervisor = supervisor_of(monkeypatch, [ended, healthy])
    supervisor._announced = True

    def refuse(*_):
        raise InputError("no worker can be started (Resource temporarily unavailable)")

    monkeypatch.setattr("ernie_serving.replicas.Worker", refuse)
    monkeypatch.setattr("ernie_serving.replicas.LONGEST_PAUSE", 0.0)
    supervisor._look_after(ended)
    for _ in range(8):
        supervisor.replicas.tick()
    assert supervisor.ready == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "worker 0 ended (signal 9); starting another",
        "worker 0 cannot be started: no worker can be started (Resource temporarily unavailable)",
    ]
    healthy.process.poll = lambda: -9
    healthy.process.returncode = -9
    supervisor._look_after(healthy)
    with pytest.raises(InputError, match="in a row soon after their start"):
        for _ in range(8):
            supervisor.replicas.tick()


def test_grpc_is_the_health_check_of_kubernetes():
    server, models = serve(address := reserve("127.0.0.1", 0)[1])
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"") == b"\x08\x01"
        models.stopping = True
        assert check(b"") == b"\x08\x02"
    server.stop(None).wait()


def test_model_threads_run_every_shape_before_they_take_requests():
    engine, shapes, threads = toy_predictor(0).engine, [], set()
    engine.config = EngineConfig(few_shapes=True)
    predictor = ErniePredictor(engine, toy_predictor(0).task)

    def run(input_ids, token_type_ids, run=predictor.engine.run):
        shapes.append(input_ids.shape)
        threads.add(threading.get_ident())
        return run(input_ids, token_type_ids)

    predictor.engine.run = run
    executor, model_op = build_pipeline("toy", predictor, Batching(8, True, 0.0), 2, Metrics(["toy"]), warm_up=True)
    model_op.wait_until_warm()
    assert all(shapes.count(shape) >= 2 for shape in predictor.shapes())
    assert len(threads) == 2 and threading.get_ident() not in threads
    window = predictor.task.windows({"text": "好"})
    assert executor.call(Accepted([{"text": "好"}], [window], time.monotonic() + 60)).err_no == Code.OK


def test_a_process_whose_model_thread_ends_ends_too():
    code = (
        "import sys; sys.path[:0] = ['deploy/serving', '.']\n"
        "import time; from ernie_serving import pipeline_ops; from tests.support.services import toy_predictor\n"
        "def run(*args): raise ValueError('a fault of the library')\n"
        "pipeline_ops.pipeline.Op._run = run\n"
        "pipeline_ops.build_pipeline('toy', toy_predictor(), pipeline_ops.Batching(8, True, 0.0), 1, None)\n"
        "time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == EXIT_DEAF and "a fault of the library" in done.stderr


def test_a_model_that_is_stuck_is_noticed():
    service = toy_service(seconds=1.0, timeout=100)
    assert ask(service, [SLOW]).err_no == Code.TIMEOUT
    assert service.model.model_op.busy_seconds() > 0 and not service.is_stuck
    service.model.model_op._busy_since = {0: time.monotonic() - 61}
    assert service.is_stuck
