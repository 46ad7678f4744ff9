#!/usr/bin/env python3
"""Merge manifests into one without duplicates, shortest utterance first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepspeech import cli
from deepspeech.corpora.manifest_tools import ManifestConfig, merge, prune
from deepspeech.data.manifest import write_manifest
from deepspeech.options import option

EXAMPLES = "data/merge_manifests.py an4.csv libri.csv --output-path all.csv --min-duration 1"


@dataclass(frozen=True)
class MergeConfig(ManifestConfig):
    """Manifest"""

    manifests: tuple[str, ...] = option((), "manifests", positional=True, nargs="+", metavar="FILE")


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, MergeConfig, examples=EXAMPLES).make(MergeConfig)
    utterances = merge(config.manifests, config.skip_faulty)
    kept = prune(utterances, config.min_duration, config.max_duration, config.skip_faulty)
    write_manifest(config.output_path, kept)


if __name__ == "__main__":
    cli.run(main)
