"""Figures and parameters as text."""

import numpy as np
import pytest

from tinygrad_cnn.amounts import amount, byte_size
from tinygrad_cnn.viz.graph.text import parameters_text, seconds, shape_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (999, "999"), (999.6, "1.00k"), (1_000, "1k"), (12_345, "12.3k"),
     (999_949, "1.00M"), (1_234_567, "1.23M"), (5e9, "5G"), (1.5e15, "1.50P"), (-2_500, "-2.50k")],
)  # fmt: skip
def test_amounts_have_three_digits(value, text):
    assert amount(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1024, "1.02 kB"), (999_600, "1.00 MB"),
     (2**20, "1.05 MB"), (3 * 10**9, "3 GB")],
)  # fmt: skip
def test_sizes(value, text):
    assert byte_size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.5, "1.50 s"), (0.25, "250 ms"), (3.2e-5, "32 µs"), (2e-7, "0.20 µs")]
)
def test_times(value, text):
    assert seconds(value) == text


def test_shapes():
    assert [shape_text(s) for s in ((2, 3), (), (0,), None)] == ["2×3", "scalar", "0", "?"]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"stride": (1, 1), "padding": ((0, 0), (0, 0)), "groups": 1, "dilation": (1, 1)}, {}),
        ({"stride": (2, 1), "padding": ((1, 1), (1, 1))}, {"stride": "2×1", "padding": "1"}),
        ({"padding": ((1, 1), (2, 2))}, {"padding": "1, 2"}),
        ({"dim": (0, 2), "keepdim": True}, {"dim": "0, 2", "keepdim": "True"}),
        ({"dim": None, "keepdim": False}, {}),
        ({"index": (slice(None), slice(1, 3), ..., None, 2)}, {"index": ":, 1:3, …, None, 2"}),
        ({"dtype": np.dtype("int64")}, {"dtype": "int64"}),
        ({"index": np.zeros((2, 3))}, {"index": "[2×3]"}),
        ({"value": 0.1}, {"value": "0.1"}),
        ({"thing": object()}, {"thing": "object"}),
        ({"word": "x" * 60}, {"word": "x" * 39 + "…"}),
    ],
)
def test_parameters(params, text):
    assert parameters_text(params, {}) == text


def test_parameters_at_their_defaults_are_left_out():
    assert parameters_text({"alpha": 1.0, "mode": "none"}, {"alpha": 1.0, "mode": "tanh"}) == {
        "mode": "none"
    }
