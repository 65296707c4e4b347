"""The detector itself, without EPICS: arm, trigger, disarm, abort, as its SIMPLON interface offers them."""

import asyncio
import contextlib
import datetime as dt
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from sim.beamline import Beamline
from sim.detector import PIXEL_M, READOUT_TIME_S, SENSOR_THICKNESS_M, count_cutoff, pixel_type, pixels
from sim.eiger_files import SeriesFiles, file_stem
from sim.eiger_stream import StreamSender
from sim.faults import FaultChain
from sim.faults_place import place_faults
from sim.frames import Exposure, FrameSource
from sim.truth import TruthRecorder
from sim.wire import (
    Compression,
    EncodedImage,
    HeaderDetail,
    WireMessage,
    encode,
    end_message,
    header_message,
    image_message,
)

IN_FLIGHT = 3
"""Frames being drawn and packed; the next exposure waits rather than lose one."""
ON_ITS_WAY_S = 0.005
"""From the end of an exposure until its frame is drawn, simulated s: a detector's control unit takes longer."""
SOFTWARE_VERSION = "1.6.0"

State = Literal["idle", "configure", "ready", "acquire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Everything configured when the detector is armed, in the vendor's words and units (s, eV, Angstrom, m, px)."""

    count_time: float
    frame_time: float
    nimages: int = 1
    ntrigger: int = 1
    trigger_mode: str = "ints"
    photon_energy: float
    threshold_energy: float
    wavelength: float
    beam_center_x: float
    beam_center_y: float
    detector_distance: float
    compression: Compression = "bslz4"
    goniometer: dict[str, float]
    stream: bool = True
    header_detail: HeaderDetail = "all"
    header_appendix: str = ""
    image_appendix: str = ""
    filewriter: bool = False
    name_pattern: str = "series_$id"
    nimages_per_file: int = 1000


class EigerCore:
    """One Eiger X on the simulated beamline.

    Parameters
    ----------
    beamline
        The physical state the frames depend on.

    Raises
    ------
    OSError
        If the stream port is taken.
    ValueError
        If a fault is unknown.
    """

    def __init__(self, beamline: Beamline) -> None:
        self._beamline, self._clock, self._settings = beamline, beamline.clock, beamline.settings
        self.source = FrameSource(self._settings)
        self._faults = FaultChain(self._settings.faults, self._settings.seed)
        self.place = place_faults(self._settings.faults)
        self.sender = StreamSender(self._settings.stream_port, wall=self._clock.wall)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="eiger-frames", initializer=_step_aside)
        self._pending: set[asyncio.Future[int]] = set()
        self._stop = asyncio.Event()
        self._dropping = False
        self._arm: Arm | None = None
        self._files: SeriesFiles | None = None
        self._all_files: list[SeriesFiles] = []
        self._truth: TruthRecorder | None = None
        self._frame = 0
        self._triggers = 0
        self._zero = 0.0
        self._streamed = False
        self.state: State = "idle"
        self.series = 0
        self.error = ""
        self.on_exposing: Callable[[int, float, float], None] = lambda _frame, _start, _stop: None
        """Called with number, start and stop (simulated s) of each frame when its exposure begins."""
        self.on_rest: Callable[[], None] = lambda: None
        """Called when an exposure is over or was aborted."""
        self.on_exposed: Callable[[int], None] = lambda _frame: None
        """Called with the number of each frame when its exposure is over."""
        self.on_readable: Callable[[int], None] = lambda _count: None
        """Called with the number of frames that became readable in files."""

    @property
    def files(self) -> SeriesFiles | None:
        """Files of the running or last series."""
        return self._files

    def clear_files(self) -> None:
        """Delete the files of all series of this run; others in the folder are not the detector's."""
        for files in self._all_files:
            for path in (files.master, *files.paths):
                path.unlink(missing_ok=True)
        self._all_files.clear()

    def warm_up(self) -> None:
        """Compile everything a frame needs."""
        self.source.warm_up()

    async def arm(self, request: Arm) -> int:
        """Start a series and send its header; returns the series id.

        Raises
        ------
        ValueError
            If the file name pattern is refused.
        RuntimeError
            If the detector is armed already.
        """
        if self.state != "idle":
            raise RuntimeError(f"detector must be idle to be armed, got {self.state}; disarm it first")
        if request.filewriter:
            file_stem(request.name_pattern, self.series + 1)
        self.state, self.error = "configure", ""
        self.series += 1
        self._arm, self._frame, self._triggers, self._zero = request, 0, 0, 0.0
        self._stop.clear()
        self._dropping = False
        self.sender.reset_dropped()
        try:
            await self._in_worker(self._open_series, request, self.config(request))
        except BaseException:
            self.state = "idle"
            raise
        if self._stop.is_set():
            self.state = "idle"
            raise RuntimeError("detector was aborted while it was armed; arm it again")
        self.state = "ready"
        return self.series

    async def trigger(self) -> None:
        """Expose ``nimages`` frames; returns when the last exposure is over, or at once after an abort."""
        request = self._arm
        if self.state != "ready" or request is None:
            raise RuntimeError(f"detector must be ready to be triggered, got {self.state}; arm it first")
        self.state = "acquire"
        self._triggers += 1
        begin = self._clock.time()
        for i in range(request.nimages):
            start = begin + i * request.frame_time
            while len(self._pending) >= IN_FLIGHT:
                await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
            self.on_exposing(self._frame, start, start + request.count_time)
            whole = await self.pause_until(start + request.count_time)
            self.on_rest()
            if not whole:
                return
            self._take(request, max(start, 0.0))
        if self.state == "acquire":
            self.state = "idle" if self._triggers >= request.ntrigger else "ready"

    async def disarm(self) -> None:
        """Wait for the frames under way, close files, write the truth, send the end of the series."""
        if self._arm is None:
            return
        self._arm = None
        await self._flush()
        self._tell(await self._in_worker(self._close_series, []))
        self.state = "idle"

    async def abort(self) -> None:
        """Stop now: the running exposure and all that was not sent yet is lost; the end of the series is sent."""
        self._stop.set()
        if self._arm is None:
            return
        self._arm = None
        self._dropping = True
        self.state = "idle"
        await self._flush()
        self._tell(await self._in_worker(self._close_series, self.sender.forget_images(self.series)))

    async def pause_until(self, when: float) -> bool:
        """Wait until the simulated time `when`; False when the series is aborted before."""
        while (left := when - self._clock.time()) > 0.0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._clock.wall(left))
            if self._stop.is_set():
                return False
        return not self._stop.is_set()

    async def close(self) -> None:
        """Abort and end all threads."""
        await self.abort()
        self._worker.shutdown(wait=True)
        await asyncio.to_thread(self.sender.drain, 0.3)
        self.sender.close()

    def config(self, request: Arm) -> dict[str, Any]:
        """Configuration as the header of the stream gives it."""
        geometry = self.source.geometry
        rows, cols = geometry.shape
        bits = 8 * pixel_type(request.count_time).itemsize
        return {
            "auto_summation": True,
            "beam_center_x": request.beam_center_x,
            "beam_center_y": request.beam_center_y,
            "bit_depth_image": bits,
            "bit_depth_readout": 12,
            "compression": request.compression,
            "count_time": request.count_time,
            "countrate_correction_applied": True,
            "countrate_correction_count_cutoff": count_cutoff(request.count_time),
            "data_collection_date": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "description": geometry.description,
            "detector_distance": request.detector_distance,
            "detector_number": geometry.serial_number,
            "detector_readout_time": READOUT_TIME_S,
            "eiger_fw_version": "release-1.6.5",
            "flatfield_correction_applied": True,
            "frame_time": request.frame_time,
            "nimages": request.nimages,
            "ntrigger": request.ntrigger,
            "number_of_excluded_pixels": int((pixels(geometry.name).mask != 0).sum()),
            "photon_energy": request.photon_energy,
            "pixel_mask_applied": True,
            "roi_mode": "disabled",
            "sensor_material": "Si",
            "sensor_thickness": SENSOR_THICKNESS_M,
            "software_version": SOFTWARE_VERSION,
            "threshold_energy": request.threshold_energy,
            "trigger_mode": request.trigger_mode,
            "wavelength": request.wavelength,
            "x_pixel_size": PIXEL_M,
            "x_pixels_in_detector": cols,
            "y_pixel_size": PIXEL_M,
            "y_pixels_in_detector": rows,
        } | request.goniometer

    def _take(self, request: Arm, start: float) -> None:
        """One exposure is over: see what the beam did and hand it to the worker."""
        if self._frame == 0:
            self._zero = start
        exposure = Exposure(
            series=self.series,
            frame=self._frame,
            count_time_s=request.count_time,
            conditions=self._beamline.conditions(start, start + request.count_time),
        )
        self.on_exposed(self._frame)
        self._frame += 1
        since = round((start - self._zero) * 1e9)
        length = round(request.count_time * 1e9)
        task = asyncio.create_task(self._develop(request, exposure, (since, since + length, length), start))
        self._pending.add(task)
        task.add_done_callback(self._made)

    async def _develop(self, request: Arm, exposure: Exposure, times_ns: tuple[int, int, int], start: float) -> int:
        """Have a frame drawn and sent when the detector has read it out."""
        await self._clock.sleep(ON_ITS_WAY_S)
        return await self._in_worker(self._make, request, exposure, times_ns, start)

    def _made(self, future: asyncio.Future[int]) -> None:
        self._pending.discard(future)
        if not future.cancelled() and (error := future.exception()):
            self.error = f"{type(error).__name__}: {error}"
            return
        if not future.cancelled():
            self._tell(future.result())

    def _tell(self, count: int) -> None:
        if count:
            self.on_readable(count)

    async def _flush(self) -> None:
        if self._pending:
            await asyncio.wait(set(self._pending))

    async def _in_worker(self, call: Callable[..., int], *arguments: Any) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call, *arguments)

    # In the worker thread:

    def _make(self, request: Arm, exposure: Exposure, times_ns: tuple[int, int, int], start_s: float) -> int:
        if self._dropping or exposure.series != self.series:  # aborted, and perhaps armed again
            return 0
        frame = self.source.draw(exposure)
        image = encode(frame, request.compression)
        sent = 0
        if request.stream:
            message = image_message(exposure.series, exposure.frame, image, times_ns, appendix=request.image_appendix)
            sent = self._send(message)
        readable = self._store(exposure.frame, image)
        if self._truth is not None:
            self._truth.add(exposure, frame, sent, start_s)
        return readable

    def _store(self, frame: int, image: EncodedImage) -> int:
        """Frames that became readable in files."""
        if self._files is None:
            return 0
        if self.place.files_full is not None and frame >= self.place.files_full:
            self._files.give_up()
            return 0
        return self._files.add(image)

    def _send(self, message: WireMessage) -> int:
        """Messages of this frame that were queued."""
        out = self._faults.apply(message)
        return sum(self.sender.put(one) and one.frame == message.frame for one in out)

    def _open_series(self, request: Arm, config: dict[str, Any]) -> int:
        mask = pixels(self.source.geometry.name).mask
        self._files, self._truth = None, None
        if request.filewriter:
            self._files = SeriesFiles(
                self._settings.output,
                file_stem(request.name_pattern, self.series),
                images_per_file=request.nimages_per_file,
                config=config,
                pixel_mask=mask,
                late_s=self._clock.wall(self.place.files_late_s),
            )
            self._all_files.append(self._files)
        if self._settings.truth is not None:
            self._truth = TruthRecorder(self.source, self._settings, self.series, config)
        if request.stream:
            self._send(
                header_message(
                    self.series, request.header_detail, config, pixel_mask=mask, appendix=request.header_appendix
                )
            )
        self._streamed = request.stream
        return 0

    def _close_series(self, lost: list[int]) -> int:
        readable = self._files.close() if self._files is not None else 0
        if self._truth is not None:
            self._truth.not_sent(lost)
            self._truth.write()  # before the end of the series goes out: who sees the end can read the truth
        if self._streamed:
            self._send(end_message(self.series))
        return readable


def _step_aside() -> None:
    """Let the IOCs go first: a detector draws its frames on a machine of its own, and does not hold up the motors."""
    with contextlib.suppress(OSError, AttributeError):  # a priority of one thread is Linux's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
