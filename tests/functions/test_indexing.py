"""Reading and writing by index."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_agrees, bools, case, floats, ints

import tinygrad_cnn as tg

_ = slice(None)
INDICES: dict[str, Any] = {
    "int": 1,
    "negative": -1,
    "tuple": (1, 2),
    "slice": slice(1, 3),
    "slice-step": slice(None, None, 2),
    "slice-far": slice(1, 100),
    "slice-empty": slice(2, 1),
    "ellipsis": (..., 0),
    "ellipsis-middle": (0, ..., 1),
    "none": (None, _, None),
    "none-int": (0, None, 1),
    "all": (_, _, _),
    "list": [0, 2],
    "list-repeats": [0, 0, 2, 0],
    "list-negative": [-1, -2],
    "two-lists": ([0, 1], [1, 2]),
    "lists-apart": ([0, 1], _, [1, 1]),
    "list-broadcast": ([[0], [1]], [1, 2, 0]),
    "list-slice": ([0, 2], slice(1, 3)),
    "slice-list": (slice(0, 2), [2, 0, 0]),
    "int-list": (1, [0, 2]),
    "list-none": ([0, 1], None, 1),
    "empty-list": [],
    "array": np.array([2, 0]),
    "array-2d": np.array([[2, 0], [1, 1]]),
    "mask-full": bools(4, 3, 2),
    "mask-lead": bools(4),
    "mask-2d": bools(4, 3),
    "mask-later": (_, np.array([True, False, True])),
    "mask-int": (np.array([True, False, True, True]), 1),
    "mask-list": [True, False, True, False],
    "mask-none-true": np.zeros((4, 3, 2), bool),
    "true": True,
    "false": False,
    "true-none": (None, True),
    "too-many": (0, 0, 0, 0),
    "out": 4,
    "out-negative": -5,
    "out-list": [0, 4],
    "out-second": (0, 3),
    "mask-wrong": np.ones(3, bool),
    "mask-wrong-2": np.ones((4, 2), bool),
    "float": 1.0,
    "float-array": np.array([0.0]),
    "string": "a",
    "lists-mismatch": ([0, 1], [0, 1, 2]),
    "zero-step": slice(None, None, 0),
}  # fmt: skip


def _for(m: Any, index: Any) -> Any:
    """Arrays inside an index as tensors of the library."""
    if isinstance(index, tuple):
        return tuple(_for(m, i) for i in index)
    return m.tensor(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("name", INDICES)
def test_reading(name: str) -> None:
    index = INDICES[name]
    assert_agrees(lambda m, x: x[_for(m, index)], (floats(4, 3, 2),))


@pytest.mark.parametrize("name", INDICES)
def test_writing(name: str) -> None:
    index = INDICES[name]
    repeats = name in ("array-2d", "list-repeats", "slice-list", "lists-apart")

    def write(m: Any, x: Any) -> Any:
        y = x * 1
        y[_for(m, index)] = 0.5
        return y

    assert_agrees(write, (floats(4, 3, 2),))
    if repeats:
        return  # which of several values stays is not specified by PyTorch

    def write_tensor(m: Any, x: Any, v: Any) -> Any:
        y = x * 1
        part = x.detach()[_for(m, index)]
        y[_for(m, index)] = v[: part.numel()].reshape(part.shape)
        return y * y

    assert_agrees(write_tensor, (floats(4, 3, 2), floats(48, seed=1)))


def _written(index: Any, value: Any = None) -> Any:
    def call(m: Any, x: Any, v: Any = value) -> Any:
        y = x * 1
        y[_for(m, index)] = v
        return y

    return call


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        case("broadcast", _written(slice(1, 3)), floats(4, 3), floats(3)),
        case("lead-ones", _written(0), floats(4, 3), floats(1, 1, 3)),
        case("column", _written((_, 0)), floats(4, 3), floats(4, 1)),
        case("column-ok", _written((_, 0)), floats(4, 3), floats(4)),
        case("bad-value", _written(0), floats(4, 3), floats(4)),
        case("0d-value", _written(0), floats(4, 3), np.array(2.0)),
        case("0d-target", _written(()), np.array(1.0), np.array(2.0)),
        case("0d-target-ellipsis", _written(...), np.array(1.0), np.array(2.0)),
        case("int-into-float", _written(0), floats(4), np.array(2)),
        case("float-into-int", _written(0, 2.7), ints(4)),
        case("number-into-bool", _written(0, 5), bools(4)),
        case("mask-number", _written(bools(4, 3), 5.0), floats(4, 3)),
        case("mask-values", _written(np.array([True, False, True])), floats(3), floats(2)),
        case("mask-bad-values", _written(np.array([True, False, True])), floats(3), floats(3)),
        case("constant-target", lambda m, v: _written((_, 1))(m, m.zeros(2, 3), v.float()), floats(2)),
        case("chained", lambda m, x, v: _chain(x * 1, v), floats(4, 3), floats(2)),
        case("self-overlap", lambda m, x: _shift(x * 1), floats(5)),
        case("iadd", lambda m, x, v: _iadd(x * 1, v), floats(4, 3), floats(3)),
        case("imul-mask", lambda m, x: _imul(x * 1), floats(4, 3)),
        case("tensor-int", lambda m, x, i: x[i], floats(4, 3), np.array(2)),
        case("tensor-bool-0d", lambda m, x: x[m.tensor(True)], floats(4, 3)),
        case("uint8-0d", lambda m, x, i: x[i.item()], floats(4, 3), np.array(2, np.uint8)),
        case("int32-index", lambda m, x, i: x[i], floats(4, 3), np.array([0, 2], np.int32)),
        case("tensor-slice", lambda m, x, i: x[i[0] : i[1]], floats(4, 3), np.array([1, 3])),
        case("empty-tensor", lambda m, x: x[0:0], floats(4, 3)),
        case("empty-mask", lambda m, x: x[m.zeros(0, dtype=m.bool)], np.zeros((0, 3))),
        case("0d-none", lambda m, x: x[None], np.array(1.0)),
        case("0d-int", lambda m, x: x[0], np.array(1.0)),
        case("0d-mask", lambda m, x: x[x > 0], np.array(1.0)),
        case("gather", lambda m, x, i: m.gather(x, 1, i), floats(3, 4), ints(3, 2, high=4)),
        case("gather-0", lambda m, x, i: x.gather(dim=0, index=i), floats(3, 4), ints(5, 2)),
        case("gather-3d", lambda m, x, i: x.gather(-1, i), floats(2, 3, 4), ints(2, 1, 6, high=4)),
        case("gather-range", lambda m, x, i: m.gather(x, 1, i), floats(3, 4), np.array([[4]])),
        case("gather-negative", lambda m, x, i: m.gather(x, 1, i), floats(3, 4), np.array([[-1]])),
        case("gather-rank", lambda m, x, i: m.gather(x, 1, i), floats(3, 4), np.array([0])),
        case("gather-large", lambda m, x, i: m.gather(x, 1, i), floats(3, 4), ints(4, 2)),
        case("gather-float", lambda m, x, i: m.gather(x, 1, i), floats(3, 4), floats(3, 2)),
        case("gather-0d", lambda m, x, i: m.gather(x, 0, i), np.array(2.0), np.array(0)),
        case("gather-0d-1d", lambda m, x, i: m.gather(x, 0, i), np.array(2.0), np.array([0])),
        case("scatter-0d", lambda m, x, i, s: m.scatter(x, 0, i, s), np.array(2.0), np.array(0), np.array(3.0)),
        case("scatter_add-0d", lambda m, x, i, s: x.scatter_add(0, i, s), np.array(2.0), np.array([0]), np.array([3.0])),
        case("masked_scatter-grow", lambda m, x, c, s: m.masked_scatter(x, c, s), floats(3), np.ones((2, 3), bool), floats(6)),
        case("take_along_dim-negative", lambda m, x, i: m.take_along_dim(x, i, dim=1), floats(3, 4), np.array([[-1], [0], [-4]])),
        case("take_along_dim-bad", lambda m, x, i: m.take_along_dim(x, i, dim=1), floats(3, 4), ints(2, 1)),
        case("masked_select-bad", lambda m, x, c: x.masked_select(c), floats(3), np.ones(2, bool)),
        case("gather-empty", lambda m, x, i: m.gather(x, 0, i), floats(3, 4), np.zeros((0, 4), np.int64)),
        case("take_along_dim", lambda m, x, i: m.take_along_dim(x, i, dim=1), floats(3, 4), ints(3, 2, high=4)),
        case("take_along_dim-broadcast", lambda m, x, i: m.take_along_dim(x, i, dim=1), floats(3, 4), ints(1, 2, high=4)),
        case("take_along_dim-none", lambda m, x, i: m.take_along_dim(x, i), floats(3, 4), ints(5, high=12)),
        case("scatter_add", lambda m, x, i, s: m.scatter_add(x, 0, i, s), floats(3, 4), ints(5, 4), floats(5, 4)),
        case("scatter_add-small", lambda m, x, i, s: x.scatter_add(1, i, s), floats(3, 4), ints(2, 2, high=4), floats(3, 4)[:2, :2]),
        case("scatter_add-range", lambda m, x, i, s: x.scatter_add(1, i, s), floats(3, 4), np.array([[4]]), floats(1, 1)),
        case("scatter_add-src", lambda m, x, i, s: x.scatter_add(1, i, s), floats(3, 4), ints(2, 2, high=4), floats(1, 1)),
        case("scatter", lambda m, x, i, s: m.scatter(x, 1, i, s), floats(2, 4), np.array([[0, 2], [3, 1]]), floats(2, 2)),
        case("scatter-value", lambda m, x, i: m.scatter(x, 1, i, 1.5), floats(2, 4), np.array([[0, 2], [3, 1]])),
        case("scatter-value-kw", lambda m, x, i: x.scatter(1, i, value=1.5), floats(2, 4), np.array([[0, 2], [3, 1]])),
        case("scatter_", lambda m, i: m.zeros(2, 4).scatter_(1, i, 1.0), np.array([[0], [3]])),
        case("scatter-none", lambda m, x, i: m.scatter(x, 1, i), floats(2, 4), np.array([[0, 2], [3, 1]])),
        case("index_select", lambda m, x, i: m.index_select(x, 1, i), floats(3, 4), np.array([0, 3, 3])),
        case("index_select-range", lambda m, x, i: m.index_select(x, 1, i), floats(3, 4), np.array([4])),
        case("index_select-negative", lambda m, x, i: m.index_select(x, 1, i), floats(3, 4), np.array([-1])),
        case("index_select-rank", lambda m, x, i: m.index_select(x, 1, i), floats(3, 4), ints(2, 2)),
        case("index_select-empty", lambda m, x, i: x.index_select(0, i), floats(3, 4), np.zeros(0, np.int64)),
        case("index_select-names", lambda m, x, i: m.index_select(input=x, dim=0, index=i), floats(3, 4), np.array([1])),
        case("index_add", lambda m, x, i, s: m.index_add(x, 0, i, s, alpha=2), floats(3, 4), np.array([0, 2, 0]), floats(3, 4)),
        case("index_add-bad", lambda m, x, i, s: m.index_add(x, 0, i, s), floats(3, 4), np.array([0, 2]), floats(3, 4)),
        case("index_add_", lambda m, x, i, s: (x * 1).index_add_(1, i, s), floats(3, 4), np.array([0, 2]), floats(3, 2)),
        case("index_fill", lambda m, x, i: m.index_fill(x, 1, i, 0.5), floats(3, 4), np.array([0, 2])),
        case("index_copy", lambda m, x, i, s: m.index_copy(x, 0, i, s), floats(3, 4), np.array([2, 0]), floats(2, 4)),
        case("index_put", lambda m, x, i, s: m.index_put(x, (i,), s), floats(3, 4), np.array([2, 0]), floats(2, 4)),
        case("index_put-add", lambda m, x, i, s: x.index_put((i,), s, accumulate=True), floats(3), np.array([2, 0, 2]), floats(3)),
        case("index_put_", lambda m, x, i, s: (x * 1).index_put_((i,), s), floats(3), np.array([2, 0]), floats(2)),
        case("masked_select", lambda m, x, c: m.masked_select(x, c), floats(3, 4), bools(3, 4)),
        case("masked_select-broadcast", lambda m, x, c: x.masked_select(c), floats(3, 4), np.array([True, False, True, True])),
        case("masked_select-int", lambda m, x, c: x.masked_select(c), floats(3), ints(3)),
        case("masked_scatter", lambda m, x, c, s: m.masked_scatter(x, c, s), floats(3, 4), bools(3, 4), floats(12)),
        case("masked_scatter-few", lambda m, x, c, s: m.masked_scatter(x, c, s), floats(3), np.ones(3, bool), floats(2)),
        case("nonzero", lambda m, x: m.nonzero(x), np.array([[1.0, 0.0], [0.0, 2.0]])),
        case("nonzero-tuple", lambda m, x: m.nonzero(x, as_tuple=True), np.array([[1.0, 0.0], [0.0, 2.0]])),
        case("nonzero-0d", lambda m, x: m.nonzero(x), np.array(2.0)),
        case("nonzero-0d-0", lambda m, x: m.nonzero(x), np.array(0.0)),
        case("nonzero-empty", lambda m, x: m.nonzero(x), np.zeros((0, 3))),
        case("argwhere", lambda m, x: m.argwhere(x), np.array([[1.0, 0.0], [0.0, 2.0]])),
        case("isin", lambda m, x, y: m.isin(x, y), ints(5), np.array([0, 2])),
    ],
)  # fmt: skip
def test_cases(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs)


def _chain(x: Any, v: Any) -> Any:
    x[0][1:] = v
    x[1:3, 0] = v * 2
    x[0, 1] = x[1, 0].clone() * v[0]
    return x


def _shift(x: Any) -> Any:
    x[1:] = x[:-1].clone() * 2
    return x


def _iadd(x: Any, v: Any) -> Any:
    x[1] += v
    x[2:] *= v
    return x


def _imul(x: Any) -> Any:
    x[x > 0] *= 2
    return x


# ---- without PyTorch -----------------------------------------------------------------------

NUMPYS = {
    **{k: v for k, v in INDICES.items() if "string" not in k and "float" not in k},
    "negative-step": slice(None, None, -1),
    "negative-step-2": (slice(3, None, -2), ..., slice(None, None, -1)),
}


@pytest.mark.parametrize("name", NUMPYS)
def test_reading_and_writing_by_numpy(name: str) -> None:
    index, x = NUMPYS[name], floats(4, 3, 2)
    t = tg.tensor(x, requires_grad=True)
    try:
        expected = x[index]
    except (IndexError, ValueError):
        with pytest.raises((IndexError, ValueError)):
            t[index]
        return
    y = t[index]
    assert (y.array == expected).all()
    assert y.shape == expected.shape
    u = floats(*y.shape, seed=2)
    y.backward(tg.tensor(u))
    sums = np.zeros_like(x)
    np.add.at(sums, index, u)
    np.testing.assert_allclose(t.grad.array, sums, atol=1e-14)
    # written: the value's gradient is read there, the target's is 0 there
    value = tg.tensor(u, requires_grad=True)
    t.grad = None
    z = t * 1
    z[index] = value
    w = floats(4, 3, 2, seed=4)
    z.backward(tg.tensor(w))
    copy, hidden = x.copy(), w.copy()
    copy[index], hidden[index] = u, 0
    assert (z.array == copy).all()
    np.testing.assert_allclose(t.grad.array, hidden)
    if index is False:  # as in PyTorch, where the value is not even looked at
        assert value.grad is None
        return
    last = np.full(x.shape, -1)
    last[index] = np.arange(u.size).reshape(u.shape)
    winners = last[index] == np.arange(u.size).reshape(u.shape)
    np.testing.assert_allclose(value.grad.array, np.where(winners, w[index], 0))


def test_errors() -> None:
    x = tg.zeros(4, 3)
    with pytest.raises(IndexError, match=r"index: index 5 is out of bounds.*shape"):
        x[5]
    with pytest.raises(IndexError, match="3 indices are too many for 2 axes"):
        x[0, 0, 0]
    with pytest.raises(IndexError, match="only one"):
        x[..., 0, ...]
    with pytest.raises(IndexError, match="a str is no index"):
        x["a"]
    with pytest.raises(IndexError, match="float32 is no index"):
        x[tg.zeros(2)]
    with pytest.warns(UserWarning, match="uint8 tensor is taken for a mask"):
        assert x[tg.zeros(4, dtype=tg.uint8)].shape == (0, 3)
    with pytest.raises(IndexError, match="gather: `index` holds 3, expected 0 to 2"):
        x.gather(1, tg.tensor([[3]]))
    with pytest.raises(ValueError, match=r"x\[i\] = v: v has shape \(2,\).*\(3,\)"):
        x[0] = tg.zeros(2)


def test_an_index_may_change_after_it_was_used() -> None:
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    i = tg.tensor([0, 1])
    y = x[i]
    i.fill_(2)
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0]


# ---- every kind of index, against PyTorch --------------------------------------------------

SHAPES = [(4,), (3, 4), (2, 3, 4), (2, 3, 2, 3), ()]


@st.composite
def indices(draw: Any, shape: tuple[int, ...]) -> Any:
    """An index of any kind, as a function of the module: parts that PyTorch takes."""
    parts: list[Any] = []
    left = list(shape)
    together = draw(st.integers(1, 3))  # the length of all vectors of positions
    dots = False
    for _ in range(draw(st.integers(0, len(shape) + 2))):
        kind = draw(st.sampled_from(
            ["int", "slice", "none", "dots", "true", "list", "tensor", "matrix", "number", "mask",
             "masks", "ranges", "array"]
        ))  # fmt: skip
        if kind == "none":
            parts.append(lambda m: None)
        elif kind == "true":
            value = draw(st.sampled_from([True, True, False]))
            parts.append(lambda m, v=value: v)
        elif kind == "dots":
            if not dots:
                parts.append(lambda m: ...)
                keep = draw(st.integers(0, len(left)))
                del left[:keep]
                dots = True
        elif not left:
            continue
        elif kind == "masks" and len(left) > 1:
            sides = (left.pop(0), left.pop(0))
            mask = np.array(draw(st.lists(st.booleans(), min_size=math.prod(sides),
                                          max_size=math.prod(sides)))).reshape(sides)  # fmt: skip
            parts.append(lambda m, v=mask: m.tensor(v))
        else:
            n = left.pop(0)
            at = st.integers(-n, n - 1)
            if kind == "int":
                value = draw(at)
                parts.append(lambda m, v=value: v)
            elif kind == "number":
                value = draw(at)
                parts.append(lambda m, v=value: m.tensor(v))
            elif kind == "slice":
                ends = st.one_of(st.none(), st.integers(-n - 1, n + 1))
                value = slice(draw(ends), draw(ends), draw(st.sampled_from([None, 1, 2])))
                parts.append(lambda m, v=value: v)
            elif kind == "mask":
                value = draw(st.lists(st.booleans(), min_size=n, max_size=n))
                parts.append(lambda m, v=value: m.tensor(v) if len(v) % 2 else v)
            else:
                size = (2, together) if kind == "matrix" else (together,)
                flat = draw(st.lists(at, min_size=math.prod(size), max_size=math.prod(size)))
                value = np.array(flat).reshape(size)
                parts.append(
                    lambda m, v=value, k=kind: (
                        v if k == "array" else m.tensor(v) if k in ("tensor", "matrix")
                        else range(0) if k == "ranges" and not v.size else v.tolist()
                    )
                )  # fmt: skip
    alone = len(parts) == 1 and draw(st.booleans())
    return lambda m: parts[0](m) if alone else tuple([p(m) for p in parts])


def outcome(m: Any, x: np.ndarray[Any, Any], index: Any, write: bool, full: bool) -> Any:
    """Shape, values and gradients of reading or writing by an index; or that it is an error."""
    t = m.tensor(x, requires_grad=True)
    y = t * 1
    try:
        picked = y[index(m)]
    except IndexError:
        return "IndexError"
    if not write:
        weights = m.tensor(np.arange(picked.numel(), dtype=x.dtype)).reshape(picked.shape)
        (picked * weights).sum().backward()
        return tuple(picked.shape), picked.detach().numpy(), t.grad.numpy()
    shape = tuple(picked.shape) if full else tuple(picked.shape)[-1:]
    value = np.arange(math.prod(shape), dtype=x.dtype).reshape(shape) + 1
    v = m.tensor(value, requires_grad=True)
    y[index(m)] = v
    weights = m.tensor(np.arange(x.size, dtype=x.dtype).reshape(x.shape))
    (y * weights).sum().backward()
    return y.detach().numpy(), t.grad.numpy(), None if v.grad is None else v.grad.numpy()


@given(st.data(), st.sampled_from(SHAPES), st.booleans(), st.booleans())
@settings(max_examples=400)
def test_any_index_as_in_pytorch(data: Any, shape: Any, write: bool, full: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    index = data.draw(indices(shape))
    x = np.arange(math.prod(shape), dtype=np.float64).reshape(shape) + 1
    expected = outcome(torch, x, index, False, full)
    if write and expected != "IndexError":
        places = torch.zeros(shape, dtype=torch.float64)
        flat = torch.arange(x.size).reshape(shape)[index(torch)].reshape(-1)
        places.view(-1).index_add_(0, flat, torch.ones(flat.numel(), dtype=torch.float64))
        if (places > 1).any():  # PyTorch leaves open which of several values stays
            return
        expected = outcome(torch, x, index, True, full)
    found = outcome(tg, x, index, write and expected != "IndexError", full)
    assert (found == "IndexError") == (expected == "IndexError")
    if expected != "IndexError":
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
