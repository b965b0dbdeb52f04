"""Which products with weights lose the most when they are quantized: what mixed precision leaves in FP32."""

from pathlib import Path
from typing import Dict, List, Sequence

from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.quantization import quantized_program

import numpy as np
from tqdm import tqdm

from ernie_inference.engines.static_program import LoadedProgram, loaded_program
from ernie_inference.errors import InputError

GROUPS_A_LAYER = 4  # of products: queries, keys and values; the attention's result; the feed-forward network's two


def check_mixed_precision(config: PTQConfig, layers: int) -> None:
    """Raises InputError where as many products should stay in FP32 as all layers of a model have."""
    groups = GROUPS_A_LAYER * layers
    if max(config.mixed_precision, default=0) >= groups:
        raise InputError(
            f"mixed_precision {max(config.mixed_precision)}: {layers} layers have {groups} groups of products, "
            "give a smaller number"
        )


def leave_in_fp32(
    prefix: Path, thresholds: Dict[str, float], texts: Sequence[Dict], config: PTQConfig, count: int
) -> Dict[str, float]:
    """The thresholds without those of the `count` activations whose products lose the most; see rank_activations."""
    ranked = list(rank_activations(prefix, thresholds, texts, config))
    worst = ranked[: min(count, len(ranked) - 1)]
    return {name: threshold for name, threshold in thresholds.items() if name not in worst}


def rank_activations(
    prefix: Path, thresholds: Dict[str, float], texts: Sequence[Dict], config: PTQConfig
) -> Dict[str, float]:
    """{activation: mean squared change of the model's outputs} when only its products are INT8, worst first.

    Products that read one activation, as those of queries, keys and values do, are in one precision: Paddle's CPU
    engine quantizes all products of an activation that has a scale.

    Args:
        prefix: the FP32 model.
        thresholds: of its activations.
        texts: features with input_ids and token_type_ids.
    """
    with loaded_program(prefix) as model:
        exact = outputs_of(model, model.program, texts)
        errors = {}
        for name, threshold in tqdm(thresholds.items(), desc="what quantizing each product costs", leave=False):
            program = quantized_program(model, {name: threshold}, config, store_weights=False)
            changed = outputs_of(model, program, texts)
            errors[name] = float(np.mean([np.square(a - b).mean() for a, b in zip(changed, exact)]))
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def outputs_of(model: LoadedProgram, program, texts: Sequence[Dict]) -> List[np.ndarray]:
    """All outputs for all texts, each text run alone."""
    names = [variable.name for variable in model.fetches]
    runs = []
    for text in texts:
        feed = {name: np.asarray([text[name]], dtype=np.int64) for name in model.feeds}
        runs += model.executor.run(program, feed=feed, fetch_list=names, scope=model.scope)
    return runs
