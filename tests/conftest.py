"""What every test runs under: deterministic properties, and nothing left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core: no second level of threads
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is first imported

os.environ.setdefault("TINYGRAD_CNN_QUIET", "1")  # how long things take must not change outputs

import pytest
from hypothesis import HealthCheck, settings

import tinygrad_cnn as tg
from tinygrad_cnn.autograd import is_anomaly_enabled

_common = {
    "deadline": None,  # a busy machine is not a failing property
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("ci", derandomize=True, max_examples=40, database=None, **_common)
settings.register_profile("thorough", max_examples=1000, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--kernels jit`` runs the tests on compiled kernels wherever there are any, ``--slow`` those
    marked `slow` too.
    """
    parser.addoption("--kernels", choices=["auto", "jit", "reference"], default="auto")
    parser.addoption("--slow", action="store_true")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests unless they are asked for."""
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: pytest --slow"))


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test starts from one seed and fails if it leaks a grad mode or a thread."""
    tg.manual_seed(0)
    tg.set_kernels(request.config.getoption("--kernels"))
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
