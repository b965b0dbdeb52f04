"""The models of a worker, by name."""

from typing import Any, Dict, Iterator, List

from ernie_serving.protocol import Code, Refusal, shown
from ernie_serving.service import Service


class Models:
    """The models that a worker serves. The ways in ask it for the one that a request is for.

    Args:
        services: by name, one or more.

    Attributes:
        stopping: whether others should be asked: health checks say so. Requests may be answered still.
    """

    def __init__(self, services: Dict[str, Service]):
        self._services = dict(services)
        self.stopping = False

    def get(self, name: str = "") -> Service:
        """A model; an empty name means the only one.

        Raises:
            Refusal: there is none of that name, or there are several and none is named.
        """
        if not name and len(self._services) == 1:
            return next(iter(self._services.values()))
        if name not in self._services:
            names = ", ".join(self._services)
            missing = f"there is no model {shown(name)}" if name else "no model is named"
            raise Refusal(Code.NO_SERVICE, f"{missing}: take one of {names}")
        return self._services[name]

    def __iter__(self) -> Iterator[Service]:
        return iter(list(self._services.values()))

    def describe(self) -> List[Dict[str, Any]]:
        """All models as they are now, as JSON has it."""
        return [service.describe() for service in self]

    def drain(self) -> None:
        """Refuse new requests, and wait until those accepted are answered (each has its time limit)."""
        self.stopping = True
        for service in self:
            service.stopping = True
        for service in self:
            service.drain()
