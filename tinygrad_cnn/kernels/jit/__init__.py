"""The kernels as machine code, compiled by Numba on the user's machine: float32, channels last.

Nothing is imported here, so that importing the package does not import Numba: `dispatch` imports
the module of a kernel at the kernel's first call.
"""

__all__ = list[str]()
