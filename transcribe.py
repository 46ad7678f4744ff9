#!/usr/bin/env python3
"""Write down the speech of audio files: as JSON, text, subtitles or time-marked words.

A file that cannot be read is reported, the others are transcribed, and the status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from deepspeech import cli, formats
from deepspeech.alignment import ForcedAligner
from deepspeech.checkpoint import load_model
from deepspeech.config import DecoderConfig, InferenceConfig, RecordingsConfig, TranscriptConfig
from deepspeech.decoder import description, make_decoder
from deepspeech.device import inference_device, inference_format
from deepspeech.errors import InputError
from deepspeech.joining import joined
from deepspeech.manifest import read_transcript
from deepspeech.recognizer import Recognizer
from deepspeech.recordings import Parts, find_recordings, transcribe_recordings
from deepspeech.results import InOrder, ResultFiles

NAME = os.path.basename(__file__)
SUBTITLES = {"srt": formats.srt, "vtt": formats.vtt}


def main(argv: Sequence[str] | None = None) -> int:
    groups = RecordingsConfig, TranscriptConfig, InferenceConfig, DecoderConfig
    arguments = cli.parse(argv, __doc__.splitlines()[0], *groups, extend=add_arguments)
    recordings, output, inference, decoding = map(arguments.make, groups)
    named = [*arguments.values.get("files", ()), *arguments.values.get("audio_path", ())]
    files, faults = find_recordings(named, recordings)
    if len(files) > 1 and (output.align or (output.format in SUBTITLES and not recordings.output)):
        flag = "--align" if output.align else f"--format {output.format}"
        remedy = "" if output.align else ", or name a folder with --output"
        raise InputError(f"{flag}: {len(files)} audio files; give one at a time{remedy}")
    device = inference_device(inference.cuda)
    model = load_model(inference.model_path, device)
    if output.align:
        decoder = ForcedAligner(model.labels, read_transcript(output.align))
        recordings = replace(recordings, chunk_seconds=0.0)  # no part of the transcript fits a segment
    else:
        decoder = make_decoder(decoding, model.labels)
    recognizer = Recognizer(model, decoder, inference_format(inference.half, device))

    if recordings.output:
        sink = ResultFiles(recordings.output, "txt" if output.format == "text" else output.format)
        named, files = files, sink.missing(files)
        if done := len(named) - len(files):
            note(f"{done} of {len(named)} recordings have their results in {recordings.output} already")
    else:
        sink = InOrder(files, sys.stdout)
    for fault in faults:
        note(f"{NAME}: error: {fault}")
    failed = bool(faults)
    render = Renderer(recognizer, output, inference.model_path, scores=decoding.top_paths > 1)
    # Text comes word by word: on a terminal, a bar would stand in the middle of its line
    progress = bool(recordings.output) or output.format != "text" or not sys.stdout.isatty()
    for file, parts in transcribe_recordings(recognizer, files, recordings, render.timed, progress):
        try:
            sink.write(file, render(file, parts))
        except InputError as fault:
            note(f"{NAME}: error: {fault}")
            failed = True
    return int(failed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", help="audio files")
    parser.add_argument("--audio-path", nargs="+", metavar="FILE", help="audio files")


def note(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


@dataclass(frozen=True)
class Renderer:
    """Puts transcripts into the format that was asked for."""

    recognizer: Recognizer
    output: TranscriptConfig
    model_path: str
    scores: bool  # whether there are several hypotheses to compare

    @property
    def aligned(self) -> bool:
        return self.output.align is not None

    @property
    def timed(self) -> bool:
        """Whether the times of words are needed."""
        return self.output.words or self.aligned or self.output.format not in ("json", "text")

    def __call__(self, file: str, parts: Parts) -> Iterator[str]:
        """The transcript of a file, piece by piece as its parts come."""
        form = self.output.format
        if form == "json":
            yield json.dumps(self.document(file, parts)) + "\n"
        elif form == "text":
            yield from formats.text((best for best, *_ in parts), " " in self.recognizer.model.labels)
        else:
            words = (word for best, *_ in parts for word in best.words)
            yield from formats.ctm(words, file) if form == "ctm" else SUBTITLES[form](words)

    def document(self, file: str, parts: Parts) -> dict[str, Any]:
        """What deepspeech.pytorch's transcribe.py prints, and more."""
        parts = list(parts)
        if len(parts) != 1:
            parts = [[joined([best for best, *_ in parts], " " in self.recognizer.model.labels)]]
        meta = {"acoustic_model": {"name": os.path.basename(self.model_path)}}
        meta |= description(self.recognizer.decoder)
        if self.aligned:
            meta["decoder"]["type"] = "alignment"
        offsets, words = self.output.offsets or self.aligned, self.output.words or self.aligned
        rows = formats.rows(parts[0], self.recognizer.seconds, offsets, words, self.scores)
        return {"audio_path": file, "output": rows, "_meta": meta}


if __name__ == "__main__":
    cli.run(main)
