#!/usr/bin/env python3
"""Pack the utterances of a manifest into tar shards, for corpora too large for loose files.

Train on them with --train-manifest 'DIR/NAME-{000..099}.tar' or 'DIR/NAME-*.tar', in quotes to keep the shell
from expanding the pattern.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from deepspeech import cli, log
from deepspeech.data.manifest import read_manifest
from deepspeech.data.parallel import report_faults
from deepspeech.data.shards import write_shards
from deepspeech.options import POSITIVE, Options, option

EXAMPLES = "data/make_shards.py train.csv --output-dir shards/ --name train"


@dataclass(frozen=True)
class ShardConfig(Options):
    """Shards"""

    manifest: str = option("", "manifest to pack", positional=True, metavar="FILE")
    output_dir: str = option("", "folder of the shards", required=True, metavar="DIR")
    name: str = option("shards", "prefix of their names")
    shard_megabytes: float = option(1000.0, "maximum size of a shard", POSITIVE)
    shard_utterances: int = option(10_000, "maximum number of utterances in a shard", POSITIVE)


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, ShardConfig, examples=EXAMPLES).make(ShardConfig)
    utterances, faults = read_manifest(config.manifest)
    report_faults(config.manifest, faults)
    pattern = os.path.join(config.output_dir, f"{config.name}-%03d.tar")
    written = write_shards(utterances, pattern, config.shard_megabytes * 1e6, config.shard_utterances)
    log.info(f"{len(utterances)} utterances in {len(written)} shards, {written[0]} to {written[-1]}")


if __name__ == "__main__":
    cli.run(main)
