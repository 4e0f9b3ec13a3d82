"""The books of `memory.empty`: exact to the byte, in every thread; and what a training step of
MiniVGG may hold at most.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from tinygrad_cnn import optim
from tinygrad_cnn.kernels import kernel_set, memory

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _books() -> Iterator[None]:
    """Nothing that lives on from other tests counts here."""
    former = memory._store
    memory._store = memory._Store(limit=64 * MIB)
    yield
    memory._store = former


def mib(n: float) -> Any:
    return memory.empty((round(n * MIB),), np.uint8)


def test_living_arrays_and_their_peak() -> None:
    a = mib(2)
    b = mib(1)
    assert tg.memory_allocated() == tg.max_memory_allocated() == 3 * MIB
    del a
    assert tg.memory_allocated() == MIB
    assert tg.max_memory_allocated() == 3 * MIB
    tg.reset_peak_memory_stats()
    assert tg.max_memory_allocated() == MIB
    c = mib(2)
    assert tg.max_memory_allocated() == 3 * MIB
    del b, c
    assert tg.memory_allocated() == 0
    assert tg.max_memory_allocated() == 3 * MIB


def test_memory_that_is_used_again_counts_again() -> None:
    for _ in range(5):
        a = mib(1)
        assert tg.memory_allocated() == MIB
        del a
    assert tg.max_memory_allocated() == MIB
    assert tg.memory_stats()["allocations"] == 5


def test_a_view_keeps_all_of_it() -> None:
    a = mib(1)
    view = a[5:7]
    del a
    assert tg.memory_allocated() == MIB
    del view
    assert tg.memory_allocated() == 0


def test_sizes_are_rounded_up_and_small_arrays_not_counted() -> None:
    odd = mib(1 + 1 / 16)
    assert tg.memory_allocated() == MIB + MIB // 8
    small = memory.empty((memory.SMALLEST_STORED - 1,), np.uint8)
    own = np.empty((2 * MIB,), np.uint8)
    assert tg.memory_allocated() == MIB + MIB // 8
    del odd, small, own


def test_what_the_store_drops_is_not_in_use_either() -> None:
    memory.set_store_limit(0)
    a = mib(1)
    del a
    assert tg.memory_allocated() == memory.stored_bytes() == 0


def test_stats() -> None:
    a, b = mib(2), mib(1)
    del b
    stats = tg.memory_stats()
    assert stats.pop("scratch_bytes") >= 0
    assert stats == {
        "allocated_bytes": 2 * MIB,
        "peak_allocated_bytes": 3 * MIB,
        "stored_bytes": MIB,
        "reserved_bytes": 3 * MIB,
        "allocations": 2,
    }
    del a


def test_an_allocation_that_fails_is_not_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(nbytes: int) -> Any:
        raise MemoryError

    monkeypatch.setattr(memory, "aligned", full)
    with pytest.raises(MemoryError):
        mib(1)
    assert tg.memory_allocated() == 0


def test_exact_with_many_threads() -> None:
    ready = threading.Barrier(4)

    def work() -> None:
        for _ in range(200):
            arrays = [mib(0.25) for _ in range(3)]
            del arrays
        kept.append(mib(1))
        ready.wait()

    kept: list[Any] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tg.memory_allocated() == 4 * MIB
    assert 4 * MIB <= tg.max_memory_allocated() <= 4 * (MIB + 3 * MIB // 4)
    kept.clear()
    assert tg.memory_allocated() == 0


# ---- what models hold -----------------------------------------------------------------------

BATCH = 64
# Float32 activations of MiniVGG (n, c, h, w) after the convolutions of its three stages.
STAGES = [4 * BATCH * c * side * side for c, side in ((32, 32), (64, 16), (128, 8))]

WEIGHT = 4 * 256 * 2048  # bytes of the first linear layer's weight


@pytest.fixture(params=["jit", "reference"])
def minivgg(request: pytest.FixtureRequest) -> Any:
    if request.param == "jit":
        reason = "Numba is not installed: pip install numba"
        pytest.importorskip("numba", reason=reason)
    path = Path(__file__).parents[2] / "models" / "minivgg.py"
    spec = importlib.util.spec_from_file_location("minivgg", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tg.set_kernels(request.param)
    return module.MiniVGG()


def weight_gradient() -> int:
    """Bytes of the first linear layer's, which compiled kernels have from `empty`."""
    return WEIGHT if compiled() else 0


def compiled() -> bool:
    return kernel_set() == "jit"


def kept_for_the_walk() -> int:
    """Bytes that live when the walk back begins.

    Of convolution, normalisation and rectifier, the normalisation keeps its input. The rectifier
    keeps its output, which is the next convolution's input: with compiled kernels that is pending
    and has no memory. So one or two activations for each of a stage's two convolutions, none for
    the normalisation's result. Of pooling, a byte for every window's choice (the last is too small
    to be counted), and its result as the next convolution's input (the last is copied by
    `Flatten`, a small array).
    """
    kept = sum((2 if compiled() else 4) * stage for stage in STAGES)
    for stage in STAGES[:2]:
        pooled = stage // 4
        kept += pooled + pooled // 4
    return kept


def largest_training_step() -> int:
    """Bytes that a step needs by the rules: what is kept, the gradient of the first linear layer's
    weight, and the gradients of the last stage.

    The most is in use when the gradient of the last convolution's input is made. With NumPy's
    kernels that is from the gradient of the last rectifier; with compiled ones from that of the
    last pooling, in two orders of memory, as what lies between is pending.
    """
    gradients = STAGES[2] + (2 * STAGES[2] // 4 if compiled() else STAGES[2])
    return kept_for_the_walk() + gradients + weight_gradient()


def largest_inference() -> int:
    """An operation's input and result, and with NumPy's kernels a block's input, which the chain
    of modules around it holds. With compiled ones the result of a pooling is the third.
    """
    return 2 * STAGES[0] + (STAGES[0] // 4 if compiled() else STAGES[0])


def train(model: Any, times: int = 2) -> int:
    """The peak of the last of some training steps."""
    x, labels = tg.randn(BATCH, 3, 32, 32), tg.randint(0, 10, (BATCH,))
    sgd = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(times):
        tg.reset_peak_memory_stats()
        sgd.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        sgd.step()
    return tg.max_memory_allocated()


def infer(model: Any) -> int:
    x = tg.randn(BATCH, 3, 32, 32)
    model.eval()
    tg.reset_peak_memory_stats()
    with tg.no_grad():
        model(x)
    return tg.max_memory_allocated()


def test_a_training_step_holds_what_the_rules_name_and_nothing_more(minivgg: Any) -> None:
    bound = largest_training_step()
    assert bound == (36.75 if compiled() else 63.75) * MIB
    assert 0.9 * bound < train(minivgg) <= bound
    assert tg.memory_allocated() == weight_gradient()  # it stays with the parameter


def test_inference_holds_what_is_read_and_written(minivgg: Any) -> None:
    bound = largest_inference()
    assert bound == (18 if compiled() else 24) * MIB
    assert bound / 3 <= infer(minivgg) <= bound
    assert tg.memory_allocated() == 0


@pytest.mark.parametrize("place", ["0.1", "4.1", "7.1"])
def test_one_activation_too_many_would_be_noticed(minivgg: Any, place: str) -> None:
    kept = []  # results of one normalisation, which no rule needs
    layer = minivgg.features.get_submodule(place)
    layer.register_forward_hook(lambda module, args, out: kept.append(out.detach()))
    assert train(minivgg, times=1) > largest_training_step()
    kept.clear()
    if place == "0.1":
        assert infer(minivgg) > largest_inference()
