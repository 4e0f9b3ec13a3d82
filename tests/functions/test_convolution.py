"""Convolution and pooling over many geometries."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints, require_torch
from scipy import signal

import tinygrad_cnn as tg

F = tg.nn.functional
CONV2D = [
    # x, weight, keywords
    ((2, 3, 5, 6), (4, 3, 3, 3), {}),
    ((2, 3, 5, 6), (4, 3, 3, 2), {"stride": 2, "padding": 1}),
    ((1, 2, 7, 7), (2, 2, 3, 3), {"stride": (2, 3), "padding": (0, 2), "dilation": (2, 1)}),
    ((2, 4, 5, 5), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    ((2, 4, 5, 5), (8, 1, 3, 3), {"groups": 4}),
    ((2, 3, 5, 6), (4, 3, 1, 1), {}),
    ((2, 3, 5, 6), (4, 3, 1, 1), {"stride": 2}),
    ((2, 3, 5, 6), (4, 3, 5, 6), {}),
    ((2, 3, 5, 6), (4, 3, 2, 3), {"padding": "same"}),
    ((2, 3, 5, 6), (4, 3, 4, 2), {"padding": "same", "dilation": (1, 2)}),
    ((2, 3, 5, 6), (4, 3, 2, 3), {"padding": "valid", "stride": 2}),
    ((2, 3, 5, 6), (4, 3, 2, 3), {"padding": "same", "stride": 2}),
    ((2, 3, 5, 6), (4, 3, 2, 3), {"padding": "full"}),
    ((3, 5, 6), (4, 3, 2, 3), {"padding": 1}),
    ((0, 3, 5, 6), (4, 3, 3, 3), {"padding": 1}),
    ((2, 3, 5, 6), (4, 3, 6, 3), {}),
    ((2, 3, 5, 6), (4, 2, 3, 3), {}),
    ((2, 3, 5, 6), (4, 3, 3), {}),
    ((5, 6), (4, 3, 3, 3), {}),
    ((2, 3, 5, 6), (4, 3, 3, 3), {"stride": 0}),
    ((2, 3, 5, 6), (4, 3, 3, 3), {"padding": -1}),
    ((2, 3, 5, 6), (4, 3, 3, 3), {"dilation": 0}),
    ((2, 3, 5, 6), (4, 3, 3, 3), {"stride": (1, 2, 3)}),
    ((2, 4, 5, 5), (5, 2, 3, 3), {"groups": 2}),
    ((2, 3, 5, 5), (4, 3, 3, 3), {"groups": 0}),
    ((2, 3, 9, 9), (4, 3, 3, 3), {"padding": 2, "stride": [2, 1]}),
]


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")
@pytest.mark.parametrize("given", CONV2D, ids=lambda g: f"{g[1]}-{g[2]}")
def test_conv2d(given: Any) -> None:
    x, w, keywords = given
    inputs = (floats(*x), floats(*w, seed=1), floats(w[0], seed=2))
    assert_agrees(lambda m, x, w, b: m.nn.functional.conv2d(x, w, b, **keywords), inputs)
    assert_agrees(lambda m, x, w: m.nn.functional.conv2d(x, w, **keywords), inputs[:2])


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning")  # PyTorch's
@pytest.mark.parametrize(
    "given",
    [
        ((2, 3, 8), (4, 3, 3), {}),
        ((2, 3, 8), (4, 3, 3), {"stride": 2, "padding": 1, "dilation": 2}),
        ((2, 4, 8), (4, 2, 2), {"groups": 2, "padding": "same"}),
        ((3, 8), (4, 3, 3), {"padding": (2,)}),
        ((2, 3, 8), (4, 3, 9), {}),
        ((2, 3, 8), (4, 3, 3), {"padding": "same", "stride": 2}),
        ((2, 3, 8, 8), (4, 3, 3), {}),
        ((2, 3, 8), (4, 2, 3), {}),
    ],
    ids=lambda g: f"{g[1]}-{g[2]}",
)
def test_conv1d(given: Any) -> None:
    x, w, keywords = given
    inputs = (floats(*x), floats(*w, seed=1), floats(w[0], seed=2))
    assert_agrees(lambda m, x, w, b: m.nn.functional.conv1d(x, w, b, **keywords), inputs)


@pytest.mark.parametrize(
    "given",
    [
        ((2, 3, 4, 5), (3, 4, 3, 3), {}),
        ((2, 3, 4, 5), (3, 4, 3, 2), {"stride": 2, "padding": 1}),
        ((2, 3, 4, 5), (3, 4, 3, 3), {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)}),
        ((2, 4, 4, 5), (4, 3, 3, 3), {"groups": 2, "dilation": 2}),
        ((3, 4, 5), (3, 4, 3, 3), {}),
        ((2, 3, 4, 5), (3, 4, 3, 3), {"output_padding": 1}),
        (
            (1, 2, 4, 4),
            (2, 2, 4, 5),
            {"stride": (3, 2), "padding": (1, 2), "output_padding": (2, 3), "dilation": 4},
        ),
        ((2, 3, 4, 5), (3, 4, 3, 3), {"padding": 5}),
        ((2, 3, 4, 5), (2, 4, 3, 3), {}),
        ((2, 3, 4, 5), (3, 4, 3, 3), {"padding": "same"}),
        ((0, 3, 4, 5), (3, 4, 3, 3), {}),
        ((2, 3, 4, 5), (3, 4, 1, 1), {"stride": 2, "output_padding": 1}),
    ],
    ids=lambda g: f"{g[1]}-{g[2]}",
)  # fmt: skip
def test_conv_transpose2d(given: Any) -> None:
    x, w, keywords = given
    f = w[1] * keywords.get("groups", 1)
    inputs = (floats(*x), floats(*w, seed=1), floats(f, seed=2))
    assert_agrees(lambda m, x, w, b: m.nn.functional.conv_transpose2d(x, w, b, **keywords), inputs)


POOLS = [
    ((2, 3, 6, 7), {"kernel_size": 2}),
    ((2, 3, 6, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((2, 3, 6, 7), {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)}),
    ((2, 3, 7, 7), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ((2, 3, 6, 6), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((2, 3, 4, 4), {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}),
    ((2, 3, 1, 5), {"kernel_size": (1, 2), "stride": [1, 1]}),
    ((3, 6, 7), {"kernel_size": 2}),
    ((0, 3, 6, 7), {"kernel_size": 2}),
    ((2, 3, 6, 7), {"kernel_size": 7}),
    ((2, 3, 6, 7), {"kernel_size": 2, "padding": 2}),
    ((2, 3, 6, 7), {"kernel_size": 0}),
    ((2, 3, 6, 7), {"kernel_size": 2, "stride": 0}),
    ((2, 3, 6, 7), {"kernel_size": (1, 2, 3)}),
    ((6, 7), {"kernel_size": 2}),
    ((2, 3, 6, 7), {"kernel_size": 2, "stride": None}),
]


@pytest.mark.parametrize("given", POOLS, ids=lambda g: f"{g[0]}-{g[1]}")
def test_pools(given: Any) -> None:
    shape, keywords = given
    F_ = lambda m: m.nn.functional
    assert_agrees(lambda m, x: F_(m).max_pool2d(x, **keywords), (floats(*shape),))
    assert_agrees(lambda m, x: F_(m).avg_pool2d(x, **keywords), (floats(*shape),))
    assert_agrees(
        lambda m, x: F_(m).avg_pool2d(x, **keywords, count_include_pad=False), (floats(*shape),)
    )


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        case("dilated", lambda m, x: m.nn.functional.max_pool2d(x, 2, 1, 1, 2), floats(2, 3, 6, 7)),
        case("indices", lambda m, x: m.nn.functional.max_pool2d(x, 3, 2, 1, return_indices=True), floats(2, 3, 6, 7)),
        case("indices-single", lambda m, x: m.nn.functional.max_pool2d(x, 2, return_indices=True), floats(3, 6, 7)),
        case("ties", lambda m, x: m.nn.functional.max_pool2d(x, 2), np.ones((1, 1, 4, 4))),
        case("ties-overlap", lambda m, x: m.nn.functional.max_pool2d(x, 3, 1, 1), ints(1, 2, 4, 4).astype(float)),
        case("-inf", lambda m, x: m.nn.functional.max_pool2d(x, 2), np.full((1, 1, 4, 4), -np.inf)),
        case("nan", lambda m, x: m.nn.functional.max_pool2d(x, 2), np.where(floats(1, 1, 4, 4) > 1, np.nan, floats(1, 1, 4, 4))),
        case("divisor", lambda m, x: m.nn.functional.avg_pool2d(x, 2, divisor_override=3), floats(2, 3, 6, 7)),
        case("divisor-0", lambda m, x: m.nn.functional.avg_pool2d(x, 2, divisor_override=0), floats(2, 3, 6, 7)),
        case("adaptive", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, (3, 4)), floats(2, 3, 6, 7)),
        case("adaptive-1", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, 1), floats(2, 3, 6, 7)),
        case("adaptive-none", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, (None, 2)), floats(2, 3, 6, 7)),
        case("adaptive-larger", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, (9, 5)), floats(2, 3, 6, 7)),
        case("adaptive-single", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, 2), floats(3, 6, 7)),
        case("adaptive-negative", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, -1), floats(2, 3, 6, 7)),
        case("adaptive-many", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, (1, 2, 3)), floats(2, 3, 6, 7)),
        case("avg-stride-none", lambda m, x: m.nn.functional.avg_pool2d(x, (2, 2), ()), floats(1, 3, 6, 7)),
        case("adaptive-rank", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, 2), floats(6, 7)),
        case("conv-dtype", lambda m, x, w: m.nn.functional.conv2d(x, w), floats(1, 2, 4, 4), np.zeros((1, 2, 2, 2), np.float16)),
        case("conv-bias-shape", lambda m, x, w, b: m.nn.functional.conv2d(x, w, b), floats(1, 2, 4, 4), floats(3, 2, 2, 2), floats(2)),
        case("conv-inf", lambda m, x, w: m.nn.functional.conv2d(x, w), np.full((1, 1, 3, 3), np.inf), np.array([[[[0.0, 1.0]]]])),
        case("conv-names", lambda m, x, w: m.nn.functional.conv2d(input=x, weight=w, bias=None, stride=1, padding=0, dilation=1, groups=1), floats(1, 2, 4, 4), floats(3, 2, 2, 2)),
        case("transpose1d", lambda m, x, w: m.nn.functional.conv_transpose1d(x, w, stride=2, padding=1, output_padding=1), floats(2, 3, 5), floats(3, 4, 3)),
        case("strided-input", lambda m, x, w: m.nn.functional.conv2d(x.transpose(1, 3), w), floats(1, 4, 4, 2), floats(3, 2, 2, 2)),
    ],
)  # fmt: skip
def test_cases(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs)


def test_random_geometries() -> None:
    require_torch()
    rng = np.random.default_rng(5)
    for _ in range(12):
        k, s, d = rng.integers(1, 4, 2), rng.integers(1, 4, 2), rng.integers(1, 3, 2)
        p = rng.integers(0, 3, 2)
        groups, c, f = (int(v) for v in rng.integers(1, 4, 3))
        size = np.maximum(d * (k - 1) + 1 - 2 * p, 1) + rng.integers(0, 4, 2)
        keywords = {
            "stride": tuple(map(int, s)),
            "padding": tuple(map(int, p)),
            "dilation": tuple(map(int, d)),
            "groups": groups,
        }
        inputs = (floats(2, c * groups, *size), floats(f * groups, c, *k), floats(f * groups))
        assert_agrees(lambda m, *ts: m.nn.functional.conv2d(*ts, **keywords), inputs)  # noqa: B023


# ---- without PyTorch -----------------------------------------------------------------------


def test_convolution_by_scipy() -> None:
    x, w = floats(2, 3, 6, 7), floats(4, 3, 3, 2)
    expected = np.array(
        [[sum(signal.correlate2d(i[c], k[c], "valid") for c in range(3)) for k in w] for i in x]
    )
    np.testing.assert_allclose(F.conv2d(x, w).array, expected, atol=1e-12)
    np.testing.assert_allclose(F.conv2d(x[0], w).array, expected[0], atol=1e-12)
    one = F.conv1d(x[0, :, 0], w[:, :, 0])
    assert one.shape == (4, 6)
    row = [sum(np.correlate(x[0, c, 0], k[c, 0], "valid") for c in range(3)) for k in w]
    np.testing.assert_allclose(one.array, row, atol=1e-12)


def test_transposed_convolution_is_the_adjoint() -> None:
    for stride, padding, dilation in itertools.product((1, 2), (0, 1), (1, 2)):
        keywords = {"stride": stride, "padding": padding, "dilation": dilation}
        x, w = floats(1, 2, 7, 7), floats(3, 2, 3, 3)
        y = F.conv2d(x, w, **keywords)
        u = floats(*y.shape, seed=1)
        extra = 7 - F.conv_transpose2d(u, w, **keywords).shape[2]
        back = F.conv_transpose2d(u, w, **keywords, output_padding=extra)
        assert np.vdot(y.array, u) == pytest.approx(np.vdot(x, back.array))


def test_pools_by_hand() -> None:
    x = tg.tensor([[[[1.0, 5.0, 2.0], [3.0, 4.0, 8.0], [0.0, 7.0, 6.0]]]], requires_grad=True)
    top = F.max_pool2d(x, 2, stride=1)
    assert top.tolist() == [[[[5.0, 8.0], [7.0, 8.0]]]]
    top.sum().backward()
    assert x.grad.tolist() == [[[[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 1.0, 0.0]]]]
    assert F.avg_pool2d(x, 2, stride=1).tolist() == [[[[3.25, 4.75], [3.5, 6.25]]]]
    assert F.adaptive_avg_pool2d(x, 1).tolist() == [[[[4.0]]]]


def test_errors() -> None:
    x = tg.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"3 channels but `weight` expects 2"):
        F.conv2d(x, tg.zeros(4, 2, 3, 3))
    with pytest.raises(ValueError, match=r"conv2d: `input` has shape \(8, 8\), expected \(n, c, h"):
        F.conv2d(x[0, 0], tg.zeros(4, 3, 3, 3))
    with pytest.raises(ValueError, match="'same' needs stride 1"):
        F.conv2d(x, tg.zeros(4, 3, 3, 3), stride=2, padding="same")
    with pytest.raises(TypeError, match=r"conv2d: `groups` is 1.0, expected an integer"):
        F.conv2d(x, tg.zeros(4, 3, 3, 3), groups=1.0)
    assert F.conv2d(x, tg.zeros(4, 3, 3, 3), groups=np.int64(1)).shape == (1, 4, 6, 6)
    with pytest.raises(TypeError, match=r"max_pool2d: `kernel_size` is 2\.5"):
        F.max_pool2d(x, 2.5)
