"""Names and order of arguments are PyTorch's, so that keywords and positions carry over."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from parity import assert_close, require_torch

import tinygrad_cnn as tg
from tinygrad_cnn import functions
from tinygrad_cnn.functions.export import EXPORTS
from tinygrad_cnn.functions.out import NAMES

# where PyTorch's own documentation has several forms, or no text to read them from
BY_HAND = {
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
    "dropout": "input p training inplace",
    "dropout1d": "input p training inplace",
    "dropout2d": "input p training inplace",
    "elu": "input alpha inplace",
    "layer_norm": "input normalized_shape weight bias eps",
    "linear": "input weight bias",
    "log_softmax": "input dim dtype",
    "max_pool2d": "input kernel_size stride padding dilation ceil_mode return_indices",
    "adaptive_avg_pool2d": "input output_size",
    "relu": "input inplace",
    "rot90": "input k dims",
    "searchsorted": "sorted_sequence input",
    "silu": "input inplace",
    "leaky_relu": "input negative_slope inplace",
    "softplus": "input beta threshold",
    "sum": "input dim keepdim dtype",
    "mean": "input dim keepdim dtype",
    "prod": "input dim keepdim dtype",
    "var": "input dim unbiased keepdim correction",
    "std": "input dim unbiased keepdim correction",
    "max": "input dim keepdim",
    "min": "input dim keepdim",
    "any": "input dim keepdim",
    "all": "input dim keepdim",
    "argmax": "input dim keepdim",
    "median": "input dim keepdim",
    "norm": "input p dim keepdim",
    "scatter": "input dim index src",
    "masked_fill": "input mask value",
    "split": "tensor split_size_or_sections dim",
    "where": "condition input other",
    "topk": "input k dim largest sorted",
    "sort": "input dim descending",
    "one_hot": "tensor num_classes",
    "tensordot": "a b dims",
    "cross_entropy": "input target weight",
    "nll_loss": "input target weight",
    "mse_loss": "input target",
    "l1_loss": "input target",
    "binary_cross_entropy_with_logits": "input target weight",
    "pad": "input pad mode value",
}
VARIADIC = "zeros ones empty rand randn reshape permute flip repeat tile expand sum_to_size".split()
OURS = "to expand_as reshape_as rsub full_like diff unique".split()


def _parameters(function: Any) -> list[str]:
    return [p.name for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", BY_HAND)
def test_known_orders(name: str) -> None:
    expected = BY_HAND[name].split()
    assert _parameters(getattr(functions, name))[: len(expected)] == expected


def test_documented_orders() -> None:
    torch = require_torch()
    wrong = []
    for name in EXPORTS:
        if name in BY_HAND or name in VARIADIC or name in OURS:
            continue
        source = getattr(torch, name, None) or getattr(torch.nn.functional, name, None)
        text = re.search(rf"^\s*(?:torch\.)?{name}\((.*?)\) *->", source.__doc__ or "", re.M)
        if text is None:
            continue
        words = [w.strip() for w in re.sub(r"\[.*?\]", "", text[1]).split(",")]
        theirs = [re.split(r"[:= ]", w)[0] for w in words if w]
        theirs = theirs[: next((i for i, w in enumerate(theirs) if "*" in w), len(theirs))]
        ours = _parameters(getattr(functions, name))
        if ours[: len(theirs)] != theirs and "operands" not in ours and "tensors" not in ours:
            wrong.append((name, ours, theirs))
    assert not wrong, "\n".join(map(str, wrong))


def test_every_function_is_exported_and_typed() -> None:
    for export in EXPORTS.values():
        for name in export.names:
            assert getattr(functions, name) is export.function
            shown = getattr(tg, name, None)
            if export.function.__name__ in NAMES and export.top:
                assert _parameters(shown) == [*_parameters(export.function), "out"], name
                shown = shown.__wrapped__
            assert (shown is export.function) == export.top, name
            theirs = vars(tg.nn.functional).get(name)
            assert (theirs is export.function) == (export.nn and name not in export.aliases), name
            method = getattr(tg.Tensor, export.method if type(export.method) is str else name, None)
            assert (method is export.function) == bool(export.method), name
            assert hasattr(tg.Tensor, f"{name}_") or not export.inplace, name
    for name in functions.__all__:
        function = getattr(functions, name)
        assert function.__doc__, name
        if name not in (*VARIADIC, "vander"):  # PyTorch too calls a vector x
            assert _parameters(function)[0] not in ("x", "self", "args"), name


@pytest.mark.parametrize(
    "call",
    [
        lambda x: tg.sum(input=x, dim=1),
        lambda x: tg.max(input=x, dim=1, keepdim=True).values,
        lambda x: tg.where(condition=x > 0, input=x, other=0.0),
        lambda x: tg.softmax(input=x, dim=0),
        lambda x: tg.exp(input=x),
        lambda x: tg.add(input=x, other=x, alpha=2),
        lambda x: tg.flatten(input=x, start_dim=0),
        lambda x: tg.cat(tensors=[x, x], dim=0),
        lambda x: tg.nn.functional.relu(input=x, inplace=False),
        lambda x: tg.nn.functional.dropout(input=x, p=0.5, training=False),
        lambda x: tg.nn.functional.pad(input=x, pad=(1, 1), mode="constant", value=0),
        lambda x: tg.clamp(input=x, min=0),
        lambda x: tg.matmul(input=x, other=x.T),
        lambda x: tg.transpose(input=x, dim0=0, dim1=1),
        lambda x: tg.flip(x, dims=(0,)),
        lambda x: tg.permute(x, dims=(1, 0)),
        lambda x: tg.norm(input=x, p=2, dim=1),
        lambda x: tg.var(input=x, dim=0, unbiased=False, keepdim=True),
    ],
)
def test_keywords(call: Any) -> None:
    assert call(tg.ones(2, 3)).numel()


def test_both_an_argument_and_its_keyword_is_an_error() -> None:
    with pytest.raises(TypeError):
        tg.sum(tg.ones(2), input=tg.ones(2))
    with pytest.raises(TypeError):
        tg.exp()


OTHER_ARGUMENTS: dict[str, Any] = {
    "chunk": {"chunks": 1},
    "gather": {"index": "zeros"},
    "index_add": {"index": "first", "source": "input"},
    "index_copy": {"index": "first", "source": "input"},
    "index_fill": {"index": "first", "value": 3.0},
    "index_select": {"index": "first"},
    "narrow": {"start": 0, "length": 1},
    "repeat_interleave": {"repeats": 2},
    "scatter": {"index": "zeros", "src": "input"},
    "scatter_add": {"index": "zeros", "src": "input"},
    "select": {"index": 0},
    "take_along_dim": {"indices": "zeros"},
    "topk": {"k": 1},
    "unflatten": {"sizes": (1, 1)},
}
WITH_AXIS = [n for n in functions.__all__ if "dim" in _parameters(getattr(functions, n))]


def _along_an_axis(m: Any, name: str, method: bool) -> Any:
    """What ``name`` returns when its axis is given by NumPy's name; None if that is refused."""
    x = m.arange(6.0).reshape((2, 1, 3) if name == "gradient" else (1, 2, 3))  # which takes 2
    known = {"input": x, "zeros": m.zeros(1, 2, 3, dtype=m.int64), "first": m.tensor([0])}
    given = OTHER_ARGUMENTS.get(name, {})
    more = {k: known.get(v, v) if isinstance(v, str) else v for k, v in given.items()}
    try:
        if method:
            return getattr(x, name)(**more, axis=0)
        joins = name in ("cat", "concat", "stack")
        return getattr(m, name)([x, x] if joins else x, **more, axis=0)
    except (TypeError, AttributeError):
        return None


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("name", WITH_AXIS)
@pytest.mark.parametrize("method", [False, True])
def test_numpys_name_of_an_axis(name: str, method: bool) -> None:
    theirs = _along_an_axis(require_torch(), name, method)
    if theirs is None:
        return
    ours = _along_an_axis(tg, name, method)
    assert ours is not None, f"{name}(axis=0) is refused"
    for a, b in zip(*((v,) if hasattr(v, "shape") else v for v in (ours, theirs)), strict=True):
        assert_close(a, b, name)
