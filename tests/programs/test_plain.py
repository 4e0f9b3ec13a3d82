"""Programs that are one call into machine code, which also reads arguments and writes results."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

import tinygrad_cnn as tg
from tinygrad_cnn import kernels, nn
from tinygrad_cnn.programs.program import Instance

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def compiled_kernels() -> Iterator[None]:
    """Also for the smallest arrays."""
    former = kernels.set_kernels("jit")
    yield
    kernels.set_kernels(former)


def instance_of(function: Any) -> Instance:
    (found,) = (f for f in function.programs.values() if isinstance(f, list))
    instance = found[0].instance()
    assert type(instance) is Instance
    return instance


def laid_out(layout: str) -> tg.Tensor:
    x = rng.normal(size=(2, 6, 7, 5)).astype(np.float32)
    if layout == "channels last":
        return tg.tensor(x).contiguous(memory_format=tg.channels_last)
    if layout == "rows apart":
        return tg.tensor(x)[..., ::2]
    if layout == "turned":
        return tg.tensor(x).transpose(0, 3)
    return tg.tensor(x)


@pytest.mark.parametrize("layout", ["rows", "channels last", "turned", "rows apart"])
@pytest.mark.parametrize("count", [1, 2])
def test_arguments_and_results_of_any_layout(layout: str, count: int) -> None:
    def function(*args: tg.Tensor) -> tg.Tensor:
        return sum((arg * 3 for arg in args), args[0] * 2)

    compiled, kept = tg.compile(function), []
    for _ in range(5):
        args = [laid_out(layout) for _ in range(count)]
        found, expected = compiled(*args), function(*args)
        assert found.stride() == expected.stride()
        kept.append((found, expected))
    for found, expected in kept:  # each has memory of its own
        assert found.numpy().tobytes() == expected.numpy().tobytes()
    if layout != "turned":  # of which not all operations are native
        assert (instance_of(compiled).plain is None) == (layout == "rows apart")


def test_several_results_and_what_was_there_before() -> None:
    weight = tg.randn(4, 4)

    @tg.compile
    def function(x: tg.Tensor, y: tg.Tensor) -> Any:
        total = (x + weight).exp()
        return {"total": total, "parts": [total.sum(), y, (y - 1).abs()], "name": "it"}, weight

    for _ in range(5):
        x, y = tg.randn(4, 4), tg.randn(3)
        found, same = function(x, y)
        assert same is weight
        assert found["parts"][1] is y
        assert found["name"] == "it"
        total = (x + weight).exp()
        for one, other in (
            (found["total"], total),
            (found["parts"][0], total.sum()),
            (found["parts"][2], (y - 1).abs()),
        ):
            assert one.shape == other.shape
            assert one.numpy().tobytes() == other.numpy().tobytes()
    assert instance_of(function).plain is not None


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, np.bool_])
def test_of_every_dtype(dtype: Any) -> None:
    function = tg.compile(lambda x: (x + x).reshape(-1)[:3])
    for step in range(5):
        x = tg.tensor((np.arange(12).reshape(3, 4) + step).astype(dtype))
        np.testing.assert_array_equal(function(x).numpy(), (x + x).reshape(-1)[:3].numpy())


def test_arrays_as_arguments() -> None:
    function = tg.compile(lambda x, y: tg.tensor(x) + tg.tensor(y).relu())
    for _ in range(5):
        x, y = (rng.normal(size=(3, 5)).astype(np.float32) for _ in range(2))
        np.testing.assert_array_equal(function(x, y).numpy(), x + np.maximum(y, 0))


def test_what_changes_something_is_not_plain() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    x = tg.randn(2, 3, 8, 8)
    with tg.no_grad():
        for training in (True, False):
            function = tg.compile(net.train(training).forward)
            for _ in range(3):
                function(x)
            assert (instance_of(function).plain is None) == training


def test_settings_are_seen_by_a_call_like_the_last_one() -> None:
    net = nn.Linear(5, 3).eval()
    function, x = tg.compile(net.forward), tg.randn(2, 5)

    def looks() -> int:
        with tg.no_grad():
            function(x)
        return function.recordings

    counts = [looks() for _ in range(4)]
    assert counts[-1] == counts[1]
    assert function(x).requires_grad
    with tg.no_grad():
        assert not function(x).requires_grad
        threads = tg.get_num_threads()
        tg.set_num_threads(1 if threads > 1 else 2)
        try:
            assert looks() > counts[-1]
        finally:
            tg.set_num_threads(threads)
        before = function.replayed
        with tg.autograd.detect_anomaly(), pytest.warns(RuntimeWarning, match="runs as usual"):
            function(x)
        assert function.replayed == before
        function(x)
        assert function.replayed == before + 1


def test_many_threads_at_once() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
    function, wrong = tg.compile(net.forward), []

    def work(seed: int) -> None:
        kernels.set_kernels("jit")  # of this thread
        with tg.no_grad():
            for step in range(20):
                x = np.random.default_rng(100 * seed + step).normal(size=(1, 3, 8, 8))
                x = tg.tensor(x.astype(np.float32))
                if function(x).numpy().tobytes() != net(x).numpy().tobytes():
                    wrong.append((seed, step))

    team = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert not wrong
    assert instance_of(function).plain is not None
