"""A residual block's sum and ReLU, which a compiled function has its convolution do on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.nn import functional as F

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")


class Block(nn.Module):
    """A residual block of options that change what can be done on the way."""

    def __init__(self, c, f, kernel, stride, groups, *, bias, shortcut, inner, padding):
        super().__init__()
        common = {"padding": kernel // 2, "groups": groups, "bias": bias}
        self.first = nn.Conv2d(c, f, kernel, stride=stride, **common)
        self.last = nn.Conv2d(f, f, kernel, padding=padding or kernel // 2, groups=groups)
        self.norms = nn.ModuleList([nn.BatchNorm2d(f) for _ in range(3)])
        self.shortcut = shortcut and nn.Conv2d(c, f, 1, stride=stride)
        self.inner = inner

    def forward(self, x):
        beside = x if not self.shortcut else self.norms[2](self.shortcut(x))
        y = F.relu(self.norms[0](self.first(x)))
        y = self.norms[1](self.last(y))
        y = F.relu(y) if self.inner else y
        return F.relu(y + beside) if beside.shape == y.shape else y


def settled(net, seed):
    """The network in evaluation, with statistics that are not those of the beginning."""
    rng = np.random.default_rng(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            shape = module.running_mean.shape
            module.running_mean.copy_(tg.tensor(rng.normal(0, 1, shape).astype(np.float32)))
            module.running_var.copy_(tg.tensor(rng.uniform(0.5, 2, shape).astype(np.float32)))
            module.weight.data.copy_(tg.tensor(rng.normal(0, 1, shape).astype(np.float32)))
    return net.eval()


def joined(function):
    """How many launches of a compiled function do more than their own."""
    recordings = [found for found in function.programs.values() if isinstance(found, list)]
    units = [unit for found in recordings for r in found for unit in r.program.units]
    return sum(unit.then is not None for unit in units)


def same(compiled, net, x):
    with tg.no_grad():
        found, expected = compiled(x).numpy(), net(x).numpy()
    np.testing.assert_array_equal(found, expected)
    return expected


def compiled_call(net):
    return tg.compile(lambda x: net(x))


blocks = st.fixed_dictionaries(
    {
        "c": st.sampled_from([4, 16, 24, 40]),
        "f": st.sampled_from([16, 24, 64]),
        "kernel": st.sampled_from([1, 3, 5]),
        "stride": st.sampled_from([1, 2]),
        "groups": st.sampled_from([1, 1, 4]),
        "bias": st.booleans(),
        "shortcut": st.booleans(),
        "inner": st.booleans(),
        "padding": st.sampled_from([None, 2]),
    }
)


@given(
    st.lists(blocks, min_size=1, max_size=2),
    st.sampled_from([1, 1, 3]),
    st.integers(5, 18),
    st.integers(0, 999),
)
@settings(max_examples=40)
def test_same_bits_as_usual(options, count, size, seed):
    with tg.random.fork_rng():
        tg.manual_seed(seed)
        c = options[0]["c"]
        parts = []
        for each in options:
            parts.append(Block(**{**each, "c": c}))
            c = each["f"]
        net = settled(nn.Sequential(*parts), seed)
        compiled = compiled_call(net)
        for scale in (1, 1, 1, 3):
            same(compiled, net, scale * tg.randn(count, options[0]["c"], size, size + 1))


def residual(groups=1, kernel=3, count=1):
    block = Block(16, 16, kernel, 1, groups, bias=False, shortcut=False, inner=False, padding=None)
    net = settled(nn.Sequential(nn.Conv2d(16, 16, 1), block), 3)
    compiled = compiled_call(net)
    x = tg.randn(count, 16, 12, 12)
    for _ in range(3):
        same(compiled, net, x)
    return net, compiled, x


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_convolution_does_it(groups, kernel):
    _, compiled, _ = residual(groups, kernel)
    assert joined(compiled) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1e6])
def test_images_for_which_it_is_done_in_another_way(value):
    net, compiled, x = residual(count=3)
    x = x.numpy().copy()
    x[1, 3, 5, 7] = value
    same(compiled, net, tg.tensor(x))
    x[0, :, 0, 0] = value
    same(compiled, net, tg.tensor(x))
    assert compiled.recordings == 1


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_filters_that_are_lost(value):
    net, compiled, x = residual()
    with tg.no_grad():
        net[1].last.weight[2, 0, 1, 1] = value
    same(compiled, net, x)
    with tg.no_grad():
        net[1].last.weight[2, 0, 1, 1] = 1
    assert np.isfinite(same(compiled, net, x)).all()


def test_what_it_is_made_of_may_change():
    net, compiled, x = residual()
    before = same(compiled, net, x)
    net[1].norms[1].running_var.mul_(4)
    assert not np.array_equal(before, same(compiled, net, x))
    with tg.no_grad():
        net[1].last.weight.mul_(2)
    same(compiled, net, x)
    assert compiled.recordings == 1


def test_who_reads_the_sum_elsewhere_gets_it():
    net, _, x = residual()
    block = net[1]

    @tg.compile
    def parts(x):
        y = block.norms[1](block.last(x))
        total = F.relu(y + x)
        return total, y, total.sum() + y.amax()

    with tg.no_grad():
        for _ in range(4):
            found = parts(x)
        y = block.norms[1](block.last(x))
        total = F.relu(y + x)
        expected = total, y, total.sum() + y.amax()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_statistics_of_the_batch_are_not_known_before():
    net, _, x = residual()
    net.train()
    compiled = compiled_call(net)
    with tg.no_grad():
        for _ in range(3):
            compiled(x)
    assert joined(compiled) == 0


def test_it_is_profiled_under_the_convolution():
    _, compiled, x = residual()
    with tg.no_grad(), tg.profiler.profile() as p:
        compiled(x)
    names = [row.name for row in p.key_averages()]
    assert "conv2d" in names
    assert "relu" not in names
