"""Find the largest batch that fits into memory, by running training steps.

A GPU's allocator raises an error at its limit, so there batches grow until one fails. Host memory cannot be
exhausted safely (the kernel kills the process, threads abort): there the peak of each step is measured, and
a batch is run only if the measurements so far say that it fits.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from deepspeech.data.batch import Batch, Sample, WaveformSample, collate, collate_waveforms
from deepspeech.data.loader import AudioDataLoader, DeviceFeatures
from deepspeech.errors import InputError
from deepspeech.model.deepspeech2 import DeepSpeech, ModelConfig
from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainStep

GIB = 2**30
MARGIN = 0.9  # share of the free memory that training may take
PRECISION = 30  # the result may be smaller than the largest batch by a thirtieth


def suggest_batch(
    loader: AudioDataLoader, model: ModelConfig, training: TrainingConfig, limit: float | None
) -> str:
    """Find the largest batch for a corpus and say which flag requests it.

    Args:
        loader: Loads the training data.
        model: Configuration of the network.
        training: Configuration of the training steps.
        limit: GiB that training may take; None for most of what is free.

    Raises:
        InputError: Not even the longest utterance alone fits.
    """
    dataset = loader.dataset
    longest = int(dataset.corpus.durations.argmax())
    seconds = slowed = float(dataset.corpus.durations[longest])
    if dataset.augment and dataset.augment.config.speed_volume_perturb:
        slowed /= dataset.augment.config.tempo_range[0]
    characters = len(dataset.corpus.targets[longest])
    trial = Trial(model, training, loader.device, slowed, characters, loader.features_on_device)
    utterances = find_batch(trial, len(dataset), int(limit * GIB) if limit else None)
    everything = ", all there are" if utterances == len(dataset) else ""
    return (
        f"{utterances} of the longest utterances ({seconds:.2f} s) fit into memory{everything}: "
        f"pass --batch-seconds {math.ceil(100 * utterances * seconds) / 100}"
    )


@dataclass
class Trial:
    """Training steps on equal utterances: noise, since the sound makes no difference to memory."""

    model: ModelConfig
    training: TrainingConfig
    device: torch.device
    seconds: float  # duration of each utterance
    characters: int  # length of each transcript
    features_on_device: bool  # whether features are computed on the device

    def __post_init__(self) -> None:
        self.step = TrainStep(DeepSpeech(self.model).train().to(self.device), self.training)
        self.features = DeviceFeatures(self.model.features).to(self.device)
        self.bar = tqdm(desc="Trying batches", unit="trial", leave=False)

    def run(self, utterances: int) -> None:
        """Run one step."""
        self.bar.set_postfix_str(f"{utterances} x {self.seconds:.1f} s")
        self.bar.update()
        self.step.backward(self._batch(utterances), utterances)
        self.step.update(self.training.learning_rate)

    def fits(self, utterances: int) -> bool:
        """Whether a step completes on the GPU.

        Libraries report in many ways that memory ran out. Where one utterance works, an error means that.
        """
        try:
            self.run(utterances)
            torch.cuda.synchronize(self.device)
        except RuntimeError as error:
            if utterances == 1 and not isinstance(error, torch.OutOfMemoryError):
                raise
            return False
        finally:  # the next batch has another shape
            self.step.optimizer.zero_grad()
            torch.cuda.empty_cache()
        return True

    def peak(self, utterances: int) -> int:
        """Peak of the process's host memory during a step, in bytes.

        Raises:
            InputError: The system does not say.
        """
        with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc only
            ctypes.CDLL(None).malloc_trim(0)  # return what earlier steps freed
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # reset the peak: see proc_pid_clear_refs(5)
        self.run(utterances)
        return _system_bytes("self/status", "VmHWM")

    def _batch(self, utterances: int) -> Batch:
        features = self.model.features
        samples = math.ceil(self.seconds * features.sample_rate)
        target = torch.arange(self.characters) % (len(self.model.labels) - 1)
        target += target >= self.model.labels.index("_")
        common: dict[str, Any] = {"index": 0, "target": target, "duration": self.seconds}
        if self.features_on_device:
            wave = WaveformSample(waveform=torch.randn(samples), **common)
            batch: Batch = self.features(collate_waveforms([wave] * utterances))
            return batch
        noise = torch.randn(features.bins, features.frames.count(samples))
        return collate([Sample(features=noise, **common)] * utterances)


def find_batch(trial: Trial, most: int, limit: int | None = None) -> int:
    """Find how many utterances a training step can take.

    Args:
        trial: The step.
        most: Upper bound of the search.
        limit: Bytes that training may take, on a CPU with all else in the process; None for most of
            what is free.

    Raises:
        InputError: Not even one utterance fits.
    """
    with trial.bar:
        if trial.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(trial.device)
            share = min((limit or MARGIN * free) / total, 1.0)
            torch.cuda.set_per_process_memory_fraction(share, trial.device)
            try:
                found = largest(trial.fits, most)
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0, trial.device)
        else:
            free = int(MARGIN * _system_bytes("meminfo", "MemAvailable"))
            limit = limit or free + _system_bytes("self/status", "VmRSS")
            trial.run(1)  # allocates the optimiser's state
            found = extrapolate(trial.peak, limit, most)
    if not found:
        raise InputError(
            f"--find-batch: not even one utterance of {trial.seconds:.1f} s fits into memory; "
            "choose a smaller network or leave out long utterances"
        )
    return found


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, to within `PRECISION`; 0 if none does.

    Doubles until one does not fit, then halves the interval.
    """
    good, bad = 0, most + 1
    while bad - good > max(1, good // PRECISION):
        middle = max(1, 2 * good) if 2 * good < bad and bad == most + 1 else (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


def extrapolate(peak: Callable[[int], int], limit: int, most: int) -> int:
    """The largest number up to `most` whose peak stays within a limit, to within `PRECISION`; 0 if none does.

    The peak grows linearly: a number is measured only if the ones before say that it fits.
    """
    first, number = peak(1), 1
    found = most if first <= limit else 0
    while number < found - found // PRECISION:
        number = min(2 * number, found)
        slope = max((peak(number) - first) / (number - 1), 1.0)
        found = min(most, 1 + int((limit - first) / slope))
    return found


def _system_bytes(file: str, entry: str) -> int:
    """An entry of a file in Linux's /proc, which counts in KiB."""
    try:
        with open(f"/proc/{file}", encoding="ascii") as lines:
            return int(dict(line.split(":", 1) for line in lines)[entry].split()[0]) * 1024
    except (OSError, KeyError):
        raise InputError("--find-batch: needs a GPU or Linux; choose --batch-seconds by hand") from None
