"""`set_default_dtype` reaches everything that PyTorch's does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from parity import dtype_name, require_torch

import tinygrad_cnn as tg

CALLS = {
    "zeros": lambda m: m.zeros(2),
    "ones": lambda m: m.ones(2),
    "empty": lambda m: m.empty(2),
    "full": lambda m: m.full((2,), 1.5),
    "full of an integer": lambda m: m.full((2,), 1),
    "tensor": lambda m: m.tensor([1.5]),
    "tensor of nothing": lambda m: m.tensor([[]]),
    "tensor of 1 and 2.5": lambda m: m.tensor([1, 2.5]),
    "tensor of an array": lambda m: m.tensor(np.array([1.5])),
    "as_tensor": lambda m: m.as_tensor([1.5]),
    "arange": lambda m: m.arange(0, 1, 0.5),
    "linspace": lambda m: m.linspace(0, 1, 3),
    "logspace": lambda m: m.logspace(0, 1, 3),
    "eye": lambda m: m.eye(2),
    "rand": lambda m: m.rand(2),
    "randn": lambda m: m.randn(2),
    "normal": lambda m: m.normal(0.0, 1.0, (2,)),
    "int * float": lambda m: m.tensor([1]) * 1.5,
    "int / int": lambda m: m.tensor([1]) / 2,
    "exp of int": lambda m: m.exp(m.tensor([1])),
    "float32 * float": lambda m: m.ones(1, dtype=m.float32) * 1.5,
    "where": lambda m: m.where(m.tensor([True]), m.tensor([1]), 2.5),
    "clamp of int": lambda m: m.clamp(m.tensor([2]), min=0.5),
    "int ** float": lambda m: m.tensor([2]) ** 0.5,
    "Tensor": lambda m: m.Tensor(),
    "Parameter": lambda m: m.nn.Parameter(),
    "norm of nothing": lambda m: m.nn.utils.clip_grad_norm_([m.ones(1)], 1.0),
    "step of Adam": lambda m: count(m, m.optim.Adam),
    "step of RMSprop": lambda m: count(m, m.optim.RMSprop),
}
LAYERS = {
    "Linear": (2, 3),
    "Conv1d": (1, 2, 3),
    "Conv2d": (1, 2, 3),
    "ConvTranspose1d": (1, 2, 3),
    "ConvTranspose2d": (1, 2, 3),
    "BatchNorm1d": (2,),
    "BatchNorm2d": (2,),
    "LayerNorm": (2,),
    "GroupNorm": (1, 2),
    "Embedding": (2, 3),
    "PReLU": (),
}


def count(m: Any, kind: Any) -> Any:
    p = m.ones(1, dtype=m.float16, requires_grad=True)
    p.grad = m.ones(1, dtype=m.float16)
    optimizer = kind([p])
    optimizer.step()
    return optimizer.state[p]["step"]


@pytest.fixture(params=["float16", "float32", "float64"])
def default(request: pytest.FixtureRequest) -> Iterator[Any]:
    torch = require_torch()
    tg.set_default_dtype(request.param)
    torch.set_default_dtype(getattr(torch, request.param))
    yield torch
    tg.set_default_dtype(tg.float32)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str, default: Any) -> None:
    ours, theirs = CALLS[name](tg), CALLS[name](default)
    assert dtype_name(ours) == dtype_name(theirs)


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_and_buffers(name: str, default: Any) -> None:
    found = []
    for m in (tg, default):
        layer = getattr(m.nn, name)(*LAYERS[name])
        found.append({key: dtype_name(value) for key, value in layer.state_dict().items()})
    assert found[0] == found[1]


def test_a_model_of_doubles() -> None:
    tg.set_default_dtype(tg.float64)
    try:
        images = np.full((4, 1, 6, 6), 128, np.uint8)
        loader = tg.data.DataLoader(
            tg.data.TensorDataset(images, np.arange(4) % 2),
            batch_size=4,
            transform=tg.data.Compose([tg.data.ToFloat(), tg.data.Normalize([0.5], [0.5])]),
        )
        net = tg.nn.Sequential(
            tg.nn.Conv2d(1, 2, 3), tg.nn.BatchNorm2d(2), tg.nn.Flatten(), tg.nn.Linear(32, 2)
        )
        (x, target), *_ = loader
        loss = tg.nn.functional.cross_entropy(net(x), target)
        loss.backward()
        assert loss.dtype == tg.float64
        assert all(p.grad.dtype == tg.float64 for p in net.parameters())
    finally:
        tg.set_default_dtype(tg.float32)
