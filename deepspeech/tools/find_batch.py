"""The largest batch that fits into memory, found by trying.

Training steps run in a process of their own, which may run out of memory without harm to this one.
A process that has run out is not used again: its memory is in pieces.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import torch
from tqdm import tqdm

from deepspeech.data.batch import Batch
from deepspeech.data.loader import AudioDataLoader, DeviceFeatures
from deepspeech.device import keep_freed_memory
from deepspeech.errors import InputError
from deepspeech.model.deepspeech2 import DeepSpeech, ModelConfig
from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainingStep

GIB = 2**30
MARGIN = 0.9  # of the memory that is free: how much a batch may take


@dataclass(frozen=True)
class Setting:
    """What a training step is like."""

    model: ModelConfig
    training: TrainingConfig
    device: str
    waveforms: bool  # whether features are computed on the device
    seconds: float  # of the longest utterance, as the network may get it
    characters: int  # of its transcript
    limit: int | None  # bytes; None for most of those that are free


def suggest_batch(
    loader: AudioDataLoader, model: ModelConfig, training: TrainingConfig, limit: float | None
) -> str:
    """Find the largest batch of a corpus, and say which flag asks for it.

    Args:
        loader: Of the training data.
        model: The network.
        training: How it is trained.
        limit: GiB it may take; None for most of what is free.

    Raises:
        InputError: Not even the longest utterance alone fits.
    """
    dataset = loader.utterances
    longest = int(dataset.corpus.durations.argmax())
    seconds = float(dataset.corpus.durations[longest])
    perturb = dataset.augment is not None and dataset.augment.config.speed_volume_perturb
    setting = Setting(
        model=model,
        training=training,
        device=str(loader.device),
        waveforms=dataset.waveforms,
        seconds=seconds / dataset.augment.config.tempo_range[0] if perturb else seconds,
        characters=len(dataset.corpus.targets[longest]),
        limit=int(limit * GIB) if limit else None,
    )
    utterances = find_batch(setting, most=len(dataset))
    all_of_them = ", all there are" if utterances == len(dataset) else ""
    return (
        f"{utterances} of the longest utterances ({seconds:.2f} s) fit into memory{all_of_them}: "
        f"pass --batch-seconds {math.ceil(100 * utterances * seconds) / 100}"
    )


def find_batch(setting: Setting, most: int) -> int:
    """How many of the longest utterances a training step can take.

    Args:
        setting: The step.
        most: Where to stop looking.

    Raises:
        InputError: Not even one fits.
    """
    with Trials(setting) as trials, tqdm(desc="Trying batches", unit="trial", leave=False) as bar:

        def fits(utterances: int) -> bool:
            bar.set_postfix_str(f"{utterances} x {setting.seconds:.1f} s")
            bar.update()
            return trials.fits(utterances)

        found = largest(fits, most)
    if not found:
        raise InputError(
            f"--find-batch: not even one utterance of {setting.seconds:.1f} s fits into memory; "
            "choose a smaller network or leave out long utterances"
        )
    return found


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, to within a thirtieth; 0 if none does.

    Doubles until one does not fit, then halves the interval.
    """
    good, bad = 0, most + 1
    while bad - good > max(1, good // 30):
        middle = max(1, 2 * good) if 2 * good < bad and bad == most + 1 else (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


class Trials:
    """Asks a process that trains whether a number of utterances fits; starts it when it is needed."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._pipe: Connection | None = None
        self._process: multiprocessing.process.BaseProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def fits(self, utterances: int) -> bool:
        """Whether training steps on so many of the longest utterances fit into memory."""
        if self._process is None:  # as after one that ran out
            context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other, self.setting), daemon=True)
            self._process.start()
            other.close()  # so that the process's death ends the pipe
        try:
            self._pipe.send(utterances)
            answer = self._pipe.recv()
        except (EOFError, OSError):  # it ran out of memory where that cannot be caught
            answer = False
        if answer is not True:
            self._end()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = self._pipe = None


def _serve(pipe: Connection, setting: Setting) -> None:
    """Answer for each number that comes whether steps with so many utterances fit, or with an error.

    Libraries tell in many words that memory ran out. Where one utterance went through and many do
    not, that is what it means.
    """
    works = False
    try:
        device = torch.device(setting.device)
        _limit_memory(device, setting.limit)
        keep_freed_memory()
        step = TrainingStep(DeepSpeech(setting.model).train().to(device), setting.training)
        features = DeviceFeatures(setting.model.features).to(device)

        def try_step(utterances: int) -> None:
            batch = _batch(setting, utterances)
            step.backward(features(batch) if setting.waveforms else batch, utterances)
            step.update(setting.training.learning_rate)
            if device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.empty_cache()  # the next batch has other sizes

        try_step(1)  # the optimiser takes its memory with the first
        works = True
        while True:
            try_step(pipe.recv())
            pipe.send(True)
    except (InputError, MemoryError, RuntimeError) as error:
        pipe.send(False if works or _is_out_of_memory(error) else error)
    except (EOFError, KeyboardInterrupt):
        pass


def _batch(setting: Setting, utterances: int) -> Batch:
    """Noise as long as the longest utterance: what it sounds like takes no memory."""
    features = setting.model.features
    samples = math.ceil(setting.seconds * features.sample_rate)
    size = samples if setting.waveforms else features.frames.count(samples)
    inputs = torch.randn(utterances, 1 if setting.waveforms else features.bins, size)
    labels = torch.arange(setting.characters * utterances) % (len(setting.model.labels) - 1)
    blank = setting.model.labels.index("_")
    return Batch(
        indices=list(range(utterances)),
        features=inputs,
        lengths=torch.full((utterances,), size),
        targets=labels + (labels >= blank),
        target_lengths=torch.full((utterances,), setting.characters),
        duration=setting.seconds * utterances,
    )


def _limit_memory(device: torch.device, limit: int | None) -> None:
    """Let allocations beyond the limit fail in this process."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        torch.cuda.set_per_process_memory_fraction(min((limit or MARGIN * free) / total, 1.0), device)
        return
    import resource  # not on Windows

    limit = int(limit or MARGIN * _free_memory())
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _free_memory() -> int:
    """Bytes that Linux could give to a new process without swapping."""
    with open("/proc/meminfo", encoding="ascii") as file:
        values = dict(line.split(":") for line in file)
    return int(values["MemAvailable"].split()[0]) * 1024


def _is_out_of_memory(error: Exception) -> bool:
    words = "allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED", "could not create a primitive"
    return isinstance(error, MemoryError) or any(each in str(error) for each in words)
