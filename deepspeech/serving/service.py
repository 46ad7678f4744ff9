"""What all protocols share: the models, admission, metrics, and the end of the service."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import UploadFile
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket, WebSocketDisconnect

from deepspeech.decoding.word_times import Transcript
from deepspeech.serving.config import ServeConfig
from deepspeech.serving.engine import AbandonedError, Engine
from deepspeech.serving.recordings import transcribe_recording

COPIED = 1 << 20  # bytes of an upload that are copied at a time
RETRY_SECONDS = 1
MEGABYTE = 1_000_000


class ServiceError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        message: For the client's user.
        kind: OpenAI's `type`.
        code: OpenAI's `code`.
        param: The field of the request at fault.
    """

    def __init__(
        self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None,
        param: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.kind, self.code, self.param = status, message, kind, code, param

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": str(RETRY_SECONDS)} if self.status in (429, 503) else {}


def shutting_down() -> ServiceError:
    """The answer to a request that comes too late, or is not done within the grace."""
    return ServiceError(503, "The server is shutting down; ask another one", "server_error", "shutting_down")


class Metrics:
    """Figures for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        common: dict[str, Any] = {"registry": self.registry, "namespace": "deepspeech"}
        self.requests = Counter("requests", "Answered requests", ["protocol", "status"], **common)
        self.refusals = Counter("refusals", "Refused requests and streams", ["cause"], **common)
        self.audio = Counter("audio_seconds", "Transcribed audio", **common)
        self.batches = Histogram(
            "batch_utterances", "Utterances of a batch", buckets=(1, 2, 4, 8, 16, 32, 64), **common
        )
        self.latency = Histogram("request_seconds", "From request to answer", **common)
        self.real_time_factor = Histogram(
            "real_time_factor",
            "Seconds of work by second of audio",
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3),
            **common,
        )
        self.active = Gauge("active_requests", "Recordings in work or waiting", **common)
        self.streams = Gauge("active_streams", "Live streams", **common)
        self.waiting = Gauge("waiting_utterances", "Utterances that wait for a batch", **common)


class Service:
    """The models and what is going on.

    Args:
        engines: By the names of the models.
        config: All options.
        metrics: Which the engines report to.
    """

    def __init__(self, engines: Mapping[str, Engine], config: ServeConfig, metrics: Metrics) -> None:
        self.engines, self.config, self.metrics = engines, config, metrics
        self.created = int(time.time())
        self.active = {"requests": 0, "streams": 0}
        self.draining = asyncio.Event()  # no new work
        metrics.active.set_function(lambda: self.active["requests"])
        metrics.streams.set_function(lambda: self.active["streams"])
        metrics.waiting.set_function(lambda: sum(engine.waiting for engine in engines.values()))

    def engine(self, name: str | None) -> Engine:
        """The engine of a model; of the first one without a name.

        Raises:
            ServiceError: There is no such model.
        """
        if not name:
            return next(iter(self.engines.values()))
        if name not in self.engines:
            raise ServiceError(
                404, f"The model '{name}' does not exist; GET /v1/models lists those that do",
                code="model_not_found", param="model",
            )  # fmt: skip
        return self.engines[name]

    def authorize(self, connection: HTTPConnection) -> None:
        """Check the client's key, where the server has one.

        Raises:
            ServiceError: It is missing or wrong.
        """
        if not (key := self.config.key):
            return
        given = connection.headers.get("authorization", "").removeprefix("Bearer ")
        offered = connection.headers.get("sec-websocket-protocol", "").split(", ")
        given = given or next(
            (each.split(".", 1)[1] for each in offered if each.startswith("openai-insecure-api-key.")), ""
        )
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise ServiceError(401, "Incorrect API key provided", code="invalid_api_key")

    @contextlib.contextmanager
    def admitted(self, kind: str) -> Iterator[None]:
        """Something that the server does, of a kind that `config` limits: requests or streams.

        Raises:
            ServiceError: There are too many, or the server is about to end.
        """
        if self.draining.is_set():
            self.metrics.refusals.labels("draining").inc()
            raise shutting_down()
        if self.active[kind] >= getattr(self.config, f"max_{kind}"):
            self.metrics.refusals.labels(kind).inc()
            raise ServiceError(429, f"Too many {kind} at a time; try again later", "rate_limit_error", "busy")
        self.active[kind] += 1
        try:
            yield
        finally:
            self.active[kind] -= 1

    @contextlib.asynccontextmanager
    async def upload(
        self, request: Request, field: str = "file"
    ) -> AsyncIterator[tuple[Path, dict[str, Any]]]:
        """The file of a multipart request, under a name of our own, and the other fields.

        A field that may come several times, `name[]`, is a list.

        Raises:
            ServiceError: The file is missing or too large.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            raise ServiceError(
                415, "Send the audio file as multipart/form-data", code="unsupported_media_type"
            )
        async with self._limited(request).form(max_files=1, max_fields=100, max_part_size=1 << 16) as form:
            audio = form.get(field)
            if not isinstance(audio, UploadFile):
                raise ServiceError(400, f"The field '{field}' with an audio file is missing", param=field)
            fields: dict[str, Any] = {}
            for name in form:
                values = [each for each in form.getlist(name) if isinstance(each, str)]
                fields[name] = values if name.endswith("[]") else "".join(values[-1:])
            with tempfile.NamedTemporaryFile(prefix="deepspeech-") as file:
                while block := await audio.read(COPIED):
                    file.write(block)
                file.flush()
                yield Path(file.name), fields

    def _limited(self, request: Request) -> Request:
        """A request whose body ends the request where it becomes too large, whatever its header says."""
        most, receive = self.config.max_upload_mb * MEGABYTE, request.receive
        too_large = ServiceError(
            413, f"The request is larger than {self.config.max_upload_mb:g} MB", code="too_large"
        )
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > most:
            raise too_large
        size = 0

        async def counted() -> Any:
            nonlocal size
            message = await asyncio.wait_for(receive(), self.config.idle_seconds)
            size += len(message.get("body", b""))
            if size > most:
                raise too_large
            return message

        return Request(request.scope, counted)

    async def next_message(self, socket: WebSocket) -> str | bytes | None:
        """The next message of a live stream; None if the server is about to end.

        Raises:
            WebSocketDisconnect: The client has left.
            TimeoutError: Nothing came for too long.
        """
        reading, ending = asyncio.ensure_future(socket.receive()), asyncio.ensure_future(self.draining.wait())
        try:
            done, _ = await asyncio.wait(
                [reading, ending], timeout=self.config.idle_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise TimeoutError
            if reading not in done:
                return None
            message = reading.result()
        finally:
            reading.cancel()
            ending.cancel()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        text: str | bytes = message["bytes"] if message.get("bytes") is not None else message["text"]
        return text

    async def send(self, socket: WebSocket, message: dict[str, Any]) -> None:
        """Send a message of a live stream.

        Raises:
            TimeoutError: The client has not read for too long.
        """
        await asyncio.wait_for(socket.send_json(message), self.config.idle_seconds)

    async def transcribe(self, engine: Engine, path: Path) -> tuple[float, AsyncIterator[Transcript]]:
        """Transcribe a recording: its seconds, and its parts as they come.

        Raises:
            RecordingError: It cannot be decoded; also while the parts are made.
            TooLongError: It is too long; also while the parts are made.
            ServiceError: The server ends before the parts are made.
        """
        started = time.monotonic()
        seconds, parts = await asyncio.to_thread(transcribe_recording, engine, path, self.config.max_seconds)

        async def made() -> AsyncIterator[Transcript]:
            try:
                while (part := await asyncio.to_thread(next, parts, None)) is not None:
                    yield part
            except AbandonedError:
                raise shutting_down() from None
            taken = time.monotonic() - started
            self.metrics.audio.inc(seconds)
            self.metrics.latency.observe(taken)
            self.metrics.real_time_factor.observe(taken / max(seconds, 0.01))

        return seconds, made()
