"""Whether what the PVs say makes sense: units, words, versions, states. Everything is read, nothing is written."""

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from service.check import Finding
from service.check_pvs import text_of
from service.config import Beamline as Names

STATES_OF_DETECTOR = {6: "Error", 9: "Disconnected"}
SPMG_GO = 3
STREAMS = {9999: "Stream", 31001: "Stream2"}
OPTIONAL_S = 0.5
"""For a record that only some releases have, of an IOC that has just answered."""


def check_beamline(beamline: Any, names: Names, connected: Callable[[Any], bool]) -> Iterator[Finding]:
    """Look at every device that answers.

    Parameters
    ----------
    beamline : devices.beamline.Beamline
    names : service.config.Beamline
    connected : callable
        Whether a signal has answered.

    Yields
    ------
    Finding
    """
    looks: tuple[tuple[str, Callable[[], Iterator[Finding]], Any], ...] = (
        *((beamline.stage.name, partial(stage_axis, axis), axis.user_readback) for axis in beamline.stage.axes),
        (beamline.detector.name, partial(detector, beamline.detector), beamline.detector.cam.armed),
        ("shutter", partial(two_states, beamline.shutter, "shutter", names), beamline.shutter.status),
        ("beam_stop", partial(two_states, beamline.beam_stop, "beam_stop", names), beamline.beam_stop.status),
        ("attenuator", partial(interlock, beamline), beamline.attenuator.achieved),
        ("ring", partial(ring, beamline.ring), beamline.ring.current),
    )
    for area, look, needed in looks:
        if not connected(needed):
            continue
        try:
            yield from look()
        except Exception as error:  # noqa: BLE001 - one device that cannot be understood must not hide the others
            yield Finding(
                area=area, what=area, state="wrong", said=f"cannot be understood ({type(error).__name__}: {error})",
                do="are these the right PVs?",
            )  # fmt: skip


def stage_axis(axis: Any) -> Iterator[Finding]:
    """One axis: units, soft limits, whether it rests and may move."""
    pv, area = axis.prefix, axis.root.name
    try:
        axis.check_units()
    except RuntimeError as error:
        yield Finding(area=area, what=f"{pv}.EGU", state="wrong", said=str(error), do="set .EGU and .MRES to um")
    if axis.stop_pause_go.get(use_monitor=False) != SPMG_GO:
        yield Finding(
            area=area, what=f"{pv}.SPMG", state="wrong", said="not at Go: the axis will not move", do="set it to Go"
        )
    low, high = axis.low_limit_travel.get(use_monitor=False), axis.high_limit_travel.get(use_monitor=False)
    if low == high == 0:
        yield Finding(
            area=area, what=f"{pv}.HLM", state="note", said="the axis has no soft limits", do="set .LLM and .HLM"
        )
    else:
        readback = axis.user_readback.get(use_monitor=False)
        moving = axis.motor_done_move.get(use_monitor=False) != 1
        said = f"at {readback:g} um{', moving' if moving else ''}, soft limits {low:g} to {high:g} um"
        yield Finding(area=area, what=pv, said=said)


def detector(eiger: Any) -> Iterator[Finding]:
    """Model, driver, state and the settings that nobody sets but a person."""
    cam, prefix = eiger.cam, eiger.cam.prefix
    size = f"{cam.max_size.max_size_x.get():g} x {cam.max_size.max_size_y.get():g} pixels"
    yield Finding(area=eiger.name, what=f"{prefix}Model_RBV", said=f"{cam.model.get()}, {size}")
    for name in cam.leave_out_absent(0.5):
        pv = getattr(type(cam), name).suffix
        yield Finding(
            area=eiger.name, what=f"{prefix}{pv}", state="note", said="this ADEiger has no such record; left out"
        )
    yield from _driver(eiger)
    state = int(cam.detector_state.get(use_monitor=False))
    message = cam.status_message.get(as_string=True)
    if state in STATES_OF_DETECTOR:
        yield Finding(
            area=eiger.name,
            what=f"{prefix}DetectorState_RBV",
            state="wrong",
            said=f"{STATES_OF_DETECTOR[state]}: {message}",
            do="see the detector's screen; initialize it",
        )
    if cam.armed.get(use_monitor=False):
        yield Finding(
            area=eiger.name,
            what=f"{prefix}Armed",
            state="note",
            said="armed now: a scan that starts ends this series",
            do="let the other scan end, or press Stop on the detector's screen",
        )
    if cam.data_source.get(as_string=True) == "Stream":
        yield Finding(
            area=eiger.name,
            what=f"{prefix}DataSource",
            state="note",
            said="Stream: the IOC takes every other frame from the service while it acquires",
            do="nothing for a scan, which sets it; set None for what you acquire by hand",
        )
    energy, distance = cam.photon_energy.get(), cam.det_distance.get()
    said = (
        f"{energy:g} eV, {distance:g} m, centre at column {cam.beam_center_x.get():g}, row {cam.beam_center_y.get():g}"
    )
    yield Finding(area=eiger.name, what=f"{prefix}PhotonEnergy ...", said=f"{said}: as it shall be in the header?")


def _driver(eiger: Any) -> Iterator[Finding]:
    cam = eiger.cam
    if not cam.driver_version.connected:
        return
    version = str(cam.driver_version.get())
    found = re.match(r"(\d+)\.(\d+)", version)
    what = f"{cam.prefix}DriverVersion_RBV"
    if found and (int(found[1]), int(found[2])) == (3, 1):
        yield Finding(
            area=eiger.name,
            what=what,
            state="wrong",
            said=f"ADEiger {version} keeps its stream socket open: it takes every other frame",
            do="use ADEiger R3-2 or newer",
        )
    else:
        yield Finding(
            area=eiger.name, what=what, said=f"ADEiger {version}" if found else f"ADEiger, version {version!r}"
        )


def stream_version(eiger: Any, address: str | None) -> Iterator[Finding]:
    """Whether an EIGER2 speaks the stream that is served at the port asked for; an EIGER1 has no choice.

    Parameters
    ----------
    eiger : devices.eiger.Eiger
    address : str or None
        Of the stream.

    Yields
    ------
    Finding
    """
    port = int(address.rpartition(":")[2]) if address and address.startswith("tcp://") else 0
    pv = f"{eiger.cam.prefix}StreamVersion_RBV"
    speaks = text_of(pv, OPTIONAL_S)
    if speaks is None or port not in STREAMS:
        return
    asked = STREAMS[port]
    if speaks == asked:
        yield Finding(area=eiger.name, what=pv, said=f"speaks {speaks}, as port {port} does")
    else:
        yield Finding(
            area=eiger.name,
            what=pv,
            state="wrong",
            said=f"speaks {speaks}, and stream.connect asks port {port}, where {asked} is served",
            do=f"set StreamVersion to {asked}, or the other port in stream.connect",
        )


def two_states(device: Any, key: str, names: Names) -> Iterator[Finding]:
    """Shutter or beam stop: the state now, and whether the words and indices of the configuration exist."""
    pv, word = device.status.pvname, device.status.get(use_monitor=False)
    if word in device.REACHED.values():
        yield Finding(area=device.name, what=pv, said=f"says {word}")
    elif word == "Fault":
        yield Finding(area=device.name, what=pv, state="wrong", said="says Fault", do="reset it on its own screen")
    else:
        neither = " nor ".join(device.REACHED.values())
        yield Finding(
            area=device.name,
            what=pv,
            state="note",
            said=f"says {word}, neither {neither}",
            do=f"nothing if it is on its way; scans wait for {neither.replace(' nor ', ' or ')}",
        )
    yield from _words(device, key, names)
    yield from _indices(device, key, names)


def _words(device: Any, key: str, names: Names) -> Iterator[Finding]:
    """Words that the configuration gives to states must be among those that the status has."""
    has = list(device.status.enum_strs or ())
    for name, word in _settings(names, key, "_state"):
        if has and word not in has and "_fault_" not in name:
            yield Finding(
                area=device.name,
                what=device.status.pvname,
                state="invalid",
                said=f"beamline.{name} is {word!r}, and the record has the states {', '.join(has)}",
                do=f"set beamline.{name} to one of them",
            )


def _indices(device: Any, key: str, names: Names) -> Iterator[Finding]:
    """Numbers to write must be those of states that the command has."""
    pv, words = device.command.setpoint_pvname, list(device.command.enum_strs or ())
    for name, index in _settings(names, key, "_value"):
        verb = name.removeprefix(f"{key}_").removesuffix("_value")
        if words and not 0 <= index < len(words):
            yield Finding(
                area=device.name,
                what=pv,
                state="invalid",
                said=f"beamline.{name} is {index}, and the record has {len(words)} states: {', '.join(words)}",
                do=f"set beamline.{name} to the number of the state that drives it {verb}, counted from 0",
            )
        else:
            meaning = f" ({words[index]})" if words else ""
            yield Finding(area=device.name, what=pv, said=f"is written {index}{meaning} for {verb}")


def _settings(names: Names, start: str, end: str) -> Iterator[tuple[str, Any]]:
    for name in type(names).model_fields:
        if name.startswith(f"{start}_") and name.endswith(end):
            yield name, getattr(names, name)


def interlock(beamline: Any) -> Iterator[Finding]:
    """What the attenuator lets through, and whether the beam stop is where it must be for that."""
    foils, stop = beamline.attenuator, beamline.beam_stop
    achieved, moving = foils.ask()
    if math.isnan(achieved):
        yield Finding(
            area=foils.name,
            what=foils.achieved.pvname,
            state="wrong",
            said="shows no transmission that means anything",
            do="see its own screen; is beamline.attenuator_achieved the right PV?",
        )
        return
    yield Finding(
        area=foils.name, what=foils.achieved.pvname, said=f"transmission {achieved:g}{', moving' if moving else ''}"
    )
    if not stop.is_now("in") and achieved > stop.safe_transmission:
        yield Finding(
            area=stop.name,
            what=stop.status.pvname,
            state="wrong",
            said=f"not in, with a transmission of {achieved:g}: the direct beam may hit the detector",
            do="close the shutter, then drive the stop in",
        )


def ring(machine: Any) -> Iterator[Finding]:
    """Beam and countdown now."""
    has_beam = machine.has_beam()
    current = machine.current.get(use_monitor=False)
    yield Finding(
        area=machine.name,
        what=machine.current.pvname,
        state="ok" if has_beam else "note",
        said=f"{current:g} mA{'' if has_beam else ': no beam'}",
        do="" if has_beam else "scans wait for beam",
    )
    countdown = float(machine.countdown.get(use_monitor=False))
    if not math.isfinite(countdown) or countdown <= 0.0:
        yield Finding(
            area=machine.name,
            what=machine.countdown.pvname,
            state="note",
            said=f"{countdown:g}: no injection is announced, or one is under way",
            do="scans wait for a countdown",
        )
    elif countdown > machine.period_s + 1.0:
        yield Finding(
            area=machine.name,
            what=machine.countdown.pvname,
            state="note",
            said=f"{countdown:g} s, longer than the period of {machine.period_s:g} s",
            do="a pause in top-up, or another beamline.ring_period_s?",
        )
    else:
        yield Finding(area=machine.name, what=machine.countdown.pvname, said=f"{countdown:.0f} s to the next injection")
