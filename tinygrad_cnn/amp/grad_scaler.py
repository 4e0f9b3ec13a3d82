"""PyTorch's mixed precision: losses are scaled up so that small gradients are not lost."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.kernels.tape import left_out
from tinygrad_cnn.tensor import Tensor

_KEEPS = "a GradScaler keeps a scale of its own, which changes"


class GradScaler:
    """Scales losses, and steps only where no gradient has overflowed.

    On the CPU it does what PyTorch's does. For another device, as none is here, it is disabled: it
    hands losses through and steps.

    Parameters
    ----------
    device
        "cpu", or another.
    init_scale
        what losses are multiplied by at first.
    growth_factor, growth_interval
        the scale is multiplied by the first after so many steps without inf or NaN.
    backoff_factor
        and by this one after a step that was left out.
    enabled
        with False it does nothing.

    Raises
    ------
    ValueError
        ``growth_factor`` is not above 1, or ``backoff_factor`` not below.
    RuntimeError
        methods are called in another order than ``scale``, ``unscale_``, ``step``, ``update``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> w = tg.ones(1, requires_grad=True)
    >>> optimizer, scaler = tg.optim.SGD([w], lr=0.5), GradScaler("cpu")
    >>> scaler.scale((w * w).sum()).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> w
    tensor([0.], requires_grad=True)
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._enabled = enabled and str(device).partition(":")[0] == "cpu"
        if enabled and not self._enabled:
            warnings.warn(
                f"GradScaler: `device` is {device!r}, but there is only 'cpu'; it is disabled",
                stacklevel=2,
            )
        if self._enabled and not growth_factor > 1:
            raise ArgumentError(f"GradScaler: `growth_factor` is {growth_factor}, expected > 1")
        if self._enabled and not backoff_factor < 1:
            raise ArgumentError(f"GradScaler: `backoff_factor` is {backoff_factor}, expected < 1")
        self._scale = float(init_scale)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        # By the optimiser's id, in this step: whether inf or NaN was found, and the last method.
        self._found: dict[int, bool] = {}
        self._stage: dict[int, str] = {}

    def scale(self, outputs: Any) -> Any:
        """A tensor, or several in an iterable, times the scale."""
        if not self._enabled:
            return outputs
        left_out(_KEEPS)
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, list | tuple) else scaled
        raise ArgumentError(
            f"scale: `outputs` is a {type(outputs).__name__}, expected a tensor or an iterable"
        )

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of the optimiser's parameters by the scale, in place."""
        if not self._enabled:
            return
        left_out(_KEEPS)
        stage = self._stage.get(id(optimizer))
        if stage is not None:
            raise RuntimeError(f"unscale_: {stage} was already called since the last update()")
        tensors = [p for group in optimizer.param_groups for p in group["params"]]
        grads = [p.grad for p in tensors if p.grad is not None]
        if not grads:
            raise RuntimeError("unscale_: no parameter of `optimizer` has a gradient")
        found = False
        with no_grad():
            for g in grads:
                found = found or not g.isfinite().all().item()
                g.mul_(1 / self._scale)
        self._found[id(optimizer)] = found
        self._stage[id(optimizer)] = "unscale_()"

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(*args, **kwargs)``, left out where a gradient is inf or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        left_out(_KEEPS)
        if "closure" in kwargs:
            raise RuntimeError("step: a `closure` cannot be used, as gradients are scaled")
        if self._stage.get(id(optimizer)) == "step()":
            raise RuntimeError("step: step() was already called since the last update()")
        if id(optimizer) not in self._stage:
            self.unscale_(optimizer)
        self._stage[id(optimizer)] = "step()"
        return None if self._found[id(optimizer)] else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapt the scale to what was found, or set it."""
        if not self._enabled:
            return
        left_out(_KEEPS)
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._found:
            raise RuntimeError("update: no gradients were unscaled before; call step() first")
        elif any(self._found.values()):
            self._scale *= self._backoff_factor
            self._growth_tracker = 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                grown = self._scale * self._growth_factor
                self._scale = grown if grown <= np.finfo(np.float32).max else self._scale
                self._growth_tracker = 0
        self._found.clear()
        self._stage.clear()

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """What losses are multiplied by."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """By how much the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set by how much the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """By how much the scale shrinks."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set by how much the scale shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many steps the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many steps the scale grows."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on, under PyTorch's keys; nothing if it is disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        if not self._enabled:
            return
        missing = self.state_dict().keys() - state_dict.keys()
        if missing:
            raise ArgumentError(f"load_state_dict: `state_dict` lacks {sorted(missing)}")
        self._scale = float(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]
