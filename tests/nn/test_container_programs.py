"""Random programs of edits leave containers with the members and names that PyTorch's have."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity import require_torch

import tinygrad_cnn as tg

ERRORS = (ValueError, TypeError, IndexError, KeyError, AssertionError, AttributeError)
Edit = Callable[[Any, Any, Any], Any]

CHAIN: dict[str, Edit] = {
    "append": lambda m, c, r: c.append(layer(m, r)),
    "extend": lambda m, c, r: c.extend([layer(m, r) for _ in range(r.integers(3))]),
    "insert": lambda m, c, r: [c.insert(int(r.integers(len(c) + 1)), layer(m, r)), c][1],
    "set": lambda m, c, r: c.__setitem__(int(r.integers(-3, 3)), layer(m, r)),
    "delete": lambda m, c, r: c.__delitem__(int(r.integers(-3, 3))),
    "delete slice": lambda m, c, r: c.__delitem__(some_slice(r)),
    "pop": lambda m, c, r: c.pop(int(r.integers(-2, 2))),
    "pop slice": lambda m, c, r: c.pop(some_slice(r)),
    "slice": lambda m, c, r: c[some_slice(r)],
    "+": lambda m, c, r: c + type(c)(*listed(c, [layer(m, r)])),
    "+=": lambda m, c, r: c.__iadd__(type(c)(*listed(c, [layer(m, r)]))),
    "+ list": lambda m, c, r: operator.add(c, [layer(m, r)]),
    "* n": lambda m, c, r: c * int(r.integers(-1, 3)),
    "n *": lambda m, c, r: int(r.integers(1, 3)) * c,
    "*=": lambda m, c, r: c.__imul__(int(r.integers(0, 3))),
    "* 1.5": lambda m, c, r: c * 1.5,
    "index": lambda m, c, r: c[int(r.integers(-4, 4))],
    "in": lambda m, c, r: c[0] in c if len(c) else None,
}
DICT: dict[str, Edit] = {
    "set": lambda m, c, r: c.__setitem__(name(r), member(m, c, r)),
    "delete": lambda m, c, r: c.__delitem__(name(r)),
    "pop": lambda m, c, r: c.pop(name(r)),
    "update": lambda m, c, r: c.update({n: member(m, c, r) for n in "db"}),
    "update in order": lambda m, c, r: c.update(OrderedDict((n, member(m, c, r)) for n in "ca")),
    "update pairs": lambda m, c, r: c.update([(n, member(m, c, r)) for n in "ec"]),
    "update self": lambda m, c, r: c.update(c),
    "update nothing": lambda m, c, r: c.update(3),
    "in": lambda m, c, r: name(r) in c,
    "lists": lambda m, c, r: [list(c), list(c.keys()), len(c), [k for k, _ in c.items()]],
    "get": lambda m, c, r: c.get(name(r), "none"),
    "setdefault": lambda m, c, r: c.setdefault(name(r), member(m, c, r)),
    "popitem": lambda m, c, r: c.popitem(),
    "reversed": lambda m, c, r: list(reversed(c)),
    "|": lambda m, c, r: c.__or__(type(c)([("z", member(m, c, r))])),
    "|=": lambda m, c, r: c.__ior__(type(c)([("z", member(m, c, r))])),
    "copy": lambda m, c, r: c.copy(),
    "fromkeys": lambda m, c, r: c.fromkeys("xy", 3),
    "clear": lambda m, c, r: c.clear() if r.random() < 0.2 else None,
}
LIST: dict[str, Edit] = {
    "append": lambda m, c, r: c.append(member(m, c, r)),
    "extend": lambda m, c, r: c.extend([member(m, c, r) for _ in range(r.integers(3))]),
    "extend by a tensor": lambda m, c, r: c.extend(m.ones(2)),
    "set": lambda m, c, r: c.__setitem__(int(r.integers(-3, 3)), member(m, c, r)),
    "+=": lambda m, c, r: c.__iadd__([member(m, c, r)]),
    "index": lambda m, c, r: c[int(r.integers(-4, 4))],
    "slice": lambda m, c, r: c[some_slice(r)],
    "length": lambda m, c, r: len(c),
    "other things": lambda m, c, r: c.append("text"),
}


def layer(m: Any, r: Any) -> Any:
    return [m.nn.ReLU(), m.nn.Linear(1, 1), m.nn.Tanh()][r.integers(3)]


def member(m: Any, c: Any, r: Any) -> Any:
    if "Parameter" in type(c).__name__:
        value = m.ones(int(r.integers(1, 4)))
        return m.nn.Parameter(value) if r.random() < 0.5 else value
    return layer(m, r)


def listed(c: Any, layers: list[Any]) -> list[Any]:
    return layers if "Sequential" in type(c).__name__ else [layers]


def some_slice(r: Any) -> slice:
    start, stop = (None if r.random() < 0.3 else int(r.integers(-3, 4)) for _ in range(2))
    return slice(start, stop, [None, 1, 2][r.integers(3)])


def name(r: Any) -> str:
    return "abcd"[r.integers(4)]


def described(value: Any) -> Any:
    """What can be compared between the libraries."""
    if hasattr(value, "named_modules"):
        inside = [(k, type(v).__name__) for k, v in value.named_children()]
        shapes = [(k, tuple(v.shape)) for k, v in value.state_dict().items()]
        return type(value).__name__, len(value) if hasattr(value, "__len__") else 0, inside, shapes
    if isinstance(value, tuple | list):
        return [described(v) for v in value]
    return (type(value).__name__, tuple(value.shape)) if hasattr(value, "shape") else value


def run(m: Any, kind: str, edits: dict[str, Edit], seed: int) -> list[Any]:
    r = np.random.default_rng(seed)
    c = getattr(m.nn, kind)()
    story: list[Any] = []
    for _ in range(12):
        edit = list(edits)[r.integers(len(edits))]
        before = r.bit_generator.state
        try:
            found = edits[edit](m, c, r)
        except ERRORS:
            found = "an error"
        r.bit_generator.state = before
        r.random()
        if hasattr(found, "named_modules") and type(found) is type(c) and r.random() < 0.5:
            c = found
        story.append((edit, described(found), described(c)))
    return story


@pytest.mark.parametrize(
    ("kind", "edits"),
    [
        ("Sequential", CHAIN),
        ("ModuleList", CHAIN),
        ("ModuleDict", DICT),
        ("ParameterDict", DICT),
        ("ParameterList", LIST),
    ],
)
@pytest.mark.parametrize("start", [0, 100])
def test_programs(kind: str, edits: dict[str, Edit], start: int) -> None:
    torch = require_torch()
    for seed in range(start, start + 60):
        ours, theirs = run(tg, kind, edits, seed), run(torch, kind, edits, seed)
        for mine, yours in zip(ours, theirs, strict=True):
            assert mine == yours, f"seed {seed}: {[step[0] for step in ours]}"
