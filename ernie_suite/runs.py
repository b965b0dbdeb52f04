"""The folder of a run: what its interrupted form goes on from, what decides its result, and results.json.

One list says what decides a result, for training and for compression: `deciding_settings`.
"""

import hashlib
import json
import math
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np

from ernie_inference.errors import InputError
from ernie_inference.files import digest_of, write_json
from ernie_inference.inference_config import INFERENCE_FILE, VOCAB_FILE, InferenceConfig
from ernie_inference.text_files import read_text

RESULTS_FILE = "results.json"
SETTINGS_FILE = "settings.json"
ANALYSIS_FOLDER = "analysis"
COMPLETE_FILE = "complete"
PROGRESS_FILE = "progress.json"
TRAINER_STATE_FILE = "trainer_state.json"  # PaddleNLP's TRAINER_STATE_NAME; to import it takes seconds
ORIGIN = ("model_name_or_path", "data_dir")  # in the settings of results.json, though their content decides
# What a model folder is loaded from.
MODEL_FILES = (
    *("model_state*.pdparams", "*.safetensors", "config.json", "model_config.json", INFERENCE_FILE, VOCAB_FILE),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
SHOWN_CHANGES = 4

# The training arguments that change neither weights nor which state is kept. One that is not listed decides the result,
# so that a new one of PaddleNLP's does until somebody has looked at it.
HARMLESS_ARGUMENTS = {
    # what is done, and where it goes
    *("do_train", "do_eval", "do_predict", "do_export", "output_dir", "overwrite_output_dir", "run_name"),
    # what is shown and logged
    *("logging_dir", "logging_strategy", "logging_first_step", "logging_steps", "log_on_each_node", "disable_tqdm"),
    *("report_to", "wandb_api_key", "skip_memory_metrics", "skip_profile_timer"),
    # how it is computed, up to the order of sums; the number of processes is in the settings as world_size
    *("device", "no_cuda", "local_rank", "per_device_eval_batch_size", "eval_accumulation_steps"),
    *("dataloader_num_workers",),
    # which checkpoints are kept, and what the trainer sets by itself
    *("save_steps", "save_strategy", "save_total_limit", "save_on_each_node", "evaluation_strategy"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better", "label_names", "resume_from_checkpoint"),
    # what has no effect on these trainers
    *("prediction_loss_only", "max_evaluate_steps", "remove_unused_columns", "lazy_data_processing"),
}


# ---------------------------------------------------------------- what decides a result


def deciding_settings(trainer) -> Dict:
    """All that decides the result of a run of a FinetuneTrainer, as JSON holds it; equal settings, equal result.

    Training arguments that are not HARMLESS_ARGUMENTS, the number of processes, lengths, data set and labels,
    digests of the content and order of the training and dev examples, and the model it starts from: the name of a
    published one, the digest of a folder's files, or of the weights where a model came without a name. Take it before
    the first step, while the folder holds what the model was loaded from. Compression, which starts from the weights
    that the trainer holds, puts weights_digest(trainer.model) under "model".
    """
    arguments = {key: value for key, value in trainer.args.to_dict().items() if key not in HARMLESS_ARGUMENTS}
    name = trainer.origin.get("model_name_or_path")
    settings = {
        **arguments,
        "world_size": trainer.args.world_size,
        "max_seq_length": trainer.task.max_seq_length,
        "doc_stride": trainer.task.doc_stride,
        "long_texts": trainer.task.long_texts,
        "dataset": trainer.inference_config.dataset,
        "labels": list(trainer.task.labels),
        "train_examples": examples_digest(trainer.train_dataset),
        "dev_examples": examples_digest(trainer.eval_dataset),
        "model": weights_digest(trainer.model) if name is None else model_identity(name),
    }
    return json.loads(json.dumps(settings, default=str))


DIGEST = "sha256:"


def change_of_setting(key: str, before: Any, now: Any) -> str:
    """What is said of a setting that differs: both values, unless they say nothing to people."""
    if any(isinstance(value, list) or str(value).startswith(DIGEST) for value in (before, now)):
        return f"other {key}"
    return f"{key} {before} -> {now}"


def what_changed(before: Dict, now: Dict, change: Callable[[str, Any, Any], str] = change_of_setting) -> str:
    """In one line, what differs between two deciding_settings, or other settings; "" where nothing does.

    Args:
        change: (name, value before, value now) to what is said of it.
    """
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    shown = [change(key, before.get(key), now.get(key)) for key in changed[:SHOWN_CHANGES]]
    if len(changed) > SHOWN_CHANGES:
        shown.append(f"{len(changed) - SHOWN_CHANGES} more")
    return ", ".join(shown)


def json_digest(content) -> str:
    """The digest of what JSON can hold; of anything else, of how it prints."""
    text = json.dumps(content, sort_keys=True, default=str)
    return DIGEST + hashlib.sha256(text.encode()).hexdigest()


def examples_digest(dataset) -> Optional[str]:
    """The digest of the examples of features.Features in their order; None for no data set."""
    if dataset is None:
        return None
    digest = hashlib.sha256()
    for example in dataset.examples:
        digest.update(json.dumps(example, sort_keys=True, default=str).encode("ascii") + b"\n")
    return DIGEST + digest.hexdigest()


def weights_digest(model) -> str:
    """The digest of the names and values of a model's weights."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    return DIGEST + digest.hexdigest()


def model_identity(name_or_path: str) -> str:
    """A published model's name; of a folder, the digest of the files it is loaded from, wherever it lies."""
    folder = Path(name_or_path)
    if not folder.is_dir():
        return name_or_path
    paths = sorted(path for pattern in MODEL_FILES for path in folder.glob(pattern))
    return json_digest([[path.name for path in paths], digest_of(paths)])


# ---------------------------------------------------------------- when to evaluate and to save

EVALUATIONS_PER_EPOCH = 4
MOST_EVALUATIONS = 40
MOST_RESUMABLE_STATES = 10


def default_eval_steps(steps_per_epoch: int, total_steps: int) -> int:
    """Four evaluations an epoch, but about MOST_EVALUATIONS a run at most."""
    return max(1, steps_per_epoch // EVALUATIONS_PER_EPOCH, math.ceil(total_steps / MOST_EVALUATIONS))


def is_resumable_step(step: int, eval_steps: int, total_steps: int) -> bool:
    """Whether the evaluation at a step also keeps a state to go on from: MOST_RESUMABLE_STATES a run at most."""
    every = math.ceil(total_steps / eval_steps / MOST_RESUMABLE_STATES)
    return step % (eval_steps * every) == 0


# ---------------------------------------------------------------- a run and its folder


class FoundRun(NamedTuple):
    """What a folder holds of the run that is asked for.

    checkpoint: the state to go on from, of a training that was interrupted, or ended but was not yet saved.
    finished: the model in the folder is the one that this run trains.
    """

    checkpoint: Optional[str] = None
    finished: bool = False


def find_run(folder: Path, settings: Dict, anew: bool = False) -> FoundRun:
    """What there is of a run; nothing, where it is to be started anew.

    Raises:
        InputError: the folder holds an interrupted run with other settings.
    """
    checkpoint = resumable_checkpoint(folder, settings)
    return FoundRun(checkpoint, not anew and checkpoint is None and is_finished(folder, settings))


def is_finished(folder: Path, settings: Dict) -> bool:
    """Whether a folder holds the model of a training with these settings, as that training left it."""
    results = read_json(folder / RESULTS_FILE)
    before = {key: value for key, value in results.get("settings", {}).items() if key not in ORIGIN}
    return "training" in results and not what_changed(before, settings) and holds_its_result(folder)


def holds_its_result(folder: Path) -> bool:
    left = read_json(folder / RESULTS_FILE).get("training", {}).get("model")
    return left is not None and left == model_identity(str(folder))


def settings_of_run(trainer, folder: Path) -> Dict:
    """deciding_settings of a run in a folder; one that trains the model of its own folder ("in_place") keeps the start
    that it was begun with, for what it left there itself is no other start."""
    settings = deciding_settings(trainer)
    name = trainer.origin.get("model_name_or_path")
    if name is not None and folder.exists() and Path(name).resolve() == folder.resolve():
        settings["in_place"] = True
        before = read_json(folder / SETTINGS_FILE)
        begun = {**settings, "model": before.get("model")}
        if not what_changed(before, begun) and (any(folder.glob("checkpoint-*")) or holds_its_result(folder)):
            return begun
    return settings


def resumable_checkpoint(folder: Path, settings: Dict) -> Optional[str]:
    """The newest checkpoint to go on from of an interrupted run with the same settings; incomplete ones are removed.

    Raises:
        InputError: the folder holds a run with other settings.
    """
    found = list(folder.glob("checkpoint-*"))
    if found and not (folder / SETTINGS_FILE).exists():
        raise InputError(f"{folder} holds checkpoints of another program ({found[0].name}): give another --output_dir")
    for checkpoint in found:
        if not (checkpoint / COMPLETE_FILE).exists():
            shutil.rmtree(checkpoint)
    if not any(folder.glob("checkpoint-*")):
        return None
    changed = what_changed(read_json(folder / SETTINGS_FILE), settings)
    if changed:
        raise InputError(
            f"{folder} holds an interrupted run with other settings ({changed}): "
            f"give another --output_dir, or --overwrite_output_dir to start anew"
        )
    resumable = resumable_checkpoints(folder)
    if not resumable:
        return None
    state = trainer_state(resumable[-1])
    best = str(folder / Path(state["best_model_checkpoint"]).name)  # as the folder is called now
    write_json(resumable[-1] / TRAINER_STATE_FILE, {**state, "best_model_checkpoint": best})
    return str(resumable[-1])


def resumable_checkpoints(folder: Path) -> List[Path]:
    """The complete checkpoints that hold more than a best state, oldest first."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{PROGRESS_FILE}")]
    return sorted((path for path in found if (path / COMPLETE_FILE).exists()), key=step_of)


def trainer_state(checkpoint: Path) -> Dict:
    """What PaddleNLP's TrainerState keeps in a checkpoint."""
    return read_json(checkpoint / TRAINER_STATE_FILE)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def remove_superseded(folder: Path, best: str, kept: Optional[int]) -> None:
    """Remove all checkpoints but the best state, the newest `kept` to go on from (None: all of them), and the best
    state of their time."""
    resumable = resumable_checkpoints(folder)[-(kept or 0) :]
    needed = {Path(best).name, *(Path(trainer_state(path)["best_model_checkpoint"]).name for path in resumable)}
    needed.update(path.name for path in resumable)
    for checkpoint in folder.glob("checkpoint-*"):
        if checkpoint.name not in needed:
            shutil.rmtree(checkpoint)


def remove_checkpoints(folder: Path) -> None:
    """Remove all that a run needs while it lasts, also what a kill left half-written."""
    for rest in (*folder.glob("checkpoint-*"), *folder.glob(".writing-*")):
        shutil.rmtree(rest)
    for logs in [*(folder / "runs").glob("*"), folder / "runs"]:  # unless --report_to has filled them
        with suppress(OSError):
            logs.rmdir()


def remove_derived(folder: Path) -> None:
    """Remove what was made from the model that stood in a folder before: its exported form, its results, and what was
    said of its mistakes."""
    for name in ("export", ANALYSIS_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / RESULTS_FILE).unlink(missing_ok=True)


def remove_run(folder: Path) -> None:
    """Forget a run, interrupted or finished; what it made stays until there is something to put in its place."""
    if (folder / SETTINGS_FILE).exists():  # checkpoints of other programs are not ours to remove
        remove_checkpoints(folder)
    (folder / SETTINGS_FILE).unlink(missing_ok=True)


# ---------------------------------------------------------------- results


def update_results(folder: Path, config: InferenceConfig, settings: Optional[Dict], entries: Dict) -> None:
    """Add entries to results.json beside the model."""
    path = Path(folder) / RESULTS_FILE
    content = read_json(path)
    content.update({"task": config.task, "dataset": config.dataset, "versions": config.versions, **entries})
    if settings is not None:
        content["settings"] = settings
    write_json(path, content)


def read_json(path: Path) -> Dict:
    """The object in a file that a run wrote; {} where there is no such file.

    Raises:
        InputError: the file holds something else.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} is not what a run wrote: remove it, or give another --output_dir")
    return content
