"""A result as CXI file, the HDF5 layout of cxidb.org that programs for phasing read and write (version 1.6).

Source: F. R. N. C. Maia, "The Coherent X-ray Imaging Data Bank", Nature Methods 9, 854 (2012), doi:10.1038/nmeth.2110,
and the specification of the format, release 1.6.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from service.result_view import Map, geometry_of, map_of
from service.store import write_whole

CXI_VERSION = 160
PIXEL_IS_MISSING = 0x200
"""Of the bits of a CXI mask: nothing was measured there; 0 is a perfect pixel."""
_JOULE_PER_EV = 1.602176634e-19


def write_cxi(path: Path, shown: Map, entry: h5py.Group) -> None:
    """Write intensities with their mask and geometry, and with an amplitude also itself and the image.

    `/entry_1/instrument_1/detector_1` holds what a program that phases starts from: intensities, for an amplitude its
    square. `image_1` is the amplitude, `image_2` the image, where they are; nothing is shifted for a Fourier
    transform, the middle is at ``n // 2``.

    Parameters
    ----------
    path : Path
    shown : Map
    entry : h5py.Group
        Of the result file.
    """

    def fill(file: h5py.File) -> None:
        file["cxi_version"] = np.int32(CXI_VERSION)
        file.attrs.update({"default": "entry_1", "creator": "xedm", "creator_version": version("xedm")})
        out = _group(file, "entry_1", "NXentry")
        out.attrs["default"] = "data_1"
        for name in ("title", "start_time", "end_time"):
            out[name] = entry[name].asstr()[()]
        _instrument(out, entry, _detected(shown, entry))
        process = _group(out, "process_1", "NXprocess")
        process["command"] = "xedm export"
        process["version"] = version("xedm")
        if shown.what in ("amplitude", "reconstruction"):
            _image(out, "image_1", map_of(entry, "amplitude"), "diffraction", "amplitude")
            if "reconstruction" in entry:
                _image(out, "image_2", map_of(entry, "reconstruction"), "real", "electron density")

    write_whole(path, fill)


def _detected(shown: Map, entry: h5py.Group) -> Map:
    return map_of(entry, "amplitude") if shown.what == "reconstruction" else shown


def _group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group


def _instrument(out: h5py.Group, entry: h5py.Group, pattern: Map) -> None:
    instrument = _group(out, "instrument_1", "NXinstrument")
    instrument["name"] = "X-ray ensemble diffraction microscope"
    detector = _group(instrument, "detector_1", "NXdetector")
    intensity = pattern.data**2 if pattern.what == "amplitude" else pattern.data
    _map(detector, np.where(pattern.valid, intensity, 0), pattern.valid)
    detector["description"] = entry["instrument/detector/description"].asstr()[()]
    row, col = pattern.center
    detector["beam_center_x"], detector["beam_center_y"] = col, row
    geometry = geometry_of(entry, pattern)
    if geometry is not None:
        source = _group(instrument, "source_1", "NXsource")
        # hc = 1.23984198e-6 eV m
        source["energy"] = 1.23984198e-6 / geometry.wavelength_m * _JOULE_PER_EV
        source["energy"].attrs["units"] = "J"
        beam = _group(instrument, "beam_1", "NXbeam")
        beam["incident_wavelength"] = geometry.wavelength_m
        detector["distance"] = geometry.distance_m
        for name in ("x_pixel_size", "y_pixel_size"):
            detector[name] = geometry.pixel_m
        # From the beam to the corner of the first pixel; x to the left seen from the source, y up, z along the beam.
        corner = np.array([(col + 0.5), (row + 0.5)]) * geometry.pixel_m
        detector["corner_position"] = np.array([corner[0], corner[1], geometry.distance_m])
        detector["basis_vectors"] = np.array([[0.0, -geometry.pixel_m, 0.0], [-geometry.pixel_m, 0.0, 0.0]])
    data = _group(out, "data_1", "NXdata")
    data.attrs.update({"signal": "data", "axes": [".", "."], "interpretation": "image"})
    for name in ("data", "mask"):
        data[name] = h5py.SoftLink(f"/entry_1/instrument_1/detector_1/{name}")


def _image(out: h5py.Group, name: str, shown: Map, space: str, kind: str) -> None:
    image = _group(out, name, "NXdata")
    image.attrs.update({"signal": "data", "axes": [".", "."], "interpretation": "image"})
    _map(image, np.where(shown.valid, shown.data, 0), shown.valid)
    image["data_space"], image["data_type"] = space, kind
    image["dimensionality"] = np.int32(2)
    image["is_fft_shifted"] = np.int32(0)
    row, col = shown.center
    image["image_center"] = np.array([col, row, 0.0])
    if shown.pixel_size_m is not None:
        rows, cols = shown.data.shape
        image["image_size"] = np.array([cols, rows, 0.0]) * shown.pixel_size_m
        image["image_size"].attrs["units"] = "m"
    image["process_1"] = h5py.SoftLink("/entry_1/process_1")
    if space == "diffraction":
        image["detector_1"] = h5py.SoftLink("/entry_1/instrument_1/detector_1")


def _map(group: h5py.Group, data: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    group.create_dataset("data", data=data, compression="gzip", compression_opts=1, shuffle=True)
    mask = np.where(valid, np.uint32(0), np.uint32(PIXEL_IS_MISSING))
    group.create_dataset("mask", data=mask, compression="gzip", compression_opts=1, shuffle=True)
