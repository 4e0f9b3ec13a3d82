"""Collectives: on three ranks, on one without a launcher, and without a group."""

from __future__ import annotations

import sys

import pytest

import tinygrad_cnn as tg
from tests.distributed.ranks import expect_good, names, needs_mpi, run
from tinygrad_cnn import distributed as dist

FILE = "collectives.py"


@needs_mpi
@pytest.mark.parametrize("name", names(FILE))
def test_on_three_ranks(name):
    expect_good(FILE, name, 3)


def test_without_a_group():
    assert not dist.is_initialized()
    with pytest.raises(ValueError, match="get_rank: there is no process group"):
        dist.get_rank()
    with pytest.raises(RuntimeError, match=r"all_reduce: there is no process group: call init_pro"):
        dist.all_reduce(tg.ones(1))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"backend": "nccl"}, "`backend` is 'nccl', expected 'mpi'"),
        ({"init_method": "tcp://x"}, "`init_method` is 'tcp://x'"),
        ({"timeout": -1}, "`timeout` is -1, expected a positive"),
    ],
)
def test_arguments_of_the_group(arguments, match):
    with pytest.raises(ValueError, match=match):
        dist.init_process_group(**arguments)


def test_without_mpi4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(RuntimeError, match="pip install mpi4py mpich"):
        dist.init_process_group()


@needs_mpi
def test_another_version_on_a_rank_is_refused():
    program = (
        "import os; from tinygrad_cnn.distributed import group\n"
        "if os.environ['PMI_RANK'] == '1': group.__version__ = '0.0.1'\n"
        "group.init_process_group()\nprint('trained')"
    )
    done = run(2, "-c", program)
    assert done.code != 0
    assert "trained" not in done.out
    assert "different things: rank 0: init_process_group: tinygrad_cnn" in done.err
    assert "rank 1: init_process_group: tinygrad_cnn 0.0.1" in done.err
    assert done.err.count("Traceback") == 1
