"""Kaldi's data folders: wav.scp, text, segments, utt2spk and utt2dur."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from deepspeech import log
from deepspeech.atomic_file import write_atomic
from deepspeech.audio import loading
from deepspeech.audio.loading import locate, segment
from deepspeech.data.manifest import Utterance, read_utf8
from deepspeech.errors import InputError, at


class Entry(NamedTuple):
    """What a line says about its key."""

    value: str
    place: str


def read_kaldi(folder: str | Path) -> tuple[list[Utterance], list[str]]:
    """The utterances of a folder (https://kaldi-asr.org/doc/data_prep.html), a message for each faulty line.

    Paths in `wav.scp` are relative to the working folder, as in Kaldi. A command there is not run; that of a
    FLAC decoder, `flac -cds FILE |`, stands for its file.

    Raises:
        InputError: A file is missing or not UTF-8, or names an utterance twice.
    """
    recordings, texts = _table(folder, "wav.scp"), _table(folder, "text")
    segments, speakers, durations = (
        _table(folder, name) if os.path.exists(os.path.join(folder, name)) else {}
        for name in ("segments", "utt2spk", "utt2dur")
    )
    utterances, faults = [], []
    known = segments or recordings
    for name, entry in known.items():
        try:
            audio = _segment(entry, recordings) if segments else _file(entry)
            _, start, stop = locate(audio)
            seconds = _seconds(durations[name]) if name in durations else stop - start
            if name not in texts:
                raise InputError(f"{entry.place}: {name} has no line in {folder}/text; add one or remove it")
        except InputError as fault:
            faults.append(str(fault))
            continue
        speaker = speakers[name].value if name in speakers else ""
        duration = seconds if seconds < float("inf") else None
        utterances.append(Utterance(audio, "", duration, entry.place, texts[name].value, speaker))
    unknown = [
        f"{text.place}: {name} is no utterance of {folder}"
        for name, text in texts.items()
        if name not in known
    ]
    return utterances, faults + [f"{fault}; remove the line" for fault in unknown]


def _table(folder: str | Path, name: str) -> dict[str, Entry]:
    """The lines of a file by their first word; ASCII spaces and tabs separate, as in Kaldi."""
    path = os.path.join(folder, name)
    found: dict[str, Entry] = {}
    for number, line in enumerate(read_utf8(path).split("\n"), start=1):
        if key := line.strip(" \t\r"):
            key, *rest = re.split(r"[ \t]+", key, maxsplit=1)
            place = f"{path}:{number}"
            if key in found:
                raise InputError(f"{place}: {key} stands in {found[key].place} already; remove one line")
            found[key] = Entry("".join(rest), place)
    return found


def _file(entry: Entry) -> str:
    """The audio file of a line of `wav.scp`."""
    value, place = entry
    if not value or "\0" in value or re.search(r"\.ark:\d+$", value):
        raise InputError(f"{place}: {value!r} is not an audio file; give one")
    if value.endswith("|"):
        try:
            command, *flags, path = shlex.split(value[:-1])
        except ValueError:
            command, flags, path = "", [], ""
        if os.path.basename(command) == "flac" and all(flag.startswith("-") for flag in flags):
            return path
        raise InputError(f"{place}: {value!r} is a command; write its output to a file and name that")
    return value


def _segment(entry: Entry, recordings: dict[str, Entry]) -> str:
    """The path of a segment, of the recording, start and end that a line of `segments` holds."""
    try:
        recording, first, last, *_ = entry.value.split()
        start, end = float(first), float(last)
        if not (0 <= start < end < 1e9 or (0 <= start < 1e9 and end == -1)):
            raise ValueError
    except ValueError:
        raise InputError(
            f"{entry.place}: expected recording, start and end in seconds, got {entry.value!r}"
        ) from None
    if recording not in recordings:
        raise InputError(f"{entry.place}: {recording} has no line in wav.scp; add one or remove it")
    path = _file(recordings[recording])
    return segment(path, start) if end == -1 else segment(path, start, end)


def _seconds(entry: Entry) -> float:
    try:
        seconds = float(entry.value)
        if 0 < seconds < 1e9:
            return seconds
    except ValueError:
        pass
    raise InputError(f"{entry.place}: {entry.value!r} is not a duration in seconds; correct or remove it")


def write_kaldi(folder: str | Path, utterances: Sequence[Utterance]) -> None:
    """Write a folder, sorted as Kaldi wants it, and log its size.

    An utterance is named after its speaker, where that is known, its file and its segment.

    Raises:
        InputError: The folder has such files already or cannot be written, or a transcript cannot be read.
    """
    if os.path.exists(os.path.join(folder, "wav.scp")):
        raise InputError(f"{folder}: is a Kaldi folder already; choose another or remove it")
    recordings = _names(locate(each.audio_path)[0] for each in utterances)
    cut = any(locate(each.audio_path)[0] != each.audio_path for each in utterances)
    tables: dict[str, dict[str, str]] = {name: {} for name in ("text", "utt2spk", "utt2dur", "segments")}
    for each in utterances:
        path, start, _ = locate(each.audio_path)
        recording = recordings[path]
        with at(each.place):
            seconds = each.duration or loading.duration(each.audio_path)
            text = each.read_text()
        speaker = "-".join(each.speaker.split())
        name = recording if recording.startswith(speaker) else f"{speaker}-{recording}"
        name += f"-{round(100 * start):07d}-{round(100 * (start + seconds)):07d}" if cut else ""
        name = _unused(name, tables["text"])
        tables["text"][name] = " ".join(text.split())
        tables["utt2spk"][name] = speaker or name
        tables["utt2dur"][name] = f"{seconds:.6f}"
        tables["segments"][name] = f"{recording} {start:.6f} {start + seconds:.6f}"
    tables["wav.scp"] = {name: os.path.abspath(path) for path, name in recordings.items()}
    for file, rows in tables.items():
        if rows and (cut or file != "segments"):
            lines = sorted(f"{key} {value}\n".encode() for key, value in rows.items())
            write_atomic(os.path.join(folder, file), b"".join(lines))
    log.info(f"{folder}: {len(utterances)} utterances in {len(recordings)} recordings")


def _names(paths: Iterable[str]) -> dict[str, str]:
    """A name for each different file, after its own."""
    names: dict[str, str] = {}
    used: set[str] = set()
    for path in paths:
        if path not in names:
            names[path] = _unused("-".join(Path(path).stem.split()), used)
            used.add(names[path])
    return names


def _unused(name: str, used: Container[str]) -> str:
    """The name, or one with a number after it if it is used."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in used)
