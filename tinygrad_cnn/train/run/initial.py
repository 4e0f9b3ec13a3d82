"""What a run begins with: weights from another one, and parameters that stay as they are."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tinygrad_cnn.nn import Module
from tinygrad_cnn.serialization import SerializationError, load_state
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.train.errors import TrainError
from tinygrad_cnn.train.run.folder import RunFolder


def start_from(model: Module, place: Path) -> str:
    """Give ``model`` the weights at ``place``, a run's folder or a file, as far as they fit.

    Returns in words which do not: a new head, for other classes, begins anew.

    Raises
    ------
    TrainError
        There are no weights, they are damaged, or none fits.
    """
    given, own = _weights(place), model.state_dict()
    taken = {name: there for name, there in given.items() if name in own and _fit(own[name], there)}
    if not taken:
        why = differences(model, given, most=3)
        raise TrainError(f"--init {place} has no weights for {type(model).__name__}; {why}")
    model.load_state_dict(taken, strict=False)
    start = f"Weights from {place}: {len(taken)} of {len(own)} tensors"
    anew = " (the others begin anew)" if len(taken) < len(own) else ""
    return "; ".join(filter(None, [start + anew, differences(model, given)]))


def differences(model: Module, given: Mapping[str, object], *, most: int = 10**6) -> str:
    """In words, which tensors of ``given`` and of the state of ``model`` are not for one another.

    At most so many names of each kind stand there, with the number of the others.

    Examples
    --------
    >>> from tinygrad_cnn import nn
    >>> differences(nn.Linear(2, 2), nn.Linear(3, 2, bias=False).state_dict())
    'not there: bias; of another shape: weight 2×2, there 2×3'
    """
    own = model.state_dict()
    lists = {
        "not there": [name for name in own if name not in given],
        "of another shape": [
            f"{name} {_shape(own[name])}, there {_shape(there)}"
            for name, there in given.items()
            if name in own and not _fit(own[name], there)
        ],
        "of no use here": [name for name in given if name not in own],
    }
    return "; ".join(f"{what}: {few(names, most)}" for what, names in lists.items() if names)


def few(names: Sequence[str], most: int) -> str:
    """The first names, and how many others there are.

    Examples
    --------
    >>> few(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more} more"


def _fit(here: object, there: object) -> bool:
    if isinstance(here, Tensor) and isinstance(there, Tensor):
        return here.shape == there.shape
    return True


def freeze(model: Module, patterns: str) -> str:
    """Have the parameters whose names match one of ``patterns`` (a,b,…) stay as they are.

    Patterns are those of file names (`fnmatch`): ``features.*``. Running statistics of batch
    normalisation are none of parameters, and go on in training as in PyTorch.

    Raises
    ------
    TrainError
        A pattern matches nothing.

    Examples
    --------
    >>> from tinygrad_cnn import nn
    >>> freeze(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "0.*")
    'Frozen: 2 of 4 parameters (0.weight, 0.bias)'
    """
    named = dict(model.named_parameters())
    frozen: dict[str, None] = {}
    for pattern in patterns.split(","):
        found = [name for name in named if fnmatchcase(name, pattern.strip())]
        if not found:
            raise TrainError(
                f"--freeze {pattern.strip()!r} matches no parameter of {type(model).__name__}: "
                f"{few(list(named), 12)}"
            )
        frozen.update(dict.fromkeys(found))
    if len(frozen) == len(named):
        raise TrainError(f"--freeze {patterns!r} leaves no parameter to train")
    for name in frozen:
        named[name].requires_grad_(False)
    return f"Frozen: {len(frozen)} of {len(named)} parameters ({', '.join(frozen)})"


def _weights(place: Path) -> dict[str, Tensor]:
    if place.is_dir():
        return RunFolder(place).read_model()
    try:
        return load_state(place)
    except FileNotFoundError:
        raise TrainError(f"--init {place}: there is no such run or file") from None
    except SerializationError as error:
        raise TrainError(str(error).removeprefix("load: ")) from error


def _shape(tensor: object) -> str:
    return "×".join(map(str, getattr(tensor, "shape", ()))) or "one number"
