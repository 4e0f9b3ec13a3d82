"""Every kernel that exists twice: each call goes to the compiled one if that pays, else to NumPy's.

A compiled kernel has its reference's name and signature and answers None, before it
does anything, to arguments that it does not handle: other layouts, empty arrays, shapes that do
not fit (the reference raises the error). It must not write into its arguments, so that a call that
fails for want of machine code (`KernelError`) can always be repeated by the reference. Whatever
else is raised meanwhile, by a signal handler or for want of memory, is the caller's. Some take
arrays that are still to be computed (`lazy`); the reference gets them realized.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np

from tinygrad_cnn.kernels import choice, memory, reference, threads
from tinygrad_cnn.kernels.choice import KernelError, NoCompiler, chosen
from tinygrad_cnn.kernels.tape import taping
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.kernels.lazy import Lazy

Function: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=Function)

# Numbers in the first argument from which on a compiled kernel is used. It is faster from some
# hundred on, but small arrays would make everybody wait for the compiler who only tries something.
MIN_JIT_SIZE = 1 << 12
MIN_JIT_IMAGES = 1 << 10  # who has images has convolutions, which pay much earlier
PRODUCTS_PER_NUMBER = 1 << 6  # multiply-adds that count as one: gradients of few, with many filters
MIN_JIT_LAYER = 1 << 6  # of what networks end with: some ten numbers of one image
MIN_JIT_SCORES = 10
MIN_JIT_LINEAR = 1 << 11  # multiplications of a linear layer, of four rows at least
MIN_JIT_PRODUCT = 1 << 21  # multiplications
MIN_JIT_PASS = 1 << 16  # where NumPy needs one pass too
MIN_JIT_SUM = 1 << 15  # and where it reads, but does not write

_FLOAT32 = np.dtype(np.float32)
_MODULES: dict[str, str] = {}  # of compiled kernels, by name
# Those in use; None where there is none or it has failed.
_compiled: dict[str, Function | None] = {}


def _load(name: str) -> Function | None:
    """Import the compiled kernel, and with the first one the pool of threads."""
    found = None
    if choice.can_load():
        module = f"{__package__}.jit.{_MODULES.get(name, 'pointwise.optimizers')}"
        try:
            found = getattr(threads.run_in_fresh_thread(lambda: import_module(module)), name, None)
        except KernelError as error:
            if getattr(error.__cause__, "name", None) != module:
                raise
    _compiled[name] = found
    return found


def _give_up(name: str, error: KernelError) -> None:
    _compiled[name] = None
    warnings.warn(
        f"{name}: the compiled kernel does not work here and NumPy's is used from now on ({error})",
        RuntimeWarning,
        stacklevel=4,
    )


def fuses(x: Array | Lazy) -> bool:
    """Return whether what is computed from x (n, c, h, w) may be left lazy: compiled kernels are
    in use for arrays like it.
    """
    if x.dtype != _FLOAT32 or x.ndim != 4 or x.size == 0:
        return False
    wanted = chosen.get()
    if wanted == "reference" or (wanted == "auto" and x.size < MIN_JIT_IMAGES):
        return False
    if "conv2d" not in _compiled:
        try:
            _load("conv2d")
        except KernelError as error:
            if wanted == "jit":
                raise
            _give_up("conv2d", error)
    return _compiled["conv2d"] is not None


def step(formula: str, rows: Sequence[tuple[Array, ...]], *numbers: Any) -> bool:
    """Change arrays in place by a formula of `kernels/jit/pointwise/optimizers.py`, with a compiled
    kernel; False, and nothing done, if there is none for these arrays.

    A row has a parameter, its gradient and its states, arrays of one shape, and () for the count of
    its steps, if the formula has one; for ``"average"`` a mean and a parameter, for ``"clip"`` a
    gradient. `numbers` are what the formula says: an array, mostly, which is read by the kernel.
    """
    wanted = chosen.get()
    if wanted == "reference" or not rows:
        return False
    total = 0
    for row in rows:
        total += row[0].size
        for array in row:
            if array.dtype != _FLOAT32:
                return False
            flags = array.flags
            if not (flags.carray or (flags.c_contiguous and flags.aligned)):
                return False
    if wanted == "auto" and total < MIN_JIT_SIZE:
        return False
    try:
        compiled = _compiled[formula] if formula in _compiled else _load(formula)
        if compiled is None:
            return False
        compiled(rows, *numbers)
    except KernelError as error:  # before anything is written
        if wanted == "jit":
            raise
        if not isinstance(error, NoCompiler):
            _give_up(formula, error)
        return False
    return True


def _columns(*arrays: Array | None) -> int:
    for a in arrays:
        if a is not None:
            return int(a.shape[1])
    return 0


def _conv_size(x: Array, w: Array, *_: object) -> int:
    """Return the numbers of x, or more if there are many filters for few numbers."""
    channels = x.shape[1] if x.ndim == 4 else x.size
    products = x.size * w.size // max(channels, 1)
    return max(x.size, products // PRODUCTS_PER_NUMBER)


def _size(x: Array, *_: object, **__: object) -> int:
    size: int = x.size
    return size


def with_fallback(
    plain: F,
    module: str,
    least: int = MIN_JIT_SIZE,
    size: Callable[..., int] = _size,
    hints: tuple[str, ...] = (),
    *,
    lazy: bool = True,
    exact: bool = False,
) -> F:
    """Return the function that calls `plain` or, if `size` of the arguments is at least `least`,
    its compiled twin, which is in a `module` of ``kernels/jit``.

    `hints` are keyword arguments for the compiled kernel alone: what it may do beside. Arguments
    may be `lazy`. If results are NumPy's, bit by bit (`exact`), small arrays get the compiled
    kernel too where a call is recorded: its launch is repeated without Python.
    """
    name = plain.__name__
    _MODULES[name] = module

    def realized(*args: Any, **kwargs: Any) -> Any:
        for hint in hints:
            kwargs.pop(hint, None)
        return plain(*[a.realize() if hasattr(a, "realize") else a for a in args], **kwargs)

    by_numpy: Function = realized if lazy or hints else plain
    here = memory.here

    of_first, choose = size is _size, chosen.get
    recorded = min(least, MIN_JIT_LAYER) if exact else least

    @functools.wraps(plain)
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        stack = here.stack
        top = stack.top
        try:
            wanted = choose()
            if wanted == "reference" or x.dtype != _FLOAT32:
                return by_numpy(x, *args, **kwargs)
            if wanted == "auto":
                count = x.size if of_first else size(x, *args)
                if count < (recorded if taping else least):
                    return by_numpy(x, *args, **kwargs)
            try:
                compiled = _compiled[name] if name in _compiled else _load(name)
                if compiled is None:
                    return by_numpy(x, *args, **kwargs)
                result = compiled(x, *args, **kwargs)
            except NoCompiler:
                if wanted == "jit":
                    raise
                return by_numpy(x, *args, **kwargs)
            except KernelError as error:
                if wanted == "jit":
                    raise
                result = by_numpy(x, *args, **kwargs)  # raises if the arguments were wrong
                _give_up(name, error)
                return result
            return by_numpy(x, *args, **kwargs) if result is None else result
        except BaseException:
            stack.top = top  # in one step: see `memory.here`
            raise

    call.hints = hints  # type: ignore[attr-defined]
    return cast(F, call)


activate = with_fallback(reference.activate, "pointwise.activations", lazy=False)
activate_backward = with_fallback(reference.activate_backward, "pointwise.activations", lazy=False)
add = with_fallback(reference.add, "pointwise.elementwise", MIN_JIT_PASS, exact=True)
add_ = with_fallback(reference.add_, "pointwise.elementwise", MIN_JIT_LAYER)
add_mesh = with_fallback(reference.add_mesh, "load.mesh", lazy=False)
adaptive_max_index = with_fallback(
    reference.adaptive_max_index, "pool.adaptive_max", MIN_JIT_IMAGES, lazy=False
)
adaptive_avg_pool2d = with_fallback(reference.adaptive_avg_pool2d, "pool.avg_pool", MIN_JIT_IMAGES)
adaptive_avg_pool2d_input = with_fallback(
    reference.adaptive_avg_pool2d_input, "pool.avg_pool", MIN_JIT_LAYER
)
attention = with_fallback(reference.attention, "attention", lazy=False)
attention_backward = with_fallback(reference.attention_backward, "attention", lazy=False)
avg_pool2d = with_fallback(reference.avg_pool2d, "pool.avg_pool", MIN_JIT_IMAGES)
avg_pool2d_input = with_fallback(reference.avg_pool2d_input, "pool.avg_pool", MIN_JIT_LAYER)
bag_sum = with_fallback(reference.bag_sum, "pointwise.bags", lazy=False)
bag_sum_backward = with_fallback(reference.bag_sum_backward, "pointwise.bags", lazy=False)
batch_norm = with_fallback(reference.batch_norm, "norm.batch_norm", MIN_JIT_IMAGES)
batch_norm_backward: Function = with_fallback(
    reference.batch_norm_backward, "norm.batch_norm_backward", MIN_JIT_IMAGES
)
channel_affine = with_fallback(reference.channel_affine, "norm.batch_norm", MIN_JIT_IMAGES)
channel_gradient = with_fallback(
    reference.channel_gradient, "norm.batch_norm_backward", MIN_JIT_IMAGES
)
channel_moments = with_fallback(reference.channel_moments, "norm.moments", MIN_JIT_IMAGES)
are_far = with_fallback(
    reference.are_far, "norm.batch_norm", MIN_JIT_IMAGES, lambda mean, *rest: rest[-1], lazy=False
)
channel_numbers = with_fallback(
    reference.channel_numbers, "norm.batch_norm", MIN_JIT_IMAGES,
    lambda mean, *rest: mean.size * rest[4], lazy=False,
)  # fmt: skip
conv2d: Function = with_fallback(
    reference.conv2d, "conv.conv", MIN_JIT_IMAGES, _conv_size, hints=("moments", "keep")
)
conv2d_input: Function = with_fallback(
    reference.conv2d_input, "conv.conv", MIN_JIT_IMAGES, _conv_size, hints=("relu_input",)
)
conv2d_weight: Function = with_fallback(
    reference.conv2d_weight, "conv.conv", MIN_JIT_IMAGES, lambda g, x: max(g.size, x.size)
)
cross_entropy = with_fallback(
    reference.cross_entropy, "pointwise.softmax", MIN_JIT_SCORES, lazy=False
)
cross_entropy_backward = with_fallback(
    reference.cross_entropy_backward,
    "pointwise.softmax",
    MIN_JIT_SCORES,
    lambda g, x, *_: x.size,
    lazy=False,
)
cumsum = with_fallback(reference.cumsum, "pointwise.sums", lazy=False)
draw_mask = with_fallback(
    reference.draw_mask,
    "pointwise.masks",
    size=lambda numbers, shape, _: math.prod(shape),
    lazy=False,
    exact=True,
)
embed = with_fallback(reference.embed, "pointwise.embed", MIN_JIT_IMAGES)
group_norm = with_fallback(reference.group_norm, "norm.group_norm", lazy=False)
group_norm_backward = with_fallback(reference.group_norm_backward, "norm.group_norm", lazy=False)
in_rows = with_fallback(reference.in_rows, "load.images", MIN_JIT_LAYER, lazy=False)
layer_norm = with_fallback(reference.layer_norm, "norm.layer_norm")
layer_norm_backward = with_fallback(reference.layer_norm_backward, "norm.layer_norm")
leaky_relu = with_fallback(reference.leaky_relu, "pointwise.elementwise")
leaky_relu_backward = with_fallback(reference.leaky_relu_backward, "pointwise.elementwise")
linear = with_fallback(
    reference.linear,
    "linear.matmul",
    MIN_JIT_LINEAR,
    lambda x, w, *_: w.size * max(len(x), 4),
)
linear_backward = with_fallback(
    reference.linear_backward,
    "linear.matmul",
    MIN_JIT_LINEAR,
    lambda g, x, w, _: g.size * _columns(x, w) * max(4 // max(len(g), 1), 1),
)
log_softmax = with_fallback(reference.log_softmax, "pointwise.softmax", lazy=False)
log_softmax_backward = with_fallback(
    reference.log_softmax_backward, "pointwise.softmax", lazy=False
)
matmul = with_fallback(
    reference.matmul,
    "linear.matmul",
    MIN_JIT_PRODUCT,
    lambda a, b: a.size * b.shape[1] if a.ndim == b.ndim == 2 else 0,
)
max_pool2d: Function = with_fallback(reference.max_pool2d, "pool.max_pool", MIN_JIT_IMAGES)
max_pool2d_gather = with_fallback(reference.max_pool2d_gather, "pool.max_pool", MIN_JIT_LAYER)
max_pool2d_scatter = with_fallback(reference.max_pool2d_scatter, "pool.max_pool", MIN_JIT_LAYER)
_move_statistics = with_fallback(
    reference.move_statistics, "norm.batch_norm", MIN_JIT_IMAGES,
    lambda running, *rest: running.size * rest[-1], lazy=False,
)  # fmt: skip
mul = with_fallback(reference.mul, "pointwise.elementwise", MIN_JIT_PASS, exact=True)
recurrence = with_fallback(reference.recurrence, "recurrent", lazy=False)
recurrence_backward = with_fallback(reference.recurrence_backward, "recurrent", lazy=False)
relu = with_fallback(reference.relu, "pointwise.elementwise", MIN_JIT_LAYER)
relu_backward = with_fallback(reference.relu_backward, "pointwise.elementwise", MIN_JIT_LAYER)
softmax = with_fallback(reference.softmax, "pointwise.softmax", lazy=False)
softmax_backward = with_fallback(reference.softmax_backward, "pointwise.softmax", lazy=False)
resample = with_fallback(reference.resample, "load.resample", lazy=False)
sample_taps = with_fallback(reference.sample_taps, "load.taps", lazy=False)
spread_taps = with_fallback(reference.spread_taps, "load.taps", lazy=False)
weigh_taps = with_fallback(reference.weigh_taps, "load.taps", lazy=False)
sum_squares = with_fallback(reference.sum_squares, "pointwise.sums", lazy=False)
take_mesh = with_fallback(reference.take_mesh, "load.mesh", lazy=False)
_sum = with_fallback(reference.sum, "pointwise.sums", MIN_JIT_SUM, lazy=False)


def sum(
    x: Array, axes: tuple[int, ...], keepdims: bool = False, divisor: float | None = None
) -> Array:  # fmt: skip
    """Do as `reference.sum`, small sums without a question more: they are everywhere."""
    if x.size < MIN_JIT_SUM and chosen.get() != "jit":
        return reference.sum(x, axes, keepdims, divisor)
    return _sum(x, axes, keepdims, divisor)


def move_statistics(
    running_mean: Array | None, running_var: Array | None, mean: Array, var: Array,
    momentum: float, count: int,
) -> None:  # fmt: skip
    """Do as `reference.move_statistics`; a single one is moved by NumPy."""
    if running_mean is None or running_var is None:
        reference.move_statistics(running_mean, running_var, mean, var, momentum, count)
    else:
        _move_statistics(running_mean, running_var, mean, var, momentum, count)
