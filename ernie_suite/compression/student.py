"""A smaller model of its own as the student of a fine-tuned one (--student).

The student learns the teacher's logits, and its hidden states through a learnt projection where its layers are
narrower or wider (TinyBERT, Jiao et al. 2020, section 3.1, without the attention maps, whose number of heads differs):
what its first layer reads is matched with what the teacher's first layer reads, and each layer's output with that of
the teacher's layer at the same share of the depth.
"""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from ernie_suite.export import write_vocab
from ernie_suite.models import Head, find_head, load_model, load_tokenizer

import paddle
from paddle import nn
from paddlenlp.trainer.trainer_utils import set_seed

from ernie_inference.errors import InputError
from ernie_inference.files import publish
from ernie_inference.wordpiece import WordPiece


class Student(NamedTuple):
    """A model to be taught.

    Attributes:
        source: the published name or the folder that it came from.
        model, tokenizer: of paddlenlp.transformers.
    """

    source: str
    model: nn.Layer
    tokenizer: Any

    @property
    def name(self) -> str:
        """What stands for it in folders and in the report: the published name, or what its folder is called."""
        return Path(self.source).resolve().name


def load_student(trainer, source: str) -> Student:
    """A published model or one of a folder, with a head for the labels of the teacher, which trainer.model is.

    Raises:
        InputError: it cannot be had, has another vocabulary, or is fine-tuned for another task or other labels.
    """
    task, family = trainer.task, trainer.family
    head = find_head(source)
    if head is not None and not head.fits(family.task_class, task.labels):
        own, teachers = head.describe(), Head(task.name, len(task.labels), task.labels)
        raise InputError(
            f"the student {source} was fine-tuned for {own}, the teacher for {teachers.describe()}: "
            "give one that was not fine-tuned, or for the same"
        )
    tokenizer, wordpiece, lowercase = load_tokenizer(source)
    check_same_vocabulary(source, wordpiece, task.tokenizer)
    if lowercase != trainer.inference_config.lowercase:
        raise InputError(
            f"the student {source} {'reads' if lowercase else 'does not read'} letters as lower-case ones, "
            "unlike the teacher: give one that does as the teacher"
        )
    set_seed(trainer.args.seed)  # of a new head's weights
    model = load_model(family, source, task.labels, keep_order=True)
    layers = getattr(getattr(model.base_model, "encoder", None), "layers", None)
    if not layers or not isinstance(layers[0], nn.TransformerEncoderLayer):
        raise InputError(f"the student {source} is none that can be taught: give an ERNIE, BERT, RoBERTa or ELECTRA")
    if model.config.vocab_size < wordpiece.size:
        raise InputError(f"the student {source} has {model.config.vocab_size} tokens, its vocabulary {wordpiece.size}")
    longest = model.config.max_position_embeddings
    if task.max_seq_length > longest:
        raise InputError(
            f"the student {source} has {longest} positions, fewer than max_seq_length {task.max_seq_length}: "
            "give another, or a smaller --max_seq_length"
        )
    return Student(source, model, tokenizer)


def check_same_vocabulary(source: str, own: WordPiece, teachers: WordPiece) -> None:
    """Raises InputError where the same text has other ids for the student than for the teacher."""
    if own.vocab == teachers.vocab:
        return
    number = {token: i for token, i in own.vocab.items() if teachers.vocab.get(token) != i}
    token = min(number, key=number.__getitem__, default=None)
    differs = f"token {number[token]}, {token!r}" if token is not None else "the end"
    raise InputError(
        f"the student {source} has another vocabulary than the teacher ({own.size:,} tokens, the teacher "
        f"{teachers.size:,}; they differ from {differs}, on): give a student with the teacher's vocab.txt"
    )


def save_student(trainer, student: Student, folder: Path) -> None:
    """Write the student as a fine-tuned model's folder, which every script takes for --model_name_or_path."""
    student.model.config.id2label = dict(enumerate(trainer.task.labels)) or student.model.config.id2label
    with publish(folder) as temporary:
        student.model.save_pretrained(str(temporary))
        student.tokenizer.save_pretrained(str(temporary))
        write_vocab(trainer.task.tokenizer, temporary)
        trainer.inference_config.save(temporary)


# ---------------------------------------------------------------- what is learnt of the hidden states


class HiddenStates:
    """What the first layer of a model's encoder reads and what each layer gives, in the forward pass before.

    Attributes:
        states: layers + 1 tensors [batch, seq_len, hidden].
    """

    def __init__(self, model: nn.Layer):
        self.states: List[paddle.Tensor] = []
        layers = model.base_model.encoder.layers
        layers[0].register_forward_pre_hook(self._begin)
        for layer in layers:
            layer.register_forward_post_hook(self._add)

    def _begin(self, layer, inputs) -> None:
        self.states = [inputs[0]]

    def _add(self, layer, inputs, output) -> None:
        self.states.append(output[0] if isinstance(output, tuple) else output)


def matched_layers(student_layers: int, teacher_layers: int) -> List[Tuple[int, int]]:
    """(state of the student, state of the teacher) to compare: 0 is what the first layer reads, the last the last."""
    return [(own, max(own and 1, own * teacher_layers // student_layers)) for own in range(student_layers + 1)]


class HiddenDistance(nn.Layer):
    """How far a student's hidden states are from its teacher's.

    Where they are of different widths, the student's are projected by two learnt matrices, one for what the first layer
    reads and one for what the layers give; they are not a part of the student.
    """

    def __init__(self, student: nn.Layer, teacher: nn.Layer):
        super().__init__()
        models = (student, teacher)
        own, other = (model.base_model.encoder.layers[0].linear2.weight.shape[1] for model in models)
        self.pairs = matched_layers(*(len(model.base_model.encoder.layers) for model in models))
        self.of_embeddings = nn.Linear(own, other) if own != other else nn.Identity()
        self.of_layers = nn.Linear(own, other) if own != other else nn.Identity()

    def forward(self, states: Sequence[paddle.Tensor], targets: Sequence[paddle.Tensor], mask: paddle.Tensor):
        """Mean squared errors of the tokens where mask [batch, seq_len] is true, summed over the matched layers."""
        losses = []
        for own, other in self.pairs:
            project = self.of_layers if own else self.of_embeddings
            losses.append(nn.functional.mse_loss(project(states[own][mask]), targets[other][mask].detach()))
        return sum(losses)


def forward(model: nn.Layer, batch: Dict):
    """The logits of a batch."""
    return model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
