"""OpenAI's HTTP interface: POST /v1/audio/transcriptions, GET /v1/models (https://platform.openai.com/docs)."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from deepspeech.decoding.word_times import Transcript, Word
from deepspeech.errors import InputError
from deepspeech.inference.long_form import concatenate
from deepspeech.serving.engine import Engine
from deepspeech.serving.service import Service, ServiceError
from deepspeech.serving.sessions import streams
from deepspeech.transcription import formats

FORMATS = "json", "text", "srt", "verbose_json", "vtt"
GRANULARITIES = "word", "segment"
TRUE = "true", "1"


async def models(service: Service, request: Request) -> Response:
    """GET /v1/models."""
    return JSONResponse({"object": "list", "data": [_model(service, name) for name in service.engines]})


async def model(service: Service, request: Request) -> Response:
    """GET /v1/models/{id}."""
    name = request.path_params["name"]
    service.engine(name)
    return JSONResponse(_model(service, name))


def _model(service: Service, name: str) -> dict[str, Any]:
    about = {"id": name, "object": "model", "created": service.created, "owned_by": "deepspeech"}
    return about | {"streaming": streams(service.engines[name])}


async def transcribe(service: Service, request: Request) -> Response:
    """POST /v1/audio/transcriptions."""
    async with AsyncExitStack() as stack:
        stack.enter_context(service.admitted("requests"))
        path, fields = await stack.enter_async_context(service.upload(request))
        if not fields.get("model"):
            raise ServiceError(400, "you must provide a model parameter", param="model")
        engine, (form, granularities) = service.engine(fields["model"]), _output(fields)
        seconds, parts = await service.transcribe(engine, path)
        if fields.get("stream", "").lower() in TRUE and form in ("json", "text"):
            events = _events(stack.pop_all(), engine, parts)  # the file lives as long as they come
            return StreamingResponse(
                events, media_type="text/event-stream", headers={"cache-control": "no-cache"}
            )
        transcript = concatenate([part async for part in parts], _spaced(engine))
    return render(transcript, seconds, form, granularities)


async def _events(
    stack: AsyncExitStack, engine: Engine, parts: AsyncIterator[Transcript]
) -> AsyncIterator[bytes]:
    """Server-sent events: a delta for each part, then the whole text."""
    async with stack:
        texts: list[str] = []
        gap = " " if _spaced(engine) else ""
        try:
            async for part in parts:
                if text := _text(part):
                    yield _event("transcript.text.delta", delta=(gap if texts else "") + text)
                    texts.append(text)
            yield _event("transcript.text.done", text=gap.join(texts))
        except InputError as error:
            yield _event("error", error={"message": str(error), "type": "invalid_request_error"})
        except ServiceError as error:
            yield _event("error", error={"message": error.message, "type": error.kind})


def _event(kind: str, **more: Any) -> bytes:
    return f"data: {json.dumps({'type': kind, **more})}\n\n".encode()


def _spaced(engine: Engine) -> bool:
    return " " in engine.recognizer.model.labels


def _output(fields: dict[str, Any]) -> tuple[str, Sequence[str]]:
    """The format of the response and the granularities of its times.

    Raises:
        ServiceError: They are unknown or do not fit together.
    """
    form = fields.get("response_format") or "json"
    if form not in FORMATS:
        raise ServiceError(
            400, f"response_format must be one of {', '.join(FORMATS)}", param="response_format"
        )
    granularities = fields.get("timestamp_granularities[]") or []
    single = fields.get("timestamp_granularities")
    granularities = granularities or ([single] if single else [])
    if unknown := set(granularities) - set(GRANULARITIES):
        raise ServiceError(
            400, f"timestamp_granularities: {sorted(unknown)[0]} is neither word nor segment",
            param="timestamp_granularities",
        )  # fmt: skip
    if granularities and form != "verbose_json":
        raise ServiceError(
            400, "timestamp_granularities need response_format verbose_json", param="timestamp_granularities"
        )
    return form, granularities or ["segment"]


def render(transcript: Transcript, seconds: float, form: str, granularities: Sequence[str]) -> Response:
    """The transcript as the client wants it."""
    text, usage = _text(transcript), {"type": "duration", "seconds": math.ceil(seconds)}
    match form:
        case "text":
            return PlainTextResponse(text + "\n")
        case "srt":
            return PlainTextResponse("".join(formats.srt(transcript.words)))
        case "vtt":
            return PlainTextResponse("".join(formats.vtt(transcript.words)), media_type="text/vtt")
        case "json":
            return JSONResponse({"text": text, "usage": usage})
    body: dict[str, Any] = {"task": "transcribe", "language": "", "duration": round(seconds, 3), "text": text}
    if "word" in granularities:
        body["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            | {"confidence": round(word.confidence, 3)}
            for word in transcript.words
        ]
    if "segment" in granularities:
        cues = formats.cues_of(transcript.words)
        body["segments"] = [_segment(number, cue.words) for number, cue in enumerate(cues)]
    return JSONResponse(body | {"usage": usage})


def _segment(number: int, words: Sequence[Word]) -> dict[str, Any]:
    """A line of subtitles, with the fields that clients expect of another kind of model."""
    sure = [math.log(max(word.confidence, 1e-9)) for word in words]
    return {
        "id": number, "seek": 0, "start": round(words[0].start, 3), "end": round(words[-1].end, 3),
        "text": " ".join(word.text for word in words), "tokens": [], "temperature": 0.0,
        "avg_logprob": round(math.fsum(sure) / len(sure), 4), "compression_ratio": 1.0, "no_speech_prob": 0.0,
    }  # fmt: skip


def _text(transcript: Transcript) -> str:
    return " ".join(transcript.hypothesis.text.split())
