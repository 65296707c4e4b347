"""Master and data files in the vendor's layout, read back through HDF5's own filters."""

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pytest

from sim.eiger_files import SeriesFiles, file_stem
from sim.wire import encode

SHAPE = (37, 41)
CONFIG = {
    "beam_center_x": 20.5, "beam_center_y": 18.25, "x_pixel_size": 75e-6, "y_pixel_size": 75e-6, "count_time": 60.0,
    "frame_time": 60.1, "bit_depth_image": 32, "bit_depth_readout": 12, "description": "Dectris Eiger 1M",
    "detector_number": "E-1", "detector_readout_time": 3e-6, "sensor_material": "Si", "sensor_thickness": 450e-6,
    "countrate_correction_applied": True, "flatfield_correction_applied": True, "pixel_mask_applied": True,
    "threshold_energy": 4410.0, "detector_distance": 2.08, "countrate_correction_count_cutoff": 1000,
    "x_pixels_in_detector": 41, "y_pixels_in_detector": 37, "nimages": 1, "ntrigger": 5, "photon_energy": 8821.0,
    "compression": "bslz4", "data_collection_date": "2026-01-01T00:00:00", "software_version": "1.6.0",
    "trigger_mode": "ints", "wavelength": 1.4056,
}  # fmt: skip


def frames(dtype, count=5):
    rng = np.random.default_rng(1)
    return rng.poisson(0.5, (count, *SHAPE)).astype(dtype)


def write(folder, stack, compression="bslz4", per_file=2, stem="run_7"):
    mask = np.zeros(SHAPE, np.uint32)
    mask[3] = 1
    files = SeriesFiles(folder, stem, images_per_file=per_file, config=CONFIG, pixel_mask=mask)
    return files, [files.add(encode(frame, compression)) for frame in stack]


@pytest.mark.parametrize("compression", ["bslz4", "lz4"])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_frames_come_back_through_the_master(tmp_path, compression, dtype):
    stack = frames(dtype)
    files, readable = write(tmp_path, stack, compression)
    assert readable == [0, 2, 0, 2, 0]
    assert files.close() == 1
    assert files.master == tmp_path / "run_7_master.h5"
    with h5py.File(files.master) as master:
        links = sorted(master["/entry/data"])
        assert links == ["data_000001", "data_000002", "data_000003"]
        found = [master[f"/entry/data/{name}"] for name in links]
        assert np.array_equal(np.concatenate([one[()] for one in found]), stack)
        numbers = [(int(one.attrs["image_nr_low"]), int(one.attrs["image_nr_high"])) for one in found]
        assert numbers == [(1, 2), (3, 4), (5, 5)]
        assert found[0].chunks == (1, *SHAPE)
        assert found[0].maxshape == (None, *SHAPE)
        assert found[0].dtype == dtype
        filters = found[0].id.get_create_plist()
        assert filters.get_filter(0)[0] == (32008 if compression == "bslz4" else 32004)


def test_stream_blobs_are_stored_unchanged(tmp_path):
    stack = frames(np.uint32, 1)
    files, _ = write(tmp_path, stack)
    files.close()
    with h5py.File(files.paths[0]) as file:
        _, chunk = file["/entry/data/data"].id.read_direct_chunk((0, 0, 0))
    assert bytes(chunk) == encode(stack[0], "bslz4").blob


def test_data_files_appear_whole(tmp_path):
    files, _ = write(tmp_path, frames(np.uint32, 3), per_file=2)
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["run_7_data_000001.h5", "run_7_master.h5"]
    files.close()
    assert (tmp_path / "run_7_data_000002.h5").exists()
    assert not list(tmp_path.glob("*.part"))


def test_master_holds_what_readers_need(tmp_path):
    files, _ = write(tmp_path, frames(np.uint32, 1))
    files.close()
    with h5py.File(files.master) as master:
        detector = master["/entry/instrument/detector"]
        assert detector["beam_center_x"][()] == 20.5
        assert detector["detector_distance"][()] == 2.08
        assert detector["detectorSpecific/countrate_correction_count_cutoff"][()] == 1000
        assert detector["detectorSpecific/ntrigger"][()] == 5
        assert np.array_equal(detector["detectorSpecific/pixel_mask"][3], np.ones(41))
        assert master["/entry/instrument/beam/incident_wavelength"][()] == pytest.approx(1.4056)
        assert master["/entry"].attrs["NX_class"] == "NXentry"
        # links stand even where no file will ever be written
        assert sorted(master["/entry/data"]) == ["data_000001", "data_000002", "data_000003"]
        assert master["/entry/data"].get("data_000003") is None


def test_zero_images_per_file_means_one_file(tmp_path):
    files, _ = write(tmp_path, frames(np.uint32), per_file=0)
    assert files.close() == 5
    assert len(files.paths) == 1


@pytest.mark.parametrize("pattern", ["", "/etc/x_$id", "../x_$id", "a/../../b", "x" * 300])
def test_patterns_that_lead_elsewhere_are_refused(pattern):
    with pytest.raises(ValueError, match="FWNamePattern must be a name"):
        file_stem(pattern, 3)


def test_pattern_takes_the_series():
    assert file_stem("sub/run_$id", 12) == "sub/run_12"
