"""The namespace of the array API standard: all of it is there, with its signatures and values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import array_api_compat as compat
import array_api_strict as strict
import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import array_api as xp

strict.set_array_api_strict_flags(api_version="2024.12")
_MODULES = {"": (xp, strict), "linalg.": (xp.linalg, strict.linalg), "fft.": (xp.fft, strict.fft)}
_THEIR_OWN = {"ArrayAPIStrictFlags", "Device", "__version__"}
NAMES = sorted(
    (prefix, name)
    for prefix, (_, theirs) in _MODULES.items()
    for name in theirs.__all__
    if name not in _THEIR_OWN and "flags" not in name
)


@pytest.mark.parametrize(("prefix", "name"), NAMES)
def test_everything_is_there_with_its_signature(prefix: str, name: str) -> None:
    ours, theirs = (getattr(m, name) for m in _MODULES[prefix])
    assert name in _MODULES[prefix][0].__all__
    if not callable(theirs) or inspect.isclass(theirs):
        return
    wanted = inspect.signature(theirs).parameters.values()
    found = inspect.signature(ours).parameters.values()
    assert [(p.name, p.kind) for p in found if p.name != "type"] == [
        (p.name, p.kind) for p in wanted if p.name != "type"
    ]
    for p, q in zip(found, wanted, strict=True):
        said_otherwise = "Undef" in type(q.default).__name__
        assert p.default == q.default or said_otherwise or (p.default is q.default is p.empty)


def test_the_namespace_of_a_tensor() -> None:
    t = tg.ones(2)
    for version in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        assert t.__array_namespace__(api_version=version) is xp
    with pytest.raises(ValueError, match=r"`api_version` is '2020\.12', expected one of"):
        t.__array_namespace__(api_version="2020.12")
    assert xp.__array_api_version__ == "2024.12"
    assert t.to_device("cpu") is t.to_device(t.device) is t
    with pytest.raises(ValueError, match="to_device: `stream` is 1"):
        t.to_device("cpu", stream=1)
    with pytest.raises(TypeError, match=r"sum: .*'dim'"):
        xp.sum(t, dim=0)


def test_libraries_find_it() -> None:
    t = tg.ones(2, 3)
    assert compat.is_array_api_obj(t)
    assert compat.array_namespace(t, tg.zeros(3)) is xp


def test_what_it_says_of_itself() -> None:
    info = xp.__array_namespace_info__()
    theirs = strict.__array_namespace_info__()
    for kind in (None, "bool", "integral", "numeric", ("real floating", "complex floating")):
        assert sorted(info.dtypes(kind=kind)) == sorted(theirs.dtypes(kind=kind))
    assert info.default_device() in info.devices()
    assert info.capabilities().keys() == theirs.capabilities().keys()
    made = {
        "real floating": xp.asarray(1.0), "complex floating": xp.asarray(1j),
        "integral": xp.asarray(1), "indexing": xp.argmax(tg.ones(2)),
    }  # fmt: skip
    assert info.default_dtypes() == {k: t.dtype for k, t in made.items()}
    with pytest.raises(ValueError, match="`kind` is 'real', expected one of"):
        info.dtypes(kind="real")
    assert xp.finfo(tg.ones(1)).eps == 2.0**-23
    assert type(xp.finfo(xp.float64).max) is float
    assert xp.iinfo(xp.int8).min == -128


X = np.random.default_rng(0).normal(size=(3, 4))
VALUES: dict[str, Callable[[Any, Any], Any]] = {
    "arange": lambda m, x: m.arange(1, 7, 2),
    "arange by keyword": lambda m, x: m.arange(5, step=2),
    "clip above": lambda m, x: m.clip(x, max=0.5),
    "linspace": lambda m, x: m.linspace(0, 1, 5, dtype=m.float64, endpoint=False),
    "eye": lambda m, x: m.eye(2, 3, k=1),
    "full": lambda m, x: m.full((2,), True),
    "full_like": lambda m, x: m.full_like(x, 3),
    "asarray": lambda m, x: m.asarray([[1, 2], [3, 4]], dtype=m.int8),
    "meshgrid": lambda m, x: m.meshgrid(m.arange(2), m.arange(3), indexing="ij")[1],
    "promotion": lambda m, x: m.add(m.asarray([1], dtype=m.int8), m.asarray(2, dtype=m.int32)),
    "number": lambda m, x: m.maximum(x, 0.5),
    "shift": lambda m, x: m.bitwise_left_shift(m.asarray([1, 2]), 3),
    "hypot": lambda m, x: m.hypot(x, x),
    "copysign": lambda m, x: m.copysign(m.abs(x), x),
    "nextafter": lambda m, x: m.nextafter(x, m.zeros_like(x)),
    "sign": lambda m, x: m.sign(m.asarray([float("nan"), -2.0], dtype=m.float64)),
    "clip": lambda m, x: m.clip(x, min=-0.5),
    "sum": lambda m, x: m.sum(m.asarray([200, 100], dtype=m.uint8)),
    "std": lambda m, x: m.std(x, axis=(), correction=0.0),
    "cumulative": lambda m, x: m.cumulative_sum(x, axis=1, include_initial=True),
    "cumulative_prod": lambda m, x: m.cumulative_prod(m.asarray([2, 3], dtype=m.int8)),
    "count": lambda m, x: m.count_nonzero(x > 0, axis=0),
    "diff": lambda m, x: m.diff(x, axis=0, prepend=m.zeros((1, 4), dtype=m.float64)),
    "argsort": lambda m, x: m.argsort(m.asarray([1, 2, 1, 2]), descending=True),
    "sort": lambda m, x: m.sort(x, axis=0, descending=True),
    "take": lambda m, x: m.take(x, m.asarray([2, 0]), axis=1),
    "take_along_axis": lambda m, x: m.take_along_axis(x, m.asarray([[0], [1], [3]])),
    "unique": lambda m, x: m.unique_counts(m.asarray([3, 1, 3])).counts,
    "unstack": lambda m, x: m.unstack(x, axis=1)[2],
    "reshape": lambda m, x: m.reshape(x, (2, -1), copy=False),
    "searchsorted": lambda m, x: m.searchsorted(m.asarray([1.0, 2.0]), m.ones(1), side="right"),
    "where": lambda m, x: m.where(x > 0, x, 0),
    "matrix_norm": lambda m, x: m.linalg.matrix_norm(x, ord="nuc"),
    "solve": lambda m, x: m.linalg.solve(x[:, :3], x[:, 3]),
    "trace": lambda m, x: m.linalg.trace(x, offset=1),
    "cross": lambda m, x: m.linalg.cross(x[:, :3], x[:, 1:]),
    "rfftn": lambda m, x: m.fft.rfftn(x, s=(4, 5), axes=(0, 1)),
    "hfft": lambda m, x: m.fft.hfft(m.fft.rfft(x), n=4, norm="ortho"),
    "fftfreq": lambda m, x: m.fft.fftfreq(5, d=0.5, dtype=m.float64),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_and_dtypes(name: str) -> None:
    ours, theirs = VALUES[name](xp, tg.tensor(X)), VALUES[name](strict, strict.asarray(X))
    assert isinstance(ours, tg.Tensor)
    expected = np.asarray(theirs)
    assert ours.shape == expected.shape
    default = {"eye": np.float32}.get(name, expected.dtype)  # the default dtype is float32 here
    assert ours.dtype == default
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_copies_and_gradients() -> None:
    t = tg.ones(2, 3, requires_grad=True)
    assert xp.asarray(t) is t
    assert xp.asarray(t, copy=True).requires_grad
    with pytest.raises(ValueError, match="`copy` is False, but float32 is not"):
        xp.asarray(t, dtype=xp.float64, copy=False)
    with pytest.raises(ValueError, match="reshape: `copy` is False, but"):
        xp.reshape(t.T, (6,), copy=False)
    xp.mean(xp.linspace(0.0, xp.sum(t), 3)).backward()
    assert t.grad.tolist() == [[0.5] * 3] * 2


def test_nextafter_keeps_the_sign_of_zero_and_has_a_gradient() -> None:
    x = tg.tensor([0.0, -1e-45, 1.0], requires_grad=True)
    y = tg.nextafter(x, tg.tensor([-0.0, 1.0, 1.0]))
    assert np.signbit(y.detach().numpy()).tolist() == [True, True, False]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
