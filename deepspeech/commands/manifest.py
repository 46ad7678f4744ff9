"""Convert manifests between CSV, JSON lines and Kaldi folders: `deepspeech manifest convert SRC DST`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deepspeech import cli
from deepspeech.corpora.kaldi import read_kaldi, write_kaldi
from deepspeech.data.manifest import JSON, Utterance, read_manifest, write_manifest
from deepspeech.data.parallel import report_faults
from deepspeech.data.shards import is_pattern
from deepspeech.errors import InputError, at
from deepspeech.options import Options, one_of, option

EXAMPLES = """
deepspeech manifest convert nemo.json train.csv --case upper
deepspeech manifest convert kaldi/data/train train.jsonl
deepspeech manifest convert train.csv kaldi/data/train
"""
CASES = {"upper": str.upper, "lower": str.lower}


@dataclass(frozen=True)
class ConvertConfig(Options):
    """Manifests"""

    action: str = option("", "convert", one_of("convert"), positional=True, metavar="convert")
    source: str = option(
        "", "CSV (also Mozilla's), JSON lines (NeMo's) or a Kaldi folder", positional=True, metavar="SRC"
    )
    target: str = option(
        "",
        "FILE.csv, with transcripts in FILE_txt/; FILE.jsonl; or a Kaldi folder",
        positional=True,
        metavar="DST",
    )
    case: str | None = option(None, "change the letter case of the transcripts", one_of(*CASES))
    skip_faulty: bool = option(False, "skip faulty rows instead of stopping")


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, ConvertConfig, examples=EXAMPLES).make(ConvertConfig)
    source, target = config.source, config.target
    if is_pattern(source) or is_pattern(target):
        raise InputError(f"{source}, {target}: shards are not converted; data/make_shards.py makes them")
    if os.path.exists(target) and os.path.samefile(source, target):
        raise InputError(f"{target}: would overwrite the source; choose another name")
    utterances, faults = read_kaldi(source) if os.path.isdir(source) else read_manifest(source)
    report_faults(source, faults, config.skip_faulty)
    if not utterances:
        raise InputError(f"{source}: no utterances")
    if config.case:
        change = CASES[config.case]
        utterances = [replace(each, text=change(_text(each))) for each in utterances]
    if target.endswith(".csv"):
        write_manifest(target, with_files(utterances, target.removesuffix(".csv") + "_txt"))
    elif target.endswith(JSON):
        write_manifest(target, utterances)
    else:
        write_kaldi(target, utterances)


def with_files(utterances: Sequence[Utterance], folder: str) -> list[Utterance]:
    """The utterances with all transcripts in files; those that are not in one are written to a folder.

    Raises:
        InputError: One cannot be written, or is missing.
    """
    rows = []
    for number, each in enumerate(utterances, start=1):
        if each.text is not None or not each.transcript_path:
            path = Path(folder, f"{number:08d}.txt")
            text = _text(each)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text + "\n", encoding="utf-8", newline="")
            except OSError as error:
                raise InputError(f"{path}: cannot write: {error.strerror}; choose another DST") from None
            each = replace(each, transcript_path=str(path), text=None)
        rows.append(each)
    return rows


def _text(utterance: Utterance) -> str:
    with at(utterance.place):
        return utterance.read_text()
