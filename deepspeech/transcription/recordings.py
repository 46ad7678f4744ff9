"""Many recordings: which ones, and their transcripts in order."""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from tqdm import tqdm

from deepspeech.audio.loading import duration, find_audio, load_audio
from deepspeech.data.manifest import read_manifest
from deepspeech.data.parallel import THREADS, ValueOrFault, ignore_signals
from deepspeech.data.sampler import BucketingSampler
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.decoding.word_times import Transcript
from deepspeech.errors import InputError
from deepspeech.inference.long_form import transcribe_long
from deepspeech.inference.recognizer import Recognizer
from deepspeech.options import CHUNK, NOT_NEGATIVE, POSITIVE, Options, option


@dataclass(frozen=True)
class RecordingsConfig(Options):
    """Recordings"""

    files: tuple[str, ...] = option((), "audio files", positional=True, nargs="*", metavar="FILE")
    audio_path: tuple[str, ...] = option((), "audio files", nargs="+", metavar="FILE")
    manifest: str | None = option(None, "manifest (CSV or JSON lines) of audio to transcribe", metavar="FILE")
    folder: str | None = option(
        None, "folder whose audio files to transcribe, with all folders below it", metavar="FOLDER"
    )
    output: str | None = option(
        None,
        "folder for one file of results per recording; recordings that have one are skipped",
        metavar="FOLDER",
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
        """Longest segment of a recording that is cut."""
        return self.chunk_seconds or 20.0


WINDOW = 512  # recordings that are sorted into batches together
NO_SPEECH = Transcript(Hypothesis("", [], 0.0), [])

Result: TypeAlias = list[Transcript] | InputError  # hypotheses, best first, or why transcription failed


def find_recordings(config: RecordingsConfig) -> tuple[list[str], list[str]]:
    """The audio files to transcribe, each once by its first name, and messages on faulty rows.

    Raises:
        InputError: No files are given, or the manifest or folder cannot be read.
    """
    paths = [*config.files, *config.audio_path]
    faults: list[str] = []
    if config.manifest:
        utterances, faults = read_manifest(config.manifest)
        paths += [utterance.audio_path for utterance in utterances]
    if config.folder:
        paths += find_audio(config.folder)
    if not paths and not faults:
        raise InputError("no audio file; give one or more, or a --manifest or --folder that has some")
    names: dict[str, str] = {}
    for path in paths:
        names.setdefault(os.path.abspath(path), path)
    return list(names.values()), faults


def transcribe_recordings(
    recognizer: Recognizer, paths: Sequence[str], config: RecordingsConfig, words: bool, progress: bool
) -> Iterator[tuple[str, Result]]:
    """Transcribe different files: short ones in batches of like length, long ones in segments.

    Short recordings have the times of their words only on demand, long ones always.

    Yields:
        Each path with its result, in the order of `paths`. A long recording comes once for every
        segment with speech, as soon as that is done, but at least once; an error ends it.
    """
    hidden = not progress or len(paths) < 2
    with tqdm(total=len(paths), desc="Transcribing", unit="file", leave=False, disable=hidden) as bar:
        for window in (paths[first : first + WINDOW] for first in range(0, len(paths), WINDOW)):
            with ThreadPoolExecutor(THREADS) as pool:
                durations = dict(zip(window, pool.map(ValueOrFault(duration), window), strict=True))
            short = {
                path: seconds
                for path, seconds in durations.items()
                if not isinstance(seconds, InputError) and seconds <= config.whole_seconds
            }
            batches = _transcribe_batches(recognizer, short, config, words)
            done: dict[str, Result] = {}
            for path, seconds in durations.items():
                if isinstance(seconds, InputError):
                    yield path, seconds
                elif path in short:
                    while path not in done:
                        done |= next(batches)
                    yield path, done.pop(path)
                else:
                    yield from ((path, each) for each in _transcribe_long(recognizer, path, config, progress))
                bar.update()


def _transcribe_batches(
    recognizer: Recognizer, durations: Mapping[str, float], config: RecordingsConfig, words: bool
) -> Iterator[dict[str, Result]]:
    """Transcribe files, given with their seconds; yields the results of one batch after the other."""
    paths, rate = list(durations), recognizer.model.config.features.sample_rate
    sampler = BucketingSampler(list(durations.values()), 1, shuffle=False, batch_seconds=config.batch_seconds)
    batches = [[paths[index] for index in batch] for batch in sorted(sampler.batches(), key=min)]
    workers = min(config.num_workers, len(batches) // 2, os.cpu_count() or 1)
    for batch, loaded in zip(batches, _load_ahead(batches, rate, workers), strict=True):
        pairs = list(zip(batch, loaded, strict=True))
        results: dict[str, Result] = {path: each for path, each in pairs if isinstance(each, InputError)}
        waveforms = {path: each for path, each in pairs if not isinstance(each, InputError)}
        if waveforms:
            transcripts = recognizer.batch_transcripts(list(waveforms.values()), words)
            results |= zip(waveforms, transcripts, strict=True)
        yield results


def _load_ahead(
    batches: Sequence[Sequence[str]], rate: int, workers: int
) -> Iterator[list[np.ndarray | InputError]]:
    """The waveforms of each batch, read by processes a few batches ahead; without workers, by this one."""
    if not workers:
        yield from (_load(batch, rate) for batch in batches)
        return
    coming: deque[Future[list[np.ndarray | InputError]]] = deque()
    with ProcessPoolExecutor(workers, initializer=ignore_signals) as pool:
        for batch in batches:
            coming.append(pool.submit(_load, batch, rate))
            if len(coming) > 2 * workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _load(paths: Sequence[str], rate: int) -> list[np.ndarray | InputError]:
    load = ValueOrFault(partial(load_audio, sample_rate=rate))
    return [load(path) for path in paths]


def _transcribe_long(
    recognizer: Recognizer, path: str, config: RecordingsConfig, progress: bool
) -> Iterator[Result]:
    parts = transcribe_long(recognizer, path, config.segment_seconds, config.batch_seconds, progress)
    try:
        for part in itertools.chain([next(parts, NO_SPEECH)], parts):
            yield [part]
    except InputError as error:
        yield error
