"""The doctor: fresh networks are healthy, and an illness made on purpose is found, once."""

import re

import numpy as np
import pytest
from zoo import ZOO, as_pytorch

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from models.lenet5 import LeNet5
from models.minivgg import MiniVGG
from models.resnet18 import ResNet18
from models.resnet20 import ResNet20
from tinygrad_cnn import nn, optim
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
    (finding,) = diagnosed(model, lambda: model(x)).findings
    assert (finding.kind, finding.what) == ("dead", ("`relu` in between",))
    assert finding.why.startswith("3 of 4 channels are 0 for the whole batch: 3 biases of `linear`")
    # Half of the units of a fresh layer may be 0 for inputs that are alike; nearly all are not.
    wide = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 2))
    with tg.no_grad():
        wide[0].weight[:58] = -wide[0].weight[:58].abs()
        wide[0].bias[:58] = 0.0
    positive = x.abs()
    for options in ({}, {"rerun": lambda: wide(positive).square().sum()}):
        loss = wide(positive).square().sum()
        wide.zero_grad()
        loss.backward()
        (finding,) = diagnose(loss, wide, **options).findings
        assert finding.kind == "dead"
        assert f"{int((wide(positive).detach().numpy() != 0).all()) * 58} of 64" in finding.why


def diagnosed(model, compute, **options):
    """What is found after one backward pass."""
    model.zero_grad()
    loss = compute()
    loss.backward()
    return diagnose(loss, model, rerun=compute, **options)


FRESH = {**ZOO, "LeNet5": LeNet5, "MiniVGG": MiniVGG, "ResNet20": ResNet20, "ResNet18": ResNet18}


@pytest.mark.parametrize("draw", [lambda m: m, as_pytorch], ids=["ours", "pytorch"])
@pytest.mark.parametrize("name", FRESH)
def test_fresh_networks_are_healthy(name, draw):
    """Whatever the kind of network, the weights it begins with, and the usual learning rates."""
    tg.manual_seed(0)
    model = draw(FRESH[name]())
    x, labels = tg.randn(4, 3, 32, 32), tg.randint(10, (4,))

    def compute():
        return F.cross_entropy(model(x), labels)

    loss = compute()
    loss.backward()
    adam, sgd = optim.Adam(model.parameters(), lr=1e-3), optim.SGD(model.parameters(), lr=0.01)
    found = [
        diagnose(loss, model, optimizer=sgd),
        diagnose(loss, model, rerun=compute, optimizer=adam),
    ]
    assert [str(f) for d in found for f in d.findings] == []


class Illness:
    """A network, data and an optimiser, in which something is spoiled on purpose."""

    def __init__(self):
        tg.manual_seed(0)
        self.model = LeNet5()
        self.x, self.labels = tg.randn(8, 3, 32, 32), tg.randint(10, (8,))
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01)
        self.backwards = 1

    def compute(self):
        return F.cross_entropy(self.model(self.x), self.labels)


def other_tensors(it):
    it.optimizer = optim.SGD(LeNet5().parameters(), lr=0.01)


def replaced_head(it):
    it.model.output = nn.Linear(84, 10)


def no_zero_grad(it):
    it.backwards = 3


def softmax(it):
    it.compute = lambda: F.cross_entropy(F.softmax(it.model(it.x), 1), it.labels)


def high_rate(it):
    it.optimizer = optim.SGD(it.model.parameters(), lr=30.0)


def high_rate_of_adam(it):
    it.optimizer = optim.Adam(it.model.parameters(), lr=1.0)


def constant_input(it):
    it.x = tg.zeros(8, 3, 32, 32)


def the_same_image(it):
    it.x = it.x[:1].repeat(8, 1, 1, 1)


def wrong_labels(it):
    it.labels = tg.tensor([1, 2, 3, 4, 5, 6, 7, 10])


def huge_weights(it):
    nn.init.normal_(it.model.c5.weight, std=50.0)


def tiny_weights(it):
    nn.init.normal_(it.model.f6.weight, std=1e-5)


def nan_weights(it):
    with tg.no_grad():
        it.model.c3.weight[0] = float("nan")


def dead_units(it):
    with tg.no_grad():
        it.model.c5.bias.fill_(-100.0)


def cut(it):
    it.compute = lambda: F.cross_entropy(
        it.model.output(it.model.f6(tg.randn(8, 120)).relu()), it.labels
    )


ILLNESSES = {  # what is found: the kind, a word of what it is about, one of why
    other_tensors: ("optimizer", "c1.weight", "holds? .*other model|no parameters of this model"),
    replaced_head: ("optimizer", "output.weight", "replaced"),
    no_zero_grad: ("accumulated", "c1.weight", "zero_grad"),
    softmax: ("softmax", "`softmax`", "takes scores"),
    high_rate: ("learning rate", "lr=30", "loss|its size"),
    high_rate_of_adam: ("learning rate", "lr=1", "loss|its size"),
    constant_input: ("input", "input of LeNet5", "every value is 0"),
    the_same_image: ("input", "input of LeNet5", "all 8 samples are the same"),
    wrong_labels: ("labels", "`target`", "holds 10, expected class numbers from 0 to 9"),
    huge_weights: ("exploding", "c5.weight", "multiply what comes in"),
    tiny_weights: ("vanishing", "f6.weight", "multiply what comes in"),
    nan_weights: ("not finite", "c3.weight", "holds NaN"),
    dead_units: ("dead", "`relu` in relu", "120 of 120"),
    cut: ("no gradient", "c5.weight", "no operation read it"),
}


@pytest.mark.parametrize("spoil", ILLNESSES, ids=lambda f: f.__name__)
def test_each_cause_has_one_finding(spoil):
    it = Illness()
    try:
        assert diagnosed(it.model, it.compute, optimizer=it.optimizer).healthy
    finally:
        it.model.zero_grad()
    spoil(it)
    loss = None
    if spoil is not wrong_labels:
        for _ in range(it.backwards):
            loss = it.compute()
            loss.backward()
    options = (
        {} if spoil in (huge_weights, tiny_weights, dead_units) else {"optimizer": it.optimizer}
    )
    found = diagnose(loss, it.model, rerun=it.compute, **options)
    (finding,) = found.findings
    kind, what, why = ILLNESSES[spoil]
    assert (finding.kind, found.healthy) == (kind, False)
    assert any(what in name for name in finding.what), finding
    assert re.search(why, finding.why), finding


def test_gradients_that_are_zeroed_are_not_accumulated():
    it = Illness()
    for zero in (it.optimizer.zero_grad, it.model.zero_grad):
        for _ in range(2):
            zero(set_to_none=False)
            loss = it.compute()
            loss.backward()
        assert diagnose(loss, it.model).healthy
    loss = it.compute()
    loss.backward()
    assert diagnose(loss, it.model).kinds() == {"accumulated"}


def test_a_trial_leaves_everything_as_it_was():
    it = Illness()
    optimizer = optim.Adam(it.model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        loss = it.compute()
        loss.backward()
        optimizer.step()

    def state():
        tensors = [*it.model.state_dict().values(), *(p.grad for p in it.model.parameters())]
        tensors += [t for held in optimizer.state.values() for t in held.values()]
        values = [np.array(t.tolist() if hasattr(t, "tolist") else t) for t in tensors]
        return values, [p.storage.version for p in it.model.parameters()], optimizer.step_count

    before, random = state(), tg.get_rng_state()
    diagnose(loss, it.model, rerun=it.compute, optimizer=optimizer)
    after = state()
    for a, b in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert before[1:] == after[1:]
    assert tg.get_rng_state() == random


def test_a_part_that_is_not_in_the_optimizer_is_frozen():
    it = Illness()
    head = optim.SGD(it.model.output.parameters(), lr=0.01)
    found = diagnosed(it.model, it.compute, optimizer=head)
    assert found.healthy
    assert found.findings[0].why == "the optimiser does not hold them"


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
