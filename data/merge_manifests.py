#!/usr/bin/env python3
"""Merge manifest CSVs into one: every utterance once, shortest first."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from deepspeech import cli
from deepspeech.corpora.manifest_tools import merge, prune
from deepspeech.data.manifest import write_manifest


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parser().parse_args(argv)
    utterances = merge(arguments.manifests, arguments.skip_faulty)
    utterances = prune(utterances, arguments.min_duration, arguments.max_duration)
    write_manifest(arguments.output_path, utterances)
    print(f"{arguments.output_path}: {len(utterances)} utterances")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="+", metavar="CSV", help="manifests to merge")
    parser.add_argument("--output-path", required=True, metavar="CSV", help="manifest to write")
    parser.add_argument("--min-duration", type=float, default=0, help="leave shorter ones out (seconds)")
    parser.add_argument(
        "--max-duration", type=float, default=math.inf, help="leave longer ones out (seconds)"
    )
    parser.add_argument("--skip-faulty", action="store_true", help="go on without faulty rows")
    return parser


if __name__ == "__main__":
    cli.run(main)
