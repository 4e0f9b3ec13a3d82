"""Compositions in nn.functional: against PyTorch, second derivatives, errors."""

import inspect

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.nn import functional as F

# name: (function of the module `F` and tensors; shapes of the inputs)
CASES = {
    "normalize": (lambda F, x: F.normalize(x), [(4, 5)]),
    "normalize-1": (lambda F, x: F.normalize(x, p=1.0, dim=0), [(4, 5)]),
    "cosine_similarity": (lambda F, x, y: F.cosine_similarity(x, y), [(4, 5), (4, 5)]),
    "cosine_similarity-0": (lambda F, x, y: F.cosine_similarity(x, y, dim=0), [(4, 5), (4, 1)]),
    "pairwise_distance": (lambda F, x, y: F.pairwise_distance(x, y), [(4, 5), (4, 5)]),
    "pairwise_distance-3": (
        lambda F, x, y: F.pairwise_distance(x, y, p=3.0, keepdim=True),
        [(4, 5), (4, 5)],
    ),
    "group_norm": (
        lambda F, x, w, b: F.group_norm(x, 3, w, b, eps=1e-3),
        [(2, 6, 3, 2), (6,), (6,)],
    ),
    "pixel_shuffle": (lambda F, x: F.pixel_shuffle(x, 2), [(2, 8, 3, 2)]),
    "pixel_shuffle-3d": (lambda F, x: F.pixel_shuffle(x, 3), [(9, 3, 2)]),
    "pixel_unshuffle": (lambda F, x: F.pixel_unshuffle(x, 2), [(2, 3, 4, 6)]),
    "interpolate-size": (lambda F, x: F.interpolate(x, size=(7, 3)), [(2, 3, 4, 6)]),
    "interpolate-scale": (lambda F, x: F.interpolate(x, scale_factor=(2, 1.5)), [(2, 3, 4, 5)]),
    "interpolate-down": (lambda F, x: F.interpolate(x, scale_factor=0.4), [(2, 3, 11)]),
    "unfold": (lambda F, x: F.unfold(x, 3), [(2, 3, 5, 6)]),
    "unfold-all": (
        lambda F, x: F.unfold(x, (2, 3), dilation=(2, 1), padding=(1, 2), stride=(2, 1)),
        [(2, 3, 5, 6)],
    ),
    "unfold-3d": (lambda F, x: F.unfold(x, 2), [(3, 5, 6)]),
    "fold": (lambda F, x: F.fold(x, (5, 6), 3), [(2, 27, 12)]),
    "fold-all": (
        lambda F, x: F.fold(x, (5, 6), (2, 3), dilation=(2, 1), padding=(1, 2), stride=(2, 1)),
        [(2, 12, 24)],
    ),
    "fold-2d": (lambda F, x: F.fold(x, 4, 2, stride=2), [(8, 4)]),
}


@pytest.mark.parametrize(("call", "shapes"), CASES.values(), ids=CASES.keys())
def test_compositions_are_pytorchs(call, shapes):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in shapes]
    ours = [tg.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    a, b = call(F, *ours), call(torch.nn.functional, *theirs)
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)
    g = rng.standard_normal(a.shape)
    # First and second derivatives, with a random cotangent each time.
    firsts = tg.autograd.grad(a, ours, tg.tensor(g), create_graph=True)
    theirs_firsts = torch.autograd.grad(b, theirs, torch.tensor(g), create_graph=True)
    for p, q in zip(firsts, theirs_firsts, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-8, atol=1e-10)
    again = [rng.standard_normal(s) for s in shapes]
    s = sum((p * tg.tensor(c)).sum() for p, c in zip(firsts, again, strict=True))
    t = sum((p * torch.tensor(c)).sum() for p, c in zip(theirs_firsts, again, strict=True))
    if t.requires_grad and t.grad_fn is not None:
        try:
            seconds = torch.autograd.grad(t, theirs, allow_unused=True)
        except RuntimeError:  # a linear function: no second derivative
            return
        mine = tg.autograd.grad(s, ours, allow_unused=True)
        for p, q in zip(mine, seconds, strict=True):
            p = np.zeros(()) if p is None else p.numpy()
            q = np.zeros(()) if q is None else q.numpy()
            np.testing.assert_allclose(p, q, rtol=1e-7, atol=1e-8)


def test_normalized_vectors_have_length_one():
    x = F.normalize(tg.randn(10, 7), dim=1)
    np.testing.assert_allclose((x * x).sum(1).numpy(), 1, rtol=1e-5)
    assert (F.normalize(tg.zeros(2, 3)) == 0).all()


def test_group_norm_of_one_channel_each_is_instance_norm():
    x = tg.randn(2, 4, 5, 5, dtype=tg.float64)
    y = F.group_norm(x, 4).numpy()
    np.testing.assert_allclose(y.mean((2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var((2, 3)), 1, rtol=1e-3)


def test_fold_is_the_transpose_of_unfold():
    rng = np.random.default_rng(0)
    options = {"kernel_size": (3, 2), "stride": (1, 2), "padding": 1}
    x = tg.tensor(rng.standard_normal((2, 3, 6, 5)))
    columns = F.unfold(x, **options)
    y = tg.tensor(rng.standard_normal(columns.shape))
    left, right = (columns * y).sum(), (x * F.fold(y, (6, 5), **options)).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-12)


def test_shuffling_is_undone():
    x = tg.randn(2, 12, 3, 5)
    assert (F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2) == x).all()


def test_embedding_of_any_shape():
    table = tg.randn(5, 2)
    assert F.embedding(tg.tensor(3), table).shape == (2,)
    assert F.embedding(tg.zeros(0, 4, dtype=tg.int64), table).shape == (0, 4, 2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: F.interpolate(x, size=2, mode="wavelet"), "`mode` is 'wavelet'"),
        (lambda x: F.interpolate(x), "one of `size` and `scale_factor`"),
        (lambda x: F.interpolate(x, size=2, scale_factor=2), "one of `size`"),
        (lambda x: F.interpolate(x, size=(2, 2, 2)), "`size` is"),
        (lambda x: F.interpolate(x[0, 0], size=2), r"expected \(n, c, ...\)|is expected"),
        (lambda x: F.pixel_shuffle(x, 2), "`input` has 3 channels but a multiple of .* = 4"),
        (lambda x: F.pixel_shuffle(x[0, 0], 2), r"\(..., c, h, w\) is expected"),
        (lambda x: F.pixel_unshuffle(x, 2), "`downscale_factor` is 2"),
        (lambda x: F.unfold(x, 9), r"unfold: a window of size 9"),
        (lambda x: F.unfold(x[0, 0], 2), r"\(n, c, h, w\) is expected"),
        (lambda x: F.fold(x[0], 5, 2), r"fold: `input` has shape \(3, 5, 5\)"),
        (lambda x: F.group_norm(x, 2), "`num_groups` is 2"),
        (lambda x: F.group_norm(x[0, 0, 0], 1), r"\(n, c, ...\) is expected"),
        (lambda x: F.embedding(tg.tensor([1]), x), "`weight` has shape"),
    ],
)
def test_errors(call, text):
    with pytest.raises((ValueError, TypeError), match=text):
        call(tg.ones(2, 3, 5, 5))


def names_of(module):
    """A package says what is public; of a file it is what stands there."""
    here = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
    return getattr(module, "__all__", here)


def test_every_public_function_and_class_is_documented():
    """Each has a docstring, and each class and composition an example."""
    from tinygrad_cnn import nn, optim

    for module in (nn, nn.init, nn.utils, nn.functional, optim, optim.lr_scheduler):
        for name, member in vars(module).items():
            ours = inspect.isclass(member) or inspect.isfunction(member)
            if name.startswith("_") or not ours or name not in names_of(module):
                continue
            text = inspect.getdoc(member)
            assert text, name
            own = member.__module__.startswith(("tinygrad_cnn.nn", "tinygrad_cnn.optim"))
            if own and not name.startswith(("ones_", "zeros_", "xavier", "kaiming_u")):
                known = ("Optimizer", "LRScheduler", "IncompatibleKeys")
                assert ">>>" in text or name in known, name


def test_shapes_at_the_edge():
    """An empty batch, a broadcast reduced axis, no axes at all: as PyTorch."""
    assert F.group_norm(tg.zeros(0, 4, 3), 2).shape == (0, 4, 3)
    one, many = tg.ones(2, 1), tg.tensor([[3.0, 4.0], [1.0, 0.0]])
    expected = F.cosine_similarity(tg.ones(2, 2), many)
    np.testing.assert_allclose(F.cosine_similarity(one, many).array, expected.array)
    assert F.prelu(tg.tensor(-2.0), tg.tensor([0.5])).tolist() == -1.0
    with pytest.raises(ValueError, match=r"prelu: `weight` has shape \(1, 3\)"):
        F.prelu(tg.ones(2, 3), tg.ones(1, 3))
