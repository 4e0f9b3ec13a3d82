"""States to files and back: `save` and `load`, in the format of safetensors or of PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Literal, TypeAlias

from tinygrad_cnn.autograd.devices import check_device
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.serialization.files import Buffers, write_atomically
from tinygrad_cnn.serialization.nested import KEY, nested_buffers, read_nested
from tinygrad_cnn.serialization.safetensors_format import read_arrays
from tinygrad_cnn.serialization.source import FileLike, SerializationError, Source
from tinygrad_cnn.serialization.torch_reader import is_torch, read_torch
from tinygrad_cnn.serialization.torch_writer import torch_buffers
from tinygrad_cnn.tensor import Tensor

Format: TypeAlias = Literal["safetensors", "pt"]
_TORCH = (".pt", ".pth")


def save(
    obj: object,
    f: FileLike,
    *,
    format: Format | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write nested dicts, lists and tuples of tensors, numbers, strings and None to ``f``.

    Models and optimisers go in by their ``state_dict()``. A file appears whole or not at all.
    Tensors that share memory do so after loading too, and two that are the same are one. Equal
    objects give equal bytes.

    ======================  ============================================================
    ``f`` ends in           format
    ======================  ============================================================
    ``.pt``, ``.pth``       PyTorch's: ``torch.load(f, weights_only=True)`` reads it.
                            Parameters, strides, sets, bytes, complex numbers and dtypes
                            are kept, NumPy's arrays are refused.
    anything else           safetensors, with all that is no tensor as JSON beside them.
                            NumPy's arrays are kept, parameters are tensors.
    ======================  ============================================================

    Parameters
    ----------
    f
        A path, or a file opened to write bytes.
    format
        ``"safetensors"`` or ``"pt"``, whatever the name is.
    metadata
        Texts by name, for other readers of a safetensors file; `load_metadata` gives them back.

    Raises
    ------
    SerializationError
        Something in ``obj`` is of another type; the message says where.

    Examples
    --------
    >>> import tempfile
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.serialization import load, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"epoch": 3, "weights": [tg.tensor([1.0, 2.0])]}, f"{folder}/state.pt")
    ...     state = load(f"{folder}/state.pt")
    >>> state["epoch"], state["weights"][0].tolist()
    (3, [1.0, 2.0])
    """
    if isinstance(f, str | os.PathLike):
        write_atomically(f, _buffers(obj, f, format, metadata))
        return
    if not callable(getattr(f, "write", None)):
        raise DtypeError(
            f"save: `f` is a {type(f).__name__}, expected a path or a file opened with 'wb'"
        )
    for piece in _buffers(obj, getattr(f, "name", ""), format, metadata):
        try:
            f.write(piece)
        except TypeError as error:  # it takes text
            raise DtypeError(f"save: `f` takes no bytes (open it with 'wb'): {error}") from error


def load(
    f: FileLike,
    map_location: Any = None,
    *,
    weights_only: bool = True,
    mmap: bool | None = None,
) -> Any:
    """Read what `save`, or PyTorch's ``torch.save``, wrote; no code in it is run.

    Any other safetensors file gives a dict of its tensors. Of a file of PyTorch everything comes
    back that ``torch.load(weights_only=True)`` takes, but sparse and quantized tensors, and NumPy's
    arrays of numbers too: tensors with their strides and the memory that they share, parameters,
    and the versions of modules (``_metadata``) of a ``state_dict``. PyTorch is not needed.

    Parameters
    ----------
    f
        A path, or a file opened to read bytes, which is read from where it stands to its end.
    map_location
        Where tensors are to live: ``"cpu"``, whatever was saved elsewhere. A device, a dict of
        places and a function are taken as in PyTorch, and change nothing.
    weights_only
        Changes nothing: no code is run either way.
    mmap
        True: tensors lie in the file, mapped into memory, and are read when they are used. The
        file must stay as it is; writing to the tensors does not change it. Damage to numbers is
        not noticed. Otherwise tensors own their memory, and the file's checksums are compared.

    Raises
    ------
    ValueError
        ``map_location`` names another device than the CPU, or ``mmap`` is set but ``f`` is no path.
    FileNotFoundError
        There is no such file.
    SerializationError
        The file is damaged, in no known format, or written by a newer version, or it has objects
        in it that are not data, such as a whole module.
    """
    _check_location(map_location)
    with Source(f, mapped=bool(mmap)) as source:
        if is_torch(source):
            return read_torch(source)
        return read_nested(source)


def _check_location(given: Any) -> None:
    """Refuse other devices than the CPU."""
    for place in given.values() if isinstance(given, Mapping) else (given,):
        if not callable(place):
            check_device(place, "load", "map_location")


def dumps(
    obj: object, *, format: Format = "safetensors", metadata: Mapping[str, str] | None = None
) -> bytes:
    """What `save` would write, as bytes.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> loads(dumps({"w": tg.ones(2)}))
    {'w': tensor([1., 1.])}
    """
    return b"".join(_buffers(obj, "", format, metadata))


def loads(data: bytes | bytearray | memoryview) -> Any:
    """What `load` reads of a file with these bytes."""
    return load(BytesIO(data))


def load_metadata(f: FileLike) -> dict[str, str]:
    """The texts that a safetensors file has beside its tensors, by name.

    Raises
    ------
    SerializationError
        It is damaged, or no safetensors file.

    Examples
    --------
    >>> import io
    >>> load_metadata(io.BytesIO(dumps([], metadata={"licence": "MIT"})))
    {'licence': 'MIT'}
    """
    with Source(f) as source:
        metadata = read_arrays(source)[1]
    return {name: text for name, text in metadata.items() if name != KEY}


def save_state(
    state: Mapping[str, Tensor],
    f: FileLike,
    *,
    format: Format | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a ``state_dict`` of names and tensors to ``f``, as `save` does.

    Raises
    ------
    SerializationError
        An entry is not a tensor; use `save` for nested states such as an optimiser's.

    Examples
    --------
    >>> import tempfile
    >>> import tinygrad_cnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_state({"fc.bias": tg.zeros(2)}, f"{folder}/model.safetensors")
    ...     {name: t.shape for name, t in load_state(f"{folder}/model.safetensors").items()}
    {'fc.bias': Size([2])}
    """
    wrong = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        raise SerializationError(
            f"save_state: not tensors: {', '.join(wrong)}; use `save` for nested states"
        )
    save(state, f, format=format, metadata=metadata)


def load_state(f: FileLike, *, mmap: bool | None = None) -> dict[str, Tensor]:
    """Read a ``state_dict`` of names and tensors, from a safetensors file or one of PyTorch.

    ``mmap`` is as for `load`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    SerializationError
        The file is damaged, or holds something else than names and tensors.
    """
    state = load(f, mmap=mmap)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise SerializationError(
            f"load_state: {getattr(f, 'name', f)} holds a nested state, not names and tensors; "
            "use `load`"
        )
    return state


def _buffers(
    obj: object, name: Any, format: str | None, metadata: Mapping[str, str] | None
) -> Buffers:
    """The bytes of a file of this name."""
    if format not in (None, "safetensors", "pt"):
        raise ArgumentError(f"save: `format` is {format!r}, expected 'safetensors' or 'pt'")
    if format is None:
        format = "pt" if str(name).lower().endswith(_TORCH) else "safetensors"
    if format == "safetensors":
        return nested_buffers(obj, metadata or {})
    if metadata is not None:
        raise ArgumentError("save: `metadata` is given, but PyTorch's files have none")
    return torch_buffers(obj)
