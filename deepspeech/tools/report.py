"""An HTML report on an evaluation: which errors, where, and what the network computed."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Self

import jinja2
import Levenshtein
import numpy as np

from deepspeech.atomic_file import write_atomic
from deepspeech.audio.loading import load_audio
from deepspeech.evaluation.evaluate import Evaluation, Result
from deepspeech.evaluation.metrics import ErrorCounts
from deepspeech.inference.recognizer import Recognizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFUSIONS, WORST, DRAWN = 20, 50, 4  # maximum number of each
SURE = 0.9  # words of higher confidence should hardly ever be wrong
VISIBLE = 0.1  # labels of lower probability are not drawn


@dataclass(frozen=True)
class Reliability:
    """Compares the confidences of words with how often they are right."""

    words: list[tuple[float, bool]]  # confidence, whether it is right

    @classmethod
    def of(cls, results: Sequence[Result]) -> Self:
        """The words of results with confidences."""
        words: list[tuple[float, bool]] = []
        for result in results:
            pairs = align_words(result.reference, result.hypothesis)
            right = [reference == hypothesis for reference, hypothesis in pairs if hypothesis]
            words += zip(result.confidences, right, strict=True)
        return cls(words)

    def above(self, confidence: float) -> tuple[int, float]:
        """Number of words of higher confidence, and the share of them that is right."""
        right = [right for sure, right in self.words if sure > confidence]
        return len(right), sum(right) / max(len(right), 1)

    def bins(self, count: int = 10) -> list[tuple[float, float, int]]:
        """Mean confidence, share of right words and number of words of each non-empty bin."""
        sure, right = np.array(self.words).reshape(-1, 2).T
        place = np.minimum((sure * count).astype(int), count - 1)
        return [
            (sure[place == index].mean(), right[place == index].mean(), int((place == index).sum()))
            for index in np.unique(place)
        ]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean difference of confidence and share of right words."""
        differences = sum(abs(sure - right) * number for sure, right, number in self.bins())
        return differences / max(len(self.words), 1)


def write_report(path: str | Path, title: str, evaluation: Evaluation, recognizer: Recognizer) -> None:
    """Write a self-contained HTML page.

    Args:
        path: The file.
        title: Model and test data.
        evaluation: The results, with confidences.
        recognizer: Computes the figures of the worst utterances.

    Raises:
        InputError: The file cannot be written or a recording cannot be read.
    """
    reliability = Reliability.of(evaluation.results)
    ranked = sorted(evaluation.results, key=lambda result: (-result.words.edits, result.words.length))
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("deepspeech.tools"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = templates.get_template("report.html").render(
        title=title,
        evaluation=evaluation,
        lengths=by_length(evaluation.results),
        confusions=confusions(evaluation.results).most_common(CONFUSIONS),
        sure=SURE,
        above=reliability.above(SURE),
        reliability=reliability,
        reliability_figure=_embed(draw_reliability(reliability)),
        worst=[result for result in ranked[:WORST] if result.words.edits],
        align_words=align_words,
        drawn=[(result, _embed(draw_utterance(result, recognizer))) for result in ranked[:DRAWN]],
    )
    write_atomic(path, page.encode())


def align_words(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Pairs of a reference and a hypothesis word; "" where one has no counterpart."""
    left, right = reference.split(), hypothesis.split()
    pairs: list[tuple[str, str]] = []
    for _, start, stop, other_start, other_stop in Levenshtein.opcodes(left, right):
        pairs += zip_longest(left[start:stop], right[other_start:other_stop], fillvalue="")
    return pairs


def confusions(results: Sequence[Result]) -> Counter[tuple[str, str]]:
    """How often each word is substituted, deleted (hypothesis "") or inserted (reference "")."""
    pairs = (pair for result in results for pair in align_words(result.reference, result.hypothesis))
    return Counter((reference, hypothesis) for reference, hypothesis in pairs if reference != hypothesis)


def by_length(results: Sequence[Result]) -> list[tuple[str, int, ErrorCounts]]:
    """Word errors by the length of the reference: a range of words, number of utterances, errors."""
    groups: dict[int, list[ErrorCounts]] = {}
    for result in results:
        groups.setdefault(max(result.words.length - 1, 0).bit_length(), []).append(result.words)
    rows = []
    for power, counts in sorted(groups.items()):
        first, last = (1 << power >> 1) + 1, 1 << power
        label = "0 or 1" if power == 0 else str(last) if first == last else f"{first} to {last}"
        rows.append((label, len(counts), sum(counts, ErrorCounts())))
    return rows


def draw_reliability(reliability: Reliability) -> Figure:
    """Share of right words over confidence, and a histogram of the confidences."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="ideal")
    sure, right, _ = np.array(reliability.bins()).reshape(-1, 3).T
    upper.plot(sure, right, "o-", label="words of this test")
    upper.set(ylabel="share of right words", xlim=(0, 1), ylim=(0, 1.03))
    upper.legend(loc="upper left")
    upper.grid(alpha=0.3)
    confidence = [sure for sure, _ in reliability.words]
    lower.hist(confidence, bins=np.linspace(0, 1, 11), color="0.6", edgecolor="white")
    lower.set(xlabel="confidence", ylabel="words")
    return figure


def draw_utterance(result: Result, recognizer: Recognizer) -> Figure:
    """The features, and below them the probabilities of the labels with the words of the hypothesis."""
    import matplotlib
    from matplotlib.figure import Figure

    rate = recognizer.model.config.features.sample_rate
    waveform = load_audio(result.audio_path, rate)
    features, _ = recognizer.features([waveform])
    log_probs, _ = recognizer.log_probs([waveform])
    best = recognizer.transcripts(waveform)[0]
    probabilities = log_probs[0].exp().cpu().numpy()  # (frames, labels)
    times = [frame * recognizer.model.frame_seconds for frame in range(len(probabilities))]
    seconds, labels = len(waveform) / rate, recognizer.model.labels

    figure = Figure(figsize=(min(max(9.0, 1.6 * seconds), 30.0), 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    spectrogram, corners = features[0].cpu().numpy(), (0, seconds, 0, rate / 2000)
    upper.imshow(spectrogram, origin="lower", aspect="auto", extent=corners, cmap="magma")
    upper.set(ylabel="kHz")
    lower.set_prop_cycle(color=matplotlib.color_sequences["tab20"])
    lower.fill_between(times, probabilities[:, labels.blank], color="0.9", linewidth=0)
    for index in np.flatnonzero(probabilities.max(axis=0) > VISIBLE):
        if index != labels.blank:
            lower.plot(times, probabilities[:, index], linewidth=1.2)
    for character, offset in zip(best.hypothesis.text, best.hypothesis.offsets, strict=True):
        place = times[offset], probabilities[offset, labels.index(character)]
        shown = character.replace(" ", "\N{OPEN BOX}")
        lower.annotate(shown, place, xytext=(0, 2), textcoords="offset points", ha="center")
    for word in best.words:
        upper.vlines([word.start, word.end], 0, rate / 2000, color="white", linewidth=0.8)
        lower.axvspan(word.start, word.end, color="tab:green", alpha=0.12, linewidth=0)
        middle, text = (word.start + word.end) / 2, f"{word.text}\n{word.confidence:.2f}"
        lower.text(middle, 1.22, text, ha="center", va="center", fontsize="small")
    lower.set(xlabel="seconds", ylabel="probability", ylim=(0, 1.4), xlim=(0, seconds))
    return figure


def _embed(figure: Figure) -> str:
    """A figure as a data URL."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
