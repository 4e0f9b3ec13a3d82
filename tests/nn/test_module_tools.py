"""Parametrised tensors, fused layers, lazy layers, PyTorch's first weights, bags of rows."""

import copy
import gc
import inspect

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn

tools = nn.utils


def torch_():
    return pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )


def close(a, b):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("make", [lambda m: m.Linear(4, 3), lambda m: m.ConvTranspose2d(4, 3, 2)])
@pytest.mark.parametrize(
    "norm",
    [
        lambda u: u.weight_norm,
        lambda u: u.spectral_norm,
        lambda u: u.parametrizations.weight_norm,
        lambda u: u.parametrizations.spectral_norm,
    ],
    ids=["weight_norm", "spectral_norm", "new weight_norm", "new spectral_norm"],
)
def test_norms_of_weights_are_pytorchs(make, norm):
    torch = torch_()
    ours, theirs = norm(tools)(make(nn).double()), norm(torch.nn.utils)(make(torch.nn).double())
    assert set(ours.state_dict()) == set(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 4, 3, 3))
    x = x if isinstance(ours, nn.ConvTranspose2d) else x[..., 0, 0]
    for _ in range(2):
        a, b = ours(tg.tensor(x)), theirs(torch.tensor(x))
        close(a, b)
        (a**2).sum().backward()
        (b**2).sum().backward()
    gradients = {n.split(".")[-1]: p.grad for n, p in theirs.named_parameters()}
    names = {"weight_g": "original0", "weight_v": "original1", "weight_orig": "original"}
    for name, value in gradients.items():
        mine = {n.split(".")[-1]: p.grad for n, p in ours.named_parameters()}
        close(mine[name if name in mine else names[name]], value)


def test_copies_of_normalised_layers_are_apart():
    layer = tools.weight_norm(tools.weight_norm(nn.Linear(2, 3)), "bias")
    keys = list(layer.state_dict())
    twin = copy.deepcopy(layer)
    assert (twin.weight_g == layer.weight_g).all()
    tools.remove_weight_norm(twin)
    assert sorted(twin.state_dict()) == ["bias_g", "bias_v", "weight"]
    assert list(layer.state_dict()) == keys
    twin.weight_g = 1  # free again
    with pytest.raises(ValueError, match=r"`weight` of .* is not normalised"):
        tools.remove_weight_norm(twin)


def test_cached_knows_modules_that_are_gone():
    with tools.parametrize.cached():
        weights = []
        for _ in range(5):
            weights.append(tools.weight_norm(nn.Linear(2, 3)).weight)
            gc.collect()  # its number may be given to the next one
    assert len(set(map(id, weights))) == 5


def test_parametrizations_come_and_go():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

        def right_inverse(self, x):
            return x / 2

    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    register = tools.parametrize.register_parametrization
    register(layer, "weight", Double())
    register(layer, "weight", Double())
    assert isinstance(layer, nn.Linear)
    assert (layer.weight == 2 * before).all()  # the second one was not asked for its inverse
    twin = copy.deepcopy(layer)
    layer.weight = tg.ones(2, 3)
    assert (layer.weight == 1).all()
    assert (layer.parametrizations.weight.original == 0.25).all()
    assert (twin.weight == 2 * before).all()
    layer(tg.ones(1, 3)).sum().backward()
    assert (layer.parametrizations.weight.original.grad == 4).all()
    tools.parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear
    assert [n for n, _ in layer.named_parameters()] == ["bias", "weight"]
    with pytest.raises(ValueError, match="no parameter or buffer `x`"):
        register(layer, "x", Double())
    with pytest.raises(ValueError, match="has none"):
        tools.parametrize.remove_parametrizations(layer, "weight")
    with pytest.raises(ValueError, match="the result has shape"):
        register(layer, "weight", nn.Flatten(0))


def test_orthogonal_stays_orthogonal():
    layer = tools.parametrizations.orthogonal(nn.Linear(5, 3).double())
    optimizer = tg.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(tg.ones(2, 5, dtype=tg.float64)) ** 3).sum().backward()
        optimizer.step()
    assert tg.allclose(layer.weight @ layer.weight.T, tg.eye(3, dtype=tg.float64))
    assert layer.parametrizations.weight.original.grad.abs().max() > 0
    step = layer.parametrizations.weight[0]
    x = tg.randn(3, 5, dtype=tg.float64, requires_grad=True)
    assert tg.autograd.gradgradcheck(step, (x,))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Conv2d(3, 4, 3, bias=False), (2, 3, 5, 5)),
        (lambda: nn.ConvTranspose2d(3, 4, 3), (2, 3, 5, 5)),
    ],
)
def test_fused_with_a_normalisation(make, shape):
    conv, norm = make().eval(), nn.BatchNorm2d(4)
    norm(3 + 2 * tg.randn(8, 4, 3, 3))
    nn.init.normal_(norm.weight)
    norm.eval()
    x = tg.randn(*shape)
    assert tg.allclose(tools.fuse_conv_bn_eval(conv, norm)(x), norm(conv(x)), atol=1e-5)
    with pytest.raises(ValueError, match="training mode"):
        tools.fuse_conv_bn_eval(conv.train(), norm)


def test_functional_call():
    call = tools.stateless.functional_call
    shared, twin = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    twin.weight = shared.weight
    net = nn.Sequential(shared, nn.BatchNorm1d(2), twin)
    own = shared.weight
    given = tg.eye(2).requires_grad_()
    x = tg.randn(4, 2)
    y = call(net, {"0.weight": given}, x)
    y.sum().backward()
    assert shared.weight is own
    assert own.grad is None
    assert given.grad is not None
    assert tg.allclose(y, net[1](x), atol=1e-5)
    untied = call(net, {"0.weight": given}, x, tie_weights=False)
    assert not tg.allclose(untied, y)
    with pytest.raises(ValueError, match=r"has no \['bias'\]"):
        call(net, {"bias": given}, x)
    with pytest.raises(ValueError, match="are missing"):
        call(net, {"0.weight": given}, x, strict=True)


@pytest.mark.parametrize("name", sorted(n for n in nn.__all__ if n.startswith("Lazy"))[:-1])
def test_lazy_layers_become_ordinary(name):
    kind = getattr(nn, name)
    args = () if "Norm" in name else (4,) if name == "LazyLinear" else (4, 2)
    shape = (2, 6) if name == "LazyLinear" else (2, 6, *(5,) * int(name[-2]))
    options = {"affine": True} if "Norm" in name else {}
    layer = kind(*args, **options)
    assert layer.has_uninitialized_params()
    with pytest.raises(RuntimeError, match="shape is not known yet"):
        _ = layer.weight.shape
    empty = copy.deepcopy(layer)
    y = layer(tg.randn(*shape))
    assert type(layer).__name__ == name.removeprefix("Lazy")
    assert type(layer.weight) is nn.Parameter
    filled = kind(*args, **options)
    filled.load_state_dict(layer.state_dict())
    x = tg.randn(*shape)
    for module in (layer, filled):
        module.eval()
    assert tg.allclose(filled(x), layer(x))
    filled_from_empty = kind(*args, **options)
    filled_from_empty.load_state_dict(empty.state_dict())
    assert filled_from_empty(x).shape == y.shape


FIRST = {
    "linear": lambda m: m.Linear(50, 200),
    "conv": lambda m: m.Conv2d(8, 60, 3, groups=2),
    "conv transposed": lambda m: m.ConvTranspose2d(16, 30, 3),
    "bilinear": lambda m: m.Bilinear(30, 10, 20),
    "embedding": lambda m: m.Embedding(50, 40),
    "lstm": lambda m: m.LSTM(30, 40),
    "attention": lambda m: m.MultiheadAttention(48, 4),
    "transformer": lambda m: m.Transformer(32, 2, 1, 1, 64),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", FIRST)
def test_first_weights_of_pytorch(name):
    """Spread and bounds of every parameter agree within the scatter of the draws."""
    torch = torch_()
    tg.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = nn.init.pytorch_(FIRST[name](nn)), FIRST[name](torch.nn)
    for (key, a), (other, b) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert key == other
        a, b = a.detach().numpy(), b.detach().numpy()
        if b.size < 100:
            assert (a == b).all() or 0.4 < abs(a).max() / abs(b).max() < 2.5, key
        elif b.std() == 0:
            assert (a == b).all(), key
        else:
            assert a.std() == pytest.approx(b.std(), rel=0.2), key
            if name != "embedding":
                assert abs(a).max() == pytest.approx(abs(b).max(), rel=0.15), key


@pytest.mark.parametrize("name", [n for n in nn.__all__ if inspect.isclass(getattr(nn, n))])
def test_layers_with_weights_take_a_device(name):
    parameters = inspect.signature(getattr(nn, name)).parameters
    assert ("device" in parameters) == ("dtype" in parameters)
    with_weights = {"Linear", "Conv2d", "BatchNorm1d", "Embedding", "PReLU", "LSTM", "LayerNorm"}
    if name in with_weights:
        args = {"Linear": (2, 3), "Conv2d": (2, 3, 1), "Embedding": (2, 3), "LSTM": (2, 3)}
        made = args.get(name, (2,))
        assert getattr(nn, name)(*made, device=tg.device("cpu"), dtype=tg.float64)
        with pytest.raises(ValueError, match=f"{name}: `device` is 'cuda'"):
            getattr(nn, name)(*made, device="cuda")


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 2])
def test_bags_are_pytorchs(mode, padding_idx):
    torch = torch_()
    rng = np.random.default_rng(0)
    index, offsets = rng.integers(0, 5, 9), np.array([0, 3, 3, 9])
    options = {"mode": mode, "padding_idx": padding_idx, "include_last_offset": True}
    ours, theirs = (m.EmbeddingBag(5, 3, **options).double() for m in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    weights = rng.standard_normal(9) if mode == "sum" else None
    results = []
    for library, layer in ((tg, ours), (torch, theirs)):
        factor = None if weights is None else library.tensor(weights, requires_grad=True)
        y = layer(library.tensor(index), library.tensor(offsets), factor)
        (y**2).sum().backward()
        results.append([y, layer.weight.grad, *([] if factor is None else [factor.grad])])
    for a, b in zip(*results, strict=True):
        close(a, b)


@pytest.mark.parametrize("labels", [[0, 4, 5, 9, 10, 19, 7], [1, 3], 12, []])
def test_clusters_of_classes_are_pytorchs(labels):
    torch = torch_()
    ours, theirs = (
        m.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10], 2.0, head_bias=True).double()
        for m in (nn, torch.nn)
    )
    ours.load_state_dict(theirs.state_dict())
    labels = np.array(labels, np.int64)
    x = np.random.default_rng(0).standard_normal((*labels.shape, 8))
    results = []
    for library, layer in ((tg, ours), (torch, theirs)):
        leaf = library.tensor(x, requires_grad=True)
        output, loss = layer(leaf, library.tensor(labels))
        (output**2).sum().backward()
        results.append([output, loss, leaf.grad, layer.head.weight.grad])
    for a, b in zip(*results, strict=True):
        close(a, b)
    for a, b in zip(ours.tail.parameters(), theirs.tail.parameters(), strict=True):
        wanted = np.zeros(b.shape) if b.grad is None else b.grad.numpy()
        np.testing.assert_allclose(0 if a.grad is None else a.grad.numpy(), wanted, atol=1e-12)


def test_rows_are_shortened_and_gradients_divided():
    torch = torch_()
    options = {"max_norm": 1.0, "norm_type": 1.0, "scale_grad_by_freq": True, "padding_idx": 0}
    ours, theirs = (m.Embedding(4, 3, **options).double() for m in (nn, torch.nn))
    ours.load_state_dict(theirs.state_dict())
    index = np.array([[1, 1, 0], [3, 1, 0]])
    for library, layer in ((tg, ours), (torch, theirs)):
        (layer(library.tensor(index)) ** 2).sum().backward()
    close(ours.weight, theirs.weight)
    close(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nn.EmbeddingBag(3, 2, mode="median"), "`mode` is 'median'"),
        (lambda: nn.EmbeddingBag(3, 2)(tg.tensor([1, 2])), "`offsets` None"),
        (lambda: nn.EmbeddingBag(3, 2)(tg.tensor([1, 2]), tg.tensor([1])), "start at 0"),
        (lambda: nn.EmbeddingBag(3, 2)(tg.tensor([[1]]), tg.tensor([0])), "has 2 axes"),
        (lambda: nn.Embedding(3, 2, _weight=tg.ones(2, 2)), "`_weight` has shape"),
        (lambda: nn.Embedding.from_pretrained(tg.ones(3)), "a matrix is expected"),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 10, [5, 5]), "`cutoffs` is"),
        (lambda: tools.skip_init(nn.ReLU), "takes no `device`"),
        (lambda: tools.spectral_norm(nn.Linear(2, 2), n_power_iterations=0), "is 0, expected"),
        (lambda: tools.parametrizations.orthogonal(nn.Linear(2, 2), "bias"), "is no matrix"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()
