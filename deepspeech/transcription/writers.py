"""Transcripts of recordings in the format that was asked for, and where they go."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from deepspeech.atomic_file import check_writable, write_atomic
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.decoder import Decoder
from deepspeech.errors import InputError
from deepspeech.inference.long_form import concatenate
from deepspeech.inference.recognizer import Recognizer
from deepspeech.options import Options, one_of, option
from deepspeech.transcription import formats
from deepspeech.transcription.recordings import Parts


@dataclass(frozen=True)
class TranscriptConfig(Options):
    """Output"""

    format: str = option(
        "json",
        "json (a document a line), text, subtitles (srt, vtt) or NIST's time-marked words (ctm)",
        one_of("json", "text", "srt", "vtt", "ctm"),
    )
    offsets: bool = option(False, "tell where each character begins, in output frames and seconds")
    words: bool = option(False, "tell the start, end and confidence of each word")
    align: str | None = option(
        None, "file with the transcript of the audio: tell its times instead of transcribing"
    )


def description(decoder: Decoder) -> dict[str, dict[str, Any]]:
    """What deepspeech.pytorch's transcripts say of the decoder and its language model."""
    config = getattr(decoder, "config", DecoderConfig())
    lm = config.lm_path is not None
    weights = {"alpha": config.alpha if lm else None, "beta": config.beta if lm else None}
    return {
        "language_model": {"name": os.path.basename(config.lm_path) if lm else None},
        "decoder": {"lm": lm, **weights, "type": config.decoder},
    }


SUBTITLES = {"srt": formats.srt, "vtt": formats.vtt}


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
            parts = [[concatenate([best for best, *_ in parts], " " in self.recognizer.model.labels)]]
        meta = {"acoustic_model": {"name": os.path.basename(self.model_path)}}
        meta |= description(self.recognizer.decoder)
        if self.aligned:
            meta["decoder"]["type"] = "alignment"
        offsets, words = self.output.offsets or self.aligned, self.output.words or self.aligned
        rows = formats.rows(parts[0], self.recognizer.model.frame_seconds, offsets, words, self.scores)
        return {"audio_path": file, "output": rows, "_meta": meta}


class ResultFiles:
    """A file for each recording: `calls/a.wav` -> `FOLDER/calls/a.wav.json`.

    Folders are kept, counted from the working directory or else from the root, so recordings of the
    same name have different results. A file appears when it is complete.

    Args:
        folder: Where they go.
        ending: Of their names.

    Raises:
        InputError: Nothing can be written there.
    """

    def __init__(self, folder: str, ending: str) -> None:
        check_writable(folder, "--output")
        self.folder, self.ending = folder, ending

    def path(self, audio_path: str) -> Path:
        """Where the result of a recording lies."""
        name = os.path.relpath(audio_path)
        if name.startswith(os.pardir):
            name = os.path.abspath(audio_path).lstrip(os.sep)
        return Path(self.folder, f"{name}.{self.ending}")

    def missing(self, audio_paths: Iterable[str]) -> list[str]:
        """The recordings that have no result yet.

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

    def write(self, audio_path: str, text: Iterable[str]) -> None:
        """Write the result of a recording, which comes in pieces.

        Raises:
            InputError: It cannot be written; or what the pieces raise, and nothing is written.
        """
        write_atomic(self.path(audio_path), "".join(text).encode())


class InOrder:
    """Writes results in the order of the recordings, each as early as its turn allows.

    Args:
        audio_paths: The recordings, each once.
        file: Where the results go.
    """

    def __init__(self, audio_paths: Sequence[str], file: TextIO) -> None:
        self.turns, self.file = {path: turn for turn, path in enumerate(audio_paths)}, file
        self._turn = 0
        self._waiting: dict[int, list[str]] = {}

    def write(self, audio_path: str, text: Iterable[str]) -> None:
        """Write the result of a recording as its pieces come, or keep it until its turn.

        Raises:
            InputError: What the pieces raise; those before it are written.
        """
        turn = self.turns[audio_path]
        if turn != self._turn:
            kept = self._waiting[turn] = []
            kept.extend(text)
            return
        try:
            self._show(text)
        finally:
            self._turn += 1
            while self._turn in self._waiting:
                self._show(self._waiting.pop(self._turn))
                self._turn += 1

    def _show(self, text: Iterable[str]) -> None:
        piece = "\n"
        try:
            for piece in text:
                with tqdm.external_write_mode(self.file) if self.file.isatty() else nullcontext():
                    self.file.write(piece)
                    self.file.flush()
        finally:
            if not piece.endswith("\n"):  # an error broke the line off
                self.file.write("\n")
