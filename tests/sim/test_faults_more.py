"""The faults of whole series, of clocks and of the place do what their sentences say."""

import asyncio
import json
import threading

import numpy as np
import pytest

from sim.beamline import Beamline
from sim.eiger_files import SeriesFiles
from sim.faults import FaultChain
from sim.faults_place import PlaceFaults, place_faults
from sim.settings import SimSettings
from sim.troubles import Troubles
from sim.wire import encode, end_message, header_message, image_message

FRAMES = 8


def series(number=1, detail="all"):
    image = encode(np.random.default_rng(0).poisson(1.0, (24, 32)).astype(np.uint32), "bslz4")
    yield header_message(number, detail, {"nimages": 1}, pixel_mask=np.zeros((24, 32), np.uint32))
    for frame in range(FRAMES):
        yield image_message(number, frame, image, (10**9 * frame, 10**9 * frame + 5, 5))
    yield end_message(number)


def through(*specs, of=(1,)):
    chain = FaultChain(specs, 5)
    return [out for number in of for message in series(number) for out in chain.apply(message)]


def told(messages):
    return [(m.series, m.kind if m.frame is None else m.frame) for m in messages]


WHOLE = [(1, "header"), *[(1, frame) for frame in range(FRAMES)], (1, "end")]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("two-ends", [*WHOLE, (1, "end")]),
        ("end-first:2", [*WHOLE[:7], (1, "end"), (1, 6), (1, 7)]),
        ("replay", WHOLE * 2),
        ("restart:5", [*WHOLE[:6], (1, "header"), *WHOLE[6:]]),
    ],
)
def test_order_of_messages(fault, expected):
    assert told(through(fault)) == expected


def test_the_end_of_an_interleaved_series_comes_among_the_frames_of_the_next():
    messages = told(through("interleave:2", of=(1, 2)))
    assert messages[:8] == [*WHOLE[:7], (2, "header")]
    rest = messages[8:]
    assert [one for one in rest if one[0] == 1] == [(1, 6), (1, 7), (1, "end")]
    assert rest.index((2, 0)) < rest.index((1, "end"))
    assert [one for one in rest if one[0] == 2] == [(2, frame) for frame in range(6)]


def test_a_clock_jumps_forward_and_back():
    for spec, jump in (("clock-jump:60@5", 60), ("clock-jump:-3600.5@5", -3600.5)):
        images = [message for message in through(spec) if message.kind == "image"]
        starts = [json.loads(message.parts[3])["start_time"] for message in images]
        assert starts == [10**9 * frame + (round(jump * 1e9) if frame >= 5 else 0) for frame in range(FRAMES)]
        assert {json.loads(message.parts[3])["real_time"] for message in images} == {5}


def test_the_configuration_comes_alone():
    first, second, *_ = through("lone-config")
    whole = next(series())
    assert first.parts == (whole.parts[0], *whole.parts[2:])
    assert second.parts == (whole.parts[1],)
    chain = FaultChain(["lone-config"])
    bare = next(series(detail="none"))
    assert chain.apply(bare) == [bare]


def test_a_part_of_the_header_is_lost():
    whole = next(series())
    for part in (1, 5):
        (header, *_) = through(f"missing-header-part:{part}")
        assert header.parts == whole.parts[:part] + whole.parts[part + 1 :]


def test_parts_and_blob_headers_of_images():
    whole = next(message for message in series() if message.frame == 3)
    (hit,) = [message for message in through("zero-header:3") if message.frame == 3]
    assert hit.parts[2] == bytes(12) + whole.parts[2][12:]
    torn = [message for message in through("missing-part:1.0") if message.kind == "image"]
    assert {len(message.parts) for message in torn} == {3}


def test_faults_of_the_place_leave_the_stream_alone():
    specs = ["files-full:3", "files-late:2", "ioc-slow", "ioc-death:5@6", "beam-dump:60@2", "motor-stall:7@1"]
    assert told(through(*specs)) == WHOLE
    assert place_faults(["drop:3", *specs]) == PlaceFaults(
        files_full=3,
        files_late_s=2.0,
        ioc_slow_s=2.0,
        ioc_death=(5.0, 6),
        beam_dump=(60.0, 2),
        motor_stall=(7.0, 1),
    )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("end-first:-1", "0 or more"),
        ("missing-header-part:0", "count from 1"),
        ("clock-jump:5", "must look like '-3600@5'"),
        ("files-late:0", "above 0 s"),
        ("ioc-death:5", "must look like '5@5'"),
        ("beam-dump:-3@5", "above 0 s"),
        ("two-ends:3", "takes no argument"),
    ],
)
def test_bad_arguments_are_refused(spec, words):
    with pytest.raises(ValueError, match=words):
        FaultChain([spec])


CONFIG = {
    "nimages": 1, "ntrigger": FRAMES, "wavelength": 1.0, "beam_center_x": 1.0, "beam_center_y": 1.0,
    "x_pixel_size": 75e-6, "y_pixel_size": 75e-6, "count_time": 1.0, "frame_time": 1.0, "bit_depth_image": 32,
    "bit_depth_readout": 12, "description": "", "detector_number": "", "detector_readout_time": 1e-5,
    "sensor_material": "Si", "sensor_thickness": 450e-6, "countrate_correction_applied": 1,
    "flatfield_correction_applied": 1, "pixel_mask_applied": 1, "threshold_energy": 1.0, "detector_distance": 1.0,
    "countrate_correction_count_cutoff": 1, "x_pixels_in_detector": 32, "y_pixels_in_detector": 24,
    "photon_energy": 1.0, "compression": "bslz4", "data_collection_date": "", "software_version": "",
    "trigger_mode": "ints",
}  # fmt: skip


def files_of(folder, **options):
    mask = np.zeros((24, 32), np.uint32)
    return SeriesFiles(folder, "run", images_per_file=3, config=CONFIG, pixel_mask=mask, **options)


def test_on_a_full_disk_the_file_under_way_never_gets_its_name(tmp_path):
    image = encode(np.ones((24, 32), np.uint32), "bslz4")
    files = files_of(tmp_path)
    for _ in range(4):
        files.add(image)
    files.give_up()
    assert files.close() == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["run_data_000001.h5", "run_data_000002.h5.part", "run_master.h5"]


def test_late_files_get_their_names_late(tmp_path):
    image = encode(np.ones((24, 32), np.uint32), "bslz4")
    files = files_of(tmp_path, late_s=0.3)
    assert [files.add(image) for _ in range(3)] == [0, 0, 3]
    assert not (tmp_path / "run_data_000001.h5").exists()
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(10)
    assert (tmp_path / "run_data_000001.h5").exists()


def test_beam_stage_and_iocs_go_at_their_frames_and_come_back():
    async def scenario():
        beamline = Beamline(SimSettings(speed=1000.0))
        said = []

        async def refresh():
            now = beamline.clock.time()
            said.append((beamline.ring.current_ma(now) == 0.0, beamline.stage.x.fault))

        faults = place_faults(["beam-dump:50@3", "motor-stall:200@4", "ioc-death:100@4"])
        troubles = Troubles(faults, beamline, refresh)
        away = []
        troubles.hang_up = away.append
        for frame in range(3):
            troubles.exposed(frame)
        await asyncio.sleep(0)
        assert (said, away) == ([], [])
        troubles.exposed(3)
        await asyncio.sleep(0)
        assert said == [(True, False)]
        troubles.exposed(4)
        await asyncio.sleep(0)
        assert away == [True]
        assert said[-1] == (True, True)
        troubles.exposed(4)  # the same number of the next series
        await asyncio.sleep(0.4)
        assert away == [True, False]
        assert said[-1] == (False, False)
        assert len(said) == 6

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_slow_iocs_complete_puts_late():
    async def scenario():
        beamline = Beamline(SimSettings(speed=10.0))

        class Channel:
            async def write_from_dbr(self, value):
                return value

        channel = Channel()
        troubles = Troubles(place_faults(["ioc-slow:2"]), beamline, lambda: asyncio.sleep(0))
        troubles.slow_down({"PV": channel})
        begun = beamline.clock.time()
        assert await channel.write_from_dbr(3) == 3
        assert beamline.clock.time() - begun >= 2.0

    asyncio.run(asyncio.wait_for(scenario(), 10))
