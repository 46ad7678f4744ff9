"""How well a network transcribes a corpus."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from deepspeech import distributed
from deepspeech.atomic_file import write_atomic
from deepspeech.data.batch import Batch
from deepspeech.data.loader import AudioDataLoader
from deepspeech.decoding.decoder import Decoder, Hypothesis
from deepspeech.evaluation.metrics import ErrorCounts, char_errors, word_errors
from deepspeech.model.ctc import ctc_losses
from deepspeech.model.deepspeech2 import DeepSpeech

# Sees every batch with its log_probs (batch, frames, labels), their lengths and the hypotheses
Observer = Callable[[Batch, Tensor, Tensor, list[list[Hypothesis]]], None]


@dataclass(frozen=True)
class Result:
    """One utterance: what was said and what was read."""

    audio_path: str
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts  # without spaces
    characters_and_spaces: ErrorCounts


@dataclass(frozen=True)
class Evaluation:
    """Results in the order of the manifest, and their totals."""

    results: list[Result]
    loss: float  # CTC loss, mean over the utterances
    unreadable: int = 0  # utterances left out because they cannot be read

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
        """Write a row an utterance.

        Raises:
            InputError: The file cannot be written.
        """
        columns = ["audio", "reference", "hypothesis"]
        for unit in ("words", "characters"):
            columns += [unit] + [f"{unit[:-1]}_{kind}" for kind in ("sub", "del", "ins")]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for result in self.results:
            row = [result.audio_path, result.reference, result.hypothesis]
            for counts in (result.words, result.characters):
                row += [counts.length, counts.substitutions, counts.deletions, counts.insertions]
            writer.writerow(row)
        write_atomic(path, text.getvalue().encode())


@torch.inference_mode()
def evaluate(
    model: DeepSpeech,
    loader: AudioDataLoader,
    decoder: Decoder,
    dtype: torch.dtype = torch.float32,
    stop: Callable[[], object] = lambda: False,
    observers: Sequence[Observer] = (),
) -> Evaluation:
    """Transcribe every utterance of the loader and compare; every process gets the results of all.

    Args:
        model: Is put into eval mode.
        loader: One epoch is read.
        decoder: Its best hypothesis counts.
        dtype: Format of autocast; float32 for none.
        stop: Asked after every batch; a true answer, the same in all processes, ends it early.
        observers: Called with every batch of this process.
    """
    model.eval()
    device = next(model.parameters()).device
    dataset, results, unreadable = loader.dataset, {}, 0
    batches = distributed.in_lockstep(loader)
    hidden = not distributed.is_rank_zero()
    for batch in tqdm(batches, "Evaluating", len(loader), unit="batch", leave=False, disable=hidden):
        unreadable += len(batch.faults)
        if len(batch):
            batch = batch.to(device)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                log_probs, lengths = model(batch.features, batch.lengths)
            targets = batch.targets, batch.target_lengths
            losses = ctc_losses(log_probs, lengths, *targets, model.labels.blank).tolist()
            decoded = decoder.decode(log_probs, lengths)
            for observe in observers:
                observe(batch, log_probs, lengths, decoded)
            for index, hypotheses, loss in zip(batch.indices, decoded, losses, strict=True):
                text = hypotheses[0].text
                path, reference = dataset.corpus[index].audio_path, dataset.reference(index)
                results[index] = compare(path, reference, " ".join(text.split())), loss
        if stop():
            break
    everyone = distributed.gather((results, unreadable))
    results = dict(chain(*(own.items() for own, _ in everyone)))
    ordered = [results[index] for index in sorted(results)]
    return Evaluation(
        results=[result for result, _ in ordered],
        loss=sum(loss for _, loss in ordered) / max(len(ordered), 1),
        unreadable=sum(number for _, number in everyone),
    )


def compare(audio_path: str, reference: str, hypothesis: str) -> Result:
    """Count the errors of one hypothesis."""
    return Result(
        audio_path,
        reference,
        hypothesis,
        word_errors(reference, hypothesis),
        char_errors(reference, hypothesis),
        char_errors(reference, hypothesis, spaces=True),
    )
