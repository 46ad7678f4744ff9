"""Draw the features of an audio file, as the network gets them.

python examples/features_of_a_file.py speech.wav features.png
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

from deepspeech import Spectrogram, load_audio
from deepspeech.audio.config import FeatureConfig


def main(audio_path: str, figure_path: str) -> None:
    """Compute the normalised log spectrogram and save it as a figure."""
    config = FeatureConfig()  # windows of 20 ms every 10 ms, at 16 kHz
    waveform = load_audio(audio_path, config.sample_rate)  # (samples,)
    features, _ = Spectrogram(config)(torch.from_numpy(waveform)[None])  # (1, bins, frames)

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    seconds, kilohertz = features.shape[2] * config.window_stride, config.sample_rate / 2000
    extent = 0, seconds, 0, kilohertz
    image = axes.imshow(features[0].numpy(), origin="lower", aspect="auto", extent=extent, vmax=6)
    axes.set(title=Path(audio_path).name, xlabel="time in seconds", ylabel="frequency in kHz")
    figure.colorbar(image, label="standard deviations from the mean", extend="max")
    figure.savefig(figure_path)
    print(f"{features.shape[1]} bins x {features.shape[2]} frames: {figure_path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
