"""DLPack both ways: one memory, seen by both sides; what cannot be handed over is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import require_torch

import tinygrad_cnn as tg
from tinygrad_cnn.nn import functional as F

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
          "complex64", "complex128"]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (2, 3)])
def test_there_and_back_in_one_memory(dtype: str, shape: tuple[int, ...]) -> None:
    torch = require_torch()
    theirs = torch.ones(shape, dtype=getattr(torch, dtype))
    ours = tg.from_dlpack(theirs)
    assert (ours.dtype, ours.shape) == (np.dtype(dtype), shape)
    back = torch.from_dlpack(ours)
    assert back.dtype == theirs.dtype
    if theirs.numel():
        assert back.data_ptr() == theirs.data_ptr() == ours.data_ptr()
        theirs.zero_()
        assert not ours.any()
        ours.fill_(1)
        assert theirs.all()
        assert back.all()


def test_strided_ones() -> None:
    torch = require_torch()
    theirs = torch.arange(12.0).reshape(3, 4)[:, ::2].T
    ours = tg.from_dlpack(theirs)
    assert ours.stride() == theirs.stride()
    assert ours.tolist() == theirs.tolist()
    back = np.from_dlpack(tg.arange(12.0).reshape(3, 4)[1:, 1:])
    assert back.tolist() == [[5.0, 6.0, 7.0], [9.0, 10.0, 11.0]]


def test_read_only_memory_stays_so() -> None:
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    ours = tg.from_dlpack(array)
    with pytest.raises(RuntimeError, match="read-only"):
        ours.add_(1)
    assert tg.from_dlpack(array, copy=True).add_(1).tolist() == [2.0] * 3
    wide = tg.ones(1).expand(3)
    assert not np.from_dlpack(wide).flags.writeable
    with pytest.raises(BufferError, match="readonly"):
        wide.__dlpack__()  # without max_version: cannot say that it is


def test_what_waits_is_computed_before_others_may_write() -> None:
    torch = require_torch()
    x = tg.randn(2, 3, 8, 8)
    waits = F.relu(F.batch_norm(x, None, None, training=True))
    before = waits.tolist()
    later = F.max_pool2d(waits, 2)
    seen = torch.from_dlpack(waits)
    assert seen.tolist() == before
    pooled = later.tolist()
    torch.from_dlpack(x).zero_()
    seen.mul_(2)
    assert later.tolist() == pooled
    assert waits.tolist() == seen.tolist()
    assert not x.any()


def test_gradients_are_not_lost() -> None:
    torch = require_torch()
    t = tg.ones(2, requires_grad=True)
    for take in (torch.from_dlpack, np.from_dlpack):
        with pytest.raises(BufferError, match=r"this tensor requires gradients.*detach"):
            take(t)
    with tg.no_grad():
        assert np.from_dlpack(t).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"does not hand over its memory: .*gradient"):
        tg.from_dlpack(torch.ones(2, requires_grad=True))
    assert not tg.from_dlpack(t).requires_grad


class Foreign:
    """An array as others hand it over, that writes down what it was asked."""

    def __init__(self, where: tuple[int, int] = (1, 0), old: bool = False) -> None:
        self.array, self.where, self.old = np.ones(3, np.float32), where, old
        self.asked: dict[str, Any] = {}

    def __dlpack__(self, **options: Any) -> Any:
        if self.old and set(options) - {"stream"}:
            raise TypeError("unexpected keyword argument")
        self.asked = options
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.where


def test_versions_are_negotiated() -> None:
    new, old = Foreign(), Foreign(old=True)
    for foreign in (new, old):
        for copy in (None, False):
            assert np.shares_memory(tg.from_dlpack(foreign, copy=copy).array, foreign.array)
        assert not np.shares_memory(tg.from_dlpack(foreign, copy=True).array, foreign.array)
    assert new.asked["max_version"] >= (1, 0)
    t = tg.ones(2)
    assert "versioned" in repr(t.__dlpack__(max_version=(1, 0)))
    assert "versioned" not in repr(t.__dlpack__())
    assert "versioned" not in repr(t.__dlpack__(max_version=(0, 8), dl_device=(1, 0)))
    copied = tg.from_dlpack(t.__dlpack__(max_version=(1, 0), copy=True))
    copied.zero_()
    assert t.tolist() == [1.0, 1.0]
    assert t.__dlpack_device__() == (1, 0)


def test_what_is_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lies on the device \(2, 0\), expected the CPU"):
        tg.from_dlpack(Foreign((2, 0)))
    with pytest.raises(TypeError, match="`ext_tensor` is a list"):
        tg.from_dlpack([1.0])
    with pytest.raises(ValueError, match="cuda"):
        tg.from_dlpack(np.ones(2), device="cuda")
    with pytest.raises(BufferError, match=r"`dl_device` is \(2, 0\)"):
        tg.ones(2).__dlpack__(dl_device=(2, 0))
    assert tg.asarray(Foreign()).tolist() == [1.0] * 3
