# ruff: noqa: ARG001 - the running simulation is all that is wanted of its fixture
"""Devices on the simulated beamline, connected once for the whole test session."""

import pytest

from devices.attenuator import Attenuator
from devices.beam_stop import BeamStop
from devices.shutter import FastShutter
from devices.stage import PiezoStage
from devices.storage_ring import StorageRing


@pytest.fixture(scope="session")
def stage(xedm_beamline) -> PiezoStage:
    """Give the stage, at rest."""
    stage = PiezoStage(x="25A:PIEZO:X", y="25A:PIEZO:Y", z="25A:PIEZO:Z", name="stage", move_timeout_s=5.0)
    stage.wait_for_connection(timeout=10)
    return stage


@pytest.fixture(scope="session")
def shutter(xedm_beamline) -> FastShutter:
    """Give the shutter."""
    shutter = FastShutter(command="25A:FS:Cmd", status="25A:FS:Sts", name="shutter")
    shutter.wait_for_connection(timeout=10)
    return shutter


@pytest.fixture(scope="session")
def attenuator(xedm_beamline) -> Attenuator:
    """Give the attenuator."""
    attenuator = Attenuator(transmission="25A:ATT:Transmission", moving="25A:ATT:Moving", name="attenuator")
    attenuator.wait_for_connection(timeout=10)
    return attenuator


@pytest.fixture(scope="session")
def beam_stop(xedm_beamline, attenuator) -> BeamStop:
    """Give the beam stop, interlocked with the attenuator."""
    stop = BeamStop(command="25A:BS:Cmd", status="25A:BS:Sts", attenuator=attenuator, name="beam_stop")
    stop.wait_for_connection(timeout=10)
    return stop


@pytest.fixture(scope="session")
def ring(xedm_beamline) -> StorageRing:
    """Give the storage ring."""
    ring = StorageRing(current="SR-DI-DCCT:BeamCurrent", countdown="TPS:TimeToNextInjSec", name="ring")
    ring.wait_for_connection(timeout=10)
    return ring
