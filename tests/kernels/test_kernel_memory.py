"""Scratch space is private to a thread and a block; array memory is reused only when no view is
left.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_cnn.kernels import memory

BIG = (512, 1024)  # 2 MB of float32: above what the store takes


@pytest.fixture
def store() -> Iterator[None]:
    memory.clear()
    former = memory.set_store_limit(64 << 20)
    yield
    memory.set_store_limit(former)
    memory.clear()


def test_scratch_arrays_of_one_block_are_apart_and_aligned() -> None:
    with memory.scratch() as take:
        a, b, c = take((3, 5), np.float32), take((7,), bool), take((2, 2), np.float64)
        for value, array in enumerate((a, b, c)):
            array[...] = value
            assert array.ctypes.data % 64 == 0
        assert (a == 0).all()
        assert b.all()
        assert (c == 2).all()


def test_scratch_blocks_nest_and_give_back() -> None:
    with memory.scratch() as take:
        take((1 << 16,), np.uint8)
    with memory.scratch() as outer:
        first = outer((100,), np.uint8)
        with memory.scratch() as inner:
            second = inner((100,), np.uint8)
            assert not np.may_share_memory(first, second)
        with memory.scratch() as again:
            assert again((100,), np.uint8).ctypes.data == second.ctypes.data


def test_scratch_is_given_back_after_an_error() -> None:
    with memory.scratch() as take:
        start = take((10,), np.uint8).ctypes.data

    def failing() -> None:
        with memory.scratch() as take:
            take((10,), np.uint8)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        failing()
    with memory.scratch() as take:
        assert take((10,), np.uint8).ctypes.data == start


def test_scratch_beyond_its_bound_is_served_but_not_kept() -> None:
    with memory.scratch() as take:
        big = take((memory.SCRATCH_LIMIT + 1,), np.uint8)
        big[-1] = 1
    with memory.scratch() as take:
        take((1,), np.uint8)
    assert memory.here.stack.block.nbytes <= memory.SCRATCH_LIMIT
    memory.clear()


def test_threads_have_scratch_of_their_own() -> None:
    seen: list[Any] = []
    barrier = threading.Barrier(2)

    def work(value: int) -> None:
        with memory.scratch() as take:
            mine = take((1000,), np.int64)
            mine[...] = value
            barrier.wait()
            seen.append((mine == value).all())
            barrier.wait()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True, True]


@pytest.mark.usefixtures("store")
def test_memory_of_a_dead_array_is_used_again() -> None:
    a = memory.empty(BIG, np.float32)
    place = a.ctypes.data
    del a
    assert memory.stored_bytes() == 2 << 20
    b = memory.empty((1024, 512), np.int32)
    assert b.ctypes.data == place
    assert memory.stored_bytes() == 0


@pytest.mark.usefixtures("store")
def test_memory_is_not_used_again_while_any_view_lives() -> None:
    a = memory.empty(BIG, np.float32)
    views = [a[3:5], a.T, a.reshape(-1)[7:], a.view(np.int32)[::2], memoryview(a)]
    a[...] = 5
    place = a.ctypes.data
    del a
    while views:
        assert memory.empty(BIG, np.float32).ctypes.data != place
        views.pop()
    held = [memory.empty(BIG, np.float32) for _ in range(3)]
    assert place in [b.ctypes.data for b in held]


@pytest.mark.usefixtures("store")
def test_the_store_is_bounded_and_drops_the_oldest() -> None:
    memory.set_store_limit(5 << 20)
    old = memory.empty((3 << 20,), np.uint8)
    new = [memory.empty(BIG, np.float32) for _ in range(2)]
    del old
    assert memory.stored_bytes() == 3 << 20
    places = [a.ctypes.data for a in new]
    new.clear()
    assert memory.stored_bytes() == 4 << 20
    again = [memory.empty(BIG, np.float32) for _ in range(2)]
    assert sorted(a.ctypes.data for a in again) == sorted(places)
    memory.set_store_limit(0)
    del again
    assert memory.stored_bytes() == 0


@pytest.mark.usefixtures("store")
def test_many_threads_never_share_an_array() -> None:
    clashes: list[int] = []

    def work(value: int) -> None:
        for _ in range(30):
            arrays = [memory.empty((1 << 17,), np.int32) for _ in range(3)]
            for k, array in enumerate(arrays):
                array[::4096] = value * 10 + k
            clashes.extend(
                value for k, array in enumerate(arrays) if (array[::4096] != value * 10 + k).any()
            )

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes


@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (3,), BIG])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, bool, np.int8])
def test_empty_is_an_ordinary_array(shape: Any, dtype: Any) -> None:
    a = memory.empty(shape, dtype)
    assert type(a) is np.ndarray
    assert a.shape == shape
    assert a.dtype == dtype
    assert a.flags.c_contiguous
    assert a.flags.writeable
