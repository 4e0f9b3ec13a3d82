"""Tensors of bfloat16: their dtypes, roundings, gradients, files."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.autograd import rounding
from tinygrad_cnn.utils.checkpoint import checkpoint

ml_dtypes = pytest.importorskip(
    "ml_dtypes", reason="ml_dtypes is not installed: pip install ml_dtypes"
)
F = nn.functional


def draw(*shape: int, wants: bool = False, seed: int = 0) -> tg.Tensor:
    values = np.random.default_rng(seed).standard_normal(shape)
    return tg.tensor(values, dtype=tg.bfloat16, requires_grad=wants)


def nearest(values: np.ndarray) -> np.ndarray:
    """The bfloat16 numbers next to ``values``, ties to even, by the bits of float32."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def as_float32(t: tg.Tensor) -> np.ndarray:
    assert t.dtype == tg.bfloat16
    return t.detach().float().numpy()


# ---- the dtype ------------------------------------------------------------------------------


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    rounding.bfloat16.cache_clear()
    for use in (
        lambda: tg.bfloat16,
        lambda: tg.ones(2).bfloat16(),
        lambda: tg.zeros(2, dtype="bfloat16"),
        lambda: nn.Linear(2, 2).bfloat16(),
        lambda: tg.autocast("cpu"),
    ):
        with pytest.raises(ModuleNotFoundError, match="pip install ml_dtypes"):
            use()
    with tg.autocast("cpu", enabled=False):
        assert (tg.ones(2, 2) @ tg.ones(2, 2)).dtype == tg.float32


def test_the_package_is_imported_when_it_is_needed() -> None:
    code = """
import sys, tinygrad_cnn as tg
from tinygrad_cnn.autograd.op import lowering
(tg.ones(2, requires_grad=True) * 2).sum().backward()
assert not lowering and "ml_dtypes" not in sys.modules
x = tg.ones(2).bfloat16()
assert lowering and "ml_dtypes" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        (lambda: tg.ones(2, dtype=tg.float16), "float32"),
        (lambda: tg.ones(2), "float32"),
        (lambda: tg.ones(2, dtype=tg.float64), "float64"),
        (lambda: tg.tensor(1.0, dtype=tg.float64), "bfloat16"),
        (lambda: tg.ones(2, dtype=tg.int64), "bfloat16"),
        (lambda: tg.ones(2, dtype=tg.bool), "bfloat16"),
        (lambda: tg.ones(2, dtype=tg.complex64), "complex64"),
        (lambda: 2, "bfloat16"),
        (lambda: 0.5, "bfloat16"),
        (lambda: 1j, "complex64"),
    ],
)
def test_promotion(other, wanted: str) -> None:
    for out in (draw(2) + other(), other() * draw(2)):
        assert out.dtype == wanted


def test_what_a_tensor_says_of_itself() -> None:
    x = tg.tensor([1.0, 2.5, -3.1], dtype=tg.bfloat16)
    assert repr(x) == "tensor([ 1.0000,  2.5000, -3.0938], dtype=bfloat16)"
    assert x.tolist() == [1.0, 2.5, -3.09375]
    assert isinstance(x[1].item(), float)
    assert x.is_floating_point()
    assert tg.is_floating_point(x)
    assert (x.element_size(), x.nbytes) == (2, 6)
    assert x.numpy().dtype == ml_dtypes.bfloat16
    assert x.type("bfloat16") is x
    assert x.type(tg.float32).bfloat16().dtype == tg.bfloat16
    limits = tg.finfo(tg.bfloat16)
    assert (limits.bits, float(limits.eps)) == (16, 2**-7)
    assert float(limits.max) == float(nearest(np.float32(3.39e38)))
    assert tg.finfo().eps == np.finfo(np.float32).eps


def test_tensors_are_made_of_everything() -> None:
    array = np.arange(3).astype(ml_dtypes.bfloat16)
    for made in (
        tg.tensor([0, 1, 2], dtype=tg.bfloat16),
        tg.tensor([0.0, 1.0, 2.0], dtype="bfloat16"),
        tg.tensor(array),
        tg.from_numpy(array),
        tg.arange(3, dtype=tg.bfloat16),
        tg.linspace(0, 2, 3, dtype=tg.bfloat16),
        tg.arange(3).bfloat16(),
        copy.deepcopy(tg.tensor(array)),
        pickle.loads(pickle.dumps(tg.tensor(array))),
    ):
        assert made.dtype == tg.bfloat16
        assert made.tolist() == [0, 1, 2]
    assert tg.full((2,), 1.5, dtype=tg.bfloat16).sum().item() == 3
    assert tg.normal(draw(3), tg.ones(3, dtype=tg.bfloat16)).dtype == tg.bfloat16
    shared = tg.from_numpy(array)
    array[0] = 7
    assert shared[0].item() == 7
    for other in (
        np.zeros(2, "V2"),
        np.zeros(2, [("a", "i2")]),
        np.zeros(2, ml_dtypes.float8_e5m2),
    ):
        with pytest.raises(TypeError, match=r"tensor: `d(ata|type)` is"):
            tg.tensor(other)


def test_the_default_dtype_can_be_bfloat16() -> None:
    tg.set_default_dtype(tg.bfloat16)
    try:
        assert tg.tensor(1.5).dtype == nn.Linear(2, 2).weight.dtype == tg.bfloat16
    finally:
        tg.set_default_dtype(tg.float32)


# ---- operations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "roundings"),
    [
        (lambda x, y: x + y, 1),
        (lambda x, y: x.exp(), 1),
        (lambda x, y: x.sum(1), 1),
        (lambda x, y: x.softmax(1), 1),
        (lambda x, y: x @ y.mT, 1),
        (lambda x, y: F.gelu(x), 1),
        (lambda x, y: F.layer_norm(x, (40,)), 1),
        (lambda x, y: x.lerp(y, 0.3), 1),
        (lambda x, y: F.conv2d(x.reshape(1, 1, 30, 40), y[:9, :1].reshape(1, 1, 3, 3)), 1),
        (lambda x, y: F.mse_loss(x, y), 2),
        (lambda x, y: x.abs() * 0.1 + y.abs() / 3, 3),
    ],
)
def test_every_operation_rounds_once(function, roundings: int) -> None:
    x, y = draw(30, 40), draw(30, 40, seed=1)
    found, wide = as_float32(function(x, y)), function(x.float(), y.float()).numpy()
    if roundings == 1:
        np.testing.assert_array_equal(found, nearest(wide))
    else:
        np.testing.assert_allclose(found, wide, rtol=1.01 * roundings * 2.0**-8)


def test_long_sums_do_not_stop_growing() -> None:
    assert tg.ones(10_000, dtype=tg.bfloat16).sum().item() == float(nearest(np.float32(10_000)))
    assert tg.full((4096,), 0.5, dtype=tg.bfloat16).mean().item() == 0.5
    row = tg.ones(1, 4096, dtype=tg.bfloat16)
    assert (row @ row.mT).item() == 4096


def test_numbers_beside_keep_their_digits() -> None:
    x = tg.tensor([1.0, 3.0], dtype=tg.bfloat16)
    np.testing.assert_array_equal(as_float32(x * 1.001953125), nearest(np.float32([1.002, 3.0059])))
    assert (x * 1e-3).tolist() == nearest(np.float32([1e-3, 3e-3])).tolist()


def test_views_share_memory_and_changes_in_place_are_recorded() -> None:
    x = draw(3, 4, wants=True)
    y = x * 1
    y[0] = 0
    y[:, 1].mul_(2)
    y.T.add_(1)
    y += 1
    y.sum().backward()
    assert x.grad.dtype == tg.bfloat16
    assert x.grad.tolist() == [[0] * 4, [1, 2, 1, 1], [1, 2, 1, 1]]
    base = draw(6)
    base.view(2, 3)[1].zero_()
    assert base[3:].tolist() == [0, 0, 0]


def test_comparisons_order_and_choice() -> None:
    x = tg.tensor([2.0, -1.0, 3.0], dtype=tg.bfloat16)
    assert (x > 0).tolist() == [True, False, True]
    assert (x == x).all()
    assert x.argmax().item() == 2
    assert x.sort().values.tolist() == [-1, 2, 3]
    assert x.max(0).values.item() == 3
    assert tg.where(x > 0, x, 0.0).dtype == tg.bfloat16
    assert x.clamp(0, 2).tolist() == [2, 0, 2]
    assert x.isfinite().all()
    assert x.unique().dtype == tg.bfloat16


# ---- gradients ------------------------------------------------------------------------------


def test_rules_run_in_float32_and_gradients_are_rounded() -> None:
    x, w = draw(6, 50, wants=True), draw(50, 4, wants=True, seed=1)
    u = draw(6, 4, seed=2)
    (x.tanh() @ w).backward(u)
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    (wide[0].tanh() @ wide[1]).backward(u.double())
    for t, exact in zip((x, w), wide, strict=True):
        error = np.abs(as_float32(t.grad) - exact.grad.numpy())
        assert (error < 4 * 2.0**-8 * np.abs(exact.grad.numpy()).max()).all()


def test_second_derivatives() -> None:
    def second(x: tg.Tensor) -> tg.Tensor:
        x = x.detach().requires_grad_()
        (g,) = tg.autograd.grad((x.tanh() @ x).relu().sum(), x, create_graph=True)
        (out,) = tg.autograd.grad(g.pow(2).sum(), x)
        return out

    x = draw(4, 4)
    exact = second(x.double()).numpy()
    assert np.abs(as_float32(second(x)) - exact).max() < 0.02 * np.abs(exact).max()


def test_what_rules_keep_is_kept_in_bfloat16() -> None:
    x = draw(64, 64, wants=True)
    y = x.exp()
    assert y.grad_fn.saved["y"]._value.dtype == tg.bfloat16
    assert y.grad_fn.name() == "exp"
    seen = []
    y.register_hook(lambda g: seen.append(g.dtype))
    y.sum().backward()
    assert seen == [tg.bfloat16]


def test_a_value_changed_after_it_was_kept_is_noticed() -> None:
    x = draw(3, wants=True)
    y = x.exp()
    y.add_(1)
    with pytest.raises(RuntimeError, match="exp: its derivative needs its output"):
        y.sum().backward()


def test_gradients_meet_at_a_residual_sum() -> None:
    x = draw(2, 8, 16, 16, wants=True)
    conv, norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
    grads = []
    for dtype in (tg.float32, tg.bfloat16):
        conv.to(dtype), norm.to(dtype)
        a = x.detach().to(dtype).requires_grad_()
        b = F.relu(a)
        F.relu(norm(conv(b)) + b).square().mean().backward()
        grads.append(a.grad.float().numpy())
    assert np.abs(grads[0] - grads[1]).max() < 0.05 * np.abs(grads[0]).max()


def test_gradcheck_refuses_it() -> None:
    with pytest.raises(ValueError, match=r"`inputs\[0\]` is bfloat16; use float64"):
        tg.autograd.gradcheck(tg.exp, draw(2, wants=True))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda x: F.linear(x, tg.ones(2, 3)),
            "linear: `input` is bfloat16 but `weight` is float32",
        ),
        (lambda x: x @ x, "matmul: `a` has 3 columns but `b` has 2 rows"),
        (lambda x: x + draw(2), r"add: shapes \(2, 3\) and \(2,\) do not broadcast"),
        (lambda x: tg.linalg.inv(x), "inv: `A` is bfloat16, expected float32"),
        (lambda x: tg.fft.fft(x), "fft: `input` is bfloat16, expected float32"),
    ],
)
def test_errors_name_the_operation(call, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        call(draw(2, 3))


# ---- modules, optimisers, files ---------------------------------------------------------------


LAYERS = [
    (lambda: nn.LSTM(3, 4), (2, 5, 3)),
    (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0), (3, 2, 4)),
    (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        (2, 3, 8, 8),
    ),
    (lambda: nn.Sequential(nn.GroupNorm(1, 3), nn.ConvTranspose2d(3, 2, 3)), (2, 3, 4, 4)),
]


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_modules(make, shape: tuple[int, ...]) -> None:
    tg.manual_seed(0)
    wide = make()
    half = copy.deepcopy(wide).bfloat16()
    assert {p.dtype for p in half.parameters()} == {tg.bfloat16}
    x = draw(*shape)
    outs = [m(t) for m, t in ((half, x), (wide, x.float()))]
    outs = [o[0] if isinstance(o, tuple) else o for o in outs]
    assert np.abs(as_float32(outs[0]) - outs[1].detach().numpy()).max() < 0.1
    outs[0].square().sum().backward()
    assert {p.grad.dtype for p in half.parameters()} == {tg.bfloat16}
    assert wide.to(tg.bfloat16).to(tg.float32).state_dict().keys() == half.state_dict().keys()


@pytest.mark.parametrize(
    "optimizer", [tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSprop, tg.optim.Adadelta]
)
def test_optimisers(optimizer) -> None:
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)).bfloat16()
    x = draw(32, 8)
    y = x.sum(1, keepdim=True)
    steps = optimizer(model.parameters(), lr=1.0 if optimizer is tg.optim.Adadelta else 0.01)
    losses = []
    for _ in range(40):
        steps.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert {p.dtype for p in model.parameters()} == {tg.bfloat16}


def test_files(tmp_path: Path) -> None:
    model = nn.Linear(3, 2).bfloat16()
    path = tmp_path / "model.safetensors"
    tg.save({"model": model.state_dict(), "step": 1}, path)
    state = tg.load(path)["model"]
    assert state["weight"].dtype == tg.bfloat16
    assert (state["weight"] == model.weight).all()
    other = nn.Linear(3, 2)
    other.load_state_dict(state)
    assert other.weight.dtype == tg.float32
    assert (other.weight == model.weight).all()
    try:
        from safetensors.torch import load_file
    except ImportError:
        return
    theirs = load_file(path)["model.weight"]
    assert str(theirs.dtype) == "torch.bfloat16"
    assert theirs.tolist() == model.weight.tolist()


def test_checkpoint_profiler_and_functions_of_functions() -> None:
    layer, x = nn.Linear(3, 3).bfloat16(), draw(2, 3, wants=True)
    checkpoint(layer, x, use_reentrant=False).sum().backward()
    assert layer.weight.grad.dtype == x.grad.dtype == tg.bfloat16
    with tg.profiler.profile() as seen:
        (x @ x.mT).sum().backward()
    names = [e.name for e in seen.events if e.kind == "operation" and e.depth == 0]
    assert names[:3] == ["permute", "matmul", "sum"]
    assert tg.func.grad(lambda t: (t * t).sum())(draw(3)).dtype == tg.bfloat16
    assert np.exp(draw(3)).dtype == tg.bfloat16
