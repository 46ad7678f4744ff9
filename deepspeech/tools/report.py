"""A page on the errors of an evaluation: where they are, which they are, what the network saw."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import Levenshtein
import numpy as np
from torch import Tensor

from deepspeech import distributed
from deepspeech.atomic_file import write_atomic
from deepspeech.audio.loading import load_audio
from deepspeech.data.batch import Batch
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.decoding.word_times import confidences
from deepspeech.evaluation.evaluate import Evaluation, Result
from deepspeech.evaluation.metrics import ErrorCounts
from deepspeech.inference.recognizer import Recognizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFUSIONS, WORST, DRAWN = 20, 50, 4  # how many of each the page shows
SURE = 0.9  # confidence from which on a word should hardly ever be wrong
VISIBLE = 0.1  # probability that a label must reach somewhere to be drawn


@dataclass
class Reliability:
    """Whether the words are as often right as their confidences say; observes an evaluation."""

    dataset: SpectrogramDataset
    confidences: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)  # of the same words

    def observe(
        self, batch: Batch, log_probs: Tensor, lengths: Tensor, hypotheses: list[list[Hypothesis]]
    ) -> None:
        """Take in a batch: see `deepspeech.evaluation.evaluate.Observer`."""
        rows = zip(batch.indices, log_probs, lengths.tolist(), hypotheses, strict=True)
        for index, row, length, (best, *_) in rows:
            pairs = align_words(self.dataset.reference(index), best.text)
            self.confidences += confidences(best, row[:length], self.dataset.labels)
            self.right += [reference == hypothesis for reference, hypothesis in pairs if hypothesis]

    def gather(self) -> None:
        """Take in what the other processes observed."""
        everyone = distributed.gather((self.confidences, self.right))
        self.confidences, self.right = (list(chain(*each)) for each in zip(*everyone, strict=True))

    def above(self, confidence: float) -> tuple[int, float]:
        """How many words are surer than this, and the share of them that is right."""
        right = [right for right, sure in zip(self.right, self.confidences, strict=True) if sure > confidence]
        return len(right), sum(right) / max(len(right), 1)

    def bins(self, count: int = 10) -> list[tuple[float, float, int]]:
        """Mean confidence, share of right words and number of words of each bin that has some."""
        sure, right = np.array(self.confidences), np.array(self.right)
        place = np.minimum((sure * count).astype(int), count - 1)
        return [
            (sure[place == index].mean(), right[place == index].mean(), int((place == index).sum()))
            for index in np.unique(place)
        ]

    @property
    def calibration_error(self) -> float:
        """Mean distance of confidence and share of right words, over the words (ECE)."""
        distances = sum(abs(sure - right) * number for sure, right, number in self.bins())
        return distances / max(len(self.right), 1)


def write_report(
    path: str | Path, title: str, evaluation: Evaluation, reliability: Reliability, recognizer: Recognizer
) -> None:
    """Write a self-contained HTML page.

    Args:
        path: The file.
        title: What was evaluated.
        evaluation: Its results.
        reliability: What observed it.
        recognizer: Draws what the network sees in the worst utterances.

    Raises:
        InputError: The file cannot be written, or a recording can no longer be read.
    """
    ranked = sorted(evaluation.results, key=lambda result: (-result.words.edits, -result.words.rate))
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
    """Pairs of words; where one side has none, it is empty."""
    left, right = reference.split(), hypothesis.split()
    pairs = []
    for kind, start, stop, begin, end in Levenshtein.opcodes(left, right):
        if kind == "delete":
            pairs += [(word, "") for word in left[start:stop]]
        elif kind == "insert":
            pairs += [("", word) for word in right[begin:end]]
        else:
            pairs += zip(left[start:stop], right[begin:end], strict=True)
    return pairs


def confusions(results: Sequence[Result]) -> Counter[tuple[str, str]]:
    """How often each word was read as another one, left out ("") or put in (instead of "")."""
    pairs = (pair for result in results for pair in align_words(result.reference, result.hypothesis))
    return Counter((reference, hypothesis) for reference, hypothesis in pairs if reference != hypothesis)


def by_length(results: Sequence[Result]) -> list[tuple[str, int, ErrorCounts]]:
    """Word errors by the reference's number of words: its range, the utterances, their errors."""
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
    """Share of right words over confidence, and how many words there are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="ideal")
    bins = reliability.bins()
    upper.plot(
        [sure for sure, _, _ in bins], [right for _, right, _ in bins], "o-", label="words of this test"
    )
    upper.set(ylabel="share of right words", xlim=(0, 1), ylim=(0, 1.03))
    upper.legend(loc="upper left")
    upper.grid(alpha=0.3)
    lower.hist(reliability.confidences, bins=np.linspace(0, 1, 11), color="0.6", edgecolor="white")
    lower.set(xlabel="confidence", ylabel="words")
    return figure


def draw_utterance(result: Result, recognizer: Recognizer) -> Figure:
    """The spectrogram, and below it the probabilities of the characters with the words read."""
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
    """A figure as an URL that holds the picture itself."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
