"""Which utterances form the batches of an epoch, and in which order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

LIKE_LENGTH = 0.05  # durations that differ by less than this share may trade places


class BucketingSampler:
    """Batches of utterances of similar length.

    Utterances are sorted by duration and cut into batches. Shuffling permutes the batches, and utterances of
    similar length. Its seed is (seed, epoch), so that every epoch can be reproduced from its number. The
    first epoch goes from the shortest to the longest (SortaGrad, Amodei et al., 2016, section 3.2).

    Args:
        durations: Seconds of every utterance.
        batch_size: Utterances in a batch of one process.
        shuffle: Whether epochs differ; otherwise all go from short to long.
        sorta_grad: Whether epoch 0 is not shuffled.
        seed: Seed of the shuffling.
        num_replicas: Processes that share an epoch. Each gets the same number of batches: consecutive
            utterances of a global batch are dealt out to the processes. If their number is not a multiple of
            the processes, some get one less, or an empty batch.
        rank: Index of this process among them.
        batch_seconds: Bounds a batch instead of `batch_size`: it holds as many utterances as keep (utterances
            x longest), which determines memory and time, within these seconds. A longer utterance is a batch
            by itself.
        parts: Sizes of consecutive parts of the utterances, each with how often an epoch takes it, where that
            is not once. With 2.5 it takes all of them twice and half of them, drawn at random, once more.
            The n-th copy of an utterance has its index plus n times the number of utterances.
    """

    def __init__(
        self,
        durations: Sequence[float] | np.ndarray,
        batch_size: int,
        shuffle: bool = True,
        sorta_grad: bool = True,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        batch_seconds: float | None = None,
        parts: Sequence[tuple[int, float]] = (),
    ) -> None:
        self.durations = np.asarray(durations, dtype=np.float64)
        self.batch_size, self.shuffle, self.sorta_grad, self.seed = batch_size, shuffle, sorta_grad, seed
        self.num_replicas, self.rank, self.batch_seconds = num_replicas, rank, batch_seconds
        self.parts = parts
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, counted from 0, and its first batch to serve."""
        self.epoch, self.start = epoch, start
        self._batches = self.batches()

    def plan(self) -> list[int | float]:
        """All that the batches of an epoch depend on, for comparison with another run."""
        size = 0 if self.batch_seconds else self.batch_size * self.num_replicas
        replicas = self.num_replicas if self.batch_seconds else 1
        return [self.seed, size, self.batch_seconds or 0, replicas, self.sorta_grad,
                len(self.durations), float(self.durations.sum()), *chain(*self.parts)]  # fmt: skip

    def __len__(self) -> int:
        """Batches of one process in the whole epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches[self.start :]:
            yield batch[self.rank :: self.num_replicas].tolist()

    def batches(self) -> list[np.ndarray]:
        """The batches of the epoch over all processes, as arrays of indices (utterances,)."""
        shuffled = self.shuffle and not (self.sorta_grad and self.epoch == 0)
        random = np.random.default_rng([self.seed, self.epoch])
        indices = self._indices(random)
        durations = keys = self.durations[indices % max(len(self.durations), 1)]
        if shuffled:
            keys = keys * random.uniform(1 - LIKE_LENGTH, 1 + LIKE_LENGTH, len(keys))
        order = np.argsort(keys, kind="stable")
        batches = np.split(indices[order], self._cuts(durations[order])) if len(order) else []
        if shuffled:
            batches = [batches[index] for index in random.permutation(len(batches))]
        return batches

    def _indices(self, random: np.random.Generator) -> np.ndarray:
        """The utterances of the epoch, as often as it takes them."""
        number = len(self.durations)
        if not self.parts:
            return np.arange(number)
        parts = []
        for size, weight in self.parts:
            copies = np.full(size, int(weight))
            more = max(round(weight % 1 * size), int(weight < 1))
            copies[random.choice(size, more, replace=False)] += 1
            parts.append(copies)
        copies = np.concatenate(parts)
        return np.concatenate([number * copy + np.flatnonzero(copies > copy) for copy in range(copies.max())])

    def _cuts(self, durations: np.ndarray) -> Sequence[int]:
        """The ends of all batches but the last, along utterances from short to long."""
        if self.batch_seconds is None:
            size = self.batch_size * self.num_replicas
            return range(size, len(durations), size)
        cuts, start, longest = [], 0, 0.0
        for index, duration in enumerate(durations.tolist()):
            longest = max(longest, duration)
            share = math.ceil((index + 1 - start) / self.num_replicas)  # utterances of one process
            if share > 1 and share * longest > self.batch_seconds:
                cuts.append(index)
                start, longest = index, duration
        return cuts
