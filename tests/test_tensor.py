"""`Tensor`: what it is, its operators, its conversions, its place in Python and NumPy."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import copy
import inspect
import io
import math
import operator
import pickle
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg

# ---- attributes ----------------------------------------------------------------------------


def test_attributes_as_pytorch() -> None:
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    for make in (
        lambda m: m.zeros(2, 3),
        lambda m: m.zeros(3, 2, dtype=m.int16).t(),
        lambda m: m.zeros(()),
        lambda m: m.zeros(0, 4),
        lambda m: m.zeros(4, 6)[::2, 1::3],
    ):
        a, b = make(tg), make(torch)
        for name in "dim numel nelement element_size is_contiguous is_floating_point".split():
            assert getattr(a, name)() == getattr(b, name)(), name
        for name in "ndim itemsize nbytes is_leaf requires_grad".split():
            assert getattr(a, name) == getattr(b, name), name
        assert tuple(a.shape) == tuple(b.shape) == tuple(a.size())
        assert str(a.device) == str(b.device)
        if a.numel():
            assert a.stride() == b.stride()
    assert tg.zeros(2, 3).size(-1) == 3
    with pytest.raises(IndexError, match="size: `dim` is 2"):
        tg.zeros(2, 3).size(2)
    with pytest.raises(IndexError, match="stride: `dim` is 5"):
        tg.zeros(2, 3).stride(5)


def test_every_method_that_a_function_has_is_the_function() -> None:
    x = tg.tensor([[0.25, 0.5], [0.75, 0.1]])
    for name in ("exp", "sum", "abs", "sort", "relu", "flatten", "softmax"):
        method, function = getattr(x, name), getattr(tg, name)
        args = (0,) if name == "softmax" else ()
        a, b = method(*args), function(x, *args)
        assert repr(a) == repr(b)


# ---- conversions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        (tg.tensor(2.7), int, 2),
        (tg.tensor([3]), float, 3.0),
        (tg.tensor([[True]]), bool, True),
        (tg.tensor(0.0), bool, False),
        (tg.tensor(math.nan), bool, True),
        (tg.tensor(5), operator.index, 5),
        (tg.tensor([5], dtype=tg.uint8), operator.index, 5),
        (tg.zeros(3, 2), len, 3),
        (tg.zeros(0), len, 0),
    ],
)
def test_python_conversions(value: tg.Tensor, kind: Any, result: Any) -> None:
    got = kind(value)
    assert got == result
    assert type(got) is type(result)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: bool(tg.ones(2)), RuntimeError, "bool: shape is .* ambiguous"),
        (lambda: bool(tg.ones(0)), RuntimeError, "bool"),
        (lambda: int(tg.ones(2)), RuntimeError, "item: shape"),
        (lambda: float(tg.ones(0)), RuntimeError, "item: shape"),
        (lambda: tg.ones(2, 1).item(), RuntimeError, "item: shape"),
        (lambda: operator.index(tg.tensor(1.0)), TypeError, "index: .*float32"),
        (lambda: len(tg.tensor(1.0)), TypeError, "len: "),
        (lambda: iter(tg.tensor(1.0)), TypeError, "iter: "),
        (lambda: int(tg.tensor(math.nan)), ValueError, "NaN"),
        (lambda: tg.ones(2).numpy().tolist() + tg.ones(2, requires_grad=True).numpy(), RuntimeError, "detach"),
        (lambda: np.asarray(tg.ones(2, requires_grad=True)), TypeError, "detach"),
        (lambda: tg.ones(2).to("cuda"), ValueError, "'cuda'.*'cpu' only"),
        (lambda: tg.ones(2).to(tg.float32, device="cuda:0"), ValueError, "cuda"),
        (lambda: tg.ones(2).to("nonsense"), ValueError, "nonsense"),
        (lambda: tg.ones(2).to(tg.float32, nonsense=1), TypeError, "nonsense"),
        (lambda: tg.ones(2).to(np.datetime64), TypeError, "datetime64"),
        (lambda: tg.arange(2).requires_grad_(), RuntimeError, "requires_grad: dtype is int64"),
        (lambda: (tg.ones(2, requires_grad=True) * 2).requires_grad_(False), RuntimeError, "detach"),
        (lambda: tg.ones(2).retain_grad(), RuntimeError, "retain_grad"),
        (lambda: tg.ones(2).backward(), RuntimeError, "does not require gradients"),
        (lambda: (tg.ones(2, requires_grad=True) * 2).backward(), RuntimeError, "shape"),
        (lambda: setattr(tg.ones(2), "grad", 1), TypeError, "grad: got a int"),
        (lambda: setattr(tg.ones(2), "grad", tg.ones(3)), ValueError, "grad: got shape"),
    ],
)  # fmt: skip
def test_refusals(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("name", "float double half long int short byte bool".split())
def test_dtype_methods(name: str) -> None:
    x = tg.tensor([0.0, 1.5, -2.0])
    y = getattr(x, name)()
    expected = {"byte": "uint8", "double": "float64", "half": "float16", "long": "int64"}
    short = {"short": "int16", "int": "int32", "float": "float32", "bool": "bool"}
    assert y.dtype == np.dtype({**expected, **short}[name])
    assert (y is x) == (name == "float")


def test_to() -> None:
    x = tg.tensor([1.5], requires_grad=True)
    assert x.to("cpu") is x
    assert x.to(tg.float32) is x
    assert x.to(tg.float32, copy=True) is not x
    assert x.to("cpu", tg.float64).dtype == np.float64
    assert x.to(tg.ones(1, dtype=tg.float16)).dtype == np.float16
    assert x.to(dtype=tg.float64, device="cpu", non_blocking=True).dtype == np.float64
    assert x.cpu() is x
    assert x.type(tg.float64).dtype == np.float64
    assert x.type_as(tg.ones(1, dtype=tg.int32)).tolist() == [1]
    y = x.to(tg.float64)
    (y * 3).backward()
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [3.0]


def test_contiguous() -> None:
    x = tg.arange(6).reshape(2, 3)
    assert x.contiguous() is x
    y = x.t().contiguous()
    assert y.is_contiguous()
    assert y.tolist() == [[0, 3], [1, 4], [2, 5]]
    y[0, 0] = 9
    assert x[0, 0] == 0


# ---- Python's protocols --------------------------------------------------------------------


def test_iteration_and_unpacking_are_differentiable() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    a, b = x
    (a * 2 + b.sum()).sum().backward()
    assert x.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert [v.item() for v in tg.arange(3)] == [0, 1, 2]
    assert list(tg.zeros(0)) == []
    assert sum(tg.tensor([1.0, 2.0])).item() == 3.0
    assert max(tg.tensor([1.0, 5.0, 2.0])).item() == 5.0
    assert [t.tolist() for t in reversed(tg.arange(3))] == [2, 1, 0]


def test_contains_and_hash() -> None:
    x = tg.tensor([1.0, 2.0])
    assert 2.0 in x
    assert 3.0 not in x
    assert {x: 1}[x] == 1
    assert len({tg.ones(1), tg.ones(1)}) == 2
    assert (x == None) is False  # noqa: E711  (what the operator gives)
    assert (x != "a") is True


def test_as_an_index() -> None:
    assert ["a", "b", "c"][tg.tensor(2)] == "c"
    assert list(range(tg.tensor(3))) == [0, 1, 2]
    assert np.arange(5)[tg.tensor([1, 3])].tolist() == [1, 3]


@pytest.mark.parametrize("round_trip", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies(round_trip: Any) -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = round_trip(x)
    assert y.equal(x)
    assert y.requires_grad
    assert y.is_leaf
    assert not np.shares_memory(y.array, x.array)
    (y * 2).sum().backward()
    assert x.grad is None
    assert y.grad is not None
    assert round_trip(tg.arange(3)).dtype == np.int64
    both = round_trip([x, x])
    assert both[0] is both[1]
    with pytest.raises(RuntimeError, match=r"deepcopy|pickle"):
        round_trip(x * 2)


def test_deepcopy_keeps_the_gradient_and_shallow_copy_works() -> None:
    x = tg.ones(2, requires_grad=True)
    x.sum().backward()
    y = copy.deepcopy(x)
    assert y.grad.tolist() == [1.0, 1.0]
    assert not np.shares_memory(y.grad.array, x.grad.array)
    z = copy.copy(tg.arange(3))
    assert z.tolist() == [0, 1, 2]


def test_pickle_through_a_file_keeps_the_layout() -> None:
    x = tg.arange(6).reshape(2, 3).t()
    file = io.BytesIO()
    pickle.dump(x, file)
    file.seek(0)
    assert pickle.load(file).equal(x)


# ---- NumPy ---------------------------------------------------------------------------------


def test_numpy_shares_memory() -> None:
    x = tg.zeros(3)
    x.numpy()[0] = 5
    assert x[0] == 5
    a = np.zeros(3)
    t = tg.from_numpy(a)
    a[1] = 7
    assert t[1] == 7
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.array)
    assert np.asarray(tg.tensor(2.0)).shape == ()


UFUNCS = {
    "exp": (np.exp, np.exp),
    "sin": (np.sin, np.cos),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "square": (np.square, lambda x: 2 * x),
    "negative": (np.negative, lambda x: -np.ones_like(x)),
    "add-array": (lambda x: np.add(np.arange(3.0), x), np.ones_like),
    "multiply-left": (lambda x: np.arange(3.0) * x, lambda x: np.arange(3.0)),
    "divide-number": (lambda x: np.float64(2) / x, lambda x: -2 / x**2),
    "power": (lambda x: np.power(x, 3), lambda x: 3 * x**2),
    "sum": (np.sum, np.ones_like),
    "sum-axis": (lambda x: np.sum(x, axis=0), np.ones_like),
    "mean": (lambda x: np.mean(x, axis=0, keepdims=True), lambda x: np.full(3, 1 / 3)),
    "var": (np.var, lambda x: 2 / 3 * (x - x.mean())),
    "std": (lambda x: np.std(x, ddof=1), lambda x: (x - x.mean()) / 2 / np.std(x, ddof=1)),
    "max": (np.max, lambda x: (x == x.max()) * 1.0),
    "maximum": (lambda x: np.maximum(x, 1.0), lambda x: (x > 1) * 1.0),
    "clip": (lambda x: np.clip(x, 0.5, 1.0), lambda x: ((x >= 0.5) & (x <= 1)) * 1.0),
    "where": (lambda x: np.where(np.array([True, False, True]), x, 0.0), lambda x: np.array([1.0, 0, 1])),
    "concatenate": (lambda x: np.concatenate([x, x]), lambda x: np.full(3, 2.0)),
    "stack": (lambda x: np.stack([x, np.ones(3)], axis=1), np.ones_like),
    "reshape": (lambda x: np.reshape(x, (3, 1)), np.ones_like),
    "transpose": (lambda x: np.transpose(x), np.ones_like),
    "dot": (lambda x: np.dot(x, np.arange(3.0)), lambda x: np.arange(3.0)),
    "matmul": (lambda x: np.ones((2, 3)) @ x, lambda x: np.full(3, 2.0)),
    "einsum": (lambda x: np.einsum("i,i->", x, np.arange(3.0)), lambda x: np.arange(3.0)),
    "cumsum": (lambda x: np.cumsum(x), lambda x: np.array([3.0, 2.0, 1.0])),
    "cumsum-axis": (lambda x: np.cumsum(x, axis=0), lambda x: np.array([3.0, 2.0, 1.0])),
    "flip": (np.flip, np.ones_like),
    "squeeze": (lambda x: np.squeeze(x[None]), np.ones_like),
    "expand_dims": (lambda x: np.expand_dims(x, 1), np.ones_like),
    "tile": (lambda x: np.tile(x, 2), lambda x: np.full(3, 2.0)),
    "repeat": (lambda x: np.repeat(x, 2), lambda x: np.full(3, 2.0)),
    "linalg.norm": (np.linalg.norm, lambda x: x / np.linalg.norm(x)),
    "pad": (lambda x: np.pad(x, 1), np.ones_like),
    "outer": (lambda x: np.outer(x, np.arange(3.0)), lambda x: np.full(3, 3.0)),
    "diff": (np.diff, lambda x: np.array([-1.0, 0.0, 1.0])),
}  # fmt: skip


@pytest.mark.parametrize("name", UFUNCS)
def test_numpy_functions_are_differentiable(name: str) -> None:
    function, slope = UFUNCS[name]
    x = np.array([0.4, 1.3, 0.9])
    t = tg.tensor(x, requires_grad=True)
    y = function(t)
    assert isinstance(y, tg.Tensor)
    np.testing.assert_allclose(y.array, function(x), rtol=1e-13)
    y.sum().backward()
    np.testing.assert_allclose(t.grad.array, slope(x), rtol=1e-13, atol=1e-15)


def test_numpy_functions_without_a_derivative() -> None:
    x = tg.tensor([1.0, 3.0, 2.0])
    assert isinstance(np.median(x), tg.Tensor)
    assert np.median(x).item() == 2.0
    assert np.argmax(x).item() == 1
    assert np.isnan(x).tolist() == [False] * 3
    assert np.add.reduce(x).item() == 6.0
    x.requires_grad_()
    with pytest.raises(TypeError, match=r"np\.sum has no derivative here: `out`.*detach"):
        np.sum(x, out=np.zeros(()))
    with pytest.raises(TypeError, match=r"np\.add\.at has no derivative"):
        np.add.at(x, 0, 1.0)
    with pytest.raises(TypeError, match=r"np\.put changes an array in place: use a\.put_"):
        np.put(x, 0, 1.0)
    with pytest.raises(TypeError, match=r"np\.spacing has no derivative"):
        np.spacing(x)


def test_numpy_out_and_in_place() -> None:
    x = tg.zeros(3)
    np.add(np.ones(3, np.float32), 1, out=x)
    assert x.tolist() == [2.0, 2.0, 2.0]
    assert x._version == 1
    a = np.ones(3)
    a += tg.ones(3).double()
    assert isinstance(a, np.ndarray) or a.tolist() == [2.0, 2.0, 2.0]
    leaf = tg.zeros(3, requires_grad=True)
    with pytest.raises((TypeError, RuntimeError), match="gradients"):
        np.add(np.ones(3, np.float32), 1, out=leaf)


def test_numpy_and_tensor_operators_agree_in_type() -> None:
    t, a = tg.ones(2, 3), np.ones((2, 3), np.float32)
    for op in (
        operator.add,
        operator.sub,
        operator.mul,
        operator.truediv,
        operator.lt,
        operator.eq,
    ):
        assert isinstance(op(a, t), tg.Tensor)
        assert isinstance(op(t, a), tg.Tensor)
    assert (np.float32(2) * t).dtype == np.float32
    assert (np.float64(2) * t).dtype == np.float32  # a 0-d operand does not widen


# ---- gradients -----------------------------------------------------------------------------


def test_grad_attribute() -> None:
    x = tg.ones(2, requires_grad=True)
    assert x.grad is None
    (x * 3).sum().backward()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]
    x.grad = None
    x.grad = tg.zeros(2)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    del x.grad
    assert x.grad is None
    y = x * 2
    y.retain_grad()
    assert y.retains_grad
    y.sum().backward()
    assert y.grad.tolist() == [1.0, 1.0]


def test_data_and_detach() -> None:
    x = tg.ones(2, requires_grad=True)
    assert np.shares_memory(x.data.array, x.array)
    assert not x.data.requires_grad
    x.data = tg.tensor([5.0, 6.0])
    assert x.is_leaf
    (x * x).sum().backward()
    assert x.grad.tolist() == [10.0, 12.0]
    y = (x * 2).detach_()
    assert not y.requires_grad
    with pytest.raises(TypeError, match="data: got dtype int64"):
        x.data = tg.arange(2)


def test_hooks() -> None:
    x = tg.ones(2, requires_grad=True)
    seen: list[Any] = []
    handle = x.register_hook(lambda g: g * 10)
    with x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.tolist())):
        (x * 2).sum().backward()
    handle.remove()
    (x * 2).sum().backward()
    assert seen == [[20.0, 20.0]]
    assert x.grad.tolist() == [22.0, 22.0]


def test_the_public_face_has_docstrings() -> None:
    missing = [
        name
        for name, member in inspect.getmembers(tg.Tensor)
        if not name.startswith("_") and callable(member) and not member.__doc__
    ]
    assert not missing


def test_methods_of_a_subclass_and_random_fills() -> None:
    x = tg.empty(200, 50)
    assert x.normal_(2.0, 0.5) is x
    assert x.mean().item() == pytest.approx(2.0, abs=0.05)
    x.uniform_(-1, 1)
    assert -1 <= x.min().item() < x.max().item() <= 1
    x.bernoulli_(0.25)
    assert x.mean().item() == pytest.approx(0.25, abs=0.03)
    a = tg.empty(5).normal_(generator=tg.Generator(3))
    assert tg.empty(5).normal_(generator=tg.Generator(3)).equal(a)
