"""What a session says of itself, and what live.plot() draws."""

import subprocess
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure

from devices.errors import LiveServiceError
from processing.frame import CATEGORY_NAMES
from service.documents import ScanProgress
from service.figures.live import draw_live, picture_of, show
from service.live_plot import LivePlotter
from service.overview import Overview
from service.prompt import MoveBars

FRAMES = {**dict.fromkeys(CATEGORY_NAMES, 0), "accepted": 12, "gated": 3}


def overview():
    plans = ["ensemble_scan", "survey", "adaptive_scan", "find_direct_beam", "background_scan"]
    devices = ["stage", "eig16m", "shutter", "attenuator", "beam_stop", "ring", "live"]
    return Overview(detector="eig16m", plans=plans, devices=devices, output="/data/" + "long/" * 40)


def test_help_fits_a_screen_and_explains_things(capsys):
    text = repr(overview())
    lines = text.splitlines()
    assert len(lines) <= 22, "the prompt stands below"
    assert max(map(len, lines)) <= 80
    for word in (
        "ensemble_scan([eig16m, live]",
        "survey",
        "find_direct_beam",
        "live.plot()",
        "%wa",
        "cat[-1]",
        "RE.abort",
    ):
        assert word in text
    overview()()
    assert capsys.readouterr().out == text + "\n"
    overview()(show)
    assert "Draw a picture where the person sees it" in capsys.readouterr().out


@pytest.fixture
def result(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "series_5.nxs"
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry["sum/data"] = rng.poisson(3.0, (400, 500)).astype(np.uint64)
        valid = np.ones((400, 500), np.uint8)
        valid[200:210] = 0
        entry["sum/valid"] = valid
        entry["sum/frames"] = np.uint64(12)
        detector = entry.create_group("instrument/detector")
        facts = {"distance": 2.08, "x_pixel_size": 75e-6, "beam_center_x": 249.5, "beam_center_y": 199.5}
        for name, value in facts.items():
            detector[name] = value
        entry["instrument/beam/incident_wavelength"] = 1.40556e-10
    return path


def test_the_figure_shows_the_sum_rings_of_q_and_the_counts(result):
    figure = Figure()
    draw_live(figure, picture_of(result, "series 5, receiving", FRAMES))
    pattern, counts, bar = figure.axes
    assert pattern.get_title(loc="left") == "series 5, receiving\nsum of 12 frames"
    (image,) = pattern.get_images()
    assert image.get_array().shape == (400, 500)
    assert np.isnan(np.asarray(image.get_array().filled(np.nan))[205]).all()
    assert bar.get_ylabel() == "counts / pixel"
    for ring, said in zip(pattern.get_lines(), pattern.texts, strict=False):
        column = ring.get_xdata()[0]
        radius = (column - 249.5) * 75e-6
        theta = 0.5 * np.arctan(radius / 2.08)
        q = 4 * np.pi / 0.140556 * np.sin(theta)
        assert q == pytest.approx(float(said.get_text()), rel=1e-6)
    assert 2 <= len(pattern.get_lines()) <= 5
    bars = {
        label.get_text(): patch.get_width()
        for label, patch in zip(counts.get_yticklabels(), counts.patches, strict=True)
    }
    assert bars["accepted"] == 12
    assert bars["gated"] == 3
    assert "corrupt" not in bars


def test_without_a_display_the_figure_is_a_file(result, tmp_path, capsys):
    live = fake_live(result)
    assert isinstance(LivePlotter(tmp_path)(live), Figure)
    assert capsys.readouterr().out == f"no display here: the figure is in {tmp_path / 'live.png'}\n"
    assert (tmp_path / "live.png").stat().st_size > 10_000


def test_before_the_first_file_the_preview_is_drawn(tmp_path):
    figure = LivePlotter(tmp_path)(fake_live(tmp_path / "none.nxs"))
    (image,) = figure.axes[0].get_images()
    assert image.get_array().shape == (20, 30)


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(LiveServiceError, match="a series must have begun before there is a sum to draw"):
        LivePlotter(tmp_path)(fake_live(tmp_path / "none.nxs", series=-1))
    with pytest.raises(LiveServiceError, match="a frame must have been accepted before there is a sum"):
        LivePlotter(tmp_path)(fake_live(tmp_path / "none.nxs", height=0))


def fake_live(result, series=5, height=20):
    def signal(value):
        return SimpleNamespace(get=lambda **_: value)

    return SimpleNamespace(
        series=signal(series),
        state=signal("receiving"),
        result=signal(str(result)),
        frames=SimpleNamespace(**{name: signal(number) for name, number in FRAMES.items()}),
        preview=signal(np.arange(65536).astype(np.uint8)),
        preview_width=signal(30),
        preview_height=signal(height),
    )


def test_a_session_starts_without_what_only_the_catalogue_needs():
    program = """
import sys
import service.catalog.client, service.prompt, service.live_plot, devices.beamline, plans.ensemble_scan
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky import RunEngine, magics
BestEffortCallback()
print([name for name in ("tiled", "pandas", "dask", "xarray", "pyarrow", "httpx") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "[]\n"


def test_bars_of_moves_show_outside_of_runs_only():
    engine, shown = SimpleNamespace(_run_bundlers={}), []
    bars = MoveBars(engine)
    bars._bars = shown.append
    bars(["moving"])
    bars(None)
    engine._run_bundlers["run"] = object()
    bars(["moving"])
    bars(None)
    assert shown == [["moving"], None]


def test_the_scans_bar_rests_while_the_engine_is_paused():
    progress, calls = ScanProgress(), []
    progress._progress = SimpleNamespace(start=lambda: calls.append("start"), stop=lambda: calls.append("stop"))
    progress.state_changed("paused", "running")
    progress.state_changed("running", "paused")
    assert calls == ["stop", "start"]
