"""What ranks do together to tensors, checked on each of them."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cnn as tg
from tests.distributed.ranks import main
from tinygrad_cnn import distributed as dist

rank, size = dist.get_rank, dist.get_world_size
DTYPES = [tg.float16, tg.float32, tg.float64, tg.complex64, tg.int8, tg.int64, tg.uint8]


def _of(r: int, dtype=tg.float32, shape=(2, 3)) -> np.ndarray:
    """What rank r has."""
    return (np.arange(1, 1 + np.prod(shape)).reshape(shape) + r).astype(dtype)


def _all(dtype=tg.float32, shape=(2, 3)) -> np.ndarray:
    return np.stack([_of(r, dtype, shape) for r in range(size())])


def check_who():
    assert dist.is_initialized()
    assert dist.get_backend() == "mpi"
    assert 0 <= rank() < size() == dist.launched()
    with pytest.raises(RuntimeError, match="there is a process group already"):
        dist.init_process_group()


def check_all_reduce_of_every_dtype():
    for dtype in DTYPES:
        for op, numpy in (("SUM", np.sum), ("PRODUCT", np.prod), ("MIN", np.min), ("MAX", np.max)):
            if dtype == tg.complex64 and op in ("MIN", "MAX"):
                with pytest.raises(TypeError, match="complex numbers have no order"):
                    dist.all_reduce(tg.ones(1, dtype=dtype), op)
                continue
            t = tg.tensor(_of(rank(), dtype))
            assert dist.all_reduce(t, getattr(dist.ReduceOp, op)) is None
            assert t.dtype == dtype
            np.testing.assert_array_equal(t.numpy(), numpy(_all(dtype), 0).astype(dtype))


def check_mean():
    t = tg.tensor(_of(rank()))
    dist.all_reduce(t, dist.ReduceOp.AVG)
    np.testing.assert_allclose(t.numpy(), _all().mean(0), rtol=1e-6)
    with pytest.raises(TypeError, match="`op` is AVG"):
        dist.all_reduce(tg.ones(2, dtype=tg.int64), dist.ReduceOp.AVG)


def check_booleans():
    one = tg.tensor([rank() == 0, True, False])
    for op, expected in (("SUM", [True, True, False]), ("MIN", [size() == 1, True, False])):
        t = one.clone()
        dist.all_reduce(t, op)
        assert t.tolist() == expected


def check_views_and_laziness():
    whole = tg.tensor(_of(rank(), shape=(4, 6)))
    dist.all_reduce(whole[:, ::2])  # a view with gaps
    expected = _of(rank(), shape=(4, 6))
    expected[:, ::2] = _all(shape=(4, 6)).sum(0)[:, ::2]
    np.testing.assert_array_equal(whole.numpy(), expected)
    images = tg.tensor(np.ones((2, 3, 8, 8), np.float32))
    before = tg.relu(images)  # may wait to be computed
    dist.all_reduce(images)
    after = tg.relu(images)
    assert before.sum().item() == 2 * 3 * 64
    assert after.sum().item() == 2 * 3 * 64 * size()


def check_no_gradient_knows():
    w = tg.ones(3, requires_grad=True)
    dist.broadcast(w, 0)
    y = w * 2
    kept = y * y
    with tg.no_grad():
        dist.all_reduce(y)
    with pytest.raises(RuntimeError, match="all_reduce changed it in place"):
        kept.sum().backward()


def check_broadcast():
    for root in range(size()):
        t = tg.tensor(_of(rank()))
        dist.broadcast(t, src=root)
        np.testing.assert_array_equal(t.numpy(), _of(root))


def check_reduce():
    t = tg.tensor(_of(rank()))
    dist.reduce(t, dst=size() - 1)
    expected = _all().sum(0) if rank() == size() - 1 else _of(rank())
    np.testing.assert_array_equal(t.numpy(), expected)


def check_all_gather():
    out = [tg.zeros(2, 3) for _ in range(size())]
    dist.all_gather(out, tg.tensor(_of(rank())))
    np.testing.assert_array_equal(np.stack([t.numpy() for t in out]), _all())
    for shape in ((size() * 2, 3), (size(), 2, 3)):
        whole = tg.zeros(*shape)
        dist.all_gather_into_tensor(whole, tg.tensor(_of(rank())))
        np.testing.assert_array_equal(whole.numpy().reshape(size(), 2, 3), _all())


def check_gather_and_scatter():
    out = [tg.zeros(2, 3) for _ in range(size())] if rank() == 0 else None
    dist.gather(tg.tensor(_of(rank())), out)
    if out is not None:
        np.testing.assert_array_equal(np.stack([t.numpy() for t in out]), _all())
    mine = tg.zeros(2, 3)
    given = [tg.tensor(_of(r)) for r in range(size())] if rank() == 0 else None
    dist.scatter(mine, given)
    np.testing.assert_array_equal(mine.numpy(), _of(rank()))


def check_reduce_scatter():
    given = [tg.tensor(_of(rank()) * (r + 1)) for r in range(size())]
    out = tg.zeros(2, 3)
    dist.reduce_scatter(out, given)
    np.testing.assert_array_equal(out.numpy(), _all().sum(0) * (rank() + 1))
    dist.reduce_scatter_tensor(out, tg.cat(given), dist.ReduceOp.MAX)
    np.testing.assert_array_equal(out.numpy(), _all().max(0) * (rank() + 1))


def check_send_and_recv():
    right, left = (rank() + 1) % size(), (rank() - 1) % size()
    t = tg.zeros(2, 3)
    if rank() % 2 == 0 and rank() + 1 < size():
        dist.send(tg.tensor(_of(rank())), right, tag=3)
    elif rank() % 2:
        assert dist.recv(t, left, tag=3) == left
        np.testing.assert_array_equal(t.numpy(), _of(left))
    if rank() == 0:
        dist.send(tg.ones(5), 1)
    elif rank() == 1:
        with pytest.raises(RuntimeError, match=r"recv: .*float32 \(4,\).*rank 0 has sent.*\(5,\)"):
            dist.recv(tg.ones(4))
    with pytest.raises(ValueError, match="send: `dst`"):
        dist.send(t, rank())


def check_async():
    a, b = tg.full((3,), float(rank())), tg.full((2,), float(rank()))
    works = [dist.all_reduce(a, async_op=True), dist.all_reduce(b, "MAX", async_op=True)]
    for work in works if rank() else reversed(works):  # in any order
        assert work.wait()
        assert work.is_completed()
    total = size() * (size() - 1) / 2
    assert (a.tolist(), b.tolist()) == ([total] * 3, [size() - 1] * 2)
    work = dist.all_reduce(a, async_op=True)
    dist.barrier()
    while not work.is_completed():
        pass
    assert a.tolist() == [total * size()] * 3


def check_what_differs_is_an_error_on_all():
    with pytest.raises(RuntimeError, match=r"different things: rank 0: all_reduce: SUM of float32"):
        dist.all_reduce(tg.ones(3 if rank() == 0 else 4))
    with pytest.raises(RuntimeError, match=r"float32 \(3,\); rank 1.*float64 \(3,\)"):
        dist.all_reduce(tg.ones(3, dtype=tg.float64 if rank() else tg.float32))
    with pytest.raises(RuntimeError, match=r"rank 0: barrier; rank 1.*broadcast"):
        dist.barrier() if rank() == 0 else dist.broadcast(tg.ones(1), 0)
    with pytest.raises(RuntimeError, match=r"from rank 0; rank 1.*from rank 1"):
        dist.broadcast(tg.ones(1), min(rank(), 1))
    dist.barrier()  # and all is well after that


def check_arguments():
    for call, error, match in (
        (lambda: dist.all_reduce(3), TypeError, "all_reduce: `tensor` is a int"),
        (lambda: dist.all_reduce(tg.ones(1), "MEAN"), TypeError, "`op` is 'MEAN'"),
        (lambda: dist.broadcast(tg.ones(1), size()), ValueError, "broadcast: `src` is"),
        (lambda: dist.all_gather([tg.ones(1)] * 99, tg.ones(1)), ValueError, "99 tensors"),
        (lambda: dist.all_gather([tg.ones(2)] * size(), tg.ones(1)), ValueError, r"\[0\]. is"),
        (lambda: dist.all_gather_into_tensor(tg.ones(1), tg.ones(7)), ValueError, "expected"),
        (lambda: dist.all_reduce(tg.ones(1).expand(3)), RuntimeError, "read-only memory"),
        (lambda: dist.barrier(group=3), ValueError, "`group` is 3"),
    ):
        with pytest.raises(error, match=match):
            call()


def check_the_sampler_asks_the_group():
    sampler = tg.utils.data.DistributedSampler(range(10))
    assert (sampler.num_replicas, sampler.rank) == (size(), rank())


def check_in_a_program():
    @tg.compile
    def function(x):
        y = x * 2
        dist.all_reduce(y)
        return y + 1

    for i in range(4):
        got = function(tg.full((5,), float(rank() + i)))
        assert got.tolist() == [2 * (size() * (size() - 1) / 2 + size() * i) + 1] * 5
    assert "replayed" in function.explain()


if __name__ == "__main__":
    main(globals())
