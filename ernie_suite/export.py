"""What is written of a model: its static program with what it takes to serve it, and predictions for a test server."""

import errno
import os
from pathlib import Path
from typing import Dict, List

from ernie_suite.tasks.family import TaskFamily

import paddle

from ernie_inference.errors import InputError
from ernie_inference.files import Unwritable, publish
from ernie_inference.inference_config import VOCAB_FILE, InferenceConfig
from ernie_inference.model_files import inspect_model
from ernie_inference.text_output import open_text
from ernie_inference.wordpiece import WordPiece


def write_vocab(tokenizer: WordPiece, folder: Path) -> None:
    """vocab.txt as it was read: to be written after PaddleNLP's own save, which copies a file that may have gone."""
    tokenizer.save(Path(folder) / VOCAB_FILE)


def export_static(model, tokenizer: WordPiece, config: InferenceConfig, folder: Path, prefix: str) -> None:
    """Write PREFIX.pdmodel and PREFIX.pdiparams with dynamic batch and length, vocab.txt and inference.json.

    The program takes input_ids and token_type_ids, int64 [batch, seq_len], and masks [PAD] itself.
    """
    specs = [paddle.static.InputSpec([None, None], "int64", name) for name in ("input_ids", "token_type_ids")]
    model.eval()
    for layer in model.sublayers():
        if hasattr(layer, "enable_recompute"):  # set by --recompute; it is for gradients, and cannot be traced
            layer.enable_recompute = False
    static = paddle.jit.to_static(model, input_spec=specs, full_graph=True)
    with publish(folder) as temporary:
        paddle.jit.save(static, str(temporary / prefix))
        check_written(temporary / prefix, folder)
        (temporary / f"{prefix}.pdiparams.info").unlink(missing_ok=True)  # names for debugging; nothing reads it
        write_vocab(tokenizer, temporary)
        config.save(temporary)
    model.forward.rollback()  # the model can be trained and called as before


def check_written(prefix: Path, folder: Path) -> None:
    """Raises InputError where PREFIX's files are not whole: Paddle 2.6.2 says nothing when a disk is full."""
    try:
        inspect_model(prefix)
    except InputError:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise Unwritable(folder, full) from None


def write_predictions(path: Path, family: TaskFamily, examples: List[Dict], results: List[Dict]) -> None:
    """The answers in the form that the test server asks for. Half a surrogate pair, which UTF-8 cannot hold, is written
    as an escape."""
    with publish(path.parent) as temporary, open_text(temporary / path.name) as file:
        family.write_submission(file, examples, results)
