"""`tg.compile`: what is replayed gives the same bits, and what could not is never replayed."""

from __future__ import annotations

import copy
import gc
import threading
import warnings
from collections import defaultdict, deque
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.testing.architectures import architectures

IMAGE = (3, 8, 8)
MODELS = {"lenet5": "LeNet5", "resnet20": "ResNet20", "minivgg": "MiniVGG"}


def _net(dropout: float = 0.3) -> nn.Module:
    tg.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(32, 4),
    )  # fmt: skip


def _batches(count: int, n: int = 4, seed: int = 0) -> list[tuple[tg.Tensor, tg.Tensor]]:
    rng = np.random.default_rng(seed)
    return [
        (tg.tensor(rng.normal(size=(n, *IMAGE)).astype("f")), tg.tensor(rng.integers(0, 4, n)))
        for _ in range(count)
    ]


def _optimizers(net):
    p = list(net.parameters())
    return {
        "sgd": optim.SGD(p, lr=0.1),
        "momentum": optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True),
        "adam": optim.Adam(p, lr=1e-3),
        "adamw": optim.AdamW(p, lr=1e-3, amsgrad=True),
        "rmsprop": optim.RMSprop(p, lr=1e-3),
    }


def _state(net, optimizer) -> list[bytes]:
    tensors = [*net.parameters(), *net.buffers(), *(p.grad for p in net.parameters())]
    held = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, tg.Tensor)]
    return [t.detach().numpy().tobytes() for t in (*tensors, *held) if t is not None]


def _train(compiled: bool, name: str, net=None, batches=None, clip=None, scheduled=False):
    net = _net() if net is None else net
    optimizer = _optimizers(net)[name]
    schedule = optim.lr_scheduler.StepLR(optimizer, 2, 0.5) if scheduled else None

    def step(x, y):
        optimizer.zero_grad()
        scores = net(x)
        loss = F.cross_entropy(scores, y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), clip) if clip else None
        optimizer.step()
        if schedule is not None:
            schedule.step()
        return loss, scores.detach(), norm

    run = tg.compile(step) if compiled else step
    tg.manual_seed(5)
    seen = []
    for x, y in _batches(5) if batches is None else batches:
        found = run(x, y)
        seen += [t.detach().numpy().tobytes() for t in found if t is not None]
    return run, seen + _state(net, optimizer)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_step_gives_the_same_bits(name, clip):
    _, plain = _train(False, name, clip=clip, scheduled=True)
    run, found = _train(True, name, clip=clip, scheduled=True)
    assert found == plain
    assert run.recordings == 1, run.explain()
    assert "replayed" in run.explain()


def _run(model, seed, shape, compiled, threads):
    """Losses and what is left of three steps and an evaluation."""
    model = copy.deepcopy(model)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(x, y):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    def infer(x):
        with tg.no_grad():
            return model(x)

    if compiled:
        step, infer = tg.compile(step), tg.compile(infer)
    rng = np.random.default_rng(seed)
    tg.manual_seed(seed)
    before = tg.get_num_threads()
    tg.set_num_threads(threads)
    try:
        with tg.no_grad():
            out = model.eval()(tg.zeros(*shape)).shape
        seen = []
        model.train()
        for _ in range(3):
            x = tg.tensor(rng.normal(size=shape).astype("f"))
            y = tg.tensor(rng.normal(size=out).astype("f"))
            seen.append(step(x, y).item())
        model.eval()
        for _ in range(2):
            seen.append(infer(tg.tensor(rng.normal(size=shape).astype("f"))).numpy().tobytes())
    finally:
        tg.set_num_threads(before)
    seen += [t.detach().numpy().tobytes() for t in (*model.parameters(), *model.buffers())]
    replays = 0
    if compiled:
        for function in (step, infer):
            for found in function.programs.values():
                assert not isinstance(found, str), found
                replays += sum(r.replays for r in found)
        assert replays == 3, (step.explain(), infer.explain())
    return seen


@settings(max_examples=8, deadline=None)
@given(architectures(), st.integers(0, 99), st.sampled_from([1, 2]))
def test_random_architectures_give_the_same_bits(made, seed, threads):
    tg.manual_seed(seed)
    model, shape = made.build(), made.input_shape
    plain = _run(model, seed, shape, False, threads)
    assert repr(_run(model, seed, shape, True, threads)) == repr(plain)


@pytest.mark.parametrize(
    ("model", "step"),
    [("lenet5", set()), ("resnet20", set()), ("minivgg", set())],
)
def test_what_models_do_is_launches_alone(model, step):
    """Whatever scratch memory happens to hold: a table of addresses is no matter of its numbers."""
    pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    net = getattr(import_module(f"models.{model}"), MODELS[model])()
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    x, y = tg.randn(2, 3, 32, 32), tg.randint(10, (2,))

    @tg.compile
    def train():
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()

    @tg.compile
    @tg.no_grad()
    def infer():
        return net(x)

    train()
    assert _in_python(train) <= step
    net.eval()
    infer()
    assert not _in_python(infer)
    for function in (train, infer):
        (recordings,) = function.programs.values()
        program = recordings[0].program
        assert program.arena_bytes <= program.usual_bytes


def test_work_space_lies_on_cache_lines_and_not_where_integers_were():
    """Integers are subnormal floats: MiniVGG's batches took half as long again in inference."""
    pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    net = import_module("models.minivgg").MiniVGG().eval()
    infer = tg.compile(tg.no_grad()(lambda x: net(x)))
    infer(tg.randn(64, 3, 32, 32))
    (recordings,) = infer.programs.values()
    units = recordings[0].program.units
    found = {ref.region for u in units for ref in (*u.operands(), *u.work(), *u.results())}
    local = [region for region in found if region.kind == "local" and region.nbytes]
    work = [region for region in local if region.is_work]
    integers = [region for region in local if not region.floats]
    assert work
    assert integers
    for region in work:
        assert (region.offset - region.low) % 64 == 0
        for other in (r for r in integers if r is not region):
            first, last = sorted((region, other), key=lambda r: r.offset)
            assert first.offset + first.nbytes <= last.offset


def _in_python(function) -> set[str]:
    (recordings,) = function.programs.values()
    return {unit.name for unit in recordings[0].program.units if unit.is_python}


def test_learning_rates_are_read_at_every_replay():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([x], lr=1.0)

    @tg.compile
    def step():
        optimizer.zero_grad()
        x.sum().backward()
        optimizer.step()

    step()
    optimizer.param_groups[0]["lr"] = 0.5
    step()
    assert step.recordings == 1
    assert x.tolist() == [-0.5, 0.5]


def test_guards_record_anew():
    net = _net()
    infer = tg.compile(net)
    plain = net.forward
    x, _ = _batches(1)[0]
    net.eval()

    def check():
        with tg.no_grad():
            assert infer(x).numpy().tobytes() == plain(x).numpy().tobytes()

    with tg.no_grad():
        infer(x)
    check()
    call = type(infer).__dict__["explain"].__self__
    assert call.recordings == 1
    net[0].weight.data = net[0].weight.data * 2  # other memory
    check()
    with tg.no_grad():
        net[0].weight.mul_(0.5)  # in place
    check()
    net[0].weight.detach().numpy()[...] *= 3  # behind everybody's back
    check()
    net.load_state_dict(_net().state_dict())
    check()
    net[8] = nn.Linear(32, 4)
    check()
    net[8].bias = None
    check()
    net[1].eps = 0.1
    check()
    x = tg.cat([x, x])
    check()
    net.train()
    tg.manual_seed(1)
    with tg.no_grad():
        first = infer(x)
        tg.manual_seed(1)
        again = infer(x)
    assert first.numpy().tobytes() == again.numpy().tobytes()


@pytest.mark.filterwarnings("ignore:compile")
def test_what_asks_for_a_value_runs_as_usual():
    calls = []

    def asks(x):
        if x.sum() > 0:
            calls.append(1)
            return x * 2
        return x * 3

    f = tg.compile(asks)
    for sign in (1, -1, 1, -1):
        x = tg.tensor([1.0, 2.0]) * sign
        assert f(x).tolist() == (x * (2 if sign > 0 else 3)).tolist()
    assert calls == [1, 1]
    assert "line" in f.explain()
    with pytest.raises(RuntimeError, match="fullgraph"):
        tg.compile(asks, fullgraph=True)(tg.ones(2))


@pytest.mark.filterwarnings("ignore:compile")
def test_what_changes_objects_runs_as_usual():
    seen, count = [], {"n": 0}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * 2

    net = Net()

    def changes(x):
        seen.append(x)
        return x + 1

    def counts(x):
        count["n"] += 1
        return x + 1

    f, g, h = tg.compile(changes), tg.compile(counts), tg.compile(net)
    for _ in range(3):
        f(tg.ones(2))
        g(tg.ones(2))
        h(tg.ones(2))
    assert (len(seen), count["n"], net.calls) == (3, 3, 3)


class Settings:
    scale = 2.0

    @property
    def doubled(self):
        return self.scale * FACTORS["two"]


FACTORS = {"two": 2.0}


def _helper(settings):
    return settings.scale


@pytest.mark.filterwarnings("ignore:compile")
def test_what_functions_read_of_objects_is_guarded():
    class Slotted:
        __slots__ = ("scale",)

    own, slotted, held = Settings(), Slotted(), [1.0]
    slotted.scale = 1.0
    table, chosen, queue = {}, {1}, deque([1.0])
    counted = defaultdict(float, one=1.0)
    functions = [
        lambda x: x * Settings.scale,
        lambda x: x * own.doubled,
        lambda x: x * _helper(own),
        lambda x: x * slotted.scale,
        lambda x: x * held[-1],
        lambda x: x * (1 + len(table)),
        lambda x: x * (1 + len(chosen)),
        lambda x: x * queue[0],
        lambda x: x * getattr(own, "scale"),  # noqa: B009
        lambda x: x * (counted["one"] if "one" in counted else -1.0),
    ]
    compiled = [tg.compile(f) for f in functions]

    def change(k):
        Settings.scale = 2.0 + k
        FACTORS["two"] = 3.0 + k
        slotted.scale = 5.0 + k
        held.append(7.0 + k)
        table[k] = k
        chosen.add(100 + k)
        queue.appendleft(11.0 + k)
        counted["one"] = 13.0 + k

    try:
        for k in range(3):
            for _ in range(2):
                for f, g in zip(functions, compiled, strict=True):
                    assert g(tg.ones(2)).tolist() == f(tg.ones(2)).tolist()
            change(k)
        del counted["one"]
        assert compiled[-1](tg.ones(1)).item() == -1
        assert not counted  # looking at it makes no entry
        own.scale = -1.0
        assert compiled[2](tg.ones(1)).item() == -1
    finally:
        Settings.scale, FACTORS["two"] = 2.0, 2.0
    assert all("1 recorded" not in g.explain() for g in compiled)


def test_an_object_at_the_place_of_a_former_one_is_another():
    net = nn.Linear(1, 1)
    with tg.no_grad():
        nn.init.ones_(net.weight)
        nn.init.zeros_(net.bias)

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = net

            def forward(self, x):
                return self.act(self.inner(x))

        whole = Net()
        f = tg.compile(whole)
        for k in range(40):
            whole.act = eval(f"lambda x: x * {k}")  # the former one's memory is free then
            gc.collect()
            for _ in range(2):
                assert f(tg.ones(1, 1)).item() == k


@pytest.mark.filterwarnings("ignore:compile")
def test_hooks_that_come_later_are_called():
    net, seen = nn.Linear(2, 1), []
    sgd = optim.SGD(net.parameters(), lr=0.1)

    @tg.compile
    def step(x):
        sgd.zero_grad()
        net(x).sum().backward()
        sgd.step()

    for _ in range(2):
        step(tg.ones(1, 2))
    handles = [
        net.weight.register_hook(lambda g: seen.append("tensor")),
        sgd.register_step_post_hook(lambda *_: seen.append("step")),
        net.register_forward_hook(lambda *_: seen.append("module")),
    ]
    step(tg.ones(1, 2))
    assert sorted(seen) == ["module", "step", "tensor"]
    for handle in handles:
        handle.remove()
    step(tg.ones(1, 2))
    assert len(seen) == 3


def test_models_and_optimisers_may_be_arguments():
    def step(net, sgd, x):
        sgd.zero_grad(set_to_none=False)
        loss = net(x).sum()
        loss.backward()
        sgd.step()
        return loss

    run, states = tg.compile(step), []
    for call in (step, run):
        tg.manual_seed(0)
        nets = [nn.Linear(2, 1) for _ in range(2)]
        sgds = [optim.SGD(net.parameters(), lr=0.1) for net in nets]
        losses = [
            call(net, sgd, tg.ones(1, 2)).item()
            for _ in range(4)
            for net, sgd in zip(nets, sgds, strict=True)
        ]
        states.append((losses, [p.tolist() for net in nets for p in net.parameters()]))
    assert states[0] == states[1]
    assert run.recordings == 4  # for each of both, without gradients and with


def test_methods_can_be_decorated():
    class Trainer:
        def __init__(self):
            self.net = nn.Linear(2, 1)

        @tg.compile
        def scores(self, x):
            return self.net(x).detach()

    trainer = Trainer()
    for k in range(3):
        x = tg.full((1, 2), float(k))
        assert trainer.scores(x).tolist() == trainer.net(x).tolist()
    assert type(trainer).scores.recordings == 1


def test_what_waits_to_read_memory_reads_it_before_a_replay_writes():
    x = tg.randn(2, 16, 8, 8)
    f = tg.compile(lambda: x.mul_(2.0) and None) if False else tg.compile(lambda: _double(x))
    for _ in range(3):
        y = F.batch_norm(x * 1, training=True)
        z = F.relu(F.batch_norm(x, training=True))
        f()
        expected = F.relu(F.batch_norm(x / 2, training=True))
        np.testing.assert_allclose(z.numpy(), expected.numpy(), atol=1e-5)
        assert y.shape == z.shape


def _double(x):
    x.mul_(2.0)


@pytest.mark.filterwarnings("ignore:compile")
def test_errors_that_the_function_catches():
    def f(x):
        try:
            return x.reshape(2, -1)
        except ValueError:
            return x

    g = tg.compile(f)
    for n in (3, 4, 3, 4, 3):
        assert g(tg.ones(n)).shape == f(tg.ones(n)).shape


def test_gradients_are_there_after_an_error():
    w = tg.ones(3, requires_grad=True)

    @tg.compile
    def f(x, labels):
        loss = F.cross_entropy(x * w, labels)
        w.grad = None
        loss.backward()

    for _ in range(3):
        f(tg.eye(3), tg.tensor([0, 1, 2]))
    before = w.grad.tolist()
    with pytest.raises(IndexError):
        f(tg.eye(3), tg.tensor([0, 1, 3]))
    assert w.grad.tolist() == before


def test_arrays_that_lie_backwards_or_have_steps():
    f = tg.compile(lambda x: x * 2 + 1)
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    for array in (whole[::-1], whole[:, ::2], whole.T, np.broadcast_to(whole[0], (3, 6))):
        for k in (1, 2, 3):
            x = tg.from_numpy(array * 1 if array is whole else array)
            np.testing.assert_array_equal(f(x).numpy(), array * 2 + 1)
            assert k


@pytest.mark.filterwarnings("ignore:compile")
def test_iterators_go_on():
    numbers = iter(range(5))
    f = tg.compile(lambda x: x + next(numbers))
    assert [f(tg.zeros(1)).item() for _ in range(4)] == [0, 1, 2, 3]


def test_says_once_why_it_runs_as_usual():
    f = tg.compile(lambda x: x.item())
    with pytest.warns(RuntimeWarning, match="runs as usual"):
        assert f(tg.ones(1)) == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f(tg.ones(1) * 2) == 2.0


def test_results_are_the_callers():
    f = tg.compile(lambda x: (x * 2, {"sum": x.sum()}))
    first = f(tg.ones(3))
    second = f(tg.ones(3) * 5)
    third = f(tg.ones(3) * 7)
    assert first[0].tolist() == [2, 2, 2]
    assert second[0].tolist() == [10, 10, 10]
    assert second[1]["sum"].item() == 15
    assert third[1]["sum"].item() == 21


def test_gradients_that_the_caller_keeps_stay():
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)

    @tg.compile
    def f(a):
        x.grad = None
        (x * a).sum().backward()

    kept = []
    for k in range(4):
        f(tg.full((3,), float(k)))
        kept.append(x.grad if k % 2 else x.grad.numpy())
    assert [np.asarray(g).tolist() for g in kept] == [[k] * 3 for k in range(4)]


def test_gradients_add_up_where_nobody_drops_them():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    f = tg.compile(lambda a: (x * a).sum().backward())
    for _ in range(4):
        f(tg.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [4.0, 40.0]
    x.grad = None
    f(tg.tensor([1.0, 10.0]))
    f(tg.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2.0, 20.0]


def test_labels_out_of_range_raise_as_usual():
    f = tg.compile(lambda x, y: F.cross_entropy(x, y))
    x = tg.randn(4, 3)
    for labels in ([0, 1, 2, 0], [2, 2, 2, 2]):
        y = tg.tensor(labels)
        assert f(x, y).item() == F.cross_entropy(x, y).item()
    with pytest.raises(IndexError, match="expected class numbers"):
        f(x, tg.tensor([0, 1, 3, 0]))
    assert f(x, tg.tensor([0, 1, -100, 0])).item() == pytest.approx(
        F.cross_entropy(x, tg.tensor([0, 1, -100, 0])).item(), abs=0
    )


def test_threads_have_memory_of_their_own():
    net = _net().eval()
    infer = tg.compile(net)
    batches = _batches(16)
    with tg.no_grad():
        right = [net(x).numpy().tobytes() for x, _ in batches]
        infer(batches[0][0])
    wrong: list[int] = []

    def work(k):
        with tg.no_grad():
            for i in range(k, 16, 4):
                if infer(batches[i][0]).numpy().tobytes() != right[i]:
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_numbers_that_lead_another_way_are_computed_that_way():
    """A convolution of images whose numbers lie far apart goes another way: the replay too."""
    tg.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    f = tg.compile(conv)
    rng = np.random.default_rng(0)
    for k in range(4):
        x = rng.normal(size=(4, 16, 32, 32)).astype("f")
        if k == 2:
            x[1, 3, 5, 5] = 1e30
        if k == 3:
            x[0, 0, 0, 0] = np.nan
        with tg.no_grad():
            found, right = f(tg.tensor(x)), conv(tg.tensor(x))
        assert found.numpy().tobytes() == right.numpy().tobytes(), k


@pytest.mark.filterwarnings("ignore:compile")
def test_arguments_that_are_one_or_share_memory():
    f = tg.compile(lambda a, b: a * 2 + b)
    weight = tg.tensor([1.0, 2.0])
    g = tg.compile(lambda a: a * weight)
    x, y, whole = tg.tensor([1.0, 2.0]), tg.tensor([5.0, 7.0]), tg.arange(4.0)
    pairs = [(x, x), (x, y), (y, x), (y, y), (whole[:2], whole[2:]), (whole[:3], whole[1:])]
    for a, b in pairs * 2:
        assert f(a, b).tolist() == (a * 2 + b).tolist()
    for a in (weight, x, y, weight):
        assert g(a).tolist() == (a * weight).tolist()
    assert weight.tolist() == [1.0, 2.0]


@pytest.mark.filterwarnings("ignore:compile")
def test_numbers_that_python_reads_from_arrays_are_no_constants():
    f = tg.compile(lambda a: a * float(a.array.sum()))
    h = tg.compile(lambda a: a * a.sum().item())
    for k in (1.0, 2.0, 3.0):
        a = tg.full((2,), k)
        assert f(a).tolist() == [2 * k * k] * 2
        assert h(a).tolist() == [2 * k * k] * 2


def test_an_error_leaves_what_a_usual_call_leaves():
    f = tg.compile(lambda a, b: a @ b)
    with pytest.raises(ValueError, match="matmul"):
        f(tg.ones(2, 3), tg.ones(2, 3))
    assert f(tg.ones(2, 3), tg.ones(3, 2)).shape == (2, 2)


def test_modules_share_everything_with_what_is_compiled():
    net = _net()
    compiled = tg.compile(net)
    assert isinstance(compiled, nn.Sequential)
    assert list(compiled.state_dict()) == list(net.state_dict())
    assert compiled.eval() is compiled
    assert not net.training
    assert "compiled" in compiled.explain()
    assert type(copy.deepcopy(compiled)).__name__ == "Sequential"


def test_a_profile_names_what_users_called():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 4))
    sgd = optim.SGD(net.parameters(), lr=0.1)

    @tg.compile
    def step(x):
        sgd.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        sgd.step()
        return loss

    for _ in range(3):
        step(tg.ones(5, 3, 4, 4))
    with tg.profiler.profile() as p:
        step(tg.ones(5, 3, 4, 4))
    names = {row.name for row in p.key_averages()}
    assert {"dropout", "linear", "clip_grad_norm_", "SGD.step"} <= names
    assert not [name for name in names if name.startswith("_")]
