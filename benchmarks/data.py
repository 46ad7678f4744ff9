#!/usr/bin/env python3
"""How fast utterances become features, augmented or not, on one thread: ours / reference.

Audio is generated: 16-bit wav files of 2 to 15 seconds at 16 kHz. A machine that is busy with
other things slows both sides: each is timed in turn, and the fastest of several runs counts.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch

from deepspeech.audio.augment import Augmentation, AugmentConfig, decibels, limit
from deepspeech.audio.features import Spectrogram
from deepspeech.audio.loading import load_audio
from deepspeech.audio.spec_augment import POLICIES, spec_augment
from deepspeech.audio.tempo import change_tempo
from deepspeech.device import keep_freed_memory

RATE = 16000  # Hz
PUBLISHED = 0.185  # seconds, of a published implementation of SpecAugment for 10 seconds of audio
ROW = "{:<44} {:>16} {:>16} {:>8} {:>8}  {}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    parser.add_argument("--files", type=int, default=40, help="wav files to generate")
    parser.add_argument("--repeats", type=int, default=7, help="runs, of which the fastest counts")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    keep_freed_memory()  # as train.py does
    print(ROW.format("path", "ours", "reference", "ratio", "at least", ""))
    with tempfile.TemporaryDirectory() as folder:
        paths = generate(Path(folder), arguments.files)
        results = [
            *compare_paths(paths, arguments.repeats),
            spec_augment_alone(arguments.repeats),
            everything(Path(folder), paths, arguments.repeats),
        ]
    return int(arguments.check and not all(results))


def generate(folder: Path, count: int) -> list[Path]:
    """Wav files to load, and folders `noise` and `rooms` to augment them with."""
    random = np.random.default_rng(0)
    for name in ("clips", "noise", "rooms"):
        (folder / name).mkdir()
    for name, rate in (("noise/low.wav", RATE), ("noise/high.wav", 44100)):
        soundfile.write(folder / name, 0.1 * random.standard_normal(60 * rate), rate)
    decay = np.exp(-np.arange(RATE // 2) / (0.07 * RATE))  # half a second, -60 dB at its end
    soundfile.write(folder / "rooms/room.wav", 0.5 * decay * random.uniform(-1, 1, len(decay)), RATE)
    paths = [folder / f"clips/{index}.wav" for index in range(count)]
    for path in paths:
        samples = int(random.uniform(2, 15) * RATE)
        soundfile.write(path, 0.1 * random.standard_normal(samples), RATE, subtype="PCM_16")
    return paths


def compare_paths(paths: list[Path], repeats: int) -> list[bool]:
    """Loading, and loading with another tempo and gain."""
    spectrogram, random = Spectrogram(), np.random.default_rng(0)
    work = paths[0].with_name("work.wav")

    def features(waveform: np.ndarray) -> None:
        spectrogram(torch.from_numpy(waveform)[None])

    def ours(path: Path) -> None:
        features(load_audio(path, RATE))

    def with_librosa(path: Path) -> None:
        waveform, _ = soundfile.read(path, dtype="float32")
        stft = librosa.stft(waveform, n_fft=320, hop_length=160, win_length=320, window="hamming")
        magnitude, _ = librosa.magphase(stft)
        values = torch.from_numpy(np.log1p(magnitude))
        (values - values.mean()).div_(values.std())

    def perturbed(path: Path) -> None:
        waveform = change_tempo(load_audio(path, RATE), random.uniform(0.85, 1.15), RATE)
        features(limit(waveform * decibels(random.uniform(-6, 8))))

    def with_sox(path: Path) -> None:
        tempo, gain = f"{random.uniform(0.85, 1.15):.3f}", f"{random.uniform(-6, 8):.3f}"
        subprocess.run(
            ["sox", path, "-b", "16", work, "tempo", tempo, "gain", gain], check=True, capture_output=True
        )
        features(load_audio(work, RATE))

    seconds = sum(soundfile.info(path).duration for path in paths)
    results = []
    for name, function, reference, bar in (
        ("read + features / soundfile + librosa", ours, with_librosa, 1.8),
        ("+ tempo and gain / sox + temporary file", perturbed, with_sox, 4.0),
    ):
        if reference is with_sox and not shutil.which("sox"):
            print(ROW.format(name, "", "sox is not installed", "", bar, ""))
            continue
        mine, other = fastest([lambda f=each: run(f, paths) for each in (function, reference)], repeats)
        results.append(mine * bar <= other)
        shown = [f"{seconds / time:,.0f} audio-s/s" for time in (mine, other)]
        print(ROW.format(name, *shown, f"{other / mine:.2f}", bar, verdict(results[-1])))
    return results


def spec_augment_alone(repeats: int) -> bool:
    """10 seconds of features, warped and masked."""
    random = np.random.default_rng(0)
    features = torch.randn(1001, 161).T
    policy = POLICIES["original"]
    (mine,) = fastest([lambda: spec_augment(features, policy, random)], 10 * repeats)
    good = mine <= 1e-3
    shown = f"{1e3 * mine:.3f} ms", f"{1e3 * PUBLISHED:.0f} ms", f"{PUBLISHED / mine:.0f}"
    print(ROW.format("SpecAugment with time warp, 10 s", *shown, "<= 1 ms", verdict(good)))
    return good


def everything(folder: Path, paths: list[Path], repeats: int) -> bool:
    """All that training can do to an utterance, on every utterance."""
    config = AugmentConfig(
        speed_volume_perturb=True,
        noise_dir=str(folder / "noise"),
        noise_prob=1.0,
        rir_dir=str(folder / "rooms"),
        rir_prob=1.0,
        spec_augment="original",
    )
    augment, spectrogram, random = Augmentation(config, RATE), Spectrogram(), np.random.default_rng(0)

    def load(path: Path) -> None:
        waveform = augment.waveform(load_audio(path, RATE), random)
        spec_augment(spectrogram(torch.from_numpy(waveform)[None])[0][0], augment.policy, random)

    (time,) = fastest([lambda: run(load, paths)], repeats)
    speed = sum(soundfile.info(path).duration for path in paths) / time
    good = speed >= 1000
    print(ROW.format("everything on", f"{speed:,.0f} audio-s/s", "", "", "1,000", verdict(good)))
    return good


def run(function: Callable[[Path], None], paths: list[Path]) -> None:
    for path in paths:
        function(path)


def fastest(functions: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Seconds of the fastest run of each; they take turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def verdict(good: bool) -> str:
    return "ok" if good else "MISSED"


if __name__ == "__main__":
    raise SystemExit(main())
