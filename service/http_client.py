"""Requests to a running service, as its own commands and `service.client` send them."""

import json
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from service.errors import NotReachedError, UsageError, UserError
from service.listen import LOOPBACK
from service.status import WhatIf

if TYPE_CHECKING:
    from service.processes import Running

_TIMEOUT_S = 30.0
_SETTLE_S = 300.0
_MAX_ANSWER = 64 << 20


def _check(base: str) -> None:
    parts = urlsplit(base)
    if parts.scheme != "http" or parts.hostname not in (LOOPBACK, "localhost"):
        raise UsageError(
            f"--http must be the address of a service on this machine, http://127.0.0.1:PORT, got {base!r}"
        )


def ask(
    base: str,
    path: str,
    method: str = "GET",
    body: object = None,
    token: str | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> Any:
    """Send a request and return the JSON of the answer.

    Raises
    ------
    UserError
        When the service refuses; its sentence is in it.
    NotReachedError
        When nothing answers.
    """
    return _send(base, path, method, body, token, lambda answer: json.loads(answer.read(_MAX_ANSWER)), timeout_s)


def status_of(live: "Running", timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
    """Ask a service that this process has started for its status.

    Raises
    ------
    NotReachedError
        When it does not answer, with the place of its log.
    """
    try:
        status: dict[str, Any] = ask(live.ready["http"], "/status", timeout_s=timeout_s)
    except UserError as error:
        raise NotReachedError(f"live service must answer: {error} (log: {live.log})") from None
    return status


def fetch(base: str, path: str) -> tuple[bytes, dict[str, Any]]:
    """Ask for values; return their bytes and the facts that describe them, which name under `none` why there are none.

    Raises
    ------
    UserError, NotReachedError
        As `ask`.
    """

    def read(answer: Any) -> tuple[bytes, dict[str, Any]]:
        body = answer.read(_MAX_ANSWER)
        if answer.headers.get("Content-Encoding") == "gzip" and body:
            body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, _MAX_ANSWER)
        return body, json.loads(answer.headers.get("X-Facts") or "{}")

    found: tuple[bytes, dict[str, Any]] = _send(base, path, "GET", None, None, read)
    return found


def _send(
    base: str,
    path: str,
    method: str,
    body: object,
    token: str | None,
    read: Callable[[Any], Any],
    timeout_s: float = _TIMEOUT_S,
) -> Any:
    _check(base)
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base.rstrip("/") + path, data, headers, method=method)  # noqa: S310 - see above
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            return read(answer)
    except urllib.error.HTTPError as error:
        try:
            said = json.loads(error.read(10_000))["error"]
        except (ValueError, KeyError, TypeError):
            said = f"status {error.code}"
        raise UserError(f"the service at {base} refused: {said}") from None
    except (OSError, ValueError, zlib.error) as error:
        raise NotReachedError(f"the service at {base} did not answer: {error}; is xedm live running there?") from None


def ask_what_if(base: str, cases: Sequence[dict[str, object]]) -> list[WhatIf]:
    """Ask what several sets of settings would change."""
    return [WhatIf.model_validate(one) for one in ask(base, "/whatif", "POST", {"cases": list(cases)})["cases"]]


def read_token(token_file: Path) -> str:
    """Read the steering token of a running service.

    Raises
    ------
    UserError
        When the file cannot be read.
    """
    try:
        return token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"token file {token_file} cannot be read: {error}; give the one that xedm live named with --token-file"
        ) from None


def put_settings(base: str, changes: dict[str, object], token_file: Path) -> int:
    """Put settings in force; return their version.

    Raises
    ------
    UserError
        When the token file cannot be read or the service refuses.
    """
    _check(base)
    token = read_token(token_file)
    return int(ask(base, "/settings", "PUT", changes, token)["version"])


def settled_status(base: str, version: int) -> dict[str, Any]:
    """Return the status once a version of the settings is in force and every frame that flips has been read.

    Raises
    ------
    NotReachedError
        When that takes too long.
    """
    deadline = time.monotonic() + _SETTLE_S
    while True:
        status: dict[str, Any] = ask(base, "/status")
        if status["parameters"]["version"] >= version and not status["fetching"]:
            return status
        if time.monotonic() > deadline:
            raise NotReachedError(
                f"{status['fetching']} frames must be read again within {_SETTLE_S:g} s, they are not"
            )
        time.sleep(0.2)
