"""How one batch is read, transformed and collated: by the consumer, or by a worker."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cnn.data.collate import collate_arrays, default_convert, rebuild
from tinygrad_cnn.data.dataset import batch_transform, fetch, sample, samples
from tinygrad_cnn.data.keyed import SAMPLE_SEED, SampleRandom, begin_sample, end_sample, keys
from tinygrad_cnn.data.transforms import Images, Transform, channels_last
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.tensor import Tensor

# Which random streams of an epoch: its order, the samples' transforms, what finishes them, and the
# transforms of single images. (3 is the trainer's.)
ORDER, _SAMPLE, _FINISH, _SINGLE = 0, 1, 2, 4
END = object()


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
        what it reads. A process has its own. Threads have a shallow copy each where the loader has
        a ``worker_init_fn`` or the data set is a stream, otherwise all read the same.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


class Reader:
    """What reads the data set: the consumer, or a worker."""

    def __init__(self, dataset: Any, info: WorkerInfo | None = None) -> None:
        self.dataset, self.info = dataset, info
        self.ready = info is None  # whether ``worker_init_fn`` has run
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Start the epoch that belongs to ``seed``."""
        if self.info is not None:
            self.info = dataclasses.replace(self.info, seed=(seed + self.info.id) % 2**64)
        self.stream: Iterator[Any] | None = None
        self.taken = 0  # samples of the stream

    def take(self, count: int) -> list[Any]:
        """The next samples of the stream, ``count`` or as many as are left."""
        if self.stream is None:
            self.stream = iter(self.dataset)
        out: list[Any] = []
        while len(out) < count:
            begin_sample(self.taken)
            value = next(self.stream, END)
            if value is END:
                break
            self.taken += 1
            out.append(value)
        return out


class OfThread(threading.local):
    """What reads in this thread, if it is a worker's."""

    reader: Reader | None = None


of_thread = OfThread()


def get_worker_info() -> WorkerInfo | None:
    """Which worker of a `DataLoader` this code runs in; None in the consumer.

    Examples
    --------
    >>> from tinygrad_cnn.data import DataLoader, IterableDataset
    >>> class Counted(IterableDataset[int]):
    ...     def __iter__(self) -> Iterator[int]:
    ...         worker = get_worker_info()
    ...         first, step = (worker.id, worker.num_workers) if worker else (0, 1)
    ...         return iter(range(first, 6, step))
    >>> list(DataLoader(Counted(), batch_size=None, num_workers=2))
    [0, 1, 2, 3, 4, 5]
    """
    return None if of_thread.reader is None else of_thread.reader.info


@dataclass(frozen=True)
class Reading:
    """How a batch is made of indices: what a `DataLoader` was given for that."""

    dataset: Any
    iterable: bool
    batch_size: int | None
    unbatched: bool
    """Whether samples come alone."""
    drop_last: bool
    collate_fn: Callable[[Any], Any] | None
    transform: Transform | None
    worker_init_fn: Callable[[int], Any] | None

    def work(self, seed: int, indices: Any) -> Any:
        """In a worker: the batch of ``indices``."""
        reader = of_thread.reader
        assert reader is not None
        assert reader.info is not None
        if not reader.ready:
            if self.worker_init_fn is not None:
                self.worker_init_fn(reader.info.id)
            reader.ready = True
        return self.load(reader, seed, indices)

    def _read(self, reader: Reader, indices: Any) -> tuple[Any, Any]:
        """The samples of ``indices``, or a batch of them, with their numbers."""
        if self.iterable:
            first, wanted = reader.taken, self.batch_size or 1
            read = reader.take(wanted)
            if self.drop_last and len(read) < wanted:
                read = []
            return read, range(first, first + len(read))
        if self.unbatched:
            return [sample(reader.dataset, indices)], [indices]
        if self.collate_fn is not None:
            return samples(reader.dataset, indices), indices
        return fetch(reader.dataset, indices), indices

    def load(self, reader: Reader, seed: int, indices: Any) -> Any:
        """Return the batch of ``indices``, its Tensors still arrays (safe in any thread)."""
        own = reader.info.seed if self.iterable and reader.info is not None else seed
        before = SAMPLE_SEED.set((own, _SINGLE))
        try:
            batch, indices = self._read(reader, indices)
            if self.iterable and not batch:
                return END
            if self.unbatched:
                return self._converted(own, reader, batch, indices)
            if self.collate_fn is not None:
                batch = self.collate_fn(batch)
            elif isinstance(batch, list):
                batch = collate_arrays(batch)
        finally:
            SAMPLE_SEED.reset(before)
            end_sample()
        return self._transformed(own, reader, batch, indices)

    def _converted(self, seed: int, reader: Reader, read: list[Any], indices: Any) -> Any:
        """The one sample read, after what transforms batches."""
        (alone,) = read
        if self.transform is not None or any(_transforms(reader.dataset)):
            batch = self._transformed(seed, reader, collate_arrays(read), indices)
            several = isinstance(batch, tuple | list)  # below: the first and only of each
            alone = rebuild(batch, [x[0] for x in batch]) if several else batch[0]
        return (self.collate_fn or default_convert)(alone)

    def _transformed(self, seed: int, reader: Reader, batch: Any, indices: Any) -> Any:
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
            raise DtypeError(f"DataLoader: `transform` needs batches of arrays, got a {kind} first")
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


def _with_labels(
    transform: Transform, images: Images, rng: SampleRandom, rest: list[Any]
) -> tuple[Images, list[Any]]:
    labels = rest[0]._array if rest and isinstance(rest[0], Tensor) else (rest or [None])[0]
    if not isinstance(labels, np.ndarray):
        raise DtypeError(
            f"DataLoader: `transform` {transform!r} changes labels, but the batches have no array "
            "of labels after the images"
        )
    images, labels = transform(images, rng, labels)
    return images, [labels]
