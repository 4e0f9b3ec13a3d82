"""Activation and loss modules against PyTorch, and their kinks."""

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.nn import functional as F

ACTIVATIONS = {
    "ReLU": lambda nn: nn.ReLU(),
    "ReLU-inplace": lambda nn: nn.ReLU(inplace=True),
    "ReLU6": lambda nn: nn.ReLU6(),
    "ReLU6-inplace": lambda nn: nn.ReLU6(inplace=True),
    "LeakyReLU": lambda nn: nn.LeakyReLU(0.2, inplace=True),
    "ELU": lambda nn: nn.ELU(0.7),
    "ELU-inplace": lambda nn: nn.ELU(0.7, inplace=True),
    "CELU": lambda nn: nn.CELU(0.7),
    "CELU-inplace": lambda nn: nn.CELU(0.7, inplace=True),
    "SELU": lambda nn: nn.SELU(),
    "SELU-inplace": lambda nn: nn.SELU(inplace=True),
    "GELU": lambda nn: nn.GELU(),
    "GELU-tanh": lambda nn: nn.GELU(approximate="tanh"),
    "SiLU": lambda nn: nn.SiLU(inplace=True),
    "Softplus": lambda nn: nn.Softplus(2.0, 5.0),
    "Sigmoid": lambda nn: nn.Sigmoid(),
    "Tanh": lambda nn: nn.Tanh(),
    "Softmax": lambda nn: nn.Softmax(dim=1),
    "LogSoftmax": lambda nn: nn.LogSoftmax(dim=-1),
    "Softmin": lambda nn: nn.Softmin(dim=0),
    "Hardtanh": lambda nn: nn.Hardtanh(-0.5, 1.5),
    "Hardtanh-inplace": lambda nn: nn.Hardtanh(-0.5, 1.5, inplace=True),
    "Hardsigmoid": lambda nn: nn.Hardsigmoid(),
    "Hardsigmoid-inplace": lambda nn: nn.Hardsigmoid(inplace=True),
    "Hardswish": lambda nn: nn.Hardswish(),
    "Hardswish-inplace": lambda nn: nn.Hardswish(inplace=True),
    "Mish": lambda nn: nn.Mish(),
    "Mish-inplace": lambda nn: nn.Mish(inplace=True),
    "Softsign": lambda nn: nn.Softsign(),
    "Tanhshrink": lambda nn: nn.Tanhshrink(),
    "LogSigmoid": lambda nn: nn.LogSigmoid(),
    "Threshold": lambda nn: nn.Threshold(0.1, 20.0),
    "Threshold-inplace": lambda nn: nn.Threshold(0.1, 20.0, inplace=True),
    "Hardshrink": lambda nn: nn.Hardshrink(0.3),
    "Softshrink": lambda nn: nn.Softshrink(0.3),
    "GLU": lambda nn: nn.GLU(1),
    "PReLU": lambda nn: nn.PReLU(4, init=0.1),
    "PReLU-one": lambda nn: nn.PReLU(),
}


@pytest.mark.parametrize("make", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_activations_are_pytorchs(make, scale):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    ours, theirs = make(nn).double(), make(torch.nn).double()
    assert repr(ours) == repr(theirs)
    rng = np.random.default_rng(0)
    x = scale * rng.standard_normal((3, 4, 5))
    x[0, 0] = [0.0, 3.0, -3.0, 6.0, -1.0]  # kinks
    a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ya, yb = ours(a * 1), theirs(b * 1)
    np.testing.assert_allclose(ya.detach().numpy(), yb.detach().numpy(), rtol=1e-9, atol=1e-12)
    g = rng.standard_normal(ya.shape)
    ya.backward(tg.tensor(g))
    yb.backward(torch.tensor(g))
    # PyTorch computes 1/6 and some slopes in float32 even here.
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-7, atol=1e-12)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9)


@pytest.mark.parametrize("name", ["hardtanh", "relu6", "mish", "celu", "selu", "threshold"])
def test_in_place_changes_the_input(name):
    x = tg.tensor([-7.0, 0.5, 7.0], requires_grad=True)
    more = (0.0, 2.0) if name == "threshold" else ()
    once = x * 1
    want = getattr(F, name)(once, *more)
    got = getattr(F, name)(once, *more, inplace=True)
    assert got is once
    assert (got == want).all()
    with pytest.raises(RuntimeError, match=rf"{name}_: a leaf that requires gradients"):
        getattr(F, name)(x, *more, inplace=True)


def test_kinks_of_bounded_activations_have_derivative_zero():
    for f, kinks in ((F.relu6, [0.0, 6.0]), (F.hardtanh, [-1.0, 1.0])):
        x = tg.tensor(kinks, requires_grad=True)
        f(x).sum().backward()
        assert x.grad.tolist() == [0.0, 0.0]


def test_nan_goes_through():
    x = tg.tensor([float("nan")])
    for name in ("relu6", "hardtanh", "hardswish", "celu", "selu", "mish", "softshrink"):
        assert np.isnan(getattr(F, name)(x).item()), name


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.Hardtanh(1.0, 1.0), ValueError, "Hardtanh: `min_val` is 1.0"),
        (lambda: F.hardtanh(tg.ones(1), 2.0, 1.0), ValueError, "hardtanh: `min_val`"),
        (lambda: nn.GELU("fast"), ValueError, "`approximate` is 'fast'"),
        (lambda: F.celu(tg.ones(1), 0), ValueError, "celu: `alpha` is 0"),
        (lambda: F.softshrink(tg.ones(1), -1), ValueError, "softshrink: `lambd` is -1"),
        (lambda: F.glu(tg.ones(3)), ValueError, "glu: `input` has 3 values along dim 0"),
        (
            lambda: nn.PReLU(3)(tg.ones(2, 4)),
            ValueError,
            r"prelu: `weight` has shape \(3,\) but \(1,\) or \(4,\)",
        ),
    ],
)
def test_bad_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()


def logits(rng):
    return rng.standard_normal((6, 4))


def classes(rng):
    return rng.integers(0, 4, 6)


def probabilities(rng):
    return rng.uniform(0.02, 0.98, (6, 4))


def normal(rng):
    return 2 * rng.standard_normal((6, 4))


def log_probabilities(rng):
    x = rng.standard_normal((6, 4))
    return x - np.log(np.exp(x).sum(1, keepdims=True))


WEIGHT = np.array([0.5, 2.0, 0.0, 1.0])
# name: (the module made with `nn` and a function that makes tensors; input; target)
LOSSES = {
    "CrossEntropy": (lambda nn, t, **k: nn.CrossEntropyLoss(**k), logits, classes),
    "CrossEntropy-all": (
        lambda nn, t, **k: nn.CrossEntropyLoss(
            weight=t(WEIGHT), ignore_index=1, label_smoothing=0.1, **k
        ),
        logits,
        classes,
    ),
    "CrossEntropy-soft": (lambda nn, t, **k: nn.CrossEntropyLoss(**k), logits, probabilities),
    "NLL": (lambda nn, t, **k: nn.NLLLoss(weight=t(WEIGHT), **k), log_probabilities, classes),
    "MSE": (lambda nn, t, **k: nn.MSELoss(**k), normal, normal),
    "L1": (lambda nn, t, **k: nn.L1Loss(**k), normal, normal),
    "SmoothL1": (lambda nn, t, **k: nn.SmoothL1Loss(**k), normal, normal),
    "SmoothL1-beta": (lambda nn, t, **k: nn.SmoothL1Loss(beta=0.3, **k), normal, normal),
    "SmoothL1-0": (lambda nn, t, **k: nn.SmoothL1Loss(beta=0.0, **k), normal, normal),
    "Huber": (lambda nn, t, **k: nn.HuberLoss(delta=0.7, **k), normal, normal),
    "BCE": (lambda nn, t, **k: nn.BCELoss(**k), probabilities, probabilities),
    "BCE-weight": (
        lambda nn, t, **k: nn.BCELoss(weight=t(WEIGHT), **k),
        probabilities,
        probabilities,
    ),
    "BCEWithLogits": (
        lambda nn, t, **k: nn.BCEWithLogitsLoss(weight=t(WEIGHT), pos_weight=t(WEIGHT + 1), **k),
        normal,
        probabilities,
    ),
    "KLDiv": (lambda nn, t, **k: nn.KLDivLoss(**k), log_probabilities, probabilities),
    "KLDiv-log": (
        lambda nn, t, **k: nn.KLDivLoss(log_target=True, **k),
        log_probabilities,
        log_probabilities,
    ),
}


@pytest.mark.parametrize(("make", "inputs", "targets"), LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.filterwarnings("ignore:kl_div")
def test_losses_are_pytorchs(make, inputs, targets, reduction):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    if reduction == "batchmean" and "KLDivLoss" not in make.__code__.co_names:
        with pytest.raises(ValueError, match="`reduction` is 'batchmean'"):
            make(nn, tg.tensor, reduction=reduction)
        return
    ours = make(nn, tg.tensor, reduction=reduction)
    theirs = make(torch.nn, torch.tensor, reduction=reduction)
    assert repr(ours) == repr(theirs)
    rng = np.random.default_rng(0)
    x, y = inputs(rng), targets(rng)
    a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    la, lb = ours(a, tg.tensor(y)), theirs(b, torch.tensor(y))
    np.testing.assert_allclose(la.detach().numpy(), lb.detach().numpy(), rtol=1e-9, atol=1e-12)
    g = rng.standard_normal(la.shape)
    la.backward(tg.tensor(g))
    lb.backward(torch.tensor(g))
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-8, atol=1e-12)


def test_binary_cross_entropy_at_its_ends():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    x, y = np.array([0.0, 1.0, 0.0, 1.0, 1e-13]), np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    la = F.binary_cross_entropy(a, tg.tensor(y), reduction="none")
    lb = torch.nn.functional.binary_cross_entropy(b, torch.tensor(y), reduction="none")
    np.testing.assert_allclose(la.detach().numpy(), lb.detach().numpy(), rtol=1e-12)
    la.sum().backward()
    lb.sum().backward()
    assert np.isfinite(a.grad.numpy()).all()
    np.testing.assert_allclose(a.grad.numpy()[2:], b.grad.numpy()[2:], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: nn.MSELoss(reduction="avg"), "MSELoss: `reduction` is 'avg'"),
        (lambda x: nn.HuberLoss(delta=0), "HuberLoss: `delta` is 0"),
        (lambda x: F.huber_loss(x, x, delta=-1), "huber_loss: `delta` is -1"),
        (lambda x: F.smooth_l1_loss(x, x, beta=-1), "smooth_l1_loss: `beta` is -1"),
        (lambda x: F.smooth_l1_loss(x, x[:, 0]), r"has shape \(2, 3\) but `target` \(2,\)"),
        (lambda x: F.kl_div(x, x, reduction="x"), "kl_div: `reduction` is 'x'"),
        (lambda x: F.binary_cross_entropy(x * 2, x), "values from 2.0 to 2.0 but probabilities"),
    ],
)
def test_bad_losses(call, text):
    with pytest.raises(ValueError, match=text):
        call(tg.ones(2, 3))


def test_weights_of_losses_are_buffers():
    loss = nn.CrossEntropyLoss(weight=tg.ones(3))
    assert list(loss.state_dict()) == ["weight"]
    assert loss.double().weight.dtype == np.float64
    assert list(nn.CrossEntropyLoss().state_dict()) == []
    assert list(nn.BCEWithLogitsLoss(pos_weight=tg.ones(3)).state_dict()) == ["pos_weight"]
