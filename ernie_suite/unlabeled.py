"""Text without labels, which a teacher answers: read from a file, checked, and mixed with the labelled text."""

import random
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple, TypeVar, Union

from ernie_suite.features import Features
from ernie_suite.reading import Example, json_lines
from ernie_suite.runs import DIGEST
from ernie_suite.texts import JSON_ENDINGS

import numpy as np
import paddle
from tqdm import tqdm

from ernie_inference.errors import InputError
from ernie_inference.files import digest_of
from ernie_inference.text_files import read_lines

TEXT_ENDING = ".txt"
# An epoch reads all that is labelled, and at most so many times as much that is not.
MOST_PER_LABELLED = 4

Item = TypeVar("Item")


class Unlabeled(NamedTuple):
    """What was read of a file.

    Attributes:
        file: its path.
        total: the examples that are in it.
        examples: those that were drawn, in an order drawn too.
        digest: of the file's content.
    """

    file: str
    total: int
    examples: List[Example]
    digest: str


def read_unlabeled(trainer, file: Union[str, Path]) -> Unlabeled:
    """The examples of a file of unlabelled text, as many as the training of a trainer.FinetuneTrainer can read.

    A .txt file has a text a line, a .json or .jsonl file an object a line; which fields it may have, the task family
    says (TaskFamily.unlabeled). Every line is checked. Of a file that holds more than the training reads, examples are
    drawn by the seed, so that memory depends on the training alone and not on the file.

    Raises:
        InputError: the file is not there, holds nothing, is not UTF-8, or a line of it has not the task's form.
    """
    path = Path(file)
    form = trainer.family.unlabeled(trainer.task, trainer.train_dataset.examples)
    rng = random.Random(trainer.args.seed)
    try:
        given = tqdm(unlabeled_lines(path), desc=str(path), unit=" lines", leave=False)
        found = (example for place, item in given for example in form.examples(item, place))
        count, drawn = draw(found, most_read(trainer), rng)
        digest = DIGEST + digest_of([path])
    except FileNotFoundError:
        raise InputError(f"--unlabeled_data {path} does not exist: give a file with a text a line") from None
    if not count:
        raise InputError(f"--unlabeled_data {path} holds no text: give a file with a text a line")
    rng.shuffle(drawn)
    return Unlabeled(str(path), count, [form.complete(example) for example in drawn], digest)


def unlabeled_lines(path: Path) -> Iterator[Tuple[str, Union[str, Dict]]]:
    """(place, text or object) for each line that is not blank.

    Raises:
        FileNotFoundError, InputError: the file cannot be read, or a line is no object.
    """
    if path.suffix.lower() in JSON_ENDINGS:
        yield from json_lines(path)
    elif path.suffix.lower() == TEXT_ENDING:
        for number, line in enumerate(read_lines(path), 1):
            if line.strip():
                yield f"{path}, line {number}", line.strip()
    else:
        raise InputError(
            f"--unlabeled_data {path}: call it {TEXT_ENDING} if it has a text a line, "
            f"{', '.join(JSON_ENDINGS)} if it has a JSON object a line"
        )


def most_read(trainer) -> int:
    """The most unlabelled examples that a training reads."""
    args = trainer.args
    if args.max_steps > 0:
        batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.dataset_world_size
        return args.max_steps * batch
    return max(1, int(np.ceil(args.num_train_epochs))) * MOST_PER_LABELLED * len(trainer.train_dataset)


def draw(items: Iterator[Item], most: int, rng: random.Random) -> Tuple[int, List[Item]]:
    """How many there are, and at most `most` of them, each as likely as any other (Vitter 1985, algorithm R)."""
    drawn: List[Item] = []
    count = 0
    for count, item in enumerate(items, 1):
        if count <= most:
            drawn.append(item)
        else:
            place = rng.randrange(count)
            if place < most:
                drawn[place] = item
    return count, drawn


class MixedFeatures(paddle.io.Dataset):
    """Labelled and unlabelled text as features without labels: a teacher answers both.

    An epoch reads all labelled features and the next of the unlabelled ones, at most MOST_PER_LABELLED times as many
    as are labelled; after the last of them the first follows again. Batches are drawn from both together.

    Attributes:
        examples: the labelled ones.
        lengths: tokens of each feature, the labelled ones first; int32.
        unlabeled_of_epoch: unlabelled features in an epoch.
    """

    def __init__(self, labelled: Features, unlabeled: Features):
        self.labelled, self.unlabeled, self.examples = labelled, unlabeled, labelled.examples
        self.lengths = np.concatenate([labelled.lengths, unlabeled.lengths])
        self.unlabeled_of_epoch = min(len(unlabeled), MOST_PER_LABELLED * len(labelled))

    def __len__(self) -> int:
        """Features in an epoch."""
        return len(self.labelled) + self.unlabeled_of_epoch

    def indices_of_epoch(self, epoch: int) -> Sequence[int]:
        """See features.Features."""
        first, known = epoch * self.unlabeled_of_epoch, len(self.labelled)
        following = range(first, first + self.unlabeled_of_epoch)
        return [*range(known), *(known + number % len(self.unlabeled) for number in following)]

    def __getitem__(self, index: int) -> Dict:
        known = len(self.labelled)
        feature = self.labelled[index] if index < known else self.unlabeled[index - known]
        return {name: feature[name] for name in ("input_ids", "token_type_ids")}


def mix(trainer, unlabeled: Unlabeled) -> MixedFeatures:
    """The training set of a trainer with unlabelled examples among it."""
    features = Features(trainer.family, trainer.task, unlabeled.examples, labelled=False)
    return MixedFeatures(trainer.train_dataset, features)
