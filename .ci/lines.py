"""How many lines each folder has, and what changed since the last release.

    python .ci/lines.py [COMMIT]

Lines of code, of docstrings and comments, blank ones, and public names (functions, classes and
constants of modules, without an underscore at the front) for each folder of `tinygrad_cnn` and for
the others. In brackets the change since COMMIT, by default the last tag ``v*``.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
import tokenize
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "tinygrad_cnn"
OTHERS = ("tests", "benchmarks", "docs", "examples", "models", ".ci")
COLUMNS = ("code", "text", "blank", "names")
LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
Folders = dict[str, Counter[str]]


def counted(source: str) -> Counter[str]:
    """Count one file."""
    tree = ast.parse(source)
    docstrings = docstring_lines(tree)
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    code -= docstrings
    text = docstrings | (comments - code)
    blank = len(source.splitlines()) - len(code | text)
    return Counter(code=len(code), text=len(text), blank=blank, names=len(set(public(tree))))


def docstring_lines(tree: ast.Module) -> set[int]:
    """The lines of all docstrings."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            match node.body[:1]:
                case [ast.Expr(value=ast.Constant(value=str())) as first]:
                    found.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return found


def public(tree: ast.Module) -> Iterable[str]:
    """The public names that a module defines itself."""
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        yield from (n for n in names if not n.startswith("_"))


def folder_of(path: str) -> str | None:
    """The folder under which a file is counted."""
    parts = path.split("/")
    if parts[0] == PACKAGE:
        return f"{PACKAGE}/{parts[1]}" if len(parts) > 2 else PACKAGE
    return parts[0] if parts[0] in OTHERS else None


def summed(files: Iterable[tuple[str, str]]) -> Folders:
    """The counts of (path, source) by folder."""
    found: Folders = {}
    for path, source in files:
        folder = folder_of(path)
        if folder is not None and path.endswith(".py"):
            found.setdefault(folder, Counter()).update(counted(source))
    return found


def here() -> Iterable[tuple[str, str]]:
    """The files of the working tree."""
    for top in (PACKAGE, *OTHERS):
        for path in sorted((ROOT / top).rglob("*.py")):
            if path.name != "_version.py":
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def git(*command: str) -> bytes | None:
    """What git says; None if it fails, or is not there."""
    try:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def at(commit: str) -> Iterable[tuple[str, str]] | None:
    """The files of a commit."""
    archive = git("archive", commit)
    if archive is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [
            (m.name, file.read().decode())
            for m in tar
            if m.name.endswith(".py") and (file := tar.extractfile(m)) is not None
        ]


def table(now: Folders, before: Folders | None) -> str:
    """The counts, with the changes where there is something to compare with."""
    rows = [["folder", *COLUMNS]]
    total = sum(now.values(), Counter())
    old_total = sum((before or {}).values(), Counter())
    folders = sorted(now | (before or {}), key=lambda f: (not f.startswith(PACKAGE), f))
    lines = [(f, now.get(f, Counter()), (before or {}).get(f, Counter())) for f in folders]
    for folder, counts, old in [*lines, ("all", total, old_total)]:
        row = [folder]
        for column in COLUMNS:
            change = "" if before is None else f" ({counts[column] - old[column]:+})"
            row.append(f"{counts[column]}{change}")
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lined = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(row) for row in lined)


def main(arguments: list[str]) -> int:
    """Print the table."""
    if arguments:
        commit, why = arguments[0], ""
    else:
        tag = git("describe", "--tags", "--abbrev=0", "--match", "v*")
        commit = tag.decode().strip() if tag else ""
        why = "no release tag v* here: no changes shown"
    files = at(commit) if commit else None
    if commit and files is None:
        print(f"no commit {commit} here", file=sys.stderr)
        return 1
    print(f"lines, and changes since {commit}" if commit else f"lines; {why}")
    print(table(summed(here()), None if files is None else summed(files)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
