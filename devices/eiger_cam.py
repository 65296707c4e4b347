"""The Eiger's areaDetector records (ADEiger R3 with the EIGER1 template)."""

import math
from typing import Any

from ophyd import EpicsSignal, EpicsSignalRO
from ophyd.areadetector import EigerDetectorCam
from ophyd.areadetector.base import ADComponent
from ophyd.areadetector.base import EpicsSignalWithRBV as SignalWithRBV

from devices.errors import DetectorError
from devices.waiting import Watch

WRITE_TIMEOUT_S = 10.0

# Enums are written by index: their words differ between releases of the driver.
INTERNAL_SERIES = 0
BITSHUFFLE_LZ4 = 1
DATA_SOURCES = {"none": 0, "filewriter": 1}
HEADER_DETAILS = {"eiger1": {"all": 0, "basic": 1, "none": 2}, "eiger2": {"none": 0, "basic": 1, "all": 2}}


class EigerCam(EigerDetectorCam):
    """ophyd's class without the records that no present driver has, and with those it lacks.

    `FileNumber_Sync`, `FileNumber_write` and `PoolMaxBuffers` are in no R3 template; `TriggerExposure` left with R3-6.
    """

    file_number_sync = None
    file_number_write = None
    pool_max_buffers = None
    trigger_exposure = None

    state = ADComponent(EpicsSignalRO, "State_RBV", string=True, kind="omitted")
    error = ADComponent(EpicsSignalRO, "Error_RBV", string=True, kind="omitted")
    bit_depth = ADComponent(EpicsSignalRO, "BitDepthImage_RBV", kind="config")
    auto_summation = ADComponent(SignalWithRBV, "AutoSummation", kind="omitted")
    pixel_mask_applied = ADComponent(SignalWithRBV, "PixelMaskApplied", kind="config")
    countrate_corr_applied = ADComponent(SignalWithRBV, "CountrateCorrApplied", kind="config")
    stream_hdr_appendix = ADComponent(EpicsSignal, "StreamHdrAppendix", string=True, kind="omitted")
    stream_img_appendix = ADComponent(EpicsSignal, "StreamImgAppendix", string=True, kind="omitted")

    def write(self, signal: Any, value: float | str, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        """Write a setting and wait until the driver's readback agrees.

        The driver clamps what is out of range without a word, so only the readback tells.

        Parameters
        ----------
        signal : ophyd.EpicsSignalWithRBV
        value : float or str
        timeout_s : float
            Wall seconds.

        Raises
        ------
        DetectorError
            When the readback does not agree in time.
        """
        with Watch(readback=signal) as watch:
            signal.put(value)
            if not watch.until(lambda now: _agrees(now["readback"], value), timeout_s):
                raise DetectorError(
                    f"{signal.setpoint_pvname} must become {value!r} within {timeout_s:g} s, got "
                    f"{watch.latest['readback']!r}; the driver clamps values outside its limits"
                )


def _agrees(readback: Any, wanted: float | str) -> bool:
    if readback is None or isinstance(wanted, str) or isinstance(readback, str):
        return bool(readback == wanted)
    return math.isclose(float(readback), float(wanted), rel_tol=1e-3, abs_tol=1e-9)
