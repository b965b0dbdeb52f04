"""What the supervisor asks of a worker while it serves: to load another version of a model, and to switch to it.

    {"id": ID, "command": "load", "model": NAME, "number": N}   what is in the folder, beside the one that answers
    {"id": ID, "command": "switch", "model": NAME}              answer with it from now on, and free the one before
    {"id": ID, "command": "drop", "model": NAME}                free it instead

Each is answered by one report, {"reply": ID} with the version that was loaded, or the error, or what is served now.
"""

import gc
import logging
import queue
import threading
from typing import Any, Callable, Dict

from ernie_inference.errors import InputError
from ernie_serving.loaded_model import LoadedModel
from ernie_serving.loading import load
from ernie_serving.models import Models


class Commands:
    """Carries out commands, one after another, in a thread of its own.

    Args:
        models: that the worker serves.
        send: sends a report.
    """

    def __init__(self, models: Models, send: Callable[..., None]):
        self._models = models
        self._send = send
        self._loaded: Dict[str, LoadedModel] = {}  # and not yet switched to

    def carry_out(self, commands: "queue.SimpleQueue[Dict[str, Any]]") -> None:
        """Do what is asked for, for ever."""
        does = {"load": self._load, "switch": self._switch, "drop": self._drop}
        while True:
            command = commands.get()
            try:
                reply = does[command["command"]](command["model"], command.get("number"))
            except InputError as error:
                reply = {"error": str(error)}
            except Exception as error:  # of an engine, or the system; the model that answers goes on
                logging.exception("%s failed", command["command"])
                reply = {"error": f"the model cannot be loaded ({' '.join(str(error).split())[:300]})"}
            self._send(reply=command["id"], **reply)
            self._models.get(command["model"]).stop_retired()
            gc.collect()  # a model refers to itself in circles, and should not be kept until some collection

    def start(self, commands: "queue.SimpleQueue[Dict[str, Any]]") -> None:
        threading.Thread(target=self.carry_out, args=(commands,), daemon=True, name="commands").start()

    def _load(self, name: str, number: int) -> Dict[str, Any]:
        service = self._models.get(name)
        loaded = load(service.config)
        version = loaded.version(number)
        self._loaded[name] = service.prepare(loaded.predictor, version)
        return {"version": version}

    def _switch(self, name: str, _: None) -> Dict[str, Any]:
        self._models.get(name).switch(self._loaded.pop(name))
        return {"models": self._models.describe()}

    def _drop(self, name: str, _: None) -> Dict[str, Any]:
        model = self._loaded.pop(name, None)
        if model is not None:
            model.stop()
        return {}
