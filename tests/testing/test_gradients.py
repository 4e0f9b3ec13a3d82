"""`check_gradients`, `gradcheck`, `gradgradcheck` find mistakes, admit doubt, and say where."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import Op, gradcheck, gradgradcheck
from tinygrad_cnn.autograd.gradcheck.numerical import Along, complex_slope, slope
from tinygrad_cnn.testing import (
    GradientError,
    UndecidedError,
    check_adjoint,
    check_gradients,
)

X = np.array([0.5, -1.2, 2.0])


def _cube(x: np.ndarray) -> np.ndarray:
    """Elementwise cube."""
    return x**3


def _along(function, x: float) -> Along:
    return Along(lambda a: [function(a)], [np.array(x)], [np.array(1.0)], [np.array(1.0)])


# ---- the numerical derivative --------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "derivative", "points"),
    [
        (np.exp, np.exp, (-3.0, 0.0, 1.0, 8.0)),
        (np.sin, np.cos, (0.0, 1.0, 1e3)),
        (np.sqrt, lambda x: 0.5 / np.sqrt(x), (1e-3, 1.0, 1e4)),
        (np.reciprocal, lambda x: -1 / x**2, (0.05, -2.0, 300.0)),
        (lambda x: x**9, lambda x: 9 * x**8, (0.1, 3.0)),
        (np.tanh, lambda x: np.cosh(x) ** -2.0, (0.0, 0.7, 5.0)),
        (np.abs, np.sign, (1e-4, -0.3)),
        (lambda x: 3.0 + 0 * x, lambda x: 0.0, (2.0,)),
    ],
)
def test_the_slope_lies_within_its_bound_and_the_bound_is_small(
    function, derivative, points
) -> None:
    for x in points:
        with np.errstate(all="ignore"):
            found = slope(_along(function, x))
            better = complex_slope(_along(function, x), found)
        exact = float(derivative(np.float64(x)))
        assert not found.doubt
        assert abs(found.value - exact) <= found.bound
        assert found.bound <= 1e-8 * max(1.0, abs(exact), abs(function(np.float64(x))))
        assert abs(better.value - exact) <= better.bound
        assert better.bound <= found.bound


def test_the_complex_step_is_exact_to_rounding_and_used_only_if_analytic() -> None:
    analytic = complex_slope(_along(np.exp, 1.0), slope(_along(np.exp, 1.0)))
    assert analytic.method == "complex step"
    assert abs(analytic.value - np.e) < 1e-14
    real_part = lambda x: np.real(x) ** 2  # not analytic: its imaginary part is 0
    for function in (np.abs, real_part, lambda x: np.asarray(x, np.float64) * 2):
        assert complex_slope(_along(function, 1.5), slope(_along(function, 1.5))).method == (
            "Richardson"
        )


@pytest.mark.parametrize("function", [np.abs, lambda x: np.maximum(x, 0), np.floor])
def test_kinks_are_seen(function) -> None:
    assert "kink" in slope(_along(function, 0.0)).doubt


def test_a_jump_has_no_useful_bound() -> None:
    found = slope(_along(np.sign, 0.0))
    assert found.bound > abs(found.value)


def test_values_that_are_not_finite_are_seen() -> None:
    with np.errstate(all="ignore"):
        assert "not finite" in slope(_along(np.log, 0.0)).doubt
        assert "not finite" in slope(_along(np.log, 1e-9)).doubt


# ---- verdicts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda g, x: g * 2 * x**2,
        lambda g, x: g * 3 * x**2 + 1e-4,
        lambda g, x: g * 3 * x**2 * (1 + 1e-8),
        lambda g: g * 3,
        lambda g, x: -g * 3 * x**2,
    ],
)
def test_a_wrong_rule_is_found(wrong) -> None:
    with pytest.raises(GradientError):
        check_gradients(Op(_cube, wrong), X)
    assert check_gradients(Op(_cube, wrong), X, raises=False).verdict == "fail"


def test_a_right_rule_passes_to_third_order() -> None:
    assert check_gradients(Op(_cube, lambda g, x: g * 3 * x**2), X, order=3).verdict == "pass"


def test_a_wrong_second_derivative_is_found() -> None:
    blind = Op(_cube, lambda g, x: g * 3 * (x**2).detach())
    check_gradients(blind, X, order=1)
    with pytest.raises(GradientError, match="order 2"):
        check_gradients(blind, X, order=2)


def test_the_message_names_input_element_values_and_bound_and_can_be_pasted() -> None:
    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Elementwise product."""
        return a * b

    def wrong_at_one_place(g, a):
        right = (g * a).array.copy()
        right[1, 0] += 0.01
        return tg.from_numpy(right)

    op = Op(product, (lambda g, b: g * b, wrong_at_one_place))
    a, b = np.random.default_rng(0).standard_normal((2, 2, 3))
    with pytest.raises(GradientError) as found:
        check_gradients(op, a, b, order=1)
    message = str(found.value)
    assert "product: order 1: the gradient of input 1 (shape (2, 3)) at [1, 0] is" in message
    assert "±" in message
    code = message.split("Reproduce it:\n")[1].replace("REGISTRY['product']", "product")
    code = code.replace("from tinygrad_cnn.autograd import REGISTRY\n", "")
    with pytest.raises(GradientError) as again:
        exec(code, {"product": op})
    assert str(again.value) == message


def test_doubt_is_not_taken_for_a_pass() -> None:
    with pytest.raises(UndecidedError, match=r"at \[1\] is 0 and cannot be judged: a kink"):
        check_gradients(lambda x: x.abs(), np.array([1.0, 0.0, -1.0]))
    with pytest.raises(UndecidedError, match="not finite"):
        check_gradients(lambda x: x.log(), np.array([1.0, 0.0]))
    with pytest.raises(UndecidedError, match="changes with the length of the step"):
        check_gradients(lambda x: (x + 1e14) - 1e14, np.array([0.3]))  # a staircase by rounding


def test_a_wrong_element_outweighs_a_doubtful_one() -> None:
    def halved(x: np.ndarray) -> np.ndarray:
        """Absolute value."""
        return np.abs(x)

    wrong = Op(halved, lambda g, x: g * 0.5 * x.sign())
    found = check_gradients(wrong, np.array([0.0, 1.0]), raises=False)
    assert found.verdict == "fail"
    assert "at [1] is" in found.reason


def test_several_outputs_and_no_gradient_at_all() -> None:
    check_gradients(lambda x: (x * 2, x.exp()), X)
    check_gradients(lambda x: x.detach().round(), X + 0.2)
    with pytest.raises(GradientError):
        check_gradients(lambda x: x.detach() * 2, X)


def test_keyword_arguments() -> None:
    check_gradients(tg.cumsum, X, params={"dim": 0})


# ---- gradcheck -----------------------------------------------------------------------------


def _x(*values: float) -> tg.Tensor:
    return tg.tensor(values, dtype=tg.float64, requires_grad=True)


def test_gradcheck_and_gradgradcheck_pass() -> None:
    x, w = _x(0.5, -1.0), _x(2.0, 3.0)
    f = lambda x, w, c: (x * w).tanh() * c
    assert gradcheck(f, (x, w, 3.0))
    assert gradgradcheck(f, (x, w, 3.0))
    assert gradgradcheck(f, (x, w, 3.0), grad_outputs=_x(1.0, 2.0))
    assert gradcheck(lambda x: (x.sin(), x.sum()), [x])
    assert x.grad is None


def test_gradcheck_finds_a_wrong_gradient() -> None:
    x = _x(0.5, -1.0)
    wrong = Op(_cube, lambda g, x: g * 3 * x**2 * 1.001)
    with pytest.raises(GradientError, match=r"inputs\[0\] \(shape \(2,\)\) at \[1\]"):
        gradcheck(wrong, x)
    assert not gradcheck(wrong, x, raise_exception=False)
    assert gradcheck(wrong, x, rtol=1e-2)  # if that is what is asked for
    blind = Op(_cube, lambda g, x: g * 3 * (x**2).detach())
    assert gradcheck(blind, x)
    with pytest.raises(GradientError):
        gradgradcheck(blind, x)


def test_gradcheck_at_a_kink_is_undecided() -> None:
    with pytest.raises(UndecidedError, match="kink"):
        gradcheck(tg.abs, _x(0.0, 1.0))
    assert not gradcheck(tg.abs, _x(0.0, 1.0), raise_exception=False)


def test_gradcheck_finds_gradients_that_change_from_run_to_run() -> None:
    drawn = iter(range(10**6))

    def unsteady(x: np.ndarray) -> np.ndarray:
        """The identity."""
        return x.copy()

    op = Op(unsteady, lambda g: g * (1 + 1e-14 * next(drawn)))
    with pytest.raises(GradientError, match="`nondet_tol` is 0"):
        gradcheck(op, _x(0.5))
    assert gradcheck(op, _x(0.5), nondet_tol=1e-9)


def test_gradcheck_refuses_what_it_cannot_check() -> None:
    with pytest.raises(ValueError, match="gradcheck: no element of `inputs` requires"):
        gradcheck(tg.sin, tg.tensor([1.0]))
    with pytest.raises(ValueError, match="gradgradcheck: no element"):
        gradgradcheck(tg.sin, tg.tensor([1.0]))
    half = tg.tensor([1.0], dtype=tg.float16, requires_grad=True)
    with pytest.raises(ValueError, match=r"`inputs\[0\]` is float16; use float64"):
        gradcheck(tg.sin, half)


def test_gradcheck_of_a_function_with_python_code_and_a_module() -> None:
    tg.manual_seed(0)
    layer = tg.nn.Conv2d(2, 3, 3, padding=1).to(tg.float64)
    x = tg.randn(1, 2, 4, 4, dtype=tg.float64, requires_grad=True)
    assert gradcheck(lambda x: layer(x).sigmoid(), x)
    assert gradgradcheck(lambda x: layer(x).sigmoid(), x)


# ---- adjoints ------------------------------------------------------------------------------


def test_check_adjoint() -> None:
    check_adjoint(lambda x: x.cumsum(0), X)
    with pytest.raises(GradientError, match="<Ax, u> is"):
        check_adjoint(lambda x: x.detach() + x, X)


def test_arguments_that_choose_what_pytorch_checks_are_taken():
    x = tg.tensor([0.5, 2.0], dtype=tg.float64, requires_grad=True)
    assert tg.autograd.gradcheck(tg.exp, x, 1e-6, 1e-4, fast_mode=True, check_undefined_grad=False)
    with pytest.raises(TypeError, match="gradcheck: unexpected arguments check_everything"):
        tg.autograd.gradcheck(tg.exp, x, check_everything=True)


@pytest.mark.parametrize(
    ("actual", "expected", "options", "message"),
    [
        (tg.ones(2), tg.ones(2) + 1e-4, {}, r"2 of 2 values differ; at \(0,\) there is 1.0"),
        (tg.ones(2), tg.ones(3), {}, r"the shape of values is \(2,\), expected \(3,\)"),
        (tg.ones(2), tg.ones(2, dtype=tg.float64), {}, "the dtype of values is float32"),
        ([tg.ones(2), 1], [tg.ones(2), 2], {}, r"1 of 1\[1\] differ"),
        ({"a": 1}, {"b": 1}, {}, r"the keys are \['a'\]"),
        ([1], [1, 2], {}, "there are 1 items, expected 2"),
        (tg.tensor(tg.nan), tg.tensor(tg.nan), {}, "differ"),
        ("a", 1, {}, "it is a str, expected int"),
        (1, 2, {"msg": "own words"}, "own words"),
    ],
)
def test_what_is_not_close(actual, expected, options, message):
    with pytest.raises(AssertionError, match=message):
        tg.testing.assert_close(actual, expected, **options)


def test_what_is_close():
    x = tg.ones(2, requires_grad=True)
    tg.testing.assert_close(x, x + 1e-7)
    tg.testing.assert_close({"a": [x, 1.0]}, {"a": (x, 1.0)})
    tg.testing.assert_close(x, x + 0.5, rtol=0, atol=0.6)
    tg.testing.assert_close(x, x.double(), check_dtype=False)
    tg.testing.assert_close(tg.tensor(tg.nan), tg.tensor(tg.nan), equal_nan=True)
    with pytest.raises(ValueError, match="expected both or none"):
        tg.testing.assert_close(x, x, rtol=1.0)
