"""A whole service with TLS and API keys, of two workers on the engine that the first one chose, its files mounted as by
Kubernetes: all that is asked of it over HTTPS, and models and certificates that are exchanged below it."""

import http.client
import json
import os
import signal
import ssl
from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving_process import wait_until
from ernie_inference.predictor import load_predictor
from ernie_serving.access import Tls
from ernie_serving.client import Client, RequestError
from ernie_serving.loading import digest_in
from ernie_serving.model_to_serving import convert
from tests.support.models import corpus
from tests.support.rpc import Authority
from tests.support.services import RunningService, exchange

KEY = "the-key"
TEXTS = ["房间很好", "早餐难吃"]
OPEN = ("/health", "/health/ready", "/health/live", "/docs", "/openapi.json")


class MountedSecret:
    """A folder of files as the kubelet makes it: links into a folder that is exchanged as a whole."""

    def __init__(self, folder: Path):
        self._folder, self._number = folder, 0
        folder.mkdir()

    def __truediv__(self, name: str) -> Path:
        return self._folder / name

    def write(self, **files: bytes) -> None:
        self._number += 1
        content = self._folder / f"..{self._number}"
        content.mkdir()
        for name, data in files.items():
            (content / name).write_bytes(data)
            if not (self / name).is_symlink():
                (self / name).symlink_to(Path("..data") / name)
        (self._folder / "..new").symlink_to(content.name)
        os.replace(self._folder / "..new", self._folder / "..data")


class SecuredService(RunningService):
    """A service that is asked over HTTPS, with the key or without.

    Args:
        authority: of the service's certificate.
        folder: for what is mounted.
    """

    def __init__(self, authority: Authority, folder: Path, model_dir: Path):
        self.authority, self.model_dir = authority, model_dir
        self.tls, self.keys = MountedSecret(folder / "tls"), MountedSecret(folder / "keys")
        self.renew(authority)
        self.keys.write(keys=KEY.encode() + b"\n")
        flags = [
            f"--tls_cert={self.tls / 'crt'}",
            f"--tls_key={self.tls / 'key'}",
            f"--api_key_file={self.keys / 'keys'}",
        ]
        super().__init__(
            "seq_cls", model_dir, *flags, "--monitor_tls=true", "--engine=auto", "--replicas=2", "--thread_num=1"
        )

    def renew(self, authority: Authority) -> None:
        """Another certificate, of an authority that clients then have to trust."""
        certificate, key = authority.sign("service")
        self.authority = authority
        self.tls.write(crt=certificate.read_bytes(), key=key.read_bytes())

    def ask(self, method: str, path: str, key: str = "", body: Any = None, monitor: bool = False) -> Tuple[int, Any]:
        """Status and content of an answer over HTTPS, on a connection of its own."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        address = self.monitor if monitor else self.http
        connection = http.client.HTTPSConnection(address, context=context, timeout=120)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return exchange(connection, method, path, None if body is None else json.dumps(body), headers)

    def client(self, **options: Any) -> Client:
        return Client([self.endpoint], api_key=KEY, tls=Tls(self.authority.certificate), **options)

    def predictions(self, count: int) -> List[Dict[str, Any]]:
        """Answers over so many connections, which any worker may take."""
        found = [self.ask("POST", "/seq_cls/prediction", KEY, {"texts": TEXTS}) for _ in range(count)]
        assert {status for status, _ in found} == {200}, found
        return [answer for _, answer in found]

    def engines(self) -> Set[str]:
        """What workers say that they run, over so many connections that each is asked."""
        return {self.ask("GET", "/models", KEY)[1]["models"][0]["engine"] for _ in range(20)}

    def versions(self) -> Set[str]:
        """What /metrics says is served."""
        families = text_string_to_metric_families(self.ask("GET", "/metrics", monitor=True)[1])
        samples = (sample for family in families for sample in family.samples)
        return {sample.labels["version"] for sample in samples if sample.name == "ernie_model_info"}

    def wait_until_all_are_ready(self) -> None:
        wait_until(lambda: self.ask("GET", "/health", monitor=True) == (200, {"ready": 2}))


@pytest.fixture(scope="module")
def secured(tiny_serving, tmp_path_factory):
    folder = tmp_path_factory.mktemp("secured")
    service = SecuredService(Authority(folder), folder, tiny_serving("seq_cls"))
    yield service
    assert service.stop() == 0


def labels_of(answers: List[Dict]) -> List[str]:
    return [answer["label"] for answer in answers]


def test_it_says_where_it_is(secured):
    said = "".join(secured.lines)
    assert f"HTTP     https://{secured.http}/seq_cls/prediction\n" in said
    assert f"monitor  https://{secured.monitor}/health and /metrics\n" in said


def test_predictions_need_the_key(secured):
    expected = labels_of(load_predictor(secured.model_dir).predict(TEXTS))
    (answer,) = secured.predictions(1)
    assert labels_of(answer["results"]) == labels_of(secured.client().predict(TEXTS)) == expected
    for key in ("", "another"):
        status, refusal = secured.ask("POST", "/seq_cls/prediction", key, {"texts": TEXTS})
        assert status == 401 and refusal["err_no"] == 5000 and "an API key is needed" in refusal["err_msg"]
        with pytest.raises(RequestError, match="API key"):
            Client([secured.endpoint], api_key=key, tls=Tls(secured.authority.certificate)).predict(TEXTS)


def test_what_is_open_and_what_is_not(secured):
    """Health, and what a client has to know before it has a key. /openapi.json says which pages need one."""
    for path in OPEN:
        assert secured.ask("GET", path)[0] == 200, path
    assert "swagger-ui-bundle.js" in secured.ask("GET", "/docs")[1]
    assert len(secured.ask("GET", "/docs/swagger-ui-bundle.js")[1]) > 10**6
    described = secured.ask("GET", "/openapi.json")[1]
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operations in described["paths"].items():
        ((method, operation),) = operations.items()
        page = path.replace("{model}", "seq_cls")
        body = {"texts": TEXTS} if method == "post" else None
        without, with_key = (secured.ask(method.upper(), page, key, body)[0] for key in ("", KEY))
        assert with_key == 200
        assert without == (401 if "security" in operation else 200), path
        assert ("401" in operation["responses"]) == ("security" in operation) == (path not in OPEN)


def test_the_monitor_is_encrypted_and_its_probes_need_nothing(secured):
    assert secured.ask("GET", "/live", monitor=True) == (200, {"status": "live"})
    assert secured.ask("GET", "/health", monitor=True) == (200, {"ready": 2})
    assert "ernie_workers_ready 2.0" in secured.ask("GET", "/metrics", monitor=True)[1]


def test_nothing_is_answered_in_the_clear(secured):
    for address in (secured.http, secured.monitor):
        connection = http.client.HTTPConnection(address, timeout=30)
        with pytest.raises((OSError, http.client.HTTPException)):
            connection.request("GET", "/health")
            connection.getresponse()
        connection.close()


def test_the_engine_is_chosen_once_for_all_workers(secured):
    assert len(secured.engines()) == 1 and len(secured.workers()) == 2
    assert sum("--engine auto" in line for line in secured.errors) == 1


def test_a_reload_needs_the_key_and_reaches_all_workers(secured):
    before = secured.predictions(1)[0]["version"]
    page = "/models/seq_cls/reload"
    for key in ("", "another"):
        assert secured.ask("POST", page, key, monitor=True)[0] == 401
    assert {answer["version"] for answer in secured.predictions(10)} == {before}
    status, answer = secured.ask("POST", page, KEY, monitor=True)
    assert status == 200 and answer["before"] == before and digest_in(answer["version"]) == digest_in(before)
    assert {answer["version"] for answer in secured.predictions(10)} == {answer["version"]} != {before}


def test_a_worker_that_is_started_again_has_what_is_in_the_folder_now(secured, others):
    """Its answers, metrics and a line on stderr say so; a reload brings the other worker there too. The engine is the
    one that was chosen at the start."""
    texts = corpus()[::4000][:12]
    wait_until(lambda: len(secured.versions()) == 1)  # workers report every second
    (before,) = secured.versions()
    expected = {digest_in(before): labels_of(load_predictor(secured.model_dir).predict(texts))}
    convert(others["seq_cls"], secured.model_dir)
    os.kill(secured.workers()[0], signal.SIGKILL)
    wait_until(lambda: len(secured.versions()) == 2)
    (after,) = secured.versions() - {before}
    expected[digest_in(after)] = labels_of(load_predictor(secured.model_dir).predict(texts))
    assert expected[digest_in(before)] != expected[digest_in(after)], "else a wrong version would not be noticed"
    line = f"seq_cls: a worker that was started again has found {after} in the folder, it was {before}\n"
    assert secured.errors[-1] == line
    secured.wait_until_all_are_ready()
    seen = set()
    while seen != {before, after}:
        status, answer = secured.ask("POST", "/seq_cls/prediction", KEY, {"texts": texts})
        assert status == 200 and labels_of(answer["results"]) == expected[digest_in(answer["version"])]
        seen.add(answer["version"])
    assert len(secured.engines()) == 1 and sum("--engine auto" in line for line in secured.errors) == 1
    status, answer = secured.ask("POST", "/models/seq_cls/reload", KEY, monitor=True)
    assert status == 200 and digest_in(answer["version"]) == digest_in(after)
    wait_until(lambda: secured.versions() == {answer["version"]})
    assert {each["version"] for each in secured.predictions(10)} == {answer["version"]}


def test_secrets_are_exchanged_below_it(secured, tmp_path):
    """As the kubelet does it: the next connection has the new certificate, and the new key is the one that counts."""
    secured.renew(Authority(tmp_path, "renewed"))
    assert secured.predictions(5) and secured.client().predict(TEXTS)
    assert secured.ask("GET", "/health", monitor=True)[0] == 200
    secured.keys.write(keys=b"another-key\n")
    assert secured.ask("GET", "/models", KEY)[0] == 401
    assert secured.ask("GET", "/models", "another-key")[0] == 200
    assert secured.ask("POST", "/models/none/reload", KEY, monitor=True)[0] == 401
    assert secured.ask("POST", "/models/none/reload", "another-key", monitor=True)[0] == 404
