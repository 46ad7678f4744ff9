#!/usr/bin/env python3
"""Make a manifest of a folder of audio files and their transcripts (.txt)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepspeech import cli
from deepspeech.corpora.manifest_tools import ManifestConfig, build, prune
from deepspeech.data.manifest import write_manifest
from deepspeech.options import option

EXAMPLES = "data/build_manifest.py recordings/ --output-path all.csv --max-duration 15"


@dataclass(frozen=True)
class BuildConfig(ManifestConfig):
    """Manifest"""

    folder: str = option("", "searched recursively", positional=True, metavar="DIR")


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, BuildConfig, examples=EXAMPLES).make(BuildConfig)
    utterances = build(config.folder, config.skip_faulty)
    kept = prune(utterances, config.min_duration, config.max_duration, config.skip_faulty)
    write_manifest(config.output_path, kept)


if __name__ == "__main__":
    cli.run(main)
