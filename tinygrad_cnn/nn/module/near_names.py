"""What a state whose names do not fit may have been meant for, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

_MOST = 30  # names for which others that are near are looked for
_NEAR = 0.6  # of 1, for the same name


def near_names(missing: Mapping[str, object], unexpected: Mapping[str, object]) -> dict[str, str]:
    """For missing names, by name, the unexpected one that is nearest among those of the same shape.

    Both are given with their shapes; None is that of what is no tensor. Each name is taken once.

    Examples
    --------
    >>> near_names({"fc.weight": (2, 3)}, {"head.weight": (2, 3), "fc.bias": (2,)})
    {'fc.weight': 'head.weight'}
    """
    left, found = dict(unexpected), {}
    for name in list(missing)[:_MOST]:
        alike = [other for other, shape in left.items() if shape == missing[name]]
        for nearest in get_close_matches(name, alike, n=1, cutoff=_NEAR):
            found[name] = nearest
            del left[nearest]
    return found


def prefix_hint(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """A line that says by which beginning all missing names differ; empty if there is none.

    Examples
    --------
    >>> prefix_hint(["fc.bias"], ["module.fc.bias", "other"])
    "all names are there behind 'module.': nn.modules.utils.consume_prefix_in_state_dict_if_present"
    >>> prefix_hint(["net.fc.bias"], ["fc.bias"])
    "all names are there without 'net.': load into `net`"
    """
    for other in unexpected if missing else ():
        prefix = other.removesuffix(missing[0])
        if prefix != other and {prefix + name for name in missing} <= {*unexpected}:
            return (
                f"all names are there behind {prefix!r}: "
                "nn.modules.utils.consume_prefix_in_state_dict_if_present"
            )
        prefix = missing[0].removesuffix(other)
        if prefix != missing[0] and {*missing} <= {prefix + name for name in unexpected}:
            return f"all names are there without {prefix!r}: load into `{prefix[:-1]}`"
    return ""


def inner_hint(state: Mapping[str, object], unexpected: Sequence[str]) -> str:
    """A line that says where in a checkpoint the state is; empty if there is none.

    Examples
    --------
    >>> inner_hint({"epoch": 1, "model": {"fc.bias": 0}}, ["epoch", "model"])
    "'model' holds names and values: is it the state?"
    """
    inner = [repr(name) for name in unexpected if isinstance(state.get(name), Mapping)]
    if not inner:
        return ""
    return f"{' and '.join(inner)} hold{'s' * (len(inner) == 1)} names and values: is it the state?"
