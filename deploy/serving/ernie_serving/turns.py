"""Large requests are read one after the other.

Python's JSON reader keeps the lock of the interpreter to its end. Were all large requests that come at once
read at once, health checks and small requests would wait for all of them each time that they need that lock. So they
wait for one.
"""

import threading
import time
from contextlib import contextmanager
from typing import Iterator

from ernie_serving.protocol import Code, Refusal

SMALL_BYTES = 64 << 10  # read in a millisecond or so, by as many threads as there are

_reading = threading.Lock()


@contextmanager
def turn_to_read(size: int, deadline: float) -> Iterator[None]:
    """Wait until a request may be read, which the block does.

    Args:
        size: of the request, in bytes.
        deadline: when its client gives up (time.monotonic).

    Raises:
        Refusal: that was before its turn.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise Refusal(Code.TIMEOUT, "no time is left to read the request")
    if size <= SMALL_BYTES:
        yield
        return
    if not _reading.acquire(timeout=left):
        raise Refusal(Code.TIMEOUT, "no time is left to read the request: other large ones are read before it")
    try:
        yield
    finally:
        _reading.release()
