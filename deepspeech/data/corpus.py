"""A corpus: every utterance checked and its transcript encoded, in little memory."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepspeech.audio import loading
from deepspeech.data import shards
from deepspeech.data.manifest import Utterance, read_manifest, read_transcript
from deepspeech.data.parallel import map_checked, report_faults
from deepspeech.data.ragged import RaggedArray, Strings
from deepspeech.errors import InputError
from deepspeech.labels import Labels, UnknownCharacters


class Corpus:
    """An immutable sequence of checked utterances with durations and encoded transcripts, in a few arrays.

    Args:
        utterances: All of loose files or all `shards.Member`.
        targets: Label indices of every transcript.
    """

    def __init__(self, utterances: Sequence[Utterance], targets: RaggedArray | Sequence[np.ndarray]) -> None:
        self.targets = targets
        self.durations = np.array([each.duration for each in utterances], dtype=np.float64)  # seconds
        self.audio_paths = Strings(each.audio_path for each in utterances)
        self.transcript_paths = Strings(each.transcript_path for each in utterances)
        self.places = Strings(each.place for each in utterances)
        members = (each for each in utterances if isinstance(each, shards.Member))
        self._spans = np.array([(len(each.shard), each.offset, each.size) for each in members])

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
        try:
            if len(self._spans):
                prefix, offset, size = self._spans[index].tolist()
                data = shards.read_member(path[:prefix], offset, size)
            return loading.load_audio(path, sample_rate, data)
        except InputError as error:
            raise InputError(f"{self.places[index]}: {error}") from None


def load_corpus(
    path: str | Path,
    labels: Labels,
    unknown: str = "error",
    allow_empty: bool = False,
    skip_faulty: bool = False,
) -> Corpus:
    """Read a manifest, or shards, and check every row: files, audio headers, transcripts.

    All transcripts are read at once: training needs them all, they are small in memory, and a fault in the
    last row comes to light before the first step. Audio is opened only where the manifest has no duration.

    Args:
        path: The manifest, or shards: `shards-{000..099}.tar`, `shards-*.tar` or one `.tar`.
        labels: The alphabet of the transcripts.
        unknown: "error" or "drop", as in `Labels.encode`.
        allow_empty: Accept empty transcripts, as in a test set; training needs text.
        skip_faulty: Leave out faulty rows and log their number instead of raising.

    Raises:
        InputError: All faults of the manifest at once, one per line; or no row is left.
    """
    dtype = np.min_scalar_type(len(labels))

    def check(row: Utterance) -> tuple[Utterance, array[Any]]:
        try:
            row, text = (row, row.text) if isinstance(row, shards.Member) else _open(row)
            target = encode(text, labels, unknown)
            if not target and not allow_empty:
                raise InputError(f"{row.transcript_path}: empty transcript; training needs text")
        except InputError as fault:
            raise InputError(f"{row.place}: {fault}") from None
        return row, array(dtype.char, target)

    read = shards.read_shards if shards.is_pattern(path) else read_manifest
    rows, malformed = read(path)
    checked, faults = map_checked(check, rows, f"Checking {path}")
    report_faults(path, malformed + faults, skip_faulty)
    if not checked:
        raise InputError(f"{path}: no utterance that can be used; give rows audio,transcript[,seconds]")
    return Corpus([row for row, _ in checked], RaggedArray((target for _, target in checked), dtype))


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
        InputError: The text has characters that are not in the labels; names them and the remedy.
    """
    try:
        return labels.encode(text, unknown)
    except UnknownCharacters as error:
        hint = "" if labels.unknown(text.upper()) else "; the labels have its upper-case form"
        raise InputError(f"{error}; add them to the labels or pass --unknown-characters drop{hint}") from None
