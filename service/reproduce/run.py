"""All of `xedm reproduce`: data sets one after the other, their figures, one table."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from service.reproduce.acquire import Acquired, Order, Progress, acquire
from service.reproduce.draw import draw
from service.reproduce.table import TELLING_PACKING, TableRow, as_facts, as_markdown, table_of
from service.reproduce.validate import validate

Tell = Callable[..., None]
"""Called with the name of an event, a sentence, and facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it.

    Attributes
    ----------
    folder : Path
    rows : list of TableRow
    notes : list of str
    text : str
        The table as Markdown.
    facts : dict
        The table as JSON.
    """

    folder: Path
    rows: list[TableRow]
    notes: list[str]
    text: str
    facts: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether every wanted value that applies was reached."""
        return all(row.reached is not False for row in self.rows)


def reproduce_run(orders: list[Order], folder: Path, tell: Tell, progress: Progress) -> Outcome:
    """Acquire, validate and draw each data set into a folder of its own; then write the table.

    Raises
    ------
    UserError
        When a data set cannot be had.
    """
    places = [(order, folder / f"data_set_{order.seed}") for order in orders]
    for _, place in places:
        place.mkdir(parents=True)

    return _measured((_acquired(order, place, tell, progress) for order, place in places), folder, tell)


def _acquired(order: Order, place: Path, tell: Tell, progress: Progress) -> Acquired:
    tell("started", f"data set {order.seed}: {order.frames} frames of {order.run.exposure_s:g} s ...", seed=order.seed)
    return acquire(order, place, progress)


def measure_again(data_sets: list[Acquired], folder: Path, tell: Tell) -> Outcome:
    """Validate and draw finished data sets anew."""
    return _measured(data_sets, folder, tell)


def _measured(data_sets: Iterable[Acquired], folder: Path, tell: Tell) -> Outcome:
    """Measure each data set as soon as it is there."""
    values, sets, seconds = [], [], []
    confusion: Counter[tuple[str, str]] = Counter()
    for acquired in data_sets:
        seed = acquired.order.seed
        counts = {name: count for name, count in acquired.status["counts"].items() if count}
        tell(
            "acquired",
            f"data set {seed}: {acquired.status['state']} after {acquired.seconds:.0f} s",
            seed=seed,
            seconds=round(acquired.seconds, 1),
            counts=counts,
        )
        begun = time.monotonic()
        found = validate(acquired, partial(_say_working, tell, seed))
        _say_working(tell, seed, "drawing figures ...")
        figures = draw(found)
        seconds.append({"acquire": acquired.seconds, "validate": time.monotonic() - begun})
        sets.append(acquired)
        values.append(found.values)
        confusion.update(found.confusion)
        tell("measured", f"data set {seed}: {len(figures)} figures", seed=seed, figures=[str(path) for path in figures])
    return _written(sets, values, confusion, seconds, folder)


def _say_working(tell: Tell, seed: int, text: str) -> None:
    tell("working", f"data set {seed}: {text}")


def _written(
    sets: list[Acquired],
    values: list[dict[str, float]],
    confusion: Counter[tuple[str, str]],
    seconds: list[dict[str, float]],
    folder: Path,
) -> Outcome:
    order = sets[0].order
    rows, notes = (
        table_of(order.run, order.packing, values),
        _notes(sets, limited=any(one["prtf_limited"] > 0 for one in values)),
    )
    facts = {
        "sample": order.run.sample,
        "detector": order.detector,
        "frames": order.frames,
        "seeds": [one.order.seed for one in sets],
        "packing": order.packing,
        "spread_nm": order.spread_nm,
        "passed": all(row.reached is not False for row in rows),
        "rows": [as_facts(row) for row in rows],
        "confusion": [[*pair, count] for pair, count in sorted(confusion.items())],
        "notes": notes,
        "seconds": [{name: round(value, 1) for name, value in one.items()} for one in seconds],
    }
    title = f"xedm reproduce {order.run.sample}"
    text = as_markdown(title, notes, rows, confusion)
    (folder / "table.md").write_text(text, encoding="utf-8")
    (folder / "table.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return Outcome(folder=folder, rows=rows, notes=notes, text=text, facts=facts)


def _notes(sets: list[Acquired], *, limited: bool) -> list[str]:
    """Say under which conditions the numbers hold."""
    order = sets[0].order
    run = order.run
    seeds = ", ".join(str(one.order.seed) for one in sets)
    many = "" if len(sets) == 1 else "; median of the data sets, judged by the worst"
    sent = f"{order.frames} simulated frames of {run.exposure_s:g} s on {order.detector}, each an independent draw"
    way = (
        "a Bluesky scan of the simulated beamline, top-up and repeats included"
        if order.scan
        else "over the wire to the live service"
    )
    notes = [
        f"{sent}, {way}; seed{'s' if len(sets) > 1 else ''} {seeds}{many}",
        "the paper compares with electron microscopy and crystallography, these rows with the model that was simulated",
    ]
    if order.frames < run.frames:
        notes.append(f"fewer frames than the paper's {run.frames}: photon noise is that of {order.frames}")
    if run.sample == "nv-lp" and order.detector == "eig1m":
        notes.append("at 0.69 m, where eig1m reaches the 1.3 nm that the paper's 16M detector reaches at 2.08 m")
    if not order.spread_nm:
        notes.append("the simulated particles are identical spheres, without the paper's spread of sizes (--spread-nm)")
    else:
        notes.append(
            f"the particles' diameters vary by {order.spread_nm:g} nm (standard deviation), core and shell each on its "
            "own; model and truth image are those of the mean particle, and eq. (1) for the diagonal knows the spread"
        )
    if order.packing:
        notes.append(f"the particles fill {order.packing:g} of space: hard spheres, Percus-Yevick structure factor")
    if order.packing > TELLING_PACKING:
        notes.append(
            f"above a packing of {TELLING_PACKING:g} the structure factor alone takes the right image away from the "
            "model as far as a wrong minimum is: none is counted"
        )
    if limited:
        notes.append(
            "where the transfer function stays above 1/e up to the corner of the array, the half-period of the corner "
            "is given: the resolution is that or better"
        )
    if any(one.status["counts"]["accepted"] < run.enough for one in sets):
        notes.append(f"fewer than {run.enough} frames in the sum: scores are shown, none is wanted")
    return notes
