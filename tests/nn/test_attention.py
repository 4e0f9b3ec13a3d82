"""Attention: against PyTorch, in little memory, with dropout, and what it refuses."""

from importlib import import_module

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.nn.functional import scaled_dot_product_attention as sdpa
from tinygrad_cnn.ops import attention

# name: (shape of the query, heads and rows of the key, options, mask)
CASES = {
    "plain": ((2, 3, 5, 4), (3, 6), {}, None),
    "causal": ((2, 3, 5, 4), (3, 6), {"is_causal": True}, None),
    "causal, more queries": ((2, 1, 6, 4), (1, 5), {"is_causal": True}, None),
    "grouped queries": ((2, 4, 5, 4), (2, 6), {"enable_gqa": True}, (5, 6)),
    "scale, mask of each batch": ((2, 3, 5, 4), (3, 6), {"scale": 0.3}, (2, 1, 5, 6)),
    "mask of bools": ((2, 3, 5, 4), (3, 6), {}, "bool"),
}


@pytest.mark.parametrize("block", [1 << 18, 8], ids=["whole", "blocks"])
@pytest.mark.parametrize("name", CASES)
def test_attention_is_pytorchs(name, block, monkeypatch):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install torch==2.13.0"
    )
    monkeypatch.setattr("tinygrad_cnn.functions.attention.BLOCK", block)
    shape, (heads, keys), options, mask = CASES[name]
    rng = np.random.default_rng(0)
    other = (shape[0], heads, keys, shape[3])
    arrays = [rng.standard_normal(s) for s in (shape, other, other)]
    if mask is not None:
        mask = rng.random((5, 6)) > 0.5 if mask == "bool" else rng.standard_normal(mask)
        if mask.dtype == bool:
            mask[2] = False  # a query that sees nothing
    results = []
    for library in (tg, torch):
        leaves = [library.tensor(a, requires_grad=True) for a in arrays]
        seen = None if mask is None else library.tensor(mask)
        if mask is not None and mask.dtype != bool:
            leaves.append(seen.requires_grad_())
        function = library.nn.functional.scaled_dot_product_attention
        y = function(*leaves[:3], attn_mask=seen, **options)
        (y**3).sum().backward()
        results.append([y, *[t.grad for t in leaves]])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 9, 2), (4, 1, 1), (6, 2)])
@pytest.mark.parametrize("block", [1, 4, 40, 1000])
def test_blocks_cover_every_query_once(shape, block, causal):
    counts = np.zeros(shape[:-1], int)
    for part in attention.blocks(shape, block, causal):
        counts[part] += 1
        rows = counts[part].size
        assert rows * shape[-1] <= block or rows == 1
    assert (counts == 1).all()


def test_the_matrix_of_weights_is_never_made(monkeypatch):
    n = 1500
    q, k, v = (tg.randn(4, n, 8).requires_grad_() for _ in range(3))
    before = tg.memory_allocated()
    y = sdpa(q, k, v)
    kept = tg.memory_allocated() - before
    assert kept < 3 * y.numel() * 4 < 4 * n * n
    shapes = []
    reference = import_module("tinygrad_cnn.kernels.reference.attention")
    scores = reference._scores

    def seen(q, k, mask, at, *rest):
        found = scores(q, k, mask, at, *rest)
        shapes.append(found.size)
        return found

    monkeypatch.setattr(reference, "_scores", seen)
    former = tg.set_kernels("reference")
    try:
        y.sum().backward()
    finally:
        tg.set_kernels(former)
    assert max(shapes) <= attention.BLOCK < 4 * n * n == sum(shapes)


def test_dropout_of_weights():
    tg.manual_seed(0)
    q, k, v = tg.zeros(1, 200, 1), tg.zeros(1, 300, 1), tg.ones(1, 300, 1, requires_grad=True)
    y = sdpa(q, k, v, dropout_p=0.25)
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert 0.01 < y.std().item() < 0.06
    y.sum().backward()  # the same weights are left out
    assert v.grad.sum().item() == pytest.approx(y.sum().item(), rel=1e-4)
    assert not (sdpa(q, k, v, dropout_p=0.25) == y).all()
    assert (sdpa(q, k, v, dropout_p=1.0) == 0).all()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: sdpa(x, x, x, tg.ones(4, 4), is_causal=True), ValueError, "one is expected"),
        (lambda x: sdpa(x, x, x[:, :2]), ValueError, r"\(..., s, e\)"),
        (lambda x: sdpa(x[0, 0], x, x), ValueError, "2 axes or more"),
        (lambda x: sdpa(x, x, x.double()), TypeError, "one floating dtype"),
        (lambda x: sdpa(x, x, x, dropout_p=2.0), ValueError, "`dropout_p` is 2.0"),
        (lambda x: sdpa(x, x, x, tg.ones(4, 4, dtype=tg.int64)), TypeError, "`attn_mask` has"),
        (lambda x: sdpa(x, x[:2], x[:2], enable_gqa=True), ValueError, "heads must divide"),
        (lambda x: nn.MultiheadAttention(6, 4), ValueError, "`num_heads` is 4"),
        (lambda x: nn.MultiheadAttention(6, 2)(x, x, x), ValueError, r"\(l, n, 6\)"),
        (lambda x: nn.TransformerEncoderLayer(4, 2, activation="x"), ValueError, "`activation`"),
        (
            lambda x: nn.MultiheadAttention(2, 1)(x, x, x, is_causal=True),
            ValueError,
            "`is_causal` is set",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call(tg.ones(3, 4, 2))


def test_a_choice_of_implementation_changes_nothing():
    from tinygrad_cnn.nn.attention import SDPBackend, sdpa_kernel

    q = tg.ones(1, 2, 3, 4)
    plain = tg.nn.functional.scaled_dot_product_attention(q, q, q)
    with sdpa_kernel(SDPBackend.MATH):
        assert tg.equal(tg.nn.functional.scaled_dot_product_attention(q, q, q), plain)
    with pytest.raises(TypeError, match="sdpa_kernel: `backends` is 'math'"), sdpa_kernel("math"):
        pass
