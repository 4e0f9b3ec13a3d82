"""Wrong uses of graphs, compiled functions, files, settings and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner

import tinygrad_cnn as tg
from tinygrad_cnn import data, nn, optim, train
from tinygrad_cnn.cli.app import main
from tinygrad_cnn.train import TrainError
from tinygrad_cnn.train.run.checkpoint import Checkpoint
from tinygrad_cnn.train.run.folder import RunFolder

from .wrong_uses import ROWS, Use

LINEAR = nn.Linear(4, 3)
MODEL = str(Path(__file__).parents[2] / "models/lenet5.py")
BATCHES = [(ROWS, tg.tensor([0, 1]))]


def _leaf() -> tg.Tensor:
    return tg.ones(3, requires_grad=True)


def _walked_twice() -> None:
    loss = (_leaf() ** 2).sum()
    loss.backward()
    loss.backward()


def _changed_in_between() -> None:
    inner = _leaf() * 1
    loss = (inner * inner).sum()
    inner.add_(1)
    loss.backward()


def _hook_of_another_type() -> None:
    x = _leaf()
    x.register_hook(lambda g: 3)
    (x * 2).sum().backward()


class _TwoForOne(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, g


GRAPHS = [
    Use("walked twice", _walked_twice, ("already walked", "pass retain_graph=True")),
    Use("changed", _changed_in_between, ("mul:", "`b` (shape (3,))", "add_", "clone()")),
    Use("a leaf in place", lambda: _leaf().add_(1), ("add_:", "leaf", "no_grad()")),
    Use("numpy of a leaf", lambda: _leaf().numpy(), ("numpy:", "t.detach().numpy()")),
    Use("hook", _hook_of_another_type, ("hook", "int", "expected None or a tensor of shape (3,)")),
    Use(
        "rule",
        lambda: _TwoForOne.apply(_leaf()).sum().backward(),
        ("_TwoForOne: backward returned 2 gradients for 1 arguments",),
    ),
    Use("no graph", lambda: tg.autograd.grad(ROWS.sum(), ROWS), ("grad: output 0", "detached")),
    Use("integers", lambda: nn.Parameter(tg.ones(2, dtype="int64")), ("int64", "only floating")),
    Use("of a matrix", lambda: tg.func.grad(lambda x: x)(ROWS), ("grad:", "one number", "(2, 4)")),
    Use(
        "vmap",
        lambda: tg.func.vmap(lambda a, b: a)(tg.ones(2), tg.ones(3)),
        ("vmap:", "[2, 3]", "expected one"),
    ),
]

COMPILED = [
    Use("a number", lambda: tg.compile(3), ("compile: `function` is 3", "expected a function")),
    Use("kernels", lambda: tg.set_kernels("gpu"), ("`name` is 'gpu'", "auto, jit, reference")),
    Use(
        "no threads", lambda: tg.set_num_threads(0), ("set_num_threads: `number` is 0", "positive")
    ),
    Use("threads", lambda: tg.set_num_threads("2"), ("`number` is '2'", "positive integer")),
    Use(
        "inside",
        lambda: tg.compile(lambda x: x @ x)(tg.ones(2, 4)),
        ("matmul", "(2, 4)"),
    ),
    Use("seed", lambda: tg.manual_seed("x"), ("manual_seed: `seed` is 'x'", "integer")),
    Use("dtype", lambda: tg.set_default_dtype("int64"), ("set_default_dtype", "int64", "floating")),
    Use("generator", lambda: tg.set_rng_state(3), ("`state` is not a generator's state",)),
    Use("spread", lambda: tg.normal(0, -1, (2,)), ("normal: `std` is -1", "at least 0")),
    Use("spreads", lambda: tg.normal(0, tg.tensor([1.0, -2.0])), ("normal: `std` is -2.0",)),
    Use("permutation", lambda: tg.randperm(-1), ("randperm", "(-1,)", "negative")),
    Use("weights", lambda: tg.multinomial(tg.tensor([-1.0, 2.0]), 1), ("multinomial", "negative")),
    Use("chance", lambda: tg.bernoulli(tg.tensor([2.0])), ("bernoulli: `input`", "0 to 1")),
]

TRAINING = [
    Use("no model", lambda: train.fit(3, BATCHES), ("fit: `model` is 3", "expected a Module")),
    Use("no loss", lambda: train.fit(LINEAR, BATCHES, loss=3), ("fit: `loss` is 3", "a function")),
    Use("no place", lambda: train.fit(LINEAR, BATCHES, resume=True), ("`resume`", "`folder`")),
    Use("no epochs", lambda: train.fit(LINEAR, BATCHES, epochs=0), ("`epochs` is 0", "at least 1")),
    Use("optimizer", lambda: train.fit(LINEAR, BATCHES, optimizer="adamm"), ("'adamm'", "adamw")),
    Use("schedule", lambda: train.fit(LINEAR, BATCHES, schedule="zigzag"), ("'zigzag'", "cosine")),
    Use("much", lambda: train.fit(LINEAR, BATCHES, max_memory="much"), ("'much'", "'2GB'")),
    Use(
        "no bytes", lambda: train.fit(LINEAR, BATCHES, max_memory=0), ("`max_memory` is 0", "bytes")
    ),
    Use(
        "less",
        lambda: train.fit(LINEAR, BATCHES, max_memory=10, quiet=True),
        ("`max_memory` is 10", "the least that can be asked for is"),
    ),
    Use(
        "fit_into",
        lambda: tg.memory.fit_into(LINEAR, lambda: LINEAR(ROWS).sum(), "much"),
        ("fit_into: `most` is 'much'", "expected"),
    ),
    Use(
        "class 9",
        lambda: train.fit(LINEAR, [(ROWS, tg.tensor([0, 9]))], quiet=True),
        ("`target` holds 9", "0 to 2"),
    ),
    Use(
        "groups", lambda: optim.SGD([{"lr": 1}], lr=0.1), ("SGD: a group has no 'params'", "['lr']")
    ),
    Use("option", lambda: optim.Adam(LINEAR.parameters(), lrr=3), ("Adam: unexpected", "lrr")),
    Use("batches of 0", lambda: data.DataLoader([1], 0), ("DataLoader: `batch_size`", "got 0")),
    Use("workers", lambda: data.DataLoader([1], num_workers=-1), ("`num_workers`", "got -1")),
    Use("data", lambda: data.DataLoader(3), ("DataLoader: `dataset` needs len() and [i]", "int")),
    Use(
        "lengths",
        lambda: data.TensorDataset(tg.ones(3), tg.ones(4)),
        ("TensorDataset: first dimensions must be equal", "(3,), (4,)"),
    ),
    Use("split", lambda: data.random_split([1, 2, 3], [1, 1]), ("`lengths` [1, 1]", "3 samples")),
    Use("module", lambda: nn.Sequential(3), ("Sequential: expected a Module", "int")),
    Use("parameter", lambda: LINEAR.register_parameter("p", 3), ("`p` is a int", "nn.Parameter(")),
    Use("state", lambda: LINEAR.load_state_dict(3), ("load_state_dict: `state_dict` is a int",)),
    Use("integers", lambda: LINEAR.to("int64"), ("Module.to: `dtype` is 'int64'", "floating")),
    Use(
        "initial",
        lambda: nn.init.xavier_uniform_(tg.ones(3)),
        ("xavier_uniform_: `tensor` has shape (3,)", "use normal_"),
    ),
    Use(
        "pruned",
        lambda: nn.utils.prune.l1_unstructured(LINEAR, "weight", 2.0),
        ("prune: `amount` is 2.0", "0 to 1"),
    ),
]


def _at(read: Callable[[str], Any], name: str) -> Callable[[], Any]:
    """``read`` given a path: of nothing, an empty file, one of text, or a folder."""

    def run() -> None:
        with TemporaryDirectory() as folder:
            Path(folder, "empty").touch()
            Path(folder, "text").write_text("hello")
            read(str(Path(folder, name)))

    return run


READERS: dict[str, tuple[Callable[[str], Any], dict[str, str]]] = {
    "load": (tg.load, {"empty": "safetensors", "text": "safetensors", "nothing": "nothing"}),
    "Checkpoint.read": (
        Checkpoint.read,
        {"empty": "damaged", "text": "damaged", "nothing": "there is no checkpoint"},
    ),
    "RunFolder.open": (
        RunFolder.open,
        {"": "it has no config.json", "text": "no run folder", "nothing": "no run folder"},
    ),
    "read_image": (
        data.read_image,
        {"empty": "not an image", "text": "formats", "nothing": "there is no file"},
    ),
    "ImageFolder": (data.ImageFolder, {"text": "no folder", "nothing": "there is no folder"}),
    "CIFAR10": (data.CIFAR10, {"": "pass download=True", "nothing": "pass download=True"}),
}
"""By name a function of a path, and what it says of kinds of paths."""
FILES = [
    Use(f"{reader} {name or 'folder'}", _at(read, name), (part, name or "/"))
    for reader, (read, said) in READERS.items()
    for name, part in said.items()
]
FILES += [
    Use("load a number", lambda: tg.load(3), ("load: `f` is a int", "expected a path")),
    Use("save an object", lambda: tg.save(object(), "x"), ("save: object", "expected dicts")),
    Use("save a function", lambda: tg.save({"a": len}, "x"), ("save:", "at `a`", "expected dicts")),
]


def _command(*arguments: str) -> Callable[[], Any]:
    """The command line's one line on standard error, as an error."""

    def run() -> None:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code in (1, 2), result.output
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        assert "Traceback" not in result.output
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        raise TrainError(result.stderr)

    return run


FLAGS = [
    Use("--" + " ".join(words), _command("train", MODEL, f"--{words[0]}", *words[1:]), parts)
    for words, parts in {
        ("epochs", "0"): ("--epochs", "0"),
        ("epochs", "many"): ("--epochs", "many"),
        ("batch-size", "-3"): ("--batch-size", "-3"),
        ("lr", "nan"): ("--lr", "nan"),
        ("lr", "-1"): ("--lr", "-1"),
        ("optimizer", "adamm"): ("--optimizer", "adamm", "adamw"),
        ("schedule", "zigzag"): ("--schedule", "zigzag", "cosine"),
        ("max-memory", "much"): ("--max-memory", "much", "2GB"),
        ("max-memory", "0"): ("--max-memory", "'0'", "2GB"),
        ("non-finite", "ignore"): ("--non-finite", "ignore", "skip"),
        ("data", "cifar11"): ("--data", "cifar11", "cifar10"),
        ("ema", "2"): ("--ema", "2"),
        ("patience", "0"): ("--patience", "0"),
        ("size", "16"): ("--size", "folder"),
        ("resume", "/nowhere"): ("/nowhere",),
        ("bogus",): ("--bogus",),
    }.items()
]  # fmt: skip
FLAGS += [
    Use("no command", _command("trian"), ("trian",)),
    Use("no model file", _command("train", "nowhere.py"), ("nowhere.py",)),
    Use("evaluate nothing", _command("evaluate", "/nowhere"), ("/nowhere",)),
    Use("predict nothing", _command("predict", "/nowhere", "x.png"), ("/nowhere",)),
    Use("compare nothing", _command("compare", "/nowhere", "/else"), ("/nowhere",)),
    Use("report nothing", _command("report", "/nowhere"), ("/nowhere",)),
    Use("summary of nothing", _command("summary", "nowhere.py"), ("nowhere.py",)),
]
EVERY = [*GRAPHS, *COMPILED, *TRAINING, *FILES, *FLAGS]
