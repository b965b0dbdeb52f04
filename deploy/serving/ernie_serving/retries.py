"""When a client asks again: later each time, at random moments, and no more than a budget allows.

Clients that ask again at once make an overload worse and keep it up. So pauses grow exponentially and are drawn at
random ("full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), and further requests
are a fraction of all (a retry budget, as Finagle has it: https://finagle.github.io/blog/2016/02/08/retry-budgets).
"""

import random
import threading
import time
from typing import Optional

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds: the most of the first pause; each further one is up to twice as long


def pause_before(retry: int, told: Optional[float] = None) -> float:
    """Seconds to wait before a retry.

    Args:
        retry: 0 for the first one.
        told: the least, as the server said.
    """
    return (told or 0.0) + random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**retry))


class RetryBudget:
    """How many requests may be sent beside the first of each: a token bucket.

    In any time, at most `share` of the first requests, and `per_second` of the seconds, and `reserve`.

    Args:
        share: of each first request.
        per_second: also where there are few requests.
        reserve: saved at the most, and there at the beginning.
    """

    def __init__(self, share: float = 0.1, per_second: float = 0.5, reserve: float = 5.0):
        self._share = share
        self._per_second = per_second
        self._reserve = reserve
        self._saved = reserve
        self._seen = time.monotonic()
        self._lock = threading.Lock()

    def first_request(self) -> None:
        with self._lock:
            self._add(self._share)

    def claim(self, seconds: float, requests: int = 1) -> Optional[float]:
        """Take the place of further requests. Returns in how many seconds they may be sent, or None, and nothing is
        taken, where that is more than `seconds`."""
        with self._lock:
            self._add(0.0)
            missing = requests - self._saved
            wait = max(missing, 0.0) / self._per_second
            if wait > seconds:
                return None
            self._saved -= requests
            return wait

    def _add(self, amount: float) -> None:
        now = time.monotonic()
        self._saved = min(self._reserve, self._saved + amount + (now - self._seen) * self._per_second)
        self._seen = now
