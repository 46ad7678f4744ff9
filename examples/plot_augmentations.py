"""Draw the spectrogram of a recording, and what each augmentation makes of it.

python examples/plot_augmentations.py speech.wav noise.wav augmentations.png
"""

import sys

import numpy as np
import torch
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from deepspeech import Spectrogram, load_audio
from deepspeech.audio.augment import add_noise, decibels, limit, read_noise, reverberate, telephone
from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.spec_augment import POLICIES, Policy, spec_augment, time_warp
from deepspeech.audio.tempo import change_tempo

CONFIG = FeatureConfig()
RATE = CONFIG.sample_rate


def augmented(speech: np.ndarray, noise: np.ndarray) -> dict[str, Tensor]:
    """Spectrograms (bins, frames) by title."""
    spectrogram, random = Spectrogram(CONFIG), np.random.default_rng(0)

    def transform(waveform: np.ndarray) -> Tensor:
        return spectrogram.log_magnitude(torch.from_numpy(waveform)[None])[0]

    def mask(policy: Policy) -> Tensor:
        return spec_augment(clean - clean.mean(), policy, random) + clean.mean()  # masks show the mean

    clean, decay = transform(speech), np.arange(int(0.4 * RATE)) / (0.4 * RATE)
    room = 0.1 * random.standard_normal(len(decay)) * 10 ** (-3 * decay)  # falls by 60 dB in 0.4 s
    room[0] = 1  # the direct sound
    centre, shift = clean.shape[1] // 2, min(40, clean.shape[1] // 4)
    warp = (torch.tensor([each]) for each in (clean.shape[1], centre, shift))
    return {
        "speech": clean,
        "tempo 0.85": transform(change_tempo(speech, 0.85, RATE)),
        "tempo 1.15": transform(change_tempo(speech, 1.15, RATE)),
        "gain -6 dB": transform(limit(speech * decibels(-6))),
        "gain 8 dB": transform(limit(speech * decibels(8))),
        "noise at half the amplitude": transform(limit(add_noise(speech, noise, 0.5))),
        "reverberation": transform(limit(reverberate(speech, room.astype(np.float32)))),
        "telephone": transform(telephone(speech, RATE)),
        f"time warp: frame {centre} moved by {shift}": time_warp(clean[None], *warp)[0],
        "frequency mask up to 27": mask(Policy(0, 27, 1, 0, 0.0, 0)),
        "time mask up to 70": mask(Policy(0, 0, 0, 70, 1.0, 1)),
        "SpecAugment LD": mask(POLICIES["LD"]),
    }


def main(speech_path: str, noise_path: str, figure_path: str) -> None:
    """Draw all spectrograms on one scale of time, frequency and colour."""
    speech = load_audio(speech_path, RATE)
    noise = read_noise(noise_path, len(speech), RATE, np.random.default_rng(0))
    spectrograms = augmented(speech, noise)
    figure = Figure(figsize=(15, 9), layout="constrained")
    colours = PowerNorm(0.4, vmin=0, vmax=spectrograms["speech"].max().item())  # shows faint sounds too
    grid = figure.subplots(4, 3, sharex=True, sharey=True)
    for axes, (title, values) in zip(grid.flat, spectrograms.items(), strict=True):
        extent = (0, values.shape[1] * CONFIG.window_stride, 0, RATE / 2000)
        axes.imshow(values.numpy(), origin="lower", aspect="auto", extent=extent, norm=colours, cmap="magma")
        axes.set_title(title)
    longest = max(values.shape[1] for values in spectrograms.values())
    grid[0, 0].set(xlim=(0, longest * CONFIG.window_stride))
    figure.supxlabel("seconds")
    figure.supylabel("kHz")
    figure.savefig(figure_path, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
