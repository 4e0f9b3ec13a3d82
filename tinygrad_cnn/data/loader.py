"""DataLoader: seeded batches from a data set, built ahead of time by worker threads."""

from __future__ import annotations

import contextvars
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Generator as PythonGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.events import observe, watching
from tinygrad_cnn.data.collate import collate_arrays, rebuild, to_tensors
from tinygrad_cnn.data.dataset import Dataset, batch_transform, fetch, samples
from tinygrad_cnn.data.keyed import SAMPLE_SEED, SampleRandom, end_sample, keys
from tinygrad_cnn.data.transforms import Images, Transform, channels_last
from tinygrad_cnn.ops.random import Generator, default_generator
from tinygrad_cnn.tensor import Tensor

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


def _check_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"DataLoader: `{name}` must be an integer >= {least}, got {value!r}")


class DataLoader:
    """Iterate over a data set in batches of Tensors.

    Each ``iter()`` draws one 64-bit seed from ``generator`` (the library's by default), or `epoch`
    is given one. The order follows from that seed, and the random numbers that the transform uses
    for a sample from the seed and the sample's index: any number of workers gives the same bytes,
    as does an epoch that is continued in the middle, and a restored generator the same epoch.
    An exception in a worker is raised where the batch would have come, with its traceback.

    Parameters
    ----------
    dataset
        has ``len`` and ``[i]``, and where it can ``__getitems__`` (see `Dataset`).
    batch_size
        samples in a batch; the last may be smaller.
    shuffle
        visit the samples in a new random order each time.
    sampler
        an iterable of indices that decides the order, instead of ``shuffle``.
    drop_last
        leave out a last batch that is smaller.
    num_workers
        threads that build batches ahead; with 0 the consumer builds them itself.
    prefetch_factor
        batches that each worker is ahead.
    generator
        where seeds are drawn.
    transform
        ``(images (n, c, h, w), rng) -> images`` for the first array of each batch, in
        place of the one that a data set with ``transforms_batches`` has; ``rng`` is a
        `SampleRandom`. One that changes labels, such as `Mixup`, gets the second array too.
    collate_fn
        makes a batch of a list of samples, in place of `default_collate`.

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
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        sampler: Iterable[int] | None = None,
        drop_last: bool = False,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        generator: Generator | None = None,
        transform: Transform | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            kind = type(dataset).__name__
            raise TypeError(f"DataLoader: `dataset` needs len() and [i], which {kind} has not")
        _check_count("batch_size", batch_size, 1)
        _check_count("num_workers", num_workers, 0)
        _check_count("prefetch_factor", prefetch_factor, 1)
        if shuffle and sampler is not None:
            raise ValueError("DataLoader: `shuffle` and `sampler` exclude each other")
        if generator is not None and not isinstance(generator, Generator):
            kind = type(generator).__name__
            raise TypeError(f"DataLoader: `generator` must be a tg.Generator, got {kind}")
        for name, value in (("transform", transform), ("collate_fn", collate_fn)):
            if value is not None and not callable(value):
                raise TypeError(f"DataLoader: `{name}` is a {type(value).__name__}, not callable")
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.sampler = sampler
        self.drop_last = drop_last
        self.num_workers = int(num_workers)
        self.prefetch_factor = int(prefetch_factor)
        self.generator = default_generator if generator is None else generator
        self.transform = transform
        self.collate_fn = collate_fn

    def __len__(self) -> int:
        """Return the number of batches."""
        source: Any = self.dataset if self.sampler is None else self.sampler
        full, rest = divmod(len(source), self.batch_size)
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
        batches = itertools.islice(self._index_batches(seed), start, None)
        return _told((self._threaded if self.num_workers else self._plain)(seed, batches))

    def _index_batches(self, seed: int) -> Iterator[Sequence[int]]:
        """Yield the indices of each batch."""
        if self.sampler is not None:
            pending: list[int] = []
            for index in self.sampler:
                pending.append(index)
                if len(pending) == self.batch_size:
                    yield pending
                    pending = []
            if pending and not self.drop_last:
                yield pending
            return
        n = len(self.dataset)
        order = _stream(seed, _ORDER).permutation(n) if self.shuffle else np.arange(n)
        for number in range(len(self)):
            start = number * self.batch_size
            yield order[start : start + self.batch_size].tolist()

    def _plain(self, seed: int, batches: Iterator[Sequence[int]]) -> Generated:
        for indices in batches:
            yield to_tensors(self._load(seed, indices))

    def _threaded(self, seed: int, batches: Iterator[Sequence[int]]) -> Generated:
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="DataLoader")
        queue: deque[Future[Any]] = deque()

        def submit() -> None:
            for indices in batches:
                # Workers see the consumer's context (grad mode and so on) as the plain loop does.
                run = contextvars.copy_context().run
                queue.append(pool.submit(run, self._load, seed, indices))
                return

        try:
            for _ in range(self.num_workers * self.prefetch_factor):
                submit()
            while queue:
                batch = queue.popleft().result()
                submit()
                yield to_tensors(batch)
                del batch
        finally:  # also when the consumer stops early: the generator is closed
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, seed: int, indices: Sequence[int]) -> Any:
        """The samples of ``indices`` as a batch, with no transform of batches."""
        before = SAMPLE_SEED.set((seed, _SINGLE))
        try:
            if self.collate_fn is not None:
                return self.collate_fn(samples(self.dataset, indices))
            batch = fetch(self.dataset, indices)
            return collate_arrays(batch) if isinstance(batch, list) else batch
        finally:
            SAMPLE_SEED.reset(before)
            end_sample()

    def _load(self, seed: int, indices: Sequence[int]) -> Any:
        """Return the batch of ``indices``, its Tensors still arrays (safe in any thread)."""
        batch = self._read(seed, indices)
        transform = self.transform
        if transform is None:
            transform = batch_transform(self.dataset, "transform")
        finish = batch_transform(self.dataset, "finish")
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
