"""ONNX: models to files that other programs run, and such files as modules."""

from tinygrad_cnn.onnx.errors import OnnxError
from tinygrad_cnn.onnx.export import export

__all__ = ["OnnxError", "export"]
