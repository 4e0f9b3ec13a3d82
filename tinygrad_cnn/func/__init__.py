"""Functions of functions: derivatives of a function, as functions. They nest in any order."""

from tinygrad_cnn.func.matrices import hessian, hvp, jacobian
from tinygrad_cnn.func.transforms import grad, jvp, value_and_grad, vjp

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]
