"""k-fold training: as many models as folds, each trained on all of the training set but one fold, and their averages.

Where labels are few there is no dev set to spare: each example is answered by the model that has not seen it ("out of
fold"), which judges the settings. What is deployed is one model, whose weights are the mean of theirs (model soups,
Wortsman et al. 2022); they all start from the same weights, those of a new head too. The answers to the test split are
those of the mean of their logits.
"""

import copy
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from ernie_suite.features import Features
from ernie_suite.reading import Example
from ernie_suite.runs import model_identity, settings_of_run, update_results
from ernie_suite.same_texts import group_examples
from ernie_suite.tasks.family import TaskFamily
from ernie_suite.trainer import FinetuneTrainer

import numpy as np
import paddle
from paddlenlp.trainer.trainer import PADDLE_WEIGHTS_NAME

from ernie_inference.console import print_table
from ernie_inference.errors import InputError
from ernie_inference.files import check_writable


def split_into_folds(examples: List[Example], family: TaskFamily, count: int, seed: int) -> List[np.ndarray]:
    """The numbers of the examples of each fold, in ascending order: each example is in one fold.

    Texts are the same if they differ in case, white space and punctuation alone; examples that share a text, also by
    way of others, are in the same fold. Beyond that each has about as much of each label, and as many examples.

    Raises:
        InputError: there are fewer different texts than folds.
    """
    groups = group_examples(map(family.texts_of, examples))
    if len(groups) < count:
        raise InputError(f"--num_folds {count}: the training set has {len(groups)} different texts: give fewer folds")
    order = np.random.default_rng(seed).permutation(len(groups))
    folds: List[List[int]] = [[] for _ in range(count)]
    labels: List[Counter] = [Counter() for _ in range(count)]
    for number in sorted(order, key=lambda number: -len(groups[number])):  # large ones first: they even out best
        own = Counter(label for i in groups[number] for label in family.labels_of(examples[i]))
        best = min(range(count), key=lambda i: (sum(labels[i][label] for label in own), len(folds[i])))
        folds[best] += groups[number]
        labels[best] += own
    return [np.array(sorted(fold), dtype=np.int64) for fold in folds]


class FoldedTrainer(FinetuneTrainer):
    """A FinetuneTrainer whose model is the mean of args.num_folds others, in output_dir/fold-1 and so on."""

    def finetune(self) -> None:
        """Train a model for each fold, or go on where that was interrupted, and write their mean.

        Each fold is a run in a folder of its own, where the best state is chosen on what was held out.
        """
        folder, examples = Path(self.args.output_dir), self.train_dataset.examples
        name = self.origin.get("model_name_or_path")
        if name is not None and Path(name).resolve() == folder.resolve():
            raise InputError(
                f"--num_folds would replace the model that it starts from: give another --output_dir than {folder}"
            )
        folds = split_into_folds(examples, self.family, self.args.num_folds, self.args.seed)
        settings = settings_of_run(self, folder)
        start = {name: value.numpy() for name, value in self.model.state_dict().items()}
        answers: List[Dict] = [{}] * len(examples)
        rows, scores = [], []
        for member, held_out in zip(self._members, folds):
            self.model.set_state_dict(start)
            trainer = self._trainer_of(member, held_out)
            # The optimizer's tensors count from 0 in each, so that any of them goes on in a process of its own.
            with paddle.utils.unique_name.guard("fold_"):
                trainer.finetune()
            found = trainer.predict_results(trainer.eval_dataset)
            for number, answer in zip(held_out, found):
                answers[number] = answer
            scores.append(self.metric(trainer.eval_dataset.examples, found))
            rows.append(self._row(member.name, len(held_out), "held out", scores[-1]))
        out_of_fold = self.metric(examples, answers)
        rows.append(self._row("all of them", len(examples), "out of fold", out_of_fold))
        self.model.set_state_dict(mean_weights([member / PADDLE_WEIGHTS_NAME for member in self._members]))
        self.fit_answers()
        averaged = self.metric(self.eval_examples, self.eval_dataset.results(self.mean_logits(self.eval_dataset)))
        rows.append(self._row("mean of logits", len(self.eval_examples), "dev", averaged))
        if self.args.should_save:
            print_table(rows)
            self.save_best(folder)
            report = {"folds": scores, "out_of_fold": out_of_fold, "mean_of_logits": averaged}
            report["model"] = model_identity(str(folder))
            update_results(folder, self.inference_config, {**self.origin, **settings}, {"training": report})

    def mean_logits(self, dataset: Features) -> Tuple[np.ndarray, ...]:
        """The mean of the logits that the models of the folds give.

        Raises:
            InputError: they have not been trained.
        """
        total: Tuple[np.ndarray, ...] = ()
        for _ in self._each_model():
            logits = self.predict_logits(dataset)
            total = tuple(before + new for before, new in zip(total, logits)) if total else logits
        return tuple(logits / len(self._members) for logits in total)

    def models_of_folds(self, examples: List[Example]) -> Iterator[np.ndarray]:
        """The numbers of the training examples of each fold in turn, while the model is the one that has not seen them.

        Args:
            examples: the training set.

        Raises:
            InputError: the models of the folds have not been trained.
        """
        folds = split_into_folds(examples, self.family, self.args.num_folds, self.args.seed)
        for _, held_out in zip(self._each_model(), folds):
            yield held_out

    def _each_model(self) -> Iterator[Path]:
        """The folder of each fold in turn, while the model has its weights; afterwards it has its own again."""
        missing = [member for member in self._members if not (member / PADDLE_WEIGHTS_NAME).exists()]
        if missing:
            raise InputError(f"{missing[0]} holds no model: train the folds first, with --do_train")
        own = {name: value.numpy() for name, value in self.model.state_dict().items()}
        try:
            for member in self._members:
                self._load_weights(member)
                yield member
        finally:
            self.model.set_state_dict(own)

    def answer_test(self, dataset: Features) -> List[Dict]:
        """The answers by the mean of the logits of all folds."""
        return dataset.results(self.mean_logits(dataset))

    @property
    def _members(self) -> List[Path]:
        return [Path(self.args.output_dir) / f"fold-{number + 1}" for number in range(self.args.num_folds)]

    def _trainer_of(self, folder: Path, held_out: np.ndarray) -> FinetuneTrainer:
        """The trainer of one fold, with this trainer's model."""
        args, examples = copy.copy(self.args), self.train_dataset.examples
        args.output_dir, args.logging_dir = str(folder), str(folder / "runs")
        check_writable(folder)
        others = np.setdiff1d(np.arange(len(examples)), held_out)
        return FinetuneTrainer(
            self.family,
            self.task,
            self.inference_config,
            self.origin,
            args,
            model=self.model,
            tokenizer=self.tokenizer,
            train_dataset=Features(self.family, self.task, [examples[i] for i in others]),
            eval_dataset=Features(self.family, self.task, [examples[i] for i in held_out], by_length=True),
            class_weights=self.class_weights,
        )

    def _row(self, model: str, count: int, kind: str, figures: Dict[str, float]) -> Dict[str, str]:
        return {
            "model": model,
            "examples": f"{count:,} {kind}",
            **{name: f"{value:.4f}" for name, value in figures.items()},
        }


def mean_weights(files: List[Path]) -> Dict[str, np.ndarray]:
    """The mean of models' weights, by name, in their own types."""
    total: Dict[str, np.ndarray] = {}
    types: Dict[str, np.dtype] = {}
    for file in files:
        for name, value in paddle.load(str(file), return_numpy=True).items():
            types[name] = value.dtype
            total[name] = total.get(name, 0) + value.astype(np.float64)
    return {name: (value / len(files)).astype(types[name]) for name, value in total.items()}
