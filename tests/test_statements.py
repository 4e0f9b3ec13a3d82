"""The same statements run in PyTorch and here, and what they put down is the same.

Each program is a few lines of text in which ``t`` is either library, ``nn`` its layers and ``put``
notes what is compared: a tensor by its dtype, shape and values, other things as they are, and an
exception that `fails` caught by the built-in class it is of.
"""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from parity import require_torch

import tinygrad_cnn as tg

PROGRAMS = {
    "lazy instance normalisation has weights and running statistics": """
for cls in (nn.LazyInstanceNorm1d, nn.LazyInstanceNorm2d, nn.LazyInstanceNorm3d):
    m = cls()
    m(values(2, 3, *(4,) * (1 + (cls is not nn.LazyInstanceNorm1d))) if "3d" not in cls.__name__
      else values(2, 3, 2, 2, 2))
    put(repr(m), m.state_dict())
""",
    "losses refuse what no input goes with when they are made": """
fails(lambda: nn.TripletMarginLoss(-1))
fails(lambda: nn.TripletMarginWithDistanceLoss(margin=0))
fails(lambda: nn.MultiMarginLoss(p=3))
fails(lambda: nn.MultiMarginLoss(weight=t.ones(2, 2)))
put(repr(nn.TripletMarginWithDistanceLoss()), repr(nn.MultiMarginLoss(p=2)))
""",
    "attributes of layers": """
put(nn.ZeroPad2d(1).value, nn.PairwiseDistance(1.0).norm, nn.Conv2d(1, 1, 1).transposed)
""",
    "values of a state take the module's dtype": """
m = nn.BatchNorm1d(2)
m.load_state_dict({**m.state_dict(), "weight": t.tensor([2, 3]), "running_mean": t.ones(2) > 0,
                   "num_batches_tracked": t.tensor(7.5)})
put(m.state_dict())
fails(lambda: m.load_state_dict({"weight": t.tensor([2, 3])}, strict=False, assign=True))
m.requires_grad_(False).load_state_dict({"weight": t.tensor([2, 3])}, strict=False, assign=True)
put(m.weight)
""",
    "a state asked for by position": """
old = {}
put(list(nn.Linear(2, 2).state_dict(old, "a.", True)), list(old))
class Old(nn.Linear):
    def state_dict(self, *args, **kwargs):
        return super().state_dict(*args, **kwargs)
put(list(nn.Sequential(Old(2, 2)).state_dict(old, "b.")), list(old))
""",
    "subclasses extend `_apply`": """
class Held(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("b", t.ones(1))
        self.register_buffer("n", t.ones(1).long())
        self.w = nn.Parameter(t.ones(2))
        self.kept = t.ones(1)
    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        self.kept = fn(self.kept)
        return self
m = nn.Sequential(Held())
m[0].w.sum().backward()
for change in (m.double, m.half, m.float, lambda: m.to(t.float64), lambda: m.type(t.float32)):
    w = m[0].w
    change()
    put(m[0].w is w, m[0].w, m[0].w.grad, m[0].b, m[0].n, m[0].kept)
m._apply(lambda x: x * 2)
put(m[0].w, m[0].w.grad, m[0].b, m[0].kept)
""",
    "the next base class gets the arguments if asked": """
class Named:
    def __init__(self, name="none"):
        self.name = name
class Passes(nn.Module, Named):
    call_super_init = True
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
put(Passes().name, Passes("a").name, Passes(name="b").name, nn.Module.call_super_init)
class Keeps(nn.Module, Named):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
put(hasattr(Keeps(), "name"))
fails(lambda: Keeps("a"))
fails(lambda: Keeps(name="a"))
""",
    "set_submodule refuses what is no module": """
m = nn.Sequential(nn.Linear(2, 2), nn.Identity())
m.note = 3
fails(lambda: m.set_submodule("0", 3))
fails(lambda: m.set_submodule("note", nn.ReLU()))
fails(lambda: m.set_submodule("0.weight", nn.ReLU()))
fails(lambda: m.set_submodule("", nn.ReLU()))
fails(lambda: m.set_submodule("a.b", nn.ReLU()))
m.set_submodule("new", nn.ReLU())
put(repr(m))
""",
    "initialisers and draws refuse": """
for cls in (t.float32, t.int64):
    for name, args in (("uniform_", (2, 1)), ("normal_", (0, -1)), ("uniform_", (0, 1)),
                       ("normal_", (0, 1))):
        if cls == t.int64:
            try:
                getattr(nn.init, name)(t.zeros(2, dtype=cls), *args)
            except RuntimeError:
                put("refused")
            continue
        fails(lambda: getattr(nn.init, name)(t.zeros(2, dtype=cls), *args).shape[0])
        fails(lambda: getattr(t.zeros(2, dtype=cls), name)(*args).shape[0])
for name in ("exponential_", "cauchy_", "log_normal_", "random_", "normal_", "uniform_"):
    try:
        put(len(getattr(t.zeros(2, dtype=t.int64), name)()))
    except RuntimeError:
        put("refused")
fails(lambda: nn.init.xavier_uniform_(t.zeros(2, 2), gain=-1))
fails(lambda: nn.init.uniform_(t.zeros(2), generator=3))
fails(lambda: t.rand(2, generator=3))
put(bool((nn.init.kaiming_uniform_(t.zeros(2, 200), mode="FAN_OUT").abs() > 0.5).any()))
put(nn.init._calculate_fan_in_and_fan_out(t.zeros(4, 3, 2)))
put(nn.init._calculate_correct_fan(t.zeros(4, 3), "fan_out"))
fails(lambda: nn.init._calculate_fan_in_and_fan_out(t.zeros(4)))
""",
    "weight normalisation": """
new = nn.utils.parametrizations.weight_norm
m = nn.Linear(2, 3)
old = {"weight_g": values(3, 1), "weight_v": values(3, 2), "bias": values(3)}
put(new(m).load_state_dict(old).missing_keys, m.weight)
nn.Sequential(m).load_state_dict({"0." + k: v * 2 for k, v in old.items()})
put(m.weight, list(m.state_dict()))
fails(lambda: new(nn.Linear(2, 2), dim=5))
fails(lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2), dim=5))
for norm in (nn.utils.weight_norm, nn.utils.spectral_norm):
    m = norm(nn.Linear(2, 2))
    fails(lambda: norm(m) and 1)
""",
    "what is not known yet of lazy parameters": """
p = nn.LazyLinear(2).weight
for ask in (lambda: p.shape, lambda: p.numel(), lambda: len(p)):
    try:
        put(ask())
    except (ValueError, RuntimeError):
        put("refused")
""",
    "hooks keep the dtype": """
x = values(3).requires_grad_()
x.register_hook(lambda g: g.double())
fails(lambda: (x * 2).sum().backward())
put(x.grad)
""",
    "gradients that are asked for": """
G = t.autograd.grad
x = values(3).requires_grad_()
fails(lambda: G(x.sum(), []))
fails(lambda: G(x * 2, x, t.ones(3, dtype=t.complex64)))
fails(lambda: G(x * (1 + 2j), x, t.ones(3)))
put(G(x * 2, x, t.ones(3, dtype=t.float64)))
put(t.is_anomaly_enabled(), t.is_anomaly_check_nan_enabled())
with t.autograd.detect_anomaly(check_nan=False):
    put(t.is_anomaly_enabled(), t.is_anomaly_check_nan_enabled())
hooks = t.autograd.graph.saved_tensors_hooks
def push(*given):
    with hooks(*given):
        pass
fails(lambda: push(3, 4))
fails(lambda: push(lambda v: v, 4))
fails(lambda: push(lambda v: v, lambda v: v))
""",
    "arguments of a Function by name, and what is no tensor": """
class Scaled(t.autograd.Function):
    @staticmethod
    def forward(ctx, x, by, offset=0):
        ctx.by = by
        put(ctx.needs_input_grad)
        return x * by + offset
    @staticmethod
    def backward(ctx, g):
        return g * ctx.by, None, None
x = values(3).requires_grad_()
fails(lambda: Scaled.apply(x, offset=1, by=3).sum().backward())
fails(lambda: Scaled.apply(x, foo=1))
class Later(t.autograd.Function):
    @staticmethod
    def forward(x, by=5):
        return x * by
    @staticmethod
    def setup_context(ctx, inputs, output):
        put(inputs)
        ctx.by = inputs[1]
    @staticmethod
    def backward(ctx, g):
        return g * ctx.by, None
for kwargs in ({}, {"by": 2}):
    Later.apply(x, **kwargs).sum().backward()
put(x.grad)
class Keeps(t.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x, None, 3)
        return x
fails(lambda: Keeps.apply(x))
""",
    "the backward pass from a place in the graph": """
x = values(3).requires_grad_()
y = x * 2
edge = t.autograd.graph.get_gradient_edge(y)
t.autograd.backward(edge, t.ones(3), retain_graph=True)
put(x.grad, t.autograd.grad([edge, (x * x).sum()], x, [values(3), None]))
fails(lambda: t.autograd.backward(edge))
""",
    "what the backward of a Function returns": """
class Twice(t.autograd.Function):
    back = None
    @staticmethod
    def forward(ctx, x):
        return x * 2
    @classmethod
    def returning(cls, value):
        return type("T", (cls,), {"backward": staticmethod(lambda ctx, g: value(g))})
x = values(2, 1).requires_grad_()
for value in (lambda g: g * 2, lambda g: g.expand(2, 3), lambda g: g.expand(4, 2, 3),
              lambda g: g[:1], lambda g: g.sum(), lambda g: None, lambda g: (g, None),
              lambda g: (g, g), lambda g: 3, lambda g: g.double(), lambda g: ()):
    x.grad = None
    fails(lambda: Twice.returning(value).apply(x).sum().backward())
    put(x.grad)
y = Twice.apply(x)
put(y)
fails(lambda: y.sum().backward())
fails(lambda: t.autograd.Function.apply(x))
""",
    "distributions: what they are made of": """
D = t.distributions
p = t.tensor([[0.2, 0.8], [0.5, 0.5]])
made = [D.Normal(0.0, p), D.Laplace(1.0, p), D.Uniform(-p, p), D.Exponential(p), D.Bernoulli(p),
        D.Bernoulli(logits=p), D.Categorical(p), D.Categorical(logits=p),
        D.Independent(D.Normal(p, 1.0), 1), D.Independent(D.Bernoulli(p), 0), D.Normal(0, 1),
        D.Categorical(t.tensor([1, 3]))]
for d in made:
    put(repr(d).replace("torch.", ""), d.batch_shape, d.event_shape, d.mean, d.variance, d.mode)
    put(d.has_rsample, d.has_enumerate_support, d.perplexity(), sorted(d.arg_constraints))
    fails(lambda: d.enumerate_support())
    fails(lambda: d.enumerate_support(False))
    wide = d.expand((3, *d.batch_shape))
    put(wide.batch_shape, wide.mean, wide.entropy(), wide.sample((2,)).shape, wide.mode)
    fails(lambda: d.expand((7, 7)).batch_shape)
    for v in (0.0, 0.3, 1.0, -1.0, 2.0, 1.5, math.nan):
        fails(lambda: d.log_prob(t.full(d.batch_shape + d.event_shape, v)))
        fails(lambda: d.cdf(t.full(d.batch_shape + d.event_shape, v)))
        put(d.support.check(t.full(d.batch_shape + d.event_shape, v)))
    fails(lambda: d.icdf(t.full(d.batch_shape + d.event_shape, 0.3)))
    fails(lambda: d.log_prob(t.zeros(5)))
    fails(lambda: d.log_prob("a"))
    put(d.support.is_discrete, d.support.event_dim)
""",
    "distributions: what is checked": """
D = t.distributions
for bad in (lambda **k: D.Normal(0.0, -1.0, **k), lambda **k: D.Normal(math.nan, 1.0, **k),
            lambda **k: D.Uniform(1.0, 1.0, **k), lambda **k: D.Exponential(0.0, **k),
            lambda **k: D.Bernoulli(1.5, **k), lambda **k: D.Bernoulli(logits=math.nan, **k),
            lambda **k: D.Categorical(t.tensor([0.0, 0.0]), **k),
            lambda **k: D.Categorical(logits=t.tensor([math.nan, 1.0]), **k)):
    fails(lambda: bad() and 1)
    fails(lambda: bad(validate_args=False) and 1)
    D.Distribution.set_default_validate_args(False)
    fails(lambda: bad() and 1)
    fails(lambda: bad(validate_args=True) and 1)
    D.Distribution.set_default_validate_args(True)
fails(lambda: D.Distribution.set_default_validate_args(3))
c = D.constraints
x = t.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, math.nan])
for k in (c.real, c.positive, c.nonnegative, c.unit_interval, c.boolean, c.interval(0.0, 2.0),
          c.integer_interval(0, 1), c.greater_than(0.5), c.greater_than_eq(0.5),
          c.independent(c.real, 1), c.real_vector, c.simplex):
    put(repr(k), k.check(x), k.is_discrete, k.event_dim)
put(c.simplex.check(t.tensor([[0.5, 0.5], [0.5, 0.6], [1.5, -0.5]])))
""",
    "hooks of all modules": """
H = nn.modules.module
said = []
def say(what, result=None):
    return lambda m, *rest: (said.append((what, type(m).__name__)), result)[1]
handles = [H.register_module_forward_pre_hook(say("every pre")),
           H.register_module_forward_hook(say("every forward")),
           H.register_module_full_backward_hook(say("every backward")),
           H.register_module_full_backward_pre_hook(say("every backward pre"))]
m = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
m[0].register_forward_pre_hook(say("pre"))
m[0].register_forward_hook(say("forward"))
m[0].register_full_backward_hook(say("backward"))
m[0].register_full_backward_pre_hook(say("backward pre"))
m(values(1, 2).requires_grad_()).sum().backward()
for handle in handles:
    handle.remove()
m(values(1, 2))
put(said)
def doubled(m, args, kwargs, y):
    said.append(sorted(kwargs))
    return y * 2
always = H.register_module_forward_hook(say("always"), always_call=True)
with H.register_module_forward_hook(doubled, with_kwargs=True):
    put(nn.ReLU()(input=t.ones(2)))
fails(lambda: nn.ReLU()())
always.remove()
fails(lambda: nn.ReLU()())
owned = []
handles = [getattr(H, f"register_module_{kind}_registration_hook")(
               lambda m, name, value: owned.append((type(m).__name__, name)))
           for kind in ("parameter", "buffer", "module")]
handles.append(H.register_module_parameter_registration_hook(
    lambda m, name, value: nn.Parameter(value * 0 + 7) if name == "w" else None))
n = nn.Sequential(nn.BatchNorm1d(2))
n.w = nn.Parameter(t.ones(1))
for handle in handles:
    handle.remove()
n.w2 = nn.Parameter(t.ones(1))
put(said, owned, n.w)
""",
    "softmax without an axis, numbers made flat": """
for shape in ((), (3,), (2, 3), (2, 3, 4), (1, 2, 3, 4)):
    x = values(*shape)
    for f in (t.nn.functional.softmax, t.nn.functional.log_softmax, t.nn.functional.softmin,
              nn.Softmax(), nn.LogSoftmax(), nn.Softmin()):
        put(f(x))
for ends in ((0, -1), (1, -1), (0, 1), (-1, 0), (-2, -1)):
    fails(lambda: t.tensor(1.0).flatten(*ends))
fails(lambda: nn.Flatten()(t.tensor(1.0)))
""",
    "binary cross-entropy of what is no probability": """
for given, wanted in ((0.5, 2.0), (0.5, -0.1), (0.5, math.nan), (1.5, 0.5), (math.nan, 0.5),
                      (0.2, 1.0)):
    fails(lambda: nn.BCELoss()(t.tensor([given]), t.tensor([wanted])))
""",
    "lerp goes from the nearer end": """
a = t.tensor([math.inf, 1.0, math.inf, -math.inf, 1.0, -3e38, 0.1])
b = t.tensor([1.0, math.inf, math.inf, math.inf, 3.0, 3e38, 0.3])
for w in (0, 0.25, 0.5, 0.75, 1.0, -2.0, 3, math.nan):
    put(t.lerp(a, b, w), t.lerp(a, b, t.tensor(float(w))), t.lerp(a, b, t.full((7,), float(w))))
    put((t.lerp(t.tensor(0.1), t.tensor(0.3), w) == 0.3).item(), a.clone().lerp_(b, w))
w = t.tensor([0.2, 0.7, 0.5, -0.5, 1.0], requires_grad=True)
x, y = values(5).requires_grad_(), (values(2, 5) * 3).requires_grad_()
(t.lerp(x, y, w) * values(2, 5).exp()).sum().backward()
put(w.grad, x.grad, y.grad)
""",
    "how tensors are printed": """
x = t.tensor([1.23456, 20.0])
for options in ({"profile": "short"}, {"profile": "full"}, {"profile": "default", "precision": 2},
                {"sci_mode": True}, {"profile": "default"}):
    t.set_printoptions(**options)
    put(repr(x), repr(t.ones(1001))[:40])
for bad in ({"precision": "a"}, {"linewidth": "a"}):
    try:
        t.set_printoptions(**bad)
        repr(x)
        put("taken")
    except (TypeError, ValueError):
        put("refused")
    t.set_printoptions(profile="default")
put(repr(x))
""",
    "errors in modules of code without a name": """
class Wrong(nn.Module):
    def forward(self, x):
        raise ValueError("wrong")
fails(lambda: Wrong()(values(2)))
""",
}


def noted(value: Any, lib: Any) -> Any:
    """What can be compared."""
    if isinstance(value, lib.Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return kind, tuple(value.shape), value.requires_grad, value.detach().numpy().tolist()
    if isinstance(value, dict):
        return [(k, noted(v, lib)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [noted(v, lib) for v in value]
    return value


def builtin_of(error: Exception) -> list[type]:
    return [kind for kind in type(error).__mro__ if kind.__module__ == "builtins"]


def run(program: str, lib: Any) -> list[Any]:
    story: list[Any] = []

    def fails(call: Any) -> None:
        try:
            story.append(("no error", noted(call(), lib)))
        except Exception as error:  # what is compared
            story.append(error)

    def values(*shape: int) -> Any:
        return (lib.arange(math.prod(shape), dtype=lib.float32) * 0.7).cos().reshape(shape)

    known = {"t": lib, "nn": lib.nn, "fails": fails, "values": values, "copy": copy}
    known |= {
        "math": math,
        "put": lambda *v: story.extend(noted(x, lib) for x in v),
        "pickle": pickle,
        "np": np,
    }
    exec(program, known)
    return story


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, Exception):
        return isinstance(ours, Exception) and isinstance(ours, builtin_of(theirs)[0])
    if isinstance(theirs, list | tuple):
        return (
            isinstance(ours, list | tuple)
            and len(ours) == len(theirs)
            and all(map(same, ours, theirs))
        )
    if isinstance(theirs, float):
        return isinstance(ours, float) and bool(
            np.isclose(ours, theirs, rtol=1e-4, atol=1e-5, equal_nan=True)
        )
    return type(ours) is type(theirs) and bool(ours == theirs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_statements(name: str) -> None:
    torch = require_torch()
    ours, theirs = run(PROGRAMS[name], tg), run(PROGRAMS[name], torch)
    assert len(ours) == len(theirs)
    for mine, yours in zip(ours, theirs, strict=True):
        assert same(mine, yours), (mine, yours)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_put_something_down(name: str) -> None:
    """Without PyTorch they run too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)
        assert run(PROGRAMS[name], tg)
