"""Files of PyTorch, read without it: what it saved comes out, and nothing that is refused runs."""

from __future__ import annotations

import io
import os
import pathlib
import sys
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest

import tinygrad_cnn as tg
from tinygrad_cnn import nn
from tinygrad_cnn.serialization import SerializationError, load_state

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")

ZIP, LEGACY = {}, {"_use_new_zipfile_serialization": False}
both = pytest.mark.parametrize("options", [ZIP, LEGACY], ids=["zip", "legacy"])
NAMES = (
    "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool "
    "complex64 complex128"
).split()


def written(value, options=ZIP):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def read(value, options=ZIP):
    return tg.load(io.BytesIO(written(value, options)))


def same(ours, theirs):
    """Equal in values, dtype, shape and strides, and in whether they require a gradient."""
    plain = theirs.detach().resolve_conj().resolve_neg().contiguous()
    kept = theirs.stride() if not theirs.is_conj() and not theirs.is_neg() else ours.stride()
    return (
        isinstance(ours, tg.Tensor)
        and ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
        and ours.shape == tuple(theirs.shape)
        and ours.stride() == kept
        and ours.requires_grad == theirs.requires_grad
        and ours.detach().numpy().tobytes() == plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    )


@both
def test_every_dtype_and_layout(options):
    base = torch.arange(24).reshape(2, 3, 4)
    for name in NAMES:
        whole = base.to(getattr(torch, name))
        views = [whole, whole.permute(2, 0, 1), whole[:, 1:, ::2], whole[1, 1, 1], whole[:0]]
        views += [whole[:1].expand(5, 3, 4), torch.zeros(0, 3, dtype=whole.dtype), whole.mT]
        got = read(views, options)
        assert all(same(a, b) for a, b in zip(got, views, strict=True)), name


@both
def test_what_is_conjugate_or_negative_in_memory(options):
    z = torch.randn(3, dtype=torch.complex64)
    for value in (z.conj(), z.conj().imag):
        assert value.is_conj() or value.is_neg()
        assert same(read(value, options), value)


@both
def test_memory_that_was_shared_is_shared(options):
    whole = torch.arange(6.0)
    got = read({"whole": whole, "tail": whole[2:], "again": whole}, options)
    assert got["again"] is got["whole"]
    got["tail"][0] = 7.0
    assert got["whole"].tolist() == [0, 1, 7, 3, 4, 5]
    assert got["whole"].untyped_storage().nbytes() == 24


@both
def test_states_of_models_and_optimizers_are_taken_by_ours(options):
    torch.manual_seed(0)
    layers = "torch.nn", "tinygrad_cnn.nn"
    theirs, ours = (
        (n := sys.modules[name]).Sequential(n.Linear(3, 4), n.BatchNorm1d(4), n.Linear(4, 2))
        for name in layers
    )
    optimizers = (
        torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9),
        tg.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9),
    )
    x = torch.randn(5, 3)

    def step(model, optimizer, x):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()

    step(theirs, optimizers[0], x)
    got = read({"model": theirs.state_dict(), "optimizer": optimizers[0].state_dict()}, options)
    assert type(got["model"]) is OrderedDict
    assert got["model"]._metadata == theirs.state_dict()._metadata
    ours.load_state_dict(got["model"])
    optimizers[1].load_state_dict(got["optimizer"])
    step(theirs, optimizers[0], x)
    step(ours, optimizers[1], tg.tensor(x.numpy()))
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), value.numpy(), atol=1e-6)


@both
def test_parameters_and_what_hangs_on_tensors(options):
    marked = torch.ones(2)
    marked.note, marked.grad_fn_name = {"a": 1}, "x"
    parameter = nn.Parameter
    value = {
        "trained": torch.nn.Parameter(torch.ones(2)),
        "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "leaf": torch.ones(2, requires_grad=True),
        "marked": marked,
    }
    got = read(value, options)
    assert [type(v) for v in got.values()] == [parameter, parameter, tg.Tensor, tg.Tensor]
    assert all(same(got[name], value[name]) for name in value)
    assert got["marked"].note == {"a": 1}


def test_versions_of_modules_that_are_none_are_left_out():
    for wrong in (3, {"": 3}, {"": {"version": "2"}}, {3: {"version": 2}}):
        state = torch.nn.BatchNorm1d(2).state_dict()
        state._metadata, state.keys_seen = wrong, {"a"}
        got = read(state)
        assert not hasattr(got, "_metadata")
        assert not hasattr(got, "keys_seen")
        nn.BatchNorm1d(2).load_state_dict(got)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_module_takes_the_tensors_of_a_file_themselves(tmp_path, mapped):
    theirs = torch.nn.Linear(3, 2)
    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    state, ours = tg.load(tmp_path / "a.pt", mmap=mapped), nn.Linear(3, 2)
    ours.load_state_dict(state, assign=True)
    assert np.shares_memory(ours.weight.detach().numpy(), state["weight"].numpy())
    optimizer = tg.optim.SGD(ours.parameters(), lr=0.1)
    ours(tg.ones(4, 3)).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(ours.bias.detach().numpy(), theirs.bias.detach().numpy() - 0.4,
                               atol=1e-6)  # fmt: skip


@both
def test_plain_values_of_python_and_numpy(options):
    value = {
        "numbers": [1, -1, 2**40, 2**100, 1.5, float("inf"), 1 + 2j, True, None],
        "text": ("é", b"ab\xff", bytearray(b"x")),
        "many": {"a": set(), 3: {1, "x"}, 2.5: Counter("aab"), None: OrderedDict(a=[()])},
        "torch": [torch.Size([2, 3]), torch.float16, torch.device("cpu")],
        "numpy": [np.float32(0.1), np.int64(3), np.bool_(True), np.dtype("f4")],
    }
    got = read(value, options)
    assert got["torch"] == [tg.Size([2, 3]), tg.float16, tg.device("cpu")]
    for name in ("numbers", "text", "many", "numpy"):
        assert repr(got[name]) == repr(value[name])
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((2, 3), np.int8)),
                  np.arange(3, dtype=">i4"), np.zeros((0, 2), bool)):  # fmt: skip
        back = read([array, array], options)
        assert back[0] is back[1]
        np.testing.assert_array_equal(back[0], array)
        assert back[0].dtype == array.dtype.newbyteorder("=")
        assert back[0].flags.writeable


def test_a_path_an_open_file_and_a_mapped_file(tmp_path):
    path = tmp_path / "state.pt"
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.bool)}
    path.write_bytes(written(state))
    before = path.read_bytes()
    with open(path, "rb") as file:
        from_file = tg.load(file)
    for got in (tg.load(path), tg.load(str(path), mmap=True), from_file, load_state(path)):
        assert all(same(got[name], state[name]) for name in state)
        got["a"].fill_(3)
        got["b"].logical_not_()
    mapped = tg.load(path, mmap=True)["a"]
    assert path.read_bytes() == before
    path.unlink()
    assert same(mapped, state["a"])


def test_a_mapped_file_is_not_read(tmp_path):
    path = tmp_path / "state.pt"
    torch.save({"a": torch.zeros(1 << 20)}, path)
    assert tg.load(path, mmap=True)["a"][-1].item() == 0
    data = bytearray(path.read_bytes())
    data[data.rindex(bytes(4096)) + 100] = 1  # among the numbers
    path.write_bytes(data)
    tg.load(path, mmap=True)
    with pytest.raises(SerializationError, match="checksum of data/0 does not match"):
        tg.load(path)


@pytest.mark.parametrize(
    "place", [None, "cpu", "cpu:0", tg.device("cpu"), {"cuda:0": "cpu"}, lambda storage, _: storage]
)
def test_any_way_to_say_where_tensors_live_is_taken(place):
    file = io.BytesIO(written({"a": torch.ones(2)}))
    assert tg.load(file, map_location=place, weights_only=False)["a"].tolist() == [1, 1]


@pytest.mark.parametrize("place", ["cuda", {"cpu": "cuda:0"}])
def test_other_places_are_refused(place):
    with pytest.raises(
        ValueError, match=r"`map_location` is 'cuda.*but tensors live on 'cpu' only"
    ):
        tg.load(io.BytesIO(written(1)), map_location=place)


def test_what_is_not_a_file_is_refused(tmp_path):
    with pytest.raises(TypeError, match="load: `f` is a int, expected a path or a file"):
        tg.load(3)
    with pytest.raises(TypeError, match="`f` reads str, expected bytes"):
        tg.load(io.StringIO("a"))
    with pytest.raises(ValueError, match="`mmap` is True, but `f` is no path"):
        tg.load(io.BytesIO(), mmap=True)


class Command:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@both
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda p: torch.nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
        (lambda p: {"args": pathlib.PurePosixPath(p)}, r"pathlib.*PurePosixPath"),
        (lambda p: Command(p), r"(posix|nt)\.mkdir"),
        (lambda p: torch.ones(2, 2).to_sparse(), r"torch\._utils\._rebuild_sparse_tensor"),
        (lambda p: torch.ones(2, dtype=torch.float8_e5m2), r"torch\.float8_e5m2"),
    ],
)
def test_what_is_not_data_is_named_and_never_run(tmp_path, options, make, name):
    target = str(tmp_path / "made")
    with pytest.raises(SerializationError, match=f"refused `{name}`.*save the state_dict"):
        read(make(target), options)
    assert not os.path.exists(target)


def test_programs_and_other_archives_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(SerializationError, match=r"is a zip archive, but not of torch\.save"):
        tg.load(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"")
        archive.writestr("model/code/x.py", b"")
    with pytest.raises(SerializationError, match=r"TorchScript.*\n.*jit.load\('a.pt'\)"):
        tg.load(tmp_path / "a.pt")


@both
def test_every_truncated_or_altered_file_is_refused_or_whole(options):
    state = {"w": torch.arange(6.0), "epoch": 3}
    data = written(state, options)
    for end in range(0, len(data), 31):
        with pytest.raises(SerializationError):
            tg.load(io.BytesIO(data[:end]))
    refused = 0
    for at in range(0, len(data), 3):
        changed = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        try:
            got = tg.load(io.BytesIO(changed))
        except SerializationError:
            refused += 1
            continue
        if options is ZIP:  # what is not in the checksums are names and paddings of the archive
            assert same(got["w"], state["w"])
    assert refused > 40


def test_a_file_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        data = written({"a": torch.ones(3)})
    finally:
        torch.serialization.set_crc32_options(before)
    assert tg.load(io.BytesIO(data))["a"].tolist() == [1, 1, 1]


def test_numbers_of_a_machine_with_another_order_of_bytes():
    file = io.BytesIO(written({"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.complex64)}))
    out = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("byteorder"):
                data = b"big" if sys.byteorder == "little" else b"little"
            elif "/data/" in name:
                data = np.frombuffer(data, np.float32).byteswap().tobytes()
            new.writestr(name, data)
    out.seek(0)
    got = tg.load(out)
    assert got["a"].tolist() == [0, 1, 2]
    assert got["b"].tolist() == [1, 1]
