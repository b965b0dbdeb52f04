"""Tiny fine-tunable models of every architecture, and the trainers around them, on real sample text."""

import copy
from functools import cache

from ernie_suite.arguments import FinetuneArguments
from ernie_suite.data import find_dataset, load_examples, load_labels
from ernie_suite.features import Features
from ernie_suite.tasks.multiple_choice import score_single_rows
from ernie_suite.tasks.seq_cls import SEQ_CLS
from ernie_suite.trainer import FinetuneTrainer

import numpy as np
import paddle
from paddlenlp import transformers

from ernie_inference.inference_config import InferenceConfig
from ernie_inference.wordpiece import WordPiece
from tests.support.scripts import SAMPLES

LAYERS, HIDDEN, HEADS, NEURONS = 2, 32, 4, 64
DEFAULTS = {
    **{"device": "cpu", "disable_tqdm": True},
    **{"per_device_train_batch_size": 8, "per_device_eval_batch_size": 8},
    **{"learning_rate": 1e-3, "max_steps": 4, "eval_steps": 2, "seed": 7},
}
MOST_EXAMPLES = 1000
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")
DATASETS = SAMPLES


@cache
def sample_examples(dataset: str, split: str) -> list:
    """The first examples of a sample set, which is large, and read once for all trainers."""
    return load_examples(dataset, split)[:MOST_EXAMPLES]


def tiny_trainer(
    output_dir,
    family=SEQ_CLS,
    architecture="Ernie",
    dropout=0.1,
    examples=24,
    max_seq_length=64,
    model_seed=11,
    layers=LAYERS,
    unused_tokens=(),
    dataset=None,
    long_texts=None,
    kind=FinetuneTrainer,
    **arguments,
) -> FinetuneTrainer:
    """A trainer with a model of random weights, two layers and 32 wide, and a few real examples.

    Its vocabulary is their characters, and before them more tokens.
    """
    spec = find_dataset(dataset or DATASETS[family.name])
    train, dev = (copy.deepcopy(sample_examples(spec.name, split)[:examples]) for split in ("train", "dev"))
    labels = load_labels(spec, None)
    texts = [text for example in train for text in (example.get("text"), example.get("context")) if text]
    texts += ["".join([*example.get("tokens", ""), *example.get("choices", "")]) for example in train]
    characters = sorted({character for text in texts for character in text.lower() if not character.isspace()})
    tokens = dict.fromkeys([*SPECIAL, *unused_tokens, *characters])
    vocab = {token: i for i, token in enumerate(tokens)}
    task = family.task_class(WordPiece(vocab), labels, max_seq_length)
    task.read_long_texts(long_texts)
    args = FinetuneArguments(output_dir=str(output_dir), **{**DEFAULTS, **arguments})
    config = InferenceConfig(
        task=task.name, labels=labels, max_seq_length=max_seq_length, dataset=spec.name, long_texts=long_texts
    )
    return kind(
        family,
        task,
        config,
        {},
        args,
        model=tiny_model(architecture, family.head, len(vocab), max(len(labels), 2), dropout, model_seed, layers),
        train_dataset=Features(family, task, train),
        eval_dataset=Features(family, task, dev, by_length=True),
    )


def tiny_model(
    architecture: str, head: str, vocab_size: int, num_labels: int, dropout: float, seed: int, layers=LAYERS
):
    """A model with large enough weights for its answers to depend on every layer."""
    paddle.seed(seed)
    score_single_rows()
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=vocab_size,
        hidden_size=HIDDEN,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        intermediate_size=NEURONS,
        max_position_embeddings=128,
        type_vocab_size=2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.1,
        pad_token_id=0,
        num_labels=num_labels,
        **({"embedding_size": HIDDEN // 2} if architecture == "Electra" else {}),
        num_choices=1,
    )
    model = getattr(transformers, f"{architecture}{head}")(config)
    model.eval()
    return model


def exported_parameters(prefix):
    """The arrays of PREFIX.pdiparams as (shape, bytes), sorted, for their order in the file follows names
    that Paddle counts up within a process."""
    paddle.enable_static()
    try:
        scope = paddle.static.Scope()
        with paddle.static.scope_guard(scope):
            executor = paddle.static.Executor(paddle.CPUPlace())
            program = paddle.static.load_inference_model(str(prefix), executor)[0]
            names = [v.name for v in program.list_vars() if v.persistable and v.name not in ("feed", "fetch")]
            arrays = [np.array(scope.find_var(name).get_tensor()) for name in names]
            return sorted((array.shape, array.tobytes()) for array in arrays)
    finally:
        paddle.disable_static()


def weights(folder):
    """The weights that a run left in a folder, by name."""
    return {key: value.numpy() for key, value in paddle.load(str(folder / "model_state.pdparams")).items()}
