"""Distributions: densities, entropies and moments by sums; samples, gradients, errors."""

import math

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import distributions as d

try:
    import torch
except ImportError:
    torch = None

RNG = np.random.default_rng(3)
ANY, POSITIVE = RNG.standard_normal((3, 4)), RNG.random((3, 4)) + 0.5
INNER = POSITIVE * 0.6
CONTINUOUS = {
    "normal": ("Normal", (ANY, POSITIVE)),
    "laplace": ("Laplace", (ANY, POSITIVE)),
    "uniform": ("Uniform", (ANY - 2 * POSITIVE, ANY + POSITIVE)),
    "exponential": ("Exponential", (POSITIVE,)),
}
DISCRETE = {
    "categorical": ("Categorical", {"probs": POSITIVE}),
    "categorical-logits": ("Categorical", {"logits": ANY}),
    "bernoulli": ("Bernoulli", {"probs": INNER}),
    "bernoulli-logits": ("Bernoulli", {"logits": ANY}),
}


def made(package, module, name, arguments, **options):
    kind = getattr(module, name)
    if isinstance(arguments, dict):
        return kind(**{key: package.tensor(a) for key, a in arguments.items()}, **options)
    return kind(*(package.tensor(a) for a in arguments), **options)


@pytest.mark.parametrize(("name", "arguments"), CONTINUOUS.values(), ids=CONTINUOUS)
def test_densities_have_the_mass_the_moments_and_the_entropy_that_are_said(name, arguments):
    p = made(tg, d, name, arguments, validate_args=False)
    low, step = -60.0, 1e-3
    x = np.arange(low, 60.0, step) + step / 2
    log_density = p.log_prob(tg.tensor(x[:, None, None])).numpy()
    density = np.exp(log_density) * step
    assert np.allclose(density.sum(0), 1, atol=1e-3)
    mean = (density * x[:, None, None]).sum(0)
    assert np.allclose(mean, p.mean.numpy(), atol=5e-3)
    variance = (density * (x[:, None, None] - mean) ** 2).sum(0)
    assert np.allclose(variance, p.variance.numpy(), rtol=5e-3)
    inside = np.where(density > 0, log_density, 0.0)
    assert np.allclose(-(density * inside).sum(0), p.entropy().numpy(), atol=1e-2)
    below = p.cdf(tg.tensor(0.3))
    assert np.allclose(density[x < 0.3].sum(0), below.numpy(), atol=2e-3)
    inner = p.cdf(p.mean)
    assert np.allclose(p.icdf(inner).numpy(), p.mean.numpy())
    outside = d.Uniform(0.0, 1.0).support.check(tg.tensor([-0.1, 0.5, 1.1, float("nan")]))
    assert outside.tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("name", "arguments"), [*CONTINUOUS.values(), *DISCRETE.values()], ids=[*CONTINUOUS, *DISCRETE]
)
def test_samples_have_the_shape_and_the_mean(name, arguments):
    tg.manual_seed(1)
    p = made(tg, d, name, arguments)
    drawn = p.sample((20000,))
    assert drawn.shape == (20000, *p.batch_shape)
    assert not drawn.requires_grad
    probs = p.probs.numpy() if name == "Categorical" else None
    mean = p.mean.numpy() if probs is None else probs @ np.arange(4)
    assert np.abs(drawn.numpy().mean(0) - mean).max() < 0.06


@pytest.mark.parametrize(("name", "arguments"), DISCRETE.values(), ids=DISCRETE)
def test_probabilities_sum_to_one_and_give_the_entropy(name, arguments):
    p = made(tg, d, name, arguments)
    values = range(4) if name == "Categorical" else (0.0, 1.0)
    logs = np.stack([p.log_prob(tg.full(p.batch_shape, v)).numpy() for v in values])
    assert np.allclose(np.exp(logs).sum(0), 1)
    assert np.allclose(-(np.exp(logs) * logs).sum(0), p.entropy().numpy())


def test_gradients_go_through_differentiable_samples():
    for name, arguments in CONTINUOUS.values():
        leaves = [tg.tensor(a, requires_grad=True) for a in arguments]

        def draw(*leaves, name=name):
            tg.manual_seed(5)
            return getattr(d, name)(*leaves).rsample((2,))

        assert tg.autograd.gradcheck(draw, leaves)
    with pytest.raises(NotImplementedError, match="use `sample`"):
        d.Bernoulli(0.5).rsample()


def test_the_score_of_a_policy_has_the_gradient_of_the_logarithm():
    logits = tg.tensor(ANY, requires_grad=True)
    actions = tg.tensor([1, 0, 3])
    d.Categorical(logits=logits).log_prob(actions).sum().backward()
    expected = np.eye(4)[[1, 0, 3]] - np.exp(ANY) / np.exp(ANY).sum(1, keepdims=True)
    assert np.allclose(logits.grad.numpy(), expected)


def test_divergences():
    p, q = d.Categorical(tg.tensor(POSITIVE)), d.Categorical(logits=tg.tensor(ANY))
    by_hand = (p.probs * (p.probs / q.probs).log()).sum(-1)
    assert np.allclose(d.kl_divergence(p, q).numpy(), by_hand.numpy())
    one = d.Independent(d.Normal(tg.tensor(ANY), 2.0), 1)
    other = d.Independent(d.Normal(0.0, tg.tensor(POSITIVE)), 1)
    tg.manual_seed(0)
    x = one.sample((40000,))
    drawn = (one.log_prob(x) - other.log_prob(x)).mean(0)
    assert np.allclose(d.kl_divergence(one, other).numpy(), drawn.numpy(), rtol=0.05)
    half = d.Bernoulli(tg.tensor([0.0, 0.5, 1.0]))
    expected = [math.log(2), 0.0, math.log(2)]
    assert np.allclose(d.kl_divergence(half, d.Bernoulli(0.5)).numpy(), expected)
    with pytest.raises(NotImplementedError, match="no rule for Uniform and Normal"):
        d.kl_divergence(d.Uniform(0, 1), d.Normal(0, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: d.Normal(0.0, -1.0), r"Normal: `scale` is tensor\(-1.\), expected positive"),
        (lambda: d.Uniform(1.0, 0.0), "Uniform: `low` is"),
        (lambda: d.Exponential(0.0), "Exponential: `rate` is"),
        (lambda: d.Categorical(), "Categorical: `probs` is None and `logits` None"),
        (lambda: d.Categorical(tg.tensor([-1.0, 2.0])), "Categorical: `probs` is"),
        (lambda: d.Categorical(tg.tensor(1.0)), "no dimensions"),
        (lambda: d.Bernoulli(1.5), "Bernoulli: `probs` is"),
        (
            lambda: d.Categorical(tg.ones(2)).log_prob(tg.tensor(2)),
            "expected whole numbers from 0 to 1",
        ),
        (lambda: d.Independent(d.Normal(0.0, 1.0), 1), "`reinterpreted_batch_ndims` is 1"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed: pip install torch==2.13.0")
@pytest.mark.parametrize(
    ("name", "arguments"), [*CONTINUOUS.values(), *DISCRETE.values()], ids=[*CONTINUOUS, *DISCRETE]
)
def test_numbers_are_those_of_pytorch(name, arguments):
    packages = ((tg, d), (torch, torch.distributions))
    ours, theirs = (made(*p, name, arguments, validate_args=False) for p in packages)
    value = RNG.integers(0, 4 if name == "Categorical" else 2, (5, *ours.batch_shape)) * 1.0
    for method, *args in (("log_prob", value), ("entropy",)):
        mine = getattr(ours, method)(*map(tg.tensor, args)).numpy()
        assert np.allclose(mine, getattr(theirs, method)(*map(torch.tensor, args)).numpy())
    assert ours.batch_shape == tuple(theirs.batch_shape)
