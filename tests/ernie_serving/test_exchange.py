"""A model that is exchanged, that fails, or that cannot be loaded: what a service and a supervisor do about it.
test_reload.py has real models."""

import gc
import io
import json
import queue
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.serving_process import wait_until
from ernie_inference.errors import InputError
from ernie_serving.client import Client, RequestError
from ernie_serving.metrics import ServiceMetrics
from ernie_serving.ports import reserve
from ernie_serving.protocol import TEXTS, Code
from ernie_serving.reloading import Reloading, ReloadRunning, UnknownModel
from ernie_serving.service import Service
from ernie_serving.worker_process import EXIT_FAILING
from tests.support.scripts import ROOT
from tests.support.services import ENDLESS, POISON, SLOW, StandIn, toy_config, toy_models, toy_predictor


def toy_service(seconds=0.5, **options) -> Service:
    return toy_models(seconds, **options)[0].get()


def ask(service: Service, texts):
    return service.answer(lambda: {TEXTS: texts})


def test_a_model_that_computes_nothing_any_more_is_noticed():
    service = toy_service()
    service.toy.run = lambda *_: 1 / 0
    assert [ask(service, ["好"]).err_no for _ in range(3)] == [Code.FAILED] * 3
    assert service.is_failing and service.describe()["state"] == "failing"


def test_what_clients_send_makes_no_model_fail():
    service = toy_service()
    for text in [POISON, ENDLESS] * 4 + [POISON] * 4:
        assert ask(service, [text]).err_no == Code.FAILED
    assert not service.is_failing and ask(service, ["好"]).err_no == Code.OK
    assert service.describe()["state"] == "ready"


def test_an_exchanged_model_answers_what_it_accepted_and_is_freed():
    service = toy_service(seconds=60)
    old, next_one = service.model, toy_predictor(0)
    threads = threading.active_count()
    freed = weakref.ref(old.predictor)
    with ThreadPoolExecutor(2) as pool:
        accepted = pool.submit(ask, service, [SLOW])
        wait_until(lambda: service.in_flight == 1, 30)
        service.switch(service.prepare(next_one, "2-abcdef"))
        freeing = pool.submit(service.stop_retired)
        answered = ask(service, [SLOW])
        assert (list(answered.value)[1:], freeing.done(), accepted.done()) == (["toy", "2-abcdef"], False, False)
        service.toy.gate.set()
        assert list(accepted.result().value)[1:] == ["toy", ""]
        freeing.result()
    del accepted, freeing, old
    # Threads of other tests may end meanwhile.
    wait_until(lambda: gc.collect() >= 0 and freed() is None and threading.active_count() <= threads, 10)
    assert service.in_flight == 0


def test_a_model_that_fails_its_warm_up_is_not_switched_to():
    service, broken = toy_service(), toy_predictor(0)
    broken.engine.run = lambda *_: 1 / 0
    before = threading.active_count()
    with pytest.raises(InputError, match=r"toys: the model cannot be run \(division by zero\)"):
        service.prepare(broken, "2-abcdef")
    wait_until(lambda: threading.active_count() <= before, 10)
    assert ask(service, ["好"]).err_no == Code.OK


def test_an_exchange_loses_no_request():
    """Whichever model a request finds, it is answered by that one to the end."""
    service = toy_service(seconds=0, queue_size=100)
    stop = threading.Event()

    def ask_on(_):
        codes = set()
        while not stop.is_set():
            codes.add(ask(service, ["好"]).err_no)
        return codes

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask_on, number) for number in range(4)]
        for number in range(2, 22):
            service.switch(service.prepare(toy_predictor(0), f"{number}-abcdef"))
            service.stop_retired()
        stop.set()
        assert [each.result() for each in asking] == [{Code.OK}] * 4


# ---------------------------------------------------------------- reloading, as the supervisor does it


class Obedient(StandIn):
    """A worker that does what it is told, with these answers to "load"."""

    def __init__(self, *answers, switch=None):
        super().__init__(0, state="ready")
        self.switch = switch or {}
        self.answers, self.told, self.replies = list(answers), [], queue.SimpleQueue()
        self.models = [{"name": "toy", "version": "1-aaaaaa"}]

    def send(self, content):
        self.told.append(content["command"])
        answer = self.answers.pop(0) if content["command"] == "load" else self.switch
        self.replies.put({"reply": content["id"], **answer} if answer is not None else None)


def reloading_of(*workers) -> Reloading:
    return Reloading(["toy"], lambda: list(workers), ServiceMetrics(list))


def test_all_load_and_then_all_switch():
    workers = [Obedient({"version": "2-bbbbbb"}) for _ in range(2)]
    reloading = reloading_of(*workers)
    assert reloading.reload("toy") == {"model": "toy", "before": "1-aaaaaa", "version": "2-bbbbbb"}
    assert [worker.told for worker in workers] == [["load", "switch"]] * 2 and reloading.numbers == {"toy": 2}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"error": "model.pdiparams is cut short"}, "^model.pdiparams is cut short$"),
        ({"version": "2-cccccc"}, "the files of toy changed while they were read"),
        (None, r"worker 0 ended \(exit status 0\) while it loaded the model"),
    ],
)
def test_where_one_cannot_load_nothing_changes(answer, message):
    workers = [Obedient({"version": "2-bbbbbb"}, {"version": "2-bbbbbb"}), Obedient(answer, {"version": "2-bbbbbb"})]
    workers[1].process.returncode = 0
    reloading = reloading_of(*workers)
    with pytest.raises(InputError, match=message):
        reloading.reload("toy")
    assert [worker.told for worker in workers] == [["load", "drop"]] * 2 and reloading.numbers == {"toy": 1}
    if answer is not None:
        assert reloading.reload("toy")["version"] == "2-bbbbbb"


def test_reloads_that_cannot_be_now():
    reloading = reloading_of(Obedient(), StandIn(0))
    with pytest.raises(UnknownModel, match="there is no model 'other', there is toy"):
        reloading.reload("other")
    with pytest.raises(ReloadRunning, match="a worker is starting"):
        reloading.reload("toy")
    with reloading._running, pytest.raises(ReloadRunning, match="a model is being reloaded"):
        reloading.reload("toy")


# ---------------------------------------------------------------- a worker whose model fails

FAILING_WORKER = """
import sys; sys.path[:0] = ['', 'deploy/serving', 'deploy/python', '.']
from ernie_serving import loading, worker
from tests.support.services import toy_config, toy_predictor

def load_all(config, task):
    predictor = toy_predictor(0)
    run = predictor.engine.run
    predictor.engine.run = lambda *batch: run(*batch) if predictor.engine.runs < 2 else 1 / 0
    return {'toy': loading.Loaded(predictor, config.models['toy'], 'abcdef')}

worker.load_all = load_all
worker.main()
"""


def test_a_worker_whose_model_fails_for_good_answers_and_ends():
    _, address = reserve("127.0.0.1", 0)
    settings = {"task": "", "config": toy_config().as_dict(), "numbers": {"toy": 1}, "rpc_address": address}
    process = subprocess.Popen(
        [sys.executable, "-c", FAILING_WORKER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        process.stdin.write(json.dumps({**settings, "http_fds": []}) + "\n")
        process.stdin.flush()
        ready = json.loads(process.stdout.readline())
        assert (ready["state"], ready["models"][0]["version"]) == ("ready", "1-abcdef")
        client, codes = Client([address], retries=0), []
        for text in ["好", *["坏"] * 4]:
            try:
                codes.append(client.predict([text]) and Code.OK)
            except RequestError as refused:
                codes.append(refused.code)
        assert codes[:4] == [Code.OK, Code.FAILED, Code.FAILED, Code.FAILED]
        states = [json.loads(line)["state"] for line in process.stdout]
        assert states[-2:] == ["stopping", "stopped"] and process.wait(30) == EXIT_FAILING
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- signals


def test_a_signal_is_handled_though_the_main_thread_holds_the_lock():
    code = (
        "import os, signal, sys, threading, time; sys.path.insert(0, 'deploy/serving')\n"
        "from ernie_serving.signals import on_signals\n"
        "lock, seen = threading.Lock(), threading.Event()\n"
        "def handle(number):\n"
        "    with lock: print(number, flush=True); seen.set()\n"
        "on_signals(handle, signal.SIGTERM)\n"
        "with lock: os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.3); assert not seen.is_set()\n"
        "assert seen.wait(30)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "15\n"), done.stderr


# ---------------------------------------------------------------- what a worker says


def listened(written: bytes) -> StandIn:
    """A worker whose process has written this, and ended."""
    worker, events = StandIn(0, returncode=-9), queue.SimpleQueue()
    worker.process.stdout, worker.process.wait = io.BytesIO(written), lambda: -9
    worker.replies = queue.SimpleQueue()
    worker._listen(events)
    worker.events = [events.get_nowait() for _ in range(events.qsize())]
    return worker


def test_a_worker_that_is_killed_in_the_middle_of_a_report_has_ended():
    worker = listened(b'{"state": "ready", "models": [{"name": "a"}]}\n{"reply": 1}\n{"state": "rea')
    assert worker.last["state"] == "ready" and worker.models == [{"name": "a"}] and worker.events == [worker] * 2
    assert [worker.replies.get_nowait() for _ in range(2)] == [{"reply": 1}, None]


def test_a_worker_that_does_not_switch_is_killed():
    workers = [Obedient({"version": "2-bbbbbb"}), Obedient({"version": "2-bbbbbb"}, switch={"error": "it failed"})]
    assert reloading_of(*workers).reload("toy")["version"] == "2-bbbbbb"
    assert [bool(worker.killed) for worker in workers] == [False, True]
