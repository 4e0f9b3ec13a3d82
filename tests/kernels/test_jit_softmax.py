"""Softmax of rows and the cross entropy, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import assert_close, seeds, singles, wide

pytest.importorskip("numba")

from compiled import OTHER_WIDTHS, run_at_width, team

from tinygrad_cnn.errors import PositionError
from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit.pointwise import softmax


@given(st.integers(1, 9), st.integers(1, 150), st.integers(1, 3), st.sampled_from([0, 1e4]), seeds)
def test_softmax_both_ways(rows: int, width: int, count: int, offset: float, seed: int) -> None:
    x, g = singles(seed, (rows, width), (rows, width))
    x = np.asfortranarray(x * 5 + np.float32(offset))
    for name in ("softmax", "log_softmax"):
        with team(count):
            y = getattr(softmax, name)(x, 1)
            gx = getattr(softmax, f"{name}_backward")(g, y, 1)
        assert_close(y, getattr(reference, name)(wide(x)[0], 1), 1e-5)
        assert_close(gx, getattr(reference, f"{name}_backward")(*wide(g, y), 1), 1e-4)


@given(
    st.integers(1, 9),
    st.integers(1, 150),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([-100, 0]),
    st.sampled_from(["none", "sum", "mean"]),
    seeds,
)
def test_cross_entropy_both_ways(
    rows: int, width: int, count: int, smoothing: float, ignored: int, reduction: str, seed: int
) -> None:
    x, g = singles(seed, (rows, width), (rows,) if reduction == "none" else ())
    labels = np.random.default_rng(seed).integers(0, width, rows)
    with team(count):
        loss, logs, share = softmax.cross_entropy(x, labels, smoothing, ignored, reduction)
        gx = softmax.cross_entropy_backward(g, x, labels, logs, share, smoothing, ignored)
    expected = reference.cross_entropy(wide(x)[0], labels, smoothing, ignored, reduction)
    assert_close((loss, logs, share), expected, 1e-5)
    g, x, logs = wide(g, x, expected[1])
    assert_close(
        gx,
        reference.cross_entropy_backward(g, x, labels, logs, expected[2], smoothing, ignored),
        1e-4,
    )


def test_long_rows_and_threads_give_the_same_bits() -> None:
    x, g = singles(0, (5, 50257), (5, 50257))
    results = []
    for count in (1, 2):
        with team(count):
            y = softmax.log_softmax(x, 1)
            results.append((y, softmax.softmax(x, 1), softmax.log_softmax_backward(g, y, 1)))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
    assert_close(results[0][0], reference.log_softmax(wide(x)[0], 1), 1e-6)


@pytest.mark.parametrize(
    "row",
    [
        [np.inf, 1, 2],
        [-np.inf, 1, 2],
        [-np.inf] * 3,
        [np.nan, 1, 2],
        [3e38, -3e38, 0],
        [1, 2, np.nan],
    ],
)
def test_special_numbers_are_those_of_the_reference(row: list[float]) -> None:
    x = np.float32([row * 7])
    with np.errstate(all="ignore"):
        for name in ("softmax", "log_softmax"):
            wanted = getattr(reference, name)(x, 1)
            np.testing.assert_allclose(getattr(softmax, name)(x, 1), wanted, rtol=1e-5)


def test_what_is_left_to_the_reference() -> None:
    x = np.ones((4, 3), np.float32)
    assert softmax.softmax(x, 0) is None
    assert softmax.softmax(x[:0], 1) is None
    assert softmax.softmax_backward(x[:1], x, 1) is None
    assert softmax.cross_entropy(x, np.array([0, 1, 2]), 0.0, -100, "mean") is None


@pytest.mark.parametrize("bad", [3, -1])
@pytest.mark.parametrize("kernels", [softmax, reference])
def test_labels_of_no_class_are_refused(kernels: Any, bad: int) -> None:
    x, labels = np.ones((4, 3), np.float32), np.array([0, 1, bad, 2])
    with pytest.raises(PositionError, match=f"`target` holds {bad}, expected class numbers from 0"):
        kernels.cross_entropy(x, labels, 0.0, -100, "mean")
    assert np.isfinite(kernels.cross_entropy(x, labels, 0.0, bad, "mean")[0])


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_other_vector_widths(lanes: int) -> None:
    run_at_width(
        lanes,
        "import numpy as np\n"
        "from tinygrad_cnn.kernels import reference\n"
        "from tinygrad_cnn.kernels.jit.pointwise import softmax\n"
        "for width in (1, 7, 37, 700):\n"
        "    x = np.random.default_rng(0).standard_normal((3, width)).astype(np.float32)\n"
        "    found = softmax.softmax(x, 1)\n"
        "    np.testing.assert_allclose(found, reference.softmax(x.astype(float), 1), rtol=1e-5)\n",
    )
