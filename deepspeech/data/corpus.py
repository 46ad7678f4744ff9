"""A corpus: every utterance checked and its transcript encoded, in little memory."""

from __future__ import annotations

import functools
import os
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepspeech import log
from deepspeech.audio import loading
from deepspeech.data import shards
from deepspeech.data.manifest import Utterance, read_manifest
from deepspeech.data.parallel import map_checked, report_faults
from deepspeech.data.ragged import RaggedArray, Strings
from deepspeech.errors import InputError, at
from deepspeech.labels import Labels, UnknownCharacters

MOST = 1000  # times that an epoch takes an utterance


class Corpus:
    """An immutable sequence of checked utterances with durations and encoded transcripts, in a few arrays.

    Args:
        utterances: In loose files or in shards (`shards.Member`).
        targets: Label indices of every transcript.
        parts: Sizes and weights of the manifests, where they are not taken once; see `BucketingSampler`.
        keep_text: Keep the text of the utterances, which must have some, beside its targets.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        targets: RaggedArray | Sequence[np.ndarray],
        parts: Sequence[tuple[int, float]] = (),
        keep_text: bool = False,
    ) -> None:
        self.targets, self.parts = targets, parts
        self.durations = np.array([each.duration for each in utterances], dtype=np.float64)  # seconds
        self.audio_paths = Strings(each.audio_path for each in utterances)
        self.transcript_paths = Strings(each.transcript_path for each in utterances)
        self.texts = Strings(str(each.text) for each in utterances) if keep_text else None
        self.places = Strings(each.place for each in utterances)
        sharded = any(isinstance(each, shards.Member) for each in utterances)
        self._spans = np.array(list(map(_span, utterances)) if sharded else [])

    def __len__(self) -> int:
        return len(self.durations)

    def __getitem__(self, index: int) -> Utterance:
        return Utterance(
            self.audio_paths[index],
            self.transcript_paths[index],
            float(self.durations[index]),
            self.places[index],
        )

    def load_audio(self, index: int, sample_rate: int) -> np.ndarray:
        """The waveform of an utterance, as `deepspeech.audio.loading.load_audio` returns it.

        Raises:
            InputError: It cannot be read.
        """
        path, data = self.audio_paths[index], None
        with at(self.places[index]):
            prefix, offset, size = self._spans[index].tolist() if len(self._spans) else (0, 0, 0)
            if prefix:
                data = shards.read_member(path[:prefix], offset, size)
            return loading.load_audio(path, sample_rate, data)


def _span(utterance: Utterance) -> tuple[int, int, int]:
    """Where an utterance lies in its shard: the length of the shard's path, first byte, bytes."""
    if isinstance(utterance, shards.Member):
        return len(utterance.shard), utterance.offset, utterance.size
    return 0, 0, 0


def load_corpus(
    manifests: str | Path | Sequence[str],
    labels: Labels,
    unknown: str = "error",
    allow_empty: bool = False,
    skip_faulty: bool = False,
    keep_text: bool = False,
) -> Corpus:
    """Read manifests, or shards, and check every row: files, audio headers, transcripts.

    All transcripts are read at once: training needs them all, they are small in memory, and a fault in the
    last row comes to light before the first step. Audio is opened only where the manifest has no duration,
    and once for all segments of a recording.

    Args:
        manifests: A manifest, or shards: `shards-{000..099}.tar`, `shards-*.tar` or one `.tar`. Several, in a
            sequence, are mixed: an epoch takes the utterances of `a.csv:3` three times, see `weighted`.
        labels: The alphabet of the transcripts.
        unknown: "error" or "drop", as in `Labels.encode`.
        allow_empty: Accept empty transcripts, as in a test set; training needs text.
        skip_faulty: Leave out faulty rows and log their number instead of raising.
        keep_text: Keep the transcripts as they are written, also with characters outside the labels.

    Raises:
        InputError: All faults of a manifest at once, one per line; or no row is left in one.
    """
    dtype, length = np.min_scalar_type(len(labels)), functools.cache(loading.duration)

    def check(row: Utterance) -> tuple[Utterance, array[Any]]:
        with at(row.place):
            row = row if isinstance(row, shards.Member) else _open(row, length)
            text = row.read_text()
            target = encode(text, labels, "drop" if keep_text else unknown)
            if not target and not allow_empty:
                file = f"{row.transcript_path}: " if row.transcript_path else ""
                raise InputError(f"{file}empty transcript; training needs text")
        return replace(row, text=text) if keep_text else row, array(dtype.char, target)

    rows: list[tuple[Utterance, array[Any]]] = []
    parts = []
    for path, weight in [(manifests, 1.0)] if isinstance(manifests, str | Path) else map(weighted, manifests):
        read = shards.read_shards if shards.is_pattern(path) else read_manifest
        found, malformed = read(path)
        checked, faults = map_checked(check, found, f"Checking {path}")
        report_faults(path, malformed + faults, skip_faulty)
        if not checked:
            raise InputError(f"{path}: no utterance that can be used; give rows audio,transcript[,seconds]")
        rows += checked
        parts.append((len(checked), weight))
        if not isinstance(manifests, str | Path) and len(manifests) > 1:
            log.info(f"{path}: {weight:g} x {len(checked)} utterances in an epoch")
    targets = RaggedArray((target for _, target in rows), dtype)
    mixed = any(weight != 1 for _, weight in parts)
    return Corpus([row for row, _ in rows], targets, parts if mixed else (), keep_text)


def weighted(text: str) -> tuple[str, float]:
    """A manifest and its weight, 1 unless a number follows after a colon: `a.csv:2.5` -> `("a.csv", 2.5)`.

    Raises:
        InputError: The number is not positive.
    """
    path, colon, number = text.rpartition(":")
    try:
        weight = float(number)
    except ValueError:
        return text, 1.0
    if not colon or os.path.exists(text):
        return text, 1.0
    if not 0 < weight <= MOST:
        raise InputError(f"{text}: a weight must be positive and at most {MOST}; correct it")
    return path, weight


def _open(utterance: Utterance, length: Callable[[str], float]) -> Utterance:
    """The utterance with its duration; `length` gives that of its file."""
    path, start, stop = loading.locate(utterance.audio_path)
    if utterance.duration is None:
        return replace(utterance, duration=loading.duration(utterance.audio_path))
    if path != utterance.audio_path:
        seconds = length(path)
        with at(path):
            loading.check_segment(start, stop, seconds)
    elif not os.path.isfile(path):
        raise InputError(f"{path}: no such audio file; correct the path")
    return utterance


def encode(text: str, labels: Labels, unknown: str = "error") -> list[int]:
    """Text -> label indices; see `Labels.encode`.

    Raises:
        InputError: The text has characters that are not in the labels; names them and the remedy.
    """
    try:
        return labels.encode(text, unknown)
    except UnknownCharacters as error:
        cases = {"upper": text.upper(), "lower": text.lower()}
        case = next((case for case, cased in cases.items() if not labels.unknown(cased)), "")
        hint = f"; the labels have its {case}-case form: deepspeech manifest convert --case {case}"
        remedy = f"add them to the labels or pass --unknown-characters drop{hint if case else ''}"
        raise InputError(f"{error}; {remedy}") from None
