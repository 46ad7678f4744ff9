"""Steps that all corpus scripts share: archives, audio, transcripts, manifests.

A script names the archives and lists the recordings in them; `obtain` and `prepare` do the rest. Files that
exist are not made again.
"""

from __future__ import annotations

import math
import os
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import soundfile
from tqdm import tqdm

from deepspeech import log
from deepspeech.audio import loading
from deepspeech.corpora import download
from deepspeech.corpora.manifest_tools import sort
from deepspeech.data.manifest import Utterance, write_manifest
from deepspeech.data.parallel import map_checked, report_faults
from deepspeech.errors import InputError
from deepspeech.labels import PATH_HELP, Labels, UnknownCharacters
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, option

CONNECTIONS = 4  # downloads at the same time
RAW = {"samplerate": 16000, "channels": 1, "format": "RAW", "subtype": "PCM_16", "endian": "BIG"}
APOSTROPHES = dict.fromkeys(map(ord, "’‘`´ʼ"), "'")
SPOKEN = "%&@#§"  # symbols that Unicode counts as punctuation


@dataclass(frozen=True)
class CorpusConfig(Options):
    """Corpus"""

    target_dir: str = option("data/corpus_dataset/", "folder of archives, audio and transcripts")
    manifest_dir: str = option("data/", "folder of the manifests")
    archive: tuple[str, ...] = option(
        (), "extract these instead of downloading", flags=("--archive", "--tar-path"), nargs="+"
    )
    labels_path: str | None = option(None, PATH_HELP, metavar="FILE")
    min_duration: float = option(1.0, "leave shorter utterances out of training, in seconds", NOT_NEGATIVE)
    max_duration: float = option(15.0, "leave longer utterances out of training, in seconds", POSITIVE)
    sample_rate: int = option(16000, "sample rate of converted audio in Hz", POSITIVE)
    remove_archives: bool = option(False, "delete downloaded archives after extraction")

    @property
    def target(self) -> Path:
        return Path(self.target_dir)


@dataclass(frozen=True)
class Archive:
    """Address and published checksum of an archive."""

    url: str
    checksum: str | None = None

    @property
    def name(self) -> str:
        return os.path.basename(urlsplit(self.url).path)


@dataclass(frozen=True)
class Recording:
    """An utterance as the corpus publishes it."""

    split: str  # "train", "val", ...
    speaker: str
    name: str  # unique within split and speaker
    audio_path: Path
    text: str
    start: float | None = None  # seconds into the file, if the utterance is a part of it
    end: float | None = None  # seconds
    raw: bool = False  # 16 kHz, 16 bits, big-endian, mono, no header

    @property
    def ready(self) -> bool:
        """Whether the audio can be used as it is."""
        return self.start is None and not self.raw and self.audio_path.suffix in (".wav", ".flac")


def obtain(config: CorpusConfig, wanted: Sequence[Archive]) -> list[Path]:
    """Download and extract archives, or extract those of `--archive`.

    Returns:
        The folders they are extracted to, in order.

    Raises:
        InputError: An archive cannot be downloaded, is damaged or not safe.
    """
    extracted, stop = config.target / "extracted", threading.Event()

    def fetch(archive: Archive) -> Path:
        folder = extracted / download.stem(archive.name)
        if folder.exists():
            return folder
        path = config.target / "archives" / archive.name
        download.extract(download.download(archive.url, path, archive.checksum, stop), folder)
        if config.remove_archives:
            path.unlink()
        return folder

    if config.archive:
        names = Counter(map(download.stem, config.archive))
        if repeated := [name for name, count in names.items() if count > 1]:
            raise InputError(f"--archive: two archives are named {repeated[0]}; rename one")
        return [download.extract(path, extracted / download.stem(path)) for path in config.archive]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        jobs = [pool.submit(fetch, archive) for archive in wanted]
        try:
            return [job.result() for job in tqdm(jobs, "Archives", unit="archive", leave=False)]
        except BaseException:  # also Ctrl-C: cancel the others
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def prepare(config: CorpusConfig, recordings: Iterable[Recording]) -> dict[str, list[Utterance]]:
    """Convert audio, write transcripts, and log what is left out and why.

    Complete wav and flac files stay where they are. Other audio becomes FLAC, mono at the sample rate of the
    features: lossless, half the size of wav, and training need not decode mp3 or resample. Only training data
    is filtered by duration: the error rate of a test set must include its long utterances.

    Returns:
        The utterances of each split, shortest first.

    Raises:
        InputError: The labels cannot be read, a file cannot be written, or nothing is left.
    """
    labels, recordings = Labels.load(config.labels_path), list(recordings)
    results, faults = map_checked(
        lambda recording: _convert(config, labels, recording), recordings, f"Preparing {config.target}"
    )
    report_faults(config.target, faults)
    dropped: dict[str, list[Recording]] = {}
    splits: dict[str, list[Utterance]] = {}
    for recording, result in zip(recordings, results, strict=True):
        if isinstance(result, str):
            dropped.setdefault(result, []).append(recording)
        else:
            splits.setdefault(recording.split, []).append(result)
    for reason, (first, *others) in dropped.items():
        log.warning(
            f"{1 + len(others)} of {len(recordings)} utterances are left out: they {reason} "
            f"(first: {first.name}, {first.text.strip()!r})"
        )
    if not splits:
        raise InputError(f"{config.target}: no utterance is left; is it the right archive?")
    return {split: sort(utterances) for split, utterances in splits.items()}


def _convert(config: CorpusConfig, labels: Labels, recording: Recording) -> Utterance | str:
    """The utterance with its files in place, or why it is left out."""
    text = normalise(recording.text, labels)
    if not text:
        return "have no text" if text == "" else "have characters that are not in the labels"
    path = recording.audio_path if recording.ready else _place(config, "audio", recording, ".flac")
    try:
        samples = None if path.exists() else _samples(recording, config.sample_rate)
        seconds = loading.duration(path) if samples is None else len(samples) / config.sample_rate
    except InputError:
        return "have audio that cannot be read"
    if recording.split == "train" and seconds < config.min_duration:
        return f"are shorter than {config.min_duration:g} s"
    if recording.split == "train" and seconds > config.max_duration:
        return f"are longer than {config.max_duration:g} s"
    transcript = _place(config, "txt", recording, ".txt")
    try:
        if samples is not None:
            _write_flac(path, samples, config.sample_rate)
        _write_text(transcript, text + "\n")
    except (OSError, RuntimeError) as error:
        raise InputError(f"{transcript.parent}: cannot write there: {error}; free space") from None
    return Utterance(str(path), str(transcript), seconds)


def write_manifests(config: CorpusConfig, corpus: str, splits: dict[str, list[Utterance]]) -> None:
    """Write `CORPUS_SPLIT_manifest.csv` for every split, and log their sizes.

    Raises:
        InputError: One cannot be written.
    """
    os.makedirs(config.manifest_dir, exist_ok=True)
    for split, utterances in splits.items():
        write_manifest(os.path.join(config.manifest_dir, f"{corpus}_{split}_manifest.csv"), utterances)


def read_lines(path: Path, corpus: str, encodings: Sequence[str] = ("utf-8-sig",)) -> list[str]:
    """The non-empty lines of a text file of a corpus, in the first of the encodings that fits.

    Only line feeds end a line: sentences may have other separators of Unicode.

    Raises:
        InputError: There is no such file: the archive has another layout.
    """
    for encoding in encodings:
        try:
            text = path.read_bytes().decode(encoding)
        except UnicodeDecodeError:
            continue
        except OSError:
            break
        return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]
    raise InputError(f"{path}: cannot be read; is the archive that of {corpus}?")


def normalise(text: str, labels: Labels) -> str | None:
    """Text as the labels spell it, or None if they cannot.

    Unicode NFC, the case of the labels, one kind of apostrophe, a space for punctuation that is not in the
    labels. Letters, digits and symbols such as `%` are spoken: text with those that are missing is refused.
    """
    text = _cased(unicodedata.normalize("NFC", text.translate(APOSTROPHES)), labels)
    kept = {*labels, *SPOKEN} - {labels[labels.blank]}
    text = "".join(each if each in kept or unicodedata.category(each)[0] != "P" else " " for each in text)
    try:
        return labels.decode(labels.encode(text))
    except UnknownCharacters:
        return None


def _cased(text: str, labels: Labels) -> str:
    """Text in the case of the labels, with a dotless i where they have one, and ß only where they have it."""
    cases = [label for label in labels if len(label.swapcase()) == 1]
    turkic = "ı" in labels or "İ" in labels
    if not any(label.islower() for label in cases):
        text = text.replace("i", "İ") if turkic else text
        return "ß".join(part.upper() for part in text.split("ß")) if "ß" in labels else text.upper()
    if not any(label.isupper() for label in cases):
        return (text.replace("I", "ı").replace("İ", "i") if turkic else text).lower()
    return text


def _place(config: CorpusConfig, kind: str, recording: Recording, suffix: str) -> Path:
    """Path of a converted recording or its transcript; the speaker is the last folder."""
    speaker, name = (re.sub(r"[^\w.-]+", "-", each) for each in (recording.speaker, recording.name))
    return config.target / kind / recording.split / speaker / (name + suffix)


def _samples(recording: Recording, sample_rate: int) -> np.ndarray:
    """(samples,) int16, mono.

    Raises:
        InputError: The file cannot be read.
    """
    path = recording.audio_path
    if not recording.raw:
        end = math.inf if recording.end is None else recording.end
        part = path if recording.start is None else loading.segment(path, recording.start, end)
        waveform = loading.load_audio(part, sample_rate)
        samples: np.ndarray = np.clip(np.rint(waveform * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
        return samples
    try:
        samples, rate = soundfile.read(path, dtype="int16", **RAW)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    return loading.resample(samples, rate, sample_rate)


def _write_flac(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write a file that appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    soundfile.write(partial, samples, sample_rate, format="FLAC", subtype="PCM_16")
    partial.rename(path)


def _write_text(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
