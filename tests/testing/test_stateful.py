"""Random programs, step by step, against an interpreter of dual numbers that shares nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from dual_numbers import BINARY, UNARY, Memory, Places
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import tinygrad_cnn as tg
from tinygrad_cnn.autograd.node import SavedValue
from tinygrad_cnn.autograd.variable import Variable

backward = import_module("tinygrad_cnn.autograd.backward")  # not the function of that name

SHAPES = ((), (2,), (2, 1), (2, 2))  # any two broadcast
VIEWS = {
    "row": lambda x: x[0],
    "rows from 1 on": lambda x: x[1:],
    "backwards in steps": lambda x: x[::2],
    "transposed": lambda x: x.transpose(*range(x.ndim)[::-1]) if isinstance(x, np.ndarray) else x.T,
    "with a new axis": lambda x: x[None],
}
FACTORS = st.sampled_from((None, None, None, 2.0, -1.5))
NUMBERS = st.integers(0, 2**16)
RARELY = st.sampled_from((False, False, False, True))


@dataclass
class Twin:
    """A tensor and the same tensor for the interpreter."""

    tensor: Any
    places: Places
    base: int  # which memory it looks into
    leaf: bool = False  # requires a gradient itself, or looks into something that does
    inputs: range = field(default_factory=lambda: range(0))


class Programs(RuleBasedStateMachine):
    """Draws tensors, operations, views, changes in place, hooks and backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()
        self.pool: list[Twin] = []
        self.leaves: list[Twin] = []
        self.expected: dict[int, np.ndarray] = {}
        self.saved: set[int] = set()  # memory that a rule may want to read again
        self.overwritten = False  # and that has been changed since

    def pick(self, number: int) -> Twin:
        return self.pool[-1 - number % min(len(self.pool), 6)]  # 0 is the last made

    def keep(self, twin: Twin) -> Twin:
        self.pool.append(twin)
        return twin

    # ---- tensors -----------------------------------------------------------------------

    @initialize(seed=NUMBERS, shape=st.sampled_from(SHAPES))
    def begin(self, seed: int, shape: tuple[int, ...]) -> None:
        self.new_leaf(seed, shape, True, None)

    @rule(seed=NUMBERS, shape=st.sampled_from(SHAPES), wanted=st.booleans(), factor=FACTORS)
    def new_leaf(
        self, seed: int, shape: tuple[int, ...], wanted: bool, factor: float | None
    ) -> None:
        values = np.asarray(np.random.default_rng(seed).uniform(-1, 1, shape))
        tensor = tg.tensor(values, requires_grad=wanted)
        if factor is not None and wanted:
            tensor.register_hook(lambda g: g * factor)
        first = self.memory.inputs
        places = self.memory.leaf(values, wanted, 1.0 if factor is None else factor)
        inputs = range(first, self.memory.inputs)
        twin = self.keep(Twin(tensor, places, len(self.memory.cells), wanted, inputs))
        if wanted:
            self.leaves.append(twin)

    # ---- operations --------------------------------------------------------------------

    @rule(n=NUMBERS, kind=st.sampled_from(sorted(UNARY)), factor=FACTORS, unrecorded=RARELY)
    def unary(self, n: int, kind: str, factor: float | None, unrecorded: bool) -> None:
        a = self.pick(n)
        with _mode(unrecorded):
            result = getattr(tg, kind)(a.tensor)
        self.result(result, UNARY[kind], [a.places], [a], factor, unrecorded)

    @rule(
        n=NUMBERS,
        m=NUMBERS,
        kind=st.sampled_from(sorted(BINARY)),
        factor=FACTORS,
        unrecorded=RARELY,
    )
    def binary(self, n: int, m: int, kind: str, factor: float | None, unrecorded: bool) -> None:
        a, b = self.pick(n), self.pick(m)
        with _mode(unrecorded):
            result = getattr(tg, kind)(a.tensor, b.tensor)
        wide = np.broadcast_shapes(a.tensor.shape, b.tensor.shape)
        operands = [t.places.view(lambda i: np.broadcast_to(i, wide)) for t in (a, b)]
        self.result(result, BINARY[kind], operands, [a, b], factor, unrecorded)

    def result(
        self,
        tensor: Any,
        function: Any,
        operands: list[Places],
        read: list[Twin],
        factor: float | None,
        unrecorded: bool,
    ) -> None:
        if factor is not None and tensor.requires_grad:
            tensor.register_hook(lambda g: g * factor)
        duals = self.memory.compute(
            function, *operands, recording=not unrecorded, factor=factor or 1.0
        )
        twin = self.keep(
            Twin(tensor, self.memory.store(duals, tensor.shape), len(self.memory.cells))
        )
        self.saved.update(t.base for t in (*read, twin))

    @rule(n=NUMBERS)
    def total(self, n: int) -> None:
        a = self.pick(n)
        duals = self.memory.read(a.places)
        whole = sum(duals[1:], start=duals[0])
        self.keep(Twin(a.tensor.sum(), self.memory.store([whole], ()), len(self.memory.cells)))

    # ---- views and in-place changes ------------------------------------------------------

    @rule(n=NUMBERS, kind=st.sampled_from(sorted(VIEWS)), unrecorded=RARELY)
    def view(self, n: int, kind: str, unrecorded: bool) -> None:
        a = self.pick(n)
        if a.tensor.ndim == 0 or a.tensor.ndim > 2 or len(a.tensor) < 2:
            return
        with _mode(unrecorded):
            tensor = VIEWS[kind](a.tensor)
        self.keep(Twin(tensor, a.places.view(VIEWS[kind], cut=unrecorded), a.base, a.leaf))

    @rule(n=NUMBERS)
    def detach(self, n: int) -> None:
        a = self.pick(n)
        self.keep(Twin(a.tensor.detach(), a.places.view(lambda i: i, cut=True), a.base))

    @rule(
        n=NUMBERS,
        m=NUMBERS,
        kind=st.sampled_from(("add_", "sub_", "mul_", "copy_", "x[:] =")),
        unrecorded=RARELY,
    )
    def change(self, n: int, m: int, kind: str, unrecorded: bool) -> None:
        a, b = self.pick(n), self.pick(m)
        shape = a.tensor.shape
        if a.places.cut or np.broadcast_shapes(shape, b.tensor.shape) != shape:
            return
        if kind == "x[:] =" and not shape:
            return

        def run() -> None:
            if kind == "x[:] =":
                a.tensor[:] = b.tensor
            else:
                getattr(a.tensor, kind)(b.tensor)

        if a.leaf and not unrecorded:
            with pytest.raises(RuntimeError, match="leaf"):
                run()
            return
        with _mode(unrecorded):
            run()
        function = BINARY.get(kind.rstrip("_"), lambda old, new: new)
        other = b.places.view(lambda i: np.broadcast_to(i, shape))
        duals = self.memory.compute(function, a.places, other, recording=True)
        self.memory.write(a.places, duals, recording=not unrecorded)
        self.overwritten |= a.base in self.saved
        self.saved.update((a.base, b.base))

    @rule(
        n=NUMBERS,
        m=NUMBERS,
        view=st.sampled_from(sorted(VIEWS)),
        kind=st.sampled_from(("add_", "mul_", "x[:] =")),
        through_view=st.booleans(),
        used=st.booleans(),
    )
    def change_what_is_seen(
        self, n: int, m: int, view: str, kind: str, through_view: bool, used: bool
    ) -> None:
        """A view of a new result, and then a change of one of the two, which the other must see.

        If it was ``used`` by an operation whose rule needs it, backward must refuse.
        """
        self.unary(n, "clone", None, False)
        before = len(self.pool)
        self.view(0, view, False)
        if len(self.pool) == before:
            return
        if used:
            self.unary(1, "square", None, False)
        self.change((0 if through_view else 1) + used, m, kind, False)

    # ---- backward ------------------------------------------------------------------------

    @precondition(lambda self: any(t.tensor.requires_grad and not t.leaf for t in self.pool))
    @rule(n=NUMBERS, seed=NUMBERS, retain=st.booleans(), stored=st.booleans())
    def differentiate(self, n: int, seed: int, retain: bool, stored: bool) -> None:
        live = [t for t in self.pool if t.tensor.requires_grad and not t.leaf]
        try:
            self.check(live[-1 - n % len(live)], seed, retain, stored)
        except BaseException:
            self.pool.clear()  # its graph may be used up, and this error is the one to see
            raise

    def teardown(self) -> None:
        """Whatever was drawn, the last results are differentiated in the end."""
        for number, twin in enumerate(reversed(self.pool[-8:])):
            if twin.tensor.requires_grad and not twin.leaf:
                self.check(twin, number, retain=True, stored=False)

    def check(self, root: Twin, seed: int, retain: bool, stored: bool) -> None:
        u = np.asarray(np.random.default_rng(seed).standard_normal(root.tensor.shape))
        partials = np.zeros(self.memory.inputs)
        for weight, dual in zip(u.ravel(), self.memory.read(root.places), strict=True):
            for k, p in dual.partials.items():
                partials[k] += weight * p
        gradients = [
            partials[t.inputs.start : t.inputs.stop].reshape(t.tensor.shape) for t in self.leaves
        ]
        try:
            if stored:
                root.tensor.backward(tg.from_numpy(u), retain_graph=retain)
            else:
                found = tg.autograd.grad(
                    root.tensor,
                    [t.tensor for t in self.leaves],
                    tg.from_numpy(u),
                    retain_graph=retain,
                    materialize_grads=True,
                )
        except RuntimeError as error:
            if not (self.overwritten and "in place" in str(error)):
                raise  # nothing that a rule needs was changed in place
            self.forget(gradients_known=False)
            return
        if stored:
            for number, g in enumerate(gradients):
                self.expected[number] = self.expected.get(number, 0.0) + g
            self.compare_stored()
        else:
            for g, expected in zip(found, gradients, strict=True):
                np.testing.assert_allclose(g.numpy(), expected, rtol=1e-9, atol=1e-10)
        if not retain:
            self.forget()

    def compare_stored(self) -> None:
        for number, leaf in enumerate(self.leaves):
            got = leaf.tensor.grad
            found = np.zeros(leaf.tensor.shape) if got is None else got.numpy()
            expected = self.expected.get(number, np.zeros(found.shape))
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)

    def forget(self, gradients_known: bool = True) -> None:
        """The graph is used up: only leaves and constants go on."""
        self.pool = [t for t in self.pool if t.leaf or not t.tensor.requires_grad]
        if not gradients_known:  # some may have been stored before the error
            for leaf in self.leaves:
                leaf.tensor.grad = None
            self.expected.clear()

    @invariant()
    def values_are_equal(self) -> None:
        for twin in self.pool[-3:]:
            expected = self.memory.values(twin.places)
            np.testing.assert_allclose(
                twin.tensor.detach().numpy(), expected, rtol=1e-12, atol=1e-12
            )


def _mode(unrecorded: bool) -> Any:
    return tg.no_grad() if unrecorded else contextlib.nullcontext()


Programs.TestCase.settings = settings(
    max_examples=2 * settings().max_examples, stateful_step_count=25
)
TestPrograms = Programs.TestCase


_BROKEN = {
    "changes in place go unnoticed": (SavedValue, "fail", lambda self, op, name: None),
    "views keep their old history": (Variable, "current_node", lambda self: self.node),
    "hooks are not run": (
        import_module("tinygrad_cnn.autograd.backward"),
        "_run_hooks",
        lambda node, g: g,
    ),
}


@pytest.mark.parametrize("how", _BROKEN)
def test_the_machine_finds_a_broken_engine(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*_BROKEN[how])
    quick = settings(
        max_examples=300, stateful_step_count=25, derandomize=True, phases=[Phase.generate]
    )
    with pytest.raises((AssertionError, IndexError, BaseExceptionGroup)):
        run_state_machine_as_test(Programs, settings=quick)
