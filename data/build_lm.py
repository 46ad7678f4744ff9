#!/usr/bin/env python3
"""Build an n-gram language model from text, for beam search: an ARPA file or a KenLM binary."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence

from tqdm import tqdm

from deepspeech import cli
from deepspeech.atomic_file import write_atomic
from deepspeech.beam_search.arpa import parse_arpa
from deepspeech.beam_search.language_model import SPACE
from deepspeech.beam_search.ngram import NGramModel
from deepspeech.data.manifest import read_manifest, read_transcript
from deepspeech.errors import InputError
from deepspeech.labels import PATH_HELP, Labels

MOST_DISCOUNT = 0.9
BYTES = "latin-1"  # kaldingram's way to read any encoding: a byte is a character


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    labels = Labels.load(arguments.labels_path)
    texts = tqdm(read_texts(arguments.texts), "Reading", unit="sentence", leave=False)
    sentences = [sentence for sentence in normalised(texts, labels, arguments.upper) if sentence]
    if not sentences:
        raise InputError(
            f"{', '.join(arguments.texts)}: no sentence that can be written with the labels; "
            "give text in the labels' letter case (or pass --upper)"
        )
    if arguments.unit == "character":
        sentences = [" ".join(sentence.replace(" ", SPACE)) for sentence in sentences]
    arpa = estimate(sentences, arguments.order)
    if arguments.binary:
        NGramModel(arguments.out, parse_arpa(arguments.out, arpa)).write_binary(arguments.out)
    else:
        write_atomic(arguments.out, arpa)
    tokens = {token for sentence in sentences for token in sentence.split()}
    print(
        f"{arguments.out}: {arguments.order}-grams of {len(tokens)} {arguments.unit}s "
        f"from {len(sentences)} sentences"
    )
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+", help="text files of a sentence a line, and manifest CSVs")
    parser.add_argument("out", help="the file to write")
    parser.add_argument("--order", type=int, default=3, choices=range(2, 6), help="(default: 3)")
    parser.add_argument("--unit", default="word", choices=["word", "character"], help="(default: word)")
    parser.add_argument("--labels-path", metavar="FILE", help=PATH_HELP)
    parser.add_argument("--upper", action="store_true", help="write the text in upper case first")
    parser.add_argument(
        "--binary",
        action="store_true",
        help="write KenLM's binary format (probing), which opens at once, not ARPA",
    )
    return parser.parse_args(argv)


def read_texts(paths: Iterable[str]) -> Iterator[str]:
    """The sentences of text files and of the transcripts of manifests.

    Raises:
        InputError: A file cannot be read.
    """
    for path in paths:
        if path.endswith(".csv"):
            utterances, faults = read_manifest(path)
            if faults:
                raise InputError(faults[0])
            yield from (read_transcript(utterance.transcript_path) for utterance in utterances)
            continue
        try:
            with open(path, encoding="utf-8-sig") as file:
                yield from file
        except OSError as error:
            raise InputError(f"{path}: cannot read the text: {error.strerror}; correct the path") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: text is not UTF-8; convert it") from None


def normalised(sentences: Iterable[str], labels: Labels, upper: bool) -> Iterator[str]:
    """Sentences as the network writes them; words with other characters break a sentence in two.

    A word that the network cannot write must leave no trace: joining its neighbours would
    make n-grams that nobody said.
    """
    written = set(labels) - {labels[labels.blank]}
    for sentence in sentences:
        part: list[str] = []
        for word in (sentence.upper() if upper else sentence).split():
            if set(word) <= written:
                part.append(word)
            elif part:
                yield " ".join(part)
                part = []
        yield " ".join(part)


def estimate(sentences: Iterable[str], order: int) -> bytes:
    """An ARPA file by Kneser-Ney smoothing (https://doi.org/10.1109/ICASSP.1995.479394).

    Raises:
        InputError: kaldingram is not installed.
    """
    try:
        from kaldingram.train import NgramCounts
    except ImportError:
        raise InputError("the package kaldingram is missing; pip install kaldingram") from None
    counts = NgramCounts(order)
    for sentence in sentences:
        counts.add_raw_counts_from_line(sentence.encode().decode(BYTES))
    arpa = io.StringIO()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bars
        counts.cal_discounting_constants()
        # Little text may have no n-gram twice: then all would be taken from those that came once
        counts.d = [min(discount, MOST_DISCOUNT) for discount in counts.d]
        counts.cal_f()
        counts.cal_bow()
        counts.print_as_arpa(arpa)
    return arpa.getvalue().encode(BYTES)


if __name__ == "__main__":
    cli.run(main)
