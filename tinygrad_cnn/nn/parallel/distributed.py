"""`DistributedDataParallel`: every rank has the model, and a part of each batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_cnn.autograd import is_grad_enabled
from tinygrad_cnn.distributed.group import Group, world
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.nn.layers.normalization import SyncBatchNorm
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import is_lazy
from tinygrad_cnn.nn.module.state import State
from tinygrad_cnn.nn.parallel.buckets import NAME, Reducer
from tinygrad_cnn.tensor import Tensor

_INSIDE = "module."


class DistributedDataParallel(Module):
    """``module``, whose gradients are the means over all ranks after each ``backward()``.

    Parameters and buffers are rank 0's from the beginning. Gradients are copied into flat buckets
    as backward makes them, and each bucket is summed over the ranks while backward goes on. If each
    of w ranks takes the mean loss of n of w·n images, the gradients are those of the mean over all,
    with `nn.SyncBatchNorm` also where batches are normalised. ``state_dict()`` has the module's own
    names, without PyTorch's ``module.``, and ``load_state_dict()`` takes both.

    Parameters
    ----------
    module
        the same on all ranks.
    device_ids, output_device, dim, check_reduction, gradient_as_bucket_view, static_graph
        taken as PyTorch takes them for the CPU, and change nothing.
    broadcast_buffers
        before each forward pass in training, buffers are rank 0's again (those of `SyncBatchNorm`
        always agree).
    process_group
        None, or the group of all ranks.
    bucket_cap_mb
        the size of a bucket in MiB, by default an eighth of the model, from a quarter to 25; the
        first has at most one.
    find_unused_parameters
        some parameters may have no gradient on some ranks, where they count as zero; if on none,
        ``.grad`` is left alone. Without it that is an error.

    Raises
    ------
    RuntimeError
        There is no process group, or the model differs between ranks; after a backward pass: a
        parameter has no gradient on some rank. It is raised on all ranks.
    ValueError
        No parameter requires a gradient, one is not initialised yet, or a device is given.

    Examples
    --------
    ::

        dist.init_process_group()
        model = nn.parallel.DistributedDataParallel(Net())
        sampler = DistributedSampler(images)
        for x, y in DataLoader(images, 32, sampler=sampler):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    Source: Li et al., "PyTorch distributed: experiences on accelerating data parallel training",
    2020.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool = True,
        process_group: Group | None = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
    ) -> None:
        super().__init__()
        self.process_group = group = world(NAME, process_group)
        if device_ids or output_device:
            raise ArgumentError(
                f"{NAME}: `device_ids` is {device_ids!r} and `output_device` {output_device!r}, "
                f"expected None: there is one device, the CPU"
            )
        most = None if bucket_cap_mb is None else int(bucket_cap_mb * 2**20)
        if most is not None and not most > 0:
            raise ArgumentError(
                f"{NAME}: `bucket_cap_mb` is {bucket_cap_mb}, expected a positive number"
            )
        self.module = module
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        lazy = [name for name, p in module.named_parameters() if is_lazy(p)]
        if lazy:
            raise ArgumentError(
                f"{NAME}: {lazy[0]} is not initialised yet: run the module once before"
            )
        if not named:
            raise ArgumentError(f"{NAME}: no parameter of `module` requires a gradient")
        same_model(NAME, group, module)
        self._refreshed = buffers_that_differ(module) if broadcast_buffers else []
        self.require_backward_grad_sync = True
        self.find_unused_parameters = find_unused_parameters
        from_rank_0(group, [*module.parameters(), *module.buffers()])
        self.reducer = Reducer(group, named, most, find_unused_parameters)
        self._register_state_dict_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Call the module."""
        sync = self.require_backward_grad_sync and is_grad_enabled()
        self.reducer.expects = sync
        if sync and self.training and self._refreshed:
            from_rank_0(self.process_group, self._refreshed)
        return self.module(*inputs, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """For forward passes inside, gradients are not averaged but added up on each rank.

        The next backward pass of a forward pass outside averages the sums.
        """
        former, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = former


def same_model(name: str, group: Group, module: Module) -> None:
    """Refuse, for ``name``, a model that is not the same on all ranks.

    Raises
    ------
    RuntimeError
        Names, shapes, dtypes, or what is trained, differ.
    """
    group.meet(f"{name}: {_described(module)}", _first_difference)


def buffers_that_differ(module: Module) -> list[Tensor]:
    """Buffers that each rank changes by its own images: all but those of `SyncBatchNorm`."""
    synced = {id(b) for m in module.modules() if isinstance(m, SyncBatchNorm) for b in m.buffers()}
    return [b for b in module.buffers() if id(b) not in synced]


def from_rank_0(group: Group, tensors: list[Tensor]) -> None:
    """Have rank 0's values; those of one dtype go together."""
    kinds: dict[Any, list[Tensor]] = {}
    for t in tensors:
        kinds.setdefault(t.dtype, []).append(t)
    for dtype, some in kinds.items():
        flat = np.concatenate([np.ravel(t._array) for t in some]).view(np.uint8)
        group.wait(group.data.Ibcast([flat, group.mpi.BYTE], 0), "a broadcast of the model")
        if group.rank:
            ends = np.cumsum([0, *[t.numel() for t in some]]).tolist()
            for k, t in enumerate(some):
                part = flat.view(dtype)[ends[k] : ends[k + 1]]
                np.copyto(t._written_by(NAME), part.reshape(t._value.shape))


def _described(module: Module) -> str:
    """Parameters and buffers: name, shape, dtype, whether it is trained."""
    parameters = [
        f"{name} {tuple(p.shape)} {p.dtype}{'' if p.requires_grad else ' frozen'}"
        for name, p in module.named_parameters()
    ]
    buffers = [f"{name} {tuple(b.shape)} {b.dtype} buffer" for name, b in module.named_buffers()]
    return ";".join([*parameters, *buffers])


def _first_difference(said: list[str]) -> str:
    """Which parameter or buffer differs first, of what all ranks say of their models."""
    name, _, text = said[0].partition(": ")
    first = text.split(";")
    for rank, text in enumerate(said):
        parts = text.partition(": ")[2].split(";")
        if parts == first:
            continue
        for a, b in zip([*first, "none"], [*parts, "none"], strict=False):
            if a != b:
                return (
                    f"{name}: the model differs between ranks: rank 0 has {a}, rank {rank} has {b}"
                )
    return f"{name}: the models agree"


def _without_prefix(
    module: DistributedDataParallel, state: State, prefix: str, metadata: State
) -> None:
    """Save under the module's own names."""
    known = getattr(state, "_metadata", {})
    for names, dot in ((state, prefix), (known, prefix)):
        inside = dot + _INSIDE
        for name in [n for n in names if n.startswith(inside)]:
            names[dot + name[len(inside) :]] = names.pop(name)


def _with_prefix(module: DistributedDataParallel, state: State, prefix: str, *rest: object) -> None:
    """Take states with and without ``module.``."""
    own = module.module.state_dict()
    for name in [n for n in state if n.startswith(prefix)]:
        rest_of_it = name[len(prefix) :]
        if rest_of_it in own or not rest_of_it.startswith(_INSIDE):
            state[prefix + _INSIDE + rest_of_it] = state.pop(name)
