"""trainer.compress(), step by step: check, export, prune, quantize, measure, report."""

import math
import random
from functools import cache, partial
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Union

from ernie_suite.compression.budget import Budgets, of_report
from ernie_suite.compression.config import (
    CompressConfig,
    DynabertConfig,
    check_calibration_sizes,
    check_input_dir,
    check_keep_vocab,
    check_onnx,
    check_steps,
    check_training_options,
    speedup_of,
)
from ernie_suite.compression.fresh_process import MEASURED_IN, FreshProcess, measure_memory
from ernie_suite.compression.halves import count_calibration_texts, on_choosing_half
from ernie_suite.compression.importance import compute_importance, find_drop_order
from ernie_suite.compression.int8_models import calibration_texts, quantize
from ernie_suite.compression.records import (
    Exported,
    Records,
    as_json,
    beside_every_model,
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
from ernie_suite.compression.sensitivity import check_mixed_precision
from ernie_suite.compression.sources import (
    ORIGINAL,
    find_source,
    folder_of,
    source_of,
    with_fewer_tokens,
    within,
)
from ernie_suite.compression.student import load_student, teach
from ernie_suite.compression.subnetworks import SubNetwork, make_grid, shape_of
from ernie_suite.compression.supernet import SubNetworkStudents, Supernet
from ernie_suite.compression.training import export, train_and_export
from ernie_suite.compression.vocabulary import with_kept_tokens, with_vocabulary_of
from ernie_suite.features import Features
from ernie_suite.runs import deciding_settings, examples_digest
from ernie_suite.sampler import WholeQuestions
from ernie_suite.tasks import FAMILIES
from ernie_suite.unlabeled import Unlabeled, read_unlabeled

import paddle
from tqdm import tqdm

from ernie_inference.engine_choice import ENGINES
from ernie_inference.engines.availability import installed_version
from ernie_inference.engines.backends import BACKENDS
from ernie_inference.errors import InputError
from ernie_inference.processors import describe_processor, usable_processors

DROP_ORDER_TEXTS = 512


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
    0.75x0.5/float32.*; by speed, speedup4/float32.*), 0.75/hist16/int8.* (pruned and quantized), hist16/int8.*
    (quantized only), for each a record of what it was made from, and report.json.
    With keep_vocab all of this is made of the model with the tokens that stay, and stands, with that model (float32.*),
    in a folder named by their number (vocab5000/); inference/infer is the model as it came all the same.
    With config.student nothing is pruned: that model is trained instead, to student_<its name>/, where it is exported
    as the pruned ones are (student_<its name>/float32.*) and stands as the folder of a fine-tuned model besides.
    With quantize_embeddings each INT8 model stands in hist16_embeddings/ too, with mixed_precision in hist16_mixed2/
    and so on. With quantization_config.input_dir only that model is quantized: one of output_dir likewise, also where
    it is a copy elsewhere; any other to from_<its folder>_<digest>/hist16/int8.*.

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
        "memory", see measuring.memory, where it was measured; "engines", {engine: how many times as fast as the
        original on Paddle}, where they were timed}], where they were timed "best_engine": {"model", "engine",
        "speedup"}, where there are models by speed-up "budgets", see budget.of_report, and what report.make_report
        adds}.

    Raises:
        InputError: something cannot work; nothing has been written by then but, to measure speed-ups, inference/infer.
    """
    config = compress_config or CompressConfig()
    check_training_options(pruning, config)
    pruning = pruning and config.student is None
    check_steps(pruning, quantization, config.quantization_config)
    check_onnx(quantization, config)
    keep_vocab = check_keep_vocab(config)
    subnetworks = check_trainer(trainer, config if pruning or config.student else None)
    input_prefix = check_input_dir(config.quantization_config, trainer.task) if quantization else None
    if quantization:
        check_calibration_sizes(config.quantization_config, count_calibration_texts(trainer))
        check_mixed_precision(config.quantization_config, len(trainer.model.base_model.encoder.layers))
    student = load_student(trainer, config.student) if config.student else None
    chooser = on_choosing_half(trainer)  # what makes a model does not see the texts that its change is shown on
    subject, base = with_vocabulary_of(chooser, input_prefix) if input_prefix else chooser, ORIGINAL
    file_name = config.prune_config.output_filename_prefix
    if keep_vocab is not None:
        subject = with_kept_tokens(chooser, keep_vocab)
        base = with_fewer_tokens(subject.model.config.vocab_size, file_name)
    unlabeled = read_unlabeled(subject, config.unlabeled_data) if config.unlabeled_data else None
    records = Records(Path(output_dir), model_digest(trainer.model), anew=trainer.args.overwrite_output_dir)

    first = trainer.args.should_save
    if first:
        export_as_it_is(trainer, ORIGINAL, records)
    models = [base]
    if first and base != ORIGINAL:
        export_as_it_is(subject, base, records)
    if pruning:
        lengths = find_report_lengths(trainer, subject) if config.prune_config.target_speedup_list else []
        models += prune(subject, base, subnetworks, config, quantization, records, lengths, unlabeled)
    if student:
        models += teach(subject, student, file_name, records, unlabeled)
    if not first:
        return {}
    if quantization:
        sources = [find_source(input_prefix, records)] if input_prefix else [source_of(m, records) for m in models]
        for source in sources:
            models += quantize(subject, source, config.quantization_config, records)
    return write_the_report(trainer, task_name, list(dict.fromkeys([ORIGINAL, *models])), records, config)


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


def export_as_it_is(trainer, model: Exported, records: Records) -> None:
    """Export the trainer's model."""
    made_from = {"model": records.fine_tuned, **beside_every_model(trainer)}
    if still_to_make({model: made_from}, records):
        records.write(model, made_from, partial(export, trainer, trainer.model))


def find_grid(model, config: DynabertConfig, drop_order: Optional[List[int]] = None) -> List[SubNetwork]:
    widths, depths = (list(map(float, shares or [])) for shares in (config.width_mult_list, config.depth_mult_list))
    return make_grid(widths, depths, shape_of(model), drop_order)


def prune(
    trainer,
    base: Exported,
    grid: List[SubNetwork],
    config: CompressConfig,
    quantization: bool,
    records: Records,
    report_lengths: Sequence[int],
    unlabeled: Optional[Unlabeled] = None,
) -> List[Exported]:
    """Train and export some sub-networks, all of them together: those of a grid and those by speed; see supernet.py.

    Where layers are dropped by their importance, which layers that are is found when they are to be trained.

    Args:
        base: the trainer's model itself, as it is exported.
        report_lengths: by find_report_lengths; needed for sub-networks by speed.
    """
    first = trainer.args.should_save
    ptq = config.quantization_config if quantization else None
    importance = cache(lambda: compute_importance(trainer, importance_batches(trainer)))
    budgets = Budgets(trainer, report_lengths, records, ORIGINAL, ptq, importance)
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
    models = [
        base._replace(model=within(folder_of(base), each.name, file_name), width=each.width, depth=each.depth)
        for each in grid + by_speed
    ]
    chosen = dict(zip(models, grid + by_speed))

    def make_students() -> SubNetworkStudents:
        if drop_layers == "importance":
            order = trainer.agreed(find_drop_order(trainer, drop_order_batches(trainer)) if first else None)
            chosen.update(zip(models, find_grid(trainer.model, config.prune_config, order)))
        net = Supernet(trainer.model, importance())
        return SubNetworkStudents(trainer.model, net, list(chosen.values()), trainer.family.soft_criterion)

    def with_layers(model: Exported) -> Exported:
        return model._replace(layers=chosen[model].layers)

    train_and_export(trainer, models, made_from, make_students, records, unlabeled, described=with_layers)
    return [records.exported(model.model) for model in models] if first else models


def find_report_lengths(trainer, subject) -> List[int]:
    """Tokens of the windows of a trainer's dev set, all of it, as models made by `subject` read them, which may have
    fewer tokens."""
    is_read_alike = subject.task is trainer.task
    dev_set = trainer.eval_dataset if is_read_alike else Features(subject.family, subject.task, trainer.eval_examples)
    return dev_set.lengths.tolist()


def importance_batches(trainer) -> paddle.io.DataLoader:
    """The dev set in batches of the training's size, for importance depends on it, and on no other."""
    sampler = WholeQuestions(trainer.eval_dataset, trainer.args.per_device_train_batch_size)
    return paddle.io.DataLoader(trainer.eval_dataset, batch_sampler=sampler, collate_fn=trainer.data_collator)


def drop_order_batches(trainer) -> List[Dict]:
    """Some of the dev set, which is read once for every layer that could be dropped; of like length, to save time."""
    size = trainer.args.per_device_eval_batch_size
    if trainer.family.compares_choices:
        sampler = WholeQuestions(trainer.eval_dataset, size)
        random.Random(trainer.args.seed).shuffle(sampler.batches)
        sampler.batches = sampler.batches[: math.ceil(DROP_ORDER_TEXTS / size)]
        loader = paddle.io.DataLoader(trainer.eval_dataset, batch_sampler=sampler, collate_fn=trainer.data_collator)
        return list(loader)
    texts = calibration_texts(trainer, DROP_ORDER_TEXTS)
    texts.sort(key=lambda text: len(text["input_ids"]))
    return list(paddle.io.DataLoader(texts, batch_size=size, collate_fn=trainer.data_collator))


# ---------------------------------------------------------------- the report


def write_the_report(trainer, task_name: str, models: List[Exported], records: Records, config: CompressConfig) -> Dict:
    """Measure the models of this call and those of earlier ones that are still there; write and print the report."""
    earlier, left_out = records.earlier(models)
    for reason, names in left_out.items():
        print(f"not in the report: {', '.join(names)} in {records.folder} ({reason})")
    original, examples = records.folder / ORIGINAL.model, trainer.eval_examples
    conditions = {
        "dev_examples": examples_digest(trainer.eval_dataset),
        "original": records[ORIGINAL.model]["files"],
        "processor": describe_processor(usable_processors()),
        "figures": FIGURES,
        "measured_in": MEASURED_IN,
    }
    if config.wants_onnx:
        export_onnx_files(models + earlier, records)
    machine = {"processor": conditions["processor"], "paddle": paddle.__version__}
    versions = {engine: installed_version(BACKENDS[engine].package) for engine in ENGINES}
    rows, outcomes = [], {}
    # Two: what other engines leave in theirs has no part in the speed with Paddle.
    with FreshProcess() as process, FreshProcess() as engines_process:
        for model in models + earlier:
            prefix, onnx_file = records.folder / model.model, records.onnx_of(model)
            measure_it = partial(measure, prefix, model.precision, examples, trainer.metric, original, process)
            row = {**as_json(model._asdict()), **records.measured(model, conditions, measure_it)}
            outcomes[model.model] = row.pop("outcomes")
            target = speedup_of(model.model)
            row.update({"target_speedup": target} if target else {})
            if config.keep_vocab is not None:
                row.update(records.measured(model, machine, partial(measure_memory, prefix, model.precision), "memory"))
            else:
                row.update(records.measured_before(model, machine, "memory") or {})
            if onnx_file:
                row["onnx"] = onnx_file
                with_engines = {**conditions, "engines": versions}
                compare = partial(compare_engines, prefix, model.precision, examples, original, engines_process)
                speeds = (
                    records.measured(model, with_engines, compare, "engines")
                    if config.compare_engines
                    else records.measured_before(model, with_engines, "engines")
                )
                row.update({"engines": speeds} if speeds else {})
            rows.append(row)
    report = {"task_name": task_name, **make_report(trainer, rows, outcomes, config)}
    report.update(of_report(records.folder, {folder for row in rows for folder in Path(row["model"]).parts}))
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
