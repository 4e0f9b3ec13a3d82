"""Arguments of a wrong kind: a number for a function, a text for a flag, a list for a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinygrad_cnn as tg
import tinygrad_cnn.nn.functional as F
from faults.wrong_uses import Use
from tinygrad_cnn import nn, optim
from tinygrad_cnn.autograd import functional
from tinygrad_cnn.data import random_split
from tinygrad_cnn.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector
from tinygrad_cnn.nn.utils.fusion import fuse_conv_bn_eval
from tinygrad_cnn.nn.utils.parametrize import register_parametrization
from tinygrad_cnn.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from tinygrad_cnn.utils.checkpoint import checkpoint

x = tg.ones(3, requires_grad=True)


def _use(call: Callable[..., Any], *args: Any, says: str, **kwargs: Any) -> Use:
    name = getattr(call, "__qualname__", type(call).__name__)
    return Use(f"{name}: {says}", lambda: call(*args, **kwargs), (says,))


NO_FUNCTION = "`func` is 3 (int), expected a function"
FUNCTIONS = [
    _use(tg.func.grad, 3, says=NO_FUNCTION),
    _use(tg.func.grad_and_value, 3, says=NO_FUNCTION),
    _use(tg.func.jacrev, 3, says=NO_FUNCTION),
    _use(tg.func.jacfwd, 3, says=NO_FUNCTION),
    _use(tg.func.hessian, 3, says=NO_FUNCTION),
    _use(tg.func.vmap, 3, says=NO_FUNCTION),
    _use(tg.func.vjp, 3, x, says=NO_FUNCTION),
    _use(tg.func.jvp, 3, (x,), (x,), says=NO_FUNCTION),
    _use(tg.func.linearize, 3, x, says=NO_FUNCTION),
    _use(functional.jacobian, 3, x, says=NO_FUNCTION),
    _use(functional.hessian, 3, x, says=NO_FUNCTION),
    _use(functional.vjp, 3, x, says=NO_FUNCTION),
    _use(functional.jvp, 3, x, x, says=NO_FUNCTION),
    _use(functional.hvp, 3, x, x, says=NO_FUNCTION),
    _use(functional.vhp, 3, x, x, says=NO_FUNCTION),
    _use(tg.autograd.gradcheck, 3, x.double(), says=NO_FUNCTION),
    _use(tg.autograd.gradgradcheck, 3, x.double(), says=NO_FUNCTION),
    _use(checkpoint, 3, x, says="`function` is 3 (int), expected a function"),
    _use(x.register_hook, 3, says="a hook is 3, expected a function"),
    _use(nn.ReLU().register_forward_hook, "no", says="a hook is 'no', expected a function"),
]
FLAGS = [
    _use(tg.set_grad_enabled, "no", says="set_grad_enabled: got 'no', expected True or False"),
    _use(tg.inference_mode, "no", says="inference_mode: got 'no', expected True or False"),
    _use(
        tg.autograd.set_detect_anomaly, "no",
        says="set_detect_anomaly: got 'no', expected True or False",
    ),
]  # fmt: skip
TENSORS = [
    _use(tg.autograd.grad, 3, x, says="grad: got 3, expected a tensor or several"),
    _use(tg.autograd.grad, [3], x, says="grad: output 0 is 3, expected a tensor"),
    _use(tg.autograd.grad, x.sum(), 3, says="grad: got 3, expected a tensor or several"),
    _use(tg.autograd.grad, x.sum(), [3], says="grad: `inputs[0]` is 3, expected a tensor"),
    _use(tg.autograd.backward, 3, says="backward: got 3, expected a tensor or several"),
    _use(tg.autograd.backward, ["x"], says="backward: output 0 is 'x', expected a tensor"),
    _use(nn.init.normal_, 3, says="normal_: `tensor` is 3 (int), expected a Tensor"),
    _use(nn.init.zeros_, [1.0], says="zeros_: `tensor` is [1.0] (list), expected a Tensor"),
    _use(nn.init.constant_, x, "a", says="constant_: `val` is 'a' (str), expected a number"),
    _use(clip_grad_norm_, 3, 1.0, says="clip_grad_norm_: `parameters` is 3 (int)"),
    _use(clip_grad_value_, [x], "a", says="clip_grad_value_: `clip_value` is 'a' (str)"),
    _use(parameters_to_vector, 3, says="`parameters` is 3 (int), expected several"),
    _use(parameters_to_vector, [3], says="`parameters[0]` is 3 (int), expected a Tensor"),
    _use(pack_padded_sequence, 3, 3, says="`input` is 3 (int), expected a Tensor"),
    _use(F.bilinear, x, x, x, says="bilinear: `weight` has shape (3,), expected (f, a, b)"),
    _use(F.affine_grid, tg.ones(1, 2, 3), 3, says="`size` is 3 (int), expected several"),
    _use(tg.as_strided_scatter, x, x, 3, 1, says="`size` is 3 (int), expected several"),
]
MODULES = [
    _use(tg.func.functional_call, 3, {}, x, says="`module` is 3 (int), expected a Module"),
    _use(tg.func.stack_module_state, 3, says="`models` is 3 (int), expected several"),
    _use(tg.func.stack_module_state, [3], says="`models[0]` is 3 (int), expected a Module"),
    _use(register_parametrization, 3, "w", nn.ReLU(), says="`module` is 3 (int), expected a Mod"),
    _use(fuse_conv_bn_eval, 3, 4, says="`conv` is 3 (int), expected a Module"),
    _use(pad_packed_sequence, 3, says="`sequence` is 3 (int), expected a PackedSequence"),
    _use(optim.SGD, 3, 0.1, says="SGD: `params` is 3, expected an iterable"),
    _use(random_split, 3, [1], says="`dataset` is 3 (int), expected something with a length"),
]
EVERY = [*FUNCTIONS, *FLAGS, *TENSORS, *MODULES]
