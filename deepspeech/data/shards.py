"""Corpora in tar shards of the WebDataset format: thousands of utterances per file.

A shard holds, for every utterance, `KEY.flac` (or another audio file), `KEY.txt` and `KEY.json` with its
`seconds`. `write_shards` writes them with the webdataset library, and any tool for that format reads them;
shards made elsewhere are read if they have those names.

The index `X.tar.index.csv` beside `X.tar` lists each utterance's audio file, its position in the tar file,
its duration and its text. So a corpus opens as fast as its indices are read, and every utterance can be read
by itself: batches, shuffling and resuming are those of loose files.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import itertools
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
from tqdm import tqdm

from deepspeech.atomic_file import write_csv
from deepspeech.audio import loading
from deepspeech.audio.containers import AUDIO_SUFFIXES
from deepspeech.data.manifest import Utterance
from deepspeech.data.parallel import map_checked
from deepspeech.errors import InputError, at

COLUMNS = ("name", "offset", "size", "seconds", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Utterance):
    """An utterance in a shard."""

    shard: str  # path of the tar file
    offset: int  # bytes from the start of the tar file to the audio
    size: int  # bytes of the audio


def read_member(shard: str, offset: int, size: int) -> bytes:
    """The audio file of an utterance.

    Raises:
        InputError: The shard cannot be read.
    """
    try:
        with open(shard, "rb", buffering=0) as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise InputError(f"{shard}: cannot read the shard: {error.strerror}; correct the path") from None
    if len(data) < size:
        raise InputError(f"{shard}: truncated shard; copy it again")
    return data


def is_pattern(path: str | Path) -> bool:
    """Whether the path of a corpus names shards, not a manifest."""
    return str(path).endswith(".tar")


def expand(pattern: str | Path) -> list[str]:
    """The paths that `a-{00..02}.tar` or `a-*.tar` stands for.

    Raises:
        InputError: One of them, or all, are missing.
    """
    pattern = str(pattern)
    if braces := re.search(r"\{(\d+)\.\.(\d+)\}", pattern):
        first, last = braces.groups()
        numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
        return [path for number in numbers for path in expand(pattern.replace(braces[0], number, 1))]
    found = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern))
    if not found:
        raise InputError(f"{pattern}: no such shard; correct the path")
    return found


def read_shards(pattern: str | Path) -> tuple[list[Utterance], list[str]]:
    """The utterances of shards, and a message for each that is malformed.

    Raises:
        InputError: A shard is missing.
    """
    read, faults = map_checked(_read_shard, expand(pattern), f"Opening {pattern}")
    members = [member for found, _ in read for member in found]
    return members, faults + [fault for _, malformed in read for fault in malformed]


def _read_shard(path: str) -> tuple[list[Utterance], list[str]]:
    try:
        with open(index_path(path), encoding="utf-8", newline="") as file:
            if os.fstat(file.fileno()).st_mtime_ns < os.stat(path).st_mtime_ns:
                raise ValueError("older than the shard")
            rows = csv.reader(file)
            if next(rows, None) == _header(path):
                return [_member(path, *row) for row in rows], []
    except (OSError, ValueError, TypeError, csv.Error):
        pass  # made elsewhere, changed since, or truncated: index the shard again
    return index_shard(path)


def _member(shard: str, name: str, offset: str, size: str, seconds: str, text: str) -> Utterance:
    return Member(
        audio_path=f"{shard}/{name}",
        transcript_path=f"{shard}/{os.path.splitext(name)[0]}.txt",
        duration=float(seconds),
        place=f"{shard}:{name}",
        shard=shard,
        offset=int(offset),
        size=int(size),
        text=text,
    )


def index_path(shard: str) -> str:
    return f"{shard}.index.csv"


def _header(shard: str) -> list[str]:
    """The first row of an index; with the shard's size, so that the index of another shard is not used."""
    return [*COLUMNS, f"{os.path.getsize(shard)} bytes"]


def index_shard(path: str) -> tuple[list[Utterance], list[str]]:
    """Read through a shard and write its index, if its folder is writable.

    Returns:
        Its utterances, and a message for each that is malformed.

    Raises:
        InputError: The shard is not a tar file.
    """
    rows, faults = [], []
    try:
        with tarfile.open(path, "r:") as tar:
            files = (info for info in tar if info.isfile())
            for key, group in _grouped(files):
                try:
                    rows.append(_index_row(key, group, tar))
                except InputError as fault:
                    faults.append(f"{path}: {fault}")
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{path}: not a shard that can be read: {error}; make or copy it again") from None
    if not faults:
        with contextlib.suppress(InputError):  # a folder that is read-only, or full
            write_csv(index_path(path), [_header(path), *rows])
    return [_member(path, *row) for row in rows], faults


def _grouped(files: Iterable[tarfile.TarInfo]) -> Iterator[tuple[str, list[tarfile.TarInfo]]]:
    """The files of each utterance: of equal names up to the first dot, or the last if that is ambiguous."""

    def stem(info: tarfile.TarInfo) -> str:
        return os.path.splitext(info.name)[0]

    for key, found in itertools.groupby(files, lambda info: _key(info.name)):
        group = list(found)
        suffixes = {os.path.splitext(info.name)[1].lower() for info in group}
        if len(suffixes) == len(group):
            yield key, group
        else:
            yield from ((name, list(each)) for name, each in itertools.groupby(group, stem))


def _key(name: str) -> str:
    """A file's name up to its first dot."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _index_row(key: str, files: Iterable[tarfile.TarInfo], tar: tarfile.TarFile) -> list[str]:
    def content(info: tarfile.TarInfo) -> bytes:
        file = tar.extractfile(info)
        return file.read() if file else b""

    named = {os.path.splitext(info.name)[1].lower(): info for info in files}
    audio = next((named[suffix] for suffix in AUDIO_SUFFIXES if suffix in named), None)
    if audio is None or ".txt" not in named:
        raise InputError(f"{key.lstrip('/')}: expected audio and .txt, found {' '.join(sorted(named))}")
    try:
        text = content(named[".txt"]).decode("utf-8-sig").strip()
        seconds = json.loads(content(named[".json"])).get("seconds") if ".json" in named else None
    except (UnicodeDecodeError, ValueError, AttributeError) as error:
        raise InputError(f"{key.lstrip('/')}: transcript or json is damaged: {error}") from None
    if seconds is None:
        seconds = loading.duration(audio.name, content(audio))
    return [audio.name, str(audio.offset_data), str(audio.size), f"{float(seconds):.6f}", text]


def write_shards(
    utterances: Sequence[Utterance], pattern: str, shard_bytes: float = 1e9, shard_utterances: int = 10_000
) -> list[str]:
    """Copy utterances into shards, in their order, and write the indices.

    Args:
        utterances: Rows of a manifest.
        pattern: Names of the shards, with a placeholder for their number: `train-%03d.tar`.
        shard_bytes: Size at which the next shard starts.
        shard_utterances: Number of utterances at which the next shard starts.

    Returns:
        The names of the shards.

    Raises:
        InputError: webdataset is not installed, an utterance cannot be read, or the shards cannot be
            written; none is left then.
    """
    try:
        from webdataset import ShardWriter
    except ImportError:
        raise InputError("writing shards needs webdataset; pip install webdataset") from None
    if there := _existing(pattern):
        raise InputError(f"{there[0]}: there are such shards already; choose another folder or remove them")
    folder, written = os.path.dirname(pattern) or ".", list[str]()
    options = {"post": written.append, "verbose": 0, "encoder": False, "mtime": 0}
    with contextlib.ExitStack() as undo:
        undo.callback(lambda: list(map(os.unlink, _existing(pattern))))
        try:
            os.makedirs(folder, exist_ok=True)
            with ShardWriter(pattern, shard_utterances, shard_bytes, **options) as writer:
                for number, each in enumerate(tqdm(utterances, "Writing", unit="utterance", leave=False)):
                    writer.write(_sample(number, each))
        except OSError as error:
            raise InputError(f"{folder}: cannot write shards: {error.strerror}; choose another") from None
        undo.pop_all()
    map_checked(index_shard, written, "Indexing")
    return written


def _existing(pattern: str) -> list[str]:
    return glob.glob(re.sub(r"%\d*d", "*", glob.escape(pattern)))


def _sample(number: int, utterance: Utterance) -> dict[str, str | bytes]:
    """An utterance in the form that webdataset writes; a segment becomes a FLAC file."""
    name, *_ = loading.locate(utterance.audio_path)
    path, suffix = Path(name), os.path.splitext(name)[1].lower()
    with at(utterance.place):
        if suffix not in AUDIO_SUFFIXES:
            raise InputError(f"{path}: not named as audio ({', '.join(AUDIO_SUFFIXES)}); rename it")
        seconds = loading.duration(utterance.audio_path)
        text = utterance.read_text()
        if name == utterance.audio_path:
            content = path.read_bytes()
        else:
            rate, flac = loading.sample_rate(path), io.BytesIO()
            soundfile.write(flac, loading.load_audio(utterance.audio_path, rate), rate, format="FLAC")
            content, suffix = flac.getvalue(), ".flac"
    return {
        "__key__": f"{number:08d}-{re.sub('[^A-Za-z0-9_-]+', '-', path.stem)[:60]}",
        suffix.removeprefix("."): content,
        "txt": text.encode(),
        "json": json.dumps({"seconds": seconds}).encode(),
    }
