"""Who is away is waited for, by name and not for ever; what could not be done then is done on return."""

import threading
import time

import pytest

from devices import presence
from devices.errors import NotConnectedError
from devices.presence import ReturnGuard, await_presence, silent

PATIENCE_S = 20.0


class Line:
    """A signal that may be connected."""

    def __init__(self, pvname, *, connected=True):
        self.pvname, self.name, self.connected = pvname, pvname, connected


def test_who_is_silent_is_told():
    assert silent((Line("A"), Line("B", connected=False), Line("C", connected=False))) == ["B", "C"]


def test_nobody_waits_for_who_is_there():
    assert await_presence((Line("A"),), 0.0)


def test_a_return_ends_the_wait():
    line = Line("A", connected=False)
    threading.Timer(0.1, setattr, (line, "connected", True)).start()
    assert await_presence((line,), PATIENCE_S)


def test_who_stays_away_is_named():
    lines = Line("25A:FS:Sts", connected=False), Line("B"), Line("C", connected=False)
    with pytest.raises(
        NotConnectedError, match=r"25A:FS:Sts and 1 more must answer again within 0 s, got silence; see"
    ):
        await_presence(lines, 0.0)


def test_a_cancelled_wait_ends():
    assert not await_presence((Line("A", connected=False),), PATIENCE_S, lambda: True)


@pytest.mark.parametrize("dismissed", [False, True])
def test_a_guard_acts_once_on_the_return_unless_dismissed(dismissed):
    line, acted = Line("A", connected=False), []
    guard = ReturnGuard((line,), lambda: acted.append(1))
    if dismissed:
        guard.dismiss()
    line.connected = True
    guard.join(PATIENCE_S)
    assert acted == ([] if dismissed else [1])


def test_a_guard_that_cannot_act_says_so(caplog):
    def fail():
        raise TimeoutError("the shutter must close")

    ReturnGuard((Line("A"),), fail).join(PATIENCE_S)
    assert "the shutter must close" in caplog.text


def test_a_guard_does_not_watch_for_ever(monkeypatch, caplog):
    monkeypatch.setattr(presence, "GUARD_TIMEOUT_S", 0.0)
    begun = time.monotonic()
    ReturnGuard((Line("A", connected=False),), lambda: None).join(PATIENCE_S)
    assert time.monotonic() - begun < PATIENCE_S
    assert "A must answer again within 0 s" in caplog.text
