"""Making tensors."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints

import tinygrad_cnn as tg


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        case("zeros", lambda m: m.zeros(2, 3)),
        case("zeros-tuple", lambda m: m.zeros((2, 3), dtype=m.int32)),
        case("zeros-list", lambda m: m.zeros([2, 3])),
        case("zeros-size", lambda m: m.zeros(size=(2, 3))),
        case("zeros-0d", lambda m: m.zeros(())),
        case("zeros-shape", lambda m, x: m.zeros(x.shape), floats(2, 3)),
        case("zeros-negative", lambda m: m.zeros(-1)),
        case("zeros-float", lambda m: m.zeros(2.0)),
        case("ones", lambda m: m.ones(0, 3, dtype=m.bool)),
        case("ones-size", lambda m: m.ones(size=(2,))),
        case("full", lambda m: m.full((2, 3), 7)),
        case("full-float", lambda m: m.full((2,), 0.1)),
        case("full-bool", lambda m: m.full((2,), True)),
        case("full-dtype", lambda m: m.full((2,), 1, dtype=m.float64)),
        case("full-names", lambda m: m.full(size=(2,), fill_value=1.5)),
        case("zeros_like", lambda m, x: m.zeros_like(x), ints(2, 3)),
        case("ones_like", lambda m, x: m.ones_like(x, dtype=m.float64), ints(2, 3)),
        case("ones_like-name", lambda m, x: m.ones_like(input=x), floats(2, 3)),
        case("full_like", lambda m, x: m.full_like(x, 2.5), ints(2, 3)),
        case("eye", lambda m: m.eye(3)),
        case("eye-2", lambda m: m.eye(2, 3, dtype=m.int64)),
        case("eye-negative", lambda m: m.eye(-1)),
        case("arange", lambda m: m.arange(5)),
        case("arange-end", lambda m: m.arange(end=5)),
        case("arange-2", lambda m: m.arange(2, 5)),
        case("arange-3", lambda m: m.arange(1, 9, 3)),
        case("arange-names", lambda m: m.arange(start=1, end=9, step=3)),
        case("arange-float", lambda m: m.arange(0, 1, 0.1)),
        case("arange-float-1", lambda m: m.arange(3.0)),
        case("arange-float-end", lambda m: m.arange(0, 2.5)),
        case("arange-down", lambda m: m.arange(5, 0, -2)),
        case("arange-dtype", lambda m: m.arange(3, dtype=m.float64)),
        case("arange-float-into-int", lambda m: m.arange(0.0, 3.0, dtype=m.int64)),
        case("arange-int-of-floats", lambda m: m.arange(0.0, -8.000001, -4.0, dtype=m.int64)),
        case("arange-inf", lambda m: m.arange(0, float("inf"))),
        case("arange-nan", lambda m: m.arange(0, float("nan"))),
        case("linspace-int", lambda m: m.linspace(-2, -3, 50, dtype=m.int64)),
        case("linspace-float-steps", lambda m: m.linspace(0, 1, 2.5)),
        case("multinomial-rank", lambda m, x: m.multinomial(x.detach(), 1), floats(2, 2, 2, low=0)),
        case("multinomial-none", lambda m, x: m.multinomial(x.detach(), -1), floats(2, low=0)),
        case("multinomial-nan", lambda m, x: m.multinomial(x.detach(), 1), np.array([1.0, np.nan])),
        case("arange-empty", lambda m: m.arange(0)),
        case("arange-wrong", lambda m: m.arange(0, 5, -1)),
        case("arange-zero", lambda m: m.arange(0, 5, 0)),
        case("arange-tensors", lambda m, n: m.arange(n), np.array(4)),
        case("linspace", lambda m: m.linspace(0, 1, 5)),
        case("linspace-1", lambda m: m.linspace(2, 3, 1)),
        case("linspace-0", lambda m: m.linspace(2, 3, 0)),
        case("linspace-steps", lambda m: m.linspace(start=-1, end=1, steps=3, dtype=m.float64)),
        case("linspace-negative", lambda m: m.linspace(0, 1, -1)),
        case("logspace", lambda m: m.logspace(0, 2, 3)),
        case("logspace-base", lambda m: m.logspace(0, 2, 3, base=2)),
        case("tensor-int", lambda m: m.tensor([1, 2])),
        case("tensor-mixed", lambda m: m.tensor([1, 2.5])),
        case("tensor-bool", lambda m: m.tensor([True, False])),
        case("tensor-bool-int", lambda m: m.tensor([True, 2])),
        case("tensor-nested", lambda m: m.tensor([[1, 2], [3, 4]])),
        case("tensor-tuple", lambda m: m.tensor(((1.0,), (2.0,)))),
        case("tensor-empty", lambda m: m.tensor([])),
        case("tensor-empty-2", lambda m: m.tensor([[], []])),
        case("tensor-dtype", lambda m: m.tensor([1, 2], dtype=m.float16)),
        case("tensor-trunc", lambda m: m.tensor([1.7, -2.7], dtype=m.int64)),
        case("tensor-0d", lambda m: m.tensor(3)),
        case("tensor-of-0d", lambda m, x: m.tensor([x[0].item(), 2.0]), floats(2)),
        case("tensor-large", lambda m: m.tensor([2**40])),
        case("tensor-ragged", lambda m: m.tensor([[1, 2], [3]])),
        case("tensor-string", lambda m: m.tensor("a")),
        case("tensor-none", lambda m: m.tensor(None)),
        case("tensor-object", lambda m: m.tensor([object()])),
        case("tensor-too-large", lambda m: m.tensor([2**70])),
        case("tensor-requires-int", lambda m: m.tensor([1], requires_grad=True)),
        case("tensor-requires", lambda m: m.tensor([1.0], requires_grad=True).detach()),
        case("as_tensor", lambda m, x: m.as_tensor(x), floats(3)),
        case("as_tensor-dtype", lambda m: m.as_tensor([1, 2], dtype=m.float32)),
        case("new_zeros", lambda m, x: x.new_zeros(2, 3), ints(2)),
        case("new_full", lambda m, x: x.new_full((2,), 3.7), ints(2)),
        case("new_tensor", lambda m, x: x.new_tensor([1, 2]), floats(2)),
        case("new_ones", lambda m, x: x.new_ones((2,), dtype=m.int32), floats(2)),
        case("empty-shape", lambda m: tuple(m.empty(2, 3).shape)),
        case("rand-shape", lambda m: tuple(m.rand(2, 3).shape)),
        case("randn-size", lambda m: tuple(m.randn(size=(2, 3)).shape)),
        case("randn-dtype", lambda m: m.randn(0, dtype=m.float64)),
        case("randn-int", lambda m: m.randn(2, dtype=m.int64)),
        case("randint-shape", lambda m: tuple(m.randint(10, (2, 3)).shape)),
        case("randint-size", lambda m: tuple(m.randint(10, size=(2, 3)).shape)),
        case("randint-high", lambda m: tuple(m.randint(high=10, size=(2, 3)).shape)),
        case("randint-low", lambda m: m.randint(7, 8, (2, 3))),
        case("randint-names", lambda m: m.randint(low=7, high=8, size=(2,), dtype=m.int32)),
        case("randint-empty", lambda m: m.randint(8, 7, (2, 3))),
        case("randperm", lambda m: m.sort(m.randperm(5)).values),
        case("rand_like", lambda m, x: tuple(m.rand_like(x).shape), floats(2, 3)),
        case("randn_like-int", lambda m, x: m.randn_like(x), ints(2)),
        case("normal", lambda m: tuple(m.normal(0.0, 1.0, size=(2, 3)).shape)),
        case("normal-tensors", lambda m, x: tuple(m.normal(x.detach(), m.ones(3)).shape), floats(2, 3)),
        case("bernoulli-01", lambda m, x: m.bernoulli(x.detach()), np.array([0.0, 1.0])),
        case("multinomial", lambda m, x: m.multinomial(x.detach(), 1), np.array([0.0, 1.0])),
        case("multinomial-rows", lambda m, x: m.multinomial(x.detach(), 4, replacement=True), np.array([[0.0, 1.0], [1.0, 0.0]])),
        case("is_tensor", lambda m, x: (m.is_tensor(x), m.is_tensor(1)), floats(1)),
        case("numel", lambda m, x: m.numel(x), floats(2, 3)),
        case("is_floating_point", lambda m, x: m.is_floating_point(x), ints(2)),
        case("device", lambda m: m.zeros(2, device="cpu")),
        case("device-tensor", lambda m: m.tensor([1.0], device="cpu")),
    ],
)  # fmt: skip
def test_cases(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs)


# ---- without PyTorch -----------------------------------------------------------------------


def test_memory() -> None:
    a = np.zeros(3)
    assert not np.shares_memory(tg.tensor(a).array, a)
    assert np.shares_memory(tg.from_numpy(a).array, a)
    assert np.shares_memory(tg.as_tensor(a).array, a)
    assert not np.shares_memory(tg.as_tensor(a, dtype=tg.float32).array, a)
    t = tg.tensor([1.0])
    assert tg.as_tensor(t) is t


def test_numbers_from_elsewhere() -> None:
    assert tg.tensor(np.float64(0.1)).dtype == np.float64
    assert tg.tensor(np.int32(1)).dtype == np.int32
    assert tg.tensor([np.float64(0.1)]).dtype == np.float64
    assert tg.tensor([tg.tensor(1.0), tg.tensor(2.0)]).tolist() == [1.0, 2.0]
    assert tg.tensor([tg.tensor([1, 2]), tg.tensor([3, 4])]).tolist() == [[1, 2], [3, 4]]
    assert tg.tensor(range(3)).tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="does not fit into float32"):
        tg.tensor([1j], dtype=np.float32)
    with pytest.raises(TypeError, match=r"not supported|is a list of dtype"):
        tg.tensor(np.zeros(2, np.longdouble))


def test_random_numbers_are_seeded_and_distributed() -> None:
    g = tg.Generator(4)
    first = tg.randn(1000, generator=g)
    g.manual_seed(4)
    assert tg.randn(1000, generator=g).equal(first)
    assert abs(first.mean().item()) < 0.15
    assert abs(first.std().item() - 1) < 0.1
    u = tg.rand(1000, generator=g)
    assert 0 <= u.min().item() and u.max().item() < 1  # noqa: PT018  (one property)
    assert abs(u.mean().item() - 0.5) < 0.05
    n = tg.randint(2, 5, (1000,), generator=g)
    assert set(n.tolist()) == {2, 3, 4}
    assert sorted(tg.randperm(50, generator=g).tolist()) == list(range(50))
    coin = tg.bernoulli(tg.full((1000,), 0.3), generator=g)
    assert abs(coin.mean().item() - 0.3) < 0.06
    assert tg.normal(5.0, 0.001, (10,), generator=g).round().tolist() == [5.0] * 10
    picked = tg.multinomial(tg.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), 1, generator=g)
    assert picked[1].item() == 0
    assert picked[0].item() in (1, 2)


def test_requires_grad() -> None:
    for made in (
        tg.zeros(2, requires_grad=True),
        tg.ones(2, requires_grad=True),
        tg.full((2,), 1.0, requires_grad=True),
        tg.randn(2, requires_grad=True),
        tg.arange(2.0, requires_grad=True),
        tg.eye(2, requires_grad=True),
        tg.zeros_like(tg.ones(2), requires_grad=True),
        tg.Tensor([1.0], requires_grad=True),
    ):
        assert made.requires_grad
        assert made.is_leaf
    with pytest.raises(RuntimeError, match="requires_grad: dtype is int64"):
        tg.arange(2, requires_grad=True)


# ---- what others hold -----------------------------------------------------------------------


def test_asarray_shares_or_copies():
    array = np.zeros(3, np.float32)
    shared = tg.asarray(array)
    copied = tg.asarray(array, copy=True)
    cast = tg.asarray(array, dtype=tg.float64)
    array[0] = 1
    assert shared.tolist() == [1, 0, 0]
    assert copied.tolist() == cast.tolist() == [0, 0, 0]
    assert cast.dtype == tg.float64
    x = tg.ones(2, requires_grad=True)
    y = tg.asarray(x)
    assert not y.requires_grad
    assert y.data_ptr() == x.data_ptr()
    assert tg.asarray(x, requires_grad=True) is x
    assert tg.asarray([1.0], requires_grad=True).requires_grad
    assert tg.asarray(bytearray(8)).tolist() == [0.0, 0.0]
    for refused, options in (([1], {}), (array, {"dtype": tg.int64})):
        with pytest.raises(ValueError, match="asarray: `copy` is False"):
            tg.asarray(refused, copy=False, **options)


def test_frombuffer_reads_bytes_in_place():
    memory = bytearray(range(9))
    found = tg.frombuffer(memory, dtype=tg.int16, count=2, offset=2)
    assert found.tolist() == [2 + 3 * 256, 4 + 5 * 256]
    found[0] = 0
    assert memory[2:4] == bytes(2)
    assert tg.frombuffer(memory, dtype=tg.int16, offset=7).tolist() == [7 + 8 * 256]
    for options in ({"count": 9}, {"offset": 10}, {}):
        with pytest.raises(ValueError, match="frombuffer"):
            tg.frombuffer(memory, dtype=tg.int16, **options)


def test_capsules_share_memory():
    x = tg.ones(2)
    tg.utils.dlpack.from_dlpack(tg.utils.dlpack.to_dlpack(x))[0] = 5
    assert x.tolist() == [5, 1]


def test_the_default_device_is_the_cpu():
    tg.set_default_device("cpu")
    assert tg.get_default_device() == tg.device("cpu")
    with pytest.raises(ValueError, match="set_default_device"):
        tg.set_default_device("cuda")
