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
from devices.eiger_arm import DataSource, Generation, HeaderDetail
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
        signals = [signal for device in self.namespace().values() for signal in _used_signals(device)]
        while waiting := [signal for signal in signals if not signal.connected]:
            if time.monotonic() > deadline:
                raise NotConnectedError(_silent(waiting, len(signals), timeout_s))
            time.sleep(0.02)

    def make_safe(self) -> None:
        """Disarm what this session has armed and close its shutter; for the end of the session."""
        if self.detector.armed_here:
            for problem in self.detector.make_safe():
                logger.error("%s is not safe: %s", self.detector.name, problem)


def build_beamline(
    names: Mapping[str, str],
    *,
    data_source: DataSource = "none",
    header_detail: HeaderDetail = "all",
    generation: Generation = "eiger1",
) -> Beamline:
    """Make every device.

    Parameters
    ----------
    names : mapping of str to str
        PV names by the keys in `NAMES`.
    data_source, header_detail, generation
        Of the detector, see `devices.eiger_arm.configure`.

    Raises
    ------
    ValueError
        When a name is missing.
    """
    if missing := [name for name in NAMES if not names.get(name)]:
        raise ValueError(f"PV names of the beamline must be complete, got none for {', '.join(missing)}")
    stage = PiezoStage(x=names["stage_x"], y=names["stage_y"], z=names["stage_z"], name="stage")
    shutter = FastShutter(command=names["shutter_command"], status=names["shutter_status"], name="shutter")
    attenuator = Attenuator(transmission=names["attenuator"], moving=names["attenuator_moving"], name="attenuator")
    ring = StorageRing(current=names["ring_current"], countdown=names["ring_countdown"], name="ring")
    live = LiveResult(names["live_prefix"], name="live")
    return Beamline(
        stage=stage,
        detector=Eiger(
            names["detector"],
            name=detector_name(names["detector"]),
            labels={"detectors"},
            shutter=shutter,
            ring=ring,
            live=live,
            data_source=data_source,
            header_detail=header_detail,
            generation=generation,
        ),
        shutter=shutter,
        attenuator=attenuator,
        beam_stop=BeamStop(
            command=names["beam_stop"], status=names["beam_stop_status"], attenuator=attenuator, name="beam_stop"
        ),
        ring=ring,
        live=live,
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
