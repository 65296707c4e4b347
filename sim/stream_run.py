"""A whole series without motors, as fast as its frames can be drawn: `python -m sim.stream_run --frames 1676`.

The stage goes through a raster of 10 um steps over the simulated scene in snake order, one exposure of the paper a
point; no clock runs. Every frame is an independent draw keyed by (seed, series, frame), never one from a pool, so what
comes of the series may be held against the paper. Header, images and end go over ZeroMQ as the detector sends them; the
FileWriter is off.

Prints a ready line with the stream's address; the series starts at the first receiver, and a last JSON line says what
was sent and how fast. The truth is the same as that of ``python -m sim --truth``.
"""

import argparse
import json
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from sim.beamline import Conditions
from sim.detector import count_cutoff, pixel_type
from sim.frames import Exposure, FrameSource
from sim.settings import DETECTORS, SAMPLES, SimSettings
from sim.throughput import configuration
from sim.truth import TruthRecorder
from sim.wire import WireMessage, encode, end_message, header_message, image_message

SERIES = 1
STEP_UM = 10.0
HIGH_WATER_MARK = 8
_AHEAD = 3  # frames a worker may be ahead of the sender


def raster(frames: int, step_um: float = STEP_UM) -> list[tuple[float, float]]:
    """The first `frames` points (x, y) in um of a snake over the smallest raster about the origin that holds them.

    Raises
    ------
    ValueError
        If there is not at least one frame.

    Examples
    --------
    >>> raster(5, 10.0)
    [(-10.0, -5.0), (0.0, -5.0), (10.0, -5.0), (10.0, 5.0), (0.0, 5.0)]
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    across = math.ceil(math.sqrt(frames))
    down = math.ceil(frames / across)
    left, top = (-0.5 * (count - 1) * step_um for count in (across, down))
    points = []
    for number in range(frames):
        row, col = divmod(number, across)
        col = col if row % 2 == 0 else across - 1 - col
        points.append((left + col * step_um, top + row * step_um))
    return points


class StreamRun:
    """One series over a raster.

    Parameters
    ----------
    settings
        Detector, sample, packing and seed; ``settings.truth`` is the folder of the truth, None writes none.
    frames
        Points of the raster.
    workers
        Threads that draw and compress.
    """

    def __init__(self, settings: SimSettings, frames: int, workers: int) -> None:
        self.source = FrameSource(settings)
        self._settings, self._points, self._workers = settings, raster(frames), workers
        self.exposure_s = self.source.experiment.exposure_s

    def exposures(self) -> Iterator[Exposure]:
        """One a point, the stage at rest, the beam undisturbed."""
        for number, (x_um, y_um) in enumerate(self._points):
            seen = Conditions(
                x_um=x_um, y_um=y_um, z_um=0.0, moving=False, open_s=self.exposure_s, injection_s=0.0,
                transmission=1.0, beam_stop_in=True,
            )  # fmt: skip
            yield Exposure(series=SERIES, frame=number, count_time_s=self.exposure_s, conditions=seen)

    def header(self) -> WireMessage:
        """The detector's header with its mask."""
        mask = np.where(self.source.valid, 0, 1).astype(np.uint32)
        return header_message(SERIES, "all", self.config, pixel_mask=mask)

    @property
    def config(self) -> dict[str, Any]:
        """The detector's configuration, keys as on the wire."""
        dtype = pixel_type(self.exposure_s)
        return configuration(self.source, dtype.name, len(self._points)) | {
            "description": self.source.geometry.description,
            "detector_number": self.source.geometry.serial_number,
            "count_time": self.exposure_s,
            "frame_time": self.exposure_s,
            "countrate_correction_count_cutoff": count_cutoff(self.exposure_s),
        }

    def send(self, socket: "zmq.Socket[bytes]") -> float:
        """Send the series and write its truth; return the seconds it took from the first frame on."""
        truth = None
        if self._settings.truth is not None:
            truth = TruthRecorder(self.source, self._settings, SERIES, {"count_time": self.exposure_s})
        socket.send_multipart(self.header().parts)
        begun = time.monotonic()
        for exposure, frame, message in self._drawn():
            if truth is not None:
                truth.add(exposure, frame, sent=1)
            socket.send_multipart(message.parts, copy=False)
        socket.send_multipart(end_message(SERIES).parts)
        seconds = time.monotonic() - begun
        if truth is not None:
            truth.write()
        return seconds

    def _drawn(self) -> Iterator[tuple[Exposure, NDArray[np.unsignedinteger], WireMessage]]:
        """Frames in order, drawn by all workers side by side."""
        ahead: deque[Future[tuple[Exposure, NDArray[np.unsignedinteger], WireMessage]]] = deque()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="draw") as pool:
            for exposure in self.exposures():
                ahead.append(pool.submit(self._draw, exposure))
                if len(ahead) > _AHEAD * self._workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _draw(self, exposure: Exposure) -> tuple[Exposure, NDArray[np.unsignedinteger], WireMessage]:
        frame = self.source.draw(exposure)
        start, real = (round(1e9 * seconds) for seconds in (exposure.frame * self.exposure_s, self.exposure_s))
        message = image_message(SERIES, exposure.frame, encode(frame, "bslz4"), (start, start + real, real))
        return exposure, frame, message


def parse(arguments: list[str] | None) -> tuple[argparse.Namespace, SimSettings]:
    """Command line; wrong usage ends with exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m sim.stream_run", description=__doc__.split("\n\n")[0])
    parser.add_argument("--detector", choices=DETECTORS, default="eig1m")
    parser.add_argument("--sample", choices=SAMPLES, default="au-sio2")
    parser.add_argument("--frames", type=int, default=1676)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packing", type=float, default=0.0, help="part of space that the particles fill, 0 to 0.6")
    parser.add_argument("--spread-nm", type=float, default=0.0, help="standard deviation of the particles' diameters")
    parser.add_argument("--truth", type=Path, metavar="DIR", help="write what a perfect receiver must find")
    parser.add_argument("--port", type=int, default=0, help="of the stream, 0: a free one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads that draw frames")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    given = parser.parse_args(arguments)
    if given.frames < 1 or given.workers < 1:
        parser.error(f"--frames and --workers must be at least 1, got {given.frames} and {given.workers}")
    try:
        settings = SimSettings(
            detector=given.detector,
            sample=given.sample,
            seed=given.seed,
            packing=given.packing,
            spread_nm=given.spread_nm,
            truth=given.truth,
        )
    except ValueError as error:
        parser.error(str(error))
    return given, settings


def main(arguments: list[str] | None = None) -> int:
    """Send one series."""
    given, settings = parse(arguments)
    if given.with_parent:
        threading.Thread(target=_end_with_input, daemon=True).start()
    run = StreamRun(settings, given.frames, given.workers)
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        try:
            socket.bind(f"tcp://127.0.0.1:{given.port or '*'}")
        except zmq.ZMQError as error:
            sys.stderr.write(f"sim.stream_run: stream port must be free on 127.0.0.1, got {given.port} ({error})\n")
            return 1
        _say(ready=True, stream=socket.getsockopt_string(zmq.LAST_ENDPOINT), frames=given.frames)
        seconds = run.send(socket)
    _say(sent=given.frames, seconds=round(seconds, 3), rate_hz=round(given.frames / seconds, 2))
    return 0


def _say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _end_with_input() -> None:
    """End when the other side of standard input is gone, however it went."""
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
