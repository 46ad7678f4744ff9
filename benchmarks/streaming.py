#!/usr/bin/env python3
"""Time a stream: how many times faster than it is spoken, and whether it slows down with time.

A network of 5 x 512 units with a lookahead processes ten minutes of noise in chunks of 100 ms.

    python benchmarks/streaming.py [--threads 2] [--minutes 10] [--check]

Columns: seconds of audio that a second of computing handles; the median time of a chunk in the last
minute as a share of that in the first. `--check` exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from deepspeech.audio.config import FeatureConfig
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.inference.factory import make_decoder
from deepspeech.inference.recognizer import Recognizer
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech

LABELS = ("_", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", " ")
CHUNK = 0.1  # seconds
MINUTE = round(60 / CHUNK)  # chunks
AVX512 = "512" in torch.backends.cpu.get_cpu_capability()
BARS = {
    "gru": (8.0 if AVX512 else 7.0, 1.1),
    "lstm": (None, 1.1),
}  # at least so many times faster, at most so much slower
DECODERS = {"greedy": DecoderConfig(), "beam 10": DecoderConfig(decoder="beam", beam_width=10)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is missed")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    print(f"{'':<16} {'times real time':>16} {'last / first minute':>20}")
    missed = 0
    for rnn_type, (least_speed, most_growth) in BARS.items():
        for name, decoder in DECODERS.items():
            times = chunk_times(rnn_type, decoder, arguments.minutes)
            speed = CHUNK / times.mean()
            growth = np.median(times[-MINUTE:]) / np.median(times[:MINUTE])
            too_slow, grows = least_speed is not None and speed < least_speed, growth > most_growth
            missed += too_slow or grows
            print(
                f"{rnn_type.upper() + ', ' + name:<16} {speed:15.1f}{'*' if too_slow else ' '} "
                f"{growth:19.2f}{'*' if grows else ' '}"
            )
    if missed:
        print("* misses its bar")
    return int(arguments.check and missed > 0)


def chunk_times(rnn_type: str, decoder: DecoderConfig, minutes: int) -> np.ndarray:
    """Seconds of computing for every chunk."""
    torch.manual_seed(0)
    config = ModelConfig(
        rnn_type=rnn_type,
        hidden_size=512,
        hidden_layers=5,
        bidirectional=False,
        labels=LABELS,
        features=FeatureConfig(normalize="running"),
    )
    model = DeepSpeech(config)
    stream = Recognizer(model, make_decoder(decoder, model.labels)).stream()
    random, size = np.random.default_rng(0), round(CHUNK * stream.sample_rate)
    times = []
    for _ in range(minutes * MINUTE):
        chunk = random.normal(0, 0.1, size).astype(np.float32)
        start = time.perf_counter()
        stream.feed(chunk)
        times.append(time.perf_counter() - start)
    return np.array(times)


if __name__ == "__main__":
    sys.exit(main())
