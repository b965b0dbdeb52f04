"""The clients of serving_soak.py: texts of many lengths with their right answers, asked over gRPC and over HTTP."""

import http.client
import json
import math
import random
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple

from ernie_suite.data import load_examples

from ernie_inference.engine_choice import without_scores
from ernie_inference.predictor import ErniePredictor
from ernie_inference.text_output import to_json
from ernie_serving.client import Client, RequestError
from ernie_serving.protocol import RESULTS, TEXTS, VERSION, Code

DATA = {
    "seq_cls": "sample_reviews",
    "token_cls": "sample_people_daily",
    "qa": "sample_reading",
    "multiple_choice": "sample_choice",
}
SHORTEST, LONGEST = 2, 512  # characters, which in Chinese are tokens
QUESTION, CHOICE = 12, 4  # characters
THREADS_PER_CONNECTION = 8  # as clients on other machines would have


def mixed_inputs(task: str, number: int, seed: int = 0) -> List[Any]:
    """Inputs of a task cut from its sample set, with lengths evenly spread over the orders of magnitude."""
    chance = random.Random(seed)
    examples = load_examples(DATA[task], "test")
    field = {"seq_cls": "text", "token_cls": "tokens"}.get(task, "context")
    sentences = ["".join(example[field]) for example in examples]
    inputs: List[Any] = []
    for _ in range(number):
        length = round(math.exp(chance.uniform(math.log(SHORTEST), math.log(LONGEST))))
        text = ""
        while len(text) < length:
            text += chance.choice(sentences)
        text = text[:length]
        asked = {"question": text[:QUESTION], "context": text}
        choices = {"choices": [text[:CHOICE], text[-CHOICE:], "以上都不对"]}
        inputs.append({"qa": asked, "multiple_choice": {**asked, **choices}}.get(task, text))
    return inputs


class ServedModel:
    """A model of the service under test, in one or more versions, with the right answers of each.

    Attributes:
        name: of the model in the service.
        task: the family of its task.
        folder: the serving folder, which holds one version at a time.
        versions: where each of them comes from.
        inputs: what is asked.
        current: the versions that may answer now; several while a reload is on its way.
    """

    def __init__(self, name: str, task: str, folder: Path, versions: List[str], inputs: List[Any]):
        self.name = name
        self.task = task
        self.folder = folder
        self.versions = versions
        self.inputs = inputs
        self.current: FrozenSet[int] = frozenset({0})
        self._expected: List[List[Dict]] = []
        self._digests: List[str] = []

    def learn(self, predictor: ErniePredictor, digest: str) -> None:
        """Add the answers of the next version, and the digest by which the service's answers name it."""
        self._expected.append(without_scores(predictor.predict_iter(self.inputs)))
        self._digests.append(digest)

    def named(self, version: str, among: FrozenSet[int]) -> FrozenSet[int]:
        """Those `among` some versions that an answer can mean by its `version`: a number and a digest, 3-0a1b2c."""
        digest = version.rpartition("-")[2]
        return frozenset(each for each in among if self._digests[each] == digest)

    def wrong(self, places: List[int], answers: List[Dict], versions: FrozenSet[int]) -> int:
        """How many of the answers to the inputs at `places` none of these versions gives."""
        return sum(
            answer not in [self._expected[version][place] for version in versions]
            for place, answer in zip(places, without_scores(answers))
        )


class HttpAsker:
    """A connection over HTTP, kept alive; a client of one thread."""

    def __init__(self, address: str, path: Callable[[ServedModel], str], timeout: float):
        self._address = address
        self._path = path
        self._timeout = timeout
        self._connection: Optional[http.client.HTTPConnection] = None

    def __call__(self, model: ServedModel, texts: List[Any]) -> Tuple[List[Dict], Optional[str]]:
        """The answers, and the version of the model that they name.

        Raises:
            RequestError: a refusal, or the connection ended.
        """
        body = to_json({TEXTS: texts})
        for is_kept in (self._connection is not None, False):
            try:
                status, content = self._post(self._path(model), body)
                break
            except (OSError, http.client.HTTPException) as error:
                self._connection = None
                # A kept connection may end just as it is used again: that request was not taken by anyone.
                if not (is_kept and isinstance(error, (http.client.RemoteDisconnected, ConnectionError))):
                    raise RequestError(Code.FAILED, f"over HTTP: {error!r}") from None
        answer = json.loads(content)
        if status != 200:
            raise RequestError(answer.get("err_no", Code.FAILED), f"over HTTP: {status} {answer}")
        return answer[RESULTS], answer[VERSION]

    def _post(self, path: str, body: bytes) -> Tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address, timeout=self._timeout)
        self._connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        content = response.read()
        if response.will_close:
            self._connection.close()
            self._connection = None
        return response.status, content


class RpcAsker:
    """Clients over gRPC, one for each model, that share a connection's worth of threads. They give no versions."""

    def __init__(self, endpoint: str, names: Callable[[ServedModel], str], timeout: float):
        self._endpoint = endpoint
        self._names = names
        self._timeout = timeout
        self._clients: Dict[str, Client] = {}
        self._lock = threading.Lock()

    def __call__(self, model: ServedModel, texts: List[Any]) -> Tuple[List[Dict], Optional[str]]:
        with self._lock:
            if model.name not in self._clients:
                name = self._names(model)
                self._clients[model.name] = Client([self._endpoint], timeout=self._timeout, retries=0, model=name)
        return self._clients[model.name].predict(texts), None


class Tally:
    """What became of requests: sent, answered, refused (the queue was full), lost (any other way); wrong answers."""

    def __init__(self):
        self.counts: Counter = Counter(sent=0, answered=0, refused=0, lost=0, wrong=0, texts=0)
        self.seconds: List[float] = []
        self.problems: List[str] = []  # the first different ones of those lost or wrong, for people
        self._lock = threading.Lock()

    def add(self, fate: str, problem: str, texts: int = 0, wrong: int = 0, seconds: Optional[float] = None) -> None:
        with self._lock:
            self.counts["sent"] += 1
            self.counts[fate] += 1
            self.counts["texts"] += texts
            self.counts["wrong"] += wrong
            if seconds is not None:
                self.seconds.append(seconds)
            if problem and problem not in self.problems and len(self.problems) < 10:
                self.problems.append(problem)

    def facts(self, seconds: float) -> Dict[str, Any]:
        return {
            **self.counts,
            "seconds": seconds,
            "requests_per_second": self.counts["answered"] / seconds,
            "texts_per_second": self.counts["texts"] / seconds,
            "problems": self.problems,
        }


class Crowd:
    """Threads that ask the service, over gRPC and over HTTP, for texts of all models.

    Args:
        askers: one for each thread.
        most_texts: in one request; how many is drawn at random.
    """

    def __init__(self, models: List[ServedModel], askers: List[Callable], most_texts: int):
        self._models = models
        self._askers = askers
        self._most_texts = most_texts

    def saturate(self, seconds: float) -> Tuple[Tally, float]:
        """Every thread sends its next request as soon as it has the last answer. Returns the tally, and seconds."""
        end = time.monotonic() + seconds
        return self._run(lambda: time.monotonic() if time.monotonic() < end else None)

    def at_rate(self, requests_per_second: float, seconds: float) -> Tuple[Tally, float]:
        """Requests at fixed times, whether or not earlier ones are answered; latencies count from those times."""
        begin, numbers, total = time.monotonic(), count(), int(requests_per_second * seconds)

        def next_due() -> Optional[float]:
            number = next(numbers)
            return begin + number / requests_per_second if number < total else None

        return self._run(next_due)

    def _run(self, next_due: Callable[[], Optional[float]]) -> Tuple[Tally, float]:
        tally, started = Tally(), time.monotonic()

        def work(number: int) -> None:
            chance = random.Random(number)
            while (due := next_due()) is not None:
                time.sleep(max(due - time.monotonic(), 0))
                self._ask(self._askers[number], chance, due, tally)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(self._askers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return tally, time.monotonic() - started

    def _ask(self, asker: Callable, chance: random.Random, due: float, tally: Tally) -> None:
        model = chance.choice(self._models)
        places = [chance.randrange(len(model.inputs)) for _ in range(chance.randint(1, self._most_texts))]
        before = model.current
        try:
            answers, version = asker(model, [model.inputs[place] for place in places])
        except RequestError as error:
            refused = error.code == Code.BUSY
            return tally.add("refused" if refused else "lost", "" if refused else str(error))
        if len(answers) != len(places):
            return tally.add("lost", f"{model.name}: {len(answers)} answers to {len(places)} texts")
        # A reload may have begun or ended meanwhile: what was right when it was sent, or is now.
        right = before | model.current
        if version is not None:
            right = model.named(version, right)
        wrong = model.wrong(places, answers, right)
        problem = f"{model.name}: {wrong} answers that are not of version {sorted(right)} ({version})" if wrong else ""
        tally.add("answered", problem, len(places), wrong, time.monotonic() - due)


def crowd_of(
    models: List[ServedModel],
    endpoint: str,
    http_address: str,
    rpc_clients: int,
    http_clients: int,
    most_texts: int,
    timeout: float = 120.0,
) -> Crowd:
    """Threads over gRPC, a connection for a few each, and threads over HTTP, each with its own."""
    shared = [RpcAsker(endpoint, rpc_name, timeout) for _ in range(math.ceil(rpc_clients / THREADS_PER_CONNECTION))]
    askers: List[Callable] = [shared[number % len(shared)] for number in range(rpc_clients)]
    askers += [HttpAsker(http_address, http_path, timeout) for _ in range(http_clients)]
    return Crowd(models, askers, most_texts)


def rpc_name(model: ServedModel) -> str:
    """What a gRPC request calls a model."""
    return model.name


def http_path(model: ServedModel) -> str:
    """Where a model is asked over HTTP."""
    return f"/{model.name}/prediction"
