"""Audio in, text out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepspeech.audio.loading import load_audio
from deepspeech.audio.loudness import find_pauses
from deepspeech.decoding.decoder import Array, Decoder, Hypothesis, StreamingDecoder, as_numpy
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.decoding.word_times import Transcript, find_words
from deepspeech.errors import InputError
from deepspeech.inference.onnx_network import OnnxNetwork, is_onnx
from deepspeech.inference.samples import checked
from deepspeech.inference.stream import Stream

if TYPE_CHECKING:  # torch is imported only for networks that it runs
    import torch
    from torch import Tensor

    from deepspeech.audio.features import Spectrogram
    from deepspeech.inference.torch_network import TorchNetwork
    from deepspeech.model.deepspeech2 import DeepSpeech


class Recognizer:
    """A network with its features and a decoder.

    Args:
        model: A trained network, put into eval mode, or one that onnxruntime runs.
        decoder: Greedy by default.
        dtype: Format of torch's autocast; float32, or None, for none.
    """

    def __init__(
        self,
        model: DeepSpeech | OnnxNetwork,
        decoder: Decoder | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.decoder = decoder or GreedyDecoder(model.labels)
        self.network: TorchNetwork | OnnxNetwork
        if isinstance(model, OnnxNetwork):
            self.network = model
        else:
            from deepspeech.inference.torch_network import TorchNetwork

            self.network = TorchNetwork(model, *([dtype] if dtype else []))
        self.model: Any = model  # DeepSpeech or OnnxNetwork

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Recognizer:
        """Read a model file, or an ONNX file of `deepspeech export`, for which onnxruntime replaces torch.

        Raises:
            InputError: The file is missing or damaged, or is not a model; or an ONNX file is asked for on
                another device than the CPU.
        """
        if is_onnx(path):
            if str(device) != "cpu":
                raise InputError(f"{path}: ONNX files run on the CPU; leave the device out")
            return cls(OnnxNetwork(path))
        from deepspeech.checkpoint.format import load_model

        return cls(load_model(path, device))

    @property
    def device(self) -> torch.device:
        """Where torch runs the network."""
        return self._torch().device

    @property
    def dtype(self) -> torch.dtype:
        """The format of torch's autocast."""
        return self._torch().dtype

    @property
    def spectrogram(self) -> Spectrogram:
        """The features, in torch."""
        return self._torch().spectrogram

    def _torch(self) -> TorchNetwork:
        if isinstance(self.network, OnnxNetwork):
            raise InputError("an ONNX file has no torch network; use the model file that it was made from")
        return self.network

    def transcribe(self, audio: str | Path | np.ndarray) -> Hypothesis:
        """The best hypothesis for a recording.

        Args:
            audio: A file, or a waveform (samples,), float32 or int16, at the model's sample rate.

        Raises:
            InputError: The file cannot be read, or the waveform is invalid or empty.
        """
        return self.decoder.decode(*self.log_probs([self._waveform(audio)]))[0][0]

    def transcripts(self, audio: str | Path | np.ndarray) -> list[Transcript]:
        """All hypotheses for a recording, best first, with times and confidences of their words.

        Args:
            audio: A file, or a waveform (samples,), float32 or int16, at the model's sample rate.

        Raises:
            InputError: The file cannot be read, or the waveform is invalid or empty.
        """
        return self.batch_transcripts([self._waveform(audio)])[0]

    def batch_transcripts(
        self, waveforms: Sequence[np.ndarray], words: bool = True
    ) -> list[list[Transcript]]:
        """`transcripts` of several waveforms, which run as one batch.

        Args:
            waveforms: (samples,) each, float32 or int16, at the model's sample rate.
            words: Whether to find the times and confidences of the words.

        Raises:
            InputError: A waveform is invalid or empty.
        """
        waveforms = _checked(waveforms)
        log_probs, lengths = self.network.log_probs(waveforms)
        decoded = self.decoder.decode(log_probs, lengths)
        if not words:
            return [[Transcript(each, []) for each in hypotheses] for hypotheses in decoded]
        rows = zip(waveforms, as_numpy(log_probs), lengths.tolist(), decoded, strict=True)
        return [self._with_words(waveform, row[:length], found) for waveform, row, length, found in rows]

    def with_words(
        self, waveform: np.ndarray, log_probs: np.ndarray, hypotheses: Sequence[Hypothesis]
    ) -> list[Transcript]:
        """Add the times and confidences of words to the hypotheses for an utterance.

        Args:
            waveform: (samples,), float32 or int16, at the model's sample rate.
            log_probs: (frames, labels), without padding.
            hypotheses: What the decoder made of them.

        Raises:
            InputError: The waveform is invalid.
        """
        return self._with_words(checked(waveform, "waveform"), log_probs, hypotheses)

    def _with_words(
        self, waveform: np.ndarray, log_probs: np.ndarray, hypotheses: Sequence[Hypothesis]
    ) -> list[Transcript]:
        rate = self.model.config.features.sample_rate
        pauses = find_pauses(waveform, rate)
        facts = pauses, self.model.labels, self.model.frame_seconds, len(waveform) / rate
        return [Transcript(each, find_words(each, log_probs, *facts)) for each in hypotheses]

    def log_probs(self, waveforms: Sequence[np.ndarray]) -> tuple[Array, Array]:
        """Run the network on waveforms (samples,): (batch, frames, labels), and (batch,) frame counts.

        Tensors of torch, or numpy arrays of an ONNX file.

        Raises:
            InputError: A waveform is invalid or empty.
        """
        return self.network.log_probs(_checked(waveforms))

    def features(self, waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """The network's input for waveforms (samples,): (batch, bins, frames), and (batch,) frame counts.

        Raises:
            InputError: A waveform is invalid or empty.
        """
        return self._torch().features(_checked(waveforms))

    def stream(self) -> Stream:
        """Start to transcribe audio as it comes.

        Raises:
            InputError: The model or the decoder cannot stream; the message says why, and what to train.
        """
        if not isinstance(self.decoder, StreamingDecoder):
            raise InputError(f"{type(self.decoder).__name__} needs whole utterances; use another decoder")
        return Stream(self.network, self.model, self.decoder)

    def _waveform(self, audio: str | Path | np.ndarray) -> np.ndarray:
        if isinstance(audio, str | os.PathLike):
            return load_audio(audio, self.model.config.features.sample_rate)
        return audio


def _checked(waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    if not len(waveforms):
        raise InputError("no waveform; give at least one")
    found = [checked(waveform, f"waveform {number}") for number, waveform in enumerate(waveforms, 1)]
    if empty := [number for number, waveform in enumerate(found, 1) if not len(waveform)]:
        raise InputError(f"waveform {empty[0]}: no samples; give audio that has some")
    return found
