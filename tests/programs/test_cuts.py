"""Functions that ask for a value: cut there, and the same bits as usual."""

from __future__ import annotations

import math
import operator
import warnings

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.nn import functional as F

pytestmark = pytest.mark.filterwarnings("ignore:compile")


class Trainer:
    """Steps of several forms, which ask for values."""

    def __init__(self):
        tg.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        self.sgd = optim.SGD(self.net.parameters(), lr=0.1)
        self.total, self.seen = 0.0, []

    def plain(self, x, y, scale=2.0):
        self.sgd.zero_grad()
        loss = F.cross_entropy(self.net(x), y) * scale
        loss.backward()
        self.sgd.step()
        return loss.item()

    def adds(self, x, y, *, scale=2.0):
        self.sgd.zero_grad()
        scores = self.net(x)
        loss = F.cross_entropy(scores, y) * scale
        loss.backward()
        self.sgd.step()
        self.total += loss.item()
        self.seen.append(loss)
        hits = (scores.detach().argmax(1) == y).float().mean()
        return hits

    def checks(self, x, y):
        self.sgd.zero_grad()
        loss = F.cross_entropy(self.net(x), y)
        if not math.isfinite(loss.item()):
            return None
        loss.backward()
        self.sgd.step()
        return loss.detach() * 2

    @tg.no_grad()
    def accuracy(self, x, y):
        scores = self.net(x)
        return (scores.argmax(1) == y).float().mean().item()

    def inside(self, x, y):
        with tg.no_grad():
            scores = self.net(x)
            best = scores.max().item()
            again = scores * best
        return again + 1

    def loops(self, x, y):
        last = x.sum()
        for k in range(4):
            with tg.no_grad():
                last = last + self.net(x).sum() * k
            if last > 1.0:
                last = last / 2
                continue
            if k == 3:
                break
            last = last - 0.25
        return last * 2

    def returns_early(self, x, y, *rest, flag=True):
        if flag:
            x = x * 2
        if x.sum() > 0:
            return x - 1
        shifted = x + 1
        if len(rest):
            return shifted
        return shifted * 3


FORMS = "plain adds checks accuracy inside loops returns_early".split()


def _run(form: str, compiled: bool):
    trainer = Trainer()
    function = getattr(Trainer, form)
    call = tg.compile(function) if compiled else function
    rng, found = np.random.default_rng(1), []
    for k in range(9):
        n = 4 if k % 4 else 2
        x = tg.tensor(rng.normal(size=(n, 3)).astype("f"))
        if k == 5:
            x[0, 0] = math.nan
        result = call(trainer, x, tg.tensor(rng.integers(0, 2, n)))
        found.append(result.numpy().tobytes() if isinstance(result, tg.Tensor) else repr(result))
        if k == 6:
            trainer.net.load_state_dict(Trainer().net.state_dict())
    found += [p.detach().numpy().tobytes() for p in trainer.net.parameters()]
    return call, [*found, repr(trainer.total), len(trainer.seen)]


@pytest.mark.parametrize("form", FORMS)
def test_cut_functions_give_the_same_bits(form):
    call, found = _run(form, True)
    assert found == _run(form, False)[1]
    text = call.explain()
    assert "is cut" in text
    assert "line" in text
    if form == "checks":  # its graph is walked in another part
        assert "backward passes: " in text
    assert _replays(call), text


def _replays(function) -> int:
    count = 0
    for found in function.programs.values():
        if isinstance(found, list):
            count += sum(recording.replays for recording in found)
        elif not isinstance(found, str):
            count += sum(map(_replays, found.parts))
    return count


def test_nonlocals_and_what_is_before_them():
    total = 0.0

    def f(x):
        nonlocal total
        y = x * 2
        total += y.sum().item()
        return y + total

    g = tg.compile(f)
    assert [g(tg.ones(2)).tolist() for _ in range(4)] == [[6] * 2, [10] * 2, [14] * 2, [18] * 2]
    assert total == 16
    assert g.recordings == 1


def test_a_module_is_cut_in_its_forward():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            x = self.a(x)
            if x.sum() > 0:
                x = -x
            return self.b(x)

    net = Net()
    f = tg.compile(net)
    with tg.no_grad():
        for k in range(6):
            x = tg.full((1, 2), float(k - 3))
            assert f(x).tolist() == net(x).tolist()
    assert "is cut" in f.explain()


def test_errors_of_the_python_between_are_raised():
    def f(x):
        y = x * 2
        if y.sum().item() > 10:
            raise ArithmeticError("too much")
        return y + 1

    g = tg.compile(f)
    for k in (1.0, 2.0, 9.0, 2.0, 9.0):
        if k > 5:
            with pytest.raises(ArithmeticError, match="too much"):
                g(tg.full((2,), k))
        else:
            assert g(tg.full((2,), k)).tolist() == [2 * k + 1] * 2


def test_fullgraph_names_the_line():
    def f(x):
        y = x * 2
        return y.item()

    with pytest.raises(RuntimeError, match=r"test_cuts.py, line \d+"):
        tg.compile(f, fullgraph=True)(tg.ones(1))


def test_what_is_cut_is_not_warned_of():
    def f(x):
        y = x * 2 + 1
        return y.item()

    g = tg.compile(f)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [g(tg.full((1,), k)) for k in (1.0, 2.0, 3.0)] == [3.0, 5.0, 7.0]


@pytest.mark.filterwarnings("error:compile")
def test_what_only_other_methods_change_is_no_guard():
    class Epochs:
        def __init__(self):
            self.net, self.scale = nn.Linear(3, 2), 2.0
            self.total, self.count, self.seen = 0.0, 0, []

        @tg.compile
        def loss(self, x):
            with tg.no_grad():
                return self.scaled(x).square().mean()

        def scaled(self, x):
            return self.net(x) * self.scale

        def other(self, x):
            self.count += 1

        def run(self, batches):
            for x in batches:
                loss = self.loss(x).item()
                self.seen.append(loss)
                self.total += loss
                self.other(x)
                with tg.no_grad():
                    assert loss == self.scaled(x).square().mean().item()

    epochs = Epochs()
    epochs.run([tg.randn(4, 3) for _ in range(20)])
    assert Epochs.loss.recordings == 1
    epochs.scale = 3.0  # is read
    epochs.run([tg.randn(4, 3) for _ in range(3)])
    epochs.scaled = lambda x: epochs.net(x) - 1  # is called
    epochs.run([tg.randn(4, 3) for _ in range(3)])
    assert Epochs.loss.recordings == 3


def test_attributes_by_names_that_are_computed_are_guarded():
    class Layers:
        def __init__(self):
            self.layer0, self.layer1 = 1.0, 2.0

        def all(self, x):
            for k in range(2):
                x = x * getattr(self, f"layer{k}")
            return x

    layers = Layers()
    run = tg.compile(layers.all)
    for k in range(3):
        layers.layer1 = float(k)
        assert run(tg.ones(1)).item() == k


def test_getters_of_attributes_read_them():
    class Held:
        scale = 1.0

        def other(self):
            return self.scale

    held = Held()
    run = tg.compile(lambda x: x * GET(held))
    for k in range(3):
        held.scale = float(k)
        assert run(tg.ones(1)).item() == k


GET = operator.attrgetter("scale")
