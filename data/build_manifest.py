#!/usr/bin/env python3
"""Make a manifest CSV of a folder of audio files and their transcripts (.txt)."""

from __future__ import annotations

from collections.abc import Sequence

from deepspeech import cli
from deepspeech.corpora.manifest_tools import ManifestConfig, build, prune
from deepspeech.data.manifest import write_manifest

EXAMPLES = "data/build_manifest.py recordings/ --output-path all.csv --max-duration 15"


def main(argv: Sequence[str] | None = None) -> None:
    arguments = cli.parse(
        argv,
        __doc__,
        ManifestConfig,
        extend=lambda parser: parser.add_argument("folder", metavar="DIR", help="searched recursively"),
        examples=EXAMPLES,
    )
    config = arguments.make(ManifestConfig)
    utterances = build(arguments.values["folder"], config.skip_faulty)
    write_manifest(config.output_path, prune(utterances, config.min_duration, config.max_duration))


if __name__ == "__main__":
    cli.run(main)
