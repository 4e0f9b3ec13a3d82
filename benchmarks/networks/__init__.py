"""The networks that are measured: those of ``models/`` and two that are here for measurements only.

Each is one file written as for PyTorch. `load` builds it on tinygrad_cnn or on PyTorch: the same
text, with its import changed.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
MODELS = HERE.parents[1] / "models"
NETWORKS = {  # by name: the file, and the class in it
    "lenet5": (MODELS / "lenet5.py", "LeNet5"),
    "minivgg": (MODELS / "minivgg.py", "MiniVGG"),
    "resnet20": (MODELS / "resnet20.py", "ResNet20"),
    "depthwise": (HERE / "depthwise.py", "DepthwiseNet"),
    "mlp": (HERE / "mlp.py", "MLP"),
}
IMAGE = (3, 32, 32)  # channels, rows, columns of what every network takes


def source(name: str, framework: str) -> str:
    """Return the text of a network with its imports from ``framework``."""
    text = NETWORKS[name][0].read_text(encoding="utf-8")
    return text.replace("from tinygrad_cnn import", f"from {framework} import")


def load(name: str, framework: ModuleType) -> Any:
    """Return a new network on ``framework``, which is the module tinygrad_cnn or torch."""
    namespace: dict[str, Any] = {"__name__": f"{name}_on_{framework.__name__}"}
    exec(compile(source(name, framework.__name__), f"{name}.py", "exec"), namespace)
    return namespace[NETWORKS[name][1]]()
