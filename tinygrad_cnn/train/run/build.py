"""From names to optimisers, over the parameters of a model."""

from tinygrad_cnn import optim
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.nn import Module
from tinygrad_cnn.optim import Optimizer
from tinygrad_cnn.train.errors import TrainError

OPTIMIZERS = ("sgd", "adam", "adamw", "lion")


def default_lr(optimizer: str) -> float:
    """A learning rate that trains the models of this repository well."""
    return {"sgd": 0.05, "lion": 0.0005}.get(optimizer, 0.003)


def make_optimizer(
    name: str,
    model: Module,
    *,
    lr: float | None = None,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> Optimizer:
    """The optimiser ``name`` over all parameters of ``model``; ``momentum`` is for sgd only.

    Raises
    ------
    TrainError
        The name is unknown.
    ValueError
        There is nothing to train.

    Examples
    --------
    >>> from tinygrad_cnn import nn
    >>> make_optimizer("lion", nn.Linear(2, 2)).param_groups[0]["lr"]
    0.0005
    """
    if name not in OPTIMIZERS:
        raise TrainError(f"unknown optimizer {name!r}; known: {', '.join(OPTIMIZERS)}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ArgumentError(f"{type(model).__name__} has no parameters to train")
    lr = default_lr(name) if lr is None else lr
    if name == "sgd":
        return optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)
    kind = {"adam": optim.Adam, "adamw": optim.AdamW, "lion": optim.Lion}[name]
    made: Optimizer = kind(parameters, lr=lr, weight_decay=weight_decay)
    return made
