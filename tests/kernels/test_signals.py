"""What a signal handler raises while kernels run reaches its caller and changes nothing else."""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import kernels, nn, optim
from tinygrad_cnn.kernels import memory, threads
from tinygrad_cnn.kernels import table as dispatch

pytestmark = [
    pytest.mark.skipif(
        not hasattr(signal, "setitimer"), reason="this system has no interval timers"
    ),
    # What is raised in a callback of the garbage collector (Hypothesis has one) gets nowhere.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Alarm(Exception):
    """Of a class that no code but this knows."""


# Also what the package itself catches somewhere: from a handler it is none of its business.
RAISED = [Alarm, TimeoutError, TypeError, ValueError, RuntimeError, struct.error, KeyboardInterrupt]


@pytest.fixture
def alarm() -> Iterator[Callable[[float, type[BaseException], Callable[[], Any]], bool]]:
    """Return a function that lets an alarm go off during a call and tells whether it did."""
    error: type[BaseException] = Alarm

    def handler(number: int, frame: Any) -> None:
        raise error("of a signal handler")

    def interrupted(delay: float, kind: type[BaseException], work: Callable[[], Any]) -> bool:
        nonlocal error
        error = kind
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            work()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except kind as found:
            return "of a signal handler" in str(found)
        return False

    former = signal.signal(signal.SIGALRM, handler)
    yield interrupted
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


class Net(nn.Module):
    """All that training needs, in a few milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(16, 32, 3, stride=2, groups=2), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32 * 9, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x).flatten(1))


class Training:
    """A training step that always begins with the same numbers."""

    def __init__(self) -> None:
        tg.manual_seed(0)
        self.net = Net()
        self.start = {name: t.numpy().copy() for name, t in self.net.state_dict().items()}
        self.x, self.labels = tg.randn(16, 3, 32, 32), tg.randint(0, 10, (16,))

    def step(self) -> list[Any]:
        """Return the loss, the parameters and the statistics afterwards."""
        net, optimizer = self.begin()
        loss = nn.functional.cross_entropy(net(self.x), self.labels)
        loss.backward()
        optimizer.step()
        return [loss.item(), *(t.numpy().copy() for t in net.state_dict().values())]

    def begin(self) -> tuple[Net, Any]:
        net = self.net
        net.load_state_dict({name: tg.tensor(a) for name, a in self.start.items()})
        net.zero_grad()
        return net, optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def calls(alarm: Any, work: Callable[[], Any], tries: int, wanted: int) -> Iterator[int]:
    """Number calls that an alarm may interrupt at any moment, as many as it takes.

    The moments follow what a call lasts here and now: how many are met does not depend on how fast
    the machine is. If hardly any alarm reaches its caller, this fails.
    """
    rng, lasts, found = np.random.default_rng(0), 0.0, 0
    for k in range(20 * tries):
        start = time.perf_counter()
        if alarm(rng.uniform(0, lasts), RAISED[k % len(RAISED)], work):
            found += 1
            lasts *= 1.1  # else a short call would keep the end of others from being met
        else:
            lasts = time.perf_counter() - start
        yield k
        if k + 1 >= tries and found > wanted:
            return
    raise AssertionError(f"{found} alarms reached their caller in {k + 1} calls")


def same(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("chosen", ["auto", "reference"])
def test_a_training_step_that_was_interrupted_at_any_moment(chosen: Any, alarm: Any) -> None:
    former = kernels.set_kernels(chosen)
    number = kernels.set_num_threads(2)
    try:
        training = Training()
        expected = training.step()
        assert same(training.step(), expected)
        in_use, errors = dict(dispatch._compiled), np.geterr()
        for k in calls(alarm, training.step, tries=200, wanted=50):
            assert memory.here.stack.top == 0
            assert not threads._blas.holders
            assert np.geterr() == errors
            if k % 10 == 9:
                assert same(training.step(), expected)
        assert dispatch._compiled == in_use
    finally:
        kernels.set_num_threads(number)
        kernels.set_kernels(former)


def test_workers_go_on_whatever_interrupts_who_waits_for_them(alarm: Any) -> None:
    """What an executor's `submit` and `result` would leave locked."""
    writing: list[int] = []

    def work(share: Any) -> None:
        if share[0]:  # the worker's
            writing.append(1)
            np.add.reduce(np.ones(1000))
            writing.pop()

    number = kernels.set_num_threads(2)
    try:
        call = lambda: [threads.split(range(2), work, 1 << 30) for _ in range(3)]
        for _ in calls(alarm, call, tries=3000, wanted=300):
            assert not writing  # nobody still is when the call is left
        assert threads.split(range(10), sum, 1 << 30) == [10, 35]
    finally:
        kernels.set_num_threads(number)
