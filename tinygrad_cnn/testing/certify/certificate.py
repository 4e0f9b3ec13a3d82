"""`Certificate`: what was found about one operation; `Certificates`: a table of many."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tinygrad_cnn.autograd.gradcheck.compare import CANNOT_DECIDE, FAIL, PASS, GradientError
from tinygrad_cnn.testing.certify.running import NOT_APPLICABLE

_MARKS = {PASS: "✓", FAIL: "✗", CANNOT_DECIDE: "?", NOT_APPLICABLE: NOT_APPLICABLE}


@dataclass(frozen=True)
class Result:
    """The outcome of one check over all samples.

    Attributes
    ----------
    verdict
        ``"pass"``, ``"fail"``, ``"cannot decide"`` (of more than half of the samples), or ``"–"``
        where it does not apply.
    decided, undecided
        On how many samples it came to a verdict, and on how many it could not.
    reason, reproduction
        What was wrong, and source code that shows it again.
    """

    check: str
    proves: str
    verdict: str
    decided: int = 0
    undecided: int = 0
    reason: str = ""
    reproduction: str = ""

    @property
    def samples(self) -> str:
        """How many samples it rests on."""
        if self.verdict == NOT_APPLICABLE:
            return ""
        return f"{self.decided}" + (f" (+ {self.undecided} undecided)" if self.undecided else "")


@dataclass(frozen=True)
class Certificate:
    """What `certify` found about one operation. Prints as a table; notebooks show it as one."""

    name: str
    results: tuple[Result, ...] = field(default=())

    @property
    def certified(self) -> bool:
        """Whether first derivatives were checked and no check failed or was left undecided."""
        verdicts = {r.check: r.verdict for r in self.results}
        return bool(verdicts) and not {FAIL, CANNOT_DECIDE}.intersection(verdicts.values())

    def __bool__(self) -> bool:
        return self.certified

    def __getitem__(self, check: str) -> Result:
        """The result of one check."""
        return next(r for r in self.results if r.check == check)

    def raise_unless_certified(self) -> Certificate:
        """Raise `GradientError` with everything that was found, or return the certificate."""
        if self.certified:
            return self
        found = [r for r in self.results if r.verdict in (FAIL, CANNOT_DECIDE)]
        raise GradientError("\n\n".join([f"`{self.name}` is not certified", *map(_finding, found)]))

    def __str__(self) -> str:
        head = f"{self.name}: {'certified' if self.certified else 'NOT CERTIFIED'}"
        width = max((len(r.check) for r in self.results), default=0)
        lines = [
            f"  {_MARKS[r.verdict]} {r.check:{width}}  {r.samples:>4}  {r.proves}".rstrip()
            for r in self.results
        ]
        found = [_finding(r) for r in self.results if r.verdict in (FAIL, CANNOT_DECIDE)]
        return "\n".join([head, *lines, *found])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{_MARKS[r.verdict]}</td><td>{html.escape(r.check)}</td>"
            f"<td>{html.escape(r.samples)}</td>"
            f"<td>{html.escape(r.proves)}"
            + (f"<pre>{html.escape(_finding(r))}</pre>" if r.reason else "")
            + "</td></tr>"
            for r in self.results
        )
        state = "certified" if self.certified else "NOT CERTIFIED"
        return (
            f"<table><caption><code>{html.escape(self.name)}</code>: {state}</caption>"
            f"<tr><th></th><th>check</th><th>samples</th><th>what it proves</th></tr>{rows}</table>"
        )


def _finding(result: Result) -> str:
    parts = [f"{result.check}: {result.verdict}", result.reason, result.reproduction]
    return "\n".join(p for p in parts if p)


class Certificates(Sequence[Certificate]):
    """Several certificates as one table: a row for each operation, a column for each check."""

    def __init__(self, certificates: Sequence[Certificate]) -> None:
        self._all = tuple(certificates)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, at):  # type: ignore[no-untyped-def]  # its overloads say nothing new
        return self._all[at]

    def __iter__(self) -> Iterator[Certificate]:
        return iter(self._all)

    @property
    def certified(self) -> bool:
        """Whether every operation is."""
        return all(self._all)

    def _columns(self) -> list[str]:
        return [r.check for r in self._all[0].results] if self._all else []

    def __str__(self) -> str:
        names = self._columns()
        width = max((len(c.name) for c in self._all), default=0)
        lines = [f"{i:>2} {n}" for i, n in enumerate(names, 1)]
        lines.append(f"{'':{width}}  " + " ".join(f"{i:>2}" for i in range(1, len(names) + 1)))
        for c in self._all:
            marks = " ".join(f" {_MARKS[r.verdict]}" for r in c.results)
            lines.append(f"{c.name:{width}}  {marks}  {'' if c else 'NOT CERTIFIED'}".rstrip())
        lines.append(f"{sum(map(bool, self._all))} of {len(self._all)} operations certified")
        lines += [
            f"\n{c.name}: {_finding(r)}"
            for c in self._all
            for r in c.results
            if r.verdict in (FAIL, CANNOT_DECIDE)
        ]
        return "\n".join(lines)

    def markdown(self) -> str:
        """The table in Markdown."""
        names = self._columns()
        head = f"| operation | {' | '.join(names)} |\n|---|{'---|' * len(names)}\n"
        return head + "\n".join(
            f"| `{c.name}` | {' | '.join(_MARKS[r.verdict] for r in c.results)} |"
            for c in self._all
        )

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(n)}</th>" for n in self._columns())
        rows = "".join(
            f"<tr><td><code>{html.escape(c.name)}</code></td>"
            + "".join(
                f'<td title="{html.escape(r.reason)}">{_MARKS[r.verdict]}</td>' for r in c.results
            )
            + "</tr>"
            for c in self._all
        )
        return f"<table><tr><th>operation</th>{head}</tr>{rows}</table>"
