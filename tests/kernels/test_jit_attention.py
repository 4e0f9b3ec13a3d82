"""Compiled attention against NumPy's in float64: any layout, one result on any threads."""

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
from tinygrad_cnn.kernels.jit import attention
from tinygrad_cnn.types import Array

HOW: dict[str, Any] = {"dropout_p": 0.0, "seed": 0, "block": 1 << 18}


def _both_ways(kernels: Any, g: Array, q: Array, k: Array, v: Array, mask: Any, **how: Any) -> Any:
    y, logs = kernels.attention(q, k, v, mask, **how, **HOW)
    needs = (True, True, True, False)
    back = kernels.attention_backward(g, q, k, v, mask, y, logs, needs, **how, **HOW)
    return (y, logs, *back[:3])


def _by_position(a: Array) -> Array:
    """The same numbers, lying as a layer's views of them do: (l, n, heads, e) in memory."""
    order = [a.ndim - 2, *range(a.ndim - 2), a.ndim - 1]
    moved = np.ascontiguousarray(a.transpose(order))
    return moved.transpose([*range(1, a.ndim - 1), 0, a.ndim - 1])


@given(
    st.lists(st.integers(1, 3), max_size=2),
    st.sampled_from([1, 3, 20, 70, 130]),
    st.sampled_from([1, 5, 33, 100]),
    st.sampled_from([1, 7, 64]),
    st.sampled_from([1, 9, 40]),
    st.sampled_from(["", "causal", "numbers", "bools", "row"]),
    st.booleans(),
    parts,
    seeds,
)
def test_attention_both_ways(
    lead: list[int], queries: int, keys: int, width: int, depth: int, kind: str, moved: bool,
    count: int, seed: int,
) -> None:  # fmt: skip
    q, k, v, g, mask = singles(
        seed, (*lead, queries, width), (*lead, keys, width), (*lead, keys, depth),
        (*lead, queries, depth), (queries, keys),
    )  # fmt: skip
    given_mask: Any = None
    if kind == "numbers":
        given_mask = mask
    elif kind == "bools":
        given_mask = mask > 0
    elif kind == "row":
        given_mask = mask[:1] - np.where(mask[:1] > 1, np.float32(np.inf), 0)
    how = {"scale": 0.3, "causal": kind == "causal"}
    wanted_mask = given_mask if kind == "bools" or given_mask is None else wide(given_mask)[0]
    arrays = [_by_position(a) if moved else a for a in (g, q, k, v)]
    with team(count):
        found = _both_ways(attention, *arrays, given_mask, **how)
    with np.errstate(all="ignore"):
        wanted = _both_ways(reference, *wide(g, q, k, v), wanted_mask, **how)
    assert_close(found, wanted, 1e-4)
    if moved and width == depth:
        assert found[0].strides == arrays[1].strides


def test_many_keys_and_any_number_of_threads() -> None:
    q, k, v, g = singles(0, (3, 40, 16), (3, 20000, 16), (3, 20000, 16), (3, 40, 16))
    how = {"scale": 0.25, "causal": False}
    found = []
    for count in (1, 2, 3):
        with team(count):
            found.append(_both_ways(attention, g, q, k, v, None, **how))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
    assert_close(found[0], _both_ways(reference, *wide(g, q, k, v), None, **how), 1e-4)


def test_what_is_left_to_the_reference() -> None:
    q, mask = np.ones((2, 3, 4), np.float32), np.ones((3, 3), np.float32)
    how = {"scale": 1.0, "causal": False}
    assert attention.attention(q, q, q, None, **how, **{**HOW, "dropout_p": 0.5}) is None
    assert attention.attention(q, q.astype(float), q, None, **how, **HOW) is None
    assert attention.attention(q[:, :0], q, q, None, **how, **HOW) is None
    y, logs = attention.attention(q, q, q, mask, **how, **HOW)
    assert (
        attention.attention_backward(q, q, q, q, mask, y, logs, (True,) * 4, **how, **HOW) is None
    )


@pytest.mark.parametrize("lanes", OTHER_WIDTHS)
def test_other_vector_widths(lanes: int) -> None:
    run_at_width(
        lanes,
        "import numpy as np\n"
        "from tinygrad_cnn.kernels import reference\n"
        "from tinygrad_cnn.kernels.jit import attention\n"
        "q, k, v = np.random.default_rng(0).standard_normal((3, 2, 37, 21)).astype(np.float32)\n"
        "how = {'scale': 0.2, 'causal': True, 'dropout_p': 0.0, 'seed': 0, 'block': 1 << 18}\n"
        "results = []\n"
        "for kernels in (attention, reference):\n"
        "    y, logs = kernels.attention(q, k, v, None, **how)\n"
        "    back = kernels.attention_backward(q, q, k, v, None, y, logs, (True,) * 4, **how)\n"
        "    results.append((y, *back[:3]))\n"
        "for a, b in zip(*results):\n"
        "    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)\n",
    )
