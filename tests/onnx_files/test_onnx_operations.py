"""Each operation that has a form in ONNX gives in onnxruntime what it gives here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import REGISTRY
from tinygrad_cnn.testing.draws import GeneratorDraw

onnxruntime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime onnx"
)

from onnx_running import Calls, agrees, session  # noqa: E402  (after it is known to be there)

FORMS = sorted(name for name, op in REGISTRY.items() if op.onnx is not None)
SEEDS = range(4)
REFUSED = {"softmax_cross_entropy": {"smoothing": 0.0}, "attention": {"dropout_p": 0.0}}
FLOAT32 = {"cast": {"dtype": np.dtype(np.float32)}}


def _sample(name: str, seed: int, dtype: Any) -> tuple[Calls, list[tg.Tensor]]:
    """The operation as a module of its arrays, and these, floating ones in ``dtype``."""
    op = REGISTRY[name]
    sample = op.samples(GeneratorDraw(seed))
    params = {**sample.params, **REFUSED.get(name, {}), **FLOAT32.get(name, {})}
    args = [a.astype(dtype) if getattr(a, "dtype", 0) == np.float64 else a for a in sample.args]
    at = [i for i, a in enumerate(args) if isinstance(a, np.ndarray)]

    def call(*xs: tg.Tensor) -> tg.Tensor:
        given: list[Any] = list(args)
        for i, x in zip(at, xs, strict=True):
            given[i] = x
        return op(*given, **params)

    return Calls(call), [tg.tensor(args[i]) for i in at]


@pytest.mark.parametrize("name", FORMS)
def test_gives_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "op.onnx"
    for seed in SEEDS:
        model, inputs = _sample(name, seed, np.float32)
        if any(x.dtype.kind == "c" for x in inputs):
            continue
        tg.onnx.export(model, tuple(inputs), path, dynamic_batch=False)
        agrees(session(path), model, *inputs)


@pytest.mark.parametrize("name", ["gelu", "add", "matmul", "getitem", "layer_norm", "reduce"])
def test_newest_operators_too(name: str, tmp_path: Path) -> None:
    """Of a later version, in which Gelu is one operator."""
    for each in FORMS if name == "reduce" else [name]:
        if name == "reduce" and not each.startswith(("sum", "mean", "am", "prod", "var", "norm2")):
            continue
        model, inputs = _sample(each, 1, np.float32)
        tg.onnx.export(
            model, tuple(inputs), tmp_path / "op.onnx", dynamic_batch=False, opset_version=21
        )
        agrees(session(tmp_path / "op.onnx"), model, *inputs)


def test_most_operations_have_a_form() -> None:
    assert len(FORMS) >= 100
    for name in ("svd", "lgamma", "dft", "conv2d_weight"):  # which ONNX has nothing for
        assert name not in FORMS
