"""Tensors to files and back: safetensors and PyTorch's files; a crash never leaves half of one."""

from tinygrad_cnn.serialization.files import write_atomically
from tinygrad_cnn.serialization.source import SerializationError
from tinygrad_cnn.serialization.state import (
    dumps,
    load,
    load_metadata,
    load_state,
    loads,
    save,
    save_state,
)

__all__ = [
    "SerializationError",
    "dumps",
    "load",
    "load_metadata",
    "load_state",
    "loads",
    "save",
    "save_state",
    "write_atomically",
]
