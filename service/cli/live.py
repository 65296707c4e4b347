"""`xedm live`: the consumer service."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import end_with_input, say, set_up_logging
from service.config import Settings, check_endpoint, load_settings
from service.errors import UsageError
from service.status import ENDED

if TYPE_CHECKING:
    from service.claim import Claim
    from service.live import LiveService
    from service.status import Status


def live(
    config: Annotated[Path | None, typer.Option(help="TOML file with settings")] = None,
    stream: Annotated[str | None, typer.Option(help="tcp://HOST:PORT of the detector (connects PULL)")] = None,
    stream_bind: Annotated[str | None, typer.Option(help="tcp://... to bind PULL instead")] = None,
    output: Annotated[Path | None, typer.Option(help="folder for results; default ./xedm-output")] = None,
    http: Annotated[int | None, typer.Option(help="port of the live page, 0: a free one")] = None,
    once: Annotated[bool, typer.Option(help="end after the first series")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, may be repeated")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line instead of text")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="end when standard input closes")] = False,
) -> None:
    """Receive frames, screen them, keep the exact sum, show it and reconstruct it.

    Prints one JSON line when it is ready. Example: xedm live --stream tcp://127.0.0.1:9999
    """
    settings = live_settings(config, stream, stream_bind, output, http, set_ or [])
    set_up_logging()
    raise typer.Exit(run_live(settings, once=once, as_json=as_json, with_parent=with_parent))


def live_settings(
    config: Path | None, stream: str | None, bind: str | None, output: Path | None, http: int | None, pairs: list[str]
) -> Settings:
    """Join the file and the options; options win.

    Raises
    ------
    UserError
        When something is wrong or no address was given.
    """
    changes: dict[str, object] = {}
    if stream is not None and bind is not None:
        raise UsageError("give either --stream or --stream-bind, not both")
    if stream is not None:
        changes |= {"stream.connect": check_endpoint(stream), "stream.bind": None}
    if bind is not None:
        changes |= {"stream.bind": check_endpoint(bind), "stream.connect": None}
    if output is not None:
        changes["output.directory"] = output
    if http is not None:
        if not 0 <= http <= 65535:
            raise UsageError(f"--http must be a port from 0 to 65535, got {http}")
        changes["http.port"] = http
    settings = load_settings(config, pairs).changed(changes)
    address = settings.stream.bind or settings.stream.connect
    if address is None:
        raise UsageError("no stream to receive: give --stream tcp://HOST:PORT, or stream.connect in the configuration")
    check_endpoint(address)
    return settings


def run_live(settings: Settings, *, once: bool, as_json: bool, with_parent: bool = False) -> int:
    """Run the service until it is told to stop (or one series has ended); return the exit code."""
    from service.audit import keep_audit
    from service.free_memory import keep_level, one_pool
    from service.live import LiveService

    one_pool()
    service = LiveService(settings)
    publishers: list[Any] = []
    end_audit = keep_audit(settings.output.directory)
    stop = threading.Event()
    claims: list[Claim] = []
    try:
        ready = _publish(service, settings, publishers, claims)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        if with_parent:
            threading.Thread(target=end_with_input, args=(stop,), name="parent", daemon=True).start()
        threading.Thread(target=keep_level, args=(stop,), name="memory", daemon=True).start()
        service.start()
        print(json.dumps(ready), flush=True)
        code = _watch(service, stop, once=once)
    finally:
        service.stop()
        status = service.status()
        for publisher in publishers:
            publisher.stop()
        for claim in claims:
            claim.give_back()
        end_audit()
    if as_json:
        print(status.model_dump_json(), flush=True)
    elif once:
        say(_summary(status))
    return code


def _publish(
    service: "LiveService", settings: Settings, publishers: list[Any], claims: "list[Claim]"
) -> dict[str, Any]:
    """Start page, PVs and what watches the ring, as wanted; return the ready line.

    What has been started is in `publishers`, also when something that follows fails.
    """
    from service.pvs import start_pvs
    from service.web import start_web

    ready: dict[str, Any] = {"ready": True, "stream": service.receiver.endpoint}
    if settings.http.enabled:
        token = _token_file(settings.output.directory, claims)
        web = start_web(service, settings.http.port, token)
        publishers.append(web)
        ready |= {"http": web.url, "token_file": str(token.resolve())}
    if settings.pvs.ring_addresses is not None:
        publishers.append(service.watch_ring(settings.pvs.ring_addresses))
    if settings.pvs.enabled:
        pvs = start_pvs(service, settings.pvs.prefix, settings.pvs.port, steering=settings.pvs.steering)
        publishers.append(pvs)
        ready |= {"ca_server_port": pvs.port, "prefix": settings.pvs.prefix}
    return ready


def _token_file(folder: Path, claims: "list[Claim]") -> Path:
    """Return where the token goes: another service in the same folder keeps its own."""
    from service.claim import Claim

    claim = Claim.take(folder / "steering-token")
    if claim is None:
        return folder / f".steering-token-{os.getpid()}"
    claims.append(claim)
    return folder / ".steering-token"


def _watch(service: "LiveService", stop: threading.Event, *, once: bool) -> int:
    """Wait for the end; exit codes as in the contract."""
    patience = service.settings.stream.connect_timeout_s
    begun = time.monotonic()
    while not stop.wait(0.1):
        if not once:
            continue
        status_code = _once_code(service)
        if status_code is not None:
            return status_code
        if service.pipeline.series is None and time.monotonic() - begun > patience:
            sys.stderr.write(
                f"xedm: no series from {service.receiver.endpoint} within {patience:g} s "
                "(stream.connect_timeout_s); is the detector on, armed and streaming there?\n"
            )
            return 4
    return 0


def _once_code(service: "LiveService") -> int | None:
    if not service.ended_series:
        return None
    status = service.status()
    if status.state not in ENDED:
        return None
    if status.degraded:
        return 1
    counts = status.counts
    return 5 if counts.missing or counts.corrupt or status.unresolved or status.state == "failed" else 0


def _summary(status: "Status") -> str:
    counts = ", ".join(f"{name} {value}" for name, value in status.counts.model_dump().items() if value)
    if status.series is None:
        return f"no series came{f', only messages of none: {counts}' if counts else ''}; no file is written"
    return f"series {status.series} {status.state}: {counts or 'no frame'}; {status.result}"
