"""Live streams of clients: audio in chunks, text so far, utterances that end at silences."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.decoding.decoder import Hypothesis, Partial, StreamingDecoder
from deepspeech.decoding.word_times import Word
from deepspeech.errors import InputError
from deepspeech.inference.long_form import concatenate
from deepspeech.inference.samples import Resampler
from deepspeech.serving.engine import Chunk, Engine
from deepspeech.serving.recordings import transcribe_audio


@dataclass(frozen=True)
class Utterance:
    """What was said between two silences; times of its words are those of the stream."""

    text: str
    words: list[Word]


BOOST = 3.0  # of phrases that clients favour
NOTHING = Utterance("", [])


@dataclass(frozen=True)
class Update:
    """What a chunk of audio has changed."""

    partial: Partial
    ended: Utterance | None = None  # an utterance with words that a silence has ended


class LiveSession:
    """A stream of a model that streams.

    Args:
        engine: Of the model.
        end_silence: Seconds without speech that end an utterance.
    """

    def __init__(self, engine: Engine, end_silence: float) -> None:
        self.engine, self.end_silence = engine, end_silence
        self.stream = engine.recognizer.stream()
        self.stream.keeps_log_probs = True

    async def favour(self, phrases: Sequence[str]) -> None:
        """Favour words and phrases, where the decoder is a beam; starts a new utterance."""
        await asyncio.wrap_future(self.engine.step(lambda: self._favour(phrases)))

    def _favour(self, phrases: Sequence[str]) -> None:
        decoder = self.engine.recognizer.decoder
        if isinstance(decoder, BeamCTCDecoder):
            self.stream.decoder = decoder.with_hot_words(phrases, BOOST)
            self.stream.reset()

    async def feed(self, samples: np.ndarray, sample_rate: int) -> Update:
        """Take the next samples (samples,), float32 or int16.

        Raises:
            InputError: They are invalid.
        """
        chunk = Chunk(self.stream, samples, sample_rate, self._update)
        update: Update = await asyncio.wrap_future(self.engine.feed(chunk))
        return update

    async def finish(self) -> Utterance:
        """End the last utterance; the next one may start."""
        return await asyncio.wrap_future(self.engine.step(self._finish))

    def _update(self, partial: Partial) -> Update:
        """End the utterance where it is silent for long."""
        if self.stream.silence < self.end_silence:
            return Update(partial)
        start = self.stream.start
        ended = self._utterance(self.stream.end_utterance(), start)
        return Update(Partial("", ""), ended if ended.text else None)

    def _finish(self) -> Utterance:
        if not self.stream.seconds:
            return NOTHING
        start = self.stream.start
        return self._utterance(self.stream.finish(), start)

    def _utterance(self, hypothesis: Hypothesis, start: float) -> Utterance:
        words = [
            replace(word, start=start + word.start, end=start + word.end)
            for word in self.stream.words(hypothesis)
        ]
        return Utterance(" ".join(hypothesis.text.split()), words)


class RecordedSession:
    """A stream of a model that needs whole utterances: it is recorded, and transcribed at its end.

    Args:
        engine: Of the model.
        max_seconds: Longest recording.
    """

    def __init__(self, engine: Engine, max_seconds: float) -> None:
        self.engine, self.max_seconds = engine, max_seconds
        self._forget()

    def _forget(self) -> None:
        self._blocks: list[np.ndarray] = []  # at the model's rate
        self._resampler = Resampler(self.engine.sample_rate)

    async def favour(self, phrases: Sequence[str]) -> None:
        """No effect: recordings of all clients are decoded together."""

    async def feed(self, samples: np.ndarray, sample_rate: int) -> Update:
        """Take the next samples (samples,), float32 or int16.

        Raises:
            InputError: They are invalid, or too many.
        """
        await asyncio.wrap_future(self.engine.step(lambda: self._record(samples, sample_rate)))
        return Update(Partial("", ""))

    def _record(self, samples: np.ndarray, sample_rate: int) -> None:
        block = self._resampler.feed(samples, sample_rate)
        if self._resampler.seconds > self.max_seconds:
            raise InputError(f"the recording lasts longer than {self.max_seconds:.0f} s; end it earlier")
        self._blocks.append(block)

    async def finish(self) -> Utterance:
        """Transcribe what was recorded, and forget it."""
        blocks = [*self._blocks, self._resampler.finish()]
        self._forget()
        if not any(map(len, blocks)):
            return NOTHING
        return await asyncio.to_thread(self._transcribe, blocks)

    def _transcribe(self, blocks: list[np.ndarray]) -> Utterance:
        spaced = " " in self.engine.recognizer.model.labels
        whole = concatenate(list(transcribe_audio(self.engine, blocks)), spaced)
        return Utterance(" ".join(whole.hypothesis.text.split()), whole.words)


Session = LiveSession | RecordedSession


def streams(engine: Engine) -> bool:
    """Whether a model can transcribe while audio comes."""
    if not isinstance(engine.recognizer.decoder, StreamingDecoder):
        return False
    try:
        engine.recognizer.model.config.require_streaming()
    except InputError:
        return False
    return True


def start_session(engine: Engine, end_silence: float, max_seconds: float) -> Session:
    """A stream by whichever way the model allows."""
    return LiveSession(engine, end_silence) if streams(engine) else RecordedSession(engine, max_seconds)
