"""Frames out of the detector's own files, read in a process of its own.

HDF5 runs compiled code on whatever a file says. A damaged or hostile file may crash, hang or fill that process; here it
costs a sentence.
"""

import contextlib
import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePath
from types import TracebackType
from typing import IO, Annotated, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from processing.frame import MAX_FRAMES, MAX_SERIES, EncodedFrame, PixelType, SeriesHeader, why_not_shape
from service.contained import Contained, how_it_ended
from service.errors import ConfigurationError, UserError

_MEMORY_MIB = 1024
_MAX_LINE = 64 * 1024
_MAX_FAILURES = 3  # in a row; a file that ends every child is not asked for ever
_END_S = 1.0
_PIXEL_BYTES = {"uint8": 1, "uint16": 2, "uint32": 4}


_Result = TypeVar("_Result")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bytes: int = Field(ge=0)
    refused: str | None = None


class _Opened(_Answer):
    frames: int = Field(ge=0, le=MAX_FRAMES)
    rows: int
    cols: int


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid")

    series: int
    shape: tuple[int, int] | None
    pixel_type: PixelType | None
    images: int | None
    beam_center_x: float | None
    beam_center_y: float | None
    count_time_s: float | None
    frame_time_s: float | None
    photon_energy_ev: float | None
    wavelength_m: float | None
    distance_m: float | None
    pixel_size_m: float | None
    count_cutoff: int | None
    config: dict[str, object]
    channels: tuple[str, ...]
    channel: str
    remarks: tuple[str, ...]
    completes: bool


class _HeaderAnswer(_Answer):
    header: _Facts


class _Encoded(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pixel_type: PixelType
    encoding: Annotated[str, Field(pattern=r"^[a-z0-9\-]{0,20}[<>]T?$")]


class _FrameAnswer(_Answer):
    frame: _Encoded | None


_Kind = TypeVar("_Kind", bound=_Answer)


class _BrokenError(Exception):
    """The child gave no answer that can be used; the text says how, as the end of a sentence."""


class _EndedError(_BrokenError):
    """The child has closed its pipe."""


class ForeignFrames:
    """A detector's master file with its data files, asked for single frames.

    After a crash or a hang the next question starts a new child, unless three have failed in a row. Safe from any
    thread; one question at a time.

    Parameters
    ----------
    path : Path
        The master file.
    timeout_s : float
        For opening the file and for each question.
    memory_mib : int
        The most memory the child may take.

    Raises
    ------
    UserError
        When the file cannot be opened in time; the sentence says why.
    """

    def __init__(self, path: Path, timeout_s: float, *, memory_mib: int = _MEMORY_MIB) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._memory_mib = memory_mib
        self._lock = threading.Lock()
        self._child: Contained | None = None
        self._failures = 0
        self._frames = 0
        self.shape: tuple[int, int] = (0, 0)
        with self._lock:
            self._guarded("opening it", lambda: self._start(time.monotonic() + timeout_s))

    def __len__(self) -> int:
        return self._frames

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the child; may be called twice, and a later question starts another."""
        with self._lock:
            self._end()

    def header(self, series: int) -> SeriesHeader:
        """Return the experiment's facts as a series header, see `EigerFile.header`.

        Raises
        ------
        UserError
            When they cannot be read.
        """
        answer, blob = self._ask("its header", {"header": series}, _HeaderAnswer, self._mask_bytes())
        mask: NDArray[np.bool_] | None = None
        if blob:
            bits = np.unpackbits(np.frombuffer(blob, np.uint8), count=self.shape[0] * self.shape[1])
            mask = bits.reshape(self.shape).astype(bool)
        return SeriesHeader(**{**answer.header.model_dump(), "series": series, "valid": mask})

    def frame(self, series: int, number: int) -> EncodedFrame | None:
        """Return one frame with its bytes as they lie in the file, None when it is not there.

        Raises
        ------
        UserError
            When it cannot be read, or the child crashed or did not answer in time.
        """
        if not 0 <= number < len(self):
            return None
        request = {"frame": number, "series": series}
        answer, blob = self._ask(f"frame {number}", request, _FrameAnswer, _most_bytes(self.shape, 4))
        found = answer.frame
        if found is None:
            return None
        if len(blob) > _most_bytes(self.shape, _PIXEL_BYTES[found.pixel_type]):
            raise UserError(f"frame {number} of {self.path} must not be longer than its pixels, got {len(blob)} bytes")
        return EncodedFrame(
            series=series,
            frame=number,
            shape=self.shape,
            pixel_type=found.pixel_type,
            encoding=found.encoding,
            blob=blob,
        )

    def _mask_bytes(self) -> int:
        return (self.shape[0] * self.shape[1] + 7) // 8

    # -- the child -------------------------------------------------------------------------------------------------

    def _ask(self, what: str, request: dict[str, int], kind: type[_Kind], most: int) -> tuple[_Kind, bytes]:
        def ask() -> tuple[_Kind, bytes]:
            deadline = time.monotonic() + self._timeout_s
            child = self._child or self._start(deadline)
            with contextlib.suppress(BrokenPipeError):  # that it has ended is seen when its answer is read
                os.write(_fileno(child.process.stdin), json.dumps(request).encode() + b"\n")
            return _read_answer(child, kind, most, deadline)

        with self._lock:
            return self._guarded(what, ask)

    def _start(self, deadline: float) -> Contained:
        self._child = Contained(
            "service.foreign_files_child",
            [str(self.path.absolute())],
            memory_mib=self._memory_mib,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            opened, _ = _read_answer(self._child, _Opened, 0, deadline)
        except UserError:
            self._end()  # it has said why it cannot, and has ended
            raise
        if wrong := why_not_shape(opened.rows, opened.cols):
            self._end()
            raise UserError(f"file {self.path}: {wrong}")
        self.shape, self._frames = (opened.rows, opened.cols), opened.frames
        return self._child

    def _end(self) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        code = child.end()
        for pipe in (child.process.stdin, child.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return code

    def _has_ended(self) -> bool:
        """Whether the child is gone; its pipe closes a moment before."""
        deadline = time.monotonic() + _END_S
        while self._child is not None and not self._child.ended and time.monotonic() < deadline:
            time.sleep(0.005)
        return self._child is not None and self._child.ended

    def _guarded(self, what: str, act: Callable[[], _Result]) -> _Result:
        """Do it; a child that fails is ended and told in words."""
        if self._failures >= _MAX_FAILURES:
            raise UserError(
                f"file {self.path} is not read any more: {self._failures} reading processes in a row have failed; "
                "look at it with h5dump or take it from the detector again"
            )
        try:
            result = act()
        except _BrokenError as error:
            self._failures += 1
            ended = isinstance(error, _EndedError) and self._has_ended()
            code = self._end()
            how = how_it_ended(code) if ended else str(error)
            raise UserError(
                f"{what} of {self.path} cannot be read: the reading process {how}; "
                "the file is damaged or its disk does not answer"
            ) from None
        self._failures = 0
        return result


def _read_answer(child: Contained, kind: type[_Kind], most: int, deadline: float) -> tuple[_Kind, bytes]:
    """Read a line and the bytes it announces, none of them before their number is known to be bearable."""
    pipe = _fileno(child.process.stdout)
    line = bytearray()
    while not line.endswith(b"\n"):
        if len(line) > _MAX_LINE:
            raise _BrokenError(f"must answer in lines of at most {_MAX_LINE} bytes, and sent a longer one")
        # The child sends bytes behind a line at once, so a line is read byte by byte; it has a few hundred.
        line += _read(pipe, 1, deadline)
    try:
        facts: dict[str, Any] = json.loads(line)
        if isinstance(facts, dict) and "refused" in facts:
            raise UserError(str(facts["refused"]))
        answer = kind.model_validate(facts)
    except (ValidationError, ValueError, RecursionError):
        raise _BrokenError("sent an answer that cannot be understood") from None
    if answer.bytes > most:
        raise _BrokenError(f"must send at most {most} bytes, and announced {answer.bytes}")
    return answer, _read(pipe, answer.bytes, deadline)


def _read(pipe: int, size: int, deadline: float) -> bytes:
    taken = bytearray(size)
    rest = memoryview(taken)
    ready = select.poll()
    ready.register(pipe, select.POLLIN)
    while rest:
        if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise _BrokenError("did not answer in time and was stopped")
        got = os.readv(pipe, [rest])
        if not got:
            raise _EndedError("ended without an answer")
        rest = rest[got:]
    return bytes(taken)


def _fileno(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()


def _most_bytes(shape: tuple[int, int], pixel_bytes: int) -> int:
    """Return how long a frame can be that could not be compressed, with what the codec adds to it."""
    plain = shape[0] * shape[1] * pixel_bytes
    return plain + plain // 64 + 4096


def detector_master(pattern: str, series: int) -> Path:
    """Return where the detector keeps the master file of a series.

    Parameters
    ----------
    pattern : str
        Path with `$id` for the number of the series, as the detector's FileWriter takes it; where it does not end with
        `.h5`, the detector's `_master.h5` is added.
    series : int

    Raises
    ------
    ConfigurationError
        When the pattern has no `$id`, a part `..` or a NUL.

    Examples
    --------
    >>> detector_master("/data/series_$id", 7).as_posix()
    '/data/series_7_master.h5'
    """
    if isinstance(series, bool) or not isinstance(series, int) or not 0 <= series <= MAX_SERIES:
        raise ConfigurationError(f"series must be a whole number from 0 to {MAX_SERIES}, got {series!r:.40}")
    if "\0" in pattern or ".." in PurePath(pattern).parts:
        raise ConfigurationError(
            f"pattern of the detector's files must be a path without '..' and NUL, got {pattern!r:.200}; "
            "give the folder by its full name"
        )
    if "$id" not in pattern:
        raise ConfigurationError(
            f"pattern of the detector's files must contain $id for the series' number, got {pattern!r:.200}; "
            "else every series would get the frames of one"
        )
    name = pattern.replace("$id", str(series))
    return Path(name if name.endswith(".h5") else f"{name}_master.h5")
