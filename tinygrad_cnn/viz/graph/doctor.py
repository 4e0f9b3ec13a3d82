"""`diagnose`: what is wrong with the gradients of a model, and why, in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tinygrad_cnn import autograd
from tinygrad_cnn.autograd import grad
from tinygrad_cnn.nn import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.causes import cause_of
from tinygrad_cnn.viz.graph.illness import first_not_finite, sick_rectifiers
from tinygrad_cnn.viz.graph.measures import norm_of
from tinygrad_cnn.viz.graph.recording import Recording
from tinygrad_cnn.viz.graph.tracing import unchanged

_APART = 1e3
"""A layer's ratio is out of the ordinary from this factor off the median on."""
_TINY, _HUGE = 1e-8, 1e3
_ZERO_SHARE = 0.1


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    kind
        ``no gradient``, ``frozen``, ``not finite``, ``dead``, ``vanishing`` or ``exploding``.
    what
        The parameters or the module that it is about.
    why
        The reason as far as it is known.
    line
        The line of code, ``file.py:12 in forward``; empty if it is not known.
    """

    kind: str
    what: tuple[str, ...]
    why: str
    line: str = ""

    def __str__(self) -> str:
        where = f" ({self.line})" if self.line else ""
        return f"{', '.join(self.what)}: {self.kind}: {self.why}{where}"


@dataclass(frozen=True)
class Gradient:
    """A parameter's norm, that of its gradient (None if it has none), and their ratio."""

    name: str
    norm: float
    gradient: float | None

    @property
    def ratio(self) -> float | None:
        """The gradient's norm over the parameter's; None where there is none."""
        if self.gradient is None or not self.norm:
            return None
        return self.gradient / self.norm


@dataclass
class Diagnosis:
    """Findings, the worst first, and all gradients layer by layer. `str` tells it in words."""

    findings: list[Finding] = field(default_factory=list)
    gradients: list[Gradient] = field(default_factory=list)
    hint: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nothing was found but parameters frozen on purpose."""
        return all(f.kind == "frozen" for f in self.findings)

    def __str__(self) -> str:
        lines = [str(f) for f in self.findings] or ["nothing wrong was found"]
        if self.hint:
            lines.append(self.hint)
        width = max((len(g.name) for g in self.gradients), default=0)
        lines += ["", "norm of the gradient / norm of the parameter"]
        for g in self.gradients:
            ratio = g.ratio
            text = "norm 0" if ratio is None else _bar(ratio)
            if g.gradient is None:
                text = "no gradient"
            lines.append(f"  {g.name.ljust(width)}  {text}")
        return "\n".join(lines)

    __repr__ = __str__


def diagnose(
    loss: Tensor,
    model: Module,
    *,
    recording: Recording | None = None,
    rerun: Callable[[], Tensor] | None = None,
) -> Diagnosis:
    """What is wrong with the gradients that ``loss.backward()`` gave ``model``, and why.

    How much is known depends on what was noted:

    * Always: which parameters have no gradient, and whether the loss was made from them (the graph
      is read, which stays when `backward` has freed what it kept); gradients that are not finite,
      that are exactly 0 for a filter or unit, or much smaller or larger than those of other
      layers.
    * With ``recording``, a `Recording` of ``model`` in which ``loss`` was computed: why a parameter
      has no gradient, with the line: ``detach``, ``no_grad``, an integer dtype, a result that is
      not used, or no use at all. If it was made with ``health=True`` also: ReLUs that are 0
      for the whole batch, and the first operation with NaN or Inf in its result or gradient.
    * With ``rerun``, a function that computes the loss once more: the same, from running it inside
      such a recording. Buffers, gradients and random numbers are left as they are.

    Parameters
    ----------
    loss
        What `backward` was called on.
    model
        Whose parameters to examine.

    Raises
    ------
    TypeError
        ``loss`` is not a tensor, or ``rerun`` does not return one.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> def loss():
    ...     return model[1](model[0](tg.ones(1, 2)).detach()).sum()
    >>> value = loss()
    >>> value.backward()
    >>> found = tg.viz.diagnose(value, model, rerun=loss)
    >>> found.findings[0].what, found.findings[0].why
    (('0.weight', '0.bias'), 'detach() cuts its path to the loss')
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"diagnose: `loss` is a {type(loss).__name__}, expected a Tensor")
    notes, final = recording, loss
    if rerun is not None:
        notes, final = _run_again(model, rerun)
    held = list(model.named_parameters())
    out = Diagnosis(gradients=[_gradient(name, p) for name, p in held])
    if not loss.requires_grad:
        why = "the loss does not require gradients: everything it was made from is cut off"
        out.findings.append(Finding("no gradient", ("loss",), why))
    if notes is not None:
        out.findings += [
            Finding("not finite", what, why, line) for what, why, line in first_not_finite(notes)
        ]
    out.findings += _not_finite(held)
    missing = [(name, p) for name, p in held if p.requires_grad and p.grad is None]
    out.findings += _no_gradient(missing, loss, notes, final)
    if notes is not None:
        out.findings += [
            Finding("dead", (what,), why, line) for what, why, line in sick_rectifiers(notes)
        ]
    out.findings += _zero_rows(held)
    out.findings += _out_of_the_ordinary(out.gradients, dict(held))
    frozen = tuple(name for name, p in held if not p.requires_grad)
    if frozen:
        out.findings.append(Finding("frozen", frozen, "requires_grad is False"))
    if notes is None and not out.healthy:
        out.hint = (
            "For the line and the reason, pass rerun=, a function that computes the loss once more."
        )
    return out


def _run_again(model: Module, rerun: Callable[[], Tensor]) -> tuple[Recording, Tensor]:
    wanted = [p for p in model.parameters() if p.requires_grad]
    with unchanged(model), Recording(model, health=True) as notes:
        again = rerun()
        if not isinstance(again, Tensor):
            raise TypeError(
                f"diagnose: `rerun` returned a {type(again).__name__}, expected the loss, a Tensor"
            )
        if again.requires_grad and wanted:
            grad(again, wanted, again.new_ones(again.shape), retain_graph=True, allow_unused=True)
    return notes, again


def _gradient(name: str, p: Parameter) -> Gradient:
    return Gradient(name, norm_of(p._array), None if p.grad is None else norm_of(p.grad._array))


def _no_gradient(
    missing: list[tuple[str, Parameter]], loss: Tensor, notes: Recording | None, final: Tensor
) -> list[Finding]:
    """One finding for all parameters with the same reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    reached = _leaves(loss) if notes is None else set()
    for name, p in missing:
        if notes is not None:
            cause = cause_of(name, notes, final)
            place = f", in {cause.module}" if cause.module else ""
            key = (cause.text + place, cause.line)
        elif p.node in reached:
            key = ("the loss was made from it, but backward() has not run, or it was cleared", "")
        else:
            key = (
                "the loss was not made from it: it was not used, or the path was cut (detach, "
                "no_grad, an integer dtype)",
                "",
            )
        groups.setdefault(key, []).append(name)
    return [Finding("no gradient", tuple(names), *key) for key, names in groups.items()]


def _leaves(loss: Tensor) -> set[object]:
    """The leaves from which ``loss`` was made."""
    first = loss.current_node()
    found: set[object] = set()
    seen, stack = {first}, [first]
    while stack:
        node = stack.pop()
        if isinstance(node, autograd.Leaf):
            found.add(node)
        elif node is not None:
            fresh = [p for p in node.parents if p is not None and p not in seen]
            seen.update(fresh)
            stack.extend(fresh)
    return found


def _not_finite(held: list[tuple[str, Parameter]]) -> list[Finding]:
    values = tuple(name for name, p in held if not np.isfinite(p._array).all())
    grads = tuple(
        name for name, p in held if p.grad is not None and not np.isfinite(p.grad._array).all()
    )
    out = [Finding("not finite", values, "the parameter itself holds NaN or Inf")] if values else []
    if grads:
        out.append(Finding("not finite", grads, "the gradient holds NaN or Inf"))
    return out


def _zero_rows(held: list[tuple[str, Parameter]]) -> list[Finding]:
    """Filters and units whose gradient is exactly 0: nothing they compute reaches the loss."""
    out = []
    for name, p in held:
        if p.grad is None or p.grad.ndim < 2:
            continue
        units = p.shape[0]
        dead = units - int(np.any(p.grad._array.reshape(units, -1), axis=1).sum())
        if units and dead / units >= _ZERO_SHARE:
            why = (
                f"the gradient is exactly 0 for {dead} of {units} units: what comes "
                f"behind them (a ReLU that is 0 for the whole batch, a mask) lets nothing through"
            )
            out.append(Finding("dead", (name,), why))
    return out


def _out_of_the_ordinary(gradients: list[Gradient], held: dict[str, Parameter]) -> list[Finding]:
    """Weights (not biases or scales) whose ratio is far from the others'."""
    ratios = {
        g.name: r
        for g in gradients
        if held[g.name].ndim >= 2 and (r := g.ratio) is not None and math.isfinite(r)
    }
    known = [r for r in ratios.values() if r > 0]
    if not known:
        return []
    median = statistics.median(known)
    out = []
    for name, ratio in ratios.items():
        text = f"gradient / weight is {ratio:.1e}, the median of all layers {median:.1e}"
        if 0 < ratio < max(median / _APART, _TINY):
            out.append(Finding("vanishing", (name,), text))
        elif ratio > min(median * _APART, _HUGE):
            out.append(Finding("exploding", (name,), text))
    (first, a), (last, b) = next(iter(ratios.items())), list(ratios.items())[-1]
    if len(ratios) > 2 and a > 0 and b > 0 and not out:
        step = (a / b) ** (1 / (len(ratios) - 1))
        kind = "vanishing" if a / b < 1 / _APART else "exploding" if a / b > _APART else ""
        if kind:
            text = f"from {last} to {first} the ratio changes by {a / b:.1e}, {step:.2g} per layer"
            out.append(Finding(kind, (f"{first} … {last}",), text))
    return out


def _bar(ratio: float) -> str:
    """The ratio and a mark for every power of ten above 1e-9."""
    if not math.isfinite(ratio):
        return f"{ratio}"
    marks = min(max(round(math.log10(ratio)) + 9, 0), 14) if ratio > 0 else 0
    return f"{ratio:8.1e}  {'█' * marks}"
