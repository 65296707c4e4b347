"""What is exported is read back with another library, and is what the result file holds."""

import json

import fabio
import h5py
import numpy as np
import pytest
from PIL import Image

from service.cli import main
from service.errors import UsageError, UserError
from service.export_maps import export_map
from service.result_view import map_of, opened_entry
from service.store import write_series_file


def wanted(finished, what):
    if what == "amplitude":
        return np.where(finished.imaging.amplitude_valid == 1, finished.imaging.amplitude, -1)
    if what == "reconstruction":
        return finished.imaging.image
    part = finished.accepted if what == "sum" else finished.background
    return np.where(finished.valid == 1, part.data.astype(np.int64), -1)


@pytest.mark.parametrize("what", ["sum", "background", "amplitude", "reconstruction"])
def test_edf_and_tiff_hold_every_number(finished, finished_result, tmp_path, what):
    edf = fabio.open(str(export_map(finished_result, "edf", what, tmp_path)))
    np.testing.assert_array_equal(edf.data, wanted(finished, what))
    assert edf.header["not_measured"] == "-1"
    path = export_map(finished_result, "tiff", what, tmp_path)
    assert path == tmp_path / f"series_9_{what}.tif"
    with Image.open(path) as picture:  # written by tifffile
        np.testing.assert_array_equal(np.asarray(picture), wanted(finished, what))
        told = json.loads(picture.tag_v2[270])
    assert told["title"].startswith(f"{what} of ")
    if what == "sum":
        assert (told["wavelength_m"], told["distance_m"]) == ("1.400000e-10", "2")
        assert edf.data.dtype == np.int32
    if what == "reconstruction":
        assert float(told["pixel_size_m"]) == 4e-9
    if what == "amplitude":
        assert float(told["pixel_size_m"]) == pytest.approx(3 * 75e-6)


def test_counts_beyond_32_bits_stay_exact(finished, tmp_path):
    from dataclasses import replace

    data = finished.accepted.data.copy()
    data[3, 4] = 2**33 + 1
    path = tmp_path / "series_9.nxs"
    write_series_file(path, replace(finished, accepted=replace(finished.accepted, data=data)))
    assert fabio.open(str(export_map(path, "edf"))).data[3, 4] == 2**33 + 1
    assert fabio.open(str(export_map(path, "tiff"))).data[3, 4] == 2**33 + 1


@pytest.mark.parametrize("what", ["sum", "amplitude", "reconstruction"])
def test_a_picture_shows_the_map(finished_result, tmp_path, what):
    with Image.open(export_map(finished_result, "png", what, tmp_path)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert min(pixels.shape[:2]) > 400
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
    assert len(colours) > (100 if what != "reconstruction" else 20), "a colour bar has many colours"


def test_cxi_holds_what_phasing_needs(finished, finished_result, tmp_path):
    path = export_map(finished_result, "cxi", None, tmp_path)
    amplitude, seen = finished.imaging.amplitude, finished.imaging.amplitude_valid == 1
    with h5py.File(path) as file:
        assert file["cxi_version"][()] == 160
        entry = file["entry_1"]
        detector = entry["instrument_1/detector_1"]
        np.testing.assert_allclose(detector["data"][()], np.where(seen, amplitude**2, 0))
        np.testing.assert_array_equal(detector["mask"][()], np.where(seen, 0, 0x200))
        assert entry["data_1/data"] == detector["data"]
        # what a reader computes from these: the pixel of the image
        wavelength = 6.62607015e-34 * 299792458.0 / entry["instrument_1/source_1/energy"][()]
        assert wavelength == pytest.approx(1.4e-10)
        assert detector["distance"][()] == 2.0
        assert detector["x_pixel_size"][()] == pytest.approx(225e-6)
        one, two = entry["image_1"], entry["image_2"]
        np.testing.assert_array_equal(one["data"][()], np.where(seen, amplitude, 0))
        assert (one["data_space"].asstr()[()], one["data_type"].asstr()[()]) == ("diffraction", "amplitude")
        np.testing.assert_array_equal(two["data"][()], finished.imaging.image)
        assert (two["data_space"].asstr()[()], two["data_type"].asstr()[()]) == ("real", "electron density")
        np.testing.assert_allclose(two["image_size"][()], [41 * 4e-9, 41 * 4e-9, 0])
        assert two["mask"][()].max() == one["is_fft_shifted"][()] == 0
        # amplitude and image belong together: one transform leads from the one to the other
        again = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(two["data"][()]))))
        np.testing.assert_allclose(again[seen], one["data"][()][seen], rtol=1e-5, atol=1e-3)


def test_cxi_of_the_sum_holds_the_counts(finished, finished_result, tmp_path):
    with h5py.File(export_map(finished_result, "cxi", "sum", tmp_path)) as file:
        detector = file["entry_1/instrument_1/detector_1"]
        np.testing.assert_array_equal(detector["data"][()], finished.accepted.data)
        assert "image_1" not in file["entry_1"]
        assert (detector["beam_center_y"][()], detector["beam_center_x"][()]) == finished.beam_center
        row, col = 10, 20
        corner, steps = detector["corner_position"][()], detector["basis_vectors"][()]
        place = corner + (row + 0.5) * steps[0] + (col + 0.5) * steps[1]
        assert place == pytest.approx([(58.5 - col) * 75e-6, (66.25 - row) * 75e-6, 2.0])


def test_what_is_not_there_is_a_sentence(finished, finished_result, tmp_path):
    from dataclasses import replace

    bare = tmp_path / "bare.nxs"
    write_series_file(bare, replace(finished, imaging=None))
    with pytest.raises(UserError, match="got reconstruction, and it holds sum, background; for an image: xedm"):
        export_map(bare, "png", "reconstruction")
    with pytest.raises(UsageError, match="--to must be one of png, tiff, edf, cxi, got 'gif'"):
        export_map(bare, "gif")
    with pytest.raises(UsageError, match="--what must be one of sum, background, amplitude, reconstruction, got 'all'"):
        export_map(bare, "png", "all")
    with pytest.raises(UserError, match=r"nothing\.nxs must exist"):
        export_map(tmp_path / "nothing.nxs", "png")
    (tmp_path / "text.nxs").write_text("no HDF5")
    with pytest.raises(UserError, match="cannot be read"):
        export_map(tmp_path / "text.nxs", "png")
    with opened_entry(finished_result) as entry:
        assert map_of(entry, "sum").frames == finished.accepted.frames


def test_the_command_says_where_the_file_is(finished_result, tmp_path, monkeypatch, capsys):
    words = ["xedm", "export", str(finished_result), "--to", "tiff", "--output", str(tmp_path / "new"), "--json"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "new" / "series_9_sum.tif")}
    monkeypatch.setattr("sys.argv", [*words[:4], "csv"])
    with pytest.raises(SystemExit):
        main()
    assert "--to csv needs a file of documents" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*words[:4], "gif"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("xedm: --to must be one of")
