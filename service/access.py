"""Who may look and who may steer: the token, the Host and Origin checks, the headers that keep a browser strict."""

import contextlib
import hmac
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse

from service.errors import UserError

audit = logging.getLogger("xedm.audit")
log = logging.getLogger("xedm.web")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FAULT = "the service could not answer; its log has the reason"
LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Refusal(Exception):
    """An answer other than the wanted one: its HTTP status and a sentence for a person."""

    def __init__(self, *, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def refuse(status: int, sentence: str) -> JSONResponse:
    """Return the JSON answer of a refusal: `{"error": sentence}`."""
    headers = {401: {"WWW-Authenticate": 'Bearer realm="steering"'}, 429: {"Retry-After": "60"}}.get(status)
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)


class SteeringToken:
    """The secret that gives the steering right, in a file that only this user can read (mode 0600).

    A new one is made at every start and removed at the end, so an old copy opens nothing.

    Parameters
    ----------
    path : Path
        Where to put it; its folder must exist.

    Raises
    ------
    UserError
        When the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = secrets.token_urlsafe(32)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(self._token + "\n")
            os.replace(aside, path)  # replaces a symbolic link instead of following it
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise UserError(
                f"the token file must be in a folder this user can write to, got {path} ({error.strerror}); "
                "choose another output folder or mend its permissions"
            ) from None

    def check(self, request: Request) -> None:
        """Let a request with the steering right pass.

        Raises
        ------
        Refusal
            401 without a token, 403 with a wrong one.
        """
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise Refusal(
                status=401,
                sentence="steering needs the right to steer; send `Authorization: Bearer TOKEN` with the token from "
                "the service's token file",
            )
        if not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            raise Refusal(
                status=403,
                sentence="the token must be the one of this run of the service, got another; read the token file again",
            )

    def remove(self) -> None:
        """Remove the file, if it still holds this token."""
        with contextlib.suppress(OSError):
            if self.path.read_text().strip() == self._token:
                self.path.unlink()


def caller(request: Request) -> str:
    """Name who asks, for the audit lines."""
    return f"http {request.client.host}:{request.client.port}" if request.client else "http"


class Guard:
    """Refuses what no page of ours would send, and gives every answer its strict headers.

    A foreign page in a user's browser can reach 127.0.0.1. It is stopped by the Host check when it comes under a name
    of its own (DNS rebinding), and by the Origin check when it comes as itself.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, pass on, and turn a fault into a sentence."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError("the live page speaks HTTP only")
        started = False

        async def send_strictly(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            sentence = _foreign(Headers(scope=scope))
            if sentence:
                audit.warning("refused %s %.200r: %s", scope["method"], scope["path"], sentence)
                await refuse(403, sentence)(scope, receive, send_strictly)
            else:
                await self.app(scope, receive, send_strictly)
        except Exception:
            log.exception("answering %s %.200r failed", scope["method"], scope["path"])
            if not started:
                await refuse(500, FAULT)(scope, receive, send_strictly)


def _foreign(headers: Headers) -> str | None:
    """Say why a request cannot come from a page or a tool of this machine, None when it can."""
    host = headers.get("host", "")
    if _name_of(host) not in LOCAL_NAMES:
        return (
            f"Host must be 127.0.0.1 or localhost, got {host[:80]!r}; open the page by the address the service prints"
        )
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return f"Origin must be this page's own address, got {origin[:80]!r}; other pages may not use this service"
    return None


def _name_of(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises on a malformed one
    except ValueError:
        return None
    return parts.hostname if not (parts.username or parts.path or parts.query or parts.fragment) else None
