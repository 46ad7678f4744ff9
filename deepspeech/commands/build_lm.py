"""Build an n-gram language model from text, for beam search: an ARPA file or a KenLM binary."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from deepspeech import cli
from deepspeech.atomic_file import write_atomic
from deepspeech.beam_search.arpa import parse_arpa
from deepspeech.beam_search.language_model import SPACE
from deepspeech.data.manifest import JSON, read_manifest, read_transcript
from deepspeech.errors import InputError
from deepspeech.labels import PATH_HELP, Labels
from deepspeech.options import Options, one_of, option

EXAMPLES = """
  deepspeech build-lm --order 3 train.csv lm.arpa
  deepspeech build-lm --order 4 --upper --binary books/*.txt lm.bin
"""
MOST_DISCOUNT = 0.9
BYTES = "latin-1"  # kaldingram's way to read any encoding: a byte is a character


@dataclass(frozen=True)
class LanguageModelConfig(Options):
    """Language model"""

    texts: tuple[str, ...] = option(
        (),
        "text files of a sentence a line, and manifests (.csv, .jsonl)",
        positional=True,
        nargs="+",
        metavar="FILE",
    )
    out: str = option("", "the file to write", positional=True, metavar="OUT")
    order: int = option(3, "order of the n-grams", one_of(2, 3, 4, 5))
    unit: str = option("word", "what the n-grams are made of", one_of("word", "character"))
    labels_path: str | None = option(None, PATH_HELP, metavar="FILE")
    upper: bool = option(False, "convert the text to upper case first")
    binary: bool = option(False, "write KenLM's binary format (probing), which opens at once, not ARPA")


def main(argv: Sequence[str] | None = None) -> int:
    config = cli.parse(argv, __doc__, LanguageModelConfig, examples=EXAMPLES).make(LanguageModelConfig)
    paths, out = config.texts, config.out
    labels = Labels.load(config.labels_path)
    sentences = read_sentences(paths, labels, config.upper)
    if config.unit == "character":
        sentences = [" ".join(sentence.replace(" ", SPACE)) for sentence in sentences]
    arpa = estimate(sentences, config.order)
    write_atomic(out, parse_arpa(out, arpa).data if config.binary else arpa)
    tokens = {token for sentence in sentences for token in sentence.split()}
    print(f"{out}: {config.order}-grams of {len(tokens)} {config.unit}s from {len(sentences)} sentences")
    return 0


def read_sentences(paths: Sequence[str], labels: Labels, upper: bool = False) -> list[str]:
    """The sentences of text files and manifests as the network writes them.

    Raises:
        InputError: A file cannot be read, or no sentence is left.
    """
    texts = tqdm(read_texts(paths), "Reading", unit="sentence", leave=False)
    sentences = [sentence for sentence in normalised(texts, labels, upper) if sentence]
    if not sentences:
        raise InputError(
            f"{', '.join(paths)}: no sentence that can be written with the labels; "
            "give text in the labels' letter case (or pass --upper)"
        )
    return sentences


def read_texts(paths: Iterable[str]) -> Iterator[str]:
    """The sentences of text files and of the transcripts of manifests.

    Raises:
        InputError: A file cannot be read.
    """
    for path in paths:
        if path.endswith((".csv", *JSON)):
            utterances, faults = read_manifest(path)
            if faults:
                raise InputError(faults[0])
            yield from (utterance.read_text() for utterance in utterances)
        else:
            yield from read_transcript(path).splitlines()


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
