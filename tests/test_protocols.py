"""Python's and its libraries' protocols on tensors: arrays, buffers, numbers, display."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from rich.console import Console

import tinygrad_cnn as tg


def test_as_an_array() -> None:
    t = tg.ones(2, 3)
    assert np.shares_memory(np.asarray(t), t.array)
    assert np.shares_memory(t.__array__(copy=False), t.array)
    assert np.shares_memory(t.__array__(np.float32), t.array)
    assert not np.shares_memory(t.__array__(copy=True), t.array)
    assert t.__array__(np.float64, copy=True).dtype == np.float64
    with pytest.raises(ValueError, match="`copy` is False, but float32 is not float64"):
        t.__array__(np.float64, copy=False)
    with pytest.raises(TypeError, match="requires gradients"):
        np.asarray(t.requires_grad_())


def test_as_a_buffer() -> None:
    t = tg.zeros(2, 3, dtype=tg.int16)
    view = t.__buffer__(0)
    assert (view.shape, view.format, view.readonly) == ((2, 3), "h", False)
    view[1, 2] = 7
    assert t[1, 2].item() == 7
    assert t.expand(4, 2, 3).__buffer__(0).readonly
    with pytest.raises(BufferError, match="requires gradients"):
        tg.ones(2, requires_grad=True).__buffer__(0)
    with pytest.raises(BufferError, match="dtype is bfloat16"):
        tg.ones(2, dtype=tg.bfloat16).__buffer__(0)
    if sys.version_info >= (3, 12):
        assert bytes(tg.tensor([1, 2], dtype=tg.uint8)) == b"\1\2"
        assert memoryview(t)[1, 2] == 7


def test_as_a_number() -> None:
    assert [10, 20, 30][tg.tensor(1)] == 20
    assert f"{tg.tensor(1.5):.2f} {tg.tensor(3):03d}" == "1.50 003"
    assert range(tg.tensor([2]).item())[-1] == 1
    assert hex(tg.tensor(255)) == "0xff"
    with pytest.raises(TypeError, match="expected one integer"):
        [10][tg.tensor(0.0)]


def test_displays() -> None:
    t = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    shown = (t * 2)._repr_html_()
    assert "2 × 2, float32, requires gradients" in shown
    assert "grad_fn=&lt;mul&gt;" in shown
    assert "a number, int64" in tg.tensor(1)._repr_html_()
    out = io.StringIO()
    Console(file=out, width=80).print(t, {"loss": tg.tensor(0.5)})
    assert repr(t) in out.getvalue()
    assert "{'loss': tensor(0.5000)}" in out.getvalue()
