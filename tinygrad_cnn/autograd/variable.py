"""The engine's view of a tensor: an array, the node that made it, and who shares its memory.

A result may be lazy: to be computed from the memory of other tensors later (`kernels.lazy`). So
that nobody can tell, every write to that memory, from wherever, goes through `Storage.written`, and
whoever hands the memory itself to somebody who may write without telling calls `Storage.expose`:
both compute first what waits. From memory that was exposed once, nothing waits to be computed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.autograd.events import observe, observed, watching
from tinygrad_cnn.autograd.layout import channels_last, lay_in_rows
from tinygrad_cnn.autograd.modes import enable_grad, is_recording
from tinygrad_cnn.autograd.node import GraphNode, Leaf, Node, SavedValue
from tinygrad_cnn.kernels import lazy
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.types import INEXACT, Array, DType, Params, Size

if TYPE_CHECKING:
    from tinygrad_cnn.autograd.op import Op
    from tinygrad_cnn.tensor import Tensor

T = TypeVar("T")
_MANY = 8  # references from which on those that are gone are looked for
_size = tuple.__new__  # not ``Size()``, which checks the sides


class Writings:
    """How often memory of any tensor was changed in place, or became exposed."""

    count = 0


writings = Writings()


class Storage:
    """Shared by a tensor, its views, what is detached from it, and what nodes keep of it.

    Attributes
    ----------
    version
        How often the memory was changed in place.
    writer
        What did so last.
    exposed
        Whether somebody else may write to the memory: the public ``.array``, ``.numpy()``, the
        owner of an array that a user gave.
    settled
        How often the memory was changed by who counts versions apart, or became exposed.
    loaded
        The memory as operations get it that can wait (`operand`), with what a kernel found out
        about its numbers, while nobody has written since.
    memory
        The storage whose memory this is, if versions are counted apart (``.data``); else None.
    whole
        The array whose memory it is, once several tensors share it: PyTorch's storage.
    """

    # Of the class, as most storages keep them all their life, and one is made for every result.
    version = 0
    writer = ""
    exposed = False
    settled = 0
    loaded: Lazy | None = None
    memory: Storage | None = None
    whole: Array | None = None
    dependents: list[weakref.ref[Lazy]] | None = None
    sharers: list[weakref.ref[Variable]] | None = None

    def with_own_version(self) -> Storage:
        """A storage of the same memory whose versions are counted apart."""
        new = Storage()
        new.memory = self if self.memory is None else self.memory
        return new

    def waits(self, lazy: Lazy) -> None:
        """Remember that ``lazy`` is yet to be computed from this memory."""
        root = self if self.memory is None else self.memory
        refs = root.dependents
        if refs is None:
            root.dependents = [weakref.ref(lazy)]
        elif len(refs) < _MANY:
            refs.append(weakref.ref(lazy))
        else:
            root.dependents = _appended(refs, lazy)

    def shared_by(self, tensor: Variable, other: Variable) -> None:
        """Remember that both tensors have this memory."""
        root = self if self.memory is None else self.memory
        if root.sharers is None:
            root.sharers = [weakref.ref(tensor)]
            root.whole = tensor._array
        root.sharers = _appended(root.sharers, other)

    def moved_to(self, whole: Array) -> None:
        """Say that ``whole`` is the memory from now on, of all who share it."""
        root = self if self.memory is None else self.memory
        root.loaded = None
        if root.whole is not None:
            root.whole = whole

    def tensors(self) -> list[Variable]:
        """All tensors that are known to share this memory; none if it is a single one's."""
        root = self if self.memory is None else self.memory
        return [t for ref in root.sharers or () if (t := ref()) is not None]

    def settle(self) -> None:
        """Compute all that waits to read this memory, and forget what was known of its numbers."""
        root = self if self.memory is None else self.memory
        root.loaded = None
        root.settled += 1
        writings.count += 1
        self.compute_waiting()

    def compute_waiting(self) -> None:
        """Compute all that waits to read this memory."""
        root = self if self.memory is None else self.memory
        waiting = root.dependents
        if waiting is not None:
            root.dependents = None
            while waiting:  # the latest first: what it stands for may be all that is ever read
                lazy = waiting.pop()()
                if lazy is not None:
                    lazy.realize()

    def expose(self) -> None:
        """Say that somebody who tells nobody may write from now on."""
        root = self if self.memory is None else self.memory
        root.exposed = True
        self.settle()

    @property
    def is_exposed(self) -> bool:
        """Whether somebody else may write to the memory."""
        return self.exposed if self.memory is None else self.memory.exposed

    def written(self, by: str) -> None:
        """Say that the numbers are about to be changed in place, and by what."""
        if self.dependents or self.loaded is not None or self.memory is not None:
            self.settle()
        self.version += 1
        writings.count += 1
        self.writer = by


def _appended(refs: list[weakref.ref[T]] | None, new: T) -> list[weakref.ref[T]]:
    """The list with a reference to ``new``; without those that are gone, if it has grown long."""
    if refs is None:
        return [weakref.ref(new)]
    if len(refs) >= _MANY:
        refs = [ref for ref in refs if ref() is not None]
    refs.append(weakref.ref(new))
    return refs


class View:
    """How a tensor looks into another one's memory: the operations that lead from base to view.

    ``node`` is the base's node when the view's own node was made. When the base has been written
    to since (through itself or through another view), the view's history is replayed from the
    base's new one. ``tracked`` is False for a view made while nothing was recorded; ``several``
    names the function if it returned several views at once. ``detour`` says that the view's node
    has another way to the base's than the steps.
    """

    __slots__ = ("base", "detour", "node", "several", "steps", "tracked")

    def __init__(
        self,
        base: Variable,
        steps: tuple[tuple[Op, Params], ...],
        tracked: bool,
    ) -> None:
        self.base = base
        self.node = base.node
        self.steps = steps
        self.tracked = tracked
        self.several = ""
        self.detour = False


class Variable:
    """What the engine knows of a tensor. `Tensor` adds the operations.

    Attributes
    ----------
    node
        The operation that made this tensor, its `Leaf` if the user did and wants a gradient, or
        None for a constant. Read it through `current_node`, as a write to shared memory may have
        made it stale.
    storage
        What it shares with all tensors of the same memory.
    view_of
        Where it looks into another tensor's memory.

    The values are read in one of four ways, which differ in what the reader may do with them:
    ``_value`` is an array or a `Lazy`, for what both have (shape, dtype, ndim, size); `_array` is
    for operations, which read it and keep it to themselves; `_written_by` returns it for a change
    in place; and `array`, like everything public, for anything.
    """

    __slots__ = ("__weakref__", "_grad", "_saved", "_value", "node", "storage", "view_of")

    tensor_type: ClassVar[type[Variable]]
    """The class of every result: set once, by the module that defines it."""

    overwrite: ClassVar[Op]
    """``overwrite(base, value, steps=...)``: the operation that writes through a view. Set once."""

    node: GraphNode | None
    storage: Storage
    view_of: View | None
    _value: Array | Lazy
    _saved: SavedValue | None
    _grad: Variable | None

    @property
    def shape(self) -> Size:
        """Its sides."""
        return _size(Size, self._value.shape)

    @property
    def dtype(self) -> DType:
        """The NumPy dtype of its elements."""
        return self._value.dtype

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return self._value.ndim

    @property
    def array(self) -> Array:
        """The values, in the tensor's own memory: a change to them changes the tensor.

        Row by row in memory, unless the tensor is a view or was made of an array that is not.

        No derivative rule notices such a change; see ``mul_`` and the like for one that is noticed.
        """
        storage = self.storage
        if not storage.is_exposed:
            with lazy.lock:  # another thread may ask for the same memory
                if not storage.is_exposed:
                    self.in_rows()
                    storage.expose()
        return self._array

    @array.setter
    def array(self, new: Array) -> None:
        if new is not self._value:  # it is after ``t.array += 1``
            storage = Storage()
            storage.expose()
            self._set_data(wrap(new, storage=storage))

    @property
    def _array(self) -> Array:
        """The values, for reading; whoever gets them does not hand them to a user."""
        value = self._value
        if type(value) is Lazy:
            value = self._value = value.realize()
        return value  # type: ignore[return-value]  # not a Lazy

    def _written_by(self, by: str) -> Array:
        """The values, for the operation ``by`` that is about to change them in place."""
        self.storage.written(by)
        self._saved = None
        value = self._value
        return value if type(value) is np.ndarray else self._array

    @property
    def _given(self) -> Array:
        """The values, for a function that is handed to `kernels.tape.do`."""
        return self._array

    def kept(self, node: GraphNode | None) -> SavedValue:
        """The values for a rule to keep, with the node that they come from.

        The same object for all rules, so that what ``.data`` is set to is seen by them.
        """
        saved = self._saved
        if saved is None or saved.node is not node or saved.seen != self.storage.version:
            saved = self._saved = SavedValue(self._value, node, self.storage)
        return saved

    def _set_data(self, new: Variable) -> None:
        """Have the values of ``new`` from now on, in its memory; what rules keep follows."""
        before, storage = self.storage, new.storage.with_own_version()
        storage.version, storage.writer = before.version, before.writer
        self._value, self.storage = new._array, storage
        storage.shared_by(new, self)
        if self._saved is not None:
            self._saved._value, self._saved.storage = self._value, storage

    def _operand(self) -> Array | Lazy:
        """The values for an operation that can wait for them (`storage.operand`)."""
        return operand(self._value, self.storage)

    def in_rows(self) -> None:
        """Have the memory row by row (`layout.lay_in_rows`)."""
        lay_in_rows(self)

    def whole(self) -> Array:
        """The array whose memory this tensor shares, or its own: what PyTorch calls its storage."""
        storage = self.storage
        whole = storage.whole if storage.memory is None else storage.memory.whole
        return self._array if whole is None else whole

    def current_node(self) -> GraphNode | None:
        """The node of this tensor's present value."""
        view = self.view_of
        if view is not None and view.tracked:
            node = view.base.node
            if node is not view.node and type(node) is Node:
                self._replay(view)
        return self.node

    def _replay(self, view: View) -> None:
        """Have a new node, which follows from the base's."""
        with enable_grad():
            again: Any = view.base
            for op, params in view.steps:
                again = op(again, **params)
        view.node, view.detour = view.base.node, False
        self._set_node(again.node)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Around an operation whose result will take this tensor's place.

        Hooks on a view see the gradients of those who used it before, and of no others. What is
        changed is the base's memory, also where a detour does not see it.
        """
        node, view = self.node, self.view_of
        if type(node) is not Node or view is None or not view.tracked:
            yield
            return
        if not node.hooks and not view.detour:
            yield
            return
        self._replay(view)
        try:
            yield
        except BaseException:  # nothing was changed
            self._set_node(node)
            raise

    def _set_node(self, node: GraphNode | None) -> None:
        """Have another history; the gradient that is to be retained is that of the new values."""
        old = self.node
        if type(old) is Node and old.retain is not None and old.retain() is self:
            old.retain = None
            if type(node) is Node:
                node.retain = weakref.ref(self)
        self.node = node

    def offset_in_storage(self) -> int:
        """How many elements of its memory lie before its first one."""
        self.in_rows()
        if not self._value.size:
            return 0
        start: int = self._array.__array_interface__["data"][0] - byte_bounds(self.whole())[0]
        return start // self._value.dtype.itemsize

    def bytes_in_storage(self) -> int:
        """How large its memory is."""
        self.in_rows()
        low, high = byte_bounds(self.whole())
        return high - low if self.whole().size else 0

    def check_writable(self, by: str, live: bool) -> None:
        """Raise RuntimeError where a write by ``by`` would lose something.

        ``live`` says whether the write itself is to be recorded.
        """
        if not self._array.flags.writeable:
            raise RuntimeError(
                f"{by}: this tensor (shape {self.shape}) is read-only memory, such as the result "
                f"of expand(), where one number stands for many; write to a clone()"
            )
        self.check_changeable(by, live)

    def check_changeable(self, by: str, live: bool) -> None:
        """Raise RuntimeError where a change by ``by``, if only of shape, would lose something."""
        why = self._why_not_changeable(live)
        if why:
            raise RuntimeError(f"{by}: {why}")

    def _why_not_changeable(self, live: bool) -> str | None:
        if not is_recording():
            return None
        if type(self.current_node()) is Leaf:
            return (
                "a leaf that requires gradients cannot be changed in place while operations are "
                "recorded; do it under no_grad(), or on a result made from it"
            )
        view, recorded = self.view_of, self.current_node() is not None
        if view is None or not (live or recorded or view.base.node is not None):
            return None
        if type(view.base.node) is Leaf or (recorded and view.base.node is None):
            return (
                "this is a view of a leaf that requires gradients, which cannot be changed in "
                "place while operations are recorded; do it under no_grad()"
            )
        if view.several:
            return (
                f"this is one of several views that {view.several}() returned, which cannot be "
                f"changed in place while operations are recorded; use an out-of-place operation, "
                f"or make a view of its own (narrow, select, a slice)"
            )
        if not view.tracked:
            return (
                "this view was made under no_grad(), or for a module's backward hook, so the "
                "change could not be recorded; make the view again, write under no_grad() or to a "
                "clone()"
            )
        return None

    def take_history(self, result: Variable) -> None:
        """Say that this tensor, whose values were changed to those of ``result``, has its history.

        What it is a view of has then been overwritten there, and the view follows from that.
        """
        if not is_recording():
            return
        node, view = result.node, self.view_of
        if type(node) is Node and node.saved and type(node.saved.get("y")) is SavedValue:
            node.saved["y"] = SavedValue(self._value, None, self.storage)  # now it lies here
        if view is None or (node is None and view.base.node is None):
            self._set_node(node)
            return
        if watching and observed(self._overwrite_base):
            arguments = (view.base, result), {"steps": view.steps}
            observe("operation", "overwrite", self._overwrite_base, *arguments)
        else:
            self._overwrite_base(view.base, result, steps=view.steps)
        self.current_node()  # at once: a gradient that is to be retained is that of the new values

    def _overwrite_base(self, base: Variable, result: Variable, *, steps: Any) -> Variable:
        """Record that ``base``, of which this is a view, was written to, and return it."""
        arrays, parents = (base._array, self._array), (base.node, result.node)
        whole = self.overwrite.record(
            base._array, (base, result), arrays, parents, {"steps": steps}, {}
        )
        base._set_node(whole.node)
        return base

    def become(self, view: Variable, by: str) -> None:
        """Be ``view``, which ``by`` made of this tensor: of another shape, in the same memory."""
        made = view.view_of
        self.view_of = None if made is None or made.base is self else made
        self.storage.written(by)
        self._saved = None
        self._value = view._array
        if is_recording():
            self._set_node(view.node)
        if type(self.node) is Leaf:
            self.node.shape = self._value.shape

    def views(self, but: Variable | None = None) -> list[View]:
        """How other tensors, ``but`` for one, look into this one."""
        found = [t.view_of for t in self.storage.tensors() if t is not but]
        return [v for v in found if v is not None and v.base is self]

    def want_gradient(self, wanted: bool) -> None:
        """Make this a leaf that collects a gradient, or a constant.

        Raises
        ------
        RuntimeError
            The dtype cannot have gradients, or the tensor is a result whose gradient is not
            optional.
        """
        node = self.current_node()
        if wanted:
            if self._value.dtype.kind not in INEXACT:
                raise RuntimeError(
                    f"requires_grad: dtype is {self._value.dtype} but only floating and complex "
                    f"tensors can require gradients"
                )
            if node is None:
                self.node = Leaf(self)
        elif type(node) is Leaf:
            self.node = None
        elif node is not None:
            raise RuntimeError(
                f"requires_grad: this tensor is the result of {node.name()}; its flag can only be "
                f"changed on leaves. Use detach() for a constant with the same values"
            )


_new = object.__new__


def wrap(value: object, node: GraphNode | None = None, storage: Storage | None = None) -> Tensor:
    """A tensor around ``value`` (an array or a `Lazy`, not copied), made by ``node``.

    ``storage`` is that of the tensor whose memory it shares; without, the memory is its own.
    """
    out: Tensor = _new(Variable.tensor_type)  # type: ignore[assignment]
    out.node = node
    out.storage = storage = Storage() if storage is None else storage
    out.view_of = out._saved = out._grad = None
    if type(value) is np.ndarray:
        out._value = value
    elif type(value) is Lazy:
        if value.expr[0] == "load":
            out._value = value.expr[1]
            if storage.memory is None:
                storage.loaded = value
        else:
            out._value = value
    else:  # a ufunc on 0-d arrays returns a NumPy scalar: tensors always hold arrays
        out._value = np.asarray(value)
    return out


def written_by(tensors: Sequence[Variable], by: str) -> list[Array]:
    """The values of many tensors, each as by `Variable._written_by`."""
    found: list[Array] = []
    for t in tensors:
        storage, value = t.storage, t._value
        if storage.dependents or storage.loaded is not None or storage.memory is not None:
            storage.settle()
        storage.version += 1
        storage.writer = by
        t._saved = None
        found.append(value if type(value) is np.ndarray else t._array)
    writings.count += len(found)
    return found


def operand(value: Array | Lazy, storage: Storage) -> Array | Lazy:
    """A tensor's value for an operation that can wait for it: a `Lazy`, or the array where no
    result may wait to be computed from it.
    """
    if type(value) is Lazy or value.ndim != 4:
        return value
    root = storage if storage.memory is None else storage.memory
    if root.exposed:
        return value
    loaded = root.loaded
    if loaded is None or loaded.expr[1] is not value:
        loaded = root.loaded = Lazy(("load", value), value)
    return loaded


def depend(lazy: Lazy, name: str, operands: Iterable[Variable | SavedValue]) -> None:
    """Let ``lazy``, made by the operation ``name`` from ``operands``, wait for a reader.

    Operands have a `Storage` as ``storage`` and an array or a `Lazy` as ``_value``.
    """
    names: tuple[str, ...] = (name,)
    for x in operands:  # what these wait for themselves computes them first, before it changes
        x.storage.waits(lazy)
        if type(x._value) is Lazy:
            names = x._value.names + names
    lazy.names = names


def in_order(array: Array) -> Array:
    """A new result as it should lie: row by row, or as images do between kernels."""
    rows = array.flags.c_contiguous or channels_last(array)
    return array if rows else do(np.ascontiguousarray, array)
