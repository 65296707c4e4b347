"""Waiting: a condition that comes, one that does not, one that is called off."""

import threading
import time

import pytest
from ophyd import Signal
from ophyd.status import Status

from devices.waiting import Watch, finished


def test_a_value_that_comes_later_ends_the_wait():
    level = Signal(name="level", value=0)
    threading.Timer(0.05, level.put, args=(7,)).start()
    with Watch(level=level) as watch:
        assert watch.until(lambda now: now["level"] == 7, timeout_s=5.0)
        assert watch.latest == {"level": 7}
        assert watch.updates("level") == 1


def test_a_value_that_never_comes_ends_at_the_deadline():
    begun = time.monotonic()
    with Watch(level=Signal(name="level", value=0)) as watch:
        assert not watch.until(lambda now: now["level"] == 7, timeout_s=0.2)
    assert 0.15 < time.monotonic() - begun < 2.0


def test_a_wait_that_is_called_off_ends_early():
    called_off = threading.Event()
    threading.Timer(0.05, called_off.set).start()
    begun = time.monotonic()
    with Watch(level=Signal(name="level", value=0)) as watch:
        assert not watch.until(lambda now: now["level"] == 7, timeout_s=30.0, cancelled=called_off.is_set)
    assert time.monotonic() - begun < 5.0


def test_listening_ends_with_the_block():
    level = Signal(name="level", value=0)
    with Watch(level=level) as watch:
        pass
    level.put(1)
    assert watch.latest == {"level": 0}


def test_a_status_is_waited_for_and_its_error_raised():
    status = Status()
    threading.Timer(0.05, status.set_finished).start()
    assert finished(status, lambda: False)
    failed = Status()
    failed.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        finished(failed, lambda: False)
    assert not finished(Status(), lambda: True)
