"""Build, merge, prune, split manifests."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepspeech.audio import loading
from deepspeech.audio.loading import AUDIO_SUFFIXES, find_audio
from deepspeech.data.manifest import Utterance, read_manifest
from deepspeech.data.parallel import map_checked, report_faults
from deepspeech.errors import InputError


def build(folder: str | Path, skip_faulty: bool = False) -> list[Utterance]:
    """Find the audio files below a folder, their transcripts and durations; shortest first.

    The transcript of `A/x.flac` is `A/x.txt`, or `txt` stands in place of one of the folders:
    `wav/A/x.flac` goes with `txt/A/x.txt`.

    Args:
        folder: Searched with all folders below it.
        skip_faulty: Leave out audio without a transcript or that cannot be read, and tell.

    Raises:
        InputError: There is none, or, a line each, audio that has no transcript or cannot be read.
    """
    names = find_audio(folder)

    def look(name: str) -> Utterance:
        return Utterance(name, _transcript_of(name, folder), loading.duration(name))

    found, faults = map_checked(look, names, f"Searching {folder}")
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
    raise InputError(
        f"{name}: no transcript {file} beside it or in a folder txt; add one or remove the audio"
    )


def merge(paths: Iterable[str | Path], skip_faulty: bool = False) -> list[Utterance]:
    """The utterances of several manifests, each once, shortest first.

    Args:
        paths: Manifests.
        skip_faulty: Leave faulty rows out instead of raising, and tell how many.

    Raises:
        InputError: A manifest has faults, or two rows give one audio file different transcripts.
    """
    merged: dict[str, Utterance] = {}
    for path in paths:
        utterances, faults = read_manifest(path)
        for each in utterances:
            there = merged.setdefault(os.path.abspath(each.audio_path), each)
            if os.path.abspath(there.transcript_path) != os.path.abspath(each.transcript_path):
                faults.append(
                    f"{each.place}: {each.audio_path} has another transcript in {there.place}; remove one"
                )
            elif there.duration is None:
                merged[os.path.abspath(each.audio_path)] = each
        report_faults(path, faults, skip_faulty)
    return sort(merged.values())


def sort(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Shortest first; those of unknown duration come last."""
    return sorted(utterances, key=lambda each: math.inf if each.duration is None else each.duration)


def prune(utterances: Sequence[Utterance], shortest: float, longest: float) -> list[Utterance]:
    """Those whose duration is from `shortest` to `longest` seconds; unknown ones are read from the audio.

    Raises:
        InputError: Audio cannot be read, or nothing is left.
    """
    if shortest <= 0 and longest == math.inf:
        return list(utterances)

    def known(utterance: Utterance) -> Utterance:
        return (
            utterance
            if utterance.duration
            else replace(utterance, duration=loading.duration(utterance.audio_path))
        )

    timed, faults = map_checked(known, utterances, "Reading durations")
    report_faults("", faults)
    kept = [each for each in timed if shortest <= each.duration <= longest]
    if not kept:
        raise InputError(f"no utterance lasts from {shortest:g} to {longest:g} s; choose a wider range")
    return kept


def split(
    utterances: Sequence[Utterance],
    fractions: Sequence[float],
    seed: int = 0,
    speaker: Callable[[Utterance], str] | None = None,
) -> list[list[Utterance]]:
    """Deal utterances out at random into parts of given sizes; each keeps its order.

    Args:
        utterances: What to split.
        fractions: Share of every part, in any unit: `(9, 1)` is `(0.9, 0.1)`.
        seed: The same seed gives the same parts.
        speaker: Tells who speaks; all utterances of a speaker go to one part. Shares are
            then as near as whole speakers allow.

    Raises:
        InputError: A fraction is not positive, or a part would stay empty.
    """
    if not all(0 < fraction < math.inf for fraction in fractions):
        raise InputError(f"fractions {' '.join(map(str, fractions))}: must be positive")
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
        raise InputError(
            f"{len(names)} {what} are too few for a part of {empty[0]}; choose a larger fraction"
        )
    return [[utterances[index] for index in sorted(part)] for part in parts]


def speaker_folder(level: int) -> Callable[[Utterance], str]:
    """Speaker by folder: level 1 is the audio's own folder, 2 the one above it, and so on."""

    def speaker(utterance: Utterance) -> str:
        parents = Path(utterance.audio_path).parents
        if level > len(parents):
            raise InputError(f"{utterance.audio_path}: no {level} folders above it; take a lower level")
        return str(parents[level - 1])

    return speaker
