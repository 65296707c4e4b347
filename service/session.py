"""A Bluesky session: RunEngine, devices, plans and the live result under the names a user types."""

import atexit
import contextlib
import inspect
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from service.ca_repeater import DEFAULT_PORT, LOOPBACK, Repeater
from service.errors import NotReachedError
from service.kept_metadata import KeptMetadata
from service.processes import Running

if TYPE_CHECKING:
    from devices.beamline import Beamline
    from service.config import Settings

_repeaters: list[Repeater] = []


def apply_ca_environment(ports: Sequence[int], repeater_port: int | None = None) -> None:
    """Point this process at Channel Access servers on loopback, and at nothing else.

    Every inherited ``EPICS_CA...`` setting is replaced, so that a simulation can never reach the real beamline. Must
    come before the first PV: the client library reads its settings only once.

    Parameters
    ----------
    ports : sequence of int
        Of the servers.
    repeater_port : int, optional
        Of a running repeater; without one, this process has its own, so that the client library neither starts one nor
        warns that there is none.

    Raises
    ------
    RuntimeError
        When this process has already talked to PVs.
    """
    if _talks_already():
        raise RuntimeError(
            "EPICS settings must be made before the first PV is used, got a session that has PVs already"
        )
    if repeater_port is None:
        _repeaters.append(Repeater())
        repeater_port = _repeaters[-1].port
    for name in [name for name in os.environ if name.startswith("EPICS_CA")]:
        del os.environ[name]
    os.environ["EPICS_CA_ADDR_LIST"] = " ".join(f"{LOOPBACK}:{port}" for port in ports)
    os.environ["EPICS_CA_AUTO_ADDR_LIST"] = "NO"
    os.environ["EPICS_CA_SERVER_PORT"] = str(ports[0])
    os.environ["EPICS_CA_REPEATER_PORT"] = str(repeater_port)
    os.environ["EPICS_CA_MAX_ARRAY_BYTES"] = "10000000"


def _talks_already() -> bool:
    epics = sys.modules.get("epics")
    return epics is not None and any(epics.ca._cache.values())  # noqa: SLF001 - there is no public way to ask


def provide_repeater() -> None:
    """Be the Channel Access repeater of this machine for as long as this process lives, unless there is one."""
    with contextlib.suppress(OSError, ValueError):
        port = int(os.environ.get("EPICS_CA_REPEATER_PORT", DEFAULT_PORT))
        _repeaters.append(Repeater("0.0.0.0", port))  # noqa: S104 - beacons come from everywhere


def point_at(sim: Running, live: Running) -> None:
    """Make this process a client of a simulation and a service that have just said they are ready."""
    apply_ca_environment([sim.ready["ca_server_port"], live.ready["ca_server_port"]])


def build_session(
    names: Mapping[str, Any],
    *,
    metadata: Any = None,
    connect_timeout_s: float = 15.0,
    data_source: Literal["none", "filewriter"] | None = None,
    header_detail: Literal["all", "basic", "none"] | None = None,
    context_managers: list[Any] | None = None,
    log: Path | None = None,
    suspend: bool = False,
) -> dict[str, Any]:
    """Make a RunEngine and the devices, connect, and arrange that leaving the session leaves the detector disarmed.

    Parameters
    ----------
    names : mapping
        PV names, and whatever else the configuration's ``[beamline]`` says, by its keys.
    metadata : mutable mapping, optional
        The RunEngine's; one that is kept between sessions continues its scan numbers.
    connect_timeout_s : float
        For all PVs together.
    data_source, header_detail
        Of the detector, before what `names` says.
    context_managers : list, optional
        Instead of bluesky's handling of Ctrl-C, for programs without a prompt.
    log : Path, optional
        Where the logs of bluesky and ophyd go; an abort alone fills a screen with its traceback.
    suspend : bool
        Suspend runs while the ring has no beam (`plans.beam_loss`).

    Returns
    -------
    dict
        ``RE``, the devices by their names (``stage``, ``eig1m``, ``shutter``, ``attenuator``, ``beam_stop``, ``ring``,
        ``live``), ``beamline``, the plans of `service.scan_plans`, and bluesky's ``bps`` and ``bp``.

    Raises
    ------
    NotReachedError
        When a PV does not answer.
    """
    from bluesky import RunEngine
    from bluesky import plan_stubs as bps
    from bluesky import plans as bp

    from devices.beamline import build_beamline
    from devices.errors import NotConnectedError
    from plans.baseline import baseline
    from plans.beam_loss import SuspendWithoutBeam
    from service.scan_plans import scan_plans

    send_logs_to(log)
    beamline = build_beamline(names, data_source=data_source, header_detail=header_detail)
    try:
        beamline.connect(connect_timeout_s)
    except NotConnectedError as error:
        raise NotReachedError(str(error)) from None
    engine = RunEngine(
        metadata if metadata is not None else {}, context_managers=context_managers, scan_id_source=next_scan_id
    )
    # The last two say which series of the detector a run made, and in which file its result is.
    around = [beamline.ring, beamline.attenuator, beamline.beam_stop, beamline.detector.series, beamline.live.result]
    engine.preprocessors.append(baseline(around))
    if suspend:
        engine.install_suspender(SuspendWithoutBeam(beamline.ring))
    atexit.register(leave_safely, beamline, engine)
    return {
        "RE": engine,
        "beamline": beamline,
        **scan_plans(),
        "bps": bps,
        "bp": bp,
        **beamline.namespace(),
    }


def is_plan(thing: object) -> bool:
    """Whether something of a session is one of our plans."""
    return inspect.isgeneratorfunction(thing) and thing.__module__.startswith("plans.")


def leave_safely(beamline: "Beamline", engine: Any) -> None:
    """Close the shutter, disarm what this session has armed, and end a run that is paused."""
    beamline.make_safe()
    if engine.state == "paused":
        engine.halt()


def end_suspenders(engine: Any) -> None:
    """Have an engine at rest wait for beam no more: the servers may go away, and that is no lost beam."""
    if engine.state == "idle":
        engine.clear_suspenders()


def next_scan_id(metadata: Any) -> int:
    """Return the number of the next scan."""
    if isinstance(metadata, KeptMetadata):
        return metadata.next_scan_id()
    return int(metadata.get("scan_id", 0)) + 1


def send_logs_to(path: Path | None) -> None:
    """Send the logs of bluesky and ophyd to a file, or nowhere; what devices have to say still goes to the person."""
    handler: logging.Handler = logging.NullHandler()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for name in ("bluesky", "ophyd"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False


def close_channels() -> None:
    """Let go of every PV, for the end of a program: then the client library does not complain that servers go away."""
    epics = sys.modules.get("epics")
    if epics is not None:
        epics.ca.finalize_libca()


def quiet_table() -> Any:
    """Bluesky's table of every point, without plots and without the baseline."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from bluesky.callbacks.best_effort import BestEffortCallback

    table = BestEffortCallback()
    table.disable_plots()
    table.disable_baseline()
    return table


def beamline_names(settings: "Settings", **changes: str) -> dict[str, Any]:
    """PV names from the configuration, and what else it says of the hardware.

    Parameters
    ----------
    settings : Settings
    **changes : str
        `detector` as a TPS name (``eig16m``) chooses that detector's records; anything else replaces a name.
    """
    names: dict[str, Any] = settings.beamline.model_dump()
    model = changes.pop("detector", None)
    if model is not None:
        names["detector"] = f"25A:{model.upper()}:cam1:"
    return names | changes
