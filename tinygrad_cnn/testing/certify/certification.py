"""`certify`: everything that is asked of an operation, in one call."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.gradcheck.compare import CANNOT_DECIDE, FAIL, PASS
from tinygrad_cnn.autograd.registry import REGISTRY
from tinygrad_cnn.autograd.samples import ErrorSample, Sample
from tinygrad_cnn.testing.certify.certificate import Certificate, Certificates, Result
from tinygrad_cnn.testing.certify.checks import CHECKS, Check
from tinygrad_cnn.testing.certify.derivative_checks import first_order
from tinygrad_cnn.testing.certify.fixed_checks import check_conventions, check_errors
from tinygrad_cnn.testing.certify.running import NOT_APPLICABLE, Wrong
from tinygrad_cnn.testing.certify.subject import Subject, as_sample, subject_of
from tinygrad_cnn.testing.draws import EdgeDraw, GeneratorDraw, HypothesisDraw
from tinygrad_cnn.testing.types import AnyCallable

_EDGES = Check(
    "0-d and empty", "arrays without axes and with a side of 0, where allowed", first_order
)
# checks that draw nothing: name, what it proves, function
_FIXED: tuple[tuple[str, str, Callable[[Subject], tuple[str, int]]], ...] = (
    (
        "conventions",
        "gradients at kinks and limits are PyTorch's, as written down",
        check_conventions,
    ),
    (
        "errors",
        "arguments that must be refused are, with the message that is promised",
        check_errors,
    ),
)
CHECK_NAMES = (*(c.name for c in CHECKS), _EDGES.name, *(name for name, _, _ in _FIXED))
_EDGE_CASES = tuple((kind, seed) for kind in ("0-d", "empty") for seed in range(3))


_SHRINKING = 40  # how many smaller samples are tried after a failure


class _Found(Exception):
    """A failing sample, for Hypothesis to shrink."""


class _Enough(BaseException):
    """It has been shrunk for long enough."""


def certify(
    operation: Any,
    *,
    samples: AnyCallable | Iterable[Any] | None = None,
    oracle: AnyCallable | None = None,
    errors: Sequence[ErrorSample] | None = None,
    broadcasts: bool | None = None,
    view: bool | None = None,
    name: str | None = None,
    checks: Sequence[str] | None = None,
    examples: int = 40,
    seed: int | None = None,
) -> Certificate:
    """Run everything that is asked of the framework's operations on ``operation``.

    A failing sample is shrunk to the smallest that still fails, and its certificate's finding
    holds source code that shows the failure again.

    Parameters
    ----------
    operation
        The name of a registered operation, an `Op`, an `autograd.Function`, or any function of
        tensors that returns one tensor.
    samples
        ``samples(draw)`` returns valid arguments: a `Sample`, a tuple of them or one array; or a
        list of such. Default: the operation's own.
    oracle
        The operation on arrays, written in another way.
    errors
        Arguments that must be refused. Default: the operation's own.
    broadcasts
        Whether gradients are to be summed back to inputs that were broadcast.
    view
        Whether the result may share the first argument's memory.
    checks
        Names of the checks to run; default all of `CHECK_NAMES`.
    examples
        How many samples are drawn.
    seed
        Another sequence of samples; default: always the same one. For a list of samples, the seed
        of the random cotangents.

    Raises
    ------
    ImportError
        Hypothesis is not installed, and ``samples`` is not a list.
    ValueError
        The operation has no samples, or a check's name is unknown.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn.testing import certify
    >>> certificate = certify("mul", examples=5)
    >>> certificate.certified
    True
    >>> certificate["adjoint"].verdict  # it is linear in each argument
    'pass'
    >>> certify(lambda x: x * x.detach(), samples=lambda draw: draw.array((2,))).certified
    False
    """
    subject = subject_of(
        operation,
        samples=samples,
        errors=errors,
        oracle=oracle,
        broadcasts=broadcasts,
        view=view,
        name=name,
    )
    for n in checks or ():
        if n not in CHECK_NAMES:
            raise ValueError(
                f"certify: no check is called {n!r}; there are {', '.join(CHECK_NAMES)}"
            )
    wanted = CHECK_NAMES if checks is None else checks
    chosen = [c for c in CHECKS if c.name in wanted]
    if callable(subject.samples):
        results = _search(subject, chosen, examples, seed)
    else:
        results = [_over(subject, c, [(s, seed or 0) for s in subject.samples]) for c in chosen]
    if _EDGES.name in wanted:
        results.append(_over(subject, _EDGES, list(_edge_samples(subject))))
    results += [_fixed(subject, *f) for f in _FIXED if f[0] in wanted]
    return Certificate(subject.name, tuple(results))


def certify_all(
    names: Sequence[str] = (), *, examples: int = 40, seed: int | None = None
) -> Certificates:
    """The certificates of the registered operations ``names`` (default: of all of them)."""
    return Certificates(
        [certify(n, examples=examples, seed=seed) for n in names or sorted(REGISTRY)]
    )


def first_failure(operation: Any, *, examples: int = 80) -> str | None:
    """The first check that ``operation`` fails, with the reason, or None.

    Quicker than `certify`: samples come from a NumPy generator, nothing is shrunk, and the first
    failure ends it.
    """
    subject = replace(subject_of(operation), locate=False)
    assert callable(subject.samples)
    drawn = ((as_sample(subject.samples(GeneratorDraw(k))), k) for k in range(examples))
    for sample, k in drawn:
        for check in CHECKS:
            verdict, reason = _attempt(subject, check, sample, k)
            if verdict == FAIL:
                return f"{check.name}: {reason}"
    for sample, k in _edge_samples(subject):
        verdict, reason = _attempt(subject, _EDGES, sample, k)
        if verdict == FAIL:
            return f"{_EDGES.name}: {reason}"
    for fixed in _FIXED:
        result = _fixed(subject, *fixed)
        if result.verdict == FAIL:
            return f"{result.check}: {result.reason}"
    return None


# ---- running checks ------------------------------------------------------------------------


def _attempt(subject: Subject, check: Check, sample: Sample, seed: int) -> tuple[str, str]:
    """The verdict of one check on one sample, and the reason for a failure."""
    try:
        with np.errstate(all="ignore"):
            return check.run(subject, sample, seed), ""
    except Wrong as wrong:
        return FAIL, str(wrong)
    except Exception as error:  # whatever an operation raises on a valid sample is a finding
        return FAIL, f"{type(error).__name__}: {error}"


def _result(check: Check, counts: Counter[str], reason: str = "", source: str = "") -> Result:
    decided, undecided = counts[PASS] + counts[FAIL], counts[CANNOT_DECIDE]
    verdict = FAIL if counts[FAIL] else PASS
    if not counts[FAIL] and undecided > decided:
        verdict = CANNOT_DECIDE
    elif not decided or (check.name == "adjoint" and counts[NOT_APPLICABLE]):
        verdict = NOT_APPLICABLE  # what is linear on some samples only is so by chance
    return Result(check.name, check.proves, verdict, decided, undecided, reason, source)


def _over(subject: Subject, check: Check, samples: list[tuple[Sample, int]]) -> Result:
    """A check over given samples, up to the first failure."""
    counts: Counter[str] = Counter()
    for sample, seed in samples:
        verdict, reason = _attempt(subject, check, sample, seed)
        counts[verdict] += 1
        if verdict == FAIL:
            # the check named in the source is the one that this one runs
            name = "first order" if check is _EDGES else check.name
            return _result(check, counts, reason, subject.reproduction(name, sample, seed))
    return _result(check, counts)


def _edge_samples(subject: Subject) -> Iterable[tuple[Sample, int]]:
    """Samples of shape () and with a side of 0, as far as the operation's samples allow them."""
    if not callable(subject.samples):
        return
    for kind, seed in _EDGE_CASES:
        draw = EdgeDraw(GeneratorDraw(seed), kind)
        sample = as_sample(subject.samples(draw))
        if draw.met:
            yield sample, seed


def _fixed(
    subject: Subject, name: str, proves: str, run: Callable[[Subject], tuple[str, int]]
) -> Result:
    try:
        with np.errstate(all="ignore"):
            verdict, n = run(subject)
        return Result(name, proves, verdict, n)
    except Exception as error:  # whatever it is, it is a finding
        reason = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
        return Result(name, proves, FAIL, 1, reason=reason)


def _search(
    subject: Subject, checks: Sequence[Check], examples: int, seed: int | None
) -> list[Result]:
    """All checks over drawn samples. One that fails is shrunk and left out of the next round."""
    failed: dict[str, tuple[Sample, int, str]] = {}
    while True:
        running = [c for c in checks if c.name not in failed]
        counts = {c.name: Counter[str]() for c in running}
        found = _round(replace(subject, locate=False), running, counts, examples, seed)
        if found is None:
            break
        failed[found[0]] = found[1:]
    results = []
    for check in checks:
        if check.name not in failed:
            results.append(_result(check, counts[check.name]))
            continue
        sample, number, reason = failed[check.name]
        verdict, located = _attempt(subject, check, sample, number)
        reason = located if verdict == FAIL else reason
        source = subject.reproduction(check.name, sample, number)
        results.append(_result(check, Counter({FAIL: 1}), reason, source))
    return results


def _round(
    subject: Subject,
    running: Sequence[Check],
    counts: dict[str, Counter[str]],
    examples: int,
    seed: int | None,
) -> tuple[str, Sample, int, str] | None:
    """One search: the smallest sample that fails the first check seen to fail, or None."""
    try:
        import hypothesis
        from hypothesis import HealthCheck, Phase, strategies
        from hypothesis.errors import Flaky
    except ImportError as error:
        raise ImportError(
            "certify draws samples with Hypothesis: pip install hypothesis"
        ) from error
    focus: list[Check] = []
    smallest: list[tuple[str, Sample, int, str]] = []
    smaller = 0

    def every_check(data: Any) -> None:
        nonlocal smaller
        draw = HypothesisDraw(data)
        assert callable(subject.samples)
        sample = as_sample(subject.samples(draw))
        number = draw.integer(0, 255)
        smaller += bool(focus)
        if smaller > _SHRINKING:
            raise _Enough
        for check in focus or running:
            verdict, reason = _attempt(subject, check, sample, number)
            if verdict == FAIL:
                focus[:] = [check]  # while it is shrunk, no other failure counts
                smallest[:] = [(check.name, sample, number, reason)]
                raise _Found
            if not focus:
                counts[check.name][verdict] += 1

    search = hypothesis.given(strategies.data())(every_check)
    search = hypothesis.settings(
        max_examples=examples,
        derandomize=seed is None,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],  # nobody reads an explanation, which takes longer
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )(search)
    if seed is not None:
        search = hypothesis.seed(seed)(search)
    try:
        with _no_litter():
            search()
    except (_Found, _Enough):
        return smallest[0]
    except Flaky:  # the operation gives other results from run to run
        if not smallest:
            raise
        return smallest[0]
    return None


@contextlib.contextmanager
def _no_litter() -> Iterator[None]:
    """Keep Hypothesis, which has nothing to remember here, from making a folder to do so."""
    from hypothesis import configuration

    place: Any = configuration.storage_directory()
    before = getattr(place, "path", place)  # older versions return the path itself
    with tempfile.TemporaryDirectory() as folder:
        configuration.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(before)
