"""Audio in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepspeech.audio.features import Spectrogram
from deepspeech.audio.loading import load_audio
from deepspeech.audio.loudness import find_pauses
from deepspeech.checkpoint.format import load_model
from deepspeech.data.batch import padded_samples
from deepspeech.decoding.decoder import Decoder, Hypothesis, StreamingDecoder
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.decoding.word_times import Transcript, find_words
from deepspeech.device import autocast
from deepspeech.errors import InputError
from deepspeech.inference.stream import Stream
from deepspeech.model.deepspeech2 import DeepSpeech


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
            InputError: The file is missing or damaged, or is not a model.
        """
        return cls(load_model(path, device))

    def transcribe(self, audio: str | Path | np.ndarray) -> Hypothesis:
        """The best hypothesis for a recording.

        Args:
            audio: A file, or a waveform (samples,) float32 at the model's sample rate.

        Raises:
            InputError: The file cannot be read.
        """
        return self.decoder.decode(*self.log_probs([self._waveform(audio)]))[0][0]

    def transcripts(self, audio: str | Path | np.ndarray) -> list[Transcript]:
        """All hypotheses for a recording, best first, with times and confidences of their words.

        Args:
            audio: A file, or a waveform (samples,) float32 at the model's sample rate.

        Raises:
            InputError: The file cannot be read.
        """
        return self.batch_transcripts([self._waveform(audio)])[0]

    def batch_transcripts(
        self, waveforms: Sequence[np.ndarray], words: bool = True
    ) -> list[list[Transcript]]:
        """`transcripts` of several waveforms, which run as one batch.

        Args:
            waveforms: (samples,) each, at the model's sample rate.
            words: Whether to find the times and confidences of the words.
        """
        log_probs, lengths = self.log_probs(waveforms)
        decoded = self.decoder.decode(log_probs, lengths)
        if not words:
            return [[Transcript(each, []) for each in hypotheses] for hypotheses in decoded]
        rows = zip(waveforms, log_probs.cpu(), lengths.tolist(), decoded, strict=True)
        return [self._with_words(waveform, row[:length], found) for waveform, row, length, found in rows]

    def _with_words(
        self, waveform: np.ndarray, log_probs: Tensor, hypotheses: Sequence[Hypothesis]
    ) -> list[Transcript]:
        labels, frame = self.model.labels, self.model.frame_seconds
        pauses = find_pauses(waveform, self.model.config.features.sample_rate)
        return [Transcript(each, find_words(each, log_probs, pauses, labels, frame)) for each in hypotheses]

    @torch.inference_mode()
    def log_probs(self, waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Run the network on waveforms (samples,): (batch, frames, labels), and (batch,) frame counts."""
        with autocast(self.device, self.dtype):
            log_probs, lengths = self.model(*self.features(waveforms))
        return log_probs, lengths

    def features(self, waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """The network's input for waveforms (samples,): (batch, bins, frames), and (batch,) frame counts."""
        lengths = torch.tensor([len(waveform) for waveform in waveforms])  # on the host, see `Batch.to`
        rows = torch.zeros(len(waveforms), padded_samples(int(lengths.max())))
        for row, waveform in zip(rows, waveforms, strict=True):
            row[: len(waveform)] = torch.from_numpy(waveform)
        features, frames = self.spectrogram(rows.to(self.device), lengths)
        return features, frames

    def stream(self) -> Stream:
        """Start to transcribe audio as it comes.

        Raises:
            InputError: The model or the decoder cannot stream; the message says why, and what to train.
        """
        if not isinstance(self.decoder, StreamingDecoder):
            raise InputError(f"{type(self.decoder).__name__} needs whole utterances; use another decoder")
        return Stream(self.model, self.spectrogram, self.decoder, self.dtype)

    def _waveform(self, audio: str | Path | np.ndarray) -> np.ndarray:
        if isinstance(audio, np.ndarray):
            return audio
        return load_audio(audio, self.model.config.features.sample_rate)
