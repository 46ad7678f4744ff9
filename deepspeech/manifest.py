"""Manifests: CSV files that name the utterances of a corpus."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deepspeech import audio
from deepspeech.errors import InputError
from deepspeech.labels import Labels, UnknownCharacters

FAULTS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Utterance:
    """A row of a manifest."""

    audio_path: str
    transcript_path: str
    duration: float | None = None  # seconds
    place: str = ""  # "train.csv:17"


def read_manifest(path: str | Path) -> tuple[list[Utterance], list[str]]:
    """Read `audio,transcript[,seconds]` rows: UTF-8 with or without BOM, quoting, blank lines.

    Relative paths are relative to the manifest's own folder.

    Returns:
        The utterances, and one message for each row that is none.

    Raises:
        InputError: The file cannot be read.
    """
    folder = os.path.dirname(path)
    utterances, faults = [], []
    rows = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    try:
        for row in rows:
            try:
                if any(cell.strip() for cell in row):
                    utterances.append(_parse(row, folder, f"{path}:{rows.line_num}"))
            except InputError as fault:
                faults.append(str(fault))
    except csv.Error as error:
        raise InputError(f"{path}:{rows.line_num}: not CSV: {error}; save it as CSV in UTF-8") from None
    return utterances, faults


def _read_text(path: str | Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot read the manifest: {error.strerror}; correct the path") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8: {error.reason}; save it as CSV in UTF-8") from None


def _parse(row: Sequence[str], folder: str, place: str) -> Utterance:
    if len(row) not in (2, 3) or not row[0].strip() or not row[1].strip():
        raise InputError(f"{place}: expected audio,transcript[,seconds], got {','.join(row)!r}")
    seconds = None
    if len(row) == 3 and row[2].strip():
        try:
            seconds = float(row[2])
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise InputError(f"{place}: {row[2]!r} is no duration in seconds; correct or remove it")
    audio_path, transcript_path = (os.path.join(folder, cell.strip()) for cell in row[:2])
    return Utterance(audio_path, transcript_path, seconds, place)


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write the rows, with paths relative to the manifest's folder where they lie below it."""
    folder = Path(path).resolve().parent

    def shown(name: str) -> str:
        full = Path(name).resolve()
        return str(full.relative_to(folder)) if full.is_relative_to(folder) else str(full)

    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for each in utterances:
            seconds = [] if each.duration is None else [f"{each.duration:.3f}"]
            writer.writerow([shown(each.audio_path), shown(each.transcript_path), *seconds])


@dataclass(frozen=True)
class Corpus:
    """Utterances that were checked, each with its duration and its encoded transcript."""

    utterances: list[Utterance]
    targets: list[np.ndarray]  # label indices, int16

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def durations(self) -> np.ndarray:
        """Seconds, (utterances,) float64."""
        return np.array([utterance.duration for utterance in self.utterances])


def load_corpus(
    path: str | Path,
    labels: Labels,
    unknown: str = "error",
    allow_empty: bool = False,
    skip_faulty: bool = False,
    note: Callable[[str], None] = tqdm.write,
) -> Corpus:
    """Read a manifest and check every row of it: files, audio headers, transcripts.

    Args:
        path: The manifest.
        labels: What the transcripts may be written with.
        unknown: "error" or "drop", as in `Labels.encode`.
        allow_empty: Whether an empty transcript is right (it is in a test, not in training).
        skip_faulty: Leave faulty rows out instead of raising, and tell how many.
        note: Where to tell it.

    Raises:
        InputError: All faults of the manifest at once, a line each; or nothing is left.
    """
    utterances, faults = read_manifest(path)

    def check(utterance: Utterance) -> tuple[Utterance, np.ndarray] | str:
        try:
            return _check(utterance, labels, unknown, allow_empty)
        except InputError as fault:
            return f"{utterance.place}: {fault}"

    with ThreadPoolExecutor(max_workers=8) as pool:
        bar = tqdm(
            pool.map(check, utterances), f"Checking {path}", len(utterances), unit="utterance", leave=False
        )
        checked = list(bar)
    faults += [each for each in checked if isinstance(each, str)]
    rows = [each for each in checked if not isinstance(each, str)]
    if faults and not skip_faulty:
        raise InputError(_summary(path, faults))
    if not rows:
        raise InputError(f"{path}: no utterance that can be used; give rows audio,transcript[,seconds]")
    if faults:
        note(f"{path}: {len(faults)} faulty rows are left out, the first is {faults[0]}")
    return Corpus([utterance for utterance, _ in rows], [target for _, target in rows])


def _check(
    utterance: Utterance, labels: Labels, unknown: str, allow_empty: bool
) -> tuple[Utterance, np.ndarray]:
    if utterance.duration is None:
        utterance = replace(utterance, duration=audio.duration(utterance.audio_path))
    elif not os.path.isfile(utterance.audio_path):
        raise InputError(f"{utterance.audio_path}: no such audio file; correct the path")
    text = read_transcript(utterance.transcript_path)
    try:
        target = labels.encode(text, unknown)
    except UnknownCharacters as error:
        raise InputError(
            f"{error}; add them to the labels or pass --unknown-characters drop"
            + ("; the labels have its upper-case form" if _fits(labels, text.upper()) else "")
        ) from None
    if not target and not allow_empty:
        raise InputError(f"{utterance.transcript_path}: empty transcript; training needs text")
    return utterance, np.array(target, dtype=np.int16)


def _fits(labels: Labels, text: str) -> bool:
    try:
        return bool(labels.encode(text))
    except UnknownCharacters:
        return False


def read_transcript(path: str | Path) -> str:
    """The text of a transcript file.

    Raises:
        InputError: It is missing or not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read().strip()
    except UnicodeDecodeError:
        raise InputError(f"{path}: transcript is not UTF-8; convert it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read the transcript: {error.strerror}; correct the path") from None


def _summary(path: str | Path, faults: Sequence[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    shown = [f"{path}: {len(faults)} faulty rows; mend them or pass --skip-faulty:", *faults[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        shown.append(f"... and {len(faults) - FAULTS_SHOWN} more")
    return "\n".join(shown)
