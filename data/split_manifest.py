#!/usr/bin/env python3
"""Split a manifest at random, for example into training and validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepspeech import cli
from deepspeech.corpora.manifest_tools import speaker_folder, split
from deepspeech.data.manifest import read_manifest, write_manifest
from deepspeech.data.parallel import report_faults
from deepspeech.errors import InputError
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, option

EXAMPLES = (
    "data/split_manifest.py all.csv --output-paths train.csv val.csv --fractions 0.9 0.1 --speaker-level 1"
)


@dataclass(frozen=True)
class SplitConfig(Options):
    """Parts"""

    manifest: str = option("", "manifest to split", positional=True, metavar="FILE")
    output_paths: tuple[str, ...] = option((), "manifests to write", nargs="+", required=True, metavar="FILE")
    fractions: tuple[float, ...] = option((0.9, 0.1), "their shares", POSITIVE, nargs="+")
    seed: int = option(123456, "seed of the random choice", NOT_NEGATIVE)
    speaker_level: int = option(
        0,
        "keep the utterances of a speaker together: 1 if the folder of the audio is the speaker, 2 if the "
        "one above it is, and so on; 0: no speakers",
        NOT_NEGATIVE,
    )
    skip_faulty: bool = option(False, "skip faulty rows instead of stopping")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.fractions) != len(self.output_paths):
            raise InputError("give as many --fractions as --output-paths")


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, SplitConfig, examples=EXAMPLES).make(SplitConfig)
    utterances, faults = read_manifest(config.manifest)
    report_faults(config.manifest, faults, config.skip_faulty)
    speaker = speaker_folder(config.speaker_level) if config.speaker_level else None
    parts = split(utterances, config.fractions, config.seed, speaker)
    for path, part in zip(config.output_paths, parts, strict=True):
        write_manifest(path, part)


if __name__ == "__main__":
    cli.run(main)
