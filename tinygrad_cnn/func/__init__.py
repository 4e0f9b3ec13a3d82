"""Functions of functions: derivatives of a function, as functions. They nest in any order."""

from tinygrad_cnn.func.mapping import vmap
from tinygrad_cnn.func.matrices import hessian, hvp, jacfwd, jacobian, jacrev
from tinygrad_cnn.func.modules import functional_call, stack_module_state
from tinygrad_cnn.func.transforms import grad, grad_and_value, jvp, linearize, value_and_grad, vjp

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "value_and_grad",
    "vjp",
    "vmap",
]
