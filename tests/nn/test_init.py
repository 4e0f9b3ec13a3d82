"""Initialisers: distributions, structure, seeds, errors."""

import math

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.nn import init


def values(t):
    return t.detach().numpy()


RANDOM = {
    "uniform_": lambda t, g: init.uniform_(t, -1.0, 2.0, generator=g),
    "normal_": lambda t, g: init.normal_(t, 1.0, 2.0, generator=g),
    "trunc_normal_": lambda t, g: init.trunc_normal_(t, generator=g),
    "xavier_uniform_": lambda t, g: init.xavier_uniform_(t, generator=g),
    "xavier_normal_": lambda t, g: init.xavier_normal_(t, generator=g),
    "kaiming_uniform_": lambda t, g: init.kaiming_uniform_(t, generator=g),
    "kaiming_normal_": lambda t, g: init.kaiming_normal_(t, generator=g),
    "orthogonal_": lambda t, g: init.orthogonal_(t, generator=g),
    "sparse_": lambda t, g: init.sparse_(t, 0.3, generator=g),
}
each_random = pytest.mark.parametrize("fill", RANDOM.values(), ids=RANDOM.keys())


@each_random
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_seeds_decide_and_nothing_is_recorded(fill, dtype):
    def made(generator):
        t = tg.zeros(6, 5, dtype=dtype, requires_grad=True)
        version = t._version
        assert fill(t, generator) is t
        assert t._version > version
        assert t.is_leaf
        assert t.dtype == dtype
        return values(t)

    a, b = made(tg.Generator(5)), made(tg.Generator(5))
    c = made(tg.Generator(6))
    assert (a == b).all()
    assert (a != c).any()
    tg.manual_seed(5)
    assert (made(None) == a).all()  # the default generator, with the same seed
    assert (made(None) != a).any()


@each_random
def test_memory_of_any_layout(fill):
    plain = tg.zeros(4, 4)
    turned = tg.from_numpy(np.zeros((4, 4), np.float32).T)
    fill(plain, tg.Generator(1))
    fill(turned, tg.Generator(1))
    assert (plain == turned).all()


N = (400, 500)  # enough for the moments below


@pytest.mark.parametrize(
    ("fill", "mean", "std", "bound"),
    [
        (lambda t: init.uniform_(t, -1.0, 2.0), 0.5, 3 / math.sqrt(12), 2.0),
        (lambda t: init.normal_(t, 1.0, 0.5), 1.0, 0.5, None),
        (lambda t: init.xavier_uniform_(t, 2.0), 0, 2 * math.sqrt(2 / 900), math.sqrt(24 / 900)),
        (lambda t: init.xavier_normal_(t, 2.0), 0, 2 * math.sqrt(2 / 900), None),
        (
            lambda t: init.kaiming_uniform_(t, nonlinearity="relu"),
            0,
            math.sqrt(2 / 500),
            math.sqrt(6 / 500),
        ),
        (lambda t: init.kaiming_normal_(t, a=1.0), 0, math.sqrt(1 / 500), None),
        (
            lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="linear"),
            0,
            math.sqrt(1 / 400),
            None,
        ),
        # A normal distribution cut at ±1 standard deviation.
        (lambda t: init.trunc_normal_(t, 0.0, 1.0, -1.0, 1.0), 0, 0.53957, 1.0),
    ],
)
def test_distributions(fill, mean, std, bound):
    tg.manual_seed(0)
    x = values(fill(tg.empty(*N)))
    assert x.mean() == pytest.approx(mean, abs=4 * std / math.sqrt(x.size))
    assert x.std() == pytest.approx(std, rel=0.01)
    if bound is not None:
        assert abs(x).max() <= bound * (1 + 1e-6)
        assert abs(x).max() > 0.99 * bound


def test_fans_of_convolutions():
    tg.manual_seed(0)
    weight = values(init.kaiming_normal_(tg.empty(300, 20, 3, 3), nonlinearity="relu"))
    assert weight.std() == pytest.approx(math.sqrt(2 / 180), rel=0.02)


def test_constants():
    assert (init.constant_(tg.empty(2, 2), 3) == 3).all()
    assert (init.ones_(tg.empty(2)) == 1).all()
    assert (init.zeros_(tg.ones(2)) == 0).all()
    assert (values(init.eye_(tg.empty(3, 2))) == np.eye(3, 2)).all()
    assert init.ones_(tg.empty(0)).shape == (0,)
    assert init.constant_(tg.empty(()), 2.5).item() == 2.5


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3)])
def test_orthogonal(shape):
    q = values(init.orthogonal_(tg.empty(*shape, dtype=tg.float64), gain=2.0))
    q = q.reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_takes_both_signs():
    signs = [init.orthogonal_(tg.empty(1, 1), generator=tg.Generator(i)).item() for i in range(20)]
    assert set(signs) == {1.0, -1.0}


def test_dirac_passes_channels_through():
    for groups in (1, 2):
        weight = init.dirac_(tg.empty(4, 4 // groups, 3, 3), groups)
        x = tg.randn(2, 4, 5, 5)
        assert tg.allclose(tg.conv2d(x, weight, padding=1, groups=groups), x)


def test_sparse_counts_zeros():
    x = values(init.sparse_(tg.empty(10, 50), 0.25, std=2.0))
    assert ((x == 0).sum(0) == 3).all()
    assert x[x != 0].std() == pytest.approx(2.0, rel=0.15)


def test_structured_ones_are_pytorchs():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    for shape, groups in (((4, 2, 3), 1), ((4, 4, 3, 2), 2), ((6, 2, 3, 3, 3), 3)):
        ours = values(init.dirac_(tg.empty(*shape), groups))
        assert (ours == torch.nn.init.dirac_(torch.empty(*shape), groups).numpy()).all()
    for name, param in [
        ("linear", None),
        ("conv_transpose3d", None),
        ("sigmoid", None),
        ("tanh", None),
        ("relu", None),
        ("leaky_relu", None),
        ("leaky_relu", 0.3),
        ("selu", None),
    ]:
        assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: init.kaiming_normal_(tg.empty(3)), r"kaiming_normal_: `tensor` has shape \(3,\)"),
        (lambda: init.xavier_uniform_(tg.empty(3)), "at least 2 axes"),
        (lambda: init.kaiming_uniform_(tg.empty(3, 3), mode="in"), "`mode` is 'in'"),
        (lambda: init.kaiming_uniform_(tg.empty(3, 3), nonlinearity="x"), "`nonlinearity` is 'x'"),
        (lambda: init.calculate_gain("leaky_relu", "a"), "`param` is 'a'"),
        (lambda: init.eye_(tg.empty(3)), r"eye_: .* 2 axes are expected"),
        (lambda: init.dirac_(tg.empty(3, 3)), "3 or 4 or 5 axes"),
        (lambda: init.dirac_(tg.empty(3, 3, 3), 2), "`groups` is 2 but a divisor of the 3"),
        (lambda: init.sparse_(tg.empty(3, 3, 3), 0.1), "sparse_"),
        (lambda: init.orthogonal_(tg.empty(3)), "orthogonal_"),
        (lambda: init.trunc_normal_(tg.empty(3), a=2, b=1), "`a` is 2 and `b` is 1"),
        (lambda: init.trunc_normal_(tg.empty(3), std=0), "`std` is 0"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize("dtype", [tg.complex64, tg.complex128])
def test_both_parts_of_complex_numbers_are_drawn(dtype):
    x = tg.empty(20_000, dtype=dtype)
    for draw in (x.normal_, lambda mean, std: init.normal_(x, mean, std)):
        values = draw(2.0, 3.0).numpy()
        assert values.dtype == dtype
        np.testing.assert_allclose(values.mean(), 2 + 2j, atol=0.1)
        np.testing.assert_allclose([values.real.std(), values.imag.std()], 3 / 2**0.5, rtol=0.03)
    for draw in (x.uniform_, lambda low, high: init.uniform_(x, low, high)):
        values = draw(1.0, 3.0).numpy()
        for part in (values.real, values.imag):
            assert part.min() >= 1
            assert part.max() < 3
            np.testing.assert_allclose(part.mean(), 2, atol=0.02)
