"""How einops handles tensors: it finds a class like this among those derived from its own.

Imported by `tinygrad_cnn` once einops is.
"""

from __future__ import annotations

from typing import Any

from einops._backends import AbstractBackend

from tinygrad_cnn import functions as f
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import FLOATING, Array


class TensorBackend(AbstractBackend):  # type: ignore[misc]  # einops says nothing of its types
    """Einops' operations on tensors, with gradients; what copies nothing is a view."""

    framework_name = "tinygrad_cnn"

    def is_appropriate_type(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor)

    def from_numpy(self, x: Array) -> Tensor:
        out = f.from_numpy(x)
        return out.requires_grad_() if out.dtype.kind in FLOATING else out

    def to_numpy(self, x: Tensor) -> Array:
        return x.detach().numpy()

    def arange(self, start: int, stop: int) -> Tensor:
        return f.arange(start, stop)

    def transpose(self, x: Tensor, axes: Any) -> Tensor:
        return f.permute(x, tuple(axes))

    def reduce(self, x: Tensor, operation: str, axes: Any) -> Tensor:
        reduction = {"min": f.amin, "max": f.amax}.get(operation) or getattr(f, operation)
        out: Tensor = reduction(x, tuple(axes))
        return out

    def stack_on_zeroth_dimension(self, tensors: list[Tensor]) -> Tensor:
        return f.stack(tensors)

    def add_axis(self, x: Tensor, new_position: int) -> Tensor:
        return f.unsqueeze(x, new_position)

    def add_axes(self, x: Tensor, n_axes: int, pos2len: dict[int, int]) -> Tensor:
        sides = [-1] * n_axes
        for position, length in pos2len.items():
            x = f.unsqueeze(x, position)
            sides[position] = length
        return f.expand(x, sides)

    def tile(self, x: Tensor, repeats: Any) -> Tensor:
        return f.tile(x, repeats)

    def concat(self, tensors: list[Tensor], axis: int) -> Tensor:
        return f.cat(tensors, axis)

    def is_float_type(self, x: Tensor) -> bool:
        return x.is_floating_point()

    def layers(self) -> Any:
        from tinygrad_cnn.utils import einops

        return einops

    def einsum(self, pattern: str, *x: Tensor) -> Tensor:
        return f.einsum(pattern, *x)
