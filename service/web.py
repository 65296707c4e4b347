"""The live page and the HTTP interface, in a thread of their own on 127.0.0.1."""

import asyncio
import contextlib
import json
import logging
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from service.access import FAULT, Guard, Refusal, SteeringToken, audit, caller, refuse
from service.attempts import MAX_REFUSALS, Attempts
from service.errors import UserError
from service.listen import LOOPBACK, listen_tcp, port_of
from service.metrics_page import CONTENT_TYPE, Metrics
from service.source import LiveSource, PreviewName
from service.web_bodies import cases_of, mark_of, settings_of, text_of
from service.web_connections import PromptProtocol
from service.web_events import MAX_VIEWERS, PREVIEW_NAMES, Feed
from service.web_gallery import Gallery, Hung
from service.web_page import PageRoutes

log = logging.getLogger("xedm.web")

MAX_BODY_BYTES = 64 * 1024
BODY_WITHIN_S = 10.0
START_TIMEOUT_S = 20.0
STATIC = Path(__file__).with_name("static")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class WebServer:
    """A running web server.

    Attributes
    ----------
    url : str
        Address of the page, http://127.0.0.1:PORT.
    port : int
        Its port.
    token_file : Path
        Where the steering token is.
    """

    def __init__(self, source: LiveSource, listener: socket.socket, token: SteeringToken) -> None:
        self.port = port_of(listener)
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.token_file = token.path
        self._token = token
        self._listener = listener
        self._feed = Feed(source)
        self._pages = _Pages(source, token, self._feed)
        app = Guard(_application(self._pages, self._feed))
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=PromptProtocol,
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=2 * MAX_VIEWERS,
                timeout_keep_alive=10,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._run, name="xedm-web", daemon=True)

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the thread and wait until the page answers."""
        self._thread.start()
        deadline = time.monotonic() + timeout_s
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.01)
        if not self._server.started:
            self.stop()
            raise UserError(f"the live page must be up within {timeout_s:g} s, got no answer; see the log")

    def stop(self) -> None:
        """End all streams, close the port and remove the token file; may be called twice."""
        self._feed.end_streams()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._listener.close()
        self._token.remove()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except Exception:
            log.exception("the live page's server ended")


def start_web(source: LiveSource, port: int, token_file: Path) -> WebServer:
    """Serve the live page and the HTTP interface until `stop`.

    Parameters
    ----------
    source : LiveSource
        The running service.
    port : int
        TCP port on 127.0.0.1, 0 for a free one.
    token_file : Path
        Where to put the steering token (mode 0600).

    Raises
    ------
    PortTakenError
        When the port is in use or not allowed.
    UserError
        When the token file cannot be written.
    """
    listener = listen_tcp(port, what="the live page", option="http.port (or --http)")
    try:
        token = SteeringToken(token_file)
    except UserError:
        listener.close()
        raise
    server = WebServer(source, listener, token)
    server.start()
    return server


class _Pages:
    """What each address answers."""

    def __init__(self, source: LiveSource, token: SteeringToken, feed: Feed) -> None:
        self._source = source
        self._token = token
        self._feed = feed
        self._attempts = Attempts()
        self._gallery = Gallery(source)
        self.page_routes = PageRoutes(source.views)
        self._metrics = Metrics(source, viewers=lambda: feed.viewers, renderings=lambda: self._gallery.renderings)
        self._assets = {
            file.name: (file.read_bytes(), TYPES[file.suffix]) for file in STATIC.iterdir() if file.suffix in TYPES
        }

    def routes(self) -> list[Route]:
        return [
            Route("/", self.page),
            Route("/favicon.ico", self.favicon),
            Route("/static/{name}", self.asset),
            Route("/status", self.status),
            Route("/healthz", self.health),
            Route("/metrics", self.metrics),
            Route("/events", self.events),
            Route("/preview.jpg", self.picture),
            Route("/preview.json", self.picture_scale),
            *self.page_routes.routes(),
            Route("/whatif", self.what_if, methods=["POST"]),
            Route("/settings", self.settings, methods=["PUT"]),
            Route("/reconstruct", self.reconstruct, methods=["POST"]),
            Route("/snapshot", self.snapshot, methods=["POST"]),
            Route("/mark", self.mark, methods=["POST"]),
            Route("/notes", self.note, methods=["POST"]),
            Route("/right", self.right),
        ]

    async def page(self, _: Request) -> Response:
        return self._send("index.html")

    async def favicon(self, _: Request) -> Response:
        return self._send("favicon.svg")

    async def asset(self, request: Request) -> Response:
        return self._send(request.path_params["name"])

    def _send(self, name: str) -> Response:
        if name not in self._assets:
            raise Refusal(status=404, sentence="there is no such file; / is the page")
        content, kind = self._assets[name]
        return Response(content, media_type=kind)

    async def status(self, _: Request) -> Response:
        status = await asyncio.to_thread(self._source.status)
        return Response(status.model_dump_json(), media_type="application/json")

    async def health(self, _: Request) -> Response:
        status = await asyncio.to_thread(self._source.status)
        return JSONResponse({"ok": True, "state": status.state, "degraded": status.degraded})

    async def metrics(self, _: Request) -> Response:
        return Response(await asyncio.to_thread(self._metrics.page), headers={"Content-Type": CONTENT_TYPE})

    async def events(self, request: Request) -> Response:
        named = request.query_params.getlist("what")[: len(PREVIEW_NAMES)]
        kinds = [] if named == ["none"] else [_kind_of(name) for name in named] or PREVIEW_NAMES
        if self._feed.viewers >= MAX_VIEWERS:
            raise Refusal(status=503, sentence=f"viewers must be at most {MAX_VIEWERS}, got one more; close a page")
        return StreamingResponse(self._feed.stream(kinds), media_type="text/event-stream")

    async def picture(self, request: Request) -> Response:
        hung = await self._hung(request)
        return Response(hung.picture.jpeg, media_type="image/jpeg")

    async def picture_scale(self, request: Request) -> Response:
        hung = await self._hung(request)
        rows, cols = hung.preview.pixels.shape
        return JSONResponse(
            {
                "version": hung.preview.version,
                "frames": hung.preview.frames,
                "step": hung.preview.step,
                "shape": [rows, cols],
                "log": hung.preview.log,
                "low": hung.picture.low,
                "high": hung.picture.high,
            }
        )

    async def _hung(self, request: Request) -> Hung:
        what = _kind_of(request.query_params.get("what", "sum"))
        hung = await self._gallery.get(what)
        if hung is None:
            raise Refusal(status=404, sentence=f"there is no picture of {what} yet; ask again when frames have come")
        return hung

    async def settings(self, request: Request) -> Response:
        changes = settings_of(await self._steering_body(request))
        version = await _steer(request, changes, lambda who: self._source.change_settings(changes, who))
        return JSONResponse({"version": version})

    async def what_if(self, request: Request) -> Response:
        cases = cases_of(await self._body(request))
        try:
            found = await asyncio.to_thread(self._source.what_if, cases)
        except ValueError as error:
            raise Refusal(status=422, sentence=str(error)) from None
        return JSONResponse({"cases": [one.model_dump(mode="json") for one in found]})

    async def reconstruct(self, request: Request) -> Response:
        await self._steering_body(request)
        await _steer(request, None, self._source.request_reconstruction)
        return JSONResponse({"message": "reconstructing from what is there now"}, status_code=202)

    async def snapshot(self, request: Request) -> Response:
        await self._steering_body(request)
        path = await _steer(request, None, self._source.request_snapshot)
        return JSONResponse({"result": path})

    async def mark(self, request: Request) -> Response:
        frames, out = mark_of(await self._steering_body(request))
        await _steer(request, {"frames": frames, "out": out}, lambda who: self._source.mark(frames, who, out=out))
        return JSONResponse({"frames": frames, "out": out})

    async def note(self, request: Request) -> Response:
        text = text_of(await self._steering_body(request))
        await _steer(request, {"text": text}, lambda who: self._source.write_note(text, who))
        return JSONResponse({"message": "written down"})

    async def right(self, request: Request) -> Response:
        self._check_right(request)
        return Response(status_code=204)

    async def _steering_body(self, request: Request) -> bytes:
        """Check the right to steer before a byte of the body is read."""
        self._check_right(request)
        return await self._body(request)

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise Refusal(
                            status=413, sentence=f"the body must be at most {MAX_BODY_BYTES} bytes; send less"
                        )
        except TimeoutError:
            raise Refusal(
                status=408, sentence=f"the body must come within {BODY_WITHIN_S:g} s; send it again"
            ) from None
        return bytes(body)

    def _check_right(self, request: Request) -> None:
        client = request.client.host if request.client else ""
        try:
            self._token.check(request)
        except Refusal:
            wait_s = self._attempts.pause_s(client)
            if wait_s:
                raise Refusal(
                    status=429,
                    sentence=f"refusals must be at most {MAX_REFUSALS} a minute, got more from {client}; wait "
                    f"{math.ceil(wait_s)} s or send the right token",
                ) from None
            self._attempts.refused(client)
            raise


def _kind_of(what: str) -> PreviewName:
    if what not in PREVIEW_NAMES:
        raise Refusal(status=422, sentence=f"what must be one of {', '.join(PREVIEW_NAMES)}, got {what[:40]!r}")
    return what


async def _steer(request: Request, what: object, act: Callable[[str], object]) -> object:
    """Do it, and leave a line for the audit."""
    who = caller(request)
    try:
        answer = await asyncio.to_thread(act, who)
    except (ValueError, UserError) as error:
        audit.warning("refused %s %s %s: %s", who, request.method, request.url.path, error)
        raise Refusal(status=422, sentence=str(error)) from None
    audit.info("%s %s %s %s", who, request.method, request.url.path, json.dumps(what) if what else "")
    return answer


async def _say_refusal(request: Request, error: Exception) -> Response:
    refusal = cast("Refusal", error)
    if refusal.status in (401, 403, 429):
        audit.warning("refused %s %s %s: %s", caller(request), request.method, request.url.path, refusal.sentence)
    return refuse(refusal.status, refusal.sentence)


async def _say_http(request: Request, error: Exception) -> Response:
    status = cast("HTTPException", error).status_code
    sentences = {
        404: "there is no such address; / is the page, /status the numbers",
        405: f"{request.method} is not what this address takes; see docs/reference/http.md",
    }
    return refuse(status, sentences.get(status, "the request cannot be answered; see docs/reference/http.md"))


async def _say_fault(_: Request, __: Exception) -> Response:
    return refuse(500, FAULT)  # the guard writes the reason into the log


def _application(pages: _Pages, feed: Feed) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        feed.start()
        yield
        await feed.close()

    return Starlette(
        routes=pages.routes(),
        lifespan=lifespan,
        exception_handlers={Refusal: _say_refusal, HTTPException: _say_http, Exception: _say_fault},
    )
