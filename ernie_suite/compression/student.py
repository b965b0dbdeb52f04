"""A smaller model of its own as the student of a fine-tuned one (--student).

The student learns the teacher's logits, and its hidden states through a learnt projection where its layers are
narrower or wider (TinyBERT, Jiao et al. 2020, section 3.1, without the attention maps, whose number of heads differs):
the output of its embeddings is matched with that of the teacher's, and each layer's output with that of the teacher's
layer at the same share of the depth.
"""

import copy
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ernie_suite.compression.records import Exported, Records, beside_every_model, model_digest
from ernie_suite.compression.supernet import HIDDEN_LOSS_WEIGHT, run_with_hidden
from ernie_suite.compression.training import export, train_and_export
from ernie_suite.export import write_vocab
from ernie_suite.models import find_head, load_model, load_tokenizer, wanted_head
from ernie_suite.runs import deciding_settings
from ernie_suite.tasks.family import soft_cross_entropy
from ernie_suite.unlabeled import Unlabeled

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
        own, teachers = head.describe(), wanted_head(family.task_class, task.labels)
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


def teach(
    trainer, student: Student, file_name: str, records: Records, unlabeled: Optional[Unlabeled] = None
) -> List[Exported]:
    """Train the student, export it, and write it as a fine-tuned model's folder, which every script takes."""
    model = Exported(f"student_{student.name}/{file_name}", "fp32", student=student.name)
    made_from = {
        **deciding_settings(trainer),
        **beside_every_model(trainer),
        "model": records.fine_tuned,
        "student": model_digest(student.model),  # with the weights of its head, which the seed decides
    }

    def write(_, taught: nn.Layer, target: Path) -> None:
        write_folder(trainer, taught, student.tokenizer, target.parent)
        export(trainer, taught, target)

    make_students = partial(PretrainedStudent, trainer.model, student, trainer.family.soft_criterion)
    train_and_export(trainer, [model], made_from, make_students, records, unlabeled, write)
    return [model]


def write_folder(trainer, model: nn.Layer, tokenizer, folder: Path) -> None:
    """Write a model with its tokenizer and what a fine-tuned model's folder holds besides."""
    model.config.id2label = dict(enumerate(trainer.task.labels)) or model.config.id2label
    with publish(folder) as temporary:
        model.save_pretrained(str(temporary))
        tokenizer.save_pretrained(str(temporary))
        write_vocab(trainer.task.tokenizer, temporary)
        trainer.inference_config.save(temporary)


# ---------------------------------------------------------------- what it learns


def matched_layers(student_layers: int, teacher_layers: int) -> List[Tuple[int, int]]:
    """(output of the student, output of the teacher) to compare: 0 is the embeddings', the last the last layer's."""
    return [(own, max(own and 1, own * teacher_layers // student_layers)) for own in range(student_layers + 1)]


class HiddenDistance(nn.Layer):
    """How far a student's hidden states are from its teacher's.

    Where they are of different widths, the student's are projected by learnt matrices, one for the embeddings and one
    for the layers; they are not a part of the student.
    """

    def __init__(self, student: nn.Layer, teacher: nn.Layer):
        super().__init__()
        models = (student.base_model, teacher.base_model)
        self.pairs = matched_layers(*(len(model.encoder.layers) for model in models))
        self.of_embeddings = projection(*(model.get_input_embeddings().weight.shape[1] for model in models))
        self.of_layers = projection(*(model.encoder.layers[0].linear2.weight.shape[1] for model in models))

    def forward(self, hidden: Sequence[paddle.Tensor], taught: Sequence[paddle.Tensor], mask: paddle.Tensor):
        """Mean squared errors of the tokens where mask [batch, seq_len] is true, summed over the matched layers.

        hidden, taught: the outputs of the student's and the teacher's embeddings and layers, [batch, seq_len, width].
        """
        losses = []
        for own, other in self.pairs:
            project = self.of_layers if own else self.of_embeddings
            losses.append(nn.functional.mse_loss(project(hidden[own][mask]), taught[other][mask]))
        return sum(losses)


def projection(width: int, teachers: int) -> nn.Layer:
    return nn.Identity() if width == teachers else nn.Linear(width, teachers)


class PretrainedStudent:
    """A model that learns from a fine-tuned one: a distillation.Students of one.

    Args:
        teacher: the fine-tuned model; not changed.
        student: what learns.
        soft_criterion: TaskFamily.soft_criterion, by which the logits are learnt.
    """

    def __init__(self, teacher: nn.Layer, student: Student, soft_criterion: Callable = soft_cross_entropy):
        self.soft_criterion = soft_criterion
        self.teacher, self.taught, self.names = copy.deepcopy(teacher), student, [student.name]
        self.teacher.eval()
        self.distance = HiddenDistance(student.model, teacher)
        self.model = nn.LayerDict({"student": student.model, "distance": self.distance})

    def losses(self, batch: Dict) -> Iterator[paddle.Tensor]:
        """The soft criterion of the logits plus the distance of the hidden states."""
        with paddle.no_grad():
            taught = run_with_hidden(self.teacher, batch)
        own = run_with_hidden(self.taught.model, batch)
        mask = batch["input_ids"] != self.teacher.config.pad_token_id
        distance = self.distance(own.hidden, taught.hidden, mask)
        yield self.soft_criterion(own.logits, taught.logits, mask) + HIDDEN_LOSS_WEIGHT * distance

    def student(self, name: str) -> nn.Layer:
        return copy.deepcopy(self.taught.model)
