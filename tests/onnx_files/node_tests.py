"""The ONNX backend's own tests of operators: ``python tests/onnx_files/node_tests.py``."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn.onnx import OnnxError
from tinygrad_cnn.onnx.load import OPERATORS, _module


def cases() -> list[Any]:
    """All that the package `onnx` has; it makes them when it is asked for them."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, in the making
        return load_model_tests(kind="node")


def verdict(case: Any) -> str:
    """``passed``, what is not read, or how the results differ."""
    kinds = {node.op_type for node in case.model.graph.node}
    if kinds - OPERATORS.keys():
        return "operator"
    try:
        net = _module(case.model, Path(case.name)).eval()
        for inputs, expected in case.data_sets:
            given = [x for x in inputs if x is not None]
            if not all(isinstance(x, np.ndarray) and x.dtype.kind in "biuf" for x in given):
                return "type"
            with tg.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = net(*[tg.from_numpy(np.array(x)) for x in given])
            found = found if isinstance(found, tuple) else (found,)
            for y, z in zip(found, expected, strict=True):
                wrong = _differs(y.numpy(), np.asarray(z), case)
                if wrong:
                    return wrong
    except OnnxError as error:
        return "type" if "which is not read" in str(error) else f"refused: {error}"
    return "passed"


def _differs(y: np.ndarray, z: np.ndarray, case: Any) -> str:
    if y.dtype != z.dtype or y.shape != z.shape:
        return f"{y.dtype} {y.shape}, expected {z.dtype} {z.shape}"
    if z.dtype.kind != "f":
        return "" if np.array_equal(y, z) else "other values"
    atol = 1e-3 if z.dtype == np.float16 else max(case.atol, 1e-6)
    near = np.allclose(y, z, rtol=case.rtol, atol=atol, equal_nan=True)
    return "" if near else f"differs by {np.abs(y - z).max()}"


def main() -> None:
    """Print how many pass, and what the others are."""
    import onnx

    counts: Counter[str] = Counter()
    for case in cases():
        found = verdict(case)
        counts[found] += 1
        if found not in ("passed", "operator", "type"):
            print(f"{case.name}: {found}")
    print(f"onnx {onnx.__version__}: {sum(counts.values())} tests")
    print(f"{counts['passed']} pass")
    print(f"{counts['operator']} have an operator that is not read, {counts['type']} a type")


if __name__ == "__main__":
    main()
