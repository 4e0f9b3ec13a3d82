"""`DistributedDataParallel` and `SyncBatchNorm` on one to four ranks."""

from __future__ import annotations

import pytest

from tests.distributed.ranks import expect_good, names, needs_mpi
from tinygrad_cnn import nn

FILE = "parallel.py"


@needs_mpi
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("name", names(FILE))
def test_on_ranks(name, ranks):
    expect_good(FILE, name, ranks)


def test_a_group_is_needed():
    with pytest.raises(ValueError, match="DistributedDataParallel: there is no process group"):
        nn.parallel.DistributedDataParallel(nn.Linear(1, 1))
