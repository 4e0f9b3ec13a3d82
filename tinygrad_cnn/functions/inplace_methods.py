"""The methods of `Tensor` that change it in place; their names end in ``_``."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.rounding import limits_of
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions import inplace
from tinygrad_cnn.functions.convert import broadcasts, older_call, operand, to_tensor
from tinygrad_cnn.functions.elementwise import check_addcdiv
from tinygrad_cnn.functions.methods import Methods
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.tape import do, taping
from tinygrad_cnn.ops.random import Generator, draw, numpy_generator
from tinygrad_cnn.types import FLOATING, INEXACT, Array, DType, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


class InPlaceMethods(Methods):
    """What `Tensor` inherits: each method writes into the tensor and returns it."""

    __slots__ = ()

    def _update(
        self,
        by: str,
        result: Callable[..., Any],
        ufunc: np.ufunc,
        other: TensorLike,
        alpha: float = 1,
    ) -> Tensor:
        """``self = result(self, other)`` in its own memory; without a pass if unrecorded."""
        with self.changing():
            return self._updated(by, result, ufunc, other, alpha)

    def _updated(
        self, by: str, result: Callable[..., Any], ufunc: np.ufunc, other: TensorLike, alpha: float
    ) -> Tensor:
        b = operand(other)
        b = to_tensor(b) if isinstance(b, np.ndarray) else b
        if alpha != 1:
            return inplace.assign(self, result(self, b, alpha=alpha), by)
        live = is_recording() and (
            self.current_node() is not None
            or (isinstance(b, Variable) and b.current_node() is not None)
        )
        array = b._given if isinstance(b, Variable) else b
        same = not isinstance(b, Variable) or b._value.dtype == self._value.dtype
        if (
            live
            or not same
            or self._value.dtype.kind not in INEXACT
            or isinstance(b, (builtins.bool, complex))
        ):
            return inplace.assign(self, result(self, b), by)
        self.check_writable(by, False)
        if not broadcasts(np.shape(array), self.shape):
            raise RuntimeError(
                f"{by}: shapes {self.shape} and {np.shape(array)} do not give "
                f"{self.shape}, in which the result must fit in place"
            )
        values = self._written_by(by)
        if taping:
            do(_update, ufunc, values, array, writes=(values,))
        else:
            ignoring_fp_errors(ufunc, (values, array), {"out": values})
        return self  # type: ignore[return-value]  # every Variable is a Tensor

    @older_call("alpha", tensors=1)
    def add_(self, other: TensorLike, *, alpha: builtins.float = 1) -> Tensor:
        """``self += alpha * other``."""
        return self._update("add_", f.add, np.add, other, alpha)

    @older_call("alpha", tensors=1)
    def sub_(self, other: TensorLike, *, alpha: builtins.float = 1) -> Tensor:
        """``self -= alpha * other``."""
        return self._update("sub_", f.sub, np.subtract, other, alpha)

    def mul_(self, other: TensorLike) -> Tensor:
        """``self *= other``."""
        return self._update("mul_", f.mul, np.multiply, other)

    def div_(self, other: TensorLike, *, rounding_mode: str | None = None) -> Tensor:
        """``self /= other``, rounded as `div` does."""
        if rounding_mode is None:
            return self._update("div_", f.div, np.true_divide, other)
        return Methods.div_(self, other, rounding_mode=rounding_mode)

    subtract_, multiply_, divide_, true_divide_ = sub_, mul_, div_, div_
    __iadd__, __isub__, __imul__, __itruediv__ = add_, sub_, mul_, div_
    __ipow__, __imod__ = Methods.pow_, Methods.remainder_
    __ifloordiv__ = Methods.floor_divide_

    __ilshift__, __irshift__ = Methods.bitwise_left_shift_, Methods.bitwise_right_shift_

    def __iand__(self, other: TensorLike) -> Tensor:
        return inplace.assign(self, f.bitwise_and(to_tensor(self), other), "&=")

    def __ior__(self, other: TensorLike) -> Tensor:
        return inplace.assign(self, f.bitwise_or(to_tensor(self), other), "|=")

    def __ixor__(self, other: TensorLike) -> Tensor:
        return inplace.assign(self, f.bitwise_xor(to_tensor(self), other), "^=")

    @older_call("value")
    def addcmul_(
        self, tensor1: TensorLike, tensor2: TensorLike, *, value: builtins.float = 1
    ) -> Tensor:
        """``self += value * tensor1 * tensor2``."""
        return self.add_(f.mul(tensor1, tensor2), alpha=value)

    @older_call("value")
    def addcdiv_(
        self, tensor1: TensorLike, tensor2: TensorLike, *, value: builtins.float = 1
    ) -> Tensor:
        """``self += value * tensor1 / tensor2``."""
        check_addcdiv("addcdiv_", tensor1, tensor2)
        return self.add_(f.div(tensor1, tensor2), alpha=value)

    def copy_(self, src: TensorLike) -> Tensor:
        """Write ``src``, broadcast and cast, into this tensor."""
        source = f.to(src, self._value.dtype)
        if not broadcasts(source.shape, self.shape):
            raise RuntimeError(
                f"copy_: `src` has shape {source.shape}, which does not broadcast to {self.shape}"
            )
        with self.changing():
            return inplace.write(self, ..., source, "copy_")

    def fill_(self, value: TensorLike) -> Tensor:
        """Write one number everywhere."""
        return inplace.fill_(self, value)

    def zero_(self) -> Tensor:
        """Write 0 everywhere."""
        return inplace.fill_(self, 0)

    def fill_diagonal_(self, fill_value: TensorLike, wrap: builtins.bool = False) -> Tensor:
        """Write one number everywhere on the diagonal, where all indices are the same.

        With ``wrap`` the diagonal of a high matrix goes on below its end, one row further down.
        """
        shape = self._value.shape
        if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
            raise ShapeError(
                f"fill_diagonal_: the tensor has shape {self.shape}, expected two axes, or more of "
                f"the same length"
            )
        n = np.arange(min(shape))
        if wrap and len(shape) == 2 and shape[0] > shape[1]:
            places = np.arange(0, self._value.size, shape[1] + 1)
            index: tuple[Array, ...] = np.unravel_index(places, shape)
        else:
            index = (n,) * len(shape)
        number = f.to(fill_value, self._value.dtype)
        with self.changing():
            return inplace.write(self, index, number, "fill_diagonal_")

    def _mapped(self, by: str, function: Callable[..., Any], *others: Variable) -> Tensor:
        if any(x.current_node() is not None for x in (self, *others)):
            raise RuntimeError(f"{by}: a tensor requires gradients; call it on a detach()")
        try:
            arrays = [np.broadcast_to(x._array, self._value.shape) for x in others]
        except ValueError:
            raise ShapeError(
                f"{by}: shapes {[x.shape for x in others]} do not broadcast to {self.shape}"
            ) from None
        numbers = map(function, *[a.ravel().tolist() for a in (self._array, *arrays)])
        found = np.array(list(numbers)).reshape(self._value.shape)
        return self._become(by, found.astype(self._value.dtype, copy=False))

    def apply_(self, function: Callable[[Any], Any]) -> Tensor:
        """Write ``function(number)`` in the place of each number. Slow: in Python."""
        return self._mapped("apply_", function)

    def map_(self, tensor: Variable, function: Callable[[Any, Any], Any]) -> Tensor:
        """Write ``function(number, other number)`` in the place of each. Slow: in Python."""
        return self._mapped("map_", function, tensor)

    def map2_(self, x: Variable, y: Variable, function: Callable[[Any, Any, Any], Any]) -> Tensor:
        """`map_` with the numbers of two other tensors."""
        return self._mapped("map2_", function, x, y)

    def _become(self, by: str, values: Array) -> Tensor:
        return inplace.assign(self, wrap(values), by)

    def _sample(self, by: str, generator: Generator | None, method: str, *args: Any) -> Tensor:
        dtype = self._value.dtype
        if by not in ("random_", "geometric_"):
            floats_to_draw(by, dtype)
        if dtype.kind == "c" and by in ("normal_", "uniform_"):
            return self._of_parts(by, generator, method, *args)
        drawn = draw(generator, method, *args, self._value.shape, dtype=dtype)
        return self._become(by, drawn)

    def _of_parts(
        self, by: str, generator: Generator | None, method: str, low: Any, high: Any
    ) -> Tensor:
        """Fill with complex numbers, both parts of which are drawn; of normal ones each has half of
        the variance.
        """
        high = high / math.sqrt(2) if by == "normal_" else high
        real = np.zeros(0, self._value.dtype).real.dtype
        drawn = draw(generator, method, low, high, (2, *self._value.shape), dtype=real)
        return self._become(by, do(_complex_of, drawn))

    def normal_(
        self,
        mean: builtins.float = 0.0,
        std: builtins.float = 1.0,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Fill with normal random numbers."""
        deviation("normal_", std)
        return self._sample("normal_", generator, "normal", mean, std)

    def uniform_(
        self,
        from_: builtins.float = 0.0,
        to: builtins.float = 1.0,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Fill with uniform random numbers."""
        rising("uniform_", from_, to)
        return self._sample("uniform_", generator, "uniform", from_, to)

    def bernoulli_(self, p: TensorLike = 0.5, *, generator: Generator | None = None) -> Tensor:
        """Fill with 1 with probability ``p``, else 0; of a tensor each place has its own."""
        chances = to_tensor(p)
        shape, dtype = self._value.shape, self._value.dtype
        if not broadcasts(chances._value.shape, shape):
            raise ShapeError(
                f"bernoulli_: `p` has shape {chances.shape}, which does not broadcast to "
                f"{self.shape}"
            )
        drawn = do(_bernoulli, chances._given, shape, dtype, generator)
        return self._become("bernoulli_", drawn)

    def _positive(self, by: str, name: str, value: builtins.float, at_most: builtins.float) -> None:
        if not 0 < value <= at_most:
            raise ArgumentError(f"{by}: `{name}` is {value}, expected more than 0 up to {at_most}")

    def cauchy_(
        self,
        median: builtins.float = 0.0,
        sigma: builtins.float = 1.0,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Fill with random numbers of the Cauchy distribution around ``median``."""
        self._positive("cauchy_", "sigma", sigma, np.inf)
        shape, dtype = self._value.shape, self._value.dtype
        floats_to_draw("cauchy_", dtype)
        return self._become("cauchy_", do(_cauchy, shape, dtype, median, sigma, generator))

    def exponential_(
        self, lambd: builtins.float = 1.0, *, generator: Generator | None = None
    ) -> Tensor:
        """Fill with random numbers of the exponential distribution of mean ``1 / lambd``."""
        self._positive("exponential_", "lambd", lambd, np.inf)
        return self._sample("exponential_", generator, "exponential", 1 / lambd)

    def geometric_(self, p: builtins.float, *, generator: Generator | None = None) -> Tensor:
        """Fill with how many trials it takes until one that has the probability ``p`` succeeds."""
        self._positive("geometric_", "p", p, 1)
        return self._sample("geometric_", generator, "geometric", p)

    def log_normal_(
        self,
        mean: builtins.float = 1.0,
        std: builtins.float = 2.0,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Fill with random numbers whose logarithm is normal, of this mean and deviation."""
        self._positive("log_normal_", "std", std, np.inf)
        return self._sample("log_normal_", generator, "lognormal", mean, std)

    def random_(
        self,
        from_: builtins.int = 0,
        to: builtins.int | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Fill with random integers from ``from_`` up to but without ``to``.

        With one number, ``random_(10)``, from 0 up to it; with none, all that the dtype holds.
        """
        kind = self._value.dtype
        if to is None and from_:
            from_, to = 0, from_
        if to is None and kind.kind in FLOATING:
            to = 2 ** (limits_of(kind).nmant + 1) + 1
        last = (
            builtins.int(np.iinfo(kind).max) if to is None and kind.kind in "iu" else (to or 2) - 1
        )
        if last < from_:
            raise ArgumentError(f"random_: there is no integer from {from_} up to but without {to}")
        return self._sample("random_", generator, "integers", from_, last + 1)


def _complex_of(parts: Array) -> Array:
    """Complex numbers of parts (2, ...)."""
    return np.asarray(parts[0] + 1j * parts[1], np.result_type(parts, np.complex64))


def floats_to_draw(by: str, dtype: DType) -> None:
    """Refuse a dtype that holds no draw of a continuous distribution."""
    if dtype.kind not in (INEXACT if by in ("normal_", "uniform_") else FLOATING):
        raise DtypeError(f"{by}: the tensor has dtype {dtype}, expected a floating one")


def deviation(by: str, std: float) -> None:
    """Refuse a negative standard deviation."""
    if std < 0:
        raise ArgumentError(f"{by}: `std` is {std}, which must not be negative")


def rising(by: str, low: float, high: float) -> None:
    """Refuse bounds between which there is nothing."""
    if high < low:
        raise ArgumentError(f"{by}: there is nothing from {low} up to {high}")


def _update(ufunc: np.ufunc, values: Array, other: Any) -> None:
    ufunc(values, other, out=values)


def _bernoulli(p: Array, shape: Any, dtype: DType, generator: Generator | None) -> Array:
    if not ((p >= 0) & (p <= 1)).all():
        raise ArgumentError(f"bernoulli_: `p` is {p}, expected probabilities from 0 to 1")
    found: Array = (numpy_generator(generator).random(shape) < p).astype(dtype)
    return found


def _cauchy(
    shape: Any, dtype: DType, median: float, sigma: float, generator: Generator | None
) -> Array:
    drawn = numpy_generator(generator).standard_cauchy(shape)
    found: Array = np.asarray(median + sigma * drawn).astype(dtype)
    return found
