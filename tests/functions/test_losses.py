"""Losses with all their options."""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints
from scipy import special

import tinygrad_cnn as tg

F = tg.nn.functional
REDUCTIONS = ("mean", "sum", "none")
SHAPES = [
    ((4, 3), (4,)),
    ((3,), ()),
    ((2, 3, 4), (2, 4)),
    ((2, 3, 2, 2), (2, 2, 2)),
    ((0, 3), (0,)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weight"])
@pytest.mark.parametrize("ignore", [None, 1], ids=["all", "ignore"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_numbers(
    shapes: Any, reduction: str, weighted: bool, ignore: int | None, smoothing: float
) -> None:
    inputs = (floats(*shapes[0]), ints(*shapes[1]))
    if weighted:
        inputs += (floats(3, low=0.2, seed=1),)
    keywords: dict[str, Any] = {"reduction": reduction}
    if ignore is not None:
        keywords["ignore_index"] = ignore

    def call(m: Any, x: Any, t: Any, w: Any = None) -> Any:
        w = None if w is None else w.detach()
        options = {**keywords, "weight": w}
        if smoothing:
            return m.nn.functional.cross_entropy(x, t, label_smoothing=smoothing, **options)
        return (
            m.nn.functional.cross_entropy(x, t, **options),
            m.nn.functional.nll_loss(x, t, **options),
        )

    assert_agrees(call, inputs)


@pytest.mark.parametrize("shape", [(4, 3), (3,), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weight"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_probabilities(
    shape: tuple[int, ...], reduction: str, weighted: bool, smoothing: float
) -> None:
    target = special.softmax(floats(*shape, seed=1), axis=min(1, len(shape) - 1))
    inputs = (floats(*shape), target) + ((floats(3, low=0.2, seed=1),) if weighted else ())

    def call(m: Any, x: Any, t: Any, w: Any = None) -> Any:
        w = None if w is None else w.detach()
        return m.nn.functional.cross_entropy(
            x, t, weight=w, reduction=reduction, label_smoothing=smoothing
        )

    assert_agrees(call, inputs)


CE = lambda m: m.nn.functional.cross_entropy
BCE = lambda m: m.nn.functional.binary_cross_entropy_with_logits


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        case("all-ignored", lambda m, x, t: CE(m)(x, t), floats(3, 4), np.full(3, -100)),
        case("all-ignored-sum", lambda m, x, t: CE(m)(x, t, reduction="sum"), floats(3, 4), np.full(3, -100)),
        case("all-ignored-none", lambda m, x, t: CE(m)(x, t, reduction="none"), floats(3, 4), np.full(3, -100)),
        case("all-ignored-smooth", lambda m, x, t: CE(m)(x, t, label_smoothing=0.1), floats(3, 4), np.full(3, -100)),
        case("default-ignore", lambda m, x, t: CE(m)(x, t), floats(3, 4), np.array([1, -100, 2])),
        case("out-of-range", lambda m, x, t: CE(m)(x, t), floats(3, 4), np.array([1, 4, 2])),
        case("negative", lambda m, x, t: CE(m)(x, t), floats(3, 4), np.array([1, -1, 2])),
        case("float-target", lambda m, x, t: CE(m)(x, t), floats(3, 4), floats(3)),
        case("wrong-batch", lambda m, x, t: CE(m)(x, t), floats(3, 4), np.array([1, 2])),
        case("wrong-rank", lambda m, x, t: CE(m)(x, t), floats(3, 4), np.array([[1], [2], [0]])),
        case("0d", lambda m, x, t: CE(m)(x, t), np.array(1.0), np.array(0)),
        case("weight-shape", lambda m, x, t, w: CE(m)(x, t, weight=w.detach()), floats(3, 4), np.array([1, 2, 0]), floats(3)),
        case("zero-weights", lambda m, x, t, w: CE(m)(x, t, weight=w.detach()), floats(3, 4), np.array([1, 1, 1]), np.array([1.0, 0.0, 1.0, 1.0])),
        case("bad-reduction", lambda m, x, t: CE(m)(x, t, reduction="avg"), floats(3, 4), np.array([1, 2, 0])),
        case("bad-smoothing", lambda m, x, t: CE(m)(x, t, label_smoothing=1.5), floats(3, 4), np.array([1, 2, 0])),
        case("int32-target", lambda m, x, t: CE(m)(x, t.long()), floats(3, 4), np.array([1, 2, 0], np.int32)),
        case("uint8-target", lambda m, x, t: CE(m)(x, t), floats(3, 4), np.array([1, 2, 0], np.uint8)),
        case("large", lambda m, x, t: CE(m)(x * 1e4, t), floats(3, 4), np.array([1, 2, 0])),
        case("-inf", lambda m, x, t: CE(m)(x, t), np.array([[-np.inf, 1.0, 2.0]]), np.array([1])),
        case("names", lambda m, x, t: CE(m)(input=x, target=t, weight=None, ignore_index=-1, reduction="sum", label_smoothing=0.0), floats(3, 4), np.array([1, 2, 0])),
        case("target-gradient", lambda m, x, t: CE(m)(x, t), floats(3, 4), special.softmax(floats(3, 4, seed=2), 1)),
        case("nll-1d", lambda m, x, t: m.nn.functional.nll_loss(x, t), floats(4), np.array(2)),
        case("nll-ignored-inf", lambda m, x, t: m.nn.functional.nll_loss(x, t, ignore_index=0), np.array([[-np.inf, -1.0], [-2.0, -0.5]]), np.array([0, 1])),
        *(
            case(f"{name}-{r}", lambda m, x, t, name=name, r=r: getattr(m.nn.functional, name)(x, t, reduction=r), floats(3, 2), floats(3, 2, seed=1))
            for name, r in itertools.product(("mse_loss", "l1_loss", "binary_cross_entropy_with_logits"), REDUCTIONS)
        ),
        *(
            case(f"{name}-empty", lambda m, x, t, name=name: getattr(m.nn.functional, name)(x, t), np.zeros((0, 2)), np.zeros((0, 2)))
            for name in ("mse_loss", "l1_loss")
        ),
        case("mse-ties", lambda m, x: m.nn.functional.l1_loss(x, x.detach()), floats(3)),
        case("mse-dtypes", lambda m, x, t: m.nn.functional.mse_loss(x, t), floats(3), ints(3).astype(np.float16)),
        case("mse-0d", lambda m, x, t: m.nn.functional.mse_loss(x, t), np.array(1.0), np.array(3.0)),
        case("bce-weight", lambda m, x, t, w: BCE(m)(x, t, weight=w.detach()), floats(3, 2), floats(3, 2, low=0, high=1, seed=1), floats(3, 2, seed=2)),
        case("bce-weight-broadcast", lambda m, x, t, w: BCE(m)(x, t, w.detach()), floats(3, 2), floats(3, 2, low=0, high=1, seed=1), floats(2, seed=2)),
        case("bce-pos", lambda m, x, t, w: BCE(m)(x, t, pos_weight=w.detach()), floats(3, 2), floats(3, 2, low=0, high=1, seed=1), floats(2, low=0.5, seed=2)),
        case("bce-large", lambda m, x, t: BCE(m)(x, t), np.array([800.0, -800.0, 800.0]), np.array([1.0, 0.0, 0.0])),
        case("bce-shape", lambda m, x, t: BCE(m)(x, t), floats(3, 1), floats(3)),
        case("bce-inf", lambda m, x, t: BCE(m)(x, t, reduction="none").detach(), np.array([30.0, -30.0]), np.array([0.0, 1.0])),
    ],
)  # fmt: skip
def test_cases(call: Any, inputs: tuple[Any, ...]) -> None:
    assert_agrees(call, inputs)


# ---- without PyTorch -----------------------------------------------------------------------


def test_cross_entropy_by_scipy() -> None:
    x, t = floats(5, 4), ints(5, high=4)
    weight = np.array([0.5, 1.0, 2.0, 0.25])
    logp = special.log_softmax(x, 1)
    each = -logp[np.arange(5), t]
    leaf = tg.tensor(x, requires_grad=True)
    loss = F.cross_entropy(leaf, t)
    assert loss.item() == pytest.approx(each.mean())
    loss.backward()
    np.testing.assert_allclose(leaf.grad.array, (np.exp(logp) - np.eye(4)[t]) / 5, atol=1e-14)
    got = F.cross_entropy(x, t, weight=weight).item()
    assert got == pytest.approx((each * weight[t]).sum() / weight[t].sum())
    smooth = F.cross_entropy(x, t, label_smoothing=0.1).item()
    assert smooth == pytest.approx((0.9 * each - 0.1 * logp.mean(1)).mean())
    soft = special.softmax(floats(5, 4, seed=1), 1)
    assert F.cross_entropy(x, soft).item() == pytest.approx(-(soft * logp).sum(1).mean())


def test_binary_cross_entropy_by_scipy() -> None:
    x, t = floats(6), np.array([0.0, 1.0, 0.5, 1.0, 0.0, 1.0])
    p = special.expit(x)
    expected = -(t * np.log(p) + (1 - t) * np.log1p(-p))
    got = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    np.testing.assert_allclose(got.array, expected, rtol=1e-12)


def test_errors() -> None:
    x = tg.zeros(3, 4)
    with pytest.raises(IndexError, match=r"cross_entropy: `target` holds 4.*0 to 3"):
        F.cross_entropy(x, tg.tensor([0, 4, 1]))
    with pytest.raises(ValueError, match=r"cross_entropy: `target` has shape \(2,\)"):
        F.cross_entropy(x, tg.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"mse_loss: `input` has shape \(3, 4\)"):
        F.mse_loss(x, tg.zeros(3))
    with pytest.raises(ValueError, match="'none', 'mean' or 'sum'"):
        F.l1_loss(x, x, reduction="avg")
