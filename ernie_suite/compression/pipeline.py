"""trainer.compress(), step by step: check, export, prune, quantize, measure, report."""

import itertools
import random
from functools import cache, partial
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Union

from ernie_suite.compression.budget import Budgets, of_report
from ernie_suite.compression.config import (
    CompressConfig,
    DynabertConfig,
    PTQConfig,
    check_calibration_sizes,
    check_input_dir,
    check_onnx,
    check_steps,
    check_training_options,
)
from ernie_suite.compression.halves import count_calibration_texts, on_choosing_half
from ernie_suite.compression.importance import compute_importance, find_drop_order
from ernie_suite.compression.quantization import calibrate, folder_name, write_quantized
from ernie_suite.compression.records import (
    Exported,
    Records,
    beside_every_model,
    exported_digest,
    model_digest,
    still_to_make,
)
from ernie_suite.compression.report import (
    FIGURES,
    compare_engines,
    make_report,
    measure,
    print_best_engine,
    print_report,
    write_report,
)
from ernie_suite.compression.student import load_student, teach
from ernie_suite.compression.subnetworks import SubNetwork, make_grid, shape_of, shares_of_name
from ernie_suite.compression.supernet import SubNetworkStudents, Supernet
from ernie_suite.compression.training import export, train_and_export
from ernie_suite.export import check_written, write_vocab
from ernie_suite.runs import deciding_settings, examples_digest, json_digest
from ernie_suite.tasks import FAMILIES
from ernie_suite.unlabeled import Unlabeled, read_unlabeled

import numpy as np
import paddle
from tqdm import tqdm

from ernie_inference.engine_choice import ENGINES
from ernie_inference.engines.availability import installed_version
from ernie_inference.engines.backends import BACKENDS
from ernie_inference.errors import InputError
from ernie_inference.files import publish
from ernie_inference.processors import describe_processor, usable_processors

DROP_ORDER_TEXTS = 512
ORIGINAL = Exported("inference/infer", "fp32")


class Source(NamedTuple):
    """An FP32 model to quantize.

    Attributes:
        prefix: where it is.
        name: how the report calls it; see Exported.source.
        folder: where its INT8 models go, relative to the folder of the compressed models.
        origin: what it is, or where nothing says so an Exported without width and the like.
        weights: records.exported_digest.
        fine_tuned: whether it was made from the fine-tuned model of this compression.
    """

    prefix: Path
    name: str
    folder: str
    origin: Exported
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

    Writes to output_dir inference/infer.* (the model as it came), 0.75/float32.* (pruned; in depth too,
    0.75-depth0.5/float32.*; by speed, speedup4/float32.*), 0.75/hist16/int8.* (pruned and quantized), hist16/int8.*
    (quantized only), for each a record of what it was made from, and report.json. With quantize_embeddings each INT8
    model stands in hist16_embeddings/ too. With quantization_config.input_dir only that model is quantized: one of
    output_dir likewise, also where it is a copy elsewhere; any other to from_<its folder>_<digest>/hist16/int8.*. With
    config.student nothing is pruned: that model is trained instead, to student_<its name>/, where it is exported as
    the pruned ones are (student_<its name>/float32.*) and stands as the folder of a fine-tuned model besides.

    Results of several calls add up: models that are there already, made of the same, are kept, and the report has all
    that are there. With export_onnx each of those has its .onnx file beside it. Training follows trainer.args. An
    interrupted call goes on when it is made again; the state of its training is kept in trainer.args.output_dir until
    the pruned models are written. With trainer.args.overwrite_output_dir all that is asked for is made anew.

    Args:
        trainer: a trainer.FinetuneTrainer with the fine-tuned model, in each process. All of them train; the first one
            does the rest alone, and the others get {} once the training is done.
        task_name: the data set, for the commands that are printed.
        output_dir: a folder, usually <model>/compress.

    Returns:
        the report: {"task_name", "metric", "original", "best_int8", "models": [{the fields of records.Exported,
        "metrics", "change", "bytes", "texts_per_second", "speedup"; "onnx", its .onnx file, where there is one;
        "engines", {engine: how many times as fast as the original on Paddle}, where they were timed}], where they were
        timed "best_engine": {"model", "engine", "speedup"}, where there are models by speed-up "budgets", see
        budget.of_report, and what report.make_report adds}.

    Raises:
        InputError: something cannot work; nothing has been written by then but, to measure speed-ups, inference/infer.
    """
    config = compress_config or CompressConfig()
    check_training_options(pruning, config)
    pruning = pruning and config.student is None
    check_steps(pruning, quantization, config.quantization_config)
    check_onnx(quantization, config)
    subnetworks = check_trainer(trainer, config if pruning or config.student else None)
    input_prefix = check_input_dir(config.quantization_config, trainer.task) if quantization else None
    if quantization:
        check_calibration_sizes(config.quantization_config, count_calibration_texts(trainer))
    student = load_student(trainer, config.student) if config.student else None
    unlabeled = read_unlabeled(trainer, config.unlabeled_data) if config.unlabeled_data else None
    chooser = on_choosing_half(trainer)  # what makes a model does not see the texts that its change is shown on
    records = Records(Path(output_dir), model_digest(trainer.model), anew=trainer.args.overwrite_output_dir)

    first = trainer.args.should_save
    models = export_original(chooser, records) if first else [ORIGINAL]
    if pruning:
        models += prune(chooser, subnetworks, config, quantization, records, unlabeled)
    if student:
        models += teach(chooser, student, config.prune_config.output_filename_prefix, records, unlabeled)
    if not first:
        return {}
    if quantization:
        sources = [find_source(input_prefix, records)] if input_prefix else [source_of(m, records) for m in models]
        for source in sources:
            models += quantize(chooser, source, config.quantization_config, records)
    return write_the_report(trainer, task_name, models, records, config)


# ---------------------------------------------------------------- checks


def check_trainer(trainer, config: Optional[CompressConfig]) -> List[SubNetwork]:
    """The sub-networks to prune to (none without a config, and where a student is trained instead).

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
    if config is None:
        return []
    if not trainer.train_dataset:
        raise InputError("the training set is empty: pruning trains on it; use --no_pruning to quantize only")
    trainer.count_steps()
    return [] if config.student is not None else find_grid(model, config.prune_config)


# ---------------------------------------------------------------- steps


def export_original(trainer, records: Records) -> List[Exported]:
    made_from = {"model": records.fine_tuned, **beside_every_model(trainer)}
    if still_to_make({ORIGINAL: made_from}, records):
        records.write(ORIGINAL, made_from, partial(export, trainer, trainer.model))
    return [ORIGINAL]


def find_grid(model, config: DynabertConfig, drop_order: Optional[List[int]] = None) -> List[SubNetwork]:
    widths, depths = (list(map(float, shares or [])) for shares in (config.width_mult_list, config.depth_mult_list))
    return make_grid(widths, depths, shape_of(model), drop_order)


def prune(
    trainer,
    grid: List[SubNetwork],
    config: CompressConfig,
    quantization: bool,
    records: Records,
    unlabeled: Optional[Unlabeled] = None,
) -> List[Exported]:
    """Train and export some sub-networks, all of them together: those of a grid and those by speed; see supernet.py.

    Where layers are dropped by their importance, which layers that are is found when they are to be trained.
    """
    first = trainer.args.should_save
    importance = cache(lambda: compute_importance(trainer, importance_batches(trainer)))
    budgets = Budgets(trainer, records, ORIGINAL, config.quantization_config if quantization else None, importance)
    by_speed = trainer.agreed(budgets.networks(config.prune_config.target_speedup_list or []) if first else [])
    drop_layers = config.prune_config.drop_layers if any(each.depth for each in grid) else None
    made_from = {
        **deciding_settings(trainer),
        **beside_every_model(trainer),
        "model": records.fine_tuned,
        "subnetworks": " ".join(subnetwork.name for subnetwork in grid + by_speed),
        "layers": [subnetwork.layers for subnetwork in by_speed],
        "drop_layers": drop_layers,
    }
    file_name = config.prune_config.output_filename_prefix
    models = [Exported(f"{each.name}/{file_name}", "fp32", each.width, each.depth) for each in grid + by_speed]
    chosen = dict(zip(models, grid + by_speed))

    def make_students() -> SubNetworkStudents:
        if drop_layers == "importance":
            order = trainer.agreed(find_drop_order(trainer, drop_order_batches(trainer)) if first else None)
            chosen.update(zip(models, find_grid(trainer.model, config.prune_config, order)))
        return SubNetworkStudents(trainer.model, Supernet(trainer.model, importance()), list(chosen.values()))

    def with_layers(model: Exported) -> Exported:
        return model._replace(layers=chosen[model].layers)

    train_and_export(trainer, models, made_from, make_students, records, unlabeled, described=with_layers)
    return [records.exported(model.model) for model in models] if first else models


def importance_batches(trainer) -> paddle.io.DataLoader:
    """The dev set in batches of the training's size, for importance depends on it, and on no other."""
    size = trainer.args.per_device_train_batch_size
    return paddle.io.DataLoader(trainer.eval_dataset, batch_size=size, collate_fn=trainer.data_collator)


def drop_order_batches(trainer) -> List[Dict]:
    """Some of the dev set, which is read once for every layer that could be dropped; of like length, to save time."""
    texts = calibration_texts(trainer, DROP_ORDER_TEXTS)
    texts.sort(key=lambda text: len(text["input_ids"]))
    size = trainer.args.per_device_eval_batch_size
    return list(paddle.io.DataLoader(texts, batch_size=size, collate_fn=trainer.data_collator))


def source_of(model: Exported, records: Records) -> Source:
    """An FP32 model among the compressed ones, to quantize."""
    weights = records[model.model]["weights"]
    folder = "" if model.model == ORIGINAL.model else str(Path(model.model).parent)
    return Source(records.folder / model.model, model.model, folder, model, weights, True)


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
        width, depth = shares_of_name(place)
        return Source(prefix, name.as_posix(), place, Exported("", "fp32", width, depth), weights, False)
    place = f"from_{path.parent.name}_{weights.rpartition(':')[2][:8]}"
    return Source(prefix, str(path), place, Exported("", "fp32"), weights, False)


def quantize(trainer, source: Source, config: PTQConfig, records: Records) -> List[Exported]:
    """Quantize one FP32 model by the whole grid; see quantization.py."""
    texts = calibration_texts(trainer, max(config.batch_size_list))
    shared = {**beside_every_model(trainer), "source": source.weights}
    made_from = {}
    for model in int8_models(source, config):
        settings = model._replace(layers=None)._asdict()  # the weights of the source say which they are
        made_from[model] = {**settings, **shared, "calibration": texts_digest(texts[: model.calibration_texts])}
    missing = still_to_make(made_from, records)
    if not missing:
        return list(made_from)
    thresholds = calibrate(source.prefix, texts, config)
    for model in tqdm(missing, desc=f"INT8 models of {source.prefix}"):
        chosen = thresholds[model.algorithm, model.calibration_texts]
        write = partial(export_int8, trainer, source.prefix, chosen, config, embeddings=model.int8_embeddings)
        records.write(model, made_from[model], write, source.fine_tuned)
    return list(made_from)


def int8_models(source: Source, config: PTQConfig) -> List[Exported]:
    """What is made from an FP32 model."""
    models = []
    embeddings = (False, True) if config.quantize_embeddings else (False,)
    for algorithm, count, int8_embeddings in itertools.product(config.algo_list, config.batch_size_list, embeddings):
        name = folder_name(algorithm, count) + ("_embeddings" if int8_embeddings else "")
        models.append(
            source.origin._replace(
                model="/".join(filter(None, (source.folder, name, config.output_filename_prefix))),
                precision="int8",
                algorithm=algorithm,
                calibration_texts=count,
                int8_embeddings=int8_embeddings,
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
    rows, outcomes = [], {}
    for model in models + earlier:
        prefix, onnx_file = records.folder / model.model, records.onnx_of(model)
        measure_it = partial(measure, prefix, model.precision, trainer.eval_examples, trainer.metric, original)
        row = {**model._asdict(), **records.measured(model, conditions, measure_it)}
        outcomes[model.model] = row.pop("outcomes")
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
    report = {"task_name": task_name, **make_report(trainer, rows, outcomes, config)}
    report.update(of_report(records.folder, {Path(row["model"]).parts[0] for row in rows}))
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
