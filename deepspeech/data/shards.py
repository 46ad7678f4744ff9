"""Corpora in tar shards of the WebDataset format: thousands of utterances a file.

A shard holds, for every utterance, `KEY.flac` (or another audio file), `KEY.txt` and
`KEY.json` with its `seconds`. `write_shards` writes them with the webdataset library, and
any tool for that format reads them; shards made elsewhere can be read here if they have
those names.

Beside `X.tar` lies `X.tar.index.csv`: where in the file each audio lies, how long it is, and
its text. So a corpus in shards opens as fast as its indices are read, and any utterance
can be read by itself: batches, shuffling and resuming are those of loose files.
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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deepspeech.audio import loading
from deepspeech.audio.loading import AUDIO_ENDINGS
from deepspeech.data.manifest import Utterance, read_transcript
from deepspeech.data.parallel import map_checked
from deepspeech.data.ragged import Strings
from deepspeech.errors import InputError

COLUMNS = ("name", "offset", "size", "seconds", "text")


@dataclass(frozen=True, slots=True)
class Member:
    """An utterance in a shard."""

    shard: str  # path of the tar file
    name: str  # of the audio in it
    offset: int  # bytes from the start of the tar file
    size: int  # bytes
    duration: float  # seconds
    text: str

    @property
    def audio_path(self) -> str:
        return f"{self.shard}/{self.name}"

    @property
    def transcript_path(self) -> str:
        return f"{self.shard}/{self.name.partition('.')[0]}.txt"

    @property
    def place(self) -> str:
        return f"{self.shard}:{self.name}"


class Members:
    """Where the audio of every utterance lies, in a few arrays."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.offsets = np.array([member.offset for member in members])
        self.sizes = np.array([member.size for member in members])
        names = sorted({member.shard for member in members})
        numbers = {name: number for number, name in enumerate(names)}
        self.shards = Strings(names)
        self.numbers = np.array([numbers[member.shard] for member in members], dtype=np.int32)

    def read(self, index: int) -> bytes:
        """The audio file of an utterance.

        Raises:
            InputError: The shard cannot be read.
        """
        path, size = self.shards[self.numbers[index]], int(self.sizes[index])
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(int(self.offsets[index]))
                data = file.read(size)
        except OSError as error:
            raise InputError(f"{path}: cannot read the shard: {error.strerror}; correct the path") from None
        if len(data) < size:
            raise InputError(f"{path}: truncated shard; copy it again")
        return data


def is_pattern(path: str | Path) -> bool:
    """Whether a manifest's name stands for shards."""
    return str(path).endswith(".tar")


def expand(pattern: str | Path) -> list[str]:
    """`a-{00..02}.tar` or `a-*.tar` -> the paths it stands for.

    Raises:
        InputError: One of them, or all, are missing.
    """
    parts = re.split(r"\{(\d+)\.\.(\d+)\}", str(pattern))
    ranges = [
        [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
        for first, last in zip(parts[1::3], parts[2::3], strict=True)
    ]
    names = []
    for numbers in itertools.product(*ranges):
        name = "".join(itertools.chain(*itertools.zip_longest(parts[::3], numbers, fillvalue="")))
        found = [name] if os.path.isfile(name) else sorted(glob.glob(name))
        if not found:
            raise InputError(f"{name}: no such shard; correct the path")
        names += found
    return names


def read_shards(pattern: str | Path) -> tuple[list[Member], list[str]]:
    """The utterances of shards, and one message for each that is none.

    Raises:
        InputError: A shard is missing.
    """
    read, faults = map_checked(_read_shard, expand(pattern), f"Opening {pattern}")
    members = [member for found, _ in read for member in found]
    return members, faults + [fault for _, found in read for fault in found]


def _read_shard(path: str) -> tuple[list[Member], list[str]]:
    try:
        with open(index_path(path), encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) == _header(path):
                return [Member(path, row[0], *map(int, row[1:3]), float(row[3]), row[4]) for row in rows], []
    except (OSError, ValueError, IndexError, csv.Error):
        pass  # made elsewhere, or cut off: make it again
    return index_shard(path)


def index_path(shard: str) -> str:
    return f"{shard}.index.csv"


def _header(shard: str) -> list[str]:
    """The first row of an index; it tells whether the index belongs to the shard as it is."""
    return [*COLUMNS, f"{os.path.getsize(shard)} bytes"]


def index_shard(path: str) -> tuple[list[Member], list[str]]:
    """Read a shard through and write its index, if the folder can be written to.

    Returns:
        Its utterances, and one message for each that is none.

    Raises:
        InputError: It is no tar file.
    """
    members, faults = [], []
    try:
        with tarfile.open(path, "r:") as tar:
            files = (info for info in tar if info.isfile())
            for key, group in itertools.groupby(files, lambda info: _key(info.name)):
                try:
                    members.append(_member(path, key, list(group), tar))
                except InputError as fault:
                    faults.append(f"{path}: {fault}")
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{path}: not a shard that can be read: {error}; make or copy it again") from None
    if not faults:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_header(path))
        writer.writerows([m.name, m.offset, m.size, f"{m.duration:.6f}", m.text] for m in members)
        with contextlib.suppress(OSError):  # a folder that is read-only
            Path(index_path(path)).write_text(text.getvalue(), encoding="utf-8", newline="")
    return members, faults


def _key(name: str) -> str:
    """What the files of one utterance share: all up to the first dot of the file's name."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _member(path: str, key: str, files: Iterable[tarfile.TarInfo], tar: tarfile.TarFile) -> Member:
    def content(info: tarfile.TarInfo) -> bytes:
        return tar.extractfile(info).read()

    named = {os.path.splitext(info.name)[1].lower(): info for info in files}
    sound = next((named[ending] for ending in sorted(AUDIO_ENDINGS) if ending in named), None)
    if sound is None or ".txt" not in named:
        raise InputError(f"{key.lstrip('/')}: expected audio and .txt, found {' '.join(sorted(named))}")
    try:
        text = content(named[".txt"]).decode("utf-8-sig").strip()
        seconds = json.loads(content(named[".json"])).get("seconds") if ".json" in named else None
    except (UnicodeDecodeError, ValueError, AttributeError) as error:
        raise InputError(f"{key.lstrip('/')}: transcript or json is damaged: {error}") from None
    if seconds is None:
        seconds = loading.duration(sound.name, content(sound))
    return Member(path, sound.name, sound.offset_data, sound.size, float(seconds), text)


def write_shards(
    utterances: Sequence[Utterance], pattern: str, shard_bytes: float = 1e9, shard_utterances: int = 10_000
) -> list[str]:
    """Copy utterances into shards, in their order, and write the indices.

    Args:
        utterances: With durations.
        pattern: Names of the shards, with a place for their number: `train-%03d.tar`.
        shard_bytes: Begin another shard when one is this large.
        shard_utterances: Begin another shard when one holds this many.

    Returns:
        The names of the shards.

    Raises:
        InputError: webdataset is not installed, or an utterance cannot be read.
    """
    try:
        from webdataset import ShardWriter
    except ImportError:
        raise InputError("shards are written with webdataset; pip install 'deepspeech[shards]'") from None
    if there := glob.glob(re.sub(r"%\d*d", "*", glob.escape(pattern))):
        raise InputError(f"{there[0]}: there are such shards already; choose another folder or remove them")
    os.makedirs(os.path.dirname(pattern) or ".", exist_ok=True)
    written: list[str] = []
    with ShardWriter(
        pattern, shard_utterances, shard_bytes, post=written.append, verbose=0, encoder=False, mtime=0
    ) as writer:
        for number, each in enumerate(tqdm(utterances, "Writing", unit="utterance", leave=False)):
            writer.write(_sample(number, each))
    map_checked(index_shard, written, "Indexing")
    return written


def _sample(number: int, utterance: Utterance) -> dict[str, str | bytes]:
    """What webdataset writes for an utterance."""
    path = Path(utterance.audio_path)
    seconds = utterance.duration or loading.duration(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{utterance.place}: {path}: cannot read audio: {error.strerror}") from None
    return {
        "__key__": f"{number:08d}-{re.sub('[^A-Za-z0-9_-]+', '-', path.stem)[:60]}",
        path.suffix.lower().removeprefix("."): content,
        "txt": read_transcript(utterance.transcript_path).encode(),
        "json": json.dumps({"seconds": seconds}).encode(),
    }
