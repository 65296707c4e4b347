"""The Eiger's areaDetector records: ADEiger R2-7 to R3-6, with the templates of EIGER1 and EIGER2."""

import logging
import math
import time
from typing import Any

from ophyd import EpicsSignal, EpicsSignalRO, Kind, do_not_wait_for_lazy_connection
from ophyd.areadetector import EigerDetectorCam
from ophyd.areadetector.base import ADComponent
from ophyd.areadetector.base import EpicsSignalWithRBV as SignalWithRBV

from devices.errors import DetectorError
from devices.waiting import Watch

logger = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 10.0
OPTIONAL_TIMEOUT_S = 2.0
"""For records that a release may lack, once those of the same IOC that all releases have are there."""
OPTIONAL = (
    "bit_depth",
    "auto_summation",
    "pixel_mask_applied",
    "countrate_corr_applied",
    "state",
    "error",
    "driver_version",
    "exposing",
    "shutter_open_link",
    "shutter_close_link",
)
"""Records that came with R3-0, and those that only tell more."""

# Switches are written by index: R2 calls their states No and Yes, R3 Disable and Enable. Where the order differs, the
# index is looked up by the word: EIGER1 has All, Basic, None and LZ4, BS LZ4; EIGER2 None, Basic, All and BSLZ4, LZ4.
ON = 1


def plain(word: str) -> str:
    """A state's word without what releases disagree about.

    Examples
    --------
    >>> plain("BS LZ4"), plain("BSLZ4")
    ('bslz4', 'bslz4')
    """
    return "".join(letter for letter in word.lower() if letter.isalnum())


class EigerCam(EigerDetectorCam):
    """ophyd's class without the records that no present driver has, and with those it lacks.

    `FileNumber_Sync`, `FileNumber_write` and `PoolMaxBuffers` are in no R3 template; `TriggerExposure` left with R3-6.
    Records that an older release does not have yet are left out of the configuration, see `leave_out_absent`.
    """

    _default_configuration_attrs = (
        *EigerDetectorCam._default_configuration_attrs,  # noqa: SLF001 - how ophyd wants it
        "bit_depth",
        "pixel_mask_applied",
        "countrate_corr_applied",
    )

    file_number_sync = None
    file_number_write = None
    pool_max_buffers = None
    trigger_exposure = None

    state = ADComponent(EpicsSignalRO, "State_RBV", string=True, kind="omitted")
    error = ADComponent(EpicsSignalRO, "Error_RBV", string=True, kind="omitted")
    driver_version = ADComponent(EpicsSignalRO, "DriverVersion_RBV", string=True, kind="omitted")
    bit_depth = ADComponent(EpicsSignalRO, "BitDepthImage_RBV", kind="config")
    auto_summation = ADComponent(SignalWithRBV, "AutoSummation", kind="omitted")
    pixel_mask_applied = ADComponent(SignalWithRBV, "PixelMaskApplied", kind="config")
    countrate_corr_applied = ADComponent(SignalWithRBV, "CountrateCorrApplied", kind="config")
    exposing = ADComponent(EpicsSignalRO, "ShutterControlEPICS", auto_monitor=True, kind="omitted")
    shutter_open_link = ADComponent(EpicsSignalRO, "ShutterOpenEPICS.OUT", string=True, kind="omitted")
    shutter_close_link = ADComponent(EpicsSignalRO, "ShutterCloseEPICS.OUT", string=True, kind="omitted")
    stream_hdr_appendix = ADComponent(EpicsSignal, "StreamHdrAppendix", string=True, kind="omitted")
    stream_img_appendix = ADComponent(EpicsSignal, "StreamImgAppendix", string=True, kind="omitted")

    def leave_out_absent(self, timeout_s: float = OPTIONAL_TIMEOUT_S) -> tuple[str, ...]:
        """Find out which optional records this IOC does not have, and read the configuration without them.

        To be called when the records that every release has are connected.

        Parameters
        ----------
        timeout_s : float
            Wall seconds; much longer than an IOC takes that has just answered for its other records.

        Returns
        -------
        tuple of str
            The attributes that are absent.
        """
        with do_not_wait_for_lazy_connection(self):
            signals = {name: getattr(self, name) for name in OPTIONAL}
        deadline = time.monotonic() + timeout_s
        while not all(signal.connected for signal in signals.values()) and time.monotonic() < deadline:
            time.sleep(0.02)
        absent = tuple(name for name, signal in signals.items() if not signal.connected)
        for name in absent:
            signals[name].kind = Kind.omitted
        if absent:
            logger.info("%s has no %s", self.prefix, ", ".join(signals[name].pvname for name in absent))
        return absent

    def choose(self, signal: Any, word: str) -> None:
        """Write the state of an enum that has this word, in whatever order the IOC's template has them.

        Parameters
        ----------
        signal : ophyd.EpicsSignalWithRBV
        word : str
            Case, spaces and signs do not matter.

        Raises
        ------
        DetectorError
            When the record has no such state, or the readback does not agree in time.
        """
        states = [str(state) for state in signal.enum_strs or ()]
        found = [index for index, state in enumerate(states) if plain(state) == plain(word)]
        if not found:
            raise DetectorError(
                f"{signal.setpoint_pvname} must have a state {word!r}, got {', '.join(map(repr, states)) or 'no enum'};"
                " is this an ADEiger from R2-7 to R3-6?"
            )
        self.write(signal, found[0])

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
