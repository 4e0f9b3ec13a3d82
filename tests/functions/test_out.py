"""``out=``: the result is written into memory that is there. See the kind "out" of tests/parity."""

from __future__ import annotations

import inspect
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import require_torch

import tinygrad_cnn as tg
from tinygrad_cnn import functions
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.functions.out import NAMES

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
WITHOUT = ("diagonal", "matrix_exp", "vander", "fftshift", "ifftshift")


def test_it_is_written_and_returned() -> None:
    memory = tg.zeros(4, 6)
    out = memory[::2, 1:4].t()[:, :2]  # strided, amid others
    x = tg.tensor(X[:3, :2])
    version = memory._version
    assert tg.exp(x, out=out) is out
    assert np.array_equal(memory.numpy()[::2, 1:4].T, np.exp(X[:3, :2]))
    assert np.count_nonzero(memory.numpy()) == 6
    assert memory._version > version


@pytest.mark.parametrize("way", [tuple, list])
def test_several_results(way: Callable[[Any], Any]) -> None:
    outs = way([tg.empty(0), tg.empty(0, dtype=tg.int64)])
    found = tg.sort(tg.tensor(X), 1, out=outs)
    assert found.values is outs[0]
    assert found.indices is outs[1]
    assert np.array_equal(outs[0].numpy(), np.sort(X, 1))
    assert np.array_equal(outs[1].numpy(), np.argsort(X, 1))


def test_an_out_that_overlaps_arguments() -> None:
    x = tg.arange(6.0)
    tg.add(x[:-1], x[1:], out=x[1:])
    assert x.tolist() == [0, 1, 3, 5, 7, 9]
    a = tg.tensor(X[:3, :3])
    tg.matmul(a, a, out=a)
    assert np.allclose(a.numpy(), X[:3, :3] @ X[:3, :3], atol=1e-5)


@pytest.mark.parametrize("shape", [(2,), (3, 5), (1, 3, 4)])
def test_another_shape_is_changed_with_a_warning(shape: tuple[int, ...]) -> None:
    out = tg.ones(shape)
    with pytest.warns(UserWarning, match=r"exp: `out` had shape .* and gets \(3, 4\)") as said:
        tg.exp(tg.tensor(X), out=out)
    assert [w.filename for w in said] == [__file__]
    assert np.array_equal(out.numpy(), np.exp(X))


@pytest.mark.parametrize("sides", [(0,), (0, 4)])
def test_an_empty_out_gets_the_shape(sides: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = tg.empty(sides)
        assert tg.sum(tg.tensor(X), out=out).shape == ()
        assert tg.neg(tg.tensor(X), out=tg.empty(sides)).shape == (3, 4)


@pytest.mark.parametrize(
    ("call", "dtype", "expected"),
    [
        (lambda out: tg.zeros(2, out=out), tg.int64, [0, 0]),
        (lambda out: tg.arange(3, out=out), tg.float64, [0, 1, 2]),
        (lambda out: tg.sum(tg.tensor([1.5, 1.5]), out=out), tg.int64, 2),
        (lambda out: tg.softmax(tg.zeros(2), 0, tg.float32, out=out), tg.float64, [0.5, 0.5]),
        (lambda out: tg.eq(tg.ones(2), 1, out=out), tg.float32, [1, 1]),
        (lambda out: tg.add(tg.ones(2), 1, out=out), tg.float16, [2, 2]),
        (lambda out: tg.add(tg.ones(2), 1, out=out), tg.complex128, [2, 2]),
    ],
)
def test_other_dtypes(call: Callable[[Any], Any], dtype: Any, expected: Any) -> None:
    found = call(tg.empty(0, dtype=dtype))
    assert found.dtype == dtype
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x: tg.exp(x, out=tg.empty(0, dtype=tg.int64)), DtypeError,
         "exp: `out` is int64, expected a dtype that the result, float32, can be cast to"),
        (lambda x: tg.exp(x, out=(tg.empty(0),)), DtypeError,
         "exp: `out` is a tuple of 1, expected a tensor"),
        (lambda x: tg.exp(x, out=X), DtypeError, "exp: `out` is of type ndarray, expected"),
        (lambda x: tg.sort(x, out=tg.empty(0)), DtypeError,
         "sort: `out` is a tensor, expected a tuple of 2 tensors"),
        (lambda x: tg.sort(x, out=(tg.empty(0),)), DtypeError,
         "sort: `out` is a tuple of 1, expected a tuple of 2 tensors"),
        (lambda x: tg.exp(x, out=tg.ones(1).expand(3, 4)), RuntimeError, "exp: .*read-only"),
        (lambda x: tg.exp(x, out=tg.ones(1).expand(2, 6)), RuntimeError, "exp: .*read-only"),
        (lambda x: tg.exp(x, out=tg.zeros(3, 4, requires_grad=True)), RuntimeError,
         "exp: `out` requires gradients"),
        (lambda x: tg.linalg.norm(x.requires_grad_(), out=tg.empty(0)), RuntimeError,
         "norm: an argument requires gradients"),
    ],
)  # fmt: skip
def test_refused(call: Callable[[Any], Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call(tg.tensor(X))


def test_nothing_is_written_before_all_fits() -> None:
    values, places = tg.zeros(3, 4), tg.zeros(3, 4, dtype=tg.bool)
    with pytest.raises(DtypeError):
        tg.sort(tg.tensor(X), out=(values, places))
    assert not values.any()


def test_what_requires_gradients_is_written_without_recording() -> None:
    x, out = tg.tensor(X, requires_grad=True), tg.zeros(3, 4, requires_grad=True)
    with tg.no_grad():
        tg.exp(x, out=out)
    assert out.is_leaf
    assert np.array_equal(out.detach().numpy(), np.exp(X))
    assert tg.argmax(x, out=tg.empty(0, dtype=tg.int64)).item() == X.argmax()


def test_a_change_of_what_a_rule_keeps_is_noticed() -> None:
    x, kept = tg.tensor(X, requires_grad=True), tg.tensor(X)
    y = (x * kept).sum()
    tg.exp(tg.tensor(X), out=kept)
    with pytest.raises(RuntimeError, match="exp"):
        y.backward()


def test_who_takes_it() -> None:
    for module in (tg, tg.linalg, tg.special, tg.fft):
        for name in module.__all__:
            function = getattr(module, name)
            if not inspect.isfunction(function):
                continue
            takes = "out" in inspect.signature(function).parameters
            if module in (tg, tg.special):
                assert takes == (function.__name__ in NAMES), name
            else:
                assert takes == (name not in WITHOUT), name
            if takes:
                assert pickle.loads(pickle.dumps(function)) is function
                assert function.__doc__ == function.__wrapped__.__doc__
    assert "out" not in inspect.signature(functions.add).parameters


def test_they_are_pytorchs() -> None:
    torch = require_torch()
    stubs = (Path(torch.__file__).parent / "_C/_VariableFunctions.pyi").read_text("utf-8")
    theirs = {
        name for name, arguments in re.findall(r"^def (\w+)\((.*?)\) ->", stubs, re.M | re.S)
        if re.search(r"\bout:", arguments)
    }  # fmt: skip
    theirs |= {n for n in ("chain_matmul", "norm", "tensordot", "lu") if hasattr(torch, n)}
    for name in tg.__all__:
        if hasattr(torch, name) and inspect.isfunction(getattr(tg, name)):
            known = getattr(tg, name).__name__ in NAMES
            assert known == (name in theirs), name
