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
from tinygrad_cnn.functions import (
    linalg_factorizations,
    linalg_norms,
    linalg_systems,
    linear_algebra,
)
from tinygrad_cnn.functions.linalg_norms import diagonal, vander
from tinygrad_cnn.functions.linalg_systems import matrix_exp
from tinygrad_cnn.functions.out import taking_out

cholesky = taking_out(linalg_factorizations.cholesky, __name__)
cholesky_ex = taking_out(linalg_factorizations.cholesky_ex, __name__)
eig = taking_out(linalg_factorizations.eig, __name__)
eigh = taking_out(linalg_factorizations.eigh, __name__)
eigvals = taking_out(linalg_factorizations.eigvals, __name__)
eigvalsh = taking_out(linalg_factorizations.eigvalsh, __name__)
householder_product = taking_out(linalg_factorizations.householder_product, __name__)
ldl_factor = taking_out(linalg_factorizations.ldl_factor, __name__)
ldl_factor_ex = taking_out(linalg_factorizations.ldl_factor_ex, __name__)
ldl_solve = taking_out(linalg_factorizations.ldl_solve, __name__)
lu = taking_out(linalg_factorizations.lu, __name__)
lu_factor = taking_out(linalg_factorizations.lu_factor, __name__)
lu_factor_ex = taking_out(linalg_factorizations.lu_factor_ex, __name__)
qr = taking_out(linalg_factorizations.qr, __name__)
svd = taking_out(linalg_factorizations.svd, __name__)
svdvals = taking_out(linalg_factorizations.svdvals, __name__)
cond = taking_out(linalg_norms.cond, __name__)
cross = taking_out(linalg_norms.cross, __name__)
matrix_norm = taking_out(linalg_norms.matrix_norm, __name__)
multi_dot = taking_out(linalg_norms.multi_dot, __name__)
norm = taking_out(linalg_norms.norm, __name__)
vecdot = taking_out(linalg_norms.vecdot, __name__)
vector_norm = taking_out(linalg_norms.vector_norm, __name__)
det = taking_out(linalg_systems.det, __name__)
inv = taking_out(linalg_systems.inv, __name__)
inv_ex = taking_out(linalg_systems.inv_ex, __name__)
lstsq = taking_out(linalg_systems.lstsq, __name__)
lu_solve = taking_out(linalg_systems.lu_solve, __name__)
matrix_power = taking_out(linalg_systems.matrix_power, __name__)
matrix_rank = taking_out(linalg_systems.matrix_rank, __name__)
pinv = taking_out(linalg_systems.pinv, __name__)
slogdet = taking_out(linalg_systems.slogdet, __name__)
solve = taking_out(linalg_systems.solve, __name__)
solve_ex = taking_out(linalg_systems.solve_ex, __name__)
solve_triangular = taking_out(linalg_systems.solve_triangular, __name__)
tensorinv = taking_out(linalg_systems.tensorinv, __name__)
tensorsolve = taking_out(linalg_systems.tensorsolve, __name__)
matmul = taking_out(linear_algebra.matmul, __name__)

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh",
    "eigvals", "eigvalsh", "householder_product", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex",
    "ldl_solve", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul", "matrix_exp",
    "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet",
    "solve", "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander",
    "vecdot", "vector_norm",
]  # fmt: skip
