"""Cases from the test suites of PyTorch, HIPS autograd and MyGrad that once came out otherwise."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints, require_torch

import tinygrad_cnn as tg

A, B = floats(2, 3), floats(3, 4)

CASES = [
    # einsum with lists of indices
    case("sublists", lambda m, x, y: m.einsum(x, [0, 1], y, [1, 2], [0, 2]), A, B),
    case("no output", lambda m, x, y: m.einsum(x, [0, 1], y, [1, 2]), A, B),
    case("dots", lambda m, x, y: m.einsum(x, [..., 1], y, [1, ...], [...]), A, floats(3, 2)),
    case("one operand", lambda m, x: m.einsum(x, (0, 1), (1, 0)), A),
    case("a diagonal", lambda m, x: m.einsum(x, [0, 0], [0]), floats(3, 3)),
    case("letters of both cases", lambda m, x: m.einsum(x, [51, 25]), A),
    case("order of what is left out", lambda m, x, y: m.einsum(x, [30, 2], y, [2, 1]), A, B),
    case("no such number", lambda m, x: m.einsum(x, [52, 0], [0, 52]), A),
    case("a negative number", lambda m, x: m.einsum(x, [-1, 0], [0]), A),
    case("no list", lambda m, x, y: m.einsum(x, y), A, B),
    # labels and places
    case("no label to count", lambda m, x: m.nn.functional.one_hot(x), ints(0)),
    case("no label and no class", lambda m, x: m.nn.functional.one_hot(x, 0), ints(0)),
    case("no label but classes", lambda m, x: m.nn.functional.one_hot(x, 3), ints(2, 0)),
    case("another rank", lambda m, x, i: m.take_along_dim(x, i, 0), A, ints(1)),
    case("a negative place", lambda m, x, i: m.take_along_dim(x, i, 1), A, np.array([[-1], [1]])),
    # groups
    *(
        case(f"group_norm {shape} {g}", lambda m, x, g=g: m.nn.functional.group_norm(x, g), x)
        for shape, g in (
            ((1, 4), 4),
            ((1, 4, 1), 4),
            ((1, 2, 1, 1), 2),
            ((1, 4), 2),
            ((1, 4, 2), 4),
            ((0, 4, 2), 2),
            ((2, 4, 0), 2),
        )
        for x in (floats(*shape),)
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "inputs"), CASES)
def test_as_pytorch(call: Any, inputs: Any) -> None:
    assert_agrees(call, inputs)


WIDTHS = [
    (1, 1), (1, 0), (2, 2), (3, 0), (4, 1), (-1, 0), (-1, 1), (-1, 2), (1, -1), (2, -1), (-1, -1),
    (-2, -1), (-2, -2), (0, 0),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (0, 2, 3)])
def test_borders(mode: str, shape: tuple[int, ...]) -> None:
    for width in WIDTHS:
        if mode == "circular" and -min(width) + max(width) > 3:
            continue  # PyTorch reads what it has not written yet
        assert_agrees(lambda m, x, w=width: m.nn.functional.pad(x, w, mode=mode), (floats(*shape),))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_borders_of_images(mode: str) -> None:
    for width in itertools.product((-1, 0, 1), (0, 1), (1,), (-1, 0, 2)):
        x = floats(1, 2, 3, 4)
        assert_agrees(lambda m, x, w=width: m.nn.functional.pad(x, w, mode=mode), (x,))
    value = (lambda m, x: m.nn.functional.pad(x, (1, 1), mode=mode, value=2.0), (floats(1, 2, 3),))
    assert_agrees(*value)


def test_group_norm_says_why() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4\) has one value for each of 4 groups"):
        tg.nn.GroupNorm(4, 4)(tg.ones(1, 4))


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of PyTorch
@pytest.mark.parametrize("read", [lambda x: x.numpy(), np.asarray, np.array])
def test_arrays_under_no_grad(read: Any) -> None:
    for m in (tg, require_torch()):
        x = m.ones(2, requires_grad=True)
        with m.no_grad():
            assert read(x).tolist() == [1.0, 1.0]
            assert read(x * 2).tolist() == [2.0, 2.0]
        with pytest.raises((RuntimeError, TypeError)):
            read(x)
        with pytest.raises((RuntimeError, TypeError)):
            read(x * 2)
        assert (x * 2).numpy(force=True).tolist() == [2.0, 2.0]
