"""How every public function of `numpy`, `numpy.linalg` and `numpy.fft` stands to tensors.

What is served is said beside what serves it (`serving.serves`, `export`); here is the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.functions.numpy_protocol.serving import SERVED, numpys

_GROUPS = {
    "truth values": """
        all any allclose array_equal array_equiv isclose iscomplex isfinite in1d isin isinf isnan
        isnat isneginf isposinf isreal logical_and logical_not logical_or logical_xor signbit equal
        not_equal less less_equal greater greater_equal""",
    "integers": """
        argmax argmin argpartition argsort argwhere count_nonzero digitize flatnonzero lexsort
        nanargmax nanargmin nonzero searchsorted bitwise_and bitwise_count bitwise_invert
        bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor gcd invert lcm
        left_shift right_shift packbits unpackbits ravel_multi_index unravel_index
        linalg.matrix_rank diag_indices_from tril_indices_from triu_indices_from ix_""",
    "Python's objects": """
        array2string array_repr array_str can_cast common_type iscomplexobj isrealobj
        may_share_memory min_scalar_type ndim result_type shape shares_memory size einsum_path""",
    "nothing: they write files": "save savetxt savez savez_compressed",
    "dates and texts, which tensors are not": """
        busday_count busday_offset datetime_as_string is_busday""",
}
CONSTANT: dict[Any, str] = {
    theirs: kind
    for kind, names in _GROUPS.items()
    for name in names.split()
    if (theirs := numpys(name)) is not None
}
"""What has no derivative, with what it returns; it takes tensors that require gradients too."""

_IN_PLACE = "{} changes an array in place: use {}"
REFUSED: dict[Any, str] = {
    theirs: why
    for name, why in {
        "copyto": _IN_PLACE.format("np.copyto", "dst.copy_(src), or dst[where] = src"),
        "fill_diagonal": _IN_PLACE.format("np.fill_diagonal", "a.fill_diagonal_(value)"),
        "place": _IN_PLACE.format("np.place", "arr.masked_scatter_(mask, values)"),
        "put": _IN_PLACE.format("np.put", "a.put_(indices, values)"),
        "put_along_axis": _IN_PLACE.format("np.put_along_axis", "arr.scatter_(axis, index, src)"),
        "putmask": _IN_PLACE.format("np.putmask", "a[mask] = values"),
        "polyfit": "np.polyfit has no derivative here: use np.linalg.lstsq(np.vander(x, n), y)",
        "roots": "np.roots has no derivative here: use np.linalg.eigvals of the companion matrix",
        **{
            name: f"np.{name} has no derivative here: pass detach(), and detach() of the weights"
            for name in ("histogram", "histogram2d", "histogramdd", "histogram_bin_edges")
        },
        "heaviside": "np.heaviside has no derivative here: use np.where(x > 0, 1.0, 0.0)",
        "spacing": "np.spacing has no derivative here: pass detach() to compute without gradients",
        "nextafter": "np.nextafter has no derivative here: pass detach() of its arguments",
    }.items()
    if (theirs := numpys(name)) is not None
}
"""What is refused, with what to use instead; those that change
nothing in place only where gradients are wanted."""

_IN_PLACE_ONES = frozenset(g for g, why in REFUSED.items() if "in place" in why)

_PLAIN = {
    "an array is made, by its meaning; of a tensor that requires gradients a TypeError": """
        array asanyarray asarray ascontiguousarray asfortranarray asmatrix bmat require from_dlpack
        frombuffer fromiter full asarray_chkfinite""",
    "it takes no arrays": """
        arange bartlett base_repr binary_repr blackman broadcast_shapes datetime_data diag_indices
        empty eye fft.fftfreq fft.rfftfreq fft.test linalg.test
        format_float_positional format_float_scientific fromfile fromfunction fromregex fromstring
        frompyfunc genfromtxt get_include
        get_printoptions getbufsize geterr geterrcall hamming hanning identity indices info isdtype
        isfortran isscalar issubdtype iterable kaiser load loadtxt mask_indices mintypecode
        nested_iters ones printoptions promote_types set_printoptions setbufsize seterr seterrcall
        show_config show_runtime test tri tril_indices triu_indices typename zeros""",
    "it calls `numpy.vstack`, which is served": "row_stack",
    "it calls `numpy.trapezoid`, which is served": "trapz",
}
PLAIN: dict[Any, str] = {
    theirs: kind
    for kind, names in _PLAIN.items()
    for name in names.split()
    if (theirs := numpys(name)) is not None
}
"""What NumPy does not offer to tensors: they come to it, if at all, as arrays."""


def sort_of(theirs: Any) -> tuple[str, str]:
    """How a function of NumPy's stands to tensors: a word, and what there is to say.

    Raises
    ------
    KeyError
        Nobody has said.
    """
    if theirs in CONSTANT:
        return "no derivative", CONSTANT[theirs]
    if theirs in REFUSED:
        return "refused", REFUSED[theirs]
    if theirs in PLAIN:
        return "not offered", PLAIN[theirs]
    if theirs in SERVED:
        return "served", "a tensor, or several, with gradients"
    raise KeyError(getattr(theirs, "__name__", theirs))


def is_refused(theirs: Any, wants_gradient: bool) -> bool:
    """Whether there is nothing but an error."""
    return theirs in REFUSED and (wants_gradient or theirs in _IN_PLACE_ONES)


def public() -> dict[str, Any]:
    """Every public function of the three modules, by its name, such as ``"linalg.norm"``."""
    return {
        prefix + name: found
        for prefix, module in (("", np), ("linalg.", np.linalg), ("fft.", np.fft))
        for name in dir(module)
        if not name.startswith("_") and callable(found := getattr(module, name))
        and not isinstance(found, type)
    }  # fmt: skip
