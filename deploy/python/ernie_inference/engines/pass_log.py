"""Paddle's pass log, kept off the screen."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import Iterator, Optional

# Hands on all that it reads but Paddle's pass log; a process of its own, because one that aborts hands on nothing.
RELAY = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin.buffer:
    if b"---  " not in line and b"support for BFLOAT16" not in line:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""

RELAY_SECONDS = 2.0
_stderr_in_use = threading.Lock()


@contextmanager
def without_pass_log() -> Iterator[None]:
    """Keep Paddle's "---    quantized 14 fc ops" lines off stderr.

    Paddle 2.6.2 writes about 30 of them for every INT8 or bf16 predictor (and that the processor has
    BFLOAT16), whatever disable_glog_info says. All else it writes meanwhile reaches stderr, also when it ends
    the process. One thread at a time, as stderr is the whole process's.
    """
    with _stderr_in_use:
        relay = _start_relay()
        if relay is None or relay.stdin is None:
            yield
            return
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(relay.stdin.fileno(), 2)
        relay.stdin.close()
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            # It ends when nobody holds the pipe any more; a process that was started meanwhile may hold it on.
            with suppress(subprocess.TimeoutExpired):
                relay.wait(RELAY_SECONDS)


def _start_relay() -> Optional[subprocess.Popen]:
    """A process that runs RELAY from its stdin to our stderr; None where there is no stderr or no interpreter."""
    if sys.stderr is None:  # started with a closed one: what has its number now may be any file
        return None
    try:
        stderr = os.dup(2)  # Popen starts without fork(), which threads of grpc do not survive, if this is above 2
    except OSError:
        return None
    try:
        command = [sys.executable, "-I", "-S", "-c", RELAY]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr, close_fds=False)
    except OSError:
        return None
    finally:
        os.close(stderr)
