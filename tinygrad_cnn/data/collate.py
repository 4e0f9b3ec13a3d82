"""Turn lists of samples into batches, and batches of arrays into batches of Tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.functions import as_tensor
from tinygrad_cnn.tensor import Tensor

__all__ = ["collate_arrays", "default_collate", "rebuild", "to_tensors"]


def rebuild(like: Any, items: Sequence[Any]) -> Any:
    """Return ``items`` in a container of the same type as ``like`` (a list or a kind of tuple)."""
    return type(like)(*items) if hasattr(like, "_fields") else type(like)(items)


def collate_arrays(samples: Sequence[Any]) -> Any:
    """Stack samples as `default_collate`, into NumPy arrays instead of Tensors."""
    first = samples[0]
    if isinstance(first, Tensor | np.ndarray):
        arrays = [s._array if isinstance(s, Tensor) else np.asarray(s) for s in samples]
        if any(a.shape != arrays[0].shape for a in arrays):
            shapes = ", ".join(sorted({str(a.shape) for a in arrays}))
            raise ValueError(
                f"default_collate: samples of one batch have different shapes {shapes}; "
                "make them equal or give the DataLoader a `collate_fn`"
            )
        return np.stack(arrays)
    if isinstance(first, np.generic | bool | float):
        return np.asarray(samples)
    if isinstance(first, int):
        return np.asarray(samples, np.int64)
    if isinstance(first, str | bytes):
        return list(samples)
    if isinstance(first, Mapping):
        return {key: collate_arrays([s[key] for s in samples]) for key in first}
    if isinstance(first, tuple | list):
        if any(len(s) != len(first) for s in samples):
            lengths = sorted({len(s) for s in samples})
            raise ValueError(f"default_collate: samples of one batch have {lengths} fields")
        fields = zip(*samples, strict=True)
        return rebuild(first, [collate_arrays(field) for field in fields])
    raise TypeError(
        f"default_collate: cannot batch samples of type {type(first).__name__}; "
        "give the DataLoader a `collate_fn`"
    )


def to_tensors(batch: Any) -> Any:
    """Wrap every array of a nested batch in a Tensor that shares its memory."""
    if isinstance(batch, np.ndarray):
        return as_tensor(batch)
    if isinstance(batch, Mapping):
        return {key: to_tensors(value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return rebuild(batch, [to_tensors(value) for value in batch])
    return batch


def default_collate(samples: Sequence[Any]) -> Any:
    """Stack a list of samples into one batch of Tensors, field by field.

    Arrays and Tensors are stacked, numbers become 1-d Tensors (as in PyTorch, Python integers
    int64 and floats float64), strings a list; tuples, lists and mappings keep their structure.
    The Tensors are new leaves: no gradient flows back into the samples.

    Raises
    ------
    ValueError
        shapes or numbers of fields differ.
    TypeError
        a sample is of no such type.

    >>> default_collate([(1, "one"), (2, "two")])
    (tensor([1, 2]), ['one', 'two'])
    """
    return to_tensors(collate_arrays(samples))
