"""Calls through which gradients are to come back: recorded in two halves, replayed in two.

The first such call runs as usual, recorded, but its graph is handed out as one node (`FirstCall`).
When a backward pass comes to it, the walk through the graph is recorded too. From then on a call is
the program's first half, and makes one node (`replayed.ReplayedCall`) that has the program's memory
until it is freed; a backward pass that comes in the same way is the second half. One that does not
runs the function again as it ran then, for a graph that can be walked.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinygrad_cnn.autograd.events import is_watched, watching
from tinygrad_cnn.autograd.node import Gradients, Node
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.kernels import memory
from tinygrad_cnn.kernels.tape import taping
from tinygrad_cnn.programs.halves import own
from tinygrad_cnn.programs.inner import InnerGraph
from tinygrad_cnn.programs.memory import Ref
from tinygrad_cnn.programs.plan import Plan, keeps, unusual, way_of
from tinygrad_cnn.programs.program import Program
from tinygrad_cnn.programs.recorder import Recorder
from tinygrad_cnn.programs.replayed import Pair
from tinygrad_cnn.programs.results import built_of
from tinygrad_cnn.programs.unit import Refused


class FirstCall:
    """A call that ran as usual, and whose backward pass is to be recorded."""

    def __init__(self, plan: Plan, recorder: Recorder, inputs: list[Ref], ends: list[Node]) -> None:
        self.plan, self.inputs = plan, inputs
        self.graph = InnerGraph(ends, recorder.began)
        self.recorder: Recorder | None = recorder
        self.split = len(recorder.units)
        recorder.regions.loosen()

    def result(self, live: Sequence[Variable], result: Any, leaves: Sequence[Any]) -> Any:
        """The result, whose tensors lead to one node."""
        node = self.plan.node(self, leaves)
        ends = [self.plan.end(node, number) for number in range(len(live))]

        def with_end(value: Any) -> Any:
            for tensor, end in zip(live, ends, strict=True):
                if value is tensor:
                    return wrap(tensor._value, end, tensor.storage)
            built = None if isinstance(value, Variable) else built_of(value)
            return value if built is None else built[0](list(map(with_end, built[1])))

        return with_end(result)

    def backward(
        self, node: Node, gradients: Mapping[int, Any], wanted: tuple[bool, ...], recording: bool
    ) -> Gradients | InnerGraph:
        """Gradients of the edges, or the graph that is to be walked for them."""
        recorder = self.recorder
        if watching and is_watched():  # it is recorded another time
            return self.graph
        why = unusual(recording)
        if recorder is None or taping or why or sys.getprofile() is not None:
            if recorder is not None and self.plan.key in self.plan.owner.waiting:
                self.plan.owner.waiting[self.plan.key].why = why
            return self.graph
        self.recorder = None  # once it was walked, another walk is the usual one
        plan, owner = self.plan, self.plan.owner
        arrays = {i: gradients[i]._array for i in sorted(gradients)}
        way = way_of(arrays, wanted, node)
        watched = [  # no values: these die as the walk goes on
            (plan.place(v), op, name, v._value.shape)
            for v, op, name in self.graph.saved(list(arrays), wanted)
        ]
        copies = {i: own(array, exactly=True) for i, array in arrays.items()}
        with owner.lock:
            with recorder:
                recorder.more(list(copies.values()))
                given = {i: wrap(copy) for i, copy in copies.items()}
                found = self.graph.walk(given, wanted, keeps(), way[-1])
                edges = [None if g is None else recorder.operand(g._array) for g in found]
            try:
                recorder.finish()
                more = [recorder.operand(copy) for copy in copies.values()]
                program = Program(recorder, self.inputs, [], plan.refs, self.split, more, edges)
                pair = Pair(plan, program, way, sorted(arrays), watched)
                if owner.fullgraph and pair.python():
                    raise Refused(
                        f"{pair.python()[0].name} is called in Python, between two parts of the "
                        f"program"
                    )
                memory.clear()
                owner.recorded(plan.key, pair)
            except Refused as error:
                owner.refused(plan.key, str(error))
        return found


class Waiting:
    """A signature whose first call was recorded, and no backward pass has come to it yet.

    Where none ever comes, recording is tried again after 2, 4, 8 … calls.
    """

    def __init__(self) -> None:
        self.tries = self.calls = 0
        self.why = ""  # backward passes that came were not recorded
        self.first: Callable[[], FirstCall | None] = lambda: None

    def began(self, call: FirstCall) -> None:
        """A call was recorded."""
        self.tries, self.calls = self.tries + 1, 0
        self.first = weakref.ref(call)

    def is_due(self) -> bool:
        """Whether the next call is to be recorded."""
        self.calls += 1
        call = self.first()
        return (call is None or call.recorder is None) and self.calls >= 1 << min(self.tries, 20)
