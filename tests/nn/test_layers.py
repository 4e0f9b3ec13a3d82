"""Layers: against PyTorch (values, gradients, repr, state), and on their own."""

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn

# name: (how to make it, with `nn` ours or PyTorch's; the shape of its input)
LAYERS = {
    "linear": (lambda nn: nn.Linear(5, 3), (4, 5)),
    "linear-no-bias": (lambda nn: nn.Linear(5, 3, bias=False), (2, 4, 5)),
    "conv1d": (lambda nn: nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    "conv1d-replicate": (
        lambda nn: nn.Conv1d(4, 6, 3, padding=2, padding_mode="replicate"),
        (2, 4, 9),
    ),
    "conv2d": (lambda nn: nn.Conv2d(3, 4, 3), (2, 3, 6, 7)),
    "conv2d-all": (
        lambda nn: nn.Conv2d(
            4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2, bias=False
        ),
        (2, 4, 8, 7),
    ),
    "conv2d-same": (lambda nn: nn.Conv2d(3, 4, (3, 4), padding="same"), (2, 3, 6, 7)),
    "conv2d-valid": (lambda nn: nn.Conv2d(3, 4, 3, padding="valid"), (2, 3, 6, 7)),
    "conv2d-reflect": (
        lambda nn: nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect"),
        (2, 3, 6, 7),
    ),
    "conv2d-circular-same": (
        lambda nn: nn.Conv2d(3, 4, (2, 3), padding="same", padding_mode="circular"),
        (2, 3, 6, 7),
    ),
    "conv2d-unbatched": (lambda nn: nn.Conv2d(3, 4, 3), (3, 6, 7)),
    "convtranspose2d": (
        lambda nn: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2),
        (2, 4, 5, 4),
    ),
    "convtranspose1d": (
        lambda nn: nn.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1, groups=2),
        (2, 4, 5),
    ),
    "convtranspose2d-dilated": (
        lambda nn: nn.ConvTranspose2d(2, 3, (2, 3), dilation=2, bias=False),
        (2, 2, 5, 4),
    ),
    "maxpool": (lambda nn: nn.MaxPool2d(2), (2, 3, 6, 7)),
    "maxpool-all": (
        lambda nn: nn.MaxPool2d(3, stride=2, padding=1, dilation=1, ceil_mode=True),
        (2, 3, 6, 7),
    ),
    "avgpool": (lambda nn: nn.AvgPool2d((2, 3), stride=1, padding=1), (2, 3, 6, 7)),
    "avgpool-all": (
        lambda nn: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        (2, 3, 6, 6),
    ),
    "adaptive": (lambda nn: nn.AdaptiveAvgPool2d((3, None)), (2, 3, 7, 5)),
    "bn1d": (lambda nn: nn.BatchNorm1d(5), (6, 5)),
    "bn1d-length": (lambda nn: nn.BatchNorm1d(5, momentum=0.3), (3, 5, 4)),
    "bn2d": (lambda nn: nn.BatchNorm2d(3), (4, 3, 5, 5)),
    "bn2d-plain": (lambda nn: nn.BatchNorm2d(3, eps=1e-2, affine=False), (4, 3, 5, 5)),
    "bn2d-untracked": (lambda nn: nn.BatchNorm2d(3, track_running_stats=False), (4, 3, 5, 5)),
    "bn2d-average": (lambda nn: nn.BatchNorm2d(3, momentum=None), (4, 3, 5, 5)),
    "layernorm": (lambda nn: nn.LayerNorm(5), (3, 4, 5)),
    "layernorm-2": (lambda nn: nn.LayerNorm((4, 5), eps=1e-3, bias=False), (3, 4, 5)),
    "layernorm-plain": (lambda nn: nn.LayerNorm([5], elementwise_affine=False), (3, 4, 5)),
    "groupnorm": (lambda nn: nn.GroupNorm(2, 6), (3, 6, 4, 3)),
    "groupnorm-plain": (lambda nn: nn.GroupNorm(3, 6, affine=False), (3, 6, 4)),
    "flatten": (lambda nn: nn.Flatten(), (2, 3, 4)),
    "flatten-part": (lambda nn: nn.Flatten(0, 1), (2, 3, 4)),
    "unflatten": (lambda nn: nn.Unflatten(1, (2, -1)), (3, 6, 2)),
    "identity": (lambda nn: nn.Identity(3, a=4), (2, 3)),
    "dropout-off": (lambda nn: nn.Dropout(0.0), (2, 3)),
    "dropout1d-off": (lambda nn: nn.Dropout1d(0.0), (2, 3, 4)),
    "dropout2d-off": (lambda nn: nn.Dropout2d(0.0, inplace=False), (2, 3, 4, 4)),
    "nested": (
        lambda nn: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        ),
        (2, 3, 8, 8),
    ),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # PyTorch's
@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS.keys())
def test_layers_are_pytorchs(make, shape):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    rng = np.random.default_rng(0)
    ours, theirs = make(nn).double(), make(torch.nn).double()
    assert repr(ours) == repr(theirs)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [
        (n, tuple(p.shape)) for n, p in theirs.named_parameters()
    ]
    state = {
        k: np.asarray(abs(rng.standard_normal(v.shape))) if v.dtype.kind == "f" else v.numpy()
        for k, v in ours.state_dict().items()
    }
    ours.load_state_dict({k: tg.tensor(v) for k, v in state.items()})
    theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})

    def close(a, b):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-8, atol=1e-9)

    for mode in (True, True, False):  # statistics move twice, then are used
        ours.train(mode)
        theirs.train(mode)
        x = rng.standard_normal(shape)
        a = tg.tensor(x, requires_grad=True)
        b = torch.tensor(x, requires_grad=True)
        ya, yb = ours(a), theirs(b)
        close(ya, yb)
        g = rng.standard_normal(ya.shape)
        ours.zero_grad()
        theirs.zero_grad()
        ya.backward(tg.tensor(g))
        yb.backward(torch.tensor(g))
        close(a.grad, b.grad)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            close(p.grad, q.grad)
        for (name, p), q in zip(
            ours.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            assert str(q.dtype) == f"torch.{p.dtype}", name
            close(p, q)


@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS.keys())
def test_float32_stays_float32(make, shape):
    layer = make(nn)
    x = tg.randn(*shape).requires_grad_()
    y = layer(x)
    assert y.dtype == np.float32
    y.backward(tg.randn(*y.shape))
    assert x.grad.dtype == np.float32
    assert all(p.grad.dtype == np.float32 for p in layer.parameters())


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(200, 300),
        lambda: nn.Conv2d(32, 64, 5),
        lambda: nn.Conv1d(64, 300, 5),
        lambda: nn.Conv2d(32, 300, 5, groups=4),
    ],
)
def test_he_initialisation(make):
    tg.manual_seed(3)
    layer = make()
    weight = layer.weight.detach().numpy()
    fan_in = weight[0].size
    assert weight.std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
    assert abs(weight.mean()) < 0.002
    assert (layer.bias == 0).all()
    tg.manual_seed(3)
    assert (make().weight == layer.weight).all()
    first = layer.weight.detach().clone()
    layer.reset_parameters()
    assert not (layer.weight == first).all()


def test_signal_keeps_its_size_through_many_layers():
    tg.manual_seed(0)
    net = nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(256, 256), nn.ReLU())])
    y = net(tg.randn(64, 256))
    assert 0.2 < float((y * y).mean()) < 5.0


def test_batch_norm_normalises_and_keeps_statistics():
    bn = nn.BatchNorm2d(3, momentum=0.25)
    rng = np.random.default_rng(0)
    x = rng.normal(5.0, 2.0, (8, 3, 4, 4))
    y = bn.double()(tg.tensor(x)).detach().numpy()
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.std((0, 2, 3)), 1, rtol=1e-5)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(bn.running_mean.numpy(), 0.25 * mean)
    np.testing.assert_allclose(bn.running_var.numpy(), 0.75 + 0.25 * var)
    assert bn.num_batches_tracked.item() == 1
    bn.eval()
    y = bn(tg.tensor(x)).detach().numpy()
    want = (x - 0.25 * mean[:, None, None]) / np.sqrt(0.75 + 0.25 * var + 1e-5)[:, None, None]
    np.testing.assert_allclose(y, want, rtol=1e-10)
    assert bn.num_batches_tracked.item() == 1
    bn.reset_parameters()
    assert bn.running_mean.tolist() == [0, 0, 0]
    assert bn.num_batches_tracked.item() == 0


def test_batch_norm_average_of_all_batches():
    bn = nn.BatchNorm1d(2, momentum=None).double()
    batches = np.random.default_rng(0).standard_normal((5, 7, 2))
    for x in batches:
        bn(tg.tensor(x))
    np.testing.assert_allclose(bn.running_mean.numpy(), batches.mean((0, 1)), rtol=1e-10)
    np.testing.assert_allclose(bn.running_var.numpy(), batches.var(1, ddof=1).mean(0), rtol=1e-10)


def test_batch_norm_frozen_in_training():
    """Statistics that are held but no longer tracked stay, and the batch's own are used."""
    bn = nn.BatchNorm1d(2).double()
    bn.track_running_stats = False
    x = tg.randn(9, 2, dtype=tg.float64)
    assert bn(x).mean().abs().item() < 1e-12
    assert bn.running_mean.tolist() == [0, 0]
    bn.eval()
    assert (bn(x) - x).abs().max().item() < 1e-4  # the held ones: mean 0, variance 1


def test_wrong_ranks_are_named():
    with pytest.raises(ValueError, match=r"BatchNorm2d: `input` has shape \(2, 3\) but 4 axes"):
        nn.BatchNorm2d(3)(tg.ones(2, 3))
    with pytest.raises(ValueError, match="2 or 3 axes"):
        nn.BatchNorm1d(3)(tg.ones(2, 3, 4, 4))
    with pytest.raises(ValueError, match="one value"):
        nn.BatchNorm1d(3)(tg.ones(1, 3))
    with pytest.raises(IndexError, match="`dim` is 3"):
        nn.Unflatten(3, (1, 1))(tg.ones(2, 2))


def test_dropout():
    tg.manual_seed(0)
    drop = nn.Dropout(0.25)
    x = tg.ones(100, 100, requires_grad=True)
    y = drop(x)
    kept = (y != 0).float().mean().item()
    assert kept == pytest.approx(0.75, abs=0.02)
    assert y.max().item() == pytest.approx(1 / 0.75)
    y.sum().backward()
    assert (x.grad == y).all()  # the same mask
    assert (drop.eval()(x) == x).all()
    channels = nn.Dropout2d(0.5)(tg.ones(50, 20, 3, 3))
    per_channel = channels.reshape(1000, 9)
    assert (per_channel.amax(1) == per_channel.amin(1)).all()
    assert 300 < (per_channel[:, 0] == 0).sum().item() < 700


def test_embedding():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    ours, theirs = nn.Embedding(6, 3, padding_idx=-2), torch.nn.Embedding(6, 3, padding_idx=-2)
    assert repr(ours) == repr(theirs)
    assert (ours.weight[4] == 0).all()
    ours.load_state_dict(theirs.state_dict())
    index = np.array([[0, 4, 4], [5, 0, 1]])
    a, b = ours(tg.tensor(index)), theirs(torch.tensor(index))
    assert (a.detach().numpy() == b.detach().numpy()).all()
    g = np.random.default_rng(0).standard_normal(a.shape).astype(np.float32)
    a.backward(tg.tensor(g))
    b.backward(torch.tensor(g))
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-6)
    assert (ours.weight.grad[4] == 0).all()


def test_embedding_errors():
    table = nn.Embedding(6, 3)
    with pytest.raises(IndexError, match=r"holds 6 but 0 to 5 .*in Embedding"):
        table(tg.tensor([1, 6]))
    with pytest.raises(TypeError, match="dtype float32 but integers"):
        table(tg.ones(2))
    with pytest.raises(ValueError, match="`padding_idx` is 6"):
        nn.Embedding(6, 3, padding_idx=6)


def test_convolution_transposed_to_a_size():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    ours, theirs = (
        nn.ConvTranspose2d(2, 3, 3, stride=3),
        torch.nn.ConvTranspose2d(2, 3, 3, stride=3),
    )
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    got = ours(tg.tensor(x), output_size=(12, 14)).detach().numpy()
    want = theirs(torch.tensor(x), output_size=(12, 14)).detach().numpy()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"`output_size` is \(12, 20\) but .* 12 to 14"):
        ours(tg.tensor(x), output_size=(12, 20))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.Linear(-1, 2), ValueError, "Linear: `in_features` is -1"),
        (lambda: nn.Linear(2.0, 2), TypeError, "`in_features` is 2.0 .* an int"),
        (lambda: nn.Linear(2, 2, dtype="int64"), TypeError, "`dtype` is 'int64'"),
        (lambda: nn.Conv2d(0, 2, 3), ValueError, "Conv2d: `in_channels` is 0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "must divide `in_channels` = 3"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "must divide `out_channels` = 3"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ValueError, "an int or 2 ints"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), ValueError, "`stride` is 0"),
        (lambda: nn.Conv2d(3, 4, 3, padding="half"), ValueError, "`padding` is 'half'"),
        (lambda: nn.Conv2d(3, 4, 3, 2, padding="same"), ValueError, "'same' needs stride 1"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="x"), ValueError, "`padding_mode` is 'x'"),
        (
            lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"),
            ValueError,
            "ConvTranspose2d: `padding_mode`",
        ),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding="same"), TypeError, "`padding` is 'same'"),
        (lambda: nn.Dropout(1.5), ValueError, "Dropout: `p` is 1.5"),
        (lambda: nn.GroupNorm(4, 6), ValueError, "must divide `num_channels` = 6"),
        (lambda: nn.Unflatten(1, 3), TypeError, "a tuple of ints"),
    ],
)
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_dtype_of_parameters():
    for make in (
        lambda d: nn.Linear(2, 3, dtype=d),
        lambda d: nn.Conv2d(2, 3, 1, dtype=d),
        lambda d: nn.BatchNorm2d(2, dtype=d),
        lambda d: nn.LayerNorm(2, dtype=d),
        lambda d: nn.GroupNorm(1, 2, dtype=d),
        lambda d: nn.Embedding(2, 3, dtype=d),
        lambda d: nn.PReLU(dtype=d),
    ):
        assert {p.dtype for p in make(tg.float64).parameters()} == {np.dtype("float64")}
        assert {p.dtype for p in make(None).parameters()} == {np.dtype("float32")}
