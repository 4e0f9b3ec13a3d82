"""Optimisers: PyTorch's formulas step by step, groups, state."""

import copy
import json
import math

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.autograd.events import unwatch, watch
from tinygrad_cnn.optim import memory

CASES = {
    "sgd": (optim.SGD, {"lr": 0.1}),
    "sgd-decay": (optim.SGD, {"lr": 0.1, "weight_decay": 0.1}),
    "sgd-maximize": (optim.SGD, {"lr": 0.01, "maximize": True, "weight_decay": 0.1}),
    "sgd-momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd-dampening": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "sgd-all": (
        optim.SGD,
        {
            "lr": 0.01,
            "momentum": 0.8,
            "dampening": 0.2,
            "weight_decay": 0.05,
            "maximize": True,
        },
    ),
    "sgd-nesterov": (
        optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    "sgd-nesterov-plain": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": (optim.Adam, {"lr": 0.05}),
    "adam-decay": (optim.Adam, {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.95)}),
    "adam-amsgrad": (optim.Adam, {"lr": 0.05, "amsgrad": True, "eps": 1e-3}),
    "adam-maximize": (optim.Adam, {"lr": 0.05, "maximize": True}),
    "adamw": (optim.AdamW, {"lr": 0.05}),
    "adamw-all": (
        optim.AdamW,
        {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "maximize": True},
    ),
    "lion": (optim.Lion, {"lr": 0.01}),
    "lion-all": (
        optim.Lion,
        {"lr": 0.02, "betas": (0.7, 0.9), "weight_decay": 0.3, "maximize": True},
    ),
    "rmsprop": (optim.RMSprop, {"lr": 0.01}),
    "rmsprop-all": (
        optim.RMSprop,
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "centered": True, "weight_decay": 0.1},
    ),
}
every_case = pytest.mark.parametrize(("kind", "options"), CASES.values(), ids=CASES.keys())
# Those that are held to PyTorch in test_optim_db.py, and to no formula here.
FURTHER = {
    "adadelta": (optim.Adadelta, {"eps": 1e-3}),
    "adagrad": (optim.Adagrad, {"lr": 0.05, "lr_decay": 0.01}),
    "adamax": (optim.Adamax, {"lr": 0.01}),
    "nadam": (optim.NAdam, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "radam": (optim.RAdam, {"lr": 0.01}),
    "rprop": (optim.Rprop, {"lr": 0.01}),
    "asgd": (optim.ASGD, {"lr": 0.05, "t0": 2}),
    "adafactor": (optim.Adafactor, {"lr": 0.01}),
}
every_kind = pytest.mark.parametrize(
    ("kind", "options"), [*CASES.values(), *FURTHER.values()], ids=[*CASES, *FURTHER]
)


def formula(kind, options, x, grads):
    """The update as its paper or PyTorch's documentation writes it, on float64 copies."""
    o = {"lr": 1e-3, "weight_decay": 0.01 if kind is optim.AdamW else 0, "maximize": False}
    o |= {"momentum": 0, "dampening": 0, "nesterov": False, "betas": (0.9, 0.999), "eps": 1e-8}
    if kind is optim.Lion:
        o["betas"] = (0.9, 0.99)
    o |= {"amsgrad": False, "alpha": 0.99, "centered": False} | options
    m = v = top = mean = 0.0
    buffer = None
    for t, g in enumerate(grads, start=1):
        g = -g if o["maximize"] else g
        if kind in (optim.AdamW, optim.Lion):
            x = x * (1 - o["lr"] * o["weight_decay"])
        else:
            g = g + o["weight_decay"] * x
        if kind is optim.SGD:
            buffer = g if buffer is None else o["momentum"] * buffer + (1 - o["dampening"]) * g
            if o["momentum"]:
                g = g + o["momentum"] * buffer if o["nesterov"] else buffer
            x = x - o["lr"] * g
        elif kind is optim.Lion:
            beta1, beta2 = o["betas"]
            x = x - o["lr"] * np.sign(beta1 * m + (1 - beta1) * g)
            m = beta2 * m + (1 - beta2) * g
        elif kind is optim.RMSprop:
            v = o["alpha"] * v + (1 - o["alpha"]) * g**2
            mean = o["alpha"] * mean + (1 - o["alpha"]) * g
            spread = v - mean**2 if o["centered"] else v
            g = g / (np.sqrt(spread) + o["eps"])
            buffer = g if buffer is None else o["momentum"] * buffer + g
            x = x - o["lr"] * (buffer if o["momentum"] else g)
        else:
            beta1, beta2 = o["betas"]
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            top = np.maximum(top, v)
            use = top if o["amsgrad"] else v
            x = x - o["lr"] * (m / (1 - beta1**t)) / (np.sqrt(use / (1 - beta2**t)) + o["eps"])
    return x


@every_case
def test_formula(kind, options):
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal((3, 5)), rng.standard_normal((6, 3, 5))
    x = tg.tensor(start, requires_grad=True)
    optimizer = kind([x], **options)
    for g in grads:
        x.grad = tg.tensor(g)
        optimizer.step()
        assert (x.grad.numpy() == g).all()  # the gradient is only read
    np.testing.assert_allclose(
        x.detach().numpy(), formula(kind, options, start, grads), rtol=1e-10, atol=1e-12
    )


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_are_pytorchs(kind, options, dtype):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    rng = np.random.default_rng(1)
    start = rng.standard_normal((4, 3)).astype(dtype)
    ours = tg.tensor(start, requires_grad=True)
    theirs = torch.tensor(start, requires_grad=True)
    if not hasattr(torch.optim, kind.__name__):
        pytest.skip(f"PyTorch has no {kind.__name__}")
    a = kind([ours], **options)
    b = getattr(torch.optim, kind.__name__)([theirs], **options)
    exact = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for _ in range(30):
        g = rng.standard_normal((4, 3)).astype(dtype)
        ours.grad, theirs.grad = tg.tensor(g), torch.tensor(g)
        a.step()
        b.step()
        np.testing.assert_allclose(
            ours.detach().numpy(), theirs.detach().numpy(), rtol=exact, atol=exact
        )
    mine, its = a.state_dict(), b.state_dict()
    assert set(mine) == set(its)
    assert mine["param_groups"][0].items() <= its["param_groups"][0].items()
    for name, value in mine["state"].get(0, {}).items():
        np.testing.assert_allclose(value.numpy(), its["state"][0][name], rtol=exact, atol=exact)
        assert str(value.dtype) == str(its["state"][0][name].dtype).removeprefix("torch.")
    assert mine["state"].get(0, {}).keys() == its["state"].get(0, {}).keys()


@every_kind
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_run_that_diverges_shows_it_without_warnings(kind, options, dtype):
    x = tg.ones(5, dtype=dtype, requires_grad=True)
    optimizer = kind([x], **options)
    for g in ([math.inf, math.nan, 0.0, -math.inf, 6e4], [6e4] * 5):
        x.grad = tg.tensor(g, dtype=dtype)
        optimizer.step()
    assert math.isnan(x.detach()[1].item())


@every_kind
@pytest.mark.parametrize("layout", ["big", "transposed", "strided gradient", "0-d", "empty"])
def test_memory_layouts(kind, options, layout, monkeypatch):
    monkeypatch.setattr(memory, "BLOCK", 7)  # several pieces
    rng = np.random.default_rng(2)
    shape = {"0-d": (), "empty": (0, 3)}.get(layout, (4, 6))
    start, grads = rng.standard_normal(shape), rng.standard_normal((3, *shape))
    plain, odd = tg.tensor(start.copy()), tg.from_numpy(start.copy())
    if layout == "transposed":
        odd = tg.from_numpy(np.asfortranarray(start))
        assert not odd.numpy().flags.c_contiguous
    for x in (plain, odd):
        x.requires_grad_()
        optimizer = kind([x], **options)
        for g in grads:
            strided = layout == "strided gradient" and x is odd
            x.grad = tg.from_numpy(np.asfortranarray(g) if strided else np.array(g))
            optimizer.step()
    np.testing.assert_allclose(odd.detach().numpy(), plain.detach().numpy(), rtol=1e-12)


@every_kind
@pytest.mark.parametrize("via", ["live", "json"])
def test_resuming_changes_nothing(kind, options, via):
    rng = np.random.default_rng(3)
    grads = rng.standard_normal((6, 2, 2)).astype(np.float32)

    def run(optimizer, params, which):
        for g in which:
            for p in params:
                p.grad = tg.tensor(g)
            optimizer.step()

    def fresh():
        params = [tg.ones(2, 2, requires_grad=True), tg.zeros(2, 2, requires_grad=True)]
        groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.03}]
        return params, kind(groups, **options)

    params, optimizer = fresh()
    run(optimizer, params, grads)
    first, half = fresh()
    run(half, first, grads[:3])
    state = half.state_dict()
    if via == "json":  # tensors apart, the rest as text
        arrays = {(k, n): v.numpy() for k, s in state["state"].items() for n, v in s.items()}
        state = json.loads(json.dumps(state, default=lambda v: None))
        for (k, n), array in arrays.items():
            state["state"][str(k)][n] = array
    second, rest = fresh()
    with tg.no_grad():
        for p, q in zip(second, first, strict=True):
            p.copy_(q)
    rest.load_state_dict(state)
    run(half, first, grads[3:5])  # what was loaded is a copy
    run(rest, second, grads[3:])
    for p, q in zip(params, second, strict=True):
        assert (p == q).all()
    assert rest.param_groups[1]["lr"] == 0.03
    if "betas" in options:
        assert rest.param_groups[0]["betas"] == options["betas"]


def test_loading_checks_before_it_changes():
    x = tg.ones(2, requires_grad=True)
    optimizer = optim.SGD([x], lr=0.1, momentum=0.9)
    x.grad = tg.ones(2)
    optimizer.step()
    good = copy.deepcopy(optimizer.state_dict())
    bad = copy.deepcopy(good)
    bad["state"][0]["momentum_buffer"] = tg.ones(3)
    bad["param_groups"][0]["lr"] = 5.0
    bad["state"][9] = {}
    with pytest.raises(ValueError, match=r"(?s)has shape \(3,\) but \(2,\).*parameter 9 is in no"):
        optimizer.load_state_dict(bad)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.state[x]["momentum_buffer"].shape == (2,)
    with pytest.raises(ValueError, match="2 groups in the state but 1 in the optimiser"):
        optimizer.load_state_dict({"state": {}, "param_groups": good["param_groups"] * 2})
    good["param_groups"][0]["params"] = [0, 1]
    with pytest.raises(ValueError, match="group 0 has 2 parameters in the state but 1"):
        optimizer.load_state_dict(good)


def test_state_takes_the_parameters_dtype():
    x = tg.ones(2, requires_grad=True)
    adam = optim.Adam([x])
    x.grad = tg.ones(2)
    adam.step()
    state = copy.deepcopy(adam.state_dict())
    y = tg.ones(2, dtype=tg.float64, requires_grad=True)
    other = optim.Adam([y])
    other.load_state_dict(state)
    assert other.state[y]["exp_avg"].dtype == np.float64
    assert other.state[y]["step"].dtype == np.float32


def test_groups_and_their_options():
    a, b = nn.Linear(2, 2), nn.Linear(2, 1)
    sgd = optim.SGD(
        [{"params": a.parameters(), "lr": 0.5}, {"params": b.weight, "momentum": 0.9}], lr=0.1
    )
    assert [g["lr"] for g in sgd.param_groups] == [0.5, 0.1]
    assert [g["momentum"] for g in sgd.param_groups] == [0, 0.9]
    sgd.add_param_group({"params": [b.bias]})
    assert sgd.state_dict()["param_groups"][2]["params"] == [3]
    before = a.weight.detach().clone()
    b.bias.grad = tg.ones(1)
    sgd.step()
    assert b.bias.item() == pytest.approx(-0.1)
    assert (a.weight == before).all()  # no gradient, no change
    assert "Parameter Group 1\n    dampening: 0\n    differentiable: False" in repr(sgd)


def test_named_parameters():
    net = nn.Linear(2, 1)
    sgd = optim.SGD(net.named_parameters(), lr=0.1)
    assert sgd.param_groups[0]["param_names"] == ["weight", "bias"]
    assert sgd.param_groups[0]["params"][1] is net.bias


x = tg.ones(2, requires_grad=True)


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        (x, TypeError, "an iterable of tensors"),
        ([], ValueError, "`params` is empty"),
        ({x}, TypeError, "is a set"),
        ([1.0], TypeError, "parameter 0 is a float but a Tensor"),
        ([x * 2], ValueError, "is the result of an operation but a leaf"),
        ([x, x], ValueError, "parameter 1 .* is given twice"),
        ([{"params": [x]}, {"params": [x]}], ValueError, "given twice"),
        ([{"params": {x}}], TypeError, "is a set"),
        ([{"lr": 1.0}], ValueError, "has no 'params'"),
        ([{"params": [x]}, [x]], TypeError, "a group is a list"),
        ([("x", x), tg.ones(1)], TypeError, "named and unnamed"),
    ],
)
def test_bad_parameters(params, error, text):
    with pytest.raises(error, match=text):
        optim.SGD(params, lr=0.1)


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (optim.SGD, {"lr": -1.0}, "SGD: `lr` is -1.0 but at least 0"),
        (optim.SGD, {"momentum": -0.1}, "`momentum`"),
        (optim.SGD, {"weight_decay": math.nan}, "`weight_decay`"),
        (optim.SGD, {"nesterov": True}, "`nesterov` needs momentum"),
        (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "`nesterov` needs"),
        (optim.Adam, {"betas": (0.9, 1.0)}, r"Adam: `betas\[1\]` is 1.0"),
        (optim.Adam, {"betas": 0.9}, "two numbers"),
        (optim.AdamW, {"eps": -1}, "AdamW: `eps`"),
        (optim.RMSprop, {"alpha": -1}, "RMSprop: `alpha`"),
        (optim.Adadelta, {"rho": 1.1}, "Adadelta: `rho` is 1.1 but at most 1"),
        (optim.Adagrad, {"lr_decay": -0.5}, "Adagrad: `lr_decay` is -0.5"),
        (optim.Adamax, {"betas": (0.0, 1.0)}, r"Adamax: `betas\[1\]` is 1.0"),
        (optim.NAdam, {"momentum_decay": -0.2}, "NAdam: `momentum_decay`"),
        (optim.RAdam, {"weight_decay": -1}, "RAdam: `weight_decay`"),
        (optim.Rprop, {"etas": (1.0, 0.5)}, "Rprop: `etas` are"),
        (optim.ASGD, {"weight_decay": -0.5}, "ASGD: `weight_decay`"),
        (optim.Adafactor, {"eps": (-1e-30, 1e-3)}, "Adafactor: `eps`"),
        (optim.Adafactor, {"d": 0.0}, "Adafactor: `d` is 0.0"),
        (optim.Adafactor, {"beta2_decay": 0.8}, "Adafactor: `beta2_decay` is 0.8"),
    ],
)
def test_bad_options(kind, options, text):
    with pytest.raises(ValueError, match=text):
        kind([x], **options)
    optimizer = kind([tg.ones(1, requires_grad=True)])
    with pytest.raises(ValueError, match=text):  # a group's options are checked as well
        optimizer.add_param_group({"params": [x], **options})
    assert len(optimizer.param_groups) == 1


def test_lr_must_be_a_number():
    with pytest.raises(TypeError, match="`lr` is 'fast'"):
        optim.SGD([x], lr="fast")


def test_closure_and_zero_grad():
    w = tg.tensor([2.0], requires_grad=True)
    sgd = optim.SGD([w], lr=0.1)

    def closure():
        sgd.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        assert sgd.step(closure).item() == 4.0
    assert w.item() == pytest.approx(1.6)
    sgd.zero_grad(set_to_none=False)
    assert w.grad.item() == 0
    sgd.zero_grad()
    assert w.grad is None


def test_steps_are_not_recorded_and_are_noticed():
    w = tg.tensor([2.0], requires_grad=True)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    sgd = optim.SGD([w], lr=0.1)
    sgd.step()
    assert w.is_leaf
    with pytest.raises(RuntimeError, match=r"SGD\.step"):
        loss.backward()


def test_numpy_numbers_do_not_lift_float32():
    w = tg.ones(3, requires_grad=True)
    adam = optim.Adam([w], lr=np.float64(0.1), betas=(np.float64(0.9), np.float64(0.99)))
    w.grad = tg.ones(3)
    adam.step()
    assert adam.state[w]["exp_avg"].dtype == np.float32
    np.testing.assert_allclose(w.detach().numpy(), 0.9, rtol=1e-6)


@every_kind
def test_a_bowl_is_descended(kind, options):
    if options.get("maximize"):
        options = options | {"maximize": False}
    w = tg.tensor([0.3, -0.2], requires_grad=True)
    optimizer = kind([w], **options)
    for _ in range(300):
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
    assert (w.abs() < 0.06).all()


def test_own_optimisers_need_only_a_formula():
    class SignDescent(optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def update(self, param, grad, state, group):
            param.array -= group["lr"] * np.sign(grad)

    w = tg.tensor([2.0], requires_grad=True)
    (3 * w).sum().backward()
    SignDescent([w], lr=0.5).step()
    assert w.item() == 1.5
    with pytest.raises(NotImplementedError, match="define `update` or `step`"):
        optim.Optimizer([w], {}).step()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: optim.Muon([x]), ValueError, r"Muon: parameter 0 has shape \(2,\)"),
        (lambda: optim.Muon([w2], adjust_lr_fn="x"), ValueError, "`adjust_lr_fn` is 'x'"),
        (lambda: optim.Muon([w2], ns_steps=100), ValueError, "less than 100 `ns_steps`"),
        (lambda: optim.LBFGS([x], line_search_fn="x"), ValueError, "`line_search_fn` is 'x'"),
        (lambda: optim.LBFGS([{"params": [x]}, {"params": [w2]}]), ValueError, "several groups"),
        (lambda: optim.LBFGS([x]).step(), TypeError, "needs a `closure`"),
        (lambda: optim.SGD([x], capturable=True), TypeError, "unexpected arguments capturable"),
        (lambda: optim.Adam([x], fused=True, foreach=True), RuntimeError, "`fused` is True"),
    ],
)
def test_bad_arguments_of_their_own(make, error, text):
    with pytest.raises(error, match=text):
        make()


w2 = tg.ones(2, 2, requires_grad=True)


def test_muons_directions_are_orthogonal():
    rng = np.random.default_rng(5)
    for shape, adjust in (((6, 3), None), ((3, 6), "match_rms_adamw")):
        w = tg.zeros(shape, dtype=tg.float64, requires_grad=True)
        w.grad = tg.tensor(rng.standard_normal(shape))
        optim.Muon([w], lr=1.0, weight_decay=0.0, ns_steps=12, adjust_lr_fn=adjust).step()
        rate = math.sqrt(2) if adjust is None else 0.2 * math.sqrt(6)
        sizes = np.linalg.svd(w.detach().numpy() / rate, compute_uv=False)
        assert ((sizes > 0.6) & (sizes < 1.3)).all()  # the coefficients do not reach 1


class Nested(optim.SGD):
    def step(self, closure=None):
        return super().step(closure)


@pytest.mark.parametrize("kind", [optim.SGD, optim.LBFGS, Nested])
def test_step_hooks(kind):
    w = tg.ones(2, requires_grad=True)
    optimizer = kind([w], lr=0.1)
    told = []

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    def note(name):
        return lambda o, args, kwargs: told.append((name, o is optimizer, len(args)))

    handles = [
        optimizer.register_step_pre_hook(note("before")),
        optimizer.register_step_post_hook(note("after")),
        optim.optimizer.register_optimizer_step_pre_hook(note("before all")),
        optim.optimizer.register_optimizer_step_post_hook(note("after all")),
    ]
    try:
        optimizer.step(closure)
    finally:
        for handle in handles:
            handle.remove()
    names = ["before all", "before", "after", "after all"]
    assert told == [(name, True, 2) for name in names]  # the optimiser and the closure
    optimizer.step(closure)
    assert len(told) == 4


def test_a_step_hook_may_change_the_arguments():
    optimizer = optim.SGD([tg.ones(1, requires_grad=True)], lr=0.1)
    with optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 7.0), {})):
        assert optimizer.step() == 7.0
    with (
        optimizer.register_step_pre_hook(lambda o, args, kwargs: 3),
        pytest.raises(TypeError, match="SGD: a step hook returned 3"),
    ):
        optimizer.step()


@pytest.mark.parametrize("by_name", [False, True])
def test_a_step_and_its_closure_are_told_of(by_name):
    optimizer = optim.SGD([tg.ones(1, requires_grad=True)], lr=0.1)
    told = []

    def observer(call, go):
        told.append((call.kind, call.name))
        return go()

    watch(observer)
    try:
        out = optimizer.step(closure=lambda: 3.0) if by_name else optimizer.step(lambda: 3.0)
    finally:
        unwatch(observer)
    assert (out, told) == (3.0, [("step", "SGD.step"), ("closure", "closure")])


@pytest.mark.parametrize("lr", ["0.1", None, [0.1], np.array([0.1, 0.2]), tg.ones(2), 1j])
def test_an_option_that_is_no_number(lr):
    with pytest.raises(TypeError, match=r"SGD: `lr` is .* but a number is expected"):
        optim.SGD([tg.ones(1, requires_grad=True)], lr=lr)


@pytest.mark.parametrize("lr", [0.1, np.float32(0.1), np.array(0.1), tg.tensor(0.1), True])
def test_an_option_that_is_a_number(lr):
    optim.SGD([tg.ones(1, requires_grad=True)], lr=lr)


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_what_a_signal_handler_raises_while_options_are_checked_is_not_hidden(error):
    class Interrupted(float):
        def __float__(self):
            raise error("from a signal handler")

    with pytest.raises(error, match="from a signal handler"):
        optim.SGD([tg.ones(1, requires_grad=True)], lr=Interrupted(0.1))


@pytest.mark.parametrize(
    "kind",
    [
        "SGD",
        "Adam",
        "AdamW",
        "Adamax",
        "NAdam",
        "RAdam",
        "ASGD",
        "Adadelta",
        "Adagrad",
        "RMSprop",
        "Rprop",
        "LBFGS",
    ],
)
def test_the_parts_of_complex_parameters_are_numbers_apart(kind):
    """As if the real and the imaginary parts were two real parameters, state included."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 2)) + 1j * rng.standard_normal((3, 2))
    whole = tg.tensor(start, requires_grad=True)
    pairs = tg.view_as_real(tg.tensor(start)).clone().requires_grad_()
    options = {"momentum": 0.9} if kind in ("SGD", "RMSprop") else {}
    for of_pairs, param in enumerate((whole, pairs)):
        optimizer = getattr(optim, kind)([param], lr=0.05, **options)

        def loss(optimizer=optimizer, param=param, of_pairs=of_pairs):
            optimizer.zero_grad()
            z = tg.view_as_complex(param) if of_pairs else param
            value = (z * (1 + 2j) - 0.5j).abs().pow(3).sum() + z.imag.exp().sum()
            value.backward()
            return value

        for _ in range(4):
            optimizer.step(loss)
    assert np.allclose(tg.view_as_real(whole.detach()).numpy(), pairs.detach().numpy())
    held = optimizer.state_dict()["state"][0]
    assert all(not isinstance(x, tg.Tensor) or x.shape != (3, 2) for x in held.values())


def test_a_complex_parameter_keeps_complex_state_through_saving():
    z = tg.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    adam = optim.Adam([z], lr=0.1)
    z.abs().sum().backward()
    adam.step()
    held = adam.state_dict()["state"][0]
    assert held["exp_avg_sq"].dtype == z.dtype
    assert held["exp_avg_sq"].shape == z.shape
    other = optim.Adam([z], lr=0.1)
    other.load_state_dict(adam.state_dict())
    other.step()
    assert float(other.state[z]["step"]) == 2.0


def test_hooks_of_state_dicts_run_in_order():
    told = []
    sgd = optim.SGD([tg.ones(2, requires_grad=True)], lr=0.1)

    def hook(name, answer=None):
        def note(optimizer, *state):
            assert optimizer is sgd
            assert len(state) == (name in ("after saving", "before loading"))
            told.append(name)
            return answer and answer(*state)

        return note

    sgd.register_state_dict_pre_hook(hook("before saving"))
    first = sgd.register_state_dict_post_hook(hook("after saving", lambda s: {**s, "epoch": 3}))
    assert sgd.state_dict()["epoch"] == 3
    first.remove()
    assert "epoch" not in sgd.state_dict()
    sgd.register_load_state_dict_post_hook(hook("after loading"))

    def faster(state):
        state["param_groups"] = [{**state["param_groups"][0], "lr": 0.7}]
        return state

    sgd.register_load_state_dict_pre_hook(hook("before loading", faster))
    sgd.register_load_state_dict_pre_hook(lambda o, s: told.append("first"), prepend=True)
    saved = sgd.state_dict()
    told.clear()
    sgd.load_state_dict(saved)
    assert told == ["first", "before loading", "after loading"]
    assert sgd.param_groups[0]["lr"] == 0.7
    assert saved["param_groups"][0]["lr"] == 0.1
