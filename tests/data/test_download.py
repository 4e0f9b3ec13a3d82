"""Downloads against a server on this machine: resumed, checked, unpacked safely."""

import hashlib
import http.server
import io
import re
import tarfile
import threading
from functools import partial

import pytest

from tinygrad_cnn.data import CIFAR10, cifar10, download_cifar10
from tinygrad_cnn.data.download import download, unpack

FOLDER = "cifar-10-batches-bin"
FILES = {
    **{f"data_batch_{i}.bin": bytes([i]) + bytes(3072) for i in range(1, 6)},
    "test_batch.bin": bytes([7]) + bytes(3072),
    "batches.meta.txt": "\n".join("abcdefghij").encode(),
}


def make_archive(members, links=()):
    """A .tar.gz of names and bytes, and of symbolic links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


ARCHIVE = make_archive(
    {
        **{f"{FOLDER}/{name}": content for name, content in FILES.items()},
        f"{FOLDER}/more.html": b"x",
    }
)
CONTENT = bytes(range(256)) * 4000


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.content``, with the faults that the test asks for."""

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.statuses:
            status = server.statuses.pop(0)
            if status is not None:
                self.send_error(status)
                return
        content, start = server.content, 0
        if asked and server.resumes:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            told = start + server.lie
            self.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        rest = content[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        breaks = server.breaks.pop(0) if server.breaks else None
        self.wfile.write(rest[:breaks])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.resumes, server.lie = CONTENT, True, 0
        server.daemon_threads = False  # closing waits for them
        server.breaks, server.statuses, server.ranges = [], [], []
        server.url = f"http://127.0.0.1:{server.server_port}/file"
        thread = threading.Thread(target=partial(server.serve_forever, 0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def fetch(server, path, **settings):
    download(server.url, path, sha256(CONTENT), **{"wait": 0.0, **settings})


def test_a_whole_file_arrives(server, tmp_path, capsys):
    fetch(server, tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == CONTENT
    assert files_in(tmp_path) == ["new", "new/file"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "file" in captured.err  # the progress bar


def test_broken_connections_are_taken_up_where_they_broke(server, tmp_path):
    server.breaks = [1000, 500_000]
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=501000-"]


def test_the_next_call_goes_on(server, tmp_path):
    server.breaks = [1000, 1000]
    with pytest.raises(
        OSError, match=r"broke after 2000 of 1024000 bytes.*2000 bytes are in .*part"
    ):
        fetch(server, tmp_path / "file", attempts=2)
    assert files_in(tmp_path) == ["file.part"]
    fetch(server, tmp_path / "file")
    assert server.ranges[-1] == "bytes=2000-"
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert files_in(tmp_path) == ["file"]


def test_a_server_that_ignores_range_starts_anew(server, tmp_path):
    server.resumes = False
    (tmp_path / "file.part").write_bytes(b"stale" * 10)
    fetch(server, tmp_path / "file")
    assert server.ranges == ["bytes=50-"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_sends_another_range_is_not_believed(server, tmp_path):
    server.lie = 5
    (tmp_path / "file.part").write_bytes(CONTENT[:50])
    fetch(server, tmp_path / "file")
    assert server.ranges == ["bytes=50-", None]
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"too much"])
def test_a_complete_part_is_used_and_a_longer_one_dropped(server, tmp_path, extra):
    (tmp_path / "file.part").write_bytes(CONTENT + extra)
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(server.ranges) == (2 if extra else 1)


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match=f"has SHA-256 {sha256(CONTENT)}, expected {'0' * 64}; it"):
        download(server.url, tmp_path / "file", "0" * 64)
    assert files_in(tmp_path) == []


def test_what_the_server_refuses_is_not_asked_again(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(OSError, match=r"cannot fetch http://127.*404") as caught:
        fetch(server, tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert "bytes are in" not in str(caught.value)
    assert len(server.ranges) == 1
    server.statuses = [503, 429]
    fetch(server, tmp_path / "file")
    assert len(server.ranges) == 4


def test_no_server_at_all(tmp_path):
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_port
    with pytest.raises(OSError, match="cannot fetch"):
        download(f"http://127.0.0.1:{port}/", tmp_path / "file", "0" * 64, attempts=2, wait=0.0)


def test_cifar10_downloads_what_is_missing_once(server, tmp_path, monkeypatch):
    server.content = ARCHIVE
    mirror = cifar10._LAYOUTS["binary"]._replace(
        url=f"{server.url}/cifar-10-binary.tar.gz", sha256=sha256(ARCHIVE)
    )
    monkeypatch.setitem(cifar10._LAYOUTS, "binary", mirror)
    for train, labels in ((True, [1, 2, 3, 4, 5]), (False, [7])):
        dataset = CIFAR10(tmp_path / "root", train=train, download=True)
        assert dataset.labels.tolist() == labels
        assert dataset.classes == tuple("abcdefghij")
    assert len(server.ranges) == 1
    expected = [FOLDER, *(f"{FOLDER}/{name}" for name in FILES)]
    assert files_in(tmp_path / "root") == sorted(expected)


def test_a_given_archive_is_checked_used_and_kept(tmp_path):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(ARCHIVE)
    with pytest.raises(ValueError, match=r"expected c4a38c50.*; remove it"):
        download_cifar10(tmp_path)
    folder = download_cifar10(tmp_path, url="http://unused.invalid", sha256=sha256(ARCHIVE))
    assert folder == tmp_path / FOLDER
    assert archive.exists()
    with pytest.raises(FileExistsError, match="exists; remove it to download anew"):
        download_cifar10(tmp_path)
    with pytest.raises(ValueError, match="`layout` 'text' is not one of"):
        download_cifar10(tmp_path, "text")


def test_an_incomplete_folder_is_not_overwritten(tmp_path):
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(FileExistsError, match="remove it to download anew"):
        CIFAR10(tmp_path, download=True)


@pytest.mark.parametrize(
    ("members", "links", "message"),
    [
        ({"../evil": b"x"}, (), r"member '../evil', which is unsafe"),
        ({f"{FOLDER}/../../evil": b"x"}, (), "which is unsafe"),
        ({"/evil": b"x"}, (), "which is unsafe"),
        ({f"{FOLDER}/..\\evil": b"x"}, (), "which is unsafe"),
        ({}, ((f"{FOLDER}/test_batch.bin", "/etc/passwd"),), "which is unsafe"),
        ({"elsewhere/test_batch.bin": b"x"}, (), f"lacks {FOLDER}/batches.meta.txt"),
    ],
)
def test_unsafe_or_foreign_archives_leave_nothing(server, tmp_path, members, links, message):
    server.content = make_archive(members, links)
    root = tmp_path / "deep" / "root"
    with pytest.raises(ValueError, match=message):
        download_cifar10(root, url=server.url, sha256=sha256(server.content))
    assert files_in(tmp_path) == ["deep", "deep/root"]


def test_a_damaged_archive_leaves_nothing(tmp_path):
    middle = len(ARCHIVE) // 2
    flipped = ARCHIVE[:middle] + bytes([ARCHIVE[middle] ^ 255]) + ARCHIVE[middle + 1 :]
    for content in (ARCHIVE[:-200], flipped, b"no archive", b""):
        (tmp_path / "a.tar.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"unpack: .*a\.tar\.gz") as caught:
            unpack(tmp_path / "a.tar.gz", tmp_path / FOLDER, FILES)
        assert "\n" not in str(caught.value)
        assert files_in(tmp_path) == ["a.tar.gz"]
