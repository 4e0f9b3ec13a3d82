"""Samplers: which samples a `DataLoader` reads, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from tinygrad_cnn.distributed.group import world
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions import as_tensor, multinomial
from tinygrad_cnn.ops.random import Generator, numpy_generator

T_co = TypeVar("T_co", covariant=True)


def check_count(owner: str, name: str, value: object, least: int) -> None:
    """Refuse what is no integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ArgumentError(f"{owner}: `{name}` must be an integer >= {least}, got {value!r}")


def _check_flag(owner: str, name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise DtypeError(f"{owner}: `{name}` is {value!r}, expected a bool")


_AT_ONCE = 1 << 16


class Sampler(Generic[T_co]):
    """An order of indices, or of lists of them: subclasses define ``__iter__``.

    With ``__len__`` too, the `DataLoader` has a length.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} does not define `__iter__`")


class SequentialSampler(Sampler[int]):
    """0, 1, 2 and so on, to the end of ``data_source``.

    Examples
    --------
    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Indices of ``data_source`` in a random order.

    Parameters
    ----------
    data_source
        has a length.
    replacement
        draw each index from all of them.
    num_samples
        how many to draw, by default as many as there are. Without replacement, more than there are
        means one order after another.
    generator
        the library's by default.

    Raises
    ------
    ValueError
        ``num_samples`` is not positive, or there is nothing to draw from.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> order = list(RandomSampler("abc", num_samples=5, generator=tg.Generator(0)))
    >>> sorted(order[:3]), len(order)
    ([0, 1, 2], 5)
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        _check_flag("RandomSampler", "replacement", replacement)
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        check_count("RandomSampler", "num_samples", self.num_samples, 1)

    @property
    def num_samples(self) -> int:
        """How many are drawn; without a number of its own, the length of the source now."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, wanted = len(self.data_source), self.num_samples
        if not n:
            raise ArgumentError("RandomSampler: `data_source` is empty")
        rng = numpy_generator(self.generator)
        if self.replacement:
            for drawn in range(0, wanted, _AT_ONCE):  # a program may want 10^10 of them
                yield from rng.integers(0, n, min(_AT_ONCE, wanted - drawn)).tolist()
            return
        for drawn in range(0, wanted, n):
            yield from rng.permutation(n)[: wanted - drawn].tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in a random order.

    Examples
    --------
    >>> sorted(SubsetRandomSampler([7, 3, 5]))
    [3, 5, 7]
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in numpy_generator(self.generator).permutation(len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Indices drawn in proportion to their weights, which need not sum to 1.

    Raises
    ------
    ValueError
        ``weights`` has not one dimension, or ``num_samples`` is not positive. Without replacement,
        drawing fails with it where fewer weights are positive than samples are wanted.

    Examples
    --------
    >>> list(WeightedRandomSampler([0.0, 2.0, 0.0], 3))
    [1, 1, 1]
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        check_count("WeightedRandomSampler", "num_samples", num_samples, 1)
        _check_flag("WeightedRandomSampler", "replacement", replacement)
        self.weights = as_tensor(weights, dtype=np.dtype(np.float64))
        if self.weights.ndim != 1:
            raise ArgumentError(
                f"WeightedRandomSampler: `weights` has shape {self.weights.shape}, expected (n,)"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        drawn = multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of ``batch_size`` indices of ``sampler``, which may be any iterable.

    Examples
    --------
    >>> list(BatchSampler(SequentialSampler(range(5)), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        check_count("BatchSampler", "batch_size", batch_size, 1)
        _check_flag("BatchSampler", "drop_last", drop_last)
        self.sampler = sampler
        self.batch_size = int(batch_size)
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        source: Any = self.sampler
        return (len(source) + (0 if self.drop_last else self.batch_size - 1)) // self.batch_size


class DistributedSampler(Sampler[int]):
    """The share of one of several programs that train together, by PyTorch's rule.

    All have the same order, of which program ``rank`` takes every ``num_replicas``-th index from
    number ``rank`` on. All get as many: the first indices come once more at the end, or, with
    ``drop_last``, the last ones are left out. With ``pad=False`` each index comes exactly once, and
    some programs get one more than others.

    Parameters
    ----------
    num_replicas, rank
        how many programs there are, and the number of this one; by default those of the process
        group (`distributed.init_process_group`).
    shuffle
        a new order for each epoch that is set, the same in all programs with the same ``seed``.
    pad
        whether all get as many; not in PyTorch.

    Raises
    ------
    ValueError
        ``rank`` is not in ``0 .. num_replicas - 1``, a number is not one, or there is no process
        group to ask for it.

    Examples
    --------
    >>> [list(DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    >>> [list(DistributedSampler(range(5), 2, r, False, pad=False)) for r in (0, 1)]
    [[0, 2, 4], [1, 3]]
    >>> sampler = DistributedSampler(range(100), num_replicas=2, rank=0)
    >>> first = list(sampler)
    >>> sampler.set_epoch(1)
    >>> list(sampler) == first
    False
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        *,
        pad: bool = True,
    ) -> None:
        if num_replicas is None:
            num_replicas = world("DistributedSampler").size
        if rank is None:
            rank = world("DistributedSampler").rank
        check_count("DistributedSampler", "num_replicas", num_replicas, 1)
        check_count("DistributedSampler", "rank", rank, 0)
        if rank >= num_replicas:
            raise ArgumentError(
                f"DistributedSampler: `rank` is {rank}, expected 0 to {num_replicas - 1} "
                f"(`num_replicas` is {num_replicas})"
            )
        check_count("DistributedSampler", "seed", seed, 0)
        _check_flag("DistributedSampler", "shuffle", shuffle)
        _check_flag("DistributedSampler", "drop_last", drop_last)
        _check_flag("DistributedSampler", "pad", pad)
        self.dataset = dataset
        self.num_replicas, self.rank = num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.pad = shuffle, seed, drop_last, pad
        self.epoch = 0

    @property
    def num_samples(self) -> int:
        """How many this program gets."""
        n = len(self.dataset)
        if self.drop_last:
            return n // self.num_replicas
        before = 0 if self.pad else self.rank  # who has the fewer indices, the more before it
        return -(-(n - before) // self.num_replicas)

    @property
    def total_size(self) -> int:
        """How many all programs get together."""
        whole = self.pad or self.drop_last
        return self.num_samples * self.num_replicas if whole else len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Have another order when shuffling; without it each epoch has the same."""
        check_count("DistributedSampler", "epoch", epoch, 0)
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = np.arange(n)
        if self.shuffle:
            order = Generator(self.seed + self.epoch).numpy.permutation(n)
        return iter(np.resize(order, self.total_size)[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples
