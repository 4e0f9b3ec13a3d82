"""Compiled recurrent layers against NumPy's in float64, and of one result on any threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import assert_close, parts, seeds, singles, wide

pytest.importorskip("numba")

from compiled import OTHER_WIDTHS, run_at_width, team

from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit import recurrent
from tinygrad_cnn.kernels.reference.recurrent import GATES

modes = st.sampled_from(sorted(GATES))
lengths = st.lists(st.integers(1, 11), min_size=1, max_size=4)


def _arrays(seed: int, mode: str, sizes: tuple[int, ...], hidden: int) -> list[Any]:
    """x, the gradient of the states, the first states, w, b."""
    rows, gates = sum(sizes), GATES[mode] * hidden
    states = hidden * (2 if mode == "lstm" else 1)
    x, g, state, w, b = singles(
        seed, (rows, gates), (rows, states), (sizes[0], states), (gates, hidden), (gates,)
    )
    return [x, g, state, w / np.float32(np.sqrt(hidden)), b]


def _both_ways(kernels: Any, arrays: list[Any], **how: Any) -> tuple[Any, Any]:
    x, g, state, w, b = arrays
    y, gates, inner = kernels.recurrence(x, state, w, b, None, **how)
    back = kernels.recurrence_backward(g, state, w, b, None, y, gates, inner, **how)
    return (y,), tuple(a for a in back if a is not None)


@given(
    modes, lengths, st.sampled_from([1, 5, 16, 37, 70]), st.booleans(), st.booleans(), parts, seeds
)
def test_recurrence_both_ways(
    mode: str, lengths: list[int], hidden: int, biased: bool, reverse: bool, count: int, seed: int
) -> None:
    sizes = tuple(sorted(lengths, reverse=True))
    arrays = _arrays(seed, mode, sizes, hidden)
    if not biased:
        arrays[4] = None
    how = {"mode": mode, "sizes": sizes, "reverse": reverse}
    with team(count):
        y, back = _both_ways(recurrent, arrays, **how)
    wanted_y, wanted = _both_ways(reference, list(wide(*arrays)), **how)
    assert_close(y, wanted_y, 1e-5)
    assert_close(back, wanted, 2e-3 if mode == "relu" else 2e-4)


@pytest.mark.parametrize("mode", sorted(GATES))
def test_any_number_of_threads_gives_the_same_bits(mode: str) -> None:
    arrays = _arrays(0, mode, (9, 9, 4), 100)
    how = {"mode": mode, "sizes": (9, 9, 4), "reverse": False}
    found = []
    for count in (1, 2, 3):
        with team(count):
            found.append(_both_ways(recurrent, arrays, **how))
    for other in found[1:]:
        for one, two in zip(sum(found[0], ()), sum(other, ()), strict=True):
            np.testing.assert_array_equal(one, two)


def test_states_longer_than_a_panel() -> None:
    arrays = _arrays(0, "gru", (3, 3), 1100)
    how = {"mode": "gru", "sizes": (3, 3), "reverse": False}
    y, back = _both_ways(recurrent, arrays, **how)
    wanted_y, wanted = _both_ways(reference, list(wide(*arrays)), **how)
    assert_close(y, wanted_y, 1e-5)
    assert_close(back, wanted, 1e-3)


def test_what_is_left_to_the_reference() -> None:
    x, _, state, w, b = _arrays(0, "lstm", (2,), 3)
    how = {"mode": "lstm", "sizes": (2,), "reverse": False}
    projection = np.ones((2, 3), np.float32)
    assert recurrent.recurrence(x, state[:, :5], w[:, :2], b, projection, **how) is None
    assert recurrent.recurrence(x, state.astype(float), w, b, None, **how) is None


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_other_vector_widths(lanes: int) -> None:
    run_at_width(
        lanes,
        "import numpy as np\n"
        "import test_jit_recurrent as t\n"
        "for mode in ('lstm', 'gru'):\n"
        "    arrays = t._arrays(0, mode, (5, 3), 21)\n"
        "    how = {'mode': mode, 'sizes': (5, 3), 'reverse': True}\n"
        "    found = t._both_ways(t.recurrent, arrays, **how)\n"
        "    wanted = t._both_ways(t.reference, [a.astype(float) for a in arrays], **how)\n"
        "    for a, b in zip(found, wanted):\n"
        "        t.assert_close(a, b, 1e-4)\n",
    )
