#!/usr/bin/env python3
"""Look at every file of a manifest CSV: print all faults with their lines, and statistics.

The exit status is 1 if there are faults.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from deepspeech import cli
from deepspeech.corpora.verify import plot, verify
from deepspeech.labels import PATH_HELP, Labels


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    verification = verify(
        arguments.manifest, Labels.load(arguments.labels_path), decode=not arguments.headers_only
    )
    for fault in verification.faults:
        print(fault)
    print(verification)
    if arguments.plot:
        plot(verification, arguments.plot)
    return 1 if verification.faults else 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", metavar="CSV", help="manifest to verify")
    parser.add_argument("--labels-path", metavar="FILE", help=PATH_HELP)
    parser.add_argument("--headers-only", action="store_true", help="faster: do not decode the audio")
    parser.add_argument("--plot", metavar="PNG", help="draw the distributions of durations and characters")
    return parser


if __name__ == "__main__":
    cli.run(main)
