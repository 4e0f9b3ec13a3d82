"""The gradient doctor: each illness is made on purpose, and must be found with its reason."""

import re

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.viz import Recording, diagnose


class Two(nn.Module):
    """Two layers with something between them."""

    def __init__(self, between):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2)
        self.between = between

    def forward(self, x):
        return self.second(self.between(self.first(x))).square().sum()


def detached(h):
    return h.detach() * 2


def under_no_grad(h):
    with tg.no_grad():
        return h.tanh()


def through_integers(h):
    return (h * 10).long().float()


def compared(h):
    return (h > 0).float()


def numbers(h):
    return tg.tensor(h.tolist()) * 1.0


def data(h):
    return h.data


CUTS = {
    "detach": (detached, "detach() cuts its path to the loss", "in detached"),
    "data": (data, "detach() cuts its path to the loss", "in data"),
    "no_grad": (under_no_grad, "`tanh` ran under no_grad()", "in under_no_grad"),
    "integer": (through_integers, "`cast` makes int64 of it", "in through_integers"),
    "comparison": (compared, "no further operation used the result of `linear`", "in forward"),
    "numbers": (numbers, "no further operation used the result of `linear`", "in forward"),
}


def line_of(function, text):
    """The number of the line of ``function`` that holds ``text``."""
    import inspect

    lines, start = inspect.getsourcelines(function)
    return start + next(i for i, line in enumerate(lines) if text in line)


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("how", ["rerun", "recording"])
def test_why_a_parameter_has_no_gradient(name, how):
    between, why, where = CUTS[name]
    model, x = Two(between), tg.randn(5, 3)
    if how == "rerun":
        loss = model(x)
        loss.backward()
        found = diagnose(loss, model, rerun=lambda: model(x))
    else:
        with Recording(model) as recording:
            loss = model(x)
        loss.backward()
        found = diagnose(loss, model, recording=recording)
    (finding,) = [f for f in found.findings if f.kind == "no gradient"]
    assert finding.what == ("first.weight", "first.bias")
    assert finding.why.startswith(why), finding.why
    assert re.fullmatch(rf".*test_graph_doctor\.py:\d+ {where}", finding.line), finding.line
    assert not found.healthy
    assert finding.why in str(found)


def test_the_line_is_that_of_the_cut():
    model, x = Two(detached), tg.randn(5, 3)
    loss = model(x)
    loss.backward()
    found = diagnose(loss, model, rerun=lambda: model(x))
    number = line_of(detached, "h.detach()")
    assert f"test_graph_doctor.py:{number} in detached" in found.findings[0].line


def test_without_notes_the_graph_still_tells_who_is_cut_off():
    model = Two(detached)
    loss = model(tg.randn(5, 3))
    loss.backward()
    found = diagnose(loss, model)
    (finding,) = found.findings
    assert (finding.what, finding.line) == (("first.weight", "first.bias"), "")
    assert "the loss was not made from it" in finding.why
    assert "rerun=" in str(found)


def test_backward_that_has_not_run():
    model, x = Two(nn.Tanh()), tg.randn(5, 3)
    for options in ({}, {"rerun": lambda: model(x)}):
        found = diagnose(model(x), model, **options)
        (finding,) = found.findings
        assert len(finding.what) == 4
        assert "backward() has not run" in finding.why


def test_a_parameter_that_nobody_reads():
    model, x = Two(nn.Tanh()), tg.randn(5, 3)
    model.extra = nn.Linear(2, 2)
    loss = model(x)
    loss.backward()
    (finding,) = diagnose(loss, model, rerun=lambda: model(x)).findings
    assert finding.what == ("extra.weight", "extra.bias")
    assert finding.why == "no operation read it"


def test_a_result_that_the_loss_does_not_use():
    class Aside(Two):
        def forward(self, x):
            self.kept = self.extra(x) * 2
            return super().forward(x)

    model, x = Aside(nn.Tanh()), tg.randn(5, 3)
    model.extra = nn.Linear(3, 2)
    loss = model(x)
    loss.backward()
    (finding,) = diagnose(loss, model, rerun=lambda: model(x)).findings
    assert finding.what == ("extra.weight", "extra.bias")
    assert "no further operation used the result of `mul`" in finding.why


def test_a_loss_without_a_graph():
    model, x = Two(nn.Tanh()), tg.randn(5, 3)
    with tg.no_grad():
        loss = model(x)
    found = diagnose(loss, model)
    assert found.findings[0].what == ("loss",)

    def rerun():
        with tg.no_grad():
            return model(x)

    found = diagnose(loss, model, rerun=rerun)
    assert "ran under no_grad()" in found.findings[1].why


def test_frozen_parameters_are_no_illness():
    model, x = Two(nn.Tanh()), tg.randn(5, 3)
    model.first.requires_grad_(False)
    loss = model(x)
    loss.backward()
    found = diagnose(loss, model, rerun=lambda: model(x))
    assert found.healthy
    assert [f.kind for f in found.findings] == ["frozen"]


def test_a_healthy_model():
    model, x = Two(nn.Tanh()), tg.randn(5, 3)
    loss = model(x)
    loss.backward()
    found = diagnose(loss, model, rerun=lambda: model(x))
    assert found.healthy
    assert not found.findings
    assert "nothing wrong was found" in str(found)
    assert [g.name for g in found.gradients] == [name for name, _ in model.named_parameters()]
    for g, p in zip(found.gradients, model.parameters(), strict=True):
        assert g.norm == pytest.approx(np.linalg.norm(p.detach().numpy()), rel=1e-6)
        assert g.gradient == pytest.approx(np.linalg.norm(p.grad.numpy()), rel=1e-6)


def test_dead_rectifiers():
    model, x = Two(nn.ReLU()), tg.randn(5, 3)
    with tg.no_grad():
        model.first.bias[1:] = -100.0
        model.first.bias[0] = 100.0
    loss = model(x)
    loss.backward()
    found = diagnose(loss, model, rerun=lambda: model(x))
    dead = {f.what[0]: f.why for f in found.findings if f.kind == "dead"}
    assert dead["`relu` in between"] == "3 of 4 channels are 0 for the whole batch"
    assert "exactly 0 for 3 of 4 units" in dead["first.weight"]
    assert "exactly 0 for 3 of 4 units" in str(diagnose(loss, model))


def test_vanishing_and_exploding_gradients():
    layers = []
    for _ in range(12):
        layers += [nn.Linear(8, 8), nn.Sigmoid()]
    model, x = nn.Sequential(*layers), tg.randn(4, 8)
    loss = model(x).sum()
    loss.backward()
    kinds = {f.kind for f in diagnose(loss, model).findings}
    assert kinds == {"vanishing"}
    # A gradient that is 1e6 times that of the others.
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))
    loss = model(x).sum()
    loss.backward()
    assert diagnose(loss, model).healthy
    model[2].weight.grad = model[2].weight.grad * 1e6
    (finding,) = diagnose(loss, model).findings
    assert (finding.kind, finding.what) == ("exploding", ("2.weight",))


class Logarithm(nn.Module):
    def forward(self, x):
        return x.log()


class Root(nn.Module):
    def forward(self, x):
        return (x * 0).sqrt()


def test_the_first_nan_forward():
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh(), Logarithm()), nn.Linear(4, 2))
    x = tg.randn(5, 3)
    loss = model(x).sum()
    loss.backward()
    found = diagnose(loss, model, rerun=lambda: model(x).sum())
    first = found.findings[0]
    assert (first.kind, first.what) == ("not finite", ("`log` in 1.1",))
    assert "the first NaN is in its result" in first.why
    assert first.line.endswith("in forward")
    assert "the gradient holds NaN or Inf" in str(diagnose(loss, model))


def test_the_first_nan_backward():
    """The root of 0 is finite, its derivative is not."""
    model = nn.Sequential(nn.Linear(3, 4), Root(), nn.Linear(4, 2))
    x = tg.randn(5, 3)
    loss = model(x).sum()
    loss.backward()
    found = diagnose(loss, model, rerun=lambda: model(x).sum())
    first = found.findings[0]
    assert first.what == ("`sqrt` in 1",)
    assert "its derivative rule" in first.why


def test_nan_in_the_input():
    model, x = Two(nn.Tanh()), tg.tensor([[1.0, float("nan"), 2.0]])
    loss = model(x)
    loss.backward()
    first = diagnose(loss, model, rerun=lambda: model(x)).findings[0]
    assert first.what == ("constant",)
    assert first.why == "NaN was in it from the beginning"


def test_the_doctor_does_no_harm():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)), tg.randn(6, 3)
    loss = model(x).sum()
    loss.backward()
    before = [p.grad.numpy().copy() for p in model.parameters()]
    state = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    random = tg.get_rng_state()
    diagnose(loss, model, rerun=lambda: model(x).sum())
    for a, p in zip(before, model.parameters(), strict=True):
        np.testing.assert_array_equal(a, p.grad.numpy())
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[key])
    assert tg.get_rng_state() == random


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((3.0,), "`loss` is a float"), ((tg.ones(1),), "`rerun` returned a int")],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(TypeError, match=message):
        diagnose(*arguments, nn.Linear(1, 1), rerun=lambda: 3)
