"""Ctrl-C waits for the end of the batch, once."""

import os
import signal
import threading

import pytest

from tinygrad_cnn.train.loop import interrupt

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="needs SIGINT"),
    pytest.mark.usefixtures("hears_control_c"),
]


def press():
    signal.raise_signal(signal.SIGINT)


def deferred(*steps):
    with interrupt.deferred():
        for step in steps:
            step()


def test_the_first_waits_for_the_check():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        deferred(press, lambda: reached.append(1), interrupt.check, lambda: reached.append(2))
    assert reached == [1]


def test_the_second_does_not_wait():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        deferred(press, lambda: reached.append(1), press, lambda: reached.append(2))
    assert reached == [1]


def test_without_a_check_it_is_raised_at_the_end():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        deferred(press, lambda: reached.append(1))
    assert reached == [1]


def test_nothing_stays_behind():
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            deferred(press)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        interrupt.check()
    with pytest.raises(ZeroDivisionError):
        deferred(press, lambda: 1 / 0)
    interrupt.check()


def test_a_handler_of_the_programs_own_is_kept():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("own"))
    try:
        with interrupt.deferred():
            press()
        assert seen == ["own"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone():
    errors = []

    def run():
        try:
            with interrupt.deferred():
                interrupt.check()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == []
