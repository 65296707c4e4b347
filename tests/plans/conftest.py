# ruff: noqa: ARG001 - the running simulation is all that is wanted of its fixture
"""Devices for plans that are only looked at, not run."""

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from bluesky import RunEngine

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
def simulated() -> ModuleType:
    """Give the devices that count their own clock; tests are not a package."""
    spec = importlib.util.spec_from_file_location("simulated_sample", Path(__file__).with_name("simulated_sample.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def one_engine():
    """Give a RunEngine, and end its thread when all is over."""
    engine = RunEngine({})
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    deadline = time.monotonic() + 10.0
    while engine.loop.is_running() and time.monotonic() < deadline:
        time.sleep(0.01)
    engine.loop.close()


@pytest.fixture
def engine(one_engine):
    """Give the RunEngine to one test; nobody listens to it afterwards."""
    yield one_engine
    one_engine.dispatcher.unsubscribe_all()


@pytest.fixture(scope="session")
def beamline(xedm_beamline) -> Beamline:
    """Give all devices, the stage connected; there is no live service."""
    beamline = build_beamline(NAMES)
    beamline.stage.wait_for_connection(timeout=10)
    return beamline
