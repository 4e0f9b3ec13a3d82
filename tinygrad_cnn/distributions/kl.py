"""The Kullback-Leibler divergence of two distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tinygrad_cnn.distributions.continuous import Normal
from tinygrad_cnn.distributions.discrete import Bernoulli, Categorical
from tinygrad_cnn.distributions.distribution import Distribution, Independent
from tinygrad_cnn.functions import where
from tinygrad_cnn.tensor import Tensor

_Rule = TypeVar("_Rule", bound=Callable[..., Tensor])
_rules: dict[tuple[type, type], Callable[..., Tensor]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[_Rule], _Rule]:
    """Have the decorated function ``rule(p, q)`` compute the divergence for these classes."""

    def note(rule: _Rule) -> _Rule:
        _rules[type_p, type_q] = rule
        return rule

    return note


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """``sum(p * log(p / q))``, or the integral, for each distribution of the batch.

    Raises
    ------
    NotImplementedError
        There is no rule for these classes; `register_kl` adds one.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
    """
    for above_p in type(p).__mro__:
        for above_q in type(q).__mro__:
            if (above_p, above_q) in _rules:
                return _rules[above_p, above_q](p, q)
    raise NotImplementedError(
        f"kl_divergence: there is no rule for {type(p).__name__} and {type(q).__name__}"
    )


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    out: Tensor = 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())
    return out


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    terms = where(q.probs == 0, float("inf"), terms)
    out: Tensor = where(p.probs == 0, 0.0, terms).sum(-1)
    return out


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    yes = where(p.probs == 0, 0.0, p.probs * (p.probs / q.probs).log())
    no = where(p.probs == 1, 0.0, (1 - p.probs) * ((1 - p.probs) / (1 - q.probs)).log())
    out: Tensor = yes + no
    return out


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    return p.summed(kl_divergence(p.base_dist, q.base_dist))
