"""Windows, and Fourier transforms of frames that are multiplied with them, as in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from parity import assert_agrees, case, floats, ints, require_torch
from scipy.signal import windows as scipys

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import gradcheck, gradgradcheck

# ---- windows -------------------------------------------------------------------------------

LENGTHS = (0, 1, 2, 5, 8, -1, 2.5)
OF_SIGNAL = {
    **dict.fromkeys("bartlett blackman cosine hamming hann nuttall".split(), ({},)),
    "exponential": ({}, {"tau": 3.0}, {"tau": 0.0}),
    "gaussian": ({}, {"std": 2.5}, {"std": -1.0}),
    "kaiser": ({}, {"beta": 0.0}, {"beta": 5.0}, {"beta": -1.0}),
    "general_cosine": ({"a": [0.5, 0.3, 0.2]}, {"a": [0.5]}, {}),
    "general_hamming": ({}, {"alpha": 0.7}),
}
OLDER = {
    **dict.fromkeys("bartlett blackman hann".split(), ((),)),
    "hamming": ((), (0.7,), (0.7, 0.1)),
    "kaiser": ((), (3.0,), (-3.0,)),
}


def _windows():
    for name, several in OF_SIGNAL.items():
        for kwargs in several:
            for n in LENGTHS:
                for sym in (True, False):
                    yield case(
                        f"{name} {n} {sym} {kwargs}",
                        lambda m, a=name, n=n, s=sym, k=kwargs: getattr(m.signal.windows, a)(
                            n, sym=s, dtype=m.float64, **k
                        ),
                    )
    for name, several in OLDER.items():
        for args in several:
            for n in LENGTHS:
                for periodic in (True, False):
                    yield case(
                        f"{name}_window {n} {periodic} {args}",
                        lambda m, a=name, n=n, p=periodic, k=args: getattr(m, f"{a}_window")(
                            n, p, *k, dtype=m.float64
                        ),
                    )
    for center in (0.0, 3.5):
        for n in (1, 6):
            yield case(
                f"exponential around {center} {n}",
                lambda m, n=n, c=center: m.signal.windows.exponential(n, center=c, sym=False),
            )
    for a in ([], 3):
        yield case(f"cosines of {a}", lambda m, a=a: m.signal.windows.general_cosine(4, a=a))
    yield case("no center", lambda m: m.signal.windows.exponential(3, center=1.0))
    for d in ("float16", "float32", "int64", "complex64"):
        yield case(f"hann {d}", lambda m, d=d: m.signal.windows.hann(4, dtype=getattr(m, d)))
        yield case(f"hann_window {d}", lambda m, d=d: m.hann_window(4, dtype=getattr(m, d)))


@pytest.mark.parametrize(("call", "inputs"), list(_windows()))
def test_windows_are_pytorchs(call, inputs):
    assert_agrees(call, inputs)


@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [(n, {}) for n in ("bartlett", "blackman", "cosine", "hamming", "hann", "nuttall")]
    + [("exponential", {"tau": 3.0}), ("gaussian", {"std": 2.0}), ("kaiser", {"beta": 9.0})]
    + [("general_hamming", {"alpha": 0.6}), ("general_cosine", {"a": [0.4, 0.3, 0.3]})],
)
def test_windows_are_scipys(name, kwargs, sym):
    for n in (2, 7, 10):
        ours = getattr(tg.signal.windows, name)(n, sym=sym, dtype=tg.float64, **kwargs)
        wanted = getattr(scipys, name)(n, sym=sym, **kwargs)
        np.testing.assert_allclose(ours.numpy(), wanted, rtol=1e-13, atol=1e-15)


def test_windows_are_leaves_of_the_default_dtype():
    for window in (tg.hann_window(3, requires_grad=True), tg.signal.windows.kaiser(3)):
        assert window.dtype == tg.float32
        assert window.is_leaf
    assert tg.hann_window(3, requires_grad=True).requires_grad
    with pytest.raises(TypeError, match="hann: `dtype` is float16, expected float32 or float64"):
        tg.signal.windows.hann(3, dtype=tg.float16)
    with pytest.raises(ValueError, match="hann_window: `window_length` is -2, expected a length"):
        tg.hann_window(-2)
    with pytest.raises(ValueError, match="gaussian: `std` is nan, expected a positive number"):
        tg.signal.windows.gaussian(3, std=float("nan"))


# ---- short-time transforms -----------------------------------------------------------------

X, Y, W = floats(2, 20), floats(2, 20, seed=1), floats(6, low=0.5, high=1.5)
FREE = (
    {}, {"hop_length": 3}, {"center": False}, {"normalized": True}, {"onesided": False},
    {"center": False, "align_to_window": True}, {"center": False, "align_to_window": False},
    {"pad_mode": "constant"}, {"pad_mode": "replicate"}, {"return_complex": False},
)  # fmt: skip
REFUSED = (
    {"n_fft": 0}, {"n_fft": 40}, {"n_fft": 40, "center": False}, {"n_fft": 2}, {"hop_length": 0},
    {"n_fft": 3}, {"n_fft": 2.5}, {"win_length": 9}, {"win_length": 5}, {"win_length": 0},
    {"align_to_window": True}, {"return_complex": None}, {"pad_mode": "other"},
)  # fmt: skip


def _forward(kwargs, window=True, part=slice(None)):
    full = {"n_fft": 8, "win_length": 6, "return_complex": True, **kwargs}

    def call(m, x, w):
        z = m.stft(x[part], window=w if window else None, **full)
        return m.view_as_real(z) if m.is_complex(z) else z

    return call


def _forward_of_complex(kwargs):
    def call(m, x, y, w):
        return m.view_as_real(m.complex(x, y).stft(8, window=w, win_length=6, **kwargs))

    return call


def _back(kwargs, cut=5):
    def call(m, x, y, w):
        z = m.complex(x, y)[:, :cut]
        out = m.istft(z, **{"n_fft": 8, "win_length": 6, "window": w, **kwargs})
        return m.view_as_real(out) if m.is_complex(out) else out

    return call


def _transforms():
    for kwargs in (*FREE, *REFUSED):
        yield case(f"stft {kwargs}", _forward(kwargs), X, W)
    yield case("one signal", _forward({}, part=0), X, W)
    yield case("no window", _forward({}, window=False), X, W)
    yield case("a number", _forward({}, part=(0, 0)), X, W)
    yield case("integers", _forward({}), ints(2, 20), W)
    yield case("integers without centre", _forward({"center": False}), ints(2, 20), W)
    yield case("a matrix for a window", _forward({}), X, floats(1, 6))
    yield case("too many axes", _forward({}, part=None), X, W)
    for kwargs in ({}, {"onesided": True}, {"onesided": False}, {"normalized": True}):
        yield case(f"stft of complex {kwargs}", _forward_of_complex(kwargs), X, Y, W)
    yield case(
        "a complex window",
        lambda m, x, w: m.view_as_real(m.stft(x, 6, window=m.complex(w, w))), X, W,
    )  # fmt: skip
    z, zi = floats(2, 8, 7), floats(2, 8, 7, seed=1)
    for kwargs in (
        {}, {"hop_length": 3}, {"hop_length": 0}, {"hop_length": 7}, {"normalized": True},
        {"length": 9}, {"length": 30}, {"length": 0}, {"length": -2}, {"win_length": 9},
        {"win_length": 5}, {"win_length": 0}, {"center": False}, {"onesided": True}, {"n_fft": 10},
        {"onesided": False}, {"return_complex": True}, {"n_fft": 0}, {"window": None},
    ):  # fmt: skip
        yield case(f"istft {kwargs}", _back(kwargs), z, zi, W)
        yield case(f"istft of all {kwargs}", _back(kwargs, 8), z, zi, W)
    yield case("istft of real numbers", lambda m, x: m.istft(x, 8), z)
    yield case("istft of one", lambda m, x, y: m.istft(m.complex(x, y)[0, :5], 8), z, zi)
    yield case("istft of nothing", lambda m, x, y: m.istft(m.complex(x, y)[:0], 8), z, zi)
    yield case("istft of many", lambda m, x, y: m.istft(m.complex(x, y)[None], 8), z, zi)
    yield case(
        "a complex window back",
        lambda m, x, y, w: m.istft(m.complex(x, y)[:, :4], 6, window=m.complex(w, w)), z, zi, W,
    )  # fmt: skip
    yield case(
        "windows that reach nothing",
        lambda m, x, y, w: m.istft(m.complex(x, y)[:, :4], 6, 6, window=w * 0), z, zi, W,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("call", "inputs"), list(_transforms()))
def test_transforms_are_pytorchs(call, inputs):
    assert_agrees(call, inputs, is_function=False)  # parts of a result are a view of it


@pytest.mark.parametrize("function", [tg.stft, tg.istft])
def test_both_orders(function):
    w = tg.tensor(W, requires_grad=True)
    x, args = tg.tensor(X[:, :12], requires_grad=True), {"hop_length": 3}
    if function is tg.stft:
        args["return_complex"] = True
    else:
        x = tg.tensor(floats(4, 3) + 1j * floats(4, 3, seed=1), requires_grad=True)
    call = lambda x, w: function(x, 6, window=w, **args)
    assert gradcheck(call, (x, w))
    assert gradgradcheck(call, (x, w))


def test_frames_are_transformed_one_by_one():
    z = tg.stft(tg.tensor(X), 8, 3, 6, tg.tensor(W), center=False, return_complex=True)
    window = np.concatenate([[0], W, [0]])
    frames = [X[:, i : i + 8] * window for i in range(0, 13, 3)]
    np.testing.assert_allclose(z.numpy(), np.stack([np.fft.rfft(v) for v in frames], 2))


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("kind", ["one", "batch", "complex"])
def test_back_again(kind, normalized):
    x = {"one": X[0], "batch": X, "complex": X + 1j * Y}[kind]
    options = {"window": tg.hann_window(8, dtype=tg.float64), "normalized": normalized}
    z = tg.stft(tg.tensor(x), 8, return_complex=True, **options)
    back = z.istft(8, length=20, return_complex=kind == "complex", **options)
    np.testing.assert_allclose(back.numpy(), x, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x, z: tg.stft(x, 8), "stft: `return_complex` is missing"),
        (lambda x, z: tg.stft(x, 8, 0, return_complex=True), "stft: `hop_length` is 0, expected"),
        (
            lambda x, z: tg.stft(x, 8, win_length=9),
            "stft: `win_length` is 9, expected 1 to",
        ),
        (lambda x, z: tg.stft(x, 30, center=False), "stft: `n_fft` is 30, expected at most"),
        (lambda x, z: tg.istft(z, 10), "istft: `input` has shape .* 5 frequencies, expected 6"),
        (lambda x, z: tg.istft(z, 8, 8), "leave out a place of the signal, whose"),
        (lambda x, z: tg.istft(z, 8, length=0), "istft: `length` is 0, expected a positive"),
    ],
)
def test_errors_say_what_was_expected(call, said):
    x = tg.tensor(X)
    z = tg.stft(x, 8, window=tg.hann_window(8), return_complex=True)
    window = tg.hann_window(8)
    with pytest.raises(ValueError, match=said):
        call(x, z) if "leave out" not in said else tg.istft(z, 8, 8, window=window)


@pytest.mark.filterwarnings("ignore:A window was not provided")  # PyTorch's, the first time
def test_pytorch_finds_the_same_default_hop():
    torch = require_torch()
    ours = tg.stft(tg.tensor(X), 6, return_complex=True)
    assert tuple(ours.shape) == tuple(torch.stft(torch.tensor(X), 6, return_complex=True).shape)
