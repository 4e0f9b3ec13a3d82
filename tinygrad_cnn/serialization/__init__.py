"""Tensors to files and back: safetensors, written so that a crash never leaves half a file."""

from tinygrad_cnn.serialization.files import write_atomically
from tinygrad_cnn.serialization.state import (
    SerializationError,
    load,
    load_state,
    save,
    save_state,
)

__all__ = ["SerializationError", "load", "load_state", "save", "save_state", "write_atomically"]
