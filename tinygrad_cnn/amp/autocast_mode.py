"""`autocast`, and what asks for and sets its state."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

from tinygrad_cnn.autograd.rounding import Cache, Fast, bfloat16, changes, converted, fast, use
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions.convert import dtype_of
from tinygrad_cnn.types import AnyFunction, DType, DTypeLike

_DTYPES = ("bfloat16", "float16")


class _State(NamedTuple):
    """What a block of autocast changes and restores, beside `rounding.fast`."""

    dtype: DType | None = None  # None for bfloat16, which need not be there
    cache: Cache | None = None  # of the outermost block


_NO_BLOCK = _State()
_state: ContextVar[_State] = ContextVar("tinygrad_cnn.autocast_state", default=_NO_BLOCK)


def _on_cpu(name: str, device_type: object) -> bool:
    if not isinstance(device_type, str):
        raise ArgumentError(
            f"{name}: `device_type` is {device_type!r}, expected a name such as 'cpu'"
        )
    return device_type.partition(":")[0] == "cpu"


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` does something on a device: on the CPU."""
    return _on_cpu("is_autocast_available", device_type)


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether operations on a device run under `autocast`; PyTorch's default is "cuda"."""
    return _on_cpu("is_autocast_enabled", device_type) and fast.get() is not None


def is_autocast_cpu_enabled() -> bool:
    """``is_autocast_enabled("cpu")``."""
    return is_autocast_enabled("cpu")


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype that `autocast` takes: bfloat16 on the CPU unless another is set."""
    if not _on_cpu("get_autocast_dtype", device_type):
        return dtype_of("float16")
    dtype = _state.get().dtype
    return bfloat16() if dtype is None else dtype


def get_autocast_cpu_dtype() -> DType:
    """``get_autocast_dtype("cpu")``."""
    return get_autocast_dtype("cpu")


def set_autocast_dtype(device_type: str, dtype: DTypeLike) -> None:
    """Set the dtype that `autocast` takes on a device; of no effect on others than the CPU."""
    if _on_cpu("set_autocast_dtype", device_type):
        wanted = dtype_of(dtype, "set_autocast_dtype")
        default = wanted.name == "bfloat16"
        _state.set(_state.get()._replace(dtype=None if default else wanted))
        now = fast.get()
        if now is not None:
            fast.set(Fast(wanted, now.cache))


def set_autocast_enabled(device_type: str, enabled: bool) -> None:
    """Turn autocast on or off, without a block; of no effect on other devices than the CPU."""
    if _on_cpu("set_autocast_enabled", device_type):
        use()
        fast.set(Fast(get_autocast_dtype("cpu"), _state.get().cache) if enabled else None)


def clear_autocast_cache() -> None:
    """Forget the parameters that were converted in the blocks that are open."""
    cache = _state.get().cache
    if cache is not None:
        cache.clear()


class autocast:  # PyTorch's name
    """A block, or a decorated function, in which operations choose between two dtypes.

    Matrix products, convolutions and attention run in bfloat16: their tensors are converted, but
    float64 ones. Losses, `prod` and the like run in float32. All others run in the dtypes of
    their tensors, the widest if they are mixed. Parameters, and so their gradients, stay float32.
    Blocks nest, and one with ``enabled=False`` undoes those around it.

    As on the CPU bfloat16 is computed in float32, this saves memory, and no time.

    Parameters
    ----------
    device_type
        "cpu". For another device, as none is here, it is disabled, with a warning.
    dtype
        bfloat16 unless given, or float16. With another one it is disabled, with a warning.
    enabled
        with False everything runs in the dtypes of its tensors.
    cache_enabled
        whether a parameter that is used several times in the outermost block is converted once.

    Raises
    ------
    ValueError
        ``device_type`` is no name.
    ModuleNotFoundError
        ml_dtypes, which has bfloat16, is not installed.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> w = tg.ones(2, 2, requires_grad=True)
    >>> with tg.autocast("cpu", dtype=tg.float16):
    ...     y = tg.ones(2, 2) @ w
    >>> y.dtype, w.dtype
    (dtype('float16'), dtype('float32'))
    """

    def __init__(
        self,
        device_type: str,
        dtype: DTypeLike = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        on_cpu = _on_cpu("autocast", device_type)
        self.device, self.fast_dtype = device_type, dtype
        self._cache_enabled = cache_enabled is not False
        self._before: list[tuple[Fast | None, _State]] = []
        if enabled and not on_cpu:
            warnings.warn(
                f"autocast: `device_type` is {device_type!r}, but there is only 'cpu'; it is "
                f"disabled",
                stacklevel=2,
            )
        elif enabled:
            self.fast_dtype = get_autocast_dtype("cpu") if dtype is None else dtype_of(dtype)
            if self.fast_dtype.name not in _DTYPES:
                warnings.warn(
                    f"autocast: `dtype` is {self.fast_dtype}, but only {' and '.join(_DTYPES)} are "
                    f"supported; it is disabled",
                    stacklevel=2,
                )
                enabled = False
        self._enabled = enabled and on_cpu
        self._on_cpu = on_cpu

    def __enter__(self) -> autocast:
        state = _state.get()
        self._before.append((fast.get(), state))
        if not self._on_cpu:
            return self
        cache = {} if state.cache is None else state.cache
        _state.set(_State(dtype_of(self.fast_dtype) if self._enabled else state.dtype, cache))
        use()
        smaller = Fast(dtype_of(self.fast_dtype), cache if self._cache_enabled else None)
        fast.set(smaller if self._enabled else None)
        return self

    def __exit__(self, *error: object) -> None:
        before, state = self._before.pop()
        fast.set(before)
        _state.set(state)

    def __call__(self, func: AnyFunction) -> AnyFunction:
        """Decorate ``func``, so that its body runs in such a block."""
        if not callable(func):
            raise DtypeError(f"autocast: `func` is a {type(func).__name__}, expected a function")

        @functools.wraps(func)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return decorated


def custom_fwd(
    fwd: AnyFunction | None = None, *, device_type: str, cast_inputs: DTypeLike = None
) -> Callable[..., Any]:
    """Decorate the ``forward`` of an autograd `Function` that is to run under `autocast`.

    Parameters
    ----------
    device_type
        "cpu"; on other devices nothing is converted.
    cast_inputs
        the dtype to convert floating tensors to, but float64 ones; the body then runs without
        autocast. Outside of autocast it has no effect. With None the body runs under autocast.
    """
    on_cpu = _on_cpu("custom_fwd", device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        enabled = on_cpu and fast.get() is not None
        ctx._fwd_used_autocast = enabled and cast_inputs is None
        ctx._dtype = fast.get().dtype if enabled else None  # type: ignore[union-attr]
        if not enabled or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        wanted = dtype_of(cast_inputs, "custom_fwd")
        args, kwargs = converted(lambda v: v.to(wanted) if changes(v, wanted) else v, args, kwargs)
        with autocast(device_type, enabled=False):
            return fwd(ctx, *args, **kwargs)

    return decorated


def custom_bwd(bwd: AnyFunction | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorate the ``backward`` beside `custom_fwd`, to run with or without autocast as that."""
    _on_cpu("custom_bwd", device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, ctx._dtype, enabled=ctx._fwd_used_autocast):
            return bwd(ctx, *args, **kwargs)

    return decorated
