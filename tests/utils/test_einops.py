"""einops on tensors: its functions with gradients, its layers, and in which order one imports."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import einops
import einops.array_api
import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.utils.einops import EinMix, Rearrange, Reduce

X = np.random.default_rng(0).normal(size=(2, 3, 4, 6))
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "rearrange": lambda x: einops.rearrange(x, "b c (h p) w -> (b h) c (w p)", p=2),
    "rearrange a list": lambda x: einops.rearrange([x, x], "n b ... -> b n ..."),
    **{
        f"reduce {how}": lambda x, how=how: einops.reduce(x, "b c (h 2) (w 3) -> b h w", how)
        for how in ("min", "max", "sum", "mean", "prod")
    },
    "repeat": lambda x: einops.repeat(x, "b c h w -> b (c 2) r h w", r=3),
    "einsum": lambda x: einops.einsum(x, x, "b c h w, b d h w -> b c d"),
    "pack": lambda x: einops.pack([x, x[:, :, 0]], "b * w")[0],
    "unpack": lambda x: einops.unpack(x, [[2], []], "b c h *")[1] if x.shape[-1] == 3
    else einops.unpack(x[..., :3], [[2], []], "b c h *")[1],
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    function = FUNCTIONS[name]
    t = tg.tensor(X, requires_grad=True)
    found, expected = function(t), function(X)
    assert isinstance(found, tg.Tensor)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12)
    small = tg.tensor(X[:1], requires_grad=True)
    tg.autograd.gradcheck(function, (small,))


def test_functions_through_the_array_api() -> None:
    t = tg.tensor(X, requires_grad=True)
    for found, expected in (
        (einops.array_api.rearrange(t, "b c h w -> (b h) (c w)"), X.transpose(0, 2, 1, 3)),
        (einops.array_api.reduce(t, "b c h w -> b", "mean"), X.mean((1, 2, 3))),
        (einops.array_api.repeat(t, "b c h w -> b c h w 2"), X[..., None].repeat(2, -1)),
    ):
        np.testing.assert_allclose(found.detach().numpy().ravel(), expected.ravel(), rtol=1e-12)
        assert found.requires_grad
    assert isinstance(einops.asnumpy(t), np.ndarray)


def test_views_are_views() -> None:
    t = tg.zeros(2, 6)
    einops.rearrange(t, "a (b c) -> c b a", c=2).add_(1)
    assert t.sum() == 12


def test_layers() -> None:
    mix = EinMix("b (c d) -> b (e d)", weight_shape="c e", bias_shape="e", c=3, e=4, d=2)
    model = nn.Sequential(
        Reduce("b c (h 2) (w 2) -> b c h w", "max"), Rearrange("b c h w -> b (c h w)"),
        nn.Linear(18, 6), mix,
    )  # fmt: skip
    x = tg.tensor(X, dtype=tg.float32)
    out = model(x)
    assert out.shape == (2, 8)
    out.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        "2.weight", "2.bias", "3.weight", "3.bias",
    ]  # fmt: skip
    assert "Rearrange('b c h w -> b (c h w)')" in repr(model)
    first = nn.Sequential(*list(model)[:2])
    for again in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert again(x).tolist() == first(x).tolist()


@pytest.mark.parametrize("order", ["einops, tinygrad_cnn", "tinygrad_cnn, einops"])
def test_either_may_be_imported_first(order: str) -> None:
    program = (
        f"import {order}, sys\n"
        "shape = einops.rearrange(tinygrad_cnn.ones(2, 3), 'a b -> (a b)').shape\n"
        "assert shape == (6,), shape\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_einops_is_not_imported_unless_somebody_does() -> None:
    program = "import tinygrad_cnn, sys; assert 'einops' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
