"""Keeps off the screen what libraries write when they are imported: no user can do anything about it."""

import contextlib
import io
import logging
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
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            import paddle
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: install paddlepaddle, or give a .onnx file") from None
    return paddle
