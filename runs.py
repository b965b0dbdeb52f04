"""The folder of a run: what its interrupted form goes on from, what decides its result, and results.json.

One list says what decides a result, for training and for compression: `deciding_settings`.
"""

import hashlib
import json
import math
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Dict, Optional

import numpy as np
from paddlenlp.trainer.trainer import TRAINER_STATE_NAME
from paddlenlp.trainer.trainer_callback import TrainerState
from paddlenlp.trainer.trainer_utils import get_last_checkpoint

from ernie_predictor import INFERENCE_FILE, VOCAB_FILE, InferenceConfig, InputError
from files import write_json

RESULTS_FILE = "results.json"
SETTINGS_FILE = "settings.json"
COMPLETE_FILE = "complete"
# What a model folder is loaded from.
MODEL_FILES = ("model_state*.pdparams", "*.safetensors", "config.json", "model_config.json", INFERENCE_FILE, VOCAB_FILE)
MODEL_FILES += ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
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
        "dataset": trainer.inference_config.dataset,
        "labels": list(trainer.task.labels),
        "train_examples": examples_digest(trainer.train_dataset),
        "dev_examples": examples_digest(trainer.eval_dataset),
        "model": weights_digest(trainer.model) if name is None else model_identity(name),
    }
    return json.loads(json.dumps(settings, default=str))


def what_changed(before: Dict, now: Dict) -> str:
    """In one line, what differs between two deciding_settings; "" where nothing does."""
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    shown = [_change(key, before.get(key), now.get(key)) for key in changed[:SHOWN_CHANGES]]
    if len(changed) > SHOWN_CHANGES:
        shown.append(f"{len(changed) - SHOWN_CHANGES} more")
    return ", ".join(shown)


def _change(key: str, before, now) -> str:
    if any(isinstance(value, list) or str(value).startswith(DIGEST) for value in (before, now)):
        return f"other {key}"
    return f"{key} {before} -> {now}"


DIGEST = "sha256:"


def examples_digest(dataset) -> Optional[str]:
    """The digest of the examples of utils.Features in their order; None for no data set."""
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
    digest = hashlib.sha256()
    for path in sorted(path for pattern in MODEL_FILES for path in folder.glob(pattern)):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return DIGEST + digest.hexdigest()


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


# ---------------------------------------------------------------- folders


def resumable_checkpoint(folder: Path, settings: Dict) -> Optional[str]:
    """The newest complete checkpoint of an interrupted run with the same settings; incomplete ones are removed.

    Raises:
        InputError: the folder holds a run with other settings.
    """
    found = list(folder.glob("checkpoint-*"))
    if found and not (folder / SETTINGS_FILE).exists():
        raise InputError(f"{folder} holds checkpoints of another program ({found[0].name}): give another --output_dir")
    for checkpoint in found:
        if not (checkpoint / COMPLETE_FILE).exists():
            shutil.rmtree(checkpoint)
    checkpoint = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if checkpoint is None:
        return None
    changed = what_changed(json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8")), settings)
    if changed:
        raise InputError(
            f"{folder} holds an interrupted run with other settings ({changed}): "
            f"give another --output_dir, or --overwrite_output_dir to start anew"
        )
    state = TrainerState.load_from_json(os.path.join(checkpoint, TRAINER_STATE_NAME))
    if state.best_model_checkpoint:  # as the folder is called now
        state.best_model_checkpoint = str(folder / Path(state.best_model_checkpoint).name)
        state.save_to_json(os.path.join(checkpoint, TRAINER_STATE_NAME))
    return checkpoint


def remove_checkpoints(folder: Path) -> None:
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    for logs in [*(folder / "runs").glob("*"), folder / "runs"]:  # unless --report_to has filled them
        with suppress(OSError):
            logs.rmdir()


def remove_derived(folder: Path) -> None:
    """Remove what was made from the model that stood in a folder before: its exported form and its results."""
    shutil.rmtree(folder / "export", ignore_errors=True)
    (folder / RESULTS_FILE).unlink(missing_ok=True)


def remove_run(folder: Path) -> None:
    if (folder / SETTINGS_FILE).exists():  # checkpoints of other programs are not ours to remove
        remove_checkpoints(folder)
    for name in (RESULTS_FILE, SETTINGS_FILE):
        (folder / name).unlink(missing_ok=True)


def update_results(folder: Path, config: InferenceConfig, settings: Optional[Dict], entries: Dict) -> None:
    """Add entries to results.json beside the model."""
    path = Path(folder) / RESULTS_FILE
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content.update({"task": config.task, "dataset": config.dataset, "versions": config.versions, **entries})
    if settings is not None:
        content["settings"] = settings
    write_json(path, content)
