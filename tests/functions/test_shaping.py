"""Shape functions, joining, splitting, padding."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints

import tinygrad_cnn as tg

CASES = [
    case("reshape", lambda m, x: x.reshape(3, 2), floats(2, 3)),
    case("reshape-tuple", lambda m, x: m.reshape(x, (3, -1)), floats(2, 3)),
    case("reshape-keyword", lambda m, x: m.reshape(x, shape=(-1,)), floats(2, 3)),
    case("reshape-method-keyword", lambda m, x: x.reshape(shape=(6,)), floats(2, 3)),
    case("reshape-0d", lambda m, x: x.reshape(()), floats(1)),
    case("reshape-0d-up", lambda m, x: x.reshape(1, 1), np.array(2.0)),
    case("reshape-empty", lambda m, x: x.reshape(0, 5), np.zeros((3, 0))),
    case("reshape-empty--1", lambda m, x: x.reshape(-1, 5), np.zeros((3, 0))),
    case("reshape-empty-unclear", lambda m, x: x.reshape(-1, 0), np.zeros((3, 0))),
    case("reshape-bad", lambda m, x: x.reshape(4), floats(2, 3)),
    case("reshape-bad--1", lambda m, x: x.reshape(-1, 4), floats(2, 3)),
    case("reshape-two--1", lambda m, x: x.reshape(-1, -1), floats(2, 3)),
    case("reshape--2", lambda m, x: x.reshape(-2, 3), floats(2, 3)),
    case("reshape-float", lambda m, x: x.reshape(2.0, 3), floats(2, 3)),
    case("reshape-transposed", lambda m, x: x.t().reshape(6), floats(2, 3)),
    case("view", lambda m, x: x.view(3, 2), floats(2, 3)),
    case("view-size", lambda m, x: x.view(x.size(0), -1), floats(2, 3, 2)),
    case("view-shape", lambda m, x: x.view(*x.shape[:1], -1), floats(2, 3, 2)),
    case("view_as", lambda m, x, y: x.view_as(y), floats(2, 3), floats(6)),
    case("reshape_as", lambda m, x, y: x.reshape_as(y), floats(2, 3), floats(6)),
    case("flatten", lambda m, x: m.flatten(x), floats(2, 3, 2)),
    case("flatten-1", lambda m, x: m.flatten(x, 1), floats(2, 3, 2)),
    case("flatten-names", lambda m, x: x.flatten(start_dim=0, end_dim=-2), floats(2, 3, 2)),
    case("flatten-0d", lambda m, x: x.flatten(), np.array(1.0)),
    case("flatten-bad", lambda m, x: x.flatten(2, 1), floats(2, 3, 2)),
    case("flatten-empty", lambda m, x: x.flatten(1), np.zeros((0, 3, 2))),
    case("unflatten", lambda m, x: m.unflatten(x, 1, (2, -1)), floats(2, 6)),
    case("unflatten-bad", lambda m, x: x.unflatten(1, (4, 2)), floats(2, 6)),
    case("ravel", lambda m, x: m.ravel(x), floats(2, 3)),
    case("permute", lambda m, x: x.permute(2, 0, 1), floats(2, 3, 4)),
    case("permute-tuple", lambda m, x: m.permute(x, (2, 0, -2)), floats(2, 3, 4)),
    case("permute-dims", lambda m, x: m.permute(x, dims=(2, 0, 1)), floats(2, 3, 4)),
    case("permute-bad", lambda m, x: x.permute(0, 0, 1), floats(2, 3, 4)),
    case("permute-short", lambda m, x: x.permute(0, 1), floats(2, 3, 4)),
    case("transpose", lambda m, x: m.transpose(x, 0, -1), floats(2, 3, 4)),
    case("transpose-names", lambda m, x: x.transpose(dim0=0, dim1=1), floats(2, 3, 4)),
    case("transpose-0d", lambda m, x: x.transpose(0, -1), np.array(1.0)),
    case("transpose-bad", lambda m, x: x.transpose(0, 3), floats(2, 3, 4)),
    case("swapaxes", lambda m, x: m.swapaxes(x, 0, 1), floats(2, 3)),
    case("t", lambda m, x: x.t(), floats(2, 3)),
    case("t-vector", lambda m, x: m.t(x), floats(3)),
    case("t-3d", lambda m, x: x.t(), floats(2, 3, 4)),
    case("T", lambda m, x: x.T, floats(2, 3)),
    case("mT", lambda m, x: x.mT, floats(2, 3, 4)),
    case("movedim", lambda m, x: m.movedim(x, 0, 2), floats(2, 3, 4)),
    case("movedim-many", lambda m, x: x.movedim((0, 1), (-1, 0)), floats(2, 3, 4)),
    case("movedim-bad", lambda m, x: x.movedim((0, 0), (0, 1)), floats(2, 3, 4)),
    case("squeeze", lambda m, x: x.squeeze(), floats(1, 3, 1)),
    case("squeeze-dim", lambda m, x: m.squeeze(x, 0), floats(1, 3, 1)),
    case("squeeze-not-1", lambda m, x: m.squeeze(x, dim=1), floats(1, 3, 1)),
    case("squeeze-tuple", lambda m, x: x.squeeze((0, -1)), floats(1, 3, 1)),
    case("squeeze-0d", lambda m, x: x.squeeze(0), np.array(1.0)),
    case("squeeze-bad", lambda m, x: x.squeeze(3), floats(1, 3, 1)),
    case("unsqueeze", lambda m, x: x.unsqueeze(-1), floats(2, 3)),
    case("unsqueeze-first", lambda m, x: m.unsqueeze(x, dim=0), floats(2, 3)),
    case("unsqueeze-0d", lambda m, x: x.unsqueeze(-1), np.array(1.0)),
    case("unsqueeze-bad", lambda m, x: x.unsqueeze(3), floats(2, 3)),
    case("expand", lambda m, x: x.expand(4, 2, 3), floats(2, 1)),
    case("expand--1", lambda m, x: x.expand(-1, 5), floats(2, 1)),
    case("expand-tuple", lambda m, x: x.expand((5, -1, 4)), floats(2, 1)),
    case("expand-0d", lambda m, x: x.expand(2, 2), np.array(1.0)),
    case("expand-0", lambda m, x: x.expand(0, 3), floats(1, 3)),
    case("expand-bad", lambda m, x: x.expand(3, 3), floats(2, 3)),
    case("expand-bad--1", lambda m, x: x.expand(-1, 2, 3), floats(2, 3)),
    case("expand_as", lambda m, x, y: x.expand_as(y), floats(1, 3), floats(2, 3)),
    case("broadcast_to", lambda m, x: m.broadcast_to(x, (2, 3)), floats(3)),
    case("broadcast_tensors", lambda m, x, y: m.broadcast_tensors(x, y), floats(3), floats(2, 1)),
    case("broadcast_tensors-bad", lambda m, x, y: m.broadcast_tensors(x, y), floats(3), floats(2)),
    case("repeat", lambda m, x: x.repeat(2, 3), floats(2, 3)),
    case("repeat-tuple", lambda m, x: x.repeat((2, 1, 3)), floats(2, 3)),
    case("repeat-0", lambda m, x: x.repeat(0, 1), floats(2, 3)),
    case("repeat-short", lambda m, x: x.repeat(2), floats(2, 3)),
    case("repeat-ones", lambda m, x: x.repeat(1, 1), floats(2, 3)),
    case("tile", lambda m, x: m.tile(x, (2,)), floats(2, 3)),
    case("tile-more", lambda m, x: x.tile(2, 1, 2), floats(2, 3)),
    case("repeat_interleave", lambda m, x: m.repeat_interleave(x, 2), floats(2, 3)),
    case("repeat_interleave-dim", lambda m, x: x.repeat_interleave(2, dim=1), floats(2, 3)),
    case("repeat_interleave-tensor", lambda m, x, r: x.repeat_interleave(r, dim=0), floats(2, 3), np.array([2, 0])),
    case("repeat_interleave-bad", lambda m, x, r: x.repeat_interleave(r, dim=0), floats(2, 3), np.array([2, 0, 1])),
    case("repeat_interleave-negative", lambda m, x: x.repeat_interleave(-1), floats(2, 3)),
    case("flip", lambda m, x: m.flip(x, (0, 1)), floats(2, 3)),
    case("flip-dims", lambda m, x: m.flip(x, dims=[1]), floats(2, 3)),
    case("flip-args", lambda m, x: x.flip(0, -1), floats(2, 3)),
    case("flip-empty-dims", lambda m, x: x.flip(()), floats(2, 3)),
    case("flip-twice", lambda m, x: x.flip(0, 0), floats(2, 3)),
    case("roll", lambda m, x: m.roll(x, 1), floats(2, 3)),
    case("roll-dims", lambda m, x: m.roll(x, shifts=(1, -2), dims=(0, 1)), floats(2, 3)),
    case("roll-bad", lambda m, x: m.roll(x, (1, 2), 0), floats(2, 3)),
    case("roll-0d", lambda m, x: m.roll(x, 1, 0), np.array(1.0)),
    case("roll-many-flat", lambda m, x: m.roll(x, (1, 2)), floats(2, 3)),
    case("narrow-0d", lambda m, x: m.narrow(x, 0, 0, 1), np.array(1.0)),
    case("roll-empty", lambda m, x: m.roll(x, 1, 0), np.zeros((0, 3))),
    case("cat", lambda m, x, y: m.cat([x, y]), floats(2, 3), floats(1, 3)),
    case("cat-dim", lambda m, x, y: m.cat((x, y), dim=-1), floats(2, 3), floats(2, 1)),
    case("cat-tensors", lambda m, x, y: m.cat(tensors=(x, y), dim=1), floats(2, 3), floats(2, 1)),
    case("cat-one", lambda m, x: m.cat([x]), floats(2, 3)),
    case("cat-legacy-empty", lambda m, x, y: m.cat([x, y], 1), np.zeros(0), floats(2, 3)),
    case("cat-empties", lambda m, x, y: m.cat([x, y]), np.zeros(0), np.zeros(0)),
    case("cat-empty-dtype", lambda m, x, y: m.cat([x, y]).detach(), np.zeros(0), ints(2)),
    case("cat-dtypes", lambda m, x, y: m.cat([x, y]), ints(2), floats(3)),
    case("cat-none", lambda m: m.cat([])),
    case("cat-0d", lambda m, x: m.cat([x, x]), np.array(1.0)),
    case("cat-bad", lambda m, x, y: m.cat([x, y]), floats(2, 3), floats(2, 4)),
    case("cat-bad-rank", lambda m, x, y: m.cat([x, y]), floats(2, 3), floats(3)),
    case("cat-same", lambda m, x: m.cat([x, x, x]), floats(2)),
    case("cat-axis", lambda m, x: m.cat([x, x], axis=1), floats(2, 3)),
    case("concat", lambda m, x: m.concat([x, x], 1), floats(2, 3)),
    case("stack", lambda m, x, y: m.stack([x, y]), floats(2, 3), floats(2, 3, seed=1)),
    case("stack--1", lambda m, x, y: m.stack((x, y), dim=-1), floats(2, 3), floats(2, 3, seed=1)),
    case("stack-0d", lambda m, x, y: m.stack([x, y]), np.array(1.0), np.array(2.0)),
    case("stack-bad", lambda m, x, y: m.stack([x, y]), floats(2, 3), floats(3)),
    case("stack-none", lambda m: m.stack([])),
    case("stack-range", lambda m, x: m.stack([x], 3), floats(2, 3)),
    case("hstack", lambda m, x, y: m.hstack((x, y)), floats(2, 3), floats(2, 1)),
    case("hstack-1d", lambda m, x, y: m.hstack((x, y)), floats(2), floats(3)),
    case("hstack-0d", lambda m, x, y: m.hstack((x, y)), np.array(1.0), np.array(2.0)),
    case("vstack", lambda m, x, y: m.vstack((x, y)), floats(2, 3), floats(3)),
    case("vstack-none", lambda m: m.vstack(())),
    case("split", lambda m, x: m.split(x, 2), floats(5, 2)),
    case("split-dim", lambda m, x: x.split(2, dim=1), floats(2, 5)),
    case("split-sections", lambda m, x: m.split(x, [1, 4], 1), floats(2, 5)),
    case("split-bad", lambda m, x: m.split(x, [1, 3], 1), floats(2, 5)),
    case("split-0", lambda m, x: m.split(x, 0), floats(2, 5)),
    case("split-negative", lambda m, x: m.split(x, -1), floats(2, 5)),
    case("split-empty", lambda m, x: m.split(x, 2), np.zeros((0, 2))),
    case("split-0d", lambda m, x: m.split(x, 1), np.array(1.0)),
    case("chunk", lambda m, x: m.chunk(x, 3), floats(7, 2)),
    case("chunk-more", lambda m, x: x.chunk(5, dim=-1), floats(2, 3)),
    case("chunk-0", lambda m, x: x.chunk(0), floats(2, 3)),
    case("chunk-names", lambda m, x: m.chunk(input=x, chunks=2, dim=1), floats(2, 3)),
    case("unbind", lambda m, x: m.unbind(x, 1), floats(2, 3)),
    case("unbind-0d", lambda m, x: m.unbind(x), np.array(1.0)),
    case("unbind-partly-used", lambda m, x: x.unbind()[1], floats(3, 2)),
    case("iteration", lambda m, x: list(x), floats(3, 2)),
    case("narrow", lambda m, x: m.narrow(x, 1, 1, 2), floats(2, 4)),
    case("narrow-negative", lambda m, x: x.narrow(1, -2, 2), floats(2, 4)),
    case("narrow-bad", lambda m, x: x.narrow(1, 3, 2), floats(2, 4)),
    case("select", lambda m, x: m.select(x, 1, -1), floats(2, 4)),
    case("select-bad", lambda m, x: m.select(x, 1, 4), floats(2, 4)),
    case("meshgrid", lambda m, x, y: m.meshgrid(x, y, indexing="ij"), floats(2), floats(3)),
    case("meshgrid-xy", lambda m, x, y: m.meshgrid([x, y], indexing="xy"), floats(2), floats(3)),
    case("tril", lambda m, x: m.tril(x, diagonal=1), floats(3, 4)),
    case("triu", lambda m, x: x.triu(-1), floats(2, 3, 3)),
    case("tril-1d", lambda m, x: x.tril(), floats(3)),
    case("diag", lambda m, x: m.diag(x), floats(3)),
    case("diag-offset", lambda m, x: m.diag(x, -1), floats(3)),
    case("diag-matrix", lambda m, x: m.diag(x, 1), floats(3, 4)),
    case("diag-3d", lambda m, x: m.diag(x), floats(2, 3, 4)),
    case("diagonal", lambda m, x: m.diagonal(x, 1, 0, 2), floats(2, 3, 4)),
    case("diagonal-far", lambda m, x: m.diagonal(x, 5), floats(2, 3)),
    case("diagonal-same", lambda m, x: m.diagonal(x, 0, 1, 1), floats(2, 3)),
    case("sum_to_size", lambda m, x: x.sum_to_size(1, 3), floats(4, 2, 3)),
    case("sum_to_size-bad", lambda m, x: x.sum_to_size(2), floats(4, 3)),
    case("pad", lambda m, x: m.nn.functional.pad(x, (1, 2)), floats(2, 3)),
    case("pad-2d", lambda m, x: m.nn.functional.pad(x, (1, 2, 0, 3), "constant", 0.5), floats(2, 3)),
    case("pad-negative", lambda m, x: m.nn.functional.pad(x, (-1, 2)), floats(2, 3)),
    case("pad-too-negative", lambda m, x: m.nn.functional.pad(x, (-2, -2)), floats(2, 3)),
    case("pad-int", lambda m, x: m.nn.functional.pad(x, (1, 1), value=7), ints(2, 3)),
    case("pad-inf", lambda m, x: m.nn.functional.pad(x, (1, 1), value=float("-inf")), floats(2, 3)),
    case("pad-odd", lambda m, x: m.nn.functional.pad(x, (1, 2, 3)), floats(2, 3)),
    case("pad-many", lambda m, x: m.nn.functional.pad(x, (1, 2, 3, 3, 1, 1)), floats(2, 3)),
    case("pad-reflect", lambda m, x: m.nn.functional.pad(x, (2, 1), mode="reflect"), floats(2, 3, 4)),
    case("pad-reflect-2d", lambda m, x: m.nn.functional.pad(x, (2, 1, 1, 2), mode="reflect"), floats(2, 2, 3, 4)),
    case("pad-reflect-large", lambda m, x: m.nn.functional.pad(x, (4, 1), mode="reflect"), floats(2, 3, 4)),
    case("pad-replicate", lambda m, x: m.nn.functional.pad(x, (2, 5, 1, 0), mode="replicate"), floats(2, 2, 3, 4)),
    case("pad-circular", lambda m, x: m.nn.functional.pad(x, (2, 1, 3, 0), mode="circular"), floats(2, 2, 3, 4)),
    case("pad-circular-large", lambda m, x: m.nn.functional.pad(x, (5, 1), mode="circular"), floats(2, 3, 4)),
    case("pad-replicate-negative", lambda m, x: m.nn.functional.pad(x, (-1, 1), mode="replicate"), floats(2, 3, 4)),
    case("pad-mode", lambda m, x: m.nn.functional.pad(x, (1, 1), mode="mirror"), floats(2, 3, 4)),
    case("one_hot", lambda m, x: m.nn.functional.one_hot(x, 4), ints(2, 3)),
    case("one_hot-open", lambda m, x: m.nn.functional.one_hot(x), ints(5)),
    case("one_hot-small", lambda m, x: m.nn.functional.one_hot(x, 2), np.array([2])),
    case("one_hot-negative", lambda m, x: m.nn.functional.one_hot(x), np.array([-1, 2])),
    case("one_hot-float", lambda m, x: m.nn.functional.one_hot(x), floats(2)),
    case("contiguous", lambda m, x: x.t().contiguous(), floats(2, 3)),
    case("clone", lambda m, x: m.clone(x), floats(2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("call", "inputs"), CASES)
def test_cases(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs)


# ---- without PyTorch -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 0, 4), (1, 1, 1)], ids=str)
@pytest.mark.parametrize(
    ("call", "oracle"),
    [
        (lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
        (lambda x: x.movedim(0, -1), lambda a: np.moveaxis(a, 0, -1)),
        (lambda x: x.flip(0, 2), lambda a: np.flip(a, (0, 2))),
        (lambda x: x.roll(2, 1), lambda a: np.roll(a, 2, 1)),
        (lambda x: x.repeat(2, 1, 3), lambda a: np.tile(a, (2, 1, 3))),
        (lambda x: x.repeat_interleave(2, 1), lambda a: np.repeat(a, 2, 1)),
        (lambda x: tg.stack([x, x], -1), lambda a: np.stack([a, a], -1)),
        (lambda x: tg.cat([x, x, x], 2), lambda a: np.concatenate([a, a, a], 2)),
        (lambda x: tg.pad(x, (1, 2, 0, 1)), lambda a: np.pad(a, ((0, 0), (0, 1), (1, 2)))),
        (lambda x: x.tril(1), lambda a: np.tril(a, 1)),
        (lambda x: x.diagonal(1, 0, 2), lambda a: np.diagonal(a, 1, 0, 2)),
    ],
)
def test_moves_by_numpy_and_their_gradients_move_back(
    call: Any, oracle: Any, shape: tuple[int, ...]
) -> None:
    x = floats(*shape)
    t = tg.tensor(x, requires_grad=True)
    y = call(t)
    assert (y.array == oracle(x)).all()
    # these are linear maps that copy: the gradient of <u, f(x)> is counted by f of the places
    u = floats(*y.shape, seed=3)
    y.backward(tg.tensor(u))
    places = oracle(np.arange(x.size).reshape(shape) + 1).ravel()
    sums = np.bincount(places, u.ravel(), minlength=x.size + 1)[1:]
    np.testing.assert_allclose(t.grad.array, sums.reshape(shape), atol=1e-12)


def test_views_share_memory_and_copies_do_not() -> None:
    x = tg.zeros(2, 3, 4)
    for view in (
        x.permute(2, 0, 1),
        x.reshape(6, 4),
        x[0],
        x[:, 1:],
        x.narrow(1, 0, 1),
        x.unsqueeze(0),
        x.expand(5, 2, 3, 4),
        x.split(2, 2)[1],
        x.unbind()[1],
        x.transpose(0, 1),
        x.detach(),
    ):
        assert np.shares_memory(view.array, x.array)
    for copy in (x.clone(), x.repeat(1, 1, 1), x.flip(0), tg.cat([x]), x[[0, 1]], x + 0, x.tril()):
        assert not np.shares_memory(copy.array, x.array)


def test_errors_name_shapes() -> None:
    x = tg.zeros(2, 3)
    with pytest.raises(ValueError, match=r"reshape: `shape` is \(4, 2\), but `input` \(2, 3\)"):
        x.reshape(4, 2)
    with pytest.raises(ValueError, match=r"cat: tensor 1 has shape \(2, 4\).*\(2, 3\).*axis 0"):
        tg.cat([x, tg.zeros(2, 4)])
    with pytest.raises(ValueError, match=r"expand: `input` of shape \(2, 3\) cannot"):
        x.expand(3, 3)
    with pytest.raises(TypeError, match=r"reshape: got .*expected integers"):
        x.reshape("a")
