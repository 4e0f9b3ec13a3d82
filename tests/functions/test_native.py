"""PyTorch's names for what its functions call: what `nn.functional` gives, and statistics."""

import numpy as np
import pytest
from parity import assert_agrees, case, floats

import tinygrad_cnn as tg

X, W = floats(3, 4, 5), floats(4)


def _cases():
    for w, b in ((W, -W), (W, None), (None, None)):
        yield case(
            f"layers {w is None} {b is None}",
            lambda m, x, w, b: m.native_layer_norm(x, (4,), w, b, 0.1), X.swapaxes(1, 2), w, b,
        )  # fmt: skip
        yield case(
            f"groups {w is None} {b is None}",
            lambda m, x, w, b: m.native_group_norm(x, w, b, 3, 4, 5, 2, 0.1), X, w, b,
        )  # fmt: skip
        for training in (True, False):
            yield case(
                f"batches {w is None} {b is None} {training}",
                lambda m, x, w, b, t=training: m.native_batch_norm(
                    x, w, b, m.zeros(4, dtype=x.dtype), m.ones(4, dtype=x.dtype), t, 0.1, 0.1),
                X, w, b,
            )  # fmt: skip
    yield case("other groups", lambda m, x: m.native_group_norm(x, None, None, 3, 4, 5, 3, 0.1), X)
    yield case("other sizes", lambda m, x: m.native_group_norm(x, None, None, 3, 4, 4, 2, 0.1), X)
    yield case("other layers", lambda m, x: m.native_layer_norm(x, (4,), None, None, 0.1), X)
    for mode in (0, 1):
        for padding in (0, 1, 2):
            yield case(
                f"images {mode} {padding}",
                lambda m, x, g, k=mode, p=padding: m.grid_sampler_2d(x, g, k, p, True),
                floats(1, 2, 4, 5), floats(1, 3, 3, 2),
            )  # fmt: skip
            yield case(
                f"volumes {mode} {padding}",
                lambda m, x, g, k=mode, p=padding: m.grid_sampler_3d(x, g, k, p, False),
                floats(1, 2, 4, 5, 3), floats(1, 3, 3, 2, 3),
            )  # fmt: skip


@pytest.mark.parametrize(("call", "inputs"), list(_cases()))
def test_as_in_pytorch(call, inputs):
    assert_agrees(call, inputs)


def test_statistics_are_those_of_the_batch_and_move_the_running_ones():
    x, mean, var = tg.tensor(X), tg.zeros(4, dtype=tg.float64), tg.ones(4, dtype=tg.float64)
    _, seen, inverse = tg.native_batch_norm(x, None, None, mean, var, True, 0.5, 0.0)
    np.testing.assert_allclose(seen.numpy(), X.mean((0, 2)))
    np.testing.assert_allclose(inverse.numpy(), 1 / X.std((0, 2)))
    np.testing.assert_allclose(mean.numpy(), X.mean((0, 2)) / 2)
    np.testing.assert_allclose(var.numpy(), 0.5 + X.var((0, 2), ddof=1) / 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda x, g: tg.grid_sampler_2d(x, g, 3, 0, True),
            "`interpolation_mode` is 3, exp",
        ),
        (lambda x, g: tg.grid_sampler_2d(x, g, 0, -1, True), "`padding_mode` is -1, expected 0"),
        (lambda x, g: tg.grid_sampler_3d(x, g, 0, 0, True), "grid_sampler_3d: `input` has shape"),
        (
            lambda x, g: tg.native_group_norm(x, None, None, 1, 1, 5, 1, 0.1),
            r"native_group_norm: `input` has shape .* 1, 1 and 5, and `group` is 1",
        ),
    ],
)
def test_errors_say_what_was_expected(call, said):
    with pytest.raises(ValueError, match=said):
        call(tg.zeros(1, 1, 2, 2), tg.zeros(1, 1, 1, 2))
