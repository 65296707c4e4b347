"""Arming and disarming the Eiger: the settings of a step scan and what the driver answers."""

from typing import Literal

from devices.eiger_cam import ON, EigerCam
from devices.errors import DetectorError
from devices.exposure import SeriesPlan
from devices.live_result import LiveResult
from devices.waiting import Watch

DataSource = Literal["none", "filewriter"]
HeaderDetail = Literal["all", "basic", "none"]

ARM_TIMEOUT_S = 120.0
"""What the driver itself allows the detector for arming."""
HEADER_TIMEOUT_S = 30.0
DISARM_TIMEOUT_S = 15.0
DETECTOR_STATE_ERROR = 6


def configure(
    cam: EigerCam,
    plan: SeriesPlan,
    data_source: DataSource,
    header_detail: HeaderDetail,
    *,
    to_files: bool = False,
) -> bool:
    """Set the detector up for one frame a software trigger, all in one series.

    Parameters
    ----------
    cam : EigerCam
    plan : SeriesPlan
    data_source : {"none", "filewriter"}
        Never the stream: the driver would take every other frame from the live service.
    header_detail : {"all", "basic", "none"}
    to_files : bool
        Without the live service: every frame into a file of its own, which the driver counts, and none into the
        stream, where they would wait for a service that knows nothing of points and vetoes.

    Returns
    -------
    bool
        Whether the driver tells when each exposure begins and ends; see `have_exposures_told`.

    Raises
    ------
    DetectorError
        When a setting is refused.
    """
    if cam.acquire.get() or cam.armed.get():
        disarm(cam)
    cam.choose(cam.trigger_mode, "Internal Series")
    cam.write(cam.num_images, 1)
    # A longer count time raises the frame time by itself, a shorter frame time would cut the count time: so this order.
    cam.write(cam.acquire_time, plan.exposure_s)
    cam.write(cam.acquire_period, plan.exposure_s + float(cam.dead_time.get()))
    cam.write(cam.num_triggers, plan.triggers)
    cam.write(cam.manual_trigger, ON)
    tells = have_exposures_told(cam)
    if to_files or data_source == "filewriter":
        cam.write(cam.fw_enable, ON)
    if to_files:
        cam.write(cam.fw_num_images_per_file, 1)
    cam.choose(cam.data_source, "filewriter" if to_files else data_source)
    cam.write(cam.stream_enable, 0 if to_files else ON)
    cam.choose(cam.stream_hdr_detail, header_detail)
    cam.choose(cam.compression_algo, "BS LZ4")
    return tells


def have_exposures_told(cam: EigerCam) -> bool:
    """Have the driver tell when each exposure is over, where it can do that without moving a shutter.

    With ShutterMode at EPICS PV, ADDriver opens ShutterControlEPICS before each software trigger and closes it when the
    detector has answered, which it does at the end of the exposure. Where a shutter is linked to that record, the mode
    becomes None: the driver must not move the shutter as well, and the frame's arrival tells.

    Returns
    -------
    bool
        Whether it tells.

    Raises
    ------
    DetectorError
        When a setting is refused.
    """
    links = (cam.shutter_open_link, cam.shutter_close_link)
    tells = cam.exposing.connected and all(link.connected and not _names_a_pv(str(link.get())) for link in links)
    if tells:
        cam.write(cam.shutter_open_delay, 0.0)
        cam.write(cam.shutter_close_delay, 0.0)
    cam.choose(cam.shutter_mode, "EPICS PV" if tells else "None")
    return tells


def _names_a_pv(link: str) -> bool:
    """Whether an output link goes anywhere; an empty one and a constant do not.

    Examples
    --------
    >>> [_names_a_pv(link) for link in ("", "0", "25A-FS:Cmd PP NMS")]
    [False, False, True]
    """
    try:
        float(link or 0)
    except ValueError:
        return bool(link.strip())
    return False


def arm(cam: EigerCam) -> int:
    """Arm, and return the number of the series that this has begun.

    Raises
    ------
    DetectorError
        When the driver reports an error, or does not arm in time.
    """
    with Watch(armed=cam.armed, state=cam.detector_state) as watch:
        before = watch.updates("state")

        def failed() -> bool:
            return watch.updates("state") > before and watch.latest["state"] == DETECTOR_STATE_ERROR

        cam.acquire.put(1)
        if not watch.until(lambda now: now["armed"] == 1, ARM_TIMEOUT_S, cancelled=failed):
            raise DetectorError(
                f"{cam.prefix} must arm within {ARM_TIMEOUT_S:g} s, got state {cam.detector_state.get()} with message "
                f"{cam.status_message.get()!r}; see the detector's screen"
            )
    return int(cam.sequence_id.get(use_monitor=False))


def await_header(live: LiveResult, series: int) -> None:
    """Wait until the live service has seen the header of a series.

    Raises
    ------
    DetectorError
        When it does not in time.
    """
    with Watch(series=live.series, frame=live.last.frame) as watch:
        # A frame number left over from the last series must not pass for one of this series.
        if not watch.until(lambda now: now["series"] == series and now["frame"] == -1, HEADER_TIMEOUT_S):
            raise DetectorError(
                f"header of series {series} must reach the live service within {HEADER_TIMEOUT_S:g} s, got series "
                f"{watch.latest['series']} there; is it connected to this detector's stream?"
            )


def disarm(cam: EigerCam) -> None:
    """End the series; a frame that is still exposing is dropped.

    Raises
    ------
    DetectorError
        When the driver does not confirm in time.
    """
    with Watch(armed=cam.armed, acquire=cam.acquire) as watch:
        cam.acquire.put(0)
        if not watch.until(lambda now: now["armed"] == 0 and now["acquire"] == 0, DISARM_TIMEOUT_S):
            raise DetectorError(
                f"{cam.prefix} must disarm within {DISARM_TIMEOUT_S:g} s, got Armed {watch.latest['armed']} and "
                f"Acquire {watch.latest['acquire']}; press Stop on the detector's screen"
            )
