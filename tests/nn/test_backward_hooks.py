"""Full backward hooks do what PyTorch's do: every case runs in both and must come out the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from parity import require_torch

import tinygrad_cnn as tg

CASES: dict[str, Callable[[Any], Any]] = {}


def case(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    CASES[f.__name__] = f
    return f


def plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value.detach().tolist() if hasattr(value, "detach") else value


def hook(layer: Any, change: Callable[[Any, Any], Any] = lambda gx, gy: None) -> list[Any]:
    """What a hook on ``layer`` will have seen."""
    seen: list[Any] = []

    def call(module: Any, gx: Any, gy: Any) -> Any:
        seen.append((plain(gx), plain(gy)))
        return change(gx, gy)

    layer.register_full_backward_hook(call)
    return seen


def module(m: Any, forward: Callable[..., Any]) -> Any:
    """A module with this forward pass."""
    kind = type("Made", (m.nn.Module,), {"forward": lambda self, *a, **k: forward(*a, **k)})
    return kind()


def leaf(m: Any) -> Any:
    return m.tensor([1.0, -2.0], requires_grad=True)


@case
def an_input_that_is_not_used(m: Any) -> Any:
    layer, x, y = module(m, lambda a, b: a * 2), leaf(m), leaf(m)
    seen = hook(layer)
    layer(x, y).sum().backward()
    return seen, x.grad, y.grad


@case
def inputs_that_want_no_gradient_still_want_none(m: Any) -> Any:
    wanted: list[Any] = []

    def forward(*args: Any) -> Any:
        wanted.append([a.requires_grad for a in args])
        return args[0] * args[1] + args[2]

    layer, x = module(m, forward), leaf(m)
    seen = hook(layer)
    layer(x, m.ones(2), m.tensor([1, 2])).sum().backward()
    return seen, wanted, x.grad


@case
def an_output_that_is_not_used(m: Any) -> Any:
    layer, x = module(m, lambda a: (a * 2, a * 3, a > 0, "text", m.ones(1))), leaf(m)
    seen = hook(layer)
    out = layer(x)
    wanted = [t.requires_grad for t in (out[0], out[1], out[4])]
    out[0].sum().backward()
    return seen, wanted, type(out).__name__, x.grad


@case
def an_output_in_a_dict(m: Any) -> Any:
    layer, x = module(m, lambda a: {"a": a * 2}), leaf(m)
    seen = hook(layer)
    layer(x)["a"].sum().backward()
    return seen, x.grad


@case
def a_second_derivative(m: Any) -> Any:
    layer, x = m.nn.Tanh(), leaf(m)
    seen = hook(layer)
    (g,) = m.autograd.grad(layer(x).sum(), x, create_graph=True)
    first = len(seen)
    g.sum().backward()
    return first, len(seen), [round(v, 5) for v in x.grad.tolist()]


@case
def the_same_graph_twice(m: Any) -> Any:
    layer, x = m.nn.Tanh(), leaf(m)
    seen = hook(layer)
    y = layer(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return len(seen)


@case
def a_module_used_twice(m: Any) -> Any:
    layer, x = m.nn.ReLU(), leaf(m)
    seen = hook(layer)
    layer(layer(x * 2) * 3).sum().backward()
    return seen, x.grad


@case
def no_input_wants_a_gradient(m: Any) -> Any:
    layer = m.nn.Linear(2, 1)
    seen = hook(layer)
    layer(m.ones(1, 2)).sum().backward()
    return seen, layer.weight.grad


@case
def no_input_wants_the_gradient_that_is_returned(m: Any) -> Any:
    layer = m.nn.Linear(2, 1)
    hook(layer, lambda gx, gy: (m.ones(1),))
    layer(m.ones(1, 2)).sum().backward()


@case
def no_input_and_nones_returned(m: Any) -> Any:
    layer = m.nn.Linear(2, 1)
    seen = hook(layer, lambda gx, gy: (None,))
    layer(m.ones(1, 2)).sum().backward()
    return seen


@case
def an_input_by_keyword(m: Any) -> Any:
    layer, x = module(m, lambda a=None: a * 2), leaf(m)
    seen = hook(layer)
    layer(a=x).sum().backward()
    return seen, x.grad


@case
def gradients_are_replaced_in_turn(m: Any) -> Any:
    layer, x = m.nn.Identity(), leaf(m)
    seen = hook(layer, lambda gx, gy: (gx[0] * 10,)), hook(layer, lambda gx, gy: (gx[0] + 1,))
    layer(x).sum().backward()
    return seen, x.grad


@case
def a_gradient_is_taken_away(m: Any) -> Any:
    layer, x = m.nn.Identity(), leaf(m)
    hook(layer, lambda gx, gy: (None,))
    layer(x).sum().backward()
    return x.grad


@case
def too_many_gradients(m: Any) -> Any:
    layer, x = m.nn.Identity(), leaf(m)
    hook(layer, lambda gx, gy: (gx[0], gx[0]))
    layer(x).sum().backward()


@case
def hooks_before(m: Any) -> Any:
    layer, x = m.nn.Identity(), leaf(m)
    layer.register_full_backward_pre_hook(lambda module, gy: (gy[0] * 10,))
    layer.register_full_backward_pre_hook(lambda module, gy: (gy[0] + 1,), prepend=True)
    seen = hook(layer)
    layer(x).sum().backward()
    return seen, x.grad


@case
def only_a_hook_before(m: Any) -> Any:
    layer, x, seen = m.nn.ReLU(), leaf(m), []
    layer.register_full_backward_pre_hook(lambda module, gy: seen.append(plain(gy)))
    layer(x).sum().backward()
    return seen, x.grad


@case
def a_hook_before_without_inputs(m: Any) -> Any:
    layer = m.nn.Linear(2, 1)
    layer.register_full_backward_pre_hook(lambda module, gy: (gy[0] * 10,))
    seen = hook(layer)
    layer(m.ones(1, 2)).sum().backward()
    return seen, layer.weight.grad


@case
def too_many_gradients_before(m: Any) -> Any:
    layer = m.nn.ReLU()
    layer.register_full_backward_pre_hook(lambda module, gy: (gy[0], gy[0]))
    layer(leaf(m)).sum().backward()


@case
def an_output_is_changed_in_place(m: Any) -> Any:
    layer = m.nn.Linear(2, 2)
    hook(layer)
    m.nn.Sequential(layer, m.nn.ReLU(inplace=True))(leaf(m))


@case
def an_input_is_changed_in_place(m: Any) -> Any:
    layer, z = m.nn.ReLU(inplace=True), leaf(m) * 1
    hook(layer)
    return layer(z) + z


@case
def nothing_is_recorded(m: Any) -> Any:
    layer = m.nn.Linear(2, 2)
    seen = hook(layer)
    with m.no_grad():
        y = layer(leaf(m))
        y.zero_()
    return y.requires_grad, seen


@case
def a_hook_that_is_removed_before_the_walk(m: Any) -> Any:
    layer, seen = m.nn.ReLU(), []
    handle = layer.register_full_backward_hook(lambda *_: seen.append(1))
    y = layer(leaf(m))
    handle.remove()
    layer.register_full_backward_hook(lambda *_: seen.append(2))
    y.sum().backward()
    return seen


@case
def one_tensor_as_two_inputs(m: Any) -> Any:
    layer, x = module(m, lambda a, b: a * 2 + b * 3), leaf(m)
    seen = hook(layer)
    layer(x, x).sum().backward()
    return seen, x.grad


@case
def only_some_gradients_are_asked_for(m: Any) -> Any:
    layer, x = m.nn.Linear(2, 1, bias=False), m.ones(1, 2, requires_grad=True)
    m.nn.init.ones_(layer.weight)
    seen = hook(layer)
    m.autograd.grad(layer(x).sum(), [layer.weight])
    of_weight = len(seen)
    return of_weight, m.autograd.grad(layer(x).sum(), [x]), seen


@case
def modules_inside_one_another(m: Any) -> Any:
    parts, order = (m.nn.Tanh(), m.nn.ReLU()), []
    whole = m.nn.Sequential(*parts)
    for name, layer in zip("whole first second".split(), (whole, *parts), strict=True):
        layer.register_full_backward_hook(lambda *_, name=name: order.append(name))
    whole(leaf(m)).sum().backward()
    return order


@case
def forward_hooks_beside(m: Any) -> Any:
    layer, x, seen = m.nn.Identity(), leaf(m), []
    layer.register_forward_hook(lambda module, args, out: seen.append(plain(args)))
    gradients = hook(layer)
    y = layer(x)
    (y * 2).sum().backward()
    return seen, gradients, y is x


def run(f: Callable[[Any], Any], m: Any) -> tuple[Any, bool]:
    """What a case returns, or that it raises; and whether it warns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = plain(f(m))
        except RuntimeError:
            found = "an error"
    return found, any(w.category is UserWarning for w in caught)


@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name: str) -> None:
    torch = require_torch()
    assert run(CASES[name], tg) == run(CASES[name], torch)


def test_what_errors_and_warnings_say() -> None:
    with pytest.raises(RuntimeError, match=r"hook: returned 2 gradients .* \(Identity\) has 1 inp"):
        too_many_gradients(tg)
    with pytest.raises(RuntimeError, match=r"pre-hook: returned 2 gradients .* has 1 outputs"):
        too_many_gradients_before(tg)
    with pytest.raises(RuntimeError, match="or for a module's backward hook"):
        an_input_is_changed_in_place(tg)
    with pytest.warns(UserWarning, match="no input of Linear requires a gradient"):
        no_input_wants_a_gradient(tg)
    with pytest.warns(UserWarning, match="Made returned a dict"):
        an_output_in_a_dict(tg)


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_of_outputs_too(kind: type) -> None:
    layer, x = module(tg, lambda a: kind([a * 2, a * 3])), leaf(tg)
    seen = hook(layer)
    out = layer(x)
    assert type(out) is kind
    out[1].sum().backward()
    assert seen == [([[3.0, 3.0]], [None, [1.0, 1.0]])]


def test_hooks_that_are_always_called() -> None:
    def case(m: Any) -> Any:
        def fail(x: Any) -> Any:
            raise KeyError("x")

        layer, seen = module(m, fail), []
        layer.register_forward_hook(lambda *a: seen.append("never"))
        layer.register_forward_hook(lambda *a: seen.append(len(a)), always_call=True)
        layer.register_forward_hook(
            lambda *a: seen.append((len(a), plain(a[-1]))), always_call=True, with_kwargs=True
        )
        with pytest.raises(KeyError):
            layer(m.ones(1))
        layer.register_forward_hook(lambda *a: 1 / 0, always_call=True)
        with pytest.warns(UserWarning, match="division by zero"), pytest.raises(KeyError):
            layer(m.ones(1))
        layer.forward = lambda x: x
        layer.register_forward_hook(lambda *a: seen.append(plain(a[-1])), always_call=True)
        with pytest.raises(ZeroDivisionError):
            layer(m.ones(1))
        return seen

    assert case(tg) == case(require_torch())
