"""Every function of NumPy's on tensors: sorted, and those that are served compared with NumPy."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import load

import tinygrad_cnn as tg
from tinygrad_cnn.functions.numpy_protocol import kinds
from tinygrad_cnn.functions.numpy_protocol.serving import SERVED

PUBLIC = kinds.public()
_rng = np.random.default_rng(3)
_square = _rng.normal(size=(3, 3)) + 3 * np.eye(3)
POOL = {
    "x": _rng.uniform(0.2, 0.9, (3, 4)),
    "y": _rng.uniform(0.3, 1.2, (3, 4)),
    "big": _rng.uniform(1.2, 3.0, (3, 4)),
    "any_": _rng.normal(size=(3, 4)) * 2,
    "nans": np.where(_rng.uniform(size=(3, 4)) < 0.3, np.nan, _rng.normal(size=(3, 4))),
    "v": _rng.normal(size=5),
    "w": _rng.uniform(0.5, 1.5, 5),
    "three": _rng.normal(size=(4, 3)),
    "box": _rng.normal(size=(2, 3, 4)),
    "s": _square,
    "b": _rng.normal(size=(3, 2)),
    "spd": _square @ _square.T + np.eye(3),
    "z": _rng.normal(size=(3, 4)) + 1j * _rng.normal(size=(3, 4)),
    "one": np.array(0.7),
}
INTEGERS = np.arange(12).reshape(3, 4)
Sample = Callable[..., Any]

ODD_DOMAIN = {"arccosh": "big", "acosh": "big", "frexp": "big", "conj": "z", "conjugate": "z"}


def _of_ufunc(name: str) -> Sample:
    ufunc = PUBLIC[name]
    if ufunc.nin == 1:
        return eval(f"lambda {(a := ODD_DOMAIN.get(name, 'x'))}: np.{name}({a})", {"np": np})
    special = {
        "ldexp": lambda x: np.ldexp(x, INTEGERS[0]),
        "heaviside": lambda any_, y: np.heaviside(any_, y),
        "matmul": lambda x, three: np.matmul(x, three),
        "matvec": lambda box, v: np.matvec(box, v[:4]),
        "vecmat": lambda box, v: np.vecmat(v[:3], box),
        "floor_divide": lambda any_, y: np.floor_divide(any_, y),
    }
    return special.get(name) or eval(f"lambda x, y: np.{name}(x, y)", {"np": np})


SAMPLES: dict[str, list[Sample]] = {
    # views and what moves numbers
    "append": [lambda x, v: np.append(x, v), lambda x, y: np.append(x, y, 1)],
    "apply_along_axis": [lambda x: np.apply_along_axis(np.cumsum, 0, x)],
    "apply_over_axes": [lambda box: np.apply_over_axes(np.sum, box, [0, 2])],
    "astype": [lambda x: np.astype(x, np.complex128)],
    "atleast_1d": [lambda one: np.atleast_1d(one)],
    "atleast_2d": [lambda v: np.atleast_2d(v)],
    "atleast_3d": [lambda v: np.atleast_3d(v), lambda x: np.atleast_3d(x)],
    "array_split": [lambda v: np.array_split(v, 3), lambda x: np.array_split(x, [1, 3], axis=1)],
    "block": [lambda s, b: np.block([[s, b], [np.zeros((1, 3)), np.ones((1, 2))]])],
    "broadcast_arrays": [lambda x, v: np.broadcast_arrays(x, v[:4])],
    "broadcast_to": [lambda v: np.broadcast_to(v, (2, 5))],
    "choose": [lambda x, y: np.choose(INTEGERS % 2, [x, y])],
    "column_stack": [lambda v, w: np.column_stack([v, w])],
    "compress": [lambda x: np.compress([True, False, True], x, 0)],
    "concat": [lambda x, y: np.concat([x, y], axis=1)],
    "concatenate": [
        lambda x, y: np.concatenate([x, y], axis=None),
        lambda x: np.concatenate([x, x * 2], dtype=np.complex128),
    ],
    "copy": [lambda x: np.copy(x)],
    "delete": [lambda x: np.delete(x, [0, 2], 1), lambda x: np.delete(x, slice(0, 3))],
    "diag": [lambda v: np.diag(v, 1), lambda s: np.diag(s, -1)],
    "diagflat": [lambda s: np.diagflat(s)],
    "diagonal": [lambda box: np.diagonal(box, 1, 1, 2)],
    "dsplit": [lambda box: np.dsplit(box, 2)],
    "dstack": [lambda v, w: np.dstack([v, w])],
    "empty_like": [],
    "expand_dims": [lambda x: np.expand_dims(x, (0, -1))],
    "extract": [lambda x: np.extract(INTEGERS % 3 == 0, x)],
    "flip": [lambda x: np.flip(x, 1), np.flip],
    "fliplr": [np.fliplr],
    "flipud": [np.flipud],
    "full_like": [lambda x, one: np.full_like(x, one)],
    "hsplit": [lambda x: np.hsplit(x, [1, 3]), lambda w: np.hsplit(w, 5)],
    "hstack": [lambda x, y: np.hstack([x, y]), lambda v, w: np.hstack([v, w])],
    "insert": [lambda x: np.insert(x, 1, 5.0, axis=1), lambda v, w: np.insert(v, [1, 3], w[:2])],
    "matrix_transpose": [lambda box: np.matrix_transpose(box)],
    "meshgrid": [lambda v, w: np.meshgrid(v, w[:2]),
                 lambda v, w: np.meshgrid(v, w[:2], indexing="ij", sparse=True)],
    "moveaxis": [lambda box: np.moveaxis(box, [0, 1], [-1, 0])],
    "ones_like": [],
    "pad": [
        lambda x: np.pad(x, ((1, 2), (0, 1)), constant_values=2.0),
        lambda x: np.pad(x, 2, "reflect"), lambda x: np.pad(x, (1, 0), "edge"),
        lambda x: np.pad(x, 2, "wrap"), lambda x: np.pad(x, 2, "symmetric"),
    ],
    "partition": [lambda v: np.sort(np.partition(v, 2)[:2])],
    "permute_dims": [lambda box: np.permute_dims(box, (2, 0, 1))],
    "ravel": [np.ravel, lambda x: np.ravel(x, order="F")],
    "repeat": [lambda x: np.repeat(x, [1, 0, 2], axis=0)],
    "reshape": [lambda x: np.reshape(x, (2, -1)), lambda x: np.reshape(x, (2, 6), order="F")],
    "resize": [lambda x: np.resize(x, (5, 3))],
    "roll": [lambda x: np.roll(x, 2), lambda x: np.roll(x, (1, 2), (0, 1))],
    "rollaxis": [lambda box: np.rollaxis(box, 2), lambda box: np.rollaxis(box, 0, 2)],
    "rot90": [lambda box: np.rot90(box, 3, (1, 2))],
    "select": [lambda x, y: np.select([x > 0.6, y > 0.6], [x, y * 2], 1.5)],
    "sort": [lambda any_: np.sort(any_, 0), lambda any_: np.sort(any_, None)],
    "sort_complex": [lambda v: np.sort_complex(v)],
    "split": [lambda x: np.split(x, 2, axis=1), lambda v: np.split(v, [1, 3, 9])],
    "squeeze": [lambda one: np.squeeze(one[None, None], 0)],
    "stack": [lambda x, y: np.stack([x, y], axis=-1)],
    "swapaxes": [lambda box: np.swapaxes(box, 0, -1)],
    "take": [lambda x: np.take(x, [[0, 5], [11, 5]]), lambda x: np.take(x, [3, 5], 1, mode="wrap")],
    "take_along_axis": [lambda x: np.take_along_axis(x, np.array([[1, 1], [0, 2], [3, 3]]), 1)],
    "tile": [lambda x: np.tile(x, (2, 1, 2))],
    "transpose": [np.transpose, lambda box: np.transpose(box, (1, 2, 0))],
    "tril": [lambda x: np.tril(x, 1)],
    "trim_zeros": [lambda v: np.trim_zeros(np.pad(v, 2))],
    "triu": [lambda x: np.triu(x, -1)],
    "unstack": [lambda x: np.unstack(x, axis=1)],
    "vsplit": [lambda x: np.vsplit(x, 3)],
    "vstack": [lambda v, w: np.vstack([v, w])],
    "where": [lambda x, y: np.where(x > 0.5, x, y), lambda x: np.where(x > 0.5, x, 2)],
    "zeros_like": [],
    **{name: [eval(f"lambda v: np.{name}(v)", {"np": np})]
       for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values")},
    "unique": [lambda v: np.unique(v, return_inverse=True)[0], lambda v: np.unique(v)],
    **{name: [eval(f"lambda v, w: np.{name}(v, w)", {"np": np})]
       for name in ("union1d", "setdiff1d", "setxor1d")},
    "intersect1d": [lambda v: np.intersect1d(v, v[2:])],
    # reductions
    **{name: [eval(f"lambda any_: np.{name}(any_)", {"np": np}),
              eval(f"lambda any_: np.{name}(any_, axis=1, keepdims=True)", {"np": np}),
              eval(f"lambda any_: np.{name}(any_, 0)", {"np": np})]
       for name in ("max", "min", "amax", "amin", "mean", "median", "ptp", "std", "var")},
    **{name: [eval(f"lambda nans: np.{name}(nans)", {"np": np}),
              eval(f"lambda nans: np.{name}(nans, axis=0, keepdims=True)", {"np": np})]
       for name in ("nanmax", "nanmin", "nanmean", "nanmedian", "nanstd", "nanvar", "nansum",
                    "nanprod")},
    "sum": [np.sum, lambda box: np.sum(box, (0, 2), initial=2.0, keepdims=True),
            lambda x: np.sum(x, dtype=np.float64), lambda x: np.sum(x, 0, where=INTEGERS > 4)],
    "prod": [np.prod, lambda box: np.prod(box, (0, -1), initial=2.0)],
    "average": [lambda x: np.average(x, 0), lambda x, v: np.average(x, 1, weights=v[:4]),
                lambda x, y: np.average(x, (0, 1), weights=y, returned=True)],
    "cumsum": [np.cumsum, lambda x: np.cumsum(x, 1)],
    "cumprod": [np.cumprod, lambda x: np.cumprod(x, 0)],
    "nancumsum": [lambda nans: np.nancumsum(nans, 1)],
    "nancumprod": [lambda nans: np.nancumprod(nans)],
    "cumulative_sum": [lambda x: np.cumulative_sum(x, axis=1, include_initial=True)],
    "cumulative_prod": [lambda v: np.cumulative_prod(v), lambda x: np.cumulative_prod(x, axis=0)],
    "quantile": [lambda any_, m=m: np.quantile(any_, [0.2, 0.55], axis=1, method=m)
                 for m in ("linear", "lower", "higher", "nearest", "midpoint", "hazen", "weibull",
                           "median_unbiased", "inverted_cdf", "averaged_inverted_cdf")]
    + [lambda box: np.quantile(box, 0.3, (0, 2), keepdims=True)],
    "percentile": [lambda any_: np.percentile(any_, [[10, 60]], keepdims=True)],
    "nanquantile": [lambda nans: np.nanquantile(nans, [0.2, 0.6], axis=0)],
    "nanpercentile": [lambda nans: np.nanpercentile(nans, 35, keepdims=True)],
    "cov": [np.cov, lambda x, y: np.cov(x, y, rowvar=False, bias=True), lambda v: np.cov(v)],
    "corrcoef": [np.corrcoef, lambda v, w: np.corrcoef(v, w)],
    # arithmetic
    "angle": [np.angle, lambda z: np.angle(z, deg=True)],
    "around": [lambda x: np.around(x, 1)],
    "round": [np.round, lambda big: np.round(big, decimals=1)],
    "bincount": [lambda w: np.bincount([0, 2, 2, 1, 5], w, 8)],
    "clip": [lambda any_: np.clip(any_, -1, 1), lambda any_, y: np.clip(any_, None, y)],
    "convolve": [lambda v, w, m=m: np.convolve(v, w[:3], m) for m in ("full", "same", "valid")]
    + [lambda v, w: np.convolve(v[:2], w)],
    "correlate": [lambda v, w, m=m: np.correlate(v, w[:3], m) for m in ("full", "same", "valid")]
    + [lambda v, w: np.correlate(v[:2], w, "full"), lambda v, w: np.correlate(v[:2], w)],
    "cross": [lambda three: np.cross(three, three[::-1]),
              lambda s, three: np.cross(s, three[:3], axisa=0)],
    "diff": [lambda x: np.diff(x, 2, 0), lambda x: np.diff(x, prepend=0.0, append=x[:, :1])],
    "dot": [lambda x, three: np.dot(x, three), lambda box, v: np.dot(box, v[:4]),
            lambda x: np.dot(x, 2.0)],
    "ediff1d": [lambda x: np.ediff1d(x, to_end=[1.0, 2.0])],
    "einsum": [lambda x, three: np.einsum("ij,jk->ki", x, three, optimize=True),
               lambda x: np.einsum(x, [0, 1], [1])],
    "fix": [lambda big: np.fix(big)],
    "geomspace": [lambda one: np.geomspace(one, 3.0, 5)],
    "gradient": [np.gradient,
                 lambda v, w: np.gradient(v, np.cumsum(np.arange(1.0, 6)), edge_order=2),
                 lambda box: np.gradient(box, 0.5, axis=(1, 2))],
    "i0": [np.i0],
    "imag": [np.imag],
    "inner": [lambda x, y: np.inner(x, y)],
    "interp": [lambda v, w: np.interp(v, np.cumsum(w) - 3, w),
               lambda v, w: np.interp(v, np.cumsum(w) - 3, w, left=-1.0, right=9.0)],
    "kron": [lambda s, b: np.kron(s, b)],
    "linspace": [lambda one: np.linspace(one, 2.0, 5), lambda v, w: np.linspace(v, w, 4, axis=1),
                 lambda one: np.linspace(0, one, 4, endpoint=False, retstep=True)],
    "logspace": [lambda one: np.logspace(one, 2, 5, base=2.0)],
    "nan_to_num": [lambda nans: np.nan_to_num(nans, nan=1.5)],
    "outer": [lambda x, v: np.outer(x, v)],
    "piecewise": [lambda any_: np.piecewise(any_, [any_ < 0, any_ > 1], [np.square, 7.0, np.exp])],
    "poly": [np.poly],
    "polyadd": [lambda v, w: np.polyadd(v, w[:2])],
    "polyder": [lambda v: np.polyder(v, 2)],
    "polydiv": [lambda v, w: np.polydiv(v, w[:3])],
    "polyint": [lambda v: np.polyint(v, 2, [1.0, 2.0])],
    "polymul": [lambda v, w: np.polymul(v, w)],
    "polysub": [lambda v, w: np.polysub(v[:3], w)],
    "polyval": [lambda v, x: np.polyval(v, x)],
    "real": [np.real],
    "real_if_close": [lambda z: np.real_if_close(z), lambda x: np.real_if_close(x + 0j)],
    "sinc": [np.sinc],
    "tensordot": [lambda box, three: np.tensordot(box, three, axes=(2, 0)),
                  lambda box: np.tensordot(box, box, 3)],
    "trace": [lambda box: np.trace(box, 1, 1, 2)],
    "trapezoid": [lambda x: np.trapezoid(x, dx=0.5, axis=0), lambda v, w: np.trapezoid(v, w)],
    "unwrap": [lambda v: np.unwrap(v * 5)],
    "vander": [lambda v: np.vander(v, 3), lambda v: np.vander(v, increasing=True)],
    "vdot": [lambda z: np.vdot(z, z * 2)],
    # linalg
    "linalg.cholesky": [lambda s: np.linalg.cholesky(s @ s.T)],
    "linalg.cond": [np.linalg.cond, lambda s: np.linalg.cond(s, 1)],
    "linalg.cross": [lambda three: np.linalg.cross(three, three[::-1])],
    "linalg.det": [lambda s: np.linalg.det(s)],
    "linalg.diagonal": [lambda box: np.linalg.diagonal(box, offset=1)],
    "linalg.eig": [lambda spd: np.sort(np.real(np.linalg.eig(spd).eigenvalues))],
    "linalg.eigh": [lambda s: np.linalg.eigh(s + s.T).eigenvalues,
                    lambda s: np.abs(np.linalg.eigh(s + s.T, "U")[1])],
    "linalg.eigvals": [lambda spd: np.sort(np.real(np.linalg.eigvals(spd)))],
    "linalg.eigvalsh": [lambda s: np.linalg.eigvalsh(s + s.T)],
    "linalg.inv": [lambda s: np.linalg.inv(s)],
    "linalg.lstsq": [lambda three, v: np.linalg.lstsq(three, v[:4])[0],
                     lambda three, x: np.linalg.lstsq(three, x.T)[1]],
    "linalg.matmul": [lambda x, three: np.linalg.matmul(x, three)],
    "linalg.matrix_norm": [lambda x: np.linalg.matrix_norm(x, ord="nuc", keepdims=True)],
    "linalg.matrix_power": [lambda s: np.linalg.matrix_power(s, -2)],
    "linalg.matrix_transpose": [lambda box: np.linalg.matrix_transpose(box)],
    "linalg.multi_dot": [lambda x, three, b: np.linalg.multi_dot([x, three, b])],
    "linalg.norm": [lambda any_: np.linalg.norm(any_), lambda any_: np.linalg.norm(any_, 1),
                    lambda any_: np.linalg.norm(any_, -2), lambda box: np.linalg.norm(box, 3, 1),
                    lambda box: np.linalg.norm(box, keepdims=True),
                    lambda v: np.linalg.norm(v, np.inf)],
    "linalg.outer": [lambda v, w: np.linalg.outer(v, w)],
    "linalg.pinv": [lambda x: np.linalg.pinv(x)],
    "linalg.qr": [lambda three: np.linalg.qr(three), lambda three: np.linalg.qr(three, "r")],
    "linalg.slogdet": [lambda s: np.linalg.slogdet(s)],
    "linalg.solve": [lambda s, v: np.linalg.solve(s, v[:3]), lambda s, b: np.linalg.solve(s, b)],
    "linalg.svd": [lambda x: np.linalg.svd(x, full_matrices=False).S,
                   lambda x: np.linalg.svd(x, compute_uv=False)],
    "linalg.svdvals": [lambda x: np.linalg.svdvals(x)],
    "linalg.tensordot": [lambda x, three: np.linalg.tensordot(x, three, axes=1)],
    "linalg.tensorinv": [lambda s: np.linalg.tensorinv(s, 1)],
    "linalg.tensorsolve": [lambda s, v: np.linalg.tensorsolve(s, v[:3])],
    "linalg.trace": [lambda box: np.linalg.trace(box, offset=1)],
    "linalg.vecdot": [lambda x, z: np.linalg.vecdot(z, x, axis=0)],
    "linalg.vector_norm": [lambda box: np.linalg.vector_norm(box, axis=(0, 2), ord=3)],
    # fft
    **{f"fft.{name}": [eval(f"lambda z: np.fft.{name}(z, 6, axis=0, norm='ortho')", {"np": np})]
       for name in ("fft", "ifft", "irfft", "hfft")},
    **{f"fft.{name}": [eval(f"lambda x: np.fft.{name}(x, 5)", {"np": np})]
       for name in ("rfft", "ihfft")},
    **{f"fft.{name}": [eval(f"lambda z: np.fft.{name}(z, norm='forward')", {"np": np})]
       for name in ("fft2", "ifft2", "irfft2", "fftn", "ifftn", "irfftn")},
    **{f"fft.{name}": [eval(f"lambda box: np.fft.{name}(box, (4, 3), axes=(0, 1))", {"np": np})]
       for name in ("rfft2", "rfftn")},
    "fft.fftshift": [lambda x: np.fft.fftshift(x)],
    "fft.ifftshift": [lambda x: np.fft.ifftshift(x, 1)],
}  # fmt: skip

SERVED_NAMES = sorted(n for n, g in PUBLIC.items() if kinds.sort_of(g)[0] == "served")
for _name in SERVED_NAMES:
    if _name not in SAMPLES and isinstance(PUBLIC[_name], np.ufunc):
        SAMPLES[_name] = [_of_ufunc(_name)]


def test_every_function_is_sorted() -> None:
    offered = {
        n for n, g in PUBLIC.items() if hasattr(g, "_implementation") or isinstance(g, np.ufunc)
    }
    for name, theirs in PUBLIC.items():
        kind, said = kinds.sort_of(theirs)
        assert said
        assert kind != "not offered" or name not in offered, name
        several = [theirs in table for table in (kinds.CONSTANT, kinds.REFUSED, kinds.PLAIN)]
        assert sum(several) <= 1, name
    for table in (SERVED, kinds.CONSTANT, kinds.REFUSED, kinds.PLAIN):
        assert not [g for g in table if g not in PUBLIC.values()]
    assert [n for n in SERVED_NAMES if n not in SAMPLES] == []


def test_the_page_sorts_them_so() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs/arrays.md").read_text(encoding="utf-8")
    script = load(root / "docs/make_arrays.py")
    page = text[text.index(script.HEAD) :]
    parts = re.findall(
        r"^\*\*(.*?)\*\* \(\d+\)\n\n(.*?)\n\n", page + "\n\n", re.DOTALL | re.MULTILINE
    )
    said = {name: title for title, names in parts for name in re.findall(r"`(.*?)`", names)}
    found = {
        name: title[0].upper() + title[1:]
        for title, names in script.rows().items()
        for name in names
    }
    for name in ("in1d", "trapz"):  # which NumPy had until 2.4, and the page is of a newer one
        found.pop(name, None)
    assert {n: said.get(n) for n in found} == found, "run: python docs/make_arrays.py"


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in _leaves(v)]
    return [value]


CASES = [(n, i) for n in SERVED_NAMES for i in range(len(SAMPLES.get(n, ())))]


def _inputs(sample: Sample) -> list[np.ndarray]:
    names = [
        p.name
        for p in inspect.signature(sample).parameters.values()
        if p.name in POOL and p.default is p.empty
    ]
    own = {np.angle: "z", np.real: "z", np.imag: "z", np.poly: "v", np.linalg.cond: "s"}
    return [POOL[n] for n in names if sample not in own] or [POOL[own.get(sample, "x")]]


def _half(value: Any) -> Any:
    """Real and imaginary parts, of a tensor or an array, in one sum with weights."""
    return value.real + value.imag if value.dtype.kind == "c" else value


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize(("name", "i"), CASES)
def test_values_are_numpys(name: str, i: int, precise: bool) -> None:
    sample = SAMPLES[name][i]
    arrays = _inputs(sample)
    if not precise:
        arrays = [a.astype("F" if a.dtype.kind == "c" else "f") for a in arrays]
    found = _leaves(sample(*(tg.tensor(a, requires_grad=True) for a in arrays)))
    expected = _leaves(sample(*arrays))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert isinstance(ours, tg.Tensor)
        assert ours.shape == np.shape(theirs)
        assert ours.dtype == np.asarray(theirs).dtype
        error = {"rtol": 1e-10, "atol": 1e-12} if precise else {"rtol": 2e-4, "atol": 1e-5}
        np.testing.assert_allclose(ours.detach().numpy(), theirs, **error)


@pytest.mark.parametrize(("name", "i"), CASES)
def test_gradients_are_slopes_of_numpys(name: str, i: int) -> None:
    sample, rng = SAMPLES[name][i], np.random.default_rng(0)
    arrays = _inputs(sample)
    tensors = [tg.tensor(a, requires_grad=True) for a in arrays]
    found = _leaves(sample(*tensors))
    weights = {j: rng.normal(size=y.shape) for j, y in enumerate(found) if y.requires_grad}
    assert weights, "no gradient"
    ways = [rng.normal(size=a.shape) for a in arrays]

    def loss(step: float) -> float:
        moved = (a + step * d for a, d in zip(arrays, ways, strict=True))
        out = _leaves(sample(*moved))
        return float(sum(np.nansum(_half(out[j]) * w) for j, w in weights.items()))

    tg.autograd.backward([tg.nansum(_half(found[j]) * tg.tensor(w)) for j, w in weights.items()])
    slope = sum(
        np.nansum(np.real(t.grad.numpy()) * d)
        for t, d in zip(tensors, ways, strict=True)
        if t.grad is not None
    )
    h = 1e-6
    np.testing.assert_allclose(slope, (loss(h) - loss(-h)) / (2 * h), rtol=2e-6, atol=1e-7)


METHODS: dict[str, Sample] = {
    "reduce": lambda x: np.add.reduce(x, axis=(0, 1), initial=3.0),
    "reduce kept": lambda x: np.multiply.reduce(x, 1, keepdims=True),
    "reduce maximum": lambda x: np.maximum.reduce(x),
    "reduce folded": lambda x: np.subtract.reduce(x, 1, initial=2.0),
    "reduce hypot": lambda x: np.hypot.reduce(x, (0, 1)),
    "accumulate": lambda x: np.add.accumulate(x, 1),
    "accumulate folded": lambda x: np.divide.accumulate(x),
    "reduceat": lambda x: np.add.reduceat(x, [0, 2, 1], 1),
    "outer": lambda x: np.power.outer(x, x[0]),
    "outer number": lambda x: np.subtract.outer(1.0, x),
    "dtype": lambda x: np.add(x, x, dtype=np.float64),
    "integers": lambda x: np.add(x, INTEGERS),
    "number": lambda x: np.maximum(x, 0.5),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_methods_of_ufuncs(name: str, dtype: str) -> None:
    x = POOL["x"].astype(dtype)
    t = tg.tensor(x, requires_grad=True)
    found, expected = METHODS[name](t), METHODS[name](x)
    assert found.requires_grad
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5)
    tg.autograd.gradcheck(METHODS[name], (tg.tensor(POOL["x"], requires_grad=True),))


OF_INTEGERS: dict[str, Sample] = {
    "exp": np.exp,
    "add": lambda x: np.add(x, 1.5),
    "mean": np.mean,
    "sum": lambda x: np.sum(x, dtype=np.uint8),
    "quantile": lambda x: np.quantile(x, 0.3, axis=0),
    "sort": lambda x: np.sort(x, kind="stable"),
    "inv": lambda x: np.linalg.inv(x[:3, :3] + 10 * np.eye(3)),
    "rfft": np.fft.rfft,
    "argmax": lambda x: np.argmax(x, keepdims=True),
    "bitwise": lambda x: np.bitwise_and.reduce(x),
    "histogram": lambda x: np.histogram(x, 4)[1],
    "split": lambda x: np.split(x, 3)[1],
}


@pytest.mark.parametrize("name", OF_INTEGERS)
@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_integers_are_computed_with_as_numpy_does(name: str, dtype: str) -> None:
    x = INTEGERS.astype(dtype)
    found, expected = OF_INTEGERS[name](tg.tensor(x)), OF_INTEGERS[name](x)
    assert isinstance(found, tg.Tensor)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected)


def test_what_has_no_derivative_takes_tensors_that_require_gradients() -> None:
    t = tg.tensor(POOL["any_"], requires_grad=True)
    assert np.shape(t) == (3, 4)
    assert (np.ndim(t), np.size(t, 1)) == (2, 4)
    assert np.argsort(t, axis=0).tolist() == np.argsort(POOL["any_"], axis=0).tolist()
    assert isinstance(np.isclose(t, 0), tg.Tensor)
    assert np.array_equal(t, t)
    assert "..." in np.array2string(t, threshold=4, edgeitems=1)
    assert [a.tolist() for a in np.nonzero(t > 0)] == [
        a.tolist() for a in np.nonzero(POOL["any_"] > 0)
    ]
    assert not (t > 0).requires_grad
    assert not np.greater(t, 0).requires_grad


def test_what_is_not_served_is_numpys_without_gradients_and_else_refused() -> None:
    x = POOL["x"]
    t = tg.tensor(x)
    assert np.pad(t, 1, "linear_ramp").tolist() == np.pad(x, 1, "linear_ramp").tolist()
    assert np.roots(tg.tensor([1.0, -3.0, 2.0], dtype=tg.float64)).tolist() == [2.0, 1.0]
    out = tg.zeros(4, dtype=tg.float64)
    assert np.sum(t, axis=0, out=out) is out
    assert out.tolist() == x.sum(0).tolist()
    assert np.max(t, where=x < 0.5, initial=0.0).item() == x[x < 0.5].max()
    t.requires_grad_()
    with pytest.raises(TypeError, match=r"np\.pad has no derivative here: `mode` is 'linear_ramp'"):
        np.pad(t, 1, "linear_ramp")
    with pytest.raises(TypeError, match=r"np\.sum has no derivative here: `out`"):
        np.sum(t, axis=0, out=out)
    with pytest.raises(TypeError, match=r"np\.add has no derivative here: `where`"):
        np.add(t, 1, where=x > 0.5)
    with pytest.raises(TypeError, match=r"np\.roots has no derivative.*eigvals"):
        np.roots(t[0])
    with pytest.raises(TypeError, match=r"np\.nextafter has no derivative"):
        np.nextafter(t, 0)
    for name, why in (("place", "masked_scatter_"), ("putmask", "mask"), ("copyto", "copy_")):
        with pytest.raises(TypeError, match=rf"np\.{name} changes an array in place: use .*{why}"):
            getattr(np, name)(t.detach(), x > 0.5, x)
    with tg.no_grad():
        assert np.roots(t[0]).shape == (3,)


@pytest.mark.parametrize("dtype", [tg.float32, tg.int64])
def test_views_are_views(dtype: Any) -> None:
    t = tg.zeros(2, 3, dtype=dtype)
    for view in (
        np.transpose(t), np.reshape(t, (3, 2)), np.ravel(t), np.swapaxes(t, 0, 1),
        np.moveaxis(t, 0, 1), np.expand_dims(t, 0), np.split(t, 3, 1)[0], np.diagonal(t),
        np.atleast_3d(t), np.vsplit(t, 2)[0],
    ):  # fmt: skip
        before = t._version
        view.add_(1)
        assert t._version == before + 1
        assert t.numpy()[0, 0] == before + 1


def test_operators_of_arrays_promote_as_those_of_tensors() -> None:
    t, a = tg.ones(3), np.arange(3)
    assert (a + t).dtype == (t + a).dtype == tg.float32
    assert (np.float64(2) * t).dtype == tg.float32
    assert np.add(t, a).dtype == np.add(t.numpy(), a).dtype == tg.float64
    assert (a @ t).dtype == tg.float32


def test_gradients_reach_tensors_in_lists() -> None:
    a, b = (tg.tensor(v, requires_grad=True) for v in (1.0, 2.0))
    pair = np.stack([a, b])
    (np.sum(pair) * np.dot(pair, np.array([3.0, 4.0], np.float32))).backward()
    assert (a.grad.item(), b.grad.item()) == (11 + 3 * 3.0, 11 + 4 * 3.0)
