"""Gradients in flat buckets, each reduced while the backward pass still makes the others.

MPI moves data only while it is asked to: every gradient that arrives asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.graph import walking
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.distributed.group import Group
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.types import Array

FIRST = 1 << 20  # bytes of the first bucket: the sooner it is full, the sooner it goes
MOST, LEAST = 25 << 20, 1 << 18  # bytes of a bucket, if nobody says how many
SEVERAL = 8  # buckets of a model, so that most of it goes while backward runs
NAME = "DistributedDataParallel"


class Bucket:
    """Gradients of some parameters, of one dtype, one after the other.

    Attributes
    ----------
    indices
        the parameters' numbers.
    flat
        the gradients, and in the end their sum over all ranks.
    """

    def __init__(self, indices: Sequence[int], parameters: Sequence[Parameter]) -> None:
        self.indices = list(indices)
        sizes = [parameters[i].numel() for i in indices]
        ends = np.cumsum([0, *sizes]).tolist()
        self.places = {i: slice(ends[k], ends[k + 1]) for k, i in enumerate(indices)}
        dtype = parameters[indices[0]].dtype
        wide = dtype.kind in "fV" and dtype.itemsize == 2  # as `distributed.exchange`
        self.flat: Array = np.zeros(ends[-1], np.float32 if wide else dtype)
        self.missing = set(self.indices)
        self.request: Any = None

    def begin(self) -> None:
        """Forget the gradients."""
        self.missing, self.request = set(self.indices), None


class Reducer:
    """Averages gradients over all ranks, in place, in the backward pass that makes them.

    Buckets are filled in the order in which gradients came in the first backward pass (of rank 0),
    and sent in that order by every rank.

    Attributes
    ----------
    expects
        whether the next backward pass averages; set for each forward pass.
    waited, apart
        seconds that backward passes have waited at their end: for buckets, once all ranks were
        there, and before that for other ranks.
    sent, hidden
        bytes of gradients that were reduced, and those of them before backward had ended.
    """

    def __init__(
        self,
        group: Group,
        named: Sequence[tuple[str, Parameter]],
        most: int | None,
        unused: bool,
        *,
        name: str = NAME,
        hooks: bool = True,
    ) -> None:
        self.group, self.unused, self.name = group, unused, name
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        total = sum(p.numel() * p.dtype.itemsize for p in self.parameters)
        self.most = min(MOST, max(total // SEVERAL, LEAST)) if most is None else most
        self.comm = group.data.Dup()
        self.expects = False
        self.waited, self.apart = 0.0, 0.0
        self.sent = self.hidden = 0
        self.early = hooks  # whether buckets go while backward still runs
        self._fill(list(reversed(range(len(named)))))
        self._rebuilt = False
        self._arrived: list[int] = []
        self._running = False
        self.handles = [
            p.register_post_accumulate_grad_hook(self._hook(i))
            for i, (_, p) in enumerate(named if hooks else ())
        ]

    def _fill(self, order: Sequence[int]) -> None:
        """Make buckets of parameters in this order."""
        groups: list[list[int]] = []
        size, limit = 0, min(FIRST, self.most)
        for i in order:
            p = self.parameters[i]
            nbytes = p.numel() * p.dtype.itemsize
            same = groups and self.parameters[groups[-1][-1]].dtype == p.dtype
            if not same or size + nbytes > limit:
                limit = self.most if groups else limit
                groups.append([])
                size = 0
            groups[-1].append(i)
            size += nbytes
        self.buckets = [Bucket(indices, self.parameters) for indices in groups]
        self._bucket_of = {i: b for b in self.buckets for i in b.indices}
        self._next = 0

    # ---- in the backward pass ----------------------------------------------------------------

    def _hook(self, i: int) -> Callable[[Any], None]:
        def arrived(tensor: Parameter) -> None:
            if self.expects:
                self._arrive(i, tensor)

        return arrived

    def _arrive(self, i: int, tensor: Parameter) -> None:
        if not self._running:
            walk = walking.get()
            if walk is None:
                raise RuntimeError(
                    f"{self.name}: backward(inputs=...) is not averaged over the ranks; use "
                    f"backward() without `inputs`, or no_sync()"
                )
            self.begin()
            walk.after.append(self.finish)
        self._put(i, tensor)
        if self.early:
            self.send()

    def begin(self) -> None:
        """Forget what there was."""
        self._running, self._next = True, 0
        self._arrived.clear()
        for bucket in self.buckets:
            bucket.begin()

    def _put(self, i: int, tensor: Parameter) -> None:
        bucket, g = self._bucket_of[i], tensor._grad
        if g is not None:
            place = bucket.flat[bucket.places[i]]
            np.copyto(place.reshape(g._value.shape), g._array, casting="same_kind")
            bucket.missing.discard(i)
            self._arrived.append(i)

    def send(self, all_of_them: bool = False) -> None:
        """Start the buckets that are full, in their order; have MPI go on with the others."""
        mpi = self.group.mpi
        for bucket in self.buckets[: self._next]:
            if bucket.request is not None:
                bucket.request.Test()
        while self._next < len(self.buckets):
            bucket = self.buckets[self._next]
            if bucket.missing and not all_of_them:
                return
            for i in bucket.missing:
                bucket.flat[bucket.places[i]] = 0
            bucket.request = self.comm.Iallreduce(mpi.IN_PLACE, bucket.flat, op=mpi.SUM)
            self.sent += bucket.flat.nbytes
            self._next += 1

    def finish(self) -> None:
        """Wait for all ranks' gradients, and have their means as ``.grad``.

        Raises
        ------
        RuntimeError
            A parameter has no gradient on some rank; it is raised on all of them.
        """
        self._running = False
        begin = time.perf_counter()
        sent = self.buckets[: self._next]
        self.hidden += sum(b.flat.nbytes for b in sent if b.request.Test())
        self.send(all_of_them=True)
        missing = sorted(set(range(len(self.parameters))).difference(self._arrived))
        names = ", ".join(self.names[i] for i in missing)
        used = self._used(missing) if self.unused else None
        doing = f"backward of {self.name}"
        if used is None and names:
            doing += f": no gradient for {names}"
        meeting = self.group.meeting(doing)
        meeting.gather()
        here = time.perf_counter()
        for bucket in self.buckets:
            self.group.wait(bucket.request, doing)
        self.waited += time.perf_counter() - here
        self.apart += here - begin
        meeting.hold(self._without_gradient)
        if used is None and names:
            raise RuntimeError(self._without_gradient([doing] * self.group.size))
        self._take(used)
        if not self._rebuilt:
            self._rebuild()

    def _used(self, missing: list[int]) -> Array:
        """Which parameters have a gradient on some rank (n,)."""
        used = np.ones(len(self.parameters), np.uint8)
        used[missing] = 0
        mpi = self.group.mpi
        self.group.wait(self.comm.Iallreduce(mpi.IN_PLACE, used, op=mpi.MAX), self.name)
        return used

    def _take(self, used: Array | None) -> None:
        for bucket in self.buckets:
            np.multiply(bucket.flat, bucket.flat.dtype.type(1 / self.group.size), out=bucket.flat)
            for i, place in bucket.places.items():
                if used is not None and not used[i]:
                    continue
                parameter = self.parameters[i]
                part = bucket.flat[place].reshape(parameter._value.shape)
                if parameter._grad is None:
                    parameter._grad = wrap(part.astype(parameter.dtype))
                else:
                    np.copyto(parameter._grad._written_by(self.name), part, casting="unsafe")

    def _rebuild(self) -> None:
        """Have buckets in the order in which rank 0's gradients came."""
        rest = sorted(set(range(len(self.parameters))).difference(self._arrived))
        order = np.array([*self._arrived, *rest], np.int64)
        self.group.wait(self.comm.Ibcast(order, 0), self.name)
        self._fill(order.tolist())
        self._rebuilt = True

    def reduce(self) -> None:
        """Average the gradients that there are, after a backward pass without hooks."""
        self.begin()
        for i, parameter in enumerate(self.parameters):
            self._put(i, parameter)
        self.finish()

    def _without_gradient(self, said: list[str]) -> str:
        """What is wrong, by what each rank says."""
        lacking: dict[str, list[str]] = {}
        for rank, text in enumerate(said):
            names = text.partition(": no gradient for ")[2]
            for name in filter(None, names.split(", ")):
                lacking.setdefault(name, []).append(str(rank))
        few = list(lacking.items())[:8]
        detail = "; ".join(f"{name} on rank {', '.join(ranks)}" for name, ranks in few)
        more = f" and {len(lacking) - len(few)} more" if len(lacking) > len(few) else ""
        unused = "find_unused_parameters=True, or " if self.name == NAME else ""
        return (
            f"{self.name}: parameters without a gradient: {detail}{more}; what the loss does not "
            f"depend on needs {unused}requires_grad=False"
        )
