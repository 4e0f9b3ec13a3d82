"""Arrays that are computed when they are read.

Batch normalisation, and the ReLU after it, are one multiply-add per number: a pass over memory that
costs far more than its arithmetic. They therefore answer with a `Lazy`, and a compiled kernel that
takes one computes it on the numbers that it loads anyway. Whoever else reads it calls `realize`.

An expression has one of these forms; operands x, g, a, b and y are `Lazy` too:

============================================= ======================================================
``("load", array)``                           an array that is there
``("scale_shift", x, scale, shift)``          ``x*scale + shift``, numbers per channel (c,)
``("relu", x)``                               ``max(x, 0)``, NaN where x is NaN
``("select", g, y)``                          g where y is positive or NaN, else 0: relu's gradient
``("add", a, b)``                             ``a + b``
``("unpool", g, index, extent, kernel_size)`` g at its places in images of ``extent`` (h, w), else 0
                                              (the gradient of a max pooling that tiles the image)
============================================= ======================================================

All are float32 images (n, c, h, w). What an expression is computed from must not change meanwhile:
whoever keeps one sees to that (`tinygrad_cnn.autograd.variable`).
"""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tinygrad_cnn.kernels import table as dispatch
from tinygrad_cnn.kernels.checks import PoolSpec
from tinygrad_cnn.kernels.forks import free_in_child
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.types import Array, DType

# One for all: computing one expression computes others, and two locks can wait for each other.
lock = free_in_child(threading.RLock())


class Lazy:
    """An array (n, c, h, w) that is computed when it is read.

    Attributes
    ----------
    shape, dtype, ndim, size
        Those of the array.
    expr
        What it stands for. Once it is computed, it is a load: replaced in one assignment, so that
        another thread sees one or the other.
    stats
        What a kernel found out about the numbers of a load while it had them at hand.
    names
        The operations it stands for, for people.
    table
        ``(numbers, table)``: what compiled kernels read made of its numbers per channel, for the
        next of them (`kernels.jit.load.rows`).
    source
        ``(numbers, source)``: as what compiled kernels read it (`kernels.jit.load.images`).

    >>> x = load(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2))
    >>> y = Lazy(("relu", Lazy(("scale_shift", x, np.float32([2]), np.float32([-3])), x)), x)
    >>> y.shape, y.realize().tolist()
    ((1, 1, 2, 2), [[[[0.0, 0.0], [1.0, 3.0]]]])
    """

    shape: tuple[int, ...]
    dtype: DType
    ndim = 4
    size: int
    expr: tuple[Any, ...]
    # Of the class, as most keep them: one is made for every image that an operation gets.
    stats: dict[str, Any] | None = None
    names: tuple[str, ...] = ()
    table: tuple[tuple[Any, ...], Array] | None = None
    source: tuple[tuple[Any, ...], Any] | None = None

    def __init__(self, expr: tuple[Any, ...], like: Array | Lazy) -> None:
        self.expr = expr
        self.shape, self.dtype, self.size = like.shape, like.dtype, like.size

    @property
    def nbytes(self) -> int:
        """Bytes that the array has, or would have."""
        return self.size * self.dtype.itemsize

    @property
    def is_realized(self) -> bool:
        """Whether the array is there."""
        return bool(self.expr[0] == "load")

    def realize(self) -> Array:
        """The array; it is computed once, whoever and how many ask."""
        if self.expr[0] != "load":
            with lock:
                if self.expr[0] != "load":
                    # as in the operations that it stands for
                    self.settle(do(ignoring_fp_errors, _evaluate, (self,), {}))
        return self.expr[1]  # type: ignore[no-any-return]

    def settle(self, array: Array) -> None:
        """Take ``array``, computed in another way, for the numbers, if there are none yet."""
        with lock:
            if self.expr[0] != "load":
                self.expr = ("load", array)  # and keep what it was made from no longer
                self.source = None


def load(array: Array, **stats: Any) -> Lazy:
    """An array that is there, with what is known about it."""
    lazy = Lazy(("load", array), array)
    if stats:
        lazy.stats = stats
    return lazy


def realize(x: Any) -> Any:
    """The array of a `Lazy`; anything else as it is."""
    return x.realize() if type(x) is Lazy else x


# ---- making expressions: each function computes at once where waiting does not pay ----------


def _realize_unless(x: Lazy, *kinds: str) -> None:
    if x.expr[0] not in kinds:
        x.realize()


def stays_lazy(x: Array | Lazy, *vectors: Array | None) -> bool:
    """Whether a normalisation of x by ``vectors``, numbers per channel, had better be lazy."""
    if type(x) is not Lazy or not dispatch.fuses(x):
        return False
    shape, dtype = x.shape[1:2], x.dtype
    for v in vectors:
        if v is not None and (v.shape != shape or v.dtype != dtype):
            return False
    return True


def scale_shift(x: Lazy, scale: Array, shift: Array) -> Lazy:
    """``x*scale + shift``; both are kept, and must not be written to."""
    x.realize()
    return Lazy(("scale_shift", x, scale, shift), x)


def relu(x: Array | Lazy) -> Array | Lazy:
    """``max(x, 0)``; lazy behind a normalisation."""
    if type(x) is Lazy:
        kind = x.expr[0]
        if kind == "scale_shift":
            y = Lazy(("relu", x), x)
            y.table = x.table
            return y
        if kind != "add":
            x = x.realize()
    found: Array = dispatch.relu(x)  # type: ignore[arg-type]  # sums too
    return found


def select(g: Array | Lazy, y: Array | Lazy) -> Array | Lazy:
    """``g`` where ``y`` is positive or NaN, else 0.

    Lazy where the normalisation before the ReLU will take it as it loads g: if y itself has not
    been computed, or g is a sum.
    """
    if type(g) is Lazy and type(y) is Lazy and g.dtype == y.dtype and g.shape == y.shape:
        if y.expr[0] == "relu":
            _realize_unless(g, "unpool")
            return Lazy(("select", g, y), y)
        if g.expr[0] == "add" and y.is_realized:
            return Lazy(("select", g, y), y)
    found: Array = dispatch.relu_backward(realize(g), realize(y))
    return found


def add(a: Any, b: Any) -> Lazy | None:
    """``a + b`` where one of both is yet to be computed, so that the ReLU that may follow does it
    all; None where it had better be computed at once.
    """
    kinds = ("scale_shift", "relu")
    if not _alike(a, b) or (a.expr[0] not in kinds and b.expr[0] not in kinds):
        return None
    _realize_unless(a, *kinds)
    if a.expr[0] in kinds:
        b.realize()
    return Lazy(("add", a, b), a)


def add_gradients(a: Any, b: Any) -> Lazy | None:
    """``a + b``, so that the gradient of the ReLU that may follow does it all; None where it had
    better be computed at once.
    """
    return Lazy(("add", a, b), a) if _alike(a, b) and dispatch.fuses(a) else None


def _alike(a: Any, b: Any) -> bool:
    both = type(a) is Lazy and type(b) is Lazy and a is not b
    return both and bool(a.shape == b.shape and a.dtype == b.dtype)


def unpool(g: Lazy, index: Array, extent: tuple[int, ...], kernel_size: tuple[int, ...]) -> Lazy:
    """``g`` at the places ``index`` of the windows that tile images of ``extent``, else 0.

    g and index are (n, c, h/kh, w/kw); index is uint8, ``i*kw + j``.

    >>> g, index = load(np.float32([[[[5, 6]]]])), np.uint8([[[[1, 2]]]])
    >>> unpool(g, index, (2, 4), (2, 2)).realize().tolist()
    [[[[0.0, 5.0, 0.0, 0.0], [0.0, 0.0, 6.0, 0.0]]]]
    """
    g.realize()
    lazy = Lazy(("unpool", g, index, extent, kernel_size), g)
    lazy.shape = (*g.shape[:2], *extent)
    lazy.size = math.prod(lazy.shape)
    return lazy


# ---- computing them -------------------------------------------------------------------------


Number: TypeAlias = "Array | float"


new_tuple = tuple.__new__  # the one that a NamedTuple has is a function of Python


class Affine(NamedTuple):
    """``x*scale + shift``, and 0 where that is negative if ``relu``."""

    x: Array
    scale: Array
    shift: Array
    relu: bool


class Gradient(NamedTuple):
    """``(g where x*e + f > 0, else 0)*a + x*b + d``, numbers per channel or for all.

    g (n, c, h, w) like x; or, if there are ``places``, (n, c, h/kh, w/kw) of windows that tile x,
    and 0 at the other pixels.
    """

    g: Array
    x: Array
    a: Number
    b: Number
    d: Number
    e: Number
    f: Number
    places: Array | None
    kernel_size: tuple[int, int]


def same_array(x: Array, y: Array) -> bool:
    """Whether both are the same numbers in memory."""
    return x is y or (
        x.__array_interface__["data"] == y.__array_interface__["data"]
        and x.shape == y.shape
        and x.strides == y.strides
    )


def lower(x: Array | Lazy) -> Array | Affine | Gradient | None:
    """What a compiled kernel computes as it loads, None for what it cannot.

    By structure: a load, a normalisation with or without its ReLU, the gradient of that ReLU
    (behind a pooling, too), and the gradient of the normalisation before it.

    >>> x = load(np.float32([[[[1, 2]]]]))
    >>> one = np.float32([1])
    >>> lower(Lazy(("relu", scale_shift(x, one, -one)), x)).relu
    True
    >>> lower(Lazy(("add", x, x), x)) is None
    True
    """
    if type(x) is not Lazy:
        return x  # type: ignore[return-value]
    expr = x.expr  # looked at anew each time: what it is made of may have been computed since
    kind = expr[0]
    if kind == "load":
        return expr[1]  # type: ignore[no-any-return]
    if kind == "scale_shift" or kind == "relu":
        moved = expr if kind == "scale_shift" else expr[1].expr
        if moved[0] == "scale_shift" and (inner := moved[1].expr)[0] == "load":
            return new_tuple(Affine, (inner[1], moved[2], moved[3], kind == "relu"))
        return None
    if kind == "select":
        y = lower(expr[2])
        if type(y) is Affine and y.relu:
            return _gradient(expr[1], y.x, 1, 0, 0, y.scale, y.shift)
    if kind == "add":
        left, right = expr[1].expr, expr[2].expr
        if left[0] == right[0] == "scale_shift" and left[3] is None:
            _, other, b, d = right
            return lower_normalised(left[1], other.realize(), left[2], b, d)
    return None


def normalised(g: Lazy, x: Lazy, a: Array, b: Array, d: Array) -> Lazy:
    """``g*a + x*b + d``, the gradient of a normalisation of x."""
    left = Lazy(("scale_shift", g, a, None), g)
    return Lazy(("add", left, scale_shift(x, b, d)), g)


def lower_normalised(g: Lazy, x: Array, a: Array, b: Array, d: Array) -> Gradient | None:
    """What `lower` makes of `normalised`."""
    if g.expr[0] != "select":
        return _gradient(g, x, a, b, d, 0, 1)
    found = lower(g)
    if type(found) is Gradient and same_array(found.x, x):
        return Gradient(found.g, x, a, b, d, found.e, found.f, found.places, found.kernel_size)
    return None


def _gradient(
    g: Lazy, x: Array, a: Number, b: Number, d: Number, e: Number, f: Number
) -> Gradient | None:
    expr = g.expr
    if expr[0] == "load":
        return new_tuple(Gradient, (expr[1], x, a, b, d, e, f, None, (0, 0)))
    if expr[0] == "unpool":
        _, inner, places, extent, kernel_size = expr
        if extent == x.shape[2:]:
            return Gradient(inner.realize(), x, a, b, d, e, f, places, kernel_size)
    return None


def summands(g: Array | Lazy) -> list[Array]:
    """What a gradient is the sum of, computed: one array or two."""
    if type(g) is Lazy:
        expr = g.expr
        return [part.realize() for part in (expr[1:] if expr[0] == "add" else (g,))]
    return [g]  # type: ignore[list-item]


def _evaluate(x: Lazy) -> Array:
    """The numbers, in a new array."""
    found = lower(x)
    if type(found) is Affine:
        return dispatch.channel_affine(found.x, found.scale, found.shift, relu=found.relu)
    if type(found) is Gradient:
        return dispatch.channel_gradient(*found)
    match x.expr:
        case ("relu", inner):
            return dispatch.relu(inner.realize())
        case ("select", g, y):
            return dispatch.relu_backward(g, y.realize())
        case ("add", a, b):
            return dispatch.add(a, b)
        case ("unpool", g, index, extent, kernel_size):
            tiles = PoolSpec(kernel_size, kernel_size).window()
            return dispatch.max_pool2d_scatter(g.realize(), index, size=extent, **tiles)
        case ("scale_shift", inner, scale, shift):
            shift = np.zeros_like(scale) if shift is None else shift
            return dispatch.channel_affine(inner.realize(), scale, shift)
    raise AssertionError(f"no expression: {x.expr[0]}")
