"""Probability distributions with PyTorch's names: samples, log-probabilities, divergences."""

from tinygrad_cnn.distributions import constraints as constraints
from tinygrad_cnn.distributions.continuous import Exponential, Laplace, Normal, Uniform
from tinygrad_cnn.distributions.discrete import Bernoulli, Categorical
from tinygrad_cnn.distributions.distribution import Distribution, Independent
from tinygrad_cnn.distributions.kl import kl_divergence, register_kl

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "Exponential",
    "Independent",
    "Laplace",
    "Normal",
    "Uniform",
    "constraints",
    "kl_divergence",
    "register_kl",
]
