"""The kernels as machine code, compiled on the user's machine: float32, channels last.

Numba compiles a kernel when it is needed for the first time on a machine (`numba_lowering`), and
its object code stays in the user's cache folder (`build`). From then on it is loaded (`engine`),
`entry` launches it and the threads of `pool` run it: no process imports Numba again.

Nothing is imported here, so that importing the package loads no machine code: `dispatch` imports
the module of a kernel at the kernel's first call.
"""
