"""The places where a profiler listens: functions that are replaced while one is open.

While none is, they are the engine's own, which therefore has no branch to take and nothing to ask.
A replacement serves every thread: in one without a session it calls the original.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tinygrad_cnn.autograd import backward as walk
from tinygrad_cnn.autograd import function
from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.nn.module.hooks import CallMixin
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.profiler.session import here

_lock = threading.Lock()
_users = 0
_replaced: list[tuple[Any, str, Any]] = []


def install() -> None:
    """Start to listen; as many calls of `remove` end it."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _replace(Op, "__call__", _operation)
            _replace(Op, "pullback", _pullback)
            _replace(function.Function, "apply", _function)
            _replace(function._FunctionDerivative, "pullback", _pullback)
            _replace(walk, "_walk", _walk)
            _replace(CallMixin, "__call__", _module)
            for kind in _with_subclasses(Optimizer):
                if "step" in vars(kind):
                    _replace(kind, "step", _step)


def remove() -> None:
    """Put the originals back if nobody else listens."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            while _replaced:
                owner, name, original = _replaced.pop()
                setattr(owner, name, original)


def _replace(owner: Any, name: str, listening: Callable[[Any], Any]) -> None:
    original = vars(owner)[name]
    _replaced.append((owner, name, original))
    setattr(owner, name, listening(original))


def _with_subclasses(kind: type[Any]) -> list[type[Any]]:
    return [kind, *(s for k in kind.__subclasses__() for s in _with_subclasses(k))]


def _operation(run: Any) -> Any:
    def call(self: Any, *args: Any, **params: Any) -> Any:
        session = here.session
        if session is None:
            return run(self, *args, **params)
        return session.operation(run, self, args, params)

    return call


def _pullback(run: Any) -> Any:
    def pullback(self: Any, node: Any, g: Any, wanted: Any, recording: bool) -> Any:
        session = here.session
        if session is None:
            return run(self, node, g, wanted, recording)
        return session.pullback(run, self, node, g, wanted, recording)

    return pullback


def _function(run: Any) -> Any:
    def apply(cls: Any, *args: Any) -> Any:
        session = here.session
        bound = run.__get__(None, cls)
        if session is None:
            return bound(*args)
        return session.function(bound, cls, args)

    return classmethod(apply)


def _walk(run: Any) -> Any:
    def walked(*args: Any, **kwargs: Any) -> Any:
        session = here.session
        if session is None:
            return run(*args, **kwargs)
        return session.within("reverse walk", "walk", "backward", run, *args, **kwargs)

    return walked


def _module(run: Any) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        session = here.session
        if session is None:
            return run(self, *args, **kwargs)
        return session.module(run, self, args, kwargs)

    return call


def _step(run: Any) -> Any:
    def step(self: Any, closure: Any = None, *args: Any, **kwargs: Any) -> Any:
        session = here.session
        if session is None:
            return run(self, closure, *args, **kwargs)

        def loss() -> Any:
            return session.within("closure", "closure", "forward", closure)

        given = None if closure is None else loss
        name = f"{type(self).__name__}.step"
        return session.within(name, "optimizer", "optimizer", run, self, given, *args, **kwargs)

    return step
