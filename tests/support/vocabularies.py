"""Runs of compression with --keep_vocab, small."""

from ernie_suite.compression.config import CompressConfig, DynabertConfig, PTQConfig
from ernie_suite.compression.halves import on_choosing_half
from ernie_suite.compression.vocabulary import Kept, choose_rows


def kept(trainer, keep_vocab) -> Kept:
    """Which rows a run keeps."""
    choosing = on_choosing_half(trainer).eval_dataset.examples
    return choose_rows(trainer.task, [trainer.train_dataset.examples, choosing], keep_vocab)


def vocabulary_config(keep_vocab, algorithms=("hist",), **more) -> CompressConfig:
    ptq = PTQConfig(list(algorithms), [2], **{k: more.pop(k) for k in list(more) if hasattr(PTQConfig, k)})
    return CompressConfig(DynabertConfig([0.75]), ptq, keep_vocab=keep_vocab, **more)
