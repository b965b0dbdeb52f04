"""trainer.compress(), step by step: check, export, prune, quantize, measure, report."""

import itertools
import random
from functools import partial
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import paddle
from tqdm import tqdm

from ernie_predictor import InputError
from files import publish
from model_compression.config import CompressConfig, PTQConfig, Width, check_input_dir, find_widths
from model_compression.pruning import Supernet, compute_importance, narrow_model, train_widths
from model_compression.quantization import calibrate, folder_name, write_quantized
from model_compression.report import measure, print_report, summarize, write_report
from model_compression.work import WorkFolder, fingerprint
from trainer import HEAD_OF_TASK, check_written, export_static, write_vocab

ORIGINAL = "inference/infer"


class Exported(NamedTuple):
    """A model that has been written: its prefix relative to output_dir, and what it is."""

    model: str
    precision: str
    width: Optional[str] = None
    algorithm: Optional[str] = None
    calibration_texts: Optional[int] = None
    int8_embeddings: bool = False


def compress(
    trainer,
    task_name: str,
    output_dir: str,
    pruning: bool = True,
    quantization: bool = True,
    compress_config: Optional[CompressConfig] = None,
) -> Dict:
    """Prune and quantize a fine-tuned model, and say which result is the best.

    Writes to output_dir inference/infer.* (the model as it came), 0.75/float32.* (pruned),
    0.75/hist16/int8.* (pruned and quantized), hist16/int8.* (quantized only) and report.json. With
    quantization_config.input_dir only that model is quantized, to hist16/int8.*; with
    quantize_embeddings each INT8 model stands in hist16_embeddings/ too. Training follows trainer.args. An
    interrupted call goes on when it is made again; its state is kept in trainer.args.output_dir until all is done.

    Args:
        trainer: a trainer.FinetuneTrainer with the fine-tuned model, in one process.
        task_name: the data set, for the commands that are printed.
        output_dir: a folder, usually <model>/compress.

    Returns:
        the report: {"task_name", "metric", "original", "best_int8", "models": [{"model", "precision",
        "width", "algorithm", "calibration_texts", "int8_embeddings", "metrics", "change", "bytes",
        "texts_per_second", "speedup"}]}.

    Raises:
        InputError: something cannot work; nothing has been written by then.
    """
    config = compress_config or CompressConfig()
    output_dir = Path(output_dir)
    widths = check_trainer(trainer, config if pruning else None)
    input_prefix = check_input_dir(config.quantization_config) if quantization else None
    if quantization:
        check_calibration_sizes(config.quantization_config, len(trainer.eval_dataset))
    settings = {"pruning": pruning, "quantization": quantization, **config.to_dict()}
    work = WorkFolder(trainer.args.output_dir, output_dir, fingerprint(trainer, settings))

    models = [export_original(trainer, output_dir, work)]
    if pruning:
        models += prune(trainer, widths, config.prune_config.output_filename_prefix, output_dir, work)
    if quantization:
        sources = [(input_prefix, None)] if input_prefix else [(output_dir / m.model, m.width) for m in models]
        for prefix, width in sources:
            models += quantize(trainer, prefix, width, config.quantization_config, output_dir, work)
    rows = [work.once(f"measured {model.model}", partial(measured, trainer, model, output_dir)) for model in models]

    report = {"task_name": task_name, "seed": trainer.args.seed, **summarize(rows, trainer.args.metric_for_best_model)}
    path = write_report(report, output_dir)
    work.remove()
    print_report(report, output_dir, task_name, trainer.origin.get("data_dir"))
    print(f"report: {path}")
    return report


# ---------------------------------------------------------------- checks


def check_trainer(trainer, config: Optional[CompressConfig]) -> List[Width]:
    """The widths to prune to (none without a config).

    Raises:
        InputError: the model is not a fine-tuned one that can be compressed, or the data do not fit it.
    """
    model, task = trainer.model, trainer.task
    name = type(model).__name__
    head = HEAD_OF_TASK[task.name]
    if not name.endswith(tuple(HEAD_OF_TASK.values())):
        raise InputError(f"{name} is not a fine-tuned model: fine-tune one with run_*.py and give its folder")
    if not name.endswith(head):
        raise InputError(f"{name} does not fit the task {task.name}, which needs a model {head}")
    layers = getattr(getattr(model.base_model, "encoder", None), "layers", None)
    if not layers or not isinstance(layers[0], paddle.nn.TransformerEncoderLayer):
        raise InputError(f"{name} cannot be compressed: give an ERNIE, BERT, RoBERTa or ELECTRA model")
    if task.labels and model.config.num_labels != len(task.labels):
        raise InputError(
            f"the data have {len(task.labels)} labels, the model's head has {model.config.num_labels}: "
            "give the model that was fine-tuned on these data"
        )
    if not trainer.eval_dataset:
        raise InputError(
            "the dev set is empty: compression measures importance and accuracy on it and calibrates with it"
        )
    if trainer.args.world_size > 1:
        raise InputError("compression runs in one process: start the script without paddle.distributed.launch")
    if config is None:
        return []
    if not trainer.train_dataset:
        raise InputError("the training set is empty: pruning trains on it; use --no_pruning to quantize only")
    neurons = layers[0].linear1.weight.shape[1]
    return find_widths(config.prune_config.width_mult_list, layers[0].self_attn.num_heads, neurons)


def check_calibration_sizes(config: PTQConfig, available: int) -> None:
    if max(config.batch_size_list) > available:
        raise InputError(
            f"batch_size_list asks for {max(config.batch_size_list)} calibration texts, the dev set has {available}"
        )


# ---------------------------------------------------------------- steps


def export_original(trainer, output_dir: Path, work: WorkFolder) -> Exported:
    work.once(ORIGINAL, partial(export, trainer, trainer.model, output_dir / ORIGINAL))
    return Exported(ORIGINAL, "fp32")


def export(trainer, model, target: Path) -> None:
    """Write a model as TARGET.pdmodel, with what it takes to serve it."""
    export_static(model, trainer.task.tokenizer, trainer.inference_config, target.parent, target.name)


def prune(trainer, widths: List[Width], file_name: str, output_dir: Path, work: WorkFolder) -> List[Exported]:
    """Train and export all widths; see pruning.py."""

    def train() -> Dict:
        importance = compute_importance(trainer, trainer.get_eval_dataloader(trainer.eval_dataset))
        with paddle.utils.unique_name.guard("compression_"):  # the same names when an interrupted run goes on
            net = Supernet(trainer.model, importance)
            return train_widths(trainer, net, widths, work)

    work.once("pruning", train)
    models = [Exported(f"{width.name}/{file_name}", "fp32", width.name) for width in widths]
    for width, model in zip(widths, models):
        if not work.is_done(model.model):
            narrow = narrow_model(trainer.model, width, work.load(f"best-{width.name}"))
            work.once(model.model, partial(export, trainer, narrow, output_dir / model.model))
    return models


def quantize(
    trainer, prefix: Path, width: Optional[str], config: PTQConfig, output_dir: Path, work: WorkFolder
) -> List[Exported]:
    """Quantize one FP32 model by the whole grid; see quantization.py."""
    models = []
    embeddings = (False, True) if config.quantize_embeddings else (False,)
    for *candidate, int8_embeddings in itertools.product(config.algo_list, config.batch_size_list, embeddings):
        name = folder_name(*candidate) + ("_embeddings" if int8_embeddings else "")
        folders = ([width] if width else []) + [name, config.output_filename_prefix]
        models.append(Exported("/".join(folders), "int8", width, *candidate, int8_embeddings))
    missing = [model for model in models if not work.is_done(model.model)]
    if not missing:
        return models
    thresholds = calibrate(prefix, calibration_texts(trainer, max(config.batch_size_list)), config)

    def write(model: Exported) -> None:
        chosen = thresholds[model.algorithm, model.calibration_texts]
        export_int8(trainer, prefix, chosen, config, output_dir / model.model, model.int8_embeddings)

    for model in tqdm(missing, desc=f"INT8 models of {prefix}"):
        work.once(model.model, partial(write, model))
    return models


def export_int8(trainer, prefix: Path, thresholds: Dict, config: PTQConfig, target: Path, embeddings=False) -> None:
    """Write the INT8 program of the model PREFIX as TARGET.pdmodel, with what it takes to serve it."""
    with publish(target.parent) as temporary:
        write_quantized(prefix, thresholds, config, temporary / target.name, embeddings)
        check_written(temporary / target.name, target.parent)
        write_vocab(trainer.task.tokenizer, temporary)
        trainer.inference_config.save(temporary)


def calibration_texts(trainer, count: int) -> List[Dict]:
    """Features of the dev set, drawn by the seed; the first n of them do not depend on how many are drawn."""
    order = list(range(len(trainer.eval_dataset)))
    random.Random(trainer.args.seed).shuffle(order)
    return [trainer.eval_dataset[i] for i in order[:count]]


def measured(trainer, model: Exported, output_dir: Path) -> Dict:
    original = output_dir / ORIGINAL
    figures = measure(output_dir / model.model, model.precision, trainer.eval_examples, trainer.metric, original)
    return {**model._asdict(), **figures}
