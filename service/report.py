"""The run report: one page of HTML that stands for itself, to take home and to print."""

import base64
import math
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import h5py
import numpy as np

from processing.frame import CATEGORY_NAMES
from service.documents import SUFFIX, read_documents
from service.errors import UserError
from service.figures.screening import VERDICT_COLOURS, draw_cascade, draw_scan_map
from service.figures.single import draw_density, draw_pattern, draw_quality
from service.preview import make_image_preview, make_preview
from service.result_view import Facts, facts_of, geometry_of, map_of, opened_entry
from service.whole_file import written_whole

_PAGE = Path(__file__).with_name("report_page.html")
_SIDE_IN = 2.9
_SHOWN_OF_RUN = ("sample", "operator", "user", "proposal", "proposal_id", "group", "purpose", "scan_id", "plan_name")
_START_BEFORE_ARM_S = 5.0


def write_report(result: Path, output: Path | None = None, documents: Path | None = None) -> Path:
    """Write `<name>_report.html` of a result file; return its path.

    Parameters
    ----------
    result : Path
    output : Path, optional
        Folder, that of the result by default.
    documents : Path, optional
        The Bluesky run's documents as JSON lines; by default those beside the result whose run the series fell into.

    Raises
    ------
    UserError
        When a file cannot be read.
    """
    folder = output or result.parent
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.stem}_report.html"
    with opened_entry(result) as entry:
        facts = facts_of(entry)
        run = run_of(documents) if documents is not None else find_run(result.parent, facts.started)
        page = _page(result, entry, facts, run)
    with written_whole(path) as file:
        file.write(page.encode())
    return path


def run_of(documents: Path) -> dict[str, Any]:
    """Read the start and stop document of a run from a file of JSON lines; `time` of the stop is `stopped`.

    Raises
    ------
    UserError
        When it is no such file.
    """
    run: dict[str, Any] = {}
    for name, doc in read_documents(documents):
        if name == "start":
            run = dict(doc)
        elif name == "stop":
            run |= {"stopped": doc.get("time", math.inf), "exit_status": doc.get("exit_status", "unknown")}
    if "uid" not in run or not isinstance(run.get("time"), int | float):
        raise UserError(f"documents {documents} must hold a run's start document, got none; give another file")
    return run


def find_run(folder: Path, started: str) -> dict[str, Any]:
    """Return the run in a folder into which a moment fell, empty when there is none."""
    try:
        moment = datetime.fromisoformat(started).timestamp()
    except ValueError:
        return {}
    found: dict[str, Any] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            run = run_of(path)
        except UserError:
            continue
        within = run["time"] - _START_BEFORE_ARM_S <= moment <= run.get("stopped", math.inf)
        if within and run["time"] > found.get("time", -math.inf):
            found = run
    return found


def _page(result: Path, entry: h5py.Group, facts: Facts, run: dict[str, Any]) -> str:
    sample = str(run.get("sample", ""))
    series = facts.title.rpartition(", ")[2]
    heading = f"{sample}, {series}" if sample else series.capitalize()
    with tempfile.TemporaryDirectory() as folder:
        drawn = _figures(Path(folder), entry, facts)
    return Template(_PAGE.read_text(encoding="utf-8")).substitute(
        title=escape(f"{heading} · XEDM run report"),
        heading=escape(heading),
        when=escape(f"{_moment(facts.started)} to {_moment(facts.ended)}"),
        tiles="".join(_tiles(facts)),
        notes=_notes(facts),
        counts="".join(_counts(facts)),
        run=_rows(_run_rows(run, facts)),
        settings=_rows(_setting_rows(facts)),
        experiment=_rows(_experiment_rows(facts)),
        footer=escape(f"{result.resolve()} · {facts.program} · every setting and every frame is in this file"),
        **drawn,
    )


def _figures(folder: Path, entry: h5py.Group, facts: Facts) -> dict[str, str]:
    """Draw what there is; a sentence stands for what there is not."""
    shown = map_of(entry, "sum")
    small = make_preview(shown.data, shown.valid.astype(np.uint8), version=0)
    label = f"counts (brightest of {small.step} x {small.step})" if small.step > 1 else "counts / pixel"
    geometry = geometry_of(entry, shown)
    pattern = draw_pattern(
        folder / "sum.png", small.pixels, label=label, geometry=geometry, step=small.step, side_in=_SIDE_IN
    )
    drawn = {
        "sum": _picture(pattern, f"sum of {shown.frames} frames, logarithmic scale"),
        "image": '<p class="none">no image: too few frames, or reconstruction was off</p>',
        "quality": '<p class="none">nothing to judge yet</p>',
        "cascade": '<p class="none">no frame was judged</p>',
        "map": "",
    }
    if "reconstruction" in entry:
        density = map_of(entry, "reconstruction")
        object_only = make_image_preview(density.data, version=0).pixels
        pixel_m = density.pixel_size_m or 1.0
        drawn["image"] = _picture(
            draw_density(folder / "image.png", object_only, pixel_m=pixel_m, side_in=_SIDE_IN), "reconstruction"
        )
    prtf = _curve(entry, "reconstruction", "prtf")
    snr = _curve(entry, "snr", "snr")
    if prtf is not None or snr is not None:
        resolution = float(facts.image.get("resolution_m", math.nan))
        quality = draw_quality(folder / "quality.png", prtf=prtf, snr=snr, resolution_m=resolution, side_in=_SIDE_IN)
        drawn["quality"] = _picture(quality, "transfer function of the image, signal to noise of the sum")
    cascade = _cascade(folder, entry, facts)
    if cascade is not None:
        drawn["cascade"] = _picture(cascade, "total and chi square against frame, by verdict")
    on_grid = _scan_map(folder, entry)
    if on_grid is not None:
        drawn["map"] = _picture(on_grid, "verdicts where the stage stood, in the colours of the list")
    return drawn


def _curve(entry: h5py.Group, group: str, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    if group not in entry or entry[group][name].size == 0:
        return None
    return entry[group]["q"][()], entry[group][name][()]


def _cascade(folder: Path, entry: h5py.Group, facts: Facts) -> Path | None:
    frames = entry["frames"]
    verdict = np.array(CATEGORY_NAMES)[frames["verdict"][()]]
    judged = np.isin(verdict, list(VERDICT_COLOURS))
    total = frames["total"][()]
    reference = facts.summary.get("reference_total") or float(np.median(total[judged])) if judged.any() else 0.0
    if not reference:
        return None
    dof = frames["dof"][()].astype(np.float64)
    ratio = np.where(dof > 0, frames["chi2"][()] / np.where(dof > 0, dof, 1.0), np.nan)
    screening = facts.configuration["screening"]
    return draw_cascade(
        folder / "cascade.png",
        frame=frames["frame"][()][judged],
        verdict=verdict[judged],
        total=total[judged],
        chi2_ratio=ratio[judged],
        reference_total=float(reference),
        cuts={name: screening[name] for name in ("intensity_ratio_min", "background_ratio_max", "chi2_ratio_max")},
        size_in=(6.6, 3.6),
        legend=False,
    )


def _scan_map(folder: Path, entry: h5py.Group) -> Path | None:
    frames = entry["frames"]
    x_um, y_um = frames["x"][()], frames["y"][()]
    known = np.isfinite(x_um) & np.isfinite(y_um)
    if not known.any():
        return None
    verdict = np.array(CATEGORY_NAMES)[frames["verdict"][()]][known]
    return draw_scan_map(folder / "map.png", x_um=x_um[known], y_um=y_um[known], verdict=verdict)


def _picture(path: Path, alt: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def _tiles(facts: Facts) -> Iterator[str]:
    counts = facts.summary["counts"]
    received = sum(value for name, value in counts.items() if name != "missing")
    lost = counts["missing"] + counts["corrupt"] + len(facts.summary.get("unresolved_frames", []))
    yield _tile("accepted frames", f"{counts['accepted']:,}", f"of {received:,} received".replace(",", "\u202f"), "ok")
    yield _tile(
        "lost", f"{lost:,}", "missing, corrupt or unresolved" if lost else "every frame is accounted for",
        "bad" if lost else "ok",
    )  # fmt: skip
    ended = bool(facts.summary.get("complete"))
    yield _tile(
        "series", "ended" if ended else "running", "" if ended else "this file is a snapshot", "ok" if ended else "warn"
    )
    if facts.image:
        confidence = str(facts.image.get("confidence", "unknown"))
        resolution = 1e9 * float(facts.image["resolution_m"])
        yield _tile("resolution", f"{resolution:.1f} nm", "half period at PRTF 1/e", "ok")
        yield _tile("R factor", f"{float(facts.image['r_factor']):.3f}", "of the amplitudes", "ok")
        tone = {"high": "ok", "medium": "warn"}.get(confidence, "bad")
        yield _tile("confidence", confidence, "that the image is the object", tone)
    elif "resolution_m" in facts.forecast:
        yield _tile(
            "signal reaches", f"{1e9 * float(facts.forecast['resolution_m']):.1f} nm", "signal to noise 1", "warn"
        )


def _tile(name: str, value: str, more: str, tone: str) -> str:
    value = value.replace(",", "\u202f")  # thousands, as the SI writes them
    return (
        f'<div class="tile {tone}"><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(more)}</span></div>'
    )


def _notes(facts: Facts) -> str:
    if not facts.warnings:
        return ""
    return f'<section class="notes">{"<br>".join(map(escape, facts.warnings))}</section>'


def _counts(facts: Facts) -> Iterator[str]:
    counts = facts.summary["counts"]
    most = max(1, *counts.values())
    for name in CATEGORY_NAMES:
        value = counts[name]
        colour = VERDICT_COLOURS.get(name, "#b03a00")
        bar = f'<span class="bar" style="width:{100 * value / most:.1f}%;background:{colour}"></span>' if value else ""
        yield f'<tr><th>{name.replace("_", " ")}</th><td class="n">{value}</td><td style="width:45%">{bar}</td></tr>'


def _run_rows(run: dict[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
    for name in _SHOWN_OF_RUN:
        if name in run:
            yield name.replace("_", " "), str(run[name])
    if run:
        yield "run", str(run["uid"]).split("-")[0]
        yield "scan started", _moment(datetime.fromtimestamp(run["time"], UTC).isoformat())
        yield "scan ended", f"{run['exit_status']}" if "exit_status" in run else "not yet"
    if {"shape", "extents", "exposure_s"} <= run.keys():
        rows, cols = run["shape"]
        (y0, y1), (x0, x1) = run["extents"]
        yield "points", f"{cols} x {rows}, {run['exposure_s']:g} s each"
        yield "x, y (um)", f"{x0:g} to {x1:g}, {y0:g} to {y1:g}"
    announced = facts.summary.get("announced")
    yield "announced frames", "not said" if announced is None else str(announced)
    yield "series started", _moment(facts.started)
    yield "file written", _moment(facts.ended)


def _setting_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    screening, image = facts.configuration["screening"], facts.configuration["reconstruction"]
    reference = facts.summary.get("reference_total")
    if not screening["enabled"]:
        yield "screening", "off"
    yield "low intensity below", f"{screening['intensity_ratio_min']:g} of the reference"
    yield "background below", f"{screening['background_ratio_max']:g} of the reference"
    limit = screening["chi2_max"]
    yield "streak above", f"chi² {limit:g}" if limit is not None else f"chi²/dof {screening['chi2_ratio_max']:g}"
    yield "reference total", "not known" if reference is None else f"{reference:.4g} counts"
    yield "versions of settings", str(len(facts.versions))
    if facts.prepared:
        yield "background", f"{image['background']}, {facts.prepared.get('background_frames', 0)} frames"
        yield "center (row, col)", f"{facts.prepared['center_row']:.2f}, {facts.prepared['center_col']:.2f} px"
        yield "bins", f"{facts.prepared['bin_px']} px, {facts.prepared['central_px']:g} px of the center removed"
    if facts.image:
        yield "algorithm", f"{image['algorithm']}, {facts.image.get('seeds_run', image['seeds'])} seeds"
        yield "object diameter", f"{1e9 * float(facts.image['object_diameter_m']):.1f} nm"


def _experiment_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "detector", facts.detector
    shown = {
        "incident_energy": ("photon energy", 1e-3, "keV"),
        "incident_wavelength": ("wavelength", 1e10, "Å"),
        "distance": ("distance", 1.0, "m"),
        "x_pixel_size": ("pixel", 1e6, "um"),
        "count_time": ("count time", 1.0, "s"),
        "beam_center_y": ("beam row", 1.0, "px"),
        "beam_center_x": ("beam column", 1.0, "px"),
    }
    for name, (words, factor, unit) in shown.items():
        if name in facts.instrument:
            yield words, f"{factor * facts.instrument[name]:.5g} {unit}"


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)


def _moment(iso: str) -> str:
    """Return a moment to the second, in UTC as in the file."""
    try:
        return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return "unknown"
