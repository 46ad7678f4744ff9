"""Transcripts in the chosen format, and where they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from deepspeech.atomic_file import check_writable, write_atomic
from deepspeech.audio.loading import locate
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.word_times import Transcript
from deepspeech.errors import InputError
from deepspeech.inference.long_form import concatenate
from deepspeech.inference.recognizer import Recognizer
from deepspeech.options import Options, one_of, option
from deepspeech.transcription import formats
from deepspeech.transcription.recordings import Result


@dataclass(frozen=True)
class TranscriptConfig(Options):
    """Output"""

    format: str = option(
        "json",
        "json (a document a line), text, subtitles (srt, vtt) or NIST's time-marked words (ctm)",
        one_of("json", "text", "srt", "vtt", "ctm"),
    )
    offsets: bool = option(False, "add where each character starts, in output frames and seconds")
    words: bool = option(False, "add the start, end and confidence of each word")
    align: str | None = option(
        None, "file with the transcript of the audio: find its times instead of transcribing", metavar="FILE"
    )


SUBTITLES = {"srt": formats.srt, "vtt": formats.vtt}


@dataclass(frozen=True)
class Renderer:
    """Renders transcripts in the chosen format."""

    recognizer: Recognizer
    output: TranscriptConfig
    decoding: DecoderConfig
    model_path: str

    @property
    def timed(self) -> bool:
        """Whether the times of words are needed."""
        return self.output.words or self.output.format not in ("json", "text")

    def __call__(self, path: str, results: Iterable[Result]) -> Iterator[str]:
        """The transcript of a recording, piece by piece as its results come.

        Raises:
            InputError: The error among the results.
        """
        parts = map(_hypotheses, results)
        match self.output.format:
            case "json":
                yield json.dumps(self.document(path, list(parts))) + "\n"
            case "text":
                yield from formats.text((best for best, *_ in parts), " " in self.recognizer.model.labels)
            case form:
                words = (word for best, *_ in parts for word in best.words)
                ctm = form == "ctm"
                yield from formats.ctm(words, recording_name(path)) if ctm else SUBTITLES[form](words)

    def document(self, path: str, parts: list[list[Transcript]]) -> dict[str, Any]:
        """The output of deepspeech.pytorch's transcribe.py, and more."""
        model, transcripts = self.recognizer.model, parts[0]
        if len(parts) > 1:
            transcripts = [concatenate([best for best, *_ in parts], " " in model.labels)]
        more = self.output.offsets, self.output.words, self.decoding.top_paths > 1
        rows = formats.rows(transcripts, model.frame_seconds, *more)
        return {"audio_path": path, "output": rows, "_meta": self._meta()}

    def _meta(self) -> dict[str, Any]:
        decoding = DecoderConfig() if self.output.align else self.decoding
        lm = decoding.lm_path is not None
        weights = {"alpha": decoding.alpha if lm else None, "beta": decoding.beta if lm else None}
        kind = "alignment" if self.output.align else decoding.decoder
        return {
            "acoustic_model": {"name": os.path.basename(self.model_path)},
            "language_model": {"name": os.path.basename(decoding.lm_path) if decoding.lm_path else None},
            "decoder": {"lm": lm, **weights, "type": kind},
        }


def _hypotheses(result: Result) -> list[Transcript]:
    if isinstance(result, InputError):
        raise result
    return result


class ResultFiles:
    """A file for each recording: `calls/a.wav` -> `FOLDER/calls/a.wav.json`.

    Folders are kept, relative to the working directory or else to the root, so recordings of the
    same name have different results. A file appears when it is complete.

    Raises:
        InputError: Nothing can be written there.
    """

    def __init__(self, folder: str, suffix: str) -> None:
        check_writable(folder, "--output")
        self.folder, self.suffix = folder, suffix

    def path(self, audio_path: str) -> Path:
        """The file with the result of a recording."""
        return Path(self.folder, f"{_local_path(audio_path)}.{self.suffix}")

    def missing(self, audio_paths: Iterable[str]) -> list[str]:
        """The recordings without a result.

        Raises:
            InputError: Two recordings would have the same result.
        """
        sources: dict[Path, str] = {}
        for path in audio_paths:
            other = sources.setdefault(self.path(path), path)
            if os.path.abspath(other) != os.path.abspath(path):
                raise InputError(
                    f"{path}: its result {self.path(path)} is also that of {other}; use another folder"
                )
        return [source for result, source in sources.items() if not result.exists()]

    def write(self, audio_path: str, pieces: Iterable[str]) -> None:
        """Write the result of a recording; nothing if an error interrupts the pieces.

        Raises:
            InputError: The file cannot be written.
        """
        write_atomic(self.path(audio_path), "".join(pieces).encode())


def _local_path(path: str) -> str:
    name = os.path.relpath(path)
    return os.path.abspath(path).lstrip(os.sep) if name.startswith(os.pardir) else name


def recording_name(audio_path: str) -> str:
    """The name of a recording in CTM: its path without the suffix, and without white space."""
    file, *_ = locate(audio_path)
    return "_".join((os.path.splitext(_local_path(file))[0] + audio_path.removeprefix(file)).split())


def check_names(audio_paths: Iterable[str]) -> None:
    """Check that every recording has a name of its own in CTM.

    Raises:
        InputError: Two have the same name.
    """
    sources: dict[str, str] = {}
    for path in audio_paths:
        if (other := sources.setdefault(name := recording_name(path), path)) != path:
            raise InputError(f"{path}: CTM would name it {name}, as {other}; transcribe one at a time")


def write_pieces(pieces: Iterable[str], file: TextIO) -> None:
    """Write text piece by piece, as it comes; if an error interrupts it, end the line."""
    piece = "\n"
    try:
        for piece in pieces:
            with tqdm.external_write_mode(file) if file.isatty() else nullcontext():
                file.write(piece)
                file.flush()
    finally:
        if not piece.endswith("\n"):
            file.write("\n")
