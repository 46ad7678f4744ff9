"""Damaged requests to a server, while a good client goes on: no failure, no wrong answer, bounded memory."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import statistics
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.fuzz.mutations import mutations
from tests.serving.servers import running, save_models, write_tones

pytestmark = [pytest.mark.exhaustive, pytest.mark.xdist_group("server")]
BOUNDARY = b"----boundary"
HEAD = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"Content-Type: multipart/form-data; boundary=%s\r\n" % BOUNDARY
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    with running(
        save_models(folder), "--idle-seconds", 2, "--max-upload-mb", 5, "--max-seconds", 60
    ) as server:
        yield server


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("audio") / "good.wav", 1.0, seed=1)


def request(content: bytes, name: bytes = b"a.wav", fields: dict[str, str] | None = None) -> bytes:
    """A whole HTTP request of a transcription."""
    values = {"model": "whole"} if fields is None else fields
    part = b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = b"".join(part % (BOUNDARY, key.encode(), value.encode()) for key, value in values.items())
    body += b'--%s\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' % (BOUNDARY, name)
    body += content + b"\r\n--%s--\r\n" % BOUNDARY
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def send(server, data: bytes, patience: float = 4.0, leave: bool = False) -> bytes:
    """Send bytes and return what comes back; leave at once to those who would wait for more."""
    answer = b""
    with contextlib.suppress(OSError):
        client = socket.create_connection(("127.0.0.1", server.port), patience)
        with client:
            client.sendall(data)
            if leave:
                client.shutdown(socket.SHUT_WR)
            while part := client.recv(1 << 16):
                answer += part
    return answer


class GoodClient:
    """Asks for the same text again and again."""

    def __init__(self, server, recording: Path) -> None:
        self.address, self.content = (
            f"http://{server.address}/v1/audio/transcriptions",
            recording.read_bytes(),
        )
        self.texts, self.seconds, self.stop = set(), [], threading.Event()

    def ask(self) -> None:
        start = time.monotonic()
        answer = httpx.post(self.address, files={"file": self.content}, data={"model": "whole"}, timeout=30)
        self.seconds.append(time.monotonic() - start)
        self.texts.add(answer.json()["text"])

    def run(self) -> None:
        while not self.stop.is_set():
            self.ask()
            time.sleep(0.05)


@contextlib.contextmanager
def watched(server, recording):
    """The server is alive, quick and right, and says nothing of errors, while the block runs."""
    client = GoodClient(server, recording)
    for _ in range(20):
        client.ask()
    usual, said, before = statistics.median(client.seconds), len(server.lines), memory(server)
    client.seconds.clear()
    thread = threading.Thread(target=client.run)
    thread.start()
    try:
        yield
    finally:
        client.stop.set()
        thread.join()
    assert server.process.poll() is None
    assert len(client.texts) == 1
    assert statistics.median(client.seconds) < 2 * usual + 0.2
    assert server.lines[said:] == []
    assert memory(server) < before + 150, "megabytes"
    for name in ("active_requests", "active_streams"):
        assert f"deepspeech_{name} 0.0" in httpx.get(f"http://{server.address}/metrics").text


def memory(server) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def statuses(answer: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3})", answer)]


def test_damaged_requests(server, recording):
    content = recording.read_bytes()[:3000]
    fields = {"model": "whole", "response_format": "verbose_json", "timestamp_granularities[]": "word"}
    originals = [
        request(content),
        request(content, fields=fields),
        request(content, name=b"../../../../etc/passwd"),
        request(content, name=b"a\x00.wav"),
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /static/../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\x82\x84abcdabcd",
    ]
    seen = set()
    with watched(server, recording):
        for _, data in mutations(originals, seed=1, count=1000):
            answer = send(server, data, leave=True)
            seen.update(statuses(answer))
            assert not any(status >= 500 for status in statuses(answer)), data
            assert b"root:" not in answer
    assert {200, 400} <= seen | set(statuses(send(server, originals[0])))


def test_damaged_audio(server, recording):
    content = recording.read_bytes()
    import soundfile

    waveform, rate = soundfile.read(recording)
    flac = recording.with_suffix(".flac")
    soundfile.write(flac, waveform, rate)
    with watched(server, recording):
        for _, data in mutations([content, flac.read_bytes()], seed=2, count=500):
            answer = send(server, request(data))
            assert statuses(answer)[-1:] in ([200], [400], [413]), answer[:300]


def test_damaged_messages_of_streams(server, recording):
    chunk = (1000 * np.random.default_rng(0).standard_normal(1600)).astype("<i2").tobytes()
    originals = [
        b'{"config": {"sample_rate": 16000, "words": true, "phrase_list": ["A"]}}',
        chunk,
        b'{"eof" : 1}',
        b'{"type": "session.update", "session": {"audio": {"input": {"format": {"rate": 24000}}}}}',
        json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA"}).encode(),
        b'{"type": "input_audio_buffer.commit"}',
    ]
    paths = "/?model=live", "/?model=whole", "/v1/realtime?model=live"
    answers, codes = 0, set[int]()
    with watched(server, recording):
        for number, (index, data) in enumerate(mutations(originals, seed=3, count=500)):
            address = f"ws://{server.address}{paths[number % 3]}"
            answered, code = talk(
                address, [chunk, data if index == 1 else data.decode("utf-8", "replace"), chunk]
            )
            answers += answered
            codes.add(code)
    assert answers > 500, "most chunks have their reply"
    assert codes <= {0, 1000, 1007}, "open, at its end, or for the fault of the client"


def talk(address: str, messages: list[str | bytes]) -> tuple[int, int]:
    """Send messages; returns how many answers in JSON came, and the code that the server closed with or 0."""
    answers = 0
    with connect(address) as client:
        try:
            for message in messages:
                client.send(message)
            while True:
                assert isinstance(json.loads(client.recv(timeout=0.3)), dict)
                answers += 1
        except TimeoutError:
            return answers, 0
        except ConnectionClosed as closed:
            return answers, closed.rcvd.code if closed.rcvd else 1006


def test_wrong_values_in_events(server, recording):
    """Valid JSON, whose values are of any kind."""
    random = np.random.default_rng(4)
    session = {
        "audio": {
            "input": {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": {"model": "live"}}
        }
    }
    originals = [
        {"config": {"sample_rate": 16000, "words": True, "max_alternatives": 0, "phrase_list": ["A"]}},
        {"eof": 0},
        {"type": "session.update", "session": session},
        {"type": "input_audio_buffer.append", "audio": "AAAA"},
    ]
    codes = set[int]()
    with watched(server, recording):
        for number in range(500):
            path = "/?model=live" if number % 4 < 2 else "/v1/realtime?model=live"
            event = json.dumps(spoilt(originals[number % 4], random))
            codes.add(talk(f"ws://{server.address}{path}", [event])[1])
    assert codes <= {0, 1000, 1007}


def spoilt(value: object, random: np.random.Generator) -> object:
    """A value in which one part, or all of it, is something else."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        name = random.choice(list(value))
        return value | {name: spoilt(value[name], random)}
    others = (None, True, -1, 1e308, "", "x" * 100, [], [[]], {}, {"a": None}, "\x00", 2**70)
    return others[random.integers(len(others))]


def test_slow_and_greedy_clients(server, recording):
    """Slow loris, half-closed sockets, bodies that never come or never end, compressed bodies."""
    start = request(recording.read_bytes())
    with watched(server, recording), contextlib.ExitStack() as held:
        for _ in range(20):  # they never finish their request
            client = held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(start[:-500])
        answer = send(server, HEAD + b"Content-Length: 10000000000\r\n\r\n")
        assert statuses(answer) == [413]
        endless = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n%s\r\n" % bytes(1 << 20)) * 8
        assert statuses(send(server, endless))[:1] in ([400], [413], []), (
            "the answer may be lost with the connection"
        )
        packed = HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
        assert statuses(send(server, packed))[:1] in ([400], [415])
        time.sleep(3)


def test_a_flac_of_hours_of_silence_is_refused_by_its_length(server, tmp_path):
    import soundfile

    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 16000, 1, format="FLAC") as file:
        for _ in range(360):
            file.write(np.zeros(160_000))  # an hour
    assert path.stat().st_size < 1_000_000
    data = bytearray(path.read_bytes())
    assert statuses(send(server, request(bytes(data)))) == [413]
    before = memory(server)
    data[21] &= 0xF0  # the number of samples in the header: unknown
    data[22:26] = bytes(4)
    answer = send(server, request(bytes(data)), patience=60)
    assert statuses(answer)[0] in (400, 413)
    assert memory(server) < before + 150
