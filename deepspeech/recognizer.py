"""Audio in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from deepspeech.audio import load_audio
from deepspeech.checkpoint import load_model
from deepspeech.decoder import Decoder, GreedyDecoder, Hypothesis
from deepspeech.features import Spectrogram
from deepspeech.model import DeepSpeech


class Recognizer:
    """A network with its features and a decoder.

    Args:
        model: A trained network; put into eval mode.
        decoder: Greedy by default.
        dtype: Format of autocast; float32 for none.
    """

    def __init__(
        self, model: DeepSpeech, decoder: Decoder | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.spectrogram = Spectrogram(model.config.features).to(self.device)
        self.decoder = decoder or GreedyDecoder(model.labels)
        self.dtype = dtype

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Recognizer:
        """Read a model file.

        Raises:
            InputError: The file is missing, damaged or no model.
        """
        return cls(load_model(path, device))

    def transcribe(self, audio: str | Path | np.ndarray) -> Hypothesis:
        """The best hypothesis for a recording.

        Args:
            audio: A file, or a waveform (samples,) float32 at the model's sample rate.

        Raises:
            InputError: The file cannot be read.
        """
        return self.hypotheses([audio])[0][0]

    @torch.inference_mode()
    def hypotheses(self, audios: Sequence[str | Path | np.ndarray]) -> list[list[Hypothesis]]:
        """All hypotheses for each of some recordings, best first; they run as one batch."""
        rate = self.model.config.features.sample_rate
        waveforms = [
            torch.from_numpy(audio if isinstance(audio, np.ndarray) else load_audio(audio, rate))
            for audio in audios
        ]
        lengths = torch.tensor([len(waveform) for waveform in waveforms], device=self.device)
        padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True).to(self.device)
        features, frames = self.spectrogram(padded, lengths)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            log_probs, frames = self.model(features, frames)
        return self.decoder.decode(log_probs, frames)

    def seconds(self, offset: int) -> float:
        """When an output frame, as in `Hypothesis.offsets`, begins."""
        stride = self.model.config.features.window_stride
        for window in self.model.conv.time:
            stride *= window.stride
        return offset * stride
