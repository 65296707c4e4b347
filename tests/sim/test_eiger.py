"""The IOC runs the sequence of the real driver; here without a network, on a fast clock."""

import asyncio
import json
from contextlib import asynccontextmanager

import numpy as np
import pytest
import zmq
import zmq.asyncio
from caproto import AlarmSeverity

from sim.beamline import Beamline
from sim.eiger import build_detector
from sim.settings import SimSettings
from sim.truth import read_books, sum_of

TIMEOUT_S = 20.0


class Bench:
    """An IOC, a receiver, and the words of a client."""

    def __init__(self, ioc, beamline, pull):
        self.ioc, self.beamline, self.pull = ioc, beamline, pull

    async def put(self, name, value):
        await asyncio.wait_for(self.ioc.board.group.attr_pvdb[name].write(value), TIMEOUT_S)

    async def configure(self, **values):
        for name, value in values.items():
            await self.put(name, value)

    def get(self, name):
        return self.ioc.board.get(name)

    def severity(self, name):
        return self.ioc.board.group.attr_pvdb[name].alarm.severity

    async def until(self, name, value):
        async with asyncio.timeout(TIMEOUT_S):
            while self.get(name) != value:  # noqa: ASYNC110  a client polls
                await asyncio.sleep(0.002)

    async def acquire(self):
        """Start without waiting for the end; returns when armed."""
        self.acquiring = asyncio.create_task(self.put("Acquire", "Acquire"))
        await self.until("Armed", "Armed")

    async def message(self):
        parts = await asyncio.wait_for(self.pull.recv_multipart(), TIMEOUT_S)
        return json.loads(parts[0]), parts

    async def shoot(self):
        await self.put("Trigger", 1)
        first, _ = await self.message()
        assert first["htype"] == "dimage-1.0"
        return first["frame"]


@asynccontextmanager
async def bench(folder, **settings):
    settings = {"speed": 2000.0, "first_injection_s": 1e9, "ring_period_s": 2e9} | settings
    beamline = Beamline(SimSettings(truth=folder / "truth", output=folder / "files", **settings))
    ioc = build_detector(beamline)
    context = zmq.asyncio.Context()
    pull = context.socket(zmq.PULL)
    pull.connect(ioc.stream_endpoint)
    await ioc.start()
    beamline.shutter.command(to_open=True)
    await beamline.clock.sleep(1.0)
    one = Bench(ioc, beamline, pull)
    await one.configure(
        AcquireTime=20.0, AcquirePeriod=20.1, NumTriggers=5, ManualTrigger="Enable", DataSource="None",
        StreamEnable="Enable", StreamHdrDetail="Basic", CompressionAlgo="BS LZ4", FWEnable="Disable",
    )  # fmt: skip
    try:
        yield one
    finally:
        await ioc.close()
        context.destroy(linger=0)


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 60.0))


def test_arm_once_and_trigger_point_by_point(tmp_path):
    async def scenario():
        async with bench(tmp_path) as one:
            await one.acquire()
            assert (one.get("Acquire"), one.get("Acquire_RBV")) == ("Acquire", "Acquiring")
            assert one.get("DetectorState_RBV") == "Acquire"
            assert one.get("StatusMessage_RBV") == "Waiting for manual triggers"
            assert one.get("SequenceId") == 1
            header, parts = await one.message()
            assert header == {"htype": "dheader-1.0", "series": 1, "header_detail": "basic"}
            config = json.loads(parts[1])
            assert config["ntrigger"] == 5
            assert (config["x_pixels_in_detector"], config["y_pixels_in_detector"]) == (1030, 1065)
            assert [await one.shoot() for _ in range(5)] == [0, 1, 2, 3, 4]
            await asyncio.wait_for(one.acquiring, TIMEOUT_S)  # all triggers used: it ends by itself
            assert (await one.message())[0] == {"htype": "dseries_end-1.0", "series": 1}
            assert (one.get("Acquire"), one.get("Armed")) == ("Done", "Unarmed")
            assert (one.get("DetectorState_RBV"), one.get("StatusMessage_RBV")) == ("Idle", "Ready")
            assert one.get("NumImagesCounter_RBV") == 0  # DataSource None: nothing tells the driver
            books = read_books(tmp_path / "truth", 1)
            assert [frame["sent"] for frame in books["frames"]] == [1] * 5

    run(scenario())


def test_frames_on_the_wire_add_up_to_the_truth(tmp_path, wire):
    async def scenario():
        async with bench(tmp_path, faults=("duplicate:1",)) as one:
            await one.acquire()
            await one.message()
            frames = {}
            for x in (-50.0, -20.0, 0.0, 30.0):
                one.beamline.stage.x.move(x)
                await one.beamline.clock.sleep(1.0)
                await one.put("Trigger", 1)
                for _ in range(2 if len(frames) == 1 else 1):
                    first, parts = await one.message()
                    frames[first["frame"]] = wire.decode_bslz4(parts[2], (1065, 1030), "<u4")
            await one.put("Acquire", "Done")
            await one.until("StatusMessage_RBV", "Acquisition aborted")
            stack = np.stack([frames[i] for i in range(4)])
            exact = sum_of(tmp_path / "truth", 1, range(4))
            valid = one.ioc.core.source.valid
            assert np.array_equal(exact.total, np.where(stack < 2**32 - 2, stack, 0).sum(0, dtype=np.uint64) * valid)
            books = read_books(tmp_path / "truth", 1)
            assert [frame["sent"] for frame in books["frames"]] == [1, 2, 1, 1]
            assert [frame["conditions"]["x_um"] for frame in books["frames"]] == [-50.0, -20.0, 0.0, 30.0]
            assert all(frame["conditions"]["open_s"] == 20.0 for frame in books["frames"])

    run(scenario())


def test_triggers_collapse_and_early_ones_are_lost(tmp_path):
    async def scenario():
        async with bench(tmp_path, speed=200.0) as one:
            await one.put("Trigger", 1)  # not armed yet
            await one.acquire()
            await one.message()
            assert not await one.pull.poll(200)
            await one.put("Trigger", 1)
            await one.beamline.clock.sleep(5.0)  # the exposure of 20 s runs
            for _ in range(4):
                await one.put("Trigger", 1)
            numbers = [(await one.message())[0]["frame"] for _ in range(2)]
            assert numbers == [0, 1]
            assert not await one.pull.poll(300)

    run(scenario())


def test_abort_loses_the_running_exposure_and_ends_the_series(tmp_path):
    async def scenario():
        async with bench(tmp_path, speed=100.0) as one:
            await one.acquire()
            await one.message()
            await one.shoot()
            await one.put("Trigger", 1)
            await one.beamline.clock.sleep(5.0)
            await one.put("Acquire", "Done")
            assert one.get("DetectorState_RBV") == "Aborted"
            assert (await one.message())[0] == {"htype": "dseries_end-1.0", "series": 1}
            await asyncio.wait_for(one.acquiring, TIMEOUT_S)
            await one.until("StatusMessage_RBV", "Acquisition aborted")
            assert (one.get("Acquire"), one.get("Acquire_RBV"), one.get("Armed")) == ("Done", "Done", "Unarmed")
            assert len(read_books(tmp_path / "truth", 1)["frames"]) == 1
            await one.acquire()  # and it can be armed again
            assert one.get("SequenceId") == 2
            assert (await one.message())[0]["series"] == 2
            assert await one.shoot() == 0

    run(scenario())


def test_acquire_put_lasts_to_the_end_and_files_move_the_counter(tmp_path):
    async def scenario():
        async with bench(tmp_path) as one:
            await one.configure(
                ManualTrigger="Disable", NumTriggers=3, NumImages=2, FWEnable="Enable", DataSource="FileWriter",
                FWNamePattern="scan_$id", FWNImagesPerFile=4,
            )  # fmt: skip
            start = one.beamline.clock.time()
            await one.put("Acquire", "Acquire")
            assert one.beamline.clock.time() - start >= 6 * 20.0
            await one.until("NumImagesCounter_RBV", 6)
            await one.until("ArrayCounter_RBV", 6)
            names = sorted(path.name for path in (tmp_path / "files").iterdir())
            assert names == ["scan_1_data_000001.h5", "scan_1_data_000002.h5", "scan_1_master.h5"]
            await one.put("FWClear", 1.0)
            assert not list((tmp_path / "files").iterdir())

    run(scenario())


def test_acquiring_anew_in_the_moment_it_shows_done(tmp_path):
    async def scenario():
        async with bench(tmp_path) as one:
            await one.configure(ManualTrigger="Disable", NumTriggers=1)
            post = one.ioc.board.post

            async def slow(name, value):
                await post(name, value)
                if name == "Acquire" and value in (0, "Done"):
                    done.set()
                    await asyncio.sleep(0.05)

            for _ in range(3):
                done = asyncio.Event()
                one.ioc.board.post = slow
                first = asyncio.create_task(one.put("Acquire", "Acquire"))
                await asyncio.wait_for(done.wait(), TIMEOUT_S)
                one.ioc.board.post = post
                await one.put("Acquire", "Acquire")
                await first
            assert one.get("SequenceId") == 6

    run(scenario())


def test_saved_files_go_to_the_file_path(tmp_path):
    async def scenario():
        async with bench(tmp_path) as one:
            await one.configure(
                ManualTrigger="Disable", NumTriggers=1, FWEnable="Enable", SaveFiles="Enable", FilePath="no/where"
            )  # fmt: skip
            await one.put("Acquire", "Acquire")
            assert one.get("FilePathExists_RBV") == "No"
            assert (one.get("DetectorState_RBV"), one.get("StatusMessage_RBV")) == ("Error", "Invalid file path")
            saved = tmp_path / "saved"
            saved.mkdir()
            await one.put("FilePath", str(saved))
            assert one.get("FilePath_RBV") == f"{saved}/"
            await one.put("Acquire", "Acquire")
            assert len(list(saved.iterdir())) == 2

    run(scenario())


@pytest.mark.parametrize(
    ("source", "switch", "message"),
    [
        ("FileWriter", "FWEnable", "FileWriter API is disabled"),
        ("Stream", "StreamEnable", "Stream API is disabled"),
    ],
)
def test_data_source_needs_its_interface(tmp_path, source, switch, message):
    async def scenario():
        async with bench(tmp_path) as one:
            await one.configure(DataSource=source, **{switch: "Disable"})
            await one.put("Acquire", "Acquire")
            assert (one.get("Acquire"), one.get("DetectorState_RBV")) == ("Done", "Error")
            assert one.get("StatusMessage_RBV") == message

    run(scenario())


def test_driver_on_the_stream_takes_every_other_frame(tmp_path):
    async def scenario():
        async with bench(tmp_path) as one:
            await one.configure(DataSource="Stream", ManualTrigger="Disable", NumTriggers=8)
            await one.put("Acquire", "Acquire")
            mine = 0
            while await one.pull.poll(300):
                first, _ = await one.message()
                mine += first["htype"] == "dimage-1.0"
            assert 2 <= mine <= 6
            await one.until("NumImagesCounter_RBV", 8 - mine)

    run(scenario())


def test_settings_are_clamped_and_linked(tmp_path):
    async def scenario():
        async with bench(tmp_path) as one:
            await one.put("AcquireTime", 1e9)
            assert one.get("AcquireTime_RBV") == 3600.0
            assert one.get("AcquirePeriod_RBV") == pytest.approx(3600.000003)
            await one.put("AcquirePeriod", 0.005)
            assert one.get("AcquireTime_RBV") == pytest.approx(0.005 - 3e-6)
            assert (one.get("BitDepthImage_RBV"), one.get("DataType_RBV")) == (16, "UInt16")
            await one.put("AcquireTime", 1.0)
            assert (one.get("BitDepthImage_RBV"), one.get("AcquirePeriod")) == (32, pytest.approx(1.000003))
            await one.put("NumTriggers", 0)
            assert one.get("NumTriggers_RBV") == 1
            await one.put("PhotonEnergy", 10000.0)
            assert one.get("ThresholdEnergy_RBV") == 5000.0
            assert one.get("Wavelength_RBV") == pytest.approx(1.23984, abs=1e-5)
            assert one.get("StatusMessage_RBV") == "Photon Energy set"
            await one.put("PhotonEnergy", 10000.03)  # within EnergyEps
            assert one.get("PhotonEnergy_RBV") == 10000.0
            await one.put("NumImages", 7)
            await one.put("TriggerMode", "Internal Enable")
            assert one.get("NumImages_RBV") == 1
            await one.put("NumImages", 7)
            assert one.get("NumImages_RBV") == 1
            await one.put("TriggerMode", 0)  # by index
            assert one.get("TriggerMode_RBV") == "Internal Series"
            with pytest.raises(ValueError, match="CompressionAlgo must be one of LZ4, BS LZ4"):
                await one.put("CompressionAlgo", "zip")

    run(scenario())


def test_active_states_carry_minor_severity_and_no_other_record_does(tmp_path):
    async def scenario():
        async with bench(tmp_path) as one:
            assert one.severity("Acquire_RBV") == AlarmSeverity.NO_ALARM
            await one.acquire()
            assert one.severity("Acquire_RBV") == AlarmSeverity.MINOR_ALARM
            assert one.severity("StreamEnable_RBV") == AlarmSeverity.MINOR_ALARM
            assert one.severity("AcquireTime_RBV") == AlarmSeverity.NO_ALARM
            await one.put("Acquire", "Done")
            assert one.severity("Acquire_RBV") == AlarmSeverity.NO_ALARM

    run(scenario())


def test_short_exposures_are_16_bit_on_the_wire(tmp_path):
    async def scenario():
        async with bench(tmp_path, speed=50.0) as one:
            await one.configure(AcquireTime=0.005, AcquirePeriod=0.006, CompressionAlgo="LZ4")
            await one.acquire()
            await one.message()
            await one.put("Trigger", 1)
            _, parts = await one.message()
            second = json.loads(parts[1])
            assert (second["type"], second["encoding"]) == ("uint16", "lz4<")

    run(scenario())


def test_bad_file_names_fail_at_arming(tmp_path):
    async def scenario():
        async with bench(tmp_path) as one:
            await one.configure(FWEnable="Enable", FWNamePattern="../$id")
            await one.put("Acquire", "Acquire")
            assert (one.get("DetectorState_RBV"), one.get("StatusMessage_RBV")) == (
                "Error", "Failed to arm the detector",
            )  # fmt: skip
            await one.put("FWNamePattern", "good_$id")
            await one.acquire()

    run(scenario())


def test_two_runs_of_a_seed_give_the_same_truth(tmp_path):
    async def scan(folder):
        async with bench(folder, seed=7) as one:
            await one.acquire()
            await one.message()
            for x in (-60.0, -35.0, 10.0):
                one.beamline.stage.x.move(x)
                await one.beamline.clock.sleep(1.0)
                await one.shoot()
            await one.put("Acquire", "Done")
            await asyncio.wait_for(one.acquiring, TIMEOUT_S)

    run(scan(tmp_path / "a"))
    run(scan(tmp_path / "b"))
    first, second = (read_books(tmp_path / name / "truth", 1) for name in "ab")
    assert first["frames"] == second["frames"]
    a, b = (np.load(tmp_path / name / "truth" / "series_1_sums.npz", allow_pickle=False) for name in "ab")
    assert a.files == b.files
    assert all(np.array_equal(a[name], b[name]) for name in a.files)
