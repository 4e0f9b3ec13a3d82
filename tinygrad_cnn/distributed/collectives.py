"""What ranks do together to tensors, by PyTorch's names: in place, and no gradient knows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.distributed import exchange
from tinygrad_cnn.distributed.exchange import ReduceOp, check_op
from tinygrad_cnn.distributed.group import Group, Started, Work, world
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.kernels.tape import do, taping
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

_MOST_AXES = 32


def all_reduce(
    tensor: Tensor, op: str = ReduceOp.SUM, group: Group | None = None, async_op: bool = False
) -> Work | None:
    """Have in ``tensor``, on all ranks, the sum (or ``op``) of all ranks' tensors.

    The result is the same on all ranks, bit by bit.

    Parameters
    ----------
    tensor
        of the same shape and dtype on all ranks.
    op
        of `ReduceOp`.
    group
        None, or the group: there is one, of all ranks.
    async_op
        return a `Work` at once, whose `Work.wait` returns when it is done.

    Raises
    ------
    RuntimeError
        There is no group, or another rank is about to do something else.
    TypeError
        The dtype does not suit ``op``.
    """
    name, g = "all_reduce", world("all_reduce", group)
    _check(name, "tensor", tensor)
    check_op(name, op, tensor.dtype.kind)
    doing = f"{name}: {op} of {_kind(tensor)}"
    return _run(g, doing, exchange.all_reduce, [tensor], [tensor], async_op, op=op)


def reduce(
    tensor: Tensor,
    dst: int,
    op: str = ReduceOp.SUM,
    group: Group | None = None,
    async_op: bool = False,
) -> Work | None:
    """Have in ``tensor``, on rank ``dst``, the sum (or ``op``) of all ranks' tensors.

    The others keep theirs; arguments and errors are those of `all_reduce`.
    """
    name, g = "reduce", world("reduce", group)
    _check(name, "tensor", tensor)
    check_op(name, op, tensor.dtype.kind)
    _check_rank(name, "dst", dst, g)
    doing = f"{name}: {op} of {_kind(tensor)} to rank {dst}"
    return _run(g, doing, exchange.reduce, [tensor], [tensor], async_op, op=op, root=dst)


def broadcast(
    tensor: Tensor, src: int, group: Group | None = None, async_op: bool = False
) -> Work | None:
    """Have in ``tensor`` what rank ``src`` has in it; errors are those of `all_reduce`."""
    name, g = "broadcast", world("broadcast", group)
    _check(name, "tensor", tensor)
    _check_rank(name, "src", src, g)
    written = [] if g.rank == src else [tensor]
    doing = f"{name}: {_kind(tensor)} from rank {src}"
    return _run(g, doing, exchange.broadcast, [tensor], written, async_op, root=src)


def all_gather(
    tensor_list: Sequence[Tensor],
    tensor: Tensor,
    group: Group | None = None,
    async_op: bool = False,
) -> Work | None:
    """Have in ``tensor_list[r]`` the ``tensor`` of rank r; all are of one shape and dtype."""
    name, g = "all_gather", world("all_gather", group)
    _check(name, "tensor", tensor)
    _check_list(name, "tensor_list", tensor_list, tensor, g)
    doing = f"{name}: {_kind(tensor)}"
    return _run(g, doing, exchange.all_gather, [tensor, *tensor_list], tensor_list, async_op)


def all_gather_into_tensor(
    output_tensor: Tensor,
    input_tensor: Tensor,
    group: Group | None = None,
    async_op: bool = False,
) -> Work | None:
    """Have in ``output_tensor`` the ``input_tensor`` of all ranks, one after another.

    For inputs (n, …) of w ranks it is (w·n, …) or (w, n, …).
    """
    name, g = "all_gather_into_tensor", world("all_gather_into_tensor", group)
    _check_whole(name, ("output_tensor", output_tensor), ("input_tensor", input_tensor), g)
    doing = f"{name}: {_kind(input_tensor)}"
    tensors = [input_tensor, output_tensor]
    return _run(g, doing, exchange.all_gather, tensors, [output_tensor], async_op)


def gather(
    tensor: Tensor,
    gather_list: Sequence[Tensor] | None = None,
    dst: int = 0,
    group: Group | None = None,
    async_op: bool = False,
) -> Work | None:
    """Have, on rank ``dst``, in ``gather_list[r]`` the ``tensor`` of rank r.

    The other ranks give no list.
    """
    name, g = "gather", world("gather", group)
    _check(name, "tensor", tensor)
    _check_rank(name, "dst", dst, g)
    outs = _list_at(name, "gather_list", gather_list, tensor, g, dst)
    doing = f"{name}: {_kind(tensor)} to rank {dst}"
    return _run(g, doing, exchange.gather, [tensor, *outs], outs, async_op, root=dst)


def scatter(
    tensor: Tensor,
    scatter_list: Sequence[Tensor] | None = None,
    src: int = 0,
    group: Group | None = None,
    async_op: bool = False,
) -> Work | None:
    """Have in ``tensor`` what rank ``src`` has for this rank in ``scatter_list``.

    The other ranks give no list.
    """
    name, g = "scatter", world("scatter", group)
    _check(name, "tensor", tensor)
    _check_rank(name, "src", src, g)
    given = _list_at(name, "scatter_list", scatter_list, tensor, g, src)
    doing = f"{name}: {_kind(tensor)} from rank {src}"
    return _run(g, doing, exchange.scatter, [tensor, *given], [tensor], async_op, root=src)


def reduce_scatter(
    output: Tensor,
    input_list: Sequence[Tensor],
    op: str = ReduceOp.SUM,
    group: Group | None = None,
    async_op: bool = False,
) -> Work | None:
    """Have in ``output`` the sum (or ``op``) of all ranks' ``input_list[r]``, on each rank r."""
    name, g = "reduce_scatter", world("reduce_scatter", group)
    _check(name, "output", output)
    check_op(name, op, output.dtype.kind)
    _check_list(name, "input_list", input_list, output, g)
    doing = f"{name}: {op} of {_kind(output)}"
    tensors = [output, *input_list]
    return _run(g, doing, exchange.reduce_scatter, tensors, [output], async_op, op=op)


def reduce_scatter_tensor(
    output: Tensor,
    input: Tensor,
    op: str = ReduceOp.SUM,
    group: Group | None = None,
    async_op: bool = False,
) -> Work | None:
    """Have in ``output`` this rank's part of the sum (or ``op``) of all ranks' ``input``.

    For outputs (n, …) of w ranks, ``input`` is (w·n, …) or (w, n, …).
    """
    name, g = "reduce_scatter_tensor", world("reduce_scatter_tensor", group)
    _check_whole(name, ("input", input), ("output", output), g)
    check_op(name, op, output.dtype.kind)
    doing = f"{name}: {op} of {_kind(output)}"
    return _run(g, doing, exchange.reduce_scatter, [output, input], [output], async_op, op=op)


def barrier(group: Group | None = None, async_op: bool = False) -> Work | None:
    """Wait until all ranks have come to this."""
    return _run(world("barrier", group), "barrier", exchange.barrier, [], [], async_op)


def send(tensor: Tensor, dst: int, group: Group | None = None, tag: int = 0) -> None:
    """Send ``tensor`` to rank ``dst``, which calls `recv`; return when it may be changed again.

    Raises
    ------
    RuntimeError
        There is no group.
    ValueError
        ``dst`` is no other rank.
    """
    g = world("send", group)
    _check("send", "tensor", tensor)
    _check_rank("send", "dst", dst, g, other=True)
    do(_send, tensor._given, where=(dst, tag), writes=())


def recv(tensor: Tensor, src: int | None = None, group: Group | None = None, tag: int = 0) -> int:
    """Have in ``tensor`` what rank ``src``, by default any, sends; return who has sent it.

    Raises
    ------
    RuntimeError
        There is no group, or what is sent is of another shape or dtype.
    ValueError
        ``src`` is no other rank.
    """
    g = world("recv", group)
    _check("recv", "tensor", tensor, writes=True)
    if src is not None:
        _check_rank("recv", "src", src, g, other=True)
    found: list[int] = []
    array = tensor._written_by("recv")
    do(_recv, array, where=(src, tag), found=found.append, writes=(array,))
    return found[0]


# ---- how it is done --------------------------------------------------------------------------


def _run(
    group: Group,
    doing: str,
    start: Callable[..., Started],
    tensors: Sequence[Tensor],
    written: Sequence[Tensor],
    async_op: bool,
    **options: Any,
) -> Work | None:
    """Do it to the tensors' arrays; what is `written` says so to its storage first."""
    name = doing.split(":")[0]
    for tensor in written:
        _check_writable(name, tensor)
    changed = {id(t): t._written_by(name) for t in written}
    arrays = [changed[id(t)] if id(t) in changed else t._given for t in tensors]
    writes = tuple(changed.values())
    if async_op and not taping:
        return _work(group, doing, start, arrays, options)
    do(_exchange, *arrays, doing=doing, start=start, options=options, writes=writes)
    return Work(group) if async_op else None


def _work(
    group: Group,
    doing: str,
    start: Callable[..., Started],
    arrays: Sequence[Array],
    options: dict[str, Any],
) -> Work:
    return Work(group, doing, lambda: start(group.mpi, group.data, *arrays, **options))


def _exchange(
    *arrays: Array, doing: str, start: Callable[..., Started], options: dict[str, Any]
) -> None:
    """What a program does again: it asks for the group of the process that it runs in."""
    _work(world(doing.split(":")[0]), doing, start, arrays, options).wait()


def _send(array: Array, *, where: tuple[int, int]) -> None:
    group, (dst, tag) = world("send"), where
    flat = np.ascontiguousarray(array).reshape(-1)
    head = group.data.Isend(_head(array), dst, 2 * tag)
    body = group.data.Isend([flat.view(np.uint8), group.mpi.BYTE], dst, 2 * tag + 1)
    for request in (head, body):
        group.wait(request, f"send to rank {dst}")


def _recv(array: Array, *, where: tuple[int | None, int], found: Callable[[int], None]) -> None:
    group, (src, tag) = world("recv"), where
    doing = "recv" if src is None else f"recv from rank {src}"
    head = _head(array)
    status = group.mpi.Status()
    sent = np.zeros_like(head)
    asked = group.data.Irecv(sent, group.mpi.ANY_SOURCE if src is None else src, 2 * tag)
    group.watch.wait(asked, doing, status)
    source = status.Get_source()
    kind, shape = _read_head(sent)
    flat = np.empty(int(np.prod(shape)) * kind.itemsize, np.uint8)
    group.wait(group.data.Irecv([flat, group.mpi.BYTE], source, 2 * tag + 1), doing)
    if (kind, shape) != (array.dtype, array.shape):
        raise RuntimeError(
            f"recv: `tensor` is {array.dtype} {array.shape}, but rank {source} has sent {kind} "
            f"{shape}"
        )
    array[...] = flat.view(kind).reshape(shape)
    found(source)


def _head(array: Array) -> Array:
    """The dtype and the shape of an array, as numbers."""
    head = np.zeros(_MOST_AXES * 2 + 2, np.int64)
    name = array.dtype.name.encode().ljust(16, b"\0")
    head[:2] = np.frombuffer(name, np.int64)
    head[2] = array.ndim
    head[3 : 3 + array.ndim] = array.shape
    return head


def _read_head(head: Array) -> tuple[Any, tuple[int, ...]]:
    name = head[:2].tobytes().rstrip(b"\0").decode()
    return np.dtype(name), tuple(head[3 : 3 + int(head[2])].tolist())


# ---- what is refused -------------------------------------------------------------------------


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def _check(name: str, argument: str, tensor: object, *, writes: bool = False) -> None:
    if not isinstance(tensor, Tensor):
        raise DtypeError(f"{name}: `{argument}` is a {type(tensor).__name__}, expected a Tensor")
    if writes:
        _check_writable(name, tensor)


def _check_writable(name: str, tensor: Tensor) -> None:
    if not tensor._given.flags.writeable:
        raise RuntimeError(
            f"{name}: the tensor (shape {tuple(tensor.shape)}) is read-only memory, such as the "
            f"result of expand(), where one number stands for many; use a clone()"
        )


def _check_rank(name: str, argument: str, rank: object, group: Group, other: bool = False) -> None:
    whole = isinstance(rank, int | np.integer) and not isinstance(rank, bool)
    if not whole or not 0 <= rank < group.size or (other and rank == group.rank):  # type: ignore[operator]
        but = f" but {group.rank}, which is this one" if other else ""
        raise ArgumentError(
            f"{name}: `{argument}` is {rank!r}, expected a rank: 0 to {group.size - 1}{but}"
        )


def _check_list(name: str, argument: str, given: object, like: Tensor, group: Group) -> None:
    """A list of one tensor for each rank, of the same shape and dtype as another."""
    if not isinstance(given, list | tuple) or len(given) != group.size:
        what = f"{len(given)} tensors" if isinstance(given, list | tuple) else type(given).__name__
        raise ArgumentError(
            f"{name}: `{argument}` is {what}, expected a list of {group.size}, one for each rank"
        )
    for i, tensor in enumerate(given):
        _check(name, f"{argument}[{i}]", tensor)
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            raise ShapeError(
                f"{name}: `{argument}[{i}]` is {_kind(tensor)}, expected {_kind(like)}"
            )


def _list_at(
    name: str, argument: str, given: Sequence[Tensor] | None, like: Tensor, group: Group, root: int
) -> list[Tensor]:
    """The list on the rank that has one."""
    if group.rank == root:
        _check_list(name, argument, given, like, group)
        return list(given or ())
    if given:
        raise ArgumentError(
            f"{name}: `{argument}` has {len(given)} tensors on rank {group.rank}, expected none: "
            f"only rank {root} has a list"
        )
    return []


def _check_whole(
    name: str, whole: tuple[str, Tensor], part: tuple[str, Tensor], group: Group
) -> None:
    """A tensor of as many parts as there are ranks."""
    for argument, tensor in (whole, part):
        _check(name, argument, tensor)
    shape, size = tuple(part[1].shape), group.size
    expected = [(size, *shape)]
    if shape:
        expected.insert(0, (size * shape[0], *shape[1:]))
    else:
        expected.append((size,))
    if tuple(whole[1].shape) not in expected or whole[1].dtype != part[1].dtype:
        forms = " or ".join(str(form) for form in dict.fromkeys(expected))
        raise ShapeError(
            f"{name}: `{whole[0]}` is {_kind(whole[1])} and `{part[0]}` {_kind(part[1])}, expected "
            f"{whole[0]} of {part[1].dtype} {forms} for {size} ranks"
        )
