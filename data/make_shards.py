#!/usr/bin/env python3
"""Pack the utterances of a manifest CSV into tar shards, for corpora too large for loose files.

Train on them with --train-manifest 'DIR/NAME-{000..099}.tar' (in quotes, or the shell takes
it apart) or 'DIR/NAME-*.tar'.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from deepspeech import cli
from deepspeech.data.manifest import read_manifest
from deepspeech.data.parallel import report_faults
from deepspeech.data.shards import write_shards
from deepspeech.errors import InputError


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parser().parse_args(argv)
    if arguments.shard_megabytes <= 0 or arguments.shard_utterances <= 0:
        raise InputError("--shard-megabytes and --shard-utterances must be positive")
    utterances, faults = read_manifest(arguments.manifest)
    report_faults(arguments.manifest, faults)
    pattern = os.path.join(arguments.output_dir, f"{arguments.name}-%03d.tar")
    written = write_shards(utterances, pattern, arguments.shard_megabytes * 1e6, arguments.shard_utterances)
    print(f"{len(utterances)} utterances in {len(written)} shards, {written[0]} to {written[-1]}")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", metavar="CSV", help="manifest to pack")
    parser.add_argument("--output-dir", required=True, metavar="DIR", help="folder for the shards")
    parser.add_argument("--name", default="shards", help="begin of their names (default: shards)")
    parser.add_argument("--shard-megabytes", type=float, default=1000, help="size of a shard (default: 1000)")
    parser.add_argument(
        "--shard-utterances", type=int, default=10_000, help="most utterances in a shard (default: 10000)"
    )
    return parser


if __name__ == "__main__":
    cli.run(main)
