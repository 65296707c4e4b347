# ruff: noqa: ARG001 - the running simulation is all that is wanted of its fixture
"""Devices for plans that are only looked at, not run."""

import sys
from pathlib import Path

import pytest

from devices.beamline import Beamline, build_beamline

# The programs that run scans import these modules from their own folder; the tests that read what they say do so, too.
sys.path.insert(0, str(Path(__file__).parent))

NAMES = {
    "stage_x": "25A:PIEZO:X",
    "stage_y": "25A:PIEZO:Y",
    "stage_z": "25A:PIEZO:Z",
    "detector": "25A:EIG1M:cam1:",
    "shutter_command": "25A:FS:Cmd",
    "shutter_status": "25A:FS:Sts",
    "attenuator": "25A:ATT:Transmission",
    "attenuator_moving": "25A:ATT:Moving",
    "beam_stop": "25A:BS:Cmd",
    "beam_stop_status": "25A:BS:Sts",
    "ring_current": "SR-DI-DCCT:BeamCurrent",
    "ring_countdown": "TPS:TimeToNextInjSec",
    "live_prefix": "NOWHERE:",
}


@pytest.fixture(scope="session")
def beamline(xedm_beamline) -> Beamline:
    """Give all devices, the stage connected; there is no live service."""
    beamline = build_beamline(NAMES)
    beamline.stage.wait_for_connection(timeout=10)
    return beamline
