"""Batch and layer normalisation, dropout."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats

import tinygrad_cnn as tg

F = tg.nn.functional


def _batch_norm(training: bool, **keywords: Any) -> Any:
    """The output and the running statistics after the call."""

    def call(m: Any, x: Any, mean: Any, var: Any, w: Any = None, b: Any = None) -> Any:
        mean, var = mean.detach().clone(), var.detach().clone()
        y = m.nn.functional.batch_norm(x, mean, var, w, b, training, **keywords)
        return y, mean, var

    return call


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5), (1, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])
def test_batch_norm(shape: tuple[int, ...], training: bool, affine: bool) -> None:
    inputs = (floats(*shape), floats(3), floats(3, low=0.5))
    if affine:
        inputs += (floats(3, seed=1), floats(3, seed=2))
    assert_agrees(_batch_norm(training), inputs)
    assert_agrees(_batch_norm(training, momentum=0.3, eps=1e-2), inputs)


BN = lambda m: m.nn.functional.batch_norm


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        case("no-stats", lambda m, x: BN(m)(x, None, None, training=True), floats(4, 3)),
        case("no-stats-eval", lambda m, x: BN(m)(x, None, None, training=False), floats(4, 3)),
        case("weight-only", lambda m, x, w: BN(m)(x, None, None, w, training=True), floats(4, 3), floats(3)),
        case("bias-only", lambda m, x, b: BN(m)(x, None, None, None, b, training=True), floats(4, 3), floats(3)),
        case("one-value", lambda m, x: BN(m)(x, None, None, training=True), floats(1, 3)),
        case("wrong-channels", lambda m, x, w: BN(m)(x, None, None, w, training=True), floats(4, 3), floats(2)),
        case("1d", lambda m, x: BN(m)(x, None, None, training=True), floats(3)),
        case("constant", lambda m, x: BN(m)(x, None, None, training=True), np.ones((4, 3))),
        case("far-from-0", lambda m, x: BN(m)(x + 1000, None, None, training=True) * 1e-3, floats(8, 3)),
        case("mean-only", lambda m, x, r: BN(m)(x, r.detach(), None, training=False), floats(4, 3), floats(3)),
        case("ln", lambda m, x: m.nn.functional.layer_norm(x, (4,)), floats(2, 3, 4)),
        case("ln-int", lambda m, x: m.nn.functional.layer_norm(x, [4]), floats(2, 3, 4)),
        case("ln-two", lambda m, x, w, b: m.nn.functional.layer_norm(x, (3, 4), w, b), floats(2, 3, 4), floats(3, 4, seed=1), floats(3, 4, seed=2)),
        case("ln-all", lambda m, x, w: m.nn.functional.layer_norm(x, (2, 3, 4), weight=w, eps=0.1), floats(2, 3, 4), floats(2, 3, 4, seed=1)),
        case("ln-bias", lambda m, x, b: m.nn.functional.layer_norm(x, (4,), None, b), floats(3, 4), floats(4)),
        case("ln-wrong", lambda m, x: m.nn.functional.layer_norm(x, (3,)), floats(2, 3, 4)),
        case("ln-none", lambda m, x: m.nn.functional.layer_norm(x, ()), floats(2, 3, 4)),
        case("ln-weight", lambda m, x, w: m.nn.functional.layer_norm(x, (4,), w), floats(2, 3, 4), floats(3)),
        case("ln-empty", lambda m, x: m.nn.functional.layer_norm(x, (4,)), np.zeros((0, 4))),
        case("dropout-eval", lambda m, x: m.nn.functional.dropout(x, 0.5, training=False), floats(3, 4)),
        case("dropout-0", lambda m, x: m.nn.functional.dropout(x, p=0.0), floats(3, 4)),
        case("dropout-1", lambda m, x: m.nn.functional.dropout(x, p=1.0), floats(3, 4)),
        case("dropout-1-inf", lambda m, x: m.nn.functional.dropout(x, p=1.0), np.array([1.0, 2.0])),
        case("dropout-2", lambda m, x: m.nn.functional.dropout(x, p=2.0), floats(3, 4)),
        case("dropout-neg", lambda m, x: m.nn.functional.dropout(x, p=-0.5), floats(3, 4)),
        case("dropout2d-eval", lambda m, x: m.nn.functional.dropout2d(x, 0.5, training=False), floats(2, 3, 4, 4)),
        case("dropout-0d", lambda m, x: m.nn.functional.dropout(x, 1.0), np.array(1.0)),
    ],
)  # fmt: skip
def test_cases(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs)


# ---- without PyTorch -----------------------------------------------------------------------


def test_batch_norm_by_numpy() -> None:
    x = floats(4, 3, 2, 2)
    mean, var = tg.zeros(3, dtype=tg.float64), tg.ones(3, dtype=tg.float64)
    y = F.batch_norm(x, mean, var, training=True, momentum=0.25, eps=0.1)
    by_channel = x.transpose(1, 0, 2, 3).reshape(3, -1)
    seen, spread = by_channel.mean(1), by_channel.var(1)
    expected = (x - seen[:, None, None]) / np.sqrt(spread + 0.1)[:, None, None]
    np.testing.assert_allclose(y.array, expected, atol=1e-12)
    np.testing.assert_allclose(mean.array, 0.25 * seen)
    np.testing.assert_allclose(var.array, 0.75 + 0.25 * by_channel.var(1, ddof=1))
    frozen = F.batch_norm(x, mean, var, training=False, eps=0.1)
    np.testing.assert_allclose(
        frozen.array,
        (x - mean.array[:, None, None]) / np.sqrt(var.array + 0.1)[:, None, None],
    )


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64])
@pytest.mark.parametrize("affine", ["both", "weight", "bias", "neither"])
def test_evaluation_has_the_same_bits_recorded_or_not(dtype: Any, affine: str) -> None:
    tg.manual_seed(1)
    x, mean, weight, bias = (tg.randn(s, dtype=dtype) for s in ((8, 3, 20, 20), (3,), (3,), (3,)))
    var = tg.rand(3, dtype=dtype)
    var.numpy()[1] = 0  # with eps 0: 1/0 is inf, without a warning
    parameters = {
        "weight": weight if affine in ("both", "weight") else None,
        "bias": bias if affine in ("both", "bias") else None,
    }
    for eps in (1e-5, 0.0):
        x.requires_grad_(True)
        recorded = tg.nn.functional.batch_norm(x, mean, var, **parameters, eps=eps).detach()
        with tg.no_grad():
            plain = tg.nn.functional.batch_norm(x, mean, var, **parameters, eps=eps)
        assert plain.dtype == recorded.dtype
        assert np.array_equal(plain.numpy(), recorded.numpy(), equal_nan=True)


def test_batch_norm_keeps_the_default_statistics_type() -> None:
    x = tg.rand(4, 3, requires_grad=True)
    mean, var = tg.zeros(3), tg.ones(3)
    before = mean.array
    F.batch_norm(x, mean, var, training=True).sum().backward()
    assert mean.array is before
    assert mean._version == 1
    assert not mean.requires_grad


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_mean(p: float) -> None:
    x = tg.ones(200, 100, requires_grad=True)
    y = F.dropout(x, p)
    kept = y.array != 0
    assert kept.mean() == pytest.approx(1 - p, abs=4 * np.sqrt(p * (1 - p) / x.numel()))
    np.testing.assert_allclose(y.array[kept], 1 / (1 - p), rtol=1e-6)
    u = floats(200, 100).astype(np.float32)
    y.backward(tg.tensor(u))
    np.testing.assert_allclose(x.grad.array, u * y.array, rtol=1e-6)


def test_dropout_is_seeded() -> None:
    x = tg.ones(50)
    tg.manual_seed(3)
    a, b = F.dropout(x), F.dropout(x)
    tg.manual_seed(3)
    assert F.dropout(x).equal(a)
    assert not a.equal(b)
    own = F.dropout(x, generator=tg.Generator(9))
    assert F.dropout(x, generator=tg.Generator(9)).equal(own)
    assert F.dropout(x).equal(b)  # the default stream was left alone
    channels = F.dropout2d(tg.ones(8, 16, 3, 3), 0.5)
    assert all(len(np.unique(c)) == 1 for image in channels.array for c in image)
    assert len(np.unique(channels.array)) == 2


def test_dropout_of_everything_is_zero_even_of_inf() -> None:
    assert F.dropout(tg.tensor([np.inf, 1.0]), 1.0).tolist()[1] == 0.0
    x = tg.ones(100)
    out = F.dropout(x, 0.5, inplace=True)
    assert out is x
    assert set(x.tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("name", "shape", "drawn", "warns"),
    [
        ("dropout1d", (400, 3), 1, False),
        ("dropout1d", (40, 9, 3), 2, False),
        ("dropout2d", (40, 9), 2, True),
        ("dropout2d", (40, 9, 3), 2, True),
        ("dropout2d", (40, 9, 3, 2), 2, False),
        ("dropout2d", (40, 9, 3, 2, 2), 2, True),
        ("dropout3d", (400,), 1, True),
        ("dropout3d", (400, 3, 2, 2), 1, False),
        ("dropout3d", (40, 9, 3, 2, 2), 2, False),
    ],
)
def test_which_axes_channels_are_found_in(name, shape, drawn, warns):
    """As in PyTorch, where `dropout2d` has no channels without a batch."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        y = getattr(F, name)(tg.ones(shape), 0.5)
    assert len(said) == warns
    flat = y.reshape(*shape[:drawn], -1)
    assert bool((flat == flat[..., :1]).all())
    each = flat[..., 0]
    assert 0.3 < float((each == 0).float().mean()) < 0.7
    for dim in range(drawn):
        assert not bool((each == each.select(dim, 0).unsqueeze(dim)).all())


def test_channels_need_enough_axes():
    for name, shape in (("dropout1d", (3,)), ("dropout1d", (1, 2, 3, 4)), ("dropout2d", (3,))):
        with pytest.raises(RuntimeError, match=f"{name}: `input` has shape"):
            getattr(F, name)(tg.ones(shape), 0.5)
