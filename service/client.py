"""A small client of a running service, for scripts and notebooks.

Examples
--------
>>> from service.client import LiveClient
>>> live = LiveClient("http://127.0.0.1:8000")  # doctest: +SKIP
>>> live.status().counts.accepted  # doctest: +SKIP
325
>>> live.preview("sum").values.shape  # doctest: +SKIP
(355, 344)
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from service.errors import NotReachedError, UsageError, UserError
from service.http_client import ask, ask_what_if, fetch, put_settings, read_token, settled_status
from service.status import ENDED, State, Status, WhatIf

What = Literal["sum", "last", "background", "prepared", "reconstruction", "frame"]
STATES: tuple[State, ...] = get_args(State)
_TILE = 1024
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Values of an array of the service.

    Attributes
    ----------
    values : ndarray of float32 or float64, shape (rows, cols)
        Counts, amplitude or density; NaN where nothing was measured. Counts are exact.
    step : int
        How many pixels along a side one value stands for; it is the brightest of them.
    frames : int
        Frames in it.
    version : int
        Grows with every change.
    facts : dict
        What else the service says: first row and column, the array's shape, an image's `pixel_size_m`, ...
    """

    values: NDArray[np.floating]
    step: int
    frames: int
    version: int
    facts: dict[str, Any]


class LiveClient:
    """Asks a running service, and with the steering token tells it.

    Parameters
    ----------
    url : str
        `http` in the ready line of `xedm live`: http://127.0.0.1:PORT, or of a tunnel, http://localhost:PORT.
    token_file : Path or str, optional
        `token_file` in the ready line; only for steering.

    Raises
    ------
    UsageError
        When the address is not one of this machine.
    """

    def __init__(self, url: str, token_file: Path | str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token_file = None if token_file is None else Path(token_file)

    # -- looking -------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return the state, the books and everything else that the service says about itself.

        Raises
        ------
        NotReachedError
            When nothing answers there.
        """
        return Status.model_validate(ask(self.url, "/status"))

    def counts(self) -> dict[str, int]:
        """Return the frames by category, with `received` and `pending`."""
        return self.status().counts.model_dump()

    def preview(self, what: What = "sum", side: int = 512, frame: int | None = None) -> Values | None:
        """Return a small version of an array, None before there is one.

        Parameters
        ----------
        what : str
            sum, last, background, prepared, reconstruction or frame.
        side : int
            Longest side at the most, 16 to 1024; every value is the brightest of its block of pixels.
        frame : int, optional
            Number of the frame for "frame".

        Raises
        ------
        UserError
            When that frame is nowhere any more; the sentence says why.
        """
        return self._region(what, {"side": side}, frame)

    def array(self, what: What = "sum", frame: int | None = None) -> Values | None:
        """Return a whole array, every pixel of it exactly, None before there is one.

        Fetched in pieces; when frames come meanwhile, it is begun again.

        Raises
        ------
        UserError
            When it changed at every try; wait until the series pauses or ends, or read the result file.
        """
        for _ in range(_TRIES):
            whole = self._assembled(what, frame)
            if whole is not False:
                return whole
        raise UserError(
            f"{what} must stay the same while its pieces are fetched, it changed {_TRIES} times; "
            "ask when fewer frames come, or read the result file"
        )

    def rows(self) -> dict[str, NDArray[Any]]:
        """Return what is known of every frame so far: one array a column, as long as there are rows.

        `frame`, `total`, `ratio` (chi^2 over dof), `x` and `y` (um), and `verdict` as text ("pending" before it is
        known). Empty before there is a series.
        """
        columns: dict[str, list[NDArray[Any]]] = {}
        first, total, verdict = 0, 1, np.zeros(0, np.str_)
        while first < total:
            body, facts = fetch(self.url, f"/rows?first={first}")
            if "none" in facts:
                return {}
            part = _columns(body, facts)
            codes = part.pop("verdict")
            names = np.array([*facts["categories"], "pending"])
            verdict = names[np.minimum(codes, len(names) - 1)]
            for name, column in part.items():
                columns.setdefault(name, []).append(column)
            read = len(next(iter(part.values())))
            first, total = first + read, int(facts["total"])
            if read == 0:
                break
        joined = {name: np.concatenate(parts) for name, parts in columns.items()}
        length = min([len(verdict), *(len(column) for column in joined.values())])
        return {name: column[:length] for name, column in joined.items()} | {"verdict": verdict[:length]}

    def wait_for(self, *states: State, timeout_s: float = 600.0, every_s: float = 0.2) -> Status:
        """Wait until the service is in one of some states, by default one in which a series has ended.

        Raises
        ------
        UsageError
            When there is no such state.
        NotReachedError
            When it takes longer than `timeout_s`.
        """
        wanted = states or ENDED
        for state in wanted:
            if state not in STATES:
                raise UsageError(f"a state must be one of {', '.join(STATES)}, got {state!r}; choose one")
        deadline = time.monotonic() + timeout_s
        while True:
            status = self.status()
            if status.state in wanted:
                return status
            if time.monotonic() > deadline:
                raise NotReachedError(
                    f"the service must be {' or '.join(wanted)} within {timeout_s:g} s, it is {status.state}: "
                    f"{status.message}"
                )
            time.sleep(every_s)

    def watch(self, every_s: float = 1.0, timeout_s: float = 86_400.0) -> Iterator[Status]:
        """Yield the status whenever frames have come or the state has changed; the last one is of the series' end.

        Raises
        ------
        NotReachedError
            When no series has ended within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        seen: object = None
        while True:
            status = self.status()
            now = (status.state, status.series, status.counts, status.reconstruction)
            if now != seen:
                seen = now
                yield status
            if status.state in ENDED:
                return
            if time.monotonic() > deadline:
                raise NotReachedError(f"a series must end within {timeout_s:g} s, it is {status.state}")
            time.sleep(every_s)

    # -- steering ------------------------------------------------------------------------------------------------------

    def what_if(self, **changes: object) -> WhatIf:
        """Say what settings would change, without changing anything; needs no token.

        Parameters
        ----------
        **changes
            By their names with `__` for the point: ``screening__chi2_ratio_max=1.4``.
        """
        return ask_what_if(self.url, [_settings(changes)])[0]

    def change_settings(self, changes: Mapping[str, object], *, settle: bool = True) -> Status:
        """Put settings in force, and wait until every frame that flips has been read again.

        Parameters
        ----------
        changes : mapping of str to value
            By their names, such as ``{"screening.chi2_ratio_max": 1.4}``.
        settle : bool
            False: do not wait.

        Raises
        ------
        UserError
            When there is no token, or the service refuses; its sentence says why.
        """
        version = put_settings(self.url, dict(changes), self._needed_token_file())
        return Status.model_validate(settled_status(self.url, version)) if settle else self.status()

    def reconstruct(self) -> None:
        """Ask for an image from what is there now; `status().reconstruction` says when it is done."""
        ask(self.url, "/reconstruct", "POST", {}, read_token(self._needed_token_file()))

    def snapshot(self) -> Path:
        """Have the result file written now; return its path on the machine of the service."""
        return Path(ask(self.url, "/snapshot", "POST", {}, read_token(self._needed_token_file()))["result"])

    # ------------------------------------------------------------------------------------------------------------------

    def _needed_token_file(self) -> Path:
        if self._token_file is None:
            raise UserError("steering needs the token of this run; give token_file as the ready line of xedm live says")
        return self._token_file

    def _region(self, what: str, options: Mapping[str, int], frame: int | None) -> Values | None:
        asked = {"what": what, **options} | ({} if frame is None else {"frame": frame})
        body, facts = fetch(self.url, f"/region?{urlencode(asked)}")
        if not body and frame is not None:
            raise UserError(f"frame {frame} cannot be shown: {facts.get('none', 'the service does not say why')}")
        if not body:
            return None
        values = np.frombuffer(body, facts["type"]).reshape(facts["rows"], facts["cols"])
        return Values(values=values, step=facts["step"], frames=facts["frames"], version=facts["version"], facts=facts)

    def _assembled(self, what: str, frame: int | None) -> Values | Literal[False] | None:
        """Return the whole array, None when there is none, False when it changed between two pieces."""
        # Of a window, as the pieces are: the whole may come from another reading, pooled.
        first = self._region(what, {"first_row": 0, "first_col": 0, "rows": 1, "cols": 1, "side": 16}, frame)
        if first is None:
            return None
        rows, cols = first.facts["shape"]
        whole = np.empty((rows, cols), np.float64)
        facts = first.facts
        for top in range(0, rows, _TILE):
            for left in range(0, cols, _TILE):
                window = {"first_row": top, "first_col": left, "rows": min(_TILE, rows - top),
                          "cols": min(_TILE, cols - left), "side": _TILE}  # fmt: skip
                piece = self._region(what, window, frame)
                if piece is None or piece.version != first.version or piece.facts["shape"] != [rows, cols]:
                    return False
                height, width = piece.values.shape
                whole[top : top + height, left : left + width] = piece.values
                facts = piece.facts
        facts = {**facts, "first_row": 0, "first_col": 0, "rows": rows, "cols": cols, "type": "float64"}
        return Values(values=whole, step=1, frames=first.frames, version=first.version, facts=facts)


def _settings(changes: Mapping[str, object]) -> dict[str, object]:
    return {name.replace("__", ".", 1): value for name, value in changes.items()}


def _columns(body: bytes, facts: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Cut the columns of an answer of /rows, one behind the other."""
    found, start = {}, 0
    for name, kind, length in facts["columns"]:
        found[name] = np.frombuffer(body, kind, length, start)
        start += found[name].nbytes
    return found
