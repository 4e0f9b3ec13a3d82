"""Write the tables of README.md and docs/ from the JSON files beside this.

    python benchmarks/tables.py [--check] [--clean] [FILE.json ...]

Without files: all in ``benchmarks/results/``. A table stands between ``<!-- table: NAME -->`` and
``<!-- end -->``; everything else of a page is written by hand. What was measured while other
programs used the processors is not shown, what has not been measured says so. ``--check`` writes
nothing and fails if a page is not what it would write. Figures of a tree with changes that were
not committed are marked; ``--clean``, for a release, fails if there are any.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import environment
from competitors import BASELINE, COMPETITORS, OURS
from convergence import difference, summary
from convolutions import DIRECTIONS, LARGE, SLOWER, Shape, slow_rows

HERE = Path(__file__).parent
PAGES = ["README.md", "docs/performance.md", "docs/measurements.md"]
NAMES = {
    "lenet5": "LeNet-5",
    "minivgg": "MiniVGG",
    "resnet20": "ResNet-20",
    "depthwise": "depthwise net",
    "mlp": "MLP",
}
MARKS = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
BUSY = "busy"  # in place of a figure that other programs disturbed
CALL = 0.08  # milliseconds that a call takes before and after its kernels, measured
SMALL = 8  # pixels: images of as many rows or columns fill tiles and vectors badly
FEW = 8  # channels
MISSING = "Not measured yet.\n"
Results = dict[str, list[dict[str, Any]]]


def read(paths: list[Path]) -> Results:
    """Return the results in some files by their kind."""
    found: Results = {}
    for path in paths:
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(result["kind"], []).append(result)
    return found


def unclean(paths: list[Path]) -> list[str]:
    """Return the names of the files whose figures are not those of a commit."""
    results = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    return [name for name, r in results.items() if environment.is_dirty(r["environment"])]


def calm(row: dict[str, Any]) -> bool:
    """Whether nobody else worked while this was measured, as far as can be told."""
    return (row.get("others") or 0) <= environment.BUSY


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def on(result: dict[str, Any]) -> str:
    """Return what was measured on, as a line under a table."""
    return f"\nOn {environment.sentence(result['environment'])}.\n"


def cells(results: Results, what: str) -> dict[tuple[str, int], dict[str, Any]]:
    """Return all comparisons of one kind of work, by network and batch size; later files win."""
    found = {}
    for result in results.get("comparison", []):
        for cell in result["cells"]:
            if cell["what"] == what:
                found[cell["model"], cell["batch"]] = cell
    order = list(NAMES)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def times(results: Results, what: str) -> str:
    """Times and ratios to PyTorch eager, a row for each network and batch size."""
    found = cells(results, what)
    if not found:
        return MISSING
    columns = [n for n in COMPETITORS if any(n in c["results"] for c in found.values())]
    rows = []
    for (model, batch), cell in found.items():
        row = [NAMES[model], str(batch)]
        for name in columns:
            figures = cell["results"].get(name, {})
            if "ms" not in figures:
                row.append("failed" if "error" in figures else "")
            elif not calm(cell):
                row.append(BUSY)
            else:
                text = f"{digits(figures['ms'][1])} ms"
                if "ratio" in figures and name != BASELINE:
                    low, middle, high = figures["ratio"]
                    text += f", **{middle:.2f}** ({low:.2f}–{high:.2f})"
                row.append(text)
        rows.append(row)
    head = ["network", "batch", *(COMPETITORS[n].text for n in columns)]
    return table(head, rows) + on(results["comparison"][-1]) + notes(found, results)


def digits(value: float) -> str:
    """Return a time with about three digits."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def notes(found: dict[tuple[str, int], dict[str, Any]], results: Results) -> str:
    """Return what a reader has to know of empty places in a table."""
    texts = []
    absent = {k: v for r in results["comparison"] for k, v in r["absent"].items()}
    for name, install in absent.items():
        if not any(name in cell["results"] for cell in found.values()):
            texts.append(f"{COMPETITORS[name].text}: not installed ({install}).")
    if not all(calm(cell) for cell in found.values()):
        texts.append(f"“{BUSY}”: other programs used the processors; to be measured again.")
    errors: dict[str, str] = {}
    for cell in found.values():
        for name, row in cell["results"].items():
            if "error" in row:
                errors.setdefault(name, row["error"])
    texts += [f"{COMPETITORS[n].text} failed: `{text}`." for n, text in errors.items()]
    return "".join(f"{text}\n" for text in texts)


def both(results: Results) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Return all comparisons by network, batch size and kind of work."""
    return {
        (model, batch, what): cell
        for what in ("step", "inference")
        for (model, batch), cell in cells(results, what).items()
    }


def overview(results: Results) -> str:
    """Batches of 64 and of one image, as usual and compiled, and memory, beside PyTorch's."""
    result, names = latest(results, None), (OURS, "compiled", BASELINE)
    if result is None:
        return MISSING
    found = {(c["model"], c["what"], c["batch"]): c["results"] for c in result["cells"]}
    rows = []
    for what in ("step", "inference"):
        for model in NAMES:
            each, one = (found.get((model, what, batch), {}) for batch in (64, 1))
            if any("ms" not in cell.get(name, {}) for name in names for cell in (each, one)):
                continue
            parts = [
                ", ".join(f"**{cell[name]['ratio'][1]:.2f}**" for name in names[:2])
                for cell in (each, one)
            ]
            rows.append(
                [
                    f"{NAMES[model]}, {'training step' if what == 'step' else what}",
                    *(f"{digits(each[name]['ms'][1])} ms" for name in names),
                    parts[0],
                    ", ".join(f"{each[name]['peak_rss_mb']:.0f}" for name in names) + " MB",
                    parts[1],
                ]
            )
    head = ["batch of 64", "as usual", "compiled", "PyTorch", "ratios", "memory"]
    return table([*head, "ratios, one image"], rows) + on(result)


def latest(results: Results, lanes: str | None) -> dict[str, Any] | None:
    """The latest comparison of compiled functions with such vectors, by default as there are."""
    found = [r for r in results.get("compiled", ()) if r["environment"].get("lanes") == lanes]
    return found[-1] if found else None


def compiled(results: Results, lanes: str | None = None) -> str:
    """Programs and calls as usual, as parts of others' times.

    How much other programs disturbed it is said: of parts, both sides have their share.
    """
    result = latest(results, lanes)
    if result is None:
        return MISSING
    found = [cell["results"] for cell in result["cells"]]
    others = [n for n in (BASELINE, "torch-compile", "onnxruntime") if any(n in f for f in found)]
    rows = []
    for cell, figures in zip(result["cells"], found, strict=True):
        mine = figures["compiled"]
        row = [NAMES[cell["model"]], cell["what"], str(cell["batch"])]
        row.append(part(figures[OURS], figures.get(BASELINE, {})))
        row += [part(mine, figures.get(name, {})) for name in others]
        row.append(f"{digits(mine['ms'][1])} ms" if "ms" in mine else "failed")
        rows.append(row)
    head = ["network", "", "batch", "as usual, of PyTorch eager"]
    head += [f"compiled, of {COMPETITORS[name].text}" for name in others] + ["compiled"]
    busy = [cell["others"] for cell in result["cells"] if not calm(cell)]
    text = table(head, rows) + on(result)
    if busy:
        text += f"In {len(busy)} of {len(result['cells'])} rows other programs (or other machines "
        text += f"on the same processors) used up to {max(busy):.1f} processors meanwhile.\n"
    return text


def part(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Our time as a part of somebody's; both were timed in turn with PyTorch eager."""
    if "ratio" not in ours or "ratio" not in theirs:
        return ""
    return f"{ours['ratio'][1] / theirs['ratio'][1]:.2f}"


def memory(results: Results) -> str:
    """Peak memory of whole processes, and its ratio to PyTorch eager's."""
    rows = []
    found = both(results)
    if not found:
        return MISSING
    columns = [n for n in COMPETITORS if any(n in c["results"] for c in found.values())]
    for (model, batch, what), cell in found.items():
        base = cell["results"].get(BASELINE, {}).get("peak_rss_mb")
        row = [NAMES[model], str(batch), what]
        for name in columns:
            value = cell["results"].get(name, {}).get("peak_rss_mb")
            text = f"{value:.0f} MB" if value else ""
            if value and base and name != BASELINE:
                text += f", **{value / base:.2f}**"
            row.append(text)
        rows.append(row)
    head = ["network", "batch", "", *(COMPETITORS[n].text for n in columns)]
    return table(head, rows) + on(results["comparison"][-1])


def imports(results: Results) -> str:
    """Import time, memory after importing, and size on disk."""
    found = [r for r in results.get("comparison", []) if r["imports"]]
    if not found:
        return MISSING
    base = {r["competitor"]: r for r in found[-1]["imports"]}.get(BASELINE)
    rows = []
    for row in found[-1]["imports"]:
        low, middle, high = row["seconds"]
        rows.append(
            [
                COMPETITORS[row["competitor"]].text,
                f"{middle:.2f} s ({low:.2f}–{high:.2f})",
                f"{middle / base['seconds'][1]:.2f}" if base else "",
                f"{row['rss_mb']:.0f} MB" if row["rss_mb"] else "",
                f"{row['disk_mb']:.0f} MB" if "disk_mb" in row else "",
            ]
        )
    head = ["", "import", "of PyTorch's", "memory then", "on disk, with all it needs"]
    return table(head, rows) + on(found[-1])


def reason(row: dict[str, Any], call: float = CALL) -> str:
    """Return why a convolution is slower than PyTorch's, in a word that the page explains, as far
    as that is known; ``call`` milliseconds are spent around its kernels.

    >>> row = {**Shape(4, 16, 32, 32, 16, 3, 2, 1)._asdict(), OURS: 0.3, BASELINE: 0.2}
    >>> reason({**row, "what": "dx"}), reason({**row, "what": "dw"})
    ('phases', 'call')
    """
    shape = Shape(*(row[field] for field in Shape._fields))
    weights = shape.f * shape.c // shape.groups * shape.k**2
    if row["what"] == "dx" and row["stride"] > 1:
        return "phases"
    if row["groups"] > 1:
        return "groups"
    if call and row[OURS] - call <= SLOWER * row[BASELINE]:
        return "call"
    if weights * 2 * weights > shape.flops * shape.f:  # more weights than outputs
        return "filters"
    if min(shape.h, shape.w) <= SMALL:
        return "small"
    return "few" if shape.c < FEW else ""


def convolutions(results: Results, kind: str = "convolutions") -> str:
    """The sweep in a few numbers, and every large shape at which we are slower."""
    if kind not in results:
        return MISSING
    result = results[kind][-1]
    timed = [r for r in result["rows"] if "ratio" in r and calm(r)]
    left = sum("ratio" in r for r in result["rows"]) - len(timed)
    rows = []
    for what in DIRECTIONS:
        of_this = sorted(r["ratio"][1] for r in timed if r["what"] == what)
        if of_this:
            large = [r for r in timed if r["what"] == what and r["flops"] >= LARGE]
            slow = slow_rows(large)
            quarter = len(of_this) // 4
            rows.append(
                [
                    what,
                    str(len(of_this)),
                    f"{of_this[quarter]:.2f}",
                    f"{of_this[len(of_this) // 2]:.2f}",
                    f"{of_this[-1 - quarter]:.2f}",
                    f"{len(slow)} of {len(large)}",
                ]
            )
    head = ["", "shapes", "lower quartile", "median ratio", "upper quartile"]
    head.append(f"≥ {LARGE / 1e6:.0f} MFLOP and slower than {SLOWER} ×")
    text = table(head, rows)
    if left:
        text += f"\n{left} more were disturbed by other programs and do not count.\n"
    slow, call = slow_rows(timed), CALL if kind == "convolutions" else 0
    if slow:
        text += "\nThe exceptions:\n\n"
        head = ["n×c×h×w → filters, kernel", "", "MFLOP", "ours", "PyTorch"]
        rows = []
        for r in slow:
            low, middle, high = r["ratio"]
            shape = str(Shape(*(r[field] for field in Shape._fields)))
            row = [shape, r["what"], f"{r['flops'] / 1e6:.1f}"]
            row += [f"{r[name]:.3f} ms" for name in (OURS, BASELINE)]
            rows.append([*row, f"{middle:.2f} ({low:.2f}–{high:.2f})", reason(r, call)])
        text += table([*head, "ratio (quartiles)", "reason"], rows)
    return text + on(result)


def convergence(results: Results) -> str:
    """Accuracies after whole runs of training."""
    if "convergence" not in results:
        return MISSING
    text = ""
    for result in results["convergence"]:
        rows = summary(result["runs"])
        settings = result["settings"]
        limit = f", {settings['limit']} training images" if settings["limit"] else ""
        text += (
            f"{settings['model']} on {settings['data']}, {settings['epochs']} epochs, "
            f"batch {settings['batch_size']}{limit}:\n\n"
        )
        text += table(
            ["algorithm", "seeds", "mean test accuracy", "standard deviation", "range"],
            [
                [
                    row["algorithm"],
                    str(row["runs"]),
                    f"{row['mean']:.2%}",
                    f"{row['spread']:.2%}" if row["runs"] > 1 else "",
                    f"{row['lowest']:.2%} to {row['highest']:.2%}",
                ]
                for row in rows
            ],
        )
        if len(rows) > 1 and all(row["runs"] > 1 for row in rows):
            apart, error = difference(rows)
            text += (
                f"\n{rows[0]['algorithm']} less {rows[-1]['algorithm']}: {100 * apart:+.2f} "
                f"points, standard error {100 * error:.2f}.\n"
            )
        text += on(result) + "\n"
    return text.rstrip("\n") + "\n"


def roofline(results: Results) -> str:
    """Bounds beside what was measured."""
    if "roofline" not in results:
        return MISSING
    result = results["roofline"][-1]
    if not calm(result):
        return "Not measured yet: other programs used the processors.\n"
    peak, speed = result["peak"], result["bandwidth"]
    highest, memory = peak[str(result["threads"])], speed[max(speed, key=int)]
    text = "Measured limits: matrix product "
    text += ", ".join(f"{v:.0f} GFLOP/s with {n} thread{'s' * (n != '1')}" for n, v in peak.items())
    text += "; copying " + ", ".join(f"{v:.0f} GB/s for {n} MB" for n, v in speed.items())
    rows = []
    for model, counts in result["counts"].items():
        for what, c in counts.items():
            cell = cells(results, what).get((model, result["batch"]))
            ours = cell["results"].get(OURS, {}).get("ms") if cell and calm(cell) else None
            rows.append(
                [
                    NAMES[model],
                    what,
                    f"{c['gflop']:.2f}",
                    f"{digits(1e3 * c['gflop'] / highest)} ms",
                    f"{digits(1e3 * c['winograd_gflop'] / highest)} ms",
                    f"{c['single_mb']:.0f} / {c['fused_mb']:.0f}",
                    f"{digits(c['single_mb'] / memory)} / {digits(c['fused_mb'] / memory)} ms",
                    f"{digits(ours[1])} ms" if ours else "",
                ]
            )
    head = ["network", f"batch {result['batch']}", "GFLOP", "at the peak", "with Winograd"]
    head += ["MB between layers / fused", "at the bandwidth", "ours, measured"]
    return f"{text}.\n\n{table(head, rows)}{on(result)}"


TABLES: dict[str, Callable[[Results], str]] = {
    "overview": overview,
    "compiled": compiled,
    "compiled_avx2": lambda results: compiled(results, "8"),
    "imports": imports,
    "step": lambda results: times(results, "step"),
    "inference": lambda results: times(results, "inference"),
    "memory": memory,
    "convolutions": convolutions,
    "compiled_convolutions": lambda results: convolutions(results, "compiled convolutions"),
    "convergence": convergence,
    "roofline": roofline,
}


def fill(page: str, results: Results) -> str:
    """Return a page with its tables made from ``results``.

    Raises
    ------
    KeyError
        The page asks for a table that there is not.
    """
    return MARKS.sub(lambda m: f"{m[1]}{TABLES[m[2]](results)}{m[3]}", page)


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.json")
    parser.add_argument(
        "--page",
        type=Path,
        nargs="+",
        default=[HERE.parent / page for page in PAGES],
        dest="pages",
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--clean", action="store_true", help="fail for uncommitted changes")
    args = parser.parse_args(arguments)
    files = args.files or sorted((HERE / "results").glob("*.json"))
    if args.clean and (dirty := unclean(files)):
        print(f"measured with changes that were not committed: {', '.join(dirty)}")
        return 1
    results, stale = read(files), False
    for page in args.pages:
        before = page.read_text(encoding="utf-8")
        after = fill(before, results)
        if not args.check:
            page.write_text(after, encoding="utf-8")
        elif after != before:
            print(f"{page} is not up to date: python benchmarks/tables.py")
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
