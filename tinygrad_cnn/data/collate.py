"""Turn lists of samples into batches, and batches of arrays into batches of Tensors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any, TypeGuard

import numpy as np

from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions import as_tensor, stack, tensor
from tinygrad_cnn.tensor import Tensor


def rebuild(like: Any, items: Any) -> Any:
    """Return ``items`` in a container of the same type as ``like``.

    That is a mapping for a dict and a sequence for a list. Containers that change are copied first,
    so that they keep what else they hold (a default factory, attributes); types that cannot be
    copied, filled or made of items become a plain dict or list.
    """
    try:
        if isinstance(like, MutableMapping):
            whole = copy.copy(like)
            for key, item in items.items():  # not update(), by which a Counter would add
                whole[key] = item
            return whole
        if isinstance(like, MutableSequence):
            listed = copy.copy(like)
            for i, item in enumerate(items):
                listed[i] = item
            return listed
        return type(like)(*items) if hasattr(like, "_fields") else type(like)(items)
    except TypeError:
        return items


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def collate_arrays(samples: Sequence[Any]) -> Any:
    """Stack samples as `default_collate`, into NumPy arrays instead of Tensors.

    Those that require gradients become a Tensor all the same.
    """
    first = samples[0]
    if isinstance(first, Tensor | np.ndarray):
        return _stacked(samples)
    if isinstance(first, np.generic):
        return np.asarray(samples)
    if isinstance(first, float):
        return tensor(list(samples), dtype=np.float64)._array
    if isinstance(first, int):  # floats among them, or truths, as `tensor` takes them
        return tensor(list(samples))._array
    if isinstance(first, str | bytes):
        return list(samples)
    if isinstance(first, Mapping):
        return rebuild(first, {key: collate_arrays([s[key] for s in samples]) for key in first})
    if _is_sequence(first):
        if any(len(s) != len(first) for s in samples):
            lengths = sorted({len(s) for s in samples})
            raise ArgumentError(f"default_collate: samples of one batch have {lengths} fields")
        fields = zip(*samples, strict=True)
        return rebuild(first, [collate_arrays(field) for field in fields])
    picture = hasattr(first, "getbands")  # a PIL image
    advice = (
        "give the data set transform=ToTensor()"
        if picture
        else "give the DataLoader a `collate_fn`"
    )
    raise DtypeError(
        f"default_collate: cannot batch samples of type {type(first).__name__}; {advice}"
    )


def _stacked(samples: Sequence[Any]) -> Any:
    tensors = [as_tensor(s) for s in samples]
    shapes = {tuple(t.shape) for t in tensors}
    if len(shapes) > 1:
        raise ShapeError(
            f"default_collate: samples of one batch have different shapes "
            f"{', '.join(sorted(map(str, shapes)))}; make them equal or give the DataLoader a "
            f"`collate_fn`"
        )
    if len({t.dtype for t in tensors}) > 1 or any(t.requires_grad for t in tensors):
        batch = stack(tensors)
        return batch if batch.requires_grad else batch._array
    return np.stack([t._array for t in tensors])


def to_tensors(batch: Any) -> Any:
    """Wrap every array of numbers in a nested batch in a Tensor that shares its memory.

    A container without arrays stays the same object.
    """
    if isinstance(batch, np.ndarray):
        return batch if batch.dtype.kind in "OSU" else as_tensor(batch)
    if isinstance(batch, Mapping):
        named = {key: to_tensors(value) for key, value in batch.items()}
        return _replaced(batch, named, batch.values(), named.values())
    if _is_sequence(batch):
        items = [to_tensors(value) for value in batch]
        return _replaced(batch, items, batch, items)
    return batch


def _replaced(
    like: object, items: object, before: Iterable[object], after: Iterable[object]
) -> Any:
    same = all(new is old for new, old in zip(after, before, strict=True))
    return like if same else rebuild(like, items)


def default_collate(samples: Sequence[Any]) -> Any:
    """Stack a list of samples into one batch of Tensors, field by field.

    Arrays and Tensors are stacked, numbers become 1-d Tensors (as in PyTorch, Python integers
    int64 and floats float64), strings a list; tuples, lists, named tuples, mappings and other
    sequences keep their structure and type. As in PyTorch, gradients flow back into samples that
    require them.

    Raises
    ------
    ValueError
        shapes or numbers of fields differ.
    TypeError
        a sample is of no such type.

    Examples
    --------
    >>> default_collate([(1, "one"), (2, "two")])
    (tensor([1, 2]), ['one', 'two'])
    """
    return to_tensors(collate_arrays(samples))


def default_convert(data: Any) -> Any:
    """Return one sample with its arrays and NumPy numbers as Tensors, all else as it is.

    Mappings and sequences keep their type, but a tuple without names becomes a list, as in PyTorch.

    Examples
    --------
    >>> default_convert({"x": np.array([1, 2]), "name": "one"})
    {'x': tensor([1, 2]), 'name': 'one'}
    >>> default_convert((np.float32(0.5), 2))
    [tensor(0.5000), 2]
    """
    if isinstance(data, np.ndarray | np.generic):
        return data if data.dtype.kind in "OSU" else as_tensor(data)
    if isinstance(data, Mapping):
        return rebuild(data, {key: default_convert(value) for key, value in data.items()})
    if _is_sequence(data):
        items = [default_convert(value) for value in data]
        plain = isinstance(data, tuple) and not hasattr(data, "_fields")
        return items if plain else rebuild(data, items)
    return data
