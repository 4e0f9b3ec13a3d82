"""`diagnose`: what is wrong with a model's training, and why, in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tinygrad_cnn.autograd import grad
from tinygrad_cnn.instrument.running import unchanged
from tinygrad_cnn.nn import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.optim import Optimizer
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.causes import cause_of
from tinygrad_cnn.viz.graph.illness import (
    dead_rectifiers,
    first_not_finite,
    history,
    out_of_the_ordinary,
    silent_units,
    softmax_before_loss,
)
from tinygrad_cnn.viz.graph.measures import norm_of
from tinygrad_cnn.viz.graph.recording import Recording
from tinygrad_cnn.viz.graph.trial import learning_rate


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    kind
        ``error`` (the loss could not be computed), ``labels`` (out of range), ``optimizer`` (it
        holds other tensors), ``no gradient``, ``not finite``, ``learning rate`` (too high),
        ``accumulated`` (a forgotten `zero_grad`), ``softmax`` (before cross-entropy), ``input``
        (constant), ``dead``, ``vanishing``, ``exploding`` or ``frozen``.
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

    def kinds(self) -> set[str]:
        """The kinds of the findings."""
        return {f.kind for f in self.findings}

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
    loss: Tensor | None,
    model: Module,
    *,
    recording: Recording | None = None,
    rerun: Callable[[], Tensor] | None = None,
    optimizer: Optimizer | None = None,
) -> Diagnosis:
    """What is wrong with the gradients that ``loss.backward()`` gave ``model``, and why.

    Call it after `backward` and before the optimiser's step. Each cause has one finding; what
    follows from it is not told again. How much is known depends on what is given:

    * Always: which parameters have no gradient, and whether the loss was made from them (the graph
      is read, which stays when `backward` has freed what it kept); gradients that were added to
      older ones; a softmax before the cross-entropy; gradients that are not finite, that are
      exactly 0 for many units, or much smaller or larger than those of other layers; weights out of
      all proportion.
    * With ``recording``, a `Recording` of ``model`` in which ``loss`` was computed: why a parameter
      has no gradient, with the line: ``detach``, ``no_grad``, an integer dtype, a result that is
      not used, or no use at all. If it was made with ``health=True`` also: ReLUs that are 0
      for the whole batch, an input that is constant, and the first operation with NaN or Inf in
      its result or gradient.
    * With ``rerun``, a function that computes the loss once more: the same, from running it inside
      such a recording. If it raises an error, for instance because a label is out of range, that is
      the finding; ``loss`` may then be None.
    * With ``optimizer``: whether it holds the model's parameters, and how far a step would move the
      weights; with ``rerun`` too, what five steps do to the loss.

    Parameters, buffers, gradients, random numbers and the optimiser's state are left as they are.

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
    if not isinstance(loss, Tensor) and not (loss is None and rerun is not None):
        raise TypeError(f"diagnose: `loss` is a {type(loss).__name__}, expected a Tensor")
    held = list(model.named_parameters())
    out = Diagnosis(gradients=[_gradient(name, p) for name, p in held])
    notes, final = recording, loss
    if rerun is not None:
        try:
            notes, final = _run_again(model, rerun)
        except (ArithmeticError, IndexError, ValueError, RuntimeError) as error:
            out.findings.append(_error(error))
            return out
    loss = final if loss is None else loss
    assert loss is not None
    assert final is not None
    not_stepped = [] if optimizer is None else _not_stepped(held, optimizer)
    out.findings += [f for f in not_stepped if f.kind == "optimizer"]
    if not loss.requires_grad:
        why = "the loss does not require gradients: everything it was made from is cut off"
        out.findings.append(Finding("no gradient", ("loss",), why))
    finite = _not_finite(held, notes)
    out.findings += finite
    too_high = None
    if optimizer is not None and not finite:
        too_high = learning_rate(model, rerun if loss.requires_grad else None, optimizer)
        if too_high is not None:
            out.findings.append(Finding("learning rate", *too_high))
    out.findings += _accumulated(held)
    softmax = softmax_before_loss(loss, notes)
    if softmax is not None:
        out.findings.append(Finding("softmax", *softmax))
    constant = [] if notes is None else notes.constant_inputs
    out.findings += [Finding("input", (what,), why) for what, why in constant]
    missing = [(name, p) for name, p in held if p.requires_grad and p.grad is None]
    out.findings += _no_gradient(missing, loss, notes, final)
    if not finite and too_high is None and not constant:  # else they are what follows
        dead = [] if notes is None else dead_rectifiers(notes)
        dead = dead or silent_units(held)
        out.findings += [Finding("dead", *told) for told in dead]
        if not dead and softmax is None:
            out.findings += [Finding(*told) for told in out_of_the_ordinary(model)]
    frozen = tuple(name for name, p in held if not p.requires_grad)
    if frozen:
        out.findings.append(Finding("frozen", frozen, "requires_grad is False"))
    out.findings += [f for f in not_stepped if f.kind == "frozen"]
    if not out.healthy:
        missing_arguments = [
            f"{name}=, {what}"
            for name, what, given in (
                ("rerun", "a function that computes the loss once more", notes),
                ("optimizer", "the optimiser that makes the steps", optimizer),
            )
            if given is None
        ]
        if missing_arguments:
            out.hint = f"To know more, pass {'; and '.join(missing_arguments)}."
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


def _error(error: Exception) -> Finding:
    """What the loss could not be computed for."""
    text = " ".join(str(error).split())
    if isinstance(error, IndexError) and "`target` holds" in text:
        return Finding("labels", ("`target`",), text)
    return Finding("error", ("loss",), f"it could not be computed: {type(error).__name__}: {text}")


Held = list[tuple[str, Parameter]]


def _not_stepped(held: Held, optimizer: Optimizer) -> list[Finding]:
    """Parameters that the optimiser does not hold: by mistake, if it holds others instead."""
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    strangers = len(stepped - {id(p) for _, p in held})
    names = tuple(name for name, p in held if p.requires_grad and id(p) not in stepped)
    if not names:
        return []
    if not strangers:
        return [Finding("frozen", names, "the optimiser does not hold them")]
    why = (
        f"the optimiser does not hold them, but {strangers} tensors that are no parameters of this "
        f"model: it was made for another model, or before these parameters were replaced"
    )
    return [Finding("optimizer", names, why)]


def _accumulated(held: Held) -> list[Finding]:
    """Gradients to which `backward` added a second time, with no `zero_grad` between."""
    names = tuple(
        name for name, p in held if p.grad is not None and p.grad.storage.writer == "backward"
    )
    if not names:
        return []
    why = (
        "backward() added to gradients that were there already: zero_grad() was not called in "
        "between. If several backward() calls are meant to go into one step, all is well"
    )
    return [Finding("accumulated", names, why)]


def _gradient(name: str, p: Parameter) -> Gradient:
    return Gradient(name, norm_of(p._array), None if p.grad is None else norm_of(p.grad._array))


def _no_gradient(
    missing: Held, loss: Tensor, notes: Recording | None, final: Tensor
) -> list[Finding]:
    """One finding for all parameters with the same reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    reached = history(loss) if notes is None else set()
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


def _not_finite(held: Held, notes: Recording | None) -> list[Finding]:
    """The place where the first NaN or Inf is, as far as it is known."""
    values = tuple(name for name, p in held if not np.isfinite(p._array).all())
    if values:
        why = (
            "the parameter itself holds NaN or Inf. Before it did, the learning rate was too high, "
            "or a gradient was not finite"
        )
        return [Finding("not finite", values, why)]
    if notes is not None:
        found = first_not_finite(notes)
        if found:
            return [Finding("not finite", *told) for told in found]
    grads = tuple(
        name for name, p in held if p.grad is not None and not np.isfinite(p.grad._array).all()
    )
    return [Finding("not finite", grads, "the gradient holds NaN or Inf")] if grads else []


def _bar(ratio: float) -> str:
    """The ratio and a mark for every power of ten above 1e-9."""
    if not math.isfinite(ratio):
        return f"{ratio}"
    marks = min(max(round(math.log10(ratio)) + 9, 0), 14) if ratio > 0 else 0
    return f"{ratio:8.1e}  {'█' * marks}"
