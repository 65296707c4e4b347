"""A detector that only sends, as fast as a real one: `python -m sim.throughput --rate 133 --frames 10000`.

16M frames cannot be drawn 133 times a second, so a pool of compressed frames is made first and used again and again.
That is fit for measuring speed and exactness and for nothing else: the noise repeats. The header and the truth say
"pooled". Where a frame's number and its place in the pool are known, so is the exact sum over any of them.

Prints a ready line with the stream's address; the series starts at the first receiver, and a last JSON line says what
was sent and how fast.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from sim.beamline import Conditions
from sim.detector import PIXEL_M
from sim.eiger_files import SeriesFiles
from sim.faults import FaultChain, describe
from sim.frames import Exposure, FrameSource
from sim.sample import WAVELENGTH_M
from sim.settings import SimSettings
from sim.truth import ExactSum
from sim.wire import EncodedImage, WireMessage, encode, end_message, header_message, image_message

PHOTONS = {"sparse": 9.0e4, "medium": 4.5e6, "dense": 7.3e7}
"""Photons a 16M frame: from hardly anything to four in every pixel."""
FLAT_PART = 0.75
"""Of the photons, so much lies evenly on the whole detector: the worst case for compression, hence for the receiver."""
BRIGHTNESS = {"accepted": 1.0, "streak": 1.0, "low_intensity": 0.103, "background": 0.45}
PAPER_CASCADE = {"low_intensity": 5035, "streak": 3070, "background": 341, "accepted": 77170}
"""Of the 85,616 frames of the paper's second run."""
_SERIES = 1
_SMALL_PIXELS = 2_000_000
_RASTER_UM = 12.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """One frame of the pool.

    Attributes
    ----------
    label
        What a perfect receiver must call it.
    pixels
        Counts, shape (rows, columns).
    parts
        Of its message; the first is made anew for every frame number.
    digest
        md5 of the blob.
    image
        The same, as the detector's files take it.
    """

    label: str
    pixels: NDArray[np.unsignedinteger]
    parts: tuple[bytes, ...]
    digest: str
    image: EncodedImage


class Pool:
    """Frames by label, drawn from the simulated scene at a wanted number of photons.

    Parameters
    ----------
    source
        Draws them.
    photons
        Of an accepted frame on the whole detector, about.
    dtype
        ``uint16`` or ``uint32``; values that do not fit become the type's maximum.
    counts
        How many to make of each label.
    """

    def __init__(self, source: FrameSource, photons: float, dtype: str, counts: dict[str, int]) -> None:
        self._source, self._dtype = source, np.dtype(dtype)
        self._exposure_s = 1.0
        probe = self._draw(0, self._place("accepted", 0), 1.0)
        scattered = float(probe[source.valid & (probe < 2**32 - 2)].sum(dtype=np.uint64))
        self._exposure_s = (1 - FLAT_PART) * photons / scattered
        self._flat = FLAT_PART * photons / float(source.valid.sum())
        self.frames: list[Pooled] = []
        for label, count in counts.items():
            for index in range(count):
                self.frames.append(self._make(len(self.frames) + 1, label, index))

    def of(self, label: str) -> list[int]:
        """Places in the pool of the frames with a label."""
        return [index for index, frame in enumerate(self.frames) if frame.label == label]

    def _make(self, number: int, label: str, index: int) -> Pooled:
        drawn = self._draw(number, self._place(label, index), self._exposure_s)
        even = np.random.default_rng([self._source.seed, number]).poisson(self._flat * BRIGHTNESS[label], drawn.shape)
        drawn = np.where(drawn >= np.iinfo(drawn.dtype).max - 1, drawn, drawn + even.astype(drawn.dtype))
        drawn[self._source.maps.stop] = 0
        top = np.iinfo(self._dtype).max
        pixels = np.where(drawn >= np.iinfo(drawn.dtype).max - 1, top, np.minimum(drawn, top)).astype(self._dtype)
        image = encode(pixels, "bslz4")
        parts = image_message(_SERIES, 0, image, (0, 10**9, 10**9)).parts
        return Pooled(label=label, pixels=pixels, parts=parts, digest=str(json.loads(parts[0])["hash"]), image=image)

    def _draw(self, number: int, place: tuple[float, float], seconds: float) -> NDArray[np.unsignedinteger]:
        seen = Conditions(
            x_um=place[0],
            y_um=place[1],
            z_um=0.0,
            moving=False,
            open_s=max(seconds, 0.011),
            injection_s=0.0,
            transmission=min(1.0, seconds / 0.011),
            beam_stop_in=True,
        )
        return self._source.draw(
            Exposure(series=_SERIES, frame=number, count_time_s=max(seconds, 0.011), conditions=seen)
        )

    def _place(self, label: str, index: int) -> tuple[float, float]:
        """The (index + 1)-th clear place of this label on a fine raster."""
        found = -1
        for row in range(-40, 41):
            for col in range(-40, 41):
                place = self._source.scene.at(col * _RASTER_UM, row * _RASTER_UM)
                found += place.label == label and not place.graded
                if found == index:
                    return col * _RASTER_UM, row * _RASTER_UM
        raise ValueError(f"scene must have {index + 1} clear places of label {label}, got {found + 1}; take fewer")


def sequence(pool: Pool, frames: int, cascade: dict[str, int], seed: int) -> NDArray[np.int64]:
    """Place in the pool for every frame number, labels in the wanted proportion, in a seeded order."""
    total = sum(cascade.values())
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for label, part in cascade.items():
        wanted = round(frames * part / total) if label != "accepted" else frames - len(chosen)
        places = pool.of(label)
        chosen += [places[i % len(places)] for i in range(wanted)]
    order = np.array(chosen[:frames], np.int64)
    rng.shuffle(order)
    return order


def write_truth(path: Path, pool: Pool, order: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
    """Write the label of every frame, its place in the pool, and the exact sums by label.

    Small detectors' pools go along, so that the sum over any frames can be had.
    """
    labels = np.array([frame.label for frame in pool.frames])
    arrays: dict[str, Any] = {"label": labels[order], "pooled": True, "order": order, "valid": codes == 0}
    if codes.size <= _SMALL_PIXELS:
        arrays["pool"] = np.stack([frame.pixels for frame in pool.frames])
    for label in sorted(set(labels.tolist())):
        exact = ExactSum.empty(codes.shape)
        for index, times in zip(*np.unique(order[labels[order] == label], return_counts=True), strict=True):
            exact.add(pool.frames[index].pixels, codes, int(times))
        arrays |= {f"sum_{label}": exact.total, f"excluded_{label}": exact.excluded}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


class Sent:
    """What went over the wire of each frame of the series.

    Parameters
    ----------
    series, frames
        Its number, and how many frames it has.

    Attributes
    ----------
    usable, damaged : ndarray of int64, shape (frames,)
        Messages with the true pixels (whatever the hash, if it is empty), and all others of that number.
    foreign
        Image messages of another series.
    """

    def __init__(self, series: int, frames: int) -> None:
        self.series = series
        self.usable, self.damaged = np.zeros(frames, np.int64), np.zeros(frames, np.int64)
        self.foreign = 0

    def count(self, message: WireMessage, true: Pooled | None) -> None:
        """Count one message; `true` is the frame of that number."""
        if message.kind != "image" or message.frame is None or true is None:
            return
        first = json.loads(message.parts[0])
        if "frame" not in first:
            return  # its first part was lost: nobody can say of which frame it is
        if first["series"] != self.series:
            self.foreign += 1
        elif message.parts[1:3] == true.parts[1:3] and first["hash"] in ("", true.digest):
            self.usable[message.frame] += 1
        else:
            self.damaged[message.frame] += 1

    def summary(self) -> dict[str, Any]:
        """Numbers of the frames that nobody can have received whole, and those that came damaged or twice."""
        never = self.usable == 0
        return {
            "never": np.flatnonzero(never & (self.damaged == 0)).tolist(),
            "damaged": np.flatnonzero(never & (self.damaged > 0)).tolist(),
            "messages": int(self.usable.sum() + self.damaged.sum()),
            "foreign": self.foreign,
        }


class Sender:
    """Sends a series through its faults, as fast as it is told.

    Parameters
    ----------
    socket
        PUSH.
    pool, order
        The frames, and the place in the pool of every frame number.
    series
        Number of the series.
    faults
        Between the detector and the wire.
    """

    def __init__(
        self, socket: "zmq.Socket[bytes]", pool: Pool, order: NDArray[np.int64], series: int, faults: FaultChain
    ) -> None:
        self._socket, self._pool, self._order, self._faults = socket, pool, order, faults
        self._series = series
        self.sent = Sent(series, len(order))

    def put(self, message: WireMessage) -> None:
        """Send what the faults make of one message."""
        for out in self._faults.apply(message):
            true = None if out.frame is None else self._pool.frames[int(self._order[out.frame])]
            self.sent.count(out, true)
            time.sleep(out.wait_s)
            self._socket.send_multipart(out.parts, copy=False)

    def send(self, rate: float) -> float:
        """Send all frames at `rate` a second (0: as fast as they are taken); return the seconds it took."""
        begun = time.monotonic()
        series = self._series
        for number, place in enumerate(self._order.tolist()):
            frame = self._pool.frames[place]
            first = b'{"htype":"dimage-1.0","series":%d,"frame":%d,"hash":"%s"}' % (
                series, number, frame.digest.encode()
            )  # fmt: skip
            if rate:
                time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            self.put(WireMessage(kind="image", series=series, frame=number, parts=(first, *frame.parts[1:])))
        return time.monotonic() - begun


def configuration(source: FrameSource, dtype: str, frames: int) -> dict[str, Any]:
    """The detector's configuration, keys as on the wire."""
    rows, cols = source.geometry.shape
    return {
        "description": "Dectris Eiger simulated, pooled frames",
        "nimages": 1,
        "ntrigger": frames,
        "trigger_mode": "ints",
        "bit_depth_image": 8 * np.dtype(dtype).itemsize,
        "beam_center_x": source.geometry.header_col,
        "beam_center_y": source.geometry.header_row,
        "count_time": 1 / 133,
        "frame_time": 1 / 133,
        "photon_energy": 12398.42 / (WAVELENGTH_M * 1e10),
        "wavelength": WAVELENGTH_M * 1e10,
        "detector_distance": source.experiment.distance_m[source.geometry.name],
        "x_pixel_size": PIXEL_M,
        "y_pixel_size": PIXEL_M,
        "x_pixels_in_detector": cols,
        "y_pixels_in_detector": rows,
        "bit_depth_readout": 12,
        "detector_number": "E-32-simulated",
        "detector_readout_time": 1e-5,
        "sensor_material": "Si",
        "sensor_thickness": 450e-6,
        "countrate_correction_applied": 1,
        "flatfield_correction_applied": 1,
        "pixel_mask_applied": 1,
        "threshold_energy": 6199.21 / (WAVELENGTH_M * 1e10),
        "countrate_correction_count_cutoff": int(np.iinfo(dtype).max) - 2,
        "compression": "bslz4",
        "data_collection_date": "1970-01-01T00:00:00Z",
        "software_version": "simulated",
    }


def write_files(
    folder: Path, source: FrameSource, config: dict[str, Any], pool: Pool, order: NDArray[np.int64], series: int = 1
) -> Path:
    """Write the detector's own files of the series, as its FileWriter would; return the master's path."""
    mask = np.where(source.valid, 0, 1).astype(np.uint32)
    files = SeriesFiles(folder, f"series_{series}", images_per_file=1000, config=config, pixel_mask=mask)
    for place in order.tolist():
        files.add(pool.frames[place].image)
    files.close()
    return files.master


def parse(arguments: list[str] | None) -> tuple[argparse.Namespace, FaultChain]:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m sim.throughput", description=__doc__.split("\n\n")[0])
    parser.add_argument("--detector", choices=("eig1m", "eig16m"), default="eig16m")
    parser.add_argument("--sample", choices=("au-sio2", "nv-lp"), default="nv-lp")
    parser.add_argument("--level", choices=tuple(PHOTONS), default="medium")
    parser.add_argument("--dtype", choices=("uint16", "uint32"), default="uint32")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=133.0, help="frames a second, 0: as fast as they are taken")
    parser.add_argument(
        "--pool", type=int, default=16, help="different accepted frames; a quarter of that of the others"
    )
    parser.add_argument("--cascade", action="store_true", help="silicon, streaks and background as in the paper's run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--series", type=int, default=_SERIES, help="number of the series")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME[:ARG]", help="inject a fault, repeatable; help lists them"
    )
    parser.add_argument("--truth", type=Path, help=".npz with labels and exact sums")
    parser.add_argument("--files", type=Path, help="folder for the detector's own files of the series")
    given = parser.parse_args(arguments)
    if "help" in given.fault:
        parser.exit(message=describe() + "\n")
    try:
        return given, FaultChain(given.fault, given.seed)
    except ValueError as error:
        parser.error(str(error))


def main(arguments: list[str] | None = None) -> int:
    """Send one series."""
    given, faults = parse(arguments)
    source = FrameSource(SimSettings(detector=given.detector, sample=given.sample, seed=given.seed))
    cascade = PAPER_CASCADE if given.cascade else {"accepted": 1}
    counts = {label: given.pool if label == "accepted" else max(1, given.pool // 4) for label in cascade}
    pool = Pool(source, PHOTONS[given.level], given.dtype, counts)
    order = sequence(pool, given.frames, cascade, given.seed)
    if given.truth is not None:
        write_truth(given.truth, pool, order, source.codes)
    config = configuration(source, given.dtype, given.frames)
    mask = np.where(source.valid, 0, 1).astype(np.uint32)
    if given.files is not None:
        write_files(given.files, source, config, pool, order, given.series)
    size = float(np.mean([len(frame.parts[2]) for frame in pool.frames])) / 1e6
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.SNDHWM, 8)
        port = socket.bind_to_random_port("tcp://127.0.0.1") if not given.port else given.port
        if given.port:
            socket.bind(f"tcp://127.0.0.1:{port}")
        ready = {"ready": True, "stream": f"tcp://127.0.0.1:{port}", "pooled": len(pool.frames), "mb_a_frame": size}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        sender = Sender(socket, pool, order, given.series, faults)
        sender.put(header_message(given.series, "all", config, pixel_mask=mask))
        time.sleep(0.2)
        seconds = sender.send(given.rate)
        sender.put(end_message(given.series))
        sent = {
            "sent": given.frames,
            "seconds": round(seconds, 3),
            "rate_hz": round(given.frames / seconds, 2),
            **(sender.sent.summary() if given.fault else {}),
        }
        sys.stdout.write(json.dumps(sent) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
