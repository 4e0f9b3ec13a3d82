"""Along a row of float32 numbers: sums and the largest, for kernels that share rows among threads.

Sums run in as many parts as a vector register has numbers (LLVM's ``reassoc``), and in float64 over
pieces of `PIECE` numbers.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import SUM, kernel
from tinygrad_cnn.kernels.jit.compile.vector import Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.pointwise.exponential import exp32
from tinygrad_cnn.types import Array

PIECE = 1024  # numbers of a row added in float32
TOGETHER = 4  # vectors of a round: a comparison waits for the one before
Number: TypeAlias = float | np.float32


def _sum_of(term: Any) -> Any:
    """Return the kernel that adds up ``term(x, centre)`` for each x of a row."""

    def total(row: Array, centre: Number) -> float:
        total = np.float64(0)
        for start in range(0, row.size, PIECE):
            piece = row[start : start + PIECE]
            part = np.float32(0)
            for j in range(piece.size):
                part += term(piece[j], centre)
            total += part
        return total

    total.__name__ = total.__qualname__ = f"sum{term.__name__}"
    return kernel(fastmath=SUM)(total)


@kernel(inline=True)
def _away(x: Number, centre: Number) -> Number:
    return x - centre


@kernel(inline=True)
def _square(x: Number, centre: Number) -> Number:
    return (x - centre) * (x - centre)


@kernel(inline=True)
def _exponential(x: Number, centre: Number) -> Number:
    return exp32(x - centre)  # type: ignore[no-any-return]


sum_away, sum_squares, sum_exponentials = map(_sum_of, (_away, _square, _exponential))


@kernel(fastmath=SUM, inline=True)
def exponentials(row: Array, most: Number, out: Array) -> float:
    """Write ``exp(row - most)`` and return their sum."""
    total = np.float64(0)
    for start in range(0, row.size, PIECE):
        piece, target = row[start : start + PIECE], out[start : start + PIECE]
        part = np.float32(0)
        for j in range(piece.size):
            value = exp32(piece[j] - most)
            target[j] = value
            part += value
        total += part
    return total


@kernel(fastmath=SUM, inline=True)
def deviations(row: Array, centre: Number) -> tuple[float, float]:
    """Return the sums of ``row - centre`` and of its squares."""
    plain, squares = np.float64(0), np.float64(0)
    for start in range(0, row.size, PIECE):
        piece = row[start : start + PIECE]
        first, second = np.float32(0), np.float32(0)
        for j in range(piece.size):
            away = piece[j] - centre
            first += away
            second += away * away
        plain += first
        squares += second
    return plain, squares


@kernel(fastmath=SUM, inline=True)
def products(grad: Array, row: Array, mean: Number) -> tuple[float, float]:
    """Return the sums of grad and of ``grad*(row - mean)``."""
    plain, product = np.float64(0), np.float64(0)
    for start in range(0, row.size, PIECE):
        g, x = grad[start : start + PIECE], row[start : start + PIECE]
        first, second = np.float32(0), np.float32(0)
        for j in range(x.size):
            first += g[j]
            second += g[j] * (x[j] - mean)
        plain += first
        product += second
    return plain, product


@kernel(fastmath=SUM)
def weighted_products(grad: Array, row: Array, weight: Array, mean: Number) -> tuple[float, float]:
    """Return the sums of ``grad*weight`` and ``grad*weight*(row - mean)``."""
    plain, product = np.float64(0), np.float64(0)
    for start in range(0, row.size, PIECE):
        g, x = grad[start : start + PIECE], row[start : start + PIECE]
        w = weight[start : start + PIECE]
        first, second = np.float32(0), np.float32(0)
        for j in range(x.size):
            u = g[j] * w[j]
            first += u
            second += u * (x[j] - mean)
        plain += first
        product += second
    return plain, product


@instruction
def store_largest(e: Emitter, source: Value, count: Value, out: Value) -> None:
    """Write the largest of `count` numbers, -infinity if there is none; NaN is passed over."""
    b, lowest = e.builder, e.constant(-math.inf)

    def larger(x: Value, y: Value) -> Value:
        return e.where(x, ">", y, x, y)

    rounds = b.udiv(count, e.whole(TOGETHER * e.lanes))
    with e.loop(rounds, [source, *[lowest] * TOGETHER]) as turn:
        at, *most = turn.values
        found = [e.load(e.add(at, k * e.width)) for k in range(TOGETHER)]
        turn.next = [e.add(at, TOGETHER * e.width), *map(larger, found, most)]
    at, *most = turn.results
    rest = b.sub(count, b.mul(rounds, e.whole(TOGETHER * e.lanes)))
    start = [at, rest, reduce(larger, most)]
    with e.loop(b.udiv(e.add(rest, e.lanes - 1), e.whole(e.lanes)), start) as turn:
        place, left, total = turn.values
        mask = e.first_lanes(left)
        value = b.select(mask, e.load(place, mask), lowest)
        turn.next = [e.add(place, e.width), e.add(left, -e.lanes), larger(value, total)]
    e.store(e.across(turn.results[2], larger), out, e.first_lanes(e.whole(1)))
