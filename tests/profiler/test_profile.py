"""What a profile records: which operations, where, for how long, how many bytes; and nothing when
it is closed.
"""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from clock import stand_still

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import nn, optim
from tinygrad_cnn.autograd import Function
from tinygrad_cnn.autograd.events import watching
from tinygrad_cnn.kernels import memory
from tinygrad_cnn.optim import Optimizer
from tinygrad_cnn.profiler import profile, session
from tinygrad_cnn.profiler.session import here
from tinygrad_cnn.viz import trace


def small_net():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 5))
    )


def outer_operations(p):
    return [e for e in p.events if e.kind == "operation" and e.depth == 0]


# ---- what, in which order, inside of what ---------------------------------------------------


def test_forward_rules_and_what_the_rules_call():
    x, w = tg.randn(2, 3, 8, 8), tg.randn(4, 3, 3, 3, requires_grad=True)
    g = tg.randn(2, 4, 6, 6)
    with profile() as p:
        F.conv2d(x, w).exp().backward(g)
    found = [(e.name, e.phase, e.depth) for e in p.events if e.kind == "operation"]
    assert found == [
        ("conv2d", "forward", 0),
        ("exp", "forward", 0),
        ("exp", "backward", 0),
        ("mul", "backward", 1),
        ("conv2d", "backward", 0),
    ]
    conv = p.events[0]
    assert conv.input_shapes == ((2, 3, 8, 8), (4, 3, 3, 3), ())
    assert conv.sequence == p.events[-1].sequence != 0


def test_labels_of_modules_are_those_of_the_forward_pass_in_both_directions():
    net = small_net()
    with profile() as p:
        F.cross_entropy(net(tg.randn(2, 3, 8, 8)), tg.tensor([1, 2])).backward()
    by_phase = {
        phase: [(e.name, e.module) for e in outer_operations(p) if e.phase == phase and e.module]
        for phase in ("forward", "backward")
    }
    assert by_phase["forward"] == [
        ("conv2d", "Sequential.0 (Conv2d)"),
        ("relu", "Sequential.1 (ReLU)"),
        ("reshape", "Sequential.2.0 (Flatten)"),
        ("linear", "Sequential.2.1 (Linear)"),
    ]
    assert by_phase["backward"] == by_phase["forward"][::-1]
    linear = next(e for e in p.events if e.name == "linear")
    assert linear.modules == ("Sequential", "Sequential.2 (Sequential)", "Sequential.2.1 (Linear)")


def test_two_models_of_one_class_have_two_names():
    a, b = nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())
    with profile() as p:
        a(b(tg.ones(2)))
        a(tg.ones(2))
    labels = [e.module for e in outer_operations(p)]
    assert labels == ["Sequential.0 (ReLU)", "Sequential#2.0 (ReLU)", "Sequential#2.0 (ReLU)"]


def test_a_profile_opened_inside_a_module_knows_where_it_is():
    class Inner(nn.Module):
        def forward(self, x):
            with profile() as self.profile:
                return x.exp()

    net = nn.Sequential(nn.Sequential(Inner()))
    net(tg.ones(2))
    assert [e.module for e in net[0][0].profile.events] == ["Sequential.0.0 (Inner)"]


def test_sums_of_gradients_belong_to_the_backward_pass():
    x = tg.ones(3, requires_grad=True)
    with profile() as p:
        (x.exp() + x.sin()).sum().backward()
    sums = [e for e in outer_operations(p) if e.name == "add" and e.phase == "backward"]
    assert len(sums) == 2  # the rule of `+`, and the sum of the gradients from exp and sin
    (walked,) = [e for e in p.events if e.kind == "walk"]
    assert walked.phase == "backward"


def test_a_custom_function_is_one_operation():
    class Twice(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x * 3)
            return x + x

        @staticmethod
        def backward(ctx, g):
            return g + g

    x = tg.ones(1000, requires_grad=True)
    with profile() as p:
        Twice.apply(x).sum().backward()
    found = [(e.name, e.phase) for e in outer_operations(p)]
    assert found.count(("Twice", "forward")) == found.count(("Twice", "backward")) == 1
    assert p.events[0].kept == 4000
    assert [e.name for e in p.events if e.depth == 1][:2] == ["mul", "add"]
    backward = next(e for e in p.events if (e.name, e.phase) == ("Twice", "backward"))
    assert backward.sequence == p.events[0].sequence != 0


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_optimiser_steps(kind):
    w = tg.ones(3, requires_grad=True)
    stepper = kind([w], lr=0.1)
    w.sum().backward()
    with profile() as p:
        stepper.step()
    assert [(e.name, e.kind, e.phase) for e in p.events] == [
        (f"{kind.__name__}.step", "optimizer", "optimizer")
    ]


def test_a_step_that_a_subclass_defines():
    class Halve(Optimizer):
        def step(self, closure=None):
            with tg.no_grad():
                for param in self.param_groups[0]["params"]:
                    param.mul_(0.5)

    w = tg.ones(3, requires_grad=True)
    stepper = Halve([w], {})
    with profile() as p:
        stepper.step()
    assert [row.name for row in p.key_averages()] == ["Halve.step"]
    assert w.tolist() == [0.5] * 3


# ---- time -----------------------------------------------------------------------------------


def test_times_are_exact_on_a_clock_that_only_operations_move(monkeypatch):
    clock = stand_still(monkeypatch)
    slow, quick = clock.operation("slow", 5, 7), clock.operation("quick", 1, 2)
    x = tg.ones(2, requires_grad=True)
    with profile() as p:
        y = slow(quick(slow(x)))
        clock.work(30)
        y.backward(tg.ones(2))
    rows = {row.name: row for row in p.key_averages()}
    assert rows["slow"].calls == 2
    assert rows["slow"].forward == pytest.approx(0.010)
    assert rows["slow"].backward == pytest.approx(0.014)
    assert rows["slow"].mean == pytest.approx(0.012)
    assert rows["quick"].time == pytest.approx(0.003)
    assert p.key_averages().rest == pytest.approx(0.030)
    assert p.total == pytest.approx(0.057)
    (walked,) = [e for e in p.events if e.kind == "walk"]
    assert walked.duration == pytest.approx(0.016)
    assert walked.own == pytest.approx(0)


def test_the_profilers_own_work_counts_nowhere(monkeypatch):
    clock = stand_still(monkeypatch)
    found = session.lines_above

    def slowly(*args):
        clock.work(100)
        return found(*args)

    monkeypatch.setattr(session, "lines_above", slowly)
    monkeypatch.setattr(session, "memory_allocated", lambda: clock.work(100) or 0)
    net, slow = nn.Sequential(nn.Identity()), clock.operation("slow", 5, 7)
    x = tg.ones(2, requires_grad=True)
    with profile() as outer, profile(with_stack=True) as inner:
        slow(net(x)).backward(tg.ones(2))
    for p in (outer, inner):
        assert p.total == pytest.approx(0.012)
        assert p.key_averages()[0].time == pytest.approx(0.012)


def test_a_closure_is_not_part_of_the_step(monkeypatch):
    clock = stand_still(monkeypatch)
    slow = clock.operation("slow", 5, 7)
    w = tg.ones(2, requires_grad=True)

    class Slow(optim.SGD):
        def update(self, *args):
            clock.work(3)
            super().update(*args)

    sgd = Slow([w], lr=0.1)

    def loss():
        sgd.zero_grad()
        value = slow(w).sum()
        value.backward()
        return value

    with profile() as p:
        assert sgd.step(loss).item() == 2.0
    rows = {row.name: row for row in p.key_averages()}
    assert rows["slow"].forward == pytest.approx(0.005)
    assert rows["slow"].backward == pytest.approx(0.007)
    assert rows["Slow.step"].optimizer == pytest.approx(0.003)
    assert p.key_averages().rest == pytest.approx(0)


def test_time_by_module(monkeypatch):
    clock = stand_still(monkeypatch)

    class Slow(nn.Module):
        def __init__(self, forward, backward):
            super().__init__()
            self.work = clock.operation("work", forward, backward)

        def forward(self, x):
            return self.work(x)

    net = nn.Sequential(Slow(1, 2), nn.Sequential(Slow(3, 5)))
    with profile() as p:
        net(tg.ones(2, requires_grad=True)).backward(tg.ones(2))
    found = {
        row.name: (round(row.forward * 1e3), round(row.backward * 1e3))
        for row in p.key_averages("module")
    }
    assert found["Sequential.0 (Slow)"] == (1, 2)
    assert found["Sequential.1.0 (Slow)"] == (3, 5)


# ---- bytes ----------------------------------------------------------------------------------


def test_new_and_kept_bytes():
    x = tg.randn(8, 4, 10, 10, requires_grad=True)  # 12,800 bytes
    with profile() as p:
        h = x.exp()  # its rule names the result
        v = h.reshape(-1)
        y = h * h + v.reshape(8, 4, 10, 10)
        F.max_pool2d(y, 2)
    found = {e.name: (e.allocated, e.kept) for e in outer_operations(p)}
    index = 8 * 4 * 5 * 5  # a byte for every window
    assert found == {
        "exp": (12800, 12800),
        "reshape": (0, 0),
        "mul": (12800, 0),  # keeps what exp keeps already
        "add": (12800, 0),
        "max_pool2d": (3200 + index, index),
    }


def test_parameters_and_what_no_rule_needs_are_not_kept():
    w = tg.randn(50, 20, requires_grad=True)
    x = tg.randn(30, 20)
    with profile() as p:
        F.linear(x, w)
        with tg.no_grad():
            F.linear(x, w).exp()
    assert [(e.allocated, e.kept) for e in p.events] == [(6000, 2400), (6000, 0), (6000, 0)]


def test_gradients_are_new_bytes_of_the_backward_pass():
    x = tg.randn(100, requires_grad=True)
    with profile() as p:
        x.exp().sum().backward()
    row = {(e.name, e.phase): e.allocated for e in outer_operations(p)}
    assert row["exp", "backward"] == 400


def test_the_profile_keeps_no_tensor_and_no_node_alive():
    x = tg.randn(100, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        with profile(with_stack=True) as p:
            y = x.exp()
            array, node = weakref.ref(y.array), weakref.ref(y.grad_fn)
            del y
            assert array() is None
            assert node() is None
    finally:
        gc.enable()
    assert len(p.events) == 1


def test_memory_in_use_is_noted_after_every_event():
    before = memory.memory_allocated()
    with profile() as p:
        y = F.relu(tg.ones(1024, 1024))
    assert p.events[0].in_use == before + y.array.nbytes


# ---- when it is closed; nesting, threads, exceptions ----------------------------------------


def test_nobody_watches_afterwards():
    with profile():
        with profile():
            assert len(watching) == 1
        assert len(watching) == 1
    assert not watching
    with pytest.raises(RuntimeError, match="on purpose"), profile():
        raise RuntimeError("on purpose")
    assert not watching
    assert here.session is None


def test_a_graph_is_drawn_of_what_is_profiled():
    net, x = small_net(), tg.ones(2, 3, 8, 8)
    with profile() as p:
        drawn = trace(net, x)
    names = [e.name for e in outer_operations(p) if e.modules]
    assert names == [node.name for node in drawn.operations()]


def test_an_inner_profile_sees_its_part_and_the_outer_one_all():
    x = tg.ones(2)
    with profile() as outer:
        x.exp()
        with profile() as inner:
            x.sin()
        x.cos()
    assert [e.name for e in outer.events] == ["exp", "sin", "cos"]
    assert [e.name for e in inner.events] == ["sin"]
    assert 0 < inner.total < outer.total


def test_a_profile_inside_of_a_rule_counts_from_there():
    inside = profile()

    class Looks(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            with inside:
                return g * 2

    x = tg.ones(3, requires_grad=True)
    with profile() as outer:
        Looks.apply(x).sum().backward()
    assert [(row.name, row.calls) for row in inside.key_averages()] == [("mul", 1)]
    assert "mul" not in [row.name for row in outer.key_averages()]


def test_other_threads_are_not_recorded_and_can_record_themselves():
    x = tg.ones(2)
    found = {}
    barrier = threading.Barrier(3)

    def unobserved():
        barrier.wait()
        x.sin()
        barrier.wait()

    def observed():
        with profile() as p:
            barrier.wait()
            x.cos()
            barrier.wait()
        found["observed"] = [e.name for e in p.events]

    threads = [threading.Thread(target=f) for f in (unobserved, observed)]
    with profile() as p:
        for thread in threads:
            thread.start()
        barrier.wait()
        x.exp()
        barrier.wait()
    for thread in threads:
        thread.join()
    assert [e.name for e in p.events] == ["exp"]
    assert found == {"observed": ["cos"]}


def test_an_exception_leaves_what_ran_until_then():
    net = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"in 1 \(Linear\)"), profile() as p:
        net(tg.ones(4, 5))
    assert [e.name for e in outer_operations(p)] == ["relu", "linear"]
    assert p.total >= sum(e.own for e in outer_operations(p))
    with profile() as p:  # and no module counts as running any more
        tg.ones(2).exp()
    assert p.events[0].modules == ()


def test_a_caught_exception_does_not_disturb_what_follows():
    net = nn.Sequential(nn.Linear(3, 2))
    with profile() as p:
        with pytest.raises(ValueError, match="linear"):
            net(tg.ones(4, 5))
        tg.ones(2).exp()
    assert (p.events[-1].name, p.events[-1].depth, p.events[-1].modules) == ("exp", 0, ())


def test_one_object_records_one_block():
    p = profile()
    with p:
        pass
    with pytest.raises(RuntimeError, match="profile: this one has been used"), p:
        pass


@pytest.mark.parametrize("create_graph", [False, True])
def test_results_are_the_same(create_graph):
    net, x = small_net(), tg.randn(2, 3, 8, 8)

    def gradients():
        loss = F.cross_entropy(net(x), tg.tensor([1, 2]))
        found = tg.autograd.grad(loss, list(net.parameters()), create_graph=create_graph)
        if create_graph:
            found = tg.autograd.grad(found[0].square().sum(), net[0].weight)
        return [g.detach().numpy() for g in found]

    expected = gradients()
    with profile(with_stack=True):
        for got, want in zip(gradients(), expected, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("workers", [0, 2])
def test_waiting_for_data_is_seen(workers):
    class Squares:
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return tg.tensor([float(i)]).square()  # no operation of the program's own

    loader = tg.data.DataLoader(Squares(), batch_size=2, num_workers=workers)
    with profile() as p:
        for batch in loader:
            batch.exp()
    kinds = [e.kind for e in p.events if e.kind == "load" or e.name == "exp"]
    assert kinds == ["load", "operation"] * 3 + ["load"]
    assert {e.name for e in p.events if e.kind == "operation"} == {"exp"}
    rows = {row.name: row for row in p.key_averages()}
    assert rows["(DataLoader)"].calls == 4
    assert rows["(DataLoader)"].time > 0
    with tg.viz.Recording() as recording:
        for batch in loader:
            batch.exp()
    assert [n.name for n in recording.nodes if n.kind == "operation"] == ["exp"] * 3


# ---- ranges and steps -----------------------------------------------------------------------


def test_ranges_have_rows_of_their_own():
    @tg.profiler.record_function("decorated")
    def work():
        return tg.ones(2) * 2

    work()  # no profile is open
    with tg.profiler.profile(activities=[tg.profiler.ProfilerActivity.CPU]) as p:
        with tg.autograd.profiler.record_function("block"):
            work()
        work()
    names = {row.name: row.calls for row in p.key_averages()}
    assert names == {"block": 1, "decorated": 2, "mul": 2}
    assert {row.name for row in p.key_averages("module")} == {"(outside of modules)"}


@pytest.mark.filterwarnings("ignore:Profiler won't be using warmup")  # of PyTorch
@pytest.mark.parametrize("settings", [(1, 1, 2, 0, 0), (0, 0, 1, 2, 3), (2, 0, 3, 1, 1)])
def test_schedules_are_those_of_pytorch(settings):
    torch_profiler = pytest.importorskip("torch.profiler")
    names = dict(zip(("wait", "warmup", "active", "repeat", "skip_first"), settings, strict=True))
    mine, yours = (m.schedule(**names) for m in (tg.profiler, torch_profiler))
    assert [mine(i).name for i in range(12)] == [yours(i).name for i in range(12)]


def test_a_profile_records_the_steps_of_its_schedule():
    cycles = []
    when = tg.profiler.schedule(wait=1, warmup=0, active=2)

    def ready(p):
        cycles.append([e.name for e in p.events])

    with tg.profiler.profile(schedule=when, on_trace_ready=ready) as p:
        for function in (tg.exp, tg.sin, tg.cos, tg.tan, tg.log, tg.sqrt):
            function(tg.ones(2))
            p.step()
    assert cycles == [["sin", "cos"], ["log", "sqrt"]]
    with pytest.raises(ValueError, match="schedule"):
        tg.profiler.schedule(wait=1, warmup=0, active=0)
