"""Minimal filtering must agree with the definition to float32 rounding, on every size of image."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import conv2d_loops, is_channels_last, laid_out, randoms
from shared import algorithm, kernel_set, layouts, pads, seeds

from tinygrad_cnn import kernels
from tinygrad_cnn.kernels import ConvSpec
from tinygrad_cnn.kernels.reference import conv


@pytest.fixture
def winograd() -> Iterator[None]:
    with algorithm("winograd"):
        yield


def close(ours: Any, expected: Any) -> None:
    assert ours.dtype == np.float32
    np.testing.assert_allclose(
        ours, expected, rtol=0, atol=3e-5 * (1 + np.abs(expected).max(initial=0))
    )


@pytest.mark.usefixtures("winograd")
@given(
    st.integers(0, 2),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(3, 11), st.integers(3, 11)),
    st.tuples(pads, pads),
    st.booleans(),
    layouts,
    seeds,
)
def test_all_three_agree_with_the_definition(
    n: int, channels: Any, size: Any, padding: Any, bias: bool, layout: str, seed: int
) -> None:
    (c, f) = channels
    x, w, b = randoms(seed, (n, c, *size), (f, c, 3, 3), (f,), dtype="float32")
    spec = ConvSpec(padding=padding)
    wide = [a.astype(np.float64) for a in (x, w)]
    given_x, given_w = laid_out(x, layout), laid_out(w, layout)
    y = kernels.conv2d(given_x, given_w, b if bias else None, spec=spec)
    close(y, conv2d_loops(*wide, b.astype(np.float64) if bias else None, spec))
    assert is_channels_last(y)
    (g,) = randoms(seed + 1, y.shape, dtype="float32")
    given_g, wide_g = laid_out(g, layout), g.astype(np.float64)
    gx = kernels.conv2d_input(given_g, given_w, size=size, spec=spec)
    close(gx, kernels.conv2d_input(wide_g, wide[1], size=size, spec=spec))
    gw = kernels.conv2d_weight(given_g, given_x, kernel_size=(3, 3), spec=spec)
    close(gw, kernels.conv2d_weight(wide_g, wide[0], kernel_size=(3, 3), spec=spec))
    np.testing.assert_array_equal(given_x, x)
    np.testing.assert_array_equal(given_w, w)


@pytest.mark.parametrize("shape", [(40, 16, 17, 30), (1, 16, 250, 131)])
def test_many_chunks(shape: Any) -> None:
    """Several images to a chunk, several chunks to an image, ragged tiles at both edges."""
    x, w = randoms(0, shape, (16, 16, 3, 3), dtype="float32")
    spec = ConvSpec(padding=((1, 0), (2, 1)))
    wide = [a.astype(np.float64) for a in (x, w)]
    y = kernels.conv2d(x, w, spec=spec)
    close(y, kernels.conv2d(*wide, spec=spec))
    (g,) = randoms(1, y.shape, dtype="float32")
    gx = kernels.conv2d_input(g, w, size=shape[2:], spec=spec)
    close(gx, kernels.conv2d_input(g.astype(np.float64), wide[1], size=shape[2:], spec=spec))
    gw = kernels.conv2d_weight(g, x, kernel_size=(3, 3), spec=spec)
    close(gw, kernels.conv2d_weight(g.astype(np.float64), wide[0], kernel_size=(3, 3), spec=spec))


def test_the_switch_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    true = conv.correlate_winograd

    def spy(*arguments: Any) -> None:
        used.append("winograd")
        true(*arguments)

    monkeypatch.setattr(conv, "correlate_winograd", spy)
    plain = ConvSpec(padding=((1, 1), (1, 1)))

    def uses(channels: int, dtype: str = "float32", **change: Any) -> bool:
        used.clear()
        depth = channels // change.get("groups", 1)
        x, w = np.ones((1, channels, 8, 8), dtype), np.ones((channels, depth, 3, 3), dtype)
        conv.conv2d(x, w, spec=plain._replace(**change))
        return bool(used)

    def choose(name: Any) -> list[bool]:
        kernels.set_conv_algorithm(name)
        return [uses(32), uses(4), uses(32, "float64"), uses(32, stride=(2, 1)), uses(32, groups=2)]

    assert copy_context().run(choose, "auto") == [True, False, False, False, False]
    assert copy_context().run(choose, "winograd") == [True, True, False, False, False]
    assert copy_context().run(choose, "direct") == [False] * 5
    assert kernels.conv_algorithm() == "auto"  # a context's choice is its own


def test_an_unknown_algorithm_is_an_error() -> None:
    wrong: Any = "fft"
    with pytest.raises(ValueError, match="`name` is 'fft', expected one of auto, direct, winograd"):
        kernels.set_conv_algorithm(wrong)
    assert kernels.conv_algorithm() == "auto"


@given(seed=seeds)
@settings(max_examples=5)
def test_an_infinity_reaches_the_outputs_that_see_it(seed: int) -> None:
    """Transforms mix the pixels of a tile: more outputs than those may become NaN, never fewer."""
    x, w = randoms(seed, (1, 16, 8, 8), (16, 16, 3, 3), dtype="float32")
    x[0, 3, 4, 4] = np.inf
    spec = ConvSpec(padding=((1, 1), (1, 1)))
    with np.errstate(invalid="ignore"):
        y = kernels.conv2d(x, w, spec=spec)
    assert not np.isfinite(y[0, :, 3:6, 3:6]).any()


@pytest.mark.parametrize("kernels_of", ["reference", "auto"])
@pytest.mark.parametrize(("k", "stride"), [(5, 2), (6, 2), (7, 2), (9, 3), (3, 1)])
def test_phases_of_larger_kernels_that_happen_to_be_3x3(
    k: int, stride: int, kernels_of: str
) -> None:
    """A strided adjoint falls into phases; one with 3 x 3 taps goes Winograd's way with its own."""
    rng = np.random.default_rng(k)
    spec = ConvSpec((stride, stride), ((k // 2, k // 2), (k // 2, k // 2)))
    size = spec.output_size((24, 23), (k, k))
    w, g = rng.standard_normal((16, 16, k, k)), rng.standard_normal((2, 16, *size))
    exact = kernels.conv2d_input(g, w, size=(24, 23), spec=spec)
    with kernel_set(kernels_of):
        found = kernels.conv2d_input(
            g.astype(np.float32), w.astype(np.float32), size=(24, 23), spec=spec
        )
    np.testing.assert_allclose(found, exact, rtol=0, atol=5e-5 * np.abs(exact).max())
