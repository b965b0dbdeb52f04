"""Batches of like length, and batches of whole questions."""

import random
from typing import Iterator, List

from ernie_suite.features import Features

import paddle


class LengthGroupedSampler(paddle.io.DistributedBatchSampler):
    """Random batches of examples of like length, so that little of a batch is padding.

    Examples are shuffled, cut into pools of `pool` batches, and sorted by length within a pool; the
    batches are then shuffled. The order depends on seed and epoch alone, so a resumed run sees the
    batches that the interrupted one would have seen. An epoch ends with a whole step of `accumulated` batches: the
    gradients of the rest would leak into the next epoch's first step, and a run resumed there would not have them.

    Where the features of a question are compared with one another, a batch is of so many questions.
    """

    def __init__(
        self,
        dataset: Features,
        batch_size: int,
        seed: int,
        num_replicas: int,
        rank: int,
        drop_last=False,
        accumulated=1,
    ):
        super().__init__(dataset.units, batch_size, num_replicas, rank, shuffle=True, drop_last=drop_last)
        self.lengths = dataset.units.lengths.tolist()
        self.seed, self.accumulated = seed, accumulated
        self.pool = 50

    def __len__(self) -> int:
        batches = super().__len__()
        return batches - batches % self.accumulated if batches >= self.accumulated else batches

    def __iter__(self):
        rng = random.Random(f"{self.seed} {self.epoch}")
        order = list(self.dataset.indices_of_epoch(self.epoch))
        self.epoch += 1
        rng.shuffle(order)
        order += order[: self.total_size - len(order)]  # every process gets as many
        step = self.batch_size * self.nranks
        pools = [order[i : i + step * self.pool] for i in range(0, len(order), step * self.pool)]
        groups = []
        for pool in pools:
            pool.sort(key=self.lengths.__getitem__, reverse=True)
            groups += [pool[i : i + step] for i in range(0, len(pool), step)]
        # An incomplete batch stays last, so that all processes count the same steps.
        rest = groups.pop() if len(groups[-1]) < step else None
        rng.shuffle(groups)
        groups += [rest] if rest and not self.drop_last else []
        for group in groups[: len(self)]:
            yield self.dataset.features_of(group[self.local_rank :: self.nranks])


class WholeQuestions(paddle.io.BatchSampler):
    """Batches of at most `batch_size` features, in their order, none of which ends within a question; one question that
    has more is a batch by itself."""

    def __init__(self, dataset: Features, batch_size: int):
        super().__init__(dataset, batch_size=batch_size)
        self.batches: List[List[int]] = [[]]
        for unit in range(len(dataset.units)):
            features = list(dataset.units.features_of([unit]))
            if self.batches[-1] and len(self.batches[-1]) + len(features) > batch_size:
                self.batches.append([])
            self.batches[-1] += features

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[List[int]]:
        return iter(self.batches)
