"""What the page asks the server: itself, its examples, and a trial, told line by line."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from comdefend.app.choices import Chosen
from comdefend.app.photograph import MAX_MEGABYTES, read_photograph
from comdefend.app.trial import run_trial
from comdefend.app.turns import Event, Turns
from comdefend.app.view import page, result, verdict
from comdefend.data.shipped import photograph_files
from comdefend.errors import ImageError, InputError, out_of_memory

LOOPBACK = ("127.0.0.1", "localhost")
UPLOAD_SECONDS = 60

_HEADERS = {
    # Nothing comes from elsewhere, and no other site may show the page in itself.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def build_site(host: str, turns: Turns) -> Starlette:
    """Return the site, for a server that listens at an address; trials run in these turns."""
    middleware = [Middleware(_Headers)]
    if host in LOOPBACK:
        # A site elsewhere whose name leads here could otherwise use the page.
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK)))

    async def trial(request: Request) -> StreamingResponse | JSONResponse:
        return await _trial(request, turns)

    return Starlette(
        routes=[
            Route("/", _page),
            Route("/examples/{name}", _example),
            Route("/trial", trial, methods=["POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        middleware=middleware,
    )


def _page(request: Request) -> HTMLResponse:
    return HTMLResponse(page())


def _example(request: Request) -> FileResponse:
    files = photograph_files()
    if (name := request.path_params["name"]) not in files:
        raise HTTPException(404)
    return FileResponse(files[name])


async def _trial(request: Request, turns: Turns) -> StreamingResponse | JSONResponse:
    """Answer with a line of JSON for each thing to tell; the photograph is the body."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        return _refused(403, "another site may not ask for this")
    if turns.full:
        return _refused(503, "too many people wait already; come back in some minutes")
    try:
        chosen = _chosen(request.query_params)
        with turns.arriving():
            data = await _body(request)
    except ImageError as error:
        return _refused(413, str(error))
    except InputError as error:
        return _refused(422, str(error))
    except ClientDisconnect:
        return _refused(400, "the photograph did not arrive whole")
    except TimeoutError:
        return _refused(408, f"the photograph did not arrive within {UPLOAD_SECONDS} s")
    return StreamingResponse(_lines(data, chosen, turns), media_type="application/x-ndjson")


def _refused(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status)


def _chosen(query: Mapping[str, str]) -> Chosen:
    try:
        return msgspec.convert(dict(query), Chosen, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(str(error)) from error


async def _body(request: Request) -> bytes:
    data = bytearray()
    async with asyncio.timeout(UPLOAD_SECONDS):
        async for part in request.stream():
            data += part
            if len(data) > MAX_MEGABYTES * 2**20:
                raise ImageError(f"the photograph is larger than {MAX_MEGABYTES} MB")
    return bytes(data)


async def _lines(data: bytes, chosen: Chosen, turns: Turns) -> AsyncIterator[bytes]:
    try:
        async with aclosing(turns.place()) as places:
            async for before in places:
                yield _line(waiting=before)
    except InputError as error:
        yield _line(error=str(error))
        return

    def work(report: Callable[[Event], None], stopped: Callable[[], bool]) -> None:
        def tell(doing: str, done: int, steps: int) -> None:
            report({"doing": doing, "done": done, "steps": steps})

        try:
            for trial in run_trial(read_photograph(data), chosen, tell, stopped):
                report({"verdict": verdict(trial), "result": result(trial)})
        except Exception as error:
            if out_of_memory(error):
                raise InputError("needs more memory than there is; try later") from error
            raise

    async with aclosing(turns.run(work)) as events:
        async for event in events:
            yield _line(**event)


def _line(**values: Any) -> bytes:
    return msgspec.json.encode(values) + b"\n"


class _Headers:
    """Adds the headers above to every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, with_headers)
