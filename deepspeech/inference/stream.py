"""Audio in as it comes, text out: the same network, features and decoders as offline."""

from __future__ import annotations

import numpy as np
import soxr
import torch

from deepspeech.audio.features import Spectrogram
from deepspeech.decoding.decoder import Hypothesis, Partial, StreamingDecoder
from deepspeech.errors import InputError
from deepspeech.model.deepspeech2 import DeepSpeech

RATES = 1000, 768_000  # Hz of what can be resampled
PIECE = 10.0  # seconds that the network sees at a time, at most, so that long chunks need little memory


class Stream:
    """Transcribes an utterance while it is spoken; made by `Recognizer.stream`.

    Every chunk gives the text so far, `finish` what `Recognizer.transcribe` gives for the whole.
    Time and memory for a chunk do not depend on what came before, but for the text itself. The
    statistics of the features do: they are those of all frames since the begin of the utterance,
    so minutes of silence should not be part of one. `divide`, where `silence` is long, makes
    utterances of an endless stream.

    Args:
        model: In eval mode.
        spectrogram: The model's features, on its device.
        decoder: Turns the model's output into text.
        dtype: Format of autocast; float32 for none.

    Raises:
        InputError: The model cannot stream; says why, and what to train.
    """

    def __init__(
        self, model: DeepSpeech, spectrogram: Spectrogram, decoder: StreamingDecoder, dtype: torch.dtype
    ) -> None:
        model.config.require_streaming()
        self.model, self.spectrogram, self.decoder, self.dtype = model, spectrogram, decoder, dtype
        self.device = next(model.parameters()).device
        self.sample_rate = model.config.features.sample_rate
        self.reset()

    def reset(self) -> None:
        """Forget everything and begin an utterance."""
        self.seconds = 0.0  # of audio since then
        self.begin = 0.0  # where in it the utterance begins
        self._resampler: soxr.ResampleStream | None = None
        self._rate = self.sample_rate
        self._begin()

    def _begin(self) -> None:
        self.silence = 0.0  # seconds for which the network has read nothing
        self._heard = self._seen = None  # states of the features and of the network
        self._decoder = self.decoder.stream()
        self._recent = np.zeros(0, np.float32)  # samples whose last frames are not complete yet
        self._partial = Partial("", "")

    def feed(self, samples: np.ndarray, sample_rate: int | None = None) -> Partial:
        """Go on.

        Args:
            samples: (samples,) float32 with full scale 1, or int16; of any number.
            sample_rate: Theirs in Hz, the model's by default. It may change.

        Returns:
            The text so far, and which part of it stays.

        Raises:
            InputError: The samples are not mono numbers, or their rate is no audio's; the utterance
                can go on without them.
        """
        samples, rate = checked(samples), sample_rate or self.sample_rate
        if not RATES[0] <= rate <= RATES[1]:
            raise InputError(f"stream: audio of {rate} Hz; give {RATES[0]} to {RATES[1]} Hz")
        self.seconds += len(samples) / rate
        if rate != self._rate:
            self._advance(self._resampled(samples[:0], last=True))
            same = rate == self.sample_rate
            self._resampler = None if same else soxr.ResampleStream(rate, self.sample_rate, 1)
            self._rate = rate
        return self._advance(self._resampled(samples))

    def finish(self) -> Hypothesis:
        """The final text of the utterance; the next one may begin.

        Of no samples at all it is empty.
        """
        if self.seconds:
            self._advance(self._resampled(np.zeros(0, np.float32), last=True), final=True)
        hypothesis = self._decoder.finish()[0]
        self.reset()
        return hypothesis

    def divide(self) -> Hypothesis:
        """End the utterance without waiting for what the network has not seen whole yet.

        That begins the next utterance, so nothing is lost or read twice. Meant for a silence.
        """
        hypothesis, recent = self._decoder.finish()[0], self._recent
        self.begin = self.seconds - len(recent) / self.sample_rate
        self._begin()
        self._advance(recent)
        return hypothesis

    def _resampled(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        return self._resampler.resample_chunk(samples, last) if self._resampler else samples

    @torch.inference_mode()
    def _advance(self, samples: np.ndarray, final: bool = False) -> Partial:
        size = int(PIECE * self.sample_rate)
        for start in range(0, max(len(samples), 1), size):
            piece = torch.from_numpy(samples[start : start + size])[None].to(self.device)
            ends = final and start + size >= len(samples)
            features, lengths, self._heard = self.spectrogram.forward_chunk(piece, None, self._heard, ends)
            if not features.shape[2]:
                continue
            with autocast(self.device, self.dtype):
                log_probs, _, self._seen = self.model.forward_chunk(features, lengths, self._seen, ends)
            read = log_probs[0].cpu().numpy()
            self._listen(read)
            self._partial = self._decoder.feed(read)
        recent = np.concatenate([self._recent, samples])
        self._recent = recent[max(len(recent) - round(self.model.latency * self.sample_rate), 0) :]
        return self._partial

    def _listen(self, log_probs: np.ndarray) -> None:
        """Measure how long nothing was read: frames (frames, labels) of blanks and spaces."""
        labels, frame = self.model.labels, self.model.frame_seconds
        nothing = [labels.blank, *([labels.index(" ")] if " " in labels else [])]
        read = np.flatnonzero(~np.isin(log_probs.argmax(axis=1), nothing))
        if len(read):
            self.silence = (len(log_probs) - 1 - int(read[-1])) * frame
        else:
            self.silence += len(log_probs) * frame


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which a network runs; float32 means no autocast."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def checked(samples: np.ndarray) -> np.ndarray:
    """Samples as finite float32 (samples,).

    Raises:
        InputError: They are not mono, no numbers, or not finite.
    """
    if samples.ndim != 1:
        raise InputError(f"stream: samples of shape {samples.shape}; give one channel, (samples,)")
    if samples.dtype == np.int16:
        return samples * np.float32(2**-15)
    if not np.issubdtype(samples.dtype, np.floating):
        raise InputError(f"stream: samples of type {samples.dtype}; give float32 or int16")
    if not np.isfinite(samples).all():
        raise InputError("stream: audio has NaN or infinite samples; repair its source")
    return samples.astype(np.float32, copy=False)
