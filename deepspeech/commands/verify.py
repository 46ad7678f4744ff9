"""Verify every file of a manifest: print all faults with their lines, and statistics.

The exit status is 1 if there are faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepspeech import cli
from deepspeech.corpora.verify import Verification, verify
from deepspeech.evaluation import figures
from deepspeech.labels import PATH_HELP, Labels
from deepspeech.options import Options, option

EXAMPLES = "  deepspeech verify train.csv --plot train.png"


@dataclass(frozen=True)
class VerifyConfig(Options):
    """Manifest"""

    manifest: str = option("", "manifest to verify", positional=True, metavar="FILE")
    labels_path: str | None = option(None, PATH_HELP, metavar="FILE")
    headers_only: bool = option(False, "faster: do not decode the audio")
    plot: str | None = option(
        None, "draw the distributions of durations and characters: .png, .svg or .pdf", metavar="FILE"
    )


def main(argv: Sequence[str] | None = None) -> int:
    config = cli.parse(argv, __doc__, VerifyConfig, examples=EXAMPLES).make(VerifyConfig)
    if config.plot:
        figures.check_path(config.plot, "--plot")
    labels = Labels.load(config.labels_path)
    verification = verify(config.manifest, labels, decode=not config.headers_only)
    for fault in verification.faults:
        print(fault)
    print(verification)
    if config.plot:
        plot(verification, config.plot)
    return 1 if verification.faults or not len(verification.seconds) else 0


def plot(verification: Verification, path: str) -> None:
    """Draw histograms of durations and characters.

    Raises:
        InputError: The file cannot be written.
    """
    hours = verification.seconds.sum() / 3600
    title = f"{len(verification.seconds)} utterances, {hours:.2f} hours"
    common = verification.characters.most_common(60)
    names = ["\N{OPEN BOX}" if name == " " else name for name, _ in common]
    with figures.new_figure(10, 7) as figure:
        durations, characters = figure.subplots(2)
        durations.hist(verification.seconds, bins=50)
        durations.set(xlabel="seconds", ylabel="utterances", title=title)
        characters.bar(names, [count for _, count in common])
        characters.set(ylabel="count", title="characters of the transcripts", yscale="log")
        characters.grid(visible=False, axis="x")
        figures.save(figure, path)
