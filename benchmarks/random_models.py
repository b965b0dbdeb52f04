"""The models whose speed is compared: ERNIE 3.0-Medium's shape with random weights, whole and pruned, each also as
INT8. Speed does not depend on what the weights are."""

from pathlib import Path
from typing import Dict, Optional, Tuple

from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.quantization import calibrate, write_quantized
from ernie_suite.compression.subnetworks import make_grid, narrow_model, shape_of
from ernie_suite.export import export_static

import numpy as np
import paddle
from paddlenlp.transformers import ErnieConfig, ErnieForSequenceClassification

from ernie_inference.inference_config import InferenceConfig
from ernie_inference.wordpiece import WordPiece

LABELS = [str(number) for number in range(15)]  # as many as TNEWS has
CALIBRATION_TEXTS = 4


def build_models(
    folder: Path,
    layers: int = 6,
    hidden_size: int = 768,
    vocab_size: int = 40000,
    pruned: Optional[Dict[str, Tuple[float, float]]] = None,
) -> Dict[str, Path]:
    """Prefixes by name: fp32, int8 and, of each pruned one, NAME and NAME+int8.

    Args:
        pruned: (share of heads and neurons, share of layers) to keep by name; None for 3/4 of the width, as "pruned".

    Raises:
        InputError: a share keeps no whole number of heads or of layers.
    """
    paddle.seed(1)
    model = ErnieForSequenceClassification(
        ErnieConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=12,
            intermediate_size=4 * hidden_size,
            max_position_embeddings=2048,
            type_vocab_size=4,
            num_labels=len(LABELS),
        )
    )
    models = {"fp32": model}
    for name, (width, depth) in (pruned or {"pruned": (3 / 4, 1)}).items():
        (subnetwork,) = make_grid([width], [depth], shape_of(model))
        models[name] = narrow_model(model, subnetwork, model.state_dict())
    prefixes = {}
    for name, each in models.items():
        prefixes[name] = _export(each, folder / name, vocab_size)
        quantized = "int8" if name == "fp32" else f"{name}+int8"
        prefixes[quantized] = _quantize(prefixes[name], folder / quantized, vocab_size)
    return prefixes


def _export(model, folder: Path, vocab_size: int) -> Path:
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
    tokens += [f"[unused{number}]" for number in range(vocab_size - len(tokens))]
    tokenizer = WordPiece({token: number for number, token in enumerate(tokens)})
    export_static(model, tokenizer, InferenceConfig(task="seq_cls", labels=LABELS), folder, "model")
    return folder / "model"


def _quantize(prefix: Path, folder: Path, vocab_size: int) -> Path:
    random = np.random.default_rng(0)
    texts = [
        {"input_ids": random.integers(5, vocab_size, 128), "token_type_ids": np.zeros(128, dtype=np.int64)}
        for _ in range(CALIBRATION_TEXTS)
    ]
    config = PTQConfig(batch_size_list=[CALIBRATION_TEXTS])
    folder.mkdir(parents=True)
    paddle.enable_static()
    try:
        thresholds = calibrate(prefix, texts, config)[("hist", CALIBRATION_TEXTS)]
        write_quantized(prefix, thresholds, config, folder / "model")
    finally:
        paddle.disable_static()
    return folder / "model"
