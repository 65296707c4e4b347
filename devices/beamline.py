"""All devices of the beamline from a plain mapping of PV names."""

import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ophyd import do_not_wait_for_lazy_connection

from devices.attenuator import Attenuator
from devices.beam_stop import BeamStop
from devices.eiger import Eiger
from devices.eiger_arm import DataSource, HeaderDetail
from devices.errors import NotConnectedError
from devices.live_result import LiveResult
from devices.shutter import FastShutter
from devices.stage import PiezoStage
from devices.storage_ring import StorageRing

logger = logging.getLogger(__name__)

NAMES = (
    "stage_x",
    "stage_y",
    "stage_z",
    "detector",
    "shutter_command",
    "shutter_status",
    "attenuator",
    "attenuator_moving",
    "beam_stop",
    "beam_stop_status",
    "ring_current",
    "ring_countdown",
    "live_prefix",
)


def detector_name(prefix: str) -> str:
    """Return the name under which TPS 25A knows a detector.

    Examples
    --------
    >>> detector_name("25A:EIG1M:cam1:"), detector_name("25A:EIG16M:cam1:"), detector_name("XF:11{Det}cam1:")
    ('eig1m', 'eig16m', 'eiger')
    """
    found = re.search(r"eig(\d+)m", prefix.lower())
    return f"eig{found[1]}m" if found else "eiger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beamline:
    """The devices, made and not yet connected.

    Attributes
    ----------
    stage : PiezoStage
    detector : Eiger
    shutter : FastShutter
    attenuator : Attenuator
    beam_stop : BeamStop
    ring : StorageRing
    live : LiveResult
    """

    stage: PiezoStage
    detector: Eiger
    shutter: FastShutter
    attenuator: Attenuator
    beam_stop: BeamStop
    ring: StorageRing
    live: LiveResult

    def namespace(self) -> dict[str, Any]:
        """Return the devices by the names a user types."""
        devices = (
            self.stage,
            self.detector,
            self.shutter,
            self.attenuator,
            self.beam_stop,
            self.ring,
            self.live,
        )
        return {device.name: device for device in devices}

    def connect(self, timeout_s: float = 15.0) -> None:
        """Wait until every PV that a scan uses answers.

        Raises
        ------
        NotConnectedError
            With the names of those that do not.
        """
        deadline = time.monotonic() + timeout_s
        signals = [signal for several in self.signals().values() for signal in several]
        while waiting := [signal for signal in signals if not signal.connected]:
            if time.monotonic() > deadline:
                raise NotConnectedError(_silent(waiting, len(signals), timeout_s))
            time.sleep(0.02)
        self.detector.cam.leave_out_absent()

    def signals(self) -> dict[str, list[Any]]:
        """Return the signals with a PV that a scan uses, by the name of their device."""
        return {name: _used_signals(device) for name, device in self.namespace().items()}

    def written(self) -> set[str]:
        """Return the names of the PVs that a scan writes."""
        moved = [one for axis in self.stage.axes for one in (axis.user_setpoint, axis.motor_stop)]
        moved += [self.shutter.command, self.attenuator.wanted, self.beam_stop.command]
        told = [self.live.point, self.live.expected, self.live.paused]
        # A setting of the camera has a readback of its own; what has none is only read, but for the trigger.
        camera = [
            one for one in _used_signals(self.detector) if getattr(one, "setpoint_pvname", one.pvname) != one.pvname
        ]
        with do_not_wait_for_lazy_connection(self.detector.cam):
            camera.append(self.detector.cam.special_trigger_button)
        return {signal.setpoint_pvname for signal in (*moved, *told, *camera)}

    def make_safe(self) -> None:
        """Disarm what this session has armed and close its shutter; for the end of the session."""
        if self.detector.armed_here:
            for problem in self.detector.make_safe():
                logger.error("%s is not safe: %s", self.detector.name, problem)


def build_beamline(
    names: Mapping[str, Any],
    *,
    data_source: DataSource | None = None,
    header_detail: HeaderDetail | None = None,
) -> Beamline:
    """Make every device.

    Parameters
    ----------
    names : mapping
        PV names by the keys in `NAMES`. Whatever else stands in the configuration's ``[beamline]`` may be there too:
        words and indices of shutter and beam stop, tolerances, periods; what is not there has the device's own default.
    data_source, header_detail
        Of the detector, see `devices.eiger_arm.configure`; before what `names` says.

    Raises
    ------
    ValueError
        When a name is missing.
    """
    if missing := [name for name in NAMES if not names.get(name)]:
        raise ValueError(f"PV names of the beamline must be complete, got none for {', '.join(missing)}")
    shutter, attenuator, ring = _shutter(names), _attenuator(names), _ring(names)
    live = LiveResult(names["live_prefix"], name="live")
    detector = Eiger(
        names["detector"],
        name=detector_name(names["detector"]),
        labels={"detectors"},
        shutter=shutter,
        ring=ring,
        live=live,
        data_source=data_source or names.get("detector_data_source") or "none",
        header_detail=header_detail or names.get("detector_header") or "all",
    )
    return Beamline(
        stage=_stage(names),
        detector=detector,
        shutter=shutter,
        attenuator=attenuator,
        beam_stop=_beam_stop(names, attenuator),
        ring=ring,
        live=live,
    )


def _given(names: Mapping[str, Any], **arguments: str) -> dict[str, Any]:
    """Arguments of a device by the keys under which the configuration has them, where it has them."""
    return {argument: names[key] for argument, key in arguments.items() if names.get(key) is not None}


def _states(names: Mapping[str, Any], **words: str) -> dict[str, Any]:
    """What the IOC calls the states of a device, and its fault; nothing where the configuration is silent."""
    *states, fault = words.items()
    known = {"faults": (names[fault[1]],)} if names.get(fault[1]) else {}
    return known | {"states": _given(names, **dict(states))}


def _stage(names: Mapping[str, Any]) -> PiezoStage:
    return PiezoStage(
        x=names["stage_x"],
        y=names["stage_y"],
        z=names["stage_z"],
        name="stage",
        **_given(names, tolerance_um="stage_tolerance_um", move_timeout_s="stage_timeout_s"),
    )


def _shutter(names: Mapping[str, Any]) -> FastShutter:
    return FastShutter(
        command=names["shutter_command"],
        status=names["shutter_status"],
        name="shutter",
        **_given(names, open_value="shutter_open_value", close_value="shutter_close_value"),
        **_states(names, open="shutter_open_state", close="shutter_closed_state", fault="shutter_fault_state"),
    )


def _attenuator(names: Mapping[str, Any]) -> Attenuator:
    return Attenuator(
        transmission=names["attenuator"],
        moving=names["attenuator_moving"],
        name="attenuator",
        **_given(names, achieved="attenuator_achieved"),
    )


def _beam_stop(names: Mapping[str, Any], attenuator: Attenuator) -> BeamStop:
    return BeamStop(
        command=names["beam_stop"],
        status=names["beam_stop_status"],
        attenuator=attenuator,
        name="beam_stop",
        **_given(
            names,
            in_value="beam_stop_in_value",
            out_value="beam_stop_out_value",
            safe_transmission="safe_transmission",
        ),
        **_states(
            names, **{"in": "beam_stop_in_state", "out": "beam_stop_out_state", "fault": "beam_stop_fault_state"}
        ),
    )


def _ring(names: Mapping[str, Any]) -> StorageRing:
    return StorageRing(
        current=names["ring_current"],
        countdown=names["ring_countdown"],
        name="ring",
        **_given(names, period_s="ring_period_s", injection_s="ring_injection_s", current_min_ma="ring_current_min_ma"),
    )


def _used_signals(device: Any) -> list[Any]:
    """Signals with a PV; of the camera, with its two hundred records, only those a scan uses."""
    if isinstance(device, Eiger):
        with do_not_wait_for_lazy_connection(device.cam):
            return [getattr(device.cam, name) for name in CAMERA_SIGNALS]
    return [walk.item for walk in device.walk_signals() if hasattr(walk.item, "pvname")]


CAMERA_SIGNALS = (
    "acquire",
    "acquire_time",
    "acquire_period",
    "num_images",
    "num_triggers",
    "trigger_mode",
    "manual_trigger",
    "special_trigger_button",
    "armed",
    "sequence_id",
    "detector_state",
    "status_message",
    "dead_time",
    "shutter_mode",
    "fw_enable",
    "data_source",
    "stream_enable",
    "stream_hdr_detail",
    "compression_algo",
)


def _silent(signals: list[Any], total: int, timeout_s: float) -> str:
    silent: dict[str, list[str]] = {}
    for signal in signals:
        silent.setdefault(signal.root.name, []).append(signal.pvname)
    shown = "; ".join(
        f"{device}: {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for device, names in silent.items()
    )
    where = os.environ.get("EPICS_CA_ADDR_LIST", "the local network")
    return (
        f"all {total} PVs must answer within {timeout_s:g} s, got nothing from {shown}. See whether the IOCs run and "
        f"whether EPICS_CA_ADDR_LIST ({where}) reaches them"
    )
