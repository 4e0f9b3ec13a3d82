"""Tensors to files and back: safetensors and PyTorch's files; a crash never leaves half of one."""

from tinygrad_cnn.serialization.files import write_atomically
from tinygrad_cnn.serialization.source import SerializationError
from tinygrad_cnn.serialization.state import load, load_state, save, save_state

__all__ = ["SerializationError", "load", "load_state", "save", "save_state", "write_atomically"]
