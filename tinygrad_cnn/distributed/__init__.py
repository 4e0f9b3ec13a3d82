"""Several processes that compute together, on MPI: PyTorch's ``torch.distributed``.

``mpiexec -n 4 python program.py`` starts them; each calls `init_process_group`, and has a number,
its *rank*. Buffers are passed, nothing is pickled. Whoever waits does so for a limited time, and an
error says which rank did not come (`watch`).
"""

from tinygrad_cnn.distributed.collectives import (
    all_gather,
    all_gather_into_tensor,
    all_reduce,
    barrier,
    broadcast,
    gather,
    recv,
    reduce,
    reduce_scatter,
    reduce_scatter_tensor,
    scatter,
    send,
)
from tinygrad_cnn.distributed.exchange import ReduceOp
from tinygrad_cnn.distributed.group import (
    Group,
    Work,
    destroy_process_group,
    get_backend,
    get_rank,
    get_world_size,
    init_process_group,
    is_initialized,
)
from tinygrad_cnn.distributed.mpi import is_available, launched
from tinygrad_cnn.distributed.mpi import is_available as is_mpi_available
from tinygrad_cnn.distributed.watch import taking_long

__all__ = [
    "Group",
    "ReduceOp",
    "Work",
    "all_gather",
    "all_gather_into_tensor",
    "all_reduce",
    "barrier",
    "broadcast",
    "destroy_process_group",
    "gather",
    "get_backend",
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_available",
    "is_initialized",
    "is_mpi_available",
    "launched",
    "recv",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
    "send",
    "taking_long",
]
