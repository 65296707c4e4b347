# ruff: noqa: ARG001 - the running simulation is all that is wanted of its fixture
"""Devices on the simulated beamline and on a real C IOC, connected once for the whole test session."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices.attenuator import Attenuator
from devices.beam_stop import BeamStop
from devices.eiger_cam import EigerCam
from devices.shutter import FastShutter
from devices.stage import PiezoStage
from devices.storage_ring import StorageRing

START_TIMEOUT_S = 60.0
SIMULATION, C_IOC = "simulation", "c ioc"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where devices are: the simulation, or the C IOC that serves the same records under another prefix."""

    name: str
    prefix: str
    ring_prefix: str

    @property
    def names(self) -> dict[str, str]:
        """PV names of everything but stage and live service, which only the simulation has."""
        return {
            "shutter_command": f"{self.prefix}FS:Cmd",
            "shutter_status": f"{self.prefix}FS:Sts",
            "attenuator": f"{self.prefix}ATT:Transmission",
            "attenuator_moving": f"{self.prefix}ATT:Moving",
            "beam_stop": f"{self.prefix}BS:Cmd",
            "beam_stop_status": f"{self.prefix}BS:Sts",
            "ring_current": f"{self.ring_prefix}SR-DI-DCCT:BeamCurrent",
            "ring_countdown": f"{self.ring_prefix}TPS:TimeToNextInjSec",
            "stage_x": "25A:PIEZO:X",
            "stage_y": "25A:PIEZO:Y",
            "stage_z": "25A:PIEZO:Z",
            "live_prefix": "NOWHERE:",
        }


@pytest.fixture(scope="session")
def c_ioc(xedm_beamline, c_ioc_port, tmp_path_factory) -> Iterator[Place]:
    """Run the C IOC, in a process of its own with packages of its own, to the end of the session."""
    script, packages = Path(__file__).with_name("c_ioc.py"), Path(sys.prefix) / "ioc"
    assert (packages / "softioc").is_dir(), f"the C IOC must be installed in {packages}; run: make install"
    log = tmp_path_factory.mktemp("c_ioc") / "log"
    c_ioc_port.give_free()
    command = [sys.executable, str(script), "--port", str(c_ioc_port.number)]
    command += ["--repeater", str(xedm_beamline.repeater_port)]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(packages)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
        watchdog.start()
        said = json.loads(next((line for line in process.stdout if line.startswith(b"{")), b"{}"))
        watchdog.cancel()
        assert said.get("ready"), f"the C IOC must say ready within {START_TIMEOUT_S:g} s; it says: {log.read_text()}"
        yield Place(name=C_IOC, prefix=said["prefix"], ring_prefix=said["prefix"])
        process.stdin.close()


@pytest.fixture(scope="session", params=[SIMULATION, C_IOC])
def place(request, xedm_beamline) -> Place:
    """Give each of the two: what is tested on one is tested on the other."""
    if request.param == C_IOC:
        return request.getfixturevalue("c_ioc")
    return Place(name=SIMULATION, prefix=xedm_beamline.prefix, ring_prefix="")


@pytest.fixture(scope="session")
def stage(xedm_beamline) -> PiezoStage:
    """Give the stage, at rest."""
    stage = PiezoStage(x="25A:PIEZO:X", y="25A:PIEZO:Y", z="25A:PIEZO:Z", name="stage", move_timeout_s=5.0)
    stage.wait_for_connection(timeout=10)
    return stage


@pytest.fixture(scope="session")
def shutter(place) -> FastShutter:
    """Give the shutter."""
    names = place.names
    shutter = FastShutter(command=names["shutter_command"], status=names["shutter_status"], name="shutter")
    shutter.wait_for_connection(timeout=10)
    return shutter


@pytest.fixture(scope="session")
def attenuator(place) -> Attenuator:
    """Give the attenuator."""
    names = place.names
    attenuator = Attenuator(transmission=names["attenuator"], moving=names["attenuator_moving"], name="attenuator")
    attenuator.wait_for_connection(timeout=10)
    return attenuator


@pytest.fixture(scope="session")
def beam_stop(place, attenuator) -> BeamStop:
    """Give the beam stop, interlocked with the attenuator."""
    names = place.names
    stop = BeamStop(
        command=names["beam_stop"], status=names["beam_stop_status"], attenuator=attenuator, name="beam_stop"
    )
    stop.wait_for_connection(timeout=10)
    return stop


@pytest.fixture(scope="session")
def ring(place) -> StorageRing:
    """Give the storage ring."""
    ring = StorageRing(current=place.names["ring_current"], countdown=place.names["ring_countdown"], name="ring")
    ring.wait_for_connection(timeout=10)
    return ring


@pytest.fixture(scope="session", params=["simulation", "R3-6 eiger1", "R2-7", "R3-6 eiger2"])
def camera(request, xedm_beamline) -> EigerCam:
    """Give the camera records of the simulation, and of each kind of ADEiger as the C IOC serves them."""
    if request.param == "simulation":
        return EigerCam("25A:EIG1M:cam1:", name="cam")
    request.getfixturevalue("c_ioc")
    models = {"R3-6 eiger1": "EIG1M", "R2-7": "EIG4M", "R3-6 eiger2": "EIG16M"}
    return EigerCam(f"C25A:{models[request.param]}:cam1:", name=request.param.replace(" ", "_"))
