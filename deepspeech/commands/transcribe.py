"""Transcribe audio files, folders or a live stream: as JSON, text, subtitles or time-marked words.

A file that cannot be read is reported, the others are transcribed, and the exit status is 1.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

from deepspeech import cli, log
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.data.manifest import read_transcript
from deepspeech.errors import InputError
from deepspeech.inference.factory import InferenceConfig, load_recognizer, tuned
from deepspeech.transcription.live import StreamConfig, transcribe_live
from deepspeech.transcription.recordings import RecordingsConfig, find_recordings, transcribe_recordings
from deepspeech.transcription.writers import (
    SUBTITLES,
    Renderer,
    ResultFiles,
    TranscriptConfig,
    check_names,
    write_pieces,
)

EXAMPLES = """
python transcribe.py recording.wav --words
python transcribe.py --format srt lecture.mp3 > lecture.srt
python transcribe.py --folder calls --output transcripts
arecord -t raw -f S16_LE -r 16000 | python transcribe.py --stream -
"""


def main(argv: Sequence[str] | None = None) -> int:
    groups = RecordingsConfig, TranscriptConfig, StreamConfig, InferenceConfig, DecoderConfig
    arguments = cli.parse(argv, __doc__, *groups, examples=EXAMPLES)
    recordings, output = arguments.make(RecordingsConfig), arguments.make(TranscriptConfig)
    streaming, inference = arguments.make(StreamConfig), arguments.make(InferenceConfig)
    decoding = tuned(arguments.make(DecoderConfig), inference.model_path)
    files, faults = find_recordings(recordings)
    asked = (replace(recordings, files=(), audio_path=()), output) != (RecordingsConfig(), TranscriptConfig())
    if streaming.stream and (len(recordings.files + recordings.audio_path) != 1 or asked):
        raise InputError(
            "--stream: transcribes one file, to its own lines of text; leave out what asks for more"
        )
    if len(files) > 1 and (output.align or (output.format in SUBTITLES and not recordings.output)):
        flag = "--align" if output.align else f"--format {output.format}"
        remedy = "" if output.align else ", or name a folder with --output"
        raise InputError(f"{flag}: {len(files)} audio files; give one at a time{remedy}")
    if output.format == "ctm":
        check_names(files)
    transcript = None
    if output.align:
        if recordings.chunk_seconds:
            raise InputError("--align: its transcript is that of the whole file; leave out --chunk-seconds")
        transcript = read_transcript(output.align)
        recordings = replace(recordings, chunk_seconds=0.0)
        output = replace(output, offsets=True, words=True)
    recognizer = load_recognizer(inference, decoding, transcript)
    if streaming.stream:
        transcribe_live(recognizer, files[0], streaming)
        return 0
    for fault in faults:
        log.error(f"{os.path.basename(sys.argv[0])}: error: {fault}")
    complete = transcribe_files(
        files, recordings, Renderer(recognizer, output, decoding, inference.model_path)
    )
    return int(bool(faults) or not complete)


def transcribe_files(files: Sequence[str], config: RecordingsConfig, render: Renderer) -> bool:
    """Write the transcripts of files and report those that cannot be read. Returns whether all could."""
    form, results = render.output.format, None
    if config.output:
        results = ResultFiles(config.output, "txt" if form == "text" else form)
        named, files = files, results.missing(files)
        if done := len(named) - len(files):
            log.info(f"{done} of {len(named)} recordings have their results in {config.output} already")
    # Text comes word by word: on a terminal, a bar would stand in the middle of its line
    progress = bool(results) or form != "text" or not sys.stdout.isatty()
    transcribed = transcribe_recordings(render.recognizer, files, config, render.timed, progress)
    complete = True
    for path, group in itertools.groupby(transcribed, key=itemgetter(0)):
        pieces = render(path, (result for _, result in group))
        try:
            if results:
                results.write(path, pieces)
            else:
                write_pieces(pieces, sys.stdout)
        except InputError as error:
            log.error(f"{os.path.basename(sys.argv[0])}: error: {error}")
            complete = False
    return complete
