"""Views and in-place changes: what is written is seen everywhere, gradients included."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints, require_torch

import tinygrad_cnn as tg


def _program(body: Any) -> Any:
    """``body(m, y, v)`` changes ``y``, a result made from the leaf, and returns what to look at."""

    def call(m: Any, x: Any, v: Any) -> Any:
        y = x * 1
        return body(m, y, v)

    return call


def _slices(m: Any, y: Any, v: Any) -> Any:
    view = y[1:3]
    view[0] = v
    view *= 2
    return y, view, y.sum(0)


def _chain(m: Any, y: Any, v: Any) -> Any:
    view = y.t().reshape(3, 2, 2)[1].transpose(0, 1)
    view.mul_(v[:2])
    return y, view


def _base_after_view(m: Any, y: Any, v: Any) -> Any:
    view = y[:, 1]
    y.mul_(2)
    y[0] = v
    return view, y * view.sum()


def _two_views(m: Any, y: Any, v: Any) -> Any:
    a, b = y[0], y[:, 0]
    a.add_(v)
    b.mul_(3)
    a.sub_(1)
    return y, a, b


def _view_of_view(m: Any, y: Any, v: Any) -> Any:
    a = y[1:]
    b = a[1:, ::2]
    b.copy_(v[0] * 2)
    return y, a, b


def _relu(m: Any, y: Any, v: Any) -> Any:
    y.relu_()
    return y


def _unbind(m: Any, y: Any, v: Any) -> Any:
    for i in range(4):
        y[i].add_(v * i)
    return y


def _swap(m: Any, y: Any, v: Any) -> Any:
    first = y[0].clone()
    y[0] = y[1]
    y[1] = first
    return y * y


def _expand_source(m: Any, y: Any, v: Any) -> Any:
    y[:] = v.expand(4, 3)
    return y


def _constant_base(m: Any, y: Any, v: Any) -> Any:
    out = m.zeros(4, 3, dtype=y.dtype)
    out[1] = v
    row = out[2]
    row += y[0]
    return out, row


def _no_grad_write(m: Any, y: Any, v: Any) -> Any:
    with m.no_grad():
        y.mul_(2)
    return y + v


def _used_before_and_after(m: Any, y: Any, v: Any) -> Any:
    before = y.sum()
    y += v
    return before, y


def _detached(m: Any, y: Any, v: Any) -> Any:
    d = y.detach()
    z = y + v
    d.zero_()
    return z, y.detach(), d


def _squeeze(m: Any, y: Any, v: Any) -> Any:
    y.unsqueeze(0).squeeze(0)[2:].fill_(7)
    y.permute(1, 0)[0].exp_()
    return y


def _masked(m: Any, y: Any, v: Any) -> Any:
    y[y > 0] = 0.5
    y.masked_fill_(y < -1, -1.0)
    y.clamp_(min=-0.7)
    return y


def _narrow(m: Any, y: Any, v: Any) -> Any:
    a, b = y.narrow(0, 0, 2), y[2:]
    a.mul_(v)
    b.mul_(a.detach().clone())
    return y


def _zero(m: Any, y: Any, v: Any) -> Any:
    y.zero_()
    return y + v


def _copy(m: Any, y: Any, v: Any) -> Any:
    y.copy_(v)
    y[0].copy_(m.ones(3, dtype=m.int64))
    return y


def _reshape_copy(m: Any, y: Any, v: Any) -> Any:
    z = y.t().reshape(12)  # a copy: writing to it leaves y alone
    z.mul_(2)
    return y, z


PROGRAMS = [
    _slices,
    _chain,
    _base_after_view,
    _two_views,
    _view_of_view,
    _relu,
    _unbind,
    _swap,
    _expand_source,
    _constant_base,
    _no_grad_write,
    _used_before_and_after,
    _detached,
    _squeeze,
    _masked,
    _narrow,
    _zero,
    _copy,
    _reshape_copy,
]


@pytest.mark.parametrize("body", PROGRAMS, ids=lambda b: b.__name__)
def test_programs(body: Any) -> None:
    assert_agrees(_program(body), (floats(4, 3), floats(3, seed=1)), is_function=False)


METHODS = [
    ("add_", 2.0),
    ("sub_", 2),
    ("mul_", 0.5),
    ("div_", 4),
    ("pow_", 2),
    ("remainder_", 0.3),
    ("clamp_", -0.5, 0.5),
    ("clamp_min_", 0.1),
    ("clamp_max_", 0.1),
    ("neg_",),
    ("abs_",),
    ("exp_",),
    ("sqrt_",),
    ("square_",),
    ("relu_",),
    ("sigmoid_",),
    ("tanh_",),
    ("sin_",),
    ("cos_",),
    ("floor_",),
    ("ceil_",),
    ("round_",),
    ("trunc_",),
    ("sign_",),
    ("reciprocal_",),
    ("rsqrt_",),
    ("log_",),
    ("fill_", 3),
    ("zero_",),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda v: v[0])
def test_methods(method: tuple[Any, ...]) -> None:
    name, *args = method

    def call(m: Any, x: Any) -> Any:
        y = x * 1
        assert getattr(y, name)(*args) is y
        return y

    assert_agrees(call, (floats(2, 3, low=0.1),))


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        case("leaf", lambda m, x: x.add_(1), floats(3)),
        case("leaf-slice", lambda m, x: x[0].add_(1), floats(3)),
        case("leaf-setitem", lambda m, x: x.__setitem__(0, 1.0), floats(3)),
        case("leaf-zero", lambda m, x: x.zero_(), floats(3)),
        case("expanded", lambda m, x: (x * 1).expand(3, 3).add_(1), floats(3)),
        case("shape-grows", lambda m, x, y: (x * 1).add_(y), floats(3), floats(2, 3)),
        case("float-into-int", lambda m, x: x.clone().add_(0.5), ints(3)),
        case("float-into-bool", lambda m, x: (x > 0).add_(0.5), ints(3)),
        case("saved-output", lambda m, x: _late(x.exp()), floats(3)),
        case("saved-input", lambda m, x: _late_input(x * 1), floats(3)),
        case("saved-through-view", lambda m, x: _late_view(x * 1), floats(3)),
        case("unsaved-is-fine", lambda m, x: _late(x + 1), floats(3)),
        case("sigmoid-then-write", lambda m, x: _late(x.sigmoid()), floats(3)),
        case("alpha", lambda m, x, y: (x * 1).add_(y, alpha=0.5).sub_(y, alpha=3), floats(3), floats(3, seed=1)),
        case("addcmul_", lambda m, x, y: (x * 1).addcmul_(y, y, value=0.5), floats(3), floats(3, seed=1)),
        case("addcdiv_", lambda m, x, y: (x * 1).addcdiv_(y, y + 5, value=0.5), floats(3), floats(3, seed=1)),
        case("lerp_", lambda m, x, y: (x * 1).lerp_(y, 0.3), floats(3), floats(3, seed=1)),
        case("self-add", lambda m, x: _self_add(x * 1), floats(3)),
        case("overlap", lambda m, x: _overlap(x * 1), floats(6)),
        case("int-mul", lambda m, x: x.clone().mul_(3), ints(3)),
        case("int-div", lambda m, x: x.clone().div_(2), ints(3)),
        case("data", lambda m, x: _data(x), floats(3)),
        case("relu-inplace-flag", lambda m, x: m.nn.functional.relu(x * 1, inplace=True), floats(3)),
        case("retain", lambda m, x: (x * 1).add_(1).mul_(2).exp_(), floats(3)),
    ],
)  # fmt: skip
def test_cases(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs)


def _late(y: Any) -> Any:
    y.mul_(2)
    y.sum().backward()
    return y.detach()


def _late_input(y: Any) -> Any:
    z = y * y
    y.add_(1)
    z.sum().backward()
    return z.detach()


def _late_view(y: Any) -> Any:
    z = y.exp()
    z[1:].zero_()
    z.sum().backward()
    return z.detach()


def _self_add(y: Any) -> Any:
    y += y
    return y


def _overlap(y: Any) -> Any:
    y[::2] += y[1::2]
    return y


def _data(x: Any) -> Any:
    x.data.mul_(2)
    x.data[0] = 5
    return x * x


STEPS = (
    "unary binary slice transpose row number_ tensor_ set relu_ clone reshape cat sum mask".split()
)


def _random_program(m: Any, steps: list[Any], xs: list[np.ndarray]) -> Any:
    """Runs ``steps`` on a growing list of tensors, many of them views of each other."""
    leaves = [m.tensor(x, requires_grad=True) for x in xs]
    ts = [leaf * 1 for leaf in leaves]
    for kind, i, j, k in steps:
        t, u = ts[i % len(ts)], ts[j % len(ts)]
        alike = tuple(t.shape) == tuple(u.shape)
        if kind == "unary":
            ts.append([m.tanh, m.sigmoid, m.sin, m.abs, m.relu][k % 5](t))
        elif kind == "binary" and alike:
            ts.append([m.mul, m.add, m.sub, m.maximum][k % 4](t, u))
        elif kind == "slice" and t.ndim and t.shape[0] > 1:
            ts.append(t[k % 2 :])
        elif kind == "transpose" and t.ndim > 1:
            ts.append(t.transpose(0, 1))
        elif kind == "row" and t.ndim:
            ts.append(t[k % t.shape[0]])
        elif kind == "number_":
            [t.mul_, t.add_, t.sub_][k % 3](0.7)
        elif kind == "tensor_" and alike:
            [t.mul_, t.add_, t.copy_][k % 3](u)
        elif kind == "set" and t.ndim:
            t[k % t.shape[0]] = u.sum()
        elif kind == "relu_":
            t.relu_()
        elif kind == "clone":
            ts.append(t.clone())
        elif kind == "reshape":
            ts.append(t.reshape(-1))
        elif kind == "cat" and t.ndim and t.shape[1:] == u.shape[1:] and t.ndim == u.ndim:
            ts.append(m.cat([t, u]))
        elif kind == "sum":
            ts.append(t + u.sum())
        elif kind == "mask":
            t.masked_fill_(t.detach() > 1, 0.25)
    weights = [m.tensor(floats(*t.shape, seed=n)) for n, t in enumerate(ts)]
    loss = sum((t * w).sum() for t, w in zip(ts, weights, strict=True))
    found = m.autograd.grad(loss, leaves, allow_unused=True)
    zero = [m.zeros(*x.shape, dtype=m.float64) for x in xs]
    gradients = [z if g is None else g for g, z in zip(found, zero, strict=True)]
    return [t.detach().numpy() for t in (*ts, *gradients)]


def test_random_programs_as_pytorch() -> None:
    torch = require_torch()
    compared = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        steps = [
            (str(rng.choice(STEPS)), *rng.integers(0, 99, 3)) for _ in range(rng.integers(4, 14))
        ]
        xs = [rng.standard_normal(s) for s in ((3, 3), (3, 3), (3,))]
        try:
            theirs = _random_program(torch, steps, xs)
        except RuntimeError:
            continue  # a version error; what we make of those is tested below
        ours = _random_program(tg, steps, xs)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=str((seed, steps)))
        compared += 1
    assert compared > 80


# ---- without PyTorch -----------------------------------------------------------------------


def test_a_program_on_views_equals_the_same_program_on_copies() -> None:
    """Random writes through random views, against the same values built without any write."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        x0, v0 = rng.standard_normal((4, 3)), rng.standard_normal(12)
        x, v = tg.tensor(x0, requires_grad=True), tg.tensor(v0, requires_grad=True)
        y = x * 1
        flat, grad_x, grad_v = x0.copy(), np.ones((4, 3)), []
        places = np.arange(12).reshape(4, 3)
        for _ in range(4):
            view, spot = y, places
            for _ in range(rng.integers(1, 4)):
                step = rng.integers(0, 4)
                if step == 0:
                    view, spot = view.transpose(0, -1), spot.swapaxes(0, -1)
                elif step == 1 and spot.shape[0] > 1:
                    view, spot = view[1:], spot[1:]
                elif step == 2:
                    view, spot = view.unsqueeze(0), spot[None]
                else:
                    view, spot = view[..., ::2], spot[..., ::2]
            k = int(rng.integers(0, 12))
            factor = float(rng.standard_normal())
            if rng.random() < 0.5:
                view.mul_(factor)
                flat.ravel()[spot.ravel()] *= factor
                grad_x.ravel()[spot.ravel()] *= factor
                grad_v = [(p, i, s * (factor if p in spot else 1.0)) for p, i, s in grad_v]
            else:
                view.copy_(v[k])
                flat.ravel()[spot.ravel()] = v0[k]
                grad_x.ravel()[spot.ravel()] = 0
                grad_v = [t for t in grad_v if t[0] not in spot]
                grad_v += [(p, k, 1.0) for p in spot.ravel()]
        np.testing.assert_allclose(y.array, flat)
        u = rng.standard_normal((4, 3))
        y.backward(tg.tensor(u))
        np.testing.assert_allclose(x.grad.array, u * grad_x)
        expected = np.zeros(12)
        for p, i, s in grad_v:
            expected[i] += u.ravel()[p] * s
        got = np.zeros(12) if v.grad is None else v.grad.array
        np.testing.assert_allclose(got, expected, atol=1e-14)


def test_random_programs_by_finite_differences_or_a_refusal() -> None:
    """What is not refused is right, also where PyTorch would refuse."""
    checked = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        steps = [
            (str(rng.choice(STEPS)), *rng.integers(0, 99, 3)) for _ in range(rng.integers(4, 14))
        ]
        xs = [rng.standard_normal(s) for s in ((3, 3), (3, 3), (3,))]
        along = [rng.standard_normal(x.shape) for x in xs]

        def loss(h: float, steps: Any = steps, xs: Any = xs, along: Any = along) -> float:
            moved = [x + h * v for x, v in zip(xs, along, strict=True)]
            values = _random_program(tg, steps, moved)[: -len(xs)]
            return sum(np.vdot(v, floats(*v.shape, seed=n)) for n, v in enumerate(values))

        try:
            gradients = _random_program(tg, steps, xs)[-len(xs) :]
        except RuntimeError as error:
            assert "changed it in place" in str(error)  # noqa: PT017  (either is fine)
            continue
        slope = sum(np.vdot(g, v) for g, v in zip(gradients, along, strict=True))
        assert slope == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-4, abs=1e-4), seed
        checked += 1
    assert checked > 30


def test_errors_name_both_places() -> None:
    x = tg.ones(3, requires_grad=True)
    y = x.exp()
    y[0].mul_(2)
    with pytest.raises(RuntimeError, match=r"exp: .*its output.*mul_ changed it in place"):
        y.sum().backward()
    a = x * 1
    z = a * a
    a.relu_()
    with pytest.raises(RuntimeError, match=r"mul: .*relu_ changed it in place"):
        z.sum().backward()
    with pytest.raises(RuntimeError, match="add_: a leaf that requires gradients"):
        x += 1
    with pytest.raises(RuntimeError, match=r"add_: .*read-only.*expand"):
        (x * 1).expand(2, 3).add_(1)
    with pytest.raises(RuntimeError, match=r"zero_|fill_: a leaf"):
        x.zero_()
    with tg.no_grad():
        x.zero_()
    assert x.tolist() == [0.0, 0.0, 0.0]


def test_versions_are_shared_by_views() -> None:
    x = tg.zeros(4)
    a, b = x[:2], x.detach()
    a.add_(1)
    assert (x._version, a._version, b._version) == (1, 1, 1)
    assert x.clone()._version == 0


def test_integer_tensors_change_in_place_too() -> None:
    x = tg.arange(6).reshape(2, 3)
    row = x[1]
    row += 10
    row[0] = -1
    assert x.tolist() == [[0, 1, 2], [-1, 14, 15]]
    x //= 2
    assert row.tolist() == [-1, 7, 7]


def test_a_view_made_under_no_grad_cannot_be_written_where_it_would_be_lost() -> None:
    x = tg.ones(3, requires_grad=True)
    y = x * 1
    with tg.no_grad():
        view = y[1:]
    with pytest.raises(RuntimeError, match=r"made under no_grad"):
        view.mul_(2)


def test_a_tensor_multiplied_by_itself_in_place() -> None:
    x = tg.tensor([3.0, -2.0], requires_grad=True)
    y = x * 1
    y *= y
    y[0] *= y[1].clone()
    assert y.tolist() == [36.0, 4.0]
    y.sum().backward()
    assert x.grad.tolist() == [24.0, -40.0]  # of x0² x1² + x1²


def test_one_element_is_a_view_too() -> None:
    x = tg.zeros(3)
    x[1].add_(5)
    for element in x:
        element.mul_(2)
    x.view(3, 1)[2, 0].fill_(1)
    assert x.tolist() == [0.0, 10.0, 1.0]
