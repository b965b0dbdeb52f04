"""The INT8 models of an FP32 one: which there are, what each is calibrated with, and how each is written."""

import itertools
import random
from functools import partial
from pathlib import Path
from typing import Dict, List

from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.quantization import calibrate, folder_name, write_quantized
from ernie_suite.compression.records import Exported, Records, beside_every_model, still_to_make
from ernie_suite.compression.sensitivity import leave_in_fp32
from ernie_suite.compression.smoothing import TEXTS, prepared
from ernie_suite.compression.sources import Source, within
from ernie_suite.export import check_written, write_vocab
from ernie_suite.runs import json_digest

import numpy as np
from tqdm import tqdm

from ernie_inference.files import publish


def quantize(trainer, source: Source, config: PTQConfig, records: Records) -> List[Exported]:
    """Quantize one FP32 model by the whole grid; see quantization.py."""
    texts = calibration_texts(trainer, max(TEXTS, *config.batch_size_list))
    smoothed_on = texts_digest(texts[:TEXTS]) if config.smoothing else None
    shared = {**beside_every_model(trainer), "source": source.weights, "smoothing": smoothed_on}
    made_from = {}
    for model in int8_models(source, config):
        settings = model._replace(layers=None)._asdict()  # the weights of the source say which they are
        made_from[model] = {**settings, **shared, "calibration": texts_digest(texts[: model.calibration_texts])}
    missing = still_to_make(made_from, records)
    if not missing:
        return list(made_from)
    with prepared(source.prefix, texts[:TEXTS], config.smoothing) as prefix:
        thresholds = calibrate(prefix, texts, config)
        for model in tqdm(missing, desc=f"INT8 models of {source.prefix}"):
            chosen = thresholds[model.algorithm, model.calibration_texts]
            if model.mixed_precision:
                chosen = leave_in_fp32(prefix, chosen, texts[: model.calibration_texts], config, model.mixed_precision)
            write = partial(export_int8, trainer, prefix, chosen, config, embeddings=model.int8_embeddings)
            records.write(model, made_from[model], write, source.fine_tuned)
    return list(made_from)


def int8_models(source: Source, config: PTQConfig) -> List[Exported]:
    """What is made from an FP32 model."""
    models = []
    embeddings = (False, True) if config.quantize_embeddings else (False,)
    grid = itertools.product(config.algo_list, config.batch_size_list, (0, *config.mixed_precision), embeddings)
    for algorithm, count, in_fp32, int8_embeddings in grid:
        name = folder_name(algorithm, count, in_fp32, int8_embeddings)
        models.append(
            source.origin._replace(
                model=within(source.folder, name, config.output_filename_prefix),
                precision="int8",
                algorithm=algorithm,
                calibration_texts=count,
                int8_embeddings=int8_embeddings,
                mixed_precision=in_fp32,
                weight_quantize_type=config.weight_quantize_type,
                quantize_activation_matmuls=config.quantize_activation_matmuls,
                source=source.name,
            )
        )
    return models


def export_int8(trainer, prefix: Path, thresholds: Dict, config: PTQConfig, target: Path, embeddings=False) -> None:
    """Write the INT8 program of the model PREFIX as TARGET.pdmodel, with what it takes to serve it."""
    with publish(target.parent) as temporary:
        write_quantized(prefix, thresholds, config, temporary / target.name, embeddings)
        check_written(temporary / target.name, target.parent)
        write_vocab(trainer.task.tokenizer, temporary)
        trainer.inference_config.save(temporary)


def calibration_texts(trainer, count: int) -> List[Dict]:
    """Features of the trainer's dev set, drawn by the seed; the first n do not depend on how many are drawn."""
    order = list(range(len(trainer.eval_dataset)))
    random.Random(trainer.args.seed).shuffle(order)
    return [trainer.eval_dataset[i] for i in order[:count]]


def texts_digest(texts: List[Dict]) -> str:
    names = ("input_ids", "token_type_ids")
    return json_digest([[np.asarray(text[name]).tolist() for name in names] for text in texts])
