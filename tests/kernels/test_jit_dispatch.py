"""Each call goes to the right set of kernels, and a compiled kernel that fails is no failure."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from tinygrad_cnn import kernels
from tinygrad_cnn.kernels import choice, reference, threads
from tinygrad_cnn.kernels import table as dispatch


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forget afterwards what was chosen and what has failed."""
    monkeypatch.setattr(dispatch, "_compiled", {})
    token = choice.chosen.set("auto")
    yield
    choice.chosen.reset(token)


class Compiled:
    """A compiled kernel that counts its calls."""

    def __init__(self, result: Any) -> None:
        self.result, self.calls = result, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_llvmlite", lambda: True)
    monkeypatch.setattr(choice, "has_numba", lambda: True)


@pytest.mark.usefixtures("numba")
@pytest.mark.parametrize(
    ("chosen", "dtype", "size", "calls"),
    [
        ("auto", "float32", dispatch.MIN_JIT_LAYER, 1),
        ("auto", "float32", dispatch.MIN_JIT_LAYER - 1, 0),
        ("auto", "float64", dispatch.MIN_JIT_LAYER, 0),
        ("auto", "float16", dispatch.MIN_JIT_LAYER, 0),
        ("jit", "float32", 1, 1),
        ("jit", "float64", 1, 0),
        ("reference", "float32", dispatch.MIN_JIT_LAYER, 0),
    ],
)
def test_who_computes(chosen: Any, dtype: str, size: int, calls: int) -> None:
    compiled = Compiled("compiled")
    dispatch._compiled["relu"] = compiled
    kernels.set_kernels(chosen)
    result = kernels.relu(-np.ones(size, dtype))
    assert compiled.calls == calls
    if calls:
        assert result == "compiled"
    else:
        np.testing.assert_array_equal(result, np.zeros(size, dtype))


@pytest.mark.usefixtures("numba")
@pytest.mark.parametrize(("channels", "calls"), [(4, 0), (512, 1)])
def test_convolutions_of_few_numbers_may_be_much_work(channels: int, calls: int) -> None:
    spec = kernels.ConvSpec((3, 3))
    g, x = (np.ones(s, "float32") for s in ((1, 8, 3, 3), (1, channels, 9, 9)))
    w = np.ones((8, channels, 3, 3), "float32")
    for name in ("conv2d", "conv2d_input", "conv2d_weight"):
        dispatch._compiled[name] = Compiled("compiled")
    kernels.conv2d(x[:, :, :3, :3], w, spec=spec)
    kernels.conv2d_input(g, w, size=(9, 9), spec=spec)
    kernels.conv2d_weight(g, x, kernel_size=(3, 3), spec=spec)
    for name in ("conv2d", "conv2d_input", "conv2d_weight"):
        assert dispatch._compiled[name].calls == calls


@pytest.mark.usefixtures("numba")
def test_what_a_compiled_kernel_declines_the_reference_does() -> None:
    dispatch._compiled["relu"] = declines = Compiled(None)
    kernels.set_kernels("jit")
    np.testing.assert_array_equal(kernels.relu(np.float32([-1, 2])), [0, 2])
    kernels.relu(np.float32([-1]))
    assert declines.calls == 2  # it is asked every time: another layout may suit it


@pytest.mark.usefixtures("numba")
def test_a_compiled_kernel_that_fails_warns_once_and_is_left() -> None:
    dispatch._compiled["relu"] = broken = Compiled(choice.KernelError("no such instruction"))
    x = -np.ones(dispatch.MIN_JIT_SIZE, np.float32)
    with pytest.warns(RuntimeWarning, match=r"relu: .* NumPy's .*no such instruction"):
        first = kernels.relu(x)
    second = kernels.relu(x)  # warnings are errors here
    np.testing.assert_array_equal(first, np.zeros_like(x))
    np.testing.assert_array_equal(second, first)
    assert broken.calls == 1


@pytest.mark.usefixtures("numba")
def test_asked_for_by_name_a_failure_is_raised() -> None:
    dispatch._compiled["relu"] = Compiled(choice.KernelError("no such instruction"))
    kernels.set_kernels("jit")
    with pytest.raises(choice.KernelError, match="no such instruction"):
        kernels.relu(np.ones(3, np.float32))


@pytest.mark.usefixtures("numba")
@pytest.mark.parametrize("error", [MemoryError, RuntimeError, TimeoutError, TypeError, OSError])
def test_what_is_not_the_kernels_fault_is_raised_and_the_kernel_stays(error: Any) -> None:
    dispatch._compiled["relu"] = compiled = Compiled(error("of a signal handler"))
    with pytest.raises(error, match="of a signal handler"):
        kernels.relu(np.ones(dispatch.MIN_JIT_SIZE, np.float32))
    assert dispatch._compiled["relu"] is compiled
    dispatch._compiled["sgd"] = compiled
    with pytest.raises(error, match="of a signal handler"):
        dispatch.step("sgd", [(np.ones(dispatch.MIN_JIT_SIZE, np.float32),)])
    assert dispatch._compiled["sgd"] is compiled


@pytest.mark.usefixtures("numba")
def test_wrong_arguments_are_the_callers_error_not_the_kernels() -> None:
    dispatch._compiled["relu_backward"] = compiled = Compiled(choice.KernelError("no"))
    x = np.ones(dispatch.MIN_JIT_SIZE, np.float32)
    with pytest.raises(ValueError, match="relu_backward: `g` has shape"):
        kernels.relu_backward(x, x[1:])
    assert dispatch._compiled["relu_backward"] is compiled


def test_a_numba_that_cannot_be_imported_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libLLVM is missing")

    monkeypatch.setattr(choice, "has_llvmlite", lambda: True)
    monkeypatch.setattr(dispatch, "import_module", broken)
    x = -np.ones(dispatch.MIN_JIT_SIZE, np.float32)
    with pytest.warns(RuntimeWarning, match="libLLVM is missing"):
        kernels.relu(x)
    assert kernels.relu(x).max() == 0


@pytest.mark.usefixtures("numba")
def test_what_is_not_compiled_the_reference_does_without_a_word() -> None:
    dispatch._compiled["relu"] = missing = Compiled(choice.NoCompiler("no Numba"))
    x = -np.ones(dispatch.MIN_JIT_SIZE, np.float32)
    for calls in (1, 2):  # other shapes may have machine code
        np.testing.assert_array_equal(kernels.relu(x), np.zeros_like(x))
        assert missing.calls == calls


def test_without_llvm_everything_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("has_llvmlite", "has_numba", "has_prebuilt"):
        monkeypatch.setattr(choice, name, lambda: False)
    x = -np.ones(dispatch.MIN_JIT_SIZE, np.float32)
    np.testing.assert_array_equal(kernels.relu(x), np.zeros_like(x))
    assert dispatch._compiled == {"relu": None}
    with pytest.raises(ModuleNotFoundError, match="pip install numba"):
        kernels.set_kernels("jit")


def test_choices_are_checked_and_given_back() -> None:
    assert kernels.set_kernels("reference") == "auto"
    assert kernels.kernel_set() == "reference"
    assert kernels.set_kernels("auto") == "reference"
    with pytest.raises(ValueError, match="`name` is 'fast', expected one of auto, jit, reference"):
        kernels.set_kernels("fast")  # type: ignore[arg-type]


def test_every_compiled_kernel_has_the_signature_of_its_reference() -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    import inspect

    for name in dispatch._MODULES:
        plain, compiled = getattr(reference, name), dispatch._load(name)
        if name.startswith("conv2d") and compiled is None:
            continue
        assert compiled is not None, name
        expected, found = (
            list(inspect.signature(f).parameters.values()) for f in (plain, compiled)
        )
        hints = getattr(getattr(dispatch, name), "hints", ())
        found = [p for p in found if p.name not in hints]
        assert [(p.name, p.kind) for p in found] == [(p.name, p.kind) for p in expected], name


def test_dispatch_is_cheap() -> None:
    """Counted, as times on a busy machine say nothing: few functions stand before the kernel."""
    x = np.ones(4, np.float32)

    def steps(function: Any) -> tuple[int, int]:
        """The functions of Python that are called, and the bytecodes that run."""
        calls = codes = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal calls, codes
            frame.f_trace_opcodes = True
            calls += event == "call"
            codes += event == "opcode"
            return trace

        function(x)
        former = sys.gettrace()
        sys.settrace(trace)
        try:
            function(x)
        finally:
            sys.settrace(former)
        return calls, codes

    (calls, codes), (plain_calls, plain_codes) = steps(kernels.relu), steps(reference.relu)
    assert 1 <= calls - plain_calls <= 3
    assert codes - plain_codes < 150


def test_one_number_of_threads_for_all() -> None:
    former = kernels.set_num_threads(3)
    try:
        assert kernels.get_num_threads() == threads.count() == threads.team() == 3
        if threads._blas.get:
            assert threads._blas.get() == 3

            def inside() -> None:
                assert threads._blas.get is not None
                assert threads._blas.get() == 1
                assert kernels.set_num_threads(2) == 3
                assert threads._blas.get() == 1

            threads.one_blas_thread(inside)
            assert threads._blas.get() == 2
        else:
            kernels.set_num_threads(2)
        assert kernels.set_num_threads(2) == 2
    finally:
        kernels.set_num_threads(former)
        threads._chosen.number = None
    assert kernels.get_num_threads() == former


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_a_number_of_threads_is_a_positive_integer(number: Any) -> None:
    with pytest.raises(ValueError, match="expected a positive integer"):
        kernels.set_num_threads(number)
