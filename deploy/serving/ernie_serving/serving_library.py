"""What is used of paddle-serving-server 0.9.0, imported without what its import leaves behind."""

import logging
import os
import tempfile
from importlib import import_module
from types import ModuleType


def import_pipeline() -> ModuleType:
    """paddle_serving_server.pipeline, without what its import leaves behind.

    In 0.9.0 that makes the folder PipelineServingLogs where the process was started, and sends the log of the
    whole process, from DEBUG on, to three files there: some lines for every request.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SERVING_LOG_PATH"] = os.environ["SERVING_HOME"] = folder
        from paddle_serving_server import pipeline

        for name in ("", "paddle_serving_server.pipeline.profiler"):
            for handler in logging.getLogger(name).handlers[:]:
                logging.getLogger(name).removeHandler(handler)
                handler.close()
        del os.environ["SERVING_LOG_PATH"], os.environ["SERVING_HOME"]
    root.handlers[:] = handlers
    root.setLevel(level)
    # They would log a line or a stack trace for what a client did wrong, which its answer tells already.
    for name in ("paddle_serving_server", "grpc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return pipeline


pipeline = import_pipeline()
dag = import_module("paddle_serving_server.pipeline.dag")
channel = import_module("paddle_serving_server.pipeline.channel")
server = import_module("paddle_serving_server.pipeline.pipeline_server")
pb2 = import_module("paddle_serving_server.pipeline.proto.pipeline_service_pb2")
