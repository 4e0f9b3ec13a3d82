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
    known |= {"put": lambda *v: story.extend(noted(x, lib) for x in v), "pickle": pickle, "np": np}
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
        return isinstance(ours, float) and math.isclose(ours, theirs, rel_tol=1e-4, abs_tol=1e-5)
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
