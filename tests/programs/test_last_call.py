"""Calls that are like the last one are found by a few looks: whatever differs has to be seen."""

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.programs import compiled


def doubled(x, y=None):
    return x * 2 if y is None else x * 2 + y


@pytest.fixture
def full_looks(monkeypatch):
    """How many calls needed their key."""
    counted = []
    key = compiled.CompiledFunction._key

    def count(self, args, kwargs, leaves):
        counted.append(args)
        return key(self, args, kwargs, leaves)

    monkeypatch.setattr(compiled.CompiledFunction, "_key", count)
    return counted


def served_at_once(full_looks, function, *args):
    """Whether a call needs no key, after calls like it."""
    for _ in range(3):
        function(*args)
    before = len(full_looks)
    function(*args)
    return len(full_looks) == before


def test_a_call_like_the_last_one_is_served_at_once(full_looks):
    step = tg.compile(doubled)
    assert served_at_once(full_looks, step, tg.ones(3))
    assert served_at_once(full_looks, step, tg.ones(3), tg.ones(3))
    net = tg.compile(nn.Linear(3, 2).eval())
    with tg.no_grad():
        assert served_at_once(full_looks, net, tg.ones(1, 3))


@pytest.mark.parametrize(
    "other",
    [
        lambda: (tg.ones(4),),
        lambda: (tg.ones(3, dtype=tg.float64),),
        lambda: (tg.ones(2, 3).t()[:, 0],),  # other strides
        lambda: (tg.tensor([1.0, 2.0, 3.0], requires_grad=True),),
        lambda: (tg.ones(3), np.ones(3, np.float32)),
        lambda: (tg.ones(3), np.frombuffer(bytes(13), np.uint8)[1:].view("f4")),
        lambda: (nn.Parameter(tg.ones(3)),),
    ],
    ids=["shape", "dtype", "strides", "gradient", "array", "unaligned", "parameter"],
)
@pytest.mark.filterwarnings("ignore:compile")  # arrays of any alignment are not recorded
def test_another_call_is_not_taken_for_it(other):
    step, args = tg.compile(doubled), other()
    like = (tg.ones(3), tg.ones(3))[: len(args)]
    for _ in range(3):
        step(*like)
    for _ in range(3):
        found, wanted = step(*args), doubled(*args)
        assert type(found) is type(wanted)
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)
        assert getattr(found, "requires_grad", None) == getattr(wanted, "requires_grad", None)


def test_the_same_argument_twice_is_another_call(full_looks):
    step = tg.compile(doubled)
    x, y = tg.ones(3), tg.tensor([1.0, 2.0, 3.0])
    assert served_at_once(full_looks, step, x, y)
    assert step(y, y).tolist() == [3, 6, 9]
    assert not served_at_once(full_looks, step, y, y)
    assert step(x, y).tolist() == [3, 4, 5]
    assert step(x).tolist() == [2, 2, 2]


def test_modes_and_state_are_looked_at():
    net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).eval()
    call, x = tg.compile(net), tg.ones(1, 3)
    with tg.no_grad():
        for _ in range(3):
            call(x)
    assert call(x).requires_grad
    with tg.no_grad():
        assert not call(x).requires_grad
        net[0].weight.data = net[0].weight.data * 2
        assert np.array_equal(call(x), net(x))
        net[0].bias = None
        assert np.array_equal(call(x), net(x))
        with tg.autograd.set_detect_anomaly(True), pytest.warns(RuntimeWarning, match="anomalies"):
            assert np.array_equal(call(x), net(x))
        net.extra = 3
        assert np.array_equal(call(x), net(x))
        net.register_forward_hook(lambda module, args, out: out + 1)
        with pytest.warns(RuntimeWarning, match="hooks"):
            assert np.array_equal(call(x), net(x))


class Scaled:
    factor = 2.0

    def __call__(self, x):
        return x * self.factor


def test_an_attribute_that_hides_a_classs_is_seen():
    scale = Scaled()
    call, x = tg.compile(lambda x: scale(x)), tg.ones(3)
    for _ in range(3):
        assert call(x).tolist() == [2, 2, 2]
    scale.factor = 3.0
    assert call(x).tolist() == [3, 3, 3]
    del scale.factor
    assert call(x).tolist() == [2, 2, 2]
