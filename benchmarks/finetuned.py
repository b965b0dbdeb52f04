"""The trainer of a fine-tuned model's folder, as the run scripts would build it for the data set it was trained on."""

from pathlib import Path
from typing import Sequence, Tuple, Union

from ernie_suite.command_line import parse_arguments
from ernie_suite.scripts import build_trainer
from ernie_suite.tasks import FAMILIES
from ernie_suite.trainer import FinetuneTrainer

from ernie_inference.inference_config import InferenceConfig


def trainer_of(
    folder: Union[str, Path], split: str, output_dir: Union[str, Path], flags: Sequence[str] = ()
) -> Tuple[FinetuneTrainer, str]:
    """(the trainer, the name of the data set).

    Args:
        split: the flag that says which splits are read: --do_train or --do_eval.
        flags: further ones of the run scripts.
    """
    config = InferenceConfig.load(folder)
    family = FAMILIES[config.task]
    own = ["--task_name", config.dataset, split, "--max_seq_length", str(config.max_seq_length)]
    own += ["--doc_stride", str(config.doc_stride), "--disable_tqdm", "1"]
    folders = ["--model_name_or_path", str(folder), "--output_dir", str(output_dir)]
    arguments = parse_arguments(family, argv=[*own, *folders, *flags])
    return build_trainer(family, *arguments, finetuned=True), config.dataset
