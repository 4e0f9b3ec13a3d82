"""DataLoader: order, determinism over worker counts, threads that end, errors."""

import gc
import threading
import time
import traceback
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn import data
from tinygrad_cnn.data import DataLoader, TensorDataset, default_collate


class Pictures(data.ImageDataset):
    """Small coloured images; image i has the value i everywhere."""

    classes = ("even", "odd")
    mean, std = (0.5, 0.5), (0.25, 0.5)

    def __init__(self, n=23, transform=None, normalize=True):
        super().__init__(transform, normalize)
        self._pixels = np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(2, axis=3)
        self._pixels = self._pixels.repeat(4, axis=1).repeat(5, axis=2)

    @property
    def pixels(self):
        return self._pixels

    @property
    def labels(self):
        return np.arange(len(self._pixels)) % 2


class OneByOne(data.Dataset):
    """The same without the fast path, and slower for some."""

    def __init__(self, n=23):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        time.sleep(0.001 * (index % 3))
        return np.full((2, 4, 5), index, np.float32), index


def jitter(images, rng):
    return images + rng.integers(0, 50, images.shape).astype(images.dtype)


def bytes_of(loader):
    return [(x.numpy().tobytes(), y.tolist()) for x, y in loader]


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("DataLoader")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert loader_threads() == []


@given(n=st.integers(0, 30), batch_size=st.integers(1, 12), drop_last=st.booleans())
def test_batches_in_order_cover_everything(n, batch_size, drop_last):
    loader = DataLoader(TensorDataset(np.arange(n)), batch_size, drop_last=drop_last)
    batches = [batch.tolist() for (batch,) in loader]
    assert len(batches) == len(loader)
    kept = n - n % batch_size if drop_last else n
    assert [i for batch in batches for i in batch] == list(range(kept))
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_shuffle_visits_all_once_in_a_new_order_each_time():
    loader = DataLoader(TensorDataset(np.arange(50)), 8, True, generator=tg.Generator(1))
    first = [i for (batch,) in loader for i in batch.tolist()]
    second = [i for (batch,) in loader for i in batch.tolist()]
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first != list(range(50))


def test_a_sampler_decides_the_order():
    squares = TensorDataset(np.arange(10) ** 2)
    loader = DataLoader(squares, 2, sampler=[3, 1, 4, 1, 5])
    assert [batch.tolist() for (batch,) in loader] == [[9, 1], [16, 1], [25]]
    assert len(loader) == 3
    short = DataLoader(squares, 2, sampler=[3, 1, 4, 1, 5], drop_last=True)
    assert [batch.tolist() for (batch,) in short] == [[9, 1], [16, 1]]
    assert len(short) == 2
    endless = DataLoader(squares, 1, sampler=iter(lambda: 2, None), num_workers=2)
    assert next(iter(endless))[0].tolist() == [4]


@pytest.mark.parametrize("dataset", [Pictures(), OneByOne()], ids=["batched", "one by one"])
@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers_gives_the_same_bytes(dataset, workers):
    def make(workers):
        return DataLoader(
            dataset, 4, True, num_workers=workers, transform=jitter, generator=tg.Generator(7)
        )

    plain, threaded = make(0), make(workers)
    for _ in range(2):  # epochs
        assert bytes_of(threaded) == bytes_of(plain)


def test_restoring_the_generator_repeats_the_epoch():
    generator = tg.Generator(3)
    loader = DataLoader(Pictures(), 4, True, transform=jitter, generator=generator, num_workers=2)
    bytes_of(loader)
    state = generator.get_state()
    second, third = bytes_of(loader), bytes_of(loader)
    assert second != third
    generator.set_state(state)
    assert [bytes_of(loader), bytes_of(loader)] == [second, third]


def test_the_library_generator_is_the_default():
    loader = DataLoader(Pictures(), 4, shuffle=True)
    tg.manual_seed(11)
    first = bytes_of(loader)
    assert bytes_of(loader) != first
    tg.manual_seed(11)
    assert bytes_of(loader) == first


def test_each_iter_draws_one_number_whatever_is_read():
    generator, reference = tg.Generator(0), tg.Generator(0)
    loader = DataLoader(Pictures(), 4, True, generator=generator, transform=jitter)
    iter(loader)
    next(iter(loader))
    list(loader)
    for _ in range(3):
        reference.numpy.integers(0, 2**64, dtype=np.uint64)
    assert generator.get_state() == reference.get_state()


def test_image_batches_are_normalised_channels_last_floats():
    x, y = next(iter(DataLoader(Pictures(), 5)))
    assert isinstance(x, tg.Tensor)
    assert x.shape == (5, 2, 4, 5)
    assert x.dtype == tg.float32
    assert y.dtype == tg.int64
    assert y.tolist() == [0, 1, 0, 1, 0]
    assert x.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
    expected = (np.arange(5) / 255)[:, None] - 0.5
    np.testing.assert_allclose(x.numpy()[:, :, 0, 0], expected / [0.25, 0.5], atol=1e-6)
    x, _ = next(iter(DataLoader(Pictures(normalize=False), 5)))
    np.testing.assert_allclose(x.numpy()[:, 1, 3, 4], np.arange(5) / 255, atol=1e-7)


def test_which_transform_runs():
    def add(value):
        return lambda images, rng: images + np.uint8(value)

    dataset = Pictures(transform=add(100), normalize=False)

    def seen(loader):
        return round(next(iter(loader))[0].numpy()[0, 0, 0, 0].item() * 255)

    assert seen(DataLoader(dataset)) == 100
    assert seen(DataLoader(data.Subset(dataset, [2]))) == 102
    assert seen(DataLoader(dataset, transform=add(50))) == 50
    part = data.Subset(dataset, [2])
    part.transform = None
    assert seen(DataLoader(part)) == 2
    # A transform that makes floats has the last word.
    floats = DataLoader(dataset, transform=lambda images, rng: images.astype(np.float32))
    assert next(iter(floats))[0].numpy().max() == 0.0
    joined = DataLoader(dataset + data.Subset(dataset, [5]), sampler=[23])
    assert seen(joined) == 105


def test_other_bytes_stay_bytes():
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    (batch,) = next(iter(DataLoader(TensorDataset(x), 2)))
    assert batch.dtype == tg.uint8
    np.testing.assert_array_equal(batch.numpy(), x)


@pytest.mark.parametrize("workers", [0, 2])
def test_collate_fn_gets_the_list_of_samples(workers):
    pairs = TensorDataset(np.arange(6, dtype=np.float32), np.arange(6))

    def collate(samples):
        return [sum(x.item() for x, _ in samples), len(samples)]

    loader = DataLoader(pairs, 4, collate_fn=collate, num_workers=workers)
    assert list(loader) == [[6.0, 4], [9.0, 2]]


def test_a_transform_reaches_tensors_made_by_collate_fn():
    dataset = [np.full((1, 2, 2), i, np.float32) for i in range(3)]
    loader = DataLoader(
        dataset, 3, collate_fn=default_collate, transform=lambda images, rng: images * 2
    )
    assert next(iter(loader)).numpy()[:, 0, 0, 0].tolist() == [0, 2, 4]


class Broken(OneByOne):
    def __getitem__(self, index):
        if index == 9:
            raise KeyError("sample nine")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_exception_arrives_in_its_place_with_its_traceback(workers):
    loader = DataLoader(Broken(), 4, num_workers=workers)
    seen = []
    with pytest.raises(KeyError, match="sample nine") as caught:
        seen.extend(y.tolist() for _, y in loader)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]
    lines = "".join(traceback.format_exception(caught.value))
    assert 'raise KeyError("sample nine")' in lines
    assert loader_threads() == []


def test_stopping_early_leaves_no_thread_behind():
    loader = DataLoader(OneByOne(60), 2, num_workers=3)
    for _ in loader:
        assert loader_threads()
        break
    assert loader_threads() == []
    iterator = iter(loader)
    next(iterator)
    del iterator
    assert loader_threads() == []
    iter(loader)  # never asked for anything
    gc.collect()
    assert loader_threads() == []


def test_workers_do_not_run_far_ahead():
    asked = []

    class Counting(OneByOne):
        def __getitem__(self, index):
            asked.append(index)
            return index

    iterator = iter(DataLoader(Counting(100), 1, num_workers=2, prefetch_factor=3))
    next(iterator)
    deadline = time.monotonic() + 10
    while len(asked) < 7 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(asked) == 7  # the first and 2 x 3 ahead
    iterator.close()


def test_two_iterators_of_one_loader_are_independent():
    loader = DataLoader(OneByOne(7), 2, num_workers=2)
    pairs = [(a[1].tolist(), b[1].tolist()) for a, b in zip(loader, loader, strict=True)]
    assert pairs == [(x, x) for x in ([0, 1], [2, 3], [4, 5], [6])]


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (ValueError, {"batch_size": 0}, "`batch_size` must be an integer >= 1, got 0"),
        (ValueError, {"batch_size": 2.0}, "`batch_size` must be an integer >= 1, got 2.0"),
        (ValueError, {"batch_size": True}, "`batch_size` must be an integer >= 1, got True"),
        (ValueError, {"num_workers": -1}, "`num_workers` must be an integer >= 0, got -1"),
        (ValueError, {"prefetch_factor": 0}, "`prefetch_factor` must be an integer >= 1"),
        (ValueError, {"shuffle": True, "sampler": [0]}, "exclude each other"),
        (TypeError, {"generator": np.random.default_rng()}, "`generator` must be a tg.Generator"),
        (TypeError, {"transform": 3}, "`transform` is a int, not callable"),
        (TypeError, {"collate_fn": 3}, "`collate_fn` is a int, not callable"),
        (TypeError, {"dataset": iter([1])}, r"`dataset` needs len\(\) and \[i\]"),
    ],
)
def test_bad_arguments_are_named(kind, arguments, message):
    with pytest.raises(kind, match=message):
        DataLoader(**{"dataset": [1, 2, 3], **arguments})


def test_a_transform_needs_an_array():
    loader = DataLoader(["a", "b"], 2, transform=lambda images, rng: images)
    with pytest.raises(TypeError, match="`transform` needs batches of arrays"):
        next(iter(loader))


class Point(NamedTuple):
    x: float
    name: str


def test_default_collate_keeps_structure():
    batch = default_collate([{"a": (1, True), "p": Point(0.5, "u")}] * 2)
    ints, flags = batch["a"]
    assert (ints.dtype, ints.tolist()) == (tg.int64, [1, 1])
    assert (flags.dtype, flags.tolist()) == (tg.bool, [True, True])
    assert isinstance(batch["p"], Point)
    assert (batch["p"].x.dtype, batch["p"].x.tolist()) == (tg.float64, [0.5, 0.5])
    assert batch["p"].name == ["u", "u"]
    stacked = default_collate([tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])])
    assert stacked.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert default_collate([np.float32(2), np.float32(3)]).dtype == tg.float32


def test_default_collate_explains_itself():
    with pytest.raises(ValueError, match=r"different shapes \(2,\), \(3,\)"):
        default_collate([np.zeros(2), np.zeros(3)])
    with pytest.raises(ValueError, match=r"have \[1, 2\] fields"):
        default_collate([(1,), (1, 2)])
    with pytest.raises(TypeError, match="samples of type object"):
        default_collate([object()])


# ---- as in PyTorch --------------------------------------------------------------------------


def test_an_epoch_goes_on_after_an_error():
    class Broken(data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index == 1:
                raise KeyError("no such sample")
            return index

    batches = iter(DataLoader(Broken(), batch_size=1))
    assert len(batches) == 4
    assert next(batches).item() == 0
    with pytest.raises(KeyError, match="no such sample"):
        next(batches)
    assert [batch.item() for batch in batches] == [2, 3]
    assert next(batches, None) is None


def test_slices_of_subsets():
    x = tg.arange(6)
    part = tg.data.Subset(tg.data.TensorDataset(x), [4, 2, 0])
    assert part[:][0].tolist() == [4, 2, 0]
    assert part[1:][0].tolist() == part[[1, 2]][0].tolist() == [2, 0]
    assert tg.data.Subset(part, [1])[:][0].tolist() == [2]
    assert part[np.int64(1)][0].item() == 2
