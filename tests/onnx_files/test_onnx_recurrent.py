"""Recurrent layers are ONNX's operators LSTM, GRU and RNN, there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.onnx import OnnxError

pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime onnx"
)
import onnx
from onnx_running import Calls, agrees, session


class Reader(nn.Module):
    """A recurrent layer whose outputs are one tuple."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: tg.Tensor, *states: tg.Tensor) -> tuple[tg.Tensor, ...]:
        given = states if len(states) != 1 else states[0]
        y, end = self.layer(x, given) if states else self.layer(x)
        return (y, *end) if isinstance(end, tuple) else (y, end)


KINDS = [(nn.LSTM, {}), (nn.GRU, {}), (nn.RNN, {}), (nn.RNN, {"nonlinearity": "relu"})]
FORMS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]


@pytest.mark.parametrize("form", FORMS, ids=["plain", "no bias", "both ways"])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_there_and_back_and_there_again(kind: Any, options: Any, form: Any, tmp_path: Path) -> None:
    net = Reader(kind(3, 4, **options, **form)).eval()
    axis = 0 if form.get("batch_first") else 1
    x = tg.randn(4, 5, 3) if axis == 0 else tg.randn(5, 4, 3)
    path = tg.onnx.export(net, x, tmp_path / "a.onnx", dynamic_batch={"x": axis})
    more = tg.cat([x, x], axis)
    agrees(session(path), net, more)
    operators = [n.op_type for n in onnx.load(path).graph.node]
    assert operators.count(kind.__name__) == form.get("num_layers", 1)
    again = tg.onnx.load(path).eval()
    assert set(again.state_dict()) == set(net.state_dict())
    for y, z in zip(net(more), again(more), strict=True):
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), 1e-5, 1e-6)
    again(x)[0].sum().backward()
    assert all(p.grad is not None for p in again.parameters())
    agrees(
        session(tg.onnx.export(again, x, tmp_path / "b.onnx", dynamic_batch={"x": axis})), net, more
    )


def test_states_and_sequences_without_a_batch(tmp_path: Path) -> None:
    net = Reader(nn.LSTM(3, 4, num_layers=2))
    x, h, c = tg.randn(5, 2, 3), tg.randn(2, 2, 4), tg.randn(2, 2, 4)
    path = tg.onnx.export(net, (x, h, c), tmp_path / "a.onnx", dynamic_batch=False)
    agrees(session(path), net, x, h, c)
    lone = Reader(nn.GRU(3, 4))
    path = tg.onnx.export(lone, (tg.randn(5, 3), tg.randn(1, 4)), path, dynamic_batch=False)
    agrees(session(path), lone, tg.randn(5, 3), tg.randn(1, 4))


def test_what_has_no_form(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match=r"projections have no form in ONNX \(in layer \(LSTM\)"):
        tg.onnx.export(Reader(nn.LSTM(3, 4, proj_size=2)), tg.randn(5, 2, 3), tmp_path / "a.onnx")
    lstm = nn.LSTM(3, 4)
    packed = Calls(lambda x: lstm(nn.utils.rnn.pack_sequence([x, x]))[0].data)
    with pytest.raises(OnnxError, match="LSTM"):
        tg.onnx.export(packed, tg.randn(5, 3), tmp_path / "a.onnx", dynamic_batch=False)
