"""DataLoader: seeded batches from a data set, built ahead of time by threads or processes."""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Generator as PythonGenerator
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.events import observe, watching
from tinygrad_cnn.data.collate import to_tensors
from tinygrad_cnn.data.dataset import Dataset, IterableDataset
from tinygrad_cnn.data.reading import END, ORDER, Reader, Reading, WorkerInfo
from tinygrad_cnn.data.samplers import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    check_count,
)
from tinygrad_cnn.data.threads import Threads
from tinygrad_cnn.data.transforms import Transform
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.ops.random import Generator, default_generator

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from tinygrad_cnn.data.processes import Processes

Generated = PythonGenerator[Any, None, None]


class _Failed:
    """What a batch could not be built for; the epoch goes on with the next one."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Epoch:
    """The batches of an epoch; whoever watches is told of each one that is waited for."""

    def __init__(self, loader: DataLoader, batches: Generated, start: int) -> None:
        self._loader, self._batches, self._start = loader, batches, start

    def __iter__(self) -> _Epoch:
        return self

    def __len__(self) -> int:
        """How many batches the whole of it has."""
        return len(self._loader) - self._start

    def __next__(self) -> Any:
        if watching:
            batch = observe("load", "DataLoader", next, (self._batches, END), {})
        else:
            batch = next(self._batches, END)
        if type(batch) is _Failed:
            raise batch.error
        if batch is END:
            self.close()
            raise StopIteration
        return batch

    def close(self) -> None:
        """End it; also done when nobody holds it any more."""
        self._batches.close()


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class DataLoader:
    """Iterate over a data set in batches of Tensors.

    Each ``iter()`` draws one 64-bit seed from ``generator`` (the library's by default), or `epoch`
    is given one. The order follows from that seed, and the random numbers that the transform uses
    for a sample from the seed and the sample's index: any number of workers gives the same bytes,
    as does an epoch that is continued in the middle, and a restored generator the same epoch.
    A sampler of yours draws from its own generator. An exception in a worker is raised where the
    batch would have come, with its traceback.

    Parameters
    ----------
    dataset
        has ``len`` and ``[i]``, and where it can ``__getitems__`` (see `Dataset`); or an
        `IterableDataset`, which takes neither ``shuffle`` nor samplers.
    batch_size
        samples in a batch; the last may be smaller. With None each comes alone, as
        `default_convert` makes it.
    shuffle
        visit the samples in a new random order each time.
    sampler
        an iterable of indices (or keys) that decides the order, instead of ``shuffle``.
    batch_sampler
        an iterable of lists of indices, instead of ``batch_size``, ``shuffle``, ``sampler`` and
        ``drop_last``.
    num_workers
        how many build batches ahead; with 0 the consumer builds them itself. Of an
        `IterableDataset` each worker reads all that its copy yields (see `get_worker_info`).
    collate_fn
        makes a batch of a list of samples, in place of `default_collate`; without batches, of one
        sample.
    drop_last
        leave out a last batch that is smaller.
    timeout
        seconds to wait for a worker's batch; 0 is for ever.
    worker_init_fn
        called with the worker's number in its thread or process, before it reads.
    multiprocessing_context
        None for threads, which start at once, share the data set and run NumPy's code side by
        side. ``"fork"``, ``"spawn"``, ``"forkserver"`` or a context of `multiprocessing` for
        processes, which run Python's code side by side too. See the notes.
    generator
        where seeds are drawn.
    prefetch_factor
        batches that each worker is ahead, by default 2; only with workers.
    persistent_workers
        the workers' copies of the data set, and processes, are kept for the next epoch, and
        ``worker_init_fn`` is called once; only with workers. Processes go on with what the loader
        had when they started.
    pin_memory, pin_memory_device, in_order
        taken as PyTorch takes them, and change nothing: memory is the CPU's, and batches come in
        order.
    transform
        ``(images (n, c, h, w), rng) -> images`` for the first array of each batch, in
        place of the one that a data set with ``transforms_batches`` has; ``rng`` is a
        `SampleRandom`. One that changes labels, such as `Mixup`, gets the second array too.

    Raises
    ------
    ValueError
        an argument has no such value, or two exclude each other.
    TypeError
        an argument is of another type.
    RuntimeError
        while iterating: ``timeout`` is over, or a worker process ended, because it was killed or
        could not start.
    TypeError
        while iterating: what the processes are to get cannot be pickled (not with ``"fork"``).

    Notes
    -----
    Processes get a copy of the data set, the transforms and the functions: ``"fork"`` as the
    program's memory is, which is fast, but not safe where other threads hold locks; the other two
    as pickles, so functions must be defined at the top of a module, and a script's start be behind
    ``if __name__ == "__main__":``. Arrays of batches come back in shared memory (on Windows through
    a pipe). An exception arrives as it is, its traceback in the worker as a note
    (``error.__notes__``). Tensors with a graph cannot be sent. Python's, NumPy's and the library's
    own random numbers are seeded by `WorkerInfo.seed`; transforms of samples draw the same as
    without workers. Kernels use as many threads as in the program; where there are many workers,
    ``worker_init_fn`` may call ``tg.set_num_threads(1)``. Processes end with the epoch, or, where
    they are persistent, with the loader.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> squares = [(i, i * i) for i in range(5)]
    >>> for x, y in DataLoader(squares, batch_size=2):
    ...     print(x.tolist(), y.tolist())
    [0, 1] [0, 1]
    [2, 3] [4, 9]
    [4] [16]
    """

    def __init__(
        self,
        dataset: Dataset[Any] | Sequence[Any],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Sequence[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: str | BaseContext | None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        transform: Transform | None = None,
    ) -> None:
        self._iterable = isinstance(dataset, IterableDataset)
        numbered = sampler is None and batch_sampler is None
        if not self._iterable and not (
            hasattr(dataset, "__getitem__") and (hasattr(dataset, "__len__") or not numbered)
        ):
            kind = type(dataset).__name__
            raise DtypeError(f"DataLoader: `dataset` needs len() and [i], which {kind} has not")
        if batch_size is not None:
            check_count("DataLoader", "batch_size", batch_size, 1)
        check_count("DataLoader", "num_workers", num_workers, 0)
        if prefetch_factor is not None:
            check_count("DataLoader", "prefetch_factor", prefetch_factor, 1)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
            raise ArgumentError(
                f"DataLoader: `timeout` is {timeout!r}, expected a number of seconds >= 0"
            )
        _check_context(multiprocessing_context)
        if generator is not None and not isinstance(generator, Generator):
            kind = type(generator).__name__
            raise DtypeError(f"DataLoader: `generator` must be a tg.Generator, got {kind}")
        functions = {"transform": transform, "collate_fn": collate_fn}
        for name, value in {**functions, "worker_init_fn": worker_init_fn}.items():
            if value is not None and not callable(value):
                raise DtypeError(f"DataLoader: `{name}` is a {type(value).__name__}, not callable")
        given = {
            "shuffle": bool(shuffle),
            "sampler": sampler is not None,
            "batch_sampler": batch_sampler is not None,
            "batch_size": batch_size != 1,
            "drop_last": bool(drop_last),
            "prefetch_factor": prefetch_factor is not None,
            "persistent_workers": bool(persistent_workers),
            "timeout": timeout > 0,
            "multiprocessing_context": multiprocessing_context is not None,
        }
        excluded = [
            (self._iterable, "an IterableDataset", ["shuffle", "sampler", "batch_sampler"]),
            (given["shuffle"], "`shuffle`", ["sampler"]),
            (
                given["batch_sampler"],
                "`batch_sampler`",
                ["batch_size", "shuffle", "sampler", "drop_last"],
            ),
            (batch_size is None, "`batch_size` None", ["drop_last"]),
            (
                not num_workers,
                "`num_workers` 0",
                ["prefetch_factor", "persistent_workers", "timeout", "multiprocessing_context"],
            ),
        ]
        for holds, this, others in excluded:
            for other in others:
                if holds and given[other]:
                    raise ArgumentError(f"DataLoader: {this} and `{other}` exclude each other")
        self.dataset = dataset
        self.batch_size = None if batch_size is None or given["batch_sampler"] else int(batch_size)
        self.shuffle = bool(shuffle)
        self._sampler = sampler
        self._batch_sampler = batch_sampler
        self.drop_last = bool(drop_last)
        self.num_workers = int(num_workers)
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = bool(persistent_workers)
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.in_order = in_order
        self.generator = default_generator if generator is None else generator
        self.transform = transform
        self.collate_fn = collate_fn
        self._kept: Any = None  # of persistent workers: what readers of threads know, or processes

    @property
    def _unbatched(self) -> bool:
        """Whether samples come alone."""
        return self.batch_size is None and self._batch_sampler is None

    @property
    def sampler(self) -> Any:
        """The sampler; without one, what visits the samples as ``shuffle`` says.

        The loader itself shuffles by the epoch's seed. A stream has none.
        """
        if self._sampler is not None or self._iterable:
            return self._sampler
        if self.shuffle:
            return RandomSampler(self.dataset, generator=self.generator)
        return SequentialSampler(self.dataset)

    @property
    def batch_sampler(self) -> Any:
        """The sampler of batches; None where samples come alone, and of a stream."""
        if self._batch_sampler is not None or self.batch_size is None or self._iterable:
            return self._batch_sampler
        return BatchSampler(self.sampler, self.batch_size, self.drop_last)

    def __len__(self) -> int:
        """Return the number of batches."""
        if self._batch_sampler is not None:
            return len(self._batch_sampler)  # type: ignore[arg-type]
        source: Any = self.dataset if self._sampler is None else self._sampler
        full, rest = divmod(len(source), self.batch_size or 1)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Any]:
        """Draw a seed and return an iterator over the batches of one epoch."""
        return self.epoch(self.draw())

    def draw(self, seed: int | None = None) -> int:
        """Return ``seed``, or draw one for an epoch from the generator."""
        if seed is not None:
            return seed
        return int(self.generator.numpy.integers(0, 2**64, dtype=np.uint64))

    @property
    def reads_by_index(self) -> bool:
        """Whether a batch is a list of indices: of no stream, and not of lone samples."""
        return not self._iterable and not self._unbatched

    def epoch(
        self,
        seed: int,
        start: int = 0,
        part: Callable[[Sequence[Any]], Sequence[Any]] | None = None,
    ) -> _Epoch:
        """Return the batches of the epoch that belongs to ``seed``, from number ``start`` on.

        Nothing is drawn from the generator, and no batch before ``start`` is built. ``part``
        chooses, of the indices of each batch, those that are read (where it `reads_by_index`).

        Examples
        --------
        >>> loader = DataLoader(range(6), batch_size=2, shuffle=True)
        >>> whole = [batch.tolist() for batch in loader.epoch(7)]
        >>> [batch.tolist() for batch in loader.epoch(7, start=2)] == whole[2:]
        True
        """
        build = self._ahead if self.num_workers else self._plain
        if self._iterable:  # nobody knows where a later batch begins
            return _Epoch(self, _after(build(seed, itertools.repeat(None)), start), start)
        indices = itertools.islice(self._index_batches(seed), start, None)
        return _Epoch(self, build(seed, map(part, indices) if part else indices), start)

    def _index_batches(self, seed: int) -> Iterator[Any]:
        """Yield the indices of each batch, or of each sample where they come alone."""
        if self._batch_sampler is not None:
            yield from self._batch_sampler
        elif self._sampler is not None:
            yield from self._sampler if self.batch_size is None else self.batch_sampler
        else:
            n = len(self.dataset)
            order = _stream(seed, ORDER).permutation(n) if self.shuffle else np.arange(n)
            size = self.batch_size or 1
            for start in range(0, len(self) * size, size):
                indices = order[start : start + size].tolist()
                yield indices[0] if self.batch_size is None else indices

    def _reading(self) -> Reading:
        return Reading(
            self.dataset,
            self._iterable,
            self.batch_size,
            self._unbatched,
            self.drop_last,
            self.collate_fn,
            self.transform,
            self.worker_init_fn,
        )

    def _plain(self, seed: int, batches: Iterator[Any]) -> Generated:
        reading, reader = self._reading(), Reader(self.dataset)
        for indices in batches:
            try:
                batch = reading.load(reader, seed, indices)
                batch = batch if batch is END else to_tensors(batch)
            except Exception as error:  # for the consumer to see
                batch = _Failed(error)
            if batch is END:
                return
            yield batch
            del batch

    def _team(self, seed: int) -> Threads | Processes:
        """The workers of an epoch."""
        # Taken out: a second iterator at the same time has workers of its own.
        kept, self._kept = self._kept, None
        if self.multiprocessing_context is not None:
            from tinygrad_cnn.data.processes import Processes  # here, to keep the import light

            team = kept
            if not isinstance(team, Processes):
                team = Processes(
                    self._reading(), self.num_workers, self.multiprocessing_context, seed
                )
            team.begin()
            return team
        return Threads(self._reading(), kept or self._readers(), seed)

    def _readers(self) -> list[Reader]:
        """What threads read with."""
        copies = self._iterable or self.worker_init_fn is not None
        sets = [
            copy.copy(self.dataset) if copies else self.dataset for _ in range(self.num_workers)
        ]
        return [Reader(d, WorkerInfo(i, self.num_workers, 0, d)) for i, d in enumerate(sets)]

    def _ahead(self, seed: int, batches: Iterator[Any]) -> Generated:
        team = self._team(seed)
        queue: deque[tuple[int, Any]] = deque()
        turns = deque(range(team.turns))  # of those that have more, the next one first

        def submit() -> None:
            if not turns:
                return
            turn = turns[0]
            turns.rotate(-1)
            for indices in batches:
                queue.append((turn, team.submit(turn, seed, indices)))
                return

        try:
            for _ in range(self.num_workers * (self.prefetch_factor or 2)):
                submit()
            while queue:
                turn, asked = queue.popleft()
                if turn not in turns:
                    continue
                batch = team.result(turn, asked, self.timeout)
                del asked
                if batch is END:
                    turns.remove(turn)
                submit()
                if batch is not END:
                    yield to_tensors(batch)
                del batch
        finally:  # also when the consumer stops early: the generator is closed
            kept = team.end(keep=self.persistent_workers)
            if kept is not None:
                self._kept = kept


def _after(batches: Generated, start: int) -> Generated:
    """The batches from number ``start`` on, of those that must all be built."""
    try:
        yield from itertools.islice(batches, start, None)
    finally:
        batches.close()


def _check_context(context: object) -> None:
    if context is None:
        return
    import multiprocessing  # here, to keep the package's import light

    known = multiprocessing.get_all_start_methods()
    if not isinstance(context, multiprocessing.context.BaseContext) and context not in known:
        raise ArgumentError(
            f"DataLoader: `multiprocessing_context` is {context!r}, expected one of {known} or a "
            "context of multiprocessing"
        )
