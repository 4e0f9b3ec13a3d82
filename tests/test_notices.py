"""What takes long says so on standard error, and can be told to be quiet."""

import threading
import time

import pytest

from tinygrad_cnn import notices


def test_a_line_where_it_takes_long(monkeypatch, capsys):
    monkeypatch.setenv(notices.QUIET, "")
    monkeypatch.setattr(notices, "PATIENCE", 0.0)
    text = ""
    with notices.saying("counting"):
        end = time.monotonic() + 30
        while not text and time.monotonic() < end:
            time.sleep(0.01)
            text = capsys.readouterr().err
    assert (text + capsys.readouterr().err) == "tinygrad_cnn: counting ...\n"


@pytest.mark.parametrize(("quiet", "waiting"), [("", 1), ("1", 0)])
def test_nothing_where_it_does_not_or_nobody_wants_it(monkeypatch, capsys, quiet, waiting):
    monkeypatch.setenv(notices.QUIET, quiet)
    monkeypatch.setattr(notices, "PATIENCE", 1000.0)
    with notices.saying("counting"):
        timers = [t for t in threading.enumerate() if t.name == "tinygrad_cnn notice"]
    assert len(timers) == waiting
    for timer in timers:
        timer.join(30)
        assert not timer.is_alive()  # it was told that nobody waits any more
    assert capsys.readouterr().err == ""
