"""Layers on PyTorch's own samples: the same state in both; results and gradients are equal."""

import numpy as np
import pytest
from parity import opdb

import tinygrad_cnn as tg
from tinygrad_cnn import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
pytest.importorskip("expecttest", reason="expecttest is not installed: pip install expecttest")
common = pytest.importorskip("torch.testing._internal.common_modules")

SAMPLES = 6  # of each layer and mode, evenly taken; all of them with `pytest --slow`
RANDOM = ("Dropout", "RReLU")  # draw in training: compared in evaluation only
NAMES = {info.name: info for info in common.module_db if "quantized" not in info.name}


def ours(value):
    """A tensor, function or container of PyTorch's as ours."""
    if isinstance(value, torch.nn.TransformerEncoderLayer):
        act, attention, eps = value.activation.__name__, value.self_attn, value.norm1.eps
        width = (attention.embed_dim, attention.num_heads, value.linear1.out_features)
        rest = (value.dropout.p, act, eps, attention.batch_first, value.norm_first)
        return nn.TransformerEncoderLayer(*width, *rest, value.linear1.bias is not None)
    if isinstance(value, torch.nn.Module):
        return getattr(nn, type(value).__name__)()
    if isinstance(value, torch.Tensor):
        made = tg.tensor(value.detach().numpy())
        return made.requires_grad_() if value.requires_grad else made
    if isinstance(value, (tuple, list)):
        return type(value)(map(ours, value))
    if isinstance(value, dict):
        return {k: ours(v) for k, v in value.items()}
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, torch.device):
        return "cpu"
    if callable(value) and hasattr(nn.functional, getattr(value, "__name__", "")):
        return getattr(nn.functional, value.__name__)
    return value


def tensors(value, kind):
    """The floating tensors in nested results."""
    if isinstance(value, kind):
        return [value] if "float" in str(value.dtype) else []
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, (tuple, list, type({}.values()))):
        return [t for v in value for t in tensors(v, kind)]
    return []


def close(a, b, what):
    """``a``, ours, and ``b`` agree to rounding, and are of one dtype."""
    a, b = a.detach().numpy(), b.detach().numpy()
    assert a.dtype == b.dtype, what
    rtol, atol = 1e-7, 1e-8
    if a.dtype != np.float64:  # small sums of large numbers are rounded as these are
        rtol, atol = 1e-4, max(1e-5, 1e-5 * np.abs(b).max(initial=0))
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=what)


def compare(info, sample, training, dtype):
    make, call = sample.constructor_input, sample.forward_input
    theirs = info.module_cls(*make.args, **make.kwargs)
    mine = getattr(nn, info.module_cls.__name__)(*ours(make.args), **ours(make.kwargs))
    theirs, mine = theirs.to(dtype).train(training), mine.to(ours(dtype)).train(training)
    if isinstance(theirs, torch.nn.modules.lazy.LazyModuleMixin):
        theirs(*call.args, **call.kwargs)  # finds the shapes
        mine(*ours(call.args), **ours(call.kwargs))
    mine.load_state_dict(theirs.state_dict())
    assert repr(mine) == repr(theirs).replace("NonDynamicallyQuantizable", "")
    args, kwargs = ours(call.args), ours(call.kwargs)
    got, wanted = mine(*args, **kwargs), theirs(*call.args, **call.kwargs)
    outputs = tensors(got, tg.Tensor), tensors(wanted, torch.Tensor)
    total = [0, 0]
    for a, b in zip(*outputs, strict=True):
        close(a, b, "result")
        u = np.random.default_rng(0).standard_normal(a.shape).astype(a.dtype)
        total[0] = total[0] + (a * tg.tensor(u)).sum()
        total[1] = total[1] + (b * torch.tensor(u)).sum()
    if not isinstance(total[1], torch.Tensor) or not total[1].requires_grad:
        return
    total[0].backward()
    total[1].backward()
    leaves = tensors((args, kwargs), tg.Tensor), tensors((call.args, call.kwargs), torch.Tensor)
    pairs = [*zip(*leaves, strict=True), *zip(mine.parameters(), theirs.parameters(), strict=True)]
    for a, b in pairs:
        if b.grad is not None and b.is_leaf:
            close(a.grad, b.grad, f"gradient of shape {tuple(b.shape)}")
    for (name, a), b in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
        close(a, b, name)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_layers_on_pytorchs_samples(name, dtype, training, request):
    info = NAMES[name]
    drawn = training and any(word in name for word in RANDOM)
    samples = list(
        info.module_inputs_func(
            info, device="cpu", dtype=dtype, requires_grad=True, training=training
        )
    )
    taken = range(len(samples))
    if len(samples) > SAMPLES and not request.config.getoption("--slow"):
        taken = np.linspace(0, len(samples) - 1, SAMPLES).astype(int)
    for i in taken:
        if drawn:
            call = samples[i].forward_input
            make = samples[i].constructor_input
            layer = getattr(nn, info.module_cls.__name__)(*ours(make.args), **ours(make.kwargs))
            assert layer(*ours(call.args)).shape == tuple(call.args[0].shape)
        else:
            compare(info, samples[i], training, dtype)


@pytest.mark.parametrize("name", [n for n, i in NAMES.items() if i.module_error_inputs_func])
def test_layers_refuse_what_pytorch_refuses(name):
    info, shape = NAMES[name], {"dtype": torch.float32, "requires_grad": False, "training": False}
    for wrong in info.module_error_inputs_func(info, device="cpu", **shape):
        sample = wrong.module_error_input
        make, call = sample.constructor_input, sample.forward_input
        with pytest.raises(opdb.ERRORS) as raised:  # noqa: PT012  either of the two raises
            mine = getattr(nn, info.module_cls.__name__)(*ours(make.args), **ours(make.kwargs))
            assert wrong.error_on is common.ModuleErrorEnum.FORWARD_ERROR, wrong.error_regex
            mine(*ours(call.args), **ours(call.kwargs))
        assert opdb.unclear(raised.value) is None
