"""Twenty real recordings: each protocol gives the text of transcribe.py."""

from __future__ import annotations

import asyncio
import base64
import csv
import json

import httpx
import numpy as np
import openai
import pytest
import soundfile
from websockets.sync.client import connect

from deepspeech.audio.loading import load_audio
from tests.conftest import run_script

pytestmark = [pytest.mark.xdist_group("server"), pytest.mark.slow]


@pytest.fixture(scope="module")
def speech(tmp_path_factory, shared):
    """Recordings at 24 kHz, which all protocols can take, 16 bits."""
    corpus, folder = shared / "speech" / "an4", tmp_path_factory.mktemp("speech")
    if not (corpus / "dev.csv").is_file():
        pytest.skip("no recordings")
    paths = []
    with open(corpus / "dev.csv", encoding="utf-8") as file:
        for number, (name, *_) in enumerate(list(csv.reader(file))[::4][:20]):
            paths.append(folder / f"{number}.wav")
            soundfile.write(paths[-1], load_audio(corpus / name, 24000), 24000, subtype="PCM_16")
    assert len(paths) == 20
    return paths


def samples_of(path):
    return soundfile.read(path, dtype="int16")[0]


@pytest.fixture(scope="module")
def whole(models, speech):
    shown = run_script("transcribe.py", "--model-path", models["whole"], *speech).stdout
    texts = [json.loads(line)["output"][0]["transcription"] for line in shown.splitlines()]
    assert len({*texts}) > 10
    return [" ".join(text.split()) for text in texts]


@pytest.fixture(scope="module")
def live(models, speech):
    """By transcribe.py --stream, all utterances of each recording."""
    texts = []
    for path in speech:
        shown = run_script("transcribe.py", "--model-path", models["live"], "--stream", path).stdout
        rows = [json.loads(line) for line in shown.splitlines()]
        texts.append(" ".join(" ".join(row["committed"] for row in rows if row["final"]).split()))
    return texts


def test_openai_http(server, speech, whole):
    client = openai.OpenAI(base_url=f"http://{server.address}/v1", api_key="none")
    found = [client.audio.transcriptions.create(model="whole", file=path.open("rb")).text for path in speech]
    assert found == whole


def test_deepspeech_pytorch(server, speech, whole):
    address = f"http://{server.address}/transcribe"
    answers = [httpx.post(address, files={"file": path.open("rb")}, timeout=30).json() for path in speech]
    assert [" ".join(each["transcription"][0][0].split()) for each in answers] == whole


@pytest.mark.parametrize("name", ["whole", "live"])
def test_vosk(server, speech, whole, live, name):
    found = []
    for path in speech:
        with connect(f"ws://{server.address}/?model={name}") as socket:
            socket.send(json.dumps({"config": {"sample_rate": 24000}}))
            texts, samples = [], samples_of(path)
            for start in range(0, len(samples), 2400):  # as transcribe.py --stream reads it
                socket.send(samples[start : start + 2400].tobytes())
                texts.append(json.loads(socket.recv()).get("text", ""))
            socket.send('{"eof" : 1}')
            texts.append(json.loads(socket.recv())["text"])
        found.append(" ".join(" ".join(texts).split()))
    assert found == (whole if name == "whole" else live)


def test_realtime(server, speech, live):
    async def heard(path):
        client = openai.AsyncOpenAI(base_url=f"http://{server.address}/v1", api_key="none")
        deltas, texts, samples = [], [], samples_of(path)
        async with client.realtime.connect(
            extra_query={"intent": "transcription", "model": "live"}
        ) as connection:
            for start in range(0, len(samples), 2400):
                data = np.ascontiguousarray(samples[start : start + 2400]).tobytes()
                await connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())
            await connection.input_audio_buffer.commit()
            await connection.input_audio_buffer.clear()
            async for event in connection:
                if event.type.endswith("transcription.delta"):
                    deltas.append(event.delta)
                if event.type.endswith("transcription.completed"):
                    texts.append(event.transcript)
                    deltas.append(" ")
                if event.type == "input_audio_buffer.cleared":
                    return ["".join(deltas).split(), " ".join(texts).split()]

    for path, text in zip(speech, live, strict=True):
        assert asyncio.run(heard(path)) == [text.split(), text.split()]
