"""The few requests that our own commands send to a running service."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.errors import NotReachedError, UsageError, UserError
from service.listen import LOOPBACK
from service.status import WhatIf

_TIMEOUT_S = 30.0
_SETTLE_S = 300.0
_MAX_ANSWER = 64 << 20


def _check(base: str) -> None:
    parts = urlsplit(base)
    if parts.scheme != "http" or parts.hostname not in (LOOPBACK, "localhost"):
        raise UsageError(
            f"--http must be the address of a service on this machine, http://127.0.0.1:PORT, got {base!r}"
        )


def _ask(base: str, path: str, method: str = "GET", body: object = None, token: str | None = None) -> Any:
    _check(base)
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base.rstrip("/") + path, data, headers, method=method)  # noqa: S310 - see above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return json.loads(answer.read(_MAX_ANSWER))
    except urllib.error.HTTPError as error:
        try:
            said = json.loads(error.read(10_000))["error"]
        except (ValueError, KeyError, TypeError):
            said = f"status {error.code}"
        raise UserError(f"the service at {base} refused: {said}") from None
    except (OSError, ValueError) as error:
        raise NotReachedError(f"the service at {base} did not answer: {error}; is xedm live running there?") from None


def ask_what_if(base: str, cases: Sequence[dict[str, object]]) -> list[WhatIf]:
    """Ask what several sets of settings would change."""
    return [WhatIf.model_validate(one) for one in _ask(base, "/whatif", "POST", {"cases": list(cases)})["cases"]]


def put_settings(base: str, changes: dict[str, object], token_file: Path) -> int:
    """Put settings in force; return their version.

    Raises
    ------
    UserError
        When the token file cannot be read or the service refuses.
    """
    _check(base)
    try:
        token = token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"token file {token_file} cannot be read: {error}; give the one that xedm live named with --token-file"
        ) from None
    return int(_ask(base, "/settings", "PUT", changes, token)["version"])


def settled_status(base: str, version: int) -> dict[str, Any]:
    """Return the status once a version of the settings is in force and every frame that flips has been read.

    Raises
    ------
    NotReachedError
        When that takes too long.
    """
    deadline = time.monotonic() + _SETTLE_S
    while True:
        status: dict[str, Any] = _ask(base, "/status")
        if status["parameters"]["version"] >= version and not status["fetching"]:
            return status
        if time.monotonic() > deadline:
            raise NotReachedError(
                f"{status['fetching']} frames must be read again within {_SETTLE_S:g} s, they are not"
            )
        time.sleep(0.2)
