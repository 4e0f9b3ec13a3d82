"""Batches keep the containers of their samples, and gradients, as in PyTorch."""

from __future__ import annotations

import collections
import types
from typing import Any, NamedTuple

import numpy as np
import pytest
from parity import assert_close, require_torch

import tinygrad_cnn as tg
from tinygrad_cnn import data


class Pair(NamedTuple):
    """A named tuple."""

    image: Any
    label: Any


class Named(dict):
    """A mapping with an attribute."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.note = "kept"


class Stubborn(dict):
    """A mapping that cannot be copied."""

    def __copy__(self) -> Any:
        raise TypeError("no copies")


class Row(list):
    """A kind of list."""


SAMPLES = {
    "OrderedDict": lambda m, i: collections.OrderedDict(b=m.tensor([i]), a=i),
    "defaultdict": lambda m, i: collections.defaultdict(list, {"x": float(i)}),
    "Counter": lambda m, i: collections.Counter(x=i),
    "ChainMap": lambda m, i: collections.ChainMap({"x": i}),
    "UserDict": lambda m, i: collections.UserDict({"x": i}),
    "mappingproxy": lambda m, i: types.MappingProxyType({"x": i}),
    "subclass": lambda m, i: Named(x=i),
    "no copies": lambda m, i: Stubborn(x=i),
    "namedtuple": lambda m, i: Pair(m.tensor([1.0, i]), i),
    "UserList": lambda m, i: collections.UserList([i, float(i)]),
    "list": lambda m, i: [i, m.tensor([i])],
    "list of a kind": lambda m, i: Row([i]),
    "deque": lambda m, i: collections.deque([i, i]),
    "range": lambda m, i: range(i, i + 2),
    "nested": lambda m, i: {"a": [Pair(i, collections.OrderedDict(z=np.float32(i)))]},
    "bool": lambda m, i: bool(i),
    "float": lambda m, i: i + 0.5,
    "strings": lambda m, i: {"name": str(i), "raw": b"x"},
    "float64 array": lambda m, i: np.full((2,), i, np.float64),
    "scalar": lambda m, i: np.int16(i),
}


def assert_alike(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs) or hasattr(theirs, "dtype")
    if hasattr(theirs, "dtype"):
        assert_close(ours, theirs, "a batch")
    elif hasattr(theirs, "keys"):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_alike(ours[key], theirs[key])
        assert getattr(ours, "note", None) == getattr(theirs, "note", None)
        assert getattr(ours, "default_factory", 0) == getattr(theirs, "default_factory", 0)
    elif isinstance(theirs, str | bytes):
        assert ours == theirs
    else:
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_alike(a, b)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("workers", [0, 2])
def test_containers(name: str, workers: int) -> None:
    torch = require_torch()
    make = SAMPLES[name]
    expected = torch.utils.data.default_collate([make(torch, i) for i in range(3)])
    samples = [make(tg, i) for i in range(3)]
    assert_alike(data.default_collate(samples), expected)
    (batch,) = data.DataLoader(samples, 3, num_workers=workers)
    assert_alike(batch, expected)
    assert repr(samples[0]) == repr(make(tg, 0))  # no sample was changed


def test_gradients_flow_into_samples() -> None:
    torch = require_torch()
    found = []
    for m, collate in ((tg, data.default_collate), (torch, torch.utils.data.default_collate)):
        xs = [m.full((2,), float(i), requires_grad=True) for i in range(2)]
        batch = collate([{"x": x * 2, "y": i} for i, x in enumerate(xs)])
        assert batch["x"].requires_grad
        (batch["x"] * batch["x"]).sum().backward()
        found.append([x.grad.tolist() for x in xs])
    assert found[0] == found[1] == [[0.0, 0.0], [8.0, 8.0]]
    (batch,) = data.DataLoader([x * 3 for x in (tg.ones(2, requires_grad=True),)], 1)
    assert batch.requires_grad
    with tg.no_grad():
        assert not data.default_collate([tg.ones(2, requires_grad=True)]).requires_grad


def test_dtypes_of_a_batch_are_promoted_as_in_pytorch() -> None:
    batch = data.default_collate([np.ones(2, np.int64), np.ones(2, np.float32)])
    assert batch.dtype == tg.float32


def test_what_collate_fn_returns_keeps_its_type() -> None:
    loader = data.DataLoader([1, 2], 2, collate_fn=lambda s: Named(x=np.array(s), y="z"))
    (batch,) = loader
    assert type(batch) is Named
    assert batch.note == "kept"
    assert batch["x"].tolist() == [1, 2]
    plain = {"y": ["z"]}
    (batch,) = data.DataLoader([1, 2], 2, collate_fn=lambda s: plain)
    assert batch is plain


# ---- whose transform it is -----------------------------------------------------------------


class PerSample(data.Dataset):
    """As in torchvision: the transform is for a sample, and the data set calls it."""

    def __init__(self, transform: Any) -> None:
        self.transform = self.finish = transform

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return self.transform(np.full((1, 2, 2), index, np.float32)), index


class Duck:
    """The same without a base class."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    __len__ = PerSample.__len__
    __getitem__ = PerSample.__getitem__


class Rows(data.TensorDataset):
    """A subclass with samples of its own."""

    def __init__(self, transform: Any) -> None:
        super().__init__(np.arange(4, dtype=np.float32).repeat(4).reshape(4, 1, 2, 2), np.arange(4))
        self.transform = transform

    def __getitem__(self, index: int) -> Any:
        x, label = super().__getitem__(index)
        return self.transform(x), label


@pytest.mark.parametrize("kind", [PerSample, Duck, Rows])
def test_a_transform_of_samples_is_called_once(kind: Any) -> None:
    def transform(x: Any) -> Any:
        return x + 10

    dataset = kind(transform)
    wholes = [dataset, data.Subset(dataset, range(4)), data.ConcatDataset([dataset])]
    for whole in wholes:
        x, y = next(iter(data.DataLoader(whole, batch_size=4)))
        assert x[:, 0, 0, 0].tolist() == [10.0, 11.0, 12.0, 13.0]
        assert y.tolist() == [0, 1, 2, 3]
    loader = data.DataLoader(dataset, batch_size=4, transform=lambda x, rng: x * 2)
    assert next(iter(loader))[0][:, 0, 0, 0].tolist() == [20.0, 22.0, 24.0, 26.0]


def test_a_data_set_may_leave_its_transform_to_the_loader() -> None:
    dataset = data.TensorDataset(np.arange(4, dtype=np.float32), np.arange(4))
    dataset.transform = lambda x, rng: x + 10
    dataset.transforms_batches = True
    for whole in (dataset, data.Subset(dataset, range(4)), dataset + dataset):
        x, _ = next(iter(data.DataLoader(whole, batch_size=4)))
        assert x.tolist() == [10.0, 11.0, 12.0, 13.0]


@pytest.mark.parametrize(
    "samples",
    [[1, 2], [1, 2.5], [2.5, 1], [True, False], [True, 2], [True, 2.5], [1, True]],
    ids=str,
)
def test_numbers_of_several_kinds(samples: list[Any]) -> None:
    torch = require_torch()
    wanted = torch.utils.data.default_collate(samples)
    found = data.default_collate(samples)
    assert found.tolist() == wanted.tolist()
    assert str(found.dtype) == str(wanted.dtype).removeprefix("torch.")


def test_what_fits_no_batch_is_refused() -> None:
    for samples in ([1, "a"], [2.5, "3"], [2**70, 1]):
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            data.default_collate(samples)
    with pytest.raises(RuntimeError, match=r"different shapes \(2,\), \(3,\)"):
        data.default_collate([np.ones(2), np.ones(3)])


def test_texts_are_not_batched() -> None:
    names = np.array(["one", "two"])
    loader = data.DataLoader([names, names], batch_size=None)
    assert all(batch is names for batch in loader)
