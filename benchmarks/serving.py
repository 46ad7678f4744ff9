#!/usr/bin/env python3
"""Measure the server: batches of many clients, paced live streams, memory over thousands of requests.

The networks are not trained: their texts make no sense, but cost what others cost. Clients run in this
process, beside the server on the same cores.

    python benchmarks/serving.py --check
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import soundfile
import torch
import websockets

from deepspeech.audio.config import FeatureConfig
from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.labels import Labels
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech

PORT, RATE, SECONDS = 8911, 16000, 3.0
ADDRESS = f"http://127.0.0.1:{PORT}"
CLIENTS, REQUESTS = 16, 96
CHUNK = 0.2  # seconds of a live stream that are sent at a time
LATE = 0.5  # seconds: a stream whose answers come later does not keep up
BARS = {"times one client": 1.6, "streams": 50, "memory": 0.05}


def save_model(path: Path, streaming: bool) -> None:
    """2 x 256 GRU cells that write letters for noise."""
    torch.manual_seed(0)
    features = FeatureConfig(scale="mel", window_size=0.025, window_stride=0.02)
    if streaming:
        features = FeatureConfig(scale="mel", window_size=0.025, window_stride=0.02, normalize="running")
    labels = Labels.load().characters
    model = DeepSpeech(
        ModelConfig(
            hidden_size=256, hidden_layers=2, rnn_type="gru", bidirectional=not streaming,
            labels=labels, features=features,
        )
    )  # fmt: skip
    save_checkpoint(path, model.eval())


def recording(seed: int, seconds: float = SECONDS) -> np.ndarray:
    """int16 noise whose loudness changes, (samples,)."""
    random = np.random.default_rng(seed)
    envelope = np.repeat(random.uniform(0, 3000, round(seconds * 10)), RATE // 10)
    return (envelope * random.standard_normal(len(envelope))).clip(-32768, 32767).astype("<i2")


def as_file(samples: np.ndarray) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, samples, RATE, format="WAV", subtype="PCM_16")
    return data.getvalue()


def ask(client: httpx.Client, content: bytes) -> str:
    answer = client.post(
        f"{ADDRESS}/v1/audio/transcriptions", files={"file": content}, data={"model": "whole"}, timeout=60
    )
    answer.raise_for_status()
    return str(answer.json()["text"])


def metric(name: str) -> float:
    match = re.search(rf"^{name} ([\d.e+-]+)$", httpx.get(f"{ADDRESS}/metrics").text, re.MULTILINE)
    return float(match[1]) if match else 0.0


def throughput() -> tuple[float, float, float]:
    """Audio seconds a second for one client and for many, and the mean batch of these."""
    files = [as_file(recording(seed)) for seed in range(REQUESTS)]
    with httpx.Client() as client:
        ask(client, files[0])
        start = time.perf_counter()
        alone = [ask(client, each) for each in files]
        one = REQUESTS * SECONDS / (time.perf_counter() - start)
        before = metric("deepspeech_batch_utterances_count"), metric("deepspeech_batch_utterances_sum")
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            together = list(pool.map(lambda each: ask(client, each), files))
        many = REQUESTS * SECONDS / (time.perf_counter() - start)
    count = metric("deepspeech_batch_utterances_count") - before[0]
    if together != alone:
        raise SystemExit("texts in batches differ from those of single requests")
    return one, many, (metric("deepspeech_batch_utterances_sum") - before[1]) / count


@asynccontextmanager
async def live() -> AsyncIterator[websockets.ClientConnection]:
    async with websockets.connect(f"ws://127.0.0.1:{PORT}/?model=live", open_timeout=30) as socket:
        await socket.send(json.dumps({"config": {"sample_rate": RATE}}))
        yield socket


async def paced(seed: int, seconds: float, delays: list[float]) -> None:
    """A stream in real time; notes how late each answer comes."""
    samples, size = recording(seed, seconds), round(CHUNK * RATE)
    async with live() as socket:
        start = time.perf_counter() + np.random.default_rng(seed).uniform(0, CHUNK)
        for number, first in enumerate(range(0, len(samples), size), start=1):
            due = start + number * CHUNK  # when this chunk has been spoken
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            await socket.send(samples[first : first + size].tobytes())
            await socket.recv()
            delays.append(time.perf_counter() - due)
        await socket.send('{"eof" : 1}')
        await socket.recv()


async def lateness(count: int, seconds: float = 8.0) -> float:
    """The delay that 95 % of the answers keep, with so many paced streams."""
    delays: list[float] = []
    await asyncio.gather(*(paced(seed, seconds, delays) for seed in range(count)))
    return float(np.quantile(delays, 0.95))


def most_streams() -> dict[int, float]:
    """Delays by number of streams, up to the first number that does not keep up."""
    found: dict[int, float] = {}
    for count in (10, 25, 50, 75, 100):
        found[count] = asyncio.run(lateness(count))
        if found[count] > LATE:
            break
    return found


def memory(pid: int) -> float:
    """Resident megabytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


async def short_streams(count: int) -> None:
    samples = recording(1, 0.5).tobytes()
    gate = asyncio.Semaphore(8)

    async def one() -> None:
        async with gate, live() as socket:
            await socket.send(samples)
            await socket.recv()
            await socket.send('{"eof" : 1}')
            await socket.recv()

    await asyncio.gather(*(one() for _ in range(count)))


def growth(pid: int, requests: int, streams: int) -> tuple[float, float]:
    """Megabytes after a tenth of the work, and after all of it."""
    content = as_file(recording(0, 1.0))

    def work(share: float) -> None:
        with httpx.Client() as client, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: ask(client, content), range(round(share * requests))))
        asyncio.run(short_streams(round(share * streams)))

    work(0.1)
    before = memory(pid)
    work(0.9)
    return before, memory(pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="of the server")
    parser.add_argument("--requests", type=int, default=2000, help="for the measurement of memory")
    parser.add_argument("--streams", type=int, default=1000, help="for the measurement of memory")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bar is missed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = {name: Path(folder, f"{name}.pth") for name in ("whole", "live")}
        for name, path in models.items():
            save_model(path, streaming=name == "live")
        command = [sys.executable, "-m", "deepspeech", "serve", "--port", str(PORT), "--max-streams", "200"]
        command += ["--threads", str(arguments.threads)]
        command += ["--model", *(f"{name}={path}" for name, path in models.items())]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            if "ready" not in (line := server.stderr.readline() if server.stderr else ""):
                raise SystemExit(line)
            failed = measure(server.pid, arguments.requests, arguments.streams)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    sys.exit(int(arguments.check and bool(failed)))


def measure(pid: int, requests: int, streams: int) -> list[str]:
    """Print all figures; returns the bars that are missed."""
    rounds = [throughput() for _ in range(3)]
    one, many, batch = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"{SECONDS:.0f} s recordings, one client: {one:.0f} audio-s/s")
    print(f"{CLIENTS} clients: {many:.0f} audio-s/s, {many / one:.2f} times, mean batch {batch:.1f}")
    delays = most_streams()
    for count, delay in delays.items():
        print(f"{count} paced streams: 95 % of the answers within {1000 * delay:.0f} ms")
    before, after = growth(pid, requests, streams)
    print(f"memory: {before:.0f} MB, after {requests} requests and {streams} streams {after:.0f} MB")
    kept = max((count for count, delay in delays.items() if delay <= LATE), default=0)
    reached = {
        "times one client": many / one,
        "streams": kept,
        "memory": BARS["memory"] * 2 - (after / before - 1),
    }
    failed = [name for name, bar in BARS.items() if reached[name] < bar]
    for name in failed:
        print(f"missed: {name}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    main()
