"""The messages of Serving's pipeline protocol, for clients."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from ernie_inference.errors import InputError

NAME = "paddle_serving_server.pipeline.proto.pipeline_service_pb2"


@cache
def load_messages() -> ModuleType:
    """The classes Request, Response and Tensor, without the rest of paddle_serving_server.

    A client needs no more of it, and to import the package leaves things behind, which serving_library.py tells.

    Raises:
        InputError: it is not installed.
    """
    if NAME in sys.modules:
        return sys.modules[NAME]
    package = importlib.util.find_spec("paddle_serving_server")
    if package is None:
        raise InputError("paddle-serving-server is not installed: pip install paddle-serving-server==0.9.0")
    file = Path(package.submodule_search_locations[0]).joinpath("pipeline", "proto", "pipeline_service_pb2.py")
    spec = importlib.util.spec_from_file_location("pipeline_service_pb2", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
