"""Verify every file of a manifest CSV: print all faults with their lines, and statistics.

The exit status is 1 if there are faults.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from deepspeech import cli
from deepspeech.atomic_file import check_writable
from deepspeech.corpora.verify import Verification, verify
from deepspeech.errors import InputError
from deepspeech.labels import PATH_HELP, Labels
from deepspeech.options import Options, option

EXAMPLES = "  deepspeech verify train.csv --plot train.png"


@dataclass(frozen=True)
class VerifyConfig(Options):
    """Manifest"""

    manifest: str = option("", "manifest to verify", positional=True, metavar="CSV")
    labels_path: str | None = option(None, PATH_HELP, metavar="FILE")
    headers_only: bool = option(False, "faster: do not decode the audio")
    plot: str | None = option(None, "draw the distributions of durations and characters", metavar="PNG")


def main(argv: Sequence[str] | None = None) -> int:
    config = cli.parse(argv, __doc__, VerifyConfig, examples=EXAMPLES).make(VerifyConfig)
    if config.plot:
        check_writable(os.path.dirname(config.plot) or ".", "--plot")
    labels = Labels.load(config.labels_path)
    verification = verify(config.manifest, labels, decode=not config.headers_only)
    for fault in verification.faults:
        print(fault)
    print(verification)
    if config.plot:
        plot(verification, config.plot)
    return 1 if verification.faults or not len(verification.seconds) else 0


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
