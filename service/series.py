"""One series: its mask, its ledger, its exact sums, and the verdicts that keep them in step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from processing.fast_sum import FastSum
from processing.frame import Category, EncodedFrame, FrameScore, Refusal, SeriesHeader
from processing.mask import static_mask
from processing.read_frame import Contribution, FrameReader
from processing.screen import ScreenSettings, is_streak, judge, reference_total, ring_pixels, ring_radii
from processing.snapshot import SumSnapshot
from service.config import Settings
from service.free_memory import sums_apart
from service.hold import Hold
from service.ledger import LOST, PENDING, Ledger
from service.source import PointNote
from service.status import Purpose

_SUMMED = (Category.ACCEPTED, Category.BACKGROUND)
_HALF_ROWS = 999  # rows about the beam centre of the sum of even frames: the widest array that images are made from
_FETCH = Callable[[int], EncodedFrame | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsVersion:
    """A set of settings and the frame from which it applies."""

    version: int
    settings: Settings
    from_frame: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a person wrote about the series, and when (UTC, ISO 8601)."""

    when: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The frames that can be judged: their numbers, verdicts and scores; shape (n,) each."""

    frame: NDArray[np.uint32]
    verdict: NDArray[np.uint8]
    total: NDArray[np.uint64]
    chi2: NDArray[np.float64]
    dof: NDArray[np.int64]
    purpose: Purpose = "sample"

    def verdicts_under(self, settings: Settings) -> NDArray[np.uint8]:
        """Return what other settings would make of them, shape (n,)."""
        screen = screen_settings(settings)
        reference = reference_total(self.total, self.chi2, self.dof, screen) if self.frame.size else None
        return for_purpose(judge(self.total, self.chi2, self.dof, reference, screen), self.purpose)


def for_purpose(verdict: NDArray[np.uint8], purpose: Purpose) -> NDArray[np.uint8]:
    """Return what verdicts become in a series of a purpose.

    Between silicon and sample the rules know background by its total; where nothing else was exposed, the brightest
    frames are background.
    """
    if purpose == "background":
        return np.where(verdict == Category.ACCEPTED, np.uint8(Category.BACKGROUND), verdict)
    return np.full_like(verdict, Category.GATED) if purpose == "alignment" else verdict


class Journal(Protocol):
    """Is told everything that changes the books, under the lock of the series; must be quick."""

    def entered(self, row: int) -> None:
        """Say that a row was added and has its first verdict."""

    def judged(self, row: int, verdict: int, parameters: int) -> None:
        """Say that an earlier row got another verdict."""

    def noted(self, note: PointNote) -> None:
        """Say what the scan said about a frame."""

    def versioned(self, version: SettingsVersion) -> None:
        """Say that other settings are in force."""

    def remarked(self, remark: Remark) -> None:
        """Say what a person wrote."""

    def expects(self, frames: int) -> None:
        """Say how many frames are meant to come."""

    def declared(self, purpose: Purpose) -> None:
        """Say what the series is for."""

    def proved(self) -> None:
        """Say that the sender's hashes are digests."""


def screen_settings(settings: Settings) -> ScreenSettings:
    """Return the screening section as the processing takes it."""
    part = settings.screening
    return ScreenSettings(
        enabled=part.enabled,
        intensity_ratio_min=part.intensity_ratio_min,
        chi2_ratio_max=part.chi2_ratio_max,
        chi2_max=part.chi2_max,
        background_ratio_max=part.background_ratio_max,
        reference_total=part.reference_total,
    )


def _after(even: FastSum, reader: FrameReader) -> Callable[[Contribution], None]:
    """Return what gives the memory of an accepted frame back, once the sum of even frames has it too."""

    def release(contribution: Contribution) -> None:
        even.flush()
        reader.release(contribution)

    return release


class Series:
    """Books and sums of one series; not safe for several threads, its owner holds a lock.

    Parameters
    ----------
    header : SeriesHeader
    settings : Settings
    user_mask : ndarray of bool or None
    shape : tuple of int or None
        (rows, columns) when the header does not say.
    fetch : callable or None
        Gives the bytes of a frame number again (from the detector's files), if there is such a source.

    Attributes
    ----------
    elsewhere : callable or None
        Says whether somebody can fetch the bytes of a frame number from a disk; then a flip waits in `to_fetch` until
        `fetched` is called, and nobody waits for the disk here.
    to_fetch : dict of int to Category
        Rows whose bytes are being fetched, and what they are to become.
    journal : Journal or None
        Is told every change of the books.
    even : FastSum or None
        Sum of the accepted frames with an even number, of the rows about the beam centre; with the whole sum it gives
        two independent halves. None when what was summed before is not known.
    even_rows : tuple of int
        Its first row and the one behind the last.
    ended, concluded : bool
        Whether no more frames are expected; whether its result file is final.
    interrupted : bool
        Whether it was only ended because the service ends.
    hashes_proven : bool
        Whether a hash of its messages has matched its blob, so that a mismatch means damage.
    remarks : list of Remark
        What persons wrote about it, the newest last.
    not_from_socket : int
        Booked frames that this process did not receive: restored, or fetched from files.
    """

    def __init__(
        self,
        header: SeriesHeader,
        settings: Settings,
        *,
        user_mask: NDArray[np.bool_] | None = None,
        fetch: _FETCH | None = None,
    ) -> None:
        self.header = header
        self.settings = settings
        self._screen = screen_settings(settings)
        self.versions = [SettingsVersion(version=1, settings=settings, from_frame=0)]
        self.ledger = Ledger(header.images)
        self.expected: int | None = None
        self.purpose: Purpose = "sample"
        self.remarks: list[Remark] = []
        self.unresolved: set[int] = set()
        self.to_fetch: dict[int, Category] = {}
        self.elsewhere: Callable[[int], bool] | None = None
        self.journal: Journal | None = None
        self.not_from_socket = 0
        self.reference: float | None = settings.screening.reference_total
        self.settled = False
        self.ended = False
        self.concluded = False
        self.interrupted = False
        self.hashes_proven = False
        self._user_mask = user_mask
        self._fetch = fetch
        self._hold = Hold(0 if fetch else int(settings.screening.hold_mib * 2**20))
        self._rejudge_at = 0
        self._told = 0
        self.accepted: FastSum | None = None
        self.background: FastSum | None = None
        self.even: FastSum | None = None
        self.even_rows = (0, 0)
        self.reader: FrameReader | None = None
        self.ring: NDArray[np.int64] = np.zeros(0, np.int64)
        if header.shape is not None:
            self.set_shape(header.shape)

    # -- geometry ------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int] | None:
        """(rows, columns), None until the header or the first frame has said it."""
        return None if self.accepted is None else (self.accepted.valid.shape[0], self.accepted.valid.shape[1])

    @property
    def beam_center(self) -> tuple[float, float]:
        """(row, column) of the direct beam: setting, else header, else the middle."""
        return self._beam_center(self.shape or (1, 1))

    def _beam_center(self, shape: tuple[int, int]) -> tuple[float, float]:
        rows, cols = shape
        part, header = self.settings.detector, self.header
        row = part.beam_center_y if part.beam_center_y is not None else header.beam_center_y
        col = part.beam_center_x if part.beam_center_x is not None else header.beam_center_x
        return ((rows - 1) / 2 if row is None else row, (cols - 1) / 2 if col is None else col)

    def set_shape(self, shape: tuple[int, int]) -> None:
        """Take memory for frames of this shape (rows, columns).

        Raises
        ------
        ValueError
            When the user's mask has another shape; nothing has changed then.
        """
        valid = static_mask(self.header, shape, self._user_mask)
        sums_apart(valid.size)
        row, col = self._beam_center(shape)
        part = self.settings.screening
        self.ring = ring_pixels(valid, row, col, part.ring_inner_px, part.ring_outer_px)
        radii = ring_radii(self.ring, shape[1], row, col) if part.radial_trend == "removed" else None
        self.reader = FrameReader(valid, self.ring, radii, shadow_every=self.settings.stream.shadow_every)
        if self.header.pixel_type is not None:
            self.reader.prepare(self.header.pixel_type)
        first = min(max(0, round(row) - _HALF_ROWS // 2), shape[0] - 1)
        self.even_rows = first, max(first + 1, min(shape[0], round(row) + _HALF_ROWS // 2 + 1))
        self.even = FastSum(valid, lambda _: None, self.even_rows)
        self.accepted = FastSum(valid, _after(self.even, self.reader))
        self.background = FastSum(valid, self.reader.release)

    def drop_user_mask(self) -> None:
        """Do without the user's mask from the next `set_shape` on."""
        self._user_mask = None

    def replace_header(self, header: SeriesHeader) -> None:
        """Take a fuller header of the same series, before its first frame."""
        self.header = header
        shape = header.shape or self.shape
        if shape is not None:
            self.set_shape(shape)

    @property
    def valid(self) -> NDArray[np.uint8]:
        """The static mask, shape (rows, columns), 1 where a pixel counts."""
        if self.accepted is None:
            raise RuntimeError("series must know its shape before its mask is asked for")
        return self.accepted.valid

    # -- booking -------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Version of the settings in force."""
        return self.versions[-1].version

    @property
    def announced(self) -> int | None:
        """How many frames are to come: what the client said, else the header, never less than were seen."""
        wanted = self.expected if self.expected is not None else self.header.images
        return None if wanted is None else max(wanted, self.ledger.distinct())

    def already_has(self, frame: int) -> bool:
        """Whether a usable message of this frame number has been booked."""
        row = self.ledger.row_of(frame)
        return row is not None and self.ledger.column("verdict")[row] != Category.CORRUPT

    def book_refusal(self, refusal: Refusal) -> int:
        """Enter a message that could not be used. Return its row."""
        return self._tell(self.ledger.enter(refusal.frame, Category.CORRUPT, None, self.version))

    def book_duplicate(self, frame: int) -> None:
        """Enter a repeated frame number."""
        self._tell(self.ledger.enter(frame, Category.DUPLICATE, None, self.version))

    def book(self, frame: EncodedFrame, contribution: Contribution, score: FrameScore) -> int:
        """Enter a scored frame, judge it if that is possible yet, and sum it. Return its row."""
        row = self.ledger.enter(frame.frame, None, score, self.version)
        note = self.ledger.notes.get(frame.frame)
        screens = self.settings.screening.enabled
        self.settled |= not screens  # every verdict is known
        if (note is not None and note.void) or self.purpose == "alignment":
            self._move(row, Category.GATED, contribution)
        elif self.settled:
            self._move(row, self._verdicts(np.array([row]))[0], contribution)
        else:
            self.give_back(contribution)
        self._tell(row)
        self._hold.put(row, frame, marginal=screens and (not self.settled or self._is_marginal(row)))
        scored = len(self.ledger)
        if not self.settled:
            enough = self.ledger.pending >= self.settings.screening.settle_frames
            if enough or self._hold.full():
                self.rejudge()
        elif scored >= self._rejudge_at:
            self.rejudge()
        return row

    def _tell(self, row: int) -> int:
        if self.journal is not None:
            self.journal.entered(row)
        self._told = row + 1
        return row

    def expect(self, frames: int) -> None:
        """Take from the client how many frames it means to send."""
        self.expected = frames
        if self.journal is not None:
            self.journal.expects(frames)

    def declare(self, purpose: Purpose) -> None:
        """Take from the client what this series is for; frames that have come are judged again."""
        self.purpose = purpose
        if self.journal is not None:
            self.journal.declared(purpose)
        if purpose == "alignment":
            for row in self.ledger.scored_rows().tolist():
                self._want(row, Category.GATED)
        else:
            self.judge_again()

    def book_recovered(self, frame: EncodedFrame, contribution: Contribution, score: FrameScore) -> int:
        """Enter a frame that came from a file after all. Return its row."""
        self.not_from_socket += 1
        return self.book(frame, contribution, score)

    def lacking_frames(self) -> list[int]:
        """Return the numbers of frames that are missing, or of which only a damaged message came."""
        missing = self.ledger.missing_frames(self.announced)
        corrupt = self.ledger.column("verdict") == Category.CORRUPT
        numbers = set(self.ledger.column("frame")[corrupt].tolist())
        known = (number for number in numbers if self.ledger.row_of(number) is not None)
        damaged = sorted(number for number in known if not self.already_has(number))
        return [number for first, last in missing for number in range(first, last + 1)] + damaged

    def prove_hashes(self) -> None:
        """Take note that the sender's hashes are digests of its blobs."""
        self.hashes_proven = True
        if self.journal is not None:
            self.journal.proved()

    def note_point(self, note: PointNote) -> None:
        """Join a scan point to a frame; a void one leaves the sum."""
        self.ledger.notes[note.frame] = note
        if self.journal is not None:
            self.journal.noted(note)
        row = self.ledger.row_of(note.frame)
        if row is None or self.ledger.column("verdict")[row] in (Category.CORRUPT, Category.DUPLICATE):
            return
        if note.void:
            self._want(row, Category.GATED)
        elif self.ledger.column("verdict")[row] == Category.GATED and self.settled:
            self._want(row, self._verdicts(np.array([row]))[0])

    def remark(self, remark: Remark) -> None:
        """Take what a person wrote."""
        self.remarks.append(remark)
        if self.journal is not None:
            self.journal.remarked(remark)

    def apply_settings(self, settings: Settings) -> int:
        """Put new settings in force from the next frame on and re-derive every verdict; return the version."""
        self.settings = settings
        self._screen = screen_settings(settings)
        first = self.ledger.highest_frame + 1
        self.versions.append(SettingsVersion(version=self.version + 1, settings=settings, from_frame=first))
        if self.journal is not None:
            self.journal.versioned(self.versions[-1])
        if self.settled:
            self.rejudge()
        return self.version

    # -- verdicts ------------------------------------------------------------------------------------------------

    def rejudge(self) -> None:
        """Find the reference from all frames and re-derive all verdicts; only frames that flip are touched."""
        rows = self._judgeable()
        if rows.size == 0:
            return
        self.reference = reference_total(*self._scores(rows), self._screen)
        self.settled = True
        self._rejudge_at = max(len(self.ledger) + 1, int(len(self.ledger) * 1.05))
        verdicts = self._verdicts(rows)
        current = self.ledger.column("verdict")[rows]
        for row, verdict in zip(rows[verdicts != current], verdicts[verdicts != current], strict=True):
            self._want(int(row), Category(int(verdict)))
        for row in rows[verdicts == current].tolist():
            self._stays(row)
        self.ledger.stamp([row for row in rows.tolist() if row not in self.unresolved], self.version)

    def _judgeable(self) -> NDArray[np.int64]:
        """Rows with a score that no veto covers."""
        rows = self.ledger.scored_rows()
        if self.purpose == "alignment":
            return rows[:0]
        void = {number for number, note in self.ledger.notes.items() if note.void}
        if not void:
            return rows
        return rows[~np.isin(self.ledger.column("frame")[rows], list(void))]

    def _scores(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.int64]]:
        total, chi2, dof = (self.ledger.column(name)[rows] for name in ("total", "chi2", "dof"))
        return total, chi2, dof

    def _verdicts(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return for_purpose(judge(*self._scores(rows), self.reference, self._screen), self.purpose)

    def scored(self) -> Scored:
        """Return a copy of all that verdicts follow from, to be looked at without the lock."""
        rows = self._judgeable()
        columns = {name: self.ledger.column(name)[rows] for name in ("frame", "verdict", "total", "chi2", "dof")}
        return Scored(**columns, purpose=self.purpose)

    def _is_marginal(self, row: int) -> bool:
        """Whether a shift of the reference by a third, or of chi^2 by a fifth, could flip the verdict."""
        if self.reference is None:
            return True
        settings = self._screen
        total, chi2, dof = self._scores(np.array([row]))
        cuts = np.array([settings.intensity_ratio_min, settings.background_ratio_max]) * self.reference
        near = bool(np.any((total[0] > cuts / 1.33) & (total[0] < cuts * 1.33)))
        return near or bool(is_streak(chi2 * 1.2, dof, settings)[0] != is_streak(chi2 / 1.2, dof, settings)[0])

    def _want(self, row: int, category: Category) -> None:
        """Move a frame to another category, or list it as unresolved when its bytes are nowhere."""
        before = int(self.ledger.column("verdict")[row])
        if before == category:
            self._stays(row)
            return
        contribution: Contribution | None = None
        if category in _SUMMED or before in _SUMMED:
            contribution = self._read_again(row)
            if contribution is None:
                self._ask_for(row, category)
                return
        self._move(row, category, contribution)

    def _stays(self, row: int) -> None:
        self.unresolved.discard(row)
        self.to_fetch.pop(row, None)

    def _ask_for(self, row: int, category: Category) -> None:
        """Have the bytes of a row fetched by those who may wait for a disk, if anybody has them."""
        if self.elsewhere is not None and self.elsewhere(int(self.ledger.column("frame")[row])):
            self.unresolved.discard(row)
            self.to_fetch[row] = category
        else:
            self._nowhere(row)

    def _nowhere(self, row: int) -> None:
        """The bytes of a row cannot be had: its verdict stays, or, when it is in no sum yet, its frame is missing."""
        self.to_fetch.pop(row, None)
        if self.ledger.column("verdict")[row] == PENDING:
            self.lose(row)
        else:
            self.unresolved.add(row)

    def lose(self, row: int) -> None:
        """Take a row out of the books whose frame is in no sum and whose bytes are gone."""
        self.ledger.lose(row)
        self.not_from_socket -= 1
        if self.journal is not None:
            self.journal.judged(row, LOST, self.version)

    def resume(self, targets: NDArray[np.uint8]) -> None:
        """Go on after rows were loaded into the ledger: have each come to its last verdict, or lose it.

        Parameters
        ----------
        targets : ndarray of uint8, shape (n,)
            The last verdict of each row; the ledger's own says what is in the sums.
        """
        current = self.ledger.column("verdict").copy()
        self._told = len(current)
        self.not_from_socket = int((current != LOST).sum())
        self.settled = bool(np.isin(targets, list(Category)[: Category.GATED]).any())
        for row in np.flatnonzero((current != targets) | (current == PENDING)).tolist():
            if targets[row] == LOST:
                self.lose(row)
            elif targets[row] == PENDING:
                self._ask_for(row, Category.ACCEPTED)
            else:
                self._want(row, Category(int(targets[row])))

    def judge_again(self) -> None:
        """Derive all verdicts from the stored scores, if the first ones have been derived."""
        if self.settled:
            self.rejudge()

    def fetched(self, row: int, contribution: Contribution | None) -> None:
        """Carry out a flip whose bytes have come; None: they could not be had."""
        category = self.to_fetch.pop(row, None)
        if category is None:  # it stays as it is after all
            if contribution is not None:
                self.give_back(contribution)
        elif contribution is None:
            self._nowhere(row)
        else:
            self._move(row, category, contribution)

    def held(self, number: int) -> EncodedFrame | None:
        """Return a frame that is still in memory, None when it is not."""
        row = self.ledger.row_of(number)
        return None if row is None else self._hold.get(row)

    def _read_again(self, row: int) -> Contribution | None:
        frame = self._hold.get(row)
        if frame is None and self._fetch is not None:
            frame = self._fetch(int(self.ledger.column("frame")[row]))
        if frame is None or self.reader is None:
            return None
        examined = self.reader.read(frame)
        return None if isinstance(examined, Refusal) else examined[0]

    def _move(self, row: int, category: Category | np.uint8, contribution: Contribution | None) -> None:
        category = Category(int(category))
        before = int(self.ledger.column("verdict")[row])
        old = None if before == PENDING else self._sum_of(Category(before))
        new = self._sum_of(category)
        if contribution is not None:
            if old is not None:
                old.subtract(contribution)
            if self.even is not None and self.ledger.column("frame")[row] % 2 == 0:
                if old is self.accepted:
                    self.even.subtract(contribution)
                if new is self.accepted:
                    self.even.add(contribution)  # before the other, which may give the memory back
            if new is not None:
                new.add(contribution)
            else:
                self.give_back(contribution)
        self.ledger.judge(row, category, self.version)
        if self.journal is not None and row < self._told:
            self.journal.judged(row, int(category), self.version)
        self.unresolved.discard(row)
        self.to_fetch.pop(row, None)

    def give_back(self, contribution: Contribution) -> None:
        """Give the memory of a contribution back that is not summed."""
        if self.reader is not None:
            self.reader.release(contribution)

    def load_even(self, part: SumSnapshot | None) -> None:
        """Begin with a sum of even frames that was made before; None, or one of other rows: there is none from here on.

        Called after the whole sum was loaded, if it was.
        """
        if self.even is None or self.accepted is None or not self.accepted.frames:
            return
        if part is None or part.data.shape != self.even.valid.shape:
            self.even = None
        elif part.frames:
            self.even.load(part.data, part.excluded, part.frames)

    def _sum_of(self, category: Category) -> FastSum | None:
        return {Category.ACCEPTED: self.accepted, Category.BACKGROUND: self.background}.get(category)

    def finish(self) -> None:
        """Make the verdicts final."""
        self.rejudge()

    def release(self) -> None:
        """Let go of held bytes and of those who are told: nothing of it changes any more.

        The rings of references would keep hundreds of MB until the garbage collector looks.
        """
        self._hold.clear()
        self.journal = self.elsewhere = None

    def unresolved_frames(self) -> list[int]:
        """Return the numbers of frames whose verdict should flip but whose bytes are nowhere any more."""
        return sorted(int(self.ledger.column("frame")[row]) for row in self.unresolved)

    def row(self, row: int) -> dict[str, float]:
        """Return one ledger row by column name."""
        return {name: self.ledger.column(name)[row].item() for name in ("frame", "verdict", "total", "chi2", "dof")}
