"""Ready-made parametrizations: weight and spectral normalisation, orthogonal matrices."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.errors import ArgumentError, PositionError, ShapeError
from tinygrad_cnn.functions import from_numpy
from tinygrad_cnn.nn import functional as F
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.utils.parametrize import register_parametrization
from tinygrad_cnn.ops.linear_systems import solve
from tinygrad_cnn.ops.random import default_generator
from tinygrad_cnn.tensor import Tensor

__all__ = [
    "orthogonal",
    "spectral_norm",
    "weight_norm",
]


def _norm_except(v: Tensor, dim: int | None) -> Tensor:
    """The norm over all axes but ``dim``, with the axes kept; over all for None."""
    if dim is None or dim == -1:
        whole: Tensor = v.norm()
        return whole
    axes = tuple(i for i in range(v.ndim) if i != dim % v.ndim)
    kept: Tensor = v.norm(dim=axes, keepdim=True) if axes else v.abs()
    return kept


class _WeightNorm(Module):
    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        out: Tensor = weight_v * (weight_g / _norm_except(weight_v, self.dim))
        return out

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return _norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train a tensor's norms and directions apart (Salimans and Kingma, 2016).

    ``original0`` are the norms, one for each index along ``dim`` (None: one for all), ``original1``
    the directions. States that `nn.utils.weight_norm` saved can be loaded.

    Raises
    ------
    ValueError
        There is no such tensor.
    IndexError
        It has no axis ``dim``.

    >>> from tinygrad_cnn import nn
    >>> layer = weight_norm(nn.Linear(20, 40))
    >>> layer.parametrizations.weight.original0.shape
    Size([40, 1])
    """
    weight = getattr(module, name, None)
    if dim is not None and isinstance(weight, Tensor):
        _axis_of("weight_norm", weight, dim)
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    inner = f"parametrizations.{name}.original"

    def older(state: dict[str, object], prefix: str, *rest: object) -> None:
        """Take what `nn.utils.weight_norm` saved."""
        for old, new in ((f"{name}_g", f"{inner}0"), (f"{name}_v", f"{inner}1")):
            if prefix + old in state:
                state[prefix + new] = state.pop(prefix + old)

    module._register_load_state_dict_pre_hook(older)
    return module


def _axis_of(by: str, weight: Tensor, dim: int) -> None:
    if not -weight.ndim <= dim < max(weight.ndim, 1):
        raise PositionError(f"{by}: `dim` is {dim} but the tensor has {weight.ndim} axes")


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim % weight.ndim, eps
        self.v_first = False  # which vector an iteration moves first
        if weight.ndim > 1:
            matrix = self._matrix(weight)
            draw = default_generator.numpy
            for vector, n in zip(("_u", "_v"), matrix.shape, strict=True):
                values = draw.standard_normal(n).astype(weight.dtype)
                self.register_buffer(vector, from_numpy(values / max(np.linalg.norm(values), eps)))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix whose rows belong to ``dim``."""
        rest = [i for i in range(weight.ndim) if i != self.dim]
        matrix: Tensor = weight.permute(self.dim, *rest).flatten(1)
        return matrix

    def _iterate(self, matrix: Tensor, times: int) -> None:
        """Move the vectors towards the first singular ones, in place (power iteration)."""
        with no_grad():
            moves = [(self._u, matrix, self._v), (self._v, matrix.T, self._u)]
            for _ in range(times):
                for vector, by, other in moves[::-1] if self.v_first else moves:
                    vector.copy_(F.normalize(by @ other, dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # the next call changes them in place
        out: Tensor = weight / (u @ (matrix @ v))
        return out

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a tensor by its largest singular value (Miyato et al., 2018).

    That is estimated by ``n_power_iterations`` steps of power iteration in each training step, of
    the matrix whose rows belong to ``dim``: 0, or 1 for transposed convolutions.

    Raises
    ------
    ValueError
        ``n_power_iterations`` is below 1, or there is no such tensor.
    IndexError
        It has no axis ``dim``.

    >>> import numpy as np
    >>> from tinygrad_cnn import nn
    >>> layer = spectral_norm(nn.Linear(20, 40))
    >>> 0.8 < float(np.linalg.norm(layer.weight.detach().numpy(), 2)) < 1.2
    True
    """
    if n_power_iterations < 1:
        raise ArgumentError(
            f"spectral_norm: `n_power_iterations` is {n_power_iterations}, expected at least 1"
        )
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ArgumentError(f"spectral_norm: {type(module).__name__} has no tensor `{name}`")
    if dim is None:
        dim = 1 if getattr(module, "transposed", False) else 0
    _axis_of("spectral_norm", weight, dim)
    norm = _SpectralNorm(weight.detach(), n_power_iterations, dim, eps)
    return register_parametrization(module, name, norm)


class _Orthogonal(Module):
    """The Cayley map of an antisymmetric matrix, times a fixed orthogonal one."""

    base: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        n, k = weight.shape[-2:]
        self.wide = n < k
        self.register_buffer("base", _nearest(weight.mT if self.wide else weight))

    def forward(self, x: Tensor) -> Tensor:
        tall = x.mT if self.wide else x
        n, k = tall.shape[-2:]
        lower = tall.tril(-1)
        square = lower if n == k else F.pad(lower, (0, n - k))
        skew = square - square.mT
        eye = from_numpy(np.eye(n, dtype=x.dtype))
        q = solve(eye + skew / 2, eye - skew / 2) @ self.base
        out: Tensor = q.mT if self.wide else q
        return out

    def right_inverse(self, q: Tensor) -> Tensor:
        self.base.copy_(_nearest(q.mT if self.wide else q))
        nothing: Tensor = q * 0
        return nothing


def _nearest(weight: Tensor) -> Tensor:
    """The orthogonal factor of ``weight`` (..., n, k), n at least k."""
    q, r = np.linalg.qr(weight.detach().numpy())
    signs = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return from_numpy((q * signs[..., None, :]).astype(weight.dtype))


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keep a matrix, or a batch of them, orthogonal: rows or columns, whichever are fewer.

    By the Cayley map of an antisymmetric matrix that is trained, times the matrix it starts from.
    ``orthogonal_map`` is "cayley" or None; PyTorch's other maps start from the same matrix and
    train along other curves.

    Raises
    ------
    ValueError
        The tensor is no matrix, or the map is another.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> w = orthogonal(nn.Linear(4, 3)).weight
    >>> bool(tg.allclose(w @ w.T, tg.eye(3), atol=1e-5))
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        raise ShapeError(f"orthogonal: `{name}` of {type(module).__name__} is no matrix")
    if orthogonal_map not in (None, "cayley") or not use_trivialization:
        raise ArgumentError(
            f"orthogonal: `orthogonal_map` is {orthogonal_map!r} but None or 'cayley', with "
            f"trivialization, is expected"
        )
    return register_parametrization(module, name, _Orthogonal(weight), unsafe=True)
