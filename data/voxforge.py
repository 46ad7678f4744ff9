#!/usr/bin/env python3
"""Prepare VoxForge (English, about 6,000 contributions, 130 hours, 10 GB).

Layout: the contributions under `Audio/Main/16kHz_16bit/` of the repository, each an archive
`SPEAKER-DATE-ID.tgz` with `etc/PROMPTS` and `wav/` or `flac/`. The audio is used in place. The corpus has
no test set; some speakers are held out for validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from deepspeech import cli
from deepspeech.corpora import download
from deepspeech.corpora.manifest_tools import split
from deepspeech.corpora.prepare import (
    Archive,
    CorpusConfig,
    Recording,
    obtain,
    prepare,
    read_lines,
    write_manifests,
)
from deepspeech.data.manifest import Utterance
from deepspeech.errors import InputError
from deepspeech.options import FRACTION, NOT_NEGATIVE, option

URL = "http://www.repository.voxforge1.org/downloads/SpeechCorpus/Trunk/Audio/Main/16kHz_16bit/"


@dataclass(frozen=True)
class VoxForgeConfig(CorpusConfig):
    """VoxForge"""

    target_dir: str = option("data/voxforge_dataset/", "folder of archives, audio and transcripts")
    url: str = option(URL, "page that links to the archives")
    val_fraction: float = option(0.05, "share of the utterances to hold out for validation", FRACTION)
    seed: int = option(123456, "seed that chooses the validation speakers", NOT_NEGATIVE)


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, VoxForgeConfig).make(VoxForgeConfig)
    folders = obtain(config, [] if config.archive else linked(config))
    splits = prepare(config, (each for folder in folders for each in recordings(folder)))
    if config.val_fraction:
        shares = (1 - config.val_fraction, config.val_fraction)
        splits["train"], splits["val"] = split(splits["train"], shares, config.seed, speaker)
    write_manifests(config, "voxforge", splits)


def linked(config: VoxForgeConfig) -> list[Archive]:
    """The archives that the web page links to."""
    page = download.download(config.url, config.target / "archives" / "index.html")
    names = re.findall(r'href="([^"]+\.tgz)"', page.read_text(encoding="utf-8", errors="replace"))
    if not names:
        raise InputError(f"{config.url}: links to no .tgz archives; pass another --url, or --archive")
    return [Archive(urljoin(config.url, name)) for name in sorted(set(names))]


def recordings(folder: Path) -> Iterator[Recording]:
    """The utterances of one contribution: lines `.../NAME TEXT`."""
    for listing in sorted(folder.glob("*/etc/PROMPTS")):
        contribution = listing.parents[1]
        for line in read_lines(listing, "VoxForge", ("utf-8-sig", "latin-1")):
            name, _, text = line.partition(" ")
            name = name.rpartition("/")[2]
            paths = [contribution / ending / f"{name}.{ending}" for ending in ("wav", "flac")]
            path = next((path for path in paths if path.exists()), paths[0])
            yield Recording("train", contribution.name, name, path, text)


def speaker(utterance: Utterance) -> str:
    """`.../SPEAKER-DATE-ID/NAME.txt` -> SPEAKER; anonymous contributions count as one speaker."""
    return Path(utterance.transcript_path).parent.name.partition("-")[0]


if __name__ == "__main__":
    cli.run(main)
