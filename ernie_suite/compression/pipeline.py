"""trainer.compress(), step by step: check, export, prune, quantize, measure, report."""

import itertools
import random
from functools import partial
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Union

from ernie_suite.compression.config import (
    CompressConfig,
    PTQConfig,
    Width,
    check_input_dir,
    check_onnx,
    check_steps,
    find_widths,
    parse_width,
)
from ernie_suite.compression.pruning import Supernet, compute_importance, narrow_model, train_widths
from ernie_suite.compression.quantization import calibrate, folder_name, write_quantized
from ernie_suite.compression.records import Exported, Records, beside_every_model, exported_digest, model_digest
from ernie_suite.compression.report import (
    FIGURES,
    compare_engines,
    measure,
    print_best_engine,
    print_report,
    summarize,
    write_report,
)
from ernie_suite.compression.sensitivity import check_mixed_precision, leave_in_fp32
from ernie_suite.compression.smoothing import TEXTS, prepared
from ernie_suite.compression.work import WorkFolder
from ernie_suite.export import check_written, export_static, write_vocab
from ernie_suite.runs import deciding_settings, examples_digest, json_digest
from ernie_suite.tasks import FAMILIES

import numpy as np
import paddle
from tqdm import tqdm

from ernie_inference.engine_choice import ENGINES
from ernie_inference.engines.availability import installed_version
from ernie_inference.engines.backends import BACKENDS
from ernie_inference.errors import InputError
from ernie_inference.files import publish
from ernie_inference.processors import describe_processor, usable_processors

ORIGINAL = Exported("inference/infer", "fp32")


class Source(NamedTuple):
    """An FP32 model to quantize.

    Attributes:
        prefix: where it is.
        name: how the report calls it; see Exported.source.
        folder: where its INT8 models go, relative to the folder of the compressed models.
        width: see Exported.width.
        weights: records.exported_digest.
        fine_tuned: whether it was made from the fine-tuned model of this compression.
    """

    prefix: Path
    name: str
    folder: str
    width: Optional[str]
    weights: str
    fine_tuned: bool


def compress(
    trainer,
    task_name: str,
    output_dir: Union[str, Path],
    pruning: bool = True,
    quantization: bool = True,
    compress_config: Optional[CompressConfig] = None,
) -> Dict:
    """Prune and quantize a fine-tuned model, and say which result is the best.

    Writes to output_dir inference/infer.* (the model as it came), 0.75/float32.* (pruned),
    0.75/hist16/int8.* (pruned and quantized), hist16/int8.* (quantized only), for each a record of what it was made
    from, and report.json. With quantize_embeddings each INT8 model stands in hist16_embeddings/ too, with
    mixed_precision in hist16_mixed2/ and so on. With
    quantization_config.input_dir only that model is quantized: one of output_dir as said above, also when it
    lies elsewhere as a copy; any other to from_<its folder>_<its digest>/hist16/int8.*.

    Results of several calls add up: models that are there already, made of the same, are kept, and the report has all
    that are there. With export_onnx each of those has its .onnx file beside it. Training follows trainer.args. An
    interrupted call goes on when it is made again; the state of its training is kept in trainer.args.output_dir until
    the pruned models are written. With trainer.args.overwrite_output_dir all that is asked for is made anew.

    Args:
        trainer: a trainer.FinetuneTrainer with the fine-tuned model, in one process.
        task_name: the data set, for the commands that are printed.
        output_dir: a folder, usually <model>/compress.

    Returns:
        the report: {"task_name", "metric", "original", "best_int8", "models": [{the fields of records.Exported,
        "metrics", "change", "bytes", "texts_per_second", "speedup"; "onnx", its .onnx file, where there is one;
        "engines", {engine: how many times as fast as the original on Paddle}, where they were timed}], where they were
        timed "best_engine": {"model", "engine", "speedup"}}.

    Raises:
        InputError: something cannot work; nothing has been written by then.
    """
    config = compress_config or CompressConfig()
    check_steps(pruning, quantization, config.quantization_config)
    check_onnx(quantization, config)
    widths = check_trainer(trainer, config if pruning else None)
    input_prefix = check_input_dir(config.quantization_config, trainer.task) if quantization else None
    if quantization:
        check_calibration_sizes(config.quantization_config, len(trainer.eval_dataset))
        check_mixed_precision(config.quantization_config, len(trainer.model.base_model.encoder.layers))
    records = Records(Path(output_dir), model_digest(trainer.model), anew=trainer.args.overwrite_output_dir)

    models = export_original(trainer, records)
    if pruning:
        models += prune(trainer, widths, config.prune_config.output_filename_prefix, records)
    if quantization:
        sources = [find_source(input_prefix, records)] if input_prefix else [source_of(m, records) for m in models]
        for source in sources:
            models += quantize(trainer, source, config.quantization_config, records)
    return write_the_report(trainer, task_name, models, records, config)


# ---------------------------------------------------------------- checks


def check_trainer(trainer, config: Optional[CompressConfig]) -> List[Width]:
    """The widths to prune to (none without a config).

    Raises:
        InputError: the model is not a fine-tuned one that can be compressed, or the data do not fit it.
    """
    model, task = trainer.model, trainer.task
    name = type(model).__name__
    head = FAMILIES[task.name].head
    if not name.endswith(tuple(family.head for family in FAMILIES.values())):
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
    check_training(trainer)
    neurons = layers[0].linear1.weight.shape[1]
    shares = map(parse_width, config.prune_config.width_mult_list)
    return find_widths(list(shares), layers[0].self_attn.num_heads, neurons)


def check_training(trainer) -> None:
    """Raises InputError where the training arguments ask for what pruning does not do, or for no step."""
    for precision in ("fp16", "bf16"):
        if getattr(trainer.args, precision):
            raise InputError(
                f"pruning trains in FP32, and {precision} is on: leave out --{precision}, or set "
                f"{precision}: false under Compression in config.yml"
            )
    trainer.count_steps()


def check_calibration_sizes(config: PTQConfig, available: int) -> None:
    if max(config.batch_size_list) > available:
        raise InputError(
            f"batch_size_list asks for {max(config.batch_size_list)} calibration texts, the dev set has {available}"
        )


# ---------------------------------------------------------------- steps


def export_original(trainer, records: Records) -> List[Exported]:
    made_from = {"model": records.fine_tuned, **beside_every_model(trainer)}
    if still_to_make({ORIGINAL: made_from}, records):
        records.write(ORIGINAL, made_from, partial(export, trainer, trainer.model))
    return [ORIGINAL]


def still_to_make(made_from: Dict[Exported, Dict], records: Records) -> List[Exported]:
    """Those of some models that are not there as they would be made; says which are kept and why others are not."""
    reasons = {model: records.why_anew(model, settings) for model, settings in made_from.items()}
    for model, reason in reasons.items():
        if reason is None:
            print(f"{records.folder / model.model}: kept, it was made of the same before")
        elif reason:
            print(f"{records.folder / model.model}: made anew ({reason})")
    return [model for model, reason in reasons.items() if reason is not None]


def export(trainer, model, target: Path) -> None:
    """Write a model as TARGET.pdmodel, with what it takes to serve it."""
    export_static(model, trainer.task.tokenizer, trainer.inference_config, target.parent, target.name)


def prune(trainer, widths: List[Width], file_name: str, records: Records) -> List[Exported]:
    """Train and export all widths; see pruning.py."""
    made_from = {
        **deciding_settings(trainer),
        **beside_every_model(trainer),
        "model": records.fine_tuned,
        "width_mult_list": " ".join(width.name for width in widths),  # they are trained together
    }
    models = [Exported(f"{width.name}/{file_name}", "fp32", width.name) for width in widths]
    missing = still_to_make(dict.fromkeys(models, made_from), records)
    work = WorkFolder(trainer.args.output_dir, records.folder, made_from)
    if records.anew:
        work.remove()
    if missing:
        importance = compute_importance(trainer, importance_batches(trainer))
        with paddle.utils.unique_name.guard("compression_"):  # the optimizer's tensors count from 0, also later
            best = train_widths(trainer, Supernet(trainer.model, importance), widths, work)
        for width, model in zip(widths, models):
            if model in missing:
                narrow = narrow_model(trainer.model, width, best[width.name].weights)
                records.write(model, made_from, partial(export, trainer, narrow))
    work.remove()
    return models


def importance_batches(trainer) -> paddle.io.DataLoader:
    """The dev set in batches of the training's size, for importance depends on it, and on no other."""
    size = trainer.args.per_device_train_batch_size
    return paddle.io.DataLoader(trainer.eval_dataset, batch_size=size, collate_fn=trainer.data_collator)


def source_of(model: Exported, records: Records) -> Source:
    """An FP32 model among the compressed ones, to quantize."""
    weights = records[model.model]["weights"]
    return Source(records.folder / model.model, model.model, model.width or "", model.width, weights, True)


def find_source(prefix: Path, records: Records) -> Source:
    """The model of --input_dir, to quantize, and the place of what is made from it.

    By its content it is one of those that are in the folder with a record, wherever the copy lies. A model in a
    folder within is beside what is made from it. Of any other the place carries its digest.
    """
    weights = exported_digest(prefix)
    for model in records.earlier([])[0]:
        if records[model.model].get("weights") == weights:
            return source_of(model, records)
    path, folder = prefix.resolve(), records.folder.resolve()
    if folder in path.parents and path.parent != folder:
        name = path.relative_to(folder)
        place = name.parent.as_posix()
        return Source(prefix, name.as_posix(), place, width_of_folder(place), weights, False)
    place = f"from_{path.parent.name}_{weights.rpartition(':')[2][:8]}"
    return Source(prefix, str(path), place, None, weights, False)


def width_of_folder(name: str) -> Optional[str]:
    try:
        parse_width(name)
    except InputError:
        return None
    return name


def quantize(trainer, source: Source, config: PTQConfig, records: Records) -> List[Exported]:
    """Quantize one FP32 model by the whole grid; see quantization.py."""
    texts = calibration_texts(trainer, max(TEXTS, *config.batch_size_list))
    smoothed_on = texts_digest(texts[:TEXTS]) if config.smoothing else None
    shared = {**beside_every_model(trainer), "source": source.weights, "smoothing": smoothed_on}
    made_from = {}
    for model in int8_models(source, config):
        made_from[model] = {**model._asdict(), **shared, "calibration": texts_digest(texts[: model.calibration_texts])}
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
            Exported(
                model="/".join(filter(None, (source.folder, name, config.output_filename_prefix))),
                precision="int8",
                width=source.width,
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
    """Features of the dev set, drawn by the seed; the first n of them do not depend on how many are drawn."""
    order = list(range(len(trainer.eval_dataset)))
    random.Random(trainer.args.seed).shuffle(order)
    return [trainer.eval_dataset[i] for i in order[:count]]


def texts_digest(texts: List[Dict]) -> str:
    names = ("input_ids", "token_type_ids")
    return json_digest([[np.asarray(text[name]).tolist() for name in names] for text in texts])


# ---------------------------------------------------------------- the report


def write_the_report(trainer, task_name: str, models: List[Exported], records: Records, config: CompressConfig) -> Dict:
    """Measure the models of this call and those of earlier ones that are still there; write and print the report."""
    earlier, left_out = records.earlier(models)
    for reason, names in left_out.items():
        print(f"not in the report: {', '.join(names)} in {records.folder} ({reason})")
    original = records.folder / ORIGINAL.model
    conditions = {
        "dev_examples": examples_digest(trainer.eval_dataset),
        "original": records[ORIGINAL.model]["files"],
        "processor": describe_processor(usable_processors()),
        "figures": FIGURES,
    }
    if config.wants_onnx:
        export_onnx_files(models + earlier, records)
    versions = {engine: installed_version(BACKENDS[engine].package) for engine in ENGINES}
    rows = []
    for model in models + earlier:
        prefix, onnx_file = records.folder / model.model, records.onnx_of(model)
        measure_it = partial(measure, prefix, model.precision, trainer.eval_examples, trainer.metric, original)
        row = {**model._asdict(), **records.measured(model, conditions, measure_it)}
        if onnx_file:
            row["onnx"] = onnx_file
            with_engines = {**conditions, "engines": versions}
            compare = partial(compare_engines, prefix, model.precision, trainer.eval_examples, original)
            speeds = (
                records.measured(model, with_engines, compare, "engines")
                if config.compare_engines
                else records.measured_before(model, with_engines, "engines")
            )
            row.update({"engines": speeds} if speeds else {})
        rows.append(row)
    report = {"task_name": task_name, "seed": trainer.args.seed, **summarize(rows, trainer.args.metric_for_best_model)}
    path = write_report(report, records.folder)
    print_report(report, records.folder, task_name, trainer.origin.get("data_dir"))
    print(f"report: {path}")
    print_best_engine(report, records.folder)
    return report


def export_onnx_files(models: List[Exported], records: Records) -> None:
    """Write the .onnx file of each model that has not got it."""
    for model in tqdm(models, desc="ONNX files", leave=False):
        if model.quantize_activation_matmuls:
            print(f"{records.folder / model.model}: no .onnx file, which quantize_activation_matmuls is not for")
        else:
            records.export_onnx(model)
