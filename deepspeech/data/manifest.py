"""Manifests: CSV files with an utterance per row."""

from __future__ import annotations

import csv
import functools
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepspeech import log
from deepspeech.errors import InputError


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
        The utterances, and a message for each malformed row.

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
    if len(row) not in (2, 3) or not row[0].strip() or not row[1].strip() or "\0" in "".join(row):
        raise InputError(f"{place}: expected audio,transcript[,seconds], got {','.join(row)!r}")
    seconds = None
    if len(row) == 3 and row[2].strip():
        try:
            seconds = float(row[2])
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise InputError(f"{place}: {row[2]!r} is not a duration in seconds; correct or remove it")
    audio_path, transcript_path = (os.path.join(folder, cell.strip()) for cell in row[:2])
    return Utterance(audio_path, transcript_path, seconds, place)


def write_manifest(path: str | Path, utterances: Sequence[Utterance]) -> None:
    """Write a manifest and log its size; paths within its folder become relative.

    Raises:
        InputError: The file cannot be written, or a path is not UTF-8.
    """
    resolved = functools.cache(lambda name: os.path.join(os.path.realpath(name), ""))
    folder = resolved(os.path.dirname(path))

    def shown(name: str) -> str:
        relative = (resolved(os.path.dirname(name)) + os.path.basename(name)).removeprefix(folder)
        return relative if relative == relative.lstrip() else os.path.join(".", relative)

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for each in utterances:
        seconds = [] if each.duration is None else [f"{each.duration:.3f}"]
        writer.writerow([shown(each.audio_path), shown(each.transcript_path), *seconds])
    try:
        Path(path).write_bytes(text.getvalue().encode())
    except OSError as error:
        raise InputError(
            f"{path}: cannot write the manifest: {error.strerror}; choose another path"
        ) from None
    except UnicodeEncodeError as error:
        name = error.object[max(error.start - 40, 0) : error.end]
        raise InputError(f"{path}: a file name is not UTF-8: {name!a}; rename the file") from None
    hours = sum(each.duration or 0 for each in utterances) / 3600
    log.info(f"{path}: {len(utterances)} utterances" + (f", {hours:.2f} hours" if hours else ""))


def read_transcript(path: str | Path) -> str:
    """Read a transcript file.

    Raises:
        InputError: It is missing or not UTF-8.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # small files, many of them
            return file.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InputError(f"{path}: transcript is not UTF-8; convert it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read the transcript: {error.strerror}; correct the path") from None
