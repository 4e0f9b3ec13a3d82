"""Work on all parameters or gradients of a model at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.functions import cat, from_numpy, tensor
from tinygrad_cnn.tensor import Tensor

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "parameters_to_vector",
    "vector_to_parameters",
]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients together, in place, so that their joint norm is at most ``max_norm``.

    Returns
    -------
    Tensor
        The norm before scaling, 0-d.

    Raises
    ------
    RuntimeError
        The norm is not finite and ``error_if_nonfinite`` is set.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x / 2).sum().backward()
    >>> clip_grad_norm_([x], max_norm=1.0)
    tensor(5.)
    >>> x.grad
    tensor([0.6000, 0.8000])
    """
    grads = _gradients(parameters)
    if not grads:
        return tensor(0.0)
    p = float(norm_type)
    arrays = [g._array for g in grads]
    if p == math.inf:
        total = max(float(np.abs(a).max(initial=0.0)) for a in arrays)
    elif p == 2:
        # A dot product reads each gradient once and needs no memory.
        total = math.sqrt(sum(float(np.vdot(a, a)) for a in map(_flat, arrays)))
    else:
        total = sum(float((np.abs(a) ** p).sum()) for a in arrays) ** (1 / p)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"clip_grad_norm_: the joint norm of the gradients is {total} but a finite number is "
            f"expected; pass error_if_nonfinite=False to scale them all the same"
        )
    factor = max_norm / (total + 1e-6)
    if not factor >= 1.0:  # a nan, too, is passed on
        for g in grads:
            np.multiply(g._array, factor, out=g._written_by("clip_grad_norm_"))
    return from_numpy(np.asarray(total, dtype=arrays[0].dtype))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every entry of every gradient to [-clip_value, clip_value], in place.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([3.0, -4.0], requires_grad=True)
    >>> (x * x / 2).sum().backward()
    >>> clip_grad_value_([x], 3.5)
    >>> x.grad
    tensor([ 3.0000, -3.5000])
    """
    for g in _gradients(parameters):
        np.clip(g._array, -clip_value, clip_value, out=g._written_by("clip_grad_value_"))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Join all values into one vector, in order; differentiable.

    >>> from tinygrad_cnn import nn
    >>> parameters_to_vector(nn.Linear(3, 2).parameters()).shape
    (8,)
    """
    return cat([param.reshape(-1) for param in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the parts of a vector into the parameters, in order: undoes `parameters_to_vector`.

    Raises
    ------
    ValueError
        ``vec`` does not have as many values as the parameters together.
    TypeError
        ``vec`` is no Tensor.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer = nn.Linear(1, 1)
    >>> vector_to_parameters(tg.tensor([2.0, 3.0]), layer.parameters())
    >>> layer(tg.ones(1, 1)).item()
    5.0
    """
    if not isinstance(vec, Tensor):
        raise TypeError(
            f"vector_to_parameters: `vec` is a {type(vec).__name__} but a Tensor is expected"
        )
    params = list(parameters)
    wanted = sum(param.numel() for param in params)
    if vec.shape != (wanted,):
        raise ValueError(
            f"vector_to_parameters: `vec` has shape {vec.shape} but the parameters have {wanted} "
            f"values, so ({wanted},) is expected"
        )
    start = 0
    with no_grad():
        for param in params:
            end = start + param.numel()
            param.copy_(vec[start:end].reshape(param.shape))
            start = end


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    params = [parameters] if isinstance(parameters, Tensor) else parameters
    return [param.grad for param in params if param.grad is not None]


def _flat(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values in one axis, in memory order: a view unless there are gaps."""
    return array.ravel(order="K")
