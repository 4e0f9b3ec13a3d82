"""What the export and the import of ONNX files raise."""

from __future__ import annotations

from typing import Any

from tinygrad_cnn.errors import ArgumentError

INSTALL = "pip install 'tinygrad-cnn[onnx]'"


class OnnxError(ArgumentError):
    """A model that cannot be written as ONNX, or a file that cannot be read as a model."""


def onnx_package(by: str) -> Any:
    """The package `onnx`.

    Raises
    ------
    ModuleNotFoundError
        It is not installed; the text says how it is.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ModuleNotFoundError(
            f"{by}: the package onnx is not installed: {INSTALL}", name="onnx"
        ) from None
    return onnx
