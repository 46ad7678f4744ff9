"""Verify every utterance of a manifest, and describe the corpus in figures."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from deepspeech.audio import loading
from deepspeech.audio.config import FeatureConfig
from deepspeech.data.corpus import encode
from deepspeech.data.manifest import Utterance, read_manifest
from deepspeech.data.parallel import map_checked
from deepspeech.decoding.alignment import minimum_frames
from deepspeech.errors import InputError, at
from deepspeech.labels import Labels
from deepspeech.model.deepspeech2 import DeepSpeech

TOLERANCE = 0.1  # seconds by which a duration may be wrong
SILENCE = 10 ** (-80 / 20)  # peak amplitude: -80 dB


@dataclass(frozen=True)
class Checked:
    """An utterance whose files can be read."""

    utterance: Utterance
    text: str
    seconds: float
    digest: bytes  # of the samples; empty if only the file's header was read
    faults: list[str]


@dataclass(frozen=True)
class Verification:
    """All faults of a manifest, and statistics of the utterances whose files can be read."""

    faults: list[str]  # "train.csv:17: ..."
    seconds: np.ndarray = field(repr=False)  # (utterances,) durations
    characters: Counter[str] = field(repr=False)  # their counts
    lengths: np.ndarray = field(repr=False)  # (utterances,) characters of the transcripts

    def __str__(self) -> str:
        if not len(self.seconds):
            return "no readable utterance"
        quantiles = "  ".join(f"{value:.2f}" for value in np.quantile(self.seconds, (0, 0.05, 0.5, 0.95, 1)))
        shown = "  ".join(f"{character!r} {count}" for character, count in self.characters.most_common())
        return "\n".join(
            (
                f"{len(self.seconds)} utterances, {self.seconds.sum() / 3600:.2f} hours",
                f"seconds (shortest, 5 %, median, 95 %, longest): {quantiles}",
                f"characters a second: {self.lengths.sum() / self.seconds.sum():.1f}",
                f"{len(self.characters)} characters: {shown}",
                f"{len(self.faults)} faults",
            )
        )


def verify(
    path: str | Path, labels: Labels, features: FeatureConfig = FeatureConfig(), decode: bool = True
) -> Verification:
    """Check every row of a manifest, in threads.

    Faults are malformed rows, missing or damaged files, wrong durations, silence, duplicate audio, and
    transcripts that are empty, have characters outside the labels or need more output frames than there are.

    Args:
        path: The manifest.
        labels: The characters that transcripts may have.
        features: Determines the number of frames.
        decode: Decode all audio. Otherwise only headers are read: later damage, silence and copies
            under another name are not found.

    Raises:
        InputError: The manifest cannot be read.
    """
    utterances, faults = read_manifest(path)

    def check(utterance: Utterance) -> Checked:
        with at(utterance.place):
            return _check(utterance, labels, features, decode)

    checked, unreadable = map_checked(check, utterances, f"Verifying {path}")
    faults += unreadable + [f"{each.utterance.place}: {fault}" for each in checked for fault in each.faults]
    return Verification(
        faults=sorted(faults + _duplicates(checked), key=_line),
        seconds=np.array([each.seconds for each in checked]),
        characters=Counter(character for each in checked for character in each.text),
        lengths=np.array([len(each.text) for each in checked]),
    )


def _check(utterance: Utterance, labels: Labels, features: FeatureConfig, decode: bool) -> Checked:
    path, faults, digest = utterance.audio_path, [], b""
    transcript = utterance.transcript_path or "text"
    seconds = loading.duration(path)
    if decode:
        waveform = loading.load_audio(path, features.sample_rate)
        digest = hashlib.blake2b(waveform.tobytes()).digest()
        seconds = len(waveform) / features.sample_rate
        if np.abs(waveform).max() < SILENCE:
            faults.append(f"{path}: silence; remove the row")
    if utterance.duration is not None and abs(utterance.duration - seconds) > TOLERANCE:
        faults.append(f"{path}: {utterance.duration:.2f} s in the manifest, {seconds:.2f} s in the file")
    text = " ".join(utterance.read_text().split())
    if not text:
        faults.append(f"{transcript}: empty transcript")
    try:
        target = torch.tensor(encode(text, labels), dtype=torch.int64)
        needed = int(minimum_frames(target, torch.tensor([len(target)])))
        frames = DeepSpeech.output_lengths(features.frames.count(round(seconds * features.sample_rate)))
        if needed > frames:
            faults.append(
                f"{transcript}: {len(target)} characters need {needed} output frames, {seconds:.2f} s have "
                f"{frames}; fix or remove the row"
            )
    except InputError as fault:
        faults.append(str(fault))
    return Checked(utterance, text, seconds, digest, faults)


def _duplicates(checked: Sequence[Checked]) -> list[str]:
    """A fault for every row whose audio occurs in an earlier one, by name or by content."""
    first: dict[str | bytes, str] = {}
    faults = []
    for each in checked:
        keys = [key for key in (str(Path(each.utterance.audio_path).resolve()), each.digest) if key]
        if earlier := next((first[key] for key in keys if key in first), None):
            faults.append(f"{each.utterance.place}: the same audio as {earlier}; remove one")
        for key in keys:
            first.setdefault(key, each.utterance.place)
    return faults


def _line(fault: str) -> tuple[str, int]:
    """Sort key of a fault: file, then line number."""
    place = re.match(r"(.*?):(\d+):", fault)
    return (place[1], int(place[2])) if place else (fault, 0)
