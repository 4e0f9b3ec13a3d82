"""Errors that two kinds of ``except`` clauses catch: Python's habit's and PyTorch's.

Python's habit is ``ValueError`` for a value that does not fit, ``TypeError`` for a dtype, and
``IndexError`` for a place that does not exist; PyTorch mostly raises ``RuntimeError`` for all
three. A class that is both lets code that was ported keep its ``except`` clauses.

>>> import tinygrad_cnn as tg
>>> try:
...     tg.ones(2, 3) @ tg.ones(2, 3)
... except RuntimeError as error:
...     print(type(error).__name__, isinstance(error, ValueError))
ShapeError True
"""


class ArgumentError(ValueError, RuntimeError):
    """An argument has a value that the operation cannot work with."""


class ShapeError(ArgumentError):
    """Shapes do not fit the operation, or one another."""


class DtypeError(TypeError, RuntimeError):
    """A dtype, or the type of an argument, does not fit the operation."""


class PositionError(IndexError, RuntimeError):
    """An index, or the number of an axis, lies outside the tensor."""


class AxisError(ShapeError, PositionError):
    """A tensor has too few axes for the operation."""


class DivisionError(ZeroDivisionError, RuntimeError):
    """An integer is divided by 0."""


class LinAlgError(ArgumentError):
    """A matrix has no inverse, or no factorization of the kind that is asked for."""
