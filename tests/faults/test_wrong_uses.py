"""Wrong uses: each error names the operation, the argument, its value and what was expected."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import tinygrad_cnn as tg
from faults import wrong_states, wrong_types, wrong_uses
from faults.wrong_uses import LAYERS, REFUSED, Use, tensors_like
from tinygrad_cnn import nn
from tinygrad_cnn.train import TrainError

NO_TENSORS = {"None": None, "'images'": "images", "{}": {}, "[1.5, 'a']": [1.5, "a"]}
ERRORS = (ValueError, TypeError, RuntimeError, IndexError)
EXPECTATION = re.compile(r"expect|must|, but | but the |use |do not fit")
VALUE = re.compile(
    r"shapes? \[?\(|\(\d|\(\)|\b(is|has|holds|be) ['\d(]|dimensions|complex64|bool|int64|float64"
)


class Net(nn.Module):
    """A layer two modules deep."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.part = nn.Sequential(layer)

    def forward(self, *inputs: Any) -> Any:
        return self.part[0](*inputs)


def _inputs(name: str) -> tuple[Any, ...]:
    given = LAYERS[name][1]
    return given if isinstance(given, tuple) else (given,)


def _error(name: str, place: int, value: object) -> Exception:
    """What a layer says to one wrong input."""
    given, arguments = list(_inputs(name)), LAYERS[name][0]
    net = Net(getattr(nn, name)(*arguments))
    net(*given)
    given[place] = value
    with pytest.raises(ERRORS) as caught:
        net(*given)
    return caught.value


LAYER_CASES = [
    (name, place, text)
    for name in LAYERS
    for place in range(len(_inputs(name)))
    for text in NO_TENSORS
]


@pytest.mark.parametrize(("name", "place", "text"), LAYER_CASES)
def test_layers_given_no_tensor(name: str, place: int, text: str) -> None:
    error = _error(name, place, NO_TENSORS[text])
    argument = list(inspect.signature(getattr(nn, name).forward).parameters)[1 + place]
    for part in (f"`{argument}`", text, "expected", " [in part.0"):
        assert part in str(error)


WRONG_TENSORS = [
    (name, place, kind)
    for name, refused in REFUSED.items()
    for place, kinds in enumerate(refused)
    for kind in kinds.split()
]


@pytest.mark.parametrize(("name", "place", "kind"), WRONG_TENSORS)
def test_layers_given_other_tensors(name: str, place: int, kind: str) -> None:
    error = _error(name, place, tensors_like(_inputs(name)[place])[kind])
    assert type(error).__module__ == "tinygrad_cnn.errors", repr(error)
    text = str(error)
    assert re.match(r"\w+: ", text)
    assert re.search(r"`\w+`|widths", text), text
    assert VALUE.search(text), text
    assert EXPECTATION.search(text), text
    assert " [in part.0" in text
    assert name in text or name == "TransformerEncoderLayer"  # its first layer says so


@pytest.mark.parametrize("use", [*wrong_uses.SETTINGS, *wrong_uses.FUNCTIONS, *wrong_uses.STATES,
                                 *wrong_types.EVERY],
                         ids=lambda use: use.name)  # fmt: skip
def test_settings_functions_and_states(use: Use) -> None:
    with pytest.raises((*ERRORS, TrainError)) as caught:
        use.run()
    for part in use.parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("use", wrong_states.EVERY, ids=lambda use: use.name)
def test_graphs_compiled_functions_files_and_flags(use: Use) -> None:
    with pytest.raises((*ERRORS, TrainError, OSError)) as caught:
        use.run()
    for part in use.parts:
        assert part in str(caught.value)


def test_errors_of_users_modules_stay_as_they_are() -> None:
    class Own(nn.Module):
        def forward(self, x: tg.Tensor) -> tg.Tensor:
            return x.nothing

    with pytest.raises(AttributeError, match="nothing"):
        Own()("text")


def test_there_are_at_least_three_hundred() -> None:
    others = wrong_uses.SETTINGS + wrong_uses.FUNCTIONS + wrong_uses.STATES
    others += wrong_states.EVERY + wrong_types.EVERY
    assert len(LAYER_CASES) + len(WRONG_TENSORS) + len(others) >= 300
    assert REFUSED.keys() == LAYERS.keys()
