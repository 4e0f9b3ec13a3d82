"""Cases from the test suites of PyTorch, HIPS autograd and MyGrad that once came out otherwise."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints, require_torch

import tinygrad_cnn as tg

A, B = floats(2, 3), floats(3, 4)

CASES = [
    # einsum with lists of indices
    case("sublists", lambda m, x, y: m.einsum(x, [0, 1], y, [1, 2], [0, 2]), A, B),
    case("no output", lambda m, x, y: m.einsum(x, [0, 1], y, [1, 2]), A, B),
    case("dots", lambda m, x, y: m.einsum(x, [..., 1], y, [1, ...], [...]), A, floats(3, 2)),
    case("one operand", lambda m, x: m.einsum(x, (0, 1), (1, 0)), A),
    case("a diagonal", lambda m, x: m.einsum(x, [0, 0], [0]), floats(3, 3)),
    case("letters of both cases", lambda m, x: m.einsum(x, [51, 25]), A),
    case("order of what is left out", lambda m, x, y: m.einsum(x, [30, 2], y, [2, 1]), A, B),
    case("no such number", lambda m, x: m.einsum(x, [52, 0], [0, 52]), A),
    case("a negative number", lambda m, x: m.einsum(x, [-1, 0], [0]), A),
    case("no list", lambda m, x, y: m.einsum(x, y), A, B),
    # labels and places
    case("no label to count", lambda m, x: m.nn.functional.one_hot(x), ints(0)),
    case("no label and no class", lambda m, x: m.nn.functional.one_hot(x, 0), ints(0)),
    case("no label but classes", lambda m, x: m.nn.functional.one_hot(x, 3), ints(2, 0)),
    case("another rank", lambda m, x, i: m.take_along_dim(x, i, 0), A, ints(1)),
    case("a negative place", lambda m, x, i: m.take_along_dim(x, i, 1), A, np.array([[-1], [1]])),
    # bytes as another dtype
    *(
        case(f"view as {d}", lambda m, x, d=d: x.detach().view(getattr(m, d)), floats(2, 4))
        for d in ("int64", "int32", "int16", "uint8", "float32", "complex64", "complex128")
    ),
    case("view of columns", lambda m, x: x.detach().t().view(m.uint8), floats(2, 4)),
    case("view of a number", lambda m, x: x.detach().sum().view(m.uint8), floats(2, 4)),
    case("view by name", lambda m, x: x.detach().view(dtype=m.int16), floats(2, 4)),
    case("no axis to flip", lambda m, x: m.flip(x), A),
    case("no axes to flip", lambda m, x: m.flip(x, ()), A),
    # numbers among the tensors
    *(
        case(name, lambda m, *xs, call=call: call(m, *xs), A, floats(2, 3, seed=1))
        for name, call in {
            "add_": lambda m, x, y: (x * 1).add_(0.5, y),
            "addcmul": lambda m, x, y: m.addcmul(x, 0.5, x, y),
            "addcdiv_": lambda m, x, y: (x * 1).addcdiv_(-0.5, x, y * y + 1),
            "addmm": lambda m, x, y: m.addmm(2, x, 3, y, y.t() @ y),
            "addmm of a method": lambda m, x, y: x.addmm(2, 3, y, y.t() @ y),
            "baddbmm": lambda m, x, y: m.baddbmm(2, x, x[None], (x.t() @ y)[None]),
        }.items()
    ),
    case("integers divided", lambda m, i: m.addcdiv(i, i, i), ints(3)),
    case("whole alpha of a float", lambda m, i: m.add(i, i, alpha=1.0), ints(3)),
    case("bool alpha", lambda m, x: m.add(x, x, alpha=True), A),
    case("bool alpha of bools", lambda m, x: m.add(x > 0, x > 1, alpha=True), A),
    case("evenly spaced bools", lambda m, x: m.linspace(0, 1, 3, dtype=m.bool), A),
    case("counted bools", lambda m, x: m.arange(3, dtype=m.bool), A),
    *(
        case(f"{name} by 0", lambda m, i, name=name: getattr(m, name)(i, i * 0), ints(3))
        for name in ("floor_divide", "fmod", "remainder")
    ),
    case("largest complex", lambda m, x: m.maximum(x + 1j, x + 2j), A),
    case("smallest complex", lambda m, x: m.minimum(x + 1j, x + 2j), A),
    case("nansum's dtype", lambda m, i: m.nansum(i, dtype=m.int8), np.arange(100)),
    case("nansum of complex", lambda m, x: m.nansum(x + 1j), A),
    case("log1p near 0", lambda m, x: m.log1p((x + 1j * x) * 1e-9), A),
    case("no label", lambda m, x: m.nn.functional.ctc_loss(
        x.log_softmax(2), m.zeros((2, 0), dtype=m.int64), (4, 3), (0, 0)), floats(4, 2, 3)),
    # groups
    *(
        case(f"group_norm {shape} {g}", lambda m, x, g=g: m.nn.functional.group_norm(x, g), x)
        for shape, g in (
            ((1, 4), 4),
            ((1, 4, 1), 4),
            ((1, 2, 1, 1), 2),
            ((1, 4), 2),
            ((1, 4, 2), 4),
            ((0, 4, 2), 2),
            ((2, 4, 0), 2),
        )
        for x in (floats(*shape),)
    ),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")
@pytest.mark.parametrize(("call", "inputs"), CASES)
def test_as_pytorch(call: Any, inputs: Any) -> None:
    assert_agrees(call, inputs)


WIDTHS = [
    (1, 1), (1, 0), (2, 2), (3, 0), (4, 1), (-1, 0), (-1, 1), (-1, 2), (1, -1), (2, -1), (-1, -1),
    (-2, -1), (-2, -2), (0, 0),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (0, 2, 3)])
def test_borders(mode: str, shape: tuple[int, ...]) -> None:
    for width in WIDTHS:
        if mode == "circular" and -min(width) + max(width) > 3:
            continue  # PyTorch reads what it has not written yet
        assert_agrees(lambda m, x, w=width: m.nn.functional.pad(x, w, mode=mode), (floats(*shape),))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_borders_of_images(mode: str) -> None:
    for width in itertools.product((-1, 0, 1), (0, 1), (1,), (-1, 0, 2)):
        x = floats(1, 2, 3, 4)
        assert_agrees(lambda m, x, w=width: m.nn.functional.pad(x, w, mode=mode), (x,))
    value = (lambda m, x: m.nn.functional.pad(x, (1, 1), mode=mode, value=2.0), (floats(1, 2, 3),))
    assert_agrees(*value)


def test_group_norm_says_why() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4\) has one value for each of 4 groups"):
        tg.nn.GroupNorm(4, 4)(tg.ones(1, 4))


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of PyTorch
@pytest.mark.parametrize("read", [lambda x: x.numpy(), np.asarray, np.array])
def test_arrays_under_no_grad(read: Any) -> None:
    for m in (tg, require_torch()):
        x = m.ones(2, requires_grad=True)
        with m.no_grad():
            assert read(x).tolist() == [1.0, 1.0]
            assert read(x * 2).tolist() == [2.0, 2.0]
        with pytest.raises((RuntimeError, TypeError)):
            read(x)
        with pytest.raises((RuntimeError, TypeError)):
            read(x * 2)
        assert (x * 2).numpy(force=True).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(5, 13), (4, 4), (16, 9)])
def test_images_of_bytes(mode: str, antialias: bool, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 9)).astype(np.uint8)
    mine, yours = (
        m.nn.functional.interpolate(m.tensor(image), size, mode=mode, antialias=antialias).numpy()
        for m in (tg, require_torch())
    )
    assert mine.dtype == np.uint8
    np.testing.assert_allclose(mine.astype(int), yours.astype(int), atol=1)  # at the borders
    assert (mine != yours).mean() < 0.01


def test_a_view_as_another_dtype_shares_memory() -> None:
    x = tg.tensor([1.0, 2.0])
    y = x.view(tg.int32)
    y[0] = 0
    assert x.tolist() == [0.0, 2.0]
    assert x.view(tg.float32) is x


def test_numbers_among_the_tensors_are_deprecated() -> None:
    with pytest.warns(UserWarning, match="write alpha=2 behind them"):
        tg.ones(1).add_(2, tg.ones(1))
    with pytest.raises(TypeError, match="positional arguments"):
        tg.add(tg.ones(1), tg.ones(1), tg.ones(1))  # type: ignore[call-arg]


def test_probabilities_of_each_place() -> None:
    p = tg.tensor([0.0, 1.0, 0.5]).expand(1000, 3)
    drawn = tg.ones(1000, 3).bernoulli_(p).mean(0)
    assert drawn[:2].tolist() == [0.0, 1.0]
    assert 0.4 < drawn[2] < 0.6
    with pytest.raises(ValueError, match="bernoulli_: `p`"):
        tg.ones(3).bernoulli_(tg.tensor([0.0, 2.0, 0.0]))
    with pytest.raises(ValueError, match="does not broadcast"):
        tg.ones(3).bernoulli_(tg.ones(2))


def test_older_names_of_dtypes() -> None:
    for m in (tg, require_torch()):
        assert m.ones(1).type() == "torch.FloatTensor"
        assert m.ones(1, dtype=m.int64).type() == "torch.LongTensor"
        assert m.ones(1).type("torch.DoubleTensor").dtype == m.float64
        assert m.ones(1).type(m.DoubleTensor).dtype == m.float64


@pytest.mark.parametrize("name", ["hardswish", "mish", "silu", "relu6"])
def test_bfloat16_in_place(name: str) -> None:
    for m in (tg, require_torch()):
        x = m.tensor([-2.0, 1.0], dtype=m.bfloat16)
        y = getattr(m.nn.functional, name)(x, inplace=True)
        assert y is x
        assert x.tolist() != [-2.0, 1.0]
        assert x.dtype == m.bfloat16


def test_functional_derivatives_under_no_grad() -> None:
    for m in (tg, require_torch()):
        x = m.tensor([1.0, 2.0], requires_grad=True)
        with m.no_grad():
            found = m.autograd.functional.jacobian(lambda v: v**3, x, create_graph=True)
            plain = m.autograd.functional.hessian(lambda v: (v**3).sum(), x)
        assert found.requires_grad
        assert not plain.requires_grad
        (g,) = m.autograd.grad(found.sum(), x)
        assert g.tolist() == [6.0, 12.0]


def test_too_many_numbers_are_a_shape_that_does_not_fit() -> None:
    for m in (tg, require_torch()):
        with pytest.raises(RuntimeError, match="padding"):
            m.nn.functional.max_pool2d(m.ones(1, 1, 4, 4), 2, padding=(1, 1, 1))


def test_packed_sequences_to_a_device() -> None:
    for m in (tg, require_torch()):
        packed = m.nn.utils.rnn.pack_sequence([m.ones(2)])
        assert packed.to("cpu").data.dtype == m.float32
        assert packed.to("cpu", m.float64).data.dtype == m.float64
