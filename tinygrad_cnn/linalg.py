"""Linear algebra, with the names and arguments of ``torch.linalg``, on LAPACK.

All functions take batches of matrices along the last two axes, float32, float64, complex64 and
complex128, and can be differentiated twice and more.

>>> import tinygrad_cnn as tg
>>> A = tg.tensor([[4.0, 1.0], [1.0, 3.0]], requires_grad=True)
>>> tg.linalg.eigvalsh(A).sum().backward()  # the trace
>>> A.grad.round(decimals=4)
tensor([[1., 0.],
        [0., 1.]])
"""

from tinygrad_cnn.errors import LinAlgError
from tinygrad_cnn.functions.linalg_factorizations import (
    cholesky,
    cholesky_ex,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    householder_product,
    ldl_factor,
    ldl_factor_ex,
    ldl_solve,
    lu,
    lu_factor,
    lu_factor_ex,
    qr,
    svd,
    svdvals,
)
from tinygrad_cnn.functions.linalg_norms import (
    cond,
    cross,
    diagonal,
    matrix_norm,
    multi_dot,
    norm,
    vander,
    vecdot,
    vector_norm,
)
from tinygrad_cnn.functions.linalg_systems import (
    det,
    inv,
    inv_ex,
    lstsq,
    lu_solve,
    matrix_exp,
    matrix_power,
    matrix_rank,
    pinv,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
    tensorinv,
    tensorsolve,
)
from tinygrad_cnn.functions.linear_algebra import matmul

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh",
    "eigvals", "eigvalsh", "householder_product", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex",
    "ldl_solve", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul", "matrix_exp",
    "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet",
    "solve", "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander",
    "vecdot", "vector_norm",
]  # fmt: skip
