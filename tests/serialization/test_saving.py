"""Files: what goes in comes out, and what is damaged is never mistaken for good."""

import itertools
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save as to_bytes

import tinygrad_cnn as tg
from tinygrad_cnn.serialization import (
    SerializationError,
    load,
    load_state,
    save,
    save_state,
    write_atomically,
)
from tinygrad_cnn.serialization.nested import checksum, read_noted
from tinygrad_cnn.serialization.source import Source

DTYPES = [
    tg.float16,
    tg.float32,
    tg.float64,
    tg.int8,
    tg.int16,
    tg.int32,
    tg.int64,
    tg.uint8,
    tg.bool,
]


def same(a, b):
    """Whether two nested states are equal, down to types, dtypes and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tg.Tensor):
        return same(a.detach().numpy(), b.numpy())
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b or (a != a and b != b)


arrays = hnp.arrays(
    st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**140), 2**140)  # the states of generators are longer than 64 bits
    | st.floats()
    | st.text(max_size=5)
    | arrays
    | arrays.map(tg.from_numpy)
)
keys = st.text(max_size=4) | st.integers(0, 3) | st.just("__metadata__")
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(tree=trees)
def test_nested_states_round_trip(tree, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"tree-{os.getpid()}.safetensors"
    save(tree, path)
    assert same(tree, load(path))


def test_colliding_names_are_kept_apart(tmp_path):
    state = {"a.b": tg.tensor([1.0]), "a": {"b": tg.tensor([2.0])}, "__metadata__": tg.tensor(3)}
    save(state, tmp_path / "s")
    assert same(state, load(tmp_path / "s"))


def test_any_memory_order_is_stored_by_value(tmp_path):
    x = tg.from_numpy(np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[::-1])
    save({"x": x}, tmp_path / "s")
    back = load(tmp_path / "s")["x"]
    np.testing.assert_array_equal(back.numpy(), x.numpy())
    back.fill_(1)  # owns writable memory


def test_state_dicts_are_plain_safetensors_files(tmp_path):
    from safetensors.numpy import load_file, save_file

    state = {"fc.weight": tg.randn(2, 3), "fc.bias": tg.zeros(2)}
    save_state(state, tmp_path / "model.safetensors")
    theirs = load_file(tmp_path / "model.safetensors")
    assert {k: v.tobytes() for k, v in theirs.items()} == {
        k: v.numpy().tobytes() for k, v in state.items()
    }
    save_file(theirs, tmp_path / "other.safetensors")
    assert list(load_state(tmp_path / "model.safetensors")) == list(state)
    assert same(load_state(tmp_path / "other.safetensors")["fc.weight"], state["fc.weight"])


def test_equal_states_give_equal_files(tmp_path):
    state = {"b": tg.ones(3), "a": tg.zeros(2), "n": 1}
    save(state, tmp_path / "1")
    save(state, tmp_path / "2")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_optimizer_and_model_states_round_trip(tmp_path):
    from tinygrad_cnn import nn, optim

    def make():
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        return model, optim.Adam(model.parameters(), lr=0.1)

    def step(model, optimizer, x):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()

    tg.manual_seed(0)
    model, optimizer = make()
    x = tg.randn(5, 3)
    step(model, optimizer, x)
    save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "s")
    other, other_optimizer = make()
    state = load(tmp_path / "s")
    other.load_state_dict(state["model"])
    other_optimizer.load_state_dict(state["optimizer"])
    step(model, optimizer, x)
    step(other, other_optimizer, x)
    assert same(dict(model.state_dict()), dict(other.state_dict()))


def test_what_cannot_be_stored_is_named(tmp_path):
    with pytest.raises(SerializationError, match=r"object at `a\.1`"):
        save({"a": [1, object()]}, tmp_path / "s")
    with pytest.raises(SerializationError, match=r"key \(1,\) at the top is a tuple"):
        save({(1,): 2}, tmp_path / "s")
    with pytest.raises(SerializationError, match="complex128"):
        save(np.zeros(2, np.complex128), tmp_path / "s")
    with pytest.raises(SerializationError, match="not tensors: epoch; use `save`"):
        save_state({"w": tg.ones(1), "epoch": 3}, tmp_path / "s")
    assert not list(tmp_path.iterdir())


def test_every_truncated_or_altered_file_is_refused(tmp_path):
    path, bad = tmp_path / "good", tmp_path / "bad"
    state = {"w": tg.arange(6, dtype=tg.float32), "epoch": 3, "name": "x"}
    save(state, path)
    data = path.read_bytes()
    for end in range(0, len(data), 7):
        bad.write_bytes(data[:end])
        with pytest.raises(SerializationError, match="damaged"):
            load(bad)
    for at in range(len(data)):
        bad.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            found = load(bad)
        except SerializationError:
            continue
        # A bit in the name of our metadata entry: a foreign file, of tensors only.
        assert list(found) == ["w"]
        assert same(found["w"], state["w"])


def test_foreign_files_are_named(tmp_path):
    path = tmp_path / "x"
    for content in (b"", b"hello"):
        path.write_bytes(content)
        with pytest.raises(SerializationError, match="damaged or not a safetensors file"):
            load(path)
    path.write_bytes(b"PK\x03\x04" * 20)
    with pytest.raises(SerializationError, match="damaged"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")
    save([tg.ones(1)], path)
    with pytest.raises(SerializationError, match="nested state"):
        load_state(path)
    from safetensors.numpy import save_file

    note = {"version": 99, "checksum": 0, "tree": "null"}
    save_file({"w": np.ones(1)}, path, {"tinygrad_cnn": json.dumps(note)})
    with pytest.raises(SerializationError, match="version 99"):
        load(path)
    save_file({"w": np.ones(1)}, path, {"tinygrad_cnn": "[]"})
    with pytest.raises(SerializationError, match="metadata is not ours"):
        load(path)


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, moment):
    path = tmp_path / "state"
    save({"epoch": 1}, path)

    def fail(*args):
        raise OSError("disk full")

    if moment == "write":
        real = open

        def broken(file, mode="r", *args, **kwargs):
            opened = real(file, mode, *args, **kwargs)
            if mode == "x+b":
                opened.close()  # the write that follows fails
            return opened

        monkeypatch.setattr("builtins.open", broken)
    else:
        monkeypatch.setattr(os, moment, fail)
    with pytest.raises((OSError, ValueError)):
        save({"epoch": 2}, path)
    monkeypatch.undo()
    assert load(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_process_killed_while_it_writes_leaves_a_whole_file(tmp_path, moment):
    path = tmp_path / "state"
    save({"epoch": 1}, path)
    code = (
        "import os, signal, sys\n"
        "from tinygrad_cnn.serialization import save\n"
        f"os.{moment} = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "save({'epoch': 2}, sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert load(path) == {"epoch": 1}


def test_a_file_that_the_disk_gives_back_changed_never_takes_the_old_ones_place(
    tmp_path, monkeypatch
):
    path, real = tmp_path / "state", os.fsync
    write_atomically(path, "old")

    def fsync(descriptor):
        os.pwrite(descriptor, b"?", 1)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="what was written is not what the disk gives back"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.skipif(os.name != "posix", reason="Windows removes no open files")
@pytest.mark.parametrize("dead", [False, True])
def test_the_draft_of_a_living_process_stays_and_that_of_a_dead_one_goes(tmp_path, dead):
    code = (
        "import os, sys\n"
        "from tinygrad_cnn.serialization import write_atomically\n"
        "os.replace = lambda *a: print(end='now', flush=True) or sys.stdin.read()\n"
        "write_atomically(sys.argv[1], 'other')\n"
    )
    path = tmp_path / "state"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(3) == b"now"
        if dead:
            process.kill()
            process.wait()
        write_atomically(path, "ours")
        assert len(os.listdir(tmp_path)) == (1 if dead else 2)
        process.kill()
    assert path.read_text() == "ours"


def test_a_draft_of_this_name_and_number_is_in_nobodys_way(tmp_path, monkeypatch):
    counter = itertools.count(7)
    monkeypatch.setattr("tinygrad_cnn.serialization.files._counter", counter)
    (tmp_path / f".state.{os.getpid()}-7.tmp").touch()  # in a container numbers come again
    write_atomically(tmp_path / "state", "whole")
    assert os.listdir(tmp_path) == ["state"]


def crafted(path, change=lambda tree: tree, **changes):
    """A file with a changed tree and note, and the right checksum."""
    x = tg.arange(6.0)
    save({"a": [x[1:], x[:3]], "b": (tg.ones(2),)}, path)
    with Source(path) as source:
        arrays, note = read_noted(source)
    tree = note["tree"] if "tree" in changes else json.dumps(change(json.loads(note["tree"])))
    note |= {"tree": tree, "checksum": checksum(arrays, tree)} | changes
    path.write_bytes(to_bytes(arrays, {"tinygrad_cnn": json.dumps(note)}))


def deep(levels, value=None):
    for _ in range(levels):
        value = [value]
    return value


def parts(*place):
    return lambda tree: {"dict": [["a", {"tensor": "a.0", "part": list(place)}]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: [tree] * 2, "damaged"),  # a small file asks for copies without end
        (lambda tree: deep(900), "damaged"),
        (lambda tree: {"dict": [[[], 1]]}, "damaged"),
        (lambda tree: {"tensor": "c"}, "damaged"),
        (lambda tree: {}, "damaged"),
        (parts(0, 2**50, 0, [4]), r"its tensors lie in \d+ bytes of memory"),
        (parts(0, 8, 0, [4]), "damaged"),  # beyond the memory
        (parts(0, 24, -4, [4]), "damaged"),
        (parts(0, 24, 0, [4, 4]), "damaged"),
        (parts([], 24, 0, [4]), "damaged"),
        (parts(0, 24), "damaged"),
    ],
)
def test_crafted_trees_under_a_right_checksum_are_refused(tmp_path, change, message):
    crafted(tmp_path / "state", change)
    with pytest.raises(SerializationError, match=message) as caught:
        load(tmp_path / "state")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("changes", [{"tree": 5}, {"tree": None}, {"version": []}, {"version": 9}])
def test_crafted_notes_are_refused(tmp_path, changes):
    crafted(tmp_path / "state", **changes)
    with pytest.raises(SerializationError, match=r"damaged|version"):
        load(tmp_path / "state")


def test_bytes_of_a_boolean_tensor_are_zero_or_one(tmp_path):
    header = json.dumps({"a": {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}}).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(header)) + header + b"\x00\x02\xff")
    loaded = load(tmp_path / "a")["a"]
    assert loaded.tolist() == [False, True, True]
    assert loaded.sum().item() == 2


def test_text_is_written_as_utf8_under_the_users_umask(tmp_path):
    write_atomically(tmp_path / "a", "naïve")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "a").read_bytes() == "naïve".encode()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
