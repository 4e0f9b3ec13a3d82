"""Checks of what an operation does with arrays: layouts, dtypes, memory, repetition."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.backward import grad
from tinygrad_cnn.autograd.function import FunctionCtx
from tinygrad_cnn.autograd.gradcheck.compare import PASS
from tinygrad_cnn.autograd.node import Node
from tinygrad_cnn.autograd.samples import Sample
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.testing.certify.layouts import LAYOUTS, laid_out
from tinygrad_cnn.testing.certify.running import (
    NOT_APPLICABLE,
    Wrong,
    cotangent,
    leaves_of,
    require_close,
    run,
)
from tinygrad_cnn.testing.certify.subject import Subject
from tinygrad_cnn.testing.types import Params
from tinygrad_cnn.types import Array


def _in_layout(layout: str, seed: int, y: Tensor) -> Array:
    return laid_out(cotangent(y, seed), layout)


def layouts(subject: Subject, sample: Sample, seed: int) -> str:
    """The same values and gradients from every layout in memory."""
    where = subject.differentiable(sample.args)
    if not where:
        return NOT_APPLICABLE
    plain: list[Array] = []
    for layout in LAYOUTS:
        args = list(sample.args)
        for i in where:
            args[i] = laid_out(args[i], layout)
        y, gradients = run(
            subject, args, sample.params, functools.partial(_in_layout, layout, seed)
        )
        found = [y._array, *gradients]
        if not plain:
            plain = found
            continue
        names = ["the result", *(f"gradient {i}" for i in where)]
        for name, a, b in zip(names, found, plain, strict=True):
            require_close(f"with {layout} inputs, {name}", a, b, 1e-12, 1e-13)
    return PASS


def _like(a: Array, dtype: Any) -> Any:
    """The floating ``dtype``, or the complex one of such parts, as ``a`` is."""
    return np.result_type(dtype, np.complex64) if a.dtype.kind == "c" else np.dtype(dtype)


def _in_dtype(sample: Sample, dtype: Any) -> tuple[list[Any], Params]:
    args = [
        np.array(a, _like(a, dtype)) if isinstance(a, np.ndarray) and a.dtype.kind in "fc" else a
        for a in sample.args
    ]
    params = dict(sample.params)
    if "dtype" in params:
        params["dtype"] = np.dtype(dtype)
    return args, params


def dtypes(subject: Subject, sample: Sample, seed: int) -> str:
    """float32 in, float32 out and back, with float64's values."""
    where = subject.differentiable(sample.args)
    if not where:
        return NOT_APPLICABLE
    exact = None
    for dtype in (np.float64, np.float32):
        args, params = _in_dtype(sample, dtype)
        y, gradients = run(subject, args, params, lambda y: cotangent(y, seed))
        for what, a in (
            ("result", y._array),
            *((f"gradient {i}", g) for i, g in enumerate(gradients)),
        ):
            if a.dtype != _like(a, dtype):
                raise Wrong(f"from {np.dtype(dtype)} inputs the {what} is {a.dtype}")
        for i, g in zip(where, gradients, strict=True):
            if g.shape != args[i].shape:
                raise Wrong(f"gradient {i} has shape {g.shape}, its input {args[i].shape}")
        if exact is None:
            exact = [y._array, *gradients]
            continue
        for what, a, b in zip(
            ("result", *(f"gradient {i}" for i in where)),
            [y._array, *gradients],
            exact,
            strict=True,
        ):
            size = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
            require_close(f"in float32 the {what}", a.astype(b.dtype), b, 1e-3, 1e-3 * size + 1e-5)
    return PASS


def _in_both(check: Callable[[Subject, list[Any], Params, int], None]) -> Any:
    """``check`` in float64, where every operation runs, and in float32, where other kernels may."""

    def run(subject: Subject, sample: Sample, seed: int) -> str:
        for dtype in (np.float64, np.float32):
            args, params = _in_dtype(sample, dtype)
            check(
                subject, [a.copy() if isinstance(a, np.ndarray) else a for a in args], params, seed
            )
        return PASS

    return run


def _mutation(subject: Subject, args: list[Any], params: Params, seed: int) -> None:
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    every, leaves, _ = leaves_of(subject, args)
    y = subject(every, params)
    result = y._array.copy()
    u = cotangent(y, seed)
    given = u.copy()
    if y.requires_grad:
        first = grad(y, leaves, wrap(u), retain_graph=True, materialize_grads=True)
        kept = [g._array.copy() for g in first]
        grad(y, leaves, wrap(u), create_graph=True, materialize_grads=True)
        for i, (g, k) in enumerate(zip(first, kept, strict=True)):
            if not np.array_equal(g._array, k, equal_nan=True):
                raise Wrong(f"a second walk changed gradient {i}, returned by the first, in place")
    for i, (a, b) in enumerate(zip(args, before, strict=True)):
        if isinstance(a, np.ndarray) and not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
            raise Wrong(f"argument {i} was changed in place")
    if not np.array_equal(u, given):
        raise Wrong("the gradient of the result was changed in place")
    if not np.array_equal(y._array, result, equal_nan=True):
        raise Wrong("the backward pass changed the result in place")
    # and nothing needs to be written to: read-only arrays do as well
    for a in args:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False
    u.flags.writeable = False
    run(subject, args, params, lambda _: u)


def _aliasing(subject: Subject, args: list[Any], params: Params, seed: int) -> None:
    every, leaves, where = leaves_of(subject, args)
    y = subject(every, params)
    if not subject.view:
        for i, a in enumerate(args):
            if isinstance(a, np.ndarray) and np.shares_memory(y._array, a):
                raise Wrong(f"the result shares memory with argument {i}, which only views may")
    if not y.requires_grad:
        return
    u = cotangent(y, seed)
    found = grad(y, leaves, wrap(u), materialize_grads=True)
    memory = [("the result", y._array), ("the gradient of the result", u)]
    memory += [(f"argument {i}", a) for i, a in enumerate(args) if isinstance(a, np.ndarray)]
    for i, g in zip(where, found, strict=True):
        for name, other in memory:
            if np.shares_memory(g._array, other):
                raise Wrong(f"gradient {i} shares memory with {name}")
        memory.append((f"gradient {i}", g._array))


def each_alone(subject: Subject, sample: Sample, seed: int) -> str:
    """Each input's gradient is the same when only it wants one."""
    every, leaves, where = leaves_of(subject, sample.args)
    if len(where) < 2:
        return NOT_APPLICABLE
    y = subject(every, sample.params)
    if not y.requires_grad:
        return PASS
    u = cotangent(y, seed)
    together = grad(y, leaves, wrap(u), materialize_grads=True)
    for i, expected in zip(where, together, strict=True):
        args = list(sample.args)
        leaf = args[i] = wrap(sample.args[i])
        leaf.want_gradient(True)
        z = subject(args, sample.params)
        require_close(
            f"the result when only argument {i} wants a gradient", z._array, y._array, 0.0, 0.0
        )
        if not z.requires_grad:
            raise Wrong(f"no gradient flows when only argument {i} wants one")
        (g,) = grad(z, leaf, wrap(u), materialize_grads=True)
        require_close(
            f"gradient {i} when only argument {i} wants one",
            g._array,
            expected._array,
            1e-12,
            1e-13,
        )
    return PASS


def determinism(subject: Subject, sample: Sample, seed: int) -> str:
    """Two runs are equal bit for bit."""
    u = lambda y: cotangent(y, seed)
    runs = []
    for _ in range(2):
        y, gradients = run(subject, sample.args, sample.params, u)
        runs.append([y._array, *gradients])
    for i, (a, b) in enumerate(zip(*runs, strict=True)):
        if not np.array_equal(a, b, equal_nan=True):
            raise Wrong(f"two runs differ in {'the result' if i == 0 else f'gradient {i - 1}'}")
    return PASS


def memory(subject: Subject, sample: Sample, seed: int) -> str:
    """What was saved is freed by the walk, and a second walk raises."""
    every, leaves, _ = leaves_of(subject, sample.args)
    y = subject(every, sample.params)
    node = y.grad_fn
    if node is None:
        return NOT_APPLICABLE
    stack, nodes = [node], []
    while stack:
        n = stack.pop()
        if isinstance(n, Node) and n not in nodes:
            nodes.append(n)
            stack.extend(p for p in n.parents if p is not None)
    holding = [n for n in nodes if _held(n)]
    u = cotangent(y, seed)
    grad(y, leaves, wrap(u), materialize_grads=True)
    for n in holding:
        if held := _held(n):
            raise Wrong(f"after the walk {n.name()} still holds {', '.join(held)}")
    try:
        grad(y, leaves, wrap(u), materialize_grads=True)
    except RuntimeError:
        return PASS
    if holding:
        raise Wrong("a second walk over the freed graph did not raise")
    return PASS


def _held(node: Node) -> list[str]:
    """Names of what a node keeps; a function's ``ctx`` keeps something or not."""
    saved = node.saved or {}
    return [k for k, v in saved.items() if not isinstance(v, FunctionCtx) or v._saved]


no_mutation = _in_both(_mutation)
no_aliasing = _in_both(_aliasing)
