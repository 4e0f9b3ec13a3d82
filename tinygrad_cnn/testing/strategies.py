"""Hypothesis strategies for everything that tensors are made from. Failing cases shrink to small.

from hypothesis import given
from tinygrad_cnn.testing import strategies as tgst

@given(tgst.tensors(requires_grad=True))
def test_something(x): ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeVar

import numpy as np

from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.autograd.registry import REGISTRY
from tinygrad_cnn.autograd.samples import Sample
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.testing.certify.layouts import LAYOUTS, laid_out
from tinygrad_cnn.testing.draws import HypothesisDraw
from tinygrad_cnn.testing.types import AnyCallable, Params, Shape
from tinygrad_cnn.types import DType, DTypeLike

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError as error:
    raise ImportError(
        "tinygrad_cnn.testing.strategies are Hypothesis strategies: pip install hypothesis"
    ) from error

T = TypeVar("T")


def shapes(
    min_dims: int = 0, max_dims: int = 4, min_side: int = 0, max_side: int = 4
) -> SearchStrategy[Shape]:
    """Shapes of tensors. They shrink to few axes, and to short ones."""
    sides = st.integers(min_side, max_side)
    if min_side == 0:  # an empty tensor is not the simplest case, but a special one
        sides = st.one_of(st.integers(1, max_side), sides)
    return st.lists(sides, min_size=min_dims, max_size=max_dims).map(tuple)


def broadcastable_shapes(n: int = 2, max_dims: int = 3) -> SearchStrategy[tuple[Shape, ...]]:
    """``n`` shapes that broadcast together: axes left out in front, axes of length 1."""

    def parts(full: Shape) -> SearchStrategy[tuple[Shape, ...]]:
        one = st.tuples(st.integers(0, len(full)), st.lists(st.booleans(), min_size=len(full))).map(
            lambda chosen: tuple(
                1 if squeezed else side
                for side, squeezed in zip(full[chosen[0] :], chosen[1][chosen[0] :], strict=False)
            )
        )
        return st.tuples(*(one,) * n)

    return shapes(max_dims=max_dims).flatmap(parts)


def dtypes(*, floating: bool = False) -> SearchStrategy[DType]:
    """Dtypes of tensors; ``floating``: of those that can have gradients."""
    names = ["float64", "float32", "float16"]
    if not floating:
        names += ["int64", "int32", "int16", "int8", "uint8", "bool"]
    return st.sampled_from(names).map(np.dtype)


def layouts() -> SearchStrategy[str]:
    """Layouts in memory, see `laid_out`: contiguous first, transposed, channels-last and so on."""
    return st.sampled_from(LAYOUTS)


@st.composite
def tensors(
    draw: DrawFn,
    shape: Shape | SearchStrategy[Shape] | None = None,
    dtype: DTypeLike | SearchStrategy[DType] = np.float64,
    *,
    low: float = -2.0,
    high: float = 2.0,
    distinct: bool = False,
    layout: str | SearchStrategy[str] = "contiguous",
    requires_grad: bool = False,
) -> Tensor:
    """Tensors with values spread evenly between ``low`` and ``high``.

    Parameters
    ----------
    shape, dtype, layout
        A value, or a strategy for it. Without a shape: any of `shapes`.
    distinct
        No two values are close to each other, nor to 0: for functions with kinks.
    """
    if shape is None:
        shape = shapes()
    size = draw(shape) if isinstance(shape, SearchStrategy) else tuple(shape)
    kind = np.dtype(draw(dtype) if isinstance(dtype, SearchStrategy) else dtype)
    how = draw(layout) if isinstance(layout, SearchStrategy) else layout
    source = _draw(draw)
    values = (source.distinct if distinct else source.array)(size, low, high)
    if kind.kind == "b":
        values = values > (low + high) / 2
    elif kind.kind == "u":
        values = np.abs(values)
    out: Tensor = wrap(laid_out(np.asarray(values).astype(kind), how))
    if requires_grad:
        out.requires_grad = True
    return out


def indices(shape: Shape) -> SearchStrategy[object]:
    """Index expressions for a shape without a side of 0: basic, integer, boolean and mixed.

    They hold integers, slices with negative steps, ``...``, None, integer arrays and bool arrays.
    """
    if not shape or 0 in shape:
        raise ValueError(f"indices: `shape` is {shape}, expected sides and none of them 0")
    return composite(lambda source: source.index(tuple(shape)))


@dataclass(frozen=True)
class ConvGeometry:
    """Shapes of an image and of filters that fit together, and how to convolve them.

    ``params`` are keyword arguments of `tinygrad_cnn.conv2d`: stride, padding, dilation, groups.
    """

    x: Shape
    weight: Shape
    params: Params


def conv_geometry(max_groups: int = 2) -> SearchStrategy[ConvGeometry]:
    """Valid geometries of a convolution: kernels never larger than the padded image."""

    def make(draw: HypothesisDraw) -> ConvGeometry:
        groups = draw.integer(1, max_groups)
        kernel, stride, dilation, padding = (
            (draw.integer(low, high), draw.integer(low, high))
            for low, high in ((1, 3), (1, 2), (1, 2), (0, 2))
        )
        size = tuple(
            max(1, d * (k - 1) + 1 - 2 * p) + draw.integer(0, 3)
            for k, d, p in zip(kernel, dilation, padding, strict=True)
        )
        depth, filters = draw.integer(1, 2), draw.integer(1, 2)
        x = (draw.integer(1, 2), depth * groups, *size)
        params = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return ConvGeometry(x, (filters * groups, depth, *kernel), params)

    return composite(make)


@dataclass(frozen=True)
class PoolGeometry:
    """The shape of an image and keyword arguments of `tinygrad_cnn.max_pool2d` that fit it.

    ``avg_pool2d`` takes all of them but ``dilation``.
    """

    x: Shape
    params: Params


def pool_geometry(dilated: bool = True) -> SearchStrategy[PoolGeometry]:
    """Valid geometries of pooling: padding at most half the window, at least one window.

    Parameters
    ----------
    dilated
        If false, ``dilation`` is left out, as for average pooling.
    """

    def make(draw: HypothesisDraw) -> PoolGeometry:
        kernel = (draw.integer(1, 3), draw.integer(1, 3))
        stride = (draw.integer(1, 3), draw.integer(1, 3))
        padding = (draw.integer(0, kernel[0] // 2), draw.integer(0, kernel[1] // 2))
        dilation = (draw.integer(1, 2), draw.integer(1, 2)) if dilated else (1, 1)
        size = tuple(
            max(1, d * (k - 1) + 1 - 2 * p) + draw.integer(0, 3)
            for k, d, p in zip(kernel, dilation, padding, strict=True)
        )
        params: Params = {"kernel_size": kernel, "stride": stride, "padding": padding}
        if dilated:
            params["dilation"] = dilation
        params["ceil_mode"] = draw.choice((False, True))
        return PoolGeometry((draw.integer(1, 2), draw.integer(1, 3), *size), params)

    return composite(make)


def samples(operation: str | Op | AnyCallable) -> SearchStrategy[Sample]:
    """Valid arguments of an operation, given by name, record, or its function ``samples(draw)``."""
    if isinstance(operation, str):
        operation = REGISTRY[operation]
    source = operation.samples if isinstance(operation, Op) else operation
    if source is None:
        raise ValueError(f"samples: {operation!r} has none")
    return composite(source)


def _draw(draw: DrawFn) -> HypothesisDraw:
    return HypothesisDraw(SimpleNamespace(draw=draw))


def composite(make: Callable[[HypothesisDraw], T]) -> SearchStrategy[T]:
    """The strategy of what ``make`` draws."""

    @st.composite
    def made(draw: DrawFn) -> T:
        return make(_draw(draw))

    return made()
