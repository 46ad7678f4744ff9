"""Transcribe a corpus and count the errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from deepspeech import distributed
from deepspeech.atomic_file import write_csv
from deepspeech.data.loader import AudioDataLoader
from deepspeech.decoding.decoder import Decoder
from deepspeech.decoding.word_times import confidences
from deepspeech.device import autocast
from deepspeech.evaluation.metrics import ErrorCounts, char_errors, word_errors
from deepspeech.model.ctc import ctc_losses, too_short
from deepspeech.model.deepspeech2 import DeepSpeech


@dataclass(frozen=True)
class Result:
    """Reference, hypothesis and error counts of one utterance."""

    audio_path: str
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts  # without spaces
    characters_and_spaces: ErrorCounts
    index: int = -1  # in the corpus
    confidences: tuple[float, ...] = ()  # of the words of the hypothesis, if asked for
    log_probs: np.ndarray | None = None  # (frames, labels) float16, if asked for


@dataclass(frozen=True)
class Evaluation:
    """Results in the order of the manifest, and their totals."""

    results: list[Result]
    loss: float  # CTC loss, mean over the utterances that are not too short
    faults: tuple[str, ...] = ()  # of utterances that cannot be read, which are left out
    too_short: tuple[str, ...] = ()  # places of utterances with fewer output frames than CTC needs

    @property
    def words(self) -> ErrorCounts:
        return sum((result.words for result in self.results), ErrorCounts())

    @property
    def characters(self) -> ErrorCounts:
        return sum((result.characters for result in self.results), ErrorCounts())

    @property
    def characters_and_spaces(self) -> ErrorCounts:
        return sum((result.characters_and_spaces for result in self.results), ErrorCounts())

    def write_csv(self, path: str | Path) -> None:
        """Write one row for each utterance.

        Raises:
            InputError: The file cannot be written.
        """
        counts = [f"{unit}{part}" for unit in ("word", "character") for part in ("s", "_sub", "_del", "_ins")]
        rows: list[list[str | int]] = [["audio", "reference", "hypothesis", *counts]]
        for result in self.results:
            row: list[str | int] = [result.audio_path, result.reference, result.hypothesis]
            for errors in (result.words, result.characters):
                row += [errors.length, errors.substitutions, errors.deletions, errors.insertions]
            rows.append(row)
        write_csv(path, rows)


@torch.inference_mode()
def evaluate(
    model: DeepSpeech,
    loader: AudioDataLoader,
    decoder: Decoder,
    dtype: torch.dtype = torch.float32,
    stop: Callable[[], object] = lambda: False,
    with_confidences: bool = False,
    with_log_probs: bool = False,
) -> Evaluation:
    """Transcribe every utterance of the loader; every process returns the results of all.

    Args:
        model: Is put into eval mode.
        loader: Iterated once.
        decoder: Its best hypotheses are evaluated.
        dtype: See `deepspeech.device.autocast`.
        stop: Called before every batch; a true answer, in any process, ends the evaluation.
        with_confidences: Keep the confidences of the words in the results.
        with_log_probs: Keep the log-probabilities in the results.
    """
    model.eval()
    device = next(model.parameters()).device
    dataset, corpus, faults = loader.dataset, loader.dataset.corpus, list[str]()
    results: dict[int, tuple[Result, float]] = {}  # with the loss, NaN where the utterance is too short
    batches = distributed.in_lockstep(loader, lambda batch: stop())
    hidden = not distributed.is_rank_zero()
    for batch, stops in tqdm(batches, "Evaluating", len(loader), unit="batch", leave=False, disable=hidden):
        if any(stops):
            break
        faults += map(str, batch.faults)
        if len(batch):
            batch = batch.to(device)
            with autocast(device, dtype):
                log_probs, lengths = model(batch.features, batch.lengths)
            targets = batch.targets, batch.target_lengths
            losses = ctc_losses(log_probs, lengths, *targets, model.labels.blank).cpu()
            losses[too_short(lengths, *targets).cpu()] = math.nan
            decoded = decoder.decode(log_probs, lengths)
            rows = zip(batch.indices, decoded, losses.tolist(), log_probs, lengths.tolist(), strict=True)
            for index, (best, *_), loss, padded, length in rows:
                row = padded[:length]
                result = compare(corpus[index].audio_path, dataset.reference(index), best.text)
                result = replace(result, index=index)
                if with_confidences:
                    result = replace(result, confidences=tuple(confidences(best, row, model.labels)))
                if with_log_probs:
                    result = replace(result, log_probs=row.to("cpu", torch.float16, copy=True).numpy())
                results[index] = result, loss
    everyone = distributed.gather((results, faults))
    results = dict(sorted(chain(*(own.items() for own, _ in everyone))))
    known = [loss for _, loss in results.values() if not math.isnan(loss)]
    return Evaluation(
        results=[result for result, _ in results.values()],
        loss=sum(known) / len(known) if known else math.nan,
        faults=tuple(chain(*(own for _, own in everyone))),
        too_short=tuple(corpus[index].place for index, (_, loss) in results.items() if math.isnan(loss)),
    )


def compare(audio_path: str, reference: str, hypothesis: str) -> Result:
    """Count the errors of a hypothesis, whose runs of spaces count as one."""
    hypothesis = " ".join(hypothesis.split())
    return Result(
        audio_path,
        reference,
        hypothesis,
        word_errors(reference, hypothesis),
        char_errors(reference, hypothesis),
        char_errors(reference, hypothesis, spaces=True),
    )
