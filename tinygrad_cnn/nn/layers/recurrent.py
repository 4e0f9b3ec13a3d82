"""Recurrent layers and cells: RNN, GRU and LSTM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from tinygrad_cnn.autograd.devices import DeviceLike
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions import empty, zeros
from tinygrad_cnn.functions.recurrent import State, Weights, cell, check_input, recurrent
from tinygrad_cnn.nn.layers import reset
from tinygrad_cnn.nn.layers.checks import choice, factory, flag, integer, probability
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.nn.utils.rnn import PackedSequence
from tinygrad_cnn.ops.recurrent import GATES
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import DTypeLike

States = Tensor | tuple[Tensor, Tensor]
"""What users see: h, or (h, c) of an LSTM."""


class RNNBase(Module):
    """Stacks of recurrent layers; see `LSTM`, whose arguments all share.

    Names of weights are PyTorch's: ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``,
    ``bias_hh_l0``, ``weight_hr_l0`` of a projection, with ``_reverse`` for the other direction.

    >>> from tinygrad_cnn import nn
    >>> isinstance(nn.GRU(3, 4), nn.RNNBase)
    True
    """

    mode: str

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        me = type(self).__name__
        self.mode = choice(me, "mode", mode, ("RNN_TANH", "RNN_RELU", "GRU", "LSTM"))
        self.input_size = integer(me, "input_size", input_size, least=1)
        self.hidden_size = integer(me, "hidden_size", hidden_size, least=1)
        self.num_layers = integer(me, "num_layers", num_layers, least=1)
        self.bias = flag(me, "bias", bias)
        self.batch_first = flag(me, "batch_first", batch_first)
        self.dropout = float(probability(me, "dropout", dropout))
        self.bidirectional = bidirectional
        self.proj_size = integer(me, "proj_size", proj_size, least=0)
        if self.proj_size and (mode != "LSTM" or self.proj_size >= self.hidden_size):
            raise ArgumentError(
                f"{me}: `proj_size` is {proj_size} but 0 is expected, or for an LSTM less than "
                f"`hidden_size` = {hidden_size}"
            )
        kind = factory(me, device, dtype)
        rows, width = GATES[self._kind] * self.hidden_size, self.proj_size or self.hidden_size
        self._names: list[list[str | None]] = []
        for layer in range(self.num_layers):
            for suffix in ("", "_reverse") if bidirectional else ("",):
                seen = self.input_size if layer == 0 else width * (1 + bidirectional)
                shapes: dict[str, tuple[int, ...]] = {
                    f"weight_ih_l{layer}{suffix}": (rows, seen),
                    f"weight_hh_l{layer}{suffix}": (rows, width),
                }
                if bias:
                    shapes[f"bias_ih_l{layer}{suffix}"] = (rows,)
                    shapes[f"bias_hh_l{layer}{suffix}"] = (rows,)
                names: list[str | None] = [*shapes, *[None] * (4 - len(shapes)), None]
                if self.proj_size:
                    names[4] = projection = f"weight_hr_l{layer}{suffix}"
                    shapes[projection] = (width, self.hidden_size)
                for name, shape in shapes.items():
                    setattr(self, name, Parameter(empty(shape, dtype=kind)))
                self._names.append(names)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights and biases uniformly within ``hidden_size ** -0.5``, as PyTorch."""
        reset.uniform(self.parameters(), self.hidden_size**-0.5)

    @property
    def _kind(self) -> str:
        """The mode, as `recurrent` names it."""
        return self.mode.removeprefix("RNN_").lower()

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names if name] for names in self._names]

    def flatten_parameters(self) -> None:
        """Do nothing: PyTorch's GPU code needs it."""

    def _weights(self) -> list[Weights]:
        return [
            [None if name is None else getattr(self, name) for name in names]
            for names in self._names
        ]

    def _run(
        self, input: Tensor | PackedSequence, hx: States | None
    ) -> tuple[Tensor | PackedSequence, State]:
        me = type(self).__name__
        directions = 1 + self.bidirectional
        if isinstance(input, PackedSequence):
            data, sizes = input.data, input.batch_sizes.tolist()
            n, lone = sizes[0], False
        else:
            lone = input.ndim == 2
            if input.ndim not in (2, 3):
                raise ShapeError(
                    f"{me}: `input` has shape {input.shape} but 2 axes (without a batch) or 3 are "
                    f"expected"
                )
            steps_first = input.unsqueeze(1) if lone else input  # (l, n, features)
            if self.batch_first and not lone:
                steps_first = steps_first.transpose(0, 1)
            length, n, features = steps_first.shape
            if not length:
                raise ShapeError(f"{me}: `input` has shape {input.shape} but no steps")
            data, sizes = steps_first.reshape(length * n, features), [n] * length
        check_input(me, data, self.input_size, self.weight_ih_l0)
        state = None if hx is None else self._state(hx, n, lone)
        if isinstance(input, PackedSequence) and state is not None:
            state = _permuted(state, input.sorted_indices)
        drop = self.dropout if self.training else 0.0
        y, end = recurrent(
            self._kind, data, state, self._weights(), sizes, directions=directions, dropout_p=drop
        )
        if isinstance(input, PackedSequence):
            end = _permuted(end, input.unsorted_indices)
            return input._replace(data=y), end
        out = y.reshape(len(sizes), n, y.shape[1])
        if lone:
            return out.squeeze(1), _each(end, lambda t: t.squeeze(1))
        return (out.transpose(0, 1) if self.batch_first else out), end

    def _state(self, hx: States, n: int, lone: bool) -> State:
        """The given states (layers * directions, n, width), checked."""
        rows, width = self.num_layers * (1 + self.bidirectional), self.proj_size or self.hidden_size
        widths = (width, self.hidden_size) if self._kind == "lstm" else (width,)
        wanted = [(rows, size) if lone else (rows, n, size) for size in widths]
        state = _checked(type(self).__name__, hx, wanted)
        return _each(state, lambda t: t.unsqueeze(1)) if lone else state

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        if self.proj_size:
            shown.append(f"proj_size={self.proj_size}")
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0}
        for name, default in {**defaults, "bidirectional": False}.items():
            if getattr(self, name) != default:
                shown.append(f"{name}={getattr(self, name)}")
        return ", ".join(shown)


class _Plain(RNNBase):
    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Return the output and h at the end of each sequence."""
        output, (h, _) = self._run(input, hx)
        return output, h


class RNN(_Plain):
    """``h = tanh(w_ih @ x + b_ih + w_hh @ h + b_hh)`` at every step, or relu (``nonlinearity``).

    Arguments, shapes and errors are those of `LSTM`; there is no c, and no projection.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y, h = nn.RNN(3, 4, nonlinearity="relu")(tg.ones(5, 2, 3))
    >>> y.shape, h.shape
    (Size([5, 2, 4]), Size([1, 2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        mode = f"RNN_{choice('RNN', 'nonlinearity', nonlinearity, ('tanh', 'relu')).upper()}"
        super().__init__(
            mode,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity


class _Gated(RNNBase):
    _mode: ClassVar[str]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__(
            self._mode,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )


class GRU(_Gated, _Plain):
    """Gated recurrent units (Cho et al., 2014), with gates in the order reset, update, new.

    Arguments, shapes and errors are those of `LSTM`; there is no c, and no projection.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y, h = nn.GRU(3, 4, num_layers=2, batch_first=True)(tg.ones(2, 5, 3))
    >>> y.shape, h.shape
    (Size([2, 5, 4]), Size([2, 2, 4]))
    """

    _mode = "GRU"


class LSTM(_Gated):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gates, Gers et al., 2000).

    Shapes: input (l, n, input_size), (n, l, input_size) with ``batch_first``, or (l, input_size)
    without a batch, or a `PackedSequence` of sequences of several lengths; output (..., d *
    width), d being 2 if ``bidirectional`` and width ``proj_size`` or ``hidden_size``; h
    (num_layers * d, n, width), c (num_layers * d, n, hidden_size). Gates are in the order input,
    forget, cell, output. All start uniformly within ``hidden_size ** -0.5``, as in PyTorch.

    Parameters
    ----------
    input_size, hidden_size
        Features of a step, and of the state.
    num_layers
        How many layers, each fed with the output of the one below.
    bias
        Whether there are biases.
    batch_first
        Whether the batch's axis of input and output comes before the steps'.
    dropout
        The share of values that the output of each layer but the last loses, in training.
    bidirectional
        Whether each layer also goes from the last step to the first.
    proj_size
        If not 0, the size to which h is projected (Sak et al., 2014).

    Raises
    ------
    ValueError
        A size is too small, or shapes do not fit.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> y, (h, c) = nn.LSTM(3, 4, bidirectional=True)(tg.ones(5, 2, 3))
    >>> y.shape, h.shape, c.shape
    (Size([5, 2, 8]), Size([2, 2, 4]), Size([2, 2, 4]))
    """

    _mode = "LSTM"

    def forward(
        self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Return the output and (h, c) at the end of each sequence."""
        output, (h, c) = self._run(input, hx)
        assert c is not None
        return output, (h, c)


def _permuted(state: State, order: Tensor | None) -> State:
    """States of sequences in another order."""
    return state if order is None else _each(state, lambda t: t.index_select(1, order))


def _each(state: State, change: Callable[[Tensor], Tensor]) -> State:
    h, c = state
    return change(h), None if c is None else change(c)


def _checked(owner: str, hx: States, shapes: Sequence[tuple[int, ...]]) -> State:
    """``hx`` as h and c (None unless an LSTM's), whose shapes must be ``shapes``."""
    given = hx if isinstance(hx, tuple | list) else (hx,)
    if len(given) != len(shapes):
        raise ArgumentError(f"{owner}: `hx` holds {len(given)} tensors but {len(shapes)} expected")
    for name, value, shape in zip("hc", given, shapes, strict=False):
        if value.shape != shape:
            raise ShapeError(
                f"{owner}: `{name}` of `hx` has shape {value.shape} but {shape} is expected"
            )
    return given[0], given[1] if len(given) == 2 else None


class RNNCellBase(Module):
    """One step of a recurrent layer; see `LSTMCell`.

    >>> from tinygrad_cnn import nn
    >>> isinstance(nn.GRUCell(3, 4), nn.RNNCellBase)
    True
    """

    kind: ClassVar[str]
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        me = type(self).__name__
        self.input_size = integer(me, "input_size", input_size, least=1)
        self.hidden_size = integer(me, "hidden_size", hidden_size, least=1)
        self.bias = bias
        kind, rows = factory(me, device, dtype), GATES[self.kind] * self.hidden_size
        self.weight_ih = Parameter(empty(rows, self.input_size, dtype=kind))
        self.weight_hh = Parameter(empty(rows, self.hidden_size, dtype=kind))
        for name in ("bias_ih", "bias_hh"):
            value = Parameter(empty(rows, dtype=kind)) if bias else None
            self.register_parameter(name, value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights and biases uniformly within ``hidden_size ** -0.5``, as PyTorch."""
        reset.uniform(self.parameters(), self.hidden_size**-0.5)

    def _step(self, input: Tensor, hx: States | None) -> State:
        me, lone = type(self).__name__, input.ndim == 1
        if input.ndim not in (1, 2):
            raise ShapeError(f"{me}: `input` has shape {input.shape} but 1 or 2 axes are expected")
        check_input(me, input, self.input_size, self.weight_ih)
        wanted = (*input.shape[:-1], self.hidden_size)
        parts = 2 if self.kind == "lstm" else 1
        given = (zeros(wanted, dtype=input.dtype),) * parts if hx is None else hx
        state = _checked(me, given, (wanted,) * parts)  # type: ignore[arg-type]  # one or two
        if lone:
            input, state = input.unsqueeze(0), _each(state, lambda t: t.unsqueeze(0))
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        after = cell(self._kind(), input, state, weights)
        return _each(after, lambda t: t.squeeze(0)) if lone else after

    def _kind(self) -> str:
        return self.kind

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias=False"


class RNNCell(RNNCellBase):
    """One step of an `RNN`: ``tanh(w_ih @ x + b_ih + w_hh @ h + b_hh)``, or relu.

    Shapes: input (n, input_size) or (input_size,), h and output (n, hidden_size).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.RNNCell(3, 4)(tg.ones(2, 3)).shape
    Size([2, 4])
    """

    kind = "tanh"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = choice("RNNCell", "nonlinearity", nonlinearity, ("tanh", "relu"))

    def _kind(self) -> str:
        return self.nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next h."""
        return self._step(input, hx)[0]

    def extra_repr(self) -> str:
        """Return the arguments that differ from their defaults."""
        shown = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        return super().extra_repr() + shown


class GRUCell(RNNCellBase):
    """One step of a `GRU`. Shapes are those of `RNNCell`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> nn.GRUCell(3, 4)(tg.ones(2, 3)).shape
    Size([2, 4])
    """

    kind = "gru"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next h."""
        return self._step(input, hx)[0]


class LSTMCell(RNNCellBase):
    """One step of an `LSTM`.

    Shapes: input (n, input_size) or (input_size,), h and c (n, hidden_size).

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> h, c = nn.LSTMCell(3, 4)(tg.ones(2, 3))
    >>> h.shape, c.shape
    (Size([2, 4]), Size([2, 4]))
    """

    kind = "lstm"

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the next (h, c)."""
        h, c = self._step(input, hx)
        assert c is not None
        return h, c
