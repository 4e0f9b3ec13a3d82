"""Work on several threads gives what work on one gives, the same bits every time, and loses no
error.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from oracles import randoms

from tinygrad_cnn import kernels
from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.reference import product

LARGE = 1 << 30
PLAIN = kernels.ConvSpec(padding=((1, 1), (1, 1)))


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count", lambda: 3)


@pytest.mark.usefixtures("three")
def test_shares_are_consecutive_and_each_on_its_thread() -> None:
    def work(share: Any) -> tuple[list[int], int]:
        barrier.wait()  # all three must be inside at once
        return list(share), threading.get_ident()

    barrier = threading.Barrier(3, timeout=30)
    results = threads.split(range(8), work, LARGE)
    assert [share for share, _ in results] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert len({thread for _, thread in results}) == 3
    assert results[0][1] == threading.get_ident()


@pytest.mark.usefixtures("three")
def test_little_work_and_single_tasks_stay_here() -> None:
    assert threads.split(range(8), sum, 0) == [28]
    assert threads.split([5], sum, LARGE) == [5]
    assert threads.split([], sum, LARGE) == [0]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_error_in_any_share_is_raised_when_all_have_ended(where: int) -> None:
    ended: list[int] = []

    def work(share: Any) -> None:
        if share[0] == where:
            raise ArithmeticError(f"share {where}")
        ended.append(share[0])

    with pytest.raises(ArithmeticError, match=f"share {where}"):
        threads.split(range(3), work, LARGE)
    assert sorted(ended) == [k for k in range(3) if k != where]
    assert threads.split(range(3), sum, LARGE) == [0, 1, 2]


@pytest.mark.usefixtures("three")
def test_work_within_work_does_not_wait_for_itself() -> None:
    def outer(share: Any) -> int:
        return sum(threads.split(range(share[0], share[0] + 6), sum, LARGE))

    assert threads.split(range(3), outer, LARGE) == [15, 21, 27]


@pytest.mark.usefixtures("three")
def test_settings_of_the_caller_hold_on_all_threads() -> None:
    def work(share: Any) -> Any:
        return np.geterr()["over"]

    with np.errstate(over="raise"):
        assert threads.split(range(3), work, LARGE) == ["raise"] * 3


def test_blas_has_its_threads_back_afterwards() -> None:
    before = threads._blas.threads()
    inside: list[int] = []

    def work() -> None:
        inside.append(threads._blas.get() if threads._blas.get else 1)
        assert threads._blas.threads() == before

    def twice() -> None:
        work()
        threads.one_blas_thread(work)
        work()

    threads.one_blas_thread(twice)
    assert inside == [1, 1, 1]
    assert threads._blas.threads() == before
    with pytest.raises(ValueError, match="on purpose"):
        threads.one_blas_thread(fail)
    assert threads._blas.former is None


class Library:
    """A controller of threadpoolctl's."""

    user_api, internal_api = "blas", "mkl"

    def __init__(self, filepath: str, number: int) -> None:
        self.filepath, self.number = filepath, number

    def get_num_threads(self) -> int:
        return self.number

    def set_num_threads(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize("names", [[], ["scipy.libs/lib"], ["scipy.libs/lib", "numpy.libs/lib"]])
def test_blas_is_numpys_own_if_there_are_several(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries = [Library(name, number) for number, name in enumerate(names, 2)]
    found = SimpleNamespace(lib_controllers=libraries)
    monkeypatch.setattr("threadpoolctl.ThreadpoolController", lambda: found)
    threads._count_of_blas.cache_clear()
    try:
        blas = threads._Blas()
        assert blas.threads() == 1 + len(names)
        blas.choose(7)
        holder = object()
        blas.hold(holder)
        assert [library.number for library in libraries[-1:]] == [1] * bool(names)
        blas.holders.discard(holder)
        blas.settle()
        assert [library.number for library in libraries[-1:]] == [7] * bool(names)
        assert all(library.number == 2 for library in libraries[:-1])
    finally:
        threads._count_of_blas.cache_clear()


def fail() -> None:
    raise ValueError("on purpose")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((), (3,)),
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 1, 4, 3), (5, 3, 2)),
        ((0, 3), (3, 2)),
    ],
)
def test_matmul_is_numpys(a: Any, b: Any) -> None:
    x, y = randoms(0, a, b)
    if not a:
        with pytest.raises(ValueError, match="matmul"):
            kernels.matmul(x, y)
        return
    np.testing.assert_array_equal(kernels.matmul(x, y), np.matmul(x, y))


@pytest.mark.parametrize("large", [False, True])
def test_matmul_wakes_blas_for_large_products_only(
    large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    true = np.matmul

    def spy(a: Any, b: Any) -> Any:
        seen.append(len(threads._blas.holders))
        return true(a, b)

    monkeypatch.setattr(np, "matmul", spy)
    monkeypatch.setattr(product, "WORTH_WAKING", 10 if large else 1000)
    kernels.matmul(np.ones((5, 5)), np.ones((5, 5)))
    assert seen == [0 if large else 1]


@pytest.mark.usefixtures("three")
def test_many_large_products_are_shared_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = randoms(0, (2, 5, 64, 40), (2, 5, 40, 30))
    right = np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2)  # by columns
    monkeypatch.setattr(product, "WORTH_WAKING", 1)
    monkeypatch.setattr(threads, "LEAST_BYTES", 1)
    seen: list[int] = []
    split = threads.split
    monkeypatch.setattr(threads, "split", lambda *a: seen.append(len(split(*a))))
    found = kernels.matmul(a, right)
    assert seen == [3]
    np.testing.assert_allclose(found, np.matmul(a, b), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="matmul"):
        kernels.matmul(a, b[..., :39, :])


@pytest.mark.usefixtures("three")
def test_a_child_process_starts_over() -> None:
    threads.split(range(3), sum, LARGE)
    threads._after_fork()  # what runs in the child
    assert not threads._workers
    assert threads.split(range(3), sum, LARGE) == [0, 1, 2]


@pytest.mark.usefixtures("three")
def test_many_callers_at_once() -> None:
    results: list[Any] = []
    callers = [
        threading.Thread(target=lambda: results.append(threads.split(range(30), sum, LARGE)))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [[45, 145, 245]] * 8


def run_all(dtype: str) -> list[Any]:
    x, w, weight, bias = randoms(0, (9, 16, 30, 20), (16, 16, 3, 3), (16,), (16,), dtype=dtype)
    depthwise = PLAIN._replace(groups=16)
    y = kernels.conv2d(x, w, weight, spec=PLAIN)
    z, mean, invstd, var = kernels.batch_norm(y, weight, bias, eps=1e-5)
    r = kernels.relu(z)
    pool: Any = {
        "kernel_size": (2, 2),
        "stride": (2, 2),
        "padding": (0, 0),
        "dilation": (1, 1),
        "ceil_mode": False,
    }
    average = {k: v for k, v in pool.items() if k != "dilation"}
    average |= {"count_include_pad": True, "divisor_override": None}
    p, index = kernels.max_pool2d(r, **pool)
    return [
        y,
        z,
        mean,
        var,
        r,
        p,
        index,
        kernels.conv2d_input(y, w, size=(30, 20), spec=PLAIN),
        kernels.conv2d_weight(y, x, kernel_size=(3, 3), spec=PLAIN),
        kernels.conv2d(x, w[:, :1], spec=depthwise),
        kernels.conv2d_weight(y, x, kernel_size=(3, 3), spec=depthwise),
        *kernels.batch_norm_backward(x, y, weight, mean, invstd),
        kernels.relu_backward(y, r),
        kernels.max_pool2d_gather(r, index, **pool),
        kernels.max_pool2d_scatter(p, index, size=(30, 20), **pool),
        kernels.avg_pool2d(x, **average),
        kernels.avg_pool2d_input(p, size=(30, 20), **average),
        kernels.sum(x, (0, 2, 3)),
        kernels.channel_affine(x, weight, bias),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kernel_gives_the_same_on_one_thread_and_on_three(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "count", lambda: 1)
    alone = run_all(dtype)
    monkeypatch.setattr(threads, "count", lambda: 3)
    monkeypatch.setattr(threads, "LEAST_BYTES", 0)
    together, again = run_all(dtype), run_all(dtype)
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    for one, three, repeated in zip(alone, together, again, strict=True):
        np.testing.assert_array_equal(three, repeated)  # bit for bit
        scale = 1 + np.abs(one).max()
        np.testing.assert_allclose(three, one, rtol=0, atol=tolerance * scale)
