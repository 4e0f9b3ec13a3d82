"""What the tests of kernels share: choices for a while, arrays, geometries, other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from oracles import LAYOUTS, TOLERANCE, randoms

from tinygrad_cnn import kernels
from tinygrad_cnn.kernels import ConvSpec
from tinygrad_cnn.kernels.checks import PoolSpec

TWOS: dict[str, Any] = {**PoolSpec((2, 2), (2, 2)).window()}
"""A pooling of 2 x 2 pixels."""

seeds = st.integers(0, 99)
parts = st.sampled_from([1, 2, 3])
layouts = st.sampled_from(LAYOUTS)
dtypes = st.sampled_from(sorted(TOLERANCE))
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(st.integers(0, 3), st.integers(0, 3))


@contextmanager
def algorithm(name: Any) -> Iterator[None]:
    """Convolve by this algorithm."""
    former = kernels.set_conv_algorithm(name)
    try:
        yield
    finally:
        kernels.set_conv_algorithm(former)


@contextmanager
def kernel_set(name: Any) -> Iterator[None]:
    """Compute with these kernels."""
    former = kernels.set_kernels(name)
    try:
        yield
    finally:
        kernels.set_kernels(former)


def pytorch() -> Any:
    """PyTorch, without which the test is skipped."""
    return pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )


def singles(seed: int, *shapes: tuple[int, ...]) -> list[Any]:
    """Independent standard normal arrays in float32."""
    return randoms(seed, *shapes, dtype="float32")


def wide(*arrays: Any) -> list[Any]:
    """Arrays in float64; None stays None."""
    return [None if a is None else a.astype(np.float64) for a in arrays]


@st.composite
def convolutions(
    draw: st.DrawFn, n: Any, groups: Any, depth: Any, per_group: Any, room: int
) -> tuple[tuple[int, ...], tuple[int, ...], ConvSpec]:
    """Shapes of x and w, and a geometry with which at least one window fits."""
    g, c, f = draw(groups), draw(depth), draw(per_group)
    kernel, dilation, padding = draw(pairs), draw(pairs), draw(st.tuples(pads, pads))
    least = [
        max(1, (k - 1) * d + 1 - sum(p)) for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    size = [draw(st.integers(m, m + room)) for m in least]
    spec = ConvSpec(draw(pairs), padding, dilation, g)
    return (draw(n), g * c, *size), (g * f, c, *kernel), spec


@st.composite
def poolings(
    draw: st.DrawFn, n: Any, c: Any, room: int, max_dilation: int = 2
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Shape of x and parameters with which at least one window fits."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = tuple(draw(st.integers(1, max_dilation)) for _ in kernel)
    padding = tuple(
        draw(st.integers(0, k // 2 if d == 1 else 0)) for k, d in zip(kernel, dilation, strict=True)
    )
    least = [
        max(1, (k - 1) * d + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    size = tuple(draw(st.integers(m, m + room)) for m in least)
    # Windows that tile the image, the usual case, have a path of their own.
    stride = draw(st.one_of(st.just(kernel), st.tuples(st.integers(1, 4), st.integers(1, 4))))
    spec = PoolSpec(kernel, stride, padding, dilation, draw(st.booleans()))
    return (draw(n), draw(c), *size), {**spec.window()}


def python(code: str, **environment: str) -> str:
    """Run code in a new interpreter, where warnings are errors, and return what it printed."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.strip()


def assert_close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    found = found if isinstance(found, tuple) else (found,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
