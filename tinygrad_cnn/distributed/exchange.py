"""What MPI does to arrays: each function starts an exchange, and returns its request and its end.

Reductions are in the array's dtype, of float16 and bfloat16 in float32; bytes are all that matters
to the others. MPI wants memory without gaps: views are copied there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.distributed.group import Started
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.types import Array


class ReduceOp:
    """How numbers of all ranks become one: sum, mean, smallest, largest, product.

    Examples
    --------
    >>> ReduceOp.SUM
    'SUM'
    """

    SUM = "SUM"
    AVG = "AVG"
    MIN = "MIN"
    MAX = "MAX"
    PRODUCT = "PRODUCT"


OPS = tuple(name for name in vars(ReduceOp) if name.isupper())
_NAMES = {"AVG": "SUM", "PRODUCT": "PROD"}
_LOGICAL = {"SUM": "LOR", "MAX": "LOR", "MIN": "LAND", "PRODUCT": "LAND"}


def check_op(name: str, op: object, kind: str) -> None:
    """Refuse an operation that there is not, or not for numbers of this ``kind``."""
    if op not in OPS:
        raise DtypeError(f"{name}: `op` is {op!r}, expected one of ReduceOp: {', '.join(OPS)}")
    if op == "AVG" and kind not in "fcV":
        raise DtypeError(f"{name}: `op` is AVG, which is for floating and complex tensors")
    if op in ("MIN", "MAX") and kind == "c":
        raise DtypeError(f"{name}: `op` is {op}, but complex numbers have no order")


class _Flat:
    """An array's numbers without gaps, as MPI wants them, and how they come back."""

    def __init__(self, array: Array, *, reads: bool = True, reduces: bool = False) -> None:
        self.array = array
        self.flat: Array
        if reduces and array.dtype.kind in "fV" and array.dtype.itemsize == 2:
            self.flat = array.astype(np.float32, order="C")
        elif array.flags.c_contiguous:
            self.flat = array
        else:
            self.flat = np.ascontiguousarray(array) if reads else np.empty(array.shape, array.dtype)
        self.flat = self.flat.reshape(-1)

    def back(self) -> None:
        """Put the numbers where they belong."""
        if not np.shares_memory(self.flat, self.array):
            self.array[...] = self.flat.reshape(self.array.shape).astype(self.array.dtype)


def _bytes(mpi: Any, flat: Array) -> Any:
    return [flat.view(np.uint8), mpi.BYTE]


def _op(mpi: Any, flat: Array, op: str) -> Any:
    if flat.dtype.kind == "b":
        return getattr(mpi, _LOGICAL[op])
    return getattr(mpi, _NAMES.get(op, op))


def _average(flat: Array, op: str, size: int) -> None:
    if op == "AVG":
        np.multiply(flat, flat.dtype.type(1 / size), out=flat)


def all_reduce(mpi: Any, comm: Any, array: Array, *, op: str) -> Started:
    """Reduce in place, on all ranks."""
    held = _Flat(array, reduces=True)
    flat = held.flat

    def finish() -> None:
        _average(flat, op, comm.Get_size())
        held.back()

    return comm.Iallreduce(mpi.IN_PLACE, flat, op=_op(mpi, flat, op)), finish


def reduce(mpi: Any, comm: Any, array: Array, *, op: str, root: int) -> Started:
    """Reduce in place on rank ``root``; the others keep what they have."""
    held, here = _Flat(array, reduces=True), comm.Get_rank() == root
    flat = held.flat
    what = _op(mpi, flat, op)
    request = (
        comm.Ireduce(mpi.IN_PLACE, flat, op=what, root=root)
        if here
        else comm.Ireduce(flat, None, op=what, root=root)
    )

    def finish() -> None:
        if here:
            _average(flat, op, comm.Get_size())
            held.back()

    return request, finish


def broadcast(mpi: Any, comm: Any, array: Array, *, root: int) -> Started:
    """Have what rank ``root`` has."""
    held = _Flat(array)
    request = comm.Ibcast(_bytes(mpi, held.flat), root=root)
    return request, held.back if comm.Get_rank() != root else lambda: None


def all_gather(mpi: Any, comm: Any, array: Array, *outs: Array) -> Started:
    """Have in each of ``outs`` what one rank has; or all in a single one."""
    given = np.ascontiguousarray(array).reshape(-1)
    whole = np.empty(given.size * comm.Get_size(), given.dtype)
    request = comm.Iallgather(_bytes(mpi, given), _bytes(mpi, whole))
    return request, lambda: _put(whole, outs)


def gather(mpi: Any, comm: Any, array: Array, *outs: Array, root: int) -> Started:
    """Have, on rank ``root``, in each of ``outs`` what one rank has."""
    given = np.ascontiguousarray(array).reshape(-1)
    if comm.Get_rank() != root:
        return comm.Igather(_bytes(mpi, given), None, root=root), lambda: None
    whole = np.empty(given.size * comm.Get_size(), given.dtype)
    request = comm.Igather(_bytes(mpi, given), _bytes(mpi, whole), root=root)
    return request, lambda: _put(whole, outs)


def scatter(mpi: Any, comm: Any, array: Array, *given: Array, root: int) -> Started:
    """Have what rank ``root`` has for this one in ``given``."""
    held = _Flat(array, reads=False)
    if comm.Get_rank() != root:
        return comm.Iscatter(None, _bytes(mpi, held.flat), root=root), held.back
    whole = _together(given)
    return comm.Iscatter(_bytes(mpi, whole), _bytes(mpi, held.flat), root=root), held.back


def reduce_scatter(mpi: Any, comm: Any, array: Array, *given: Array, op: str) -> Started:
    """Have the part of all ranks' ``given``, reduced, that is this rank's."""
    whole = _Flat(_together(given), reduces=True).flat
    part = np.empty(array.size, whole.dtype)
    request = comm.Ireduce_scatter_block(whole, part, op=_op(mpi, whole, op))

    def finish() -> None:
        _average(part, op, comm.Get_size())
        array[...] = part.reshape(array.shape).astype(array.dtype)

    return request, finish


def barrier(mpi: Any, comm: Any) -> Started:
    """Wait for all."""
    return comm.Ibarrier(), lambda: None


def _together(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.ascontiguousarray(a).reshape(-1) for a in arrays])


def _put(whole: Array, outs: Sequence[Array]) -> None:
    if len(outs) == 1:
        outs[0][...] = whole.reshape(outs[0].shape)
        return
    for out, part in zip(outs, np.split(whole, len(outs)), strict=True):
        out[...] = part.reshape(out.shape)
