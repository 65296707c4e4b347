"""Whether stream, detector API, the service's page and ports can be had, each asked for in a way that takes nothing."""

import contextlib
import errno
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from service.check import Finding, spoken, stopwatch
from service.config import Settings
from service.listen import LOOPBACK

STREAM_PORTS = {9999: "stream v1 (EIGER X, and EIGER2 set to legacy)", 31001: "stream v2 (EIGER2)"}
MAX_ANSWER = 1 << 20


def check_stream(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    """Whether somebody listens where frames shall come from.

    A ZeroMQ PULL socket would be the natural way to ask, and the wrong one: the detector deals its messages out to all
    that pull, so it would take frames from whoever sums them now. A plain TCP connection that is closed at once is
    given none: ZeroMQ adds a receiver only after its handshake.

    Parameters
    ----------
    settings : Settings
    timeout_s : float
        For the connection.

    Yields
    ------
    Finding
    """
    stream = settings.stream
    if stream.bind:
        yield _binds(stream.bind)
        return
    if not stream.connect:
        yield Finding(
            area="stream",
            what="stream.connect",
            state="note",
            said="no address is set",
            do="set stream.connect, or give the address to this command and to xedm live with --stream",
        )
        return
    if not stream.connect.startswith("tcp://"):
        yield Finding(area="stream", what=stream.connect, said="no TCP address, not looked at", state="note")
        return
    host, _, port = stream.connect.removeprefix("tcp://").rpartition(":")
    kind = STREAM_PORTS.get(int(port), "a port of your own choice")
    yield reachable("stream", stream.connect, host.strip("[]"), int(port), timeout_s, f"listens there, {kind}")


def _binds(address: str) -> Finding:
    """Whether the address to bind is free; ours when the service runs already."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not address.startswith("tcp://") or port == "*" or port_is_free(int(port), "" if host == "*" else host):
        return Finding(area="stream", what=address, said="free for xedm live to listen on")
    return Finding(
        area="stream",
        what=address,
        state="note",
        said="somebody listens there",
        do="well if that is xedm live; otherwise set stream.bind to another port",
    )


def reachable(area: str, what: str, host: str, port: int, timeout_s: float, said: str) -> Finding:
    """Open a TCP connection and close it at once; say in words what came of it.

    Parameters
    ----------
    area, what : str
        Of the finding.
    host : str
    port : int
    timeout_s : float
    said : str
        When somebody listens.

    Returns
    -------
    Finding
    """
    said_no, do = "", ""
    with stopwatch() as took:
        try:
            socket.create_connection((host, port), timeout_s).close()
        except socket.gaierror:
            said_no, do = f"no computer is called {host}", "mend the name, or give its number"
        except TimeoutError:
            said_no = f"no answer within {timeout_s:g} s"
            do = f"is {host} switched on and on this network? does a firewall hold port {port}?"
        except ConnectionRefusedError:
            said_no = f"{host} is there, but nobody listens on port {port}"
            do = "switch the detector's stream on, or mend the port"
        except OSError as error:
            said_no, do = f"cannot be reached: {error.strerror or error}", "look at network and address"
    if said_no:
        return Finding(area=area, what=what, state="unreached", said=said_no, do=do, took_s=took[0])
    return Finding(area=area, what=what, said=f"{said}, answered in {spoken(took[0])}", took_s=took[0])


def check_detector_api(address: str | None, timeout_s: float) -> Iterator[Finding]:
    """Ask the detector's SIMPLON API for its version and state; nothing else, and nothing is written.

    Parameters
    ----------
    address : str or None
        ``http://HOST``; None: not looked at.
    timeout_s : float
        For each answer.

    Yields
    ------
    Finding
    """
    if address is None:
        return
    with stopwatch() as took:
        version, problem = _value(f"{address}/detector/api/version", timeout_s)
    if problem:
        yield Finding(
            area="detector API",
            what=address,
            state="unreached",
            said=problem,
            do="is the detector's control unit on, and beamline.detector_api its address?",
            took_s=took[0],
        )
        return
    yield Finding(area="detector API", what=address, said=f"SIMPLON {version}", took_s=took[0])
    state, problem = _value(f"{address}/detector/api/{version}/status/state", timeout_s)
    if state in ("na", "error"):
        do = "initialize the detector" if state == "na" else "see the detector's own page for the error"
        yield Finding(area="detector API", what="status/state", state="wrong", said=str(state), do=do)
    else:
        yield Finding(
            area="detector API", what="status/state", state="note" if problem else "ok", said=problem or str(state)
        )


def _value(url: str, timeout_s: float) -> tuple[Any, str]:
    """The `value` of a SIMPLON answer, or what is wrong."""
    answer, problem = ask_json(url, timeout_s)
    if problem:
        return None, problem
    if not isinstance(answer, dict) or "value" not in answer:
        return None, "an answer that is not SIMPLON's"
    return answer["value"], ""


def ask_json(url: str, timeout_s: float) -> tuple[Any, str]:
    """GET an address; return its JSON and an empty text, or None and what is wrong."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:  # noqa: S310 - checked as http(s) by the settings
            return json.loads(answer.read(MAX_ANSWER)), ""
    except urllib.error.HTTPError as error:
        return None, f"refused with status {error.code}"
    except ValueError:
        return None, "an answer that is no JSON"
    except OSError as error:
        reason = getattr(error, "reason", error)
        return None, f"no answer: {getattr(reason, 'strerror', None) or reason}"


def check_catalog(settings: Settings, environment: Mapping[str, str], timeout_s: float) -> Iterator[Finding]:
    """Ask a Tiled server that is there already what it is; one of the session's own needs no look.

    Parameters
    ----------
    settings : Settings
    environment : mapping of str to str
        Holds the server's key.
    timeout_s : float

    Yields
    ------
    Finding
    """
    catalog = settings.catalog
    if not catalog.enabled or catalog.server is None:
        return
    with stopwatch() as took:
        about, problem = ask_json(f"{catalog.server.rstrip('/')}/api/v1/", timeout_s)
    if problem or not isinstance(about, dict) or "library_version" not in about:
        yield Finding(
            area="catalog",
            what=catalog.server,
            state="unreached",
            said=problem or "an answer that is not Tiled's",
            do="is the server on, and catalog.server its address? runs are kept as files of JSON lines meanwhile",
            took_s=took[0],
        )
        return
    keyed = bool(environment.get(catalog.key_variable))
    yield Finding(
        area="catalog",
        what=catalog.server,
        state="ok" if keyed else "note",
        said=f"Tiled {about['library_version']}, answered in {spoken(took[0])}",
        do="" if keyed else f"put its key into the environment variable {catalog.key_variable}, if it wants one",
        took_s=took[0],
    )


def check_page(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    """Whether the live page is there, or its port free for it.

    Parameters
    ----------
    settings : Settings
    timeout_s : float

    Yields
    ------
    Finding
    """
    port = settings.http.port
    if not settings.http.enabled or port == 0:
        return
    if port_is_free(port):
        yield Finding(area="service", what=f"http.port {port}", said="free; xedm live does not run there now")
        return
    page = f"http://{LOOPBACK}:{port}"
    with stopwatch() as took:
        status, problem = ask_json(f"{page}/status", timeout_s)
    if problem or not isinstance(status, dict) or "balanced" not in status:
        yield Finding(
            area="service",
            what=f"http.port {port}",
            state="wrong",
            said=f"taken by a program that is not xedm live ({problem or 'another answer'})",
            do="stop that program, or set http.port to another",
        )
        return
    said = f"xedm live: {status.get('state')}, series {status.get('series')}"
    if status.get("degraded"):
        said += f", degraded: {'; '.join(map(str, status['degraded']))}"
    yield Finding(
        area="service",
        what=page,
        state="note" if status.get("degraded") else "ok",
        said=said,
        do="see its page" if status.get("degraded") else "",
        took_s=took[0],
    )


def check_pv_port(settings: Settings, *, answers: bool) -> Iterator[Finding]:
    """Whether the port of the service's PVs is its own, or free for it.

    Parameters
    ----------
    settings : Settings
    answers : bool
        Whether the service's PVs answer.

    Yields
    ------
    Finding
    """
    port = settings.pvs.port
    if not settings.pvs.enabled or port == 0 or answers:
        return
    if port_is_free(port):
        yield Finding(area="service", what=f"pvs.port {port}", said="free; xedm live does not run there now")
    else:
        yield Finding(
            area="service",
            what=f"pvs.port {port}",
            state="wrong",
            said=f"taken, and no PV {settings.pvs.prefix}... answers",
            do=f"add {LOOPBACK}:{port} to EPICS_CA_ADDR_LIST, or set pvs.port to another when another program has it",
        )


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now; binds and lets go."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    return True
