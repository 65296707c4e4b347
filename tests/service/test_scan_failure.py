"""A scan that fails says why in a sentence, with an exit code and the log; what it started is stopped."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bluesky.utils import FailedStatus, RunEngineInterrupted
from ophyd.signal import ReadTimeoutError
from ophyd.utils import DisconnectedError, LimitError, StatusTimeoutError

from devices.errors import BeamError, DetectorError, FrameTimeoutError, NotConnectedError, PointError, StageError
from service import cli, demo
from service.scan_failure import told_in_a_sentence

LOG = Path("somewhere/session.log")


class ScanOf:
    """A RunEngine and everything around it, whose scan ends in an error."""

    def __init__(self, error):
        self.error, self.state, self.safe, self.stopped = error, "idle", 0, []

    def __call__(self, plan):
        del plan
        raise self.error

    def subscribe(self, callback):
        del callback

    def make_safe(self):
        self.safe += 1

    def session(self):
        device = SimpleNamespace(name="device")
        plan = lambda *_, **__: None  # noqa: E731 - a plan that is never run
        names = dict.fromkeys(("stage", "live", "eig1m"), device)
        return {"RE": self, "beamline": self, "ensemble_scan": plan, **names}

    def process(self, name, folder):
        def stop():
            self.stopped.append(name)

        ready = {"prefix": "XEDM:", "speed": 1.0, "http": "http://127.0.0.1:1", "stream": "tcp://127.0.0.1:1"}
        return SimpleNamespace(name=name, ready=ready, log=folder / f"{name}.log", stop=stop, alive=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StageError("stage_x must be at its target"), 1),
        (DetectorError("detector must arm"), 1),
        (PointError("point 3 must have a valid exposure"), 1),
        (LimitError("stage_x must be sent between its soft limits"), 1),
        (DisconnectedError("not connected"), 1),
        (ConnectionRefusedError(111, "refused"), 1),
        (FrameTimeoutError("frame 3 must reach the live service"), 4),
        (BeamError("no beam in time"), 4),
        (NotConnectedError("all PVs must answer"), 4),
        (StatusTimeoutError("not done within 5 s"), 4),
        (ReadTimeoutError("no answer"), 4),
    ],
)
def test_each_failure_is_a_sentence_with_its_exit_code(error, code):
    with pytest.raises(cli.UserError) as told, told_in_a_sentence(LOG):
        raise error
    assert str(told.value) == f"scan failed: {error} (log: {LOG})"
    assert told.value.exit_code == code


def test_the_status_of_bluesky_is_unwrapped_and_an_error_without_text_is_named():
    with pytest.raises(cli.UserError, match=r"scan failed: TimeoutError \(log:") as told, told_in_a_sentence(LOG):
        raise FailedStatus("Status(obj=...)") from TimeoutError()
    assert told.value.exit_code == 4


def test_a_fault_of_the_program_stays_one():
    with pytest.raises(TypeError), told_in_a_sentence(LOG):
        raise TypeError("ours")


@pytest.fixture
def xedm(tmp_path, monkeypatch, capfd):
    """Run `xedm` in this process with a scan that ends in an error; give its code, its words and what was stopped."""

    def run(error, *words):
        scan = ScanOf(error)
        monkeypatch.setattr(demo, "build_session", lambda *_, **__: scan.session())
        monkeypatch.setattr(demo, "start_sim", lambda folder, **_: scan.process("sim", folder))
        monkeypatch.setattr(demo, "start_live", lambda folder, **_: scan.process("live", folder))
        for name in ("point_at", "close_channels"):
            monkeypatch.setattr(demo, name, lambda *_: None)
        monkeypatch.setattr(sys, "argv", ["xedm", *words, "--output", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capfd.readouterr().err, scan

    return run


@pytest.mark.parametrize(
    ("error", "code"), [(StageError("stage_x must be at 5 um"), 1), (StatusTimeoutError("not done within 5 s"), 4)]
)
def test_a_demo_that_fails_stops_what_it_started_and_names_its_log(xedm, tmp_path, error, code):
    got, said, scan = xedm(error, "demo", "--no-browser")
    assert got == code
    assert said == f"xedm: scan failed: {error} (log: {tmp_path / 'demo' / 'session.log'})\n"
    assert scan.stopped == ["live", "sim"]
    assert scan.safe == 1


@pytest.mark.parametrize("error", [RunEngineInterrupted("paused"), KeyboardInterrupt()])
def test_a_demo_that_is_interrupted_ends_well(xedm, error):
    code, said, scan = xedm(error, "demo", "--no-browser")
    assert (code, said) == (0, "")
    assert scan.stopped == ["live", "sim"]
