#!/usr/bin/env python3
"""Time transcription: many recordings in batches, and a stream.

Recordings: a bidirectional network of 5 x 512 LSTM cells transcribes those of a manifest in batches of
like length, in float32, bfloat16 and with 8-bit weights. The reference is the same network on packed
sequences in float32, one file at a time, as deepspeech.pytorch's transcribe.py runs. What the formats
cost in errors is measured with a trained model. Streams: see streaming.py.

    python benchmarks/inference.py --manifest speech.csv [--minutes 30] [--threads 2] [--check]
        [--model-path MODEL --test-manifest test.csv]

`--check` exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Sequence

import streaming
import torch
from packed import PackedLayer
from tqdm import tqdm

from deepspeech.audio.loading import duration
from deepspeech.checkpoint.format import load_model
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.manifest import read_manifest
from deepspeech.data.sampler import BucketingSampler
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.device import computes_bf16, keep_freed_memory
from deepspeech.evaluation.evaluate import evaluate
from deepspeech.inference.quantization import quantize
from deepspeech.inference.recognizer import Recognizer
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.transcription.recordings import RecordingsConfig, transcribe_recordings

FORMATS = {"fp32": (torch.float32, False), "bf16": (torch.bfloat16, False), "int8": (torch.float32, True)}
FASTER = 1.5  # at least, in float32


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--manifest", required=True, help="recordings to time")
    parser.add_argument("--minutes", type=float, default=30, help="of them")
    parser.add_argument("--stream-minutes", type=int, default=10, help="of the streams; 0: none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model-path", help="a trained model, for errors")
    parser.add_argument("--test-manifest", help="what it is tested on")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is missed")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    fast_enough = time_recordings(some_minutes(arguments.manifest, 60 * arguments.minutes))
    if arguments.model_path and arguments.test_manifest:
        count_errors(arguments.model_path, arguments.test_manifest)
    checks = ["--check"] if arguments.check else []
    minutes = ["--minutes", str(arguments.stream_minutes), "--threads", str(arguments.threads)]
    missed = streaming.main([*minutes, *checks]) if arguments.stream_minutes else 0
    return int(arguments.check and (missed or not fast_enough))


def some_minutes(manifest: str, seconds: float) -> list[str]:
    """The first recordings of a manifest that last so long together."""
    paths = []
    for utterance in read_manifest(manifest)[0]:
        if seconds > 0:
            paths.append(utterance.audio_path)
            seconds -= duration(utterance.audio_path)
    return paths


def time_recordings(paths: Sequence[str]) -> bool:
    """Print the speeds; returns whether float32 is fast enough."""
    seconds = sum(map(duration, paths))
    torch.manual_seed(0)
    model = DeepSpeech(
        ModelConfig(rnn_type="lstm", hidden_size=512, hidden_layers=5, labels=streaming.LABELS)
    ).eval()
    packed = copy.deepcopy(model)
    for layer in packed.rnns:
        layer.__class__ = PackedLayer
    reference = one_by_one(Recognizer(packed), paths)
    print(f"{len(paths)} recordings, {seconds / 60:.1f} minutes; 5 x 512 LSTM, bidirectional")
    print(f"{'':<28} {'seconds':>8} {'times real time':>16} {'times reference':>16}")
    print(f"{'packed fp32, one by one':<28} {reference:8.1f} {seconds / reference:16.1f} {1:16.2f}")
    ratios = {}
    native = computes_bf16(torch.device("cpu"))
    for name in (name for name in FORMATS if native or name != "bf16"):
        taken = in_batches(recognizer_in(model, name), paths)
        ratios[name] = reference / taken
        print(f"{'batches, ' + name:<28} {taken:8.1f} {seconds / taken:16.1f} {ratios[name]:16.2f}")
    return ratios["fp32"] >= FASTER


def recognizer_in(model: DeepSpeech, name: str) -> Recognizer:
    dtype, int8 = FORMATS[name]
    return Recognizer(quantize(copy.deepcopy(model)) if int8 else model, dtype=dtype)


def one_by_one(recognizer: Recognizer, paths: Sequence[str]) -> float:
    start = time.perf_counter()
    for path in tqdm(paths, "Reference", leave=False):
        recognizer.transcribe(path)
    return time.perf_counter() - start


def in_batches(recognizer: Recognizer, paths: Sequence[str]) -> float:
    start = time.perf_counter()
    config = RecordingsConfig(num_workers=0)
    list(transcribe_recordings(recognizer, paths, config, words=False, progress=True))
    return time.perf_counter() - start


def count_errors(model_path: str, manifest: str) -> None:
    """Print the error rates of a trained model in each format."""
    model = load_model(model_path)
    corpus = load_corpus(manifest, model.labels)
    dataset = SpectrogramDataset(corpus, model.labels, model.config.features)
    loader = AudioDataLoader(dataset, BucketingSampler(corpus.durations, 20, shuffle=False))
    print(f"\n{'':<6} {'WER':>8} {'CER':>8}   {manifest}")
    for name in FORMATS:
        recognizer = recognizer_in(model, name)
        with torch.inference_mode():
            result = evaluate(recognizer.model, loader, GreedyDecoder(model.labels), recognizer.dtype)
        print(f"{name:<6} {result.words.rate:8.2%} {result.characters.rate:8.2%}")


if __name__ == "__main__":
    sys.exit(main())
