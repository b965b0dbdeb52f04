"""What every step of compression that trains has in common: the text, the loop, and the models that come of it."""

from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Optional

from ernie_suite.compression.distillation import Students, train_students, training_on
from ernie_suite.compression.records import Exported, Records, as_json, still_to_make
from ernie_suite.compression.work import WorkFolder
from ernie_suite.export import export_static
from ernie_suite.unlabeled import MixedFeatures, Unlabeled, mix

import paddle


def train_and_export(
    trainer,
    models: List[Exported],
    made_from: Dict,
    make_students: Callable[[], Students],
    records: Records,
    unlabeled: Optional[Unlabeled] = None,
    export_student: Optional[Callable] = None,
    described: Callable[[Exported], Exported] = lambda model: model,
) -> None:
    """Train the students that become `models`, one each, and write those that are not there as they would be made.

    An interrupted training goes on; see distillation.py.

    Args:
        made_from: all that decides the result, but for the unlabelled text.
        make_students: called only where something is to be trained.
        unlabeled: text to learn from beside the training set.
        export_student: writes (trainer, model, prefix); `export` where nothing else is given.
        described: a model with what is known of it only after make_students.
    """
    made_from = as_json({**made_from, **({"unlabeled_data": unlabeled.digest} if unlabeled is not None else {})})
    first = trainer.args.should_save
    work = WorkFolder(trainer.args.output_dir, records.folder, made_from)
    if records.anew and first:
        work.remove()
    missing = trainer.agreed(still_to_make(dict.fromkeys(models, made_from), records) if first else None)
    if missing:
        dataset = mixed_text(trainer, unlabeled) if unlabeled is not None else None
        with paddle.utils.unique_name.guard("compression_"):  # the optimizer's tensors count from 0, also later
            students = make_students()
            best = train_students(trainer, students, work, dataset)
        for name, model in zip(students.names, models):
            if model in missing and first:
                student = students.student(name)
                student.set_state_dict(best[name].weights)
                records.write(described(model), made_from, partial(export_student or export, trainer, student))
    if first:
        work.remove()


def mixed_text(trainer, unlabeled: Unlabeled) -> MixedFeatures:
    """The training set with unlabelled text; says how much of each an epoch reads, and in how many steps."""
    mixed = mix(trainer, unlabeled)
    with training_on(trainer, mixed):
        of_epoch, steps = trainer.count_steps()
    if not trainer.args.should_save:
        return mixed
    drawn = f", {len(unlabeled.examples):,} of them drawn" if len(unlabeled.examples) < unlabeled.total else ""
    print(
        f"{unlabeled.file}: {unlabeled.total:,} examples without labels{drawn}; an epoch reads "
        f"{len(mixed.labelled):,} inputs with labels and {mixed.unlabeled_of_epoch:,} without in {of_epoch:,} steps; "
        f"{steps:,} steps in all"
    )
    return mixed


def export(trainer, model, target: Path) -> None:
    """Write a model as TARGET.pdmodel, with what it takes to serve it."""
    export_static(model, trainer.task.tokenizer, trainer.inference_config, target.parent, target.name)
