"""Manifests: CSV or JSON lines with an utterance per row."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

from deepspeech import log
from deepspeech.atomic_file import write_atomic
from deepspeech.audio.loading import locate, segment
from deepspeech.errors import InputError, at

JSON = (".json", ".jsonl")  # suffixes
MOZILLA = ("wav_filename", "transcript")  # columns of the manifests of Mozilla's DeepSpeech and Coqui STT


@dataclass(frozen=True, slots=True)
class Utterance:
    """A row of a manifest."""

    audio_path: str  # of a file, or of a `deepspeech.audio.loading.segment` of one
    transcript_path: str = ""  # empty where the manifest has the text
    duration: float | None = None  # seconds
    place: str = ""  # "train.csv:17"
    text: str | None = None  # the transcript, where the manifest has it
    speaker: str = ""  # empty where the manifest does not say

    def read_text(self) -> str:
        """The transcript.

        Raises:
            InputError: It is missing or cannot be read.
        """
        if self.text is None and not self.transcript_path:
            raise InputError("no transcript; add a text to the row")
        return read_transcript(self.transcript_path) if self.text is None else self.text.strip()


Rows: TypeAlias = Iterator[tuple[int, Any]]  # each with the number of its line


def read_manifest(path: str | Path) -> tuple[list[Utterance], list[str]]:
    """Read a manifest in one of three formats, told apart by their content.

    CSV of `audio,transcript[,seconds]`, where the transcript is a file; CSV of Mozilla's DeepSpeech, with
    columns `wav_filename` and `transcript`, which is text; NeMo's JSON lines, of objects with
    `audio_filepath`, `text`, `duration` and, for a segment of a recording, `offset`. UTF-8 with or without
    BOM. Relative paths are relative to the manifest's own folder.

    Returns:
        The utterances, and a message for each malformed row.

    Raises:
        InputError: The file cannot be read.
    """
    folder = os.path.dirname(path)
    utterances, faults = [], []
    content = read_utf8(path)
    if re.match(r"\s*\[\s*\{", content):
        raise InputError(f"{path}: a JSON list; write one object a line")
    is_json = content.lstrip().startswith("{")
    rows, parse = (_json_rows(content), _parse_json) if is_json else (_csv_rows(content, path), _parse)
    for line, row in rows:
        try:
            utterances.append(parse(row, folder, f"{path}:{line}"))
        except InputError as fault:
            faults.append(str(fault))
    return utterances, faults


def read_utf8(path: str | Path) -> str:
    """The text of a file, without its BOM.

    Raises:
        InputError: It cannot be read, or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
        return content.decode("utf-8-sig")
    except OSError as error:
        kaldi = os.path.exists(os.path.join(path, "wav.scp"))
        remedy = f"convert it: deepspeech manifest convert {path} FILE.jsonl" if kaldi else "correct the path"
        raise InputError(f"{path}: cannot read the manifest: {error.strerror}; {remedy}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8: {error.reason}; save it in UTF-8") from None


def _csv_rows(content: str, path: str | Path) -> Rows:
    """Lists of cells, or dictionaries if the first row names Mozilla's columns."""
    rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    header: list[str] = []
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not header and set(MOZILLA) <= set(cells):
                header = cells
            else:
                yield rows.line_num, dict(zip_longest(header, row)) if header else row
    except csv.Error as error:
        raise InputError(f"{path}:{rows.line_num}: not CSV: {error}; save it as CSV in UTF-8") from None


def _parse(row: list[str] | dict[str | None, str | None], folder: str, place: str) -> Utterance:
    if isinstance(row, dict):
        audio, text = (row[name] or "" for name in MOZILLA)
        complete = None not in (*row, *row.values())  # as many cells as columns
        if not complete or not audio.strip() or "\0" in audio:
            cells = ",".join(cell for cell in row.values() if cell is not None)
            raise InputError(f"{place}: expected {','.join(name for name in row if name)}, got {cells!r}")
        return Utterance(os.path.join(folder, audio.strip()), place=place, text=text)
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


def _json_rows(content: str) -> Rows:
    """Lines; only line feeds end one, for texts may have other separators of Unicode."""
    return ((number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip())


def _parse_json(line: str, folder: str, place: str) -> Utterance:
    try:
        row = json.loads(line)
        audio, text, speaker = row["audio_filepath"], row.get("text"), row.get("speaker") or ""
        "".join((audio, text or "", str(speaker))).encode()  # refuses what is no text
        if not audio.strip() or "\0" in audio:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(
            f"{place}: expected a JSON object with audio_filepath and text, got {line[:200]!r}"
        ) from None
    duration, offset = (_number(row.get(name), name, place) for name in ("duration", "offset"))
    if duration == 0:
        raise InputError(f"{place}: 0 is not a duration in seconds; correct or remove it")
    audio = os.path.join(folder, audio.strip())
    if offset is not None:
        audio = segment(audio, offset, math.inf if duration is None else offset + duration)
    return Utterance(audio, "", duration, place, text, str(speaker))


def _number(value: object, name: str, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise InputError(f"{place}: {value!r} is not a valid {name} in seconds; correct or remove it")
    return float(value)


def write_manifest(path: str | Path, utterances: Sequence[Utterance]) -> None:
    """Write a manifest, JSON lines if its name ends in `.jsonl` or `.json`, else CSV, and log its size.

    Paths within its folder become relative.

    Raises:
        InputError: The file cannot be written, or a path is not UTF-8; or a transcript cannot be read, or is
            no file, as CSV needs.
    """
    resolved = functools.cache(lambda name: os.path.join(os.path.realpath(name), ""))
    folder = resolved(os.path.dirname(path))

    def shown(name: str) -> str:
        relative = (resolved(os.path.dirname(name)) + os.path.basename(name)).removeprefix(folder)
        return relative if relative == relative.lstrip() else os.path.join(".", relative)

    line = _json_line if str(path).endswith(JSON) else _csv_line
    rows = [line(each, shown) for each in utterances]
    try:
        write_atomic(path, "".join(rows).encode())
    except UnicodeEncodeError as error:
        name = error.object[max(error.start - 40, 0) : error.end]
        raise InputError(f"{path}: a file name is not UTF-8: {name!a}; rename the file") from None
    hours = sum(each.duration or 0 for each in utterances) / 3600
    log.info(f"{path}: {len(utterances)} utterances" + (f", {hours:.2f} hours" if hours else ""))


def _csv_line(each: Utterance, shown: Callable[[str], str]) -> str:
    if not each.transcript_path:
        raise InputError(f"{each.place}: its transcript is no file, as CSV needs; name the output .jsonl")
    seconds = [] if each.duration is None else [f"{each.duration:.3f}"]
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(
        [shown(each.audio_path), shown(each.transcript_path), *seconds]
    )
    return line.getvalue()


def _json_line(each: Utterance, shown: Callable[[str], str]) -> str:
    path, start, stop = locate(each.audio_path)
    row: dict[str, Any] = {"audio_filepath": shown(path)}
    if path != each.audio_path:
        row["offset"] = start
    seconds = stop - start if stop < math.inf else each.duration
    if seconds is not None:
        row["duration"] = round(seconds, 6)
    with at(each.place):
        row["text"] = each.read_text()
    if each.speaker:
        row["speaker"] = each.speaker
    return json.dumps(row, ensure_ascii=False) + "\n"


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
