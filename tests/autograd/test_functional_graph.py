"""`autograd.graph`: hooks on saved tensors, on nodes and on several gradients."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn.autograd import graph


def _network(x: tg.Tensor, w: tg.Tensor) -> tg.Tensor:
    y = F.batch_norm(F.conv2d(x, w, padding=1), None, None, training=True)
    y = F.max_pool2d(y.relu(), 2)
    y = F.dropout(y, 0.5, training=False).mul_(2).exp_()
    return (tg.cat([y, y.log()]).softmax(1) ** 2).sum()


def test_everything_saved_passes_through_the_hooks() -> None:
    rng = np.random.default_rng(0)
    x, w = (
        tg.tensor(rng.standard_normal(s), requires_grad=True) for s in ((2, 3, 8, 8), (4, 3, 3, 3))
    )

    def derivatives(y: tg.Tensor) -> list[tg.Tensor]:
        first = tg.autograd.grad(y, (x, w), create_graph=True)
        return [*first, *tg.autograd.grad(sum((g * g).sum() for g in first), (x, w))]

    expected = derivatives(_network(x, w))
    held: list[Any] = []

    def pack(t: tg.Tensor) -> int:
        assert not t.requires_grad
        held.append(np.asarray(t).copy())
        return len(held) - 1

    for hooks in (
        graph.saved_tensors_hooks(pack, lambda i: tg.from_numpy(held[i].copy())),
        graph.save_on_cpu(pin_memory=True),
    ):
        with hooks:
            y = _network(x, w)
        for a, b in zip(derivatives(y), expected, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-10, 1e-12)
    assert len(held) > 5


def _hooked(T: Any) -> list[Any]:
    seen: list[Any] = []

    def pack(t: Any) -> Any:
        seen.append(("pack", t.tolist()))
        return t * 4

    def unpack(t: Any) -> Any:
        seen.append(("unpack", t.tolist()))
        return t / 4

    float64 = functools.partial(T.tensor, dtype=T.float64)
    x = T.tensor([2.0, 4.0], dtype=T.float64, requires_grad=True)
    with T.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = x.exp()
        with T.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), float64):
            y = y * x
    y.sum().backward()
    return [*seen, x.grad.tolist()]


def _node_hooks(T: Any) -> list[Any]:
    a, b = (T.tensor(v, requires_grad=True) for v in (2.0, 3.0))
    y, seen = a * b, []
    y.grad_fn.register_prehook(lambda gs: (gs[0] * 10,))
    first = y.grad_fn.register_hook(lambda gx, gy: seen.append([t.tolist() for t in (*gx, *gy)]))
    y.grad_fn.register_hook(lambda gx, gy: (gx[0] + 1, gx[1]))
    y.backward(retain_graph=True)
    first.remove()
    y.backward()
    return [seen, a.grad.tolist(), b.grad.tolist(), len(y.grad_fn.next_functions)]


def _multi(T: Any, mode: str) -> list[Any]:
    a, b, c = (T.tensor(v, requires_grad=True) for v in (2.0, 3.0, 4.0))
    seen: list[Any] = []

    def note(g: Any) -> None:
        seen.append([None if t is None else t.tolist() for t in g] if mode == "all" else None)

    product = a * b
    handle = T.autograd.graph.register_multi_grad_hook((a, product, c), note, mode=mode)
    (product * product).backward(retain_graph=True)
    (product * c).backward(retain_graph=True)
    (product * 1).backward(inputs=[b], retain_graph=True)
    handle.remove()
    product.backward()
    return seen


@pytest.mark.parametrize(
    "program", [_hooked, _node_hooks, lambda T: _multi(T, "all"), lambda T: _multi(T, "any")]
)
def test_programs_as_in_pytorch(program: Any) -> None:
    why = "PyTorch is not installed: pip install torch==2.13.0"
    torch = pytest.importorskip("torch", reason=why)
    assert program(tg) == program(torch)


def test_hooks_can_be_disabled() -> None:
    with graph.disable_saved_tensors_hooks("not here"):
        with pytest.raises(RuntimeError, match="not here"), graph.save_on_cpu():
            pass
    with graph.save_on_cpu(), pytest.raises(RuntimeError, match="too late"):
        with graph.disable_saved_tensors_hooks("too late"):
            pass


def test_wrong_hooks_are_refused() -> None:
    x = tg.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="changed its tensor in place"):
        with graph.saved_tensors_hooks(lambda t: t.mul_(2), lambda t: t):
            x.exp()
    with graph.saved_tensors_hooks(lambda t: t, lambda t: 3):
        y = x.exp()
    with pytest.raises(TypeError, match="unpack hook returned a int"):
        y.sum().backward()
    y = x * 2
    y.grad_fn.register_hook(lambda gx, gy: ())
    with pytest.raises(RuntimeError, match="returned 0 gradients, expected 2"):
        y.sum().backward()
    with pytest.raises(ValueError, match="`mode` is 'some'"):
        graph.register_multi_grad_hook((x,), print, mode="some")


def test_changes_in_place_are_noticed_where_the_memory_is_the_same() -> None:
    x = tg.ones(2, requires_grad=True)
    with graph.save_on_cpu():
        y = x.exp()
    y.detach().mul_(3)
    with pytest.raises(RuntimeError, match="mul_ changed it in place"):
        y.sum().backward()


@pytest.mark.parametrize("returned", [tg.tensor([1.0, 2.0]), (), (tg.ones(2), tg.ones(2))])
def test_a_hook_before_the_rules_returns_a_tuple_of_one(returned: Any) -> None:
    y = tg.ones(2, requires_grad=True) * 2
    y.grad_fn.register_prehook(lambda gs: returned)
    with pytest.raises(RuntimeError, match="expected None or a tuple of one gradient"):
        y.sum().backward()
