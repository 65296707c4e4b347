"""What the driver does when a setting is written: linked times, energies, modes and paths."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

from sim.detector import READOUT_TIME_S, Geometry, count_cutoff, pixel_type
from sim.eiger_board import Board
from sim.eiger_core import Arm

EV_ANGSTROM = 12398.4198
_AXES = {"chi": "Chi", "kappa": "Kappa", "omega": "Omega", "phi": "Phi", "two_theta": "TwoTheta"}


class Settings:
    """Handlers of the detector's configuration records.

    Parameters
    ----------
    board
        The records; the handlers register themselves there.
    geometry
        Of the detector.
    """

    def __init__(self, board: Board, geometry: Geometry) -> None:
        self._board, self._geometry = board, geometry
        board.handlers |= {
            "AcquireTime": self._acquire_time,
            "AcquirePeriod": self._acquire_period,
            "PhotonEnergy": self._photon_energy,
            "ThresholdEnergy": self._threshold_energy,
            "Wavelength": self._wavelength,
            "TriggerMode": self._trigger_mode,
            "NumImages": self._num_images,
            "ROIMode": self._roi_mode,
            "FilePath": self._file_path,
            "StreamEnable": lambda value: self._switch_state("StreamState_RBV", value),
            "FWEnable": lambda value: self._switch_state("FWState_RBV", value),
        }

    def arm_request(self) -> Arm:
        """What the detector is armed with."""
        get, enabled = self._board.get, self._board.enabled
        enable = self._board.get("TriggerMode_RBV") in ("Internal Enable", "External Enable")
        external = self._board.get("TriggerMode_RBV").startswith("External")
        return Arm(
            count_time=float(get("AcquireTime_RBV")),
            frame_time=float(get("AcquirePeriod_RBV")),
            nimages=int(get("NumImages_RBV")),
            ntrigger=int(get("NumTriggers_RBV")),
            trigger_mode=("ext" if external else "int") + ("e" if enable else "s"),
            photon_energy=float(get("PhotonEnergy_RBV")),
            threshold_energy=float(get("ThresholdEnergy_RBV")),
            wavelength=float(get("Wavelength_RBV")),
            beam_center_x=float(get("BeamX_RBV")),
            beam_center_y=float(get("BeamY_RBV")),
            detector_distance=float(get("DetDist_RBV")),
            compression="bslz4" if self._board.index("CompressionAlgo_RBV") == 1 else "lz4",
            goniometer={
                f"{key}_{word}": float(get(f"{name}{suffix}_RBV"))
                for key, name in _AXES.items()
                for word, suffix in (("start", "Start"), ("increment", "Incr"))
            },
            stream=enabled("StreamEnable"),
            header_detail=("all", "basic", "none")[self._board.index("StreamHdrDetail_RBV")],
            header_appendix=str(get("StreamHdrAppendix")),
            image_appendix=str(get("StreamImgAppendix")),
            filewriter=enabled("FWEnable"),
            name_pattern=str(get("FWNamePattern_RBV")),
            nimages_per_file=int(get("FWNImagesPerFile_RBV")),
        )

    async def _acquire_time(self, seconds: float) -> float:
        """A longer exposure raises the period."""
        if self._board.get("AcquirePeriod_RBV") < seconds + READOUT_TIME_S:
            await self._board.both("AcquirePeriod", seconds + READOUT_TIME_S)
        await self._pixel_type_follows(seconds)
        return seconds

    async def _acquire_period(self, seconds: float) -> float:
        """A shorter period lowers the exposure."""
        longest = seconds - READOUT_TIME_S
        if self._board.get("AcquireTime_RBV") > longest:
            await self._board.both("AcquireTime", longest)
            await self._pixel_type_follows(longest)
        return seconds

    async def _pixel_type_follows(self, seconds: float) -> None:
        size = pixel_type(seconds).itemsize
        rows, cols = self._geometry.shape
        await self._board.post("BitDepthImage_RBV", 8 * size)
        await self._board.post("CountCutoff_RBV", float(count_cutoff(seconds)))
        await self._board.post("DataType_RBV", "UInt32" if size == 4 else "UInt16")
        await self._board.post("ArraySize_RBV", size * rows * cols)

    async def _photon_energy(self, energy_ev: float) -> float:
        """Also sets the threshold to half of it; changes within EnergyEps are ignored."""
        before = float(self._board.get("PhotonEnergy_RBV"))
        if abs(energy_ev - before) <= self._board.get("EnergyEps_RBV"):
            return before
        await self._board.post("StatusMessage_RBV", "Setting Photon Energy...")
        await self._board.both("ThresholdEnergy", 0.5 * energy_ev)
        await self._board.both("Wavelength", EV_ANGSTROM / energy_ev)
        await self._board.post("StatusMessage_RBV", "Photon Energy set")
        return energy_ev

    async def _threshold_energy(self, energy_ev: float) -> float:
        before = float(self._board.get("ThresholdEnergy_RBV"))
        if abs(energy_ev - before) <= self._board.get("EnergyEps_RBV"):
            return before
        await self._board.post("StatusMessage_RBV", "Threshold Energy set")
        return energy_ev

    async def _wavelength(self, angstrom: float) -> float:
        """Equivalent to setting the photon energy."""
        before = float(self._board.get("Wavelength_RBV"))
        if abs(angstrom - before) <= self._board.get("WavelengthEps_RBV"):
            return before
        await self._board.both("PhotonEnergy", EV_ANGSTROM / angstrom)
        await self._board.both("ThresholdEnergy", 0.5 * EV_ANGSTROM / angstrom)
        await self._board.post("StatusMessage_RBV", "Wavelength set")
        return angstrom

    async def _trigger_mode(self, mode: str) -> str:
        if mode.endswith("Enable"):
            await self._board.both("NumImages", 1)
        return mode

    async def _num_images(self, number: int) -> int:
        return 1 if str(self._board.get("TriggerMode_RBV")).endswith("Enable") else number

    async def _roi_mode(self, _mode: str) -> str:
        """The readout of a part of the detector is not simulated."""
        await self._board.post("StatusMessage_RBV", "ROI mode 4M is not available on this detector")
        return "Disable"

    async def _file_path(self, path: str) -> str:
        """Gets a trailing slash, as every areaDetector path does."""
        if path and not path.endswith("/"):
            path += "/"
        exists = await asyncio.to_thread(os.path.isdir, path)
        await self._board.post("FilePathExists_RBV", int(exists))
        return path

    async def _switch_state(self, record: str, value: str) -> str:
        await self._board.post(record, "ready" if value == "Enable" else "disabled")
        return value


def free_gigabytes(folder: Path) -> float:
    """Free space where the files go, GB; of the nearest existing folder."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9


def first_state(board: Board, folder: Path) -> dict[str, Any]:
    """Readbacks that depend on the machine and on the first value of other records."""
    return {
        "FWFree_RBV": free_gigabytes(folder),
        "FWState_RBV": "ready" if board.enabled("FWEnable") else "disabled",
        "StreamState_RBV": "ready" if board.enabled("StreamEnable") else "disabled",
    }
