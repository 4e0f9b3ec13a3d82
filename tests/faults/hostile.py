"""Damaged and crafted files: every reader raises what it documents, soon, and takes little memory.

Files are changed byte by byte and, where a checksum or a structure would refuse nearly all of that,
value by value under a right checksum. Each reader has a process of its own with a limit on memory.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import os
import pickle
import random
import resource
import signal
import struct
import sys
import tarfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cnn as tg
from tinygrad_cnn import nn, optim
from tinygrad_cnn.cli.results import _results
from tinygrad_cnn.data import CIFAR10, read_image
from tinygrad_cnn.data.download import unpack
from tinygrad_cnn.data.folder import image_size
from tinygrad_cnn.data.unpickling import load_trusting_nothing
from tinygrad_cnn.onnx import OnnxError
from tinygrad_cnn.serialization import SerializationError, load, save
from tinygrad_cnn.serialization.nested import checksum, read_noted
from tinygrad_cnn.serialization.source import Source
from tinygrad_cnn.train import Checkpoint, Config, RunFolder, Trainer, TrainError
from tinygrad_cnn.train.run.folder_data import FolderSplit

from .hostile_torch import archived, torch_files
from .kills import Child

MEMORY = 400 << 20  # bytes that a reader may take beside what its process has
PICTURES = 1500 << 20  # of up to `PIL.Image.MAX_IMAGE_PIXELS` pixels, in few copies
SECONDS = 5.0  # for one file

Mutation = Callable[[bytes, random.Random], bytes]


class Reader(NamedTuple):
    """What reads a file, what it may raise, files that it reads well, and how they are changed."""

    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...]
    files: list[bytes]
    mutate: Mutation
    memory: int = MEMORY


INTERESTING = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1]


def bytewise(data: bytes, draw: random.Random) -> bytes:
    """A few changes of bits, bytes, numbers, and parts of a file."""
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        at = draw.randrange(len(out)) if draw.random() < 0.7 else draw.randrange(min(len(out), 64))
        end = min(len(out), at + draw.choice([1, 2, 4, 8, 64, 1000]))
        kind = draw.randrange(8)
        if kind == 0:
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            out[at] = draw.randrange(256)
        elif kind == 2:
            number, size = draw.choice(INTERESTING), draw.choice([1, 2, 4, 8])
            number &= (1 << 8 * size) - 1
            out[at : at + size] = number.to_bytes(size, draw.choice(["little", "big"]))
        elif kind == 3:
            del out[at:end]
        elif kind == 4:
            out[at:at] = out[at:end]
        elif kind == 5:
            out[at:at] = draw.randbytes(draw.choice([1, 2, 4]))
        elif kind == 6:
            del out[at:]
        else:
            source = draw.randrange(len(out))
            out[at:end] = out[source : source + end - at]
        if not out:
            return b"\0"
    return bytes(out)


_LONGEST = 1 << 20  # bytes of a changed file
DEEP = "a value that nests deeply"
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**64, 10**30, 1e308, float("nan"), float("inf"), "", "x",
    "\0", "\ud800", "../../x", "\x1b[2J", "9" * 400, [], {}, [[]], [None], {"": None}, ["a", "b"],
    DEEP, {"dict": []}, {"tensor": "0"}, {"tuple": [1]}, {"part": []}, [0, 2**40, 0, [4]],
]  # fmt: skip


def strange(draw: random.Random) -> Any:
    return copy.deepcopy(draw.choice(STRANGE))


def nested(draw: random.Random) -> Any:
    """A value that holds itself many times, one in another."""
    out: Any = strange(draw)
    for _ in range(draw.choice([3, 30, 100])):
        out = draw.choice([[out], {"dict": [["a", out]]}, {"tuple": [out]}])
    return out


def valuewise(tree: Any, draw: random.Random) -> Any:
    """A JSON value with a part of it replaced, left out, twice there or in another's place."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw.choice([1, 1, 2, 4])):
        places = list(_places(tree))
        if not places:
            return strange(draw)
        holder, key = draw.choice(places)
        kind = draw.randrange(5)
        if kind == 0:
            holder[key] = strange(draw)
        elif kind == 1:
            holder[key] = nested(draw) if draw.random() < 0.2 else strange(draw)
        elif kind == 2:
            del holder[key]
        elif kind == 3 and isinstance(holder, list):
            holder *= draw.choice([2, 20])
        else:
            other, place = draw.choice(places)
            with contextlib.suppress(LookupError):
                holder[key] = json.loads(json.dumps(other[place]))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """All (holder, key) of a JSON value."""
    found = [tree]
    while found:
        holder = found.pop()
        if not isinstance(holder, dict | list):
            continue
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            yield holder, key
            found.append(value)


def text_of(tree: Any) -> str:
    """A JSON value as text."""
    deep = "[" * 20_000 + "]" * 20_000
    return json.dumps(tree).replace(json.dumps(DEEP), deep, 20)


def json_or_bytes(data: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.3:
        return bytewise(data, draw)
    return text_of(valuewise(json.loads(data), draw)).encode("utf-8", "surrogatepass")


def under_a_checksum(data: bytes, draw: random.Random) -> bytes:
    """A safetensors file whose tree, note or header is another, with a right checksum."""
    from safetensors.numpy import save as to_bytes

    if draw.random() < 0.2:
        return bytewise(data, draw)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    arrays, note = read_noted(Source(io.BytesIO(data)))
    if note is None or draw.random() < 0.2:
        text = text_of(valuewise(header, draw)).encode("utf-8", "surrogatepass")
        return struct.pack("<Q", len(text)) + text + data[8 + size :]
    tree = text_of(valuewise(json.loads(note["tree"]), draw))
    note = {**note, "tree": tree, "checksum": checksum(arrays, tree)}
    if draw.random() < 0.1:
        note = valuewise(note, draw)
    return to_bytes(arrays, {"tinygrad_cnn": text_of(note)})


def pickled(data: bytes, draw: random.Random) -> bytes:
    """Changed bytes, or opcodes in a random order."""
    if draw.random() < 0.6:
        return bytewise(data, draw)
    codes = [b"(", b"0", b"1", b"2", b"N", b"]", b"}", b")", b"l", b"d", b"t", b"a", b"e", b"s",
             b"u", b"\x85", b"\x86", b"\x87", b"\x88", b"R", b"b", b"\x94", b"Vab\n", b"I7\n",
             b"U\x02u1", b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"h\x02", b"J\xff\xff\xff\x7f",
             b"r\xff\xff\xff\x0f", b"\x8a\x09" + b"\xff" * 9, b"cnumpy\ndtype\n",
             b"c_codecs\nencode\n", b"X\x06\0\0\0latin1", b"cnumpy\nndarray\n",
             b"cnumpy.core.multiarray\n_reconstruct\n", b"B\x04\0\0\0abcd"]  # fmt: skip
    middle = b"".join(draw.choice(codes) for _ in range(draw.randrange(60)))
    at = draw.randrange(len(data)) if draw.random() < 0.5 else 2
    return data[:at] + middle + (data[at:] if draw.random() < 0.5 else b".")


def gzipped(data: bytes, draw: random.Random) -> bytes:
    """Changes before, and after, compression."""
    if draw.random() < 0.3:
        return bytewise(data, draw)
    return gzip.compress(bytewise(gzip.decompress(data), draw), 1)


def images() -> list[bytes]:
    """The same few pixels in every format and mode that is read."""
    from PIL import Image

    rng, out = np.random.default_rng(0), []
    pixels = rng.integers(0, 256, (9, 13, 4), np.uint8)
    picture = Image.fromarray(pixels)
    modes = {
        "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], "JPEG": ["L", "RGB", "CMYK"],
        "GIF": ["P", "L"], "BMP": ["1", "L", "P", "RGB", "RGBA"], "PPM": ["1", "L", "RGB"],
        "TIFF": ["1", "L", "RGB", "RGBA", "CMYK", "I;16", "F"], "WEBP": ["RGB", "RGBA"],
        "JPEG2000": ["L", "RGB"],
    }  # fmt: skip
    for kind, known in modes.items():
        for mode in known:
            file = io.BytesIO()
            if mode == "I;16":
                image = Image.fromarray(rng.integers(0, 65536, (9, 13)).astype(np.uint16))
            else:
                image = picture.convert("RGB").convert(mode) if mode != "RGBA" else picture
            image.save(file, kind)
            out.append(file.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", exif=exif, progressive=True)
    out.append(file.getvalue())
    for options in ({"compression": "tiff_lzw"}, {"compression": "jpeg"}):
        file = io.BytesIO()
        picture.convert("RGB").save(file, "TIFF", **options)
        out.append(file.getvalue())
    file = io.BytesIO()
    picture.convert("P").save(file, "GIF", save_all=True, append_images=[picture.convert("P")] * 2)
    return [*out, file.getvalue()]


def _trainer() -> Trainer:
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    data = [(tg.ones(4, 3), tg.zeros(4).long())]
    return Trainer(model, data, data, optimizer=optimizer, schedule="cosine", ema=0.5, epochs=3)


def readers(root: Path) -> dict[str, Reader]:
    """All readers by name; ``root`` is a folder for what they need beside the file."""
    shared = tg.arange(6.0)
    state = {"a": [tg.ones(2, 3), shared[1:], shared[:2]], "b": (1, None, {"c": np.arange(3)})}
    states = [_bytes(partial(save, value)) for value in (state, {"w": tg.zeros(3) > 0})]
    trainer = _trainer()
    trainer.run()
    checkpoint = _bytes(trainer.snapshot().write)
    config = Config(model="models/lenet5.py", data="shapes", patience=3, schedule="step:1:0.5")
    split = FolderSplit("x", ("a", "b"), 8, [("a/1.png", 0)], [("b/1.png", 1)])
    run = RunFolder(root / "run")
    run.path.mkdir(parents=True)
    run.write_metrics(trainer.history)
    metrics = run.metrics.read_bytes()
    report = json.dumps({"test_accuracy": 0.5, "test_loss": 1.0, "parameters": 7}).encode()
    cifar = root / "cifar"
    cifar.mkdir()

    def in_the_run(name: str, read: Callable[[], object]) -> Callable[[Path], object]:
        def reading(path: Path) -> object:
            os.replace(path, run.path / name)
            return read()

        return reading

    def of_cifar(name: str) -> Callable[[Path], object]:
        def reading(path: Path) -> object:
            os.replace(path, cifar / name)
            return CIFAR10(cifar, train=False)

        return reading

    def restored(path: Path) -> None:
        _trainer().restore(Checkpoint.read(path))

    def unpacked(path: Path) -> None:
        with TemporaryDirectory(dir=root) as place:
            unpack(path, Path(place, "folder"), ["one", "two"])

    pixels = np.zeros((3, 3072), np.uint8)
    python = [
        pickle.dumps({b"data": pixels, b"labels": [1, 2, 3], b"x": [b"y"]}, p) for p in (2, 4)
    ]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in ("folder/one", "folder/two"):
            member = tarfile.TarInfo(name)
            member.size = 600
            tar.addfile(member, io.BytesIO(bytes(600)))
    settings = config.to_json().encode()
    damaged, refused = (SerializationError,), (TrainError,)
    return {
        "pickle": Reader(
            lambda p: load_trusting_nothing(p.read_bytes()), (ValueError,), python, pickled
        ),
        "cifar10 of python": Reader(of_cifar("test_batch"), (ValueError,), python, pickled),
        "cifar10 binary": Reader(
            of_cifar("test_batch.bin"), (ValueError,), [bytes(3073 * 2)], bytewise
        ),
        "image": Reader(read_image, (ValueError,), images(), bytewise, PICTURES),
        "image's size": Reader(image_size, (ValueError,), images(), bytewise, PICTURES),
        "state": Reader(load, damaged, states, under_a_checksum),
        "state, bytes": Reader(load, damaged, states, bytewise),
        "state of PyTorch": Reader(load, damaged, torch_files(), archived(bytewise)),
        "state of PyTorch, mapped": Reader(
            partial(load, mmap=True), damaged, torch_files(), archived(bytewise)
        ),
        "checkpoint": Reader(restored, refused, [checkpoint], under_a_checksum),
        "config.json": Reader(
            in_the_run("config.json", lambda: RunFolder.open(run.path)),
            refused,
            [settings],
            json_or_bytes,
        ),
        "split.json": Reader(FolderSplit.read, refused, [_bytes(split.write)], json_or_bytes),
        "metrics.csv": Reader(
            in_the_run("metrics.csv", run.read_metrics), refused, [metrics], bytewise
        ),
        "report.json": Reader(_results, refused, [report], json_or_bytes),
        "onnx": Reader(tg.onnx.load, (OnnxError,), onnx_files(), bytewise),
        "archive": Reader(unpacked, (ValueError,), [archive.getvalue()], gzipped),
    }


def onnx_files() -> list[bytes]:
    """Small graphs with weights, statistics, constants and attributes of several kinds."""
    x = tg.ones(1, 2, 4, 4)
    convolving = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    blurring = nn.Sequential(
        nn.MaxPool2d(2), nn.Upsample(scale_factor=2), nn.PReLU(), nn.Softmax(1)
    )
    return [
        _bytes(lambda path, net=net: tg.onnx.export(net, x, path)) for net in (convolving, blurring)
    ]


def _bytes(write: Callable[[Any], object]) -> bytes:
    with TemporaryDirectory() as folder:
        write(Path(folder, "file"))
        return Path(folder, "file").read_bytes()


def attack(name: str, reader: Reader, count: int, seed: int, root: Path) -> str:
    """What a reader did that it should not, each kind once, as JSON; and how many files it read."""
    warnings.simplefilter("ignore")
    draw, wrong = random.Random(f"{seed} {name}"), {}
    counts: Counter[str] = Counter()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + reader.memory,) * 2)

    def late(_number: int, _frame: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, late)
    path = root / "file"
    for content in reader.files:  # what is whole is read
        path.write_bytes(content)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            reader.read(path)
    for _ in range(count):
        content = reader.mutate(draw.choice(reader.files), draw)[:_LONGEST]
        path.write_bytes(content)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            reader.read(path)
            counts["read"] += 1
            continue
        except reader.errors as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, MemoryError | TooLong):
                hidden = None if cause.__suppress_context__ else cause.__context__
                cause = cause.__cause__ or hidden
            counts["refused"] += cause is None
            found = "" if cause is None else type(cause).__name__
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            found = f"{type(error).__name__} {Path(last.filename).name}:{last.lineno}: {error}"[
                :200
            ]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if found:
            counts["wrong"] += 1
            key = found.split(":")[0]
            if key not in wrong and len(wrong) < 9:
                wrong[key] = f"{found}; {_kept(content)}"
    return json.dumps({"counts": counts, "wrong": list(wrong.values())})


class TooLong(BaseException):
    """A file took too long."""


def _kept(content: bytes) -> str:
    """Where the file of a failure lies, if FAULTS_OUT names a folder."""
    folder = os.environ.get("FAULTS_OUT")
    if not folder:
        return "FAULTS_OUT=FOLDER keeps the file"
    place = Path(folder, f"{abs(hash(content)):x}")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return str(place)


def run(count: int, seed: int) -> list[str]:
    """Give every reader ``count`` files."""
    wrong: list[str] = []
    total: Counter[str] = Counter()
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as root:
        for name, reader in readers(Path(root)).items():
            place = Path(root, "mutated")
            place.mkdir(exist_ok=True)
            child = Child(partial(attack, name, reader, count, seed, place))
            code, answer = child.end()
            if code:
                wrong.append(f"{name}: the process ended with {code}: {answer}")
                continue
            found = json.loads(answer)
            total.update(found["counts"])
            print(f"files: {name}: {found['counts']}", file=sys.stderr, flush=True)
            wrong += [f"{name}: {what}" for what in found["wrong"]]
    print(f"files: {total['read'] + total['refused']} files, {dict(total)}", file=sys.stderr)
    return wrong
