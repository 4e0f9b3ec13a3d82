"""What every test runs under: deterministic properties, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core: no second level of threads
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is first imported

os.environ.setdefault("TINYGRAD_CNN_QUIET", "1")  # how long things take must not change outputs

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import is_anomaly_enabled
from tinygrad_cnn.kernels import choice

_common = {
    "deadline": None,  # a busy machine is not a failing property
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("ci", derandomize=True, max_examples=40, database=None, **_common)
settings.register_profile("thorough", max_examples=1000, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


KERNELS = pytest.StashKey[str]()  # what a test is run with
TESTS = Path(__file__).parent
# Where tests reach compiled kernels in their own process, and do not ask for others.
REACHING = {"autograd", "data", "differential", "func", "kernels", "models", "nn", "ops", "optim"}
REACHING |= {"functions", "profiler", "serialization", "test_copying.py"}
HOW = re.compile(r"\(?((?:pip|apt-get|apt) install .*?|pytest --slow)\)?$")


class Asked(str):
    """The kernels that the command line asked for, as opposed to those that a test chooses."""

    launches = 0  # of compiled kernels that these were


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--kernels jit`` runs the tests on compiled kernels wherever there are any, ``--kernels
    both`` so and then again as users have it those that reached one; ``--slow`` runs those marked
    `slow` too.
    """
    parser.addoption("--kernels", choices=["auto", "jit", "reference", "both"], default="auto")
    parser.addoption("--slow", action="store_true")


def pytest_configure(config: pytest.Config) -> None:
    """Count what ``--kernels both`` has to know; let tests interrupt the programs they start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--kernels") == "both" and choice.has_numba():
        from tinygrad_cnn.kernels.jit.threads import pool

        launch = pool.launch

        def counted(block: bytes) -> Any:
            Asked.launches += isinstance(choice.chosen.get(), Asked)
            return launch(block)

        pool.launch = counted


@pytest.fixture(params=["reference", "jit"])
def each_set_of_kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """NumPy's kernels, then the compiled ones for arrays of every size."""
    if request.param == "jit":
        pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    former = tg.set_kernels(request.param)
    yield
    tg.set_kernels(former)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests unless they are asked for."""
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: pytest --slow"))


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test on one set of kernels after the other, if it is asked for."""
    if item.config.getoption("--kernels") != "both" or not choice.has_numba():
        return None
    if TESTS not in item.path.parents or item.path.relative_to(TESTS).parts[0] not in REACHING:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for kernels in ("jit", "auto"):
        before = Asked.launches
        item.stash[KERNELS] = kernels
        item._initrequest()
        for report in runtestprotocol(item, log=False, nextitem=nextitem):
            report.sections.append(("kernels", kernels))
            item.ihook.pytest_runtest_logreport(report=report)
        if Asked.launches == before:
            break
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was not run, and how it can be."""
    how: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = str(report.longrepr[-1]).removeprefix("Skipped: ")
        found = HOW.search(reason)
        (how if found else elsewhere)[found[1] if found else reason] += 1
    if not how and not elsewhere:
        return
    terminalreporter.section("not run")
    for wanted, count in how.most_common():
        terminalreporter.line(f"{count:5}  to run {'it' if count == 1 else 'them'}: {wanted}")
    for reason, count in elsewhere.most_common():
        terminalreporter.line(f"{count:5}  not here: {reason}")
    if config.getoption("--kernels") == "auto":
        terminalreporter.line("Compiled kernels for arrays of every size: pytest --kernels both")


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test starts from one seed and fails if it leaks a grad mode or a thread."""
    tg.manual_seed(0)
    kernels = request.node.stash.get(KERNELS, request.config.getoption("--kernels"))
    tg.set_kernels("auto" if kernels == "both" else kernels)
    choice.chosen.set(Asked(choice.chosen.get()))
    before = set(threading.enumerate())
    yield
    recording = tg.is_grad_enabled()
    tg.set_grad_enabled(True)
    assert recording, "the test left recording switched off"
    assert not is_anomaly_enabled(), "the test left anomaly mode switched on"
    leaked = [
        t
        for t in threading.enumerate()
        if t not in before and t.is_alive() and not t.name.startswith("tinygrad_cnn")
    ]
    for thread in leaked:
        thread.join(1.0)
    assert not [t for t in leaked if t.is_alive()], f"the test left threads running: {leaked}"
