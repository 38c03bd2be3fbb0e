"""The paths of a service."""

from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from comdefend.service.admission import Admission, Held
from comdefend.service.batcher import Batcher
from comdefend.service.description import openapi, page
from comdefend.service.guard import Guard, read_body
from comdefend.service.handling import Answered, Handling
from comdefend.service.images import wanted_format
from comdefend.service.metrics import Metrics
from comdefend.service.refusals import RequestError
from comdefend.service.settings import Settings


class Service:
    """An application of ASGI.

    Args:
        settings: Token and limits.
        metrics: What it tells Prometheus.
        admission: How much it takes on.
        batcher: What computes.
        handling: What becomes of images.

    Attributes:
        stopping: Set by the server: health checks then fail, so that no more requests are sent.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        admission: Admission,
        batcher: Batcher,
        handling: Handling,
    ) -> None:
        self._settings, self._metrics, self._admission = settings, metrics, admission
        self._batcher, self._handling = batcher, handling
        self._openapi = openapi(settings, handling.classifies)
        self.stopping = False

    def app(self) -> ASGIApp:
        """Return what a server runs."""
        routes = [
            Route("/", self._page, methods=["GET"]),
            Route("/openapi.json", self._description, methods=["GET"]),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/metrics", self._figures, methods=["GET"]),
            Route("/purify", self._purify, methods=["POST"]),
        ]
        if self._handling.classifies:
            routes.append(Route("/classify", self._classify, methods=["POST"]))
        guard = Middleware(Guard, settings=self._settings, metrics=self._metrics)
        return Starlette(
            routes=routes, middleware=[guard], exception_handlers={HTTPException: _refuse}
        )

    async def _purify(self, request: Request) -> Response:
        format = wanted_format(request.query_params.get("format", "png"))
        with self._admission.body() as held:
            body = await self._body(request, held)
            return _response(await self._handling.purify(body, format))

    async def _classify(self, request: Request) -> Response:
        with self._admission.body() as held:
            body = await self._body(request, held)
            return _response(await self._handling.classify(body))

    async def _body(self, request: Request, held: Held) -> bytes:
        # Before the body, which would come for nothing.
        self._admission.check()
        return await read_body(request.scope, request.receive, self._settings, held)

    async def _health(self, request: Request) -> Response:
        if self.stopping or not self._batcher.alive:
            return JSONResponse({"status": "stopping"}, HTTPStatus.SERVICE_UNAVAILABLE)
        return JSONResponse({"status": "ok"})

    async def _figures(self, request: Request) -> Response:
        text = generate_latest(self._metrics.registry)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _description(self, request: Request) -> Response:
        return JSONResponse(self._openapi)

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(page(self._openapi))


def _response(answered: Answered) -> Response:
    body, media_type, notes = answered
    headers = {"cache-control": "no-store"}
    if notes:
        headers["comdefend-notes"] = "; ".join(notes).encode("ascii", "replace").decode()
    return Response(body, headers=headers, media_type=media_type)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    refused = RequestError(status, f"{status.phrase.lower()}: GET / lists what there is")
    refused.headers.update(error.headers or {})
    raise refused from error
