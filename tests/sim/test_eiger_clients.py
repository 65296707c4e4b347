"""Real clients on the simulated detector: ophyd's camera class, pyepics, caproto, each in a process of its own."""

import os
import subprocess
import sys
import textwrap

import pytest

from sim.pytest_plugin import running_beamline


@pytest.fixture(scope="module")
def beamline(tmp_path_factory):
    with running_beamline(tmp_path_factory.mktemp("sim"), ["--speed", "200", "--seed", "3"]) as running:
        yield running


def client(beamline, script, timeout=60):
    """Output of a Python script run with the simulation's EPICS settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EPICS")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(script)],
        env=inherited | beamline.environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_ophyd_camera_connects_with_all_signals(beamline):
    out = client(
        beamline,
        """
        from ophyd.areadetector.cam import EigerDetectorCam

        class Camera(EigerDetectorCam):
            file_number_sync = None
            file_number_write = None
            pool_max_buffers = None
            trigger_exposure = None

        camera = Camera("25A:EIG1M:cam1:", name="camera")
        camera.wait_for_connection(all_signals=True, timeout=30)
        reading = camera.read_configuration()
        assert reading["camera_photon_energy"]["value"] == 8821.0
        assert reading["camera_det_distance"]["value"] == 2.08
        assert camera.describe_configuration()["camera_wavelength"]["units"] == "Angstro"
        assert camera.data_type_disabled.get() == 1
        assert camera.array_size.get() == (0, 1065, 1030)
        name = "a_name_that_is_much_longer_than_forty_characters_$id"
        camera.fw_name_pattern.set(name).wait(timeout=10)
        assert camera.fw_name_pattern.get() == name
        for signal, value in ((camera.num_triggers, 2), (camera.manual_trigger, 0), (camera.acquire_time, 2.0),
                              (camera.data_source, 1), (camera.fw_enable, 1), (camera.compression_algo, 1)):
            signal.set(value).wait(timeout=10)
        camera.acquire.set(1).wait(timeout=10)
        print(camera.armed.pvname, len(repr(camera)) > 0)
        """,
    )
    assert out.split() == ["25A:EIG1M:cam1:Armed", "True"]


def test_pyepics_put_completion_ends_with_the_acquisition(beamline):
    out = client(
        beamline,
        """
        import time
        import epics

        cam = "25A:EIG1M:cam1:"
        while epics.caget(cam + "Acquire_RBV"):
            time.sleep(0.02)
        for name, value in (("AcquireTime", 60.0), ("NumTriggers", 2), ("ManualTrigger", 0), ("DataSource", 0)):
            assert epics.caput(cam + name, value, wait=True, timeout=10) == 1
        start = time.monotonic()
        assert epics.caput(cam + "Acquire", 1, wait=True, timeout=30) == 1
        seconds = time.monotonic() - start
        assert 2 * 60 / 200 <= seconds < 20, seconds
        assert epics.caget(cam + "Acquire_RBV", as_string=True) == "Done"
        assert epics.caget(cam + "StatusMessage_RBV", as_string=True) == "Ready"
        print(epics.caget(cam + "Description_RBV"))
        """,
    )
    assert out.strip() == "Dectris Eiger 1M"


def test_caproto_get_reads_the_detector(beamline):
    command = [sys.executable, "-P", "-m", "caproto.commandline.get", "--terse", "--timeout", "10"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EPICS")}
    done = subprocess.run(
        [*command, "25A:EIG1M:cam1:MaxSizeX_RBV", "25A:EIG1M:cam1:MaxSizeY_RBV"],
        env=inherited | beamline.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert [float(line.strip("[]")) for line in done.stdout.split()] == [1030.0, 1065.0]
