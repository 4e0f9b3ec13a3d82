"""Samplers, streams, workers and what excludes what, beside PyTorch's."""

import threading
import time
from collections import namedtuple

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import data

try:
    import torch
except ImportError:
    torch = None
INSTALL = "PyTorch is not installed: pip install torch==2.13.0"
needs_torch = pytest.mark.skipif(torch is None, reason=INSTALL)
Pair = namedtuple("Pair", "x y")


def plain(value):
    """The same in lists and numbers, with names of dtypes."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return str(value.dtype).removeprefix("torch."), value.tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value


# ---- samplers -------------------------------------------------------------------------------


def test_random_samplers_draw_what_they_should():
    def draw(kind, *args, **kwargs):
        return list(kind(*args, **kwargs, generator=tg.Generator(3)))

    order = draw(data.RandomSampler, range(10))
    assert sorted(order) == list(range(10)) != order
    assert draw(data.RandomSampler, range(10)) == order
    three = draw(data.RandomSampler, range(4), num_samples=11)
    assert [sorted(three[:4]), sorted(three[4:8])] == [[0, 1, 2, 3]] * 2
    assert len(set(three[8:])) == 3
    again = draw(data.RandomSampler, range(4), replacement=True, num_samples=4000)
    assert np.bincount(again).tolist() == pytest.approx([1000] * 4, rel=0.15)
    assert sorted(draw(data.SubsetRandomSampler, [9, 4, 4, 7])) == [4, 4, 7, 9]
    heavy = draw(data.WeightedRandomSampler, [1, 0, 3], 4000)
    assert np.bincount(heavy).tolist() == pytest.approx([1000, 0, 3000], rel=0.15)
    once = draw(data.WeightedRandomSampler, [1, 0, 3], 2, replacement=False)
    assert sorted(once) == [0, 2]


@needs_torch
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [0, 1, 6, 7])
def test_batches_of_indices_are_pytorchs(n, drop_last):
    ours, theirs = (d.BatchSampler(range(n), 3, drop_last) for d in (data, torch.utils.data))
    assert list(ours) == list(theirs)
    assert len(ours) == len(theirs)


@needs_torch
@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("RandomSampler", ([],)),
        ("RandomSampler", (range(3), 1)),
        ("RandomSampler", (range(3), False, 0)),
        ("RandomSampler", (range(3), True, 2.0)),
        ("WeightedRandomSampler", ([[1.0]], 1)),
        ("WeightedRandomSampler", ([1.0], 0)),
        ("WeightedRandomSampler", ([1.0], True)),
        ("BatchSampler", (range(3), 0, False)),
        ("BatchSampler", (range(3), True, False)),
    ],
)
def test_samplers_refuse_what_pytorchs_refuse(kind, args):
    with pytest.raises((TypeError, ValueError)) as theirs:
        getattr(torch.utils.data, kind)(*args)
    with pytest.raises(theirs.type, match=f"^{kind}: `"):
        getattr(data, kind)(*args)


# ---- the loader's arguments -----------------------------------------------------------------


def test_what_is_refused_without_pytorch_too():
    with pytest.raises(ValueError, match="`shuffle` and `sampler` exclude each other"):
        data.DataLoader([1], shuffle=True, sampler=[0])
    with pytest.raises(ValueError, match="`num_workers` 0 and `timeout` exclude each other"):
        data.DataLoader([1], timeout=1)
    with pytest.raises(NotImplementedError, match="Sampler does not define `__iter__`"):
        iter(data.Sampler())
    with pytest.raises(NotImplementedError, match="does not define `__iter__`"):
        iter(data.IterableDataset())
    with pytest.raises(TypeError, match=r"`datasets\[0\]` is a list, expected an IterableDataset"):
        list(data.ChainDataset([[1]]))
    with pytest.raises(ValueError, match="RandomSampler: `data_source` is empty"):
        list(data.RandomSampler([], num_samples=2))


def of(library):
    """PyTorch's own classes, or ours."""
    return torch.utils.data if library == "torch" else data


def stream_of(library, n=7, known=False):
    d = of(library)

    class Stream(d.IterableDataset):
        def __init__(self):
            self.start, self.end = 0, n

        def __iter__(self):
            worker = d.get_worker_info()
            first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
            return iter(range(self.start + first, self.end, step))

    if known:
        Stream.__len__ = lambda self: n
    return Stream()


@needs_torch
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        {"shuffle": True},
        {"shuffle": False},
        {"sampler": [0, 1]},
        {"sampler": [0, 1], "shuffle": True},
        {"batch_sampler": [[0, 1], [2]]},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "batch_size": None},
        {"batch_sampler": [[0]], "shuffle": True},
        {"batch_sampler": [[0]], "sampler": [0]},
        {"batch_sampler": [[0]], "drop_last": True},
        {"batch_size": None},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 3, "drop_last": True},
        {"prefetch_factor": 2},
        {"prefetch_factor": 2, "num_workers": 1},
        {"persistent_workers": True},
        {"persistent_workers": True, "num_workers": 2},
        {"num_workers": -1},
        {"timeout": -1},
        {"multiprocessing_context": "spawn"},
        {"multiprocessing_context": "none such", "num_workers": 1},
    ],
    ids=str,
)
def test_arguments_exclude_each_other_as_in_pytorch(arguments, stream):
    def make(library):
        source = stream_of(library) if stream else [10, 11, 12]
        return of(library).DataLoader(source, **arguments)

    try:
        theirs = make("torch")
    except ValueError:
        with pytest.raises(ValueError, match=r"^DataLoader: (`|an IterableDataset)"):
            make("ours")
        return
    ours = make("ours")
    for name in ("batch_size", "drop_last", "num_workers", "prefetch_factor", "timeout"):
        assert getattr(ours, name) == getattr(theirs, name), name
    if not stream:
        assert len(ours) == len(theirs)
        assert type(ours.sampler).__name__ == type(theirs.sampler).__name__
        assert type(ours.batch_sampler).__name__ == type(theirs.batch_sampler).__name__


class Records:
    """What samples are made of."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if isinstance(index, list):
            return np.asarray(index) * 2
        return {"x": np.float32(index), "y": (index, "s"), "z": Pair([np.arange(2)], b"t")}


@needs_torch
@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 2},
        {"batch_size": None},
        {"batch_size": None, "sampler": [[0, 3], [1]]},
        {"batch_size": None, "collate_fn": str},
        {"batch_sampler": [[4, 0], [1]]},
        {"sampler": [3, 0, 3], "batch_size": 2, "drop_last": True},
        {"batch_size": 3, "pin_memory": False, "in_order": True, "pin_memory_device": ""},
    ],
    ids=str,
)
def test_batches_are_pytorchs(arguments):
    ours, theirs = (of(k).DataLoader(Records(), **arguments) for k in ("ours", "torch"))
    assert [plain(b) for b in ours] == [plain(b) for b in theirs]
    assert len(ours) == len(theirs)


def test_keys_may_be_words():
    loader = data.DataLoader({"a": 1, "b": 2}, sampler=["b", "a", "b"], batch_size=2)
    assert [batch.tolist() for batch in loader] == [[2, 1], [2]]


def test_transforms_of_batches_reach_samples_that_come_alone():
    images = data.TensorDataset(np.ones((3, 1, 2, 2), np.float32), np.arange(3))
    loader = data.DataLoader(images, None, transform=lambda x, rng: x * 2)
    assert [(x.shape, x.sum().item(), y.item()) for x, y in loader] == [
        ((1, 2, 2), 8.0, i) for i in range(3)
    ]


# ---- several programs -----------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("n", "replicas"), [(10, 3), (9, 3), (2, 5), (7, 1)])
def test_programs_shares_are_pytorchs(n, replicas, drop_last):
    for rank in range(replicas):
        arguments = {"num_replicas": replicas, "rank": rank, "drop_last": drop_last}
        ours, theirs = (
            of(k).DistributedSampler(range(n), shuffle=False, **arguments)
            for k in ("ours", "torch")
        )
        assert list(ours) == list(theirs)
        assert (len(ours), ours.total_size) == (len(theirs), theirs.total_size)


def test_programs_shuffle_alike():
    def shares(epoch, **arguments):
        samplers = [data.DistributedSampler(range(12), 3, rank, **arguments) for rank in range(3)]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        return [list(sampler) for sampler in samplers]

    assert sorted(i for share in shares(0) for i in share) == list(range(12))
    assert shares(0) == shares(0, seed=0)
    assert shares(0) != shares(1) == shares(0, seed=1)
    loader = data.DataLoader(range(12), 2, sampler=data.DistributedSampler(range(12), 3, 1))
    assert [i for batch in loader for i in batch.tolist()] == shares(0)[1]


@pytest.mark.parametrize("n", [0, 2, 9, 10, 11])
def test_programs_see_each_sample_once(n):
    samplers = [data.DistributedSampler(range(n), 3, rank, pad=False) for rank in range(3)]
    shares = [list(sampler) for sampler in samplers]
    assert sorted(i for share in shares for i in share) == list(range(n))
    assert [len(share) for share in shares] == [len(sampler) for sampler in samplers]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert samplers[0].total_size == n


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "there is no process group"),
        ({"num_replicas": 2}, "there is no process group"),
        ({"num_replicas": 0, "rank": 0}, "`num_replicas` must be an integer >= 1, got 0"),
        ({"num_replicas": 2, "rank": -1}, "`rank` must be an integer >= 0, got -1"),
        ({"num_replicas": 2, "rank": 2}, "`rank` is 2, expected 0 to 1"),
    ],
)
def test_programs_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=f"DistributedSampler: {message}"):
        data.DistributedSampler(range(4), **arguments)


# ---- streams and workers --------------------------------------------------------------------


@needs_torch
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize(
    "arguments", [{"batch_size": 2}, {"batch_size": 2, "drop_last": True}, {"batch_size": None}]
)
def test_batches_of_streams_come_as_pytorchs(arguments, workers):
    for n in (1, 13):
        ours, theirs = (
            of(k).DataLoader(stream_of(k, n), num_workers=workers, **arguments)
            for k in ("ours", "torch")
        )
        assert [plain(b) for b in ours] == [plain(b) for b in theirs]


def test_streams_have_the_length_they_know():
    assert len(data.DataLoader(stream_of("ours", 7, known=True), 2)) == 4
    assert len(data.DataLoader(stream_of("ours", 7, known=True), 2, drop_last=True)) == 3
    assert len(stream_of("ours", 7, True) + stream_of("ours", 2, True)) == 9
    with pytest.raises(TypeError, match="a stream has no length"):
        len(data.DataLoader(stream_of("ours")))
    assert stream_of("ours")
    with pytest.raises(TypeError, match=r"ConcatDataset: `datasets\[0\]` is a stream"):
        data.ConcatDataset([stream_of("ours")])


def test_a_stream_goes_on_from_a_later_batch():
    loader = data.DataLoader(stream_of("ours"), 2)
    assert [b.tolist() for b in loader.epoch(0, start=2)] == [[4, 5], [6]]


@pytest.mark.parametrize("persistent", [False, True])
def test_a_worker_prepares_its_own_copy(persistent):
    stream, calls = stream_of("ours", 8), []

    def prepare(number):
        worker = data.get_worker_info()
        assert (worker.id, worker.num_workers) == (number, 2)
        assert worker.dataset is not stream
        worker.dataset.start = 100 * (number + 1)
        worker.dataset.end = worker.dataset.start + 4
        calls.append((number, worker.seed))

    loader = data.DataLoader(
        stream, 2, num_workers=2, worker_init_fn=prepare, persistent_workers=persistent
    )
    for _ in range(2):
        assert [b.tolist() for b in loader] == [[100, 102], [201, 203]]
    assert sorted(n for n, _ in calls) == ([0, 1] if persistent else [0, 0, 1, 1])
    seeds = dict(calls)
    assert (seeds[1] - seeds[0]) % 2**64 == 1
    assert stream.start == 0
    assert data.get_worker_info() is None


def test_an_error_in_worker_init_fn_arrives():
    def fail(number):
        raise KeyError("no disk")

    with pytest.raises(KeyError, match="no disk"):
        list(data.DataLoader(range(4), num_workers=2, worker_init_fn=fail))


def test_a_worker_that_is_late_is_an_error():
    wake = threading.Event()

    class Slow:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            wake.wait(30)
            return index

    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"within the `timeout` of 0\.05 seconds"):
        list(data.DataLoader(Slow(), num_workers=1, timeout=0.05))
    assert time.monotonic() - start < 20
    wake.set()


@pytest.mark.parametrize("workers", [1, 4])
def test_random_numbers_of_a_stream_belong_to_its_samples(workers):
    class Noise(data.IterableDataset):
        def __iter__(self):
            for _ in range(5):
                yield data.keyed.sample_random().random()

    def epoch(workers):
        loader = data.DataLoader(Noise(), 2, num_workers=workers)
        return [x for batch in loader.epoch(5) for x in batch.tolist()]

    once = epoch(workers)
    assert len(set(once)) == len(once) == 5 * workers
    assert epoch(workers) == once


# ---- data sets, samples ---------------------------------------------------------------------


@needs_torch
def test_stacked_data_sets_are_pytorchs():
    for args, kwargs in [(([1, 2], "ab"), {}), ((), {"n": [1, 2], "c": "ab"})]:
        ours, theirs = (of(k).StackDataset(*args, **kwargs) for k in ("ours", "torch"))
        assert [ours[i] for i in range(len(ours))] == [theirs[i] for i in range(len(theirs))]
        assert plain(next(iter(data.DataLoader(ours, 2)))) == plain(
            next(iter(torch.utils.data.DataLoader(theirs, 2)))
        )
    for args, kwargs in [((), {}), (([1],), {"b": [2]}), (([1], [2, 3]), {})]:
        for kind in (data.StackDataset, torch.utils.data.StackDataset):
            with pytest.raises(ValueError):  # noqa: PT011  # PyTorch's words are its own
                kind(*args, **kwargs)


@needs_torch
@pytest.mark.parametrize(
    "value",
    [
        np.arange(3),
        np.float32(2),
        np.array(["a"]),
        (1, np.ones(2)),
        Pair(np.ones(1), None),
        [np.int8(1), [np.zeros(2, np.float16)]],
        {"a": np.ones(2), "b": "text"},
        np.str_("text"),
        range(2),
        3,
    ],
    ids=repr,
)
def test_default_convert_is_pytorchs(value):
    ours, theirs = data.default_convert(value), torch.utils.data.default_convert(value)
    assert plain(ours) == plain(theirs)
    assert type(ours).__name__ == type(theirs).__name__
    assert isinstance(ours, tg.Tensor) == isinstance(theirs, torch.Tensor)


def test_samples_with_replacement_are_drawn_as_they_are_wanted():
    sampler = tg.data.RandomSampler(range(3), replacement=True, num_samples=10**10)
    assert len(sampler) == 10**10
    first = [i for i, _ in zip(sampler, range(100_000), strict=False)]
    assert sorted(set(first)) == [0, 1, 2]
