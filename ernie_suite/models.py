"""The folder of a model: its tokenizer, its weights, and the head that it has or gets."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Type

from ernie_suite.tasks import FAMILIES, TaskFamily

import paddle
import paddlenlp
from paddlenlp.transformers import AutoTokenizer
from paddlenlp.transformers.model_utils import load_state_dict
from paddlenlp.utils.log import logger

from ernie_inference.console import note
from ernie_inference.errors import InputError
from ernie_inference.inference_config import INFERENCE_FILE, VOCAB_FILE, InferenceConfig
from ernie_inference.tasks import TASKS, WITH_THRESHOLDS
from ernie_inference.tasks.base import Task
from ernie_inference.text_files import read_text
from ernie_inference.wordpiece import SPECIAL_TOKENS, WordPiece

MASK_TOKEN = "[MASK]"


def load_tokenizer(name: str):
    """PaddleNLP's tokenizer of a model, our WordPiece of the same vocabulary, and whether it lower-cases.

    Raises:
        InputError: there is no such model, or a tokenizer whose ids WordPiece cannot give.
    """
    is_folder = os.path.isabs(name) or name.startswith(".") or os.path.isdir(name.split(os.sep)[0])
    if is_folder and not os.path.isdir(name):
        raise InputError(f"the model folder {name} does not exist")
    if is_folder and not os.path.isfile(os.path.join(name, VOCAB_FILE)):
        raise InputError(f"{name} has no {VOCAB_FILE}: it is not the folder of a model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # whatever a failed download or an unknown name raises
        raise unknown_model(name, error) from None
    lowercase = bool(getattr(tokenizer, "do_lower_case", True))
    try:
        wordpiece = WordPiece.from_file(tokenizer.init_kwargs.get("vocab_file", ""), lowercase)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {error}") from None
    check_same_ids(name, tokenizer, wordpiece)
    return tokenizer, wordpiece, lowercase


def check_same_ids(name: str, tokenizer, wordpiece: WordPiece) -> None:
    """Check that PaddleNLP's tokenizer of a model gives a text the ids that WordPiece gives it.

    Raises:
        InputError: it has tokens beside vocab.txt, is no WordPiece tokenizer, or splits otherwise.
    """
    added = sorted(set(tokenizer.added_tokens_encoder) - {*SPECIAL_TOKENS, MASK_TOKEN})
    if added:
        raise InputError(
            f"{name}: the tokens {', '.join(added[:5])} were added to its tokenizer and are not in {VOCAB_FILE}, the "
            f"only file that is read: give them lines in it, as far as the model has embeddings"
        )
    plain = [token for token in wordpiece.lines if not token.startswith(("[", "##"))]
    text = " ".join([*plain[:: len(plain) // 500 + 1], "Äpfel, CAFÉ 2018 中文ＡＢ，1.5%"])
    if tokenizer.convert_tokens_to_ids(tokenizer._tokenize(text)) != wordpiece.encode(text).ids:
        raise InputError(
            f"{name}: its {type(tokenizer).__name__} splits text otherwise than WordPiece as ERNIE 3.0 and BERT have it"
        )


def load_model(family: TaskFamily, name: str, labels: List[str], keep_order: bool = False):
    """The model of a folder or a published name, with a head for these labels, in this order.

    A fine-tuned folder keeps its head where that is for the same task and the same labels, and gets a new one, with a
    note, where it is not. For the order of the labels see head_order; with keep_order a head that has them in another
    order, or does not say in which, is replaced too.

    Raises:
        InputError: it cannot be had.
    """
    if os.path.isdir(name) and not any(Path(name).glob("model_state*.pdparams")):
        raise InputError(f"{name} holds no weights (model_state.pdparams): it is not the folder of a trained model")
    head = find_head(name)
    options: Dict[str, Any] = {"num_classes": len(labels)} if labels else {}
    logger.set_level("ERROR")  # that the head of a pretrained model is new is no news
    try:
        if head is not None and not (head.fits(family.task_class, labels) and (not keep_order or head.is_for(labels))):
            wanted = wanted_head(family.task_class, labels)
            note(f"{name} was fine-tuned for {head.describe()}; it gets a new head for {wanted.describe()}")
            options["state_dict"] = weights_without_head(name)
        return family.auto_model.from_pretrained(name, **options)
    except Exception as error:
        raise unknown_model(name, error) from None
    finally:
        logger.set_level("WARNING")


class Head(NamedTuple):
    """The head of a fine-tuned model: its task, the number of its outputs, their labels in order where known, and the
    thresholds of labels of which a text may have several."""

    task: str
    size: int
    labels: Optional[List[str]]
    thresholds: Optional[List[float]] = None

    def fits(self, task_class: Type[Task], labels: List[str]) -> bool:
        """Whether the head answers this task with these labels, in whatever order."""
        if self.task != task_class.name or (self.thresholds is not None) != has_thresholds(task_class):
            return False
        if self.labels is None:
            return not labels or self.size == len(labels)
        return sorted(self.labels) == sorted(labels)

    def is_for(self, labels: List[str]) -> bool:
        """Whether its outputs are known to be these labels in this order."""
        return (self.labels or []) == labels

    def describe(self) -> str:
        if not TASKS[self.task].has_labels:
            return self.task
        shown = f" ({', '.join(self.labels[:5])}{', ...' if self.size > 5 else ''})" if self.labels else ""
        several = "" if self.thresholds is None else " of which a text may have several"
        return f"{self.task} with {self.size} labels{several}{shown}"


def has_thresholds(task_class: Type[Task]) -> bool:
    return task_class in WITH_THRESHOLDS.values()


def wanted_head(task_class: Type[Task], labels: List[str]) -> Head:
    return Head(task_class.name, len(labels), labels, [] if has_thresholds(task_class) else None)


def find_head(folder: str) -> Optional[Head]:
    """The head of a fine-tuned model's folder; None for a pretrained model, and for a published name.

    Raises:
        InputError: a file of the folder cannot be read.
    """
    config = read_model_config(Path(folder))
    architecture = (config.get("architectures") or [""])[0]
    task = next((family.name for family in FAMILIES.values() if architecture.endswith(family.head)), None)
    if task is None:
        return None
    if (Path(folder) / INFERENCE_FILE).exists():
        known = InferenceConfig.load(folder)
        return Head(task, len(known.labels), known.labels, known.thresholds)
    names = config.get("id2label") or {}
    labels = [str(names[key]) for key in sorted(names, key=int)]
    if not labels or labels == [f"LABEL_{i}" for i in range(len(labels))]:  # what PaddleNLP writes for no names
        return Head(task, len(labels) or config.get("num_labels", 2), None)
    return Head(task, len(labels), labels)


def read_model_config(folder: Path) -> Dict:
    """The config.json of a model's folder; empty where there is none.

    Raises:
        InputError: it is not what PaddleNLP writes.
    """
    path = folder / "config.json"
    try:
        config = json.loads(read_text(path))
        names, architectures = config.get("id2label") or {}, config.get("architectures") or []
        named = isinstance(names, dict) and all(map(str.isdigit, names))
        if named and isinstance(architectures, list) and all(isinstance(name, str) for name in architectures):
            return config
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (json.JSONDecodeError, RecursionError, AttributeError, TypeError):
        pass
    raise InputError(f"{path} is not a model's config.json: the model folder is damaged, copy or train it again")


def head_order(name: str, task_class: Type[Task], labels: List[str]) -> List[str]:
    """The labels in the order of the head that a fine-tuned model keeps, else as they are.

    The published orders of OCNLI and CMNLI differ; a model of one goes on, and is evaluated, on the other in its own.
    """
    head = find_head(name)
    if head is None or not head.labels or not head.fits(task_class, labels):
        return labels
    return list(head.labels)


def fitted_thresholds(name: str, task_class: Type[Task], labels: List[str]) -> Optional[List[float]]:
    """Those of the head that a fine-tuned model keeps; None where it keeps none, or its task has none."""
    head = find_head(name)
    return None if head is None or not head.fits(task_class, labels) else head.thresholds


def weights_without_head(folder: str) -> Dict[str, paddle.Tensor]:
    """The weights of a fine-tuned folder's encoder, by name: heads of different tasks have the same names."""
    weights = load_state_dict(str(Path(folder) / "model_state.pdparams"))
    prefix = f"{read_model_config(Path(folder)).get('model_type')}."
    encoder = {key: value for key, value in weights.items() if key.startswith(prefix)}
    if not encoder:  # PaddleNLP would take random ones and say nothing
        raise ValueError(f"model_state.pdparams holds no weights called {prefix}...")
    return encoder


def check_finetuned(folder: str, task_class: Type[Task], labels: List[str]) -> None:
    """Check, before a model is loaded, that a folder holds one fine-tuned for this task and these labels, in any order.

    Raises:
        InputError: it does not.
    """
    config = read_model_config(Path(folder))
    if not config:
        raise InputError(f"{folder} is not the folder of a fine-tuned model: give what run_*.py wrote")
    head = find_head(folder)
    if head is None or head.task != task_class.name:
        architecture = (config.get("architectures") or ["no known model"])[0]
        raise InputError(f"{folder} holds {architecture}, not one fine-tuned for {task_class.name}")
    if (head.thresholds is not None) != has_thresholds(task_class):
        of_data = wanted_head(task_class, labels).describe()
        raise InputError(
            f"{folder} was fine-tuned for {head.describe()}, the data are for {of_data}: "
            "give the data set the model was fine-tuned on"
        )
    if not head.fits(task_class, labels):
        raise InputError(
            f"{folder} was fine-tuned for {head.size} labels, the data have {len(labels)}"
            f"{' others' if head.size == len(labels) else ''}: give the data set the model was fine-tuned on"
        )


WRONG_SHAPE = re.compile(r"(\S+) receives a shape (\[[^]]*\]), but the expected shape is (\[[^]]*\])")


def unknown_model(name: str, error: Exception) -> InputError:
    """What to say of a model that PaddleNLP could not load, by what it raised."""
    reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
    mismatch = WRONG_SHAPE.search(str(error))
    if mismatch:
        weight, found, expected = mismatch.groups()
        return InputError(
            f"the weights of model {name} do not fit its config.json: {weight} is {found}, expected {expected}; "
            f"give a folder whose files belong together"
        )
    if os.path.isdir(name):
        return InputError(f"the model in {name} cannot be loaded ({reason}): its files are damaged or not a model's")
    return InputError(
        f"model {name} cannot be had ({reason}): give a folder, or a published name and a network; "
        f"`python examples/make_small_ernie.py` makes a small one without"
    )


def versions() -> Dict[str, str]:
    return {"python": sys.version.split()[0], "paddle": paddle.__version__, "paddlenlp": paddlenlp.__version__}
