"""NumPy's functions that compute no numbers: views where NumPy's are, and what joins tensors."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.functions.numpy_protocol.serving import (
    Unserved,
    as_tensor,
    dtype_of_all,
    numbers,
    positions,
    promoted,
    serves,
)

# ---- views ---------------------------------------------------------------------------------


@serves("transpose", "permute_dims", layout=True)
def _transpose(a: Any, axes: Any = None) -> Any:
    order = tuple(range(a.ndim))[::-1] if axes is None else positions(axes, a.ndim)
    return f.permute(a, order)


@serves("reshape", layout=True)
def _reshape(
    a: Any, /, shape: Any = None, order: str | None = "C", *, newshape: Any = None, copy: Any = None
) -> Any:
    wanted = newshape if shape is None else shape
    wanted = tuple(wanted) if isinstance(wanted, (tuple, list)) else (operator.index(wanted),)
    x = a.clone() if copy else a
    if order == "F":
        return _transpose(f.reshape(_transpose(x), wanted[::-1]))
    if order not in ("C", None):
        raise Unserved(f"`order` is {order!r}, expected 'C' or 'F'")
    return f.reshape(x, wanted)


@serves("ravel", layout=True)
def _ravel(a: Any, order: str = "C") -> Any:
    return _reshape(a, -1, "C" if order == "K" else order)


@serves("squeeze", layout=True)
def _squeeze(a: Any, axis: Any = None) -> Any:
    if axis is None:
        return f.squeeze(a)
    dims = positions(axis, a.ndim)
    if any(a.shape[d] != 1 for d in dims):
        raise ValueError(f"np.squeeze: `axis` is {axis}, but the shape is {tuple(a.shape)}")
    return f.squeeze(a, dims)


@serves("expand_dims", layout=True)
def _expand_dims(a: Any, axis: Any) -> Any:
    several = axis if isinstance(axis, (tuple, list)) else (axis,)
    for d in sorted(positions(several, a.ndim + len(several))):
        a = f.unsqueeze(a, d)
    return a


@serves("moveaxis", layout=True)
def _moveaxis(a: Any, source: Any, destination: Any) -> Any:
    return f.movedim(a, positions(source, a.ndim), positions(destination, a.ndim))


@serves("rollaxis", layout=True)
def _rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    (d,) = positions(axis, a.ndim)
    to = start + a.ndim if start < 0 else start
    return f.movedim(a, d, to - 1 if d < to else to)


@serves("swapaxes", layout=True)
def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    return f.transpose(a, *positions(axis1, a.ndim), *positions(axis2, a.ndim))


@serves("matrix_transpose", "linalg.matrix_transpose", layout=True)
def _matrix_transpose(x: Any, /) -> Any:
    return f.transpose(x, -2, -1)


@serves("broadcast_to", layout=True)
def _broadcast_to(array: Any, shape: Any) -> Any:
    return f.broadcast_to(array, shape if isinstance(shape, (tuple, list)) else (shape,))


@serves("broadcast_arrays", layout=True)
def _broadcast_arrays(*args: Any) -> Any:
    return tuple(f.broadcast_tensors(*map(as_tensor, args)))


@serves("diagonal", layout=True)
def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return f.diagonal(a, offset, axis1, axis2)


@serves("linalg.diagonal", layout=True)
def _linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return f.diagonal(x, offset, -2, -1)


@serves("real", layout=True)
def _real(val: Any) -> Any:
    return f.real(val)


@serves("imag", layout=True)
def _imag(val: Any) -> Any:
    return f.imag(val) if val.dtype.kind == "c" else f.zeros_like(val)


@serves("real_if_close")
def _real_if_close(a: Any, tol: float = 100) -> Any:
    return a if np.iscomplexobj(np.real_if_close(a.detach().array, tol)) else f.real(a)


def _split(name: str) -> Callable[..., Any]:
    def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
        where = numbers(indices_or_sections)
        parts = getattr(np, name)(np.arange(ary.shape[axis]), where)
        ends = np.cumsum([0] + [len(p) for p in parts])
        if not np.isscalar(where) and np.ndim(where):  # starts and ends of slices, as they are
            cuts = [slice(s, e) for s, e in zip([0, *where], [*where, None], strict=True)]
        else:
            cuts = [slice(s, e) for s, e in itertools.pairwise(ends)]
        (d,) = positions(axis, ary.ndim)
        return [ary[(slice(None),) * d + (cut,)] for cut in cuts]

    return split


serves("split", layout=True)(_split("split"))
serves("array_split", layout=True)(_split("array_split"))
for _name, _axis in (("hsplit", 1), ("vsplit", 0), ("dsplit", 2)):

    @serves(_name, layout=True)
    def _split_along(ary: Any, indices_or_sections: Any, _axis: int = _axis) -> Any:
        if ary.ndim < (2, 1, 3)[_axis]:
            raise ValueError(f"np.{('v', 'h', 'd')[_axis]}split: the shape is {tuple(ary.shape)}")
        return _split("split")(ary, indices_or_sections, min(_axis, ary.ndim - 1))


@serves("unstack", layout=True)
def _unstack(x: Any, /, *, axis: int = 0) -> Any:
    return tuple(f.unbind(x, *positions(axis, x.ndim)))


@serves("atleast_1d", layout=True)
def _atleast_1d(*arys: Any) -> Any:
    return f.atleast_1d(*map(as_tensor, arys))


@serves("atleast_2d", layout=True)
def _atleast_2d(*arys: Any) -> Any:
    return f.atleast_2d(*map(as_tensor, arys))


@serves("atleast_3d", layout=True)
def _atleast_3d(*arys: Any) -> Any:
    return f.atleast_3d(*map(as_tensor, arys))


@serves("meshgrid", layout=True)
def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if indexing not in ("xy", "ij"):
        raise ValueError(f"np.meshgrid: `indexing` is {indexing!r}, expected 'xy' or 'ij'")
    xs = [f.ravel(as_tensor(x)) for x in xi]
    order = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        order[:2] = 1, 0
    grids = [
        f.reshape(x, [-1 if d == order[i] else 1 for d in range(len(xs))]) for i, x in enumerate(xs)
    ]
    grids = grids if sparse else list(f.broadcast_tensors(*grids))
    return tuple(g.clone() for g in grids) if copy else tuple(grids)


# ---- joined and copied ---------------------------------------------------------------------


@serves("concatenate", "concat", layout=True)
def _concatenate(
    arrays: Any, /, axis: Any = 0, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    xs = promoted(*arrays, dtype=dtype)
    if axis is None:
        return f.cat([f.ravel(x) for x in xs], 0)
    return f.cat(xs, *positions(axis, xs[0].ndim))


@serves("stack", layout=True)
def _stack(arrays: Any, axis: int = 0, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    xs = promoted(*arrays, dtype=dtype)
    return f.stack(xs, *positions(axis, xs[0].ndim + 1))


for _name, _wide in (("vstack", f.atleast_2d), ("hstack", f.atleast_1d), ("dstack", f.atleast_3d)):

    @serves(_name, layout=True)
    def _stacked(
        tup: Any, *, dtype: Any = None, casting: str = "same_kind", _name: str = _name,
        _wide: Callable[..., Any] = _wide,
    ) -> Any:  # fmt: skip
        xs = [_wide(x) for x in promoted(*tup, dtype=dtype)]
        return f.cat(xs, {"v": 0, "h": min(1, xs[0].ndim - 1), "d": 2}[_name[0]])


@serves("column_stack", layout=True)
def _column_stack(tup: Any) -> Any:
    return f.cat([x if x.ndim > 1 else f.reshape(x, (-1, 1)) for x in promoted(*tup)], 1)


@serves("copy", layout=True)
def _copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return f.clone(a)


@serves("astype", layout=True)
def _astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    out = f.to(x, dtype)
    return out.clone() if copy and out is x else out


@serves("flip", layout=True)
def _flip(m: Any, axis: Any = None) -> Any:
    return f.flip(m, positions(axis, m.ndim))


@serves("roll", layout=True)
def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        return f.roll(a, shift)
    shifts, dims = np.broadcast_arrays(np.atleast_1d(numbers(shift)), np.atleast_1d(axis))
    for n, d in zip(shifts.tolist(), dims.tolist(), strict=True):
        a = f.roll(a, n, *positions(d, a.ndim))
    return a


@serves("where", layout=True)
def _where(condition: Any, x: Any = NotImplemented, y: Any = NotImplemented, /) -> Any:
    if x is NotImplemented or y is NotImplemented:
        raise Unserved("places have no gradient")
    truth = f.to(as_tensor(condition), np.bool_)
    return f.where(truth, *promoted(x, y))


@serves("block", layout=True)
def _block(arrays: Any) -> Any:
    def depth(value: Any) -> int:
        return 1 + max(map(depth, value)) if isinstance(value, list) else 0

    def leaves(value: Any) -> list[Any]:
        return [x for v in value for x in leaves(v)] if isinstance(value, list) else [value]

    levels, dtype = depth(arrays), dtype_of_all(leaves(arrays))
    ndim = max(levels, *(as_tensor(x).ndim for x in leaves(arrays)))

    def joined(value: Any, level: int) -> Any:
        if not isinstance(value, list):
            (x,) = promoted(value, dtype=dtype)
            return f.reshape(x, (1,) * (ndim - x.ndim) + tuple(x.shape))
        return f.cat([joined(v, level + 1) for v in value], ndim - levels + level)

    return joined(arrays, 0) if levels else promoted(arrays, dtype=dtype)[0].clone()
