"""Build, merge, filter and split manifests."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepspeech.audio import loading
from deepspeech.audio.containers import AUDIO_SUFFIXES
from deepspeech.audio.loading import find_audio
from deepspeech.data.manifest import Utterance, read_manifest
from deepspeech.data.parallel import map_checked, report_faults
from deepspeech.errors import InputError, at
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, option


@dataclass(frozen=True)
class ManifestConfig(Options):
    """Manifest"""

    output_path: str = option("", "manifest to write", required=True, metavar="FILE")
    min_duration: float = option(0.0, "leave out shorter utterances, in seconds", NOT_NEGATIVE)
    max_duration: float | None = option(None, "leave out longer utterances, in seconds", POSITIVE)
    skip_faulty: bool = option(False, "skip faulty files or rows instead of stopping")


def build(folder: str | Path, skip_faulty: bool = False) -> list[Utterance]:
    """Find the audio files below a folder, their transcripts and durations; shortest first.

    The transcript of `A/x.flac` is `A/x.txt`, or `txt` replaces one of the folders: `wav/A/x.flac` goes
    with `txt/A/x.txt`.

    Args:
        folder: Searched recursively.
        skip_faulty: Leave out unreadable audio and audio without a transcript, and log how many.

    Raises:
        InputError: There is no audio, or one line for each file that is unreadable or lacks a transcript.
    """

    def describe(name: str) -> Utterance:
        return Utterance(name, _transcript_of(name, folder), loading.duration(name))

    found, faults = map_checked(describe, find_audio(folder), f"Searching {folder}")
    report_faults(folder, faults, skip_faulty)
    if not found:
        raise InputError(f"{folder}: no audio ({', '.join(AUDIO_SUFFIXES)}) with transcripts (.txt)")
    return sort(found)


def _transcript_of(name: str, folder: str | Path) -> str:
    *parents, file = Path(name).relative_to(folder).with_suffix(".txt").parts
    places = [parents, *([*parents[:i], "txt", *parents[i + 1 :]] for i in range(len(parents)))]
    for place in places:
        if os.path.isfile(path := os.path.join(folder, *place, file)):
            return path
    raise InputError(f"{name}: no transcript {file} beside it or in a folder txt; add it or remove the audio")


def merge(paths: Iterable[str | Path], skip_faulty: bool = False) -> list[Utterance]:
    """The utterances of several manifests without duplicates, shortest first.

    Args:
        paths: Manifests.
        skip_faulty: Leave out faulty rows, and log how many.

    Raises:
        InputError: A manifest has faults, or two rows name different transcripts for the same audio.
    """
    merged: dict[str, Utterance] = {}
    for path in paths:
        utterances, faults = read_manifest(path)
        for each in utterances:
            key = os.path.abspath(each.audio_path)
            known = merged.setdefault(key, each)
            if _transcript(known) != _transcript(each):
                faults.append(
                    f"{each.place}: {each.audio_path} has another transcript in {known.place}; remove one"
                )
            elif known.duration is None:
                merged[key] = each
        report_faults(path, faults, skip_faulty)
    return sort(merged.values())


def _transcript(utterance: Utterance) -> str:
    return os.path.abspath(utterance.transcript_path) if utterance.text is None else utterance.text


def sort(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Shortest first; those of unknown duration come last."""
    return sorted(utterances, key=lambda each: math.inf if each.duration is None else each.duration)


def prune(
    utterances: Sequence[Utterance], shortest: float, longest: float | None, skip_faulty: bool = False
) -> list[Utterance]:
    """The utterances of `shortest` to `longest` seconds; durations that are unknown are read from the audio.

    With `skip_faulty`, those whose audio cannot be read are left out, and their number is logged.

    Raises:
        InputError: Audio cannot be read, or nothing is left.
    """
    if shortest <= 0 and longest is None:
        return list(utterances)
    longest = math.inf if longest is None else longest

    def timed(each: Utterance) -> tuple[Utterance, float]:
        with at(each.place):
            seconds = each.duration or loading.duration(each.audio_path)
        return replace(each, duration=seconds), seconds

    results, faults = map_checked(timed, utterances, "Reading durations")
    report_faults("durations", faults, skip_faulty)
    kept = [each for each, seconds in results if shortest <= seconds <= longest]
    if not kept:
        raise InputError(f"no utterance lasts from {shortest:g} to {longest:g} s; choose a wider range")
    return kept


def split(
    utterances: Sequence[Utterance],
    fractions: Sequence[float],
    seed: int = 0,
    speaker: Callable[[Utterance], str] | None = None,
) -> list[list[Utterance]]:
    """Split utterances at random into parts of given sizes; each part keeps their order.

    Args:
        utterances: What to split.
        fractions: Share of every part, positive, in any unit: `(9, 1)` is `(0.9, 0.1)`.
        seed: The same seed gives the same parts.
        speaker: Returns the speaker of an utterance. All utterances of a speaker go to the same part,
            and shares are as close as whole speakers allow.

    Raises:
        InputError: A part would stay empty.
    """
    groups: dict[str, list[int]] = {}
    for index, each in enumerate(utterances):
        groups.setdefault(speaker(each) if speaker else str(index), []).append(index)
    names = sorted(groups)
    parts: list[list[int]] = [[] for _ in fractions]
    wanted = np.array(fractions) / sum(fractions) * len(utterances)
    for name in np.random.default_rng(seed).permutation(len(names)):
        missing = wanted - [len(part) for part in parts]
        parts[int(np.argmax(missing))] += groups[names[name]]
    if empty := [fraction for fraction, part in zip(fractions, parts, strict=True) if not part]:
        what = "speakers" if speaker else "utterances"
        raise InputError(f"{len(names)} {what} are too few for a part of {empty[0]}; choose a larger one")
    return [[utterances[index] for index in sorted(part)] for part in parts]


def speaker_folder(level: int) -> Callable[[Utterance], str]:
    """Speakers by folder: level 1 is the folder of the audio, 2 the one above it, and so on.

    Raises:
        InputError: By the function that it returns, for audio with fewer folders above it.
    """

    def speaker(utterance: Utterance) -> str:
        parents = Path(utterance.audio_path).parents
        if level > len(parents):
            raise InputError(f"{utterance.audio_path}: no {level} folders above it; use a lower level")
        return str(parents[level - 1])

    return speaker
