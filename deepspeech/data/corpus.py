"""A corpus ready for training: every utterance checked, its transcript encoded, little memory."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from deepspeech.audio import loading
from deepspeech.data import shards
from deepspeech.data.manifest import Utterance, read_manifest, read_transcript
from deepspeech.data.parallel import map_checked, report_faults
from deepspeech.data.ragged import RaggedArray, Strings
from deepspeech.errors import InputError
from deepspeech.labels import Labels, UnknownCharacters


class Utterances(Sequence[Utterance]):
    """Utterances of known duration in a few arrays; unchangeable.

    Args:
        utterances: They are read once.
    """

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        rows = list(utterances)
        self.audio_paths = Strings(row.audio_path for row in rows)
        self.transcript_paths = Strings(row.transcript_path for row in rows)
        self.places = Strings(row.place for row in rows)
        self.durations = np.array([row.duration for row in rows])  # seconds

    def __len__(self) -> int:
        return len(self.durations)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...

    def __getitem__(self, index: int | slice) -> Utterance | list[Utterance]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        return Utterance(
            self.audio_paths[index],
            self.transcript_paths[index],
            float(self.durations[index]),
            self.places[index],
        )


@dataclass(frozen=True)
class Corpus:
    """Utterances that were checked, each with its duration and its encoded transcript."""

    utterances: Utterances
    targets: Sequence[np.ndarray]  # label indices
    members: shards.Members | None = None  # where the audio lies, if it is in shards

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def durations(self) -> np.ndarray:
        """Seconds, (utterances,) float64."""
        return self.utterances.durations

    def load_audio(self, index: int, sample_rate: int) -> np.ndarray:
        """The waveform of an utterance, as `deepspeech.audio.loading.load_audio` gives it.

        Raises:
            InputError: It cannot be read.
        """
        path = self.utterances.audio_paths[index]
        try:
            data = None if self.members is None else self.members.read(index)
            return loading.load_audio(path, sample_rate, data)
        except InputError as error:
            raise InputError(f"{self.utterances.places[index]}: {error}") from None


def load_corpus(
    path: str | Path,
    labels: Labels,
    unknown: str = "error",
    allow_empty: bool = False,
    skip_faulty: bool = False,
) -> Corpus:
    """Read a manifest, or shards, and check every row: files, audio headers, transcripts.

    Every transcript is read before the first step, however many there are: training needs
    them all, they are small in memory, and a fault in the last row should not come to light
    hours later. Audio is opened only where the manifest gives no duration.

    Args:
        path: The manifest, or shards: `shards-{000..099}.tar`, `shards-*.tar` or one `.tar`.
        labels: What the transcripts may be written with.
        unknown: "error" or "drop", as in `Labels.encode`.
        allow_empty: Whether an empty transcript is right (it is in a test, not in training).
        skip_faulty: Leave faulty rows out instead of raising, and log how many.

    Raises:
        InputError: All faults of the manifest at once, a line each; or nothing is left.
    """
    kind = np.min_scalar_type(len(labels))

    def check(row: Utterance | shards.Member) -> tuple[Utterance | shards.Member, array]:
        try:
            row, text = (row, row.text) if isinstance(row, shards.Member) else _open(row)
            target = encode(text, labels, unknown)
            if not target and not allow_empty:
                raise InputError(f"{row.transcript_path}: empty transcript; training needs text")
        except InputError as fault:
            raise InputError(f"{row.place}: {fault}") from None
        return row, array(kind.char, target)

    in_shards = shards.is_pattern(path)
    rows, unusable = shards.read_shards(path) if in_shards else read_manifest(path)
    checked, faults = map_checked(check, rows, f"Checking {path}")
    report_faults(path, unusable + faults, skip_faulty)
    if not checked:
        raise InputError(f"{path}: no utterance that can be used; give rows audio,transcript[,seconds]")
    rows = [row for row, _ in checked]
    return Corpus(
        Utterances(rows),
        RaggedArray((target for _, target in checked), kind),
        shards.Members(rows) if in_shards else None,
    )


def _open(utterance: Utterance) -> tuple[Utterance, str]:
    """The utterance with its duration, and its text."""
    if utterance.duration is None:
        utterance = replace(utterance, duration=loading.duration(utterance.audio_path))
    elif not os.path.isfile(utterance.audio_path):
        raise InputError(f"{utterance.audio_path}: no such audio file; correct the path")
    return utterance, read_transcript(utterance.transcript_path)


def encode(text: str, labels: Labels, unknown: str = "error") -> list[int]:
    """Text -> label indices; see `Labels.encode`.

    Raises:
        InputError: It has characters that are not in the labels; says what to do.
    """
    try:
        return labels.encode(text, unknown)
    except UnknownCharacters as error:
        raise InputError(
            f"{error}; add them to the labels or pass --unknown-characters drop"
            + ("; the labels have its upper-case form" if _fits(labels, text.upper()) else "")
        ) from None


def _fits(labels: Labels, text: str) -> bool:
    try:
        return bool(labels.encode(text))
    except UnknownCharacters:
        return False
