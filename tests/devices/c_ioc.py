"""A real EPICS IOC, the C one of EPICS base with records of its own kinds, run as a process of its own.

    python tests/devices/c_ioc.py --port 5064 --repeater 5065

It serves ring, shutter, attenuator, beam stop and three detectors, one of each kind of ADEiger there is: R3-6 with the
EIGER1 template, R2-7, and R3-6 with the EIGER2 template. Stage and live service are not here: no C motor record can be
installed with pip. Records are made by pythonSoftIOC; what processes them, clamps them, gives them severities and sends
them is the C code of a beamline's own IOCs.

One JSON line says when it is ready; it ends when its standard input does.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "C25A:"
DETECTORS = {"R3-6 eiger1": "C25A:EIG1M:cam1:", "R2-7": "C25A:EIG4M:cam1:", "R3-6 eiger2": "C25A:EIG16M:cam1:"}
SPEED = 100.0
"""Seconds of the machine and of an exposure a wall second, as the simulation of these tests has it."""

R2_WORDS = {
    "StreamEnable": "No Yes", "FWEnable": "No Yes", "ManualTrigger": "No Yes", "SaveFiles": "No Yes",
    "FWCompression": "Disabled Enabled", "FlatfieldApplied": "Disabled Enabled", "ROIMode": "Disabled 4M",
}  # fmt: skip
NOT_IN_R2 = (
    "CountrateCorrApplied", "PixelMaskApplied", "AutoSummation", "BitDepthImage", "Initialize", "Restart", "EnergyEps",
    "WavelengthEps", "SignedData",
)  # fmt: skip
NOT_IN_EIGER2 = ("FWClear", "DCUBufferFree", "Link0", "Link1", "Link2", "Link3")
OWN = ("Acquire", "AcquireBusy", "Trigger", "Armed", "SequenceId", "DetectorState", "StatusMessage", "NumImagesCounter")
"""Records that the driver's own logic makes below."""


def environment(port: int, repeater: int) -> None:
    """Serve on loopback only, on this port; beacons to this repeater."""
    for name in [name for name in os.environ if name.startswith("EPICS_CA")]:
        del os.environ[name]
    os.environ |= {
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_SERVER_PORT": str(port),
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_BEACON_PORT": str(repeater),
        "EPICS_CA_REPEATER_PORT": str(repeater),
    }


def make_settings(builder: Any, release: str) -> dict[str, Any]:
    """Every setting and status of the camera that has no logic of its own; a setpoint sets its readback.

    Names, types and states are those of the simulation's table, which is R3-6 with the EIGER1 template.
    """
    from sim.detector import GEOMETRIES
    from sim.eiger_records import Record, table
    from sim.sample import experiment

    rows = [row for row in table(GEOMETRIES["eig1m"], experiment("au-sio2")) if row.name not in OWN]
    if release == "R2-7":
        rows = [row for row in rows if row.name not in NOT_IN_R2]
        rows = [_with_words(row, R2_WORDS[row.name].split()) if row.name in R2_WORDS else row for row in rows]
        rows.append(Record(name="TriggerExposure", kind="analog", value=1.0, units="s"))
        rows = [replace(row, value="2.7") if row.name == "DriverVersion" else row for row in rows]
    if release == "R3-6 eiger2":
        rows = [row for row in rows if row.name not in NOT_IN_EIGER2]
        words = {"StreamHdrDetail": ["None", "Basic", "All"], "CompressionAlgo": ["BSLZ4", "LZ4", "None"]}
        rows = [_with_words(row, words[row.name]) if row.name in words else row for row in rows]
        stream2 = ("Stream", "Stream2")
        rows.append(Record(name="StreamVersion", kind="binary", value=stream2[0], states=stream2))
    return {row.name: _setting(builder, row) for row in rows}


def _with_words(row: Any, words: list[str]) -> Any:
    kind = "binary" if len(words) == 2 else "multi"
    return replace(row, kind=kind, states=tuple(words), value=words[row.states.index(row.value)])


def _setting(builder: Any, row: Any) -> Any:
    make = _maker(builder, row)
    if row.rbv == "R":
        return make(f"{row.name}_RBV", out=False)
    if row.rbv == "N":
        return make(row.name, out=not row.readonly)
    readback = make(f"{row.name}_RBV", out=False)
    return make(row.name, out=True, on_update=readback.set, always_update=True)


def _maker(builder: Any, row: Any) -> Callable[..., Any]:
    """A function that makes the record of a row, as output or input of its kind."""
    first = row.states.index(row.value) if row.states else row.value
    alarmed = {"OSV": "MINOR"} if row.states in (("Disable", "Enable"), ("No", "Yes")) else {}

    def make(name: str, *, out: bool, **more: Any) -> Any:
        more["initial_value"] = first
        if row.kind == "analog":
            limits = {} if row.low is None or not out else {"DRVL": row.low, "DRVH": row.high or 1e9}
            record = builder.aOut if out else builder.aIn
            return record(name, EGU=row.units, PREC=row.precision, **limits, **more)
        if row.kind == "calcout":
            return builder.records.calcout(name, CALC="0")
        if row.kind == "long":
            limits = {} if row.low is None or not out else {"DRVL": int(row.low), "DRVH": int(row.high or 2**31 - 1)}
            return (builder.longOut if out else builder.longIn)(name, **limits, **more)
        if row.kind == "binary":
            zero, one = row.states
            return (builder.boolOut if out else builder.boolIn)(name, ZNAM=zero, ONAM=one, **alarmed, **more)
        if row.kind == "multi":
            return (builder.mbbOut if out else builder.mbbIn)(name, *row.states, **more)
        if row.kind == "string":
            return (builder.stringOut if out else builder.stringIn)(name, **more)
        return (builder.longStringOut if out else builder.longStringIn)(name, length=row.length, **more)

    return make


class Detector:
    """The driver's sequence, as far as a client that reads counters and states can tell."""

    def __init__(self, builder: Any, release: str) -> None:
        from sim.eiger_records import DETECTOR_STATES

        builder.SetDeviceName(DETECTORS[release].removesuffix(":"))
        self.settings = make_settings(builder, release)
        self.acquire = builder.boolOut(
            "Acquire", ZNAM="Done", ONAM="Acquire", OSV="MINOR", initial_value=0, always_update=True,
            on_update=self._acquire_written,
        )  # fmt: skip
        self.acquiring = builder.boolIn("Acquire_RBV", ZNAM="Done", ONAM="Acquiring", OSV="MINOR", initial_value=0)
        self.busy = builder.boolIn("AcquireBusy", ZNAM="Done", ONAM="Acquiring", initial_value=0)
        self.trigger = builder.aOut("Trigger", initial_value=0, always_update=True, on_update=self._trigger_written)
        self.armed = builder.boolIn("Armed", ZNAM="Unarmed", ONAM="Armed", initial_value=0)
        self.series = builder.longIn("SequenceId", initial_value=0)
        self.state = builder.mbbIn("DetectorState_RBV", *DETECTOR_STATES, initial_value=0)
        self.message = builder.longStringIn("StatusMessage_RBV", length=256, initial_value="Ready")
        self.images = builder.longIn("NumImagesCounter_RBV", initial_value=0)
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _read(self, name: str) -> Any:
        return self.settings[name].get()

    async def _acquire_written(self, value: int) -> None:
        if value and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())
        elif not value and self._task is not None and not self._task.done():
            self._task.cancel()
            self.state.set(10)
            self._ended("Acquisition aborted")

    async def _trigger_written(self, _value: float) -> None:
        if self.armed.get():  # writes before arming are lost, writes during a trigger collapse into one
            self._event.set()

    async def _run(self) -> None:
        for record, value in ((self.state, 1), (self.acquiring, 1), (self.busy, 1)):
            record.set(value)
        self.message.set("Arming")
        await asyncio.sleep(0.02)
        self._event.clear()
        self.images.set(0)
        self.series.set(self.series.get() + 1)
        self.armed.set(1)
        self.message.set("Waiting for manual triggers" if self._read("ManualTrigger") else "Triggering")
        for _ in range(int(self._read("NumTriggers"))):
            if self._read("ManualTrigger"):
                await self._event.wait()
                await asyncio.sleep(0.1 / SPEED)  # the driver's poll
                self._event.clear()
            tells = self._read("ShutterMode") == 1  # EPICS PV
            if tells:
                self.settings["ShutterControlEPICS"].set(1)
            await asyncio.sleep(float(self._read("AcquireTime")) / SPEED)
            if tells:
                self.settings["ShutterControlEPICS"].set(0)
            if self._read("DataSource") == 1:  # only the FileWriter's images reach the driver
                self.images.set(self.images.get() + int(self._read("NumImages")))
                counter = self.settings["ArrayCounter"]
                counter.set(counter.get() + int(self._read("NumImages")))
        self.state.set(0)
        self._ended("Ready")

    def _ended(self, message: str) -> None:
        self.armed.set(0)
        self.message.set(message)
        self.acquire.set(0, process=False)
        self.acquiring.set(0)
        self.busy.set(0)


class Ring:
    """Current and countdown, with switches for what a machine does at night."""

    PERIOD_S, INJECTION_S, CURRENT_MA = 240.0, 5.0, 500.0

    def __init__(self, builder: Any) -> None:
        builder.SetDeviceName(PREFIX.removesuffix(":"))
        # TSE -2: this program gives the times.
        self.current = builder.aIn("SR-DI-DCCT:BeamCurrent", EGU="mA", PREC=3, TSE=-2, initial_value=self.CURRENT_MA)
        self.countdown = builder.aIn("TPS:TimeToNextInjSec", EGU="s", PREC=1, TSE=-2, initial_value=self.PERIOD_S)
        self.dump = builder.boolOut("SIM:BeamDump", ZNAM="Stored", ONAM="Dumped", initial_value=0)
        self.sick = builder.mbbOut("SIM:Sick", "Well", "Not a number", "Invalid", "Late clock", initial_value=0)
        self.style = builder.mbbOut("SIM:Countdown", "jump", "hold", initial_value=0)

    async def run(self) -> None:
        from softioc import alarm

        begun = time.monotonic()
        while True:
            left = self.PERIOD_S - (SPEED * (time.monotonic() - begun)) % self.PERIOD_S
            injecting = left > self.PERIOD_S - self.INJECTION_S
            countdown = -1.0 if self.dump.get() else 0.0 if injecting and self.style.get() == 1 else left
            current = 0.0 if self.dump.get() else self.CURRENT_MA
            sick = self.sick.get()
            severity, status = (alarm.INVALID_ALARM, alarm.READ_ALARM) if sick == 2 else (0, 0)
            stamp = {"severity": severity, "alarm": status, "timestamp": time.time() - (100.0 if sick == 3 else 0.0)}
            self.current.set(float("nan") if sick == 1 else current, **stamp)
            self.countdown.set(float("nan") if sick == 1 else countdown, **stamp)
            await asyncio.sleep(0.01)


class Beam:
    """Shutter, attenuator and beam stop; a put completes when the blades, foils or stop have arrived."""

    def __init__(self, builder: Any) -> None:
        states = ("Fault", "Open", "Opening", "Closed", "Closing")
        self.shutter_status = builder.mbbIn("FS:Sts", ("Fault", "MAJOR"), *states[1:], initial_value=3)
        self.shutter = builder.boolOut(
            "FS:Cmd", ZNAM="Close", ONAM="Open", initial_value=0, always_update=True, blocking=True,
            on_update=self._shutter_written,
        )  # fmt: skip
        self.shutter_fault = builder.boolOut("SIM:ShutterFault", ZNAM="Well", ONAM="Stuck", initial_value=0)
        self.achieved = builder.aIn("ATT:Transmission_RBV", PREC=9, initial_value=1.0)
        self.moving = builder.boolIn("ATT:Moving", ZNAM="In place", ONAM="Moving", initial_value=0)
        self.attenuator = builder.aOut(
            "ATT:Transmission", DRVL=10**-7.5, DRVH=1.0, PREC=9, initial_value=1.0, always_update=True, blocking=True,
            on_update=self._attenuator_written,
        )  # fmt: skip
        self.stop_status = builder.mbbIn("BS:Sts", "Unknown", "In", "Out", "Moving", "Fault", initial_value=1)
        self.stop = builder.boolOut(
            "BS:Cmd", ZNAM="Out", ONAM="In", initial_value=1, always_update=True, blocking=True,
            on_update=self._stop_written,
        )  # fmt: skip

    async def _shutter_written(self, value: int) -> None:
        if self.shutter_status.get() == (1 if value else 3):
            return  # blades that are there do not move
        self.shutter_status.set(2 if value else 4)
        await asyncio.sleep(0.01)
        self.shutter_status.set(0 if self.shutter_fault.get() else 1 if value else 3)

    async def _attenuator_written(self, value: float) -> None:
        from sim.attenuator import achievable

        self.moving.set(1)
        await asyncio.sleep(0.05)
        self.achieved.set(achievable(value))
        self.moving.set(0)

    async def _stop_written(self, value: int) -> None:
        if self.stop_status.get() == (1 if value else 2):
            return
        self.stop_status.set(3)
        await asyncio.sleep(0.05)
        self.stop_status.set(1 if value else 2)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--repeater", type=int, required=True)
    arguments = parser.parse_args()
    environment(arguments.port, arguments.repeater)
    sys.path.insert(0, str(ROOT))
    from softioc import asyncio_dispatcher, builder, softioc

    dispatcher = asyncio_dispatcher.AsyncioDispatcher()
    ring = Ring(builder)
    Beam(builder)
    for release in DETECTORS:
        Detector(builder, release)
    builder.LoadDatabase()
    softioc.iocInit(dispatcher, enable_pva=False)
    asyncio.run_coroutine_threadsafe(ring.run(), dispatcher.loop)
    sys.stdout.write(json.dumps({"ready": True, "ca_server_port": arguments.port, "prefix": PREFIX}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # an IOC has no end of its own


if __name__ == "__main__":
    main()
