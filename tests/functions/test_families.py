"""The families of functions: against definitions in loops, and what they refuse.

Values and derivatives are held against PyTorch's in tests/parity.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity import floats

import tinygrad_cnn as tg
from tinygrad_cnn.nn import functional as F


def t(*shape: int) -> tg.Tensor:
    return tg.tensor(floats(*shape))


def test_block_diag_promotes_as_pytorch() -> None:
    assert tg.block_diag(tg.tensor([1]), tg.ones(1, 1)).dtype == tg.float32
    assert tg.block_diag(tg.tensor(3.0, dtype=tg.float64), tg.ones(1, 1)).dtype == tg.float32


def test_conv3d_by_its_definition() -> None:
    x, w, b = floats(2, 4, 5, 6, 4), floats(6, 2, 2, 3, 2), floats(6)
    y = F.conv3d(
        *map(tg.tensor, (x, w, b)),
        stride=(2, 1, 1),
        padding=(1, 0, 1),
        dilation=(1, 2, 1),
        groups=2,
    )
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0), (1, 1)))
    for n, f, i, j, k in itertools.product(*map(range, y.shape)):
        part = padded[n, f // 3 * 2 : f // 3 * 2 + 2, 2 * i : 2 * i + 2, j : j + 5 : 2, k : k + 2]
        assert np.isclose(y.numpy()[n, f, i, j, k], (part * w[f]).sum() + b[f])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_transposed_convolution_is_the_adjoint(n: int) -> None:
    shape = (7, 6, 5)[:n]
    how: dict[str, Any] = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    x, w = t(2, 4, *shape), t(6, 2, *(3, 3, 3)[:n])
    y = getattr(F, f"conv{n}d")(x, w, **how)
    u = tg.tensor(floats(*y.shape, seed=1))
    extra = tuple((m - 1) % 2 for m in shape)
    back = getattr(F, f"conv_transpose{n}d")(u, w, output_padding=extra, **how)
    assert back.shape == x.shape
    assert np.isclose(float((y * u).sum()), float((back * x).sum()))


def test_pooling_of_volumes_by_its_definition() -> None:
    x = floats(1, 2, 5, 4, 6)
    y, where = F.max_pool3d(tg.tensor(x), (2, 2, 3), stride=(2, 1, 2), return_indices=True)
    mean = F.avg_pool3d(tg.tensor(x), (2, 2, 3), stride=(2, 1, 2)).numpy()
    for n, c, i, j, k in itertools.product(*map(range, y.shape)):
        part = x[n, c, 2 * i : 2 * i + 2, j : j + 2, 2 * k : 2 * k + 3]
        assert y.numpy()[n, c, i, j, k] == part.max()
        assert x[n, c].ravel()[where.numpy()[n, c, i, j, k]] == part.max()
        assert np.isclose(mean[n, c, i, j, k], part.mean())


def test_unpooling_puts_the_maxima_back() -> None:
    x = t(2, 3, 6, 4)
    y, where = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(y, where, 2).numpy()
    assert back.shape == x.shape
    kept = back != 0
    assert kept.sum() == y.numel()
    assert (back[kept] == x.numpy()[kept]).all()


def test_interpolation_leaves_lines_and_constants() -> None:
    line = tg.tensor(np.arange(5.0).reshape(1, 1, 5))
    out = F.interpolate(line, 9, mode="linear", align_corners=True)
    assert np.allclose(out.numpy().ravel(), np.linspace(0, 4, 9))
    for mode in ("nearest", "nearest-exact", "area", "bilinear", "bicubic"):
        same = F.interpolate(tg.ones(1, 1, 5, 7), (3, 11), mode=mode)
        assert np.allclose(same.numpy(), 1), mode
    for mode in ("bilinear", "bicubic"):
        small = F.interpolate(t(1, 2, 8, 8), 4, mode=mode, antialias=True)
        assert small.shape == (1, 2, 4, 4)


def test_sampling_at_the_pixels_themselves() -> None:
    x = t(2, 3, 4, 5)
    grid = F.affine_grid(tg.tensor(np.tile(np.eye(2, 3), (2, 1, 1))), x.shape)
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            out = F.grid_sample(x, grid, mode, padding, False)
            assert np.allclose(out.numpy(), x.numpy()), (mode, padding)


def test_norms_have_their_moments() -> None:
    x = t(3, 4, 5, 6)
    grouped = F.group_norm(x, 2, eps=0).numpy().reshape(3, 2, -1)
    alone = F.instance_norm(x, eps=0).numpy().reshape(3, 4, -1)
    for y in (grouped, alone):
        assert np.allclose(y.mean(-1), 0)
        assert np.allclose(y.var(-1), 1)
    root = F.rms_norm(x, (5, 6), eps=0).numpy()
    assert np.allclose((root**2).mean((2, 3)), 1)


def test_instance_norm_moves_the_running_statistics_by_their_means() -> None:
    x, mean, var = t(3, 2, 10), tg.zeros(2), tg.ones(2)
    F.instance_norm(x, mean, var, momentum=1.0)
    assert np.allclose(mean.numpy(), x.numpy().mean(2).mean(0), atol=1e-6)
    assert np.allclose(var.numpy(), x.numpy().var(2, ddof=1).mean(0), atol=1e-6)


def test_dropouts_keep_the_moments() -> None:
    tg.manual_seed(0)
    x = tg.tensor(np.random.default_rng(0).normal(size=200_000))
    y = F.alpha_dropout(x, 0.3, training=True).numpy()
    assert abs(y.mean()) < 0.02
    assert abs(y.std() - 1) < 0.02
    whole = F.feature_alpha_dropout(tg.ones(50, 40, 3), 0.5, training=True).numpy()
    assert (whole == whole[..., :1]).all()
    assert 0.4 < (whole[..., 0] == whole.max()).mean() < 0.6


def test_ctc_counts_all_alignments() -> None:
    p = np.exp(floats(4, 3))
    logp = tg.log_softmax(tg.tensor(p), 1)
    wanted = 0.0
    for path in itertools.product(range(3), repeat=4):
        short = [a for a, b in itertools.pairwise((*path, None)) if a != b]
        if [a for a in short if a] == [1, 2]:
            wanted += np.exp(sum(logp.numpy()[i, a] for i, a in enumerate(path)))
    loss = F.ctc_loss(logp, tg.tensor([1, 2]), tg.tensor([4]), tg.tensor([2]), reduction="sum")
    assert np.isclose(float(loss), -np.log(wanted))


def test_random_activations() -> None:
    tg.manual_seed(0)
    y = F.rrelu(-tg.ones(10_000), 0.1, 0.3, training=True).numpy()
    assert -0.3 <= y.min() < -0.29
    assert -0.11 < y.max() <= -0.1
    one = F.gumbel_softmax(t(6, 4), hard=True, dim=1).numpy()
    assert sorted(set(one.round(9).ravel())) == [0, 1]
    assert np.allclose(one.sum(1), 1)


def test_activations_in_place() -> None:
    for name in ("relu_", "leaky_relu_", "elu_", "celu_", "selu_", "rrelu_"):
        x = tg.tensor([-1.0, 2.0])
        y = getattr(F, name)(x)
        assert y is x
        assert np.array_equal(x.numpy(), getattr(F, name[:-1])(tg.tensor([-1.0, 2.0])).numpy())


def test_old_names_of_reductions_warn() -> None:
    x, y = t(3), tg.zeros(3, dtype=tg.float64)
    for arguments, reduction in (
        ({"size_average": False}, "sum"),
        ({"reduce": False}, "none"),
        ({"size_average": True}, "mean"),
    ):
        with pytest.warns(UserWarning, match=f"reduction='{reduction}'"):
            old = F.mse_loss(x, y, **arguments)
        assert np.array_equal(old.numpy(), F.mse_loss(x, y, reduction=reduction).numpy())


REFUSED: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("conv3d depth", lambda: F.conv3d(t(1, 1, 1, 3, 3), t(1, 1, 2, 2, 2)), ValueError,
     "conv3d: a window of size 2 with dilation 1 does not fit into a side of 1"),
    ("conv3d rank", lambda: F.conv3d(t(1, 3, 3), t(1, 1, 2, 2, 2)), ValueError, "d, h, w"),
    ("conv3d stride", lambda: F.conv3d(t(1, 1, 3, 3, 3), t(1, 1, 2, 2, 2), stride=(0, 1, 1)),
     ValueError, "conv3d: a window has size 2, stride 0"),
    ("unfold stride", lambda: F.unfold(t(1, 3, 3), 2, stride=0), ValueError, "unfold: a window"),
    ("unfold window", lambda: F.unfold(t(1, 3, 3), 4), ValueError, "does not fit"),
    ("pool stride", lambda: F.avg_pool3d(t(1, 3, 3, 3), 2, stride=(0, 1, 1), ceil_mode=True),
     ValueError, "avg_pool3d: a window has size 2, stride 0"),
    ("pool kernel", lambda: F.avg_pool3d(t(1, 3, 3, 3), (0, 1, 1), 1), ValueError, "size 0"),
    ("norm's name", lambda: F.lp_pool2d(t(3), 2, 2), ValueError, "lp_pool2d: `input`"),
    ("same", lambda: F.conv3d(t(1, 1, 3, 3, 3), t(1, 1, 2, 2, 2), stride=2, padding="same"),
     ValueError, "stride 1"),
    ("output_padding", lambda: F.conv_transpose3d(
        t(1, 1, 3, 3, 3), t(1, 1, 2, 2, 2), output_padding=1), ValueError, "output_padding"),
    ("unpool place", lambda: F.max_unpool1d(t(1, 1, 2), tg.tensor([[[0, 9]]]), 2), ValueError,
     "0 to 9"),
    ("unpool size", lambda: F.max_unpool1d(
        t(1, 1, 2), tg.tensor([[[0, 1]]]), 2, output_size=(9,)), ValueError, "output_size"),
    ("unpool sides", lambda: F.max_unpool2d(
        t(1, 1, 2), tg.tensor([[[0, 1]]]), 2, output_size=(4,)), ValueError, "differ"),
    ("unpool dtype", lambda: F.max_unpool1d(t(1, 1, 2), t(1, 1, 2), 2), TypeError, "integers"),
    ("fractional ratio", lambda: F.fractional_max_pool2d(t(1, 3, 3), 2, output_ratio=(0.5,)),
     ValueError, "output_ratio"),
    ("fractional samples", lambda: F.fractional_max_pool2d(
        t(1, 3, 3), 2, 1, _random_samples=t(1, 2)), ValueError, "_random_samples"),
    ("fractional", lambda: F.fractional_max_pool2d(t(1, 3, 3), 2, 3), ValueError, "do not fit"),
    ("fractional both", lambda: F.fractional_max_pool2d(t(1, 3, 3), 2), ValueError, "one of"),
    ("average of integers", lambda: F.avg_pool3d(tg.ones(1, 1, 2, 2, 2).long(), 2), TypeError,
     "floating"),
    ("padding", lambda: F.avg_pool3d(t(1, 1, 2, 2, 2), 2, padding=2), ValueError, "padding"),
    ("mode", lambda: F.interpolate(t(1, 1, 3), 2, mode="cubic"), ValueError, "`mode`"),
    ("mode and axes", lambda: F.interpolate(t(1, 1, 3), 2, mode="bilinear"), ValueError, "fit"),
    ("corners", lambda: F.interpolate(t(1, 1, 3), 2, align_corners=True), ValueError, "corners"),
    ("antialias", lambda: F.interpolate(t(1, 1, 3), 2, mode="linear", antialias=True), ValueError,
     "antialias"),
    ("nothing left", lambda: F.interpolate(t(1, 1, 3), scale_factor=0.1), ValueError, "size"),
    ("no factor", lambda: F.interpolate(t(1, 1, 3), scale_factor=0), ValueError, "scale_factor"),
    ("half a pixel", lambda: F.interpolate(t(1, 1, 3), 2.5), TypeError, "`size` is 2.5"),
    ("grid", lambda: F.grid_sample(t(1, 1, 3, 3), t(1, 2, 2, 3)), ValueError, "grid"),
    ("grid mode", lambda: F.grid_sample(t(1, 1, 3, 3), t(1, 2, 2, 2), "area"), ValueError, "mode"),
    ("theta", lambda: F.affine_grid(t(1, 2, 2), (1, 1, 3, 3)), ValueError, "theta"),
    ("no pixels", lambda: F.affine_grid(t(1, 2, 3), (1, 1, 0, 3)), ValueError, "positive"),
    ("channels", lambda: F.channel_shuffle(t(1, 3, 2), 2), ValueError, "groups"),
    ("instance", lambda: F.instance_norm(t(2, 3, 1)), ValueError, "one value"),
    ("rms weight", lambda: F.rms_norm(t(2, 3), 3, t(2)), ValueError, "weight"),
    ("response", lambda: F.local_response_norm(t(2, 3), 2), ValueError, "(n, c, ...)"),
    ("margin classes", lambda: F.multi_margin_loss(t(2, 3), tg.tensor([0, 3])), IndexError, "3"),
    ("margin power", lambda: F.multi_margin_loss(t(2, 3), tg.tensor([0, 1]), p=3), ValueError,
     "`p`"),
    ("triplet", lambda: F.triplet_margin_loss(t(2, 3), t(3), t(2, 3)), ValueError, "axes"),
    ("variance", lambda: F.gaussian_nll_loss(t(2), t(2), -tg.ones(2)), ValueError, "below 0"),
    ("ctc blank", lambda: F.ctc_loss(t(3, 1, 2), tg.tensor([[1]]), [3], [1], blank=2), IndexError,
     "blank"),
    ("ctc lengths", lambda: F.ctc_loss(t(3, 1, 2), tg.tensor([[1]]), [4], [1]), ValueError,
     "input_lengths"),
    ("gcd", lambda: tg.gcd(t(2), t(2)), TypeError, "integers"),
    ("heaviside", lambda: tg.heaviside(t(2), tg.ones(2)), TypeError, "float32"),
    ("mvlgamma", lambda: tg.mvlgamma(tg.zeros(2), 2), ValueError, "(p - 1) / 2"),
    ("polygamma", lambda: tg.polygamma(-1, t(2)), ValueError, "negative"),
    ("take", lambda: tg.take(t(2), tg.tensor([2])), IndexError, "holds 2"),
    ("put", lambda: tg.put(t(2), tg.tensor([0]), t(2)), ValueError, "2 elements"),
    ("reduce", lambda: tg.scatter_reduce(t(2), 0, tg.tensor([0]), t(1), "max"), ValueError,
     "reduce"),
    ("slice_scatter", lambda: tg.slice_scatter(t(3), t(2), 0, 0, 3), ValueError, "expected (3,)"),
    ("diagonal_scatter", lambda: tg.diagonal_scatter(t(2, 2), t(3)), ValueError, "expected (2,)"),
    ("quantile", lambda: tg.quantile(t(3), 1.5), ValueError, "0 to 1"),
    ("kthvalue", lambda: tg.kthvalue(t(3), 4), ValueError, "1 to 3"),
    ("kthvalue and a half", lambda: tg.kthvalue(t(3), 1.5), ValueError, "integer from 1 to 3"),
    ("searchsorted", lambda: tg.searchsorted(t(2, 3), t(3)), ValueError, "alike"),
    ("histc", lambda: tg.histc(t(3), 0), ValueError, "bins"),
    ("histogram", lambda: tg.histogram(t(3).float(), t()), ValueError, "a vector"),
    ("hsplit", lambda: tg.hsplit(t(3), 2), ValueError, "one size"),
    ("rot90", lambda: tg.rot90(t(2, 2), 1, (0, 0)), ValueError, "different"),
    ("trace", lambda: tg.trace(t(2)), ValueError, "matrix"),
    ("unfold", lambda: t(3).unfold(0, 4, 1), ValueError, "size"),
    ("as_strided", lambda: tg.as_strided(t(3), (4,), (1,)), ValueError, "beyond"),
    ("cross", lambda: tg.cross(t(2), t(2)), ValueError, "size 3"),
    ("cdist", lambda: tg.cdist(t(2, 3), t(2, 2)), ValueError, "(..., n, d)"),
    ("attention mask", lambda: F.scaled_dot_product_attention(t(2, 3), t(2, 3), t(2, 3), t(3, 3)),
     ValueError, "`attn_mask` has shape (3, 3)"),
    ("bilinear", lambda: F.bilinear(t(2), t(2), t(1, 2, 3)), ValueError, "weight"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "match"), [r[1:] for r in REFUSED],
                         ids=[r[0] for r in REFUSED])  # fmt: skip
def test_refuses(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert match in str(caught.value)


def test_volumes_of_long_sums_are_as_good_in_float32() -> None:
    x = floats(1, 1, 4000, 2, 2).astype(np.float32) + 10
    mean = F.adaptive_avg_pool3d(tg.tensor(x), 1).numpy()
    assert np.isclose(float(mean.ravel()[0]), x.mean(dtype=np.float64), rtol=2e-7)
