"""DataLoader's worker processes: the same batches, shared memory, and ends of all kinds."""

import functools
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from test_loader import Broken, OneByOne, Pictures, jitter

import tinygrad_cnn as tg
from tinygrad_cnn import data
from tinygrad_cnn.data import DataLoader, packing
from tinygrad_cnn.data.keyed import sample_random

pytestmark = [
    # Python 3.12 warns where it forks while threads run: kernels' threads, which do nothing then.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.skipif(
        "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
    ),
]


def workers():
    return [p for p in multiprocessing.active_children() if p.name.startswith("DataLoader")]


def descriptors():
    return len(os.listdir("/dev/fd"))


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    gc.collect()  # errors hold frames, which hold them
    assert workers() == []


class Numbers(data.Dataset):
    """Samples of many kinds, with random numbers of their own; large where wanted."""

    def __init__(self, n=11, side=3):
        self.n, self.side = n, side

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        noise = sample_random().random(1).astype(np.float32)
        image = np.full((self.side, self.side, 2), index, np.float32).transpose(2, 0, 1) + noise
        return {"x": image, "y": tg.tensor([index]), "z": (str(index), index), "e": np.zeros(0)}


class Stream(data.IterableDataset):
    def __iter__(self):
        worker = data.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for i in range(first, 11, step):
            yield i, float(sample_random().random(1)[0])


class Told(data.Dataset):
    """What a sample finds out about where it is read."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        info = data.get_worker_info()
        settings = (tg.is_grad_enabled(), str(tg.get_default_dtype()))
        drawn = random.random(), np.random.random(), tg.rand(()).item()  # noqa: NPY002
        return os.getpid(), info and (info.id, info.num_workers, info.seed), settings, drawn


def first(samples):
    return samples[0]


def plain(batch):
    if isinstance(batch, dict):
        return {k: plain(v) for k, v in batch.items()}
    if isinstance(batch, tuple | list):
        return [plain(v) for v in batch]
    if isinstance(batch, tg.Tensor | np.ndarray):
        array = batch.numpy() if isinstance(batch, tg.Tensor) else batch
        return type(batch).__name__, array.dtype.str, array.size and array.strides, array.tolist()
    return batch


def collate(samples):
    return [data.default_collate([s["x"] for s in samples]), [s["z"] for s in samples]]


@pytest.mark.parametrize(
    ("context", "count"), [("fork", 1), ("fork", 3), ("spawn", 2), ("forkserver", 2)]
)
def test_the_same_batches_whoever_reads(context, count):
    makes = [
        functools.partial(DataLoader, Pictures(), 4, True, transform=jitter),
        functools.partial(DataLoader, Numbers(), 3, True),
        functools.partial(DataLoader, Numbers(), 3, collate_fn=collate),
        functools.partial(DataLoader, Numbers(3, 200), None),
        functools.partial(DataLoader, [1, 2, 3], 2, sampler=[2, 0, 0], drop_last=True),
    ]
    for make in makes[: 1 if context != "fork" else None]:  # the others take long to start
        alone = make(generator=tg.Generator(7))
        together = make(
            generator=tg.Generator(7),
            num_workers=count,
            multiprocessing_context=context,
            persistent_workers=True,
        )
        for _ in range(2):
            assert [plain(b) for b in together] == [plain(b) for b in alone]
        assert [plain(b) for b in together.epoch(3, 1)] == [plain(b) for b in alone.epoch(3, 1)]
        del together


@pytest.mark.parametrize("persistent", [False, True])
def test_streams_are_those_of_threads(persistent):
    def read(**arguments):
        loader = DataLoader(
            Stream(),
            2,
            num_workers=3,
            generator=tg.Generator(1),
            persistent_workers=persistent,
            **arguments,
        )
        return [plain(b) for _ in range(2) for b in loader]

    assert read(multiprocessing_context="fork") == read()
    assert read(multiprocessing_context=multiprocessing.get_context("fork")) == read()


def root_of(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array


def test_large_arrays_are_shared_and_not_pickled(monkeypatch):
    monkeypatch.setattr(packing, "_MOST", 2)
    before = descriptors()
    sizes, unpack = [], packing.unpack

    def measured(pickled, buffers):
        sizes.append(len(pickled))
        return unpack(pickled, buffers)

    monkeypatch.setattr(packing, "unpack", measured)
    loader = DataLoader(Numbers(8, 200), 2, num_workers=2, multiprocessing_context="fork")
    batches = list(loader)
    assert max(sizes) < 2000
    kinds = [type(root_of(b["x"].numpy()).obj).__name__ for b in batches]
    assert kinds == ["mmap", "mmap", "bytearray", "bytearray"]  # the first two hold descriptors
    for i, batch in enumerate(batches):
        assert np.floor(batch["x"].numpy()[1, 1, 5]).tolist() == [2 * i + 1] * 200
        batch["x"] += 1  # whoever has it may write to it
        if i < 2:
            assert batch["x"].numpy().__array_interface__["data"][0] % 64 == 0
    del batches, batch
    assert descriptors() == before


def test_packed_values_keep_what_they_are():
    shared = np.arange(5)
    values = [
        np.arange(6.0)[::-2],
        np.float32(3) * np.ones(()),
        np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
        np.broadcast_to(np.arange(3), (2, 3)),
        np.array(["a", None], object),
        np.zeros((0, 3)),
        np.arange(3).astype("M8[D]"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        tg.ones(2, requires_grad=True),
    ]
    packed = packing.pack((values, shared, shared))
    got, one, two = packing.unpack(packed.data, [bytearray(p) for p in packed.parts])
    for value, other in zip(values, got, strict=True):
        assert type(value) is type(other)
        assert (value.dtype, value.shape) == (other.dtype, other.shape)
        assert value.tolist() == other.tolist()
    assert one is two
    assert one.flags.writeable
    assert got[-1].requires_grad
    part = tg.zeros(1000, 1000)[3]  # not the memory around it
    assert sum(packing.pack(part).sizes) == part.nbytes


class Odd(Exception):
    """Has an argument of its own, without which it cannot be made."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


class Failing(OneByOne):
    def __getitem__(self, index):
        raise Odd("salt", "pepper")


@pytest.mark.parametrize("persistent", [False, True])
def test_an_exception_arrives_in_its_place_with_its_traceback(persistent):
    arguments = {
        "num_workers": 2,
        "multiprocessing_context": "fork",
        "persistent_workers": persistent,
    }
    loader = DataLoader(Broken(), 4, **arguments)
    for _ in range(2):
        seen = []
        with pytest.raises(KeyError, match="sample nine") as caught:
            seen.extend(y.tolist() for _, y in loader)
        assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]
        (note,) = caught.value.__notes__
        assert note.startswith("in the worker 'DataLoader-0' (process ")
        assert 'raise KeyError("sample nine")' in note
        assert bool(workers()) == persistent
    loader = DataLoader(Failing(), 4, **arguments)
    with pytest.raises(RuntimeError, match="Odd: salt and pepper") as caught:
        list(loader)
    assert 'raise Odd("salt", "pepper")' in caught.value.__notes__[0]


def test_what_cannot_be_pickled_cannot_leave_its_process():
    loader = DataLoader(
        range(4),
        num_workers=1,
        multiprocessing_context="fork",
        collate_fn=lambda samples: lambda: samples,
    )
    with pytest.raises(TypeError, match=r"a batch cannot leave a worker process, .*lambda"):
        next(iter(loader))


def test_a_graph_cannot_leave_its_process():
    samples = [tg.ones(2, requires_grad=True) for _ in range(4)]
    loader = DataLoader(samples, 2, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(RuntimeError, match=r"a Tensor with a graph, .* detach"):
        next(iter(loader))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_is_an_error_at_once(victim):
    class Sleepy(OneByOne):
        def __getitem__(self, index):
            time.sleep(60 if index > 1 else 0)
            return index

    loader = DataLoader(Sleepy(), num_workers=2, multiprocessing_context="fork", prefetch_factor=1)
    iterator = iter(loader)
    next(iterator)
    name = f"DataLoader-{victim}"
    (process,) = [p for p in workers() if p.name == name]
    os.kill(process.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=f"worker '{name}' .* was killed by SIGKILL"):
        list(iterator)
    assert time.monotonic() - start < 20
    assert workers() == []


def leave(number):
    os._exit(number + 3)


def test_a_worker_that_ends_says_how():
    loader = DataLoader(
        range(4), num_workers=1, multiprocessing_context="fork", worker_init_fn=leave
    )
    with pytest.raises(RuntimeError, match="ended with exit code 3 before its first batch"):
        list(loader)


def test_a_worker_that_is_late_is_an_error():
    class Slow(OneByOne):
        def __getitem__(self, index):
            time.sleep(60)

    loader = DataLoader(Slow(), num_workers=2, multiprocessing_context="fork", timeout=0.2)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"no batch within the `timeout` of 0\.2 seconds"):
        next(iter(loader))
    assert time.monotonic() - start < 20


def test_stopping_early_leaves_no_process():
    before = descriptors()
    loader = DataLoader(OneByOne(60), 2, num_workers=3, multiprocessing_context="fork")
    for _ in loader:
        assert len(workers()) == 3
        break
    assert workers() == []
    iterator = iter(loader)
    next(iterator)
    del iterator
    assert workers() == []
    iter(loader)  # never asked for anything
    assert workers() == []
    assert descriptors() == before


def test_persistent_workers_are_kept_and_skip_what_is_left():
    ready = multiprocessing.get_context("fork").Value("i", 0)

    def prepare(number):
        with ready.get_lock():
            ready.value += 1

    loader = DataLoader(
        OneByOne(12),
        2,
        num_workers=2,
        multiprocessing_context="fork",
        persistent_workers=True,
        worker_init_fn=prepare,
    )
    next(iter(loader))
    before = {p.pid for p in workers()}
    numbers = [[2 * i, 2 * i + 1] for i in range(6)]
    assert [y.tolist() for _, y in loader] == numbers
    assert {p.pid for p in workers()} == before
    assert ready.value == 2
    pairs = [(a[1].tolist(), b[1].tolist()) for a, b in zip(loader, loader, strict=True)]
    assert pairs == [(n, n) for n in numbers]  # the second has workers of its own
    assert len(workers()) == 2
    del loader
    assert workers() == []


def test_an_interrupt_ends_workers_and_the_next_epoch_has_others():
    class Slow(OneByOne):
        def __getitem__(self, index):
            time.sleep(60 if index == 3 and slow.value else 0)
            return index

    def interrupt(number, frame):
        raise KeyboardInterrupt

    slow = multiprocessing.get_context("fork").Value("b", True)
    loader = DataLoader(
        Slow(4), num_workers=2, multiprocessing_context="fork", persistent_workers=True
    )
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        with pytest.raises(KeyboardInterrupt):
            list(loader)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    assert workers() == []
    slow.value = False
    assert [batch.item() for batch in loader] == [0, 1, 2, 3]
    del loader


def test_workers_know_who_they_are_and_what_is_set():
    def read(context, seed):
        loader = DataLoader(
            Told(), 1, collate_fn=first, num_workers=2, multiprocessing_context=context
        )
        return list(loader.epoch(seed))

    tg.set_default_dtype(tg.float64)
    try:
        with tg.no_grad():
            spawned, forked = read("spawn", 2**64 - 1), read("fork", 2**64 - 1)
    finally:
        tg.set_default_dtype(tg.float32)
    assert os.getpid() not in {told[0] for told in forked + spawned}
    assert [told[1] for told in forked] == [(0, 2, 2**64 - 1), (1, 2, 0)] * 2
    assert {told[2] for told in forked} == {(False, "float64")}
    assert [told[1:] for told in forked] == [told[1:] for told in spawned]
    assert len({told[3] for told in forked}) == 4
    assert read("fork", 1)[0][3] == read("fork", 1)[0][3]
    assert read("fork", 1)[0][3] != read("fork", 2)[0][3]


class CannotStart(OneByOne):
    def __setstate__(self, state):
        raise OSError("no such disk")


def test_what_cannot_be_pickled_is_named(capfd):
    arguments = {"num_workers": 2, "multiprocessing_context": "spawn"}
    loader = DataLoader(OneByOne(), collate_fn=lambda samples: samples, **arguments)
    with pytest.raises(TypeError, match=r"`collate_fn` \(function\) cannot be pickled.*lambda"):
        next(iter(loader))
    with pytest.raises(RuntimeError, match=r"exit code 1 before its first batch"):
        next(iter(DataLoader(CannotStart(), **arguments)))
    assert "no such disk" in capfd.readouterr().err


def test_a_worker_starts_no_processes():
    inner = DataLoader(OneByOne(), num_workers=1, multiprocessing_context="fork")

    class Nested(OneByOne):
        def __getitem__(self, index):
            return next(iter(inner))

    loader = DataLoader(Nested(), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(RuntimeError, match="in a daemon process"):
        next(iter(loader))


SCRIPT = """
    import multiprocessing, os, sys, time
    from tinygrad_cnn.data import DataLoader

    class Slow:
        def __len__(self):
            return 100
        def __getitem__(self, index):
            time.sleep(index)
            return index

    if sys.argv[1] == "SIGINT at the start":  # of the second worker
        pauses = [0.5, 0]
        os.register_at_fork(
            after_in_child=lambda: time.sleep(pauses[-1]), after_in_parent=pauses.pop
        )
    loader = DataLoader(Slow(), num_workers=2, multiprocessing_context="fork")
    iterator = iter(loader)
    next(iterator)
    print(*(p.pid for p in multiprocessing.active_children()), flush=True)
    if sys.argv[1] == "exit":
        sys.exit()
    if sys.argv[1] == "raise":
        raise KeyError
    for _ in iterator:
        pass
"""


@pytest.mark.parametrize(
    "how", ["exit", "raise", "SIGINT", "SIGINT at the start", "SIGTERM", "SIGKILL"]
)
def test_no_worker_outlives_the_program(how):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), how]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as program:
        pids = [int(word) for word in program.stdout.readline().split()]
        assert len(pids) == 2
        if how.startswith("SIGINT"):  # as Ctrl-C: to all of them
            os.killpg(program.pid, signal.SIGINT)
        elif how.startswith("SIG"):
            program.send_signal(getattr(signal, how))
        _, said = program.communicate(timeout=60)  # also waits for what holds its streams
    assert (b"KeyboardInterrupt" in said) == how.startswith("SIGINT")
    assert said.count(b"Traceback") == (how == "raise" or how.startswith("SIGINT"))
    deadline = time.monotonic() + 30
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, pids))


def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # who has ended, but whom nobody has asked, does not run
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return sys.platform != "linux"
