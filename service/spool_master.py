"""The master file of a spool: the experiment's facts in the detector's own layout, and links to the data files."""

import json
from collections.abc import Iterable

import h5py
import hdf5plugin
import numpy as np

from processing.frame import SeriesHeader
from service.spool_index import SpoolNames
from service.store import write_whole

_DETECTOR = "/entry/instrument/detector"
_SPECIFIC = f"{_DETECTOR}/detectorSpecific"
_PER_FILE = f"{_SPECIFIC}/nimages_per_file"
_CLASSES = {
    "/entry": "NXentry",
    "/entry/data": "NXdata",
    "/entry/instrument": "NXinstrument",
    "/entry/instrument/beam": "NXbeam",
    _DETECTOR: "NXdetector",
    _SPECIFIC: "NXcollection",
}


def write_master(names: SpoolNames, header: SeriesHeader, per_file: int, files: Iterable[int]) -> None:
    """Write the master file aside and give it its name.

    Parameters
    ----------
    names : SpoolNames
    header : SeriesHeader
    per_file : int
        Frames in one data file.
    files : iterable of int
        Numbers of the data files to link to.

    Raises
    ------
    OSError
        When the disk refuses; the old master, if any, is as it was.
    """

    def fill(file: h5py.File) -> None:
        for path, nx_class in _CLASSES.items():
            file.create_group(path).attrs["NX_class"] = nx_class
        file.attrs["default"] = "entry"
        file["entry"].attrs["default"] = "data"
        file["entry/definition"] = "NXmx"
        file["entry/title"] = f"spool of series {header.series}"
        for count, number in enumerate(files):
            name = f"data_{number:06d}"
            file[f"entry/data/{name}"] = h5py.ExternalLink(names.data(number).name, "/entry/data/data")
            if count == 0:
                file["entry/data"].attrs["signal"] = name
        _facts(file, header)
        file[_PER_FILE] = per_file

    write_whole(names.master, fill)


def frames_per_file(names: SpoolNames) -> int | None:
    """Return how many frames the data files have that are there already, None when there is no master yet."""
    try:
        with h5py.File(names.master, "r") as file:
            value = int(file[_PER_FILE][()])
    except (OSError, KeyError, ValueError, TypeError):
        return None
    return value if value > 0 else None


def _facts(file: h5py.File, header: SeriesHeader) -> None:
    """Write what the header said, with the detector's names and units; nothing stands where it said nothing."""
    detector = file[_DETECTOR]
    angstrom = None if header.wavelength_m is None else header.wavelength_m * 1e10
    values: dict[str, tuple[float | None, str]] = {
        f"{_DETECTOR}/beam_center_x": (header.beam_center_x, "pixel"),
        f"{_DETECTOR}/beam_center_y": (header.beam_center_y, "pixel"),
        f"{_DETECTOR}/count_time": (header.count_time_s, "s"),
        f"{_DETECTOR}/frame_time": (header.frame_time_s, "s"),
        f"{_DETECTOR}/detector_distance": (header.distance_m, "m"),
        f"{_DETECTOR}/x_pixel_size": (header.pixel_size_m, "m"),
        f"{_DETECTOR}/y_pixel_size": (header.pixel_size_m, "m"),
        f"{_SPECIFIC}/photon_energy": (header.photon_energy_ev, "eV"),
        "/entry/instrument/beam/incident_wavelength": (angstrom, "angstrom"),
    }
    for path, (value, units) in values.items():
        if value is not None:
            file[path] = float(value)
            file[path].attrs["units"] = units
    detector["description"] = str(header.config.get("description", "unknown"))
    if header.pixel_type is not None:
        detector["bit_depth_image"] = np.dtype(header.pixel_type).itemsize * 8
    specific = file[_SPECIFIC]
    if header.shape is not None:
        specific["y_pixels_in_detector"], specific["x_pixels_in_detector"] = header.shape
    if header.images is not None:
        specific["nimages"], specific["ntrigger"] = _images(header, header.images)
    if header.count_cutoff is not None:
        specific["countrate_correction_count_cutoff"] = header.count_cutoff
    specific["stream_configuration"] = json.dumps(header.config, default=str)
    if header.valid is not None:
        mask = np.where(header.valid, 0, 1).astype(np.uint32)
        packed = hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        specific.create_dataset("pixel_mask", data=mask, chunks=mask.shape, **packed)


def _images(header: SeriesHeader, images: int) -> tuple[int, int]:
    """Return nimages and ntrigger as the detector said them where they come to what is announced."""
    said = header.config.get("nimages"), header.config.get("ntrigger")
    match said:
        case (int(per_trigger), int(triggers)) if triggers > 0 and per_trigger * triggers == images:
            return per_trigger, triggers
    return images, 1
