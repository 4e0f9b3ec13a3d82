"""DataLoader: seeded batches from a data set, built ahead of time by worker threads."""

from __future__ import annotations

import contextvars
import copy
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Generator as PythonGenerator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.events import observe, watching
from tinygrad_cnn.data.collate import collate_arrays, default_convert, rebuild, to_tensors
from tinygrad_cnn.data.dataset import (
    Dataset,
    IterableDataset,
    batch_transform,
    fetch,
    sample,
    samples,
)
from tinygrad_cnn.data.keyed import SAMPLE_SEED, SampleRandom, begin_sample, end_sample, keys
from tinygrad_cnn.data.samplers import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    check_count,
)
from tinygrad_cnn.data.transforms import Images, Transform, channels_last
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.ops.random import Generator, default_generator
from tinygrad_cnn.tensor import Tensor

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

# Which random streams of an epoch: its order, the samples' transforms, what finishes them, and the
# transforms of single images. (3 is the trainer's.)
_ORDER, _SAMPLE, _FINISH, _SINGLE = 0, 1, 2, 4
_END = object()
Generated = PythonGenerator[Any, None, None]


def _told(batches: Generated) -> Iterator[Any]:
    """The batches; whoever watches is told of each one that is waited for."""
    try:
        while True:
            if watching:
                batch = observe("load", "DataLoader", next, (batches, _END), {})
            else:
                batch = next(batches, _END)
            if batch is _END:
                return
            yield batch
            del batch
    finally:  # also when the consumer stops early
        batches.close()


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


@dataclass(frozen=True)
class WorkerInfo:
    """What `get_worker_info` returns.

    Attributes
    ----------
    id, num_workers
        the worker's number, and how many there are.
    seed
        its own, from the epoch's seed and its number.
    dataset
        what it reads: a shallow copy of its own where the loader has a ``worker_init_fn`` or the
        data set is a stream, otherwise the one that all read.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


class _Reader:
    """What reads the data set: the consumer, or a worker."""

    def __init__(self, dataset: Any, info: WorkerInfo | None = None) -> None:
        self.dataset, self.info = dataset, info
        self.ready = info is None  # whether ``worker_init_fn`` has run
        self.begin()

    def begin(self) -> None:
        """Start a new epoch."""
        self.stream: Iterator[Any] | None = None
        self.taken = 0  # samples of the stream

    def take(self, count: int) -> list[Any]:
        """The next samples of the stream, ``count`` or as many as are left."""
        if self.stream is None:
            self.stream = iter(self.dataset)
        out: list[Any] = []
        while len(out) < count:
            begin_sample(self.taken)
            value = next(self.stream, _END)
            if value is _END:
                break
            self.taken += 1
            out.append(value)
        return out


class _Thread(threading.local):
    reader: _Reader | None = None


_thread = _Thread()


def _begin_thread(readers: deque[_Reader]) -> None:
    _thread.reader = readers.popleft()


def get_worker_info() -> WorkerInfo | None:
    """Which worker of a `DataLoader` this code runs in; None in the consumer.

    Examples
    --------
    >>> class Counted(IterableDataset[int]):
    ...     def __iter__(self) -> Iterator[int]:
    ...         worker = get_worker_info()
    ...         first, step = (worker.id, worker.num_workers) if worker else (0, 1)
    ...         return iter(range(first, 6, step))
    >>> list(DataLoader(Counted(), batch_size=None, num_workers=2))
    [0, 1, 2, 3, 4, 5]
    """
    return None if _thread.reader is None else _thread.reader.info


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
        threads that build batches ahead; with 0 the consumer builds them itself. Of an
        `IterableDataset` each worker reads all that its copy yields (see `get_worker_info`).
    collate_fn
        makes a batch of a list of samples, in place of `default_collate`; without batches, of one
        sample.
    drop_last
        leave out a last batch that is smaller.
    timeout
        seconds to wait for a worker's batch; 0 is for ever.
    worker_init_fn
        called with the worker's number in its thread, before it reads.
    generator
        where seeds are drawn.
    prefetch_factor
        batches that each worker is ahead, by default 2; only with workers.
    persistent_workers
        the workers' copies of the data set are kept for the next epoch, and ``worker_init_fn`` is
        called once; only with workers.
    pin_memory, pin_memory_device, multiprocessing_context, in_order
        taken as PyTorch takes them, and change nothing: memory is the CPU's, workers are threads,
        and batches come in order.
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
        while iterating: ``timeout`` is over.

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
            raise TypeError(f"DataLoader: `dataset` needs len() and [i], which {kind} has not")
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
            raise TypeError(f"DataLoader: `generator` must be a tg.Generator, got {kind}")
        functions = {"transform": transform, "collate_fn": collate_fn}
        for name, value in {**functions, "worker_init_fn": worker_init_fn}.items():
            if value is not None and not callable(value):
                raise TypeError(f"DataLoader: `{name}` is a {type(value).__name__}, not callable")
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
        self._kept: list[_Reader] | None = None  # persistent workers

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
        return self.epoch(int(self.generator.numpy.integers(0, 2**64, dtype=np.uint64)))

    def epoch(self, seed: int, start: int = 0) -> Iterator[Any]:
        """Return the batches of the epoch that belongs to ``seed``, from number ``start`` on.

        Nothing is drawn from the generator, and no batch before ``start`` is built.

        Examples
        --------
        >>> loader = DataLoader(range(6), batch_size=2, shuffle=True)
        >>> whole = [batch.tolist() for batch in loader.epoch(7)]
        >>> [batch.tolist() for batch in loader.epoch(7, start=2)] == whole[2:]
        True
        """
        build = self._threaded if self.num_workers else self._plain
        if self._iterable:  # nobody knows where a later batch begins
            return _told(_after(build(seed, itertools.repeat(None)), start))
        return _told(build(seed, itertools.islice(self._index_batches(seed), start, None)))

    def _index_batches(self, seed: int) -> Iterator[Any]:
        """Yield the indices of each batch, or of each sample where they come alone."""
        if self._batch_sampler is not None:
            yield from self._batch_sampler
        elif self._sampler is not None:
            yield from self._sampler if self.batch_size is None else self.batch_sampler
        else:
            n = len(self.dataset)
            order = _stream(seed, _ORDER).permutation(n) if self.shuffle else np.arange(n)
            size = self.batch_size or 1
            for start in range(0, len(self) * size, size):
                indices = order[start : start + size].tolist()
                yield indices[0] if self.batch_size is None else indices

    def _plain(self, seed: int, batches: Iterator[Any]) -> Generated:
        reader = _Reader(self.dataset)
        for indices in batches:
            batch = self._load(reader, seed, indices)
            if batch is _END:
                return
            yield to_tensors(batch)
            del batch

    def _readers(self, seed: int) -> list[_Reader]:
        """The workers of an epoch."""
        if self._kept is None:
            copies = self._iterable or self.worker_init_fn is not None
            sets = [
                copy.copy(self.dataset) if copies else self.dataset for _ in range(self.num_workers)
            ]
            readers = [
                _Reader(d, WorkerInfo(i, self.num_workers, (seed + i) % 2**64, d))
                for i, d in enumerate(sets)
            ]
            if not self.persistent_workers:
                return readers
            self._kept = readers
        for reader in self._kept:
            reader.begin()
        return self._kept

    def _work(self, seed: int, indices: Any) -> Any:
        """In a worker: the batch of ``indices``."""
        reader = _thread.reader
        assert reader is not None
        assert reader.info is not None
        if not reader.ready:
            if self.worker_init_fn is not None:
                self.worker_init_fn(reader.info.id)
            reader.ready = True
        return self._load(reader, seed, indices)

    def _threaded(self, seed: int, batches: Iterator[Any]) -> Generated:
        readers = self._readers(seed)
        # A stream is one worker's; numbered samples are read by whoever is free.
        groups = [[reader] for reader in readers] if self._iterable else [readers]
        pools = [
            ThreadPoolExecutor(len(g), "DataLoader", _begin_thread, (deque(g),)) for g in groups
        ]
        queue: deque[tuple[int, Future[Any]]] = deque()
        turns = deque(range(len(pools)))  # of those that have more, the next one first

        def submit() -> None:
            if not turns:
                return
            turn = turns[0]
            turns.rotate(-1)
            for indices in batches:
                # Workers see the consumer's context (grad mode and so on) as the plain loop does.
                run = contextvars.copy_context().run
                queue.append((turn, pools[turn].submit(run, self._work, seed, indices)))
                return

        patient = True
        try:
            for _ in range(self.num_workers * (self.prefetch_factor or 2)):
                submit()
            while queue:
                turn, future = queue.popleft()
                if turn not in turns:
                    continue
                if self.timeout and not wait([future], self.timeout).done:
                    patient = False
                    raise RuntimeError(
                        f"DataLoader: no batch within the `timeout` of {self.timeout} seconds"
                    )
                batch = future.result()
                del future
                if batch is _END:
                    turns.remove(turn)
                submit()
                if batch is not _END:
                    yield to_tensors(batch)
                del batch
        finally:  # also when the consumer stops early: the generator is closed
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            for pool in pools if patient else ():
                pool.shutdown(wait=True)

    def _read(self, reader: _Reader, indices: Any) -> tuple[Any, Any]:
        """The samples of ``indices``, or a batch of them, with their numbers."""
        if self._iterable:
            first, wanted = reader.taken, self.batch_size or 1
            read = reader.take(wanted)
            if self.drop_last and len(read) < wanted:
                read = []
            return read, range(first, first + len(read))
        if self._unbatched:
            return [sample(reader.dataset, indices)], [indices]
        if self.collate_fn is not None:
            return samples(reader.dataset, indices), indices
        return fetch(reader.dataset, indices), indices

    def _load(self, reader: _Reader, seed: int, indices: Any) -> Any:
        """Return the batch of ``indices``, its Tensors still arrays (safe in any thread)."""
        own = reader.info.seed if self._iterable and reader.info is not None else seed
        before = SAMPLE_SEED.set((own, _SINGLE))
        try:
            batch, indices = self._read(reader, indices)
            if self._iterable and not batch:
                return _END
            if self._unbatched:
                return self._converted(own, reader, batch, indices)
            if self.collate_fn is not None:
                batch = self.collate_fn(batch)
            elif isinstance(batch, list):
                batch = collate_arrays(batch)
        finally:
            SAMPLE_SEED.reset(before)
            end_sample()
        return self._transformed(own, reader, batch, indices)

    def _converted(self, seed: int, reader: _Reader, read: list[Any], indices: Any) -> Any:
        """The one sample read, after what transforms batches."""
        (alone,) = read
        if self.transform is not None or any(_transforms(reader.dataset)):
            batch = self._transformed(seed, reader, collate_arrays(read), indices)
            several = isinstance(batch, tuple | list)  # below: the first and only of each
            alone = rebuild(batch, [x[0] for x in batch]) if several else batch[0]
        return (self.collate_fn or default_convert)(alone)

    def _transformed(self, seed: int, reader: _Reader, batch: Any, indices: Any) -> Any:
        """The batch after what transforms batches."""
        transform, finish = _transforms(reader.dataset)
        if self.transform is not None:
            transform = self.transform
        several = isinstance(batch, tuple | list) and len(batch) > 0
        first, *rest = batch if several else [batch]
        if isinstance(first, Tensor) and transform is None and finish is None:
            return batch  # which may have a graph
        images = first._array if isinstance(first, Tensor) else first
        if not isinstance(images, np.ndarray):
            if transform is None:
                return batch
            kind = type(images).__name__
            raise TypeError(f"DataLoader: `transform` needs batches of arrays, got a {kind} first")
        if transform is not None:
            rng = SampleRandom(keys(seed, _SAMPLE, np.asarray(indices)))
            if getattr(transform, "changes_labels", False):
                images, rest[:1] = _with_labels(transform, images, rng, rest)
            else:
                images = transform(images, rng)
        if finish is not None and images.dtype == np.uint8:
            images = finish(images, SampleRandom(keys(seed, _FINISH, np.asarray(indices))))
        if images.ndim == 4 and images.dtype.kind == "f":
            images = channels_last(images).transpose(0, 3, 1, 2)  # (n, c, h, w)
        return rebuild(batch, [images, *rest]) if several else images


def _transforms(dataset: Any) -> tuple[Any, Any]:
    return batch_transform(dataset, "transform"), batch_transform(dataset, "finish")


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


def _with_labels(
    transform: Transform, images: Images, rng: SampleRandom, rest: list[Any]
) -> tuple[Images, list[Any]]:
    labels = rest[0]._array if rest and isinstance(rest[0], Tensor) else (rest or [None])[0]
    if not isinstance(labels, np.ndarray):
        raise TypeError(
            f"DataLoader: `transform` {transform!r} changes labels, but the batches have no array "
            "of labels after the images"
        )
    images, labels = transform(images, rng, labels)
    return images, [labels]
