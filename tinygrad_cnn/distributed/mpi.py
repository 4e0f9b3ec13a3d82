"""MPI itself, by way of `mpi4py`: an extra, imported when a process group is made."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

INSTALL = "pip install mpi4py mpich"
# How launchers tell a process how many there are: MPICH and Intel MPI, Open MPI, Slurm.
_SIZES = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"


def is_available() -> bool:
    """Whether `mpi4py` is installed."""
    return importlib.util.find_spec("mpi4py") is not None


def launched() -> int:
    """How many processes the launcher (``mpiexec``, ``srun``) has started together; 1 without one.

    Examples
    --------
    >>> launched()
    1
    """
    for name in _SIZES:
        size = os.environ.get(name, "")
        if size.isdecimal():
            return max(1, int(size))
    return 1


def import_mpi() -> Any:
    """The module ``mpi4py.MPI``; importing it makes this process one of MPI's.

    Raises
    ------
    RuntimeError
        It is not installed, finds no MPI, or belongs to another MPI than the launcher.
    """
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise RuntimeError(
            f"init_process_group: mpi4py with an MPI library is needed ({error}): {INSTALL}"
        ) from error
    size = MPI.COMM_WORLD.Get_size()
    if launched() > 1 and size != launched():
        name = MPI.Get_library_version().splitlines()[0].strip("\0 ")
        raise RuntimeError(
            f"init_process_group: the launcher has started {launched()} processes, but mpi4py sees "
            f"{size}: it was built for another MPI ({name}) than the launcher's"
        )
    return MPI


def place_on_host(mpi: Any, comm: Any) -> tuple[int, int]:
    """The number of this process among those of ``comm`` on its host, and how many these are."""
    near = comm.Split_type(mpi.COMM_TYPE_SHARED)
    try:
        return near.Get_rank(), near.Get_size()
    finally:
        near.Free()
