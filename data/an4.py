#!/usr/bin/env python3
"""Prepare AN4 (CMU, 1991; 948 training and 130 test utterances, 50 minutes in all).

Layout: an4_raw.bigendian.tar.gz or an4_sphere.tar.gz as CMU distributes them, with
`an4/etc/an4_{train,test}.{fileids,transcription}` and `an4/wav/ID.{raw,sph}`. Some speakers of the
training set are held out for validation; the test set has other speakers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepspeech import cli
from deepspeech.corpora.manifest_tools import speaker_folder, split
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
from deepspeech.options import FRACTION, NOT_NEGATIVE, option

URL = "http://www.speech.cs.cmu.edu/databases/an4/an4_raw.bigendian.tar.gz"


@dataclass(frozen=True)
class An4Config(CorpusConfig):
    """AN4"""

    target_dir: str = option("data/an4_dataset/", "folder of archives, audio and transcripts")
    url: str = option(URL, "address of the archive")
    val_fraction: float = option(0.1, "share of the training set to hold out for validation", FRACTION)
    seed: int = option(123456, "seed that chooses the validation speakers", NOT_NEGATIVE)


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, An4Config).make(An4Config)
    (folder,) = obtain(config, [Archive(config.url)])
    splits = prepare(config, recordings(folder / "an4"))
    if config.val_fraction:
        shares = (1 - config.val_fraction, config.val_fraction)
        splits["train"], splits["val"] = split(splits["train"], shares, config.seed, speaker_folder(1))
    write_manifests(config, "an4", splits)


def recordings(root: Path) -> Iterator[Recording]:
    """The utterances: lines `an4_clstk/SPEAKER/NAME` and `<s> TEXT </s> (NAME)`."""
    for part in ("train", "test"):
        names = read_lines(root / "etc" / f"an4_{part}.fileids", "AN4")
        texts = read_lines(root / "etc" / f"an4_{part}.transcription", "AN4")
        if len(names) != len(texts):
            raise InputError(f"{root}: {len(names)} recordings, but {len(texts)} transcripts; get it again")
        for name, text in zip(map(Path, names), texts, strict=True):
            path = root / "wav" / f"{name}.raw"
            yield Recording(
                split=part,
                speaker=name.parent.name,
                name=name.name,
                audio_path=path if path.exists() else root / "wav" / f"{name}.sph",
                text=re.sub(r"</?s>|\([^)]*\)\s*$", "", text),
                raw=path.exists(),
            )


if __name__ == "__main__":
    cli.run(main)
