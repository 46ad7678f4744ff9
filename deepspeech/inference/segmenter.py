"""End-pointing: an endless stream of audio -> utterances with their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAME = 0.04  # seconds over which loudness is measured
MARGIN = 8.0  # decibels above the noise floor from which on a frame is no silence
RISE = 1.0  # decibels a second by which the floor follows noise that becomes louder
FLOOR = -60.0  # decibels of full scale; the first guess, low so that no speech counts as noise
CONTRAST = 15.0  # decibels below the loudest frame from which on a frame is no silence
LOUDEST = -20.0  # decibels of full scale; the first guess
SILENCE = 1e-9  # power below which all is the same, -90 dB
LEAD = 0.3  # seconds of silence that are kept before an utterance
PAUSE = 0.2  # seconds of silence, longer than that of a stop consonant, at which any cut is right
LONG_SILENCE = 2.0  # seconds that end even an utterance shorter than the minimum
OVERLAP = 3.0  # seconds that a segment shares with the next where there is no silence to cut at


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording."""

    waveform: np.ndarray  # (samples,) float32
    start: int  # its first sample's number in the recording
    overlap: int = 0  # samples at its beginning that the segment before it has, too

    @property
    def stop(self) -> int:
        """The number of the sample after its last."""
        return self.start + len(self.waveform)


class Segmenter:
    """Cuts audio at silences while it comes in.

    A frame is silent if it is less than `MARGIN` above the noise floor, which falls with every
    quieter frame at once and rises slowly (minimum tracking, after R. Martin, "Spectral subtraction
    based on minimum statistics", 1994), and `CONTRAST` below the loudest frame so far: the floor
    would rise to speech without pauses, or hide speech in strong noise. In doubt audio counts as
    speech, and only silence at the edges of utterances is ever left out.

    An utterance ends at `min_silence` of silence. One that would be longer than `max_seconds` is cut
    in the longest pause of its second half; where there is none, it ends there, and the next
    begins some seconds earlier, so that no word is cut in both.

    Args:
        sample_rate: Of the audio, Hz.
        max_seconds: What no utterance exceeds.
        min_seconds: Utterances shorter than this end only at a long silence.
        min_silence: Seconds.
    """

    def __init__(
        self,
        sample_rate: int,
        max_seconds: float = 20.0,
        min_seconds: float = 1.0,
        min_silence: float = 0.5,
    ) -> None:
        self.frame = round(FRAME * sample_rate)  # samples
        self.max, self.min, self.silence = map(_frames, (max_seconds, min_seconds, min_silence))
        self.overlap = min(_frames(OVERLAP), self.max // 2)
        self._samples = np.zeros(0, dtype=np.float32)  # what is in no segment yet
        self._start = 0  # number of the first of them
        self._quiet = np.zeros(0, dtype=bool)  # of each whole frame of them
        self._floor, self._loudest = FLOOR, LOUDEST
        self._told = 0  # the stop of the last segment

    def feed(self, samples: np.ndarray) -> list[Segment]:
        """Take more audio (samples,), any number of them; returns the utterances that end in it."""
        self._samples = np.concatenate([self._samples, samples])
        known = len(self._quiet)
        count = len(self._samples) // self.frame
        if count > known:
            self._listen(self._samples[known * self.frame : count * self.frame])
        return self._cut() if count > known else []

    def finish(self) -> list[Segment]:
        """The audio is over; returns the utterances that are left. Nothing may be fed after."""
        rest = len(self._samples) % self.frame
        if rest:  # a frame of its own, however short
            self._listen(np.resize(self._samples[-rest:], self.frame))
        segments = self._cut()
        loud = np.flatnonzero(~self._quiet)
        if len(loud) and self._start + loud[-1] * self.frame >= self._told:
            segments.append(self._segment((loud[-1] + 1 + _frames(LEAD)) * self.frame))
        return segments

    def _listen(self, samples: np.ndarray) -> None:
        """Tell which of some whole frames are silent."""
        power = np.square(samples.reshape(-1, self.frame), dtype=np.float64).mean(axis=1)
        levels = 10 * np.log10(np.maximum(power, SILENCE))
        rise = RISE * FRAME * np.arange(len(levels) + 1)
        floor = np.minimum.accumulate(np.append(self._floor, levels) - rise) + rise
        loudest = np.maximum.accumulate(np.append(self._loudest, levels))
        self._floor, self._loudest = floor[-1], loudest[-1]
        quiet = levels < np.minimum(floor + MARGIN, loudest - CONTRAST)[1:]
        self._quiet = np.append(self._quiet, quiet)

    def _cut(self) -> list[Segment]:
        """Cut utterances from what is there until what is left may still go on."""
        segments = []
        while True:
            loud = np.flatnonzero(~self._quiet)
            self._drop((loud[0] if len(loud) else len(self._quiet)) - _frames(LEAD))
            end = self._end() if len(loud) else 0
            if not end:
                return segments
            segments.append(self._segment(end * self.frame))
            self._drop(end - self.overlap if end == self.max else end)

    def _end(self) -> int:
        """The number of frames until the utterance ends; 0 while it may go on."""
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
        """The first samples of what is there."""
        overlap = max(self._told - self._start, 0)
        segment = Segment(self._samples[:samples].copy(), self._start, overlap)
        self._told = segment.stop
        return segment

    def _drop(self, frames: int) -> None:
        """Forget the first frames; none where the number is not positive."""
        frames = max(frames, 0)
        self._samples, self._quiet = self._samples[frames * self.frame :], self._quiet[frames:]
        self._start += frames * self.frame


def _frames(seconds: float) -> int:
    return max(round(seconds / FRAME), 1)
