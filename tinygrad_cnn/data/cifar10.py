"""CIFAR-10 (Krizhevsky, 2009): 60,000 photographs of 32x32 pixels in ten classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.data.images import Bytes, ImageDataset
from tinygrad_cnn.data.transforms import Transform
from tinygrad_cnn.data.unpickling import load_trusting_nothing
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.notices import saying

_RECORD: Final = 1 + 3 * 32 * 32  # bytes: a label, then the red, green and blue planes

Labelled: TypeAlias = tuple[Bytes, NDArray[np.int64]]


def _read_binary(path: Path) -> Labelled:
    """Return images (n, 3, 32, 32) and labels (n,) of a file of the binary version."""
    size = path.stat().st_size
    if size == 0 or size % _RECORD:
        raise ArgumentError(
            f"CIFAR10: {path} has {size} bytes, expected a positive multiple of {_RECORD} "
            "(1 label byte + 3072 pixel bytes a record): truncated, or not CIFAR-10"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, _RECORD)
    return _checked(path, records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64))


def _read_python(path: Path) -> Labelled:
    """Return images (n, 3, 32, 32) and labels (n,) of a file of the python version."""
    batch = _unpickled(path)
    data, labels = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _RECORD - 1:
        found = f"shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise ArgumentError(
            f"CIFAR10: {path} has `data` of {found}, expected a uint8 array (n, 3072): "
            "not a CIFAR-10 batch"
        )
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise ArgumentError(
            f"CIFAR10: {path} has no list of integer `labels`: not a CIFAR-10 batch"
        )
    if len(labels) != len(data) or not labels:
        raise ArgumentError(f"CIFAR10: {path} has {len(labels)} labels for {len(data)} images")
    return _checked(path, data.reshape(-1, 3, 32, 32), np.asarray(labels))


def _checked(path: Path, images: Bytes, labels: NDArray[np.int64]) -> Labelled:
    wrong = np.flatnonzero((labels < 0) | (labels > 9))
    if len(wrong):
        raise ArgumentError(
            f"CIFAR10: {path} has label {labels[wrong[0]]} at record {wrong[0]}, "
            "expected 0 to 9: not CIFAR-10"
        )
    return images, labels


def _unpickled(path: Path) -> dict[bytes, object]:
    size = path.stat().st_size
    try:
        return load_trusting_nothing(path.read_bytes())
    except ValueError as error:
        raise ArgumentError(
            f"CIFAR10: {path} ({size} bytes) is not a pickled CIFAR-10 batch: {error}"
        ) from error


def _names_binary(path: Path) -> list[str]:
    return path.read_text(encoding="latin1").split()


def _names_python(path: Path) -> list[str]:
    names = _unpickled(path).get(b"label_names")
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        return []
    if sum(map(len, names)) > path.stat().st_size:  # one text a million times
        raise ArgumentError(f"CIFAR10: {path} has names of classes that are longer than the file")
    return [name.decode() if isinstance(name, bytes) else name for name in names]


class _Layout(NamedTuple):
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    url: str
    sha256: str
    read: Callable[[Path], Labelled]
    names: Callable[[Path], list[str]]


_LAYOUTS: Final[dict[str, _Layout]] = {
    "binary": _Layout(
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        test=("test_batch.bin",),
        meta="batches.meta.txt",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        read=_read_binary,
        names=_names_binary,
    ),
    "python": _Layout(
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test=("test_batch",),
        meta="batches.meta",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        read=_read_python,
        names=_names_python,
    ),
}


def _find(root: Path, train: bool) -> tuple[_Layout, Path]:
    """Return the layout and folder of the files under ``root``."""
    looked, partial = [], ""
    for layout in _LAYOUTS.values():
        names = layout.train if train else layout.test
        for folder in (root, root / layout.folder):
            looked.append(str(folder))
            missing = [name for name in names if not (folder / name).is_file()]
            if not missing:
                return layout, folder
            if len(missing) < len(names) or (folder != root and folder.is_dir()):
                partial = partial or f"; {folder} lacks {', '.join(missing)}"
    raise FileNotFoundError(
        f"CIFAR10: no {'training' if train else 'test'} files in {', '.join(dict.fromkeys(looked))}"
        f"{partial}; pass download=True or unpack {_LAYOUTS['binary'].url} there"
    )


def download_cifar10(
    root: str | os.PathLike[str],
    layout: Literal["binary", "python"] = "binary",
    *,
    url: str | None = None,
    sha256: str | None = None,
) -> Path:
    """Download and unpack CIFAR-10 under ``root`` (about 165 MB, 180 MB unpacked).

    An archive that is already there under its official name is checked and used. ``url`` and
    ``sha256`` stand for the official ones, for a mirror. Returns the unpacked folder.

    Raises
    ------
    OSError
        it cannot be fetched; the part that was is kept, and the next call goes on.
    FileExistsError
        the folder is there already.
    ValueError
        the checksum is wrong or the archive is not CIFAR-10's; nothing is kept.

    Examples
    --------
    >>> download_cifar10("data")  # doctest: +SKIP
    PosixPath('data/cifar-10-batches-bin')
    """
    # Here, because the HTTP client takes a while to import and few runs need it.
    from tinygrad_cnn.data.download import download, sha256_of, unpack

    if layout not in _LAYOUTS:
        raise ArgumentError(f"download_cifar10: `layout` {layout!r} is not one of {list(_LAYOUTS)}")
    chosen = _LAYOUTS[layout]
    url, sha256 = url or chosen.url, sha256 or chosen.sha256
    folder = Path(root) / chosen.folder
    if folder.exists():
        raise FileExistsError(f"download_cifar10: {folder} exists; remove it to download anew")
    archive = Path(root) / chosen.url.rsplit("/", 1)[1]
    given = archive.exists()
    if not given:
        download(url, archive, sha256)
    elif (found := sha256_of(archive)) != sha256:
        raise ArgumentError(
            f"download_cifar10: {archive} has SHA-256 {found}, expected {sha256}; remove it"
        )
    try:
        unpack(archive, folder, [*chosen.train, *chosen.test, chosen.meta])
    except ValueError:
        if not given:
            archive.unlink()
        raise
    if not given:
        archive.unlink()
    return folder


class CIFAR10(ImageDataset):
    """The CIFAR-10 training or test images, from the official files of either layout.

    They are looked for in ``root`` itself, in ``root/cifar-10-batches-bin`` (the binary version)
    and in ``root/cifar-10-batches-py`` (the python version, read without unpickling anything but
    plain values). The files may hold fewer records than the official ones.

    Parameters
    ----------
    root
        the folder that holds the files or one of the official folders.
    train
        the five training batches, or the test batch.
    transform
        a batch transform that `DataLoader` applies.
    normalize
        whether batches are normalised by ``CIFAR10.mean`` and ``CIFAR10.std``.
    download
        fetch what is missing from the official address, see `download_cifar10`.

    Raises
    ------
    FileNotFoundError
        files are missing and ``download`` is False.
    ValueError
        a file is truncated or not CIFAR-10's.

    Examples
    --------
    >>> CIFAR10("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: CIFAR10: no training files in no-such-folder, ...; pass download=True or ...
    """

    classes: Sequence[str] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        *,
        transform: Transform | None = None,
        normalize: bool = True,
        download: bool = False,
    ) -> None:
        super().__init__(transform, normalize)
        self.root, self.train = Path(root), train
        try:
            layout, folder = _find(self.root, train)
        except FileNotFoundError:
            if not download:
                raise
            download_cifar10(self.root)
            layout, folder = _find(self.root, train)
        if (folder / layout.meta).is_file():
            meta = folder / layout.meta
            self.classes = tuple(layout.names(meta))
            if len(self.classes) != 10:
                raise ArgumentError(
                    f"CIFAR10: {meta} names {len(self.classes)} classes, expected 10"
                )
        with saying(f"reading CIFAR-10 from {folder}"):
            files = layout.train if train else layout.test
            parts = [layout.read(folder / name) for name in files]
        self._labels = np.concatenate([labels for _, labels in parts])
        self._pixels = np.empty((len(self._labels), 32, 32, 3), np.uint8)
        images = self._pixels.transpose(0, 3, 1, 2)  # (n, c, h, w)
        np.concatenate([images for images, _ in parts], out=images)

    @property
    def pixels(self) -> Bytes:
        """All images in memory order, uint8 (n, 32, 32, 3)."""
        return self._pixels

    @property
    def labels(self) -> NDArray[np.int64]:
        """The number of each image's class, int64 (n,)."""
        return self._labels

    def __repr__(self) -> str:
        part = "train" if self.train else "test"
        return f"CIFAR10({str(self.root)!r}, {part}: {len(self)} images)"
