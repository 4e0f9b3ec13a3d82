"""Mixed precision: `autocast` to bfloat16 on a CPU, and `GradScaler`."""

from tinygrad_cnn.amp.autocast_mode import (
    autocast,
    custom_bwd,
    custom_fwd,
    is_autocast_available,
)
from tinygrad_cnn.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
