#!/usr/bin/env python3
"""Write down the speech of audio files: as JSON, text, subtitles or time-marked words."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from deepspeech import cli, formats
from deepspeech.alignment import ForcedAligner
from deepspeech.checkpoint import load_model
from deepspeech.config import DecoderConfig, InferenceConfig, StreamConfig, TranscriptConfig
from deepspeech.decoder import description, make_decoder
from deepspeech.device import inference_device, inference_format
from deepspeech.errors import InputError
from deepspeech.live import transcribe_live
from deepspeech.manifest import read_transcript
from deepspeech.recognizer import Recognizer
from deepspeech.words import Transcript

SUBTITLES = {"srt": formats.srt, "vtt": formats.vtt}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = cli.parse(
        argv, __doc__, TranscriptConfig, StreamConfig, InferenceConfig, DecoderConfig, extend=add_arguments
    )
    output, inference = arguments.make(TranscriptConfig), arguments.make(InferenceConfig)
    files = [*arguments.values.get("files", ()), *arguments.values.get("audio_path", ())]
    if not files:
        raise InputError("no audio file; give one or more")
    streaming = arguments.make(StreamConfig)
    if streaming.stream and (len(files) > 1 or output != TranscriptConfig()):
        raise InputError(
            "--stream: transcribes one file, to its own lines of text; leave out what asks for more"
        )
    if len(files) > 1 and (output.align or output.format in SUBTITLES):
        flag = "--align" if output.align else f"--format {output.format}"
        raise InputError(f"{flag}: {len(files)} audio files; give one at a time")
    device = inference_device(inference.cuda)
    model = load_model(inference.model_path, device)
    if output.align:
        decoder = ForcedAligner(model.labels, read_transcript(output.align))
    else:
        decoder = make_decoder(arguments.make(DecoderConfig), model.labels)
    recognizer = Recognizer(model, decoder, inference_format(inference.half, device))
    if streaming.stream:
        transcribe_live(recognizer, files[0], streaming)
        return 0
    for file in files:
        sys.stdout.write(render(recognizer, file, output, inference))
        sys.stdout.flush()
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", help="audio files")
    parser.add_argument("--audio-path", nargs="+", metavar="FILE", help="audio files")


def render(recognizer: Recognizer, file: str, output: TranscriptConfig, inference: InferenceConfig) -> str:
    """The transcript of a file in the format that was asked for."""
    if output.format == "text":
        return recognizer.transcribe(file).text + "\n"
    if output.format != "json":
        words = recognizer.transcripts(file)[0].words
        return formats.ctm(words, file) if output.format == "ctm" else SUBTITLES[output.format](words)
    aligned = output.align is not None
    offsets, timed = output.offsets or aligned, output.words or aligned
    if timed:
        transcripts = recognizer.transcripts(file)
    else:
        transcripts = [Transcript(hypothesis, []) for hypothesis in recognizer.hypotheses([file])[0]]
    meta = {"acoustic_model": {"name": os.path.basename(inference.model_path)}}
    meta |= description(recognizer.decoder)
    if aligned:
        meta["decoder"]["type"] = "alignment"
    rows = formats.rows(transcripts, recognizer.seconds, offsets, timed)
    document = {"audio_path": file, "output": rows, "_meta": meta}
    return json.dumps(document) + "\n"


if __name__ == "__main__":
    cli.run(main)
