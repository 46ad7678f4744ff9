#!/usr/bin/env python3
"""Prepare TED-LIUM, release 3 (Hernandez et al., 2018; 452 hours of talks, 54 GB) or release 2.

Layout of release 3, https://www.openslr.org/51: `data/{sph,stm}` to train on, and
`legacy/{dev,test}/{sph,stm}`; of release 2, https://www.openslr.org/19:
`{train,dev,test}/{sph,stm}`. A talk is a SPHERE file; its STM file lists the segments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepspeech import cli, log
from deepspeech.corpora.prepare import (
    Archive,
    CorpusConfig,
    Recording,
    obtain,
    prepare,
    read_lines,
    write_manifests,
)
from deepspeech.errors import InputError
from deepspeech.options import one_of, option

RELEASES = {  # checksums as in torchaudio 2.11
    "2": Archive(
        "https://www.openslr.org/resources/19/TEDLIUM_release2.tar.gz",
        "sha256:93281b5fcaaae5c88671c9d000b443cb3c7ea3499ad12010b3934ca41a7b9c58",
    ),
    "3": Archive(
        "https://www.openslr.org/resources/51/TEDLIUM_release-3.tgz",
        "sha256:ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb",
    ),
}
FOLDERS = {"train": ("train", "data"), "val": ("dev", "legacy/dev"), "test": ("test", "legacy/test")}
MARKS = re.compile(r"<[^>]*>|\{[^}]*\}|\[[^\]]*\]|\(\d+\)")  # noises, unknown words, pronunciations
CLITICS = re.compile(r"\s+(?='(?:s|m|d|t|ll|re|ve)\b)")  # as in "it 's"


@dataclass(frozen=True)
class TedConfig(CorpusConfig):
    """TED-LIUM"""

    target_dir: str = option("data/ted_dataset/", "folder of archives, audio and transcripts")
    release: str = option("3", "release of the corpus", one_of(*RELEASES))
    url: str | None = option(None, "another address of the archive")
    drop_unknown: bool = option(False, "leave out segments with words that are not transcribed (<unk>)")


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, TedConfig).make(TedConfig)
    (folder,) = obtain(config, [Archive(config.url) if config.url else RELEASES[config.release]])
    write_manifests(config, "ted", prepare(config, recordings(folder, config.drop_unknown)))


def recordings(folder: Path, drop_unknown: bool) -> Iterator[Recording]:
    """The segments of all talks; talks of the dev and test sets are kept out of the training set."""
    held_out, dropped = set(), 0
    for part in ("test", "val", "train"):
        listings = [path for each in FOLDERS[part] for path in sorted(folder.glob(f"*/{each}/stm/*.stm"))]
        if not listings:
            raise InputError(f"{folder}: no {part} talks; is the archive that of TED-LIUM 2 or 3?")
        for listing in listings:
            if part == "train" and listing.stem in held_out:
                continue
            held_out.add(listing.stem)
            for line in read_lines(listing, "TED-LIUM"):
                if segment := parse(line, part, listing):
                    if drop_unknown and "<unk>" in line:
                        dropped += 1
                    else:
                        yield segment
    if dropped:
        log.warning(f"{dropped} segments are left out: they have words that are not transcribed")


def parse(line: str, part: str, listing: Path) -> Recording | None:
    """`TALK CHANNEL SPEAKER START END LABELS TEXT`, times in seconds."""
    fields = line.split(maxsplit=6)
    if line.startswith(";;") or len(fields) < 7 or fields[6].startswith("ignore_time_segment"):
        return None
    try:
        start, end = float(fields[3]), float(fields[4])
    except ValueError:
        raise InputError(f"{listing}: {line[:80]!r} has no times; extract the archive again") from None
    return Recording(
        split=part,
        speaker=listing.stem,
        name=f"{listing.stem}-{start:08.2f}",
        audio_path=listing.parents[1] / "sph" / f"{listing.stem}.sph",
        text=CLITICS.sub("", MARKS.sub(" ", fields[6])),
        start=start,
        end=end,
    )


if __name__ == "__main__":
    cli.run(main)
