#!/usr/bin/env python3
"""Measure how exact the times of words are, and how reliable their confidences.

Joins single recorded words with pauses of known length and compares the times that `--words` and
`--align` give with the true ones. Recordings are files WORD_SPEAKER_INDEX.wav, where WORD is a
digit, as the Free Spoken Digit Dataset names them; those with INDEX below 5 are used, which the
connected-digits corpus keeps out of training.

    python benchmarks/word_times.py --model-path models/digits.pth --recordings DIR [--check]
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from deepspeech.audio.loading import load_audio
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.checkpoint.format import load_model
from deepspeech.decoding.alignment import ForcedAligner
from deepspeech.decoding.word_times import Word
from deepspeech.inference.factory import make_decoder
from deepspeech.inference.recognizer import Recognizer
from deepspeech.tools.report import align_words

NAMES = ["ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"]
PAUSES = [(0.05, 0.2), (0.1, 0.5), (0.3, 1.0)]  # seconds; a row of the table each
BARS = {"--words": (0.1, 0.9), "--align": (0.06, 0.9)}  # seconds, share of the starts within them
SURE, RIGHT = 0.9, 0.95  # words surer than this, share of them that must be right


@dataclass(frozen=True)
class Joined:
    """Recordings joined to an utterance."""

    waveform: np.ndarray
    words: list[Word]  # with their true times


def joined(
    folder: Path, rate: int, pauses: tuple[float, float], count: int, random: random.Random
) -> Iterator[Joined]:
    """Utterances of two to six words of one speaker over a faint noise floor."""
    takes: dict[str, list[tuple[str, np.ndarray]]] = {}
    for path in sorted(folder.glob("*.wav")):
        digit, speaker, index = path.stem.split("_")
        if int(index) < 5:
            waveform = load_audio(path, rate)
            takes.setdefault(speaker, []).append((NAMES[int(digit)], waveform / np.abs(waveform).max()))
    noise = np.random.default_rng(random.getrandbits(32))
    for _ in range(count):
        speaker = random.choice(sorted(takes))
        parts, words, length = [], [], 0
        for text, waveform in random.choices(takes[speaker], k=random.randint(2, 6)):
            pause = np.zeros(int(rate * random.uniform(*pauses)), dtype=np.float32)
            start = length + len(pause)
            length = start + len(waveform)
            parts += [pause, waveform * random.uniform(0.2, 0.8)]
            words.append(Word(text, start / rate, length / rate, 1.0))
        audio = np.concatenate([*parts, np.zeros(int(rate * random.uniform(*pauses)))])
        yield Joined((audio + 1e-3 * noise.standard_normal(len(audio))).astype(np.float32), words)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--decoder", default="greedy", choices=["greedy", "beam"])
    parser.add_argument("--utterances", type=int, default=60, help="for each length of pauses")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model_path)
    reader = Recognizer(model, make_decoder(DecoderConfig(decoder=arguments.decoder), model.labels))
    rate = model.config.features.sample_rate

    errors: dict[tuple[str, str], list[float]] = {}
    sure: list[bool] = []  # of the words with high confidence: whether they are right
    total = 0
    for pauses in PAUSES:
        label = f"{pauses[0]:.2f} to {pauses[1]:.2f} s"
        utterances = joined(arguments.recordings, rate, pauses, arguments.utterances, random.Random(1))
        for each in tqdm(utterances, label, arguments.utterances, leave=False):
            text = " ".join(word.text for word in each.words)
            recognised = reader.transcripts(each.waveform)[0].words
            aligned = Recognizer(model, ForcedAligner(model.labels, text)).transcripts(each.waveform)[0].words
            for true, found in matched(each.words, recognised):
                total += found is not None
                if found and found.confidence > SURE:
                    sure.append(true is not None and true.text == found.text)
                if true and found:
                    errors.setdefault(("--words", label), []).append(found.start - true.start)
            for true, found in zip(each.words, aligned, strict=True):
                errors.setdefault(("--align", label), []).append(found.start - true.start)
    passed = report(errors)
    share = sum(sure) / max(len(sure), 1)
    print(f"\n{len(sure)} of {total} words have a confidence above {SURE}: {100 * share:.1f} % are right")
    return int(arguments.check and not (passed and share >= RIGHT))


def matched(true: list[Word], found: list[Word]) -> list[tuple[Word | None, Word | None]]:
    """Pairs of words by their texts' alignment; None where one side has no word."""
    left, right = iter(true), iter(found)
    pairs = align_words(" ".join(word.text for word in true), " ".join(word.text for word in found))
    return [(next(left) if a else None, next(right) if b else None) for a, b in pairs]


def report(errors: dict[tuple[str, str], list[float]]) -> bool:
    """Print the table; returns whether all bars hold."""
    print(f"{'':10}{'pauses':18}{'starts':>8}{'median error':>14}{'within 60 ms':>14}{'within 100 ms':>15}")
    passed = True
    for mode, (limit, share) in BARS.items():
        rows = [(label, np.array(values)) for (kind, label), values in errors.items() if kind == mode]
        rows.append(("all", np.concatenate([values for _, values in rows])))
        for label, values in rows:
            near, far = (100 * np.mean(np.abs(values) <= seconds) for seconds in (0.06, 0.1))
            median = f"{1000 * np.median(values):+.0f} ms"
            print(f"{mode:10}{label:18}{len(values):8}{median:>14}{near:12.1f} %{far:13.1f} %")
        passed &= bool(np.mean(np.abs(rows[-1][1]) <= limit) >= share)
    return passed


if __name__ == "__main__":
    sys.exit(main())
