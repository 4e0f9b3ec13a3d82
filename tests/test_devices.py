"""Devices, shapes and dtypes under PyTorch's names."""

from __future__ import annotations

import copy
import inspect
import json
import operator
import pickle
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg


def _torch() -> Any:
    return pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )


# ---- Size ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda s: operator.add(s, (1,)),
        lambda s: operator.add((1,), s),
        lambda s: s + s,
        lambda s: s * 2,
        lambda s: 2 * s,
        lambda s: s[1:],
        lambda s: s[::-1],
        lambda s: s[-1],
        lambda s: s.numel(),
        lambda s: s[:0].numel(),
        lambda s: s == (2, 3, 4),
        lambda s: hash(s) == hash((2, 3, 4)),
        lambda s: s.index(3),
        lambda s: pickle.loads(pickle.dumps(s)),
        lambda s: copy.deepcopy(s),
        lambda s: json.dumps(s),
        lambda s: type(s)(),
        lambda s: type(s)([True, 2]),
        lambda s: type(s)([1.5]),
        lambda s: type(s)("ab"),
        lambda s: operator.add(s, [1]),
    ],
)
def test_sizes_are_pytorchs(use: Any) -> None:
    torch = _torch()
    found = []
    for size in (tg.zeros(2, 3, 4).shape, torch.zeros(2, 3, 4).size()):
        try:
            found.append(repr(use(size)).removeprefix("torch."))
        except TypeError:
            found.append("TypeError")
    assert found[0] == found[1]


def test_where_sizes_come_from() -> None:
    x = tg.zeros(2, 3)
    for size in (x.shape, x.size(), x.grad_fn or x.T.shape[::-1], x.sum(0, keepdim=True).shape):
        assert type(size) is tg.Size
    assert isinstance(x.shape, tuple)
    assert str(x.shape) == "Size([2, 3])"
    assert f"{x.shape}" == "(2, 3)"
    assert f"{x.shape:>8}" == "  (2, 3)"
    assert tg.zeros(x.shape).shape == np.zeros(x.shape).shape == x.shape
    with pytest.raises(TypeError, match=r"Size: `sides` is \[1.5\], expected integers"):
        tg.Size([1.5])


# ---- devices -------------------------------------------------------------------------------


def test_devices_are_pytorchs() -> None:
    torch = _torch()
    ours, theirs = (
        [m.device("cpu"), m.device("cpu", 0), m.device("cpu:0"), m.device(m.device("cpu"))]
        for m in (tg, torch)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert (repr(a), str(a), a.type, a.index) == (repr(b), str(b), b.type, b.index)
        assert [a == x for x in ours] == [b == x for x in theirs]
        assert pickle.loads(pickle.dumps(a)) == copy.deepcopy(a) == a
    assert len(set(ours)) == len(set(theirs)) == 2
    assert ours[0] != "cpu"
    with tg.device("cpu"):
        assert tg.zeros(2).device == tg.device("cpu")
    with pytest.raises(AttributeError, match="`type` cannot be set"):
        ours[0].type = "cuda"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: tg.device("cuda"), "device: `type` is 'cuda'"),
        (lambda: tg.device("cpu:1"), "device: `index` is 1"),
        (lambda: tg.device("cpu:x"), "device: `type` is 'cpu:x'"),
        (lambda: tg.device("cpu:0", 0), "device: `type` is 'cpu:0'"),
        (lambda: tg.zeros(2, device="cuda"), "zeros: `device` is 'cuda'"),
        (lambda: tg.randperm(2, device="meta"), "randperm: `device` is 'meta'"),
        (lambda: tg.zeros(2, device=0), "zeros: `device` is 0"),
        (lambda: tg.Generator("cuda"), "Generator: `device` is 'cuda'"),
        (lambda: tg.zeros(2).to("cuda:0"), "to: `device` is 'cuda:0'"),
        (lambda: tg.zeros(2).to(device="mps"), "to: `device` is 'mps'"),
        (lambda: tg.zeros(2).cuda(), "cuda: `device` is 'cuda'"),
        (lambda: tg.zeros(2).new_zeros(2, device="cuda"), "zeros: `device` is 'cuda'"),
    ],
)
def test_there_is_the_cpu_only(make: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}, but tensors live on 'cpu' only"):
        make()


def test_every_function_that_makes_a_tensor_takes_a_device() -> None:
    names = {
        *"tensor as_tensor zeros ones empty full arange linspace logspace eye rand randn randint"
        " randperm normal zeros_like ones_like empty_like full_like rand_like randn_like".split()
    }
    for name in names:
        assert "device" in inspect.signature(getattr(tg, name)).parameters, name
        if name != "as_tensor":
            assert "requires_grad" in inspect.signature(getattr(tg, name)).parameters, name


@pytest.mark.parametrize(
    "convert",
    [
        lambda m, x: x.to("cpu"),
        lambda m, x: x.to(m.device("cpu"), non_blocking=True),
        lambda m, x: x.to(m.float64),
        lambda m, x: x.to(m.float64, False, True),
        lambda m, x: x.to("cpu", m.int64),
        lambda m, x: x.to("cpu", m.int64, True, True),
        lambda m, x: x.to(device="cpu", dtype=m.float16),
        lambda m, x: x.to(None, m.int32),
        lambda m, x: x.to(m.zeros(1, dtype=m.int8)),
        lambda m, x: x.to(tensor=m.zeros(1, dtype=m.int8), copy=True),
        lambda m, x: x.to(dtype=m.bool),
        lambda m, x: x.to(copy=True),
        lambda m, x: x.to(m.float32, copy=True),
        lambda m, x: x.cpu(),
        lambda m, x: x.char(),
        lambda m, x: x.new_ones((2, 2), dtype=m.int64, requires_grad=False),
        lambda m, x: x.new_full((2,), 3.5, device="cpu"),
        lambda m, x: x.new_tensor([1.0], requires_grad=True),
        lambda m, x: m.rand_like(x, dtype=m.float64, device="cpu") * 0,
        lambda m, x: m.randint(3, (2,), device="cpu", dtype=m.float32, requires_grad=True) * 0,
        lambda m, x: m.normal(0.0, 0.0, (2,), dtype=m.float64, device="cpu"),
    ],
)
def test_conversions_are_pytorchs(convert: Any) -> None:
    torch = _torch()
    values = [[0.0, 1.5], [2.0, -3.0]]
    x, y = tg.tensor(values), torch.tensor(values)
    a, b = convert(tg, x), convert(torch, y)
    assert str(a.dtype) == str(b.dtype).removeprefix("torch.")
    assert (a.detach().numpy() == b.detach().numpy()).all()
    assert a.requires_grad == b.requires_grad
    assert (a is x) == (b is y)


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        (("cpu", "x"), TypeError, "to: `dtype` is 'x'"),
        ((1.5,), ValueError, "to: `device` is 1.5"),
        ((tg.float32, True, True, True), TypeError, "to: unexpected arguments"),
        ((tg.float32, tg.float32), TypeError, "to: unexpected arguments"),
    ],
)
def test_what_is_no_conversion(args: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        tg.zeros(2).to(*args)


def test_what_programs_ask_of_other_devices() -> None:
    import tinygrad_cnn.backends.cudnn as cudnn

    cudnn.benchmark, cudnn.deterministic = True, False
    tg.backends.cuda.matmul.allow_tf32 = True
    asked = [cudnn, tg.backends.mps, tg.cuda, tg.accelerator]
    assert [module.is_available() for module in asked] == [False] * 4
    assert [tg.backends.mps.is_built(), tg.backends.cuda.is_built()] == [False] * 2
    assert [tg.cuda.device_count(), tg.accelerator.device_count()] == [0, 0]
    assert [cudnn.version(), tg.accelerator.current_accelerator()] == [None, None]
    tg.cuda.manual_seed_all(3)
    tg.cuda.empty_cache()
    with pytest.raises(AttributeError, match=r"no `synchronize`.* ask cuda\.is_available"):
        tg.cuda.synchronize()
    x = tg.zeros(2)
    assert (x.is_cpu, x.is_cuda, x.get_device()) == (True, False, -1)


def test_a_name_that_is_missing_is_said_to_be() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'devic'; the nearest is `device`"):
        tg.devic  # noqa: B018


def test_dtypes_and_their_ranges_are_pytorchs() -> None:
    torch = _torch()
    names = "float16 half float32 float float64 double int8 int16 short int32 int int64 long uint8"
    for name in (*names.split(), "bool", "uint16", "uint32", "uint64"):
        ours, theirs = getattr(tg, name), getattr(torch, name)
        assert str(ours) == str(theirs).removeprefix("torch.")
        assert tg.zeros(1, dtype=ours).itemsize == theirs.itemsize
        if name != "bool":
            kind = "finfo" if ours.kind == "f" else "iinfo"
            a, b = getattr(tg, kind)(ours), getattr(torch, kind)(theirs)
            assert (a.bits, a.min, a.max) == (b.bits, b.min, b.max)
            if kind == "finfo":
                assert (a.eps, a.tiny, a.resolution) == (b.eps, b.tiny, b.resolution)
    for name in ("pi", "e", "inf", "newaxis"):
        assert getattr(tg, name) == getattr(torch, name)


def test_memory_formats_are_taken() -> None:
    x = tg.zeros(2, 3, 4, 4)
    assert x.to(memory_format=tg.channels_last) is x
    assert x.contiguous(memory_format=tg.contiguous_format) is x
    assert x.is_contiguous()
    assert not x.is_contiguous(memory_format=tg.channels_last)
    y = tg.from_numpy(np.zeros((2, 4, 4, 3))).permute(0, 3, 1, 2)
    assert y.is_contiguous(memory_format=tg.channels_last)
