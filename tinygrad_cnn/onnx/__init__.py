"""ONNX: models to files that other programs run, and such files as modules."""

from tinygrad_cnn.onnx.errors import OnnxError
from tinygrad_cnn.onnx.export import export
from tinygrad_cnn.onnx.load import load
from tinygrad_cnn.onnx.module import OnnxModule

__all__ = ["OnnxError", "OnnxModule", "export", "load"]
