"""The HTTP interface of deepspeech.pytorch's server: POST /transcribe."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deepspeech.errors import InputError
from deepspeech.inference.long_form import concatenate
from deepspeech.serving.service import Service, ServiceError


async def transcribe(service: Service, request: Request) -> Response:
    """The text as deepspeech.pytorch nests it, `[[text]]`; or a status of "error" and why.

    As there, clients are to read `status`; that of HTTP says the same.
    """
    try:
        with service.admitted("requests"):
            async with service.upload(request) as (path, fields):
                engine = service.engine(fields.get("model"))
                _, parts = await service.transcribe(engine, path)
                spaced = " " in engine.recognizer.model.labels
                transcript = concatenate([part async for part in parts], spaced)
    except ServiceError as error:
        answer = {"status": "error", "message": error.message}
        return JSONResponse(answer, error.status, headers=error.headers)
    except InputError as error:
        return JSONResponse({"status": "error", "message": str(error)}, 400)
    return JSONResponse({"status": "OK", "transcription": [[transcript.hypothesis.text]]})
