"""Endpointing: endless audio -> utterances with their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepspeech.audio.loudness import rms_levels
from deepspeech.inference.samples import checked

FRAME = 0.04  # seconds over which the level is measured
MARGIN = 8.0  # decibels above the noise floor at which speech starts
RISE = 1.0  # decibels per second by which the floor follows noise that becomes louder
FLOOR = -60.0  # dBFS; the first guess, low so that no speech counts as noise
CONTRAST = 15.0  # decibels below the loudest frame at which silence starts
LOUDEST = -20.0  # dBFS; the first guess
LOWEST = -90.0  # dBFS; all below is the same
LEAD = 0.3  # seconds of silence that are kept before an utterance
PAUSE = 0.2  # seconds of silence, longer than that of a stop consonant, where any cut is safe
LONG_SILENCE = 2.0  # seconds that end even an utterance shorter than the minimum
OVERLAP = 3.0  # seconds that a segment shares with the next where there is no silence to cut at


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording."""

    waveform: np.ndarray  # (samples,) float32
    start: int  # index of its first sample in the recording

    @property
    def stop(self) -> int:
        """Index of the sample after its last."""
        return self.start + len(self.waveform)


class Segmenter:
    """Cuts audio at silences while it comes in.

    A frame is silent if it is less than `MARGIN` above the noise floor, which drops to every
    quieter frame at once and rises slowly (minimum tracking, after R. Martin, "Spectral subtraction
    based on minimum statistics", 1994), and `CONTRAST` below the loudest frame so far: the floor
    alone would rise to speech without pauses, or hide speech in strong noise. In doubt audio counts
    as speech, and only silence at the edges of utterances is ever left out.

    An utterance ends at `min_silence` of silence. One that would exceed `max_seconds` is cut in the
    longest pause of its second half; without a pause it ends there, and the next starts some
    seconds earlier, so that no word is cut in both.

    Args:
        sample_rate: In Hz.
        max_seconds: Longest utterance.
        min_seconds: Utterances shorter than this end only at a long silence.
        min_silence: Seconds that end an utterance.
    """

    def __init__(
        self,
        sample_rate: int,
        max_seconds: float = 20.0,
        min_seconds: float = 1.0,
        min_silence: float = 0.5,
    ) -> None:
        self.frame = round(FRAME * sample_rate)  # samples
        self.max, self.min, self.silence = _frames(max_seconds), _frames(min_seconds), _frames(min_silence)
        self.overlap = min(_frames(OVERLAP), self.max // 2)
        self._samples = np.zeros(0, dtype=np.float32)  # in no segment yet
        self._start = 0  # index of the first of them
        self._quiet = np.zeros(0, dtype=bool)  # for each whole frame of them
        self._floor, self._loudest = FLOOR, LOUDEST
        self._last_stop = 0  # of the last segment

    def feed(self, samples: np.ndarray) -> list[Segment]:
        """Take more audio (samples,), of any length; returns the utterances that end in it.

        Raises:
            InputError: The samples are invalid.
        """
        self._samples = np.concatenate([self._samples, checked(samples, "audio")])
        known = len(self._quiet)
        count = len(self._samples) // self.frame
        if count > known:
            self._measure(self._samples[known * self.frame : count * self.frame])
        return self._cut() if count > known else []

    def finish(self) -> list[Segment]:
        """End the audio; returns the remaining utterances. Nothing can be fed afterwards."""
        rest = len(self._samples) % self.frame
        if rest:  # a frame of its own, however short
            self._measure(np.resize(self._samples[-rest:], self.frame))
        segments = self._cut()
        loud = np.flatnonzero(~self._quiet)
        if len(loud) and self._start + loud[-1] * self.frame >= self._last_stop:
            segments.append(self._segment((loud[-1] + 1 + _frames(LEAD)) * self.frame))
        return segments

    def _measure(self, samples: np.ndarray) -> None:
        """Find out which of the next whole frames are silent."""
        levels = rms_levels(samples, self.frame, self.frame, LOWEST)
        rise = RISE * FRAME * np.arange(len(levels) + 1)
        floor = np.minimum.accumulate(np.append(self._floor, levels) - rise) + rise
        loudest = np.maximum.accumulate(np.append(self._loudest, levels))
        self._floor, self._loudest = floor[-1], loudest[-1]
        quiet = levels < np.minimum(floor + MARGIN, loudest - CONTRAST)[1:]
        self._quiet = np.append(self._quiet, quiet)

    def _cut(self) -> list[Segment]:
        """Cut off utterances until the last one is incomplete."""
        segments: list[Segment] = []
        while True:
            loud = np.flatnonzero(~self._quiet)
            self._drop((loud[0] if len(loud) else len(self._quiet)) - _frames(LEAD))
            end = self._end() if len(loud) else 0
            if not end:
                return segments
            segments.append(self._segment(end * self.frame))
            self._drop(end - self.overlap if end == self.max else end)

    def _end(self) -> int:
        """How many frames the utterance has; 0 while it is incomplete."""
        edges = np.flatnonzero(np.diff(self._quiet[: self.max], prepend=False, append=False))
        silences = [(start, end) for start, end in edges.reshape(-1, 2).tolist() if start]
        for start, end in silences:
            needed = self.silence if start >= self.min else max(self.silence, _frames(LONG_SILENCE))
            if end - start >= needed:
                return start + self.silence // 2
        if len(self._quiet) < self.max:
            return 0
        pauses = [(end - start, (start + end) // 2) for start, end in silences]
        length, middle = max((each for each in pauses if 2 * each[1] > self.max), default=(0, 0))
        return middle if length >= _frames(PAUSE) else self.max

    def _segment(self, samples: int) -> Segment:
        """A segment of the first samples."""
        segment = Segment(self._samples[:samples].copy(), self._start)
        self._last_stop = segment.stop
        return segment

    def _drop(self, frames: int) -> None:
        """Forget the first frames, if any."""
        frames = max(frames, 0)
        self._samples, self._quiet = self._samples[frames * self.frame :], self._quiet[frames:]
        self._start += frames * self.frame


def _frames(seconds: float) -> int:
    return max(round(seconds / FRAME), 1)
