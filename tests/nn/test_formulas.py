"""Layers, activations and losses against plain NumPy formulas and finite differences."""

import math

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.nn import functional as F

erf = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(-abs(x))) + np.maximum(x, 0)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


ACTIVATIONS = {
    "ReLU": (nn.ReLU(), lambda x: np.maximum(x, 0)),
    "ReLU6": (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    "LeakyReLU": (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "PReLU": (nn.PReLU(init=0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    "ELU": (nn.ELU(0.7), lambda x: elu(x, 0.7)),
    "CELU": (nn.CELU(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0) / 0.7))),
    "SELU": (nn.SELU(), lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772)),
    "GELU": (nn.GELU(), lambda x: x * (1 + erf(x / math.sqrt(2))) / 2),
    "GELU-tanh": (
        nn.GELU("tanh"),
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "SiLU": (nn.SiLU(), lambda x: x * sigmoid(x)),
    "Mish": (nn.Mish(), lambda x: x * np.tanh(softplus(x))),
    "Softplus": (nn.Softplus(2.0), lambda x: softplus(2 * x) / 2),
    "Sigmoid": (nn.Sigmoid(), sigmoid),
    "Tanh": (nn.Tanh(), np.tanh),
    "LogSigmoid": (nn.LogSigmoid(), lambda x: -softplus(-x)),
    "Softsign": (nn.Softsign(), lambda x: x / (1 + abs(x))),
    "Tanhshrink": (nn.Tanhshrink(), lambda x: x - np.tanh(x)),
    "Hardtanh": (nn.Hardtanh(-0.5, 1.5), lambda x: np.clip(x, -0.5, 1.5)),
    "Hardsigmoid": (nn.Hardsigmoid(), lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "Hardswish": (nn.Hardswish(), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "Threshold": (nn.Threshold(0.1, 20.0), lambda x: np.where(x > 0.1, x, 20.0)),
    "Hardshrink": (nn.Hardshrink(0.3), lambda x: np.where(abs(x) > 0.3, x, 0)),
    "Softshrink": (nn.Softshrink(0.3), lambda x: np.sign(x) * np.maximum(abs(x) - 0.3, 0)),
    "GLU": (nn.GLU(1), lambda x: x[:, :2] * sigmoid(x[:, 2:])),
    "Softmax": (nn.Softmax(1), lambda x: softmax(x, 1)),
    "Softmin": (nn.Softmin(0), lambda x: softmax(-x, 0)),
    "LogSoftmax": (nn.LogSoftmax(-1), lambda x: np.log(softmax(x, -1))),
}


def check_derivatives(f, formula, x, rng):
    """Values, first and second derivatives of ``f``, which computes ``formula`` on arrays.

    Derivatives are compared with central differences along random directions, under random
    cotangents; the first once without recording and once with.
    """
    step = 1e-5
    t = tg.tensor(x, requires_grad=True)
    y = f(t)
    np.testing.assert_allclose(y.detach().numpy(), formula(x), rtol=1e-7, atol=1e-9)
    g, u, v = (rng.standard_normal(s) for s in (y.shape, x.shape, x.shape))
    y.backward(tg.tensor(g))
    want = ((formula(x + step * u) - formula(x - step * u)) / (2 * step) * g).sum()
    assert (t.grad.numpy() * u).sum() == pytest.approx(want, rel=1e-5, abs=1e-6)

    def first(point):
        s = tg.tensor(point, requires_grad=True)
        (gx,) = tg.autograd.grad(f(s), [s], tg.tensor(g), create_graph=True)
        return s, gx

    s, gx = first(x)
    np.testing.assert_allclose(gx.detach().numpy(), t.grad.numpy(), rtol=1e-9, atol=1e-12)
    got = 0.0
    if gx.requires_grad:
        (gg,) = tg.autograd.grad(gx, [s], tg.tensor(u), allow_unused=True)
        got = 0.0 if gg is None else (gg.numpy() * v).sum()
    after, before = (first(x + sign * step * v)[1].detach().numpy() for sign in (1, -1))
    assert got == pytest.approx(((after - before) * u).sum() / (2 * step), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("layer", "formula"), ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_activations(layer, formula):
    rng = np.random.default_rng(0)
    x = rng.uniform(-8, 8, (3, 4, 5))
    kinks = np.array([0, 6, 3, -3, 0.1, 0.3, -0.3, -0.5, 1.5])
    near = abs(x[..., None] - kinks).min(-1) < 1e-3  # differences must not step over a kink
    x[near] += 0.01
    check_derivatives(layer.double(), formula, x, rng)


C = np.array([1.5, 0.5, 2.0, 1.0])


def picked(rows, target):
    return rows[np.arange(len(target)), target]


def log_softmax(x):
    return np.log(softmax(x, 1))


LABELS = np.array([1, 3, 0, 2, 1])
Y = np.random.default_rng(1).uniform(0.05, 0.95, (5, 4))


def huber(d, delta):
    return np.where(abs(d) < delta, d**2 / 2, delta * (abs(d) - delta / 2))


# name: (class, its options, target, formula of the losses before reduction)
LOSSES = {
    "CrossEntropy": (nn.CrossEntropyLoss, {}, LABELS, lambda x: -picked(log_softmax(x), LABELS)),
    "CrossEntropy-soft": (nn.CrossEntropyLoss, {}, Y, lambda x: -(Y * log_softmax(x)).sum(1)),
    "CrossEntropy-smooth": (
        nn.CrossEntropyLoss,
        {"label_smoothing": 0.2},
        LABELS,
        lambda x: -0.8 * picked(log_softmax(x), LABELS) - 0.2 * log_softmax(x).mean(1),
    ),
    "NLL": (nn.NLLLoss, {}, LABELS, lambda x: -picked(x, LABELS)),
    "MSE": (nn.MSELoss, {}, Y, lambda x: (x - Y) ** 2),
    "L1": (nn.L1Loss, {}, Y, lambda x: abs(x - Y)),
    "SmoothL1": (nn.SmoothL1Loss, {"beta": 0.4}, Y, lambda x: huber(x - Y, 0.4) / 0.4),
    "Huber": (nn.HuberLoss, {"delta": 0.4}, Y, lambda x: huber(x - Y, 0.4)),
    "KLDiv": (nn.KLDivLoss, {}, Y, lambda x: Y * (np.log(Y) - x)),
    "KLDiv-log": (nn.KLDivLoss, {"log_target": True}, Y, lambda x: np.exp(Y) * (Y - x)),
    "BCEWithLogits": (
        nn.BCEWithLogitsLoss,
        {"weight": C, "pos_weight": C + 1},
        Y,
        lambda x: C * (Y * (C + 1) * softplus(-x) + (1 - Y) * softplus(x)),
    ),
}


@pytest.mark.parametrize(
    ("kind", "options", "target", "formula"), LOSSES.values(), ids=LOSSES.keys()
)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.filterwarnings("ignore:kl_div")
def test_losses(kind, options, target, formula, reduction):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((5, 4))
    options = {k: tg.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    loss = kind(**options, reduction=reduction)
    reduce = {"mean": np.mean, "sum": np.sum, "none": lambda v: v}[reduction]
    check_derivatives(lambda t: loss(t, tg.tensor(target)), lambda v: reduce(formula(v)), x, rng)


def test_weighted_classes_and_ignored_ones():
    rng = np.random.default_rng(3)
    x, labels = rng.standard_normal((5, 4)), np.array([1, 3, 2, 2, 0])
    loss = nn.CrossEntropyLoss(weight=tg.tensor(C), ignore_index=2)

    def formula(v):
        each = -picked(log_softmax(v), labels) * C[labels] * (labels != 2)
        return each.sum() / (C[labels] * (labels != 2)).sum()

    check_derivatives(lambda t: loss(t, tg.tensor(labels)), formula, x, rng)


def test_binary_cross_entropy():
    rng = np.random.default_rng(4)
    x = rng.uniform(0.1, 0.9, (5, 4))

    def formula(v):
        return -(Y * np.log(v) + (1 - Y) * np.log(1 - v)) * C

    loss = nn.BCELoss(weight=tg.tensor(C), reduction="none")
    check_derivatives(lambda t: loss(t, tg.tensor(Y)), formula, x, rng)
    ends = tg.tensor([0.0, 1.0, 0.0], requires_grad=True)
    out = F.binary_cross_entropy(ends, tg.tensor([0.0, 1.0, 1.0]), reduction="none")
    assert out.tolist() == [0, 0, 100]
    out.sum().backward()
    assert np.isfinite(ends.grad.numpy()).all()


@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
def test_padding_modes(mode, numpy_mode):
    rng = np.random.default_rng(5)
    conv = nn.Conv2d(2, 3, (3, 2), padding=(2, 1), padding_mode=mode).double()
    plain = nn.Conv2d(2, 3, (3, 2)).double()
    plain.load_state_dict(conv.state_dict())
    x = rng.standard_normal((2, 2, 5, 4))
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (1, 1)), mode=numpy_mode)
    got, want = conv(tg.tensor(x)).detach(), plain(tg.tensor(padded)).detach()
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2}, {"stride": (2, 1)}],
)
def test_transposed_convolution_is_the_transpose(options):
    rng = np.random.default_rng(6)
    conv = nn.Conv2d(4, 6, 3, bias=False, **options).double()
    back = nn.ConvTranspose2d(6, 4, 3, bias=False, **options).double()
    back.load_state_dict(conv.state_dict())  # the layouts agree: (6, 4 / groups, 3, 3)
    x = tg.tensor(rng.standard_normal((2, 4, 9, 9)))
    y = conv(x)
    u = tg.tensor(rng.standard_normal(y.shape))
    left, right = (y * u).sum(), (x * back(u, output_size=(9, 9))).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-10)
    line = nn.ConvTranspose1d(6, 4, 3, stride=2, output_padding=1)
    assert line(tg.ones(1, 6, 5)).shape == (1, 4, 12)


def test_linear_and_embedding():
    rng = np.random.default_rng(7)
    fc = nn.Linear(5, 3).double()
    w, b = rng.standard_normal((3, 5)), rng.standard_normal(3)
    fc.load_state_dict({"weight": tg.tensor(w), "bias": tg.tensor(b)})
    check_derivatives(fc, lambda v: v @ w.T + b, rng.standard_normal((2, 4, 5)), rng)
    table = nn.Embedding(6, 3, padding_idx=2).double()
    index = np.array([[0, 2, 5], [5, 5, 1]])
    out = table(tg.tensor(index))
    assert (out.detach().numpy() == table.weight.detach().numpy()[index]).all()
    g = rng.standard_normal(out.shape)
    out.backward(tg.tensor(g))
    want = np.zeros((6, 3))
    np.add.at(want, index, g)
    want[2] = 0
    np.testing.assert_allclose(table.weight.grad.numpy(), want)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups):
    rng = np.random.default_rng(8)
    layer = nn.GroupNorm(groups, 6, eps=1e-3).double()
    w, b = rng.standard_normal(6), rng.standard_normal(6)
    layer.load_state_dict({"weight": tg.tensor(w), "bias": tg.tensor(b)})

    def formula(v):
        parts = v.reshape(2, groups, -1)
        mean, var = parts.mean(-1, keepdims=True), parts.var(-1, keepdims=True)
        return ((parts - mean) / np.sqrt(var + 1e-3)).reshape(v.shape) * w[:, None] + b[:, None]

    check_derivatives(layer, formula, rng.standard_normal((2, 6, 4)), rng)


def test_layer_norm():
    rng = np.random.default_rng(9)
    layer = nn.LayerNorm((3, 4), eps=1e-3).double()
    w, b = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    layer.load_state_dict({"weight": tg.tensor(w), "bias": tg.tensor(b)})

    def formula(v):
        mean, var = v.mean((1, 2), keepdims=True), v.var((1, 2), keepdims=True)
        return (v - mean) / np.sqrt(var + 1e-3) * w + b

    check_derivatives(layer, formula, rng.standard_normal((2, 3, 4)), rng)


def windows(x, k, dilation, padding, stride):
    """`F.unfold` by loops."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    reach = [d * (n - 1) + 1 for d, n in zip(dilation, k, strict=True)]
    columns = []
    for i in range(0, x.shape[2] - reach[0] + 1, stride[0]):
        for j in range(0, x.shape[3] - reach[1] + 1, stride[1]):
            part = x[:, :, i : i + reach[0] : dilation[0], j : j + reach[1] : dilation[1]]
            columns.append(part.reshape(len(x), -1))
    return np.stack(columns, -1)


def cosine(x, y):
    return (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)


OTHER = np.random.default_rng(10).standard_normal((4, 5))
COMPOSITIONS = {
    "normalize": (
        F.normalize,
        lambda x: x / np.sqrt((x**2).sum(1, keepdims=True)),
        (4, 5),
    ),
    "cosine_similarity": (
        lambda t: F.cosine_similarity(t, tg.tensor(OTHER)),
        lambda x: cosine(x, OTHER),
        (4, 5),
    ),
    "pairwise_distance": (
        lambda t: F.pairwise_distance(t, tg.tensor(OTHER)),
        lambda x: np.linalg.norm(x - OTHER + 1e-6, axis=1),
        (4, 5),
    ),
    "interpolate": (
        lambda t: F.interpolate(t, scale_factor=(2, 3)),
        lambda x: x.repeat(2, 2).repeat(3, 3),
        (2, 3, 2, 3),
    ),
    "pixel_shuffle": (
        lambda t: F.pixel_shuffle(t, 2),
        lambda x: (
            np.stack(
                [
                    np.stack(
                        [
                            x[:, 4 * c + 2 * (i % 2) : 4 * c + 2 * (i % 2) + 2, i // 2]
                            for c in (0, 1)
                        ]
                    )
                    for i in range(6)
                ]
            )  # (row, c, n, 2, w)
            .transpose(2, 1, 0, 4, 3)
            .reshape(1, 2, 6, 4)
        ),
        (1, 8, 3, 2),
    ),
    "unfold": (
        lambda t: F.unfold(t, (2, 3), (2, 1), (1, 2), (2, 1)),
        lambda x: windows(x, (2, 3), (2, 1), (1, 2), (2, 1)),
        (2, 3, 5, 4),
    ),
}


@pytest.mark.parametrize(("f", "formula", "shape"), COMPOSITIONS.values(), ids=COMPOSITIONS.keys())
def test_compositions(f, formula, shape):
    rng = np.random.default_rng(11)
    check_derivatives(f, formula, rng.standard_normal(shape), rng)
