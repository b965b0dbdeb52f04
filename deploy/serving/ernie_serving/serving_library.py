"""What is used of paddle-serving-server, imported without what its import leaves behind.

In 0.9.0 the import makes the folder PipelineServingLogs where the process was started, and gives the whole process a
logging of its own: other loggers fall silent, and from DEBUG on all goes to three files in that folder, some lines for
every request. This module can become a plain import when a release (0.9.0 is the last one so far) does neither.
"""

import logging
import os
import tempfile
from contextlib import contextmanager
from typing import Iterator
from unittest.mock import patch


@contextmanager
def log_folder_elsewhere() -> Iterator[None]:
    """The folder of its log files is one that is removed when the block ends."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, SERVING_LOG_PATH=folder, SERVING_HOME=folder):
        yield


with log_folder_elsewhere(), patch("logging.config.dictConfig"):
    from paddle_serving_server import pipeline
    from paddle_serving_server.pipeline.channel import (
        ChannelData,
        ChannelDataType,
        ChannelStopError,
        ChannelTimeoutError,
    )
    from paddle_serving_server.pipeline.dag import DAGExecutor
    from paddle_serving_server.pipeline.pipeline_server import ServerYamlConfChecker
    from paddle_serving_server.pipeline.proto import pipeline_service_pb2 as pb2

# They would log a line or a stack trace for what a client did wrong, which its answer tells already.
for name in ("paddle_serving_server", "grpc"):
    logging.getLogger(name).setLevel(logging.CRITICAL)

__all__ = [
    "ChannelData",
    "ChannelDataType",
    "ChannelStopError",
    "ChannelTimeoutError",
    "DAGExecutor",
    "ServerYamlConfChecker",
    "pb2",
    "pipeline",
]
