"""Layers at common shapes, ours against PyTorch eager in turn: where do we lose?

    python benchmarks/layers.py [--only lstm conv1d] [--what training] [--json out.json]

"forward" is a call without gradients, "training" a call and the gradients of its inputs and
weights. Each line is measured in two fresh processes (the command ``layer`` of ``worker.py``), so
that the memory, the most that was in use beyond what the import took, is that of this layer alone.
Ratios are taken within a turn: their
median and quartiles are printed, and the ratio of the shortest times, which other programs on the
machine disturb least.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import environment
import numpy as np
from competitors import BASELINE, COMPETITORS, OURS, Step
from turns import Remote, WorkerError, in_turn, quartiles

WHAT = ("forward", "training")
SLOWER = 1.2  # times PyTorch's time
BUDGET = 10.0  # seconds for one line of either
WORDS = 50257  # the vocabulary of GPT-2

Draw = Callable[..., Any]
Built = tuple[Callable[..., Any], list[Any]]  # what is called, and on which tensors


class Case(NamedTuple):
    """A layer of a framework, and what it is called on: ``build(framework, draw)``."""

    shape: str
    build: Callable[[Any, Draw], Built]


def _module(name: str, size: tuple[int, ...], *args: Any, **options: Any) -> Case:
    """A module by name, on one tensor."""
    text = ", ".join([*map(str, args), *(f"{k}={v}" for k, v in options.items())])
    return Case(
        f"{_sizes(*size)} → {text}" if text else _sizes(*size),
        lambda f, draw: (getattr(f.nn, name)(*args, **options), [draw(*size)]),
    )


def _function(name: str, *sizes: tuple[int, ...], **options: Any) -> Case:
    """A function of ``nn.functional`` by name, on tensors."""
    text = ", ".join([_sizes(*sizes[0]), *(f"{k}={v}" for k, v in options.items())])
    return Case(
        text,
        lambda f, draw: (
            lambda *tensors: getattr(f.nn.functional, name)(*tensors, **options),
            [draw(*size) for size in sizes],
        ),
    )


def _sizes(*sizes: int) -> str:
    return "×".join(map(str, sizes))


def _attention(size: tuple[int, ...], kind: str = "") -> Case:
    """Attention of a sequence to itself, causal or with numbers to add."""

    def build(f: Any, draw: Draw) -> Built:
        mask = draw(*size[:1], 1, size[2], size[2]) if kind == "masked" else None

        def attend(q: Any, k: Any, v: Any) -> Any:
            return f.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=kind == "causal"
            )

        return attend, [draw(*size) for _ in range(3)]

    return Case(" ".join(filter(None, (_sizes(*size), kind))), build)


def _multihead(weights: bool) -> Case:
    """Self-attention of 8 heads, with or without the weights that it found."""

    def build(f: Any, draw: Draw) -> Built:
        layer = f.nn.MultiheadAttention(512, 8, batch_first=True)
        return _Attends(layer, weights), [draw(8, 256, 512)]

    return Case("8×256×512, 8 heads" + ", weights" * weights, build)


class _Attends:
    """A layer of attention as a function of one tensor, with the layer's parameters."""

    def __init__(self, layer: Any, weights: bool) -> None:
        self.layer, self.weights = layer, weights
        self.parameters, self.train = layer.parameters, layer.train

    def __call__(self, x: Any) -> Any:
        return self.layer(x, x, x, need_weights=self.weights)


def _cross_entropy(rows: int, classes: int) -> Case:
    def build(f: Any, draw: Draw) -> Built:
        target = draw(rows, below=classes)
        return lambda x: f.nn.functional.cross_entropy(x, target), [draw(rows, classes)]

    return Case(_sizes(rows, classes), build)


def _looked_up(name: str, size: tuple[int, ...], rows: int, width: int, **options: Any) -> Case:
    """Embeddings: indices (size) of a table (rows, width)."""

    def build(f: Any, draw: Draw) -> Built:
        layer = getattr(f.nn, name)(rows, width, **options)
        return layer, [draw(*size, below=rows)]

    text = ", ".join([f"{_sizes(*size)} of {_sizes(rows, width)}", *map(str, options.values())])
    return Case(text, build)


def _grid_sample() -> Case:
    def build(f: Any, draw: Draw) -> Built:
        def sample(x: Any, grid: Any) -> Any:
            return f.nn.functional.grid_sample(x, grid, align_corners=False)

        return sample, [draw(8, 16, 64, 64), draw(8, 64, 64, 2)]

    return Case("8×16×64×64", build)


IMAGES, SEQUENCES, VOLUMES = (16, 32, 32, 32), (32, 64, 1024), (4, 16, 16, 32, 32)
SHORT, LONG = (64, 32, 256), (32, 128, 512)  # steps, batch, features
CASES: dict[str, list[Case]] = {
    **{
        name.lower(): [
            _module(name, SHORT, 256, 256),
            _module(name, LONG, 512, 512),
            _module(name, SHORT, 256, 256, num_layers=2),
            _module(name, SHORT, 256, 256, bidirectional=True),
        ]
        for name in ("LSTM", "GRU", "RNN")
    },
    "attention": [
        _attention(size, kind)
        for size in ((8, 8, 256, 64), (1, 12, 1024, 64))
        for kind in ("", "causal", "masked")
    ],
    "multihead_attention": [_multihead(False), _multihead(True)],
    "encoder_layer": [
        _module(
            "TransformerEncoderLayer", (8, 256, 512), 512, 8, 2048, dropout=0.0, batch_first=True
        )
    ],
    "softmax": [
        _function("softmax", (4096, 1000), dim=-1),
        _function("softmax", (512, WORDS), dim=-1),
    ],
    "log_softmax": [
        _function("log_softmax", (4096, 1000), dim=-1),
        _function("log_softmax", (512, WORDS), dim=-1),
    ],
    "cross_entropy": [_cross_entropy(4096, 1000), _cross_entropy(512, WORDS)],
    "embedding": [_looked_up("Embedding", (32, 128), 30000, 512)],
    "embedding_bag": [
        _looked_up("EmbeddingBag", (4096, 20), 30000, 128, mode=mode) for mode in ("mean", "sum")
    ],
    "layer_norm": [
        _module("LayerNorm", (32, 128, 512), 512),
        _module("LayerNorm", (8192, 768), 768),
    ],
    "group_norm": [_module("GroupNorm", (32, 64, 32, 32), 8, 64)],
    "instance_norm": [_module("InstanceNorm2d", (32, 64, 32, 32), 64, affine=True)],
    "batch_norm1d": [
        _module("BatchNorm1d", (256, 512), 512),
        _module("BatchNorm1d", SEQUENCES, 64),
    ],
    "batch_norm3d": [_module("BatchNorm3d", VOLUMES, 16)],
    "conv1d": [
        _module("Conv1d", SEQUENCES, 64, 128, 3, padding=1),
        _module("Conv1d", (8, 1, 16000), 1, 64, 80, stride=4),
    ],
    "conv3d": [_module("Conv3d", VOLUMES, 16, 32, 3, padding=1)],
    "conv_transpose2d": [
        _module("ConvTranspose2d", (16, 64, 32, 32), 64, 32, 4, stride=2, padding=1)
    ],
    "max_pool1d": [_module("MaxPool1d", SEQUENCES, 2)],
    "avg_pool1d": [_module("AvgPool1d", SEQUENCES, 2)],
    "max_pool3d": [_module("MaxPool3d", VOLUMES, 2)],
    "avg_pool3d": [_module("AvgPool3d", VOLUMES, 2)],
    "interpolate": [
        _function("interpolate", IMAGES, scale_factor=2, mode=mode)
        for mode in ("nearest", "bilinear", "bicubic")
    ],
    "pixel_shuffle": [_module("PixelShuffle", (16, 64, 64, 64), 2)],
    "grid_sample": [_grid_sample()],
}


def step(framework: Any, name: str, index: int, what: str) -> Step:
    """Return one call of a case: forward, or with gradients too; called in a worker."""
    rng = np.random.default_rng(0)

    def draw(*size: int, below: int | None = None) -> Any:
        if below is None:
            return framework.from_numpy(rng.standard_normal(size, dtype=np.float32))
        return framework.from_numpy(rng.integers(0, below, size))

    call, inputs = CASES[name][index].build(framework, draw)
    parameters = list(call.parameters()) if hasattr(call, "parameters") else []
    if hasattr(call, "train"):
        call.train(what == "training")

    def first() -> Any:
        y = call(*inputs)
        return y[0] if isinstance(y, tuple) else y

    if what == "forward":

        def forward() -> None:
            with framework.no_grad():
                first().numpy()

        return forward
    numbers = [x for x in inputs if x.is_floating_point()]
    for x in numbers:
        x.requires_grad_()
    y = first()
    g = draw(*y.shape) if y.shape else None
    targets = [*numbers, *parameters]
    del y

    def training() -> None:
        for found in framework.autograd.grad(first(), targets, g):
            found.numpy()

    return training


def _row(name: str, index: int, what: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the times and the memory of one case, in milliseconds and megabytes."""
    row: dict[str, Any] = {"name": name, "shape": CASES[name][index].shape, "what": what}
    workers: dict[str, Remote] = {}
    steps, before = {}, {}
    try:
        for framework in (OURS, BASELINE):
            try:
                workers[framework] = Remote(threads=args.threads)
                workers[framework].ask("open", competitor=framework, threads=args.threads)
                before[framework] = workers[framework].ask("memory")["peak_rss_mb"]
                workers[framework].ask("layer", name=name, index=index, what=what)
                steps[framework] = min(workers[framework].ask("warm", steps=3)["seconds"])
            except WorkerError as error:
                row["error"] = f"{COMPETITORS[framework].text}: {error}"
                workers.pop(framework).close()
                if framework == OURS:
                    return row
        turns = in_turn(workers, steps, rounds=args.rounds, burst=args.burst, budget=BUDGET)
        row["others"] = turns.others
        for framework, worker in workers.items():
            times = turns.of(framework)
            peak = worker.ask("memory")["peak_rss_mb"]
            row[framework] = {
                "median": 1e3 * quartiles(times)[1],
                "least": 1e3 * min(times),
                "memory": None if peak is None else peak - before[framework],
            }
        if ratios := turns.ratios(OURS, BASELINE):
            row["ratio"] = quartiles(ratios)
            row["ratio_of_least"] = row[OURS]["least"] / row[BASELINE]["least"]
    finally:
        for worker in workers.values():
            worker.close()
    return row


def line(row: dict[str, Any]) -> str:
    """Return one result in a line of text."""
    head = f"{row['name']:20}{row['shape']:52}{row['what']:9}"
    if "ratio" not in row:
        return f"{head}{row.get('error', '')}"
    ours, theirs = row[OURS], row[BASELINE]
    low, middle, high = row["ratio"]
    text = (
        f"{head}{ours['median']:9.2f}{theirs['median']:9.2f}  {middle:5.2f} ({low:.2f}–{high:.2f})"
    )
    text += f"{row['ratio_of_least']:7.2f}"
    if ours["memory"] is not None:
        text += f"{ours['memory']:7.0f}{theirs['memory']:7.0f}"
    if (row["others"] or 0) > environment.BUSY:
        text += f"  (others: {row['others']:.1f} processors)"
    return text


HEAD = (
    f"{'layer':20}{'shape':52}{'what':9}{'ours ms':>9}{'PyTorch':>9}  ratio (quartiles)"
    f"{'least':>7}{'MB':>6}{'PyTorch':>8}"
)  # fmt: skip


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--only", nargs="+", choices=CASES, metavar="NAME", help=f"of: {', '.join(CASES)}")
    add("--what", nargs="+", choices=WHAT, default=[*WHAT])
    add("--rounds", type=int, default=7, help="turns of each")
    add("--burst", type=float, default=0.1, help="seconds of a turn")
    add("--threads", type=int, default=2, help="of both")
    add("--json", help="write all figures to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure the cases, print a line for each, and those that are slower."""
    args = parse(arguments)
    result: dict[str, Any] = {
        "kind": "layers",
        "environment": environment.describe(),
        "threads": args.threads,
        "rows": [],
    }
    print(environment.sentence(result["environment"]))
    print(HEAD, flush=True)
    for name in args.only or CASES:
        for index in range(len(CASES[name])):
            for what in args.what:
                result["rows"].append(_row(name, index, what, args))
                print(line(result["rows"][-1]), flush=True)
                environment.write(args.json, result)
    ratios = [row for row in result["rows"] if "ratio" in row]
    slow = [row for row in ratios if row["ratio"][1] > SLOWER]
    if ratios:
        print(f"\nSlower than {SLOWER} × PyTorch: {len(slow)} of {len(ratios)}")
    for row in sorted(slow, key=lambda row: -row["ratio"][1]):
        print(line(row))


if __name__ == "__main__":
    main()
