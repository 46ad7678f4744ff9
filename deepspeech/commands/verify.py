"""Verify every file of a manifest CSV: print all faults with their lines, and statistics.

The exit status is 1 if there are faults.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from matplotlib.figure import Figure

from deepspeech import cli
from deepspeech.corpora.verify import Verification, verify
from deepspeech.errors import InputError
from deepspeech.labels import PATH_HELP, Labels

EXAMPLES = "  deepspeech verify train.csv --plot train.png"


def main(argv: Sequence[str] | None = None) -> int:
    values = cli.parse(argv, __doc__, extend=add_arguments, examples=EXAMPLES).values
    labels = Labels.load(values.get("labels_path"))
    verification = verify(values["manifest"], labels, decode="headers_only" not in values)
    for fault in verification.faults:
        print(fault)
    print(verification)
    if "plot" in values:
        plot(verification, values["plot"])
    return 1 if verification.faults else 0


def plot(verification: Verification, path: str) -> None:
    """Draw histograms of durations and characters (PNG, or the format of the file's suffix).

    Raises:
        InputError: The file cannot be written.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    durations, characters = figure.subplots(2)
    durations.hist(verification.seconds, bins=50)
    hours = verification.seconds.sum() / 3600
    title = f"{len(verification.seconds)} utterances, {hours:.2f} hours"
    durations.set(xlabel="seconds", ylabel="utterances", title=title)
    common = verification.characters.most_common(60)
    names = ["space" if name == " " else name for name, _ in common]
    characters.bar(names, [count for _, count in common])
    characters.set(ylabel="count", title="characters of the transcripts", yscale="log")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot write the figure: {error}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="CSV", help="manifest to verify")
    parser.add_argument("--labels-path", metavar="FILE", help=PATH_HELP)
    parser.add_argument("--headers-only", action="store_true", help="faster: do not decode the audio")
    parser.add_argument("--plot", metavar="PNG", help="draw the distributions of durations and characters")
