"""The table: what the paper has, what we have, what was wanted, and whether it was reached."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple

from processing.frame import CATEGORY_NAMES
from service.reproduce.paper import PaperRun

Show = Callable[[float], str]


def _percent(digits: int) -> Show:
    return lambda value: f"{100 * value:.{digits}f} %"


def _number(digits: int, unit: str = "") -> Show:
    return lambda value: f"{value:.{digits}f}{unit and ' ' + unit}"


def _whole(value: float) -> str:
    return f"{round(value):,}".replace(",", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One quantity of the table.

    Attributes
    ----------
    key : str
        In `Findings.values`.
    what : str
        For a person.
    show : callable
        Value to text with its unit.
    paper : str
        The paper's value.
    limit : float or None
        What is wanted at least, of the worst data set; None: nothing, the row only reports.
    aim : float or None
        What the median of the data sets should reach.
    smaller : bool
        Whether smaller is better.
    about : float or None
        With it `limit` and `aim` are the largest distance from this value.
    noisy : bool
        Wanted only where there are frames enough.
    plain : bool
        Wanted only without structure between the particles.
    """

    key: str
    what: str
    show: Show
    paper: str = ""
    limit: float | None = None
    aim: float | None = None
    smaller: bool = True
    about: float | None = None
    noisy: bool = True
    plain: bool = False

    def badness(self, value: float) -> float:
        """How far from the best, larger is worse."""
        if self.about is not None:
            return abs(value - self.about)
        return value if self.smaller else -value

    def reaches(self, value: float, limit: float | None) -> bool | None:
        """Whether a value is as good as a limit; None where there is none."""
        if limit is None:
            return None
        if math.isnan(value):
            return False
        bound = limit if self.smaller or self.about is not None else -limit
        return self.badness(value) <= bound + 1e-12

    def said(self, limit: float | None) -> str:
        """A limit as text."""
        if limit is None:
            return ""
        if self.about is not None:
            return f"within {self.show(limit)} of {self.show(self.about)}"
        if limit == 0:
            return self.show(0)
        return f"at {'most' if self.smaller else 'least'} {self.show(limit)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One line of the table.

    Attributes
    ----------
    key, what, paper, ours, wanted, aim : str
    median, worst : float
        Over the data sets; NaN where there is no value.
    reached, aimed : bool or None
        Whether the worst reaches what is wanted, and the median the aim; None where there is none, or the frames do not
        allow it.
    """

    key: str
    what: str
    paper: str
    ours: str
    wanted: str
    aim: str
    median: float
    worst: float
    reached: bool | None
    aimed: bool | None


TELLING_PACKING = 0.3
"""Above, the structure factor alone takes the right image below `PaperRun.wrong_ssim`, where a wrong one is, too."""


def wanted_of(run: PaperRun, packing: float) -> list[Wanted]:
    """Return the rows for a sample, science.md 6 and 7, in their order."""
    dense = packing > 0.0
    every = [
        Wanted(key="frames", what="frames sent", show=_whole, paper=_whole(run.frames), noisy=False),
        Wanted(key="lost", what="frames sent and not received", show=_whole, limit=0, noisy=False),
        Wanted(key="verdict_low_intensity", what="removed: low intensity", show=_whole),
        Wanted(key="verdict_streak", what="removed: streak", show=_whole),
        Wanted(key="verdict_background", what="taken as background", show=_whole),
        Wanted(key="summed", what="frames in the sum", show=_whole),
        Wanted(key="sum_wrong_px", what="pixels in which the sum is not exact", show=_whole, limit=0, noisy=False),
        Wanted(key="good_lost", what="good frames lost", show=_percent(2), limit=1e-3, aim=1e-4, noisy=False),
        Wanted(
            key="clear_good_lost", what="- of those without a trace of edge or grain", show=_percent(2), noisy=False
        ),
        Wanted(key="dirty_kept", what="clear contaminants kept", show=_percent(2), limit=0.01, aim=0, noisy=False),
        Wanted(key="clips_kept", what="edge clips of 10 to 90 % of the beam kept", show=_percent(2)),
        Wanted(key="center_px", what="centre of the sum off the true one", show=_number(3, "px"), limit=0.25, aim=0.02),
        Wanted(
            key="profile_worst",
            what="diagonal of the sum against eq. (1), absolute, worst segment",
            show=_percent(1),
            paper="excellent",
            limit=0.10,
            plain=True,
        ),
        Wanted(key="profile_mean", what="the same, all segments together", show=_percent(1)),
    ]
    own = _au_sio2(packing) if run.sample == "au-sio2" else _nv_lp()
    wrong = Wanted(key="wrong", what="wrong minimum delivered unmarked, data sets", show=_whole, limit=0)
    last = [
        *([wrong] if packing <= TELLING_PACKING else []),
        Wanted(key="live_s", what="live image, unguided, seconds on one core", show=_number(1, "s"), limit=20, aim=4),
        Wanted(
            key="guided_s", what="guided HIO 100 x 10 x 300, processor seconds", show=_number(1, "s"), limit=60, aim=12
        ),
    ]
    rows = [*every, *own, *last]
    cascade = {
        "verdict_low_intensity": "5 035",
        "verdict_streak": "3 070",
        "verdict_background": "341",
        "summed": "77 170",
    }
    papers = cascade if run.sample == "nv-lp" else {"summed": "1 676"}
    return [_changed(row, paper=papers.get(row.key, row.paper), off=dense and row.plain) for row in rows]


def _changed(row: Wanted, *, paper: str, off: bool) -> Wanted:
    return replace(row, paper=paper, limit=None, aim=None) if off else replace(row, paper=paper)


class _Scores(NamedTuple):
    """What is wanted of an image, and the aim."""

    ssim: float | None
    error: float | None
    ssim_aim: float | None
    error_aim: float | None


def _au_sio2(packing: float) -> list[Wanted]:
    nm = _number(0, "nm")
    known = {0.0: _Scores(0.98, 0.09, 0.994, 0.056), 0.3: _Scores(0.95, None, 0.98, None)}
    score = known.get(packing, _Scores(None, None, 0.93 if packing == 0.5 else None, None))
    images = (("", "guided HIO", "0.8858"), ("live_", "live image", ""))
    return [
        Wanted(
            key="matrix",
            what="error matrix, eq. (2), least",
            show=_percent(1),
            paper="13 %",
            limit=0.07,
            aim=0.05,
            plain=True,
        ),
        Wanted(key="matrix_core_nm", what="- its core", show=nm, paper="19 nm", limit=1.0, about=19.0, plain=True),
        Wanted(key="matrix_outer_nm", what="- its shell", show=nm, paper="54 nm", limit=1.0, about=55.0, plain=True),
        Wanted(key="matrix_worst_cell", what="- largest error in the matrix", show=_percent(1)),
        Wanted(key="matrix_absolute", what="- least with the absolute scale of eq. (1)", show=_percent(1)),
        Wanted(key="matrix_absolute_core_nm", what="- - its core", show=nm),
        Wanted(key="matrix_absolute_outer_nm", what="- - its shell", show=nm),
        *(
            Wanted(
                key=f"{key}ssim",
                what=f"SSIM, {what}",
                show=_number(4),
                paper=paper,
                limit=score.ssim,
                aim=score.ssim_aim,
                smaller=False,
            )
            for key, what, paper in images
        ),
        *(
            Wanted(
                key=f"{key}error",
                what=f"model error, {what}",
                show=_number(3),
                limit=score.error,
                aim=score.error_aim,
            )
            for key, what, _ in images
        ),
        Wanted(
            key="prtf_nm",
            what="PRTF at 1/e, independent runs",
            show=_number(2, "nm"),
            paper="3.4 nm",
            limit=4.0,
            aim=3.4,
            plain=True,
        ),
    ]


def _nv_lp() -> list[Wanted]:
    nm = _number(2, "nm")
    return [
        Wanted(key="error", what="model error, guided HIO", show=_percent(1), paper="15.7 %", limit=0.10, aim=0.06),
        Wanted(key="ssim", what="SSIM, guided HIO", show=_number(4), limit=0.97, aim=0.99, smaller=False),
        Wanted(key="live_error", what="model error, live image", show=_percent(1), limit=0.10, aim=0.06),
        Wanted(key="live_ssim", what="SSIM, live image", show=_number(4), limit=0.97, aim=0.99, smaller=False),
        Wanted(key="shell_width_nm", what="shell, half-maximum width in the image", show=nm, paper="2.6 nm"),
        Wanted(key="shell_width_off_nm", what="- off that of the true image", show=nm, limit=0.4),
        Wanted(
            key="shell_fit_nm",
            what="shell, thickness fitted to the amplitudes",
            show=nm,
            paper="2.6 nm",
            aim=0.1,
            about=2.6,
        ),
        Wanted(key="outer_fit_nm", what="- outer diameter fitted along", show=nm, paper="19 nm"),
        Wanted(key="prtf_nm", what="PRTF at 1/e, independent runs", show=_number(2, "nm"), paper="1.3 nm a pixel"),
    ]


def table_of(run: PaperRun, packing: float, values: Sequence[dict[str, float]]) -> list[TableRow]:
    """Make the table of one or more data sets.

    Parameters
    ----------
    run : PaperRun
    packing : float
        Part of space that the particles fill.
    values : sequence of dict
        `Findings.values` of each data set.
    """
    enough = all(one["summed"] >= run.enough for one in values)
    return [_row(wanted, [one[wanted.key] for one in values], enough=enough) for wanted in wanted_of(run, packing)]


def _row(wanted: Wanted, found: list[float], *, enough: bool) -> TableRow:
    known = [value for value in found if not math.isnan(value)]
    worst = max(known, key=wanted.badness) if len(known) == len(found) else math.nan
    middle = median(known) if known else math.nan
    if wanted.key == "wrong" and known:
        worst = middle = float(sum(known))
    applies = enough or not wanted.noisy
    return TableRow(
        key=wanted.key,
        what=wanted.what,
        paper=wanted.paper,
        ours=_ours(wanted, middle, worst, len(found)),
        wanted=wanted.said(wanted.limit) if applies else "",
        aim=wanted.said(wanted.aim) if applies else "",
        median=middle,
        worst=worst,
        reached=wanted.reaches(worst, wanted.limit) if applies else None,
        aimed=wanted.reaches(middle, wanted.aim) if applies else None,
    )


def _ours(wanted: Wanted, middle: float, worst: float, count: int) -> str:
    if math.isnan(middle):
        return "none"
    text = wanted.show(middle)
    if count == 1 or wanted.key == "wrong" or middle == worst or (wanted.limit is None and wanted.aim is None):
        return text
    return f"{text}, worst {'none' if math.isnan(worst) else wanted.show(worst)}"


def as_markdown(
    title: str, notes: Sequence[str], rows: Sequence[TableRow], confusion: Mapping[tuple[str, str], int]
) -> str:
    """Write the table as Markdown, with its conditions below, and what was made of every class of frames.

    Parameters
    ----------
    title : str
    notes : sequence of str
    rows : sequence of TableRow
    confusion : mapping
        (label, verdict) to frames, of all data sets.
    """
    said = {True: "yes", False: "**no**", None: ""}
    head = ["", "paper", "ours", "wanted", "reached?", "aim", "reached?"]
    cells = [[row.what, row.paper, row.ours, row.wanted, said[row.reached], row.aim, said[row.aimed]] for row in rows]
    lines = [f"# {title}", "", *_table([head, ["---"] * len(head), *cells])]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), "", *_classes(confusion), ""])


def _classes(confusion: Mapping[tuple[str, str], int]) -> list[str]:
    """Return the confusion matrix as lines of Markdown."""
    names = [*CATEGORY_NAMES, *sorted({label for label, _ in confusion} - set(CATEGORY_NAMES))]
    labels = [name for name in names if any(label == name for label, _ in confusion)]
    verdicts = [name for name in names if any(found == name for _, found in confusion)]
    rows = [[f"truly {label}", *(_whole(confusion.get((label, found), 0)) for found in verdicts)] for label in labels]
    return _table([["frames", *verdicts], ["---", *("---:" for _ in verdicts)], *rows])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in rows]


def as_facts(row: TableRow) -> dict[str, Any]:
    """Return a row for JSON; NaN becomes null."""
    number = {
        name: None if math.isnan(value) else value for name, value in (("median", row.median), ("worst", row.worst))
    }
    return {
        "key": row.key,
        "what": row.what,
        "paper": row.paper,
        "ours": row.ours,
        "wanted": row.wanted,
        **number,
        "reached": row.reached,
        "aim": row.aim,
        "aimed": row.aimed,
    }
