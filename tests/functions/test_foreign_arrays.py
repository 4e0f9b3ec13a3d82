"""Arrays whose bytes lie as a tensor's cannot, and NumPy's scalars, at every door they come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import require_torch

import tinygrad_cnn as tg
from tinygrad_cnn import nn

VALUES = np.arange(6.0).reshape(2, 3)


def swapped(kind: str) -> np.ndarray:
    return VALUES.astype(kind)


def unaligned(kind: str) -> np.ndarray:
    records = np.zeros((2, 3), [("flag", "u1"), ("value", kind[1:])])
    records["value"] = VALUES
    return records["value"]


DOORS = {
    "tensor": tg.tensor,
    "Tensor": tg.Tensor,
    "as_tensor": tg.as_tensor,
    "list": lambda a: tg.tensor([a[0], a[1]]),
    "Parameter": lambda a: nn.Parameter(a, requires_grad=False),
    "operand": lambda a: tg.ones(2, 3) + a,
    "left operand": lambda a: a + tg.ones(2, 3),
    "function": lambda a: tg.reshape(a, 3, 2),
    "zeros_like": lambda a: tg.zeros_like(a),
    "dtype of zeros": lambda a: tg.zeros(2, dtype=a.dtype),
    "dtype of to": lambda a: tg.zeros(2).to(a.dtype),
    "dtype of type": lambda a: tg.zeros(2).type(a.dtype),
    "dtype of arange": lambda a: tg.arange(2, dtype=a.dtype),
    "dtype of randint": lambda a: tg.randint(2, (3,), dtype=a.dtype),
    "scalar": lambda a: tg.arange(a[1, 0]),
    "collate": lambda a: tg.data.default_collate([a[0], a[1]]),
    "data set": lambda a: tg.data.TensorDataset(a).tensors[0],
    "where": lambda a: tg.where(a > 2, a, a),
    "copy_": lambda a: tg.zeros(2, 3).copy_(tg.as_tensor(a)),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("make", [swapped, unaligned])
@pytest.mark.parametrize("kind", [">f4", ">f8", ">f2", ">i8", ">i4", ">u2"])
def test_tensors_are_native(door: str, make: Any, kind: str) -> None:
    array = make(kind)
    before = array.copy()
    t = DOORS[door](array)
    assert t.dtype.isnative
    assert t.dtype.name == t.dtype.newbyteorder("=").name
    assert t.array.flags.aligned
    assert repr(t).count("dtype=>") == 0
    np.testing.assert_array_equal(array, before)
    expected = DOORS[door](array.astype(array.dtype.newbyteorder("=")))
    assert t.dtype == expected.dtype
    assert door.startswith("dtype") or t.tolist() == expected.tolist()


@pytest.mark.parametrize("make", [swapped, unaligned])
def test_memory_that_cannot_be_shared(make: Any) -> None:
    torch = require_torch()
    array = make(">f4")
    with pytest.raises(ValueError, match=r"stride|byte order"):
        torch.from_numpy(array)
    with pytest.raises(ValueError, match=r"from_numpy: `ndarray` .* swapped or unaligned"):
        tg.from_numpy(array)


def test_convolution_of_swapped_bytes() -> None:
    x, w = np.ones((1, 1, 4, 4), ">f4"), np.ones((1, 1, 3, 3), ">f4")
    y = tg.nn.functional.conv2d(tg.tensor(x), tg.tensor(w, requires_grad=True))
    y.sum().backward()
    assert y.tolist() == [[[[9.0, 9.0], [9.0, 9.0]]]]


def test_swapped_bytes_in_a_state() -> None:
    layer = nn.Linear(3, 2)
    layer.load_state_dict({"weight": tg.tensor(VALUES.astype(">f8")), "bias": tg.zeros(2)})
    assert layer.weight.dtype == tg.float32
    assert layer.weight.tolist() == VALUES.tolist()
    optimizer = tg.optim.SGD(layer.parameters(), momentum=0.9)
    state = {0: {"momentum_buffer": VALUES.astype(">f4")}}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    assert optimizer.state[layer.weight]["momentum_buffer"].dtype.isnative


def test_a_dtype_that_is_none() -> None:
    for make in (tg.zeros, tg.rand):
        with pytest.raises(TypeError, match=f"{make.__name__}: `dtype` is 'nonsense'"):
            make(2, dtype="nonsense")
        with pytest.raises(TypeError, match=f"{make.__name__}: `dtype` is .*, which is not supp"):
            make(2, dtype=np.longdouble)
    with pytest.raises(TypeError, match="set_default_dtype: `dtype` is"):
        tg.set_default_dtype(np.longdouble)


# ---- scalars -------------------------------------------------------------------------------

SCALARS = [np.float64(1.5), np.float32(1.5), np.float16(1.5), np.int64(2), np.int32(2), np.uint8(2)]
OPERATIONS = {
    "x * s": lambda m, x, s: x * s,
    "s * x": lambda m, x, s: s * x,
    "x / s": lambda m, x, s: x / s,
    "x ** s": lambda m, x, s: x**s,
    "s ** x": lambda m, x, s: s**x,
    "s - x": lambda m, x, s: s - x,
    "x // s": lambda m, x, s: x // s,
    "x % s": lambda m, x, s: x % s,
    "x > s": lambda m, x, s: x > s,
    "where": lambda m, x, s: m.where(x > 0, x, s),
    "clamp": lambda m, x, s: m.clamp(x, min=s),
    "masked_fill": lambda m, x, s: x.masked_fill(x > 0, s),
    "full": lambda m, x, s: m.full((2,), s),
    "full_like": lambda m, x, s: m.full_like(x, s),
    "tensor": lambda m, x, s: m.tensor(s),
    "add": lambda m, x, s: m.add(x, x, alpha=s),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", "bool"])
def test_a_numpy_scalar_is_a_number(name: str, dtype: str) -> None:
    torch = require_torch()
    for s in SCALARS:
        found = []
        for m in (tg, torch):
            x = m.ones(2, dtype=getattr(m, dtype))
            try:
                found.append(OPERATIONS[name](m, x, s))
            except (TypeError, RuntimeError) as error:
                found.append(error)
        if isinstance(found[1], Exception):
            continue  # some are refused for bools and integers
        assert str(found[1].dtype).removeprefix("torch.") == str(found[0].dtype), repr(s)
        np.testing.assert_allclose(found[0].tolist(), found[1].tolist(), rtol=1e-3)


IMAGES = np.random.default_rng(0).uniform(0.1, 0.9, (2, 4, 3, 3)).astype(np.float32)
PARAMETERS = {
    "leaky_relu": lambda F, x, n: F.leaky_relu(x, n(0.1)),
    "elu": lambda F, x, n: F.elu(x, n(0.5)),
    "celu": lambda F, x, n: F.celu(x, n(0.5)),
    "softplus": lambda F, x, n: F.softplus(x, n(2.0), n(0.3)),
    "hardtanh": lambda F, x, n: F.hardtanh(x, n(-0.5), n(0.5)),
    "threshold": lambda F, x, n: F.threshold(x, n(0.5), n(0.1)),
    "softshrink": lambda F, x, n: F.softshrink(x, n(0.5)),
    "dropout": lambda F, x, n: F.dropout(x, n(0.5)),
    "layer_norm": lambda F, x, n: F.layer_norm(x, (3,), eps=n(1e-5)),
    "group_norm": lambda F, x, n: F.group_norm(x, 2, eps=n(1e-5)),
    "clamp": lambda F, x, n: x.clamp(n(0.3), n(0.5)),
    "add": lambda F, x, n: x.add(x, alpha=n(2.0)),
    "lerp": lambda F, x, n: x.lerp(x, n(0.3)),
    "var": lambda F, x, n: x.var(correction=n(1.0)),
    "cross_entropy": lambda F, x, n: F.cross_entropy(
        x, tg.zeros(2, 3, 3, dtype=tg.int64), tg.ones(4), label_smoothing=n(0.1)
    ),
    "smooth_l1_loss": lambda F, x, n: F.smooth_l1_loss(x, x * 2, beta=n(0.3)),
    "normalize": lambda F, x, n: F.normalize(x, eps=n(1e-12)),
    "clamp_": lambda F, x, n: (x * 1).clamp_(n(0.3)),
}


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("kind", [np.float64, np.float16])
def test_no_parameter_widens_the_result(name: str, kind: Any) -> None:
    for recording in (False, True):
        x = tg.tensor(IMAGES, requires_grad=recording)
        y = PARAMETERS[name](nn.functional, x, kind)
        assert y.dtype == tg.float32
        if recording:
            y.sum().backward()
            assert x.grad is not None
            assert x.grad.dtype == tg.float32
