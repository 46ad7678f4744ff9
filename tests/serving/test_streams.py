"""Live streams: Vosk's websocket and OpenAI's Realtime interface, by clients that exist."""

from __future__ import annotations

import asyncio
import base64
import json

import numpy as np
import openai
import pytest
import soxr
import websockets
from websockets.sync.client import connect

from deepspeech.audio.loading import load_audio
from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.inference.recognizer import Recognizer
from deepspeech.serving.engine import Engine
from deepspeech.serving.sessions import LiveSession, RecordedSession
from tests.serving.servers import LABELS, make_service, running, talkative

pytestmark = pytest.mark.xdist_group("server")
CHUNK = 3200  # samples


def pcm(path, rate):
    return np.round(load_audio(path, rate) * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2")


def vosk(address, samples, config):
    """What a client of Vosk's server does; returns all replies."""
    with connect(address) as socket:
        socket.send(json.dumps({"config": config}))
        replies = []
        for start in range(0, len(samples), CHUNK):
            socket.send(samples[start : start + CHUNK].tobytes())
            replies.append(json.loads(socket.recv()))
        socket.send('{"eof" : 1}')
        replies.append(json.loads(socket.recv()))
        with pytest.raises(websockets.ConnectionClosedOK):
            socket.recv()
        return replies


@pytest.mark.parametrize("port", ["port", "vosk_port"])
def test_a_stream_gives_partial_texts_and_the_text_of_the_whole(server, models, recordings, port):
    samples = pcm(recordings[4], 16000)
    address = f"ws://127.0.0.1:{getattr(server, port)}/?model=live"
    *partials, last = vosk(address, samples, {"sample_rate": 16000.0, "words": True})
    assert all(set(each) == {"partial"} for each in partials)
    assert len({each["partial"] for each in partials}) > 1, "the text grows"
    stream = Recognizer.load(models["live"]).stream()
    stream.feed(samples)
    assert last["text"] == " ".join(stream.finish().text.split())
    assert [each["word"] for each in last["result"]] == last["text"].split()
    assert all(0 <= each["start"] < each["end"] for each in last["result"])
    assert all(0 <= each["conf"] <= 1 for each in last["result"])


def test_a_model_that_cannot_stream_is_transcribed_at_the_end(server, models, recordings):
    samples = pcm(recordings[1], 16000)
    *partials, last = vosk(f"ws://{server.address}/", samples, {"sample_rate": 16000, "words": False})
    assert all(each == {"partial": ""} for each in partials)
    waveform = samples * np.float32(2**-15)
    assert last == {"text": " ".join(Recognizer.load(models["whole"]).transcribe(waveform).text.split())}


@pytest.mark.parametrize(
    "message",
    ["{", "[]", '{"config": {"sample_rate": "x"}}', '{"config": {"sample_rate": 1}}', '{"config": 3}'],
)
def test_a_bad_message_ends_the_stream_with_the_reason(server, message):
    with connect(f"ws://{server.address}/") as socket:
        socket.send(message)
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            socket.recv()
        assert closed.value.rcvd.code == 1007
        assert closed.value.rcvd.reason


def test_messages_may_end_within_a_sample(server, recordings):
    data = pcm(recordings[1], 16000).tobytes()
    texts = []
    for size in (6400, 4001):
        with connect(f"ws://{server.address}/?model=live") as socket:
            for start in range(0, len(data), size):
                socket.send(data[start : start + size])
                socket.recv()
            socket.send('{"eof" : 1}')
            texts.append(json.loads(socket.recv())["text"])
    assert texts[0] == texts[1]
    assert texts[0]


def test_a_recorded_stream_at_another_rate_is_resampled_as_a_whole(monkeypatch):
    engine, heard = Engine(Recognizer(talkative(streaming=False))), []
    transcripts_of = engine.transcripts_of
    monkeypatch.setattr(
        engine, "transcripts_of", lambda waves, client: heard.extend(waves) or transcripts_of(waves, client)
    )
    samples = (0.1 * np.random.default_rng(0).standard_normal(24000)).astype(np.float32)

    async def record():
        session = RecordedSession(engine, max_seconds=10)
        for start in range(0, len(samples), 1000):
            await session.feed(samples[start : start + 1000], 24000)
        first = await session.finish()
        await session.feed(samples, 24000)
        return first, await session.finish()

    in_chunks, at_once = asyncio.run(record())
    engine.close()
    np.testing.assert_allclose(heard[0], soxr.resample(samples, 24000, 16000), atol=1e-6)
    assert in_chunks == at_once


def test_phrases_are_favoured_by_a_beam():
    recognizer = Recognizer(talkative(streaming=True), BeamCTCDecoder(LABELS, DecoderConfig(decoder="beam")))
    engine, random = Engine(recognizer), np.random.default_rng(0)
    samples = (0.1 * random.standard_normal(16000)).astype(np.float32)

    async def heard(phrases):
        session = LiveSession(engine, end_silence=1.0)
        await session.favour(phrases)
        await session.feed(samples, 16000)
        return (await session.finish()).text

    usual, favoured, unknown = (asyncio.run(heard(each)) for each in ([], ["AAAA"], ["ÄÖ", "A:B", " "]))
    engine.close()
    assert usual == unknown
    assert favoured != usual


@pytest.mark.slow
def test_a_client_that_says_nothing_is_left(models):
    with running(models, "--idle-seconds", 1) as server, connect(f"ws://{server.address}/") as idle:
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            idle.recv(timeout=10)
        assert closed.value.rcvd.code == 1008


def test_a_client_that_does_not_read_is_left():
    class Deaf:
        async def send_json(self, message):
            await asyncio.Event().wait()

    async def talk():
        with pytest.raises(TimeoutError):
            await make_service(idle_seconds=0.1).send(Deaf(), {})

    asyncio.run(talk())


def test_pages_of_other_sites_may_not_connect(server):
    with connect(f"ws://{server.address}/", origin=f"http://{server.address}"):
        pass
    with pytest.raises(websockets.InvalidStatus) as refused:
        connect(f"ws://{server.address}/", origin="http://elsewhere.example")
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("name", ["live", "whole"])
def test_realtime_deltas_join_to_the_text(server, models, recordings, name):
    samples = pcm(recordings[4], 24000)

    async def talk():
        client = openai.AsyncOpenAI(base_url=f"http://{server.address}/v1", api_key="none")
        query = {"intent": "transcription", "model": name}
        deltas, kinds = [], []
        async with client.realtime.connect(extra_query=query) as connection:
            assert (await connection.recv()).type == "session.created"
            transcription = {"model": name}
            audio = {
                "input": {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": transcription}
            }
            await connection.session.update(session={"type": "transcription", "audio": audio})
            for start in range(0, len(samples), CHUNK):
                data = samples[start : start + CHUNK].tobytes()
                await connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())
            await connection.input_audio_buffer.commit()
            async for event in connection:
                kinds.append(event.type)
                if event.type.endswith("transcription.delta"):
                    deltas.append(event.delta)
                if event.type.endswith("transcription.completed"):
                    return kinds, deltas, event.transcript

    kinds, deltas, text = asyncio.run(talk())
    assert kinds[0] == "session.updated"
    assert "".join(deltas) == text
    assert "error" not in kinds
    waveform = samples * np.float32(2**-15)
    recognizer = Recognizer.load(models[name])
    if name == "live":
        stream = recognizer.stream()
        stream.feed(waveform, 24000)
        expected = stream.finish().text
        assert len(deltas) > 1
    else:
        assert len(deltas) == 1
        expected = text
    assert text == " ".join(expected.split())
    assert text


def test_a_wrong_event_is_answered_by_an_error_and_the_session_goes_on(server):
    with connect(f"ws://{server.address}/v1/realtime?intent=transcription") as socket:
        assert json.loads(socket.recv())["type"] == "session.created"
        events = ["{", "[" * 100_000, "[]", '{"type": "dance"}']
        events.append('{"type": "input_audio_buffer.append", "audio": "%"}')
        for session in (
            "x",
            [1],
            {"audio": "x"},
            {"audio": {"input": [1]}},
            {"audio": {"input": {"transcription": "x"}}},
            {"audio": {"input": {"transcription": {"model": [1]}}}},
            {"audio": {"input": {"format": "pcm16"}}},
        ):
            events.append(json.dumps({"type": "session.update", "session": session}))
        for event in events:
            socket.send(event)
            answer = json.loads(socket.recv())
            assert answer["type"] == "error"
            assert answer["error"]["message"]
        socket.send('{"type": "input_audio_buffer.clear"}')
        assert json.loads(socket.recv())["type"] == "input_audio_buffer.cleared"


@pytest.mark.parametrize("path", ["?model=none", "v1/realtime?intent=transcription&model=none"])
def test_an_unknown_model_is_refused_before_the_stream(server, path):
    with pytest.raises(websockets.InvalidStatus) as refused, connect(f"ws://{server.address}/{path}"):
        pass
    assert refused.value.response.status_code == 404
    assert b"model_not_found" in refused.value.response.body
