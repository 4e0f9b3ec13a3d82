"""`Optimizer`: parameter groups, state, saving and loading. Subclasses add the update formula."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CodeType
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeAlias, TypedDict, TypeVar

import numpy as np

from tinygrad_cnn.autograd import enable_grad
from tinygrad_cnn.autograd.events import observe, watching
from tinygrad_cnn.autograd.hooks import Hooks, RemovableHandle, add_hook
from tinygrad_cnn.autograd.variable import written_by
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions import from_numpy, view_as_complex, view_as_real
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.kernels.tape import again, do, taping
from tinygrad_cnn.optim.checks import at_least_zero, check_betas
from tinygrad_cnn.optim.memory import Scratch
from tinygrad_cnn.optim.together import Form, Launched, PreparedStep, new_step, step_together
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import FLOATING, Args, Array

Group: TypeAlias = dict[str, Any]
"""Parameters under "params", and their options."""

State: TypeAlias = dict[str, Any]
"""What is remembered about a parameter: tensors, mostly."""

StateDict: TypeAlias = dict[str, Any]
GivenState: TypeAlias = Mapping[str, Any]
"""What ``state_dict`` returns, and what ``load_state_dict`` takes: it may come from a file."""

Params: TypeAlias = Iterable[Tensor] | Iterable[Group] | Iterable[tuple[str, Tensor]]
Closure: TypeAlias = Callable[[], Any]
StepHook: TypeAlias = Callable[..., Any]
"""``hook(optimizer, args, kwargs)``; the first of the arguments is the optimiser."""
AnyHook: TypeAlias = Callable[..., Any]


class How(TypedDict, total=False):
    """How PyTorch is to compute, which changes nothing here.

    Of ``differentiable=True`` a warning says that steps are not recorded.
    """

    foreach: bool | None
    fused: bool | None
    capturable: bool
    differentiable: bool


_P = ParamSpec("_P")
_R = TypeVar("_R")
_before_all, _after_all = Hooks(), Hooks()


def register_optimizer_step_pre_hook(hook: StepHook) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before every step of every optimiser."""
    return add_hook(_before_all, hook)


def register_optimizer_step_post_hook(hook: StepHook) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after every step of every optimiser."""
    return add_hook(_after_all, hook)


STEP_CODES: set[CodeType] = set()
"""Code of steps, in whose frames ``self`` is the optimiser."""


def _hooked(
    step: Callable[Concatenate[Any, _P], _R],
) -> Callable[Concatenate[Any, _P], _R]:
    """``step`` with the hooks around it, of which those who watch are told."""

    @functools.wraps(step)
    def call(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if not watching and not self.has_hooks:
            return step(self, *args, **kwargs)
        if getattr(type(self).step, "__wrapped__", None) is not step:  # by way of super()
            return step(self, *args, **kwargs)
        args = (self, *args)  # as PyTorch's hooks get them
        for hook in (*_before_all.values(), *self._before.values()):
            given = hook(self, args, kwargs)
            if given is not None:
                if not isinstance(given, tuple) or len(given) != 2:
                    raise DtypeError(
                        f"{self._name()}: a step hook returned {given!r}, expected None or "
                        f"(args, kwargs)"
                    )
                args, kwargs = given
        out = self._observed(step, args, kwargs) if watching else step(*args, **kwargs)
        for hook in (*self._after.values(), *_after_all.values()):
            hook(self, args, kwargs)
        return out

    STEP_CODES.add(call.__code__)  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]  # the same signature


class Optimizer:
    """Base class of optimisers.

    ``params`` is an iterable of tensors, of ``(name, tensor)`` pairs or of dicts: groups, each with
    its tensors under "params" and the options in which it differs from ``defaults``. A subclass
    either defines `update`, which changes one parameter, or `step`.

    Attributes
    ----------
    param_groups
        The groups, dicts with "params" and every option.
    state
        What is remembered about each parameter (momentum ...), a dict of tensors by parameter.

    Raises
    ------
    TypeError
        Something is no tensor, or the parameters come in a set, which has no order.
    ValueError
        There are no parameters, one comes twice or is no leaf, an option is out of range.
    """

    step_count: int = 0
    accepts: ClassVar[tuple[str, ...]] = ("foreach", "capturable", "differentiable")
    """The names of `How` that PyTorch's optimiser of this name has."""

    not_negative: ClassVar[tuple[str, ...]] = ()
    """Options that must be numbers of at least 0; and "betas", two of them below 1."""

    other_shapes: ClassVar[frozenset[str]] = frozenset()
    """Names of state that has not the parameter's shape."""

    _scratch: ClassVar[Scratch] = Scratch()

    def __init__(self, params: Params, defaults: Group, how: How | None = None) -> None:
        self.defaults = defaults if how is None else defaults | self._how(how)
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self._before, self._after = Hooks(), Hooks()
        self._before_saving, self._after_saving = Hooks(), Hooks()
        self._before_loading, self._after_loading = Hooks(), Hooks()
        if isinstance(params, Tensor | np.ndarray):
            raise DtypeError(
                f"{self._name()}: `params` is a {type(params).__name__} but an iterable of tensors "
                f"or of dicts is expected; write [{'param' if params.ndim else 'x'}]"
            )
        _require_order(self._name(), params)
        given: list[Any] = list(params)
        if not given:
            raise ArgumentError(
                f"{self._name()}: `params` is empty (an iterator such as model.parameters() can be "
                f"read only once)"
            )
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def _how(self, how: How) -> dict[str, bool | None]:
        """The options of `How`, all that this optimiser has."""
        unknown = sorted(how.keys() - set(self.accepts))
        if unknown:
            raise DtypeError(f"{self._name()}: unexpected arguments {', '.join(unknown)}")
        if how.get("fused") and (how.get("foreach") or how.get("differentiable")):
            raise ArgumentError(
                f"{self._name()}: `fused` is True, so `foreach` and `differentiable` cannot be"
            )
        if how.get("differentiable"):
            warnings.warn(
                f"{self._name()}: `differentiable` is True, but steps are not recorded",
                UserWarning,
                stacklevel=4,
            )
        plain: dict[str, bool | None] = {
            name: None if name in ("foreach", "fused") else False for name in self.accepts
        }
        return plain | {name: how[name] for name in how}  # type: ignore[literal-required]

    def _name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        groups = []
        for i, group in enumerate(self.param_groups):
            options = [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
            groups.append("\n".join([f"Parameter Group {i}", *options, ""]))
        return f"{self._name()} (\n" + "\n".join(groups) + ")"

    @property
    def has_hooks(self) -> bool:
        """Whether something is called before or after a step."""
        return bool(self._before or self._after or _before_all or _after_all)

    # -- groups -------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add a group of parameters, as for layers that are thawed during training.

        Options that it does not name are the constructor's. Nothing is changed if it is wrong.

        Raises
        ------
        TypeError
            The group is no dict, holds something else than tensors, or is unordered.
        ValueError
            A parameter is there already or is no leaf; an option is unknown, missing or out of
            range.

        >>> from tinygrad_cnn import nn, optim
        >>> body, head = nn.Linear(3, 2), nn.Linear(2, 1)
        >>> sgd = optim.SGD(body.parameters(), lr=0.1)
        >>> sgd.add_param_group({"params": head.parameters(), "lr": 0.01})
        >>> [group["lr"] for group in sgd.param_groups]
        [0.1, 0.01]
        """
        me = self._name()
        if not isinstance(param_group, dict):
            raise DtypeError(
                f"{me}: a group is a {type(param_group).__name__} but a dict is expected"
            )
        if "params" not in param_group:
            raise ArgumentError(f"{me}: a group has no 'params', only {sorted(param_group)}")
        group = dict(param_group)
        params = group["params"]
        _require_order(me, params)
        params = [params] if isinstance(params, Tensor) else list(params)
        if any(isinstance(p, tuple) for p in params):
            params, group["param_names"] = _split_names(me, params)
        group["params"] = params
        known = {id(p) for held in self.param_groups for p in held["params"]}
        for i, param in enumerate(params):
            if not isinstance(param, Tensor):
                raise DtypeError(
                    f"{me}: parameter {i} is a {type(param).__name__} but a Tensor is expected"
                )
            if not param.is_leaf:
                raise ArgumentError(
                    f"{me}: parameter {i} (shape {param.shape}) is the result of an operation but "
                    f"a leaf is expected; use detach().requires_grad_()"
                )
            if id(param) in known:
                raise ArgumentError(f"{me}: parameter {i} (shape {param.shape}) is given twice")
            known.add(id(param))
        for option, value in self.defaults.items():
            group.setdefault(option, value)
        self.check_options(group)
        self.param_groups.append(group)

    def check_options(self, group: Group) -> None:
        """Raise ValueError if a group's options are out of range; subclasses look at others too."""
        at_least_zero(self._name(), group, *(n for n in self.not_negative if n != "betas"))
        if "betas" in self.not_negative:
            check_betas(self._name(), group)

    # -- gradients and steps ------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    values = param.grad._written_by("zero_grad")
                    do(np.ndarray.fill, values, 0, writes=(values,))

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in vars(cls):
            cls.step = _hooked(cls.step)  # type: ignore[method-assign]

    def _observed(self, step: StepHook, args: Args, kwargs: Group) -> object:
        """``step``, of which those who watch are told, and of the closure that it calls."""
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is not None:
            told = functools.partial(observe, "closure", "closure", closure, (), {})
            args, kwargs = (args[0], told, *args[2:]), {**kwargs}
            kwargs.pop("closure", None)
        return observe("step", f"{self._name()}.step", step, args, kwargs)

    def register_step_pre_hook(self, hook: StepHook) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before every step.

        It returns None, or ``(args, kwargs)`` for the step to get; ``args[0]`` is the optimiser.
        """
        return add_hook(self._before, hook)

    def register_step_post_hook(self, hook: StepHook) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after every step."""
        return add_hook(self._after, hook)

    @_hooked
    def step(self, closure: Closure | None = None) -> Any:
        """Change every parameter that has a gradient.

        ``closure``, if given, computes the loss and the gradients first; its result is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        again(self._advance)
        return loss

    def _advance(self) -> PreparedStep | None:
        self.step_count += 1
        launched = self._update_all()
        return PreparedStep(self, launched) if launched and taping else None

    @ignore_fp_errors  # as every operation: a run that diverges shows it
    def _update_all(self) -> list[Launched] | None:
        """Change all parameters; return the launches that did it, if nothing else was needed."""
        by = f"{self._name()}.step"
        launches: list[Launched] | None = []
        for group in self.param_groups:
            given = [(p, p._grad._array) for p in group["params"] if p._grad is not None]
            arrays = written_by([p for p, _ in given], by)
            real = "c" not in {a.dtype.kind for a in arrays}
            launched = step_together(self, given, arrays, group, by) if real else None
            if launched is not None:
                if launches is not None:
                    launches.append(launched)
                continue
            if given:
                launches = None
            for param, grad in given:
                if real:
                    self.update(param, grad, self.state[param], group)
                else:
                    self._update_parts(param, grad, group)
        return launches

    def _update_parts(self, param: Tensor, grad: Array, group: Group) -> None:
        """`update`, of a complex parameter with its real and imaginary parts as numbers apart."""
        held = self.state[param]
        if param._array.dtype.kind != "c":
            return self.update(param, grad, held, group)
        parts = view_as_real(param.detach())
        split = {name: view_as_real(x) if _is_complex(x) else x for name, x in held.items()}
        pairs = np.ascontiguousarray(grad).view(parts._array.dtype).reshape(parts.shape)
        self.update(parts, pairs, split, group)
        for name, x in split.items():
            if not _is_complex(held.get(name)):
                whole = isinstance(x, Tensor) and x.ndim and x.shape == parts.shape
                held[name] = view_as_complex(x) if whole else x

    def form(self, group: Group) -> Form | None:
        """How one kernel does as `update` for all parameters of a group; None if there is none."""
        return None

    def numbers(self, group: Group, step: float, first: bool) -> Sequence[float]:
        """The numbers of the formula, for the ``step``th step; ``first`` if its state is new."""
        raise NotImplementedError(f"{self._name()}: define `numbers`, as there is a `form`")

    def update(self, param: Tensor, grad: Array, state: State, group: Group) -> None:
        """Change ``param.array`` in place, given its gradient, its state and its group's options.

        ``grad`` must not be changed.
        """
        raise NotImplementedError(f"{self._name()}: define `update` or `step`")

    # -- state --------------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """Return state and options in PyTorch's layout, parameters numbered in order.

        ``{"state": {number: {name: tensor}}, "param_groups": [{..., "params": [number, ...]}]}``;
        the tensors are the live ones.

        >>> from tinygrad_cnn import nn, optim
        >>> sgd = optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1)
        >>> sgd.state_dict()["param_groups"][0]["params"]
        [0, 1]
        """
        for before in self._before_saving.values():
            before(self)
        number: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                number[id(param)] = len(number)
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [number[id(param)] for param in group["params"]]
            groups.append(packed)
        state = {number[id(param)]: dict(held) for param, held in self.state.items() if held}
        saved: StateDict = {"state": dict(sorted(state.items())), "param_groups": groups}
        for after in self._after_saving.values():
            given = after(self, saved)
            saved = saved if given is None else given
        return saved

    def load_state_dict(self, state_dict: GivenState) -> None:
        """Take over copies of the state and options that `state_dict` returned.

        Tensors may come as arrays, and numbers of parameters as strings (as JSON has them).
        Nothing is changed if anything is wrong.

        Raises
        ------
        ValueError
            Groups or parameters differ in number, or state has another shape than its parameter.
        """
        me = self._name()
        for before in self._before_loading.values():
            given = before(self, dict(state_dict))
            state_dict = state_dict if given is None else given
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= {*state_dict}:
            keys = (
                sorted(state_dict) if isinstance(state_dict, Mapping) else type(state_dict).__name__
            )
            raise ArgumentError(
                f"{me}.load_state_dict: `state_dict` has {keys}, expected what {me}.state_dict() "
                "returns, a dict with 'state' and 'param_groups'"
            )
        saved = list(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ArgumentError(
                f"{me}.load_state_dict: {len(saved)} groups in the state but "
                f"{len(self.param_groups)} in the optimiser"
            )
        by_number: dict[int, Tensor] = {}
        groups = []
        for i, (old, new) in enumerate(zip(saved, self.param_groups, strict=True)):
            if len(old["params"]) != len(new["params"]):
                raise ArgumentError(
                    f"{me}.load_state_dict: group {i} has {len(old['params'])} parameters in the "
                    f"state but {len(new['params'])} in the optimiser"
                )
            by_number.update(zip(map(int, old["params"]), new["params"], strict=True))
            # What an older file does not say stays; names are those of the parameters here.
            group = {key: new[key] for key in self.defaults if key in new}
            for key, value in old.items():
                value = tuple(value) if isinstance(new.get(key), tuple) else value  # JSON has none
                group[key] = copy.deepcopy(value)
            group.pop("params")
            group.pop("param_names", None)
            if "param_names" in new:
                group["param_names"] = new["param_names"]
            groups.append({"params": new["params"], **group})
        state: defaultdict[Tensor, State] = defaultdict(dict)
        wrong = []
        for key, held in state_dict["state"].items():
            param = by_number.get(int(key))
            if param is None:
                wrong.append(f"parameter {key} is in no group")
                continue
            for name, value in held.items():
                loaded = _copied(name, value, param)
                state[param][name] = loaded
                if name in self.other_shapes or not isinstance(loaded, Tensor):
                    continue
                if loaded.ndim and loaded.shape != param.shape:
                    wrong.append(
                        f"{name} of parameter {key} has shape {loaded.shape} but {param.shape} is "
                        f"expected"
                    )
        if wrong:
            raise ArgumentError(
                f"{me}.load_state_dict: the state does not fit; nothing was loaded:\n  "
                + "\n  ".join(wrong)
            )
        self.param_groups = groups
        self.state = state
        for after in self._after_loading.values():
            after(self)

    def register_state_dict_pre_hook(self, hook: AnyHook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before every `state_dict`; ``prepend`` puts it first."""
        return add_hook(self._before_saving, hook, first=prepend)

    def register_state_dict_post_hook(
        self, hook: AnyHook, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` after `state_dict`, which returns what it does.

        None stands for ``state_dict``, which it may have changed.
        """
        return add_hook(self._after_saving, hook, first=prepend)

    def register_load_state_dict_pre_hook(
        self, hook: AnyHook, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before `load_state_dict`; what it returns is loaded.

        It gets a shallow copy; None stands for the one that was given.
        """
        return add_hook(self._before_loading, hook, first=prepend)

    def register_load_state_dict_post_hook(
        self, hook: AnyHook, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer)`` after every `load_state_dict`."""
        return add_hook(self._after_loading, hook, first=prepend)


def _is_complex(x: object) -> bool:
    return isinstance(x, Tensor) and x.dtype.kind == "c"


def _require_order(name: str, params: object) -> None:
    if isinstance(params, set | frozenset):
        raise DtypeError(
            f"{name}: `params` is a set, whose order changes from run to run; use a list"
        )
    if not isinstance(params, Iterable):
        raise DtypeError(
            f"{name}: `params` is {params!r}, expected an iterable of tensors or dicts"
        )


def _split_names(name: str, params: list[Any]) -> tuple[list[Any], list[str]]:
    if not all(isinstance(p, tuple) and len(p) == 2 for p in params):
        raise DtypeError(f"{name}: named and unnamed parameters are mixed in one group")
    return [param for _, param in params], [str(label) for label, _ in params]


def _copied(name: str, value: object, param: Tensor) -> object:
    """State to be kept: tensors and arrays are copied, in the parameter's dtype."""
    if isinstance(value, Tensor):
        value = value._array
    if name == "step" and isinstance(value, int | float):  # as PyTorch had it up to 1.11
        value = np.asarray(value, new_step().dtype)
    if not isinstance(value, np.ndarray | np.generic):
        return copy.deepcopy(value)
    array = np.asarray(value)
    keep = name == "step" or array.dtype.kind not in FLOATING or param.dtype.kind == "c"
    return from_numpy(np.array(array, dtype=array.dtype if keep else param.dtype, order="C"))
