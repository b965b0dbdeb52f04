"""A service started as a child process on free ports, for the load benchmark and the tests."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, List

from ernie_inference.errors import InputError

# Before grpc is imported: with it, to fork beside clients can hang.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

ROOT = Path(__file__).resolve().parents[1]
SERVING = ROOT / "deploy" / "serving"
START_SECONDS = 180  # on a machine that does other things too
RELOAD_SECONDS = 600


class ServiceProcess:
    """A command of deploy/serving that serves, and has said that it is ready: of one model, or of several.

    Attributes:
        endpoint, http, monitor: host:port of gRPC, HTTP and the monitor; empty where it is off.
        lines, errors: what it has printed so far, on stdout and stderr.

    Args:
        task: the family of its task; empty for several models of any, which model_dir is the config file of.
        model_dir: the serving folder; None where the config file has it.
        root: the folder that holds deploy.
    """

    def __init__(self, task: str, model_dir, *flags: str, root: Path = ROOT):
        self.task = task
        script, option = (f"{task}_service.py", "model_dir") if task else ("service.py", "config")
        command = [sys.executable, root / "deploy" / "serving" / script]
        command += [] if model_dir is None else [f"--{option}={model_dir}"]
        command += [f"--{name}=0" for name in ("rpc_port", "http_port", "monitor_port")] + list(flags)
        self.process = subprocess.Popen(
            list(map(str, command)), cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: List[str] = []
        self.errors: List[str] = []
        for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.errors)):
            threading.Thread(target=lines.extend, args=(stream,), daemon=True).start()
        try:
            wait_until(lambda: "ready\n" in self.lines or self.process.poll() is not None)
        except TimeoutError:
            self.process.kill()
            raise
        if self.process.poll() is not None:
            raise RuntimeError(f"the service ended: {''.join(self.errors)}")
        said = "".join(self.lines)
        self.endpoint = re.search(r"gRPC +([^\s,]+)", said).group(1)
        self.http, self.monitor = (
            next(iter(re.findall(rf"{name} +https?://([^/\s]+)/", said)), "") for name in ("HTTP", "monitor")
        )

    def workers(self) -> List[int]:
        """Process ids of the workers."""
        # /proc/PID/children needs a kernel option that not every machine has; the parent is field 4 of stat.
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
        return sorted(pid for pid, parent in parents.items() if parent == self.process.pid)

    def reload(self, name: str) -> str:
        """Have a model loaded again from its folder. Returns its new version.

        Raises:
            InputError: the service could not.
        """
        connection = http.client.HTTPConnection(self.monitor, timeout=RELOAD_SECONDS)
        try:
            connection.request("POST", f"/models/{name}/reload")
            response = connection.getresponse()
            content = response.read().decode()
            if response.status != 200:
                raise InputError(f"{name} was not reloaded: {response.status} {content}")
            return json.loads(content)["version"]
        finally:
            connection.close()

    def stop(self) -> int:
        """SIGTERM. Returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def wait_until(condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not within so many seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} seconds in vain")
        time.sleep(0.02)
