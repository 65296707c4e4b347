"""What the live page fetches beside the events: pieces of arrays, ledger rows, curves and facts."""

import asyncio
import json
from typing import get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.access import Refusal
from service.page_source import NowhereError, PageSource, SightName
from service.web_regions import MOST_SIDE, Piece, Regions, Wanted, pack_rows

SIGHT_NAMES: tuple[SightName, ...] = get_args(SightName)
MOST_ROWS = 20_000
_LARGEST = 1 << 31


class PageRoutes:
    """The addresses behind the page's pictures and charts.

    Parameters
    ----------
    source : PageSource
    """

    def __init__(self, source: PageSource) -> None:
        self._source = source
        self.regions = Regions(source)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/region", self.region),
            Route("/rows", self.rows),
            Route("/curves", self.curves),
            Route("/facts", self.facts),
        ]

    async def region(self, request: Request) -> Response:
        """Answer with values of an array; 204 when there is none, or when the asker has this version already.

        That there is nothing yet is what every run begins with, not a mistake of who asks.
        """
        wanted = _wanted(request)
        try:
            piece = await self.regions.get(wanted)
        except NowhereError as error:
            return _nothing(str(error))
        if piece is None:
            return _nothing(f"there is no {wanted.what} yet; ask again when frames have come")
        if request.query_params.get("have") == str(piece.facts["version"]):
            return Response(status_code=204)
        return _answer(piece)

    async def rows(self, request: Request) -> Response:
        """Answer with rows of the ledger from `first` on."""
        first = _number(request, "first", 0, 0, _LARGEST)
        rows = await asyncio.to_thread(self._source.rows, first, MOST_ROWS)
        if rows is None:
            return _nothing("there is no series yet; ask again when the detector is armed")
        return _answer(await asyncio.to_thread(pack_rows, rows))

    async def curves(self, _: Request) -> Response:
        """Answer with the curves of the newest image."""
        return JSONResponse(await asyncio.to_thread(self._source.curves))

    async def facts(self, _: Request) -> Response:
        """Answer with geometry, disk and newest file."""
        return JSONResponse(await asyncio.to_thread(self._source.facts))


def _answer(piece: Piece) -> Response:
    headers = {"Content-Encoding": "gzip", "X-Facts": json.dumps(piece.facts)}
    return Response(piece.body, media_type="application/octet-stream", headers=headers)


def _nothing(sentence: str) -> Response:
    return Response(status_code=204, headers={"X-Facts": json.dumps({"none": sentence})})


def _wanted(request: Request) -> Wanted:
    what = request.query_params.get("what", "sum")
    if what not in SIGHT_NAMES:
        raise Refusal(status=422, sentence=f"what must be one of {', '.join(SIGHT_NAMES)}, got {what[:40]!r}")
    window = None
    if "rows" in request.query_params:
        window = (
            _number(request, "first_row", 0, 0, _LARGEST),
            _number(request, "first_col", 0, 0, _LARGEST),
            _number(request, "rows", 1, 1, _LARGEST),
            _number(request, "cols", 1, 1, _LARGEST),
        )
    frame = _number(request, "frame", 0, 0, _LARGEST) if what == "frame" else None
    return Wanted(what=what, frame=frame, window=window, side=_number(request, "side", MOST_SIDE, 16, MOST_SIDE))


def _number(request: Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high):
        raise Refusal(status=422, sentence=f"{name} must be a whole number of {low} to {high}, got {text[:40]!r}")
    return int(text)
