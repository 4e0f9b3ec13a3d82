"""Runs one expression in tinygrad_cnn and in PyTorch and holds the two against each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg

ERRORS = (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError, ZeroDivisionError)
CRYPTIC = (
    "ufunc",
    "operands could not be broadcast together",
    "axes don't match",
    "setting an array element",
    "has no attribute",
    "object of type",
    "not subscriptable",
)
UNIMPLEMENTED = re.compile(
    "not implemented for|not supported for|does not support|[Bb]ool(ean)? .*not supported"
)
TOLERANCE = {
    "float64": (1e-10, 1e-12),
    "complex128": (1e-10, 1e-12),
    "float32": (2e-5, 2e-6),
    "complex64": (2e-5, 2e-6),
    "float16": (2e-2, 1e-2),
}


def require_torch() -> Any:
    return pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )


def floats(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape)


def ints(*shape: int, low: int = 0, high: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).integers(low, high, shape)


def bools(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).random(shape) < 0.5


def case(name: str, call: Callable[..., Any], *inputs: Any) -> Any:
    """``call(m, *tensors)`` with ``m`` either library; arrays become tensors, all else stays."""
    return pytest.param(call, inputs, id=name)


def dtype_name(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


def array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a copy: some of PyTorch's are computed when they are read
        value = value.detach().resolve_neg().resolve_conj().clone()
        half = str(value.dtype).endswith("bfloat16")  # of which PyTorch makes no array
        value = value.float().numpy() if half else value.numpy()
    return np.asarray(value)


def _flat(result: Any) -> list[Any]:
    if isinstance(result, (tuple, list)) and not hasattr(result, "dtype"):
        return [leaf for part in result for leaf in _flat(part)]
    return [result]


def _run(module: Any, call: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    leaves, args = [], []
    for value in inputs:
        if isinstance(value, np.ndarray):
            value = module.tensor(value.copy(order="K"))
            if value.is_floating_point() or value.is_complex():
                value.requires_grad_()
                leaves.append(value)
        args.append(value)
    try:
        return _flat(call(module, *args)), leaves, None
    except ERRORS as error:
        return None, leaves, error


def _assert_views_are_of_inputs(call: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    """No result looks into a tensor that nobody but the function has seen."""
    args = [tg.tensor(v.copy(order="K")) if isinstance(v, np.ndarray) else v for v in inputs]
    try:
        with tg.no_grad():
            results = _flat(call(tg, *args))
    except ERRORS:
        return
    for t in results:
        if isinstance(t, tg.Tensor) and t.view_of is not None:
            assert any(t.view_of.base is a for a in args), "a view of what nobody has"


def assert_close(ours: Any, theirs: Any, what: str) -> None:
    if not hasattr(theirs, "dtype"):
        assert type(ours) is type(theirs), what
        assert ours == theirs or (ours != ours and theirs != theirs), what
        return
    assert isinstance(ours, tg.Tensor), what
    assert isinstance(ours.array, np.ndarray), what
    assert tuple(ours.shape) == tuple(theirs.shape), f"{what}: {ours.shape} {tuple(theirs.shape)}"
    assert dtype_name(ours) == dtype_name(theirs), what
    rtol, atol = TOLERANCE.get(dtype_name(theirs), (0, 0))
    a, b = array(ours), array(theirs)
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=what)


def assert_agrees(
    call: Callable[..., Any], inputs: tuple[Any, ...], *, is_function: bool = True
) -> None:
    """Same values, dtypes, shapes, gradients under random cotangents; or both refuse."""
    torch = require_torch()
    for dtype in ("float64", "float32"):
        cast = tuple(
            v.astype(dtype) if isinstance(v, np.ndarray) and v.dtype == np.float64 else v
            for v in inputs
        )
        mine, my_leaves, my_error = _run(tg, call, cast)
        if is_function:
            _assert_views_are_of_inputs(call, cast)
        yours, your_leaves, your_error = _run(torch, call, cast)
        if your_error is not None:
            if my_error is None and UNIMPLEMENTED.search(str(your_error)):
                return  # a dtype that PyTorch has no code for: ours may have
            assert my_error is not None, f"PyTorch refuses: {your_error}\nours: {mine}"
            message = str(my_error)
            assert not any(c in message for c in CRYPTIC), f"cryptic: {message}"
            assert ":" in message, f"names no operation: {message}"
            return
        if my_error is not None:
            raise my_error
        assert len(mine) == len(yours)
        roots = []
        for i, (a, b) in enumerate(zip(mine, yours, strict=True)):
            assert_close(a, b, f"{dtype} output {i}")
            if not hasattr(b, "requires_grad"):
                continue
            assert a.requires_grad == b.requires_grad, f"{dtype} output {i}: requires_grad"
            if b.requires_grad:
                u = floats(*b.shape, seed=7 + i).astype(dtype_name(b))
                roots.append((a, b, u))
        if not roots:
            continue
        got = tg.autograd.grad(
            [r[0] for r in roots],
            my_leaves,
            [tg.tensor(r[2]) for r in roots],
            allow_unused=True,
        )
        try:
            expected = torch.autograd.grad(
                [r[1] for r in roots],
                your_leaves,
                [torch.tensor(r[2]) for r in roots],
                allow_unused=True,
            )
        except RuntimeError as error:
            if "not implemented" in str(error):  # as for floor_divide: ours is 0
                return
            raise
        for i, (a, b, leaf) in enumerate(zip(got, expected, your_leaves, strict=True)):
            zero = np.zeros(tuple(leaf.shape), dtype_name(leaf))
            a = tg.tensor(zero) if a is None else a
            b = torch.tensor(zero) if b is None else b
            assert_close(a, b, f"{dtype} gradient {i}")
