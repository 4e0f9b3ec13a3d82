"""Pruning: which numbers go, what is left, hooks, gradients, errors."""

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.nn.utils import prune

VALUES = np.random.default_rng(2).standard_normal((4, 3, 3, 3)).astype(np.float32)


@pytest.fixture
def conv():
    layer = nn.Conv2d(3, 4, 3)
    with tg.no_grad():
        layer.weight.copy_(tg.tensor(VALUES))
    return layer


def test_the_least_numbers_go_and_later_the_least_of_the_rest(conv):
    prune.l1_unstructured(conv, "weight", amount=10)
    prune.l1_unstructured(conv, "weight", amount=0.25)  # of the 98 that are left
    gone = round(0.25 * 98) + 10
    least = np.sort(np.abs(VALUES).ravel())[gone]
    assert np.array_equal(conv.weight_mask.numpy(), np.abs(VALUES) >= least)
    assert np.array_equal(conv.weight.detach().numpy(), VALUES * (np.abs(VALUES) >= least))


def test_slices_go_by_their_norm(conv):
    prune.ln_structured(conv, "weight", amount=0.5, n=2, dim=1)
    order = np.sqrt((VALUES**2).sum((0, 2, 3))).argsort()
    mask = np.ones_like(VALUES)
    mask[:, order[:2]] = 0
    assert np.array_equal(conv.weight_mask.numpy(), mask)
    prune.random_structured(conv, "weight", amount=1, dim=1)  # only the third is left
    assert not conv.weight_mask.any()


def test_random_numbers_are_as_many_as_wanted(conv):
    prune.random_unstructured(conv, "weight", amount=0.3)
    prune.random_unstructured(conv, "weight", amount=7)
    assert int(conv.weight_mask.sum()) == 108 - round(0.3 * 108) - 7


def test_several_parameters_are_ranked_together(conv):
    linear = nn.Linear(3, 4)
    places = [(conv, "weight"), (linear, "weight")]
    flat = np.abs(np.concatenate([VALUES.ravel(), linear.weight.detach().numpy().ravel()]))
    prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=30)
    masks = np.concatenate([m.weight_mask.numpy().ravel() for m, _ in places])
    assert np.array_equal(masks, flat >= np.sort(flat)[30])
    prune.global_unstructured(places, pruning_method=prune.RandomUnstructured, amount=0.5)
    assert sum(int(m.weight_mask.sum()) for m, _ in places) == 90 - 45


def test_training_moves_only_what_is_left(conv):
    prune.custom_from_mask(conv, "weight", tg.tensor(VALUES > 0))
    assert sorted(conv.state_dict()) == ["bias", "weight_mask", "weight_orig"]
    sgd = tg.optim.SGD(conv.parameters(), lr=0.5)
    x = tg.tensor(VALUES[:1, :, :, :].repeat(2, axis=2))
    conv(x).sum().backward()
    assert not conv.weight_orig.grad[tg.tensor(VALUES <= 0)].any()
    before = conv(x)
    sgd.step()
    assert not tg.allclose(conv(x), before)  # the product is computed anew
    assert not conv.weight[tg.tensor(VALUES <= 0)].any()


def test_removing_leaves_zeros_in_an_ordinary_parameter(conv):
    weight = conv.weight
    prune.identity(conv, "weight")
    prune.l1_unstructured(conv, "weight", 50, importance_scores=tg.tensor(VALUES - 10))
    assert prune.is_pruned(nn.Sequential(conv))
    left = conv.weight.detach().clone()
    prune.remove(conv, "weight")
    assert not prune.is_pruned(conv)
    assert conv.weight is weight
    assert tg.equal(conv.weight, left)
    assert sorted(conv.state_dict()) == ["bias", "weight"]
    with pytest.raises(ValueError, match="remove: `name` is 'weight', which is not pruned"):
        prune.remove(conv, "weight")


@pytest.mark.parametrize(
    ("name", "amount", "message"),
    [
        ("weight", 1.5, r"`amount` is 1.5, expected a float from 0 to 1 or a count up to 108"),
        ("weight", 109, "`amount` is 109"),
        ("weight", True, "`amount` is True"),
        ("weights", 1, r"`name` is 'weights', expected one of \['bias', 'weight'\]"),
    ],
)
def test_what_is_refused(conv, name, amount, message):
    with pytest.raises(ValueError, match=message):
        prune.l1_unstructured(conv, name, amount)
    assert not prune.is_pruned(conv)
    with pytest.raises(ValueError, match=r"`mask` has shape \(2,\)"):
        prune.custom_from_mask(conv, "weight", tg.ones(2))
