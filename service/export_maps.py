"""One map of a result file as PNG, TIFF or EDF, or what other programs for phasing need as CXI."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from service.errors import UsageError
from service.export_cxi import write_cxi
from service.preview import make_image_preview, make_preview
from service.result_view import WHATS, Map, What, geometry_of, map_of, opened_entry
from service.whole_file import written_whole

Format = Literal["png", "tiff", "edf", "cxi"]
FORMATS: tuple[Format, ...] = get_args(Format)

_LABELS = {"sum": "counts", "background": "counts", "amplitude": "√counts", "reconstruction": "density (a.u.)"}
NOT_MEASURED = -1
"""Stands in TIFF and EDF where nothing was measured, as in the files of Pilatus and Eiger detectors."""


def export_map(result: Path, kind: str, what: str | None = None, output: Path | None = None) -> Path:
    """Write one map of a result file for another program; return where it is.

    Parameters
    ----------
    result : Path
    kind : str
        png, tiff, edf or cxi.
    what : str, optional
        sum, background, amplitude or reconstruction; without it the sum, and for CXI the amplitude.
    output : Path, optional
        Folder, that of the result by default.

    Raises
    ------
    UsageError
        When there is no such format or map.
    UserError
        When the file cannot be read or does not hold the map.
    """
    if kind not in FORMATS:
        raise UsageError(f"--to must be one of {', '.join(FORMATS)}, got {kind!r}; choose one")
    if what is not None and what not in WHATS:
        raise UsageError(f"--what must be one of {', '.join(WHATS)}, got {what!r}; choose one")
    chosen: What = next((one for one in WHATS if one == what), "amplitude" if kind == "cxi" else "sum")
    folder = output or result.parent
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.stem}_{chosen}.{'tif' if kind == 'tiff' else kind}"
    with opened_entry(result) as entry:
        shown = map_of(entry, chosen)
        _WRITERS[kind](path, shown, entry)
    return path


def detector_image(shown: Map) -> NDArray[Any]:
    """Return a map as detector software writes it: signed numbers, -1 where nothing was measured.

    int32 where the counts fit, else int64, so that every count is exact; float32 for amplitude and image.
    """
    if shown.data.dtype.kind == "f":
        return np.where(shown.valid, shown.data, np.float32(NOT_MEASURED)).astype(np.float32)
    fits = int(shown.data.max(initial=0)) <= np.iinfo(np.int32).max
    data = shown.data.astype(np.int32 if fits else np.int64)
    data[~shown.valid] = NOT_MEASURED
    return data


def facts_for_header(shown: Map, entry: h5py.Group) -> dict[str, str]:
    """Return what a reader of the bare array must know, with units in the names."""
    facts = {
        "title": f"{shown.what} of {shown.frames} frames",
        "source": str(entry["title"].asstr()[()]),
        "not_measured": str(NOT_MEASURED),
        "unit": _LABELS[shown.what],
        "center_row_px": f"{shown.center[0]:.3f}",
        "center_col_px": f"{shown.center[1]:.3f}",
    }
    if shown.pixel_size_m is not None:
        return facts | {"pixel_size_m": f"{shown.pixel_size_m:.6e}"}
    geometry = geometry_of(entry, shown)
    if geometry is None:
        return facts
    return facts | {
        "pixel_size_m": f"{geometry.pixel_m:.6e}",
        "distance_m": f"{geometry.distance_m:.6g}",
        "wavelength_m": f"{geometry.wavelength_m:.6e}",
    }


def _png(path: Path, shown: Map, entry: h5py.Group) -> None:
    from service.figures.single import draw_density, draw_pattern

    title = f"{shown.what} of {shown.frames} frames · {entry['title'].asstr()[()].rpartition(', ')[2]}"
    if shown.pixel_size_m is not None:
        draw_density(path, make_image_preview(shown.data, version=0).pixels, pixel_m=shown.pixel_size_m, title=title)
        return
    values, step = shown.data, 1
    if values.dtype.kind == "u":
        small = make_preview(values, shown.valid.astype(np.uint8), version=0)
        values, step = small.pixels, small.step
    else:
        values = np.where(shown.valid, values, np.nan)
    label = _LABELS[shown.what] + (f" (brightest of {step} x {step} pixels)" if step > 1 else " / pixel")
    draw_pattern(path, values, label=label, title=title, geometry=geometry_of(entry, shown), step=step)


def _tiff(path: Path, shown: Map, entry: h5py.Group) -> None:
    import tifffile

    with written_whole(path) as file:
        tifffile.imwrite(file, detector_image(shown), metadata=facts_for_header(shown, entry), software="xedm")


def _edf(path: Path, shown: Map, entry: h5py.Group) -> None:
    from fabio.edfimage import EdfImage

    EdfImage(data=detector_image(shown), header=facts_for_header(shown, entry)).write(str(path))


_WRITERS: dict[str, Callable[[Path, Map, h5py.Group], None]] = {
    "png": _png,
    "tiff": _tiff,
    "edf": _edf,
    "cxi": write_cxi,
}
