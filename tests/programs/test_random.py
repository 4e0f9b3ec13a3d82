"""Masks of dropout within a program: drawn by machine code, from NumPy's own generators."""

from __future__ import annotations

import copy
import os
import sys
import threading
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import kernels
from tinygrad_cnn.kernels.streams import Stream
from tinygrad_cnn.nn import functional as F

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

KINDS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


@pytest.fixture(autouse=True)
def _compiled():
    former = tg.set_kernels("jit")
    yield
    tg.set_kernels(former)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_that_numpy_draws(kind):
    numbers = np.array([0.3, 1 / 0.7], np.float32)
    masks, after = [], []
    for choice in ("jit", "reference"):
        generator = np.random.Generator(getattr(np.random, kind)(5))
        stream = Stream(lambda generator=generator: generator)
        tg.set_kernels(choice)
        masks += [kernels.draw_mask(numbers, s, stream) for s in ((3,), (2, 0), (64, 3), (), (5,))]
        after.append(generator.random(3).tolist())
    assert [m.shape for m in masks[:5]] == [m.shape for m in masks[5:]]
    assert [m.tobytes() for m in masks[:5]] == [m.tobytes() for m in masks[5:]]
    assert after[0] == after[1]
    assert 0.2 < np.mean(masks[2] == 0) < 0.4


def _dropped(x: tg.Tensor, generator: tg.Generator | None = None) -> tg.Tensor:
    hidden = F.dropout(x, 0.4, generator=generator)
    return F.dropout(hidden, 0.1, generator=generator) + F.dropout(x, 0.5)


def _seeded() -> None:
    tg.manual_seed(3)


def _set_back() -> None:
    state = tg.get_rng_state()
    tg.rand(7)
    tg.set_rng_state(state)


def _odd() -> None:
    tg.rand(1)  # of the 64 bits that were drawn, half wait


def _nothing() -> None:
    pass


def test_masks_and_the_generator_are_as_usual():
    compiled = tg.compile(_dropped, fullgraph=True)
    seen: list[list[object]] = []
    for function in (_dropped, compiled):
        tg.manual_seed(0)
        own = tg.Generator(7)
        found: list[object] = []
        for between in (_nothing, _nothing, _odd, _seeded, _set_back, _odd, _nothing):
            x = tg.arange(35.0).reshape(5, 7)
            found += [function(x, own).numpy().tobytes(), function(x).numpy().tobytes()]
            found += [tg.get_rng_state(), own.get_state()]
            between()
        seen.append(found)
    assert seen[0] == seen[1]
    assert compiled.recordings == 2
    assert "in Python" not in compiled.explain()


def test_gradients_go_through_the_same_mask():
    w = tg.ones(4, 100, requires_grad=True)

    @tg.compile
    def step(x):
        w.grad = None
        y = F.dropout(w * x, 0.5)
        y.sum().backward()
        return y.detach()

    x = tg.full((4, 100), 3.0)
    for _ in range(3):
        y = step(x)
        assert (w.grad.numpy() == y.numpy()).all()
        assert set(np.unique(y.numpy())) == {0.0, 6.0}


def test_a_copy_of_a_generator_goes_its_own_way():
    compiled = tg.compile(lambda x, generator: F.dropout(x, 0.5, generator=generator))
    first = tg.Generator(1)
    x = tg.ones(64)
    compiled(x, first)
    second = copy.deepcopy(first)
    found = [[compiled(x, g).tolist() for _ in range(3)] for g in (first, second)]
    assert found[0] == found[1]
    assert first.get_state() == second.get_state()


def test_threads_share_a_generator():
    """Nothing is drawn twice: whoever comes first, the generator has gone as far."""
    tg.set_kernels("auto")  # as other threads have it
    compiled = tg.compile(lambda x: F.dropout(x, 0.5))
    x = tg.ones(5001)
    tg.manual_seed(0)
    compiled(x)
    usual = [F.dropout(x, 0.5).numpy().tobytes() for _ in range(80)]
    state = tg.get_rng_state()
    tg.manual_seed(0)
    compiled(x)
    masks: list[bytes] = []

    def work() -> None:
        for _ in range(20):
            masks.append(compiled(x).numpy().tobytes())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compiled.recordings == 1
    assert sorted(masks) == sorted(usual)
    assert tg.get_rng_state() == state


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_draws_what_its_parent_would_have():
    compiled = tg.compile(lambda x: F.dropout(x, 0.5))
    x = tg.ones(100)
    tg.manual_seed(0)
    compiled(x)
    with tg.random.fork_rng():
        wanted = compiled(x).numpy().tobytes()
    child = os.fork()
    if not child:
        os._exit(compiled(x).numpy().tobytes() != wanted)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_forked_by_the_thread_that_records_does_not_record():
    children = []

    @tg.compile
    def forking(x: tg.Tensor) -> tg.Tensor:
        children.append(os.fork())
        if not children[0] and sys.getprofile() is not None:
            os._exit(1)
        return x * 2

    good = False
    try:
        forking(tg.ones(100))
        double = tg.compile(lambda x: x * 2)
        for _ in range(2):
            double(tg.ones(100))
        good = double.recordings == 1 and sys.getprofile() is None
    finally:
        if children == [0]:
            os._exit(not good)
    assert good
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


def _mixed(generator: np.random.Generator | np.random.RandomState) -> Any:
    return lambda x: x * float(generator.beta(2.0, 3.0)) + 1


def _of_numpy(x: tg.Tensor) -> tg.Tensor:
    return x * float(np.random.rand())  # noqa: NPY002  # as users have it


def _run_again(x: tg.Tensor) -> tg.Tensor:
    leaf = x.clone().requires_grad_()
    y = tg.utils.checkpoint.checkpoint(lambda t: F.dropout(t * 2, 0.4), leaf, use_reentrant=False)
    return tg.autograd.grad((y * y).sum(), [leaf])[0].detach().clone()


@pytest.mark.parametrize(
    "make",
    [
        lambda: _mixed(np.random.default_rng(3)),
        lambda: _mixed(np.random.RandomState(3)),
        lambda: _of_numpy,
        lambda: _run_again,
    ],
    ids=["Generator", "RandomState", "numpy.random", "checkpoint"],
)
@pytest.mark.filterwarnings("ignore:compile")
def test_what_a_replay_would_not_draw_is_drawn(make):
    found = []
    for wrap in (lambda function: function, tg.compile):
        function = wrap(make())
        tg.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        found.append([function(tg.ones(9) * k).numpy().tolist() for k in range(1, 6)])
    assert found[0] == found[1]
    assert len({tuple(row) for row in found[0]}) == 5


@pytest.mark.filterwarnings("ignore:compile")
def test_a_scaler_of_gradients_goes_on_scaling():
    found = []
    for wrap in (lambda function: function, tg.compile):
        tg.manual_seed(0)
        net = tg.nn.Linear(3, 2)
        sgd = tg.optim.SGD(net.parameters(), lr=0.1)
        scaler = tg.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

        def step(x, net=net, sgd=sgd, scaler=scaler):
            sgd.zero_grad()
            loss = net(x).square().sum()
            scaler.scale(loss).backward()
            scaler.step(sgd)
            scaler.update()
            return loss

        step = wrap(step)
        losses = [step(tg.ones(4, 3) * k).item() for k in (1, 2, np.inf, 1, 2)]
        found.append((repr(losses), scaler.get_scale(), net.weight.detach().numpy().tobytes()))
    assert found[0] == found[1]
    assert found[0][1] != 8.0
