"""Strategies give what they promise, all of it, and shrink to the smallest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn.testing import LAYOUTS, laid_out
from tinygrad_cnn.testing import strategies as tgst
from tinygrad_cnn.testing.architectures import architectures, modules

_QUICK = settings(
    max_examples=500, derandomize=True, database=None, phases=[Phase.generate, Phase.shrink]
)


@given(tgst.shapes(min_dims=1, max_dims=3, min_side=0, max_side=5))
def test_shapes_keep_to_their_limits(shape: tuple[int, ...]) -> None:
    assert 1 <= len(shape) <= 3
    assert all(0 <= n <= 5 for n in shape)


def test_shapes_shrink_to_the_smallest_that_fails() -> None:
    assert find(tgst.shapes(), lambda s: True, settings=_QUICK) == ()
    assert find(tgst.shapes(), lambda s: len(s) >= 2, settings=_QUICK) == (1, 1)
    assert find(tgst.shapes(), lambda s: 3 in s, settings=_QUICK) == (3,)
    assert find(tgst.shapes(), lambda s: 0 in s, settings=_QUICK) == (0,)


@given(tgst.broadcastable_shapes(3))
def test_broadcastable_shapes_broadcast(shapes: tuple[tuple[int, ...], ...]) -> None:
    assert len(shapes) == 3
    np.broadcast_shapes(*shapes)


def test_broadcastable_shapes_differ_in_every_way() -> None:
    pairs = tgst.broadcastable_shapes(2)
    assert find(pairs, lambda p: len(p[0]) < len(p[1]), settings=_QUICK) == ((), (1,))
    a, b = find(pairs, lambda p: len(p[0]) == len(p[1]) and p[0] != p[1], settings=_QUICK)
    assert 1 in a or 1 in b


@given(data=st.data(), shape=tgst.shapes(max_dims=4))
def test_every_layout_holds_the_same_values(data: st.DataObject, shape: tuple[int, ...]) -> None:
    a = np.arange(np.prod(shape)).reshape(shape)
    layout = data.draw(tgst.layouts())
    b = laid_out(a, layout)
    assert np.array_equal(a, b)
    assert not np.shares_memory(a, b) or not b.flags.writeable
    assert b.flags.writeable == (layout != "read-only")


def test_layouts_are_what_they_are_called() -> None:
    a = np.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert laid_out(a, "transposed").flags.f_contiguous
    assert all(s < 0 for s in laid_out(a, "negative").strides)
    assert laid_out(a, "channels-last").transpose(0, 2, 3, 1).flags.c_contiguous
    assert not laid_out(a, "sliced").flags.contiguous
    assert find(tgst.layouts(), lambda s: True, settings=_QUICK) == LAYOUTS[0]
    with pytest.raises(ValueError, match="`layout` is 'diagonal'"):
        laid_out(a, "diagonal")


@given(tgst.tensors(dtype=tgst.dtypes(), layout=tgst.layouts()))
def test_tensors_of_every_dtype_and_layout(x: tg.Tensor) -> None:
    assert isinstance(x, tg.Tensor)
    assert not x.requires_grad
    assert np.all(np.abs(x.array.astype(float)) <= 2)


@given(tgst.tensors(shape=(3, 4), requires_grad=True, distinct=True, low=-1, high=1))
def test_distinct_tensors_keep_apart(x: tg.Tensor) -> None:
    assert x.requires_grad
    assert x.is_leaf
    assert x.shape == (3, 4)
    values = np.sort([0.0, *x.detach().numpy().ravel()])
    assert np.diff(values).min() > 1e-3


@given(data=st.data(), shape=tgst.shapes(min_dims=1, max_dims=3, min_side=1))
def test_indices_are_valid(data: st.DataObject, shape: tuple[int, ...]) -> None:
    index = data.draw(tgst.indices(shape))
    np.zeros(shape)[index]


def test_indices_come_in_every_kind() -> None:
    def some(kind: Any) -> Any:
        def has(index: Any) -> bool:
            parts = index if isinstance(index, tuple) else (index,)
            return any(kind(p) for p in parts)

        return find(tgst.indices((2, 3)), has, settings=_QUICK)

    some(lambda p: p is Ellipsis)
    some(lambda p: p is None)
    some(lambda p: isinstance(p, slice) and p.step == -1)
    some(lambda p: isinstance(p, np.ndarray) and p.dtype == bool)
    some(lambda p: isinstance(p, np.ndarray) and p.dtype == np.int64)
    with pytest.raises(ValueError, match="indices: `shape`"):
        tgst.indices((2, 0))


@given(tgst.conv_geometry())
def test_conv_geometries_are_valid(geometry: tgst.ConvGeometry) -> None:
    y = tg.conv2d(tg.zeros(*geometry.x), tg.zeros(*geometry.weight), **geometry.params)
    assert y.shape[:2] == (geometry.x[0], geometry.weight[0])
    assert y.numel() > 0


def test_a_failing_convolution_is_shrunk_to_a_small_one() -> None:
    def fails(geometry: tgst.ConvGeometry) -> bool:  # as a wrong stride would
        return geometry.params["stride"][0] == 2

    found = find(tgst.conv_geometry(), fails, settings=_QUICK)
    assert found.x == (1, 1, 1, 1)
    assert found.weight == (1, 1, 1, 1)
    assert found.params == {"stride": (2, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


@given(tgst.pool_geometry())
def test_pool_geometries_are_valid(geometry: tgst.PoolGeometry) -> None:
    assert tg.max_pool2d(tg.zeros(*geometry.x), **geometry.params).numel() > 0


@given(tgst.pool_geometry(dilated=False))
def test_pool_geometries_without_dilation_fit_averages(geometry: tgst.PoolGeometry) -> None:
    assert tg.avg_pool2d(tg.zeros(*geometry.x), **geometry.params).numel() > 0


@given(tgst.samples("matmul"))
def test_samples_of_a_registered_operation(sample: Any) -> None:
    a, b = sample.args
    assert a.shape[-1] == b.shape[-2]


def test_samples_of_an_operation_without_any() -> None:
    def double(x: np.ndarray) -> np.ndarray:
        """Twice ``x``."""
        return 2 * x

    with pytest.raises(ValueError, match="has none"):
        tgst.samples(tg.autograd.Op(double, lambda g: g * 2))


@given(modules())
def test_modules_take_their_inputs(pair: Any) -> None:
    module, shape = pair
    assert module(tg.randn(*shape)).shape[0] == shape[0]


@given(architectures())
def test_architectures_run(architecture: Any) -> None:
    net = architecture.build()
    assert net(tg.randn(*architecture.input_shape)).shape == (2, architecture.outputs)


def test_a_failing_architecture_is_shrunk_to_few_layers() -> None:
    def fails(architecture: Any) -> bool:
        return any(layer.kind == "BatchNorm2d" for layer in architecture.layers)

    found = find(architectures(), fails, settings=_QUICK)
    kinds = [layer.kind for layer in found.layers]
    assert kinds == ["Conv2d", "BatchNorm2d", "Flatten", "Linear"]
