#!/usr/bin/env python3
"""Prepare LibriSpeech (Panayotov et al., 2015; 1,000 hours of read English, 60 GB).

Layout: the archives of https://www.openslr.org/12, with
`LibriSpeech/SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` and FLAC files beside it.
The FLAC files are used in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepspeech import cli
from deepspeech.corpora.prepare import (
    Archive,
    CorpusConfig,
    Recording,
    obtain,
    prepare,
    read_lines,
    write_manifests,
)
from deepspeech.options import one_of, option

URL = "https://www.openslr.org/resources/12/"
MD5 = {  # openslr.org/resources/12/md5sum.txt
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
}


@dataclass(frozen=True)
class LibriSpeechConfig(CorpusConfig):
    """LibriSpeech"""

    target_dir: str = option("data/librispeech_dataset/", "folder of archives, audio and transcripts")
    url: str = option(URL, "address of the folder of archives")
    subsets: tuple[str, ...] = option(tuple(MD5), "parts of the corpus", one_of(*MD5), nargs="+")


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, LibriSpeechConfig).make(LibriSpeechConfig)
    published = config.url == URL
    wanted = [
        Archive(f"{config.url.rstrip('/')}/{subset}.tar.gz", f"md5:{MD5[subset]}" if published else None)
        for subset in config.subsets
    ]
    folders = obtain(config, wanted)
    found = (each for folder in folders for each in recordings(folder / "LibriSpeech"))
    write_manifests(config, "libri", prepare(config, found))


def recordings(root: Path) -> Iterator[Recording]:
    """The utterances of an archive: lines `NAME TEXT`."""
    for listing in sorted(root.glob("*/*/*/*.trans.txt")):
        subset, speaker = listing.parts[-4:-2]
        for line in read_lines(listing, "LibriSpeech"):
            name, _, text = line.partition(" ")
            yield Recording(split_of(subset), speaker, name, listing.with_name(f"{name}.flac"), text)


def split_of(subset: str) -> str:
    """All training parts form one split, and so do both dev sets; the test sets stay apart."""
    kind = subset.partition("-")[0]
    return {"train": "train", "dev": "val"}.get(kind, subset.replace("-", "_"))


if __name__ == "__main__":
    cli.run(main)
