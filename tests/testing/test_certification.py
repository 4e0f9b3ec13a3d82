"""`certify` finds every kind of mistake by the check that is meant for it."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import REGISTRY, Function, Op, Saved
from tinygrad_cnn.testing import (
    CHECK_NAMES,
    Certificates,
    ErrorSample,
    GradientError,
    Sample,
    certify,
    certify_all,
)
from tinygrad_cnn.testing.__main__ import main
from tinygrad_cnn.testing.oracles.conventions import CONVENTIONS
from tinygrad_cnn.testing.oracles.oracles import ORACLES

ONE = lambda draw: draw.array(draw.shape())
TWO = lambda draw: tuple(draw.array(s) for s in draw.broadcast_shapes())


def _op(forward: Any, vjp: Any, **options: Any) -> Op:
    forward.__doc__ = "An operation of the tests."
    return Op(forward, vjp, **options)


def _failed(certificate: Any) -> list[str]:
    assert not certificate.certified
    return [r.check for r in certificate.results if r.verdict == "fail"]


def swish(x: np.ndarray) -> np.ndarray:
    """``x * sigmoid(x)``."""
    return x / (1 + np.exp(-x))


def _swish_rule(g: Any, x: Any) -> Any:
    s = x.sigmoid()
    return g * (s + x * s * (1 - s))


# ---- what is right is certified --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["op", "function", "tensors"])
def test_a_right_operation_is_certified_however_it_is_written(kind: str) -> None:
    class Swish(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x.sigmoid()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return _swish_rule(g, *ctx.saved_tensors)

    operation = {"op": Op(swish, _swish_rule), "function": Swish, "tensors": tg.nn.functional.silu}
    oracle = lambda x: x / (1 + np.exp(-x))
    certificate = certify(operation[kind], samples=ONE, oracle=oracle, examples=10)
    assert certificate.raise_unless_certified() is certificate
    assert bool(certificate)
    verdicts = {r.check: r.verdict for r in certificate.results}
    assert list(verdicts) == list(CHECK_NAMES)
    does_not_apply = {"adjoint", "broadcasting", "each alone", "conventions", "errors"}
    assert {c for c, v in verdicts.items() if v == "–"} == does_not_apply
    assert certificate["layouts"].decided >= 10


def test_samples_may_be_a_list() -> None:
    certificate = certify(Op(swish, _swish_rule), samples=[np.array([0.3, -1.0]), np.array(2.0)])
    assert certificate.certified
    assert certificate["first order"].decided == 2
    assert certificate["0-d and empty"].verdict == "–"


def test_linear_operations_are_recognised() -> None:
    assert certify("cumsum", examples=10)["adjoint"].verdict == "pass"
    assert certify("exp", examples=10)["adjoint"].verdict == "–"


# ---- every kind of mistake -------------------------------------------------------------------


def square_that_changes_its_input(x: np.ndarray) -> np.ndarray:
    out = x * x
    x *= 1.0 + 1e-9
    return out


def rule_that_changes_its_gradient(g: Any) -> Any:
    g.array *= 1.0 + 1e-9
    return g


def gradients_of_the_others(g: Any, xs: Any, needs: Any) -> tuple[Any, ...]:
    return tuple(g if need else None for need in needs[::-1])


def saved_tanh(x: np.ndarray) -> Saved:
    y = np.tanh(x)
    return Saved(y, slope=1 - y * y)


def copied(forward: Any) -> Any:
    """The same function once more, which may have a docstring of its own."""
    return lambda *arrays: forward(*arrays)


RNG = np.random.default_rng(0)
BY_SIGNS = lambda x: np.copysign(np.abs(x), x) * 3.0  # takes no complex numbers
IN_ORDER_OF_MEMORY = lambda x: x.ravel("K")[: x.size].reshape(x.shape)
AN_AXIS_MORE = lambda x: x * 2.0 if x.ndim else np.asarray(x * 2.0).reshape(1)
POSITIVE = lambda draw: draw.array(draw.shape(), 1.0, 2.0)
SQUARES = lambda draw: draw.array((draw.integer(1, 3), draw.integer(1, 3)))
PAIR = lambda draw: (draw.array((2,)), draw.array((2,)))
# By what is wrong: the operation, the check that fails (in a list: alone), its samples.
WRONG = {
    "first derivative": (Op(swish, lambda g, x: g * x.sigmoid()), "first order", ONE),
    "second derivative": (
        Op(swish, lambda g, x: _swish_rule(g, x.detach())), ["second order"], ONE
    ),
    "a residual taken for a constant": (
        _op(saved_tanh, lambda g, slope: g * slope), ["second order"], ONE
    ),
    "a fused rule that differs from its reference": (
        _op(
            copied(swish),
            None,
            fused=lambda g, x: (g * (1 / (1 + np.exp(-x))),),
            reference=lambda x: x * x.sigmoid(),
        ),
        "first order", ONE,
    ),
    "an adjoint, too little for a difference to show": (
        _op(BY_SIGNS, lambda g: g * 3.0 * (1 + 3e-13)), ["adjoint"], POSITIVE
    ),
    "layout not looked at": (_op(IN_ORDER_OF_MEMORY, lambda g: g), "layouts", SQUARES),
    "dtype lost": (
        _op(lambda x: np.sin(x.astype(np.float64)), lambda g, x: g * x.cos()), ["dtypes"], ONE
    ),
    "input changed": (
        _op(square_that_changes_its_input, lambda g, x: g * 2 * x), "no mutation", ONE
    ),
    "gradient changed": (
        _op(lambda x: x.copy(), rule_that_changes_its_gradient), "no mutation", ONE
    ),
    "gradients that depend on who else wants one": (
        _op(lambda *xs: xs[0] + xs[1], gradients_of_the_others), "each alone", PAIR
    ),
    "results that change from run to run": (
        _op(lambda x: x * (1 + 1e-15 * RNG.integers(0, 9)), lambda g: g),
        "determinism", lambda draw: draw.array((3,)),
    ),
    "shapes without axes": (_op(AN_AXIS_MORE, lambda g: g * 2.0), "0-d and empty", ONE),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_fails_its_check(what: str) -> None:
    operation, check, samples = WRONG[what]
    failed = _failed(certify(operation, samples=samples, examples=10))
    assert failed == check if isinstance(check, list) else check in failed


def test_a_wrong_result() -> None:
    certificate = certify(
        Op(swish, _swish_rule), samples=ONE, oracle=lambda x: x * 0.5, examples=10
    )
    assert _failed(certificate) == ["forward"]


def test_a_sum_over_broadcast_axes_left_out() -> None:
    rules = (lambda g: g, lambda g: g)
    declared = _op(lambda a, b: a + b, rules, broadcasts=True)
    assert certify(declared, samples=TWO, examples=20).certified
    forgotten = _op(lambda a, b: a + b, rules)
    assert "first order" in _failed(certify(forgotten, samples=TWO, examples=20))


def test_a_result_that_shares_memory() -> None:
    samples = lambda draw: draw.array(draw.shape(min_dims=1, min_side=1))
    wrong = _op(lambda x: x[::1], lambda g: g)
    assert _failed(certify(wrong, samples=samples, examples=10)) == ["no aliasing"]
    assert certify(wrong, samples=samples, examples=10, view=True).certified


def test_memory_that_is_not_released() -> None:
    class Hoard(dict[str, Any]):
        def __bool__(self) -> bool:
            return next(looks) == 0  # the walk does not see that there is anything to free

    class Hoarder(Op):
        def record(self, *args: Any, **kwargs: Any) -> Any:
            out = super().record(*args, **kwargs)
            out.node.saved = Hoard(out.node.saved)
            return out

    looks = itertools.cycle((0, 1, 0))
    wrong = Hoarder(swish, _swish_rule)
    found = certify(wrong, samples=[np.array([0.5])], checks=["memory"])
    assert found["memory"].verdict == "fail"
    assert "still holds x" in found["memory"].reason


def test_errors_that_are_not_raised() -> None:
    right = ErrorSample((np.zeros((2, 3)), np.zeros(4)), {}, ValueError, "do not broadcast")
    assert certify("add", errors=[right], examples=2)["errors"].verdict == "pass"
    other_words = ErrorSample(right.args, {}, ValueError, "shapes are bad")
    other_kind = ErrorSample(right.args, {}, TypeError, "broadcast")
    accepted = ErrorSample((np.zeros(3), np.zeros(3)), {}, ValueError, "")
    for wrong, words in (
        (other_words, "does not match"),
        (other_kind, "expected TypeError"),
        (accepted, "was accepted"),
    ):
        result = certify("add", errors=[wrong], examples=2)["errors"]
        assert result.verdict == "fail"
        assert words in result.reason


def test_a_convention_that_is_not_kept() -> None:
    right = REGISTRY["abs"]
    wrong = _op(
        lambda x: np.abs(x), lambda g, x: g * (x >= 0).to(x.dtype) - g * (x < 0).to(x.dtype)
    )
    wrong.name, wrong.samples = "abs", right.samples
    assert _failed(certify(wrong, examples=10)) == ["conventions"]


def test_an_exception_on_a_valid_sample_is_a_finding() -> None:
    def broken(x: np.ndarray) -> np.ndarray:
        raise KeyError("forgotten")

    result = certify(_op(broken, lambda g: g), samples=ONE, examples=2)["first order"]
    assert result.verdict == "fail"
    assert "KeyError: 'forgotten'" in result.reason


def test_kinks_on_all_samples_are_not_certified() -> None:
    certificate = certify(tg.abs, samples=lambda draw: np.zeros((2,)), examples=5)
    assert certificate["first order"].verdict == "cannot decide"
    assert not certificate.certified
    with pytest.raises(GradientError, match="cannot decide"):
        certificate.raise_unless_certified()


# ---- findings --------------------------------------------------------------------------------


def _flipped_bias(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a - b``."""
    return a - b


def test_a_failing_sample_is_shrunk_and_can_be_run_again() -> None:
    """In a fresh process: how far Hypothesis shrinks depends on what ran before in this one."""
    code = "import test_certification; test_certification.shrunk_and_run_again()"
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def shrunk_and_run_again() -> None:
    wrong = Op(_flipped_bias, (lambda g: g, lambda g: g), broadcasts=True)
    result = certify(wrong, samples=TWO)["first order"]
    assert re.search(r"the gradient of input 1 \(shape \((1,)?\)\) at", result.reason)
    assert "np.array(" in result.reproduction
    code = result.reproduction.replace("certify(_flipped_bias", "certify(wrong")
    with pytest.raises(GradientError) as found:
        exec(code, {"wrong": wrong})
    assert result.reason in str(found.value)


def test_a_certificate_prints_as_text_and_as_html() -> None:
    wrong = Op(_flipped_bias, (lambda g: g, lambda g: g), broadcasts=True)
    right = certify("sub", examples=3)
    bad = certify(wrong, samples=TWO, examples=3, name="a < b")
    assert str(right).startswith("sub: certified\n")
    assert "✓ adjoint" in str(right)
    assert str(bad).startswith("a < b: NOT CERTIFIED")
    assert "first order: fail" in str(bad)
    assert "<table>" in right._repr_html_()
    assert "a &lt; b" in bad._repr_html_()
    table = Certificates([right, bad])
    assert not table.certified
    assert len(table) == 2
    assert "1 of 2 operations certified" in str(table)
    assert "| `sub` | ✓ |" in table.markdown()
    assert "<td><code>sub</code></td>" in table._repr_html_()
    assert str(Certificates([])).endswith("0 of 0 operations certified")


def test_only_some_checks() -> None:
    certificate = certify("mul", checks=["layouts", "errors"], examples=3)
    assert [r.check for r in certificate.results] == ["layouts", "errors"]


def test_another_seed_draws_other_samples() -> None:
    seen: dict[int | None, list[float]] = {}

    def run(seed: int | None) -> None:
        def samples(draw: Any) -> Sample:
            x = draw.array((1,))
            seen.setdefault(seed, []).append(float(x[0]))
            return Sample((x,))

        certify(Op(swish, _swish_rule), samples=samples, examples=5, seed=seed)

    for seed in (None, 1):
        run(seed)
    again = list(seen[None])
    seen.clear()
    run(None)
    assert seen[None] == again
    run(1)
    assert seen[1] != again


def test_what_cannot_be_certified_is_refused() -> None:
    with pytest.raises(KeyError, match="no operation named `sine`"):
        certify("sine")
    with pytest.raises(ValueError, match="`swish` has no samples"):
        certify(Op(swish, _swish_rule))
    with pytest.raises(ValueError, match="no check is called 'speed'"):
        certify("mul", checks=["speed"])
    with pytest.raises(TypeError, match="`operation` is a int"):
        certify(3)
    pair = certify(lambda x: (x, x), samples=ONE, examples=2, checks=["layouts"])
    assert "only operations that return one tensor" in pair["layouts"].reason


# ---- the registry ----------------------------------------------------------------------------


def test_every_registered_operation_has_an_oracle() -> None:
    ours = {n for n, op in REGISTRY.items() if op.forward.__module__.startswith("tinygrad_cnn.")}
    elementwise = {n for n in ours if REGISTRY[n].oracle is not None}
    assert set(ORACLES) == ours - elementwise
    assert set(CONVENTIONS) <= ours


def test_certify_all_and_the_command_line() -> None:
    assert certify_all(["exp", "mul"], examples=2).certified
    run = CliRunner().invoke
    one = run(main, ["certify", "mul", "--examples", "2"])
    assert one.exit_code == 0
    assert one.output.startswith("mul: certified")
    table = run(main, ["certify", "mul", "--examples", "2", "--markdown", "--seed", "3"])
    assert "| `mul` |" in table.output
    mutated = run(main, ["mutate", "neg"])
    assert mutated.exit_code == 0
    assert "0 survived" in mutated.output
