#!/usr/bin/env python3
"""Merge manifest CSVs into one without duplicates, shortest utterance first."""

from __future__ import annotations

from collections.abc import Sequence

from deepspeech import cli
from deepspeech.corpora.manifest_tools import ManifestConfig, merge, prune
from deepspeech.data.manifest import write_manifest

EXAMPLES = "data/merge_manifests.py an4.csv libri.csv --output-path all.csv --min-duration 1"


def main(argv: Sequence[str] | None = None) -> None:
    arguments = cli.parse(
        argv,
        __doc__,
        ManifestConfig,
        extend=lambda parser: parser.add_argument("manifests", nargs="+", metavar="CSV", help="manifests"),
        examples=EXAMPLES,
    )
    config = arguments.make(ManifestConfig)
    utterances = merge(arguments.values["manifests"], config.skip_faulty)
    write_manifest(config.output_path, prune(utterances, config.min_duration, config.max_duration))


if __name__ == "__main__":
    cli.run(main)
