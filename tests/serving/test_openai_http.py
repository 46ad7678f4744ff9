"""OpenAI's own client against a running server."""

from __future__ import annotations

import asyncio
import io
import json

import httpx
import openai
import pytest

from deepspeech.inference.recognizer import Recognizer
from tests.conftest import run_script
from tests.serving.servers import application, make_service

pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"http://{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def texts(models, recordings):
    """What transcribe.py makes of the recordings, with words."""
    shown = run_script("transcribe.py", "--model-path", models["whole"], "--words", *recordings)
    assert shown.returncode == 0, shown.stderr
    return [json.loads(line)["output"][0] for line in shown.stdout.splitlines()]


def transcribe(client, path, **options):
    with open(path, "rb") as file:
        return client.audio.transcriptions.create(file=file, **{"model": "whole"} | options)


def test_the_text_is_that_of_transcribe(client, recordings, texts):
    for path, expected in zip(recordings, texts, strict=True):
        assert expected["transcription"].strip()
        assert transcribe(client, path).text == " ".join(expected["transcription"].split())


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_other_formats_are_those_of_transcribe(client, models, recordings, form):
    for path in recordings[2:]:
        shown = run_script("transcribe.py", "--model-path", models["whole"], "--format", form, path).stdout
        answer = transcribe(client, path, response_format=form)
        assert answer.split() == shown.split()


def test_verbose_answers_have_words_or_segments(client, recordings, texts):
    expected = texts[3]
    both = transcribe(
        client, recordings[3], response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert both.duration == pytest.approx(2.5)
    assert [(each.word, each.start, each.end) for each in both.words] == [
        (each["text"], each["start"], each["end"]) for each in expected["words"]
    ]
    assert " ".join(each.text for each in both.segments) == both.text
    assert all(one.end <= two.start for one, two in zip(both.segments, both.segments[1:], strict=False))
    segments = transcribe(client, recordings[3], response_format="verbose_json")
    assert segments.words is None
    assert segments.segments == both.segments


def test_a_stream_of_events_gives_the_text_in_parts(client, recordings, texts):
    for path, expected in zip(recordings, texts, strict=True):
        events = list(transcribe(client, path, stream=True))
        *deltas, done = events
        assert {each.type for each in deltas} == {"transcript.text.delta"}
        assert done.type == "transcript.text.done"
        assert (
            "".join(each.delta for each in deltas) == done.text == " ".join(expected["transcription"].split())
        )
    assert len(deltas) > 1, "the long recording comes in segments"


def test_models_are_listed(client):
    assert [each.id for each in client.models.list()] == ["whole", "live"]
    assert client.models.retrieve("live").owned_by == "deepspeech"


def test_each_fault_is_an_exception_of_its_own(client, recordings):
    with pytest.raises(openai.NotFoundError) as fault:
        transcribe(client, recordings[0], model="other")
    assert (fault.value.code, fault.value.param) == ("model_not_found", "model")
    for options in (
        {"response_format": "pdf"},
        {"timestamp_granularities": ["word"]},
        {"response_format": "verbose_json", "timestamp_granularities": ["letter"]},
        {"model": ""},
    ):
        with pytest.raises(openai.BadRequestError):
            transcribe(client, recordings[0], **options)
    for content in (b"", b"no audio", recordings[0].read_bytes()[:200]):
        with pytest.raises(openai.BadRequestError) as fault:
            client.audio.transcriptions.create(model="whole", file=("a.wav", io.BytesIO(content)))
        assert fault.value.code == "invalid_audio"
        assert "/" not in fault.value.body["message"], "no path of the server"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
    with pytest.raises(openai.APIStatusError) as fault:
        client.post("/audio/transcriptions", body={"model": "whole"}, cast_to=object)
    assert fault.value.status_code == 415
    assert fault.value.request_id.startswith("req_")


def within(service, **options):
    """A client of a service in this process."""
    http = httpx.AsyncClient(transport=httpx.ASGITransport(application(service)))
    return openai.AsyncOpenAI(base_url="http://test/v1", http_client=http, **{"api_key": "none"} | options)


def test_a_key_is_asked_for(recordings):
    async def talk():
        service = make_service(api_key="right")
        content = recordings[0].read_bytes()
        with pytest.raises(openai.AuthenticationError):
            await within(service, api_key="wrong").audio.transcriptions.create(model="whole", file=content)
        raw = httpx.AsyncClient(transport=httpx.ASGITransport(application(service)), base_url="http://test")
        assert (await raw.get("/v1/models", headers={"authorization": b"Bearer \xff"})).status_code == 401
        assert (await raw.get("/health/live")).status_code == 200
        assert (await within(service, api_key="right").models.list()).data

    asyncio.run(talk())


def test_a_full_server_says_when_to_try_again(recordings):
    async def talk():
        service = make_service(max_requests=1)
        content = recordings[0].read_bytes()
        held = service.admitted("requests")
        held.__enter__()
        with pytest.raises(openai.RateLimitError) as fault:
            await within(service, max_retries=0).audio.transcriptions.create(model="whole", file=content)
        assert fault.value.response.headers["retry-after"] == "1"
        asyncio.get_running_loop().call_later(0.5, held.__exit__, None, None, None)
        answer = await within(service, max_retries=2).audio.transcriptions.create(model="whole", file=content)
        assert answer.text
        service.draining.set()
        with pytest.raises(openai.InternalServerError) as fault:
            await within(service, max_retries=0).audio.transcriptions.create(model="whole", file=content)
        assert fault.value.status_code == 503

    asyncio.run(talk())


def test_what_is_too_long_or_too_large_is_refused(recordings):
    async def talk():
        client = within(make_service(max_seconds=2))
        with pytest.raises(openai.APIStatusError) as fault:
            await client.audio.transcriptions.create(model="whole", file=recordings[3].read_bytes())
        assert (fault.value.status_code, fault.value.code) == (413, "too_long")
        client = within(make_service(max_upload_mb=0.01))
        with pytest.raises(openai.APIStatusError) as fault:
            await client.audio.transcriptions.create(model="whole", file=recordings[3].read_bytes())
        assert (fault.value.status_code, fault.value.code) == (413, "too_large")

    asyncio.run(talk())


def test_deepspeech_pytorch_clients_get_their_answer(server, models, recordings):
    address = f"http://{server.address}/transcribe"
    answer = httpx.post(address, files={"file": recordings[1].open("rb")})
    expected = Recognizer.load(models["whole"]).transcribe(recordings[1]).text
    assert answer.json() == {"status": "OK", "transcription": [[expected]]}
    assert httpx.post(address, files={"file": b"none"}).json()["status"] == "error"
    assert httpx.post(address, files={"other": b"none"}).json()["status"] == "error"
