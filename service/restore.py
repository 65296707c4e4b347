"""Make a series again from what the disk has: its newest whole checkpoint (or result file) and its ledger.

What is in the sums is known from the checkpoint alone. Rows that the ledger has beyond it are in no sum: those that
belong into one wait for their bytes (`Series.to_fetch`) where somebody has them, and are lost where nobody has.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from processing.frame import Category, EncodedFrame, SeriesHeader
from processing.snapshot import SumSnapshot
from service.checkpoint import generation_before, read_newest, remove_checkpoints
from service.claim import Claim
from service.config import Settings
from service.errors import ConfigurationError, UserError
from service.keeper import CHECKPOINT_SUFFIX, checkpoint_path, ledger_path, valid_of
from service.ledger import COLUMNS, PENDING
from service.ledger_file import NOTE, SUFFIX, LedgerContent, header_of, is_closed, read_ledger
from service.series import Remark, Series, SettingsVersion
from service.source import PointNote
from service.status import PURPOSES, Purpose

_SUMMED = (Category.ACCEPTED, Category.BACKGROUND, PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesState:
    """A series as a file holds it.

    Attributes
    ----------
    header : SeriesHeader
        With the static mask as its mask.
    versions : list
        (version, first frame, settings) each.
    columns : dict of str to ndarray, shape (n,)
        The ledger's; the verdicts say what is in the sums.
    accepted, background : SumSnapshot or None
        None: nothing is in them.
    even : SumSnapshot or None
        Of the accepted frames with an even number, the rows about the beam; None where it is not known.
    remarks : list of Remark
        What persons wrote.
    """

    header: SeriesHeader
    versions: list[tuple[int, int, dict[str, Any]]]
    columns: dict[str, NDArray[Any]]
    notes: list[PointNote]
    expected: int | None
    accepted: SumSnapshot | None
    background: SumSnapshot | None
    started: str
    purpose: Purpose = "sample"
    even: SumSnapshot | None = None
    timings: dict[str, Any] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A series that a killed service left behind.

    Attributes
    ----------
    result : Path
        Its result file, written or not.
    state : SeriesState
    ledger : LedgerContent or None
    ended : bool
        Whether only its file was still to be made.
    remarks : list of str
        What could not be used, one sentence each.
    claim : Claim
        The right to go on with it.
    """

    result: Path
    claim: Claim
    state: SeriesState
    ledger: LedgerContent | None
    ended: bool
    remarks: list[str]


def find_unfinished(folder: Path) -> tuple[list[Unfinished], list[str]]:
    """Return the series in a folder whose result file is not final, oldest first, and what could not be read.

    Series that another running service writes are left alone.
    Checkpoints of a series whose file is final are of no use any more and are removed.
    """
    stems = {path.with_suffix("") for path in folder.glob(f"series_*{SUFFIX}")}
    stems |= {path.with_suffix("") for path in folder.glob(f"series_*{CHECKPOINT_SUFFIX}")}
    stems |= {
        path.with_suffix("").with_suffix("") for path in folder.glob(f"series_*{generation_before(Path('a')).suffix}")
    }
    found, troubles = [], []
    for stem in stems:
        result, claim = stem.with_suffix(".nxs"), None
        try:
            claim = Claim.take(result)
            one = None if claim is None else _unfinished(result, claim)
        except (sqlite3.Error, OSError, ValueError, KeyError, UserError) as error:
            troubles.append(f"series of {result} cannot be taken up again: {type(error).__name__}: {error}")
            one = None
        if one is not None:
            found.append(one)
        elif claim is not None:
            claim.give_back()
    return sorted(found, key=lambda one: one.state.started), troubles


def _unfinished(result: Path, claim: Claim) -> Unfinished | None:
    remarks: list[str] = []
    ledger = None
    try:
        if is_closed(ledger_path(result)):
            remove_checkpoints(checkpoint_path(result))
            return None
        ledger = read_ledger(ledger_path(result))
    except FileNotFoundError:
        pass
    except (sqlite3.Error, OSError, ValueError, KeyError) as error:
        remarks.append(f"ledger {ledger_path(result)} cannot be read ({error}); the checkpoint is all there is")
    stored = read_newest(checkpoint_path(result))
    if stored is not None:
        facts, arrays, more = stored
        remarks += more
        state = _state_of_checkpoint(facts, arrays)
    elif ledger is not None:
        state = _state_of_ledger(ledger)
    else:
        return None
    ended = ledger is not None and ledger.ended
    return Unfinished(result=result, claim=claim, state=state, ledger=ledger, ended=ended, remarks=remarks)


def _state_of_checkpoint(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> SeriesState:
    valid = arrays["valid"] != 0
    sums = {
        name: SumSnapshot(
            data=arrays[f"{name}/data"], excluded=arrays[f"{name}/excluded"], frames=int(facts[f"{name}_frames"])
        )
        for name in ("accepted", "background", "even")
        if f"{name}/data" in arrays
    }
    header = header_of(dict(facts), valid)
    return SeriesState(
        header=replace(header, shape=(valid.shape[0], valid.shape[1])),
        versions=[(version, first, settings) for version, first, settings in facts["versions"]],
        columns={name: arrays[f"ledger/{name}"] for name in COLUMNS},
        notes=[PointNote.model_validate({**note, **_places(note)}) for note in facts["notes"]],
        expected=facts["expected"],
        purpose=purpose_of(facts),
        started=str(facts["started"]),
        accepted=sums["accepted"],
        background=sums["background"],
        even=sums.get("even"),
    )


def _places(note: Mapping[str, Any]) -> dict[str, float]:
    """JSON knows no NaN."""
    return {name: float("nan") if note[name] is None else note[name] for name in ("x_um", "y_um")}


def _state_of_ledger(ledger: LedgerContent) -> SeriesState:
    valid = valid_of(ledger.facts)
    return SeriesState(
        header=replace(ledger.header, shape=(valid.shape[0], valid.shape[1]), valid=valid),
        versions=ledger.versions,
        columns={name: np.zeros(0, dtype) for name, dtype in COLUMNS.items()},
        notes=[],
        expected=ledger.expected,
        purpose=ledger.purpose,
        accepted=None,
        background=None,
        started=str(ledger.facts["started"]),
    )


def state_of_result(path: Path) -> SeriesState:
    """Read a series out of its result file.

    Raises
    ------
    UserError
        When it is not a result file of this program.
    """
    if not path.is_file():
        raise UserError(f"{path} must be a result file (series_N.nxs), got no such file; look at its folder and name")
    try:
        with h5py.File(path) as file:
            entry = file["entry"]
            sums = {
                name: SumSnapshot(
                    data=entry[f"{group}/data"][()],
                    excluded=entry[f"{group}/excluded"][()],
                    frames=int(entry[f"{group}/frames"][()]),
                )
                for name, group in (("accepted", "sum"), ("background", "background"))
            }
            valid = entry["sum/valid"][()] != 0
            rows = entry["frames"]
            booked = rows["verdict"][()] != Category.MISSING
            columns = {name: rows[name][()][booked] for name in COLUMNS}
            points = {name: rows[name][()][booked] for name in ("point", "x", "y")}
            process = {
                name: json.loads(entry[f"process/{name}"][()])
                for name in ("settings_versions", "summary", "timings", "series_header")
            }
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} must be a result file of this program, got something else: {str(error).splitlines()[0]}"
        ) from None
    header = header_of({"header": json.dumps(process["series_header"])}, valid)
    return SeriesState(
        header=replace(header, shape=(valid.shape[0], valid.shape[1])),
        versions=[(one["version"], one["from_frame"], one["settings"]) for one in process["settings_versions"]],
        columns=columns,
        notes=notes_of(header.series, columns | points),
        expected=process["summary"]["announced"],
        purpose=purpose_of(process["summary"]),
        started=str(process["timings"].get("started", "")),
        timings=process["timings"],
        remarks=[Remark(**remark) for remark in process["summary"].get("notes", [])],
        accepted=sums["accepted"],
        background=sums["background"],
    )


def purpose_of(facts: Mapping[str, Any]) -> Purpose:
    """Return what a series was for; files of earlier versions do not say."""
    return next((name for name in PURPOSES if name == facts.get("purpose")), "sample")


def notes_of(series: int, columns: Mapping[str, NDArray[Any]]) -> list[PointNote]:
    """Return what the scan had said, from the columns frame, verdict, point, x and y of a result file."""
    notes = []
    rows = (columns[name] for name in ("frame", "verdict", "point", "x", "y"))
    for frame, verdict, point, x, y in zip(*rows, strict=True):
        void = verdict == Category.GATED
        if (point >= 0 or void) and verdict != Category.DUPLICATE:
            notes.append(PointNote(series=series, frame=int(frame), point=int(point), x_um=x, y_um=y, void=bool(void)))
    return notes


def settings_of(tree: Mapping[str, Any], place: Settings) -> Settings:
    """Return stored settings of a series with this place's folders and addresses.

    Parameters
    ----------
    tree : dict
        As stored, section by section.
    place : Settings
        Of the running program: where it listens, writes and keeps is its own.
    """
    changes = {
        f"{section}.{name}": value
        for section in ("screening", "reconstruction", "detector")
        for name, value in dict(tree.get(section, {})).items()
        if (section, name) != ("detector", "mask_file") and hasattr(getattr(place, section), name)
    }
    try:
        return place.changed(changes)
    except ConfigurationError as error:
        raise ConfigurationError(f"stored settings of the series cannot be used: {error}") from None


def restored(
    state: SeriesState,
    settings: Settings,
    *,
    ledger: LedgerContent | None = None,
    elsewhere: Callable[[int], bool] | None = None,
    fetch: Callable[[int], EncodedFrame | None] | None = None,
) -> Series:
    """Make the series again.

    Parameters
    ----------
    state : SeriesState
        What is in the sums.
    settings : Settings
        Of this program; screening and reconstruction are the series' own.
    ledger : LedgerContent or None
        Rows beyond the state, and later verdicts.
    elsewhere : callable or None
        Whether the bytes of a frame number can be fetched.
    fetch : callable or None
        Gives the bytes of a frame number at once.
    """
    versions = ledger.versions if ledger is not None and len(ledger.versions) >= len(state.versions) else state.versions
    entries = [
        SettingsVersion(version=version, settings=settings_of(tree, settings), from_frame=first)
        for version, first, tree in versions
    ]
    now = entries[-1].settings if entries else settings
    series = Series(state.header, now, fetch=fetch)
    series.versions = entries or series.versions
    series.elsewhere = elsewhere
    series.hashes_proven = ledger is not None and ledger.hashes_proven
    series.purpose = ledger.purpose if ledger is not None else state.purpose
    series.expected = ledger.expected if ledger is not None and ledger.expected is not None else state.expected
    for running, part in ((series.accepted, state.accepted), (series.background, state.background)):
        if running is not None and part is not None and part.frames:
            running.load(part.data, part.excluded, part.frames)
    series.load_even(state.even)
    columns, targets = _joined(state, ledger)
    summed = len(state.columns["frame"])
    columns["verdict"][summed:] = np.where(np.isin(targets[summed:], _SUMMED), PENDING, targets[summed:])
    series.ledger.load(columns)
    series.resume(targets)
    for note in [*state.notes, *(ledger.notes if ledger is not None else [])]:
        series.ledger.notes[note.frame] = note
    written = (
        [] if ledger is None else [Remark(when=when, text=said) for when, what, said in ledger.events if what == NOTE]
    )
    series.remarks = written or list(state.remarks)
    series.judge_again()
    return series


def _joined(state: SeriesState, ledger: LedgerContent | None) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """Return the rows of the state with those that only the ledger has behind them, and the last verdict of each."""
    columns = {name: column.copy() for name, column in state.columns.items()}
    targets = columns["verdict"].copy()
    if ledger is None:
        return columns, targets
    known, more = len(targets), len(ledger.verdicts)
    targets[: min(known, more)] = ledger.verdicts[: min(known, more)]
    columns = {name: np.concatenate([column, ledger.columns[name][known:]]) for name, column in columns.items()}
    return columns, np.concatenate([targets, ledger.verdicts[known:]])
