"""`utils.checkpoint`: the same numbers and states as without it, in less memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def _plain(model: nn.Sequential, x: tg.Tensor) -> Any:
    return model(x)


def _segments(model: nn.Sequential, x: tg.Tensor) -> Any:
    return checkpoint_sequential(model, 4, x, use_reentrant=False)


def _whole(model: nn.Sequential, x: tg.Tensor) -> Any:
    return checkpoint(model, x, early_stop=False)


def _nested(model: nn.Sequential, x: tg.Tensor) -> Any:
    def half(x: tg.Tensor) -> Any:
        for block in list(model)[:2]:
            x = checkpoint(block, x, use_reentrant=True)
        return x

    x = checkpoint(half, x)
    for block in list(model)[2:]:
        x = checkpoint(block, x)
    return x


def _block() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.3)
    )


def _step(run: Callable[..., Any]) -> tuple[list[Any], int, int]:
    tg.manual_seed(3)
    model = nn.Sequential(*[_block() for _ in range(4)])
    x = tg.randn(8, 8, 32, 32, requires_grad=True)
    before = tg.memory_allocated()
    y = run(model, x)
    held = tg.memory_allocated() - before
    (y * y).mean().backward()
    numbers = [y.detach(), x.grad, tg.rand(3), *(p.grad for p in model.parameters())]
    numbers += list(model.buffers())
    return [np.asarray(t) for t in numbers], held, tg.memory_allocated() - before


@pytest.mark.parametrize("run", [_segments, _whole, _nested])
def test_a_step_is_the_same_in_less_memory(run: Callable[..., Any]) -> None:
    expected, most, _ = _step(_plain)
    found, held, after = _step(run)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-6)
    assert held < 0.6 * most
    assert after < 0.3 * most  # nothing that was made again stays


def _programs(T: Any, checkpoint: Any) -> list[Any]:
    w = T.tensor([[0.5, -1.0], [0.3, 2.0]], dtype=T.float64, requires_grad=True)
    x = T.tensor([1.0, 2.0], dtype=T.float64, requires_grad=True)

    def f(x: Any, *, scale: float = 1.0, pair: Any = None) -> Any:
        y = (w @ x).tanh() * scale
        return {"y": y.exp(), "z": [y.sin()]} if pair is None else (y * pair[0]).exp()

    out = checkpoint(f, x, use_reentrant=False, scale=0.7)
    found = [out["y"], *T.autograd.grad(out["z"][0].sum(), (x, w), retain_graph=True)]
    found += T.autograd.grad(out["y"].sum(), (x, w))
    y = checkpoint(f, x, use_reentrant=False, pair=(x, 1))
    (g,) = T.autograd.grad(y.sum(), x, create_graph=True)
    found += [g, *T.autograd.grad((g * g).sum(), (x, w))]
    z = checkpoint(lambda: (w * w).sin().sum(), use_reentrant=False)
    z.backward(retain_graph=True)
    z.backward()
    return [t.detach().numpy() for t in [*found, w.grad]]


def test_programs_as_in_pytorch() -> None:
    why = "PyTorch is not installed: pip install torch==2.13.0"
    torch = pytest.importorskip("torch", reason=why)
    from torch.utils.checkpoint import checkpoint as theirs

    def without(function: Any, *args: Any, use_reentrant: bool, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    for expected in (_programs(torch, theirs), _programs(tg, without)):
        for a, b in zip(_programs(tg, checkpoint), expected, strict=True):
            np.testing.assert_allclose(a, b, 1e-10, 1e-12)


def test_a_function_of_autograd_is_run_again() -> None:
    class Cube(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x, x * 3)
            return x * x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, triple = ctx.saved_tensors
            return g * triple * x

    x = tg.tensor([2.0], requires_grad=True)
    checkpoint(lambda x: Cube.apply(x.exp()), x).backward()
    np.testing.assert_allclose(np.asarray(x.grad), 3 * np.exp(6.0), 1e-5)


def test_without_gradients_the_function_just_runs() -> None:
    with tg.no_grad():
        assert not checkpoint(tg.exp, tg.ones(2, requires_grad=True)).requires_grad


def test_it_runs_again_where_it_is_told_to() -> None:
    seen: list[str] = []

    class Note:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            seen.append(self.name)

        def __exit__(self, *error: object) -> None:
            seen.append(f"/{self.name}")

    x = tg.ones(2, requires_grad=True)
    y = checkpoint(tg.exp, x, context_fn=lambda: (Note("first"), Note("again")))
    assert seen == ["first", "/first"]
    y.sum().backward()
    assert seen == ["first", "/first", "again", "/again"]


def test_a_function_that_does_something_else_is_refused() -> None:
    sizes = iter([2, 1, 2, 1])
    x = tg.ones(2, requires_grad=True)

    def changing(x: tg.Tensor) -> tg.Tensor:
        return x[: next(sizes)].exp()

    with pytest.raises(CheckpointError, match=r"number 0 was float32\(2,\), and float32\(1,\)"):
        checkpoint(changing, x).sum().backward()
    checkpoint(changing, x, determinism_check="none").sum().backward()
    runs = iter([2, 1])

    def shorter(x: tg.Tensor) -> Any:
        for _ in range(next(runs)):
            x = x.exp()
        return x

    with pytest.raises(CheckpointError, match="2 tensors were saved, and 1"):
        checkpoint(shorter, x).sum().backward()


def test_changes_in_place_are_refused() -> None:
    x = tg.ones(2, requires_grad=True) * 1
    y = checkpoint(tg.exp, x)
    x.mul_(2)
    with pytest.raises(RuntimeError, match=r"argument of shape .* was changed in place by mul_"):
        y.sum().backward()

    def spoils(x: tg.Tensor) -> tg.Tensor:
        y = x.exp()
        z = y * 1
        y.mul_(2)
        return z + y

    with pytest.raises(RuntimeError, match="changed in place afterwards"):
        checkpoint(spoils, tg.ones(2, requires_grad=True), early_stop=False).sum().backward()


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="`determinism_check` is 'x'"):
        checkpoint(tg.exp, tg.ones(1), determinism_check="x")
    with pytest.raises(ValueError, match="`segments` is 3, expected 1 to 2"):
        checkpoint_sequential([tg.exp, tg.sin], 3, tg.ones(1))
