"""Text written for PyTorch: names that are here, and a program of which only the import changes."""

import importlib
import re
import runpy
import subprocess
import sys
import warnings

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import jit, torch_names

try:
    import torch
except ImportError:
    torch = None
INSTALL = "PyTorch is not installed: pip install torch==2.13.0"
needs_torch = pytest.mark.skipif(torch is None, reason=INSTALL)


# ---- the list -------------------------------------------------------------------------------


def test_names_are_found_by_their_dotted_paths():
    assert torch_names.find("torch") is tg
    assert torch_names.find("torch.nn.functional.relu") is tg.nn.functional.relu
    assert torch_names.find("Tensor.backward") is tg.Tensor.backward
    assert torch_names.has("torch.profiler")  # imported when it is first used
    for absent in ("torch.no_such_name", "nn.Conv2d.no_such", "float32.x y", "torch.nn.3", ""):
        assert not torch_names.has(absent)
    with pytest.raises(AttributeError, match=r"no `Conv9d` for 'torch.nn.Conv9d' in tinygrad_cnn"):
        torch_names.find("torch.nn.Conv9d")


def test_the_list_is_what_exists():
    listed = torch_names.names()
    assert listed == sorted(set(listed))
    assert all(map(torch_names.has, listed))
    assert {"torch.add", "torch.Tensor.add_", "torch.optim.lr_scheduler.StepLR"} <= set(listed)
    assert {"torch.utils.data.DataLoader", "torch.float32", "torch.linalg.qr"} <= set(listed)
    assert not {"torch.viz", "torch.data", "torch.train"} & set(listed)


def test_a_new_name_is_listed_without_pytorch(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(tg.linalg, "newest", len, raising=False)
    monkeypatch.setattr(tg.linalg, "__all__", [*tg.linalg.__all__, "newest"], raising=False)
    assert "torch.linalg.newest" in torch_names.names()


@needs_torch
def test_what_pytorch_lacks_is_not_listed():
    listed = torch_names.names()
    assert all(torch_names.has(name, "torch") for name in listed)
    assert "torch.set_kernels" not in listed


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (["torch.nn.Linear"], 0, "torch.nn.Linear: here\n"),
        (["nn.Linear", "torch.nope"], 1, "nn.Linear: here\ntorch.nope: not here\n"),
    ],
)
def test_the_command_says_what_is_here(asked, code, said, capsys):
    assert torch_names.main(asked) == code
    assert capsys.readouterr().out == said


def test_the_command_lists_all(capsys):
    assert torch_names.main([]) == 0
    assert capsys.readouterr().out.splitlines() == torch_names.names()
    command = [sys.executable, "-m", "tinygrad_cnn.torch_names", "torch.nope"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "torch.nope: not here\n")


# ---- paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["", ".dataset", ".sampler", ".dataloader", ".distributed"])
def test_the_loader_is_found_where_pytorch_has_it(module):
    place = importlib.import_module(f"tinygrad_cnn.utils.data{module}")
    for name in place.__all__:
        if name not in ("dataset", "sampler", "dataloader", "distributed"):
            assert getattr(place, name) is getattr(tg.data, name)
        if torch is not None:
            theirs = importlib.import_module(f"torch.utils.data{module}")
            assert hasattr(theirs, name)
    assert tg.utils.data.CIFAR10 is tg.data.CIFAR10
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tg.utils.data.nothing  # noqa: B018


# ---- settings, compiler ---------------------------------------------------------------------


def test_settings_are_remembered():
    assert tg.get_float32_matmul_precision() == "highest"
    tg.set_float32_matmul_precision("medium")
    assert tg.get_float32_matmul_precision() == "medium"
    tg.set_float32_matmul_precision("highest")
    with pytest.raises(ValueError, match="`precision` is 'low', expected one of highest, high"):
        tg.set_float32_matmul_precision("low")
    tg.use_deterministic_algorithms(True, warn_only=True)
    assert tg.are_deterministic_algorithms_enabled()
    assert tg.is_deterministic_algorithms_warn_only_enabled()
    tg.use_deterministic_algorithms(False)
    assert not tg.are_deterministic_algorithms_enabled()
    assert not tg.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.parametrize("name", ["script", "trace"])
def test_the_compiler_returns_what_it_is_given_and_says_so_once(name):
    jit._warn.cache_clear()
    compile_it, model = getattr(tg.jit, name), tg.nn.Linear(2, 2)
    with pytest.warns(UserWarning, match=rf"jit\.{name}: nothing is compiled") as caught:
        assert compile_it(model, tg.ones(1, 2)) is model
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compile_it(len) is len


def test_marks_for_the_compiler_change_nothing():
    for mark in (jit.ignore, jit.ignore(drop=True), jit.ignore(), jit.unused, jit.export):
        assert mark(len) is len
    assert not jit.is_scripting()
    assert not jit.is_tracing()


# ---- constructors by dtype ------------------------------------------------------------------

KINDS = "Bool Byte Char Short Int Long Half Float Double".split()


@needs_torch
@pytest.mark.parametrize("kind", KINDS)
def test_constructors_by_dtype_are_pytorchs(kind):
    ours, theirs = getattr(tg, f"{kind}Tensor"), getattr(torch, f"{kind}Tensor")
    for arguments in [(), (2, 3), (0,), ([1, 0],), ((1, 0),), (np.array([1, 0]),), ([[1], [0]],)]:
        a, b = ours(*arguments), theirs(*arguments)
        assert str(b.dtype) == f"torch.{a.dtype}"
        assert tuple(a.shape) == tuple(b.shape)
        if arguments and not isinstance(arguments[0], int):
            assert a.tolist() == b.tolist()
    assert tuple(ours(tg.Size([2, 1])).shape) == tuple(theirs(torch.Size([2, 1])).shape) == (2, 1)
    for other in KINDS:
        x = getattr(tg, f"{other}Tensor")(2)
        assert isinstance(x, ours) == (kind == other)
    assert not isinstance(np.ones(2), ours)


@pytest.mark.parametrize("argument", [3.5, "text", tg.ones(2, dtype=tg.float64)], ids=repr)
def test_constructors_by_dtype_refuse(argument):
    with pytest.raises(TypeError, match=r"^FloatTensor: got 1 arguments, the first a "):
        tg.FloatTensor(argument)
    x = tg.ones(2)
    assert tg.FloatTensor(x).tolist() == [1, 1]
    with pytest.raises(TypeError, match="FloatTensor: got 2 arguments"):
        tg.FloatTensor(2, [1.0])


# ---- a program ------------------------------------------------------------------------------

PROGRAM = """
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.utils.data
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.deterministic = False
torch.set_float32_matmul_precision("high")
torch.use_deterministic_algorithms(True)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Net(nn.Module):
    __constants__ = ["width"]

    def __init__(self, width: int = 6):
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.head(torch.flatten(x, 1))


@torch.no_grad()
def accuracy(model, loader):
    model.eval()
    right = torch.zeros((), dtype=torch.int64)
    for x, y in loader:
        right += (model(x.to(device)).argmax(dim=1) == y.to(device)).sum()
    model.train()
    return right.item() / len(loader.dataset)


@torch.jit.script
def smooth(x: torch.Tensor) -> torch.Tensor:
    return x * 0.5 + 0.5


rng = np.random.default_rng(0)
classes = rng.integers(0, 3, 48)
pixels = rng.standard_normal((48, 1, 8, 8)) + classes[:, None, None, None]
x, y = torch.FloatTensor(pixels.astype(np.float32)), torch.LongTensor(classes)
assert isinstance(x, torch.Tensor) and isinstance(x, torch.FloatTensor)
assert x.dtype == torch.float32 and x.shape == torch.Size([48, 1, 8, 8])
train = torch.utils.data.Subset(TensorDataset(x, y), range(40))
sampler = torch.utils.data.SequentialSampler(train)
loader = DataLoader(
    train, batch_size=8, sampler=sampler, num_workers=0, pin_memory=False, drop_last=True
)
model = Net().to(device)
with torch.no_grad():
    for p in model.parameters():
        p.copy_(torch.from_numpy((0.3 * rng.standard_normal(tuple(p.shape))).astype(np.float32)))
criterion = nn.CrossEntropyLoss(label_smoothing=0.1).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
scaler = torch.amp.GradScaler("cpu", enabled=True)
losses = []
for epoch in range(4):
    for images, labels in loader:
        images, labels = images.to(device, non_blocking=True), labels.to(device)
        optimizer.zero_grad(set_to_none=True)
        with torch.amp.autocast(device_type="cpu", enabled=False):
            loss = criterion(model(smooth(images)), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    scheduler.step()
torch.save(model.state_dict(), PATH)
again = Net()
again.load_state_dict(torch.load(PATH, map_location=device, weights_only=True))
score = accuracy(again, loader)
torch.use_deterministic_algorithms(False)
torch.set_float32_matmul_precision("highest")
"""


def run(library, folder):
    """Run the program, a file of its own; only its imports name another library."""
    folder.mkdir()
    text = PROGRAM
    if library is tg:
        text = text.replace("\nimport torch\n", "\nimport tinygrad_cnn as torch\n")
        text = re.sub("^(import|from) torch", r"\1 tinygrad_cnn", text, flags=re.MULTILINE)
    (folder / "program.py").write_text(text, encoding="utf-8")
    return runpy.run_path(str(folder / "program.py"), {"PATH": str(folder / "model.pt")})


def test_a_file_is_read_for_the_cpu_only(tmp_path):
    tg.save({"w": tg.ones(1)}, tmp_path / "w")
    for location in ("cpu", tg.device("cpu"), lambda storage, place: storage):
        assert tg.load(tmp_path / "w", map_location=location)["w"].item() == 1
    with pytest.raises(ValueError, match="load: `map_location` is 'cuda:0'"):
        tg.load(tmp_path / "w", "cuda:0")


@pytest.mark.filterwarnings("ignore:jit.script", "ignore:.*torch.jit.script")
def test_a_program_runs_with_its_import_changed(tmp_path, monkeypatch):
    ours = run(tg, tmp_path / "ours")
    assert sum(ours["losses"][-5:]) < 0.9 * sum(ours["losses"][:5])
    assert ours["score"] > 0.5
    if torch is not None:
        # PyTorch's own test tools, which others load, forbid scripts to set what this one sets.
        allowed = torch.backends.flags_frozen.__globals__
        monkeypatch.setitem(allowed, "__allow_nonbracketed_mutation_flag", True)
        try:
            theirs = run(torch, tmp_path / "theirs")
        finally:
            torch.use_deterministic_algorithms(False)
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.benchmark = False
        np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=2e-4)
        assert ours["score"] == theirs["score"]
