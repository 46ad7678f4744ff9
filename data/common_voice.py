#!/usr/bin/env python3
"""Prepare Common Voice (Ardila et al., 2020), scripted speech in any language.

Layout: the archive of a language since Corpus 5 (2020), `cv-corpus-N-DATE/LANGUAGE/` with
`{train,dev,test}.tsv` and `clips/*.mp3`. Downloading requires consent to the terms, so there is no
fixed address: download the archive from https://commonvoice.mozilla.org and pass it as `--archive`, or
pass the link on that page as `--url`. Languages other than English need `--labels-path`.
"""

from __future__ import annotations

import csv
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
from deepspeech.errors import InputError
from deepspeech.options import option


@dataclass(frozen=True)
class CommonVoiceConfig(CorpusConfig):
    """Common Voice"""

    target_dir: str = option("data/common_voice_dataset/", "folder of archives, audio and transcripts")
    url: str | None = option(None, "address of the archive")


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, CommonVoiceConfig).make(CommonVoiceConfig)
    if not config.archive and not config.url:
        raise InputError("pass --archive or --url: see https://commonvoice.mozilla.org")
    (folder,) = obtain(config, [Archive(config.url or "")])
    write_manifests(config, "common_voice", prepare(config, recordings(folder)))


def recordings(folder: Path) -> Iterator[Recording]:
    """The validated clips of the three splits."""
    root = next((path.parent for path in sorted(folder.rglob("train.tsv"))), folder)
    for part in ("train", "dev", "test"):
        lines = read_lines(root / f"{part}.tsv", "Common Voice since Corpus 5")
        for number, row in enumerate(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), 2):
            if not all(row.get(column) for column in ("path", "client_id")) or row.get("sentence") is None:
                raise InputError(
                    f"{root / part}.tsv:{number}: no path, client_id and sentence; extract the archive again"
                )
            path = root / "clips" / row["path"]
            speaker = row["client_id"][:16]  # of 128 hexadecimal digits
            yield Recording("val" if part == "dev" else part, speaker, path.stem, path, row["sentence"])


if __name__ == "__main__":
    cli.run(main)
