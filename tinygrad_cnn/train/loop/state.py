"""The state of a `Trainer` between two batches, as a `Checkpoint`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.ops.random import default_generator
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.loop.callbacks import Callback, best_epoch
from tinygrad_cnn.train.run.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tinygrad_cnn.train.loop.trainer import Trainer

_SUMS = "images", "loss_sum", "batches"
_MALFORMED = ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError


def snapshot(trainer: Trainer) -> Checkpoint:
    """What `Trainer.snapshot` returns."""
    model = trainer.model.state_dict()
    for name, tensor in model.items():
        floating = isinstance(tensor, Tensor) and tensor.is_floating_point()
        if floating and not np.isfinite(tensor._array).all():
            raise TrainError(f"epoch {len(trainer.history) + 1}: {name} is no longer finite")
    return Checkpoint(
        model=model,
        optimizer=trainer.optimizer.state_dict(),
        scheduler=trainer.scheduler.state_dict() if trainer.scheduler is not None else None,
        generators={"default": default_generator.get_state()},
        history=trainer.history,
        best_epoch=best_epoch(trainer.history, trainer.chosen_by),
        average=trainer.average.state_dict() if trainer.average is not None else None,
        seed=trainer.seed,
        steps=trainer.step.taken,
        batch=trainer.batch,
        partial={
            **{name: getattr(trainer.totals, name) for name in _SUMS},
            "metrics": trainer.totals.counted(),
            "seconds": trainer.seconds,
            "waited": trainer.waited,
        },
        callbacks={n: state for n, c in _named(trainer) if (state := c.state_dict())},
    )


def _named(trainer: Trainer) -> Iterator[tuple[str, Callback]]:
    """The callbacks by their class and their number among those of one class."""
    seen: Counter[str] = Counter()
    for callback in trainer.callbacks:
        name = type(callback).__qualname__
        yield f"{name} {seen[name]}", callback
        seen[name] += 1


def restore(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """What `Trainer.restore` does."""
    try:
        trainer.model.load_state_dict(checkpoint.model)
        trainer.optimizer.load_state_dict(checkpoint.optimizer)
        if trainer.scheduler is not None:
            trainer.scheduler.load_state_dict(checkpoint.scheduler)
        if trainer.average is not None:
            trainer.average.load_state_dict(checkpoint.average or {})
        for name, callback in _named(trainer):
            if name in checkpoint.callbacks:
                callback.load_state_dict(checkpoint.callbacks[name])
        default_generator.set_state(checkpoint.generators["default"])
        partial = dict(checkpoint.partial)
        trainer.seconds, trainer.waited = partial.pop("seconds", 0.0), partial.pop("waited", 0.0)
        trainer.totals = trainer.no_totals()
        for name in _SUMS:
            setattr(trainer.totals, name, partial.get(name, 0))
        trainer.totals.recount(partial.get("metrics", {}))
    except _MALFORMED as error:
        message = " ".join(str(error).split())[:500]
        raise TrainError(f"the checkpoint does not fit: {message}") from error
    trainer.history, trainer.seed = list(checkpoint.history), checkpoint.seed
    trainer.step.taken, trainer.batch = checkpoint.steps, checkpoint.batch
