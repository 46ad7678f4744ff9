"""Look at every utterance of a manifest: what is wrong, and what the corpus is like."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from deepspeech.audio import loading
from deepspeech.audio.features import FeatureConfig
from deepspeech.data.corpus import encode
from deepspeech.data.manifest import Utterance, read_manifest, read_transcript
from deepspeech.data.parallel import map_checked
from deepspeech.decoding.alignment import minimum_frames
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.model.deepspeech2 import DeepSpeech

TOLERANCE = 0.1  # seconds a manifest's duration may be off
SILENCE = 10 ** (-80 / 20)  # peak amplitude: nothing above -80 dB


@dataclass(frozen=True)
class Checked:
    """What was found out about an utterance."""

    utterance: Utterance
    text: str
    seconds: float
    digest: bytes  # of the audio file
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """All faults of a manifest, and statistics of the utterances that can be read."""

    faults: list[str]  # "train.csv:17: ..."
    seconds: np.ndarray = field(repr=False)  # of every utterance
    characters: Counter[str] = field(repr=False)  # how often each occurs
    lengths: np.ndarray = field(repr=False)  # characters of every transcript

    def __str__(self) -> str:
        if not len(self.seconds):
            return "no utterance that can be read"
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
    """Read every file of a manifest, in parallel.

    Faults are: rows that are none, files that are missing or damaged, durations that are
    wrong, silence, transcripts that are empty, have characters outside the labels or more
    than the network has frames for, and audio that occurs twice.

    Args:
        path: The manifest.
        labels: What the transcripts may be written with.
        features: How many frames there are.
        decode: Decode all audio; without it only headers are read, and damage further on,
            silence and equal audio under two names are not found.

    Raises:
        InputError: The manifest cannot be read.
    """
    utterances, faults = read_manifest(path)

    def check(utterance: Utterance) -> Checked:
        try:
            return _check(utterance, labels, features, decode)
        except InputError as fault:
            raise InputError(f"{utterance.place}: {fault}") from None

    checked, unreadable = map_checked(check, utterances, f"Verifying {path}")
    faults += unreadable + [f"{each.utterance.place}: {fault}" for each in checked for fault in each.faults]
    return Verification(
        faults=sorted(faults + _repeated(checked), key=_line),
        seconds=np.array([each.seconds for each in checked]),
        characters=Counter(character for each in checked for character in each.text),
        lengths=np.array([len(each.text) for each in checked]),
    )


def _check(utterance: Utterance, labels: Labels, features: FeatureConfig, decode: bool) -> Checked:
    path, faults, digest = utterance.audio_path, [], b""
    seconds = loading.duration(path)
    if decode:
        waveform = loading.load_audio(path, features.sample_rate)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "blake2b").digest()
        seconds = len(waveform) / features.sample_rate
        if np.abs(waveform).max() < SILENCE:
            faults.append(f"{path}: silence; remove the row")
    if utterance.duration is not None and abs(utterance.duration - seconds) > TOLERANCE:
        faults.append(f"{path}: {utterance.duration:.2f} s in the manifest, {seconds:.2f} s in the file")
    text = " ".join(read_transcript(utterance.transcript_path).split())
    if not text:
        faults.append(f"{utterance.transcript_path}: empty transcript")
    try:
        target = torch.tensor(encode(text, labels), dtype=torch.int64)
        needed = int(minimum_frames(target, torch.tensor([len(target)])))
        samples = round(seconds * features.sample_rate)
        frames = DeepSpeech.output_lengths(features.frames.count(samples))
        if needed > frames:
            faults.append(
                f"{utterance.transcript_path}: {len(target)} characters need {needed} frames of the network, "
                f"{seconds:.2f} s have {frames}; correct the row"
            )
    except InputError as fault:
        faults.append(str(fault))
    return Checked(utterance, text, seconds, digest, tuple(faults))


def _repeated(checked: Sequence[Checked]) -> list[str]:
    """A fault for every row whose audio an earlier one has already, by name or by content."""
    first: dict[str | bytes, Checked] = {}
    faults = []
    for each in checked:
        keys = [key for key in (str(Path(each.utterance.audio_path).resolve()), each.digest) if key]
        there = next((first[key] for key in keys if key in first), None)
        if there:
            faults.append(f"{each.utterance.place}: the same audio as {there.utterance.place}; remove one")
        first |= {key: each for key in keys if key not in first}
    return faults


def _line(fault: str) -> tuple[str, int]:
    """Order of faults: by file, then by line number."""
    path, _, rest = fault.partition(".csv:")
    number = rest.partition(":")[0]
    return path, int(number) if number.isdigit() else 0


def plot(verification: Verification, path: str | Path) -> None:
    """Draw how durations and characters are distributed (PNG, or as the file's ending says).

    Raises:
        InputError: The file cannot be written.
    """
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(10, 7), layout="constrained")
    durations, characters = figure.subplots(2)
    durations.hist(verification.seconds, bins=50)
    hours = verification.seconds.sum() / 3600
    title = f"{len(verification.seconds)} utterances, {hours:.2f} hours"
    durations.set(xlabel="seconds", ylabel="utterances", title=title)
    common = verification.characters.most_common(60)
    names = ["space" if name == " " else name for name, _ in common]
    characters.bar(names, [count for _, count in common])
    characters.set(ylabel="times", title="characters of the transcripts", yscale="log")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot draw there: {error}") from None
