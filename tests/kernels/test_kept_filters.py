"""Kept filters are only ever used for the very bits they were made from."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from oracles import randoms

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

from shared import kernel_set

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.kernels import ConvSpec, memory
from tinygrad_cnn.kernels.jit.conv import choose as conv_choice
from tinygrad_cnn.kernels.jit.conv import conv
from tinygrad_cnn.kernels.jit.conv import filter_cache as kept_filters

SAME = ConvSpec(padding=((1, 1), (1, 1)))


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(conv_choice, "_tile", lambda *args: 4)  # Winograd's, for small images too
    conv_choice.choose.cache_clear()
    memory.clear()
    assert kept_filters.kept_bytes() == 0
    yield
    memory.clear()
    conv_choice.choose.cache_clear()


def images_and_filters(f: int = 32, c: int = 16) -> tuple[Any, Any]:
    x, w = randoms(3, (2, c, 8, 8), (f, c, 3, 3), dtype="float32")
    return x, w


def keeping(x: Any, w: Any) -> Any:
    return conv.conv2d(x, w, keep=True, spec=SAME)


def fresh(x: Any, w: Any) -> Any:
    return conv.conv2d(x, w.copy(), spec=SAME)


def kept_copies(w: Any) -> int:
    """How many bytes a copy of w and its 36 planes take at least."""
    return int(w.nbytes * (1 + 36 / 9))


def test_the_second_call_keeps_and_all_give_the_same_bits() -> None:
    x, w = images_and_filters()
    expected = fresh(x, w)
    for calls, least in ((1, 0), (2, kept_copies(w)), (3, kept_copies(w))):
        assert np.array_equal(keeping(x, w), expected), calls
        assert least <= kept_filters.kept_bytes() <= 2 * least


def test_kept_planes_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = images_and_filters()
    for _ in range(2):
        keeping(x, w)

    def no_transform(*args: Any) -> None:
        raise AssertionError("transformed again")

    monkeypatch.setattr(kept_filters, "aligned", no_transform)
    (entry,) = kept_filters._entries.values()
    assert entry.planes is not None
    entry.planes[:] = 0  # what nobody may do: that it shows tells that they were read
    assert not keeping(x, w).any()


@pytest.mark.parametrize("f", [32, 160], ids=["one thread compares", "all threads compare"])
@pytest.mark.parametrize("place", [0, 4095, 4096, -1])
@pytest.mark.parametrize("value", ["next", "sign of zero", "nan"])
def test_one_changed_bit_is_seen(f: int, place: int, value: str) -> None:
    x, w = images_and_filters(f, 32)
    flat = w.reshape(-1)
    flat[place] = 0
    for _ in range(3):
        keeping(x, w)
    assert kept_filters.kept_bytes() > 0
    flat[place] = {"next": np.float32(1e-45), "sign of zero": np.float32(-0.0), "nan": np.nan}[
        value
    ]
    for _ in range(3):
        assert keeping(x, w).tobytes() == fresh(x, w).tobytes()


def test_filters_that_change_before_every_call_are_not_copied() -> None:
    x, w = images_and_filters()
    keeping(x, w)
    for step in range(6):
        w += 1
        assert np.array_equal(keeping(x, w), fresh(x, w))
        assert (kept_filters.kept_bytes() > 0) == (step % 2 == 0)


def test_they_go_with_their_array() -> None:
    x, w = images_and_filters()
    for _ in range(2):
        keeping(x, w)
    assert kept_filters.kept_bytes() > 0
    del w
    gc.collect()
    assert not kept_filters._entries


def test_another_array_at_the_same_address() -> None:
    x, first = images_and_filters()
    for seed in range(20):  # some get the address of a dead one
        (w,) = randoms(seed, first.shape, dtype="float32")
        for _ in range(2):
            assert np.array_equal(keeping(x, w), fresh(x, w))
        del w
    assert not kept_filters._entries


def test_the_same_numbers_in_another_shape() -> None:
    x, w = images_and_filters(32, 16)
    other, _ = images_and_filters(16, 32)
    for _ in range(2):
        keeping(x, w)
    for images, shape in ((other, (16, 32, 3, 3)), (x, (32, 16, 3, 3))):
        view = w.reshape(shape)
        for _ in range(3):
            assert np.array_equal(keeping(images, view), fresh(images, view))


def test_a_call_that_does_not_keep_lets_go() -> None:
    x, w = images_and_filters()
    for _ in range(2):
        keeping(x, w)
    conv.conv2d(x, w, spec=SAME)
    assert kept_filters.kept_bytes() == 0


def test_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = images_and_filters()
    other = w.copy()
    for _ in range(2):
        keeping(x, w)
    monkeypatch.setattr(kept_filters, "LIMIT", 2 * kept_filters.kept_bytes() - 1)
    before = kept_filters.kept_bytes()
    for _ in range(3):
        assert np.array_equal(keeping(x, other), fresh(x, other))
        assert kept_filters.kept_bytes() == before


def test_clear_lets_go() -> None:
    x, w = images_and_filters()
    for _ in range(2):
        keeping(x, w)
    memory.clear()
    assert kept_filters.kept_bytes() == 0
    assert np.array_equal(keeping(x, w), fresh(x, w))


def test_from_many_threads() -> None:
    x, w = images_and_filters()
    expected, wrong = fresh(x, w), []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(keeping(x, w), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- layers --------------------------------------------------------------------------------


def by_numpy(layer: nn.Conv2d) -> None:
    layer.weight.detach().numpy()[0, 0, 0, 0] += 1


def by_optimizer(layer: nn.Conv2d) -> None:
    for parameter in layer.parameters():
        parameter.grad = tg.ones_like(parameter)
    optim.SGD(layer.parameters(), lr=0.1).step()


def by_load_state_dict(layer: nn.Conv2d) -> None:
    layer.load_state_dict(nn.Conv2d(16, 32, 3, padding=1).state_dict())


def by_array(layer: nn.Conv2d) -> None:
    layer.weight.array *= 2


@pytest.mark.parametrize("change", [by_numpy, by_optimizer, by_load_state_dict, by_array])
def test_a_layer_never_uses_stale_filters(change: Callable[[nn.Conv2d], None]) -> None:
    layer, x = nn.Conv2d(16, 32, 3, padding=1), tg.randn(2, 16, 8, 8)
    with tg.no_grad(), kernel_set("jit"):
        for _ in range(3):
            layer(x)
        assert kept_filters.kept_bytes() > 0
    change(layer)
    with tg.no_grad(), kernel_set("jit"):
        for _ in range(3):
            y = layer(x).numpy()
            w, b = layer.weight.array, layer.bias.array
            assert np.array_equal(y, conv.conv2d(x.array, w.copy(), b, spec=SAME))


def test_training_keeps_nothing() -> None:
    layer, x = nn.Conv2d(16, 32, 3, padding=1), tg.randn(2, 16, 8, 8)
    with kernel_set("jit"):
        with tg.no_grad():
            for _ in range(2):
                layer(x)
        assert kept_filters.kept_bytes() > 0
        for _ in range(3):
            layer(x).sum().backward()
            assert kept_filters.kept_bytes() == 0
