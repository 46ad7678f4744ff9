"""An HTML report on an evaluation: which errors, where, and what the network computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Self

import jinja2
import Levenshtein
import numpy as np

from deepspeech.atomic_file import write_atomic
from deepspeech.evaluation import figures
from deepspeech.evaluation.evaluate import Evaluation, Result
from deepspeech.evaluation.metrics import ErrorCounts
from deepspeech.inference.recognizer import Recognizer
from deepspeech.tools.utterance_view import data_url, views

CONFUSIONS, SHOWN, LISTED = 20, 20, 50  # maximum number of confusions, of utterances with sound, and without
SURE = 0.9  # words of higher confidence should hardly ever be wrong


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


def write_report(
    path: str | Path,
    title: str,
    evaluation: Evaluation,
    recognizer: Recognizer,
    load: Callable[[int], np.ndarray],
) -> None:
    """Write an HTML page that needs no other file, but for sound beyond its limit.

    Args:
        path: The file.
        title: Model and test data.
        evaluation: The results, with confidences.
        recognizer: Runs once more on the worst utterances, which can be heard and looked at.
        load: Reads the waveform of an utterance (samples,), by its number in the corpus.

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
        reliability_figure=data_url("image/png", draw_reliability(reliability)),
        shown=list(views(ranked[:SHOWN], recognizer, load)),
        listed=[result for result in ranked[SHOWN:LISTED] if result.words.edits],
        align_words=align_words,
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


def draw_reliability(reliability: Reliability) -> bytes:
    """A PNG: share of right words over confidence, and a histogram of the confidences."""
    with figures.new_figure(5.5, 4.5) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="ideal")
        sure, right, _ = np.array(reliability.bins()).reshape(-1, 3).T
        upper.plot(sure, right, "o-", label="words of this test")
        upper.set(ylabel="share of right words", xlim=(-0.02, 1.02), ylim=(0, 1.03))
        upper.legend(loc="upper left")
        confidence = [sure for sure, _ in reliability.words]
        lower.hist(confidence, bins=np.linspace(0, 1, 11), color="0.6", edgecolor="white")
        lower.set(xlabel="confidence", ylabel="words")
        return figures.png(figure)
