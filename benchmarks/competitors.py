"""Who is compared: what each needs, and how it makes a training step, an inference, a convolution.

The functions here run in a worker process (`worker`), which imports one framework only.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import networks
import numpy as np

Step = Callable[[], Any]
CLASSES = 10


@dataclass(frozen=True)
class Competitor:
    """One row of a table: the module to import, what installs it, what it is in words."""

    name: str
    module: str
    install: str
    text: str
    on_disk: tuple[str, ...]  # the distributions that its user installs
    keeps_code: bool = False  # compiled code stays on disk for the next process
    trains: bool = True


# So small that no network learns its images by heart: where the loss is 0, gradients are subnormal
# numbers, which a processor computes up to a hundred times more slowly.
RATE = 1e-6

OURS, BASELINE = "tinygrad_cnn", "torch"
TORCH = {"install": "pip install torch==2.13.0", "on_disk": ("torch", "numpy")}
CLANG = "pip install tinygrad==0.11.0 (it compiles with clang)"
ROWS = (
    Competitor(OURS, OURS, "pip install '.[fast]'", OURS, ("tinygrad-cnn", "numba"), True),
    Competitor(
        "compiled",
        OURS,
        "pip install '.[fast]'",
        f"{OURS}, compiled",
        ("tinygrad-cnn", "numba"),
        True,
    ),
    Competitor("numpy", OURS, "pip install .", f"{OURS}, NumPy only", ("tinygrad-cnn",)),
    Competitor(BASELINE, "torch", text="PyTorch eager", **TORCH),
    Competitor("torch-channels-last", "torch", text="PyTorch channels_last", **TORCH),
    Competitor(
        "torch-compile", "torch", text="torch.compile, channels_last", keeps_code=True, **TORCH
    ),
    Competitor(
        "onnxruntime",
        "onnxruntime",
        "pip install onnxruntime onnx torch==2.13.0 (PyTorch writes the file)",
        "ONNX Runtime",
        ("onnxruntime", "numpy"),
        trains=False,
    ),
    Competitor("jax", "jax", "pip install jax", "JAX jit", ("jax",)),
    Competitor("tinygrad", "tinygrad", CLANG, "tinygrad TinyJit", ("tinygrad", "numpy"), True),
)
COMPETITORS = {row.name: row for row in ROWS}


class Contender:
    """A competitor in this process: imports its framework and builds what is timed."""

    def __init__(self, name: str, threads: int | None = None) -> None:
        self.name, self.threads = name, threads
        self.competitor = COMPETITORS[name]
        if name == "tinygrad":
            os.environ.setdefault("CPU", "1")  # not the first device that it finds
        self.module: ModuleType = importlib.import_module(self.competitor.module)
        if threads is not None and self.competitor.module in ("tinygrad_cnn", "torch"):
            self.module.set_num_threads(threads)
        if name == "numpy":
            self.module.set_kernels("reference")

    @property
    def version(self) -> str:
        """The version of the framework; ours tells that of Numba, which may be missing."""
        version = str(getattr(self.module, "__version__", "") or _version(self.competitor.module))
        if self.name == OURS:
            return f"{version}, Numba {_version('numba') or 'not installed'}"
        return version

    def network(self, name: str, batch: int, what: str, state: dict[str, Any]) -> tuple[Step, Any]:
        """Return one step of ``what`` ("step" or "inference"), and the scores of 4 images.

        The weights are those of ``state``; images and labels are always the same. The step returns
        the loss, or the scores.
        """
        rng = np.random.default_rng(0)
        images = rng.standard_normal((max(batch, 4), *networks.IMAGE), dtype=np.float32)
        labels = rng.integers(0, CLASSES, batch)
        if self.competitor.module in ("tinygrad_cnn", "torch"):
            return self._eager(name, images, labels, what, state)
        network = importlib.import_module(f"on_{self.name}").Network(name, state)
        scores = network.inference(images[:4])()
        images = images[:batch]
        if what == "inference":
            return network.inference(images), scores
        return network.training(images, labels), scores

    def _eager(
        self, name: str, images: Any, labels: Any, what: str, state: dict[str, Any]
    ) -> tuple[Step, Any]:
        framework: Any = self.module
        model = networks.load(name, framework)
        model.load_state_dict({k: framework.from_numpy(v) for k, v in state.items()})
        model.eval()
        with framework.no_grad():
            scores = model(framework.from_numpy(images[:4])).numpy().copy()
        x, y = framework.from_numpy(images[: len(labels)]), framework.from_numpy(labels)
        if self.name in ("torch-channels-last", "torch-compile") and _has_images(state):
            model = model.to(memory_format=framework.channels_last)
            x = x.contiguous(memory_format=framework.channels_last)
        model.train(what == "step")
        run = framework.compile(model) if self.name in ("torch-compile", "compiled") else model
        if what == "inference":

            def infer() -> Any:
                with framework.inference_mode():
                    return run(x).numpy()

            return infer, scores
        optimizer = framework.optim.SGD(
            model.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4
        )

        def train(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = framework.nn.functional.cross_entropy(run(x), y)
            loss.backward()
            optimizer.step()
            return loss

        whole = framework.compile(train) if self.name == "compiled" else train
        return lambda: float(whole(x, y).item()), scores

    def convolution(self, shape: dict[str, Any], what: str) -> Step:
        """Return one convolution: "forward", "dx" or "dw" of ``shape``.

        The arrays are a user's, (n, c, h, w) in C order; with ``channels_last`` in the shape ours
        are (n, h, w, c) in memory, as a layer before would have left them.
        """
        framework: Any = self.module
        rng = np.random.default_rng(0)
        n, c, h, w, f, k = (shape[key] for key in "nchwfk")

        def draw(*size: int) -> Any:
            array = rng.standard_normal(size, dtype=np.float32)
            if shape.get("channels_last") and self.competitor.module == "tinygrad_cnn":
                array = np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
            return framework.from_numpy(array)

        x = draw(n, c, h, w)
        weight = framework.from_numpy(
            rng.standard_normal((f, c // shape["groups"], k, k), dtype=np.float32)
        )
        options = {key: shape[key] for key in ("stride", "padding", "groups")}
        conv = framework.nn.functional.conv2d
        if what == "forward":

            def forward() -> Any:
                with framework.no_grad():
                    return conv(x, weight, **options)

            return framework.compile(forward) if self.name == "compiled" else forward
        g = draw(*conv(x, weight, **options).shape)
        if self.name == "compiled":
            return self._adjoint(x, weight, g, what, **options)
        target = x if what == "dx" else weight
        target.requires_grad_()
        y = conv(x, weight, **options)
        return lambda: framework.autograd.grad(y, target, g, retain_graph=True)

    def _adjoint(
        self, x: Any, weight: Any, g: Any, what: str, stride: int, padding: int, groups: int
    ) -> Step:
        """What our backward pass does to a convolution, compiled; no graph is walked."""
        from tinygrad_cnn import kernels
        from tinygrad_cnn.ops import conv

        spec = kernels.conv_spec((stride,) * 2, ((padding,) * 2,) * 2, (1, 1), groups)
        if what == "dx":
            step = functools.partial(conv.conv2d_input, g, weight, size=x.shape[2:], spec=spec)
        else:
            size = weight.shape[2:]
            step = functools.partial(conv.conv2d_weight, g, x, kernel_size=size, spec=spec)
        return self.module.compile(step)


def _has_images(state: dict[str, Any]) -> bool:
    """Whether a network has convolutions: without, another order of pixels would only cost."""
    return any(array.ndim == 4 for array in state.values())


def _version(module: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(module)
    except PackageNotFoundError:
        return ""
