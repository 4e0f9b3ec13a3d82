"""What a thread or context has chosen: which set of kernels computes, NumPy's or machine code that
comes with the package or is made on this machine by Numba; and whether convolutions are fast or
exact to the last rounding.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

from tinygrad_cnn.errors import ArgumentError

KernelSet = Literal["auto", "jit", "reference"]

ConvAlgorithm = Literal["auto", "direct", "winograd"]

chosen: ContextVar[KernelSet] = ContextVar("kernels", default="auto")
algorithm: ContextVar[ConvAlgorithm] = ContextVar("conv_algorithm", default="auto")


class KernelError(Exception):
    """A compiled kernel cannot be had here: it cannot be compiled, loaded or given threads.

    Nothing else is one: what a signal handler raises while a kernel runs is its caller's.
    """


class NoCompiler(KernelError):
    """A kernel has no machine code on this machine yet, and Numba, which makes it, is missing."""


@cache
def has_llvmlite() -> bool:
    """Tell whether llvmlite, which compiles kernels, is installed, without importing it."""
    return find_spec("llvmlite") is not None


@cache
def has_prebuilt() -> bool:
    """Tell whether the package has machine code for this processor."""
    from tinygrad_cnn.kernels.jit.compile.prebuilt import path_here  # here: it imports this package

    return path_here() is not None


def can_load() -> bool:
    """Tell whether there may be compiled kernels here: some come with the package, or llvmlite
    loads what is on disk and compiles the rest.
    """
    return has_prebuilt() or has_llvmlite()


@cache
def has_numba() -> bool:
    """Tell whether Numba is installed, without importing it."""
    return find_spec("numba") is not None


def set_kernels(name: KernelSet) -> KernelSet:
    """Choose the kernels of this thread or context and return the former choice.

    ``"auto"`` takes compiled kernels where Numba is installed, for float32 arrays that are large
    enough to repay the call; where compiling fails, it warns once and goes on with NumPy.
    Without Numba, what comes with the package or has been compiled before is still used.
    ``"jit"`` takes them for arrays of every size and raises what goes wrong; what no compiled
    kernel does (other dtypes, some memory layouts) is still NumPy's. ``"reference"`` takes NumPy's
    kernels only.

    Raises
    ------
    ValueError: no such set.
    ModuleNotFoundError: ``"jit"`` without Numba, and no machine code for this processor in the
        package.

    >>> former = set_kernels("reference")
    >>> set_kernels(former)
    'reference'
    """
    if name not in get_args(KernelSet):
        raise ArgumentError(
            f"set_kernels: `name` is {name!r}, expected one of {', '.join(get_args(KernelSet))}"
        )
    if name == "jit" and not (has_numba() or has_prebuilt()):
        raise ModuleNotFoundError("set_kernels: Numba is not installed: pip install numba")
    former = chosen.get()
    chosen.set(name)
    return former


def kernel_set() -> KernelSet:
    """Return the choice of kernels in this context."""
    return chosen.get()


def set_conv_algorithm(name: ConvAlgorithm) -> ConvAlgorithm:
    """Choose the convolution algorithm of this thread or context and return the former choice.

    ``"direct"`` multiplies and adds in the defining order of magnitude of rounding; ``"winograd"``
    saves up to two thirds of the multiplications of 3x3 convolutions with stride 1 at about ten
    times the rounding error (1e-5 relative to the largest result), wherever it applies; ``"auto"``
    does so where it is faster. float64 is always direct.

    Raises
    ------
    ValueError: no such algorithm.

    >>> set_conv_algorithm("direct")
    'auto'
    >>> set_conv_algorithm("auto")
    'direct'
    """
    if name not in get_args(ConvAlgorithm):
        raise ArgumentError(
            f"set_conv_algorithm: `name` is {name!r}, expected one of "
            f"{', '.join(get_args(ConvAlgorithm))}"
        )
    former = algorithm.get()
    algorithm.set(name)
    return former


def conv_algorithm() -> ConvAlgorithm:
    """Return the convolution algorithm chosen in this context."""
    return algorithm.get()
