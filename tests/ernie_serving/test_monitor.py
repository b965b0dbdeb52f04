"""The monitor: probes, metrics and reloads, beside slow clients and those who may not."""

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys

import pytest

from ernie_inference.errors import InputError
from ernie_serving.api_keys import ApiKeys
from ernie_serving.monitor import LIMITS, Monitor
from ernie_serving.ports import listen
from ernie_serving.reloading import ReloadRunning, UnknownModel
from tests.support.fronts import read_all, statuses
from tests.support.scripts import ROOT


def reload(name: str) -> dict:
    """As Supervisor.reload, for a model of each outcome."""
    outcomes = {"busy": ReloadRunning("a model is being reloaded"), "broken": InputError("it cannot be read")}
    if name == "good":
        return {"model": name, "before": "1", "version": "2"}
    raise outcomes.get(name, UnknownModel(f"there is no model {name[:80]!r}"))


@contextlib.contextmanager
def running_monitor(keys: ApiKeys):
    (sock,) = listen("127.0.0.1", 0, "monitor_port")
    server = Monitor([sock], lambda: 1, lambda accept: ("text/plain", b"metrics"), reload, keys)
    server.start()
    yield sock.getsockname()
    server.drain(0)


@pytest.fixture
def monitor():
    with running_monitor(ApiKeys()) as address:
        yield address


def ask_monitor(monitor, method: str, path: str, **headers: str) -> tuple:
    probe = http.client.HTTPConnection(*monitor, timeout=10)
    try:
        probe.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = probe.getresponse()
        return response.status, response.read()
    finally:
        probe.close()


def test_pages_of_the_monitor(monitor):
    for path, content in (("/live", b'{"status": "live"}'), ("/health", b'{"ready": 1}'), ("/metrics", b"metrics")):
        assert ask_monitor(monitor, "GET", path) == ask_monitor(monitor, "GET", path + "/?x=1") == (200, content)
        assert ask_monitor(monitor, "HEAD", path) == (200, b"")
        assert ask_monitor(monitor, "POST", path)[0] == 405
    assert ask_monitor(monitor, "GET", "/")[0] == 404


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("good", 200),
        ("busy", 409),
        ("broken", 422),
        ("other", 404),
        ("..", 404),
        ("%2e%2e%2fgood", 404),
        ("a" * 9000, 404),
    ],
)
def test_reload(monitor, name, status):
    found, content = ask_monitor(monitor, "POST", f"/models/{name}/reload")
    answer = json.loads(content)
    assert found == status and len(content) < 300
    assert answer == reload(name) if status == 200 else answer["err_no"] and "\n" not in answer["err_msg"]
    assert ask_monitor(monitor, "GET", f"/models/{name}/reload")[0] in (404, 405)


@pytest.mark.parametrize("header", ["Origin", "X_Forwarded_For", "Forwarded", "Via"])
def test_pages_and_clients_of_a_proxy_do_not_reload(monitor, header):
    assert ask_monitor(monitor, "POST", "/models/good/reload", **{header: "127.0.0.1"})[0] == 403


# Asks a monitor at every interface to reload, from this machine and from an address that others may have too. In a
# network namespace of its own, where it has such an address (one for documentation), and nobody else can be reached.
FROM_ELSEWHERE = """
import json, sys
from contextlib import ExitStack
from ernie_serving.api_keys import ApiKeys
from ernie_serving.monitor import Monitor
from ernie_serving.ports import listen
from tests.ernie_serving.test_monitor import ask_monitor, reload

found = {}
for keys in ("", sys.argv[1]):
    for every, addresses in (("0.0.0.0", ("127.0.0.1", "192.0.2.1")), ("::", ("::1", "2001:db8::1"))):
        (sock,) = listen(every, 0, "monitor_port")
        Monitor([sock], lambda: 1, lambda accept: ("text/plain", b"metrics"), reload, ApiKeys(keys)).start()
        for address in addresses:
            at = (address, sock.getsockname()[1])
            headers = {"Authorization": "Bearer right"}
            asked = [ask_monitor(at, "POST", "/models/good/reload", **each)[0] for each in ({}, headers)]
            found[f"{address} {bool(keys)}"] = [*asked, ask_monitor(at, "GET", "/health")[0]]
print(json.dumps(found))
"""
NETWORK = "ip link set lo up && ip address add 192.0.2.1/32 dev lo && ip address add 2001:db8::1/128 dev lo nodad"
CANNOT = "no network namespace with addresses can be made here (unshare -rn, ip)"


def in_a_network_of_its_own(*command: str) -> subprocess.CompletedProcess:
    argv = ["unshare", "-rn", "sh", "-c", f'{NETWORK} || exit 99; exec "$@"', "sh", *command]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_from_another_address_a_reload_needs_a_key(tmp_path):
    if not (shutil.which("unshare") and shutil.which("ip")) or in_a_network_of_its_own("true").returncode:
        pytest.skip(CANNOT)
    keys = tmp_path / "keys"
    keys.write_text("right\n")
    path = [str(ROOT), *(str(ROOT / "deploy" / name) for name in ("python", "serving"))]
    program = f"import sys; sys.path[:0] = {path!r}; {FROM_ELSEWHERE}"
    done = in_a_network_of_its_own(sys.executable, "-c", program, str(keys))
    assert done.returncode == 0, done.stderr[-3000:]
    # Without a key, with the right one, and the probes.
    for address, without in (("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 403), ("2001:db8::1", 403)):
        found = json.loads(done.stdout)
        assert found[f"{address} False"] == [without, without, 200]
        assert found[f"{address} True"] == [401, 200, 200]


def test_with_keys_a_reload_needs_one_and_the_probes_do_not(tmp_path):
    file = tmp_path / "keys"
    file.write_text("right\n")
    with running_monitor(ApiKeys(str(file))) as monitor:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "right"},
            {"Authorization": "Bearer " * 999},
        ):
            assert ask_monitor(monitor, "POST", "/models/good/reload", **headers)[0] == 401
        # From elsewhere too, as the key says who asks.
        headers = {"Authorization": "Bearer right", "Via": "proxy"}
        assert ask_monitor(monitor, "POST", "/models/good/reload", **headers)[0] == 200
        assert ask_monitor(monitor, "GET", "/live")[0] == ask_monitor(monitor, "GET", "/metrics")[0] == 200


def test_slow_clients_do_not_starve_the_probes(monitor):
    """Three times as many as the monitor serves at once, silent ones and slow ones."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(monitor)) for _ in range(3 * LIMITS.connections)]
        for number, connection in enumerate(slow):
            with contextlib.suppress(OSError):
                connection.sendall(
                    (b"", b"GET /li", b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")[number % 3]
                )
        for path in ("/live", "/health", "/metrics"):
            assert ask_monitor(monitor, "GET", path)[0] == 200


def test_a_slow_body_on_the_port_of_the_monitor(monitor):
    with socket.create_connection(monitor, timeout=30) as connection:
        connection.sendall(b"POST /models/a/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert statuses(read_all(connection))[0] >= 400
