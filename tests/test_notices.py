"""What takes long says so on standard error, and can be told to be quiet."""

import time

import pytest

from tinygrad_cnn import notices


@pytest.mark.parametrize(
    ("quiet", "patience", "said"), [("", 0.0, 1), ("1", 0.0, 0), ("", 1000.0, 0)]
)
def test_a_line_where_it_takes_long(monkeypatch, capsys, quiet, patience, said):
    monkeypatch.setenv(notices.QUIET, quiet)
    monkeypatch.setattr(notices, "PATIENCE", patience)
    text = ""
    with notices.saying("counting"):
        end = time.monotonic() + (30 if said else 0)
        while not text and time.monotonic() < end:
            time.sleep(0.01)
            text = capsys.readouterr().err
    assert (text + capsys.readouterr().err) == "tinygrad_cnn: counting ...\n" * said
