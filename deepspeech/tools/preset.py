"""Presets: options that are chosen for a corpus instead of one by one."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, fields
from typing import Any

from deepspeech import log
from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.loading import duration, sample_rate
from deepspeech.data.corpus import weighted
from deepspeech.data.manifest import Utterance, read_manifest
from deepspeech.data.parallel import map_checked
from deepspeech.data.shards import is_pattern
from deepspeech.errors import InputError
from deepspeech.model.config import ModelConfig
from deepspeech.options import Options, one_of, option

LITTLE = 2.5 * 3600  # seconds of speech that the preset is made for
WORK = 280_000  # seconds of audio to train on, if they fit into an hour
EPOCHS = 20, 150
STEPS, BATCH = 100, (4, 12)  # fewest steps in an epoch: with fewer, training dwells on blanks
RATES = 8000, 16000  # Hz
SAMPLED = 50  # files whose sample rate is looked at

FIXED: dict[str, Any] = {
    "scale": "mel", "window_size": 0.025, "window_stride": 0.02,
    "rnn_type": "gru", "hidden_size": 256, "hidden_layers": 3, "dropout": 0.2,
    "adam": True, "learning_rate": 1.5e-3, "schedule": "cosine", "warmup_epochs": 0.5,
    "minutes": 60.0, "flat_start": 1.0, "plain_epochs": 5,
    "speed_perturb": True, "speed_volume_perturb": True, "spec_augment": "adaptive",
}  # fmt: skip


@dataclass(frozen=True)
class PresetConfig(Options):
    """Preset"""

    preset: str | None = option(
        None,
        "choose features, network, schedule and augmentation by the corpus; other flags override the choice: "
        "small is for up to two hours of speech",
        one_of("small"),
    )


def small(*manifests: str) -> dict[str, Any]:
    """Values of options for a small corpus, by their names; logs them.

    Args:
        manifests: The training data; `a.csv:3` counts three times.

    Raises:
        InputError: It cannot be read.
    """
    count, seconds, rates = 0.0, 0.0, list[int]()
    for manifest, weight in map(weighted, manifests):
        if is_pattern(manifest):
            raise InputError(f"--preset small: {manifest} are shards; give a manifest of loose files")
        rows, faults = read_manifest(manifest)
        checked, unreadable = map_checked(_seconds, rows, f"Measuring {manifest}")
        found, _ = map_checked(
            lambda row: sample_rate(row.audio_path), rows[:SAMPLED], "Reading sample rates"
        )
        if not (checked and found):
            faults += [*unreadable, f"{manifest}: no utterances; give rows audio,transcript"]
            raise InputError(faults[0])
        count, seconds, rates = (
            count + weight * len(checked),
            seconds + weight * math.fsum(checked),
            rates + found,
        )
    if seconds > LITTLE:
        hours = f"{seconds / 3600:.1f} hours"
        names = ", ".join(manifests)
        log.warning(f"--preset small: made for up to two hours of speech; {names} has {hours}")
    epochs = min(max(round(WORK / seconds), EPOCHS[0]), EPOCHS[1])
    batch = min(max(int(count / STEPS), BATCH[0]), BATCH[1])
    rate = RATES[statistics.mode(rates) >= RATES[1]]
    chosen = FIXED | {"sample_rate": rate, "batch_size": batch, "epochs": epochs}
    log.info(
        f"--preset small: {count:.0f} utterances, {seconds / 60:.0f} minutes, {rate} Hz: "
        + ", ".join(f"{name.replace('_', '-')} {value}" for name, value in chosen.items())
    )
    return chosen


def apply(preset: str | None, values: dict[str, Any], *manifests: str) -> dict[str, Any]:
    """The flags of a command line with those of a preset below them.

    A run that continues from a model keeps its features and its network.
    """
    if not preset:
        return values
    chosen = small(*manifests)
    if values.get("continue_from"):
        kept = {entry.name for group in (FeatureConfig, ModelConfig) for entry in fields(group)}
        chosen = {name: value for name, value in chosen.items() if name not in kept}
    return chosen | values


def _seconds(row: Utterance) -> float:
    return duration(row.audio_path) if row.duration is None else row.duration
