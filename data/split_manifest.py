#!/usr/bin/env python3
"""Split a manifest CSV at random into parts, for example to train and to validate on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from deepspeech import cli
from deepspeech.corpora.manifest_tools import speaker_folder, split
from deepspeech.data.manifest import read_manifest, write_manifest
from deepspeech.data.parallel import report_faults
from deepspeech.errors import InputError


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parser().parse_args(argv)
    if len(arguments.fractions) != len(arguments.output_paths):
        raise InputError("give as many --fractions as --output-paths")
    utterances, faults = read_manifest(arguments.manifest)
    report_faults(arguments.manifest, faults, arguments.skip_faulty)
    speaker = speaker_folder(arguments.speaker_level) if arguments.speaker_level > 0 else None
    for path, part in zip(
        arguments.output_paths, split(utterances, arguments.fractions, arguments.seed, speaker), strict=True
    ):
        write_manifest(path, part)
        print(f"{path}: {len(part)} utterances")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", metavar="CSV", help="manifest to split")
    parser.add_argument("--output-paths", nargs="+", required=True, metavar="CSV", help="manifests to write")
    parser.add_argument(
        "--fractions",
        nargs="+",
        type=float,
        default=[0.9, 0.1],
        metavar="F",
        help="their shares (default: 0.9 0.1)",
    )
    parser.add_argument("--seed", type=int, default=123456, help="seed of the choice (default: 123456)")
    parser.add_argument(
        "--speaker-level",
        type=int,
        default=0,
        help="keep a speaker's utterances together: 1 if the audio's folder is the speaker, "
        "2 if the one above it is, and so on; 0: no speakers (default: 0)",
    )
    parser.add_argument("--skip-faulty", action="store_true", help="go on without faulty rows")
    return parser


if __name__ == "__main__":
    cli.run(main)
