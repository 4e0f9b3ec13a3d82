"""Tracing: what a graph says of a computation, and that tracing leaves no trace itself."""

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from models.lenet5 import LeNet5
from models.minivgg import MiniVGG
from models.resnet18 import ResNet18
from models.resnet20 import ResNet20
from tinygrad_cnn import nn
from tinygrad_cnn.autograd import events
from tinygrad_cnn.kernels.memory import clear
from tinygrad_cnn.viz import Graph, Recording, summary, trace
from tinygrad_cnn.viz.graph.fold import fold


class Block(nn.Module):
    """Two calls of one ReLU, and a shortcut."""

    def __init__(self, channels=4):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.relu(self.norm(self.conv(x)))
        return self.relu(y + x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.drop(self.blocks(x).mean((2, 3))))


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def x():
    return tg.randn(2, 4, 5, 5)


def names(graph):
    return [node.name for node in graph.operations()]


def paths(graph):
    return [graph.path(node) for node in graph.operations()]


def test_operations_modules_and_shapes(net, x):
    graph = trace(net, x)
    block = ["conv2d", "batch_norm", "relu", "add", "relu"]
    assert names(graph) == [*block, *block, "mean", "mul", "linear"]
    assert paths(graph)[:5] == [
        "blocks.0.conv",
        "blocks.0.norm",
        "blocks.0.relu",
        "blocks.0",
        "blocks.0.relu",
    ]
    assert paths(graph)[-3:] == ["", "drop", "fc"]
    first, last = (graph.nodes[graph.outputs[0]], next(graph.operations()))
    assert (first.shape, last.shape, last.params) == ((2, 2), (2, 4, 5, 5), {"padding": "1"})
    calls = [(c.path, c.number) for c in graph.calls if c.path == "blocks.0.relu"]
    assert calls == [("blocks.0.relu", 1), ("blocks.0.relu", 2)]
    assert graph.parameter_total() == sum(p.numel() for p in net.parameters())
    assert sum(node.parameter_count for node in graph.nodes) == graph.parameter_total()
    assert {n.name for n in graph.nodes if n.kind == "parameter"} == {
        name for name, _ in net.named_parameters()
    }
    assert all("test_graph_trace.py" in node.line for node in graph.operations())
    assert all(e.source < e.target for e in graph.edges)


def test_each_edge_carries_the_tensor_that_its_source_made(net, x):
    graph = trace(net, x)
    made = {n.id: (n.shape, n.dtype) for n in graph.nodes}
    assert all(made[e.source] == (e.shape, e.dtype) for e in graph.edges)


def test_a_shared_parameter_counts_once():
    layer = nn.Linear(3, 3)
    graph = trace(nn.Sequential(layer, nn.ReLU(), layer), (1, 3))
    assert [n.parameter_count for n in graph.operations()] == [12, 0, 0]
    assert graph.parameter_total() == 12


def test_tracing_changes_nothing(net, x):
    def state():
        values = [t.detach().numpy().copy() for t in net.state_dict().values()]
        return values, tg.get_rng_state(), [p.grad for p in net.parameters()]

    tg.manual_seed(3)
    expected = net(x)
    tg.manual_seed(3)
    net.load_state_dict(Net().state_dict())
    net.zero_grad()
    before = state()
    for options in ({}, {"backward": True}, {"timed": True}, {"health": True}):
        trace(net, x, **options)
        after = state()
        for a, b in zip(before[0], after[0], strict=True):
            np.testing.assert_array_equal(a, b)
        assert before[1:] == after[1:]
    assert expected.shape == (2, 2)


@pytest.mark.parametrize("options", [{}, {"timed": True}, {"health": True}])
def test_results_inside_a_recording_are_those_outside(net, x, options):
    labels = tg.tensor([0, 1])

    def step():
        tg.manual_seed(5)
        net.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        return loss.item(), [p.grad.numpy().copy() for p in net.parameters()]

    expected, gradients = step()
    with Recording(net, **options):
        found, again = step()
    assert found == expected
    for a, b in zip(gradients, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options", [{}, {"timed": True, "health": True}])
def test_nothing_stays_alive_because_of_a_recording(options):
    gc.collect()
    gc.disable()
    try:
        net, x = Net(), tg.randn(2, 4, 5, 5)
        with Recording(net, {"x": x}, **options) as recording:
            hidden = net.blocks(x)
            loss = net.fc(hidden.mean((2, 3))).sum()
            loss.backward()
        graph = recording.graph(loss)
        gone = [weakref.ref(t) for t in (net, x, hidden, hidden.grad_fn, loss, net.fc.weight)]
        hooks = [len(m._forward_pre_hooks) for m in net.modules()]
        del net, x, hidden, loss
        assert [r() for r in gone] == [None] * len(gone)
        assert not any(hooks)
        assert graph.nodes
        assert recording.nodes
    finally:
        gc.enable()


def test_nobody_watches_after_an_error(net):
    with pytest.raises(ValueError, match="conv2d"):
        trace(net, (1, 3, 5, 5))
    assert (events.watching, events._observers.get()) == ([], ())
    assert not any(m._forward_pre_hooks for m in net.modules())


def test_other_threads_are_not_watched(net, x):
    def work():
        net.eval()(x)

    with Recording(net) as recording:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert recording.nodes == []


def test_a_running_recording_cannot_be_entered_again():
    with Recording() as recording, pytest.raises(RuntimeError, match="running already"):
        recording.__enter__()


def test_what_is_not_recorded_is_seen_too():
    x = tg.randn(2, 3)
    w = tg.randn(3, 4, requires_grad=True)
    with Recording(names={"x": x, "w": w}) as recording:
        with tg.no_grad():
            y = x @ w
        y = y.relu() + w.detach().sum()
        z = (w * 2).long()
    assert [(n.name, n.recorded, n.cut) for n in recording.nodes if n.kind == "operation"] == [
        ("matmul", False, "no_grad"),
        ("relu", False, ""),
        ("detach", False, "detach"),
        ("sum", False, ""),
        ("add", False, ""),
        ("mul", True, ""),
        ("cast", False, "integer"),
    ]
    graph = recording.graph(y)
    assert names(graph) == ["matmul", "relu", "detach", "sum", "add"]
    assert [n.name for n in recording.graph(z).nodes] == ["w", "mul", "cast"]


def test_in_place_changes_keep_the_order():
    x = tg.randn(3, requires_grad=True)
    with Recording(names={"x": x}) as recording:
        y = x * 2
        y.add_(1).relu_()
        z = y[:2]
        z.mul_(3)
        out = y.sum()
    expected = ["mul", "add", "relu", "getitem", "mul", "overwrite", "sum"]
    assert names(recording.graph(out)) == expected


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp, self.conv = nn.ReLU(inplace=True), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        x = self.inp(x)
        return x + self.conv(x)


@pytest.mark.parametrize("graded", [False, True])
def test_in_place_changes_keep_module_and_line(graded):
    x = tg.randn(1, 3, 6, 6, requires_grad=graded)
    model = nn.Sequential(nn.Tanh(), InPlace())
    graph = trace(model, x)
    assert names(graph) == ["tanh", "relu", "conv2d", "add"]
    assert paths(graph) == ["0", "1.inp", "1.conv", "1"]
    assert all(n.line.endswith(" in forward") for n in list(graph.operations())[1:])
    at = {n.name: n.id for n in graph.operations()}
    readers = {(e.source, e.target) for e in graph.edges}
    assert {(at["tanh"], at["relu"]), (at["relu"], at["conv2d"]), (at["relu"], at["add"])} < readers
    assert next(n for n in graph.operations() if n.name == "relu").recorded == graded
    with tg.no_grad(), Recording(model) as recording:
        out = model(x)
    assert names(recording.graph(out)) == names(graph)


@pytest.mark.parametrize("graded", [False, True])
def test_writes_and_views_keep_their_line(graded):
    x = tg.randn(4, requires_grad=graded)
    with Recording(names={"x": x}) as recording:
        y = x * 2
        y[0] = 1.0
        z = y[:2]
        z.mul_(3).relu_()
        out = y.sum()
    graph = recording.graph(out)
    found = names(graph)
    assert found[:2] == ["mul", "put"]
    assert {"getitem", "relu", "overwrite"} < set(found)
    assert found.index("relu") > found.index("getitem")
    assert found[-1] == "sum"
    for node in graph.operations():
        assert node.line.endswith("in test_writes_and_views_keep_their_line"), node
    np.testing.assert_allclose(out.item(), y.detach().numpy().sum(), rtol=1e-6)


class Countdown(nn.Module):
    """Calls itself."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x, n=2):
        y = self.fc(x).tanh()
        return self(y, n - 1) if n else y


def test_a_module_that_calls_itself():
    graph = trace(Countdown(), (1, 4))
    assert names(graph) == ["linear", "tanh"] * 3
    calls = [(c.kind, c.number, c.parent) for c in graph.calls]
    assert calls == [
        ("Countdown", 1, None),
        ("Linear", 1, 0),
        ("Countdown", 2, 0),
        ("Linear", 2, 2),
        ("Countdown", 3, 2),
        ("Linear", 3, 4),
    ]
    drawing = fold(graph)
    assert len([i for i in drawing.items if graph.nodes[i.members[0]].kind == "operation"]) == 6
    assert "<b>output</b>" in graph.to_dot(columns=1)
    assert [row.name for row in summary(Countdown(), (1, 4)).layers] == [
        "fc",
        "tanh",
        "Countdown (call 2)",
        "fc (call 2)",
        "tanh",
        "Countdown (call 3)",
        "fc (call 3)",
        "tanh",
    ]


def test_a_recording_that_begins_inside_of_a_module():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x):
            with Recording(self) as self.recording:
                return self.inner(x)

    model = Outer()
    out = model(tg.ones(1, 2))
    graph = model.recording.graph(out)
    assert [(c.path, c.kind) for c in graph.calls] == [("", "Outer"), ("inner", "Linear")]


def test_functions_of_several_results():
    class Split(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x * x)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, g, h):
            return 2 * g + 3 * h

    x = tg.randn(4, requires_grad=True)
    with Recording(names={"x": x}) as recording:
        a, b = Split.apply(x)
        out = a * b
    watched = recording.graph(out)
    later = trace(out, names={"x": x})
    for graph in (watched, later):
        assert names(graph) == ["Split", "mul"]
        edges = [(e.source, e.target, e.slot) for e in graph.edges]
        assert edges == [(0, 1, 0), (1, 2, 0), (1, 2, 1)]
        split = graph.nodes[1]
        assert (split.shape, split.kept_bytes) == ((4,), 16)


@pytest.mark.parametrize("several", [False, True])
def test_functions_keep_what_they_save(several):
    class Cube(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x * x)
            y = x * x * x
            return (x > 0, y) if several else y

        @staticmethod
        def backward(ctx, *gradients):
            (square,) = ctx.saved_tensors
            return gradients[-1] * 3 * square

    x = tg.randn(5, requires_grad=True)
    with Recording(names={"x": x}, health=True) as recording:
        out = Cube.apply(x)
        y = out[1] if several else out
        y.sum().backward()
    node = recording.graph(y).nodes[-1]
    assert (node.name, node.recorded, node.kept_bytes) == ("Cube", True, 20)
    assert node.backward_seconds is None


def test_a_result_is_read_without_a_recording(net, x):
    watched = trace(net, x)
    later = trace(net(x), model=net)
    recorded = [n for n in watched.operations() if n.recorded]  # all that the engine knows
    for figure in ("name", "shape", "dtype", "flops"):
        assert [getattr(n, figure) for n in later.operations()] == [
            getattr(n, figure) for n in recorded
        ], figure
    for a, b in zip(later.operations(), recorded, strict=True):
        mask = 32 if b.name == "mul" else 0  # of dropout: it may as well be an input
        assert a.kept_bytes == b.kept_bytes - mask
    assert {n.name for n in later.nodes if n.kind == "parameter"} == dict(
        net.named_parameters()
    ).keys()


def test_a_graph_survives_backward(net, x):
    loss = net(x).sum()
    loss.backward()
    graph = trace(loss, model=net)
    assert names(graph)[-2:] == ["linear", "sum"]
    assert {n.kept_bytes for n in graph.operations()} <= {None, 0}


@pytest.mark.parametrize("make", [LeNet5, MiniVGG, ResNet20, ResNet18], ids=lambda m: m.__name__)
@pytest.mark.parametrize("options", [{}, {"health": True}], ids=["plain", "health"])
def test_kept_bytes_are_what_the_process_holds(make, options):
    """Against what Python's allocator counts while the result is alive."""
    model, x = make(), tg.randn(8, 3, 32, 32)
    model(x).sum().backward()  # what kernels keep for good is there before
    clear()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        out = model(x)
        clear()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    kept = trace(model, x, **options).total("kept_bytes")
    assert kept <= held + out.nbytes
    # The engine's nodes themselves, and rounding of large arrays, are in the process only.
    assert kept >= 0.97 * held - 60_000
    assert summary(model, x).kept_bytes == trace(model, x).total("kept_bytes")


def test_a_constant_that_only_the_graph_holds_is_kept_by_it():
    w, mine = tg.ones(50, requires_grad=True), tg.randn(50)
    with Recording(names={"w": w}) as recording:
        out = (w * tg.randn(50)) * mine
    assert [n.kept_bytes for n in recording.graph(out).operations()] == [200, 0]


def test_the_backward_graph(net, x):
    graph = trace(net.eval(), x)
    back = graph.backward()
    forward = [n for n in graph.operations() if n.recorded]
    assert names(back) == [f"{n.name} backward" for n in reversed(forward)]
    grads = {n.name: n.shape for n in back.nodes if n.kind == "gradient"}
    assert grads == {f"{k}.grad": p.shape for k, p in net.named_parameters()}
    assert all(e.source < e.target for e in back.edges)
    assert not [n for n in back.nodes if n.kind == "result"]
    x.requires_grad_()
    back = trace(net, x, backward=True)
    assert [n.name for n in back.nodes if n.kind == "result"] == ["input.grad"]


def test_double_backward():
    x = tg.tensor(0.5, requires_grad=True)
    with Recording(names={"x": x}) as recording:
        y = tg.sin(x**2)
        (dy,) = tg.autograd.grad(y, x, create_graph=True)
        (ddy,) = tg.autograd.grad(dy, x, create_graph=True)
    assert {n.phase for n in recording.graph(y).operations()} == {"forward"}
    first, second = recording.graph(dy), recording.graph(ddy)
    for graph, least in ((first, 2), (second, 5)):
        rules = [n for n in graph.operations() if n.phase == "backward"]
        assert len(rules) >= least
        assert graph.nodes[graph.outputs[0]].phase == "backward"
    assert len(second.nodes) > len(first.nodes)
    assert "cos" in names(first)


def test_rules_run_in_the_box_of_their_module():
    layer = nn.Linear(3, 1)
    x = tg.randn(2, 3, requires_grad=True)
    with Recording(layer, {"x": x}) as recording:
        y = layer(x).tanh().sum()
        (g,) = tg.autograd.grad(y, x, create_graph=True)
    graph = recording.graph(g)
    rules = [n for n in graph.operations() if n.phase == "backward" and n.call is not None]
    assert rules
    assert {graph.calls[n.call].phase for n in rules} == {"backward"}
    assert {graph.calls[n.call].kind for n in rules} == {"Linear"}


def test_measures(net, x):
    graph = trace(net, x, loss=lambda y: y.square().sum(), timed=True, health=True)
    for node in graph.operations():
        assert node.forward_seconds > 0
        assert node.backward_seconds > 0
        assert (node.nan, node.inf, node.nan_gradient) == (False, False, False)
        assert 0 <= node.zeros <= 1
        assert node.gradient_norm >= 0
    y = net.eval()(x)
    node = trace(net, x, health=True).nodes[-1]
    np.testing.assert_allclose(node.norm, np.linalg.norm(y.detach().numpy()), rtol=1e-6)


def test_gradient_norms_are_those_of_retained_gradients():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = tg.randn(5, 3)
    h = net[1](net[0](x))
    h.retain_grad()
    net[2](h).sum().backward()
    graph = trace(net, x, health=True)
    by_name = {graph.path(n): n for n in graph.operations()}
    expected = np.linalg.norm(h.grad.numpy())
    np.testing.assert_allclose(by_name["1"].gradient_norm, expected, rtol=1e-6)
    weight = next(n for n in graph.nodes if n.name == "2.weight")
    expected = np.linalg.norm(net[2].weight.grad.numpy())
    np.testing.assert_allclose(weight.gradient_norm, expected, rtol=1e-6)


def test_zeros_and_dead_channels():
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
    with tg.no_grad():
        net[0].weight.fill_(0.0)
        net[0].bias.copy_(tg.tensor([1.0, -1.0, -1.0, 2.0]))
    graph = trace(net, (3, 2), health=True)
    assert [(n.zeros, n.dead) for n in graph.operations()] == [(0.0, None), (0.5, 0.5)]


def test_json_is_lossless(net, x):
    graph = trace(net, x, health=True, timed=True)
    assert Graph.from_json(graph.to_json()) == graph
    assert Graph.from_json(graph.to_json(indent=2)) == graph


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3,), {}, "expected a Module or a tensor"),
        (([],), {}, "expected a Module or a tensor"),
        ((tg.ones(1, requires_grad=True), (1, 2)), {}, "need a Module"),
        ((tg.ones(1, requires_grad=True),), {"timed": True}, "need a Module"),
    ],
)
def test_wrong_targets(arguments, options, message):
    with pytest.raises(TypeError, match=message):
        trace(*arguments, **options)


def test_outputs_in_tuples_and_dicts():
    class Two(nn.Module):
        def forward(self, x):
            return {"a": x * 2, "b": [x + 1, (x - 1,)], "c": None}

    graph = trace(Two(), (2,))
    assert [graph.nodes[i].name for i in graph.outputs] == ["mul", "add", "sub"]

    class Nothing(nn.Module):
        def forward(self, x):
            return 3

    with pytest.raises(TypeError, match="Nothing returned a int"):
        trace(Nothing(), (2,))


def test_every_output_has_a_mark_and_a_shared_weight_its_owner():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.tied = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 4)
            self.tied.weight = self.body.weight

        def forward(self, x):
            y = self.body(x)
            return {"head": self.head(y), "features": y, "tied": self.tied(y)}

    dot = trace(Heads(), (1, 4)).to_dot(columns=1)
    assert dot.count("<b>output</b>") == 3
    assert dot.count("weight 4×4") == 2
    assert dot.count("body.weight 4×4") == 1


def test_modules_made_on_the_way_get_boxes_of_their_own():
    class Inline(nn.Module):
        def forward(self, x):
            for _ in range(3):
                x = nn.ReLU()(x)
            return x

    graph = trace(Inline(), (2,))
    assert [c.kind for c in graph.calls] == ["Inline", "ReLU", "ReLU", "ReLU"]
    assert len({n.call for n in graph.operations()}) == 3


def test_a_deep_graph_needs_no_recursion():
    x = tg.ones(1, requires_grad=True)
    y = x
    for _ in range(5_000):
        y = y + 1
    graph = trace(y)
    assert len(graph.nodes) == 5_001
    assert len(graph.backward().nodes) == 5_002


def test_what_the_engine_says_of_fused_nodes_is_shown(monkeypatch):
    """The engine may say it later than the operation is called."""
    from tinygrad_cnn.autograd import Node as EngineNode

    x = tg.randn(3, requires_grad=True)
    with Recording(names={"x": x}) as recording:
        y = (x * 2).exp()
        assert [n.fused for n in recording.graph(y).operations()] == [None, None]
        marks = {y.grad_fn.time: "mul + exp"}
        mark = property(lambda node: marks.get(node.time))
        monkeypatch.setattr(EngineNode, "fused", mark, raising=False)
    for graph in (recording.graph(y), trace(y, names={"x": x})):
        assert [n.fused for n in graph.operations()] == [None, "mul + exp"]
        assert "mul + exp" not in graph.to_dot()  # it stands in the page's details only
