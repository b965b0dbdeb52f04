"""Clients that keep a service of the tests busy."""

import threading
import time

from ernie_serving.client import RequestError
from ernie_serving.protocol import Code
from tests.support.models import corpus
from tests.support.services import RunningService

REFUSALS = (Code.STOPPING, Code.BUSY, Code.TIMEOUT)


class Load:
    """Clients that ask without a pause until they are told to stop."""

    def __init__(self, service: RunningService, clients: int = 6):
        self.texts = corpus()[:40]
        self.expected = service.client().predict(self.texts)
        self.answered, self.refused, self.wrong = 0, 0, []
        self.broken = []  # when requests were sent whose connection ended
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(service, i)) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, service: RunningService, number: int) -> None:
        client = service.client(retries=0, timeout=30)
        while not self._end.is_set():
            number, sent = (number + 1) % len(self.texts), time.monotonic()
            try:
                answer = client.predict([self.texts[number]])[0]
                right = answer["label"] == self.expected[number]["label"]
                with self._lock:
                    self.answered += right
                    self.wrong += [] if right else [answer]
            except RequestError as error:
                with self._lock:
                    self.refused += error.code in REFUSALS
                    self.wrong += [] if error.code in REFUSALS else [str(error)]
                    self.broken += [] if "the service refused" in str(error) else [sent]
                time.sleep(0.05)

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a request hangs"
        assert self.wrong == []
