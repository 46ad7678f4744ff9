"""The web application: routes, checks that all requests pass, errors as clients expect them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from deepspeech.errors import InputError
from deepspeech.serving import openai_http, original, realtime, vosk
from deepspeech.serving.engine import AbandonedError
from deepspeech.serving.recordings import TooLongError
from deepspeech.serving.service import Service, ServiceError, shutting_down

STATIC = Path(__file__).with_name("static")
POLICY = (  # the page needs nothing from elsewhere; the waveform sets styles
    "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)
PROTOCOLS = "v1", "transcribe", "health", "metrics", "static"  # first parts of paths, as counted
BAD_DATA, TRY_AGAIN, TOO_MUCH = 1007, 1013, 1008  # codes of websockets
_log = logging.getLogger("deepspeech.requests")
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a fault of the client, who gets the reason

Handler = Callable[[Service, Request], Awaitable[Response]]


def make_app(service: Service) -> Any:
    """The application of a service, for an ASGI server."""

    def answered(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            service.authorize(request)
            return await handler(service, request)

        return endpoint

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def health(request: Request) -> Response:
        ready = request.url.path == "/health/live" or not service.draining.is_set()
        return JSONResponse({"status": "ok" if ready else "draining"}, 200 if ready else 503)

    async def metrics(service: Service, request: Request) -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    def stream(
        serve: Callable[[Service, WebSocket], Awaitable[None]],
    ) -> Callable[[WebSocket], Awaitable[None]]:
        async def endpoint(socket: WebSocket) -> None:
            await _run_stream(service, socket, serve)

        return endpoint

    routes = [
        Route("/", page),
        Route("/health/live", health),
        Route("/health/ready", health),
        Route("/metrics", answered(metrics)),
        Route("/v1/models", answered(openai_http.models)),
        Route("/v1/models/{name:path}", answered(openai_http.model)),
        Route("/v1/audio/transcriptions", answered(openai_http.transcribe), methods=["POST"]),
        Route("/transcribe", answered(original.transcribe), methods=["POST"]),
        WebSocketRoute("/", stream(vosk.serve)),
        WebSocketRoute("/v1/realtime", stream(realtime.serve)),
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
    ]
    handlers = {
        ServiceError: _service_error, InputError: _input_error, HTTPException: _http_error,
        ClientDisconnect: _gone, TimeoutError: _slow, Exception: _unexpected,
    }  # fmt: skip
    app: Any = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
    if service.config.origin:
        app = CORSMiddleware(
            app, allow_origins=list(service.config.origin), allow_methods=["*"], allow_headers=["*"]
        )
    return RequestLog(app, service)


async def _run_stream(
    service: Service, socket: WebSocket, serve: Callable[[Service, WebSocket], Awaitable[None]]
) -> None:
    """Accept a websocket if it may come in, serve it, and close it with the reason."""
    try:
        _check_origin(service, socket)
        service.authorize(socket)
        service.engine(socket.query_params.get("model"))  # refused before the socket is open
        with service.admitted("streams"):
            protocols = socket.scope.get("subprotocols") or []
            await socket.accept("realtime" if "realtime" in protocols else None)
            try:
                await serve(service, socket)
                await socket.close()
            except InputError as error:
                await socket.close(BAD_DATA, str(error)[:120])
            except TimeoutError:
                await socket.close(TOO_MUCH, "nothing came for too long")
            except AbandonedError:
                await socket.close(TRY_AGAIN, "the server is shutting down")
    except ServiceError as error:
        await socket.send_denial_response(_body(error))
    except (WebSocketDisconnect, RuntimeError):  # the client is gone, also while something was sent
        pass


def _check_origin(service: Service, socket: WebSocket) -> None:
    """A page of another site must not use its visitor's server.

    Raises:
        ServiceError: It is such a page.
    """
    origin = socket.headers.get("origin")
    if (
        origin
        and urlsplit(origin).netloc != socket.headers.get("host")
        and origin not in service.config.origin
    ):
        raise ServiceError(403, "Pages of this origin may not use the server; see --origin", code="origin")


class RequestLog:
    """Gives each request an id, counts it, and logs it without its content."""

    def __init__(self, app: Any, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, number = time.monotonic(), 500, uuid.uuid4().hex

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = {"x-request-id": f"req_{number}", "x-content-type-options": "nosniff"}
                more |= {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
                headers = [(name.encode(), value.encode()) for name, value in more.items()]
                message["headers"] = [*message.get("headers", []), *headers]
            await send(message)

        try:
            await self.app(scope, receive, stamped)
        except asyncio.CancelledError:  # the grace is over, and the request has not come whole
            if status == 500:
                await _body(shutting_down())(scope, receive, stamped)
        finally:
            first = scope["path"].strip("/").split("/")[0]
            protocol = first if first in PROTOCOLS else "other" if first else "page"
            self.service.metrics.requests.labels(protocol, str(status)).inc()
            if self.service.config.log_json:
                seconds = round(time.monotonic() - started, 4)
                row = {"id": f"req_{number}", "method": scope["method"], "path": scope["path"]}
                _log.info(json.dumps(row | {"status": status, "seconds": seconds}))


def _body(error: ServiceError) -> JSONResponse:
    about = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
    return JSONResponse({"error": about}, error.status, headers=error.headers)


async def _service_error(request: Request, error: ServiceError) -> Response:
    return _body(error)


async def _input_error(request: Request, error: InputError) -> Response:
    if isinstance(error, TooLongError):
        return _body(ServiceError(413, str(error), code="too_long", param="file"))
    return _body(
        ServiceError(400, f"The audio file cannot be read: {error}", code="invalid_audio", param="file")
    )


async def _http_error(request: Request, error: HTTPException) -> Response:
    return _body(ServiceError(error.status_code, str(error.detail)))


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=499)


async def _slow(request: Request, error: TimeoutError) -> Response:
    return _body(ServiceError(408, "The request came too slowly", code="timeout"))


async def _unexpected(request: Request, error: Exception) -> Response:
    logging.getLogger("deepspeech").error(f"{request.url.path}: {type(error).__name__}: {error}")
    return _body(ServiceError(500, "The server failed; its log says why", "server_error"))
