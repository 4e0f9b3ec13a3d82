"""Arithmetic on float32 numbers in LLVM's language: imported only to compile, as LLVM itself.

LLVM's instructions take single numbers and vectors alike; types, constants and the names of
intrinsics differ. A formula is therefore written once, for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from tinygrad_cnn.kernels.jit.compile.vector import Value

FLOAT, WORD = ir.FloatType(), ir.IntType(32)
SHIFT = 1.5 * 2**23  # added to a number it shifts the fraction out of a float32
SHIFT_BITS = 0x4B400000  # of that float32


class Arithmetic:
    """Appends instructions where `builder` stands: on vectors of `lanes` numbers, or, without
    lanes, on single numbers.
    """

    def __init__(self, builder: Any, lanes: int = 0) -> None:
        self.builder, self.lanes = builder, lanes
        self.type, self.words = (
            ir.VectorType(kind, lanes) if lanes else kind for kind in (FLOAT, WORD)
        )
        self.zero, self.one = self.constant(0.0), self.constant(1.0)

    def _everywhere(self, kind: Any, value: float) -> Value:
        return ir.Constant(kind, [value] * self.lanes if self.lanes else value)

    def constant(self, value: float) -> Value:
        """Return a number, in all lanes."""
        return self._everywhere(self.type, value)

    def word(self, value: int) -> Value:
        """Return a 32-bit integer, in all lanes."""
        return self._everywhere(self.words, value)

    def _function(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        module = self.builder.module
        found = module.globals.get(name)
        return found or ir.Function(module, ir.FunctionType(result, list(arguments)), name)

    def _intrinsic(self, name: str, *values: Value) -> Value:
        full = f"llvm.{name}.{f'v{self.lanes}' if self.lanes else ''}f32"
        function = self._function(full, self.type, [self.type] * len(values))
        return self.builder.call(function, values)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """Return x*y + z, in one instruction and one rounding where the processor can."""
        return self._intrinsic("fmuladd", x, y, z)

    def sqrt(self, x: Value) -> Value:
        """Return the square root, rounded as IEEE wants it."""
        return self._intrinsic("sqrt", x)

    def absolute(self, x: Value) -> Value:
        """Return |x|."""
        return self._intrinsic("fabs", x)

    def with_sign(self, x: Value, sign: Value) -> Value:
        """Return |x| with the sign of another number."""
        return self._intrinsic("copysign", x, sign)

    def where(self, x: Value, sign: str, y: Value, this: Value, other: Value) -> Value:
        """Return `this` where ``x sign y``, else `other`; a comparison with NaN is false."""
        return self.builder.select(self.builder.fcmp_ordered(sign, x, y), this, other)

    def at_least(self, x: Value, bound: float) -> Value:
        """Return the larger one of a number and a constant; NaN stays NaN."""
        least = self.constant(bound)
        return self.where(x, "<", least, least, x)

    def at_most(self, x: Value, bound: float) -> Value:
        """Return the smaller one of a number and a constant; NaN stays NaN."""
        most = self.constant(bound)
        return self.where(x, ">", most, most, x)

    def limited(self, x: Value, low: Value, high: Value) -> Value:
        """Return x, `low` where it is not above that, `high` where it is not below."""
        return self.where(x, "<=", low, low, self.where(x, ">=", high, high, x))

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Return the sum of ``coefficients[i] * x**i``."""
        total = self.constant(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            total = self.fma(total, x, self.constant(coefficient))
        return total

    def nearest(self, x: Value, factor: float) -> tuple[Value, Value]:
        """Return the whole number nearest to ``x * factor``, below 2**22, as a float32 and as 32
        bits.
        """
        shifted = self.fma(x, self.constant(factor), self.constant(SHIFT))
        bits = self.builder.bitcast(shifted, self.words)
        whole = self.builder.sub(bits, self.word(SHIFT_BITS))
        return self.builder.fsub(shifted, self.constant(SHIFT)), whole

    def half(self, n: Value) -> tuple[Value, Value]:
        """Return two whole numbers that differ by at most 1 and whose sum is n."""
        first = self.builder.ashr(n, self.word(1))
        return first, self.builder.sub(n, first)

    def power_of_two(self, n: Value) -> Value:
        """Return ``2**n``, for -126 <= n <= 127."""
        biased = self.builder.add(n, self.word(127))
        return self.builder.bitcast(self.builder.shl(biased, self.word(23)), self.type)
