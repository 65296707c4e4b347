# ruff: noqa: ARG001 - the running simulation is all that is wanted of its fixture
"""`xedm check` on the simulated beamline and on a C IOC: what is well is called well, what is broken is found."""

from types import SimpleNamespace

import epics
import pytest

from devices.beamline import build_beamline
from service.check_beamline import detector, interlock, ring, stage_axis, stream_version, two_states
from service.check_pvs import check_clocks
from service.cli.check import look_at_pvs
from service.config import Beamline, Settings

TIMEOUT_S = 1.0


def look(**changes):
    """Look at all PVs with a configuration changed."""
    settings = Settings().changed({f"beamline.{name}": value for name, value in changes.items()})
    return list(look_at_pvs(settings, TIMEOUT_S))


def bad(findings):
    return [finding for finding in findings if finding.state not in ("ok", "note")]


@pytest.fixture(scope="module")
def names(place):
    """Give the configuration for either place."""
    known = Beamline.model_fields
    prefix = "25A:" if place.prefix == "25A:" else "C25A:"
    given = place.names | {"detector": f"{prefix}EIG1M:cam1:"}
    return Beamline(**{name: value for name, value in given.items() if name in known})


def connected(names):
    """Devices with all PVs connected but those of the live service, which is not there.

    Channels stay connected: later looks find them at once, however loaded this machine is.
    """
    beamline = build_beamline(names.model_dump())
    for device, signals in beamline.signals().items():
        for signal in signals if device != "live" else ():
            signal.wait_for_connection(timeout=30)
    return beamline


@pytest.fixture(scope="module")
def beamline(names):
    """Give the devices at either place."""
    return connected(names)


@pytest.fixture(scope="module")
def warm(xedm_beamline):
    """Have the channels to the simulation connected."""
    return connected(Beamline(live_prefix="NOWHERE:"))


def put(pv, value):
    epics.caput(pv, value, wait=True, timeout=5)


def test_on_a_beamline_that_is_well_only_the_missing_service_is_found(names, beamline):
    findings = look(**(names.model_dump(exclude_none=True) | {"live_prefix": "NOWHERE:"}))
    assert {finding.area for finding in bad(findings)} == {"live"}, bad(findings)
    assert {finding.do for finding in bad(findings)} == {
        "start xedm live, and have EPICS_CA_ADDR_LIST contain 127.0.0.1 with its ca_server_port"
    }
    answers = [finding for finding in findings if finding.said.startswith("answers in")]
    assert len(answers) > 100
    assert all(0.0 <= finding.took_s <= TIMEOUT_S + 1.0 for finding in answers)
    clocks = [finding.state for finding in findings if finding.area == "clock"]
    assert clocks
    assert set(clocks) <= {"ok", "note"}


def test_what_a_scan_writes_is_known(warm):
    written = warm.written()
    assert {"25A:PIEZO:X.VAL", "25A:FS:Cmd", "25A:BS:Cmd", "25A:ATT:Transmission", "NOWHERE:Point"} <= written
    assert {"25A:EIG1M:cam1:Trigger", "25A:EIG1M:cam1:Acquire", "25A:EIG1M:cam1:NumTriggers"} <= written
    assert not {pv for pv in written if pv.endswith(("_RBV", ".RBV", "SequenceId", "Armed", ".EGU", "Chi2RatioMax"))}


def test_one_wrong_name_is_found_with_its_device(warm):
    findings = bad(look(shutter_status="25A:FS:Status", live_prefix="NOWHERE:"))
    (found,) = [finding for finding in findings if finding.area != "live"]
    assert (found.area, found.what, found.state) == ("shutter", "25A:FS:Status", "unreached")
    assert found.do == "does its IOC run? is the name right in [beamline]? does EPICS_CA_ADDR_LIST reach it?"


def test_a_pv_that_may_not_be_written_is_found(warm):
    changes = {"attenuator": "25A:ATT:Transmission_RBV", "attenuator_achieved": "25A:ATT:Transmission_RBV"}
    findings = bad(look(**changes, live_prefix="NOWHERE:"))
    (found,) = [finding for finding in findings if finding.area != "live"]
    assert (found.what, found.state) == ("25A:ATT:Transmission_RBV", "wrong")
    assert found.said == "answers, and may not be written from here"


@pytest.mark.parametrize(
    ("field", "value", "well", "said"),
    [
        (".EGU", "mm", "um", "must count in um, got units 'mm'"),
        (".SPMG", "Pause", "Go", "not at Go: the axis will not move"),
    ],
)
def test_an_axis_that_cannot_be_scanned_is_found(stage, field, value, well, said):
    assert bad(stage_axis(stage.y)) == []
    put(f"25A:PIEZO:Y{field}", value)
    try:
        (found,) = bad(stage_axis(stage.y))
        assert said in found.said
    finally:
        put(f"25A:PIEZO:Y{field}", well)


def test_an_axis_without_limits_is_worth_a_note(stage):
    put("25A:PIEZO:Y.LLM", 0.0)
    put("25A:PIEZO:Y.HLM", 0.0)
    try:
        (found,) = stage_axis(stage.y)
        assert (found.state, found.said) == ("note", "the axis has no soft limits")
    finally:
        put("25A:PIEZO:Y.HLM", 2000.0)
        put("25A:PIEZO:Y.LLM", -2000.0)


def test_indices_that_the_command_does_not_have_are_an_invalid_setting(beamline, names):
    assert bad(two_states(beamline.shutter, "shutter", names)) == []
    wrong = names.model_copy(update={"shutter_open_value": 7})
    (found,) = bad(two_states(beamline.shutter, "shutter", wrong))
    assert found.state == "invalid"
    assert found.said == "beamline.shutter_open_value is 7, and the record has 2 states: Close, Open"


def test_a_word_that_the_status_does_not_have_is_an_invalid_setting(names):
    wrong = names.model_copy(update={"beam_stop_in_state": "Inserted"})
    odd = build_beamline(wrong.model_dump())
    odd.beam_stop.wait_for_connection(timeout=20)
    strange, invalid = [one for one in two_states(odd.beam_stop, "beam_stop", wrong) if one.state != "ok"]
    # What the IOC calls In is not what this configuration says that in is called.
    assert (strange.state, strange.said, odd.beam_stop.is_in) == ("note", "says In?, neither In nor Out", False)
    assert invalid.state == "invalid"
    assert invalid.said.startswith(
        "beamline.beam_stop_in_state is 'Inserted', and the record has the states Unknown, In,"
    )


def test_a_stop_that_is_out_without_attenuation_is_found(beamline, place):
    assert bad(interlock(beamline)) == []
    put(f"{place.prefix}BS:Cmd", 0)  # as another program can
    try:
        (found,) = bad(interlock(beamline))
        assert found.said == "not in, with a transmission of 1: the direct beam may hit the detector"
    finally:
        put(f"{place.prefix}BS:Cmd", 1)


def test_no_beam_is_worth_a_note(beamline, place):
    put(f"{place.prefix}SIM:BeamDump", 1)
    try:
        states = {}
        for _ in range(50):
            states = {finding.what: finding.state for finding in ring(beamline.ring)}
            if set(states.values()) == {"note"}:
                break
        assert set(states.values()) == {"note"}
    finally:
        put(f"{place.prefix}SIM:BeamDump", 0)


def test_a_clock_that_is_late_is_found(c_ioc):
    beamline = build_beamline(
        {**Beamline().model_dump(), "ring_current": f"{c_ioc.prefix}SR-DI-DCCT:BeamCurrent",
         "ring_countdown": f"{c_ioc.prefix}TPS:TimeToNextInjSec", "live_prefix": "NOWHERE:"}
    )  # fmt: skip
    machine = beamline.ring
    machine.wait_for_connection(timeout=20)
    signals = {"ring": [machine.current, machine.countdown]}
    took = dict.fromkeys(signals["ring"], 0.0)
    assert bad(check_clocks(signals, took, machine.countdown)) == []
    put(f"{c_ioc.prefix}SIM:Sick", "Late clock")
    try:
        (found,) = bad(check_clocks(signals, took, machine.countdown))
        assert (found.area, found.do) == ("clock", "set both clocks by the same time server (chrony, NTP)")
        assert "behind this computer (C25A:TPS:TimeToNextInjSec)" in found.said
    finally:
        put(f"{c_ioc.prefix}SIM:Sick", "Well")


def test_an_older_driver_is_told_what_it_lacks(c_ioc):
    beamline = build_beamline({**Beamline().model_dump(), "detector": f"{c_ioc.prefix}EIG4M:cam1:"})
    for signal in beamline.signals()["eig4m"]:
        signal.wait_for_connection(timeout=20)
    findings = list(detector(beamline.detector))
    assert bad(findings) == []
    notes = {finding.what for finding in findings if finding.state == "note"}
    assert "C25A:EIG4M:cam1:BitDepthImage_RBV" in notes
    assert "ADEiger 2.7" in {finding.said for finding in findings}


@pytest.mark.parametrize(
    ("model", "port", "states"),
    [("EIG16M", 9999, ["ok"]), ("EIG16M", 31001, ["wrong"]), ("EIG1M", 31001, []), ("EIG16M", 5000, [])],
)
def test_an_eiger2_that_speaks_another_stream_than_the_port_serves_is_found(c_ioc, model, port, states):
    eiger = SimpleNamespace(name="eiger", cam=SimpleNamespace(prefix=f"{c_ioc.prefix}{model}:cam1:"))
    assert [found.state for found in stream_version(eiger, f"tcp://10.0.0.5:{port}")] == states


@pytest.mark.parametrize(("version", "state"), [("3.1", "wrong"), ("3.1.0", "wrong"), ("3.2.0", "ok"), ("2.7", "ok")])
def test_the_driver_that_keeps_its_stream_socket_open_is_found(version, state):
    from service.check_beamline import _driver

    record = SimpleNamespace(connected=True, get=lambda: version)
    eiger = SimpleNamespace(name="eiger", cam=SimpleNamespace(prefix="P:", driver_version=record))
    (found,) = _driver(eiger)
    assert found.state == state
