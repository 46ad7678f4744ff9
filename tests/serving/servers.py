"""Servers for tests: a real one in a process of its own, and an application within the test's."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from deepspeech.audio.config import FeatureConfig
from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.inference.recognizer import Recognizer
from deepspeech.labels import Labels
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.serving.app import make_app
from deepspeech.serving.config import ServeConfig
from deepspeech.serving.engine import Engine
from deepspeech.serving.service import Metrics, Service
from tests.conftest import ROOT, script_environment, tiny_model

LABELS = Labels(["_", *"ABCDE", " "])


def talkative(streaming: bool) -> DeepSpeech:
    """A network that writes something for noise."""
    features = FeatureConfig(normalize="running" if streaming else "utterance")
    model = tiny_model(LABELS, bidirectional=not streaming, features=features)
    with torch.no_grad():
        model.fc[0].module[1].weight.mul_(10)[LABELS.blank] = -1
    return model.eval()


def save_models(folder: Path) -> dict[str, Path]:
    """A model that needs whole utterances, and one that streams."""
    paths = {"whole": folder / "whole.pth", "live": folder / "live.pth"}
    for name, path in paths.items():
        save_checkpoint(path, talkative(streaming=name == "live"))
    return paths


def write_tones(path: Path, seconds: float, seed: int, rate: int = 16000) -> Path:
    """A recording that is different for every seed: tones of a fifth of a second, every eighth a pause."""
    random, step = np.random.default_rng(seed), round(0.2 * rate)
    count = round(seconds * rate)
    parts = [
        random.uniform(0.05, 0.4) * np.sin(2 * np.pi * random.uniform(100, 3500) / rate * np.arange(step))
        if place % 8 < 6
        else np.zeros(step)
        for place in range(count // step + 1)
    ]
    waveform = np.concatenate(parts)[:count] + 0.003 * random.standard_normal(count)
    soundfile.write(path, waveform, rate, subtype="PCM_16")
    return path


def make_service(**options: object) -> Service:
    """A service of both models within this process."""
    config, metrics = ServeConfig(**options), Metrics()
    engines = {
        name: Engine(
            Recognizer(talkative(name == "live")), config.max_wait_ms / 1000, observe=metrics.batches.observe
        )
        for name in ("whole", "live")
    }
    return Service(engines, config, metrics)


def application(service: Service):
    return make_app(service)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """A process that serves."""

    process: subprocess.Popen
    port: int
    vosk_port: int
    lines: list[str]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(models: dict[str, Path], *flags: object, vosk_port: int = 0) -> Iterator[Server]:
    """A server until SIGTERM, after which it must end with status 0."""
    port, vosk_port = free_port(), vosk_port or free_port()
    named = [f"{name}={path}" for name, path in models.items()]
    command = [sys.executable, "-m", "deepspeech", "serve", "--model", *named, "--port", port]
    command += ["--vosk-port", vosk_port, *flags]
    process = subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env=script_environment(), stderr=subprocess.PIPE, text=True
    )
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        for line in process.stderr:
            lines.append(line.rstrip())
            if sum("ready" in each for each in lines) == 2:
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    assert ready.wait(60), lines
    assert process.poll() is None, lines
    try:
        yield Server(process, port, vosk_port, lines)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, lines
    finally:
        process.kill()
