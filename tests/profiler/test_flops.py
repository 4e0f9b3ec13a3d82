"""FLOPs against a loop that counts them, and against PyTorch's counter."""

from __future__ import annotations

import itertools

import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from models.lenet5 import LeNet5
from models.minivgg import MiniVGG
from models.resnet18 import ResNet18
from models.resnet20 import ResNet20
from tinygrad_cnn import viz
from tinygrad_cnn.profiler import FLOPS, profile


def counted(x, w, out, groups):
    """Multiplications and additions of a convolution, one by one."""
    n, f, oh, ow = out
    total = 0
    for _ in itertools.product(range(n), range(f), range(oh), range(ow)):
        total += 2 * (x[1] // groups) * w[2] * w[3]
    return total


@pytest.mark.parametrize(
    ("groups", "stride", "kernel"), [(1, 1, (3, 3)), (2, 2, (3, 1)), (4, 1, (2, 2))]
)
@pytest.mark.parametrize("recorded", [False, True])
def test_all_three_directions_of_a_convolution_cost_the_same(groups, stride, kernel, recorded):
    x = tg.randn(2, 4, 7, 6, requires_grad=True)
    w = tg.randn(8, 4 // groups, *kernel, requires_grad=True)
    with profile() as p:
        y = F.conv2d(x, w, tg.zeros(8), stride=stride, groups=groups)
        tg.autograd.grad(y, [x, w], tg.ones(y.shape), create_graph=recorded)
    expected = counted(x.shape, w.shape, y.shape, groups)
    flops = {(e.name, e.phase): e.flops for e in p.events if e.kind == "operation"}
    adjoints = {("conv2d_input", "backward"), ("conv2d_weight", "backward")}
    assert flops == {
        ("conv2d", "forward"): expected,
        ("conv2d", "backward"): 2 * expected,
        **dict.fromkeys(adjoints if recorded else (), expected),
    }


def test_products():
    a = tg.randn(5, 1, 2, 3, requires_grad=True)
    b = tg.randn(4, 3, 6)
    with profile() as p:
        y = tg.matmul(a, b)  # (5, 4, 2, 6): 3 multiplications and additions for each
        tg.exp(y)
        F.linear(tg.ones(7, 3), tg.ones(2, 3))
    assert [e.flops for e in p.events] == [2 * 5 * 4 * 2 * 6 * 3, None, 2 * 7 * 2 * 3]
    (row,) = [row for row in p.key_averages() if row.name == "matmul"]
    assert row.flops == 2 * 5 * 4 * 2 * 6 * 3
    assert "GFLOP/s" in str(p)


def test_every_entry_names_an_operation():
    assert set(FLOPS) <= set(tg.autograd.REGISTRY)


def test_as_pytorch_counts():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    from torch.utils.flop_counter import FlopCounterMode

    def run(t, functional):
        x, w = t.ones(4, 3, 12, 10), t.ones(8, 3, 3, 3).requires_grad_()
        v = t.ones(5, 8 * 5 * 5).requires_grad_()
        y = functional.conv2d(x, w, padding=1, stride=2)
        y = functional.conv2d(y, t.ones(8, 8, 2, 1).requires_grad_())
        z = functional.linear(y.reshape(4, -1), v)
        z.sum().backward()

    with FlopCounterMode(display=False) as counter:
        run(torch, torch.nn.functional)
    with profile() as p:
        run(tg, F)
    assert sum(e.flops or 0 for e in p.events if e.depth == 0) == counter.get_total_flops()


@pytest.mark.parametrize("make", [LeNet5, MiniVGG, ResNet20, ResNet18], ids=lambda m: m.__name__)
def test_profiler_drawings_and_summary_agree(make):
    model, x = make(), tg.randn(2, 3, 32, 32)
    with profile() as p:
        model(x)
    graph, table = viz.trace(model, x), viz.summary(model, x)
    ours = [(n.name, n.flops) for n in graph.operations() if n.name in FLOPS]
    assert ours == [(e.name, e.flops) for e in p.events if e.name in FLOPS]
    assert table.flops == graph.total("flops")
    assert sum(row.flops for row in table.layers if row.level == 0) == table.flops
