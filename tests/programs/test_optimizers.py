"""An optimiser's step within a program: launches, whose numbers are written at each replay."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.nn import functional as F

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")


@pytest.fixture(autouse=True)
def _compiled():
    former = tg.set_kernels("jit")
    yield
    tg.set_kernels(former)


KINDS = {
    "sgd": (optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    "momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "maximize": True}),
    "nesterov": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": (optim.Adam, {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    "adamw": (optim.AdamW, {"lr": 0.01, "betas": (0.7, 0.9)}),
    "amsgrad": (optim.AdamW, {"lr": 0.01, "amsgrad": True}),
}
SCHEDULES = {
    "none": None,
    "cycle": lambda o: optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=20),
    "steps": lambda o: optim.lr_scheduler.StepLR(o, 2, 0.5),
}


class Training:
    """A small network with two groups of parameters, one of which gets no gradient."""

    def __init__(self, kind: str, schedule: str = "none", fullgraph: bool = False) -> None:
        tg.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
        self.idle = tg.ones(2, requires_grad=True)
        make, options = KINDS[kind]
        first, last = self.net[0].parameters(), self.net[2].parameters()
        groups = [{"params": first}, {"params": [*last, self.idle], "lr": 0.05}]
        self.optimizer = make(groups, **options)
        make_schedule = SCHEDULES[schedule]
        self.schedule = make_schedule and make_schedule(self.optimizer)
        self.plain, self.fullgraph = self.step, fullgraph
        self.random = np.random.default_rng(1)

    def compile(self) -> Training:
        self.step = tg.compile(self.plain, fullgraph=self.fullgraph)
        return self

    def step(self, x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.net(x), y)
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return loss

    def run(self, count: int = 1) -> list[object]:
        seen: list[object] = []
        for _ in range(count):
            x = tg.tensor(self.random.normal(size=(4, 6)).astype("f"))
            loss = self.step(x, tg.tensor(self.random.integers(0, 3, 4)))
            seen += [loss.item(), self.state()]
        return seen

    def state(self) -> list[object]:
        """All that a checkpoint has of it, and the gradients."""
        saved = self.optimizer.state_dict()
        held = [
            (key, name, value.numpy().tobytes())
            for key, state in saved["state"].items()
            for name, value in state.items()
        ]
        params = [*self.net.parameters(), self.idle]
        grads = [None if p.grad is None else p.grad.numpy().tobytes() for p in params]
        weights = [p.detach().numpy().tobytes() for p in params]
        return [held, repr(saved["param_groups"]), self.optimizer.step_count, grads, weights]


RUNS = [(k, s) for k in KINDS for s in SCHEDULES if (k, s) != ("sgd", "cycle")]  # of momentum


@pytest.mark.parametrize(("kind", "schedule"), RUNS)
def test_state_is_as_usual_after_every_step(kind, schedule, monkeypatch):
    plain, compiled = Training(kind, schedule), Training(kind, schedule).compile()
    assert compiled.run(1) == plain.run(1)
    called = []
    monkeypatch.setattr(optim.Optimizer, "_advance", lambda self: called.append(self))
    replayed = compiled.run(4)
    monkeypatch.undo()
    assert replayed == plain.run(4)
    assert not called
    assert compiled.step.recordings == 1


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_as_a_whole_program(kind):
    training = Training(kind, fullgraph=True).compile()
    assert training.run(3) == Training(kind).run(3)
    assert "in Python" not in training.step.explain()


def _load(training):
    training.optimizer.load_state_dict(copy.deepcopy(training.optimizer.state_dict()))


def _forget(training):
    training.optimizer.state.clear()


def _replace(training):
    for state in training.optimizer.state.values():
        for name, value in state.items():
            state[name] = value * 0.5


def _one_behind(training):
    state = training.optimizer.state[training.net[0].weight]
    for name in state:
        state[name].mul_(0.5)


def _in_place(training):
    for state in training.optimizer.state.values():
        for value in state.values():
            value.detach().numpy()[...] *= 0.5


def _options(training):
    for group in training.optimizer.param_groups:
        group["lr"], group["weight_decay"] = 0.3, 0.2
        group["maximize"] = not group["maximize"]
        if "betas" in group:
            group["betas"] = (0.5, 0.6)
        elif group["momentum"]:
            group["momentum"] = 0.4


def _other_formula(training):
    for group in training.optimizer.param_groups:
        if "momentum" in group:
            group["momentum"] = 0.0 if group["momentum"] else 0.9
            group["nesterov"] = False
        else:
            group["amsgrad"] = False


def _another_group(training):
    new = tg.ones(3, requires_grad=True)
    new.grad = tg.ones(3)
    training.optimizer.add_param_group({"params": [new], "lr": 0.5})


def _one_less(training):
    training.optimizer.state.pop(training.optimizer.param_groups[0]["params"].pop(), None)


CHANGES = [
    _load, _forget, _replace, _one_behind, _in_place, _options, _other_formula, _another_group,
    _one_less,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_changes_between_steps_are_seen(kind, change):
    plain, compiled = Training(kind), Training(kind).compile()
    for training in (plain, compiled):
        training.seen = training.run(3)
        change(training)
        training.seen += training.run(2)
        change(training)
        training.seen += training.run(2)
    assert compiled.seen == plain.seen


def test_what_stays_changed_is_recorded_anew(monkeypatch):
    plain, compiled = Training("adam"), Training("adam").compile()
    for training in (plain, compiled):
        training.run(2)
        _load(training)
        training.run(4)
    called = []
    monkeypatch.setattr(optim.Optimizer, "_advance", lambda self: called.append(self))
    found = compiled.run(2)
    monkeypatch.undo()
    assert found == plain.run(2)
    assert not called
    assert compiled.step.recordings == 2


def test_gradients_are_clipped_by_launches():
    p = [tg.ones(3, requires_grad=True), tg.ones(40, requires_grad=True)]
    sgd = optim.SGD(p, lr=0.1)

    def step(x):
        sgd.zero_grad()
        (p[0] * x).sum().backward()
        (p[1] * 3).sum().backward()
        norm = nn.utils.clip_grad_norm_(p, 0.5)
        sgd.step()
        return norm

    compiled = tg.compile(step)
    norms = [compiled(tg.full((3,), k)).item() for k in (1.0, 2.0, 3.0)]
    assert norms == pytest.approx([(3 * k * k + 360) ** 0.5 for k in (1, 2, 3)])
    assert "_clipped" not in compiled.explain().partition("in Python")[2]


def test_options_that_the_function_changes_itself_are_changed_at_every_call():
    def trained(compiles: bool) -> tuple[float, float]:
        x = tg.ones(1, requires_grad=True)
        sgd = optim.SGD([x], lr=1.0)

        def step():
            sgd.zero_grad()
            (x * 1).sum().backward()
            sgd.step()
            sgd.param_groups[0]["lr"] *= 0.5

        run = tg.compile(step) if compiles else step
        for _ in range(4):
            run()
        if compiles:
            assert "changes objects, an optimiser's options" in run.explain()
            assert run.explain().count("is cut") == 1
        return x.item(), sgd.param_groups[0]["lr"]

    assert trained(True) == trained(False) == (-0.875, 0.0625)
