"""Kernels that the system loads, without LLVM: same results, no llvmlite, no memory that is both
written and executed. Each test's code runs in processes of its own.
"""

from __future__ import annotations

import shutil
import sys

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install numba")

import shared

from tinygrad_cnn.kernels.jit.compile import build, linker

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not any(shutil.which(c.split()[0]) for c in linker.COMMANDS),
    reason="for Linux with a linker",
)
BY_LLVM = {build.LOADER: "llvm"}

PRELUDE = """
import hashlib, os, sys
from pathlib import Path
import numpy as np
import tinygrad_cnn as tg
from tinygrad_cnn import kernels
def known(names=("numba", "llvmlite")):
    return [name for name in names if name in sys.modules]
"""


def python(code: str, **environment: str) -> str:
    """Run code after the prelude in a new interpreter and return what it printed."""
    return shared.python(PRELUDE + code, **environment)


EVERY_KERNEL = """
from tinygrad_cnn.train.loop import warmup
kernels.set_kernels("jit")
kernels.set_num_threads(2)
random, sums = tg.Generator(3), hashlib.sha256()
for _, make, shape in warmup.pieces():
    tg.manual_seed(0)
    model, x = make(), tg.randn(*shape, generator=random)
    y = tg.randint(0, 10, (shape[0],), generator=random)
    for optimizer in (tg.optim.SGD, tg.optim.Adam):
        step = optimizer(list(model.parameters()), lr=1e-3)
        tg.nn.functional.cross_entropy(model(x), y).backward()
        step.step()
    for parameter in model.parameters():
        sums.update(parameter.detach().numpy().tobytes())
"""


@pytest.fixture(scope="module")
def _compiled() -> None:
    """Nothing is left to compile for `EVERY_KERNEL`."""
    python(EVERY_KERNEL)


@pytest.mark.usefixtures("_compiled")
def test_every_kernel_computes_what_it_does_when_llvm_loads_it() -> None:
    report = "print(sums.hexdigest(), known())"
    alone = python(EVERY_KERNEL + report).split(maxsplit=1)
    with_llvm = python(EVERY_KERNEL + report, **BY_LLVM).split(maxsplit=1)
    assert alone[0] == with_llvm[0]
    assert (alone[1], with_llvm[1]) == ("[]", "['llvmlite']")


@pytest.mark.usefixtures("_compiled")
def test_no_memory_is_both_written_and_executed() -> None:
    code = """
lines = Path("/proc/self/maps").read_text().splitlines()
print(sum("w" in line.split()[1] and "x" in line.split()[1] for line in lines))
"""
    assert python(EVERY_KERNEL + code) == "0"


def test_a_forked_child_has_the_code_and_loads_more() -> None:
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks while threads run
kernels.set_kernels("jit")
x = np.random.default_rng(0).standard_normal((2, 16, 64, 64), np.float32)
expected = kernels.relu(x)
def right():
    total = kernels.sum(x, (0, 2, 3))
    return np.array_equal(kernels.relu(x), expected) and np.isfinite(total).all()
child = os.fork()
if child == 0:
    os._exit(0 if right() else 1)
print(os.waitpid(child, 0)[1], right(), known())
"""
    python(code)  # compiles what is missing
    assert python(code) == "0 True []"


NO_NEW_CODE = """
import ctypes, warnings
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, as systemd's MemoryDenyWriteExecute
    print("skip")
    sys.exit()
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as seen:
    model = tg.nn.Sequential(tg.nn.Conv2d(16, 16, 3), tg.nn.BatchNorm2d(16), tg.nn.ReLU())
    model(tg.randn(4, 16, 16, 16)).sum().backward()
print(all("allows no new executable memory" in str(w.message) for w in seen), len(seen) > 0)
"""


@pytest.mark.parametrize("by_llvm", [False, True])
def test_where_only_files_can_be_run_libraries_are_and_else_numpy_computes(by_llvm: bool) -> None:
    python(NO_NEW_CODE.replace("prctl(65", "prctl(66"))  # compiles what is missing
    shown = python(NO_NEW_CODE, **(BY_LLVM if by_llvm else {}))
    if shown == "skip":
        pytest.skip("this kernel does not know PR_SET_MDWE")
    assert shown == f"True {by_llvm}"
