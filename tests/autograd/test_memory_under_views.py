"""Places in the memory under tensors: as_strided, shapes changed in place, resize_, set_."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats

import tinygrad_cnn as tg
from tinygrad_cnn.errors import ArgumentError, ShapeError


def _clones(*parts: Any) -> tuple[Any, ...]:
    """As they are now; what comes later does not change them."""
    return tuple(p.detach().clone() if hasattr(p, "detach") else p for p in parts)


# ---- as_strided and unfold ------------------------------------------------------------------


def _strided_part(m: Any, x: Any) -> Any:
    """Elements that the view does not have are seen, and have no gradient there."""
    view = (x * 2)[1:, 1:]
    return (
        view.as_strided((2, 3), (1, 2), 3),
        view.as_strided((2, 2), (4, 1)),
        view.as_strided((3,), (0,)),
        view.as_strided((), (), 0),
    )


def _strided_write(m: Any, x: Any) -> Any:
    y = x * 2
    view = y[1:, 1:]
    seen, other = view.as_strided((2, 3), (1, 2), 3), view.as_strided((2, 2), (4, 1))
    seen.mul_(3)
    first = _clones(view, y, other)
    other += 1
    view.mul_(2)
    seen[0].add_(view.sum())
    return *first, seen, y, view, other, (y * y).sum()


def _strided_write_outside(m: Any, x: Any) -> Any:
    y = x * 2
    y[2:].as_strided((3,), (2,), 0).copy_(x[0, :3] * x[0, :3])
    y[2:].as_strided((2, 2), (3, 1), 0)[0] = 7.0
    return y


def _strided_transposed(m: Any, x: Any) -> Any:
    y = x.t() * 1
    y = y.contiguous()
    part = y[1:]
    part.as_strided((2, 2), (2, 3), 0).add_(part.sum())
    return y, part, y.as_strided((3,), (2,))


def _strided_of_constant(m: Any, x: Any) -> Any:
    y = m.zeros(6, dtype=x.dtype)
    y[2:].as_strided((2, 2), (3, 1), 0).add_(x[:2, :2])
    return y


def _strided_of_expanded(m: Any, x: Any) -> Any:
    return x[0].clone().expand(2, 4).as_strided((3, 2), (1, 0))


def _strided_twice(m: Any, x: Any) -> Any:
    (g,) = m.autograd.grad((x.as_strided((2, 3), (1, 2)) ** 3).sum(), x, create_graph=True)
    return g, x.detach().as_strided((5,), (2,), 1)


def _windows(m: Any, x: Any) -> Any:
    y = x * 1
    view = y.unfold(1, 2, 1)
    both = view.unfold(0, 2, 1)
    whole = y.unfold(0, 2, 2)
    whole.mul_(x[:1, :, None])
    return view, both * both, y, m.tensor(3.0, dtype=x.dtype).unfold(0, 1, 1)


# ---- shapes in place ------------------------------------------------------------------------


def _reshaped(m: Any, x: Any) -> Any:
    y = x.unsqueeze(0) * 2
    view = y[0, :, 1:]
    y.squeeze_(0)
    y.t_()
    y.mul_(2)
    view.mul_(5)
    view.unsqueeze_(1)
    view.add_(1)
    return y, view, y * y


def _turned(m: Any, x: Any) -> Any:
    y = x * 3
    y.transpose_(0, 1)
    y.swapaxes_(0, 1).swapdims_(0, -1)
    z = y.unsqueeze_(-1)
    assert z is y
    other = (y * 1).contiguous()
    other.as_strided_((2, 2), (2, 1))
    other.mul_(x[0, 0])
    return y, other


def _changed_base(m: Any, x: Any) -> Any:
    """A view that was made before sees the gradient of the base in its new shape."""
    base = x * 1
    first, column, seen = base[0], base.t()[1], base.as_strided((2, 2), (2, 1), 4)
    base.t_()
    first.mul_(2).add_(x[0])
    column.add_(x[:, 0])
    seen.unsqueeze_(0).add_(x[0, 0])
    return base, first, column, seen, m.autograd.grad(first.sum(), base, allow_unused=True)[0]


def _expanded_turned(m: Any, x: Any) -> Any:
    return (x[:1] * 1).expand(2, 4).t_()


def _counted(m: Any, x: Any) -> Any:
    y = (x * 1).unsqueeze_(0).squeeze_().t_()
    return m.tensor(y._version), y


def _leaf_under_no_grad(m: Any, x: Any) -> Any:
    leaf = m.ones(1, 3, requires_grad=True)
    with m.no_grad():
        leaf.squeeze_()
    (leaf * 2).sum().backward()
    assert leaf.is_leaf
    assert leaf._version == 1
    return leaf.grad


def _hooked(m: Any, x: Any) -> Any:
    seen = []
    y = x * 1
    y.register_hook(lambda g: seen.append(g.shape))
    y.t_()
    y.pow(2).sum().backward()
    return m.tensor([list(s) for s in seen])


def _filled(m: Any, x: Any) -> Any:
    y = x * 2
    y[1:].fill_diagonal_(1)
    return y, m.zeros(7, 3).fill_diagonal_(x[0, 0].detach().float(), wrap=True)


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        *(
            case(body.__name__, body, floats(3, 4))
            for body in (
                _strided_part, _strided_write, _strided_write_outside, _strided_transposed,
                _strided_of_constant, _strided_of_expanded, _strided_twice, _windows, _reshaped,
                _turned, _changed_base, _expanded_turned, _counted, _leaf_under_no_grad, _hooked,
                _filled,
            )
        ),
        case("leaf", lambda m, x: x.squeeze_(), floats(1, 3)),
        case("view of a leaf", lambda m, x: x[0].unsqueeze_(0), floats(2, 3)),
        case("one of several", lambda m, x: (x * 1).unbind()[0].unsqueeze_(0), floats(2, 3)),
        case("saved result", lambda m, x: _then_backward(x.exp()), floats(1, 3)),
        case("matrix of three axes", lambda m, x: (x * 1).t_(), floats(1, 2, 3)),
        case("diagonal of a vector", lambda m, x: (x * 1).fill_diagonal_(1), floats(3)),
        case("diagonal of a box", lambda m, x: (x * 1).fill_diagonal_(1), floats(2, 3, 2)),
        case("diagonal of a cube", lambda m, x: (x * 1).fill_diagonal_(1), floats(3, 3, 3)),
        case("diagonal of a wide", lambda m, x: (x * 1).fill_diagonal_(1, True), floats(3, 7)),
        case("strided beyond", lambda m, x: x.as_strided((3, 3), (2, 2)), floats(2, 4)),
        case("strided of two numbers", lambda m, x: x.as_strided((3,), (2, 2)), floats(2, 4)),
        case("strided of none", lambda m, x: x.as_strided((0, 3), (7, 7)), floats(2, 4)),
        case("apply_ of a live one", lambda m, x: (x * 1).apply_(lambda v: v), floats(3)),
        case("windows of a complex", lambda m, x: m.complex(x, x).unfold(0, 2, 1), floats(3, 2)),
    ],
)  # fmt: skip
def test_programs(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs, is_function=False)


def _then_backward(y: Any) -> Any:
    y.unsqueeze_(0)
    y.sum().backward()


def test_gradients_reach_a_part_of_the_memory_only() -> None:
    x = tg.arange(6.0).requires_grad_()
    tg.as_strided(x[2:], (3,), (1,), 0).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 1, 0, 0, 0]


def test_an_array_with_gaps() -> None:
    """The storage reaches from its first element to its last."""
    given = np.arange(12.0)
    x = tg.from_numpy(given[2:10:2])
    assert (x.storage_offset(), x.untyped_storage().nbytes()) == (0, 56)
    x.as_strided((3,), (1,), 1).zero_()
    assert given[:7].tolist() == [0, 1, 2, 0, 0, 0, 6]
    with pytest.raises(ShapeError, match="reach beyond the 7 elements"):
        x.as_strided((8,), (1,))


def test_memory_that_a_kernel_left_channels_last() -> None:
    x, w = tg.tensor(floats(2, 3, 8, 8)).float(), tg.tensor(floats(8, 3, 3, 3)).float()
    y = tg.nn.functional.conv2d(x, w, padding=1)
    rows = y.detach().clone().numpy().ravel()
    assert y[1:].storage_offset() == 8 * 64
    assert y.is_contiguous()
    assert y.stride() == (512, 64, 8, 1)
    np.testing.assert_array_equal(y[1:].as_strided((4,), (100,), 3).numpy(), rows[3:400:100])


# ---- memory ---------------------------------------------------------------------------------


def _numbers(m: Any, *shape: int) -> Any:
    return m.arange(float(np.prod(shape))).reshape(shape)


def _grown(m: Any, x: Any) -> Any:
    y = _numbers(m, 6)
    view = y[2:4]
    out = _clones(y.resize_(2, 2), view)
    y.resize_(10)
    out += _clones(y[:6], view)
    view.resize_(3)
    out += _clones(view, m.tensor(view.storage_offset()))
    view.resize_(20)
    view[:4] = 9.0
    apart = m.tensor([view.data_ptr() - y.data_ptr(), view._version, view.numel(), y.numel()])
    return *out, *_clones(y[:6], view[:3]), apart


def _resized(m: Any, x: Any) -> Any:
    y = _numbers(m, 2, 3).t()
    shapes = [m.empty(0).resize_(2).shape, m.empty(0).resize_(3, 0).shape]
    strides = y.resize_(3, 2).stride()
    part = m.tensor(m.empty(0).resize_(3)[1:].storage_offset())
    return y, *_clones(m.resize_as_(y, m.zeros(2, 2))), part, m.tensor([*strides, *shapes[0]])


def _placed(m: Any, x: Any) -> Any:
    a, b = _numbers(m, 6), m.zeros(2)
    view = b[:1]
    b.set_(a)
    b[0] = 9.0
    out = _clones(a, b, view)
    out += _clones(m.tensor([a._version, b._version, a.is_set_to(b), a.is_set_to(a[1:])]))
    for place in (
        (a.untyped_storage(), 1, (2,), (2,)), (a, 1, (2,), (2,)), (a, 2, (2, 2)), (a[1:],), (),
        (a[1:].untyped_storage(),),
    ):  # fmt: skip
        out += _clones(b.set_(*place))
    with m.no_grad():
        leaf = m.zeros(2, requires_grad=True).set_(a)
    return *out, leaf * x


def _described(m: Any, x: Any) -> Any:
    y = _numbers(m, 3, 4)[1:, 1:]
    storage = y.untyped_storage()
    numbers = [
        y.storage_offset(), *y.stride(), storage.nbytes(), len(storage), storage.size(),
        storage.data_ptr() - y.data_ptr(), y.const_data_ptr() - y.data_ptr(), *y.dim_order(),
        *y.t().dim_order(), y.output_nr, y.is_shared(), y.is_pinned(), y.is_inference(),
        y.is_neg(), y.is_quantized, y.is_sparse, y.is_meta, m.zeros(0).data_ptr(),
        m.from_numpy(np.arange(5)[1:]).storage_offset(), m.arange(8)[::2][1:].storage_offset(),
    ]  # fmt: skip
    return m.tensor(numbers), m.tensor(storage.tolist())


def _made(m: Any, x: Any) -> Any:
    alias = m.Tensor(x)
    number = m.zeros(2)
    m.Tensor(number)[0] = 4
    shapes = [m.Tensor(2, 3).shape, m.Tensor(m.Size([2, 1])).shape, m.FloatTensor(3, 1).shape]
    assert alias.requires_grad
    assert alias is not x
    assert m.zeros(2).new(3, 1).shape == (3, 1)
    return (
        alias * 2, number, m.Tensor([1, 2]), m.Tensor(), m.Tensor((2, 3)), m.tensor(shapes),
        m.Tensor(np.arange(3)), m.Tensor(range(3)), m.Tensor([[1, 2], [3, 4]]),
        m.Tensor(m.zeros(2).long()), m.zeros(2).long().new([1.0, 2.0]), m.zeros(2).new(),
    )  # fmt: skip


def _shifted(m: Any, x: Any) -> Any:
    i = m.arange(3)
    i <<= 1
    return i, i << 2, 1 << i, i >> 1, 8 >> i, *reversed(m.arange(2)), m.tensor(3) << 1


def _mapped(m: Any, x: Any) -> Any:
    one, two = m.ones(3), _numbers(m, 3)
    return (
        _numbers(m, 3).apply_(lambda v: v + 1),
        _numbers(m, 3).map_(one, lambda a, b: a - b),
        _numbers(m, 3).map2_(one, two, lambda a, b, c: a - b * c),
        m.arange(3).apply_(lambda v: v * 1.5),
    )


def _other_names(m: Any, x: Any) -> Any:
    y = x.abs() + 1
    return (
        (x * 1).divide_(2).multiply_(3).subtract_(1).true_divide_(2), (x * 1).conj_physical_(),
        x.hardshrink(), m.hardshrink(x, 0.1), x.prelu(m.ones(1, dtype=x.dtype)),
        (y.t() @ y + m.eye(3, dtype=x.dtype)).lu()[0], *x.unsafe_split_with_sizes([1, 2], 1),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:torch.lu is deprecated")
@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        *(
            case(body.__name__, body, floats(3, 3))
            for body in (
                _grown, _resized, _described, _made, _shifted, _mapped, _other_names,
            )
        ),
        case("_placed", _placed, floats(6)),
        case("resize_ of a leaf", lambda m, x: x.resize_(3), floats(2)),
        case("resize_ of a result", lambda m, x: (x * 1).resize_(3), floats(2)),
        case("set_ of a leaf", lambda m, x: x.set_(x.detach()), floats(2)),
        case("set_ to another dtype", lambda m, x: x.detach().set_(x.long()), floats(2)),
        case("Tensor of a number", lambda m, x: m.Tensor(3.0), floats(1)),
        case("Tensor of a string", lambda m, x: m.Tensor("a"), floats(1)),
        case("Tensor of complex", lambda m, x: m.Tensor([1j]), floats(1)),
        case("Tensor of two", lambda m, x: m.Tensor(2, [1.0]), floats(1)),
        case("shift of floats", lambda m, x: x << 1, floats(1)),
    ],
)  # fmt: skip
def test_memory(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs, is_function=False)


def test_set_says_that_it_has_no_derivative() -> None:
    x = tg.zeros(2, requires_grad=True) * 1
    for target, source in ((x, tg.zeros(2)), (tg.zeros(2), x)):
        with pytest.raises(RuntimeError, match="set_: there is no derivative"):
            target.set_(source)


def test_subclasses() -> None:
    class Marked(tg.Tensor):
        pass

    x = tg.ones(2, requires_grad=True)
    y = (x * 2).as_subclass(Marked)
    y.sum().backward()
    assert type(y) is Marked
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2]
    assert Marked([1, 2]).tolist() == [1.0, 2.0]


def test_one_place_is_no_place_for_two() -> None:
    with pytest.raises(ArgumentError, match="one place cannot hold several"):
        tg.as_strided_scatter(tg.zeros(3), tg.ones(2), (2,), (0,))
    with pytest.raises(RuntimeError, match="read-only memory"):
        tg.zeros(3).as_strided((2,), (0,)).add_(1)


def test_scattering_to_places() -> None:
    """PyTorch's gradient of `input` is not 0 where ``src`` was written."""
    x, src = tg.arange(6.0).requires_grad_(), tg.full((2,), 9.0).requires_grad_()
    y = tg.as_strided_scatter(x, src, (2,), (3,), 1)
    assert y.tolist() == [0, 9, 2, 3, 9, 5]
    gx, gs = tg.autograd.grad(y, (x, src), tg.arange(1.0, 7.0))
    assert gx.tolist() == [1, 0, 3, 4, 0, 6]
    assert gs.tolist() == [2, 5]
