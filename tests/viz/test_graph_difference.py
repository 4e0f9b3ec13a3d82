"""Differences of graphs, summaries, and the counting of floating-point operations."""

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.instrument.flops import FLOPS, flops
from tinygrad_cnn.profiler import profile
from tinygrad_cnn.viz import Recording, summary, trace
from tinygrad_cnn.viz.graph.render import has_dot


class Net(nn.Module):
    def __init__(self, *, norm=False, kernel=3, act=None, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.act = act or nn.ReLU()
        self.fc = nn.Linear(width, 2)

    def forward(self, x):
        return self.fc(self.act(self.norm(self.conv(x))).mean((2, 3)))


def graph(**options):
    return trace(Net(**options), (1, 3, 4, 4))


# ---- differences ---------------------------------------------------------------------------


def test_a_graph_does_not_differ_from_itself():
    difference = graph().diff(graph())
    assert not difference
    assert str(difference) == "no difference"
    assert not [n for n in difference.union.nodes if n.change]


def test_added_removed_and_changed():
    difference = graph().diff(graph(norm=True, kernel=5, act=nn.Tanh()))
    lines = str(difference).splitlines()
    assert lines[:-1] == [
        "~ parameter conv.weight: shape 8×3×3×3 → 8×3×5×5",
        "~ conv2d in conv: padding 1 → 2",
        "- relu in act",
        "+ batch_norm in norm",
        "+ tanh in act",
    ]
    assert lines[-1].startswith("operations 4 → 5, parameters 242 → 642, FLOPs ")
    states = {n.name: n.change for n in difference.union.operations()}
    assert states == {
        "conv2d": "changed",
        "relu": "removed",
        "batch_norm": "added",
        "tanh": "added",
        "mean": "",
        "linear": "",
    }


def test_a_parameter_that_comes_or_goes():
    a, b = Net(), Net()
    b.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    a, b = (trace(net, (1, 3, 4, 4)) for net in (a, b))
    assert str(a.diff(b)).splitlines()[0] == "~ conv2d in conv: no bias any more"
    assert str(b.diff(a)).splitlines()[0] == "~ conv2d in conv: now with bias"


def test_the_other_way_round_it_is_the_opposite():
    a, b = graph(), graph(norm=True)
    there, back = a.diff(b), b.diff(a)
    opposite = {"added": "removed", "removed": "added", "changed": "changed"}
    assert sorted((opposite[c.kind], c.what) for c in there.changes) == sorted(
        (c.kind, c.what) for c in back.changes
    )


def test_the_union_holds_both_graphs():
    a, b = graph(act=nn.Sequential(nn.ReLU(), nn.Tanh())), graph(norm=True)
    union = a.diff(b).union

    def edges(of, kept):
        nodes = of.nodes
        return {
            (of.path(nodes[e.source]), nodes[e.source].name, of.path(nodes[e.target]),
             nodes[e.target].name)
            for e in of.edges if nodes[e.source].change in kept and nodes[e.target].change in kept
        }  # fmt: skip

    new = edges(union, ("", "added", "changed"))
    assert new == edges(b, ("",))
    # What is the same in both goes by the new paths, so only the old one's own edges are left.
    old = edges(union, ("removed", "", "changed"))
    assert ("act.0", "relu", "act.1", "tanh") in old


def test_steps_are_compared_by_their_figures():
    net, x = Net(), tg.randn(2, 3, 4, 4)
    first = trace(net, x, health=True)
    assert not first.diff(trace(net, x, health=True))
    with tg.no_grad():
        net.fc.weight.mul_(10)
    text = str(first.diff(trace(net, x, health=True)))
    assert "parameter fc.weight: norm" in text
    assert "relu in act: norm of the gradient" in text
    assert "conv.weight: norm of the gradient" in text


def test_cut_gradients_are_a_difference():
    def run(cut):
        w = tg.randn(3, requires_grad=True)
        with Recording(names={"w": w}) as recording:
            with tg.set_grad_enabled(not cut):
                y = w.exp()
            out = y.sum()
        return recording.graph(out)

    assert "exp: gradient passes → no_grad" in str(run(False).diff(run(True)))


@pytest.mark.skipif(
    not has_dot(), reason="needs Graphviz: apt install graphviz && pip install graphviz"
)
def test_a_difference_is_drawn(tmp_path):
    difference = graph().diff(graph(norm=True))
    place = difference.render(tmp_path / "difference.svg")
    text = (tmp_path / "difference.svg").read_text()
    assert place.endswith("difference.svg")
    assert "BatchNorm2d" in text
    assert "image/svg+xml" in difference._repr_mimebundle_()
    assert difference._repr_mimebundle_()["text/plain"] == str(difference)


# ---- floating-point operations -------------------------------------------------------------


def counted(out, products):
    """Every result is a sum of products: so many multiplications and additions."""
    return 2 * int(np.prod(out)) * products


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_flops_of_convolutions(groups, bias):
    """By brute force: the multiplications of a loop over the definition; no biases."""
    layer = nn.Conv2d(4, 6, (3, 2), stride=2, groups=groups, bias=bias)
    out = layer(tg.randn(2, 4, 9, 8)).shape
    multiplications = 0
    for _ in np.ndindex(*out):
        for _ in np.ndindex(4 // groups, 3, 2):
            multiplications += 1
    (node,) = trace(layer, (2, 4, 9, 8)).operations()
    assert node.flops == 2 * multiplications


def test_flops_of_the_backward_maps_are_those_of_the_forward_one():
    x = tg.randn(2, 4, 9, 8, requires_grad=True)
    layer = nn.Conv2d(4, 6, 3, bias=False)
    with Recording(layer, {"x": x}) as recording:
        y = layer(x)
        gx, gw = tg.autograd.grad(y.sum(), [x, layer.weight], create_graph=True)
    graph = recording.graph([y, gx, gw])
    found = {n.name: n.flops for n in graph.operations() if n.name.startswith("conv2d")}
    assert set(found) == {"conv2d", "conv2d_input", "conv2d_weight"}
    assert len(set(found.values())) == 1


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda: tg.ones(3, 4) @ tg.ones(4, 5), counted((3, 5), 4)),
        (lambda: tg.ones(2, 3, 4) @ tg.ones(4, 5), counted((2, 3, 5), 4)),
        (lambda: tg.einsum("ij,jk->ik", tg.ones(3, 4), tg.ones(4, 5)), counted((3, 5), 4)),
        (lambda: tg.ones(3, 4).exp(), 12),
        (lambda: tg.ones(3, 4) + tg.ones(4), 12),
        (lambda: tg.ones(3, 4).sum(), 12),
        (lambda: tg.ones(3, 4).reshape(12), 0),
    ],
)
def test_flops_of_other_operations(run, expected):
    with Recording() as recording:
        out = run()
    assert recording.graph(out).total("flops") == expected


def test_the_profiler_counts_what_the_drawing_counts():
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5))
    drawn = [n.flops for n in trace(layer, (2, 3, 5, 5)).operations() if n.name in FLOPS]
    with profile() as profiled:
        layer(tg.ones(2, 3, 5, 5))
    events = [e for e in profiled.events if e.name in FLOPS and e.kind == "operation"]
    assert drawn == [e.flops for e in events if e.depth == 0]


def test_unknown_flops_are_none():
    assert flops("mystery", [(2,)], None, {}) is None
    assert flops("einsum", [(2, 2)], (2,), {"equation": "...i->i"}) is None


# ---- summaries -----------------------------------------------------------------------------


def test_a_summary_has_every_layer_and_the_totals():
    net = Net(norm=True)
    table = summary(net, (1, 3, 4, 4))
    assert [(row.name, row.kind, row.shape) for row in table.layers] == [
        ("conv", "Conv2d", (1, 8, 4, 4)),
        ("norm", "BatchNorm2d", (1, 8, 4, 4)),
        ("act", "ReLU", (1, 8, 4, 4)),
        ("mean", "", (1, 8)),
        ("fc", "Linear", (1, 2)),
    ]
    assert table.parameters == sum(p.numel() for p in net.parameters())
    assert sum(row.parameters for row in table.layers if row.level == 0) == table.parameters
    assert table.flops == trace(net, (1, 3, 4, 4)).total("flops")
    text = str(table)
    assert "parameters: 258" in text
    assert max(map(len, text.splitlines())) <= 100


def test_shared_and_repeated_layers_count_once():
    layer = nn.Linear(3, 3)
    table = summary(nn.Sequential(layer, layer), (1, 3))
    assert [(row.name, row.parameters) for row in table.layers] == [("0", 12), ("0 (call 2)", 0)]
    assert table.parameters == 12


def test_depth_unused_and_frozen():
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Linear(3, 1))
    net.spare = nn.Linear(2, 2)
    net.forward = lambda x: net[1](net[0](x))
    net[0].requires_grad_(False)
    table = summary(net, (1, 3), depth=1)
    assert [row.name for row in table.layers] == ["0", "1"]
    assert table.unused == ["spare.weight", "spare.bias"]
    assert (table.parameters, table.trainable) == (22, 10)
    assert "of these frozen: 12" in str(table)
    deep = summary(net, (1, 3))
    assert [(row.name, row.level) for row in deep.layers] == [
        ("0", 0),
        ("0.0", 1),
        ("0.1", 1),
        ("1", 0),
    ]
    assert deep.layers[0].flops == deep.layers[1].flops + deep.layers[2].flops


def test_a_summary_as_html():
    class Odd(nn.Module):
        def forward(self, x):
            return x * 2

    Odd.__name__ = "<script>"
    html = summary(nn.Sequential(Odd()), (2, 2)).to_html()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<tr>") == 2
    assert "text/html" in summary(Odd(), (2,))._repr_mimebundle_()
