"""The line profiler: every operation's time at the line that ran it, forward and backward."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest
from clock import stand_still

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn
from tinygrad_cnn.profiler import profile_lines

FOLDER = Path(__file__).parents[2] / "models"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    (number,) = [first + i for i, line in enumerate(lines) if text in line]
    return __file__, number


def milliseconds(cost):
    return round(cost.forward * 1e3, 6), round(cost.backward * 1e3, 6)


@pytest.fixture
def work(monkeypatch):
    clock = stand_still(monkeypatch)
    return {
        name: clock.operation(name, forward, backward)
        for name, forward, backward in (("a", 1, 2), ("b", 4, 8), ("c", 16, 32))
    }


def test_forward_and_backward_time_stand_at_the_line_that_ran_the_operation(work):
    def helper(x):
        x = work["b"](x)  # in the helper
        return x

    def net(x):
        x = work["a"](x)  # first
        x = helper(x)  # calls
        return [work["c"](x) for _ in range(2)]  # twice

    found = profile_lines(net, tg.ones(2, requires_grad=True), runs=2)
    costs = {
        name: milliseconds(found.lines[line_of(net, name)])
        for name in ("# first", "# calls", "# twice")
    }
    assert costs == {"# first": (1, 2), "# calls": (4, 8), "# twice": (32, 64)}
    assert milliseconds(found.lines[line_of(helper, "in the helper")]) == (4, 8)
    assert milliseconds(found.total) == (37, 74)
    assert len(found.lines) == 4


def test_a_function_that_calls_itself_counts_once(work):
    def again(x, times):
        x = work["a"](x)  # each time
        return again(x, times - 1) if times > 1 else x  # recursion

    found = profile_lines(again, tg.ones(2, requires_grad=True), 3)
    assert milliseconds(found.lines[line_of(again, "each time")]) == (3, 6)
    assert milliseconds(found.lines[line_of(again, "# recursion")]) == (2, 4)
    assert milliseconds(found.total) == (3, 6)


def test_the_text(work):
    class Slow(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            return work[self.name](x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Identity(), Slow("b"))

        def forward(self, x):
            # a comment
            y = work["a"](self.body(x))

            return y

    net = Net()
    found = profile_lines(net, tg.ones(2, requires_grad=True), runs=1)
    text = str(found).splitlines()
    first = line_of(Net.forward, "def forward")[1]
    listing = text[
        text.index(
            f"{Net.forward.__qualname__.replace('<locals>.', '')} "
            f"(test_profile_lines.py:{first}), milliseconds"
        ) :
    ]
    assert [line.split() for line in listing[1:8]] == [
        "line forward backward share source".split(),
        [str(first), "def", "forward(self,", "x):"],
        [str(first + 1), "#", "a", "comment"],
        [str(first + 2), *"5.000 10.000 100.0% y =".split(), 'work["a"](self.body(x))'],
        "4.000 8.000 80.0% · Net.body.1 (Slow)".split(),
        "1.000 2.000 20.0% · a".split(),
        [str(first + 3)],
    ]
    slow = line_of(Slow.forward, "return")[1]
    assert text[-1] == (
        f"The slowest operation is b at test_profile_lines.py:{slow} in Net.body.1 (Slow): "
        "12.000 of 15.000 ms (80%), forward 4.000 ms, backward 8.000 ms."
    )
    assert repr(found) == str(found)


def test_the_models():
    for name, kind in (("lenet5", "LeNet5"), ("minivgg", "MiniVGG")):
        module = load(name)
        net = getattr(module, kind)()
        found = profile_lines(net, tg.randn(2, 3, 32, 32), runs=1, warmup=0)
        source = (FOLDER / f"{name}.py").read_text().splitlines()
        first = next(i for i, line in enumerate(source, 1) if "def forward" in line)
        body = [i for i, line in enumerate(source[first:], first + 1) if line]
        assert [number for _, number in sorted(found.lines)] == body
        total = sum(c.time for c in found.lines.values())
        assert total == pytest.approx(found.total.time)
        assert min(min(c.forward, c.backward) for c in found.lines.values()) > 0
        leaves = [n for n, m in net.named_modules() if not list(m.children())]
        assert len(found.layers) == len(leaves)
        slowest = max(found.layers, key=lambda layer: found.layers[layer].time)
        assert f"The slowest layer is {slowest}: " in str(found)
        for line in source[first - 1 :]:
            assert line.strip() in str(found)


def test_modules_of_the_framework_alone_have_no_lines_but_layers():
    net = nn.Sequential(nn.Linear(30, 40), nn.ReLU())
    found = profile_lines(net, tg.ones(10, 30))
    assert found.lines == {}
    assert set(found.layers) == {"Sequential.0 (Linear)", "Sequential.1 (ReLU)"}
    assert "outside of the user's source" in str(found)
    assert "The slowest layer is Sequential." in str(found)


def test_nothing_is_changed():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    x = tg.randn(2, 3, 8, 8, requires_grad=True)
    x.grad = tg.ones(x.shape)
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    tg.manual_seed(5)
    profile_lines(net, x)
    drawn = tg.rand(3).tolist()
    tg.manual_seed(5)
    assert drawn == tg.rand(3).tolist()
    assert all(p.grad is None for p in net.parameters())
    np.testing.assert_array_equal(x.grad.numpy(), 1)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[name])


def test_forward_only(work):
    def net(x):
        return {"out": work["a"](x)}

    x = tg.ones(2, requires_grad=True)
    assert milliseconds(profile_lines(net, x).total) == (1, 2)
    assert milliseconds(profile_lines(net, x, backward=False).total) == (1, 0)
    assert milliseconds(profile_lines(net, tg.ones(2)).total) == (1, 0)
    with tg.no_grad():
        assert milliseconds(profile_lines(net, x).total) == (1, 0)


def test_code_without_a_source_file(work):
    names = {"work": work}
    exec("def net(x):\n    return work['a'](x)\n", names)
    found = profile_lines(names["net"], tg.ones(2))
    assert list(found.lines) == [("<string>", 2)]
    assert "net (<string>:1)" in str(found)


def test_a_function_without_operations():
    assert str(profile_lines(lambda: F)) == "No operation ran."


@pytest.mark.parametrize("wrong", [{"runs": 0}, {"warmup": -1}])
def test_errors(wrong):
    with pytest.raises(ValueError, match="profile_lines: `runs` is"):
        profile_lines(tg.exp, tg.ones(2), **wrong)


def test_an_error_in_the_model_comes_through_and_nothing_stays_open():
    net = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="linear: `x` has 5 features"):
        profile_lines(net, tg.ones(4, 5), warmup=0)
    assert milliseconds(profile_lines(net, tg.ones(4, 3)).total) != (0, 0)
