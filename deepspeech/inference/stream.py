"""Audio in as it comes, text out: the same network, features and decoders as offline."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepspeech.decoding.decoder import Hypothesis, Partial, StreamingDecoder
from deepspeech.decoding.word_times import Word, find_words
from deepspeech.inference.samples import Resampler

PIECE = 10.0  # longest audio that the network processes at a time, seconds: bounds memory


class Stream:
    """Transcribes an utterance while it is spoken; made by `Recognizer.stream`.

    Every chunk gives the text so far, `finish` what `Recognizer.transcribe` gives for the whole.
    Time and memory per chunk do not grow with the utterance, except for its text. The statistics
    of the features cover all frames since the utterance started, so minutes of silence should not
    be part of one: for endless audio, call `end_utterance` where `silence` is long.

    Raises:
        InputError: The model cannot stream; the message says why, and what to train.
    """

    keeps_log_probs = False  # whether those of an utterance are kept, which its words need

    def __init__(self, network: Any, model: Any, decoder: StreamingDecoder) -> None:
        model.config.require_streaming()
        self._log_probs: list[np.ndarray] = []
        self._ended: list[np.ndarray] = []  # the log-probabilities of the utterance that ended last
        self._ended_seconds = 0.0  # its length
        self.network, self.model, self.decoder = network, model, decoder
        self.sample_rate = model.config.features.sample_rate
        self.reset()

    def reset(self) -> None:
        """Forget everything and start an utterance."""
        self.start = 0.0  # where in the audio since then the utterance starts, seconds
        self._resampler = Resampler(self.sample_rate)
        self._samples = 0  # that the network has taken
        self._start_utterance()

    @property
    def seconds(self) -> float:
        """Of audio since `reset`."""
        return self._resampler.seconds

    def _start_utterance(self) -> None:
        self.silence = 0.0  # seconds since the last recognised character
        self.state = self.network.start()
        self._decoder_stream = self.decoder.stream()
        self._ended, self._log_probs = self._log_probs, []
        self._recent = np.zeros(0, np.float32)  # samples inside the look-ahead
        self._partial = Partial("", "")

    def feed(self, samples: np.ndarray, sample_rate: int | None = None) -> Partial:
        """Transcribe the next chunk.

        Args:
            samples: (samples,) float32 with full scale 1, or int16; any number of them.
            sample_rate: In Hz, the model's by default. It may change.

        Returns:
            The text so far, and which part of it is final.

        Raises:
            InputError: The samples or their rate are invalid; the stream is as before.
        """
        return self.advance(self.prepare(samples, sample_rate))

    def prepare(self, samples: np.ndarray, sample_rate: int | None = None) -> np.ndarray:
        """The first half of `feed`: the next samples for the network, at its rate.

        Raises:
            InputError: As in `feed`.
        """
        return self._resampler.feed(samples, sample_rate)

    def finish(self) -> Hypothesis:
        """The final text of the utterance; the next one may start.

        Without any samples it is empty.
        """
        rest = self._resampler.finish()
        if self._samples or len(rest):
            self.advance(rest, final=True)
        hypothesis = self._end()
        self.reset()
        return hypothesis

    def end_utterance(self) -> Hypothesis:
        """Finalise at a silence; samples inside the look-ahead start the next utterance.

        So nothing has to be waited for, and nothing is lost or transcribed twice.
        """
        hypothesis, recent = self._end(), self._recent
        self._samples -= len(recent)  # taken a second time
        self.start = self._samples / self.sample_rate
        self._start_utterance()
        self.advance(recent)
        return hypothesis

    def _end(self) -> Hypothesis:
        self._ended_seconds = self._samples / self.sample_rate - self.start
        return self._decoder_stream.finish()[0]

    def words(self, hypothesis: Hypothesis) -> list[Word]:
        """The words of the utterance that ended last, with times from its start.

        Set `keeps_log_probs` before the first chunk; memory then grows with the utterance.
        """
        if not self._ended:
            return []
        log_probs, frame = np.concatenate(self._ended), self.model.frame_seconds
        return find_words(hypothesis, log_probs, [], self.model.labels, frame, self._ended_seconds)

    def advance(self, samples: np.ndarray, final: bool = False) -> Partial:
        """The second half of `feed`: run the network on samples of `prepare`."""
        size = int(PIECE * self.sample_rate)
        for start in range(0, max(len(samples), 1), size):
            piece = samples[start : start + size]
            ends = final and start + size >= len(samples)
            log_probs, self.state = self.network.advance(piece[None], self.state, ends)
            self.absorb(log_probs[0], piece)
        return self._partial

    def absorb(self, log_probs: np.ndarray, samples: np.ndarray) -> Partial:
        """Take the network's output for some samples: (frames, labels). Returns the text so far."""
        if len(log_probs):
            self._measure_silence(log_probs)
            if self.keeps_log_probs:
                self._log_probs.append(log_probs)
            self._partial = self._decoder_stream.feed(log_probs)
        self._samples += len(samples)
        recent = np.concatenate([self._recent, samples])
        self._recent = recent[max(len(recent) - round(self.model.latency * self.sample_rate), 0) :]
        return self._partial

    def _measure_silence(self, log_probs: np.ndarray) -> None:
        """Update `silence` by frames (frames, labels): those of blanks and spaces are silent."""
        labels, frame = self.model.labels, self.model.frame_seconds
        silent = [labels.blank, *([labels.index(" ")] if " " in labels else [])]
        spoken = np.flatnonzero(~np.isin(log_probs.argmax(axis=1), silent))
        if len(spoken):
            self.silence = (len(log_probs) - 1 - int(spoken[-1])) * frame
        else:
            self.silence += len(log_probs) * frame
