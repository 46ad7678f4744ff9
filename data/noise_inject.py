#!/usr/bin/env python3
"""Hear a noise level: mix noise into speech as training does, and write a wav.

With --plot also see it: the spectrogram of the speech, and what every augmentation makes of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import soundfile
import torch
from torch import Tensor

from deepspeech import cli
from deepspeech.audio.augment import add_noise, decibels, limit, read_noise, reverberate, telephone
from deepspeech.audio.features import FeatureConfig, Spectrogram
from deepspeech.audio.loading import load_audio
from deepspeech.audio.spec_augment import POLICIES, Policy, spec_augment, time_warp
from deepspeech.audio.tempo import change_tempo
from deepspeech.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    if not 0 <= arguments.noise_level < float("inf"):
        raise InputError(f"--noise-level {arguments.noise_level}: must not be negative")
    rate = arguments.sample_rate
    speech = load_audio(arguments.input_path, rate)
    noise = read_noise(arguments.noise_path, len(speech), rate, np.random.default_rng(arguments.seed))
    level = arguments.noise_level if arguments.snr is None else decibels(-arguments.snr)
    noisy = limit(add_noise(speech, noise, level))
    try:
        soundfile.write(arguments.output_path, noisy, rate)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: no format has that suffix
        raise InputError(f"--output-path {arguments.output_path}: cannot write audio: {error}") from None
    print(f"{arguments.output_path}: noise at {level:.3g} times the speech's amplitude")
    if arguments.plot:
        room = load_audio(arguments.rir_path, rate) if arguments.rir_path else small_room(rate)
        draw(arguments.plot, augmented(speech, noisy, level, room, rate), rate)
        print(arguments.plot)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input-path", default="input.wav", help="speech (default: input.wav)")
    parser.add_argument("--noise-path", default="noise.wav", help="noise (default: noise.wav)")
    parser.add_argument("--output-path", default="output.wav", help="what to write (default: output.wav)")
    parser.add_argument("--sample-rate", type=int, default=16000, help="of the output, Hz (default: 16000)")
    parser.add_argument(
        "--noise-level", type=float, default=1.0, help="amplitude, a share of the speech's (default: 1)"
    )
    parser.add_argument("--snr", type=float, help="signal-to-noise ratio in dB instead of --noise-level")
    parser.add_argument("--seed", type=int, default=0, help="chooses the part of the noise (default: 0)")
    parser.add_argument("--plot", metavar="FILE", help="draw spectrograms into this PNG, PDF or SVG")
    parser.add_argument(
        "--rir-path", help="room impulse response for the figure (default: a made-up small room)"
    )
    return parser.parse_args(argv)


def small_room(rate: int) -> np.ndarray:
    """An impulse response: the direct sound, then noise that falls by 60 dB in 0.4 seconds."""
    time = np.arange(int(0.4 * rate)) / rate
    response = 0.1 * np.random.default_rng(0).standard_normal(len(time)) * 10 ** (-3 * time / 0.4)
    response[0] = 1.0
    return response.astype(np.float32)


def augmented(
    speech: np.ndarray, noisy: np.ndarray, level: float, room: np.ndarray, rate: int
) -> dict[str, Tensor]:
    """Spectrograms (bins, frames) by title: the speech, then each augmentation by itself."""
    spectrogram = Spectrogram(FeatureConfig(sample_rate=rate))

    def see(waveform: np.ndarray) -> Tensor:
        return spectrogram.log_magnitude(torch.from_numpy(waveform)[None])[0]

    random, before = np.random.default_rng(0), see(speech)
    floor = before.mean()

    def mask(policy: Policy) -> Tensor:
        return spec_augment(before - floor, policy, random) + floor  # masks show the mean

    frames = before.shape[1]
    centre = frames // 2
    shift = min(40, centre // 2)
    warped = time_warp(before[None], *(torch.tensor([each]) for each in (frames, centre, shift)))[0]
    return {
        "speech": before,
        "tempo 0.85": see(change_tempo(speech, 0.85, rate)),
        "tempo 1.15": see(change_tempo(speech, 1.15, rate)),
        "gain -6 dB": see(limit(speech * decibels(-6))),
        "gain 8 dB": see(limit(speech * decibels(8))),
        f"noise, level {level:.3g}": see(noisy),
        "reverberation": see(limit(reverberate(speech, room))),
        "telephone": see(telephone(speech, rate)),
        f"time warp: frame {centre} moved by {shift}": warped,
        "frequency mask up to 27": mask(Policy(0, 27, 1, 0, 0.0, 0)),
        "time mask up to 70": mask(Policy(0, 0, 0, 70, 1.0, 1)),
        "SpecAugment LD": mask(POLICIES["LD"]),
    }


def draw(path: str, spectrograms: dict[str, Tensor], rate: int) -> None:
    """A figure of all spectrograms, on one scale of time, frequency and colour."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 9), layout="constrained")
    grid = figure.subplots(4, 3, sharex=True, sharey=True)
    stride = FeatureConfig(sample_rate=rate).window_stride
    colours = PowerNorm(0.4, vmin=0, vmax=float(spectrograms["speech"].max()))  # shows faint sounds too
    for axes, (title, values) in zip(grid.flat, spectrograms.items(), strict=True):
        extent = (0, values.shape[1] * stride, 0, rate / 2000)
        axes.imshow(values, origin="lower", aspect="auto", extent=extent, norm=colours, cmap="magma")
        axes.set_title(title)
    longest = max(values.shape[1] for values in spectrograms.values()) * stride
    grid[0, 0].set(xlim=(0, longest))
    figure.supxlabel("seconds")
    figure.supylabel("kHz")
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:
        raise InputError(f"--plot {path}: cannot write the figure: {error}") from None


if __name__ == "__main__":
    cli.run(main)
