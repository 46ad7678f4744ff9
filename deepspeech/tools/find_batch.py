"""Find the largest batch that fits into memory, by measuring training steps.

The peak of a step grows linearly with the batch. Small batches are measured, larger ones only if they should
fit: running out of memory would kill the process on a CPU, and leave fragments on a GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tqdm import tqdm

from deepspeech.data.batch import Batch, WaveformSample, collate_waveforms
from deepspeech.data.loader import AudioDataLoader, DeviceFeatures
from deepspeech.errors import InputError
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainStep

GIB = 2**30
MARGIN = 0.9  # share of the free memory that training may take


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
        device = self.device if self.features_on_device else "cpu"
        self.features = DeviceFeatures(self.model.features).to(device)
        self.bar = tqdm(desc="Trying batches", unit="trial", leave=False)

    def peak(self, utterances: int) -> float:
        """Bytes that the GPU's allocator, or the process, holds at most during a step; inf if it fails.

        Raises:
            InputError: The system does not report it.
        """
        self.bar.set_postfix_str(f"{utterances} x {self.seconds:.1f} s")
        self.bar.update()
        if cuda := self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc only
                ctypes.CDLL(None).malloc_trim(0)  # return what earlier steps freed
            with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write("5")  # reset the peak: see proc_pid_clear_refs(5)
        try:
            self.step.backward(self._batch(utterances), utterances)
            self.step.update(self.training.learning_rate)
        except torch.OutOfMemoryError:  # of a GPU
            return math.inf
        return torch.cuda.max_memory_reserved(self.device) if cuda else _system_bytes("self/status", "VmHWM")

    def available(self) -> int:
        """Bytes that training may take by default, including what the process has."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            return int(MARGIN * free) + torch.cuda.memory_reserved(self.device)
        return int(MARGIN * _system_bytes("meminfo", "MemAvailable")) + _system_bytes("self/status", "VmRSS")

    def _batch(self, utterances: int) -> Batch:
        features = self.model.features
        samples = math.ceil(self.seconds * features.sample_rate)
        target = torch.arange(self.characters) % (len(self.model.labels) - 1)
        target += target >= self.model.labels.index("_")
        sample = WaveformSample(index=0, waveform=torch.randn(samples), target=target, duration=self.seconds)
        batch: Batch = self.features(collate_waveforms([sample] * utterances, features.stride_samples))
        return batch


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
        trial.peak(1)  # allocates the optimiser's state
        found = extrapolate(trial.peak, limit or trial.available(), most)
    if not found:
        raise InputError(
            f"--find-batch: not even one utterance of {trial.seconds:.1f} s fits into memory; "
            "choose a smaller network or leave out long utterances"
        )
    return found


def extrapolate(peak: Callable[[int], float], limit: int, most: int) -> int:
    """The largest number up to `most` whose peak is within a limit, to within a thirtieth; 0 if none is.

    A number is measured only if the ones before it say that it fits.
    """
    first, number = peak(1), 1
    found = most if first <= limit else 0
    while number < found - found // 30:
        measured, number = number, min(2 * number, found)
        if math.isinf(highest := peak(number)):
            return measured
        slope = max((highest - first) / (number - 1), 1.0)
        found = min(most, 1 + int((limit - first) / slope))
    return found


def _system_bytes(file: str, entry: str) -> int:
    """An entry of a file in Linux's /proc, which counts in KiB."""
    try:
        with open(f"/proc/{file}", encoding="ascii") as lines:
            return int(dict(line.split(":", 1) for line in lines)[entry].split()[0]) * 1024
    except (OSError, KeyError):
        raise InputError("--find-batch: needs a GPU or Linux; choose --batch-seconds by hand") from None
