"""Training on several ranks (`tinygrad_cnn.distributed`): who takes which images, and sums of all.

A batch is that of one process: each rank takes a part of it, and weighs its loss by its images. So
figures, stopping and rates are the same on all ranks, and but for rounding those of one.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.data import DataLoader, DistributedSampler
from tinygrad_cnn.distributed import init_process_group, launched, taking_long
from tinygrad_cnn.distributed.group import WORLD, Group
from tinygrad_cnn.nn import Module, SyncBatchNorm
from tinygrad_cnn.nn.parallel.buckets import Reducer
from tinygrad_cnn.nn.parallel.distributed import buffers_that_differ, from_rank_0, same_model
from tinygrad_cnn.ops.random import default_generator
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.types import Array

_DRAWS = 4  # the stream of random numbers of ranks after the first


class Share(NamedTuple):
    """A rank's part of a batch: ``mine`` of ``whole`` images.

    Where ``mine`` is 0 there is one image, which counts nothing.
    """

    images: Tensor
    labels: Tensor
    mine: int
    whole: int


class Ranks:
    """The ranks that train together."""

    def __init__(self, group: Group) -> None:
        self.group, self.rank, self.size = group, group.rank, group.size

    @classmethod
    def here(cls) -> Ranks | None:
        """Those that ``mpiexec`` has started, or of the process group; None for a single one.

        Raises
        ------
        RuntimeError
            There are several, but mpi4py is not installed or is another MPI's.
        """
        if not WORLD and launched() > 1:
            init_process_group()
        return cls(WORLD[0]) if WORLD and WORLD[0].size > 1 else None

    # ---- agreeing ----------------------------------------------------------------------------

    def agree(self, name: str, what: str) -> None:
        """Return when all have come to ``name`` with the same text.

        Raises
        ------
        RuntimeError
            They have not.
        """
        self.group.meet(f"{name}: {what}")

    def told(self, text: str) -> str:
        """The text of rank 0."""
        return self.group.texts(text if self.rank == 0 else "")[0]

    def seeded(self, seed: int) -> int:
        """The seed of rank 0; the library's random numbers begin anew where they differ."""
        state = str(default_generator.get_state())
        if len(set(self.group.texts(state))) > 1:
            default_generator.manual_seed(int(self.told(str(default_generator.initial_seed()))))
        return int(self.told(str(seed)))

    def draws_apart(self, numbers: Sequence[int]) -> None:
        """Have random numbers that follow from these, and are others on each rank.

        Rank 0 has those of a single process.
        """
        if self.rank:
            entropy = [n % 2**64 for n in numbers]
            key = np.random.SeedSequence(entropy, spawn_key=(_DRAWS, self.rank))
            default_generator.manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))

    @contextlib.contextmanager
    def first(self, what: str) -> Iterator[None]:
        """Rank 0 does what is inside before the others do; they wait for as long as it takes."""
        if self.rank:
            self.agree("training", what)
            yield
            return
        with taking_long(what):
            yield
        self.agree("training", what)

    # ---- batches -----------------------------------------------------------------------------

    def part(self, count: int) -> tuple[int, int]:
        """Where this rank's part of so many begins and ends; rank 0 has the most.

        Parts differ by one at most.
        """
        return -(-self.rank * count // self.size), -(-(self.rank + 1) * count // self.size)

    def batches(self, source: Any, seed: int | None = None, start: int = 0) -> Iterator[Share]:
        """The part that this rank takes of each batch of ``source``, from number ``start`` on.

        A `DataLoader` reads nothing else; its epoch is that of ``seed``, by default a new one.
        """
        if isinstance(source, DataLoader) and source.reads_by_index:
            yield from self._read(source, seed, start)
            return
        batches: Iterator[Any]
        if isinstance(source, DataLoader) and seed is not None:
            batches = source.epoch(seed, start)
        else:
            batches = itertools.islice(source, start, None)
        with contextlib.closing(batches) if hasattr(batches, "close") else contextlib.nullcontext():
            for images, labels in batches:
                begin, end = self.part(len(labels))
                shown = slice(begin, max(end, begin + 1)) if begin < len(labels) else slice(0, 1)
                yield Share(images[shown], labels[shown], end - begin, len(labels))

    def _read(self, loader: DataLoader, seed: int | None, start: int) -> Iterator[Share]:
        counts: deque[tuple[int, int]] = deque()

        def part(indices: Sequence[Any]) -> Sequence[Any]:
            begin, end = self.part(len(indices))
            counts.append((end - begin, len(indices)))
            return indices[begin:end] or indices[:1]

        with contextlib.closing(loader.epoch(loader.draw(seed), start, part)) as batches:
            for images, labels in batches:
                yield Share(images, labels, *counts.popleft())

    @staticmethod
    def check_loader(source: object) -> None:
        """Refuse what gives each rank other batches already.

        Raises
        ------
        TrainError
            It has a `DistributedSampler`.
        """
        if isinstance(source, DataLoader) and isinstance(source.sampler, DistributedSampler):
            raise TrainError(
                "fit: a DataLoader has a DistributedSampler, expected the batches of all ranks "
                "together: fit gives each rank its part"
            )

    # ---- sums --------------------------------------------------------------------------------

    def total(self, numbers: Sequence[float]) -> list[float]:
        """The sums of these numbers over all ranks."""
        sums = np.array(numbers, np.float64)
        mpi = self.group.mpi
        request = self.group.data.Iallreduce(mpi.IN_PLACE, sums, op=mpi.SUM)
        self.group.wait(request, "the sums of a batch")
        found: list[float] = sums.tolist()
        return found

    def gathered(self, array: Array) -> Array:
        """The arrays of all ranks (n, …), one after the other."""
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        sizes = np.zeros(self.size, np.int64)
        doing, byte, group = "gathering scores", self.group.mpi.BYTE, self.group
        group.wait(group.data.Iallgather(np.array([flat.size], np.int64), sizes), doing)
        every = np.empty(int(sizes.sum()), np.uint8)
        into = [every, sizes.tolist(), None, byte]
        group.wait(group.data.Iallgatherv([flat, byte], into), doing)
        return every.view(array.dtype).reshape(-1, *array.shape[1:])


class SharedModel:
    """A model in training on several ranks: its weights are rank 0's, its gradients their means.

    Parameters
    ----------
    overlap
        whether gradients are sent while backward still runs, rather than after it.
    """

    def __init__(self, ranks: Ranks, model: Module, overlap: bool) -> None:
        self.ranks, self.overlap = ranks, overlap
        group = ranks.group
        same_model("fit", group, model)
        from_rank_0(group, [*model.parameters(), *model.buffers()])
        self.empties = any(isinstance(m, SyncBatchNorm) for m in model.modules())
        self._refreshed = buffers_that_differ(model)
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.reducer = Reducer(group, named, None, False, name="fit", hooks=overlap)

    def begin(self) -> None:
        """Before a forward pass: have rank 0's running statistics."""
        if self._refreshed:
            from_rank_0(self.ranks.group, self._refreshed)
        self.reducer.expects = self.overlap

    def end(self) -> None:
        """After a backward pass: others that follow are no business of other ranks."""
        self.reducer.expects = False

    def weight(self, mine: int, whole: int) -> float:
        """What a mean loss of ``mine`` of ``whole`` images counts in a mean over ranks."""
        return mine * self.ranks.size / whole

    def reduce(self) -> None:
        """Average the gradients, if that was not done already."""
        if not self.overlap:
            self.reducer.reduce()
