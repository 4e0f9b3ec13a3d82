"""CIFAR10: both official layouts, from small files written here."""

import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from tinygrad_cnn.data import CIFAR10, DataLoader
from tinygrad_cnn.data.unpickling import load_trusting_nothing

NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def make_records(seed, n):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3072), np.uint8), rng.integers(0, 10, n)


def write_binary(folder, sizes=(4, 3, 2, 1, 2), test=3):
    """Write a small binary version; returns training images and labels."""
    folder.mkdir(parents=True)
    parts = [make_records(i, n) for i, n in enumerate([*sizes, test])]
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for name, (pixels, labels) in zip(names, parts, strict=True):
        records = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    images = np.concatenate([p for p, _ in parts[:5]]).reshape(-1, 3, 32, 32)
    return images, np.concatenate([labels for _, labels in parts[:5]])


def python2_pickle(pixels, labels):
    """The bytes that Python 2 with an old NumPy wrote: str opcodes, numpy.core.multiarray."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    raw = pixels.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        b"(K\x01(J" + struct.pack("<i", len(pixels)) + b"M\x00\x0ct"
        b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"I00\nT" + struct.pack("<i", len(raw)) + raw + b"tb"
    )
    listed = b"](" + b"".join(b"K" + bytes([v]) for v in labels) + b"e"
    files = b"](" + b"".join(text(b"x_%d.png" % i) for i in range(len(labels))) + b"e"
    return (
        b"\x80\x02}("
        + text(b"batch_label")
        + text(b"training batch 1 of 5")
        + text(b"labels")
        + listed
        + text(b"data")
        + array
        + text(b"filenames")
        + files
        + b"u."
    )


def python3_pickle(pixels, labels):
    batch = {b"labels": [int(v) for v in labels], b"data": pixels, b"filenames": [b"a"]}
    return pickle.dumps(batch, protocol=2)


def write_python(folder, dump):
    folder.mkdir(parents=True)
    parts = [make_records(i, 3) for i in range(6)]
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name, (pixels, labels) in zip(names, parts, strict=True):
        (folder / name).write_bytes(dump(pixels, labels))
    meta = {b"label_names": [n.encode() for n in NAMES], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    images = np.concatenate([p for p, _ in parts[:5]]).reshape(-1, 3, 32, 32)
    return images, np.concatenate([labels for _, labels in parts[:5]])


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_the_binary_version(tmp_path, inside):
    images, labels = write_binary(tmp_path / "root" / inside)
    train = CIFAR10(tmp_path / "root")
    assert len(train) == 12
    np.testing.assert_array_equal(train.images, images)
    np.testing.assert_array_equal(train.labels, labels)
    assert train.labels.dtype == np.int64
    assert train.classes == tuple(NAMES) == tuple(CIFAR10.classes)
    image, label = train[-1]
    np.testing.assert_array_equal(image, images[-1])
    assert label == labels[-1]
    test = CIFAR10(str(tmp_path / "root"), train=False)
    np.testing.assert_array_equal(test.images.reshape(3, -1), make_records(5, 3)[0])
    assert repr(test).endswith("test: 3 images)")


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize("dump", [python2_pickle, python3_pickle])
def test_the_python_version(tmp_path, inside, dump):
    images, labels = write_python(tmp_path / "root" / inside, dump)
    train = CIFAR10(tmp_path / "root")
    np.testing.assert_array_equal(train.images, images)
    np.testing.assert_array_equal(train.labels, labels)
    assert train.classes == tuple(NAMES)


def test_the_hand_made_python_2_pickle_is_one():
    pixels, labels = make_records(0, 2)
    assert b"numpy.core.multiarray" in python2_pickle(pixels, labels)
    batch = load_trusting_nothing(python2_pickle(pixels, labels))
    assert sorted(batch) == [b"batch_label", b"data", b"filenames", b"labels"]


def test_batches_are_normalised_with_the_usual_constants(tmp_path):
    images, labels = write_binary(tmp_path / "root")
    x, y = next(iter(DataLoader(CIFAR10(tmp_path / "root"), 12)))
    mean, std = np.reshape(CIFAR10.mean, (3, 1, 1)), np.reshape(CIFAR10.std, (3, 1, 1))
    np.testing.assert_allclose(x.numpy(), (images / 255 - mean) / std, atol=1e-5)
    assert y.tolist() == labels.tolist()


def test_names_come_from_the_files(tmp_path):
    write_binary(tmp_path / "root")
    (tmp_path / "root" / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    assert CIFAR10(tmp_path / "root").classes == tuple("abcdefghij")
    (tmp_path / "root" / "batches.meta.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"batches.meta.txt names 2 classes, expected 10$"):
        CIFAR10(tmp_path / "root")
    (tmp_path / "root" / "batches.meta.txt").unlink()
    assert CIFAR10(tmp_path / "root").classes == tuple(NAMES)


def test_a_missing_set_says_where_it_was_looked_for_and_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        CIFAR10(tmp_path / "nowhere")
    message = str(caught.value)
    for folder in ("nowhere,", "cifar-10-batches-bin,", "cifar-10-batches-py;"):
        assert folder in message
    assert "download=True or unpack https://www.cs.toronto.edu/~kriz/cifar-10-bin" in message
    assert "\n" not in message


def test_a_missing_batch_is_named(tmp_path):
    write_binary(tmp_path / "cifar-10-batches-bin")
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"cifar-10-batches-bin lacks data_batch_3.bin;"):
        CIFAR10(tmp_path)
    assert len(CIFAR10(tmp_path, train=False)) == 3
    write_python(tmp_path / "cifar-10-batches-py", python3_pickle)
    assert len(CIFAR10(tmp_path)) == 15  # the complete one


@pytest.mark.parametrize("content", [b"", b"x" * 3072, b"\x00" * (2 * 3073 - 1)])
def test_truncated_binary_files_are_refused(tmp_path, content):
    write_binary(tmp_path / "root")
    (tmp_path / "root" / "data_batch_2.bin").write_bytes(content)
    message = rf"data_batch_2\.bin has {len(content)} bytes, expected a positive multiple of 3073"
    with pytest.raises(ValueError, match=message):
        CIFAR10(tmp_path / "root")


def test_labels_above_9_are_refused(tmp_path):
    write_binary(tmp_path / "root")
    (tmp_path / "root" / "test_batch.bin").write_bytes(
        b"\x09" + bytes(3072) + b"\x0a" + bytes(3072)
    )
    with pytest.raises(ValueError, match=r"test_batch.bin has label 10 at record 1, expected 0 to"):
        CIFAR10(tmp_path / "root", train=False)


def pickled_batch(**changes):
    pixels, labels = make_records(0, 2)
    batch = {b"data": pixels, b"labels": labels.tolist()}
    batch.update({key.encode(): value for key, value in changes.items()})
    return pickle.dumps({key: value for key, value in batch.items() if value is not None}, 2)


class Command:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (b"\x03" * 3073, "is not a pickled CIFAR-10 batch"),
        (pickled_batch()[:-900], r"expected 9223 bytes .*, but only \d+ remain"),
        (pickle.dumps([1, 2]), "holds a list, not a dictionary"),
        (pickled_batch(data=None), r"`data` of NoneType, expected a uint8 array \(n, 3072\)"),
        (pickled_batch(data=np.zeros((2, 5), np.uint8)), r"`data` of shape \(2, 5\), expected"),
        (pickled_batch(data=np.zeros((2, 3072))), "refused an array of dtype 'f8'"),
        (pickled_batch(labels=None), "no list of integer `labels`"),
        (pickled_batch(labels=["a", "b"]), "no list of integer `labels`"),
        (pickled_batch(labels=[1]), "1 labels for 2 images"),
        (pickled_batch(labels=[1, -1]), "label -1 at record 1, expected 0 to 9"),
        (pickled_batch(labels=[10**30, 1]), "label 10{30} at record 0, expected 0 to 9"),
        (pickled_batch(x=Command(os.system, "true")), r"refused `(posix|nt)\.system`"),
        (pickled_batch(x=Command(eval, "1")), r"refused `(__builtin__|builtins)\.eval`"),
        (pickled_batch(x=np.float64(1)), r"refused `numpy.*scalar`"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "'hex'"),
    ],
)
def test_foreign_pickles_are_refused_in_one_line(tmp_path, content, message):
    write_python(tmp_path / "root", python3_pickle)
    (tmp_path / "root" / "test_batch").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        CIFAR10(tmp_path / "root", train=False)
    assert str(caught.value).startswith(f"CIFAR10: {tmp_path / 'root' / 'test_batch'}")
    assert "\n" not in str(caught.value)


def test_a_malicious_pickle_runs_nothing(tmp_path):
    target = tmp_path / "written"
    attack = Command(os.mkdir, str(target))
    for data in (pickle.dumps(attack), pickle.dumps({b"data": attack}, protocol=2)):
        with pytest.raises(ValueError, match=r"refused `(posix|nt)\.mkdir`"):
            load_trusting_nothing(data)
    assert not target.exists()
    # Dotted names and the stand-ins' own module are no way around either.
    for module, name in (("numpy", "ndarray.tofile"), ("tinygrad_cnn.data.unpickling", "pickle")):
        with pytest.raises(ValueError, match=f"refused `{module}.{name}`"):
            load_trusting_nothing(f"\x80\x04c{module}\n{name}\n.".encode("latin1"))


def nesting(levels):
    """A dictionary with a key that is a tuple of itself, 2^levels times."""
    return b"\x80\x02})" + b"q\x00h\x00\x86" * levels + b"K\x01s."


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
DTYPE = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02Nr\xff\xff\xff\xef.", "holds a NoneType"),  # a memo of 4 billion entries
        (nesting(60), "refused a tuple as key"),  # a minute of hashing, and more
        (b"\x80\x02" + ARRAY + b"(K\x01(J\xff\xff\xff\x7fU\x01xt" + DTYPE + b"I00\nU\x00tb.",
         "shape is not a few integers"),  # two billion times "x"
        (b"\x80\x02c_codecs\nencode\nq\x00(X\xc8\0\0\0" + b"a" * 200 + b"q\x01X\x06\0\0\0latin1tR"
         + b"h\x00(h\x01X\x06\0\0\0latin1tR" * 9 + b".", "more than those of the file"),
        (b"\x80\x02\x8a\x50" + b"\x7f" * 80 + b".", "refused an integer of 639 bits"),
        (b"\x80\x02N2.", "refused the opcode DUP"),
        (b"\x80\x02a.", "IndexError|index out of range|the stack is empty"),
        (b"\x80\x02K\x01Na.", "items for a int"),
        (b"\x80\x02K\x01NNs.", "entries for a int"),
        (b"\x80\x02K\x01Nb.", "a state for a int"),
        (b"\x80\x02K\x01)R.", "refused to call a int"),
        (b"\x80\x02cnumpy\ndtype\nNR.", "arguments in a NoneType"),
        (b"\x80\x02cnumpy\ndtype\n)R.", "missing 1 required"),
    ],
)  # fmt: skip
def test_a_small_pickle_takes_little_memory_and_time(content, message):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            load_trusting_nothing(content)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 200


def test_names_of_classes_are_not_longer_than_their_file(tmp_path):
    write_python(tmp_path / "root", python3_pickle)
    names = {b"label_names": [b"x" * 1000] * 1000}
    (tmp_path / "root" / "batches.meta").write_bytes(pickle.dumps(names))
    with pytest.raises(ValueError, match="names of classes that are longer than the file"):
        CIFAR10(tmp_path / "root")


@pytest.mark.parametrize("order", ["C", "F"])
def test_array_order_is_respected(order):
    array = np.asarray(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)
    loaded = load_trusting_nothing(pickle.dumps({"data": array}, protocol=2))
    np.testing.assert_array_equal(loaded[b"data"], array)
