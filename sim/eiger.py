"""The detector's IOC: records, driver and detector together; the driver's sequence as ADEiger R3-6 runs it."""

import asyncio
import contextlib
import math
import shutil
from pathlib import Path
from typing import Any

from caproto import SkipWrite

from sim.beamline import Beamline
from sim.eiger_board import Board
from sim.eiger_core import EigerCore
from sim.eiger_driver_stream import DriverStream
from sim.eiger_records import table
from sim.eiger_settings import Settings, first_state, free_gigabytes

POLL_S = 0.1
"""The driver looks for triggers and states this often, simulated seconds."""
MONITORS_S = 0.03
"""Wall time after which caproto has sent its monitors: a client whose put completes must find the record at Done."""


class EigerIOC:
    """ADEiger on the simulated beamline.

    PVs (prefix ``25A:EIG1M:cam1:`` or ``25A:EIG16M:cam1:``): see `sim.eiger_records`. Acquire with put-completion lasts
    until the end of the acquisition; Trigger is a binary event: writes while a trigger runs collapse into one, writes
    before arming are lost. With ShutterMode=EPICS PV, ShutterControlEPICS opens before each trigger and closes after
    its exposure, as ADDriver does it; no shutter is linked to it.

    Parameters
    ----------
    beamline
        The physical state.
    """

    def __init__(self, beamline: Beamline) -> None:
        self._clock, self._settings = beamline.clock, beamline.settings
        self.core = EigerCore(beamline)
        self.core.on_readable = self._count_file_images
        geometry, experiment = self.core.source.geometry, self.core.source.experiment
        prefix = f"{self._settings.prefix}{geometry.name.upper()}:cam1:"
        self.board = Board(table(geometry, experiment), prefix)
        self._config = Settings(self.board, geometry)
        self.board.handlers |= {
            "Acquire": self._acquire_written,
            "Trigger": self._trigger_written,
            "FWClear": self._clear_files,
            "Initialize": self._momentary,
            "Restart": self._momentary,
            "ReadStatus": self._read_status,
        }
        self._trigger = asyncio.Event()
        self._stopped = False
        self._running: asyncio.Task[None] | None = None
        self._driver_stream: DriverStream | None = None
        self._posts: set[asyncio.Task[None]] = set()
        self._images = 0
        # caproto calls this of a PV when its server starts
        self.board.group.attr_pvdb["Acquire"].server_startup = self.start

    @property
    def pvdb(self) -> dict[str, Any]:
        """PVs by full name."""
        return self.board.pvdb

    @property
    def stream_endpoint(self) -> str:
        """Where the stream is served."""
        return self.core.sender.endpoint

    async def start(self, _async_lib: object = None) -> None:
        """Show what depends on the machine; caproto calls it at its start."""
        for name, value in first_state(self.board, self._settings.output).items():
            await self.board.post(name, value)
        await self.board.group.attr_pvdb["DataType_RBV"].fields["DISA"].write(1)

    def warm_up(self) -> None:
        """Compile all that a frame needs."""
        self.core.warm_up()

    async def close(self) -> None:
        """Stop a running acquisition and all threads."""
        self._stopped = True
        await self.core.close()
        if self._running is not None:
            await asyncio.wait([self._running], timeout=5.0)

    def somebody_triggers(self) -> None:
        """Have another client write Trigger."""
        self._trigger.set()

    async def somebody_stops(self) -> None:
        """Have another client write Acquire=0."""
        await self._stop()

    # What clients write

    async def _acquire_written(self, state: str) -> Any:
        if state == "Done":
            await self._stop()
        else:
            if self._running is not None and self.board.get("Acquire") == "Done":
                await asyncio.wait([self._running])  # it shows Done a moment before it is
            if self._running is None or self._running.done():
                self._stopped = False
                await self.board.post("Acquire", state)
                self._running = asyncio.create_task(self._acquire())
            await asyncio.wait([self._running])  # put-completion; the acquisition outlives the client
            await asyncio.sleep(MONITORS_S)
        raise SkipWrite

    async def _trigger_written(self, value: float) -> float:
        if self.core.state in ("ready", "acquire"):
            self._trigger.set()
        return value

    async def _clear_files(self, value: float) -> float:
        """Delete the detector's files, as the command of the same name."""
        if self.core.state == "idle":
            self.core.clear_files()
        return value

    async def _momentary(self, _state: str) -> str:
        await self.board.post("StatusMessage_RBV", "Initialized")
        return "Done"

    async def _read_status(self, _state: str) -> str:
        if self.core.state == "idle":
            await self._show_status()
        return "Done"

    async def _stop(self) -> None:
        if self._running is None or self._running.done():
            await self.board.post("Acquire", "Done")
            return
        self._stopped = True
        await self.board.post("DetectorState_RBV", "Aborted")
        await self.board.post("Acquire", "Done")
        await self.board.post("Acquire_RBV", "Done")
        await self.core.abort()

    # The sequence

    async def _acquire(self) -> None:
        await self._show_acquiring("Acquire")
        if problem := self._problem():
            await self._fail(problem)
            return
        self._images = 0
        try:
            if self.board.get("DataSource_RBV") == "Stream":
                self._driver_stream = DriverStream(self.stream_endpoint, self._count_stream_images)
            while True:
                if not await self._one_series():
                    return
                if self._stopped or self.board.get("TriggerMode_RBV") != "Continuous":
                    break
            await self._finish()
        finally:
            if self._driver_stream is not None:
                await self._driver_stream.close()
                self._driver_stream = None

    async def _one_series(self) -> bool:
        """Arm, run all triggers, disarm; False when the detector could not be armed."""
        post = self.board.post
        await post("StatusMessage_RBV", "Arming")
        try:
            series = await self.core.arm(self._config.arm_request())
        except (ValueError, OSError, RuntimeError) as error:
            if self._stopped:
                return True
            await self.board.post("Error_RBV", str(error)[:39])
            await self._fail("Failed to arm the detector")
            return False
        self._trigger.clear()
        await post("NumImagesCounter_RBV", 0)
        await post("StatusMessage_RBV", "Armed")
        await post("State_RBV", "ready")
        await post("SequenceId", series)
        await post("Armed", "Armed")
        await self._run_triggers()
        await post("Armed", "Unarmed")
        if not self._stopped:
            await post("StatusMessage_RBV", "Processing files")
            await self.core.disarm()
            if self._driver_stream is not None:
                await self._driver_stream.wait_end(10.0)
        return True

    async def _run_triggers(self) -> None:
        post, mode = self.board.post, self.board.get("TriggerMode_RBV")
        if mode.startswith("External"):
            await post("StatusMessage_RBV", "Waiting for external triggers (press Stop when done)")
            await self.core.pause_until(math.inf)
            return
        manual = self.board.enabled("ManualTrigger")
        await post("StatusMessage_RBV", "Waiting for manual triggers" if manual else "Triggering")
        for _ in range(int(self.board.get("NumTriggers_RBV"))):
            if manual and not await self._triggered():
                return
            await self._shutter("Open")
            await self.core.trigger()
            await self._shutter("Close")
            if self._stopped:
                return

    async def _triggered(self) -> bool:
        """Wait for a write to Trigger, seen at the next poll; False when stopped."""
        since = self._clock.time()
        trigger = asyncio.create_task(self._trigger.wait())
        stop = asyncio.create_task(self.core.pause_until(math.inf))
        try:
            await asyncio.wait([trigger, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (trigger, stop):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._stopped:
            return False
        polls = math.ceil((self._clock.time() - since) / POLL_S)
        if not await self.core.pause_until(since + polls * POLL_S):
            return False
        self._trigger.clear()
        return True

    async def _shutter(self, state: str) -> None:
        if self.board.get("ShutterMode_RBV") != "EPICS PV":
            return
        await self.board.post("ShutterControlEPICS", state)
        delay = float(self.board.get("ShutterOpenDelay_RBV")) - float(self.board.get("ShutterCloseDelay_RBV"))
        await self.core.pause_until(self._clock.time() + delay)

    async def _finish(self) -> None:
        post = self.board.post
        await self._show_status()
        if self._stopped:
            await post("StatusMessage_RBV", "Acquisition aborted")
            await post("AcquireBusy", "Done")
            return
        await asyncio.to_thread(self._save_files)
        await post("DetectorState_RBV", "Idle")
        await self._show_acquiring("Done")
        await post("StatusMessage_RBV", "Ready")

    async def _fail(self, message: str) -> None:
        await self.board.post("StatusMessage_RBV", message)
        await self._show_acquiring("Done")
        await self.board.post("DetectorState_RBV", "Error")

    def _problem(self) -> str:
        source = self.board.get("DataSource_RBV")
        if source == "FileWriter" and not self.board.enabled("FWEnable"):
            return "FileWriter API is disabled"
        if source == "Stream" and not self.board.enabled("StreamEnable"):
            return "Stream API is disabled"
        if self.board.enabled("SaveFiles") and not Path(str(self.board.get("FilePath_RBV")) or "-").is_dir():
            return "Invalid file path"
        return ""

    def _save_files(self) -> None:
        """SaveFiles: copy the series to FilePath; FWAutoRemove: then delete it from the detector."""
        files = self.core.files
        if files is None or not self.board.enabled("SaveFiles"):
            return
        for path in (files.master, *files.paths):
            shutil.copy2(path, Path(str(self.board.get("FilePath_RBV"))) / path.name)
            if self.board.enabled("FWAutoRemove"):
                path.unlink()

    # What the records show

    async def _show_acquiring(self, state: str) -> None:
        on = int(state == "Acquire")
        await self.board.post("Acquire", on)
        await self.board.post("Acquire_RBV", on)
        await self.board.post("AcquireBusy", on)
        if on:
            await self.board.post("DetectorState_RBV", "Acquire")

    async def _show_status(self) -> None:
        post, core = self.board.post, self.core
        await post("State_RBV", core.state)
        await post("StreamDropped_RBV", core.sender.dropped)
        await post("DCUBufferFree_RBV", core.sender.free_percent)
        await post("Error_RBV", core.error[:39])
        await post("FWFree_RBV", free_gigabytes(self._settings.output))

    def _count_file_images(self, count: int) -> None:
        if self.board.get("DataSource_RBV") == "FileWriter":
            self._count(count)

    def _count_stream_images(self, count: int) -> None:
        self._count(count)

    def _count(self, count: int) -> None:
        """Images that reached the driver; only these move the counters."""
        self._images += count
        task = asyncio.create_task(self._show_count(self._images, count))
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    async def _show_count(self, images: int, new: int) -> None:
        await self.board.post("NumImagesCounter_RBV", images)
        await self.board.both("ArrayCounter", int(self.board.get("ArrayCounter_RBV")) + new)


def build_detector(beamline: Beamline) -> EigerIOC:
    """The detector of `beamline`, compiled and with its stream bound; to be called in the running event loop.

    Raises
    ------
    OSError
        If the stream port is taken.
    ValueError
        If a fault is unknown.
    """
    ioc = EigerIOC(beamline)
    ioc.warm_up()
    return ioc
