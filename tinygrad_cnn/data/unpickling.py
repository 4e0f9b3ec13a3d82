"""Read the pickles of CIFAR-10's python version without trusting them."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.unpickling import MALFORMED, Budget, Machine, NumPy, check_plain, python_names


def load_trusting_nothing(data: bytes) -> dict[bytes, object]:
    """Return the dictionary pickled in ``data``, by Python 2 or 3; its keys are bytes.

    Allowed are numbers, bytes, text, None, lists, tuples, dictionaries and uint8 arrays. Any class
    or function is refused by name before it is even looked up, and so is any other opcode.

    Raises
    ------
    ValueError
        something was refused, or the data are not such a pickle.

    Examples
    --------
    >>> import pickle
    >>> load_trusting_nothing(pickle.dumps({b"labels": [3, 1]}, protocol=2))
    {b'labels': [3, 1]}
    >>> load_trusting_nothing(pickle.dumps(print))
    Traceback (most recent call last):
    ValueError: refused `builtins.print`
    """
    arrays = NumPy(Budget(len(data)), ("u1",))
    encode = python_names(Budget(len(data)))["_codecs", "encode"]
    try:
        value = Machine({**arrays.known, ("_codecs", "encode"): encode}, arrays.builds).run(data)
        if not isinstance(value, dict):
            raise ValueError(f"holds a {type(value).__name__}, not a dictionary")
        check_plain(value, np.ndarray)
    except MALFORMED as error:
        raise ValueError(str(error) or type(error).__name__) from error
    keys = [key.encode() if isinstance(key, str) else key for key in value]
    return dict(zip(keys, value.values(), strict=True))
