"""`autocast` on the CPU: what runs in which dtype, blocks, gradients."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.utils.checkpoint import checkpoint

pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: pip install ml_dtypes")
try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(
    torch is None, reason="PyTorch is not installed: pip install torch==2.13.0"
)


def run(lib, call) -> list[str]:
    """The dtypes of what ``call`` returns in a library."""
    out = call(lib, lib.nn.functional)
    out = out if isinstance(out, (tuple, list)) else [out]
    return [str(t.dtype).removeprefix("torch.") for t in out]


def half(lib, *shape: int):
    return lib.ones(*shape, dtype=lib.bfloat16)


CALLS = {
    "matmul": lambda lib, f: lib.ones(2, 3) @ lib.ones(3, 2),
    "matmul of two dtypes": lambda lib, f: lib.ones(2, 3) @ half(lib, 3, 2),
    "float64 stays": lambda lib, f: lib.ones(2, 3).double() @ lib.ones(3, 2).double(),
    "vectors": lambda lib, f: [lib.ones(3) @ lib.ones(3), lib.dot(lib.ones(3), lib.ones(3))],
    "mv": lambda lib, f: [
        lib.mv(lib.ones(2, 3), lib.ones(3)),
        lib.addmv(lib.ones(2), lib.ones(2, 3), lib.ones(3)),
    ],
    "addmm": lambda lib, f: lib.addmm(lib.ones(2, 2), lib.ones(2, 3), lib.ones(3, 2)),
    "baddbmm": lambda lib, f: lib.baddbmm(lib.ones(2, 2), lib.ones(1, 2, 3), lib.ones(1, 3, 2)),
    "linear": lambda lib, f: f.linear(lib.ones(2, 3), lib.ones(4, 3), lib.ones(4)),
    "conv1d": lambda lib, f: f.conv1d(lib.ones(1, 2, 5), lib.ones(3, 2, 2)),
    "conv2d": lambda lib, f: f.conv2d(half(lib, 1, 2, 5, 5), lib.ones(3, 2, 2, 2), lib.ones(3)),
    "conv_transpose2d": lambda lib, f: f.conv_transpose2d(
        lib.ones(1, 2, 5, 5), lib.ones(2, 3, 2, 2)
    ),
    "attention": lambda lib, f: f.scaled_dot_product_attention(*[lib.ones(1, 2, 3)] * 3),
    "prelu": lambda lib, f: f.prelu(lib.ones(2), lib.ones(1)),
    "vecdot": lambda lib, f: lib.linalg.vecdot(lib.ones(2, 3), lib.ones(2, 3)),
    "einsum": lambda lib, f: lib.einsum("ij,jk->ik", lib.ones(2, 3), lib.ones(3, 2)),
    "cross_entropy": lambda lib, f: f.cross_entropy(half(lib, 2, 3), lib.tensor([0, 1])),
    "losses": lambda lib, f: [
        loss(half(lib, 2, 3), half(lib, 2, 3)) for loss in (f.mse_loss, f.l1_loss, f.huber_loss)
    ],
    "binary losses": lambda lib, f: [
        f.binary_cross_entropy(half(lib, 2), half(lib, 2)),
        f.binary_cross_entropy_with_logits(half(lib, 2), half(lib, 2)),
    ],
    "prod, trace": lambda lib, f: [half(lib, 3).prod(), half(lib, 2, 2).trace()],
    "cdist": lambda lib, f: lib.cdist(half(lib, 2, 3), half(lib, 2, 3)),
    "linear algebra": lambda lib, f: lib.linalg.inv(half(lib, 1, 1)),
    "fft": lambda lib, f: lib.fft.fft(half(lib, 4)),
    "pad": lambda lib, f: [
        f.pad(half(lib, 1, 4), (1, 1), mode=mode) for mode in ("constant", "reflect", "replicate")
    ],
    "pooling": lambda lib, f: [
        f.max_pool2d(half(lib, 1, 4, 4), 2),
        f.avg_pool2d(half(lib, 1, 4, 4), 2),
        f.avg_pool3d(half(lib, 1, 4, 4, 4), 2),
    ],
    "the widest": lambda lib, f: [
        half(lib, 2) + lib.ones(2),
        lib.cat([half(lib, 2), lib.ones(2)]),
        lib.stack([half(lib, 2), lib.ones(2)]),
    ],
    "as they are": lambda lib, f: [
        half(lib, 2, 3).softmax(1),
        half(lib, 2).exp(),
        lib.ones(2).exp(),
        f.layer_norm(lib.ones(2, 3), (3,)),
        f.layer_norm(half(lib, 2, 3), (3,)),
        half(lib, 3).sum(),
        f.relu(half(lib, 3)),
    ],
    "norms with wider weights": lambda lib, f: [
        f.batch_norm(half(lib, 2, 3), lib.zeros(3), lib.ones(3), lib.ones(3), lib.zeros(3), True),
        f.group_norm(half(lib, 2, 4, 3), 2, lib.ones(4), lib.zeros(4)),
        f.layer_norm(half(lib, 2, 3), (3,), lib.ones(3), lib.zeros(3)),
    ],
    "an LSTM": lambda lib, f: lib.nn.LSTM(3, 4)(lib.ones(2, 5, 3))[0],
    "bilinear": lambda lib, f: f.bilinear(lib.ones(2, 3), lib.ones(2, 4), lib.ones(5, 3, 4)),
}


@needs_torch
@pytest.mark.parametrize("name", CALLS)
def test_every_function_runs_in_pytorchs_dtype(name: str) -> None:
    with tg.autocast("cpu"):
        ours = run(tg, CALLS[name])
    with torch.autocast("cpu"):
        theirs = run(torch, CALLS[name])
    assert ours == theirs


def network(lib):
    return lib.nn.Sequential(
        lib.nn.Conv2d(2, 4, 3, padding=1),
        lib.nn.BatchNorm2d(4),
        lib.nn.ReLU(),
        lib.nn.Flatten(),
        lib.nn.Linear(64, 3),
    )


@needs_torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_step_of_training_is_pytorchs(dtype: str) -> None:
    theirs, ours = network(torch), network(tg)
    ours.load_state_dict({k: tg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    images = np.random.default_rng(0).standard_normal((6, 2, 4, 4)).astype(np.float32)
    found = []
    for lib, model in ((torch, theirs), (tg, ours)):
        x, y = lib.tensor(images), lib.tensor([0, 1, 2, 0, 1, 2])
        optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
        with lib.autocast("cpu", dtype=getattr(lib, dtype)):
            out = model(x)
            loss = lib.nn.functional.cross_entropy(out, y)
        assert out.dtype == getattr(lib, dtype)
        assert loss.dtype == lib.float32
        loss.backward()
        assert {p.grad.dtype for p in model.parameters()} == {lib.float32}
        grads = [p.grad.numpy() for p in model.parameters()]
        optimizer.step()
        assert {p.dtype for p in model.parameters()} == {lib.float32}
        found.append((loss.item(), grads))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-2)
    for a, b in zip(found[1][1], found[0][1], strict=True):
        assert np.abs(a - b).max() < 0.02 * max(np.abs(g).max() for g in found[0][1])


# ---- blocks -----------------------------------------------------------------------------------


def product_dtype() -> str:
    return str((tg.ones(2, 2) @ tg.ones(2, 2)).dtype)


def test_blocks_nest_and_end() -> None:
    assert product_dtype() == "float32"
    assert not tg.is_autocast_enabled("cpu")
    assert tg.get_autocast_dtype("cpu") == tg.bfloat16
    block = tg.autocast("cpu")
    with block:
        assert tg.is_autocast_enabled("cpu")
        assert tg.is_autocast_cpu_enabled()
        assert not tg.is_autocast_enabled()
        with tg.autocast("cpu", enabled=False):
            assert product_dtype() == "float32"
            with tg.autocast("cpu", dtype=tg.float16):
                assert tg.get_autocast_cpu_dtype() == tg.float16
                assert product_dtype() == "float16"
                with block:
                    assert product_dtype() == "bfloat16"
        assert product_dtype() == "bfloat16"
        with pytest.raises(ZeroDivisionError), tg.autocast("cpu", enabled=False):
            raise ZeroDivisionError
        assert product_dtype() == "bfloat16"
        seen = []
        thread = threading.Thread(target=lambda: seen.append(product_dtype()))
        thread.start()
        thread.join()
        assert seen == ["float32"]
    assert product_dtype() == "float32"
    assert tg.get_autocast_dtype("cpu") == tg.bfloat16


def test_functions_can_be_decorated() -> None:
    @tg.autocast("cpu")
    def product() -> str:
        return product_dtype()

    assert product() == "bfloat16"
    assert product_dtype() == "float32"
    with pytest.raises(TypeError, match="`func` is a int"):
        tg.autocast("cpu")(3)


def test_it_can_be_turned_on_without_a_block() -> None:
    tg.set_autocast_dtype("cpu", tg.float16)
    tg.set_autocast_enabled("cpu", True)
    try:
        assert product_dtype() == "float16"
        tg.set_autocast_dtype("cpu", tg.bfloat16)
        assert product_dtype() == "bfloat16"
    finally:
        tg.set_autocast_enabled("cpu", False)
    assert product_dtype() == "float32"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tg.autocast("cuda"), "`device_type` is 'cuda', but there is only 'cpu'"),
        (lambda: tg.cuda.amp.autocast(), "`device_type` is 'cuda', but there is only 'cpu'"),
        (lambda: tg.autocast("cpu", tg.float64), "`dtype` is float64, but only bfloat16 and"),
    ],
)
def test_what_is_not_here_is_disabled_with_a_warning(make, said: str) -> None:
    with pytest.warns(UserWarning, match=said):
        block = make()
    with block:
        assert product_dtype() == "float32"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tg.autocast("cuda", enabled=False)
        with tg.autocast("cpu"), tg.autocast("cuda", enabled=False):
            assert product_dtype() == "bfloat16"


def test_older_names() -> None:
    with tg.cpu.amp.autocast():
        assert product_dtype() == "bfloat16"
    assert tg.amp.is_autocast_available("cpu")
    assert not tg.amp.is_autocast_available("cuda")
    with pytest.raises(ValueError, match="autocast: `device_type` is 3"):
        tg.autocast(3)


# ---- parameters -----------------------------------------------------------------------------


def test_a_parameter_is_converted_once_in_the_outermost_block() -> None:
    w, x = nn.Parameter(tg.ones(2, 2)), tg.ones(2, 2)
    with tg.autocast("cpu"):
        first = x @ w
        with tg.autocast("cpu"):
            second = x @ w
        assert first.grad_fn.parents[1] is second.grad_fn.parents[1]
        with tg.autocast("cpu", cache_enabled=False):
            assert (x @ w).grad_fn.parents[1] is not first.grad_fn.parents[1]
        tg.clear_autocast_cache()
        assert (x @ w).grad_fn.parents[1] is not first.grad_fn.parents[1]
    (first + second).sum().backward()
    assert (w.grad == 4).all()


def test_what_was_converted_is_never_stale() -> None:
    w, x = nn.Parameter(tg.ones(2, 2)), tg.ones(2, 2)
    with tg.autocast("cpu"):
        with tg.no_grad():
            assert (x @ w).tolist() == [[2, 2], [2, 2]]
        (x @ w).sum().backward()
        assert (w.grad == 2).all()
        with tg.no_grad():
            w.mul_(3)
        assert (x @ w).tolist() == [[6, 6], [6, 6]]


def test_both_runs_of_a_checkpoint_are_under_autocast() -> None:
    layer, x = nn.Linear(3, 3), tg.ones(2, 3, requires_grad=True)
    with tg.autocast("cpu"):
        y = checkpoint(layer, x, use_reentrant=False)
    y.sum().backward()
    assert y.dtype == tg.bfloat16
    assert x.grad.dtype == layer.weight.grad.dtype == tg.float32


@pytest.mark.parametrize("cast_inputs", [None, "float32"])
def test_functions_of_ones_own(cast_inputs) -> None:
    seen = []

    class Product(tg.autograd.Function):
        @staticmethod
        @tg.amp.custom_fwd(device_type="cpu", cast_inputs=cast_inputs)
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            seen.append((str(a.dtype), product_dtype()))
            return a @ b

        @staticmethod
        @tg.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            seen.append(product_dtype())
            return g @ b.mT, a.mT @ g

    a, b = (tg.ones(2, 2, dtype=tg.bfloat16, requires_grad=True) for _ in range(2))
    with tg.autocast("cpu"):
        out = Product.apply(a, b)
    out.sum().backward()
    if cast_inputs is None:
        assert seen == [("bfloat16", "bfloat16"), "bfloat16"]
    else:
        assert seen == [("float32", "float32"), "float32"]
    assert a.grad.dtype == tg.bfloat16
    assert (a.grad == 2).all()
    seen.clear()
    Product.apply(a, b)
    assert seen == [("bfloat16", "float32")]
