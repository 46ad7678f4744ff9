"""The compute thread of a model: recordings of all clients in common batches, live streams between them."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from deepspeech.decoding.decoder import Partial
from deepspeech.decoding.word_times import Transcript
from deepspeech.inference.recognizer import Recognizer
from deepspeech.inference.stream import Stream
from deepspeech.inference.stream_batch import advance

T = TypeVar("T")
ALIKE = 0.6  # shortest utterance of a batch, relative to the one that it is made for


class AbandonedError(Exception):
    """The engine ends before an utterance had its turn."""


@dataclass(eq=False)
class Client:
    """Who an utterance belongs to; the one that was served least comes first."""

    served: float = 0.0  # seconds of audio


@dataclass(eq=False)
class Job:
    """An utterance that waits."""

    waveform: np.ndarray
    client: Client
    result: Future[list[Transcript]] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Chunk:
    """Audio of a live stream that waits."""

    stream: Stream
    samples: np.ndarray
    sample_rate: int
    then: Callable[[Partial], object]  # what to do with the text so far, for the result
    result: Future[Any] = field(default_factory=Future)


class Engine:
    """Runs one model in a thread of its own.

    An utterance waits at most `max_wait` seconds for others of like length to share its batch. So one network
    serves many clients at the speed of batches, and a long recording, which comes in segments, does not hold
    up short ones.

    Args:
        recognizer: The model with its decoder; used in the engine's thread only.
        max_wait: Seconds.
        batch_seconds: Longest batch, padding included.
        observe: Called with the number of utterances of every batch.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        max_wait: float = 0.02,
        batch_seconds: float = 80.0,
        observe: Callable[[int], object] = lambda utterances: None,
    ) -> None:
        self.recognizer, self.max_wait, self.observe = recognizer, max_wait, observe
        self.sample_rate = recognizer.model.config.features.sample_rate
        self.samples = round(batch_seconds * self.sample_rate)
        self._jobs: list[Job] = []
        self._steps: list[Callable[[], None]] = []
        self._chunks: list[Chunk] = []
        self._changed, self._closed, self._abandoned = threading.Condition(), False, False
        self._thread = threading.Thread(target=self._work, name="deepspeech-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Utterances that wait for a batch."""
        return len(self._jobs)

    def transcripts_of(self, waveforms: Sequence[np.ndarray], client: Client) -> list[list[Transcript]]:
        """As `Recognizer.batch_transcripts`; waits for the results, so not for the engine's own thread.

        Raises:
            AbandonedError: The engine ends.
        """
        jobs = [Job(waveform, client) for waveform in waveforms]
        with self._changed:
            if self._abandoned:
                raise AbandonedError
            self._jobs += jobs
            self._changed.notify()
        return [job.result.result() for job in jobs]

    def step(self, function: Callable[[], T]) -> Future[T]:
        """Run a step of a stream in the engine's thread, before the next batch."""
        result: Future[T] = Future()
        with self._changed:
            self._steps.append(lambda: _fulfil(result, function))
            self._changed.notify()
        return result

    def feed(self, chunk: Chunk) -> Future[Any]:
        """Feed a stream, together with others; the result is what `then` makes of the text so far."""
        with self._changed:
            self._chunks.append(chunk)
            self._changed.notify()
        return chunk.result

    def abandon(self) -> None:
        """Give up the utterances that wait, and take no more."""
        with self._changed:
            jobs, self._jobs, self._abandoned = self._jobs, [], True
        for job in jobs:
            job.result.set_exception(AbandonedError())

    def close(self) -> None:
        """End the thread once all that waits is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._steps or self._chunks or self._due() or self._closed):
                    self._changed.wait(self._patience())
                if self._closed and not (self._steps or self._chunks or self._jobs):
                    return
                chunks, self._chunks = self._chunks, []
                steps, self._steps = self._steps, []
                batch = self._next_batch() if self._due() or self._closed else []
            if chunks:
                self._advance(chunks)
            for step in steps:
                step()
            if batch:
                self._transcribe(batch)

    def _patience(self) -> float | None:
        """Seconds until the oldest utterance has waited long enough; None where none waits."""
        if not self._jobs:
            return None
        return max(min(job.arrived for job in self._jobs) + self.max_wait - time.monotonic(), 0.0)

    def _due(self) -> bool:
        """Whether a batch should start: it is full, or an utterance has waited long enough."""
        full = sum(len(job.waveform) for job in self._jobs) >= self.samples
        return bool(self._jobs) and (full or not self._patience())

    def _next_batch(self) -> list[Job]:
        """Take the utterance whose client was served least, and others that suit it; there may be none."""
        waiting = sorted(self._jobs, key=lambda job: (job.client.served, job.arrived))
        batch, longest = waiting[:1], len(waiting[0].waveform) if waiting else 0
        for job in waiting[1:]:
            size = len(job.waveform)
            most = max(longest, size)
            if min(longest, size) >= ALIKE * most and most * (len(batch) + 1) <= self.samples:
                batch.append(job)
                longest = most
        for job in batch:
            job.client.served += len(job.waveform) / self.sample_rate
        self._jobs = [job for job in self._jobs if job not in batch]
        return batch

    def _advance(self, chunks: Sequence[Chunk]) -> None:
        """Feed streams together; a second chunk of the same stream waits for the next time."""
        first = {chunk.stream: chunk for chunk in reversed(chunks)}
        later = [chunk for chunk in chunks if first[chunk.stream] is not chunk]
        ready: list[tuple[Chunk, np.ndarray]] = []
        for chunk in first.values():
            try:
                ready.append((chunk, chunk.stream.prepare(chunk.samples, chunk.sample_rate)))
            except Exception as error:  # this client's fault; the others go on
                chunk.result.set_exception(error)
        try:
            partials = advance([chunk.stream for chunk, _ in ready], [samples for _, samples in ready])
        except Exception as error:  # each client gets an answer, and the thread lives on
            for chunk, _ in ready:
                chunk.result.set_exception(error)
        else:
            for (chunk, _), partial in zip(ready, partials, strict=True):
                _fulfil(chunk.result, functools.partial(chunk.then, partial))
        with self._changed:
            self._chunks = later + self._chunks

    def _transcribe(self, batch: Sequence[Job]) -> None:
        self.observe(len(batch))
        try:
            results = self.recognizer.batch_transcripts([job.waveform for job in batch])
        except Exception as error:  # whatever it is, each client gets an answer, and the thread lives on
            for job in batch:
                job.result.set_exception(error)
            return
        for job, transcripts in zip(batch, results, strict=True):
            job.result.set_result(transcripts)


def _fulfil(result: Future[T], function: Callable[[], T]) -> None:
    try:
        result.set_result(function())
    except Exception as error:  # belongs to whoever waits for the result
        result.set_exception(error)
