"""Keeps off the screen what libraries write when they are imported: no user can do anything about it."""

import contextlib
import io
import logging
import os
import sys
import warnings

from ernie_inference.errors import InputError

# jieba 0.42.1 and paddleslim 2.6.0 import pkg_resources, and setuptools 80 warns of that and of what it does to
# distutils (which Paddle 2.6.2 has imported before). This can go when paddlenlp and paddleslim need neither.
MESSAGES = (
    "pkg_resources is deprecated as an API",
    "Deprecated call to `pkg_resources",
    "Setuptools is replacing distutils",
    "Distutils was imported before Setuptools",
)


def hide_import_warnings() -> None:
    """From now on such warnings are not shown, whatever -W and PYTHONWARNINGS say."""
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message=message)


def hide_progress_of_paddlenlp() -> None:
    """From now on PaddleNLP's log shows what is wrong and nothing else, also where it is imported later."""
    logging.getLogger("PaddleNLP").addFilter(lambda record: record.levelno >= logging.WARNING)


def import_paddle():
    """Paddle, imported without what it writes to stderr about any OMP_NUM_THREADS but 1.

    Raises:
        InputError: it is not installed.
    """
    hide_import_warnings()
    os.environ.setdefault("GLOG_minloglevel", "1")  # of its C++ part: warnings, but no notes on every program it runs
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            import paddle
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: install paddlepaddle, or give a .onnx file") from None
    return paddle


def import_openvino():
    """OpenVINO without its telemetry.

    Where the package openvino-telemetry is installed, openvino 2025.3 imports it, and it is made to report what is done
    to a server on the Internet; a service could then not be ended by SIGTERM within 20 seconds. Where it cannot be
    imported, openvino does without.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
