"""Several PVs asked at once: an answer is that of the question, however late it is taken."""

import threading
import time

import epics
import pytest
from ophyd import EpicsSignalRO, Signal

from devices import asked as asked_module
from devices.asked import Answer, Asked
from devices.severity import NO_ANSWER

SOON_S = 0.2


def test_an_answer_that_has_come_already_is_that_of_the_question(stage):
    clock = EpicsSignalRO("25A:SIM:Time", name="clock")
    clock.wait_for_connection(timeout=10)
    asked = Asked(clock, stage.y.user_readback)
    time.sleep(SOON_S)
    told = asked.take(clock).value
    assert told <= clock.get(use_monitor=False) - SOON_S
    assert asked.take(stage.y.user_readback).value == stage.y.user_readback.get(use_monitor=False)


def test_an_answer_that_has_not_come_is_waited_for(stage):
    value, _ = Asked(stage.x.user_readback).take(stage.x.user_readback)
    assert value == stage.x.user_readback.get(use_monitor=False)


def test_any_thread_may_ask(stage):
    told = []
    thread = threading.Thread(target=lambda: told.append(Asked(stage.x.user_readback).take(stage.x.user_readback)))
    thread.start()
    thread.join(10.0)
    assert [answer.value for answer in told] == [stage.x.user_readback.get(use_monitor=False)]


def test_of_an_enum_that_is_read_as_text_the_word_is_given(shutter):
    shutter.set("close").wait(10)
    assert Asked(shutter.status).take(shutter.status) == Answer("Closed", 0)


def test_the_severity_is_that_of_the_answer(stage):
    epics.caput("25A:SIM:StageFault", 1, wait=True, timeout=5)
    try:
        assert Asked(stage.x.user_readback).take(stage.x.user_readback).severity > 0
    finally:
        epics.caput("25A:SIM:StageFault", 0, wait=True, timeout=5)
    assert Asked(stage.x.user_readback).take(stage.x.user_readback).severity == 0


def test_a_signal_without_a_pv_is_asked_when_its_answer_is_taken():
    level = Signal(name="level", value=1)
    level.get = lambda use_monitor: 2  # noqa: ARG005
    assert Asked(level).take(level) == Answer(2, 0)


def test_who_is_not_there_gives_no_answer():
    nobody = EpicsSignalRO("25A:NOBODY", name="nobody")
    with pytest.raises(NO_ANSWER):
        Asked(nobody).take(nobody)


def test_an_answer_that_does_not_come_names_the_pv(stage, monkeypatch):
    monkeypatch.setattr(asked_module, "ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(epics.ca, "get_complete_with_metadata", lambda *_, **__: None)
    asked = Asked(stage.x.user_readback)
    with pytest.raises(TimeoutError, match=r"25A:PIEZO:X\.RBV did not answer within 0\.1 s"):
        asked.take(stage.x.user_readback)


def test_a_question_that_could_not_be_sent_holds_up_no_later_one(stage, monkeypatch):
    signal = stage.x.user_readback

    def go_away(*_):
        raise epics.ca.CASeverityException("ca_array_get_callback", "Virtual circuit disconnect")

    with monkeypatch.context() as away:
        away.setattr(epics.ca.libca, "ca_array_get_callback", go_away)
        asked = Asked(signal)
    assert asked.take(signal).value == signal.get(use_monitor=False)
    assert Asked(signal).take(signal).value == signal.get(use_monitor=False)
