"""Training steps of Deep Speech 2, written out: features, network, CTC loss, clipping, SGD.

    python examples/train_step_by_hand.py one.wav "WHAT ONE SAYS" two.wav "WHAT TWO SAYS"

`deepspeech/training/train_step.py` does the same, and handles mixed precision and several processes.
"""

import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from deepspeech import DeepSpeech, Labels, Spectrogram, load_audio
from deepspeech.model.config import ModelConfig

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, MAX_NORM = 3e-4, 0.9, 1e-5, 400


def train_step(
    model: DeepSpeech, velocity: dict[Tensor, Tensor], waveforms: Sequence[np.ndarray], texts: Sequence[str]
) -> float:
    """Update the weights and their velocity in place; returns the mean loss of the utterances."""
    samples = torch.tensor([len(waveform) for waveform in waveforms])
    padded = pad_sequence([torch.from_numpy(waveform) for waveform in waveforms], batch_first=True)
    features, frames = Spectrogram(model.config.features)(padded, samples)  # (batch, bins, frames)

    log_probs, frames = model(features, frames)  # (batch, frames, labels)

    targets = [torch.tensor(model.labels.encode(text)) for text in texts]
    sizes = torch.tensor([len(target) for target in targets])
    losses = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1), torch.cat(targets), frames, sizes, model.labels.blank, reduction="none"
    )
    loss = losses.mean()
    model.zero_grad()
    loss.backward()

    norm = torch.stack([weights.grad.norm() for weights in model.parameters()]).norm()
    scale = min(1.0, MAX_NORM / norm.item())
    with torch.no_grad():
        for weights in model.parameters():
            gradient = scale * weights.grad + WEIGHT_DECAY * weights
            velocity[weights] = MOMENTUM * velocity.get(weights, 0) + gradient
            weights -= LEARNING_RATE * (gradient + MOMENTUM * velocity[weights])  # Nesterov
    return loss.item()


if __name__ == "__main__":
    torch.manual_seed(1)
    labels = Labels.load("labels.json")
    model = DeepSpeech(ModelConfig(hidden_size=256, hidden_layers=2, labels=labels.characters)).train()
    waveforms = [load_audio(path, model.config.features.sample_rate) for path in sys.argv[1::2]]
    velocity: dict[Tensor, Tensor] = {}
    for number in range(1, 11):
        print(f"step {number}: loss {train_step(model, velocity, waveforms, sys.argv[2::2]):.2f}")
