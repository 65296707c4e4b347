"""The plans under the names a user types, and what was done already."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from processing.frame import Category
from service.errors import UserError
from service.keeper import ledger_path
from service.ledger_file import is_closed, read_ledger

VALID = (Category.ACCEPTED, Category.LOW_INTENSITY, Category.STREAK, Category.BACKGROUND)
"""Categories of a frame that was exposed as it should be, whatever it hit."""


def scan_plans() -> dict[str, Callable[..., Any]]:
    """Return every plan, and what helps to use them, by its name."""
    from plans.adaptive_scan import adaptive_scan
    from plans.background_scan import background_scan
    from plans.direct_beam import find_direct_beam
    from plans.ensemble_scan import ensemble_scan
    from plans.estimate import time_estimate
    from plans.survey import last_survey, survey

    named = (
        ensemble_scan,
        survey,
        last_survey,
        adaptive_scan,
        find_direct_beam,
        background_scan,
        time_estimate,
        done_points,
    )
    return {plan.__name__: plan for plan in named}


def done_points(result: Path | str) -> list[tuple[float, float]]:
    """Places of a scan that have a valid exposure, for ``ensemble_scan(..., done=done_points(result))``.

    Of a series whose result file is not final, the ledger beside it is read: it knows every frame up to the moment.

    Parameters
    ----------
    result : Path or str
        Result file of the live service, `series_<id>.nxs`.

    Returns
    -------
    list of (x, y)
        um, in the order of exposure; frames that are gated, corrupt, lost or not judged yet do not count.

    Raises
    ------
    UserError
        When it cannot be read.
    """
    path = Path(result)
    try:
        ledger = ledger_path(path)
        if ledger.is_file() and not is_closed(ledger):
            return _of_ledger(ledger)
        with h5py.File(path) as file:
            verdict, point, x, y = (file[f"entry/frames/{name}"][()] for name in ("verdict", "point", "x", "y"))
    except (OSError, KeyError, ValueError, sqlite3.Error) as error:
        raise UserError(
            f"result {path} must be a result file of the live service, or its ledger must lie beside it, got {error}; "
            "the live page and /status name the result file of a series"
        ) from None
    valid = np.isin(verdict, VALID) & (point >= 0)
    return list(zip(x[valid].tolist(), y[valid].tolist(), strict=True))


def _of_ledger(path: Path) -> list[tuple[float, float]]:
    content = read_ledger(path)
    notes = {note.frame: note for note in content.notes}
    judged = zip(content.columns["frame"].tolist(), content.verdicts.tolist(), strict=True)
    kept = [notes[frame] for frame, verdict in judged if verdict in VALID and frame in notes]
    return [(note.x_um, note.y_um) for note in kept if note.point >= 0 and not note.void]
