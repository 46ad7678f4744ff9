"""Many recordings: which they are, and their transcripts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch.utils.data import DataLoader
from tqdm import tqdm

from deepspeech.audio.loading import duration, find_audio, load_audio
from deepspeech.data.loader import ignore_signals
from deepspeech.data.manifest import read_manifest
from deepspeech.data.parallel import THREADS, ValueOrFault
from deepspeech.data.sampler import BucketingSampler
from deepspeech.decoding.word_times import Transcript
from deepspeech.errors import InputError
from deepspeech.inference.long_form import transcribe_long
from deepspeech.inference.recognizer import Recognizer
from deepspeech.options import CHUNK, NOT_NEGATIVE, POSITIVE, Options, option


@dataclass(frozen=True)
class RecordingsConfig(Options):
    """Recordings"""

    manifest: str | None = option(None, "CSV of audio,transcript[,seconds] whose audio to transcribe")
    folder: str | None = option(None, "folder whose audio files to transcribe, with all folders below it")
    output: str | None = option(
        None, "folder for one file of results per recording; those that are there already are not made again"
    )
    chunk_seconds: float | None = option(
        None,
        "cut longer recordings into segments of at most this length, at silences where there are any; "
        "0: never cut (default: 20 for recordings of more than a minute, shorter ones are not cut)",
        CHUNK,
        metavar="SECONDS",
    )
    batch_seconds: float = option(80.0, "audio computed at a time, padding included", POSITIVE)
    num_workers: int = option(2, "processes that read the audio of many files; 0: none", NOT_NEGATIVE)

    @property
    def whole_seconds(self) -> float:
        """Recordings up to this length are not cut."""
        if self.chunk_seconds is None:
            return 60.0
        return self.chunk_seconds or math.inf

    @property
    def segment_seconds(self) -> float:
        """How long segments of those that are cut may be."""
        return self.chunk_seconds or 20.0


WINDOW = 512  # recordings that are put into batches together

# What is read of a recording, part by part: the hypotheses of each, best first
Parts = Iterable[list[Transcript]]


def find_recordings(files: Iterable[str], config: RecordingsConfig) -> tuple[list[str], list[str]]:
    """The audio files that were named, each once, and messages on the faulty rows of the manifest.

    Raises:
        InputError: There are none, or the manifest or folder cannot be read.
    """
    paths, faults = list(files), []
    if config.manifest:
        utterances, faults = read_manifest(config.manifest)
        paths += [utterance.audio_path for utterance in utterances]
    if config.folder:
        paths += find_audio(config.folder)
    if not paths and not faults:
        raise InputError("no audio file; give one or more, or a --manifest or --folder that has some")
    return list(dict.fromkeys(paths)), faults


def transcribe_recordings(
    recognizer: Recognizer, paths: Sequence[str], config: RecordingsConfig, words: bool, progress: bool
) -> Iterator[tuple[str, Parts]]:
    """Transcribe files: short ones in batches of like length, long ones in segments.

    Of every `WINDOW` files those that cannot be read come first, then the short ones, by length,
    then the long ones in the order of `paths`.

    Args:
        recognizer: Transcribes.
        paths: Audio files.
        config: What is long, and how much is computed at a time.
        words: Whether to find the words of short recordings; long ones always have them.
        progress: Whether to show bars on standard error.

    Yields:
        Each file and its transcript, whose parts must be read at once. They raise an `InputError`
        where the file cannot be read, or not to its end.
    """
    several = len(paths) > 1
    with tqdm(
        total=len(paths), desc="Transcribing", unit="file", leave=False, disable=not (progress and several)
    ) as bar:
        for first in range(0, len(paths), WINDOW):
            window = paths[first : first + WINDOW]
            for path, parts in _transcribe(recognizer, window, config, words, progress):
                yield path, parts
                bar.update()


def _transcribe(
    recognizer: Recognizer, paths: Sequence[str], config: RecordingsConfig, words: bool, progress: bool
) -> Iterator[tuple[str, Parts]]:
    with ThreadPoolExecutor(THREADS) as pool:
        durations = dict(zip(paths, pool.map(ValueOrFault(duration), paths), strict=True))
    faults = {path: each for path, each in durations.items() if isinstance(each, InputError)}
    yield from ((path, _fault(error)) for path, error in faults.items())
    short = {
        path: seconds
        for path, seconds in durations.items()
        if path not in faults and seconds <= config.whole_seconds
    }
    for batch in _read_batches(short, recognizer.model.config.features.sample_rate, config):
        yield from ((path, _fault(each)) for path, each in batch if isinstance(each, InputError))
        waveforms = {path: each for path, each in batch if isinstance(each, np.ndarray)}
        if waveforms:
            transcripts = recognizer.batch_transcripts(list(waveforms.values()), words)
            yield from ((path, [each]) for path, each in zip(waveforms, transcripts, strict=True))
    for path in durations:
        if path not in faults and path not in short:
            parts = transcribe_long(recognizer, path, config.segment_seconds, config.batch_seconds, progress)
            yield path, ([part] for part in parts)


def _fault(error: InputError) -> Parts:
    """The transcript of a file that cannot be read: raises why."""
    raise error
    yield


def _read_batches(
    durations: dict[str, float], sample_rate: int, config: RecordingsConfig
) -> Iterator[list[tuple[str, np.ndarray | InputError]]]:
    """Waveforms of the files whose seconds are given, of like length in batches, by worker processes."""
    paths = list(durations)
    sampler = BucketingSampler(list(durations.values()), 1, shuffle=False, batch_seconds=config.batch_seconds)
    batches = [[paths[index] for index in batch] for batch in sampler.batches()]
    loader = DataLoader(
        ValueOrFault(partial(load_audio, sample_rate=sample_rate)),
        batch_sampler=batches,
        collate_fn=list,
        num_workers=min(config.num_workers, len(batches) // 2, os.cpu_count() or 1),
        worker_init_fn=ignore_signals,
    )
    for names, waveforms in zip(batches, loader, strict=True):
        yield list(zip(names, waveforms, strict=True))
